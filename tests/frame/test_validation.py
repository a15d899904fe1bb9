"""The author's validators in real runs: part of the repair loop, given the row, asked of stored answers again."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

import polars as pl
import pytest
from pydantic import BaseModel, ValidationInfo, field_validator, model_validator

import infergraph as ig
from infergraph.models.model import Request, Response, Tokens
from infergraph.models.scripted import script


class Fact(BaseModel):
    product: str
    evidence: Annotated[str, ig.Quote(of="body")]


BODIES = ["the lamp hums", "the kettle leaks", None, "the lamp hums"]


@pytest.fixture
def texts(session: ig.Session) -> ig.SemanticFrame:
    return session.frame(pl.DataFrame({"id": [1, 2, 3, 4], "body": BODIES}), name="texts", key="id")


def body_of(request: Request) -> str:
    text = next(message.content for message in request.messages if message.role == "user")
    return re.sub(r"</?\w+>\n?", "", text).strip()


def repaired(request: Request) -> str:
    """What the request says was wrong with the answer before; empty in a first request."""
    last = request.messages[-1].content
    return last if last.startswith("The answer is not valid") else ""


def test_the_authors_validator_is_told_to_the_model_which_then_passes(texts: ig.SemanticFrame) -> None:
    class Capital(BaseModel):
        product: str

        @field_validator("product")
        @classmethod
        def _named(cls, product: str) -> str:
            if product.islower():
                raise ValueError("write the product's name with a capital")
            return product

    def answer(request: Request) -> dict[str, Any]:
        word = body_of(request).split()[1]
        return {"product": word.title() if "with a capital" in repaired(request) else word}

    with script("fast", answer) as asked:
        result = texts.semantic.extract("body", Capital).run()
    assert result.frame["product"].to_list() == ["Lamp", "Kettle", None, "Lamp"]
    assert result.rejects.is_empty()
    assert [repaired(request) != "" for request in asked.requests].count(True) == 2
    assert result.usage.calls == 2
    assert set(result.lineage["via"]) == {"repair"}


@pytest.mark.parametrize("kind", ["extract", "map"])
def test_a_quote_that_is_not_there_is_asked_again_and_then_a_reject(texts: ig.SemanticFrame, kind: str) -> None:
    def answer(request: Request) -> dict[str, Any]:
        if "kettle" in body_of(request):
            return {"product": "kettle", "evidence": "it drips"}
        return {"product": "lamp", "evidence": "hums" if repaired(request) else "it hums"}

    plan = (
        texts.semantic.extract("body", Fact)
        if kind == "extract"
        else texts.semantic.map("The product of {{ body }}", schema=Fact)
    )
    with script("fast", answer) as asked:
        result = plan.run()
        assert result.frame["evidence"].to_list() == ["hums", None, None, "hums"]
        (reject,) = result.rejects.to_dicts()
        assert (reject["id"], reject["reason"], reject["attempts"]) == (2, "invalid_output", 3)
        assert 'does not occur in body: copy the words from body exactly (given: "it drips")' in reject["message"]
        assert (result.usage.calls, result.usage.shared, len(asked.requests)) == (2, 1, 5)
        assert plan.estimate().calls == 0
        again = plan.run()
        assert again.usage.calls == 0
        assert len(asked.requests) == 5


def test_the_row_is_there_for_columns_that_nobody_keeps(texts: ig.SemanticFrame) -> None:
    with script("fast", good):
        assert texts.semantic.extract("body", Fact).select("evidence").run().frame["evidence"].to_list() == [
            "hums",
            "leaks",
            None,
            "hums",
        ]
        kept = texts.semantic.extract("body", Fact).drop("body").filter(pl.col("evidence") == "hums")
        assert kept.run().frame.columns == ["id", "product", "evidence"]
        assert kept.estimate().calls == 0


def good(request: Request) -> dict[str, Any]:
    words = body_of(request).split()
    return {"product": words[1], "evidence": words[2]}


def test_an_estimate_judges_stored_answers_in_rows_that_may_come(texts: ig.SemanticFrame) -> None:
    plan = texts.semantic.filter("{{ body }} is loud").semantic.extract("body", Fact).select("evidence")
    with script("fast", good):
        texts.semantic.extract("body", Fact).run()
        decided, facts = plan.estimate().operators
    assert (decided.calls, facts.calls_high, facts.store_hits_high) == (2, 0, 3)


def test_several_columns_and_types_are_in_the_row(session: ig.Session) -> None:
    seen: list[dict[str, Any]] = []

    class Sum(BaseModel):
        total: int

        @model_validator(mode="after")
        def _adds_up(self, info: ValidationInfo[dict[str, Any]]) -> Sum:
            row = info.context["row"]
            seen.append(dict(row))
            if self.total != sum(row["numbers"]):
                raise ValueError(f"the numbers add up to {sum(row['numbers'])}")
            return self

    data = pl.DataFrame({"numbers": [[1, 2], [3]], "note": ["a", None], "other": [1, 2]})
    frame = session.frame(data, name="sums")
    with script("fast", lambda request: {"total": int((re.findall(r"add up to (\d+)", repaired(request)) or [0])[0])}):
        result = frame.semantic.extract(["numbers", "note"], Sum).run()
    assert result.frame["total"].to_list() == [3, 3]
    assert {"numbers": [1, 2], "note": "a"} in seen
    assert all(set(row) == {"numbers", "note"} for row in seen)


def test_rows_with_one_request_judge_its_answer_each_for_itself(session: ig.Session) -> None:
    """Both rows ask the same, because blank edges are cut off; only one of them takes the first answer."""

    class Width(BaseModel):
        width: int

        @field_validator("width")
        @classmethod
        def _fits(cls, width: int, info: ValidationInfo[dict[str, Any]]) -> int:
            if width < len(info.context["row"]["body"]):
                raise ValueError(f"it is {len(info.context['row']['body'])} wide")
            return width

    data = pl.DataFrame({"id": [1, 2], "body": ["lamp", "  lamp  "]})
    with script("fast", lambda request: {"width": 8 if "8 wide" in repaired(request) else 4}) as asked:
        plan = session.frame(data, name="t", key="id").semantic.extract(pl.col("body").str.strip_chars(), Width)
        result = plan.run()
        assert result.frame["width"].to_list() == [4, 8]
        assert (result.usage.rows, len(asked.requests)) == (2, 2)
        assert plan.run().usage.calls == 0


def test_a_changed_validator_goes_on_at_the_repair_of_the_stored_answer(texts: ig.SemanticFrame) -> None:
    def schema(*, strict: bool) -> type[BaseModel]:
        class Fact(BaseModel):
            evidence: str

            @field_validator("evidence")
            @classmethod
            def _quoted(cls, evidence: str, info: ValidationInfo[dict[str, Any]]) -> str:
                if strict and evidence not in info.context["row"]["body"]:
                    raise ValueError("say it in the text's own words")
                return evidence

        return Fact

    def answer(request: Request) -> dict[str, Any]:
        return {"evidence": body_of(request).split()[2] if repaired(request) else "it hums"}

    with script("fast", answer) as asked:
        assert texts.semantic.extract("body", schema(strict=False)).run().usage.calls == 2
        strict = texts.semantic.extract("body", schema(strict=True))
        assert strict.estimate().calls == 2
        result = strict.run()
    assert result.frame["evidence"].to_list() == ["hums", "leaks", None, "hums"]
    assert len(asked.requests) == 4
    first_new = asked.requests[2]
    assert [message.role for message in first_new.messages] == ["system", "user", "assistant", "user"]
    assert json.loads(first_new.messages[2].content) == {"evidence": "it hums"}
    assert "say it in the text's own words" in repaired(first_new)


def test_a_column_that_is_not_read_stops_the_run_at_once(texts: ig.SemanticFrame) -> None:
    class Wrong(BaseModel):
        product: str

        @field_validator("product")
        @classmethod
        def _known(cls, product: str, info: ValidationInfo[dict[str, Any]]) -> str:
            return product if info.context["row"]["id"] else ""

    with script("fast", good), pytest.raises(ig.PlanError, match=r"row\['id'\], which the request does not read"):
        texts.semantic.extract("body", Wrong).run()


def test_a_cut_off_answer_is_asked_again_with_more_room(texts: ig.SemanticFrame) -> None:
    def answer(request: Request) -> Any:
        whole = json.dumps(good(request))
        if (request.max_output_tokens or 0) >= 20:
            return whole
        return Response(text=whole[:10], finish="length", tokens=Tokens(input=20, output=10))

    with script("fast", answer) as asked:
        result = texts.semantic.extract("body", Fact).run()
    assert result.frame["evidence"].to_list() == ["hums", "leaks", None, "hums"]
    assert result.rejects.is_empty()
    assert sorted(str(request.max_output_tokens) for request in asked.requests) == ["20", "20", "None", "None"]
    assert {len(request.messages) for request in asked.requests} == {2}, "the same request, not a repair"
    assert set(result.lineage["via"]) == {"more_room"}


def test_what_is_cut_off_however_much_room_it_gets_is_a_reject(texts: ig.SemanticFrame) -> None:
    def answer(request: Request) -> Any:
        room = request.max_output_tokens or 10
        return Response(text='{"product": "l', finish="length", tokens=Tokens(input=20, output=room))

    with script("fast", answer):
        result = texts.head(1).semantic.extract("body", Fact).run()
    (reject,) = result.rejects.to_dicts()
    assert (reject["reason"], reject["attempts"]) == ("truncated", 3)
    assert result.frame["product"].to_list() == [None]
