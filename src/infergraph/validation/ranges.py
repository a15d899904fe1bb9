"""What a Pydantic model says about its fields' values (bounds, lengths, patterns), as conditions on columns.

An answer was validated when it came; these conditions say the same of rows that are in a file, without a Python call a
row. They follow bounds into optional fields, lists and nested models. Columns may lawfully leave a bound where a
validator of the author's, of the field or of the model, runs after it and changes the value, and where a default lies
outside; such a condition is marked.
"""

from __future__ import annotations

import datetime as dt
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import polars as pl
from polars.exceptions import PolarsError
from pydantic import AfterValidator, BaseModel, PlainValidator, TypeAdapter, WrapValidator
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo

from infergraph.validation.values import naive, utc

_LATE = (AfterValidator, PlainValidator, WrapValidator)
_LATE_MODES = ("after", "plain", "wrap")
_FROM = ("annotated_types", "pydantic")
Holds = Callable[[pl.Expr], pl.Expr]


@dataclass(frozen=True, kw_only=True)
class Range:
    """One bound of one field."""

    path: str
    """The field, then the way into it: ``tags[]``, ``buyer.age``."""
    text: str
    """The bound in words, such as ``at most 10``."""
    holds: Holds
    """From the field's column to Boolean: whether the bound holds; null where the value is null."""
    may_be_left: bool
    """A validator of the author's runs after it and may have changed the value, or the default lies outside."""

    @property
    def field(self) -> str:
        """The name of the model's field."""
        return re.split(r"[.\[]", self.path, maxsplit=1)[0]


@dataclass(frozen=True)
class _Value:
    """A place in the model: how errors call it, its type, and the way from a condition on it to one on the field."""

    path: str
    dtype: pl.DataType
    lift: Callable[[Holds], Holds]
    late: bool

    def range(self, text: str, holds: Holds, late: bool) -> Range:
        return Range(path=self.path, text=text, holds=self.lift(holds), may_be_left=self.late or late)


def ranges_of(model: type[BaseModel], columns: pl.Schema) -> list[Range]:
    """The bounds of a model's fields.

    Args:
        model: The answer's schema.
        columns: Polars types of its fields, as ``AnswerModel.fields``.

    Returns:
        One condition a bound, in the order of the class. Enums and literals of text have none, as their column's type
        says the same; nor has what Polars cannot say (``multiple_of`` of floats, patterns of Python's, unions).

    Example:
        >>> from pydantic import Field
        >>> class Review(BaseModel):
        ...     stars: int = Field(ge=1, le=5)
        ...     tags: list[str] = Field(max_length=1)
        >>> found = ranges_of(Review, pl.Schema({"stars": pl.Int64, "tags": pl.List(pl.String)}))
        >>> [f"{one.path}: {one.text}" for one in found]
        ['stars: at least 1', 'stars: at most 5', 'tags: at most 1 items']
        >>> rows = pl.DataFrame({"stars": [5, 6], "tags": [["new"], []]})
        >>> [rows.select(one.holds(pl.col(one.field))).to_series().to_list() for one in found]
        [[True, True], [True, False], [True, True]]
    """
    return [one for one in _of_model(model, columns, "", lambda name: lambda holds: holds) if _works(one, columns)]


def _of_model(
    model: type[BaseModel],
    columns: pl.Schema,
    path: str,
    lift: Callable[[str], Callable[[Holds], Holds]],
    *,
    late: bool = False,
) -> Iterator[Range]:
    late = late or any(one.info.mode in _LATE_MODES for one in model.__pydantic_decorators__.model_validators.values())
    for name, info in model.model_fields.items():
        left = late or _has_late_validator(model, name) or _default_is_outside(info)
        value = _Value(f"{path}{name}", columns[name], lift(name), left)
        if info.annotation is str:
            yield from _of_config(model, value)
        yield from _of_type(info.annotation, info.metadata, value)


def _of_config(model: type[BaseModel], value: _Value) -> Iterator[Range]:
    least, most = model.model_config.get("str_min_length", 0), model.model_config.get("str_max_length")
    yield from _bounds("min_length", least or None, value, late=False)
    yield from _bounds("max_length", most, value, late=False)


def _has_late_validator(model: type[BaseModel], name: str) -> bool:
    decorators = model.__pydantic_decorators__.field_validators.values()
    return any(
        one.info.mode in _LATE_MODES and (name in one.info.fields or "*" in one.info.fields) for one in decorators
    )


def _default_is_outside(info: FieldInfo) -> bool:
    """Whether a field's default, which Pydantic does not validate, is no valid value of the field."""
    if info.is_required():
        return False
    annotation: Any = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
    try:
        default = info.get_default(call_default_factory=True)
        if default is not None:
            TypeAdapter(annotation).validate_python(default)
    except (PydanticUserError, ValueError):
        # Also a factory that wants the other fields' values: what it gives is not known.
        return True
    return False


def _of_type(annotation: Any, metadata: Iterable[Any], value: _Value) -> Iterator[Range]:
    constraints = list(metadata)
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *inner = get_args(annotation)
            constraints = [*inner, *constraints]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif hasattr(annotation, "__value__"):
            annotation = annotation.__value__
        else:
            break
    yield from _of_constraints(constraints, value)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        members = [member for member in arguments if member is not types.NoneType]
        if len(members) == 1:
            yield from _of_type(members[0], (), value)
    elif origin is Literal or (isinstance(annotation, type) and issubclass(annotation, Enum)):
        yield from _of_numbers(annotation, arguments, value)
    elif isinstance(value.dtype, pl.List) and arguments:
        yield from _of_type(arguments[0], (), _element(value, value.dtype))
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel) and isinstance(value.dtype, pl.Struct):
        yield from _of_model(
            annotation, pl.Schema(value.dtype.to_schema()), f"{value.path}.", _fields_of(value), late=value.late
        )


def _element(value: _Value, dtype: pl.List) -> _Value:
    def lift(holds: Holds) -> Holds:
        return value.lift(lambda items: items.list.eval(holds(pl.element())).list.all())

    inner = dtype.inner if isinstance(dtype.inner, pl.DataType) else dtype.inner()
    return _Value(f"{value.path}[]", inner, lift, value.late)


def _fields_of(value: _Value) -> Callable[[str], Callable[[Holds], Holds]]:
    def into(name: str) -> Callable[[Holds], Holds]:
        return lambda holds: value.lift(lambda struct: holds(struct.struct.field(name)))

    return into


def _of_numbers(annotation: Any, arguments: tuple[Any, ...], value: _Value) -> Iterator[Range]:
    """A closed set of numbers: its column is a plain Int64."""
    if value.dtype == pl.Int64:
        given = arguments or tuple(annotation)
        allowed = sorted({int(getattr(one, "value", one)) for one in given if one is not None})
        yield value.range(f"one of {', '.join(map(str, allowed))}", lambda number: number.is_in(allowed), late=False)


def _of_constraints(constraints: list[Any], value: _Value) -> Iterator[Range]:
    items = [item for one in constraints for item in (one.metadata if isinstance(one, FieldInfo) else [one])]
    last = max((place for place, item in enumerate(items) if isinstance(item, _LATE)), default=-1)
    for place, item in enumerate(items):
        if not type(item).__module__.startswith(_FROM):
            continue
        for word in (*_BOUNDS, "multiple_of", "min_length", "max_length", "pattern", "allow_inf_nan"):
            yield from _bounds(word, getattr(item, word, None), value, late=place < last)


_BOUNDS: dict[str, tuple[str, Callable[[pl.Expr, pl.Expr], pl.Expr]]] = {
    "gt": ("more than", lambda one, bound: one > bound),
    "ge": ("at least", lambda one, bound: one >= bound),
    "lt": ("less than", lambda one, bound: one < bound),
    "le": ("at most", lambda one, bound: one <= bound),
}


def _bounds(word: str, bound: Any, value: _Value, *, late: bool) -> Iterator[Range]:
    if bound is None or (word == "min_length" and bound == 0):
        return
    if word in _BOUNDS:
        yield value.range(f"{_BOUNDS[word][0]} {bound}", _compared(word, bound, value.dtype), late)
    elif word == "multiple_of" and value.dtype == pl.Int64 and isinstance(bound, int):
        yield value.range(f"a multiple of {bound}", lambda number: number % bound == 0, late)
    elif word in ("min_length", "max_length"):
        yield from _lengths(word, bound, value, late)
    elif word == "pattern" and value.dtype == pl.String:
        # A pattern that was compiled in Python with flags means what only Python knows.
        pattern = bound if isinstance(bound, str) else bound.pattern if bound.flags == re.UNICODE else None
        if pattern is not None:
            yield value.range(f"matches {pattern!r}", lambda text: text.str.contains(pattern), late)
    elif word == "allow_inf_nan" and bound is False and value.dtype.is_float():
        yield value.range("finite", lambda number: number.is_finite(), late)


def _compared(word: str, bound: Any, dtype: pl.DataType) -> Holds:
    if isinstance(dtype, pl.Decimal):
        # A column rounds to its scale, which may bring a value up to a bound that it was below.
        word = {"gt": "ge", "lt": "le"}.get(word, word)
        bound = Decimal(str(bound))
    elif isinstance(dtype, pl.Datetime) and isinstance(bound, dt.datetime):
        bound = naive(bound) if dtype.time_zone is None else utc(bound)
    compare = _BOUNDS[word][1]
    if dtype.is_float():
        # To Polars NaN is larger than every number; to Pydantic no bound holds for it.
        return lambda number: compare(number, pl.lit(bound)) & number.is_not_nan()
    return lambda one: compare(one, pl.lit(bound))


def _lengths(word: str, bound: int, value: _Value, late: bool) -> Iterator[Range]:
    if not isinstance(value.dtype, (pl.String, pl.List)):
        return
    unit = "characters" if isinstance(value.dtype, pl.String) else "items"

    def length(one: pl.Expr) -> pl.Expr:
        return one.str.len_chars() if unit == "characters" else one.list.len()

    if word == "min_length":
        yield value.range(f"at least {bound} {unit}", lambda one: length(one) >= bound, late)
    else:
        yield value.range(f"at most {bound} {unit}", lambda one: length(one) <= bound, late)


def _works(one: Range, columns: pl.Schema) -> bool:
    """Whether Polars can tell: not of a pattern that looks around, nor of a bound of another type."""
    try:
        probe = pl.DataFrame({one.field: [_sample(columns[one.field])]}, schema={one.field: columns[one.field]})
        probe.select(one.holds(pl.col(one.field)))
    except PolarsError:
        return False
    return True


def _sample(dtype: pl.DataType) -> Any:
    """A value with every part there, so that every part of a condition is run."""
    if isinstance(dtype, pl.List):
        return [_sample(dtype.inner if isinstance(dtype.inner, pl.DataType) else dtype.inner())]
    if isinstance(dtype, pl.Struct):
        return {
            part.name: _sample(part.dtype if isinstance(part.dtype, pl.DataType) else part.dtype())
            for part in dtype.fields
        }
    return "" if dtype == pl.String else None
