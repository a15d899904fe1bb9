"""Which Polars type each kind of field becomes, and what is refused with which advice."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NewType, Optional, TypeVar, Union
from uuid import UUID

import polars as pl
import pytest
from pydantic import (
    AfterValidator,
    AliasPath,
    AnyUrl,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyAddress,
    NaiveDatetime,
    PastDate,
    PositiveInt,
    RootModel,
    SecretStr,
    StringConstraints,
    conint,
    create_model,
)

from infergraph.errors import SchemaError
from infergraph.validation.schema import AnswerModel


class Kind(Enum):
    BUG = "bug"
    BILLING = "billing"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Line(BaseModel):
    what: str
    price: Decimal | None = None


Item = TypeVar("Item")


class Box(BaseModel, Generic[Item]):
    inside: Item


UserName = NewType("UserName", str)
LINE = pl.Struct({"what": pl.String(), "price": pl.Decimal(38, 10)})

TYPES: list[tuple[Any, pl.DataType]] = [
    (str, pl.String()),
    (int, pl.Int64()),
    (float, pl.Float64()),
    (bool, pl.Boolean()),
    (dt.date, pl.Date()),
    (dt.datetime, pl.Datetime("us")),
    (NaiveDatetime, pl.Datetime("us")),
    (AwareDatetime, pl.Datetime("us", "UTC")),
    (dt.time, pl.Time()),
    (dt.timedelta, pl.Duration("us")),
    (PastDate, pl.Date()),
    (Decimal, pl.Decimal(38, 10)),
    (Annotated[Decimal, Field(max_digits=8, decimal_places=2)], pl.Decimal(8, 2)),
    (Annotated[Decimal, Field(decimal_places=2)], pl.Decimal(38, 2)),
    (Annotated[Decimal, Field(decimal_places=0)], pl.Decimal(38, 0)),
    (Annotated[Decimal, Field(max_digits=5)], pl.Decimal(10, 5)),
    (list[Annotated[Decimal, Field(max_digits=8, decimal_places=2)]], pl.List(pl.Decimal(8, 2))),
    (Literal["b", "a"], pl.Enum(["b", "a"])),
    (Literal["a", None], pl.Enum(["a"])),
    (Literal["a"] | Literal["b"], pl.Enum(["a", "b"])),
    (Literal[1, 2], pl.Int64()),
    (Literal[True], pl.Boolean()),
    (Kind, pl.Enum(["bug", "billing"])),
    (Colour, pl.Enum(["red", "blue"])),
    (Level, pl.Int64()),
    (str | None, pl.String()),
    (Optional[Kind], pl.Enum(["bug", "billing"])),  # noqa: UP045  # the old spelling must work too
    (Union[int, None], pl.Int64()),  # noqa: UP007
    (int | float, pl.Float64()),
    (str | UUID, pl.String()),
    (list[int], pl.List(pl.Int64())),
    (list[int | None], pl.List(pl.Int64())),
    (list[list[Kind]], pl.List(pl.List(pl.Enum(["bug", "billing"])))),
    (Sequence[str], pl.List(pl.String())),
    (set[int], pl.List(pl.Int64())),
    (frozenset[str], pl.List(pl.String())),
    (tuple[int, ...], pl.List(pl.Int64())),
    (tuple[float, float], pl.List(pl.Float64())),
    (Line, LINE),
    (list[Line], pl.List(LINE)),
    (Line | None, LINE),
    (Box[int], pl.Struct({"inside": pl.Int64()})),
    (PositiveInt, pl.Int64()),
    (conint(ge=0, le=10), pl.Int64()),
    (Annotated[float, Field(gt=0)], pl.Float64()),
    (Annotated[str, StringConstraints(max_length=3)], pl.String()),
    (Annotated[str, AfterValidator(str.upper)], pl.String()),
    (Annotated[int, BeforeValidator(len)], pl.Int64()),
    (UserName, pl.String()),
    (UUID, pl.String()),
    (AnyUrl, pl.String()),
    (Path, pl.String()),
    (IPvAnyAddress, pl.String()),
]


@pytest.mark.parametrize(("annotation", "dtype"), TYPES, ids=lambda part: str(part)[:40])
def test_a_fields_type(annotation: Any, dtype: pl.DataType) -> None:
    answer = AnswerModel.of(create_model("Facts", x=(annotation, ...)))
    assert dict(answer.fields) == {"x": dtype}
    assert [column.dtype for column in answer.columns([None])] == [dtype]
    assert answer.column("all", [None, {"x": None}]).dtype == pl.Struct({"x": dtype})


class Tree(BaseModel):
    name: str
    children: list[Tree] = []


class Deep(BaseModel):
    tree: Tree


class Unknown:
    pass


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (dict[str, int], r"Facts\.x: dict\[str, int\] has no Polars type\. Write a list of a model with a key"),
        (dict, r"Facts\.x: dict .*list\[Pair\]"),
        (Any, r"Facts\.x: .*Any has no Polars type.*for example str"),
        (object, r"for example str"),
        (None, r"str \| None"),
        (bytes, r"Facts\.x: bytes .*Write str"),
        (list, r"list\[str\]"),
        (set, r"set\[str\]"),
        (int | str, r"one optional field for each"),
        (Line | str, r"one optional field for each"),
        (Kind | str, r"one optional field for each"),
        (tuple[int, str], r"nested BaseModel with a field for each"),
        (Literal["a", 1], r"all be texts, or all whole numbers"),
        (list[dict[str, str]], r"Facts\.x\.\[\]: dict"),
        (Deep, r"Facts\.x\.tree\.children\.\[\]: Tree .* contains itself"),
        (RootModel[list[int]], r"Write the type itself"),
        (SecretStr, r"Write str"),
        (Annotated[str, Field(alias=None, validation_alias=AliasPath("a", 0))], r"one name"),
    ],
    ids=lambda part: str(part)[:40],
)
def test_what_has_no_type_is_refused_with_what_to_write(annotation: Any, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        AnswerModel.of(create_model("Facts", x=(annotation, ...)))


def test_a_class_that_json_does_not_know_is_refused() -> None:
    loose = create_model("Facts", __config__=ConfigDict(arbitrary_types_allowed=True), x=(Unknown, ...))
    with pytest.raises(SchemaError, match=r"Facts\.x: Unknown has no Polars type\. Write a type that JSON knows"):
        AnswerModel.of(loose)


@pytest.mark.parametrize("given", [dict, {"a": 1}, Line(what="x"), BaseModel, str, None, int])
def test_a_schema_is_a_model_class(given: Any) -> None:
    with pytest.raises(SchemaError, match=r"derives from pydantic\.BaseModel"):
        AnswerModel.of(given)


def test_a_schema_has_fields() -> None:
    with pytest.raises(SchemaError, match="at least one field"):
        AnswerModel.of(create_model("Nothing"))


def test_a_schema_may_not_contain_itself() -> None:
    with pytest.raises(SchemaError, match=r"Tree\.children\.\[\]: Tree .* contains itself"):
        AnswerModel.of(Tree)


def test_a_model_twice_in_a_schema_is_not_inside_itself() -> None:
    answer = AnswerModel.of(create_model("Order", first=(Line, ...), second=(Line | None, None)))
    assert dict(answer.fields) == {"first": LINE, "second": LINE}


def test_fields_keep_the_order_of_the_class_parents_first() -> None:
    child = create_model("Child", __base__=Line, extra=(int, ...))
    assert list(AnswerModel.of(child).fields) == ["what", "price", "extra"]
