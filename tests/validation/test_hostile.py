"""Whatever a model writes, a judge gives a verdict, and what it accepts fits into columns."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel, Field

from infergraph.models.model import Response
from infergraph.models.verdict import Accepted, Rejected, Repair
from infergraph.validation.answers import ChoiceAnswer, judge_text
from infergraph.validation.schema import AnswerModel
from infergraph.validation.values import float64


class Kind(Enum):
    BUG = "bug"
    BILLING = "billing"


class Inner(BaseModel):
    number: int = 0
    tags: list[str] = []


class Anything(BaseModel):
    """Every type that has a column, each optional, so that one strange value meets its own field."""

    text: str | None = None
    number: int | None = None
    ratio: float | None = None
    either: int | float | None = None
    exact: Decimal | None = None
    cents: Annotated[Decimal, Field(max_digits=10, decimal_places=2)] | None = None
    flag: bool | None = None
    day: dt.date | None = None
    moment: dt.datetime | None = None
    instant: AwareDatetime | None = None
    clock: dt.time | None = None
    span: dt.timedelta | None = None
    kind: Kind | None = None
    level: Literal["low", "high"] | None = None
    grade: Literal[1, 2] | None = None
    inner: Inner | None = None
    many: list[Inner | None] | None = None
    nested: list[list[int]] | None = None
    some: set[str] | None = None


ANSWER = AnswerModel.of(Anything)
CHOICES = [
    ChoiceAnswer("number", ("1", "2")),
    ChoiceAnswer("flag", ("true", "false"), boolean=True),
    ChoiceAnswer("some", ("bug", "billing"), several=True),
]
HUGE = "1" * 5000
STRANGE = [
    HUGE, "-" + HUGE, "9" * 4299, str(2**63), str(-(2**63) - 1), "1e400", "-1e400", "1e-400", "1E+999999999",
    "0.1" + HUGE,
    "NaN", "Infinity", "-Infinity", "null", "true", "[]", "{}", '""', '"\\ud800"', '"\\u0000"', '"\\ud83d\\ude00"',
    '"1e400"', '"NaN"', '"sNaN"', '"Infinity"', f'"{HUGE}"', '"0e999999"', '"1e-999999"',
    '"0001-01-01"', '"9999-12-31"', '"0001-01-01T00:00:00+14:00"', '"9999-12-31T23:59:59-14:00"', '"24:00"',
    '"23:59:60"', '"P999999999D"', '"-P999999999D"', '"PT1e9S"', "1e18", "-62135596801", "253402300800",
    "[" * 100_000, '{"a":' * 100_000, "[" * 900 + "]" * 900, '{"number": ' * 150 + "1" + "}" * 150,
    f"[{HUGE}]", f'{{"number": {HUGE}}}', f'[{{"number": {HUGE}}}]', f"[[{HUGE}]]", "[[1e400]]", '["\\ud800"]',
]  # fmt: skip
STRANGE_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([2**63, 10**400, 1e308]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
).map(json.dumps)
OBJECTS = st.dictionaries(
    st.sampled_from(list(Anything.model_fields)), st.sampled_from(STRANGE) | STRANGE_JSON, min_size=1, max_size=4
).map(lambda found: "{" + ", ".join(f'"{name}": {value}' for name, value in found.items()) + "}")
WRAPPED = st.sampled_from(["{}", "```json\n{}\n```", "<think>{}</think>", "Here: {} and {{}}", "{}{}", "{} \ud800"])
TEXTS = st.text(st.characters()) | st.sampled_from(STRANGE) | OBJECTS
ANSWERS = st.tuples(WRAPPED, TEXTS).map(lambda pair: pair[0].replace("{}", pair[1], 1)) | TEXTS


def check(text: str) -> None:
    response = Response(text=text)
    verdict = ANSWER.judge(response)
    assert isinstance(verdict, (Accepted, Repair))
    if isinstance(verdict, Accepted):
        columns = ANSWER.columns([verdict.value, None])
        assert [column.dtype for column in columns] == list(ANSWER.fields.dtypes())
        assert ANSWER.column("answer", [verdict.value, None]).dtype == ANSWER.struct
    for judge in (*(choice.judge for choice in CHOICES), judge_text):
        other = judge(response)
        assert isinstance(other, (Accepted, Repair))
        said = other.message if isinstance(other, Repair) else str(other.value)
        pl.Series([said], dtype=pl.String)
    if isinstance(verdict, Repair):
        pl.Series([verdict.message], dtype=pl.String)


@settings(max_examples=300, deadline=None)
@given(ANSWERS)
def test_no_text_breaks_a_judge_and_no_accepted_value_a_column(text: str) -> None:
    check(text)


@pytest.mark.parametrize("name", list(Anything.model_fields))
def test_every_field_meets_every_strange_value(name: str) -> None:
    for value in STRANGE:
        check(f'{{"{name}": {value}}}')
        check(f'```json\n{{"{name}": {value}}}\n```')


@pytest.mark.parametrize("text", STRANGE)
def test_strange_values_alone(text: str) -> None:
    check(text)


def test_a_number_of_thousands_of_digits_goes_back_to_the_model() -> None:
    for judge in (ANSWER.judge, CHOICES[0].judge):
        verdict = judge(Response(text=f'{{"number": {HUGE}}}'))
        assert isinstance(verdict, Repair)
        assert len(verdict.message) < 300


@pytest.mark.parametrize("finish", ["refusal", "content_filter"])
@pytest.mark.parametrize("judge", [ANSWER.judge, CHOICES[0].judge, judge_text])
def test_a_refusal_can_be_shown_too(judge: Any, finish: Any) -> None:
    verdict = judge(Response(text="No \ud800.", finish=finish))
    assert isinstance(verdict, Rejected)
    assert verdict.message == "No \N{REPLACEMENT CHARACTER}."


def test_a_number_beyond_all_floats_is_a_wrong_value_and_no_crash() -> None:
    with pytest.raises(ValueError, match="too large"):
        float64(10**400)
