"""What a plan says of its columns' types is what comes out, also where Polars plans another type."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import polars as pl
import pytest

import infergraph as ig
from infergraph.models.model import Request
from infergraph.models.scripted import script

LABEL = pl.Enum(["a", "b"])
FILLED = pl.col("label").fill_null("a")


def first_choice(request: Request) -> Any:
    return "text" if request.choices is None else {request.choices.field: request.choices.values[0]}


@pytest.fixture
def labelled(session: ig.Session) -> Iterator[ig.SemanticFrame]:
    data = pl.DataFrame({"id": [1, 2, 3], "body": ["x", "y", None]})
    with script("fast", first_choice):
        yield session.frame(data, name="t", key="id").semantic.classify("body", ["a", "b"])


@pytest.mark.parametrize(
    ("step", "dtype"),
    [
        (lambda f: f.with_columns(FILLED), LABEL),
        (lambda f: f.with_columns(label=pl.coalesce("label", pl.lit("b"))), LABEL),
        (lambda f: f.select("id", FILLED), LABEL),
        (lambda f: f.with_columns(FILLED).filter(pl.col("label") == "a").sort("label"), LABEL),
        (lambda f: f.with_columns(FILLED).with_columns(pl.col("label").cast(pl.String)), pl.String),
        (lambda f: f.with_columns(label=pl.when(pl.col("id") > 1).then("label").otherwise(pl.lit("a"))), LABEL),
        (lambda f: f.with_columns(label=pl.col("label").replace("a", "b")), LABEL),
        (lambda f: f.with_columns(label=pl.col("label").replace_strict({"a": "x", "b": "y"})), pl.String),
        (lambda f: f.group_by("id").agg(FILLED.first()), LABEL),
        (lambda f: f.group_by("id").agg(FILLED), pl.List(LABEL)),
        (lambda f: f.group_by(FILLED).agg(pl.len()), LABEL),
        (lambda f: f.map_frame(lambda lf: lf.with_columns(FILLED)), pl.String),
        (
            lambda f: ig.concat([f.select("label"), f.select(label="body")], how="vertical_relaxed"),
            pl.String,
        ),
    ],
)
def test_the_next_operator_reads_what_the_plan_says(
    labelled: ig.SemanticFrame, step: Callable[[ig.SemanticFrame], ig.SemanticFrame], dtype: pl.DataType
) -> None:
    frame = step(labelled)
    assert frame.schema["label"] == dtype
    result = frame.semantic.map("Say {{ label }}", into="said").run()
    assert result.frame.schema == {**frame.schema, "said": pl.String}
    assert result.rejects.is_empty()
    assert frame.run().frame.schema == frame.schema


def test_an_expression_of_the_operators_own(labelled: ig.SemanticFrame) -> None:
    assert labelled.semantic.sentiment(FILLED).collect()["sentiment"].to_list() == ["negative"] * 3


def test_a_source_whose_type_polars_misjudges(session: ig.Session) -> None:
    data = pl.DataFrame({"id": [1, 2], "label": pl.Series(["a", None], dtype=LABEL)}).lazy().with_columns(FILLED)
    with script("fast", first_choice):
        frame = session.frame(data, name="t", key="id").semantic.map("Say {{ label }}", into="said")
        assert frame.collect().schema == frame.schema


def test_a_literal_that_is_no_category_is_refused_when_the_plan_is_built(labelled: ig.SemanticFrame) -> None:
    with pytest.raises(ig.PlanError, match=r'"zz".*write \.cast\(pl\.String\)'):
        labelled.with_columns(pl.col("label").replace("a", "zz"))


def test_functions_of_the_author_are_not_called_to_learn_types(labelled: ig.SemanticFrame) -> None:
    called: list[int] = []

    def seen(values: pl.Series) -> pl.Series:
        called.append(len(values))
        return values

    labelled.with_columns(pl.col("label").map_batches(seen, return_dtype=LABEL))
    assert called == []


def test_steps_that_need_rows_are_no_plan_errors(labelled: ig.SemanticFrame) -> None:
    assert labelled.with_columns(first=pl.col("id").get(0)).collect()["first"].to_list() == [1, 1, 1]


def test_what_polars_panics_over_is_a_plan_error(session: ig.Session) -> None:
    data = pl.DataFrame({"a": pl.Series(["x"], dtype=pl.Enum(["x"])), "b": pl.Series(["y"], dtype=pl.Enum(["y"]))})
    with pytest.raises(ig.PlanError, match="supertype"):
        session.frame(data, name="t").unpivot(["a", "b"])


def test_frames_under_one_another_after_different_steps(labelled: ig.SemanticFrame) -> None:
    both = ig.concat([labelled.with_columns(y=pl.lit(1)), labelled.select(pl.all(), y=pl.lit(2))])
    assert both.semantic.map("Say {{ body }}", into="said").collect()["y"].to_list() == [1, 1, 1, 2, 2, 2]
