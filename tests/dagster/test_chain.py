"""Estimates of whole selections, and the estimate that an asset's run keeps, on real Dagster runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

import infergraph as ig
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, PriceSettings, StoreResource
from infergraph.dagster.chain import AssetEstimate, estimate_selection, total
from infergraph.dagster.resources import close_sessions
from infergraph.models.model import Request
from infergraph.models.scripted import script
from infergraph.store import Store

ROWS = 30


def answer(request: Request) -> dict[str, Any] | str:
    body = request.messages[-1].content
    number = sum(body.encode())
    if request.choices is None:
        return f"short {number % 7}"
    values = request.choices.values
    return {request.choices.field: number % 3 > 0 if request.choices.boolean else values[number % len(values)]}


@dg.asset
def tickets() -> pl.DataFrame:
    return pl.DataFrame({"id": range(ROWS), "body": [f"ticket {n}" for n in range(ROWS)]})


@ig.semantic_asset(key={"tickets": "id"})
def kinds(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
    """A kind for each."""
    return tickets.semantic.classify("body", ["a", "b", "c"], into="kind")


@ig.semantic_asset
def urgent(kinds: ig.SemanticFrame) -> ig.SemanticFrame:
    """Some of them."""
    return kinds.semantic.filter("{{ body }} is urgent").semantic.map("Shorten {{ body }} {{ kind }}", into="short")


@ig.semantic_asset
def answers(urgent: ig.SemanticFrame, tickets: pl.LazyFrame) -> ig.SemanticFrame:
    """With what they came from."""
    joined = urgent.join(tickets.select("id", again="body"), on="id")
    return joined.semantic.map("Answer {{ short }} {{ again }}", into="answer")


@ig.semantic_asset
def groups(urgent: ig.SemanticFrame) -> ig.SemanticFrame:
    """One row a kind."""
    first = urgent.group_by("kind").agg(pl.col("short").first())
    return first.semantic.map("Sum up {{ short }}", into="sum")


@ig.semantic_asset
def plain_reader(kinds: pl.LazyFrame, tickets: ig.SemanticFrame) -> ig.SemanticFrame:
    """Reads another one as a plain frame."""
    return tickets.join(kinds.select("id", "kind"), on="id").semantic.map("{{ kind }} of {{ body }}", into="t")


@ig.semantic_asset(ins={"rejects": ig.rejects_of("kinds")})
def again(rejects: ig.SemanticFrame) -> ig.SemanticFrame:
    """What was rejected."""
    return rejects.semantic.map("Why {{ message }}", into="why")


ASSETS = [tickets, kinds, urgent, answers, groups, plain_reader, again]
CHAIN = ["tickets", "kinds", "urgent", "answers", "groups"]


@pytest.fixture
def definitions(tmp_path: Path, storage: PolarsStorage) -> Iterator[dg.Definitions]:
    model = ModelSettings(name="scripted:chain", price=PriceSettings(input=1_000, output=1_000))
    resources = {
        "models": ModelsResource(models={"chain": model}),
        "store": StoreResource(url=f"sqlite:///{tmp_path / 'state.db'}"),
        "io_manager": storage,
    }
    with script("chain", answer):
        yield dg.Definitions(assets=ASSETS, resources=resources)
    close_sessions()


def materialize(definitions: dg.Definitions, instance: dg.DagsterInstance, *names: str) -> dg.ExecuteInProcessResult:
    chosen = [asset for asset in ASSETS if asset.key.to_user_string() in names]
    others = [asset for asset in ASSETS if asset not in chosen]
    return dg.materialize(
        [*chosen, *others], selection=list(names), resources=definitions.resources, instance=instance
    )  # fmt: skip


def estimates(
    definitions: dg.Definitions, instance: dg.DagsterInstance, *names: str, **config: Any
) -> dict[str, AssetEstimate]:
    keys = [dg.AssetKey(name) for name in names]
    parts = estimate_selection(definitions, keys, instance=instance, config=config)
    assert [part.asset for part in parts if part.estimate is None and not part.problem] == []
    return {part.asset: part for part in parts}


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    event = result.asset_materializations_for_node(asset)[-1]
    return {name: value.value for name, value in event.metadata.items()}


@pytest.mark.parametrize("made_before", [[], ["kinds"], ["kinds", "urgent"]])
def test_what_a_selection_asks_lies_within_its_estimate(
    definitions: dg.Definitions, instance: dg.DagsterInstance, made_before: list[str]
) -> None:
    assert materialize(definitions, instance, "tickets", *made_before).success
    parts = estimates(definitions, instance, *CHAIN)
    assert list(parts) == CHAIN[1:]
    result = materialize(definitions, instance, *CHAIN)
    for name, part in parts.items():
        assert part.estimate is not None
        calls = metadata(result, name)["infergraph/calls"]
        assert part.estimate.calls_low <= calls <= part.estimate.calls_high
        assert [step.operator for step in part.estimate.operators] == {
            "kinds": ["classify"], "urgent": ["filter", "map"], "answers": ["map"], "groups": ["map"],
        }[name]  # fmt: skip
        if name in made_before:
            assert part.estimate.calls_high == 0
    made = total(list(parts.values()))
    assert made.calls_low <= sum(metadata(result, name)["infergraph/calls"] for name in parts) <= made.calls_high
    after = estimates(definitions, instance, *CHAIN)
    assert all(part.estimate is not None and part.estimate.calls_high == 0 for part in after.values())


def test_a_plan_above_that_would_change_counts_instead_of_what_is_published(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    assert materialize(definitions, instance, *CHAIN).success
    alone = estimates(definitions, instance, "urgent", refresh=True)["urgent"].estimate
    both = estimates(definitions, instance, "kinds", "urgent", refresh=True)["urgent"].estimate
    assert alone is not None
    assert both is not None
    assert (alone.calls_low, alone.calls_high) == (ROWS, 2 * ROWS)
    assert both.operators[0].calls_low == ROWS
    assert any("reads answers that may not be there yet" in text for text in both.assumptions)


def test_a_plain_frame_of_rows_that_are_not_known_cannot_be_planned(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    assert materialize(definitions, instance, "tickets").success
    parts = estimates(definitions, instance, "kinds", "plain_reader", "again")
    assert parts["kinds"].estimate is not None
    assert parts["plain_reader"].rows_missing
    assert "as a plain Polars frame, which cannot hold rows whose answers are still missing" in (
        parts["plain_reader"].problem
    )
    assert "whose rejects are not known before it is made" in parts["again"].problem
    assert materialize(definitions, instance, "kinds").success
    parts = estimates(definitions, instance, "kinds", "plain_reader", "again")
    assert parts["plain_reader"].estimate is not None
    assert parts["plain_reader"].estimate.calls == ROWS, "all answers are there: its rows are known"
    assert parts["again"].estimate is not None
    assert "It reads 'kinds' as it is published now" in parts["again"].estimate.assumptions[-1]


@pytest.mark.parametrize("criterion", ["{{ kind }} is what {{ body }} is about", "It is right."])
def test_a_judge_is_part_of_the_estimate(
    definitions: dg.Definitions, instance: dg.DagsterInstance, criterion: str
) -> None:
    sample, target = 7, 0.01

    @ig.semantic_asset(
        key={"tickets": "id"}, checks=[ig.judge(criterion, sample=sample, target=target, blocking=False)]
    )
    def judged(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
        return tickets.semantic.filter("{{ body }} counts").semantic.classify("body", ["a", "b", "c"], into="kind")

    def planned() -> dict[str, Any]:
        key = dg.AssetKey("judged")
        (part,) = estimate_selection(all_of_them, [key], instance=instance)
        assert part.estimate is not None
        return {step.operator: step for step in part.estimate.operators}

    all_of_them = dg.Definitions(assets=[tickets, judged], resources=definitions.resources)
    assert dg.materialize([tickets], resources=definitions.resources, instance=instance).success
    before = planned()["judge:judge"]
    assert (before.calls_low, before.calls_high) == (0, sample), "the filter has not decided yet"
    assert before.cost_usd_high > 0
    assert dg.materialize([tickets, judged], resources=definitions.resources, instance=instance).success
    after = planned()["judge:judge"]
    assert (after.calls_high, after.store_hits_low) == (0, sample), "the same rows are drawn"


def test_what_an_asset_that_cannot_be_planned_gives_cannot_be_known(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    parts = estimates(definitions, instance, *CHAIN)
    assert "which is not made yet; it calls no model" in parts["kinds"].problem
    assert "It reads 'kinds', which cannot be estimated itself" in parts["urgent"].problem
    assert all(part.rows_missing for part in parts.values())


def test_each_partition_is_planned_on_its_own_rows_above(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    days = dg.StaticPartitionsDefinition(["monday", "tuesday"])

    @dg.asset(partitions_def=days)
    def letters(context: dg.AssetExecutionContext) -> pl.DataFrame:
        return pl.DataFrame({"body": [f"{context.partition_key} {n}" for n in range(5)]})

    @ig.semantic_asset(partitions_def=days)
    def letter_kinds(letters: ig.SemanticFrame) -> ig.SemanticFrame:
        return letters.semantic.classify("body", ["a", "b"], into="kind")

    @ig.semantic_asset(partitions_def=days)
    def letter_answers(letter_kinds: ig.SemanticFrame) -> ig.SemanticFrame:
        return letter_kinds.semantic.map("{{ kind }} {{ body }}", into="t")

    @ig.semantic_asset
    def all_letters(letter_kinds: ig.SemanticFrame) -> ig.SemanticFrame:
        return letter_kinds.semantic.map("all {{ body }}", into="t")

    assets = [letters, letter_kinds, letter_answers, all_letters]
    own = dg.Definitions(assets=assets, resources=definitions.resources)
    for day in days.get_partition_keys():
        dg.materialize([letters], partition_key=day, resources=definitions.resources, instance=instance)
    keys = [asset.key for asset in assets[1:]]
    found = {
        part.asset: part for part in estimate_selection(own, keys, instance=instance, partition="monday")
    }  # fmt: skip
    calls = [found[name].estimate for name in ("letter_kinds", "letter_answers")]
    assert [(one.calls_low, one.calls_high) for one in calls if one is not None] == [(5, 5), (0, 5)]
    assert "of which it needs several partitions" in found["all_letters"].problem


def test_the_estimate_is_kept_beside_what_happened(
    definitions: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    result = materialize(definitions, instance, "tickets", "kinds", "urgent")
    told = metadata(result, "urgent")
    assert told["infergraph/estimated_calls"] == ROWS + ROWS // 2, "half of the rows were assumed to pass"
    assert told["infergraph/calls"] < told["infergraph/estimated_calls"] + ROWS // 2
    for name in ("input_tokens", "output_tokens", "cost_usd"):
        assert told[f"infergraph/estimated_{name}"] > 0
    with Store.open(f"sqlite:///{tmp_path / 'state.db'}") as store:
        expected = store.estimates(run_id=result.run_id)
        used = {(row.asset, row.operator, row.model): row for row in store.usage(run_id=result.run_id)}
    assert {(row.asset, row.operator, row.model) for row in expected} == set(used)
    for row in expected:
        assert row.calls_low <= used[row.asset, row.operator, row.model].calls <= row.calls_high
        assert row.cost_nano_usd is not None
        assert (row.cost_nano_usd_low or 0) <= row.cost_nano_usd <= (row.cost_nano_usd_high or 0)


def test_a_run_goes_on_where_a_step_cannot_be_estimated(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    def picky(rows: pl.LazyFrame) -> pl.LazyFrame:
        def checked(frame: pl.DataFrame) -> pl.DataFrame:
            assert frame["kind"].null_count() == 0, "an answer is missing"
            return frame

        return rows.map_batches(checked)

    @ig.semantic_asset(key={"tickets": "id"})
    def strict(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
        return tickets.semantic.classify("body", ["a", "b"], into="kind").map_frame(picky)

    result = dg.materialize([tickets, strict], resources=definitions.resources, instance=instance)
    told = metadata(result, "strict")
    assert told["infergraph/calls"] == ROWS
    assert "infergraph/estimated_calls" not in told


def classified(name: str, **more: Any) -> dg.AssetsDefinition:
    """An asset that asks what ``kinds`` asks, of its first rows."""

    def made(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
        return tickets.head(20).semantic.classify("body", ["a", "b", "c"], into="kind")

    definition: dg.AssetsDefinition = ig.semantic_asset(name=name, key={"tickets": "id"}, **more)(made)
    return definition


def test_what_two_assets_ask_is_counted_once_and_said(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    same = classified("same")
    both = dg.Definitions(assets=[tickets, kinds, same], resources=definitions.resources)
    materialize(definitions, instance, "tickets")
    parts = estimates(both, instance, "kinds", "same")
    known = [part.estimate for part in parts.values() if part.estimate is not None]
    (first, second) = (one.operators[0] for one in known)
    assert (first.calls_low, first.calls, first.calls_high) == (ROWS, ROWS, ROWS)
    assert (second.rows, second.calls, second.calls_high, second.store_hits) == (20, 0, 0, 20)
    assert known[1].assumptions[0] == (
        "classify: 20 requests are asked by 'kinds' too, and counted there: it is paid once."
    )
    whole = total(list(parts.values()))
    assert (whole.calls_low, whole.calls, whole.calls_high) == (ROWS, ROWS, ROWS)
    again = total(list(estimates(both, instance, "kinds", "same", refresh=True).values()))
    assert (again.calls_low, again.calls_high) == (ROWS + 20, ROWS + 20), "whoever refreshes asks again"
    result = dg.materialize(
        [tickets, kinds, same], selection=["kinds", "same"], resources=definitions.resources, instance=instance
    )
    calls = [metadata(result, name)["infergraph/calls"] for name in ("kinds", "same")]
    assert sum(calls) == whole.calls


def test_what_an_asset_with_a_budget_asks_is_counted_for_the_next_one_too(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    """The budget may end before it is asked."""
    assets = [tickets, classified("a_bounded", max_cost_usd=5.0), classified("same")]
    both = dg.Definitions(assets=assets, resources=definitions.resources)
    materialize(definitions, instance, "tickets")
    parts = estimates(both, instance, "a_bounded", "same")
    assert [part.estimate.calls_high for part in parts.values() if part.estimate is not None] == [20, 20]
