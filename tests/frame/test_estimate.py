"""Estimates: exact where the rows are there, ranges where an answer is missing."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from pydantic import BaseModel

import infergraph as ig
from infergraph.models.model import Request, Response, Tokens
from infergraph.models.sample import sample_embedding
from infergraph.models.scripted import script


class Product(BaseModel):
    product: str


def answer(request: Request) -> dict[str, object]:
    if request.choices is not None:
        return {request.choices.field: True}
    return {"product": "p"}


def said_or_embedded(request: Request) -> str | Response:
    if request.embed_text is None:
        return "said"
    return Response(embedding=sample_embedding(request.embed_text), tokens=Tokens(input=2))


def test_calls_hits_and_tokens_are_exact_over_existing_rows(tickets: ig.SemanticFrame) -> None:
    frame = tickets.semantic.extract("body", Product)
    with script("fast", answer) as asked:
        before = frame.estimate()
        assert asked.requests == []
        assert (before.rows, before.calls, before.store_hits) == (6, 4, 0)
        assert before.calls_low == before.calls_high == 4
        frame.head(2).run()
        after = frame.estimate()
        assert (after.calls, after.store_hits) == (2, 3)
        run = frame.run()
        assert run.usage.calls == after.calls
    assert before.cost_usd == Decimal(0)


def test_a_missing_answer_gives_a_range_downstream(tickets: ig.SemanticFrame) -> None:
    frame = tickets.semantic.extract("body", Product).semantic.filter("{{ product }} is broken")
    with script("fast", answer):
        estimate = frame.estimate()
        first, second = estimate.operators
        assert (first.calls_low, first.calls_high) == (4, 4)
        assert second.calls_low == 0
        assert second.calls_high >= 5
        assert any("reads answers" in sentence for sentence in estimate.assumptions)
        frame.run()
        done = frame.estimate()
        assert (done.calls, done.calls_high) == (0, 0)


def test_what_a_filter_will_drop_is_a_range(tickets: ig.SemanticFrame) -> None:
    frame = tickets.semantic.filter("{{ body }} is broken").semantic.extract("body", Product)
    estimate = frame.estimate()
    second = estimate.operators[1]
    assert (second.calls_low, second.calls_high) == (0, 4)
    assert any("assumed to pass" in sentence for sentence in estimate.assumptions)


def test_a_plain_filter_on_a_missing_answer_keeps_the_row_as_possible(tickets: ig.SemanticFrame) -> None:
    frame = tickets.semantic.extract("body", Product).filter(pl.col("product") == "x").semantic.sentiment("body")
    second = frame.estimate().operators[1]
    assert (second.calls_low, second.calls_high) == (0, 4)


def test_money_is_estimated_from_the_price(rows: pl.DataFrame) -> None:
    price = ig.Price(input=1, output=2)
    models = {"m": ig.Model("openai:gpt-5-mini", api_key="k", price=price)}
    with ig.Session(models=models, store="sqlite://") as session:
        frame = session.frame(rows, name="t").semantic.extract("body", Product)
        estimate = frame.estimate()
        assert estimate.cost_usd is not None
        expected = Decimal(estimate.input_tokens + 2 * estimate.output_tokens) / 1_000_000
        assert abs(estimate.cost_usd - expected) < Decimal("0.00001")
        assert "total" in str(estimate)
        assert estimate.to_frame()["calls"].to_list() == [4]


def test_prompts_are_what_is_sent(tickets: ig.SemanticFrame) -> None:
    frame = tickets.semantic.extract("body", Product)
    with script("fast", answer) as asked:
        shown = frame.prompts(2)
        assert asked.requests == []
        frame.head(2).run()
    assert [prompt["operator"] for prompt in shown] == ["extract", "extract"]
    sent = sorted(request.messages[-1].content for request in asked.requests)
    assert sorted(prompt["messages"][-1]["content"] for prompt in shown) == sent
    assert len(shown[0]["row_id"]) == 32


@pytest.mark.parametrize(
    ("min_similarity", "share"), [(None, 1.0), (-1.0, 0.5)], ids=["all that are near", "those near enough"]
)
@pytest.mark.parametrize("k", [1, 4, 9])
def test_as_many_rows_are_expected_as_are_nearest(
    session: ig.Session, k: int, min_similarity: float | None, share: float
) -> None:
    left = session.frame(pl.DataFrame({"id": range(20), "body": [f"mail {n}" for n in range(20)]}), name="l", key="id")
    right = session.frame(pl.DataFrame({"no": range(7), "other": [f"note {n}" for n in range(7)]}), name="r", key="no")
    near = left.semantic.sim_join(right, "body", "other", k=k, min_similarity=min_similarity)
    similar = ig.Similar("body", "other", k=k, min_similarity=min_similarity)
    pairs = left.semantic.join(right, "{{ left.body }} is {{ right.other }}", candidates=similar)
    expected = round(20 * min(k, 7) * share)
    mapped = near.semantic.map("{{ body }}: {{ other }}", into="x")
    for plan, place in ((mapped, 2), (pairs, 2), (near.semantic.summarize(["body", "other"]), 2)):
        told = plan.estimate().operators[place]
        assert (told.rows_low, told.rows, told.rows_high) == (0, expected, 20 * min(k, 7))
        assert (told.calls_low, told.calls, told.calls_high) == (0, expected, 20 * min(k, 7))
    alone = near.semantic.map("{{ body }}", into="x").estimate().operators[2]
    assert (alone.rows, alone.calls_high) == (expected, 20), "the same question is asked once"
    if min_similarity is None:
        with script("fast", said_or_embedded):
            assert mapped.run().usage.by_operator["rows"].to_list()[2] == expected


def by_number(request: Request) -> dict[str, Any] | str:
    number = int(request.messages[-1].content.split("mail ")[1].split()[0])
    return {"answer": number % 3 == 0} if request.choices is not None else f"said {number}"


HEADS: dict[str, Callable[[ig.SemanticFrame, int], ig.SemanticFrame]] = {
    "the first": lambda kept, n: kept.head(n),
    "the first of two operators": lambda kept, n: kept.semantic.map("Sum up {{ body }}", into="x").head(n),
    "the first, once more filtered": lambda kept, n: kept.filter(pl.col("id") % 2 == 0).select("body").head(n),
}


@pytest.mark.parametrize("name", HEADS)
def test_no_call_is_expected_where_the_first_rows_come_out_of_stored_answers(session: ig.Session, name: str) -> None:
    rows = pl.DataFrame({"id": range(2_000), "body": [f"mail {n}" for n in range(2_000)]})
    kept = session.frame(rows, name="mails", key="id").semantic.filter("{{ body }} is good")
    plan = HEADS[name](kept, 10)
    with script("fast", by_number):
        fresh = plan.estimate()
        first = plan.run().usage
        again = plan.estimate()
        more = HEADS[name](kept, 400).estimate()
        assert plan.run().usage.calls == 0
        asked = HEADS[name](kept, 400).run().usage.calls
    assert first.calls <= fresh.calls_high
    assert fresh.calls > 0
    assert (again.calls_low, again.calls) == (0, 0)
    assert again.calls_high > 0, "windows of a run may be larger than those that are assumed"
    assert again.store_hits >= 10
    assert more.calls_low <= asked <= more.calls_high
    assert more.calls > 0


def test_a_call_is_expected_where_an_answer_before_the_last_row_is_missing(session: ig.Session) -> None:
    rows = pl.DataFrame({"id": range(300), "body": [f"mail {n}" for n in range(300)]})
    with script("fast", by_number):
        most = session.frame(rows.filter(pl.col("id") != 4), name="mails", key="id")
        most.semantic.filter("{{ body }} is good").run()
        plan = session.frame(rows, name="mails", key="id").semantic.filter("{{ body }} is good").head(10)
        estimate = plan.estimate()
        assert plan.run().usage.calls == 1
    assert (estimate.calls_low, estimate.calls, estimate.calls_high) == (0, 1, 1)
