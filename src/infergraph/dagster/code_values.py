"""Values that code reads, as text: equal for equal content in every process, whatever the hash seed.

Only values whose content can be seen whole are told: plain data, containers, Polars expressions and types, Pydantic
and dataclass values. Of anything else it is said that it was not seen.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import functools
import hashlib
import logging
import re
import types
import typing
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePath
from typing import Any

import dagster as dg
import polars as pl
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from infergraph.frame.expressions import identity
from infergraph.models.model import Model

_PLAIN = (
    type(None), bool, int, float, complex, bytes, type(...), Decimal, Fraction, uuid.UUID, dt.date, dt.time,
    dt.timedelta, dt.tzinfo, range, slice, PurePath, dg.AssetKey,
)  # fmt: skip
_NAMED = (
    types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType, types.MethodWrapperType,
    types.ClassMethodDescriptorType, types.GetSetDescriptorType, types.MemberDescriptorType,
)  # fmt: skip
_FIELD_FACTS = ("annotation", "default", "default_factory", "alias", "title", "description", "examples", "metadata")


@dataclass
class Visit:
    """What a value's parts are handed to."""

    code: Callable[[object, str], str | None]
    """The token of a function, class or module; ``None``: it is none of these."""
    unseen: Callable[[str], None]
    """Told of what cannot be seen."""
    text: Callable[[str], None]
    """Told of every text."""
    root: PurePath
    """The project's folder."""
    inside: set[int] = field(default_factory=set)
    """Ids of the containers around a part, since a list may hold itself."""


def value_token(value: object, label: str, visit: Visit) -> str:
    """A text for a value.

    Args:
        value: Anything.
        label: Where it stands, in words.
        visit: Takes functions, texts, and what cannot be seen.
    """
    if isinstance(value, str) and not isinstance(value, (enum.Enum, dg.EnvVar)):
        visit.text(value)
        return repr(str(value))
    if isinstance(value, _PLAIN) and not isinstance(value, enum.Enum):
        return f"{type(value).__name__} {_place(value, visit.root) if isinstance(value, PurePath) else value!r}"
    code = visit.code(value, label)
    if code is not None:
        return code
    if id(value) in visit.inside:
        return "itself"
    visit.inside.add(id(value))
    try:
        return _whole(value, label, visit)
    finally:
        visit.inside.discard(id(value))


def _whole(value: Any, label: str, visit: Visit) -> str:
    parts = _parts(value, label, visit)
    if parts is not None:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        return f"{kind}({', '.join(parts)})"
    if isinstance(value, _NAMED):
        return f"builtin {value.__qualname__}"
    if type(value) is object or value is PydanticUndefined:
        return "a marker"
    if isinstance(value, logging.Logger):
        return "a logger"
    if type(value).__module__ == "typing":
        return f"typing {value!r}"
    if (wrapped := getattr(value, "__wrapped__", None)) is not None:
        return f"wrapped {value_token(wrapped, label, visit)}"
    visit.unseen(f"{label}: a {type(value).__module__}.{type(value).__qualname__}, whose content is not looked at")
    return f"unseen {value_token(type(value), label, visit)}"


def _parts(value: Any, label: str, visit: Visit) -> list[str] | None:
    """Tokens of all that a value consists of; ``None``: its content cannot be seen."""

    def of(*inner: object) -> list[str]:
        return [value_token(each, label, visit) for each in inner]

    match value:
        case enum.Enum():
            return [*of(type(value)), value.name, *of(value.value)]
        case Mapping():
            return [f"{one}: {other}" for key, inner in value.items() for one, other in [of(key, inner)]]
        case set() | frozenset():
            # Parts that are code are numbered as they are met, so the order must not be the set's own.
            return sorted(of(*sorted(value, key=_sort_key)))
        case tuple() | list():
            return [*(of(type(value)) if hasattr(value, "_fields") else []), *of(*value)]
        case functools.partial():
            return of(value.func, *value.args, dict(value.keywords))
        case types.MethodType():
            return of(value.__func__, value.__self__)
        case staticmethod() | classmethod():
            return of(value.__func__)
        case property():
            return of(value.fget)
        case re.Pattern():
            return of(value.pattern, value.flags)
        case dg.EnvVar():
            visit.unseen(f"{label}: the value of the environment variable {value.env_var_name!r}")
            return [value.env_var_name]
    return _field_parts(value, label, visit, of)


def _field_parts(value: Any, label: str, visit: Visit, of: Callable[..., list[str]]) -> list[str] | None:
    if typing.get_origin(value) is not None:
        return [*of(typing.get_origin(value)), *of(*typing.get_args(value))]
    if isinstance(value, pl.Expr):
        text = identity(value)
        if text.startswith("opaque ") or "python_udf" in str(value):
            visit.unseen(f"{label}: a Python function in the expression {value!s:.80}")
            return [str(value)]
        return [text]
    if isinstance(value, pl.DataType):
        return [str(value)]
    if isinstance(value, (pl.DataFrame, pl.Series)):
        return [_rows(value)]
    if isinstance(value, Model):
        return of(value.name, value.answer_parameters())
    if isinstance(value, FieldInfo):
        return of(*(getattr(value, name) for name in _FIELD_FACTS))
    if isinstance(value, typing.ForwardRef):
        return [value.__forward_arg__]
    if isinstance(value, BaseModel):
        return of(type(value), dict(value.__dict__))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [one.name for one in dataclasses.fields(value)]
        return of(type(value), {name: getattr(value, name, None) for name in fields})
    return None


def _place(path: PurePath, root: PurePath) -> str:
    """A path as it is written on every machine: what lies in the project, from its root."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _rows(value: pl.DataFrame | pl.Series) -> str:
    from infergraph.dagster.data_version import rows_digest

    return rows_digest(value if isinstance(value, pl.DataFrame) else value.to_frame())


def _sort_key(value: object) -> tuple[str, str]:
    """An order for a set's values that no hash seed changes."""
    name = getattr(value, "__qualname__", None)
    text = f"{getattr(value, '__module__', '')}.{name}" if name else repr(value)
    return type(value).__name__, hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
