"""Rejects as data: kept for each partition and run, read by other assets, told in metadata; retried alone."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from pydantic import BaseModel, field_validator

import infergraph as ig
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, PriceSettings, StoreResource
from infergraph.dagster.planning import planned
from infergraph.dagster.rejects_told import without_repeats
from infergraph.dagster.resources import close_sessions
from infergraph.dagster.retrying import LastRun, changed_since, last_run
from infergraph.errors import ConfigurationError, PlanError
from infergraph.models.model import Request
from infergraph.models.scripted import Script, script

DAYS = dg.StaticPartitionsDefinition(["monday", "tuesday"])
BODIES = {
    "": ["lamp", "bad chair", "desk", "bad stool", "bad chair"],
    "monday": ["lamp", "bad chair"],
    "tuesday": ["bad desk", "bad stool", "shelf"],
}
PRIVATE = "my number is 4111"


class Fact(BaseModel):
    product: str


def subject(request: Request) -> str:
    return str(re.findall(r"<body>\n(.*?)\n</body>", request.messages[1].content, re.DOTALL)[-1])


def picky(request: Request) -> Any:
    """No answer to what is bad."""
    text = subject(request)
    return f"{text}? {PRIVATE}" if "bad" in text else {"product": text}


def clever(request: Request) -> Any:
    """An answer to everything but stools."""
    text = subject(request)
    return "no idea" if "stool" in text else {"product": text.upper()}


@pytest.fixture
def desk() -> Iterator[Script]:
    with script("desk", picky) as running:
        yield running
    close_sessions()


@pytest.fixture
def smart() -> Iterator[Script]:
    with script("smart", clever) as running:
        yield running


@pytest.fixture
def resources(tmp_path: Path, storage: PolarsStorage) -> dict[str, Any]:
    price = PriceSettings(input=1_000, output=1)
    models = {
        "desk": ModelSettings(name="scripted:desk", price=price),
        "smart": ModelSettings(name="scripted:smart", price=PriceSettings(input=5_000, output=1)),
    }
    return {
        "models": ModelsResource(models=models, default_model="desk"),
        "store": StoreResource(url=f"sqlite:///{tmp_path / 'state.db'}"),
        "io_manager": storage,
    }


Run = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def run(resources: dict[str, Any], instance: dg.DagsterInstance, desk: Script) -> Run:
    def materialize(*assets: Any, partition: str | None = None, **config: Any) -> dg.ExecuteInProcessResult:
        ops = {"ops": {"facts": {"config": config}}} if config else None
        return dg.materialize(
            list(assets), partition_key=partition, run_config=ops, resources=resources, instance=instance,
            raise_on_error=False,
        )  # fmt: skip

    return materialize


def tickets_of(bodies: Mapping[str, list[str]], days: dg.PartitionsDefinition[Any] | None = None) -> Any:
    @dg.asset(partitions_def=days)
    def tickets(context: dg.AssetExecutionContext) -> pl.DataFrame:
        found = bodies[context.partition_key if context.has_partition_key else ""]
        return pl.DataFrame({"id": range(len(found)), "body": found})

    return tickets


def facts_of(days: dg.PartitionsDefinition[Any] | None = None, **arguments: Any) -> Any:
    @ig.semantic_asset(key={"tickets": "id"}, partitions_def=days, **arguments)
    def facts(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
        return tickets.semantic.extract("body", Fact)

    return facts


def metadata_of(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    return {name: value.value for name, value in result.asset_materializations_for_node("facts")[-1].metadata.items()}


def products(storage: PolarsStorage, partition: str | None = None) -> list[str | None]:
    return storage.load("facts", partition).collect()["product"].to_list()


def rejected(storage: PolarsStorage, partition: str | None = None) -> list[int]:
    return storage.load("facts", partition, part="rejects").collect()["id"].to_list()


# -- as data -------------------------------------------------------------------------------------------------------


def test_they_are_kept_for_every_partition_and_run(run: Run, storage: PolarsStorage) -> None:
    assets = tickets_of(BODIES, DAYS), facts_of(DAYS)
    results = [run(*assets, partition=day) for day in ("monday", "tuesday", "monday")]
    assert all(result.success for result in results)
    assert rejected(storage, "monday") == [1]
    assert rejected(storage, "tuesday") == [0, 1]
    for day, count in (("monday", 2), ("tuesday", 1)):
        version = storage.version("facts", day)
        assert version is not None
        assert len(version.kept) == count
        assert all((version.folder.parent / name / "rejects.parquet").exists() for name in version.kept)


def test_metadata_counts_them_by_reason_and_shows_none_of_their_text(run: Run, instance: dg.DagsterInstance) -> None:
    result = run(tickets_of(BODIES), facts_of())
    told = metadata_of(result)
    assert told["infergraph/rejected"] == 3
    assert told["infergraph/reject_reasons"] == {"invalid_output": 3}
    sample = [record.data for record in told["infergraph/rejects_sample"].records]
    assert [record["reason"] for record in sample] == ["invalid_output"] * 3
    assert all("not one JSON object" in str(record["message"]) for record in sample)
    said = "".join(str(entry) for entry in instance.all_logs(result.run_id))
    assert "reject_reasons" in said
    assert PRIVATE not in said
    assert "bad stool" not in said


class Strict(BaseModel):
    product: int


class Talkative(BaseModel):
    product: str

    @field_validator("product")
    @classmethod
    def _known(cls, product: str) -> str:
        raise ValueError(f"no product is called {product}")


Step = Callable[[ig.SemanticFrame], ig.SemanticFrame]


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (lambda frame: frame.semantic.extract("body", Strict), "product: must be a valid integer"),
        (lambda frame: frame.semantic.extract("body", Talkative), "product: no product is called [...]"),
        (lambda frame: frame.semantic.classify("body", ["product", "other"], into="k"), "is not allowed. Answer with"),
    ],
)
def test_the_sample_does_not_repeat_what_was_said(
    run: Run, desk: Script, instance: dg.DagsterInstance, step: Step, says: str
) -> None:
    @ig.semantic_asset
    def facts(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
        return step(tickets)

    with script("smart", lambda request: {"product": PRIVATE, "label": PRIVATE}):
        result = run(tickets_of({"": [PRIVATE]}), facts, model="smart")
    (record,) = metadata_of(result)["infergraph/rejects_sample"].records
    assert says in str(record.data["message"])
    assert not any(PRIVATE in str(entry) for entry in instance.all_logs(result.run_id))


WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "'a'", '"b"']))


@given(WORDS, WORDS)
def test_no_run_of_words_and_no_quoted_word_is_repeated(message: list[str], said: list[str]) -> None:
    text = " ".join(said)
    told = without_repeats(" ".join(message), (text,))
    left = told.split(" ")
    assert not any(" ".join(left[start : start + 3]) in text for start in range(len(left) - 2))
    assert not any(quoted in told for quoted in ("'a'", '"b"') if quoted[1] in text)
    assert without_repeats(" ".join(message), ("",)) == " ".join(message)


def test_partitions_of_them_are_read_by_plain_and_semantic_assets(run: Run, storage: PolarsStorage) -> None:
    @dg.asset(partitions_def=DAYS, ins={"rejects": ig.rejects_of("facts")})
    def same_day(rejects: pl.LazyFrame) -> pl.LazyFrame:
        return rejects.select("id", "reason")

    @ig.semantic_asset(partitions_def=DAYS, ins={"rejects": ig.rejects_of("facts")}, key={"rejects": "id"})
    def second_look(rejects: ig.SemanticFrame) -> ig.SemanticFrame:
        return rejects.semantic.classify("message", ["form", "content"], into="kind", model="smart")

    assets = tickets_of(BODIES, DAYS), facts_of(DAYS), same_day, second_look
    for day in ("monday", "tuesday"):
        assert run(*assets, partition=day).success
    assert storage.load("same_day", "tuesday").collect().to_dict(as_series=False) == {
        "id": [0, 1],
        "reason": ["invalid_output"] * 2,
    }
    looked = storage.load("second_look", "tuesday").collect()
    assert looked["id"].to_list() == [0, 1]
    assert set(looked["kind"]) <= {"form", "content"}


def test_partition_mappings_work_as_for_rows(
    run: Run, storage: PolarsStorage, resources: dict[str, Any], instance: dg.DagsterInstance
) -> None:
    @dg.asset(ins={"rejects": ig.rejects_of("facts", partition_mapping=dg.AllPartitionMapping())})
    def every_day(rejects: pl.LazyFrame) -> pl.LazyFrame:
        return rejects.select("id", "prompt")

    before = dg.StaticPartitionMapping({"monday": "tuesday"})

    @ig.semantic_asset(partitions_def=DAYS, ins={"rejects": ig.rejects_of("facts", partition_mapping=before)})
    def day_before(rejects: ig.SemanticFrame) -> ig.SemanticFrame:
        return rejects.semantic.classify("message", ["form", "content"], into="kind", model="smart")

    upstream = tickets_of(BODIES, DAYS), facts_of(DAYS)
    for day in ("monday", "tuesday"):
        assert run(*upstream, partition=day).success
    assert run(*upstream, day_before, partition="tuesday").success
    assert storage.load("day_before", "tuesday").collect()["id"].to_list() == [1]
    whole = dg.materialize([every_day, *upstream], selection=[every_day], resources=resources, instance=instance)
    assert whole.success
    assert storage.load("every_day").collect()["id"].to_list() == [1, 0, 1]


# -- asked again ---------------------------------------------------------------------------------------------------


def test_as_many_first_attempts_as_rejects_and_all_other_rows_as_they_were(
    run: Run, storage: PolarsStorage, desk: Script, smart: Script
) -> None:
    assets = tickets_of(BODIES), facts_of()
    assert run(*assets).success
    before = storage.load("facts", row_ids=True).collect()
    asked = len(desk.requests)
    assert products(storage) == ["lamp", None, "desk", None, None]

    result = run(*assets, retry_rejects=True, retry_model="smart")
    assert result.success
    # Two different requests stand behind three rejects; "stool" is repaired twice, and stays a reject.
    first = [request for request in smart.requests if len(request.messages) == 2]
    assert sorted(map(subject, first)) == ["bad chair", "bad stool"]
    assert len(desk.requests) == asked
    told = metadata_of(result)
    assert (told["infergraph/calls"], told["infergraph/shared"], told["infergraph/store_hits"]) == (2, 1, 2)
    after = storage.load("facts", row_ids=True).collect()
    assert after["product"].to_list() == ["lamp", "BAD CHAIR", "desk", None, "BAD CHAIR"]
    same = ~pl.col("id").is_in([1, 4])
    assert_frame_equal(after.filter(same), before.filter(same))
    assert after["_row_id"].to_list() == before["_row_id"].to_list()
    (left,) = storage.load("facts", part="rejects").collect().to_dicts()
    assert (left["id"], left["model"], left["attempts"]) == (3, "scripted:smart", 6)
    lineage = storage.load("facts", part="lineage").collect()
    assert sorted(lineage["via"]) == ["direct", "direct", "fallback:smart", "fallback:smart", "fallback:smart"]

    again = run(*assets)
    assert metadata_of(again)["infergraph/calls"] == 0, "the new answers are found by later runs"
    assert products(storage) == after["product"].to_list()


def test_a_retry_without_another_model_asks_the_same_one(run: Run, storage: PolarsStorage, desk: Script) -> None:
    assets = tickets_of(BODIES), facts_of()
    assert run(*assets).success
    asked = len([request for request in desk.requests if len(request.messages) == 2])
    assert run(*assets, retry_rejects=True).success
    assert len([request for request in desk.requests if len(request.messages) == 2]) == asked + 2
    assert products(storage) == ["lamp", None, "desk", None, None]


def test_a_model_outside_of_the_deployment_may_be_named_in_full(run: Run, storage: PolarsStorage) -> None:
    assets = tickets_of(BODIES), facts_of()
    assert run(*assets).success
    with script("elsewhere", clever):
        assert run(*assets, retry_rejects=True, retry_model="scripted:elsewhere").success
    assert products(storage) == ["lamp", "BAD CHAIR", "desk", None, "BAD CHAIR"]


def test_options_that_do_not_fit_are_said_before_anything_is_asked(run: Run, desk: Script) -> None:
    assets = tickets_of(BODIES), facts_of()
    for config, says in (
        ({"retry_model": "smart"}, "add retry_rejects=True"),
        ({"retry_rejects": True, "retry_model": "smrt"}, "Did you mean 'smart'"),
        ({"retry_rejects": True, "retry_model": "smart", "refresh": True}, "give one"),
    ):
        result = run(*assets, **config)
        assert not result.success
        assert says in str(result.failure_data_for_node("facts"))
    assert desk.requests == []


def test_an_estimate_of_a_retry_is_at_the_price_of_who_is_asked(
    run: Run, resources: dict[str, Any], instance: dg.DagsterInstance
) -> None:
    assets = tickets_of(BODIES), facts_of()
    assert run(*assets).success
    definitions = dg.Definitions(assets=assets, resources=resources)

    def estimated(**config: Any) -> ig.Estimate:
        with planned(definitions, "facts", instance=instance, config=config) as (frame, options):
            return frame.estimate(options)

    own, other = estimated(retry_rejects=True), estimated(retry_rejects=True, retry_model="smart")
    assert (own.calls, other.calls) == (2, 2)
    assert own.cost_usd is not None
    assert other.cost_usd is not None
    assert 4.5 < other.cost_usd / own.cost_usd <= 5


# -- what a retry may change ---------------------------------------------------------------------------------------


Changed = Callable[..., str]


@pytest.fixture
def changed(storage: PolarsStorage, resources: dict[str, Any], instance: dg.DagsterInstance) -> Changed:
    """What a retry of ``facts`` would change beside its rejects."""

    def look(*assets: Any, partition: str | None = None) -> str:
        definitions = dg.Definitions(assets=assets, resources=resources)
        last = last_run(storage, dg.AssetKey("facts"), partition)
        with planned(definitions, "facts", instance=instance, partition=partition, config=last.config) as (frame, how):
            return changed_since(last, frame, how)

    return look


def test_nothing_changes_when_nothing_changed(run: Run, changed: Changed, storage: PolarsStorage) -> None:
    for days, partition in ((None, None), (DAYS, "tuesday")):
        assets = tickets_of(BODIES, days), facts_of(days)
        assert run(*assets, partition=partition).success
        assert changed(*assets, partition=partition) == ""
    assert last_run(storage, dg.AssetKey("facts"), "tuesday").requests == 2


def test_rows_that_came_in_or_went_are_noticed(run: Run, changed: Changed) -> None:
    assert run(tickets_of(BODIES), facts_of()).success
    more = tickets_of({"": [*BODIES[""], "shelf", "door"]})
    assert run(more).success
    assert changed(more, facts_of()).startswith("2 requests beside the rejects would be made")
    fewer = tickets_of({"": BODIES[""][1:]})
    assert run(fewer).success
    assert changed(fewer, facts_of()).startswith("other rows would change too")


def test_another_plan_is_noticed(run: Run, changed: Changed) -> None:
    assert run(tickets_of(BODIES), facts_of()).success

    @ig.semantic_asset(key={"tickets": "id"})
    def facts(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
        return tickets.semantic.extract("body", Fact, instruction="Mind the colour.")

    assert changed(tickets_of(BODIES), facts).startswith("its plan is another one now")


def test_rows_that_a_budget_left_out_are_no_rejects(run: Run, changed: Changed, storage: PolarsStorage) -> None:
    assets = tickets_of(BODIES), facts_of()
    assert not run(*assets, max_cost_usd=0.0).success
    assert last_run(storage, dg.AssetKey("facts")).rejects.is_empty()
    assert changed(*assets).startswith("4 requests beside the rejects would be made")


def test_the_limit_and_the_model_of_the_run_are_kept(run: Run, changed: Changed, storage: PolarsStorage) -> None:
    assets = tickets_of(BODIES), facts_of()
    with script("smart", picky):
        assert run(*assets, limit=2, model="smart").success
    last = last_run(storage, dg.AssetKey("facts"))
    assert last.config == {"limit": 2, "model": "smart"}
    assert changed(*assets) == ""


def test_a_run_that_was_not_published_can_be_retried(
    run: Run, changed: Changed, storage: PolarsStorage, smart: Script
) -> None:
    assets = tickets_of(BODIES), facts_of(max_reject_rate=0.3)
    assert not run(*assets).success
    assert storage.version("facts") is None
    last = last_run(storage, dg.AssetKey("facts"))
    assert (last.published, last.requests, last.rejects.height) == (False, 2, 3)
    assert changed(*assets) == ""
    result = run(*assets, retry_rejects=True, retry_model="smart")
    assert result.success
    assert metadata_of(result)["infergraph/calls"] == 2
    assert storage.failed("facts") is None
    assert last_run(storage, dg.AssetKey("facts")).published


def test_requests_that_timed_out_are_open_and_expected(
    resources: dict[str, Any], tmp_path: Path, instance: dg.DagsterInstance, desk: Script
) -> None:
    assets = tickets_of({"": ["lamp", "desk"]}), facts_of()
    assert dg.materialize(assets[:1], resources=resources, instance=instance).success
    definitions = dg.Definitions(assets=assets, resources=resources)

    def changes(*prompts: str | None) -> str:
        late = [
            {"row_id": str(row), "operator": "extract", "prompt": prompt, "reason": "timeout", "attempts": 6}
            for row, prompt in enumerate(prompts)
        ]
        with planned(definitions, "facts", instance=instance) as (frame, options):
            return changed_since(LastRun(name="facts", published=True, rejects=pl.DataFrame(late)), frame, options)

    assert changes("the lamp", "the desk", "the lamp") == ""
    assert changes(None, None) == "", "prompts that are not kept tell no requests apart"
    assert changes("the lamp").startswith("1 request beside the rejects would be made")
    assert desk.requests == []


def test_what_was_never_made_or_calls_no_model_is_said(run: Run, storage: PolarsStorage) -> None:
    with pytest.raises(ConfigurationError, match="Nothing was made of 'facts' yet"):
        last_run(storage, dg.AssetKey("facts"))
    assert run(tickets_of(BODIES)).success
    with pytest.raises(PlanError, match="'tickets' has no rejects"):
        last_run(storage, dg.AssetKey("tickets"))
