"""Dagster runs an asset by itself when data above has changed, and spends nothing when it has not."""

import dagster as dg
import pytest

from sensors.automation import ON_NEW_DATA

PARTS = dg.DynamicPartitionsDefinition(name="parts")


class Deployment:
    """Three assets in a row, a Dagster instance, and the automation sensor's memory from tick to tick."""

    def __init__(self, partitions_def: dg.PartitionsDefinition | None) -> None:
        self.version = "1"
        self.instance = dg.DagsterInstance.ephemeral()
        self.cursor: dg.AssetDaemonCursor | None = None
        self.assets = self._assets(partitions_def)
        self.defs = dg.Definitions(assets=self.assets)

    def _assets(self, partitions_def: dg.PartitionsDefinition | None) -> list[dg.AssetsDefinition]:
        @dg.asset(partitions_def=partitions_def)
        def messages() -> dg.MaterializeResult[None]:
            return dg.MaterializeResult(data_version=dg.DataVersion(self.version))

        @dg.asset(partitions_def=partitions_def, deps=[messages], automation_condition=ON_NEW_DATA)
        def facts() -> dg.MaterializeResult[None]:
            return dg.MaterializeResult(data_version=dg.DataVersion(f"facts of {self.version}"))

        @dg.asset(partitions_def=partitions_def, deps=[facts], automation_condition=ON_NEW_DATA)
        def topics() -> dg.MaterializeResult[None]:
            return dg.MaterializeResult(data_version=dg.DataVersion(f"topics of {self.version}"))

        return [messages, facts, topics]

    def materialize(self, *names: str, partition: str | None = None) -> None:
        assert dg.materialize(
            self.assets, selection=list(names), instance=self.instance, partition_key=partition
        ).success

    def requested(self) -> set[tuple[str, str | None]]:
        """What one tick of the automation sensor asks for."""
        result = dg.evaluate_automation_conditions(defs=self.defs, instance=self.instance, cursor=self.cursor)
        self.cursor = result.cursor
        names = ("facts", "topics")
        return {(name, key) for name in names for key in result.get_requested_partitions(dg.AssetKey(name))}


@pytest.fixture
def plain() -> Deployment:
    deployment = Deployment(None)
    deployment.materialize("messages", "facts", "topics")
    deployment.requested()
    return deployment


def test_nothing_has_happened(plain: Deployment) -> None:
    assert plain.requested() == set()


def test_upstream_run_again_with_the_same_data_asks_for_nothing(plain: Deployment) -> None:
    plain.materialize("messages")
    assert plain.requested() == set()
    assert plain.requested() == set()


def test_new_data_asks_for_the_next_asset_once(plain: Deployment) -> None:
    plain.version = "2"
    plain.materialize("messages")
    assert plain.requested() == {("facts", None)}
    assert plain.requested() == set()


def test_the_change_travels_down_step_by_step_and_stops(plain: Deployment) -> None:
    plain.version = "2"
    plain.materialize("messages")
    assert plain.requested() == {("facts", None)}
    plain.materialize("facts")
    assert plain.requested() == {("topics", None)}
    plain.materialize("topics")
    assert plain.requested() == set()


def test_a_run_of_the_whole_chain_leaves_nothing_to_ask_for(plain: Deployment) -> None:
    plain.version = "2"
    plain.materialize("messages", "facts", "topics")
    assert plain.requested() == set()
    assert plain.requested() == set()


def test_a_new_deployment_is_not_run_by_itself() -> None:
    """The first materialisation is a person's or a sensor's decision."""
    assert Deployment(None).requested() == set()


class TestPartitions:
    @pytest.fixture
    def batches(self) -> Deployment:
        deployment = Deployment(PARTS)
        deployment.instance.add_dynamic_partitions("parts", ["a", "b"])
        deployment.requested()
        for key in ("a", "b"):
            deployment.materialize("messages", "facts", "topics", partition=key)
        deployment.requested()
        return deployment

    def test_a_batch_that_one_run_has_done_is_not_asked_for_again(self, batches: Deployment) -> None:
        assert batches.requested() == set()
        batches.instance.add_dynamic_partitions("parts", ["c"])
        assert batches.requested() == set()
        batches.materialize("messages", "facts", "topics", partition="c")
        assert batches.requested() == set()
        assert batches.requested() == set()

    def test_only_the_partition_with_new_data_is_asked_for(self, batches: Deployment) -> None:
        batches.version = "2"
        batches.materialize("messages", partition="b")
        assert batches.requested() == {("facts", "b")}

    def test_the_same_data_again_in_one_partition(self, batches: Deployment) -> None:
        batches.materialize("messages", partition="b")
        assert batches.requested() == set()
