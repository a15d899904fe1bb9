"""Rejected rows that go to another model, in plans without Dagster."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from pydantic import BaseModel

import infergraph as ig
from infergraph.errors import PlanError, UnknownModel
from infergraph.frame.run import RunOptions
from infergraph.models.model import CallFailed, Request
from infergraph.models.scripted import script


class Fact(BaseModel):
    product: str


def picky(request: Request) -> Any:
    if request.embed_text is not None:
        raise CallFailed("no vector for this one", outcome="permanent", reason="bad_request")
    text = request.messages[1].content.split("\n")[1]
    return "no idea" if text in ("slow", "merci") else {"product": text}


def clever(request: Request) -> Any:
    return {"product": request.messages[1].content.split("\n")[1].upper()}


def test_the_other_rows_keep_their_answers(tickets: ig.SemanticFrame) -> None:
    plan = tickets.semantic.extract("body", Fact)
    with script("fast", picky) as first, script("other", clever) as second:
        before = plan.run()
        assert before.rejects["id"].to_list() == [2, 5]
        asked = len(first.requests)
        estimate = plan.estimate(RunOptions(retry_rejects=True, retry_model="other"))
        assert estimate.calls == 2
        assert any("'other'" in said for said in estimate.assumptions)
        after = plan.run(retry_rejects=True, retry_model="other")
        assert (len(first.requests), len(second.requests), after.usage.calls) == (asked, 2, 2)
        assert plan.run().frame.equals(after.frame)
        assert plan.collect(retry_rejects=True, retry_model="other").equals(after.frame)
        assert len(second.requests) == 2, "no reject is left"
    assert after.frame["product"].to_list() == ["broken", "SLOW", None, "broken", "MERCI", "thanks"]
    retried = pl.col("id").is_in([2, 5])
    assert after.frame.filter(~retried).equals(before.frame.filter(~retried))
    vias = after.lineage.group_by("via").len().sort("via")
    assert vias.rows() == [("direct", 3), ("fallback:other", 2)]


def test_a_later_step_is_asked_about_rows_that_got_their_answer(tickets: ig.SemanticFrame) -> None:
    def labelling(request: Request) -> Any:
        return {request.choices.field: "a"} if request.choices is not None else picky(request)

    plan = tickets.semantic.extract("body", Fact).semantic.classify("product", ["a", "b"])
    with script("fast", labelling) as first, script("other", clever):
        plan.run()
        asked = len(first.requests)
        after = plan.run(retry_rejects=True, retry_model="other")
        assert len(first.requests) == asked + 2, "their labels, by the step's own model"
    assert after.frame["label"].to_list() == ["a", "a", None, "a", "a", "a"]


def test_vectors_are_asked_of_their_own_model(tickets: ig.SemanticFrame) -> None:
    plan = tickets.head(1).semantic.embed("body")
    with script("fast", picky) as first, script("other", []):
        assert plan.run().rejects["reason"].to_list() == ["bad_request"]
        assert plan.run(retry_rejects=True, retry_model="other").rejects["model"].to_list() == ["scripted:fast"]
        assert len(first.requests) == 2


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"retry_model": "other"}, PlanError, "add retry_rejects=True"),
        ({"retry_model": "other", "retry_rejects": True, "refresh": True}, PlanError, "give one"),
        ({"retry_model": "othr", "retry_rejects": True}, UnknownModel, "Did you mean 'other'"),
    ],
)
def test_options_that_do_not_fit_are_said(
    tickets: ig.SemanticFrame, options: dict[str, Any], kind: type[Exception], says: str
) -> None:
    with script("fast", []), pytest.raises(kind, match=says):
        tickets.semantic.extract("body", Fact).run(**options)


def test_a_budget_needs_its_price_too(tmp_path: Any) -> None:
    models = {
        "cheap": ig.Model("scripted:any", price=ig.Price(input=1, output=1)),
        "dear": ig.Model("openai:unheard-of"),
    }
    with ig.Session(models=models, default_model="cheap", store="sqlite:///s.db", root=tmp_path) as session:
        plan = session.frame(pl.DataFrame({"body": ["a"]}), name="t").semantic.extract("body", Fact)
        with (
            pytest.warns(UserWarning, match="unknown"),
            pytest.raises(PlanError, match="the price of openai:unheard-of"),
        ):
            plan.run(retry_rejects=True, retry_model="dear", max_cost_usd=1.0)
