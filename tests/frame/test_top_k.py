"""``top_k`` run as a user runs it: what comes out, what is asked, listed, estimated and traced."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from pydantic import BaseModel

import infergraph as ig
from infergraph.errors import PlanError, UnknownColumn
from infergraph.frame.again import rendered_again
from infergraph.models.model import CallFailed, Request
from infergraph.models.scripted import script

URGENT = "{{ body }} is urgent"


class Urgency(BaseModel):
    urgency: str


def levels(request: Request) -> tuple[int, int]:
    """How urgent the two candidates are: the first number in each."""
    assert request.choices is not None
    a, b = (int(re.findall(r"\d+", one)[0]) for one in request.choices.candidates)
    return a, b


def judged(request: Request) -> Any:
    """A judge of one mind; asked to extract, the urgency that a text states."""
    if request.choices is None or not request.choices.candidates:
        return {"urgency": f"level {re.findall(r'[0-9]+', request.messages[-1].content)[0]}"}
    a, b = levels(request)
    return {"better": "a" if a > b else "b"}


def refusing(*bad: int) -> Callable[[Request], Any]:
    def answer(request: Request) -> Any:
        if set(bad) & set(levels(request)):
            raise CallFailed("no", outcome="permanent", reason="refused")
        return judged(request)

    return answer


def refusing_pair(*pair: int) -> Callable[[Request], Any]:
    def answer(request: Request) -> Any:
        return refusing(*pair)(request) if {*levels(request)} == {*pair} else judged(request)

    return answer


def mails(*numbers: int | None) -> pl.DataFrame:
    bodies = [None if number is None else f"mail {number}" for number in numbers]
    return pl.DataFrame({"id": range(1, len(numbers) + 1), "body": pl.Series(bodies, dtype=pl.String)}).with_columns(
        lang=pl.when(pl.col("id") % 2 == 0).then(pl.lit("de")).otherwise(pl.lit("en")), tags=pl.concat_list("id", "id")
    )


def frame_of(session: ig.Session, rows: pl.DataFrame, key: str | None = "id") -> ig.SemanticFrame:
    return session.frame(rows, name="mails", key=key)


NUMBERS = (10, 7, None, 50, 10, 2, 99, 31)
RANKED = [7, 4, 8, 1, 5, 2, 6]


def adds_up(usage: ig.Usage) -> bool:
    parts = (usage.calls, usage.store_hits, usage.shared, usage.rejected_before, usage.nulls, usage.pending)
    return usage.rows == sum(parts)


def test_the_best_rows_with_all_columns_and_their_rank(session: ig.Session) -> None:
    out = frame_of(session, mails(*NUMBERS)).semantic.top_k(URGENT, k=4)
    assert dict(out.schema) == {**frame_of(session, mails(1)).schema, "rank": pl.UInt32()}
    with script("fast", judged) as asked:
        result = out.run()
    expected = pl.DataFrame({"id": RANKED[:4], "rank": pl.Series([1, 2, 3, 4], dtype=pl.UInt32)})
    expected = expected.join(mails(*NUMBERS), on="id", maintain_order="left").select(*mails(1).columns, "rank")
    assert_frame_equal(result.frame, expected)
    assert len(asked.requests) == result.usage.calls == result.usage.rows
    assert adds_up(result.usage)
    assert result.rejects.is_empty()


@pytest.mark.parametrize(
    ("numbers", "calls"),
    [((), 0), ((None,), 0), ((None, None), 0), ((5,), 0), ((5, None, 5), 0), ((5, 6), 1)],
    ids=str,
)
def test_few_rows(session: ig.Session, numbers: tuple[int | None, ...], calls: int) -> None:
    out = frame_of(session, mails(*numbers)).semantic.top_k(URGENT, k=3)
    expected = out.estimate()
    with script("fast", judged) as asked:
        result = out.run()
    assert len(asked.requests) == calls == expected.calls
    assert result.frame["rank"].to_list() == list(range(1, 1 + sum(number is not None for number in numbers)))
    assert result.frame["body"].to_list() == [f"mail {n}" for n in sorted((n for n in numbers if n), reverse=True)]
    assert adds_up(result.usage)
    assert result.usage.rows == expected.rows


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
@given(st.lists(st.none() | st.integers(0, 30), max_size=30), st.integers(1, 8), st.randoms(use_true_random=False))
def test_it_agrees_with_a_full_sort_in_whatever_order_the_rows_come(
    session: ig.Session, numbers: list[int | None], k: int, shuffle: Any
) -> None:
    rows = mails(*numbers)
    order = list(range(len(numbers)))
    shuffle.shuffle(order)
    with script("fast", judged):
        first = frame_of(session, rows).semantic.top_k(URGENT, k=k).run()
        second = frame_of(session, rows[order]).semantic.top_k(URGENT, k=k).run()
    said = [number for number in numbers if number is not None]
    assert first.frame["body"].to_list() == [f"mail {n}" for n in sorted(said, reverse=True)[:k]]
    assert second.frame["body"].to_list() == first.frame["body"].to_list()
    assert second.usage.calls == 0, "the same rows in another order ask the same"


def test_equal_rows_keep_their_order(session: ig.Session) -> None:
    out = frame_of(session, mails(3, 9, 3, 9, 3)).semantic.top_k(URGENT, k=4)
    with script("fast", judged) as asked:
        assert out.collect()["id"].to_list() == [2, 4, 1, 3]
    assert len(asked.requests) == 1


def test_where_every_comparison_is_rejected_nobody_is_ranked(session: ig.Session) -> None:
    out = frame_of(session, mails(*NUMBERS)).semantic.top_k(URGENT, k=3)
    with script("fast", lambda request: "no answer at all"):
        result = out.run()
    assert result.frame.is_empty()
    assert result.frame.schema == out.schema
    assert set(result.rejects["reason"]) == {"invalid_output"}
    with script("fast", judged):
        assert out.run(retry_rejects=True).frame["rank"].to_list() == [1, 2, 3]


@pytest.mark.parametrize("bad", [10, 7, 50, 2, 99, 31])
def test_a_rejected_comparison_is_listed_and_no_row_is_lost(session: ig.Session, bad: int) -> None:
    out = frame_of(session, mails(*NUMBERS)).semantic.top_k(URGENT, k=8)
    with script("fast", refusing(bad)) as asked:
        result = out.run()
        assert sorted(result.frame["id"]) == [1, 2, 4, 5, 6, 7, 8]
        able = [n for n in (99, 50, 31, 10, 10, 7, 2) if n != bad]
        assert result.frame["body"].to_list()[: len(able)] == [f"mail {n}" for n in able], "whoever it is comes last"
        rejected = result.rejects
        assert rejected["reason"].to_list() == ["refused"] * result.usage.rejected
        assert all(f"mail {bad}" in prompt for prompt in rejected["prompt"])
        assert all(re.match(r"round \d+: row \d or row \d: ", message) for message in rejected["message"])
        before = len(asked.requests)
        again = out.run()
        assert len(asked.requests) == before, "a plain run asks nothing again"
    assert_frame_equal(again.frame, result.frame)
    assert again.rejects.height == rejected.height == again.usage.rejected_before
    with script("fast", judged):
        retried = out.run(retry_rejects=True)
    assert retried.frame["id"].to_list() == RANKED
    assert retried.rejects.is_empty()
    shown = result.trace(rejected["row_id"][0])
    assert [step.part for step in shown.steps if step.rejected] != []


@pytest.mark.parametrize("best", [99, 60])
def test_a_row_that_cannot_be_compared_with_one_other_is_not_lost(session: ig.Session, best: int) -> None:
    """The best row wins against whoever it can be compared with, and that is enough."""
    rows = mails(best, *range(12), 50)
    with script("fast", judged) as whole:
        frame_of(session, rows).semantic.top_k(URGENT, k=1).run()
    others = {min(levels(one)) for one in whole.requests if best in levels(one)} - {50}
    assert others, "nobody was compared with the best row but its neighbour"
    for other in others:
        out = frame_of(session, rows).semantic.top_k(f"{{{{ body }}}} is urgent, not {other}", k=1)
        expected = out.estimate()

        with script("fast", refusing_pair(best, other)) as asked:
            result = out.run()
            calls = len(asked.requests)
            again = out.run()
            assert len(asked.requests) == calls, "a replay makes no call"
        assert result.frame["body"].to_list() == [f"mail {best}"]
        assert_frame_equal(again.frame, result.frame)
        assert calls <= expected.calls_high
        assert result.rejects["reason"].to_list() == again.rejects["reason"].to_list() == ["refused"]
        assert f"mail {other}\n" in result.rejects["prompt"][0]


def test_a_replay_makes_no_call(session: ig.Session) -> None:
    rows = mails(*range(600))
    out = frame_of(session, rows).semantic.top_k(URGENT, k=20)
    expected = out.estimate()
    with script("fast", judged) as asked:
        result = out.run()
        calls = len(asked.requests)
        assert result.frame["body"].to_list() == [f"mail {n}" for n in range(599, 579, -1)]
        assert expected.calls_low <= calls <= expected.calls_high
        assert abs(expected.calls - calls) <= 0.5 * calls
        again = out.run()
        assert (len(asked.requests), again.usage.store_hits) == (calls, calls)
        stored = out.estimate()
        assert (stored.calls, stored.calls_high, stored.store_hits) == (0, 0, calls)
        assert_frame_equal(again.frame, result.frame)
        # One row more: it is compared, and so are few others.
        more = frame_of(session, mails(*range(601))).semantic.top_k(URGENT, k=20).run()
        assert more.frame["body"][0] == "mail 600"
        assert more.usage.calls < 0.5 * calls


def test_where_and_nulls_take_no_part(session: ig.Session) -> None:
    out = frame_of(session, mails(*NUMBERS)).semantic.top_k(URGENT, k=9, where=pl.col("lang") == "de")
    with script("fast", judged) as asked:
        assert out.collect()["id"].to_list() == [4, 8, 2, 6]
    assert all({2, 7, 31, 50}.issuperset(levels(one)) for one in asked.requests)


def test_an_optional_variable_may_be_null(session: ig.Session) -> None:
    criterion = "{% if body %}{{ body }}{% else %}0{% endif %} is urgent"
    with script("fast", judged):
        out = frame_of(session, mails(3, None, 9)).semantic.top_k(criterion, k=3).collect()
    assert out["id"].to_list() == [3, 1, 2]


def test_steps_after_it_do_not_change_what_is_compared(session: ig.Session) -> None:
    best = frame_of(session, mails(*NUMBERS)).semantic.top_k(URGENT, k=3)
    with script("fast", judged) as asked:
        assert best.filter(pl.col("lang") == "en").collect()["id"].to_list() == [7]
        assert best.filter(pl.col("rank") > 1).collect()["id"].to_list() == [4, 8]
        assert best.head(1).collect()["id"].to_list() == [7]
        assert best.tail(1).select("id").collect()["id"].to_list() == [8]
        assert best.select(pl.len()).collect().item() == 3
        calls = len(asked.requests)
        best.collect()
        assert len(asked.requests) == calls


def test_what_nobody_reads_is_not_asked_and_what_is_read_once(session: ig.Session) -> None:
    facts = frame_of(session, mails(*NUMBERS)).semantic.extract("body", Urgency)
    best = facts.semantic.top_k(URGENT, k=3)
    with script("fast", judged):
        narrow = best.select("id").run()
        whole = best.run()
    assert dict(narrow.usage.by_operator.select("operator", "calls").iter_rows())["extract"] == 0
    by_operator = {one["operator"]: one for one in whole.usage.by_operator.iter_rows(named=True)}
    assert (by_operator["extract"]["rows"], by_operator["extract"]["calls"]) == (7, 6)
    assert whole.frame["urgency"].to_list() == ["level 99", "level 50", "level 31"]


def test_an_answer_may_be_ranked_and_is_estimated_before_it_is_there(session: ig.Session) -> None:
    rows = mails(*range(40))
    facts = frame_of(session, rows).semantic.extract("body", Urgency)
    best = facts.semantic.top_k("{{ urgency }} is high", k=5)
    below = best.semantic.classify("body", ["a", "b"])
    first = {name: (low, high) for name, low, high in _spans(below)}
    assert first["extract"] == (40, 40)
    assert first["top_k"][0] <= 39 < first["top_k"][1]
    assert first["classify"] == (0, 5)

    def answer(request: Request) -> Any:
        choices = request.choices
        return {"label": "a"} if choices is not None and not choices.candidates else judged(request)

    with script("fast", answer):
        facts.run()
        second = {name: (low, high) for name, low, high in _spans(below)}
        result = below.run()
    calls = {one["operator"]: one["calls"] for one in result.usage.by_operator.iter_rows(named=True)}
    assert first["top_k"][0] <= calls["top_k"] <= first["top_k"][1]
    assert second["top_k"][0] <= calls["top_k"] <= second["top_k"][1]
    assert second["extract"] == (0, 0)
    assert calls["classify"] == 5
    assert result.frame["urgency"].to_list() == [f"level {n}" for n in (39, 38, 37, 36, 35)]
    assert all(high == 0 for _, _, high in _spans(below))


def _spans(frame: ig.SemanticFrame) -> list[tuple[str, int, int]]:
    return [(one.operator, one.calls_low, one.calls_high) for one in frame.estimate().operators]


def test_rows_behind_a_filter_by_meaning_are_estimated(session: ig.Session) -> None:
    best = frame_of(session, mails(*range(30))).semantic.filter("{{ body }} is a complaint").semantic.top_k(URGENT, k=2)
    spans = {name: (low, high) for name, low, high in _spans(best)}

    def answer(request: Request) -> Any:
        return judged(request) if request.choices and request.choices.candidates else {"answer": True}

    with script("fast", answer):
        result = best.run()
    calls = {one["operator"]: one["calls"] for one in result.usage.by_operator.iter_rows(named=True)}
    assert spans["filter"] == (30, 30)
    assert spans["top_k"][0] == 0
    assert calls["top_k"] <= spans["top_k"][1]
    assert result.frame["id"].to_list() == [30, 29]


COPIES = pl.DataFrame({"urgency": ["level 3"] * 4 + ["level 5"] * 4, "copy": range(8)})
OPEN_PLANS: dict[str, Callable[[ig.SemanticFrame], ig.SemanticFrame]] = {
    "a filter by an answer": lambda rows: rows.filter(pl.col("urgency") > "level 3"),
    "one of many by an answer": lambda rows: rows.unique("urgency"),
    "groups by an answer": lambda rows: rows.group_by("urgency").agg(pl.col("body").first()),
    "a join that may multiply rows": lambda rows: rows.join(COPIES, on="urgency", how="left").with_columns(
        body=pl.format("{} {}", "body", pl.col("copy").fill_null(0))
    ),
    "a function of the author's": lambda rows: rows.map_frame(lambda lf: lf.filter(pl.col("urgency") != "level 1")),
    "the first by an answer": lambda rows: rows.sort("urgency").head(5),
}


@pytest.mark.parametrize("plan", OPEN_PLANS)
def test_rows_that_are_not_known_yet_are_estimated_from_least_to_most(session: ig.Session, plan: str) -> None:
    facts = frame_of(session, mails(*range(10))).semantic.extract("body", Urgency)
    best = OPEN_PLANS[plan](facts).semantic.top_k(URGENT, k=3)
    before = {name: (low, high) for name, low, high in _spans(best)}
    with script("fast", judged):
        facts.run()
        known = {name: (low, high) for name, low, high in _spans(best)}
        result = best.run()
    calls = {one["operator"]: one["calls"] for one in result.usage.by_operator.iter_rows(named=True)}
    assert result.frame.height == 3
    assert 0 == before["top_k"][0] < calls["top_k"] <= before["top_k"][1]
    assert 0 < known["top_k"][0] <= calls["top_k"] <= known["top_k"][1]
    assert all(high == 0 for _, _, high in _spans(best))


def test_a_budget_that_ends_gives_no_rows_and_says_what_is_missing(tmp_path: Path) -> None:
    price = ig.Price(input=1_000_000, output=1_000_000)
    models = {"m": ig.Model("scripted:dear", price=price, max_concurrency=1, max_output_tokens=4)}
    with ig.Session(models=models, store="sqlite:///s.db", root=tmp_path) as session, script("dear", judged) as asked:
        out = frame_of(session, mails(*range(40))).semantic.top_k(URGENT, k=3)
        with pytest.warns(UserWarning, match="pending"):
            part = out.run(max_cost_usd=1000.0)
        done = len(asked.requests)
        assert done > 0
        assert part.frame.is_empty()
        assert part.usage.pending > 0
        assert adds_up(part.usage)
        whole = out.run()
        assert whole.frame["id"].to_list() == [40, 39, 38]
        assert whole.usage.store_hits >= done


def test_keys_travel_with_the_rows(session: ig.Session) -> None:
    best = frame_of(session, mails(*NUMBERS)).semantic.top_k(URGENT, k=3).semantic.map("Sum up {{ body }}", into="sum")

    def answer(request: Request) -> Any:
        if request.choices is None and "mail 50" in request.messages[-1].content:
            raise CallFailed("no", outcome="permanent", reason="refused")
        return "short" if request.choices is None else judged(request)

    with script("fast", answer):
        result = best.run(row_ids=True)
    assert result.rejects["id"].to_list() == [4]
    assert result.rejects["row_id"].to_list() == [result.frame["_row_id"][1]]


def test_rows_are_joined_later_with_a_frame_of_another_key(session: ig.Session) -> None:
    names = session.frame(pl.DataFrame({"no": [8, 4], "who": ["Ann", "Bob"]}), name="names", key="no")
    best = frame_of(session, mails(*NUMBERS)).semantic.top_k(URGENT, k=2).join(names, left_on="id", right_on="no")

    def answer(request: Request) -> Any:
        if request.choices is None:
            raise CallFailed("no", outcome="permanent", reason="refused")
        return judged(request)

    with script("fast", answer):
        result = best.semantic.map("Greet {{ who }}", into="greeting").run()
    assert result.frame["who"].to_list() == ["Bob"]
    assert result.rejects.select("id", "no").rows() == [(4, 4)]


@pytest.mark.parametrize("key", ["id", None])
def test_a_trace_shows_the_comparisons_about_the_row(session: ig.Session, key: str | None) -> None:
    out = frame_of(session, mails(*NUMBERS), key).semantic.top_k(URGENT, k=2)
    with script("fast", judged):
        result = out.run(row_ids=True)
    assert result.frame["_row_id"].n_unique() == 2
    trace = result.trace(result.frame["_row_id"][1])
    assert trace.made_by == "top_k.rows"
    before, group = trace.parents
    assert before.source is not None
    assert before.source.values["body"] == "mail 50"
    asked = [step.attempts[0].messages[-1].content for step in before.steps]
    assert asked
    assert all("\nmail 50\n" in text for text in asked)
    assert [step.operator for step in before.steps] == ["top_k"] * len(asked)
    assert (group.made_by, group.parents_total, list(group.steps)) == ("top_k.gather", 7, [])
    loser = next(one for one in group.parents if one.source and one.source.values["body"] == "mail 2")
    assert loser.steps, "who lost can be asked why as well"
    whole = {step.request_hash for parent in group.parents for step in parent.steps}
    assert len(whole) == result.usage.calls
    assert "round 1: row" in str(trace)


def test_ids_are_the_same_as_long_as_the_row_is(session: ig.Session) -> None:
    with script("fast", judged):
        first = frame_of(session, mails(*NUMBERS)).semantic.top_k(URGENT, k=2).run(row_ids=True).frame
        second = frame_of(session, mails(*NUMBERS, 40)).semantic.top_k(URGENT, k=3).run(row_ids=True).frame
    assert second["_row_id"].to_list()[:2] == first["_row_id"].to_list()


def test_two_criteria_in_one_plan(session: ig.Session) -> None:
    rows = frame_of(session, mails(*NUMBERS))
    both = ig.concat([rows.semantic.top_k(URGENT, k=2), rows.semantic.top_k("{{ body }} is long", k=1)])
    with script("fast", judged):
        result = both.run(row_ids=True)
    assert result.frame["id"].to_list() == [7, 4, 7]
    assert result.frame["_row_id"].n_unique() == 3
    assert result.usage.by_operator["operator"].to_list() == ["top_k", "top_k_2"]


def test_it_can_be_joined_back(session: ig.Session) -> None:
    rows = frame_of(session, mails(*NUMBERS))
    out = rows.join(rows.semantic.top_k(URGENT, k=2).select("id", "rank"), on="id", how="left")
    with script("fast", judged):
        result = out.run()
    assert result.frame["rank"].to_list() == [None, None, None, 2, None, None, 1, None]


def test_any_type_of_column_comes_out_as_it_went_in(session: ig.Session) -> None:
    rows = mails(*NUMBERS).with_columns(
        label=pl.lit("x").cast(pl.Enum(["x", "y"])),
        nested=pl.struct("id", "tags"),
        empty=pl.lit([], dtype=pl.List(pl.Int8)),
        array=pl.concat_list("id", "id").list.to_array(2),
        raw=pl.col("body").cast(pl.Binary),
        nothing=pl.lit(None),
        day=pl.date(2024, 1, 1),
    )
    with script("fast", judged):
        out = frame_of(session, rows).semantic.top_k(URGENT, k=3).collect()
    expected = pl.DataFrame({"id": RANKED[:3]}).join(rows, on="id", maintain_order="left").select(rows.columns)
    assert_frame_equal(out.drop("rank"), expected)


def test_personal_data_is_not_compared(tmp_path: Path) -> None:
    rows = pl.DataFrame({"id": [1, 2], "body": ["9 from ann.lee@example.org", "3 from bob@example.org"]})
    with ig.Session({"m": ig.Model("scripted:shy")}, root=tmp_path, redact=True) as session:
        out = session.frame(rows, name="mails", key="id").semantic.top_k(URGENT, k=1)
        with script("shy", judged) as asked:
            result = out.run()
        assert "example.org" not in str(asked.requests) + str(out.prompts())
        assert "9 from [email]" in asked.requests[0].messages[-1].content
        assert result.frame["body"].to_list() == ["9 from ann.lee@example.org"]


def test_a_prompt_that_was_not_kept_is_rendered_again(tmp_path: Path) -> None:
    with ig.Session({"m": ig.Model("scripted:fast")}, root=tmp_path, store_prompts=False) as session:
        out = frame_of(session, mails(*NUMBERS)).semantic.top_k(URGENT, k=2)
        with script("fast", judged):
            result = out.run(row_ids=True)
        step = result.trace(result.frame["_row_id"][0]).parents[0].steps[-1]
        assert not step.attempts[0].prompt_kept
        assert "mail 99" in step.attempts[0].messages[-1].content, "the trace renders it again"
        row_id = result.trace(result.frame["_row_id"][0]).parents[0].row_id
        again = rendered_again(out, "top_k", row_id, request_hash=step.request_hash)
        assert again is not None
        assert "mail 99" in again.messages[-1].content


def test_explain_prompts_and_column_lineage(session: ig.Session) -> None:
    out = frame_of(session, mails(*NUMBERS)).semantic.top_k(URGENT, k=3)
    told = out.explain()
    assert "semantic.top_k 'top_k' [model fast]: the 3 best by '<body> is urgent'" in told
    assert "top_k.rows(the 3 best, as rows with their rank)  -- waits for all rows, row ids derived" in told
    shown = out.prompts(1)
    assert {one["operator"] for one in shown} == {"top_k"}
    assert all("<candidate_b>" in one["messages"][-1]["content"] for one in shown)
    with script("fast", judged):
        out.run()
    lineage = out.column_lineage()
    assert lineage.columns["rank"].operators == ("top_k",)
    assert [one.column for one in lineage.columns["rank"].sources] == ["body"]
    assert lineage.columns["id"].operators == ()
    assert lineage.rows.operators == ("top_k",)
    assert lineage.columns["rank"].opaque == ()
    assert len({out.fingerprint(), frame_of(session, mails(1)).semantic.top_k(URGENT, k=4).fingerprint()}) == 2


def test_mistakes_are_told_when_the_plan_is_built(session: ig.Session) -> None:
    rows = frame_of(session, mails(*NUMBERS))
    with pytest.raises(PlanError, match="bodi"):
        rows.semantic.top_k("{{ bodi }} is urgent", k=1)
    with pytest.raises(PlanError, match=r"already has a column 'rank'"):
        rows.semantic.top_k(URGENT, k=1).semantic.top_k(URGENT, k=1)
    with pytest.raises(PlanError, match="k=0"):
        rows.semantic.top_k(URGENT, k=0)
    with pytest.raises(PlanError, match="write a Polars condition"):
        rows.semantic.top_k(URGENT, k=1, where="lang == 'de'")  # type: ignore[arg-type]  # that is the mistake
    with pytest.raises(PlanError, match="Boolean"):
        rows.semantic.top_k(URGENT, k=1, where=pl.col("id"))
    with pytest.raises(UnknownColumn):
        rows.semantic.top_k(URGENT, k=1, where=pl.col("nothing"))
    with pytest.raises(PlanError, match="taken"):
        rows.semantic.map("{{ body }}", into="x", name="best").semantic.top_k(URGENT, k=1, name="best")


def test_the_model_and_the_name_are_those_given(session: ig.Session) -> None:
    out = frame_of(session, mails(1, 2)).semantic.top_k(URGENT, k=1, model="other", name="best")
    with script("other", lambda request: json.dumps(judged(request))):
        result = out.run()
    (one,) = result.usage.by_operator.iter_rows(named=True)
    assert (one["operator"], one["calls"]) == ("best", 1)
