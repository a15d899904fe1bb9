"""The one table that says how a value of each Polars type reads as text.

It holds wherever a value enters a prompt: as a vectorised expression for whole columns (``render_value_expr``)
and for single values inside a template's loops and conditions (``text_of``). Both start from ``plain_values``,
which brings a column down to what both sides write alike.

| type | text |
| --- | --- |
| String, Enum, Categorical | itself |
| integers | digits |
| floats | the shortest text that reads back as the same number; ``NaN``, ``inf``, ``-inf`` |
| Decimal | all its decimals, no exponent |
| Boolean | ``true``, ``false`` |
| Date, Datetime, Time, Duration | ISO 8601, fractions of a second only where there are any |
| List, Array, Struct | JSON of the above; dates and the like as JSON strings |
| null | stays null (empty text inside a template's conditions) |
| Binary, Object | refused: there is no text for them |
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import polars as pl

from infergraph.errors import PlanError

_DATETIME = "%Y-%m-%dT%H:%M:%S%.f"
_SHORTENED_ON_THE_WAY = (pl.Float16, pl.Float32)


def render_value_expr(column: pl.Expr, dtype: pl.DataType, *, where: str = "this column") -> pl.Expr:
    """The text of every value of a column.

    Args:
        column: A row-wise expression.
        dtype: The expression's type.
        where: What an error calls the column.

    Returns:
        A row-wise String expression; null where the value is null.

    Raises:
        PlanError: The type has no text (Binary, Object).

    Example:
        >>> frame = pl.DataFrame({"paid": [True, None], "tags": [["a", "b"], []]})
        >>> frame.select(render_value_expr(pl.col(name), frame.schema[name]) for name in frame.columns).rows()
        [('true', '["a", "b"]'), (None, '[]')]
    """
    plain = plain_values(column, dtype, where=where)
    if dtype.is_nested():
        return plain.map_batches(_json_texts, return_dtype=pl.String, is_elementwise=True)
    return plain.cast(pl.String)


def plain_values(column: pl.Expr, dtype: pl.DataType, *, where: str = "this column") -> pl.Expr:
    """The same column in types whose Python values ``text_of`` writes as Polars would.

    Args:
        column: A row-wise expression.
        dtype: The expression's type.
        where: What an error calls the column.

    Returns:
        A row-wise expression of String, integers, Float64, Decimal, Boolean, and Lists and Structs of these.

    Raises:
        PlanError: The type has no text (Binary, Object).
    """
    match dtype:
        case pl.String() | pl.Boolean() | pl.Decimal() | pl.Float64():
            return column
        case pl.Null() | pl.Enum() | pl.Categorical():
            return column.cast(pl.String)
        case pl.Date():
            return column.dt.to_string("iso")
        case pl.Time():
            return column.dt.to_string("%H:%M:%S%.f")
        case pl.Duration():
            return column.dt.to_string("iso")
        case pl.Datetime():
            return column.dt.to_string(_DATETIME if dtype.time_zone is None else _DATETIME + "%:z")
        case pl.List():
            return _plain_list(column, dtype.inner, where)
        case pl.Array():
            return _plain_list(column.arr.to_list(), dtype.inner, where)
        case pl.Struct():
            return _plain_struct(column, dtype, where)
        case _ if dtype.is_integer():
            return column
        case _ if dtype in _SHORTENED_ON_THE_WAY:
            # Python has no 32-bit float: by way of text, 0.1 stays 0.1 and does not become 0.10000000149011612.
            return column.cast(pl.String).cast(pl.Float64)
        case pl.Binary():
            raise PlanError(
                f"{where} is Binary, which has no text. Where it holds images, write images=[...] with its name "
                "(map and extract take it); else turn it into text first, for example with "
                ".with_columns(pl.col(...).cast(pl.String)), or name another column."
            )
        case _:
            raise PlanError(
                f"{where} is {dtype}, which has no text. Turn it into one first, for example with "
                ".with_columns(pl.col(...).cast(pl.String)), or name another column."
            )


def _plain_list(column: pl.Expr, inner: Any, where: str) -> pl.Expr:
    element = plain_values(pl.element(), _instance(inner), where=where)
    return column.list.eval(element)


def _plain_struct(column: pl.Expr, dtype: pl.Struct, where: str) -> pl.Expr:
    if not dtype.fields:
        return column
    return column.struct.with_fields(
        *(
            plain_values(pl.field(field.name), _instance(field.dtype), where=f"{where}, field {field.name!r},").alias(
                field.name
            )
            for field in dtype.fields
        )
    )


def _instance(dtype: Any) -> pl.DataType:
    instance: pl.DataType = dtype() if isinstance(dtype, type) else dtype
    return instance


def text_of(value: Any) -> str:
    """The text of one value that ``plain_values`` left: what ``render_value_expr`` gives, ``""`` for null.

    Args:
        value: ``None``, str, bool, int, float, Decimal, or a list or dict of these.

    Returns:
        The text.

    Example:
        >>> text_of(1e-7), text_of(False), text_of([1.5, None, {"a": "ü"}])
        ('1e-7', 'false', '[1.5, null, {"a": "ü"}]')
    """
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return _float_text(value)
        case Decimal():
            return format(value, "f")
        case list() | tuple() | dict():
            return json_text(value)
        case _:
            return str(value)


def json_text(value: Any) -> str:
    """One value as JSON, its scalars written as ``text_of`` writes them; numbers that JSON lacks become strings."""
    match value:
        case None:
            return "null"
        case str():
            return json.dumps(value, ensure_ascii=False)
        case float() if value != value or value in (float("inf"), float("-inf")):
            return f'"{_float_text(value)}"'
        case list() | tuple():
            return f"[{', '.join(json_text(item) for item in value)}]"
        case dict():
            pairs = (f"{json.dumps(key, ensure_ascii=False)}: {json_text(item)}" for key, item in value.items())
            return f"{{{', '.join(pairs)}}}"
        case _:
            return text_of(value)


def _float_text(value: float) -> str:
    if value != value:
        return "NaN"
    digits, exponent_sign, exponent = repr(value).partition("e")
    if not exponent_sign:
        return digits
    if int(exponent) == -5:
        return format(Decimal(repr(value)), "f")
    return f"{digits}e{int(exponent):+d}"


def _json_texts(values: pl.Series) -> pl.Series:
    texts = [None if value is None else json_text(value) for value in values.to_list()]
    return pl.Series(values.name, texts, dtype=pl.String)
