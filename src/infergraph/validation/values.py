"""From a validated value to what a Polars column takes, one function a type.

Each raises ``ValueError`` with a sentence for the model when a value does not fit, also when a validator of the
author's gave another type than the annotation says: such an answer costs its own row, never the whole column.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from enum import Enum
from typing import Any

MAX_DIGITS = 38
_INT64 = range(-(2**63), 2**63)
_LONGEST = dt.timedelta(microseconds=2**63 - 1)


def enum_value(value: Any) -> Any:
    """The value behind an ``Enum`` member; anything else as it is."""
    return value.value if isinstance(value, Enum) else value


def one_of(names: Iterable[str]) -> Callable[[Any], Any]:
    """Takes these texts, or ``Enum`` members with these values."""
    allowed = frozenset(names)

    def plain(value: Any) -> Any:
        if type(value) is str and value in allowed:
            return value
        name = enum_value(value)
        if not isinstance(name, str) or name not in allowed:
            raise _unexpected(value)
        return name

    return plain


def only(kind: type[Any]) -> Callable[[Any], Any]:
    """Takes values of this type as they are."""

    def plain(value: Any) -> Any:
        if not isinstance(value, kind):
            raise _unexpected(value)
        return value

    return plain


def _unexpected(value: Any) -> ValueError:
    """A validator or default of the author's gave what the annotation does not say: no column takes it."""
    return ValueError(f"{value!r:.80} is not of the field's type")


def _shown(number: float) -> str:
    # Python spells no whole number of more than some thousand digits.
    return str(number) if abs(number) < 10**80 else "a number of over 80 digits"


def int64(value: Any) -> int:
    """Takes whole numbers that fit into 64 bits."""
    if not isinstance(value, int):
        raise _unexpected(value)
    if value not in _INT64:
        raise ValueError(f"{_shown(value)} does not fit into 64 bits")
    return int(value)


def float64(value: Any) -> float:
    """Takes numbers."""
    if not isinstance(value, (int, float)):
        raise _unexpected(value)
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{_shown(value)} is too large") from None


def clock(value: Any) -> dt.time:
    """A time of day has no zone in Polars: what was written stays, its offset is left out."""
    if not isinstance(value, dt.time):
        raise _unexpected(value)
    return value.replace(tzinfo=None)


def naive(value: Any) -> dt.datetime:
    """A time without a zone as it is; one with a zone as UTC, without it."""
    if not isinstance(value, dt.datetime):
        raise _unexpected(value)
    return value if value.tzinfo is None else utc(value).replace(tzinfo=None)


def utc(value: Any) -> dt.datetime:
    """A time in UTC; one without a zone is taken for UTC."""
    if not isinstance(value, dt.datetime):
        raise _unexpected(value)
    try:
        return value.astimezone(dt.UTC) if value.tzinfo is not None else value.replace(tzinfo=dt.UTC)
    except OverflowError:
        raise ValueError(f"{value} is out of range in UTC") from None


def duration(value: Any) -> dt.timedelta:
    """A span of time that fits into 64 bits of microseconds."""
    if not isinstance(value, dt.timedelta):
        raise _unexpected(value)
    if abs(value) > _LONGEST:
        raise ValueError(f"{value} is too long")
    return value


def fitting(value: Any, precision: int, scale: int) -> Decimal:
    """A decimal rounded to ``scale`` places, with at most ``precision`` digits."""
    if not isinstance(value, Decimal):
        raise _unexpected(value)
    whole = precision - scale
    if not value.is_finite() or value.adjusted() > whole:
        raise ValueError(f"{value!s:.80} has more than {whole} digits before the point")
    with localcontext(prec=3 * MAX_DIGITS):
        rounded = value.quantize(Decimal(1).scaleb(-scale), ROUND_HALF_EVEN)
    if abs(rounded) >= Decimal(10) ** whole:
        raise ValueError(f"{value!s:.80} has more than {whole} digits before the point")
    return rounded
