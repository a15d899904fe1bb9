"""Schemas with quotes are checked when the plan is built: the model must be shown what it is to quote."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import polars as pl
import pytest
from pydantic import BaseModel

import infergraph as ig
from infergraph.errors import PlanError
from infergraph.operators.extract import ExtractOperator
from infergraph.operators.map import MapOperator

COLUMNS = pl.Schema({"id": pl.Int64(), "title": pl.String(), "body": pl.String(), "kind": pl.Enum(["a", "b"])})


class Fact(BaseModel):
    product: str
    evidence: Annotated[str, ig.Quote(of="body")]


class OfNumber(BaseModel):
    evidence: Annotated[str, ig.Quote(of="id")]


class OfKind(BaseModel):
    evidence: Annotated[str, ig.Quote(of="kind")]


class Plain(BaseModel):
    product: str


Build = Callable[..., ExtractOperator | MapOperator]


def extract(column: Any, schema: type[BaseModel], **more: Any) -> ExtractOperator:
    return ExtractOperator.build(COLUMNS, column, schema, **more)


def mapped(column: Any, schema: type[BaseModel], **more: Any) -> MapOperator:
    names = [column] if isinstance(column, str) else column
    prompt = "Read " + " and ".join(f"{{{{ {name} }}}}" for name in names)
    return MapOperator.build(COLUMNS, prompt, into=None, schema=schema, **more)


@pytest.mark.parametrize("build", [extract, mapped])
def test_the_quoted_column_must_be_read(build: Build) -> None:
    assert build("body", Fact).judges_by == ("body",)
    assert build(["title", "body"], Fact).judges_by == ("title", "body")
    with pytest.raises(PlanError, match=r"reads only 'title'\. Name it at the step too"):
        build("title", Fact)


@pytest.mark.parametrize("build", [extract, mapped])
def test_a_column_that_is_not_there_is_said_with_those_that_are_read(build: Build) -> None:
    class Typo(BaseModel):
        evidence: Annotated[str, ig.Quote(of="bdoy")]

    with pytest.raises(PlanError, match=r"and the request reads only 'body'. Did you mean 'body'"):
        build("body", Typo)


def test_a_quote_is_of_a_column_of_text() -> None:
    assert extract("kind", OfKind).judges_by == ("kind",)
    with pytest.raises(PlanError, match="that column is Int64; a quote is of text"):
        extract("id", OfNumber)


def test_without_such_validators_the_row_is_not_needed() -> None:
    assert extract("body", Plain).judges_by == ()
    assert mapped("body", Plain).judges_by == ()
    assert MapOperator.build(COLUMNS, "A title for {{ body }}", into="t").judges_by == ()


@pytest.mark.parametrize("build", [extract, mapped])
def test_examples_are_quoted_from_their_own_input(build: Build) -> None:
    good = [("the lamp hums", {"product": "lamp", "evidence": "hums"})]
    assert build("body", Fact, examples=good).examples[0].answer == '{"product": "lamp", "evidence": "hums"}'
    of_instance = [({"title": "t", "body": "it hums"}, Fact(product="lamp", evidence="hums"))]
    assert len(build(["title", "body"], Fact, examples=of_instance).examples) == 1
    for wrong in ({"product": "lamp", "evidence": "sings"}, Fact(product="lamp", evidence="sings")):
        with pytest.raises(PlanError, match=r"(?s)examples\[0\].*evidence: does not occur in body"):
            build("body", Fact, examples=[("the lamp hums", wrong)])


def test_an_expression_is_quoted_from_the_whole_column() -> None:
    operator = extract(pl.col("body").str.slice(0, 3).alias("start"), Fact)
    assert operator.judges_by == ("body",)
