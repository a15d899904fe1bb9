"""Semantic assets in real Dagster runs, on a scripted model."""

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import dagster as dg
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pydantic import BaseModel, Field

import infergraph as ig
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, PriceSettings, StoreResource, rows_digest
from infergraph.dagster.resources import close_sessions
from infergraph.dagster.watching import watch
from infergraph.models.model import CallFailed, Request
from infergraph.models.scripted import Script, script

Resources = dict[str, Any]
SECRET_TEXT = "card 4111-1111-1111-1111"


class Facts(BaseModel):
    product: str = Field(description="product the customer talks about")
    urgent: bool


class Desk:
    """A scripted model that says what it was asked about, and refuses what it is told to refuse."""

    def __init__(self) -> None:
        self.refuse: set[str] = set()
        self.script: Script | None = None

    def answer(self, request: Request) -> dict[str, Any]:
        subject = re.findall(r"<body>\n(.*?)\n</body>", request.messages[-1].content, re.DOTALL)[-1]
        if any(word in subject for word in self.refuse):
            raise CallFailed("the desk is closed for this one", outcome="permanent", reason="refused")
        return {"product": subject, "urgent": "now" in subject}

    @property
    def calls(self) -> int:
        assert self.script is not None
        return len(self.script.requests)


@pytest.fixture
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    made = Desk()
    with script("desk", made.answer) as running:
        made.script = running
        yield made
    close_sessions()


@pytest.fixture
def resources(tmp_path: Path, storage: PolarsStorage, desk: Desk) -> Resources:
    price = PriceSettings(input=1_000, output=1_000)
    settings = ModelSettings(name="scripted:desk", price=price, max_concurrency=1)
    other = ModelSettings(name="scripted:elsewhere", price=price)
    return {
        "models": ModelsResource(models={"desk": settings, "other": other}, default_model="desk"),
        "store": StoreResource(url=f"sqlite:///{tmp_path / 'state.db'}"),
        "io_manager": storage,
    }


Run = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def run(resources: Resources, instance: dg.DagsterInstance) -> Run:
    def materialize(*assets: Any, partition: str | None = None, **more: Any) -> dg.ExecuteInProcessResult:
        given = {"resources": resources, "instance": instance, "raise_on_error": False, **more}
        return dg.materialize(list(assets), partition_key=partition, **given)

    return materialize


def source(
    rows: dict[str, Any] | Callable[[str], dict[str, Any]], definition: dg.PartitionsDefinition[Any] | None = None
) -> dg.AssetsDefinition:
    @dg.asset(name="tickets", partitions_def=definition)
    def tickets(context: dg.AssetExecutionContext) -> pl.DataFrame:
        values = rows(str(context.partition_key)) if callable(rows) else rows
        return pl.DataFrame(values, schema_overrides={"body": pl.String})

    return tickets


def facts(**arguments: Any) -> dg.AssetsDefinition:
    @ig.semantic_asset(**{"name": "facts", "key": {"tickets": "id"}, **arguments})
    def made(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
        """Facts of every ticket."""
        return tickets.semantic.extract("body", Facts)

    return made


def rows_of(*bodies: str | None) -> dict[str, Any]:
    return {"id": list(range(1, len(bodies) + 1)), "body": list(bodies)}


def metadata_of(result: dg.ExecuteInProcessResult, key: str = "facts") -> dict[str, Any]:
    event = result.asset_materializations_for_node(key)[-1]
    return {name: value.value for name, value in event.metadata.items()}


def checks_of(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


def failure(result: dg.ExecuteInProcessResult) -> str:
    """What a person reads about the failed step."""
    data = result.get_step_failure_events()[0].step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return str(data.user_failure_data.description)
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return "" if error is None else error.message


def test_from_plain_upstream_to_plain_downstream(run: Run, storage: PolarsStorage, desk: Desk) -> None:
    @dg.asset
    def urgent_ones(facts: pl.LazyFrame) -> pl.LazyFrame:
        return facts.filter("urgent").select("id", "product")

    result = run(source(rows_of("lamp now", "desk", None)), facts(), urgent_ones)
    assert result.success
    expected = pl.DataFrame({"id": [1], "product": ["lamp now"]})
    assert_frame_equal(storage.load("urgent_ones").collect(), expected)
    published = storage.load("facts", row_ids=True).collect()
    assert published.columns == ["id", "body", "product", "urgent", "_row_id"]
    assert published["product"].to_list() == ["lamp now", "desk", None]
    version = storage.version("facts")
    assert version is not None
    assert sorted(path.name for path in version.folder.iterdir()) == [
        "data.parquet",
        "lineage.parquet",
        "rejects.parquet",
    ]


def test_metadata_says_what_happened(run: Run, storage: PolarsStorage) -> None:
    metadata = metadata_of(run(source(rows_of("lamp", "lamp", "desk", None)), facts()))
    assert metadata["dagster/row_count"] == 4
    assert (metadata["infergraph/calls"], metadata["infergraph/shared"]) == (2, 1)
    assert (metadata["infergraph/nulls"], metadata["infergraph/pending"], metadata["infergraph/rejected"]) == (1, 0, 0)
    assert metadata["infergraph/input_tokens"] > 0
    assert metadata["infergraph/cost_usd"] > 0
    numbers = ("calls", "store_hits", "shared", "rejected", "nulls", "pending", "input_tokens", "output_tokens")
    assert all(type(metadata[f"infergraph/{name}"]) is int for name in numbers)
    floats = ("cost_usd", "saved_usd", "rows_per_s", "seconds")
    assert all(type(metadata[f"infergraph/{name}"]) is float for name in floats)
    columns = {column.name: column for column in metadata["dagster/column_schema"].columns}
    assert columns["product"].description == "product the customer talks about"
    assert columns["urgent"].type == "Boolean"
    assert "_row_id" not in columns
    assert Path(metadata["dagster/uri"]).is_file()
    assert len(metadata["infergraph/plan_fingerprint"]) == 32
    assert "semantic.extract" in metadata["infergraph/plan"]
    assert metadata["infergraph/models"] == "desk (scripted:desk)"


def test_a_second_run_asks_nothing_and_has_the_same_data_version(
    run: Run, desk: Desk, instance: dg.DagsterInstance, storage: PolarsStorage
) -> None:
    tickets = source(rows_of("lamp", "desk"))
    versions = []
    for _ in range(2):
        result = run(tickets, facts())
        event = instance.get_latest_materialization_event(dg.AssetKey("facts"))
        assert event is not None
        assert event.asset_materialization is not None
        versions.append((event.asset_materialization.tags or {})["dagster/data_version"])
    assert desk.calls == 2
    metadata = metadata_of(result)
    assert (metadata["infergraph/calls"], metadata["infergraph/store_hits"]) == (0, 2)
    assert metadata["infergraph/saved_usd"] > 0
    assert versions[0] == versions[1] == rows_digest(storage.load("facts"))


def test_an_empty_input_publishes_an_empty_frame_of_the_right_schema(run: Run, storage: PolarsStorage) -> None:
    @dg.asset(name="tickets")
    def empty() -> pl.DataFrame:
        return pl.DataFrame(schema={"id": pl.Int64, "body": pl.String})

    result = run(empty, facts())
    assert result.success
    assert storage.load("facts").collect_schema() == pl.Schema(
        {"id": pl.Int64, "body": pl.String, "product": pl.String, "urgent": pl.Boolean}
    )
    assert metadata_of(result)["dagster/row_count"] == 0
    assert all(check.passed for check in checks_of(result).values())


def test_several_inputs_in_every_form_with_context_config_and_resources(run: Run, storage: PolarsStorage) -> None:
    class Words(dg.Config):
        prefix: str
        nested: dict[str, list[int]] = {}

    class Shop(dg.ConfigurableResource[Any]):
        name: str

    @dg.asset
    def names() -> pl.DataFrame:
        return pl.DataFrame({"id": [1, 2], "name": ["Ann", "Bo"]})

    @dg.asset
    def bans() -> pl.DataFrame:
        return pl.DataFrame({"id": [2]})

    seen: dict[str, Any] = {}

    @ig.semantic_asset(name="facts")
    def made(
        context: dg.AssetExecutionContext,
        config: Words,
        shop: Shop,
        tickets: ig.SemanticFrame,
        names,  # type: ignore[no-untyped-def]  # without annotation it is a SemanticFrame
        bans: pl.DataFrame,
    ) -> ig.SemanticFrame:
        seen.update(run=context.run.run_id, config=config, shop=shop.name, names=names, bans=bans)
        banned = bans["id"].to_list()
        joined = tickets.filter(~pl.col("id").is_in(banned)).join(names, on="id")
        worded = joined.with_columns(body=pl.lit(config.prefix) + pl.col("body"))
        frame: ig.SemanticFrame = worded.semantic.extract("body", Facts)
        return frame

    config = {"prefix": "re: ", "nested": {"a": [1]}, "limit": 1}
    result = run(
        source(rows_of("lamp", "desk")),
        names,
        bans,
        made,
        run_config={"ops": {"facts": {"config": config}}, "resources": {"shop": {"config": {"name": "corner"}}}},
        resources={**dict(run.__closure__[1].cell_contents), "shop": Shop.configure_at_launch()}  # type: ignore[index]
        if False
        else {"shop": Shop.configure_at_launch(), **_resources(run)},
    )
    assert result.success, failure(result)
    assert seen["run"] == result.run_id
    assert type(seen["config"]) is Words
    assert seen["config"].nested == {"a": [1]}
    assert seen["shop"] == "corner"
    assert isinstance(seen["names"], ig.SemanticFrame)
    assert isinstance(seen["bans"], pl.DataFrame)
    assert storage.load("facts").collect().to_dicts() == [
        {"id": 1, "body": "re: lamp", "name": "Ann", "product": "re: lamp", "urgent": False}
    ]
