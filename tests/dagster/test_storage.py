"""The IO manager with plain assets, in real Dagster runs."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import polars as pl
import pytest

from infergraph.dagster.data_version import rows_digest
from infergraph.dagster.storage import PolarsStorage

PARTS = dg.StaticPartitionsDefinition(["a", "b", "c"])


def run(
    assets: Sequence[Any],
    storage: PolarsStorage,
    instance: dg.DagsterInstance,
    partition: str | None = None,
    **more: Any,
) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        list(assets), resources={"io_manager": storage}, instance=instance, partition_key=partition, **more
    )


def message_of(result: dg.ExecuteInProcessResult) -> str:
    """The message at the bottom of the chain of errors that failed the run."""
    error = result.get_step_failure_events()[0].step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return "" if error is None else str(error.message)


def metadata_of(instance: dg.DagsterInstance, key: str) -> dict[str, Any]:
    event = instance.get_latest_materialization_event(dg.AssetKey(key))
    assert event is not None
    assert event.asset_materialization is not None
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


@pytest.mark.parametrize("eager", [True, False])
def test_frames_go_in_and_come_out_in_the_annotated_form(
    storage: PolarsStorage, instance: dg.DagsterInstance, eager: bool
) -> None:
    frame = pl.DataFrame({"n": [1, 2, 3]})

    @dg.asset
    def numbers() -> Any:
        return frame if eager else frame.lazy()

    @dg.asset
    def as_lazy(numbers: pl.LazyFrame) -> pl.LazyFrame:
        assert isinstance(numbers, pl.LazyFrame)
        return numbers.select(pl.col("n").sum())

    @dg.asset(ins={"numbers": dg.AssetIn()})
    def as_eager(numbers: pl.DataFrame) -> pl.DataFrame:
        assert isinstance(numbers, pl.DataFrame)
        return numbers.select(pl.col("n").max())

    @dg.asset
    def unannotated(numbers):  # type: ignore[no-untyped-def]  # what an input without annotation gets is the point
        return numbers.select(pl.col("n").min())

    assert run([numbers, as_lazy, as_eager, unannotated], storage, instance).success
    assert [storage.load(key).collect().item() for key in ("as_lazy", "as_eager", "unannotated")] == [6, 3, 1]


def test_metadata_is_under_dagsters_own_keys(storage: PolarsStorage, instance: dg.DagsterInstance) -> None:
    @dg.asset
    def described() -> pl.DataFrame:
        return pl.DataFrame({"n": [1, 2], "t": ["x", None]})

    run([described], storage, instance)
    metadata = metadata_of(instance, "described")
    assert metadata["dagster/row_count"] == 2
    assert [(column.name, column.type) for column in metadata["dagster/column_schema"].columns] == [
        ("n", "Int64"),
        ("t", "String"),
    ]
    assert Path(metadata["dagster/uri"]).is_file()
    assert metadata["infergraph/version"] in metadata["dagster/uri"]


def test_the_data_version_follows_the_rows(storage: PolarsStorage, instance: dg.DagsterInstance) -> None:
    rows = {"n": [1, 2]}

    @dg.asset
    def versioned() -> pl.DataFrame:
        return pl.DataFrame(rows)

    versions = []
    for change in ({}, {}, {"n": [1, 3]}):
        rows.update(change)
        run([versioned], storage, instance)
        event = instance.get_latest_materialization_event(dg.AssetKey("versioned"))
        assert event is not None
        tags = event.asset_materialization.tags if event.asset_materialization else None
        versions.append((tags or {})["dagster/data_version"])
    assert versions[0] == versions[1] == rows_digest(pl.DataFrame({"n": [1, 2]}))
    assert versions[2] == rows_digest(pl.DataFrame({"n": [1, 3]}))


def test_an_asset_may_name_its_data_version_itself(storage: PolarsStorage, instance: dg.DagsterInstance) -> None:
    @dg.asset
    def own_version() -> dg.Output[pl.DataFrame]:
        return dg.Output(pl.DataFrame({"n": [1]}), data_version=dg.DataVersion("mine"))

    run([own_version], storage, instance)
    event = instance.get_latest_materialization_event(dg.AssetKey("own_version"))
    assert event is not None
    assert event.asset_materialization is not None
    assert (event.asset_materialization.tags or {})["dagster/data_version"] == "mine"


def test_plain_inputs_do_not_see_row_ids(storage: PolarsStorage, instance: dg.DagsterInstance) -> None:
    @dg.asset
    def with_ids() -> pl.DataFrame:
        return pl.DataFrame({"n": [1], "_row_id": ["r"]})

    @dg.asset
    def without_ids(with_ids: pl.LazyFrame) -> pl.LazyFrame:
        assert with_ids.collect_schema().names() == ["n"]
        return with_ids

    run([with_ids, without_ids], storage, instance)
    assert storage.load("with_ids", row_ids=True).collect_schema().names() == ["n", "_row_id"]
    assert [column.name for column in metadata_of(instance, "with_ids")["dagster/column_schema"].columns] == ["n"]


def test_memory_urls_work(instance: dg.DagsterInstance) -> None:
    storage = PolarsStorage(base_url=f"memory://{uuid4().hex}")

    @dg.asset
    def far() -> pl.LazyFrame:
        return pl.LazyFrame({"n": [1, 2]})

    @dg.asset
    def farther(far: pl.LazyFrame) -> pl.LazyFrame:
        return far.select(pl.col("n").sum())

    run([far, farther], storage, instance)
    assert storage.load("farther").collect().item() == 3
    assert metadata_of(instance, "far")["dagster/uri"].startswith("memory://")


def test_the_url_may_come_from_the_environment(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASE_OF_TEST", str(tmp_path / "from_env"))

    @dg.asset
    def placed() -> pl.DataFrame:
        return pl.DataFrame({"n": [1]})

    run([placed], PolarsStorage(base_url=dg.EnvVar("BASE_OF_TEST")), instance)
    assert (tmp_path / "from_env" / "placed" / "current.json").is_file()


def test_a_relative_base_lies_under_the_projects_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "workspace.yaml").write_text("")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "er")
    assert str(PolarsStorage(base_url="data").base()) == str(tmp_path / "data")


def partitioned(definition: dg.PartitionsDefinition[Any]) -> dg.AssetsDefinition:
    @dg.asset(name="source", partitions_def=definition)
    def source(context: dg.AssetExecutionContext) -> pl.DataFrame:
        return pl.DataFrame({"key": [str(context.partition_key)]})

    return source


def test_one_frame_over_all_partitions(storage: PolarsStorage, instance: dg.DagsterInstance) -> None:
    source = partitioned(PARTS)

    @dg.asset
    def all_of_them(source: pl.LazyFrame) -> pl.LazyFrame:
        assert isinstance(source, pl.LazyFrame)
        return source

    for key in ("b", "a"):
        run([source], storage, instance, key)
    refused = run([all_of_them, source], storage, instance, selection=[all_of_them], raise_on_error=False)
    assert not refused.success
    assert "partition 'c' of 'source'" in message_of(refused)
    assert "allow_missing_partitions" in message_of(refused)
    run([source], storage, instance, "c")
    assert run([all_of_them, source], storage, instance, selection=[all_of_them]).success
    assert storage.load("all_of_them").collect()["key"].to_list() == ["a", "b", "c"]


def test_missing_partitions_may_be_allowed(storage: PolarsStorage, instance: dg.DagsterInstance) -> None:
    source = partitioned(PARTS)

    @dg.asset(ins={"source": dg.AssetIn(metadata={"allow_missing_partitions": True})})
    def those_there(source: pl.LazyFrame) -> pl.LazyFrame:
        return source

    run([source], storage, instance, "b")
    assert run([those_there, source], storage, instance, selection=[those_there]).success
    assert storage.load("those_there").collect()["key"].to_list() == ["b"]


def test_a_column_added_since_is_null_in_older_partitions(storage: PolarsStorage, instance: dg.DagsterInstance) -> None:
    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["old", "new"]))
    def grown(context: dg.AssetExecutionContext) -> pl.DataFrame:
        columns = {"n": [1]} if context.partition_key == "old" else {"n": [2], "extra": ["x"]}
        return pl.DataFrame(columns)

    @dg.asset
    def both(grown: pl.DataFrame) -> pl.DataFrame:
        return grown

    for key in ("old", "new"):
        run([grown], storage, instance, key)
    run([both, grown], storage, instance, selection=[both])
    assert storage.load("both").collect().to_dicts() == [{"n": 1, "extra": None}, {"n": 2, "extra": "x"}]


@pytest.mark.parametrize(
    ("definition", "key"),
    [
        (PARTS, "b"),
        (dg.DailyPartitionsDefinition("2026-11-01"), "2026-11-20"),
        (
            dg.MultiPartitionsDefinition({"lang": dg.StaticPartitionsDefinition(["en", "de"]), "part": PARTS}),
            dg.MultiPartitionKey({"lang": "de", "part": "c"}),
        ),
        (dg.DynamicPartitionsDefinition(name="drops"), "in/box: Zürich 7"),
    ],
)
def test_every_kind_of_partition(
    storage: PolarsStorage, instance: dg.DagsterInstance, definition: dg.PartitionsDefinition[Any], key: str
) -> None:
    if isinstance(definition, dg.DynamicPartitionsDefinition):
        instance.add_dynamic_partitions("drops", [key])
    source = partitioned(definition)

    @dg.asset(partitions_def=definition)
    def same_key(source: pl.LazyFrame) -> pl.LazyFrame:
        return source

    assert run([source, same_key], storage, instance, key).success
    assert storage.load("same_key", key).collect()["key"].to_list() == [str(key)]
    assert metadata_of(instance, "same_key")["dagster/partition_row_count"] == 1


def test_a_mapping_of_several_keys_gives_one_frame(storage: PolarsStorage, instance: dg.DagsterInstance) -> None:
    days = dg.DailyPartitionsDefinition("2026-11-01")
    source = partitioned(days)

    @dg.asset(
        partitions_def=days,
        ins={"source": dg.AssetIn(partition_mapping=dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=0))},
    )
    def two_days(source: pl.LazyFrame) -> pl.LazyFrame:
        return source

    for key in ("2026-11-10", "2026-11-11"):
        run([source], storage, instance, key)
    run([two_days, source], storage, instance, "2026-11-11", selection=[two_days])
    assert storage.load("two_days", "2026-11-11").collect()["key"].to_list() == ["2026-11-10", "2026-11-11"]


@pytest.mark.parametrize(
    ("value", "says"),
    [(None, "'-> None'"), ([1], "io_manager_key"), ({"n": 1}, "returned dict")],
)
def test_what_is_no_frame_is_refused_with_what_to_do(
    storage: PolarsStorage, instance: dg.DagsterInstance, value: Any, says: str
) -> None:
    @dg.asset
    def odd() -> Any:
        return value

    result = run([odd], storage, instance, raise_on_error=False)
    assert says in message_of(result)


def test_an_input_of_another_type_is_refused(storage: PolarsStorage, instance: dg.DagsterInstance) -> None:
    @dg.asset
    def rows() -> pl.DataFrame:
        return pl.DataFrame({"n": [1]})

    @dg.asset
    def wants_a_dict(rows: dict[str, Any]) -> pl.DataFrame:
        return pl.DataFrame(rows)

    result = run([rows, wants_a_dict], storage, instance, raise_on_error=False)
    assert "'rows'" in message_of(result)
    assert "pl.LazyFrame" in message_of(result)


def test_a_failing_lazy_frame_leaves_the_old_rows_and_no_stage(
    storage: PolarsStorage, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    divisor = [1]

    @dg.asset
    def fragile() -> pl.LazyFrame:
        return pl.LazyFrame({"n": ["1", "2"]}).select(pl.col("n" if divisor[0] else "missing").cast(pl.Int64))

    run([fragile], storage, instance)
    divisor[0] = 0
    assert not run([fragile], storage, instance, raise_on_error=False).success
    assert storage.load("fragile").collect()["n"].to_list() == [1, 2]
    assert list((tmp_path / "assets" / ".stage").iterdir()) == []


def test_frames_between_ops_are_kept_too(storage: PolarsStorage, instance: dg.DagsterInstance) -> None:
    @dg.op
    def make() -> pl.DataFrame:
        return pl.DataFrame({"n": [1, 2]})

    @dg.op
    def add(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.select(pl.col("n").sum())

    @dg.graph_asset
    def from_graph() -> Any:
        return add(make())

    run([from_graph], storage, instance)
    assert storage.load("from_graph").collect().item() == 3


def test_a_single_run_over_many_partitions_is_refused(storage: PolarsStorage, instance: dg.DagsterInstance) -> None:
    days = dg.DailyPartitionsDefinition("2026-11-01", end_date="2026-11-04")

    @dg.asset(partitions_def=days, backfill_policy=dg.BackfillPolicy.single_run())
    def at_once() -> pl.DataFrame:
        return pl.DataFrame({"n": [1]})

    tags = {"dagster/asset_partition_range_start": "2026-11-01", "dagster/asset_partition_range_end": "2026-11-03"}
    result = run([at_once], storage, instance, tags=tags, raise_on_error=False)
    assert "multi_run" in message_of(result)


def test_loading_what_is_not_there_says_so(storage: PolarsStorage) -> None:
    from infergraph.errors import ConfigurationError

    with pytest.raises(ConfigurationError, match="'nowhere'"):
        storage.load("nowhere")
    assert storage.version("nowhere") is None


def test_a_window_of_one_datetime_partition(storage: PolarsStorage, instance: dg.DagsterInstance) -> None:
    hours = dg.HourlyPartitionsDefinition(start_date=datetime(2026, 11, 1))
    source = partitioned(hours)
    assert run([source], storage, instance, "2026-11-01-05:00").success
    assert storage.load("source", "2026-11-01-05:00").collect().height == 1
