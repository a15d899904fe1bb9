"""``ig.judge`` in real Dagster runs, with a scripted writer and a scripted grader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

import infergraph as ig
from infergraph.dagster.chain import estimate_selection
from infergraph.frame import estimate_sample
from infergraph.store import Store
from infergraph.validation.wilson import wilson_interval

DEFAULTS = estimate_sample.quick_estimate.__kwdefaults__ or {}
CRITERION = "{{ summary }} is faithful to {{ body }}"


def judged(**arguments: Any) -> Any:
    return ig.judge(CRITERION, **{"model": "grader", "name": "faithful", **arguments})


def many(count: int) -> list[str | None]:
    return [f"thing {number}" for number in range(count)]


def test_a_sample_is_graded_and_a_second_run_asks_nothing(shop: Any) -> None:
    shop.bodies = many(30)
    shop.bad = {"thing 3\n"}
    tickets, notes = shop.tickets(), shop.notes(checks=[judged(sample=20, target=0.5)])
    first = shop.run(tickets, notes)
    assert first.success, shop.failure(first)
    told = shop.told(first, "faithful")
    assert (told["rows"], told["sampled"], told["graded"]) == (30, 20, 20)
    assert told["calls"] == len(shop.grader.requests) == 20
    assert told["cost_usd"] > 0
    low, high = wilson_interval(told["passed"], 20, 0.95)
    assert (told["low"], told["high"], told["pass_rate"]) == (low, high, told["passed"] / 20)
    again = shop.told(shop.run(tickets, notes), "faithful")
    assert (again["calls"], again["store_hits"], len(shop.grader.requests)) == (0, 20, 20)
    assert (again["passed"], again["failed_rows"]) == (told["passed"], told["failed_rows"])


def test_it_fails_only_when_the_interval_lies_below_the_target(shop: Any) -> None:
    shop.bodies = many(10)
    shop.bad = {"thing 3\n", "thing 4\n"}
    tickets = shop.tickets()
    _, high = wilson_interval(8, 10)
    passed = shop.run(tickets, shop.notes(checks=[judged(target=round(high, 2))]))
    assert passed.success, shop.failure(passed)
    told = shop.told(passed, "faithful")
    assert (told["passed"], told["graded"], told["passed_check"]) == (8, 10, True)
    failed = shop.run(tickets, shop.notes(checks=[judged(target=round(high, 2) + 0.01)]))
    said = shop.told(failed, "faithful")["says"]
    assert said.startswith("8 of 10 graded rows pass (80.0%, with 95% confidence 49.0% to 94.3%), below")
    assert "faithful: 8 of 10 graded rows pass" in shop.failure(failed)
    ids = shop.published().filter(pl.col("body").is_in(["thing 3", "thing 4"]))["_row_id"].to_list()
    assert sorted(told["failed_rows"]) == sorted(ids)


def test_a_judge_that_only_warns(shop: Any) -> None:
    shop.bad = {"about"}
    result = shop.run(shop.tickets(), shop.notes(checks=[judged(blocking=False)]))
    assert result.success
    told = shop.told(result, "faithful")
    assert (told["passed_check"], told["severity"], told["passed"]) == (False, "WARN", 0)


@pytest.mark.parametrize("partition", ["en", "de"])
def test_a_partition_that_fails_keeps_what_it_had(shop: Any, partition: str) -> None:
    parts = dg.StaticPartitionsDefinition(["en", "de"])
    tickets, notes = shop.tickets(parts), shop.notes(partitions_def=parts, checks=[judged()])
    assert shop.run(tickets, notes, partition=partition).success
    before = shop.storage.version("notes", partition)
    shop.bodies, shop.bad = ["table 5"], {"table"}
    failed = shop.run(tickets, notes, partition=partition)
    assert "faithful: 0 of 1 graded rows pass" in shop.failure(failed)
    assert shop.storage.version("notes", partition) == before


def test_checks_alone_grade_what_is_published(shop: Any) -> None:
    assert shop.run(shop.tickets(), shop.notes()).success
    asked = len(shop.writer.requests)
    shop.bad = {"desk"}
    result = shop.check_only(shop.notes(checks=[judged()]))
    told = shop.told(result, "faithful")
    assert (told["passed"], told["graded"], told["calls"]) == (2, 3, 3)
    assert len(shop.writer.requests) == asked
    assert not result.get_asset_materialization_events()


def test_its_calls_are_in_the_usage_and_in_the_store_under_its_name(shop: Any, tmp_path: Path) -> None:
    result = shop.run(shop.tickets(), shop.notes(checks=[judged()]))
    with Store.open(f"sqlite:///{tmp_path / 'state.db'}") as store:
        usage = {row.operator: row for row in store.usage(run_id=result.run_id)}
        spent = {row.operator: row for row in store.spent(["run_id", "asset", "operator"])}
    assert set(usage) == {"extract", "judge:faithful"}
    row = usage["judge:faithful"]
    assert (row.asset, row.model, row.rows, row.calls) == ("notes", "scripted:grader", 3, 3)
    assert spent["judge:faithful"].cost_nano_usd == row.cost_nano_usd
    event = result.asset_materializations_for_node("notes")[-1]
    assert event.metadata["infergraph/checks_calls"].value == 3
    assert event.metadata["infergraph/checks_cost_usd"].value == shop.told(result, "faithful")["cost_usd"]
    assert event.metadata["infergraph/calls"].value == 3, "of the rows alone"


def test_the_model_of_a_run_is_not_the_graders(shop: Any) -> None:
    config = {"ops": {"notes": {"config": {"model": "scripted:elsewhere"}}}}
    result = shop.run(shop.tickets(), shop.notes(checks=[judged()]), run_config=config)
    assert result.success, shop.failure(result)
    assert not shop.writer.requests
    assert len(shop.grader.requests) == 3


def test_the_model_is_the_assets_where_none_is_named(shop: Any) -> None:
    notes = shop.notes(model="grader", checks=[judged(model=None)])
    config = {"ops": {"notes": {"config": {"model": "writer"}}}}
    result = shop.run(shop.tickets(), notes, run_config=config)
    assert result.success, shop.failure(result)
    assert (len(shop.writer.requests), len(shop.grader.requests)) == (3, 3)


def test_what_cannot_be_decided_is_left_out_of_the_rate(shop: Any) -> None:
    shop.bodies, shop.unclear, shop.bad = many(10), {"thing 2\n", "thing 5\n"}, {"thing 7\n"}
    result = shop.run(shop.tickets(), shop.notes(checks=[judged()]))
    told = shop.told(result, "faithful")
    assert (told["sampled"], told["graded"], told["passed"], told["undecided"]) == (10, 8, 7, 2)
    assert told["pass_rate"] == 7 / 8
    assert len(told["failed_rows"]) == 1
    assert [record.data["reason"] for record in told["undecided_sample"].records] == ["refused", "refused"]
    assert shop.storage.load("notes", part="rejects").collect().is_empty(), "the rows themselves were answered"


def test_a_grader_that_decides_nothing_does_not_pass(shop: Any) -> None:
    shop.unclear = {"about"}
    result = shop.run(shop.tickets(), shop.notes(checks=[judged()]))
    assert "none of 3 rows could be graded" in shop.failure(result)


@pytest.mark.parametrize("blocking", [True, False])
def test_a_grader_that_is_out_stops_only_what_it_blocks(shop: Any, blocking: bool) -> None:
    shop.locked = True
    result = shop.run(shop.tickets(), shop.notes(checks=[judged(blocking=blocking)]))
    assert result.success is not blocking
    if blocking:
        assert "wrong key" in shop.failure(result)
        assert shop.storage.version("notes") is None
    else:
        assert shop.told(result, "faithful")["says"].startswith("not graded: ")
        assert shop.published().height == 3
    shop.locked = False
    again = shop.run(shop.tickets(), shop.notes(checks=[judged(blocking=blocking)]))
    assert (again.success, len(shop.writer.requests)) == (True, 3)


def test_a_retry_of_rejects_asks_them_and_no_judge_again(shop: Any) -> None:
    shop.refuse, shop.unclear = {"chair"}, {"desk"}
    tickets, notes = shop.tickets(), shop.notes(checks=[judged()])
    assert shop.run(tickets, notes).success
    shop.refuse, wrote, graded = set(), len(shop.writer.requests), len(shop.grader.requests)
    config = {"ops": {"notes": {"config": {"retry_rejects": True, "retry_model": "writer"}}}}
    result = shop.run(tickets, notes, run_config=config)
    assert result.success, shop.failure(result)
    assert len(shop.writer.requests) == wrote + 1
    assert len(shop.grader.requests) == graded + 1, "the new row was sampled; the undecided one is not asked again"
    assert shop.told(result, "faithful")["undecided"] == 1


def test_rows_without_what_the_criterion_speaks_of_are_not_sampled(shop: Any) -> None:
    shop.bodies, shop.refuse = ["lamp 7", None, "desk 50", "chair 99"], {"chair"}
    told = shop.told(shop.run(shop.tickets(), shop.notes(checks=[judged()])), "faithful")
    assert (told["rows"], told["sampled"], told["graded"]) == (2, 2, 2)
    shop.bodies = []
    empty = shop.run(shop.tickets(), shop.notes(checks=[judged()]))
    assert (shop.told(empty, "faithful")["sampled"], empty.success) == (0, True)


def test_the_assets_budget_ends_for_the_grader_too(shop: Any) -> None:
    shop.bodies = many(12)
    tickets = shop.tickets()
    trial = shop.run(tickets, shop.notes(checks=[judged()]))
    event = trial.asset_materializations_for_node("notes")[-1]
    graded = event.metadata["infergraph/checks_cost_usd"].value
    before = shop.storage.version("notes")
    # All notes are in the store, and other sentences are asked of them: the money is for grading alone.
    other = ig.judge("{{ summary }} is fair to {{ body }}", model="grader", name="fair")
    result = shop.run(tickets, shop.notes(max_cost_usd=graded / 2, checks=[other]))
    told = shop.told(result, "fair")
    assert 0 < told["graded"] < 12
    assert told["pending"] == 12 - told["graded"]
    assert f"{told['pending']} of 12 sampled rows are not graded: the budget ended first" in shop.failure(result)
    assert told["cost_usd"] <= graded / 2
    assert shop.storage.version("notes") == before
    partial = shop.run(tickets, shop.notes(max_cost_usd=told["cost_usd"] / 2, publish_partial=True, checks=[other]))
    assert partial.success, shop.failure(partial)
    assert shop.told(partial, "fair")["severity"] == "WARN"
    rest = shop.run(tickets, shop.notes(max_cost_usd=100.0, checks=[other]))
    assert rest.success
    assert shop.told(rest, "fair")["graded"] == 12


def test_what_the_rows_cost_is_gone_from_the_graders_budget(shop: Any) -> None:
    shop.bodies = many(12)
    tickets = shop.tickets()
    wrote = shop.run(tickets, shop.notes())
    cost = wrote.asset_materializations_for_node("notes")[-1].metadata["infergraph/cost_usd"].value
    shop.bodies = [f"other {number}" for number in range(12)]
    result = shop.run(tickets, shop.notes(max_cost_usd=cost * 1.3, checks=[judged()]))
    told = shop.told(result, "faithful")
    assert told["pending"] > 0
    assert told["cost_usd"] < cost * 0.4
    assert shop.told(result, "budget")["passed_check"]


def test_nothing_is_spent_on_rows_that_are_not_published(shop: Any) -> None:
    short = ig.check("short", pl.col("summary").str.len_chars() < 13)
    result = shop.run(shop.tickets(), shop.notes(checks=[judged(), short]))
    assert not shop.grader.requests
    told = shop.told(result, "faithful")
    assert told["says"] == "not evaluated on these rows: they are not published: short failed"
    assert set(shop.checks(result)) == {"schema", "row_count", "reject_rate", "budget", "faithful", "short"}


def test_a_judge_that_was_deselected_asks_nothing(shop: Any) -> None:
    tickets, notes = shop.tickets(), shop.notes(checks=[judged()])
    result = shop.run_selection(dg.AssetSelection.assets(tickets, notes).without_checks(), tickets, notes)
    assert result.success, shop.failure(result)
    assert not shop.grader.requests


def test_columns_and_a_sentence_without_variables(shop: Any) -> None:
    shop.bodies = ["lamp 7", None]
    notes = shop.notes(
        checks=[
            ig.judge("The row is plausible", model="grader"),
            ig.judge("{{ summary }} is short", model="grader", columns=["body", "summary"]),
        ]
    )
    result = shop.run(shop.tickets(), notes)
    assert result.success, shop.failure(result)
    assert {"judge", "judge_2"} <= set(shop.checks(result))
    assert shop.told(result, "judge")["sampled"] == 2
    assert shop.told(result, "judge_2")["sampled"] == 1
    whole, *_, last = shop.grader.requests
    assert "<id>" in whole.messages[0].content
    assert "<summary>\nabout lamp 7\n</summary>" in last.messages[-1].content
    assert "<body>\nlamp 7\n</body>" in last.messages[-1].content
    assert any("<body>\n(nothing)\n</body>" in request.messages[-1].content for request in shop.grader.requests)


def test_the_sample_follows_from_ids_and_seed_alone(shop: Any) -> None:
    def sampled(seed: int) -> set[str]:
        before = len(shop.grader.requests)
        config = {"ops": {"notes": {"config": {"refresh": True}}}}
        shop.run(shop.tickets(), shop.notes(checks=[judged(sample=5, seed=seed)]), run_config=config)
        return {request.messages[-1].content for request in shop.grader.requests[before:]}

    shop.bodies = many(20)
    first = sampled(0)
    assert len(first) == 5
    assert sampled(0) == first
    assert sampled(1) != first


@pytest.mark.parametrize(
    ("check", "says"),
    [
        (ig.judge("{{ sumary }} is short", name="j"), "Did you mean 'summary'"),
        (ig.judge("{{ summary }} is short", name="j", model="grdr"), "Did you mean 'grader'"),
        (ig.judge("It is short", name="j", columns=["boddy"]), "Did you mean 'body'"),
        (
            ig.judge("{{ summary }} is short", name="j", model="unpriced"),
            "the price of openai:never-heard-of is not known",
        ),
    ],
)
def test_a_judge_that_cannot_work_is_refused_before_anything_is_asked(shop: Any, check: Any, says: str) -> None:
    result = shop.run(shop.tickets(), shop.notes(checks=[check], max_cost_usd=1.0))
    assert says in shop.failure(result)
    assert not shop.writer.requests


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"sample": 0}, "sample=0"),
        ({"target": 0}, "target=0"),
        ({"target": 1.1}, "target=1.1"),
        ({"confidence": 1}, "confidence=1"),
        ({"confidence": float("nan")}, "confidence=nan"),
        ({"columns": "body"}, "give a list"),
        ({"criterion": " "}, "the criterion is a sentence"),
    ],
)
def test_numbers_out_of_range_are_refused_when_they_are_written(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ig.PlanError, match=says):
        ig.judge(**{"criterion": CRITERION, **arguments})


def odd_rows() -> dg.AssetsDefinition:
    """Columns whose names no template can write, and names that such columns would get."""
    rows = {
        "id": [1, 2], "body": ["lamp 1", "desk 2"], "a b": ["x", "y"], "a-b": ["p", "q"], "column_a_b": ["1", "2"],
        "none": ["n", "n"], "not": ["o", "o"], "__place": [8, 9],
    }  # fmt: skip

    @dg.asset(name="tickets")
    def tickets() -> pl.DataFrame:
        return pl.DataFrame(rows)

    return tickets


def test_columns_of_any_name_are_shown_and_none_takes_the_place_of_another(shop: Any) -> None:
    shop.bad = {"p"}
    result = shop.run(odd_rows(), shop.notes(checks=[ig.judge("This is in order.", model="grader", target=0.1)]))
    assert result.success, shop.failure(result)
    shown = [request.messages[-1].content for request in shop.grader.requests if "lamp" in request.messages[-1].content]
    assert [shown[0].count(f"\n{value}\n") for value in ("x", "p", "1", "n", "o", "8")] == [1, 1, 3, 1, 1, 1]


def test_a_column_may_have_the_name_that_the_sample_uses(shop: Any) -> None:
    result = shop.run(odd_rows(), shop.notes(checks=[ig.judge("{{ __place }} is a place", model="grader")]))
    assert shop.told(result, "judge")["passed"] == 2


@pytest.mark.parametrize("criterion", ['{{ summary | default("nothing") }} is short', "{{ summary is none }}"])
def test_a_criterion_that_needs_no_column_to_be_there_is_asked_of_every_row(shop: Any, criterion: str) -> None:
    shop.refuse = {"desk"}
    result = shop.run(shop.tickets(), shop.notes(checks=[ig.judge(criterion, model="grader")]))
    assert result.success, shop.failure(result)
    assert shop.told(result, "judge")["rows"] == 3


def estimated(shop: Any, *assets: dg.AssetsDefinition) -> dict[str, Any]:
    definitions = dg.Definitions(assets=list(assets), resources=shop.resources)
    keys = [dg.AssetKey("notes")]
    (part,) = estimate_selection(definitions, keys, instance=shop.instance)
    assert part.estimate is not None, part.problem
    return {each.operator: each for each in part.estimate.operators}


def test_what_it_would_ask_is_in_the_assets_estimate(shop: Any) -> None:
    shop.bodies = many(30)
    tickets, notes = shop.tickets(), shop.notes(checks=[judged(sample=20)])
    assert shop.run(tickets, shop.notes()).success
    before = estimated(shop, tickets, notes)
    told = shop.told(shop.run(tickets, notes), "faithful")
    assert (before["extract"].calls, before["judge:faithful"].calls) == (0, told["calls"]) == (0, 20)
    assert before["judge:faithful"].cost_usd_low > 0
    after = estimated(shop, tickets, notes)["judge:faithful"]
    assert (after.calls_high, after.store_hits, after.cost_usd) == (0, 20, 0)


def test_of_rows_that_are_not_made_yet_the_estimate_is_a_range_up_to_the_sample(shop: Any) -> None:
    shop.bodies = many(30)
    tickets, notes = shop.tickets(), shop.notes(checks=[judged(sample=20)])
    assert shop.run(tickets).success
    found = estimated(shop, tickets, notes)["judge:faithful"]
    assert (found.rows_high, found.calls_low, found.calls_high) == (20, 0, 20)
    told = shop.told(shop.run(tickets, notes), "faithful")
    assert 0 < told["cost_usd"] <= found.cost_usd_high


def test_the_kept_estimate_has_what_judges_cost_beside_what_they_then_cost(shop: Any) -> None:
    shop.bodies = many(30)
    tickets, notes = shop.tickets(), shop.notes(checks=[judged(sample=20, target=0.5)])

    def told_and_kept(result: dg.ExecuteInProcessResult) -> tuple[dict[str, Any], dict[str, Any]]:
        event = result.asset_materializations_for_node("notes")[-1]
        with Store.open(shop.resources["store"].url) as store:
            expected = {row.operator: row for row in store.estimates(run_id=result.run_id)}
            used = {row.operator: row for row in store.usage(run_id=result.run_id)}
        kept = {name: (expected[name].calls, used[name].calls) for name in used}
        return {name: value.value for name, value in event.metadata.items()}, kept

    told, kept = told_and_kept(shop.run(tickets, notes))
    assert kept == {"extract": (30, 30), "judge:faithful": (20, 20)}
    assert told["infergraph/estimated_calls"] == told["infergraph/calls"] == 30
    assert told["infergraph/estimated_checks_calls"] == told["infergraph/checks_calls"] == 20
    assert told["infergraph/estimated_checks_cost_usd"] > 0
    told, kept = told_and_kept(shop.run(tickets, notes))
    assert kept == {"extract": (0, 0), "judge:faithful": (0, 0)}, "the same rows are drawn"
    assert told["infergraph/estimated_checks_calls"] == told["infergraph/estimated_checks_cost_usd"] == 0
    selection = dg.AssetSelection.assets(tickets, notes).without_checks()
    _, kept = told_and_kept(shop.run_selection(selection, tickets, notes))
    assert list(kept) == ["extract"], "a judge that is deselected is not expected either"


def test_where_every_so_many_rows_are_looked_at_the_same_share_of_the_sample_is_drawn(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate_sample.quick_estimate, "__kwdefaults__", {**DEFAULTS, "most_rows": 100})
    shop.bodies = [f"thing {number} {number % 100}" for number in range(400)]
    tickets, notes = shop.tickets(), shop.notes(checks=[judged(sample=80, target=0.1)])
    expected = []
    for _ in range(2):
        result = shop.run(tickets, notes)
        (event,) = result.asset_materializations_for_node("notes")
        expected.append(event.metadata["infergraph/estimated_checks_calls"].value)
    first, again = expected
    assert first == 80
    assert again <= 24, "of those that are drawn from a part, most are drawn from all too"
