"""What operators take and refuse: columns, labels, names, examples."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from enum import Enum, auto
from typing import Any, Literal

import polars as pl
import pytest
from polars import selectors as cs
from pydantic import BaseModel, field_validator

from infergraph.errors import PlanError, TemplateError, UnknownColumn
from infergraph.operators.classify import ClassifyOperator
from infergraph.operators.embed import EmbedOperator
from infergraph.operators.extract import ExtractOperator
from infergraph.operators.filter import FilterOperator
from infergraph.operators.map import MapOperator
from infergraph.operators.operator import Example
from infergraph.operators.sentiment import SentimentOperator
from infergraph.operators.subject import Subject, is_row_wise

COLUMNS = pl.Schema({"title": pl.String(), "body": pl.String(), "day": pl.Date(), "raw": pl.Binary()})
FRAME = pl.DataFrame(
    {"title": ["Help", None, None], "body": ["It broke", "Hi", None], "day": [date(2024, 1, 2), None, None]}
)


class Ticket(BaseModel):
    product: str
    severity: Literal["low", "high"]

    @field_validator("product")
    @classmethod
    def _short(cls, product: str) -> str:
        if len(product) > 10:
            raise ValueError("at most 10 letters")
        return product


class Kind(Enum):
    BUG = "bug"
    BILLING = "billing"


class Size(Enum):
    SMALL = auto()
    BIG = auto()


def subject(column: Any) -> Subject:
    return Subject.of(column, COLUMNS, where=".semantic.extract")


def test_several_columns_are_blocks_and_null_ones_are_left_out() -> None:
    assert FRAME.select(subject(["title", "body"]).content).to_series().to_list() == [
        "<title>\nHelp\n</title>\n<body>\nIt broke\n</body>",
        "<body>\nHi\n</body>",
        None,
    ]
    assert FRAME.select(subject(["title", "body"]).text).to_series().to_list() == ["Help\n\nIt broke", "Hi", None]


def test_an_expression_is_computed_row_by_row() -> None:
    shown = subject([pl.col("body").str.to_uppercase().alias("loud"), pl.col("day")])
    assert shown.reads == ("body", "day")
    assert FRAME.select(shown.content).to_series()[0] == "<loud>\nIT BROKE\n</loud>\n<day>\n2024-01-02\n</day>"


def test_selections_stand_for_their_columns() -> None:
    assert subject(cs.string()).reads == ("title", "body")
    assert subject(pl.col("title", "body")).tags == ("title", "body")


def test_equal_names_get_tags_of_their_own() -> None:
    assert subject(["body", pl.col("body").str.head(3)]).tags == ("body", "body_2")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([], r"name at least one column, for example 'title'"),
        (7, r"a column is a name, a Polars expression or a list of them, not 7"),
        (["body", None], r"a column is a name"),
        (pl.lit("x"), r"reads no column"),
        (pl.len(), r"reads no column"),
        (pl.col("body").first(), r"needs more than its own row.*\.with_columns"),
        (pl.col("body") == pl.col("body").max(), r"needs more than its own row"),
        (pl.col("body").shift(1), r"needs more than its own row"),
        (pl.col("body").sort(), r"needs more than its own row"),
        (pl.col("body").filter(pl.col("title") == "x"), r"needs more than its own row"),
        (pl.col("title").max().over("body"), r"needs more than its own row"),
        (pl.col("title", "body").str.to_uppercase(), r"makes several columns"),
        (pl.col("day").str.to_uppercase(), r"does not work on this input"),
        (pl.col("raw"), r"'raw' is Binary, which has no text"),
    ],
    ids=str,
)
def test_columns_that_do_not_fit(column: Any, message: str) -> None:
    with pytest.raises(PlanError, match=r"^\.semantic\.extract: .*" + message):
        subject(column)


@pytest.mark.parametrize(
    "column", ["bdoy", pl.col("bdoy"), ["title", "bdoy"], pl.col("title") + pl.col("bdoy")], ids=str
)
def test_an_unknown_column_anywhere(column: Any) -> None:
    with pytest.raises(UnknownColumn, match=r"no column 'bdoy'\. Did you mean 'body'"):
        subject(column)


def test_python_functions_are_trusted_to_be_row_wise() -> None:
    assert is_row_wise(pl.col("body").map_elements(str.upper, return_dtype=pl.String))
    assert is_row_wise(pl.col("tags").list.eval(pl.element().str.to_uppercase()))


@pytest.mark.parametrize(
    ("labels", "values"),
    [
        (["bug", "billing"], ("bug", "billing")),
        (("billing", "bug"), ("billing", "bug")),
        ({"bug": "broken", "billing": "money"}, ("bug", "billing")),
        (Kind, ("bug", "billing")),
        (Size, ("SMALL", "BIG")),
    ],
    ids=str,
)
def test_labels(labels: Any, values: tuple[str, ...]) -> None:
    operator = ClassifyOperator.build(COLUMNS, "body", labels)
    assert operator.answer.values == values
    assert operator.writes["label"] == pl.Enum(values)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], r"at least two labels.*not no label"),
        (["bug"], r"at least two labels.*not only 'bug'"),
        (["bug", "bug", "billing"], r"'bug' stands twice"),
        (["bug", ""], r"not empty, not ''"),
        (["bug", " "], r"not empty"),
        (["bug", 1], r"a label is a text"),
        ({"bug": "x", "billing": None}, r"the description of 'billing' is a text"),
        ("bug", r"labels is a list"),
        ({"bug", "billing"}, r"labels is a list"),
        (None, r"labels is a list"),
    ],
)
def test_labels_that_do_not_fit(labels: Any, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        ClassifyOperator.build(COLUMNS, "body", labels)


@pytest.mark.parametrize(
    "build",
    [
        lambda into: MapOperator.build(COLUMNS, "{{ body }}", into=into),
        lambda into: MapOperator.build(COLUMNS, "{{ body }}", into=into, schema=Ticket),
        lambda into: ExtractOperator.build(COLUMNS, "body", Ticket, into=into),
        lambda into: ClassifyOperator.build(COLUMNS, "body", ["a", "b"], into=into),
        lambda into: SentimentOperator.build(COLUMNS, "body", into=into),
        lambda into: EmbedOperator.build(COLUMNS, "body", into=into, dimensions=3),
    ],
)
@pytest.mark.parametrize(
    ("into", "message"),
    [
        ("title", r"already has a column 'title'.*into='title_2'"),
        ("_row_id", r"'_row_id' is reserved"),
        ("", r"into= is the new column's name"),
        (7, r"into= is the new column's name"),
    ],
)
def test_names_that_do_not_fit(build: Callable[[Any], object], into: Any, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        build(into)


def test_a_field_that_clashes_is_answered_with_a_struct() -> None:
    with pytest.raises(PlanError, match=r"schema has a field of that name.*into='ticket' for one Struct column"):
        ExtractOperator.build(pl.Schema({**COLUMNS, "product": pl.String()}), "body", Ticket)


def test_map_without_schema_needs_a_name_and_with_one_does_not() -> None:
    with pytest.raises(PlanError, match="into='answer'"):
        MapOperator.build(COLUMNS, "{{ body }}", into=None)
    assert list(MapOperator.build(COLUMNS, "{{ body }}", into=None, schema=Ticket).writes) == ["product", "severity"]
    struct = MapOperator.build(COLUMNS, "{{ body }}", into="t", schema=Ticket)
    assert struct.columns([{"product": "lamp", "severity": "low"}, None])[0].to_list() == [
        {"product": "lamp", "severity": "low"},
        None,
    ]


@pytest.mark.parametrize("prompt", ["{{ bdoy }}", "no variable", "{{ body"])
def test_prompts_are_templates(prompt: str) -> None:
    with pytest.raises(TemplateError, match=r"^\.semantic\.map"):
        MapOperator.build(COLUMNS, prompt, into="t")
    with pytest.raises(TemplateError, match=r"^\.semantic\.filter"):
        FilterOperator.build(COLUMNS, prompt)


def test_what_is_no_prompt_at_all() -> None:
    with pytest.raises(PlanError, match=r"For a Polars condition write \.filter"):
        FilterOperator.build(COLUMNS, pl.col("body") == "x")  # type: ignore[arg-type]  # what a caller may do
    with pytest.raises(PlanError, match="the prompt is a template"):
        MapOperator.build(COLUMNS, None, into="t")  # type: ignore[arg-type]  # what a caller may do


@pytest.mark.parametrize(
    ("instruction", "message"), [("", "a sentence"), (3, "a sentence"), ("in {{ lang }}", "takes no")]
)
def test_instructions_that_do_not_fit(instruction: Any, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        ExtractOperator.build(COLUMNS, "body", Ticket, instruction=instruction)
    with pytest.raises(PlanError, match=message):
        ClassifyOperator.build(COLUMNS, "body", ["a", "b"], instruction=instruction)


@pytest.mark.parametrize("dimensions", [0, -1, 1.5, True, None])
def test_dimensions_that_do_not_fit(dimensions: Any) -> None:
    with pytest.raises(PlanError, match="1 or more"):
        EmbedOperator.build(COLUMNS, "body", dimensions=dimensions)


Pairs = list[Any]


def extracts(examples: Pairs) -> tuple[Example, ...]:
    return ExtractOperator.build(COLUMNS, "body", Ticket, examples=examples).examples


def classifies(examples: Pairs) -> tuple[Example, ...]:
    return ClassifyOperator.build(COLUMNS, "body", Kind, examples=examples).examples


def classifies_several(examples: Pairs) -> tuple[Example, ...]:
    return ClassifyOperator.build(COLUMNS, "body", Kind, multi=True, examples=examples).examples


def feels(examples: Pairs) -> tuple[Example, ...]:
    return SentimentOperator.build(COLUMNS, "body", examples=examples).examples


def filters(examples: Pairs) -> tuple[Example, ...]:
    return FilterOperator.build(COLUMNS, "{{ body }} is about {{ title }}", examples=examples).examples


def maps(examples: Pairs) -> tuple[Example, ...]:
    return MapOperator.build(
        COLUMNS, "{{ body }}{% if day %}{{ day }}{% endif %}", into="t", examples=examples
    ).examples


@pytest.mark.parametrize(
    ("build", "pair", "answer"),
    [
        (extracts, ("It broke", Ticket(product="lamp", severity="low")), '{"product": "lamp", "severity": "low"}'),
        (extracts, ({"body": "It"}, {"product": "ü", "severity": "high"}), '{"product": "ü", "severity": "high"}'),
        (classifies, ("It broke", "bug"), '{"label": "bug"}'),
        (classifies, ["It broke", Kind.BUG], '{"label": "bug"}'),
        (classifies_several, ("x", [Kind.BILLING, "bug"]), '{"labels": ["bug", "billing"]}'),
        (classifies_several, ("x", []), '{"labels": []}'),
        (feels, ("Thanks!", "positive"), '{"sentiment": "positive"}'),
        (filters, ({"body": "a", "title": "b"}, False), '{"answer": false}'),
        (maps, ({"body": "a", "day": date(2024, 1, 2)}, "A"), "A"),
        (maps, ({"body": "a"}, "A"), "A"),
    ],
)
def test_examples(build: Callable[[Pairs], tuple[Example, ...]], pair: Any, answer: str) -> None:
    (example,) = build([pair])
    assert example.answer == answer
    assert example.content.startswith("<body>\n")


@pytest.mark.parametrize(
    ("build", "pair", "message"),
    [
        (extracts, "It broke", r"is a pair \(input, output\)"),
        (extracts, ("a", "b", "c"), r"is a pair"),
        (extracts, ("It broke", {"product": "lamp", "severity": "urgent"}), r"severity: must be 'low' or 'high'"),
        (extracts, ("It broke", {"product": "a long product name", "severity": "low"}), r"at most 10 letters"),
        (extracts, ("It broke", {"product": "lamp"}), r"severity is missing"),
        (extracts, ("It broke", 7), r"its output 7 does not fit"),
        (extracts, ({"bdoy": "x"}, {}), r"has 'bdoy', which is not read\. Did you mean 'body'"),
        (extracts, (7, {}), r"7 does not fit column 'body', which is String"),
        (extracts, (None, {}), r"its input is null"),
        (classifies, ("x", "weather"), r"'weather' is no label; labels are 'bug', 'billing'"),
        (classifies, ("x", ["bug"]), r"no label"),
        (classifies_several, ("x", "bug"), r"a list of labels"),
        (feels, ("x", "angry"), r"one of 'negative', 'neutral', 'positive'"),
        (filters, ("x", True), r"several columns are read, so its input is a dict \{'body': \.\.\., 'title': \.\.\.\}"),
        (filters, ({"body": "a", "title": "b"}, "yes"), r"True or False"),
        (filters, ({"body": "a"}, True), r"its input is null"),
        (maps, ({"body": "a"}, {"t": "A"}), r"the answer is a text"),
        (maps, ({"body": "a"}, " "), r"would not be accepted as an answer\. The answer is empty"),
    ],
)
def test_examples_that_do_not_fit_are_named_by_number(
    build: Callable[[Pairs], tuple[Example, ...]], pair: Any, message: str
) -> None:
    with pytest.raises(PlanError, match=r"^\.semantic\.\w+: examples\[0\]:? .*" + message):
        build([pair])


@pytest.mark.parametrize("examples", ["text", {"a": "b"}, 3])
def test_examples_are_a_list(examples: Any) -> None:
    with pytest.raises(PlanError, match=r"examples is a list of pairs"):
        extracts(examples)


def test_whatever_changes_the_question_changes_the_fingerprint() -> None:
    operators = [
        ClassifyOperator.build(COLUMNS, "body", ["a", "b"]),
        ClassifyOperator.build(COLUMNS, "body", ["b", "a"]),
        ClassifyOperator.build(COLUMNS, "body", {"a": "first", "b": ""}),
        ClassifyOperator.build(COLUMNS, "body", ["a", "b"], instruction="x"),
        ClassifyOperator.build(COLUMNS, "body", ["a", "b"], examples=[("x", "a")]),
        ClassifyOperator.build(COLUMNS, "body", ["a", "b"], multi=True),
        ClassifyOperator.build(COLUMNS, ["body", "title"], ["a", "b"]),
        ClassifyOperator.build(COLUMNS, pl.col("body").str.to_uppercase(), ["a", "b"]),
    ]
    assert len({operator.fingerprint() for operator in operators}) == len(operators)
    renamed = ClassifyOperator.build(COLUMNS, "body", ["a", "b"], into="other")
    assert renamed.fingerprint() == operators[0].fingerprint()
