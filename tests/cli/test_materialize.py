"""Runs of plain and failing assets through real Dagster; semantic ones are in test_commands.py."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import polars as pl
import pytest

from infergraph.cli.materialize import RunOutcome, materialize
from infergraph.cli.selection import select_assets
from infergraph.dagster.storage import PolarsStorage
from infergraph.errors import PlanError, ProviderRefused

if TYPE_CHECKING:
    from infergraph.frame.run import Progress


class Memory:
    """A board that remembers what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.closed = False

    def note(self, text: str) -> None:
        self.notes.append(text)

    def notice(self, asset: str, text: str) -> None:
        self.notes.append(f"{asset}: {text}")

    def progress(self, asset: str, progress: "Progress") -> None:
        self.notes.append(f"{asset} {progress.operator}")

    def close(self) -> None:
        self.closed = True


@dg.asset
def numbers() -> pl.DataFrame:
    return pl.DataFrame({"n": [1, 2, 3]})


@dg.asset
def total(numbers: pl.LazyFrame) -> pl.LazyFrame:
    return numbers.select(pl.col("n").sum())


@dg.asset
def refused() -> pl.DataFrame:
    raise ProviderRefused("no key")


@dg.asset
def below(refused: pl.LazyFrame) -> pl.LazyFrame:
    return refused


class Size(dg.Config):
    rows: int = 1


@dg.asset
def sized(config: Size) -> pl.DataFrame:
    return pl.DataFrame({"n": list(range(config.rows))})


parts = dg.StaticPartitionsDefinition(["monday", "tuesday"])
batches = dg.DynamicPartitionsDefinition(name="batches")


@dg.asset(partitions_def=parts)
def daily(context: dg.AssetExecutionContext) -> pl.DataFrame:
    return pl.DataFrame({"day": [context.partition_key]})


@dg.asset(partitions_def=batches)
def dropped(context: dg.AssetExecutionContext) -> pl.DataFrame:
    return pl.DataFrame({"batch": [context.partition_key]})


@dg.asset_check(asset=numbers)
def few_rows() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=False, severity=dg.AssetCheckSeverity.WARN, description="only 3", metadata={"share": 0.5}
    )


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def definitions(tmp_path: Path) -> dg.Definitions:
    return dg.Definitions(
        assets=[numbers, total, refused, below, sized, daily, dropped],
        asset_checks=[few_rows],
        resources={"io_manager": PolarsStorage(base_url=str(tmp_path / "data"))},
    )


def run(definitions: dg.Definitions, instance: dg.DagsterInstance, *names: str, **options: object) -> RunOutcome:
    keys = select_assets(definitions, names)
    return materialize(definitions, keys, instance=instance, board=Memory(), **options)  # type: ignore[arg-type]  # passed on


def test_each_asset_says_what_became_of_it(definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
    board = Memory()
    keys = select_assets(definitions, ["numbers+"])
    outcome = materialize(definitions, keys, instance=instance, board=board)
    assert outcome.success
    assert outcome.exit_code == 0
    assert [(asset.asset, asset.state, asset.rows) for asset in outcome.assets] == [
        ("numbers", "made", 3),
        ("total", "made", 1),
    ]
    assert [(check.name, check.passed, check.severity) for check in outcome.assets[0].checks] == [
        ("few_rows", False, "WARN")
    ]
    assert outcome.assets[0].checks[0].metadata["share"] == 0.5
    assert board.notes[0] == "numbers: started"
    assert [note.rpartition(", ")[2] for note in board.notes[1::2]] == ["3 rows", "1 row"]
    assert board.closed


def test_the_run_is_in_the_instance_for_the_ui(definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
    outcome = run(definitions, instance, "numbers")
    recorded = instance.get_run_by_id(outcome.run_id)
    assert recorded is not None
    assert recorded.status is dg.DagsterRunStatus.SUCCESS
    assert recorded.asset_selection == {dg.AssetKey("numbers")}


def test_what_an_asset_publishes_is_read_by_a_later_run(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    assert run(definitions, instance, "numbers").success
    assert run(definitions, instance, "total").success


def test_a_failure_keeps_its_message_and_exit_code(definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
    outcome = run(definitions, instance, "refused+", "numbers")
    (failed,) = [asset for asset in outcome.assets if asset.state == "failed"]
    assert (failed.asset, failed.error, failed.message) == ("refused", "ProviderRefused", "no key")
    assert {asset.asset: asset.state for asset in outcome.assets} == {
        "numbers": "made",
        "refused": "failed",
        "below": "skipped",
    }
    assert outcome.exit_code == ProviderRefused.exit_code


def test_run_config_reaches_the_asset(definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
    outcome = run(definitions, instance, "sized", op_config={"sized": {"rows": 7}})
    assert outcome.assets[0].rows == 7


def test_a_partition_is_materialised(definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
    outcome = run(definitions, instance, "daily", partition="tuesday")
    assert outcome.success
    assert outcome.assets[0].rows == 1
    assert "dagster/partition_row_count" in outcome.assets[0].metadata


def test_a_dynamic_partition_is_materialised(definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
    with pytest.raises(PlanError, match="There are none yet"):
        run(definitions, instance, "dropped", partition="b1")
    instance.add_dynamic_partitions("batches", ["b1"])
    assert run(definitions, instance, "dropped", partition="b1").success


@pytest.mark.parametrize(
    ("names", "partition", "message"),
    [
        (["daily"], None, "add --partition KEY. The latest of 2 partitions: 'monday', 'tuesday'"),
        (["daily"], "monda", "no partition 'monda'. Did you mean 'monday'?"),
        (["numbers"], "monday", "leave out --partition monday"),
        (["daily", "dropped"], "monday", "has no partition|different partitions"),
    ],
)
def test_a_wrong_partition_is_refused_before_anything_runs(
    definitions: dg.Definitions, instance: dg.DagsterInstance, names: list[str], partition: str | None, message: str
) -> None:
    before = instance.get_runs_count()
    with pytest.raises(PlanError) as caught:
        run(definitions, instance, *names, partition=partition)
    assert any(part in str(caught.value) for part in message.split("|"))
    assert instance.get_runs_count() == before


def test_assets_without_a_configured_io_manager_are_kept_on_disk(instance: dg.DagsterInstance) -> None:
    plain = dg.Definitions(assets=[numbers, total])
    assert run(plain, instance, "numbers").success
    stored = Path(instance.storage_directory()) / "numbers"
    assert stored.exists()


def test_dagsters_own_log_stays_off_the_screen(
    definitions: dg.Definitions, instance: dg.DagsterInstance, capfd: pytest.CaptureFixture[str]
) -> None:
    run(definitions, instance, "numbers", "refused")
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""
