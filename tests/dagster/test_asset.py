"""Semantic assets in real Dagster runs, on a scripted model."""

import re
from collections.abc import Callable, Iterator
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
from infergraph.dagster.planning import planned
from infergraph.dagster.resources import close_sessions
from infergraph.dagster.watching import watch
from infergraph.models.model import CallFailed, Request
from infergraph.models.scripted import Script, script
from infergraph.store import Store

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
def desk() -> Iterator[Desk]:
    made = Desk()
    with script("desk", made.answer) as running:
        made.script = running
        yield made
    close_sessions()


@pytest.fixture
def resources(tmp_path: Path, storage: PolarsStorage, desk: Desk) -> Resources:
    price = PriceSettings(input=1_000, output=1)
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
    def materialize(
        *assets: Any, partition: str | None = None, extra: Resources | None = None, **more: Any
    ) -> dg.ExecuteInProcessResult:
        given = {"resources": {**resources, **(extra or {})}, "raise_on_error": False, "instance": instance, **more}
        return dg.materialize(list(assets), partition_key=partition, **given)

    return materialize


def source(
    rows: dict[str, Any] | Callable[[str], dict[str, Any]], definition: dg.PartitionsDefinition[Any] | None = None
) -> dg.AssetsDefinition:
    @dg.asset(name="tickets", partitions_def=definition)
    def tickets(context: dg.AssetExecutionContext) -> pl.DataFrame:
        key = str(context.partition_key) if context.has_partition_key else ""
        values = rows(key) if callable(rows) else rows
        return pl.DataFrame(values, schema_overrides={"body": pl.String})

    return tickets


def facts(**arguments: Any) -> dg.AssetsDefinition:
    def made(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
        """Facts of every ticket."""
        return tickets.semantic.extract("body", Facts)

    definition: dg.AssetsDefinition = ig.semantic_asset(**{"name": "facts", "key": {"tickets": "id"}, **arguments})(
        made
    )
    return definition


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
    while error is not None and error.cause is not None and (error.cls_name or "").startswith("Dagster"):
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
    def made(  # type: ignore[no-untyped-def]  # a parameter without annotation is a SemanticFrame
        context: dg.AssetExecutionContext,
        config: Words,
        shop: Shop,
        tickets: ig.SemanticFrame,
        names,
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
        extra={"shop": Shop.configure_at_launch()},
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


CASES: list[tuple[dg.PartitionsDefinition[Any] | None, str | None]] = [
    (None, None),
    (dg.StaticPartitionsDefinition(["en", "de"]), "de"),
    (dg.DailyPartitionsDefinition("2026-11-01"), "2026-11-20"),
    (dg.DynamicPartitionsDefinition(name="inbox"), "drop/1: Zürich"),
    (
        dg.MultiPartitionsDefinition(
            {"day": dg.DailyPartitionsDefinition("2026-11-01"), "lang": dg.StaticPartitionsDefinition(["en", "de"])}
        ),
        dg.MultiPartitionKey({"day": "2026-11-20", "lang": "en"}),
    ),
]


@pytest.mark.parametrize(("definition", "key"), CASES)
def test_a_blocking_failure_leaves_the_old_rows(
    run: Run,
    storage: PolarsStorage,
    desk: Desk,
    instance: dg.DagsterInstance,
    definition: dg.PartitionsDefinition[Any] | None,
    key: str | None,
) -> None:
    if isinstance(definition, dg.DynamicPartitionsDefinition):
        instance.add_dynamic_partitions("inbox", [key or ""])
    rows = rows_of("lamp", "desk")
    tickets = source(lambda _: rows, definition)
    made = facts(partitions_def=definition, max_reject_rate=0.25)

    @dg.asset(partitions_def=definition)
    def downstream(facts: pl.LazyFrame) -> pl.LazyFrame:
        return facts

    first = run(tickets, made, downstream, partition=key)
    assert first.success
    count = "dagster/row_count" if definition is None else "dagster/partition_row_count"
    assert metadata_of(first)[count] == 2
    before = storage.version("facts", key)
    rows = rows_of("lamp", "chair")
    desk.refuse = {"chair"}
    second = run(tickets, made, downstream, partition=key)
    assert not second.success
    assert "'facts' was not published" in failure(second)
    assert "50.00%, allowed are 25.00%" in failure(second)
    assert not second.asset_materializations_for_node("facts")
    assert not second.asset_materializations_for_node("downstream")
    checks = checks_of(second)
    assert {name: check.passed for name, check in checks.items()} == {
        "schema": True,
        "row_count": True,
        "reject_rate": False,
        "budget": True,
    }
    assert checks["reject_rate"].severity is dg.AssetCheckSeverity.ERROR
    told = {name: value.value for name, value in checks["reject_rate"].metadata.items() if name != "rejects_sample"}
    assert told["reasons"] == {"refused": 1}
    assert told["infergraph/calls"] == 1, "lamp is in the store, chair was asked once"
    assert told["infergraph/cost_usd"] == checks["budget"].metadata["infergraph/cost_usd"].value
    failed = storage.failed("facts", key)
    assert failed is not None
    assert (failed.run_id, failed.rejects().collect()["reason"].to_list()) == (second.run_id, ["refused"])
    assert storage.version("facts", key) == before
    assert storage.load("facts", key).collect()["body"].to_list() == ["lamp", "desk"]
    assert not list((storage.base() / ".stage").iterdir())
    rows = rows_of("lamp", "desk")
    assert run(tickets, made, downstream, partition=key).success
    assert storage.failed("facts", key) is None


def test_without_a_limit_many_rejects_are_a_warning(run: Run, desk: Desk, storage: PolarsStorage) -> None:
    desk.refuse = {"chair"}
    result = run(source(rows_of("lamp", "chair")), facts())
    assert result.success
    check = checks_of(result)["reject_rate"]
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert check.metadata["reject_rate"].value == 0.5
    assert storage.load("facts").collect()["product"].to_list() == ["lamp", None]
    assert metadata_of(result)["infergraph/rejected"] == 1


def test_rejects_are_an_input_like_any_other(run: Run, desk: Desk, storage: PolarsStorage) -> None:
    desk.refuse = {"chair"}

    @dg.asset(ins={"rejects": ig.rejects_of("facts")})
    def bad_rows(rejects: pl.LazyFrame) -> pl.LazyFrame:
        return rejects

    @ig.semantic_asset(ins={"rejects": ig.rejects_of("facts")}, key={"rejects": "id"})
    def why(rejects: ig.SemanticFrame) -> ig.SemanticFrame:
        labelled: ig.SemanticFrame = rejects.semantic.classify("message", ["rude", "shut"], into="why", model="other")
        return labelled

    assert run(source(rows_of("lamp", "chair")), facts(), bad_rows, why).success
    bad = storage.load("bad_rows").collect()
    assert bad.columns[:3] == ["row_id", "id", "operator"]
    assert bad.select("id", "operator", "reason").to_dicts() == [{"id": 2, "operator": "extract", "reason": "refused"}]
    assert storage.load("why").collect()["why"].to_list()[0] in ("rude", "shut")


def test_rows_and_rejects_of_one_asset_are_two_inputs(run: Run, desk: Desk, storage: PolarsStorage) -> None:
    desk.refuse = {"chair"}

    @ig.semantic_asset(ins={"rejects": ig.rejects_of("facts")})
    def second_try(facts: ig.SemanticFrame, rejects: pl.LazyFrame) -> ig.SemanticFrame:
        bad = rejects.select("id").collect()["id"].to_list()
        labels: ig.SemanticFrame = facts.filter(pl.col("id").is_in(bad)).semantic.classify(
            "body", ["a", "b"], into="label", model="other"
        )
        return labels

    result = run(source(rows_of("lamp", "chair")), facts(), second_try)
    assert result.success, failure(result)
    assert storage.load("second_try").collect()["body"].to_list() == ["chair"]


def test_rejects_of_a_plain_asset_are_an_error_that_says_so(run: Run) -> None:
    @dg.asset(ins={"rejects": ig.rejects_of("tickets")})
    def bad_rows(rejects: pl.LazyFrame) -> pl.LazyFrame:
        return rejects

    assert "'tickets' has no rejects" in failure(run(source(rows_of("lamp")), bad_rows))


def test_prompts_and_responses_of_rejects_stay_out_of_the_event_log(
    run: Run, desk: Desk, instance: dg.DagsterInstance
) -> None:
    desk.refuse = {"4111"}
    result = run(source(rows_of("lamp", SECRET_TEXT)), facts())
    sample = metadata_of(result)["infergraph/rejects_sample"].records
    assert [record.data["reason"] for record in sample] == ["refused"]
    assert set(sample[0].data) == {"row_id", "operator", "reason", "message"}
    assert not any(SECRET_TEXT in str(entry) for entry in instance.all_logs(result.run_id))


def test_a_used_up_budget_fails_the_asset_and_says_what_finishing_costs(
    run: Run, desk: Desk, storage: PolarsStorage
) -> None:
    tickets = source(rows_of(*[f"thing {number}" for number in range(12)]))
    result = run(tickets, facts(max_cost_usd=0.25))
    assert not result.success
    assert 0 < desk.calls < 12
    said = failure(result)
    assert f"{desk.calls} of 12 rows are done" in said
    assert f"finishing takes {12 - desk.calls} more calls" in said
    assert re.search(r"about \d+\.\d+ USD", said)
    assert "max_cost_usd" in said
    assert checks_of(result)["budget"].metadata["pending"].value == 12 - desk.calls
    assert storage.version("facts") is None
    config = {"ops": {"facts": {"config": {"max_cost_usd": 100.0}}}}
    assert run(tickets, facts(max_cost_usd=0.25), run_config=config).success
    assert desk.calls == 12
    assert storage.load("facts").collect()["product"].null_count() == 0


def test_the_deployments_budget_ends_for_all_its_assets(
    run: Run, desk: Desk, resources: Resources, storage: PolarsStorage
) -> None:
    tickets = source(rows_of(*[f"thing {number}" for number in range(12)]))
    models = resources["models"]
    bounded = ModelsResource(models=models.models, default_model="desk", max_cost_usd_per_month=0.25)
    result = run(tickets, facts(), extra={"models": bounded})
    said, calls = failure(result), desk.calls
    assert 0 < calls < 12
    assert f"{calls} of 12 rows are done" in said
    assert "Wait for the next day or month, or raise the deployment's budget (max_cost_usd_per_day" in said
    assert not run(tickets, facts(name="others"), extra={"models": bounded}).success
    assert desk.calls == calls
    assert run(tickets, facts()).success
    assert desk.calls == 12


def test_what_is_there_may_be_published(run: Run, desk: Desk, storage: PolarsStorage) -> None:
    tickets = source(rows_of(*[f"thing {number}" for number in range(12)]))
    result = run(tickets, facts(max_cost_usd=0.25, publish_partial=True))
    assert result.success
    check = checks_of(result)["budget"]
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert storage.load("facts").collect()["product"].null_count() == 12 - desk.calls
    assert metadata_of(result)["infergraph/pending"] == 12 - desk.calls
    assert checks_of(result)["schema"].passed


def test_run_config_reaches_the_run(run: Run, desk: Desk, storage: PolarsStorage) -> None:
    tickets = source(rows_of("lamp", "desk", "chair"))

    def again(**config: Any) -> dg.ExecuteInProcessResult:
        return run(tickets, facts(), run_config={"ops": {"facts": {"config": config}}})

    limited = again(limit=2)
    assert storage.load("facts").collect().height == 2
    assert metadata_of(limited)["infergraph/limit"] == 2
    again()
    assert desk.calls == 3
    again(refresh=True)
    assert desk.calls == 6
    again(max_age=0.0)
    assert desk.calls == 9
    elsewhere = again(model="other")
    assert desk.calls == 9
    assert metadata_of(elsewhere)["infergraph/calls"] == 3
    named = again(model="scripted:never-configured")
    assert metadata_of(named)["infergraph/calls"] == 3
    assert "unknown" in failure(again(model="unknown"))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"limit": 0}, "limit=0: give a number of rows, 1 or more."),
        ({"max_cost_usd": -1.0}, "max_cost_usd=-1.0: give an amount of USD, 0 or more."),
        ({"max_age": -1.0}, "max_age=-1.0: give a timedelta or seconds, 0 or more."),
    ],
)
def test_a_wrong_option_in_the_run_config_is_told_in_a_sentence(
    run: Run, desk: Desk, config: dict[str, Any], said: str
) -> None:
    result = run(source(rows_of("lamp")), facts(), run_config={"ops": {"facts": {"config": config}}})
    assert failure(result).strip() == f"infergraph.errors.PlanError: {said}"
    assert desk.calls == 0


def test_remembered_rejections_are_asked_again_only_on_demand(run: Run, desk: Desk) -> None:
    desk.refuse = {"chair"}
    tickets = source(rows_of("lamp", "chair"))
    for _ in range(2):
        run(tickets, facts())
    assert desk.calls == 2
    desk.refuse = set()
    result = run(tickets, facts(), run_config={"ops": {"facts": {"config": {"retry_rejects": True}}}})
    assert desk.calls == 3
    assert metadata_of(result)["infergraph/rejected"] == 0


def test_the_assets_model_is_the_default_and_a_steps_own_goes_first(run: Run, desk: Desk) -> None:
    @ig.semantic_asset(model="other", name="facts")
    def made(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
        once: ig.SemanticFrame = tickets.semantic.classify("body", ["a", "b"], into="one")
        frame: ig.SemanticFrame = once.semantic.extract("body", Facts, model="desk")
        return frame

    result = run(source(rows_of("lamp")), made)
    assert metadata_of(result)["infergraph/models"] == "other (scripted:elsewhere), desk (scripted:desk)"
    assert desk.calls == 1
    assert "Did you mean 'other'" in failure(run(source(rows_of("lamp")), facts(model="othr")))


def test_a_config_schema_of_ones_own_keeps_the_run_options(run: Run, storage: PolarsStorage) -> None:
    seen = []

    @ig.semantic_asset(name="facts", config_schema={"word": str})
    def made(context: dg.AssetExecutionContext, tickets: ig.SemanticFrame) -> ig.SemanticFrame:
        seen.append(context.op_execution_context.op_config["word"])
        frame: ig.SemanticFrame = tickets.semantic.extract("body", Facts)
        return frame

    config = {"ops": {"facts": {"config": {"word": "hello", "limit": 1}}}}
    assert run(source(rows_of("lamp", "desk")), made, run_config=config).success
    assert seen == ["hello"]
    assert storage.load("facts").collect().height == 1


def test_an_unexpected_error_is_retried_and_one_that_no_retry_mends_is_not(run: Run, desk: Desk) -> None:
    tries = []

    @ig.semantic_asset(name="facts", retry_policy=dg.RetryPolicy(max_retries=2))
    def made(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError("a bad moment")
        column = "body" if len(tries) == 2 else "bodi"
        frame: ig.SemanticFrame = tickets.semantic.extract(column, Facts)
        return frame

    assert run(source(rows_of("lamp")), made).success
    assert len(tries) == 2
    result = run(source(rows_of("lamp")), made)
    assert not result.success
    assert len(tries) == 3
    assert "Did you mean 'body'" in failure(result)


class Hiccup(PolarsStorage):
    """Storage whose first publication of a semantic asset fails, before or after it counted."""

    after: bool

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        first = type(obj).__name__ == "Staged" and context.step_context.previous_attempt_count == 0
        if first and not self.after:
            raise RuntimeError("a bad moment")
        super().handle_output(context, obj)
        if first:
            raise RuntimeError("a bad moment")


@pytest.mark.parametrize("after", [True, False])
def test_a_retry_of_the_same_run_publishes_once_more_and_pays_nothing(
    run: Run, desk: Desk, storage: PolarsStorage, tmp_path: Path, after: bool
) -> None:
    hiccup = Hiccup(base_url=storage.base_url, after=after)
    made = facts(retry_policy=dg.RetryPolicy(max_retries=1))
    result = run(source(rows_of("lamp", "desk")), made, extra={"io_manager": hiccup})
    assert result.success
    assert desk.calls == 2
    assert metadata_of(result)["infergraph/store_hits"] == 2
    with Store.open(f"sqlite:///{tmp_path / 'state.db'}") as store:
        [row] = store.usage(run_id=result.run_id)
        [spent] = store.spent(["run_id", "asset"])
    assert (row.rows, row.calls, row.store_hits) == (4, 2, 2)
    assert (spent.run_id, spent.asset, spent.cost_nano_usd) == (result.run_id, "facts", row.cost_nano_usd)
    version = storage.version("facts")
    assert version is not None
    assert version.run_id == result.run_id
    assert len(version.kept) == (2 if after else 1)
    assert storage.load("facts").collect()["product"].to_list() == ["lamp", "desk"]


def test_a_blocking_check_is_not_retried(run: Run, desk: Desk) -> None:
    desk.refuse = {"chair"}
    made = facts(max_reject_rate=0.0, retry_policy=dg.RetryPolicy(max_retries=3))
    result = run(source(rows_of("chair")), made)
    assert not result.success
    kinds = [event.event_type_value for event in result.all_events]
    assert "STEP_UP_FOR_RETRY" not in kinds


def returns_rows(tickets: ig.SemanticFrame) -> Any:
    return tickets.collect()


def returns_lazy(tickets: ig.SemanticFrame) -> Any:
    return pl.LazyFrame({"n": [1]})


def returns_nothing(tickets: ig.SemanticFrame) -> Any:
    tickets.semantic.extract("body", Facts)


@pytest.mark.parametrize(
    ("function", "says"),
    [(returns_rows, "a DataFrame"), (returns_lazy, "a LazyFrame"), (returns_nothing, "nothing")],
)
def test_what_is_no_plan_is_refused(run: Run, function: Any, says: str) -> None:
    said = failure(run(source(rows_of("lamp")), ig.semantic_asset(name="facts")(function)))
    assert f"returned {says}" in said
    assert "return tickets.semantic.extract" in said


def test_the_plan_outside_of_a_run(run: Run, resources: Resources, instance: dg.DagsterInstance, desk: Desk) -> None:
    """What the command line's ``plan`` stands on: estimates without a run and without a call."""
    parts = dg.StaticPartitionsDefinition(["a", "b"])
    tickets, made = source(lambda key: rows_of(f"lamp {key}", f"desk {key}"), parts), facts(partitions_def=parts)

    class Names(dg.Config):
        skip: str = ""

    @ig.semantic_asset(ins={"rejects": ig.rejects_of("facts")})
    def labels(
        context: dg.AssetExecutionContext, config: Names, facts: ig.SemanticFrame, rejects: pl.DataFrame
    ) -> ig.SemanticFrame:
        assert rejects.is_empty()
        kept = facts.filter(pl.col("body") != config.skip)
        frame: ig.SemanticFrame = kept.semantic.classify("body", ["a", "b"], into="label", model="other")
        return frame

    definitions = dg.Definitions(assets=[tickets, made, labels], resources=resources)
    with (
        pytest.raises(ig.ConfigurationError, match="partition 'a' of 'tickets'"),
        planned(definitions, "facts", instance=instance, partition="a"),
    ):
        pass
    run(tickets, partition="a")
    with planned(definitions, "facts", instance=instance, partition="a", config={"limit": 1}) as (frame, options):
        assert frame.estimate(options).calls == 1
        assert frame.estimate().calls == 2
    for key in ("a", "b"):
        run(tickets, made, partition=key)
    with planned(definitions, "facts", instance=instance, partition="a") as (frame, options):
        assert frame.estimate(options).calls == 0
    with planned(definitions, "labels", instance=instance, config={"skip": "lamp a"}) as (frame, options):
        assert frame.estimate(options).calls == 3
    assert desk.calls == 4
    for key, says in (
        ("tickets", "no semantic asset"),
        ("fact", "Did you mean 'facts'"),
        ("facts", "name a partition"),
    ):
        with pytest.raises(ig.PlanError, match=says), planned(definitions, key, instance=instance):
            pass


class Shelf(dg.ConfigurableIOManager):
    """Someone else's IO manager: keeps what it is handed, as CSV."""

    folder: str

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        assert isinstance(obj, pl.LazyFrame)
        obj.sink_csv(Path(self.folder) / "shelf.csv")

    def load_input(self, context: dg.InputContext) -> Any:
        return pl.read_csv(Path(self.folder) / "shelf.csv")


def test_another_io_manager_is_handed_a_lazy_frame(run: Run, tmp_path: Path, storage: PolarsStorage) -> None:
    @ig.semantic_asset
    def again(facts: ig.SemanticFrame) -> ig.SemanticFrame:
        labelled: ig.SemanticFrame = facts.semantic.classify("product", ["a", "b"], into="label", model="other")
        return labelled

    shelf = {"shelf": Shelf(folder=str(tmp_path))}
    result = run(source(rows_of("lamp")), facts(io_manager_key="shelf"), again, extra=shelf)
    assert result.success, failure(result)
    assert pl.read_csv(tmp_path / "shelf.csv").columns == ["id", "body", "product", "urgent"]
    assert metadata_of(result)["dagster/row_count"] == 1
    assert storage.load("again").collect()["product"].to_list() == ["lamp"]


def test_an_io_manager_of_this_asset_only(run: Run, tmp_path: Path) -> None:
    own = PolarsStorage(base_url=str(tmp_path / "own"))
    result = run(source(rows_of("lamp")), facts(io_manager_def=own))
    assert result.success, failure(result)
    assert own.load("facts").collect().height == 1


def test_dagsters_pickles_are_refused_before_anything_is_asked(run: Run, desk: Desk, tmp_path: Path) -> None:
    result = run(
        source(rows_of("lamp")),
        facts(),
        extra={"io_manager": dg.FilesystemIOManager(base_dir=str(tmp_path / "pickles"))},
    )
    assert "PolarsStorage" in failure(result)
    assert desk.calls == 0


def test_everything_on_a_memory_url(run: Run, desk: Desk) -> None:
    far = PolarsStorage(base_url=f"memory://{uuid4().hex}")
    tickets, made = source(rows_of("lamp", "chair")), facts()
    for refused in (set(), {"lamp"}):
        desk.refuse = refused
        run(tickets, made, extra={"io_manager": far})
    assert far.load("facts").collect()["product"].to_list() == ["lamp", "chair"]
    assert far.load("facts", part="rejects").collect().height == 0


def test_two_partitions_at_once(run: Run, storage: PolarsStorage, desk: Desk, tmp_path: Path) -> None:
    parts = dg.StaticPartitionsDefinition(["a", "b"])
    tickets = source(lambda key: rows_of(f"lamp {key}", f"desk {key}"), parts)
    made = facts(partitions_def=parts)
    # Dagster's instance in memory locks its tables against a second thread; one on disk waits.
    with dg.DagsterInstance.local_temp(str(tmp_path)) as on_disk, ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda key: run(tickets, made, partition=key, instance=on_disk), ["a", "b"]))
    assert [result.success for result in results] == [True, True]
    for key in ("a", "b"):
        assert storage.load("facts", key).collect()["product"].to_list() == [f"lamp {key}", f"desk {key}"]


def test_row_ids_stay_the_same_from_asset_to_asset(run: Run, storage: PolarsStorage) -> None:
    @ig.semantic_asset
    def labelled(facts: ig.SemanticFrame) -> ig.SemanticFrame:
        frame: ig.SemanticFrame = facts.semantic.classify("product", ["a", "b"], into="label", model="other")
        return frame

    assert run(source(rows_of("lamp", "desk")), facts(), labelled).success
    ids = [storage.load(key, row_ids=True).collect()["_row_id"].to_list() for key in ("facts", "labelled")]
    assert ids[0] == ids[1]


def test_only_so_many_versions_are_kept(run: Run, storage: PolarsStorage) -> None:
    for _ in range(4):
        assert run(source(rows_of("lamp")), facts(keep_versions=2)).success
    version = storage.version("facts")
    assert version is not None
    assert len(version.kept) == 2


def job_of(
    resources: Resources, instance: dg.DagsterInstance, selection: Any, *assets: Any
) -> dg.ExecuteInProcessResult:
    definitions = dg.Definitions(
        assets=list(assets), resources=resources, jobs=[dg.define_asset_job("some", selection=selection)]
    )
    return definitions.resolve_job_def("some").execute_in_process(instance=instance, raise_on_error=False)


def test_checks_alone_look_at_what_is_published(
    run: Run, resources: Resources, instance: dg.DagsterInstance, desk: Desk, storage: PolarsStorage
) -> None:
    desk.refuse = {"chair"}
    tickets = source(rows_of("lamp", "chair"))
    assert run(tickets, facts()).success
    before, calls = storage.version("facts"), desk.calls
    strict = facts(max_reject_rate=0.1)
    only_checks = dg.AssetSelection.checks_for_assets(strict)
    result = job_of(resources, instance, only_checks, tickets, strict)
    found = {name: check.passed for name, check in checks_of(result).items()}
    assert found == {"schema": True, "row_count": True, "reject_rate": False, "budget": True}
    assert not result.get_asset_materialization_events()
    assert desk.calls == calls
    assert storage.version("facts") == before


def test_rows_that_two_branches_read_do_not_dilute_the_reject_rate(run: Run, desk: Desk) -> None:
    desk.refuse = {"chair"}

    @ig.semantic_asset(name="facts", key={"tickets": "id"}, max_reject_rate=0.4)
    def made(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
        found = tickets.semantic.extract("body", Facts)
        return ig.concat([found, found])

    check = checks_of(run(source(rows_of("lamp", "chair")), made))["reject_rate"]
    assert check.metadata["reject_rate"].value == 0.5
    assert not check.passed


def test_an_asset_may_be_made_without_its_checks(resources: Resources, instance: dg.DagsterInstance) -> None:
    tickets, made = source(rows_of("lamp")), facts()
    selection = dg.AssetSelection.assets(tickets, made).without_checks()
    result = job_of(resources, instance, selection, tickets, made)
    assert result.success
    assert not result.get_asset_check_evaluations()


def test_rows_that_fail_a_deselected_check_are_not_published_either(
    resources: Resources, instance: dg.DagsterInstance, desk: Desk, storage: PolarsStorage
) -> None:
    desk.refuse = {"lamp"}
    tickets, made = source(rows_of("lamp")), facts(max_reject_rate=0.0)
    result = job_of(resources, instance, dg.AssetSelection.assets(tickets, made).without_checks(), tickets, made)
    assert "reject_rate" in failure(result)
    assert storage.version("facts") is None


def test_rows_that_changed_type_or_lost_a_required_answer_fail_the_schema_check(
    run: Run, resources: Resources, instance: dg.DagsterInstance, storage: PolarsStorage
) -> None:
    class Moved(BaseModel):
        product: int
        urgent: bool
        since: str

    tickets = source(rows_of("lamp"))
    assert run(tickets, facts()).success

    @ig.semantic_asset(name="facts")
    def moved(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
        frame: ig.SemanticFrame = tickets.semantic.extract("body", Moved)
        return frame

    check = checks_of(job_of(resources, instance, dg.AssetSelection.checks_for_assets(moved), tickets, moved))["schema"]
    assert not check.passed
    assert check.description is not None
    assert "column 'since' is missing" in check.description
    assert "column product: String, not Int64" in check.description


def test_a_required_answer_that_is_null_is_found(
    run: Run, resources: Resources, instance: dg.DagsterInstance, storage: PolarsStorage, desk: Desk
) -> None:
    desk.refuse = {"chair"}
    tickets, made = source(rows_of("lamp", "chair", None)), facts()
    assert checks_of(run(tickets, made))["schema"].passed
    version = storage.version("facts")
    assert version is not None
    path = Path(str(version.path()))
    rows = pl.read_parquet(path)
    rows.with_columns(product=pl.lit(None, pl.String)).write_parquet(path)
    check = checks_of(job_of(resources, instance, dg.AssetSelection.checks_for_assets(made), tickets, made))["schema"]
    assert check.description == "required answer 'product' is null in 1 rows that were not rejected"


class Renamed(BaseModel):
    item: str = Field(alias="product")


@pytest.mark.parametrize("into", [None, "fact"])
def test_a_required_answer_is_looked_at_under_an_alias_and_inside_of_a_struct(
    run: Run, resources: Resources, instance: dg.DagsterInstance, storage: PolarsStorage, desk: Desk, into: str | None
) -> None:
    @ig.semantic_asset(name="facts", key={"tickets": "id"})
    def made(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
        return tickets.semantic.extract("body", Renamed, into=into)

    desk.refuse = {"chair"}
    tickets = source(rows_of("lamp", "chair", None))
    assert checks_of(run(tickets, made))["schema"].passed
    version = storage.version("facts")
    assert version is not None
    path = Path(str(version.path()))
    nothing = pl.lit(None, pl.String).alias("item")
    pl.read_parquet(path).with_columns(nothing if into is None else pl.struct(nothing).alias(into)).write_parquet(path)
    check = checks_of(job_of(resources, instance, dg.AssetSelection.checks_for_assets(made), tickets, made))["schema"]
    name = "item" if into is None else "fact.item"
    assert check.description == f"required answer {name!r} is null in 1 rows that were not rejected"


def test_progress_is_heard_by_whoever_watches(run: Run) -> None:
    heard = []
    with watch(lambda asset, progress: heard.append((asset, progress.operator, progress.rows))):
        run(source(rows_of("lamp", "desk")), facts())
    assert heard[-1] == ("facts", "extract", 2)


def test_progress_is_logged_now_and_then_and_never_a_line_a_row(
    run: Run, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infergraph.dagster.telling.LOG_EVERY_S", 0.0)
    result = run(source(rows_of(*map(str, range(50)))), facts())
    lines = [entry.user_message for entry in instance.all_logs(result.run_id) if "store hits" in entry.user_message]
    assert lines
    assert len(lines) < 25
    assert re.fullmatch(
        r"extract: 50 of 50 rows, 50 calls, 0 store hits, 0 rejected, 0 pending, [\d.]+ USD, [\d.]+ rows/s", lines[-1]
    )


def test_a_single_run_over_many_partitions_is_refused_before_anything_is_asked(run: Run, desk: Desk) -> None:
    days = dg.DailyPartitionsDefinition("2026-11-01", end_date="2026-11-04")
    tags = {"dagster/asset_partition_range_start": "2026-11-01", "dagster/asset_partition_range_end": "2026-11-03"}
    tickets = source(lambda _: rows_of("lamp"), days)
    for key in days.get_partition_keys():
        run(tickets, partition=key)
    made = facts(partitions_def=days, backfill_policy=dg.BackfillPolicy.single_run())
    result = run(tickets, made, selection=[made], tags=tags)
    assert "multi_run" in failure(result)
    assert desk.calls == 0


def test_an_unpartitioned_asset_reads_all_partitions_of_a_semantic_one(run: Run, storage: PolarsStorage) -> None:
    parts = dg.StaticPartitionsDefinition(["a", "b"])
    tickets, made = source(lambda key: rows_of(f"lamp {key}"), parts), facts(partitions_def=parts)

    @ig.semantic_asset(key={"facts": ["product"]})
    def everything(facts: ig.SemanticFrame) -> ig.SemanticFrame:
        return facts

    for key in ("a", "b"):
        assert run(tickets, made, partition=key).success
    assert run(everything, made, tickets, selection=[everything]).success
    assert storage.load("everything").collect()["product"].to_list() == ["lamp a", "lamp b"]


def test_where_nulls_a_filter_and_optional_answers_pass_the_schema_check(run: Run, desk: Desk) -> None:
    class Loose(BaseModel):
        product: str
        urgent: bool | None
        mood: Literal["good", "bad"] | None = None

    @ig.semantic_asset(name="facts")
    def made(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
        asked: ig.SemanticFrame = tickets.semantic.extract("body", Loose, where=pl.col("id") > 1, model="other")
        frame: ig.SemanticFrame = asked.filter(pl.col("id") < 4).select("id", "product", "mood")
        return frame

    result = run(source(rows_of("lamp", "desk", None, "chair")), made)
    assert result.success, failure(result)
    assert all(check.passed for check in checks_of(result).values())
