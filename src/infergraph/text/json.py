"""JSON in text columns: queries, types, containment, validity, and repair of what is almost JSON."""

from __future__ import annotations

import builtins
import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from functools import lru_cache, partial
from typing import Any

import polars as pl

from infergraph.errors import PlanError
from infergraph.text.json_reading import NOT_JSON, as_written, parsed
from infergraph.text.row_wise import Column, of_each_text

_LONG_NUMBER = re.compile(r"(?<![.\d])\d{16}")
"""Of 53 bits and more, as far as jq's numbers go."""
DType = pl.DataType | builtins.type[pl.DataType]
_NAMES = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}


def jq(column: Column, query: str, *, dtype: DType | None = None) -> pl.Expr:
    """What a jq query gives for each JSON text.

    Args:
        column: A String column of JSON.
        query: A query in the language of jq 1.8, such as ``".items[] | .name"``.
        dtype: The type of the query's first result, such as ``pl.Int64`` or ``pl.List(pl.String)``; ``None``: all
            results are wanted, each as JSON text.

    Returns:
        A row-wise expression: ``List(String)``, each result as JSON; or, with ``dtype``, the first result as
        that type (null where there is none, and where it does not fit). Null for null, where the text is no JSON, and
        where the query fails on it (``is_valid`` tells the two apart).

    Raises:
        PlanError: The query does not compile; the message is jq's own. ``dtype`` is no type of values.

    Whole numbers keep all their digits as long as the query only passes them on; what it computes with (``+``,
    ``floor``) has 53 bits. Texts nested deeper than 10,000 levels, and results deeper than about 1,000, give null. A
    query that never ends, such as ``repeat(.)``, is not stopped.

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"doc": ['{"items": [{"n": 1}, {"n": 2}]}', "no json"]})
        >>> frame.select(
        ...     all=ig.text.json.jq("doc", ".items[]"), n=ig.text.json.jq("doc", "[.items[].n] | add", dtype=pl.Int64)
        ... ).rows()
        [(['{"n": 1}', '{"n": 2}'], 3), (None, None)]
    """
    where = "ig.text.json.jq"
    if not isinstance(query, str):
        raise PlanError(f"{where}: query={query!r}: write a query such as '.items[] | .name'.")
    for then in _WRITTEN:
        _compiled(query, then)
    results = partial(_results, query=query)
    if dtype is None:
        return of_each_text(column, results, pl.List(pl.String()), where=where)

    wanted = _checked(dtype, where)
    between = _between(wanted)

    def batch(texts: pl.Series) -> pl.Series:
        values = [None if not lines else _fitted(parsed(lines[0]), wanted) for lines in texts.to_list()]
        return pl.Series(texts.name, values, dtype=between).cast(wanted, strict=False)

    every = of_each_text(column, results, pl.List(pl.String()), where=where)
    return every.map_batches(batch, return_dtype=wanted, is_elementwise=True)


def _results(text: str, *, query: str) -> list[str] | None:
    short, exact = (_compiled(query, then) for then in _WRITTEN)
    try:
        written = str(short.input_text(text).text())
        # What Python could write is not so deep that jq's own writing, which keeps all digits, ends the process.
        if _LONG_NUMBER.search(written):
            return [as_written(line) for line in exact.input_text(text).all()]
    except (ValueError, RecursionError):
        return None
    return [line for line in written.split("\n") if line]


def type(column: Column) -> pl.Expr:
    """The type of each JSON text's value.

    Args:
        column: A String column of JSON.

    Returns:
        A row-wise String expression: ``object``, ``array``, ``string``, ``number``, ``boolean`` or ``null``; null where
        the text is no JSON, and for null.

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"doc": ["[1]", "null", "1e3", "nul", None]})
        >>> frame.select(ig.text.json.type("doc")).to_series().to_list()
        ['array', 'null', 'number', None, None]
    """

    def name(text: str) -> str | None:
        value = parsed(text)
        if value is NOT_JSON:
            return None
        return "null" if value is None else _NAMES[value.__class__]

    return of_each_text(column, name, pl.String(), where="ig.text.json.type")


def contains(column: Column, value: Any) -> pl.Expr:
    """Whether a value stands anywhere in each JSON text.

    Args:
        column: A String column of JSON.
        value: A dict, list, text, number, bool or ``None``. A dict is found in an object that has at least its keys,
            with values that are found in the same way; a list is found where there is an equal one; anything else where
            there is the same value.

    Returns:
        A row-wise Boolean expression; null where the text is no JSON, and for null.

    Raises:
        PlanError: ``value`` has no JSON.

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"doc": ['{"a": {"b": 1, "c": [1, 2]}}', '{"b": 2}', "x"]})
        >>> frame.select(ig.text.json.contains("doc", {"b": 1})).to_series().to_list()
        [True, False, None]
    """
    where = "ig.text.json.contains"
    try:
        wanted = json.loads(json.dumps(value, allow_nan=False))
        _fits(wanted, wanted)
    except (TypeError, ValueError, RecursionError) as error:
        raise PlanError(f"{where}: value={value!r:.80} has no JSON: {error}.") from error

    def found(text: str) -> bool | None:
        document = parsed(text)
        return None if document is NOT_JSON else any(_fits(part, wanted) for part in _parts(document))

    return of_each_text(column, found, pl.Boolean(), where=where)


def is_valid(column: Column) -> pl.Expr:
    """Whether each text is JSON (RFC 8259: no ``NaN``, no trailing comma, no comments).

    Args:
        column: A String column.

    Returns:
        A row-wise Boolean expression; null for null.

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"doc": ['{"a": 1}', "{'a': 1}", "NaN", None]})
        >>> frame.select(ig.text.json.is_valid("doc")).to_series().to_list()
        [True, False, False, None]
    """

    def valid(text: str) -> bool:
        return parsed(text) is not NOT_JSON

    return of_each_text(column, valid, pl.Boolean(), where="ig.text.json.is_valid")


def repair(column: Column) -> pl.Expr:
    """JSON out of what is almost JSON: single quotes, missing quotes and brackets, trailing commas, comments, fences.

    Args:
        column: A String column, such as answers of models.

    Returns:
        A row-wise String expression: the text itself where it is JSON, else JSON made of it (what was cut off is
        closed, nothing is made up); null where nothing in it looks like JSON, and for null.

    What is mended, and how, is that of the library json-repair.

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"doc": ["```json\\n{'a': [1, 2,\\n```", '{"a": 1}', "Sorry, I cannot."]})
        >>> frame.select(ig.text.json.repair("doc")).to_series().to_list()
        ['{"a": [1, 2]}', '{"a": 1}', None]
    """
    return of_each_text(column, _repaired, pl.String(), where="ig.text.json.repair")


_WRITTEN = ("", "| tojson")
"""How a query's results are written: by Python, and by jq itself with all digits of their numbers."""


@lru_cache(maxsize=256)
def _compiled(query: str, then: str) -> Any:
    """A program for jq, which no process can hand to another: expressions hold the query's text alone."""
    import jq

    try:
        jq.compile(query)
        # The environment holds keys of models. Compiled twice, so that places in messages are those of the query.
        return jq.compile(f"def env: {{}}; {{}} as $ENV | ({query}\n) {then}")
    except ValueError as error:
        raise PlanError(f"ig.text.json.jq: the query {query!r} does not compile. {str(error).strip()}") from error


def _checked(dtype: DType, where: str) -> pl.DataType:
    try:
        return _without_objects(pl.Series([], dtype=dtype).dtype)
    except TypeError:
        raise PlanError(
            f"{where}: dtype={dtype!r:.80}: write a type of JSON's values, such as pl.Int64, pl.List(pl.String) or "
            'pl.Struct({"name": pl.String}).'
        ) from None


def _without_objects(dtype: pl.DataType) -> pl.DataType:
    if dtype in (pl.Object, pl.Duration) or (isinstance(dtype, pl.Struct) and not dtype.fields):
        raise TypeError
    return dtype


def _between(dtype: Any) -> pl.DataType:
    """The type that values of ``_fitted`` have, which Polars casts to the one that is wanted."""
    if isinstance(dtype, pl.Struct):
        return pl.Struct({one.name: _between(one.dtype) for one in dtype.fields})
    if isinstance(dtype, pl.List):
        return pl.List(_between(dtype.inner))
    if isinstance(dtype, pl.Array):
        return pl.Array(_between(dtype.inner), dtype.size)
    if dtype.is_integer():
        return pl.Int128()
    if dtype.is_float():
        return pl.Float64()
    if isinstance(dtype, pl.Datetime):
        return pl.Datetime(dtype.time_unit, dtype.time_zone and "UTC")
    return dtype if dtype in (pl.Boolean, pl.Null, pl.Date, pl.Time) else pl.String()


def _fitted(value: Any, dtype: Any) -> Any:
    """The value where it is one of that type, else ``None``: nothing is rounded, cut up or read otherwise."""
    if value is None or dtype == pl.Null:
        return None
    if isinstance(dtype, pl.Struct):
        fields = dtype.fields
        return (
            {one.name: _fitted(value.get(one.name), one.dtype) for one in fields} if isinstance(value, dict) else None
        )
    if isinstance(dtype, (pl.List, pl.Array)):
        fits = isinstance(value, list) and (isinstance(dtype, pl.List) or len(value) == dtype.size)
        return [_fitted(one, dtype.inner) for one in value] if fits else None
    if dtype == pl.Boolean or isinstance(value, bool):
        return value if dtype == pl.Boolean and isinstance(value, bool) else _words(value, dtype)
    if dtype.is_integer():
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return int(value) if whole and -(2**127) <= value < 2**127 else None
    if dtype.is_float():
        return float(value) if isinstance(value, (int, float)) else None
    return _moment(value, dtype) if dtype.is_temporal() else _words(value, dtype)


def _moment(value: Any, dtype: Any) -> date | time | None:
    """A date or a time as ISO 8601 writes it; one with a time zone only where the type has one, and the other way."""
    read: Any = {pl.Date: date, pl.Time: time}.get(dtype.base_type(), datetime)
    try:
        made: date | time = read.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    if not isinstance(made, datetime):
        return made
    if (made.tzinfo is None) == (dtype.time_zone is None):
        return made if made.tzinfo is None else made.astimezone(UTC)
    return None


def _words(value: Any, dtype: Any) -> str | None:
    """A text as it is; other values as JSON, where a text is wanted, and numbers where Polars reads them off a text."""
    if isinstance(value, str):
        return None if (dtype.is_numeric() and not dtype.is_decimal()) or dtype == pl.Boolean else value
    if dtype == pl.String:
        return _text(value)
    return (
        str(value) if dtype.is_decimal() and isinstance(value, (int, float)) and not isinstance(value, bool) else None
    )


def _text(value: Any) -> str | None:
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return None


def _parts(document: Any) -> Sequence[Any]:
    """The document and every value in it."""
    parts = [document]
    for part in parts:
        if isinstance(part, dict):
            parts += part.values()
        elif isinstance(part, list):
            parts += part
    return parts


def _fits(part: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        return isinstance(part, dict) and all(key in part and _fits(part[key], value) for key, value in wanted.items())
    return _same(part, wanted)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    return bool(one == other)


def _repaired(text: str) -> str | None:
    if parsed(text) is not NOT_JSON:
        return text
    if not any(mark in text for mark in '{["'):
        return None
    import json_repair

    try:
        value = json_repair.loads(text, skip_json_loads=True)
    except (ValueError, RecursionError):
        return None
    if value == "" or not _is_json(value):
        return None
    written = _text(value)
    return written if written is None or _is_unicode(written) else json.dumps(value)


def _is_json(value: Any) -> bool:
    return not any(isinstance(part, float) and not math.isfinite(part) for part in _parts(value))


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
