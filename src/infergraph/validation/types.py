"""Which Polars type a Pydantic field becomes, and how its values get there and back.

Follows the annotation, because it says what a field holds after the author's validators ran. What has no one
Polars type (``dict``, ``Any``, a union of different types, a model inside itself) is refused with what to write
instead, while the plan is built.
"""

from __future__ import annotations

import datetime as dt
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import polars as pl
import pydantic
from pydantic import AliasChoices, BaseModel, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from infergraph.errors import SchemaError
from infergraph.validation.quote import Quote
from infergraph.validation.values import (
    MAX_DIGITS,
    clock,
    duration,
    enum_value,
    fitting,
    float64,
    int64,
    naive,
    one_of,
    only,
    utc,
)

DEFAULT_SCALE = 10


@dataclass(frozen=True, slots=True)
class FieldType:
    """How one field's values go to Polars and back to JSON.

    Args:
        dtype: The Polars type.
        plain: Turns a validated value, never ``None``, into what Polars takes; raises ``ValueError`` when it does not
            fit the type. ``None``: the value is taken as it is.
        encode: Turns a plain value, never ``None``, into what JSON takes; ``None``: as it is.
    """

    dtype: pl.DataType
    plain: Callable[[Any], Any] | None = None
    encode: Callable[[Any], Any] | None = None


@dataclass(frozen=True, slots=True)
class ModelField:
    """One field of a model: its name in Python, its key in JSON, its type."""

    name: str
    key: str
    type: FieldType


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the schema we are: for errors, and to notice a model inside itself."""

    model: str
    path: tuple[str, ...] = ()
    inside: tuple[type[BaseModel], ...] = ()

    def step(self, name: str) -> _Place:
        return _Place(self.model, (*self.path, name), self.inside)

    def refused(self, given: Any, instead: str) -> SchemaError:
        where = ".".join((self.model, *self.path))
        return SchemaError(f"{where}: {_spelled(given)} has no Polars type. {instead}")


def model_fields(model: type[BaseModel]) -> tuple[ModelField, ...]:
    """The fields of a model with their types, in the order of the class.

    Raises:
        SchemaError: A field has no Polars type; the message has its path and what to write instead.
    """
    return _fields(model, _Place(model.__name__, (), ()))


def plain_model(fields: Sequence[ModelField], instance: Any) -> dict[str, Any]:
    """A validated model as a plain dict, ready for Polars, by field name; ``ValueError`` where a value does not fit."""
    row: dict[str, Any] = {}
    for field in fields:
        value = getattr(instance, field.name)
        if value is not None and field.type.plain is not None:
            try:
                value = field.type.plain(value)
            except ValueError as error:
                raise ValueError(f"{field.key}: {error}") from None
        row[field.name] = value
    return row


def encoded_model(fields: Sequence[ModelField], row: dict[str, Any]) -> dict[str, Any]:
    """A plain dict as its JSON object, by JSON key: the inverse of parsing, validating and ``plain_model``."""
    return {field.key: _encode_one(field.type, row[field.name]) for field in fields}


def struct_type(fields: Sequence[ModelField]) -> pl.Struct:
    """The Struct of these fields."""
    return pl.Struct({field.name: field.type.dtype for field in fields})


def _fields(model: type[BaseModel], place: _Place) -> tuple[ModelField, ...]:
    if model in place.inside:
        raise place.refused(model, f"{model.__name__} contains itself; say how deep it goes with one model a level.")
    if issubclass(model, pydantic.RootModel):
        raise place.refused(model, "Write the type itself, or a BaseModel with a field.")
    if not model.model_fields:
        raise place.refused(model, "Give it at least one field, for example `name: str`.")
    inner = _Place(place.model, place.path, (*place.inside, model))
    return tuple(_field(model, name, info, inner) for name, info in model.model_fields.items())


def _field(model: type[BaseModel], name: str, info: FieldInfo, place: _Place) -> ModelField:
    kind = _field_type(info.annotation, info.metadata, place.step(name))
    if info.default is not PydanticUndefined:
        # Pydantic takes a default as it is; here it would end up in a column.
        try:
            _plain_one(kind, info.default)
        except (ValueError, TypeError, AttributeError) as error:
            where = ".".join((place.model, *place.path, name))
            raise SchemaError(f"{where}: its default {info.default!r:.80} is not of the field's type.") from error
    return ModelField(name, _json_key(model, name, info, place), kind)


def _json_key(model: type[BaseModel], name: str, info: FieldInfo, place: _Place) -> str:
    if model.model_config.get("validate_by_alias", True) is False:
        return name
    alias = info.validation_alias or info.alias
    if isinstance(alias, AliasChoices):
        alias = alias.choices[0]
    if alias is None or isinstance(alias, str):
        return alias or name
    raise place.step(name).refused(alias, "An alias of an answer's field is one name: Field(alias='name').")


def _field_type(annotation: Any, metadata: Iterable[Any], place: _Place) -> FieldType:
    constraints = list(metadata)
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *more = get_args(annotation)
            constraints += more
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif hasattr(annotation, "__value__"):
            annotation = annotation.__value__
        else:
            break
    found = _mapped(annotation, constraints, place)
    if found.dtype != pl.String and any(isinstance(one, Quote) for one in constraints):
        where = ".".join((place.model, *place.path))
        raise SchemaError(
            f"{where}: a quote is a text, not {_spelled(annotation)}: write Annotated[str, Quote(of=...)]."
        )
    return found


def _mapped(annotation: Any, constraints: list[Any], place: _Place) -> FieldType:
    if isinstance(annotation, Quote):
        return _SIMPLE[str]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _union(annotation, arguments, constraints, place)
    if origin is Literal:
        return _values(annotation, [value for value in arguments if value is not None], place)
    if origin is not None:
        return _collection(annotation, origin, arguments, place)
    return _plain_class(annotation, constraints, place)


def _plain_class(annotation: Any, constraints: list[Any], place: _Place) -> FieldType:
    if annotation in _SIMPLE:
        return _SIMPLE[annotation]
    if annotation is Decimal:
        return _decimal(constraints)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return _values(annotation, [member.value for member in annotation], place)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _struct(annotation, place)
    if annotation in _INSTEAD:
        raise place.refused(annotation, _INSTEAD[annotation])
    return _by_json_schema(annotation, place)


def _by_json_schema(annotation: Any, place: _Place) -> FieldType:
    """Types that read and print as one JSON scalar: e-mail addresses, URLs, UUIDs, paths, past dates..."""
    try:
        schema = TypeAdapter(annotation).json_schema()
    except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError) as error:
        raise place.refused(
            annotation, "Write a type that JSON knows: str, int, float, bool, a date, a list or a BaseModel."
        ) from error
    match schema:
        case {"type": "string", "format": str(form)} if form in _FORMATS:
            return _FORMATS[form]
        case {"type": "string", "format": "binary" | "base64url"} | {"type": "string", "writeOnly": True}:
            raise place.refused(annotation, "Write str.")
        case {"type": "string"}:
            return FieldType(pl.String(), str)
        case {"type": "integer"}:
            return FieldType(pl.Int64(), int64)
        case {"type": "number"}:
            return FieldType(pl.Float64(), float64)
        case _:
            raise place.refused(annotation, "Write a nested BaseModel with named fields.")


def _union(annotation: Any, arguments: tuple[Any, ...], constraints: list[Any], place: _Place) -> FieldType:
    members = [member for member in arguments if member is not types.NoneType]
    if len(members) == 1:
        return _field_type(members[0], constraints, place)
    if all(get_origin(member) is Literal for member in members):
        return _values(
            annotation, [value for member in members for value in get_args(member) if value is not None], place
        )
    if set(members) == {int, float}:
        return FieldType(pl.Float64(), float64)
    found = [_field_type(member, constraints, place) for member in members]
    if all(one == found[0] for one in found):
        return found[0]
    if all(one.dtype == pl.String for one in found):
        return FieldType(pl.String(), str)
    raise place.refused(
        annotation,
        "A column has one type: write one of them, str for all, or one optional field for each "
        "(`text: str | None`, `number: int | None`).",
    )


def _values(annotation: Any, values: list[Any], place: _Place) -> FieldType:
    kinds = {type(value) for value in values}
    if kinds <= {str} and values:
        names = list(dict.fromkeys(str(value) for value in values))
        return FieldType(pl.Enum(names), one_of(names))
    if kinds == {bool}:
        return _SIMPLE[bool]
    if kinds == {int}:
        return FieldType(pl.Int64(), lambda value: int64(enum_value(value)))
    raise place.refused(annotation, "Its values must all be texts, or all whole numbers.")


def _collection(annotation: Any, origin: Any, arguments: tuple[Any, ...], place: _Place) -> FieldType:
    if isinstance(origin, type) and issubclass(origin, Mapping):
        raise place.refused(annotation, _PAIRS)
    if origin in _INSTEAD and not arguments:
        raise place.refused(annotation, _INSTEAD[origin])
    members = [argument for argument in arguments if argument is not Ellipsis]
    if isinstance(origin, type) and issubclass(origin, AbstractSet) and members:
        return _list(_field_type(members[0], [], place.step("[]")), ordered=False)
    if not (isinstance(origin, type) and issubclass(origin, Sequence) and members):
        raise place.refused(annotation, "Write list[...], or a nested BaseModel.")
    found = [_field_type(member, [], place.step("[]")) for member in members]
    if any(member != members[0] for member in members):
        raise place.refused(annotation, "A List has one type: write a nested BaseModel with a field for each part.")
    return _list(found[0], ordered=True)


def _list(inner: FieldType, *, ordered: bool) -> FieldType:
    def plain(values: Iterable[Any]) -> list[Any]:
        items = list(values) if inner.plain is None else [_plain_one(inner, value) for value in values]
        # The order of a set of texts differs from process to process.
        return items if ordered else sorted(items, key=lambda item: (item is not None, _sort_key(item)))

    def encode(items: list[Any]) -> list[Any]:
        return [_encode_one(inner, item) for item in items]

    return FieldType(pl.List(inner.dtype), plain, encode)


def _sort_key(item: Any) -> Any:
    return repr(item) if isinstance(item, (dict, list)) else item if item is not None else 0


def _struct(model: type[BaseModel], place: _Place) -> FieldType:
    fields = _fields(model, place)
    return FieldType(
        struct_type(fields), lambda value: plain_model(fields, value), lambda row: encoded_model(fields, row)
    )


def _decimal(constraints: list[Any]) -> FieldType:
    digits, places = _constraint(constraints, "max_digits"), _constraint(constraints, "decimal_places")
    if digits is not None and places is None:
        precision, scale = min(2 * digits, MAX_DIGITS), min(digits, MAX_DIGITS // 2)
    else:
        precision, scale = min(digits or MAX_DIGITS, MAX_DIGITS), DEFAULT_SCALE if places is None else places
    return FieldType(pl.Decimal(precision, scale), lambda value: fitting(value, precision, scale))


def _constraint(constraints: Iterable[Any], name: str) -> int | None:
    for constraint in constraints:
        inside_field = isinstance(constraint, FieldInfo)
        value: int | None = _constraint(constraint.metadata, name) if inside_field else getattr(constraint, name, None)
        if value is not None:
            return value
    return None


def _plain_one(kind: FieldType, value: Any) -> Any:
    return value if value is None or kind.plain is None else kind.plain(value)


def _encode_one(kind: FieldType, value: Any) -> Any:
    return value if value is None or kind.encode is None else kind.encode(value)


def _spelled(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)


_NAIVE = FieldType(pl.Datetime("us"), naive)
_AWARE = FieldType(pl.Datetime("us", "UTC"), utc)
_SIMPLE: dict[Any, FieldType] = {
    str: FieldType(pl.String(), only(str)),
    int: FieldType(pl.Int64(), int64),
    float: FieldType(pl.Float64(), float64),
    bool: FieldType(pl.Boolean(), only(bool)),
    dt.date: FieldType(pl.Date(), only(dt.date)),
    dt.datetime: _NAIVE,
    dt.time: FieldType(pl.Time(), clock),
    dt.timedelta: FieldType(pl.Duration("us"), duration),
    pydantic.AwareDatetime: _AWARE,
    pydantic.NaiveDatetime: _NAIVE,
}
_FORMATS = {
    "date": _SIMPLE[dt.date],
    "date-time": _NAIVE,
    "time": _SIMPLE[dt.time],
    "duration": _SIMPLE[dt.timedelta],
}
_PAIRS = "Write a list of a model with a key and a value: `class Pair(BaseModel): key: str; value: str`, list[Pair]."
_INSTEAD: dict[Any, str] = {
    Any: "Write the type that the field holds, for example str.",
    object: "Write the type that the field holds, for example str.",
    None: "Write the type that the field holds when it is there, for example `str | None`.",
    types.NoneType: "Write the type that the field holds when it is there, for example `str | None`.",
    dict: _PAIRS,
    bytes: "Write str.",
    list: "Say what it is a list of: list[str].",
    tuple: "Say what it is a list of: list[str].",
    set: "Say what it is a set of: set[str].",
    frozenset: "Say what it is a set of: set[str].",
}
