"""A model's bounds as conditions on columns: they say of a column what Pydantic says of each value."""

from __future__ import annotations

import datetime as dt
import enum
import re
from decimal import Decimal
from typing import Annotated, Any, Literal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    PositiveInt,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from infergraph.models.model import Response
from infergraph.models.verdict import Accepted
from infergraph.validation.quote import Quote
from infergraph.validation.ranges import Range, ranges_of
from infergraph.validation.schema import AnswerModel


class Level(enum.IntEnum):
    low = 1
    high = 3


class Part(BaseModel):
    name: str = Field(min_length=2)
    price: float = Field(gt=0, allow_inf_nan=False)


class Order(BaseModel):
    code: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}\d+$", max_length=5)]
    amount: int = Field(ge=1, lt=10, multiple_of=2)
    note: Annotated[str, Field(min_length=1)] | None = Field(default=None, max_length=4)
    tags: list[Annotated[str, Field(max_length=3)]] = Field(max_length=2)
    parts: list[Part] = []
    main: Part | None = None
    level: Level = Level.low
    size: Literal[1, 2] = 1
    day: dt.date = Field(default=dt.date(2026, 1, 1), ge=dt.date(2026, 1, 1))
    at: dt.datetime = Field(default=dt.datetime(2026, 1, 1), le=dt.datetime(2026, 12, 31))
    paid: Decimal = Field(default=Decimal(0), ge=0, lt=5, decimal_places=2)
    count: PositiveInt = 1


GOOD: dict[str, Any] = {"code": "AB1", "amount": 2, "tags": ["a"]}


def ranges(model: type[BaseModel]) -> list[Range]:
    return ranges_of(model, AnswerModel.of(model).fields)


def holding(model: type[BaseModel], row: dict[str, Any]) -> dict[str, bool | None]:
    """For each bound whether it holds of one row of plain values."""
    columns = AnswerModel.of(model).columns([row])
    frame = pl.DataFrame(columns)
    return {f"{one.path}: {one.text}": frame.select(one.holds(pl.col(one.field))).item() for one in ranges(model)}


def plain(**values: Any) -> dict[str, Any]:
    """A valid order as a row, with some values changed behind the model's back."""
    judged = AnswerModel.of(Order).judge(Response(text=Order(**GOOD).model_dump_json()))
    assert isinstance(judged, Accepted)
    return {**judged.value, **values}


def test_every_bound_of_a_valid_answer_holds() -> None:
    row = plain(parts=[{"name": "ab", "price": 1.0}], main={"name": "ab", "price": 1.0})
    found = holding(Order, row)
    assert len(found) == 22
    assert all(value is not False for value in found.values()), found


@pytest.mark.parametrize(
    ("values", "broken"),
    [
        ({"code": "ab1"}, ["code: matches '^[A-Z]{2}\\\\d+$'"]),
        ({"code": "AB1234"}, ["code: at most 5 characters"]),
        ({"amount": 0}, ["amount: at least 1"]),
        ({"amount": 12}, ["amount: less than 10"]),
        ({"amount": 3}, ["amount: a multiple of 2"]),
        ({"note": ""}, ["note: at least 1 characters"]),
        ({"note": "€€€€€"}, ["note: at most 4 characters"]),
        ({"tags": ["a", "b", "c"]}, ["tags: at most 2 items"]),
        ({"tags": ["a", "long"]}, ["tags[]: at most 3 characters"]),
        (
            {"parts": [{"name": "ab", "price": 1.0}, {"name": "a", "price": 1.0}]},
            ["parts[].name: at least 2 characters"],
        ),
        ({"parts": [{"name": "ab", "price": -1.0}]}, ["parts[].price: more than 0"]),
        ({"main": {"name": "ab", "price": float("inf")}}, ["main.price: finite"]),
        ({"main": {"name": "ab", "price": float("nan")}}, ["main.price: more than 0", "main.price: finite"]),
        ({"level": 2}, ["level: one of 1, 3"]),
        ({"size": 3}, ["size: one of 1, 2"]),
        ({"day": dt.date(2025, 12, 31)}, ["day: at least 2026-01-01"]),
        ({"at": dt.datetime(2027, 1, 1)}, ["at: at most 2026-12-31 00:00:00"]),
        ({"paid": Decimal("-0.01")}, ["paid: at least 0"]),
        ({"paid": Decimal("5.01")}, ["paid: less than 5"]),
        ({"count": 0}, ["count: more than 0"]),
    ],
    ids=str,
)
def test_a_value_beyond_a_bound_is_found(values: dict[str, Any], broken: list[str]) -> None:
    found = holding(Order, plain(**values))
    assert [text for text, holds in found.items() if holds is False] == broken


def test_nulls_break_no_bound() -> None:
    found = holding(Order, dict.fromkeys(Order.model_fields))
    assert set(found.values()) <= {None, True}


def test_what_runs_after_a_bound_is_marked() -> None:
    class Changed(BaseModel):
        early: Annotated[int, Field(le=5), AfterValidator(lambda value: value * 10)]
        late: Annotated[int, AfterValidator(lambda value: value * 10), Field(le=5)]
        other: int = Field(le=5)
        plain: int = Field(le=5)

        @field_validator("other")
        @classmethod
        def times_ten(cls, value: int) -> int:
            return value * 10

        @field_validator("plain", mode="before")
        @classmethod
        def number(cls, value: Any) -> Any:
            return value

    assert {one.path: one.may_be_left for one in ranges(Changed)} == {
        "early": True,
        "late": False,
        "other": True,
        "plain": False,
    }


def test_what_polars_cannot_say_is_left_out() -> None:
    class Odd(BaseModel):
        word: str = Field(max_length=9)
        half: float = Field(multiple_of=0.5)
        free: int | float = Field(ge=1)
        said: Annotated[str, Quote(of="body"), Field(max_length=9)]
        ahead: str = Field(pattern=re.compile(r"^(?!never)"))
        either: str = Field(pattern=re.compile("^a", re.IGNORECASE))
        plain: str = Field(pattern=re.compile("^a"))

    assert [one.path for one in ranges(Odd)] == ["word", "free", "said", "plain"]


class Review(BaseModel):
    stars: int = Field(ge=-2, le=3, multiple_of=2)
    share: float = Field(gt=-1.5, lt=2.5)
    text: str = Field(min_length=1, max_length=3, pattern=r"^[a-cé]*$")
    marks: list[Annotated[int, Field(ge=0)]] = Field(min_length=1, max_length=2)


@given(
    stars=st.integers(-4, 5),
    share=st.floats(-3, 4),
    text=st.text("abcéx", max_size=4),
    marks=st.lists(st.integers(-1, 2), max_size=3),
)
def test_the_conditions_say_what_pydantic_says(stars: int, share: float, text: str, marks: list[int]) -> None:
    row = {"stars": stars, "share": share, "text": text, "marks": marks}
    try:
        Review.model_validate(row)
        wrong = set()
    except ValidationError as error:
        wrong = {str(problem["loc"][0]) for problem in error.errors()}
    found = holding(Review, row)
    assert {path.split(":")[0].rstrip("[]") for path, holds in found.items() if not holds} == wrong


def test_a_validator_of_the_model_marks_all_of_its_fields_and_those_inside() -> None:
    class Part(BaseModel):
        size: int = Field(ge=1)

    class Clamped(BaseModel):
        score: int = Field(ge=1)
        part: Part

        @model_validator(mode="after")
        def _clamp(self) -> Clamped:
            self.part.size = 0
            return self

    assert {one.path: one.may_be_left for one in ranges(Clamped)} == {"score": True, "part.size": True}
    assert {one.path: one.may_be_left for one in ranges(Part)} == {"size": False}


def test_a_default_that_lies_outside_marks_its_field() -> None:
    class Defaults(BaseModel):
        unknown: int = Field(default=0, ge=1)
        known: int = Field(default=1, ge=1)
        none: int | None = Field(default=None, ge=1)
        tags: list[str] = Field(default_factory=list, max_length=2)
        words: list[str] = Field(default_factory=list, min_length=1)

    assert {one.path: one.may_be_left for one in ranges(Defaults)} == {
        "unknown": True, "known": False, "none": False, "tags": False, "words": True,
    }  # fmt: skip
