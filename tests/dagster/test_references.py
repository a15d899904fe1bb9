"""What published rows refer to: every version of every partition, and an error for whatever cannot be read."""

from pathlib import Path
from uuid import uuid4

import dagster as dg
import polars as pl
import pytest
from pydantic import BaseModel

import infergraph as ig
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, StoreResource
from infergraph.dagster.references import oldest_run_going_on, references, storages_of
from infergraph.dagster.resources import close_sessions
from infergraph.errors import ConfigurationError
from infergraph.models.scripted import script
from infergraph.store import Store, hash_text


class Fact(BaseModel):
    product: str


def definitions(tmp_path: Path, storage: PolarsStorage, instruction: str) -> dg.Definitions:
    days = dg.StaticPartitionsDefinition(["monday", "to/day"])

    @dg.asset(partitions_def=days)
    def letters(context: dg.AssetExecutionContext) -> pl.DataFrame:
        return pl.DataFrame({"body": [f"{context.partition_key} {number}" for number in range(3)]})

    @ig.semantic_asset(partitions_def=days, keep_versions=2, key_prefix="a")
    def facts(letters: ig.SemanticFrame) -> ig.SemanticFrame:
        return letters.semantic.extract("body", Fact, instruction=instruction)

    @ig.semantic_asset(io_manager_key="objects", partitions_def=days)
    def elsewhere(letters: ig.SemanticFrame) -> ig.SemanticFrame:
        return letters.semantic.map("Shorten {{ body }}", into="short")

    return dg.Definitions(
        assets=[letters, facts, elsewhere],
        resources={
            "models": ModelsResource(models={"m": ModelSettings(name="scripted:refers")}),
            "store": StoreResource(url=f"sqlite:///{tmp_path / 'state.db'}"),
            "io_manager": storage,
            "objects": dg.FilesystemIOManager(base_dir=str(tmp_path / "objects")),
        },
        executor=dg.in_process_executor,
    )


def make(defs: dg.Definitions, partition: str, instance: dg.DagsterInstance) -> None:
    job = defs.resolve_implicit_global_asset_job_def()
    with script("refers", lambda _: {"product": "x"}):
        done = job.execute_in_process(
            partition_key=partition,
            instance=instance,
            asset_selection=[dg.AssetKey("letters"), dg.AssetKey(["a", "facts"])],
        )
    assert done.success
    close_sessions()


@pytest.mark.parametrize("address", ["folder", "memory"])
def test_every_kept_version_of_every_partition_counts(
    tmp_path: Path, instance: dg.DagsterInstance, address: str
) -> None:
    base = str(tmp_path / "assets") if address == "folder" else f"memory://{uuid4().hex}"
    storage = PolarsStorage(base_url=base)
    made: dict[str, set[bytes]] = {}
    for instruction in ("one", "two", "three"):
        defs = definitions(tmp_path, storage, instruction)
        before = known(tmp_path)
        for partition in ("monday", "to/day"):
            make(defs, partition, instance)
        made[instruction] = known(tmp_path) - before
    found = storages_of(defs, instance)
    assert found.others == ("elsewhere",)
    [(only, is_used)] = found.storages
    assert is_used
    together = set().union(*references(only))
    assert len(together) == 12
    assert together == made["two"] | made["three"], "the oldest of three versions was not to be kept"


def known(tmp_path: Path) -> set[bytes]:
    """The hashes of all answers in the store."""
    with Store.open(f"sqlite:///{tmp_path / 'state.db'}") as store, store._connect() as connection:
        return {bytes(row[0]) for row in connection.exec_driver_sql("SELECT row_hash FROM answers")}


def test_a_storage_that_was_never_used_holds_nothing_and_one_that_is_gone_is_an_error(tmp_path: Path) -> None:
    storage = PolarsStorage(base_url=str(tmp_path / "not there"))
    assert list(references(storage, is_used=False)) == []
    with pytest.raises(ConfigurationError, match=r"not there.*Nothing was removed"):
        list(references(storage))
    (tmp_path / "not there").mkdir()
    with pytest.raises(ConfigurationError, match="it is empty"):
        list(references(storage))


def test_a_folder_that_lies_elsewhere_counts(tmp_path: Path) -> None:
    version = tmp_path / "other disk" / "run"
    version.mkdir(parents=True)
    pl.DataFrame({"request_hash": [hash_text(bytes(16)), None]}).write_parquet(version / "lineage.parquet")
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "facts").symlink_to(tmp_path / "other disk")
    assert list(references(PolarsStorage(base_url=str(tmp_path / "assets")))) == [{bytes(16)}]


def test_a_file_that_cannot_be_read_is_an_error_and_not_an_empty_one(tmp_path: Path) -> None:
    folder = tmp_path / "assets" / "facts"
    folder.mkdir(parents=True)
    # A link to itself is what even the superuser cannot read.
    (folder / "current.json").symlink_to(folder / "current.json")
    with pytest.raises(ConfigurationError, match=r"current\.json"):
        list(references(PolarsStorage(base_url=str(tmp_path / "assets"))))


def test_stages_and_other_files_refer_to_nothing(tmp_path: Path) -> None:
    base = tmp_path / "assets"
    for folder in (".stage/x", "plain/run", "facts/.failed/run"):
        (base / folder).mkdir(parents=True)
        pl.DataFrame({"a": [1]}).write_parquet(base / folder / "data.parquet")
        (base / folder / "notes.txt").write_text("no Parquet")
    assert list(references(PolarsStorage(base_url=str(base)))) == []


def test_the_oldest_run_that_goes_on(tmp_path: Path) -> None:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        assert oldest_run_going_on(instance) is None
        status = dg.DagsterRunStatus
        for state in (status.NOT_STARTED, status.SUCCESS, status.FAILURE):
            instance.add_run(dg.DagsterRun(job_name="j", run_id=str(uuid4()), status=state))
        assert oldest_run_going_on(instance) is None, "what has not begun has found nothing yet"
        instance.add_run(dg.DagsterRun(job_name="j", run_id=str(uuid4()), status=status.STARTED))
        first = oldest_run_going_on(instance)
        instance.add_run(dg.DagsterRun(job_name="j", run_id=str(uuid4()), status=status.STARTING))
        assert first is not None
        assert oldest_run_going_on(instance) == first
