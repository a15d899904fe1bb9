"""What holds for every operator of a frame, whatever it makes: one suite that each of them passes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pydantic import BaseModel

import infergraph as ig
from infergraph.errors import PlanError
from infergraph.models.model import CallFailed, Request, Response, Tokens
from infergraph.models.scripted import Script, script


class Fact(BaseModel):
    word: str


Build = Callable[[ig.SemanticFrame, str], ig.SemanticFrame]


@dataclass(frozen=True)
class Case:
    """One operator over a column of texts."""

    name: str
    build: Build
    keeps_rows: bool = True
    """Every row comes out, in its place."""
    in_order: bool = True
    """What comes out is in the order of the input."""
    asks_one: bool = True
    """A single row makes a request."""
    by_query: bool = False
    """It asks something that does not come from the rows."""


def pairs(frame: ig.SemanticFrame, column: str, how: Any) -> ig.SemanticFrame:
    others = frame.session.frame(pl.DataFrame({"topic": ["one", "two"]}), name="topics")
    return frame.semantic.join(others, f"{{{{ left.{column} }}}} is about {{{{ right.topic }}}}", how=how)


def neighbours(frame: ig.SemanticFrame, column: str) -> ig.SemanticFrame:
    others = frame.session.frame(pl.DataFrame({"topic": ["one", "two"]}), name="topics")
    return frame.semantic.sim_join(others, column, "topic", k=1)


CASES = [
    Case("map", lambda f, c: f.semantic.map(f"Shorten {{{{ {c} }}}}", into="short")),
    Case("extract", lambda f, c: f.semantic.extract(c, Fact)),
    Case("classify", lambda f, c: f.semantic.classify(c, ["a", "b"])),
    Case("filter", lambda f, c: f.semantic.filter(f"{{{{ {c} }}}} is good"), keeps_rows=False),
    Case("sentiment", lambda f, c: f.semantic.sentiment(c)),
    Case("summarize", lambda f, c: f.semantic.summarize(c)),
    Case("embed", lambda f, c: f.semantic.embed(c)),
    Case(
        "reduce",
        lambda f, c: f.semantic.reduce(f"{{% for row in rows %}}{{{{ row.{c} }}}}{{% endfor %}}", by="id", into="said"),
        keeps_rows=False,
    ),
    Case("join", lambda f, c: pairs(f, c, "inner"), keeps_rows=False),
    Case("join left", lambda f, c: pairs(f, c, "left"), keeps_rows=False),
    Case("join semi", lambda f, c: pairs(f, c, "semi"), keeps_rows=False),
    Case("join anti", lambda f, c: pairs(f, c, "anti"), keeps_rows=False),
    Case("sim_join", neighbours, keeps_rows=False, by_query=True),
    Case("search", lambda f, c: f.semantic.search(c, "good", k=9), keeps_rows=False, in_order=False, by_query=True),
    Case("top_k", lambda f, c: f.semantic.top_k(f"{{{{ {c} }}}} is good", k=9), keeps_rows=False, in_order=False,
         asks_one=False),
    Case("cluster", lambda f, c: f.semantic.cluster(c, k=2)),
    Case("cluster, named", lambda f, c: f.semantic.cluster(c, k=2, label=True)),
    Case("dedup", lambda f, c: f.semantic.dedup(c, min_similarity=0.99), keeps_rows=False),
]  # fmt: skip
TEXTS = ["red apple", "blue sea", "green tea", "old house"]


def answer(request: Request) -> Any:
    """A made-up answer that follows from the request alone; texts with ``BAD`` in them are refused."""
    asked = request.embed_text if request.embed_text is not None else request.messages[-1].content
    if "BAD" in asked:
        raise CallFailed("not this one", outcome="permanent", reason="refused")
    digest = hashlib.blake2b(asked.encode(), digest_size=16).digest()
    if request.embed_text is not None:
        return Response(embedding=tuple(byte - 127.5 for byte in digest[:8]), tokens=Tokens(input=3))
    if request.choices is not None:
        value = request.choices.values[digest[0] % len(request.choices.values)]
        return {request.choices.field: value == "true" if request.choices.boolean else value}
    if request.schema is not None:
        return dict.fromkeys(request.schema.parsed["properties"], "word")
    return f"said {digest[0]}"


@pytest.fixture
def model() -> Iterator[Script]:
    with script("contract", answer) as running:
        yield running


@pytest.fixture
def session(tmp_path: Path, model: Script) -> Iterator[ig.Session]:
    models = {"m": ig.Model("scripted:contract", dimensions=8)}
    with ig.Session(models=models, default_model="m", store="sqlite:///s.db", root=tmp_path) as made:
        yield made


def rows_of(session: ig.Session, texts: Sequence[str | None], **columns: Any) -> ig.SemanticFrame:
    data = pl.DataFrame({"id": range(len(texts)), "body": texts}, schema={"id": pl.Int64, "body": pl.String})
    return session.frame(data.with_columns(**columns), name="rows", key="id")


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    chosen: Case = request.param
    return chosen


def adds_up(usage: ig.Usage) -> bool:
    endings = usage.calls + usage.store_hits + usage.shared + usage.rejected_before + usage.nulls + usage.pending
    return usage.rows == endings


def test_an_empty_frame_has_the_columns_and_asks_nothing_of_rows(case: Case, session: ig.Session) -> None:
    plan = case.build(rows_of(session, []), "body")
    result = plan.run(row_ids=True)
    assert result.frame.drop("_row_id").schema == plan.schema == plan.collect_schema()
    assert result.frame.is_empty()
    assert result.usage.calls == 0 or case.by_query
    assert adds_up(result.usage)


def test_one_row(case: Case, session: ig.Session) -> None:
    plan = case.build(rows_of(session, ["red apple"]), "body")
    result = plan.run(row_ids=True)
    assert result.frame.drop("_row_id").schema == plan.schema
    assert (result.usage.calls > 0) == case.asks_one
    assert result.rejects.is_empty()
    assert adds_up(result.usage)
    assert not case.keeps_rows or result.frame.height == 1


def test_nulls_make_no_call_and_are_no_reject(case: Case, session: ig.Session) -> None:
    result = case.build(rows_of(session, [None, None, None]), "body").run()
    assert result.rejects.is_empty()
    assert result.usage.calls == 0 or case.by_query
    assert adds_up(result.usage)
    assert not case.keeps_rows or result.frame["id"].to_list() == [0, 1, 2]


def test_a_null_among_others_spoils_none(case: Case, session: ig.Session) -> None:
    whole = case.build(rows_of(session, [*TEXTS, None]), "body").collect()
    if case.keeps_rows:
        assert whole["id"].to_list() == [0, 1, 2, 3, 4]
    elif "id" in whole.columns:
        assert set(whole["id"]) <= {0, 1, 2, 3, 4}
    assert whole.height > 0 or case.name in ("filter", "join", "join semi", "join anti")


def test_equal_rows_share_their_requests(case: Case, session: ig.Session, model: Script) -> None:
    result = case.build(rows_of(session, ["red apple"] * 3), "body").run()
    assert adds_up(result.usage)
    hashes = {str(request.messages) + str(request.embed_text) for request in model.requests}
    assert len(hashes) == len(model.requests) == result.usage.calls


def test_an_unknown_column_is_named_when_the_plan_is_built(case: Case, session: ig.Session) -> None:
    with pytest.raises(PlanError, match="body"):
        case.build(rows_of(session, TEXTS), "bdoy")


@pytest.mark.parametrize("place", range(4))
def test_a_rejected_row_in_every_place_costs_no_other_row(case: Case, session: ig.Session, place: int) -> None:
    texts: list[str | None] = list(TEXTS)
    texts[place] = f"BAD {texts[place]}"
    result = case.build(rows_of(session, texts), "body").run(row_ids=True)
    assert not result.rejects.is_empty()
    assert set(result.rejects["reason"]) == {"refused"}
    assert adds_up(result.usage)
    if case.keeps_rows:
        assert result.frame["id"].to_list() == [0, 1, 2, 3]
    elif "id" in result.frame.columns:
        others = case.build(rows_of(session, TEXTS).filter(pl.col("id") != place), "body").collect()
        if case.name not in ("top_k", "search"):
            assert set(others["id"]) <= set(result.frame["id"])


def test_a_replay_makes_no_call_and_gives_the_same(case: Case, session: ig.Session, model: Script) -> None:
    texts = ["red apple", None, "BAD sea", "green tea", "red apple"]
    first = case.build(rows_of(session, texts), "body").run(row_ids=True)
    asked = len(model.requests)
    again = case.build(rows_of(session, texts), "body").run(row_ids=True)
    assert len(model.requests) == asked
    assert again.usage.calls == 0
    assert_frame_equal(again.frame, first.frame)
    assert_frame_equal(again.rejects.drop("cost_usd"), first.rejects.drop("cost_usd"), check_row_order=False)


def test_what_comes_out_is_in_order_and_every_row_has_its_own_id(case: Case, session: ig.Session) -> None:
    frame = case.build(rows_of(session, [*TEXTS, "red apple", "blue sky"]), "body").run(row_ids=True).frame
    assert frame["_row_id"].is_unique().all()
    if case.in_order and "id" in frame.columns:
        assert frame["id"].is_sorted()


def test_the_estimate_holds_before_and_is_nothing_after(case: Case, session: ig.Session) -> None:
    plan = case.build(rows_of(session, [*TEXTS, None]), "body")
    before = plan.estimate()
    calls = plan.run().usage.calls
    low = before.calls if before.calls_low is None else before.calls_low
    high = before.calls if before.calls_high is None else before.calls_high
    assert low <= calls <= high
    assert plan.estimate().calls == 0


def test_every_row_can_be_traced_to_its_source(case: Case, session: ig.Session) -> None:
    result = case.build(rows_of(session, TEXTS), "body").run(row_ids=True)
    for row_id in result.frame["_row_id"]:
        assert "rows" in str(result.trace(row_id))


def test_it_explains_itself_and_shows_its_prompts(case: Case, session: ig.Session) -> None:
    plan = case.build(rows_of(session, TEXTS), "body")
    assert "[model m]" in plan.explain()
    assert "__" not in "".join(plan.columns)
    assert plan.prompts(2)


def test_columns_lead_back_to_the_text(case: Case, session: ig.Session) -> None:
    plan = case.build(rows_of(session, TEXTS), "body")
    lineage = str(plan.column_lineage())
    assert "body" in lineage
