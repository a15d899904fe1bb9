"""One short text that is the same exactly when the rows are the same.

Dagster compares *data versions* to see whether an asset changed. Ours says what the rows are and in which
order, not how a file holds them: row groups, compression, encodings and the library that wrote the file
do not show in it, nor do row ids, cost or time. So a re-run that brings the same answers wakes nothing
downstream.

How: every column is told as a few plain byte streams (which values are there, how long they are, the
values in a fixed little-endian form), each goes through BLAKE2b as it comes, and the digests are put
together with the columns' names and kinds. A stream is the same however the rows were cut into batches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from infergraph.errors import PlanError
from infergraph.frame.row_ids import ROW_ID

if TYPE_CHECKING:
    from polars._typing import PolarsDataType

_SCHEME = b"infergraph-rows-1"
_NULL_LENGTH = -1
_BATCH_ROWS = 8_192

_NUMPY_KINDS: dict[type[pl.DataType], tuple[str, str]] = {
    pl.Int8: ("i8", "<i1"),
    pl.Int16: ("i16", "<i2"),
    pl.Int32: ("i32", "<i4"),
    pl.Int64: ("i64", "<i8"),
    pl.UInt8: ("u8", "<u1"),
    pl.UInt16: ("u16", "<u2"),
    pl.UInt32: ("u32", "<u4"),
    pl.UInt64: ("u64", "<u8"),
    pl.Float16: ("f16", "<f4"),
    pl.Float32: ("f32", "<f4"),
    pl.Float64: ("f64", "<f8"),
    pl.Boolean: ("bool", "<u1"),
}
_WIDE_KINDS: dict[type[pl.DataType], str] = {pl.Int128: "i128", pl.UInt128: "u128", pl.Categorical: "categorical"}


def rows_digest(rows: pl.DataFrame | pl.LazyFrame | Path) -> str:
    """The data version of rows: 32 hexadecimal digits of BLAKE2b over the rows in their order.

    A column named ``_row_id`` is left out. Runs in one pass and holds some thousand rows at a time.

    Args:
        rows: A frame, or the path of a Parquet file.

    Returns:
        32 hexadecimal digits; equal exactly when column names, kinds, values and order are equal
        (``-0.0`` counts as ``0.0``, and every NaN as the same).

    Raises:
        PlanError: A column holds Python objects, which have no form of their own.

    Example:
        >>> one = pl.DataFrame({"id": [1, 2], "kind": ["bug", None]})
        >>> rows_digest(one) == rows_digest(one.lazy())
        True
        >>> rows_digest(one) == rows_digest(one.reverse())
        False
    """
    if isinstance(rows, Path):
        rows = pl.scan_parquet(rows, glob=False, hive_partitioning=False)
    lazy = rows.lazy()
    schema = pl.Schema({name: kind for name, kind in lazy.collect_schema().items() if name != ROW_ID})
    digests = {name: _ColumnDigest(kind, name) for name, kind in schema.items()}
    if not digests:
        return _combined(lazy.select(pl.len()).collect().item(), digests)
    count = 0
    for batch in lazy.select(list(schema)).collect_batches(chunk_size=_BATCH_ROWS, maintain_order=True):
        count += batch.height
        for name, digest in digests.items():
            digest.add(batch.get_column(name))
    return _combined(count, digests)


def _combined(count: int, digests: dict[str, _ColumnDigest]) -> str:
    whole = hashlib.blake2b(_SCHEME, digest_size=16)
    whole.update(count.to_bytes(8, "little"))
    for name, digest in digests.items():
        text = name.encode()
        whole.update(len(text).to_bytes(8, "little"))
        whole.update(text)
        whole.update(digest.result())
    return whole.hexdigest()


class _ColumnDigest:
    """The digest of one column, told batch by batch; nested types hold digests of their parts."""

    def __init__(self, kind: pl.DataType, name: str) -> None:
        self._tag = _tag(kind, name)
        self._present = hashlib.blake2b(digest_size=32)
        self._lengths = hashlib.blake2b(digest_size=32)
        self._values = hashlib.blake2b(digest_size=32)
        self._parts = [_ColumnDigest(inner, name) for inner in _inner_kinds(kind)]

    def add(self, values: pl.Series) -> None:
        kind = values.dtype
        if isinstance(kind, pl.Null):
            self._lengths.update(len(values).to_bytes(8, "little"))
        elif isinstance(kind, pl.Struct):
            self._add_struct(values)
        elif isinstance(kind, (pl.List, pl.Array)):
            self._add_list(values)
        elif type(kind) in _NUMPY_KINDS or kind.is_temporal():
            self._add_numbers(values)
        elif isinstance(kind, pl.Binary):
            self._add_bytes(values.bin.size(), values.drop_nulls().to_list())
        else:
            self._add_text(values if isinstance(kind, pl.String) else values.cast(pl.String))

    def result(self) -> bytes:
        whole = hashlib.blake2b(self._tag.encode(), digest_size=32)
        for stream in (self._present, self._lengths, self._values):
            whole.update(stream.digest())
        for part in self._parts:
            whole.update(part.result())
        return whole.digest()

    def _add_numbers(self, values: pl.Series) -> None:
        self._present.update(_bytes(values.is_not_null(), "<u1"))
        self._values.update(_bytes(*_plain(values)))

    def _add_text(self, values: pl.Series) -> None:
        joined = values.drop_nulls().str.join("")
        text = joined.item() if len(joined) else None
        self._add_bytes(values.str.len_bytes(), [(text or "").encode()])

    def _add_bytes(self, lengths: pl.Series, contents: Iterable[bytes]) -> None:
        self._lengths.update(_bytes(lengths.cast(pl.Int64).fill_null(_NULL_LENGTH), "<i8"))
        self._values.update(b"".join(contents))

    def _add_list(self, values: pl.Series) -> None:
        if isinstance(values.dtype, pl.Array):
            values = values.arr.to_list()
        lengths = values.list.len().cast(pl.Int64).fill_null(_NULL_LENGTH)
        self._lengths.update(_bytes(lengths, "<i8"))
        self._parts[0].add(values.filter(lengths > 0).explode())

    def _add_struct(self, values: pl.Series) -> None:
        present = values.is_not_null()
        self._present.update(_bytes(present, "<u1"))
        filled = values.filter(present)
        for part, field in zip(self._parts, filled.struct.fields, strict=True):
            part.add(filled.struct.field(field))


def _tag(kind: pl.DataType, name: str) -> str:
    if type(kind) in _NUMPY_KINDS:
        return _NUMPY_KINDS[type(kind)][0]
    if type(kind) in _WIDE_KINDS:
        return _WIDE_KINDS[type(kind)]
    match kind:
        case pl.String():
            return "text"
        case pl.Enum():
            return "enum"
        case pl.Binary() | pl.Null() | pl.Date() | pl.Time() | pl.List():
            return type(kind).__name__.lower()
        case pl.Datetime():
            return f"datetime[{kind.time_unit},{kind.time_zone or ''}]"
        case pl.Duration():
            return f"duration[{kind.time_unit}]"
        case pl.Decimal():
            return f"decimal[{kind.scale}]"
        case pl.Array():
            return f"array[{kind.size}]"
        case pl.Struct():
            return f"struct{[field.name for field in kind.fields]!r}"
        case _:
            raise PlanError(
                f"Column {name!r} is of type {kind}: its rows have no data version. Cast it to text, numbers, "
                "dates, lists or structs before the asset returns."
            )


def _inner_kinds(kind: pl.DataType) -> list[pl.DataType]:
    if isinstance(kind, pl.Struct):
        return [_as_kind(field.dtype) for field in kind.fields]
    if isinstance(kind, pl.List):
        return [_as_kind(kind.inner)]
    if isinstance(kind, pl.Array):
        # An array of arrays is told as lists of lists: the widths are in the tag.
        return [_as_kind(kind.inner)]
    return []


def _as_kind(kind: PolarsDataType) -> pl.DataType:
    return kind if isinstance(kind, pl.DataType) else kind()


def _plain(values: pl.Series) -> tuple[pl.Series, str]:
    """The numbers behind the values with 0 for null, and the form that they are told in."""
    if values.dtype.is_temporal():
        return values.to_physical().cast(pl.Int64).fill_null(0), "<i8"
    if isinstance(values.dtype, pl.Boolean):
        return values.fill_null(value=False), "<u1"
    form = _NUMPY_KINDS[type(values.dtype)][1]
    if values.dtype.is_float():
        return (values.cast(pl.Float32) if isinstance(values.dtype, pl.Float16) else values).fill_null(0.0), form
    return values.fill_null(0), form


def _bytes(values: pl.Series, form: str) -> bytes:
    plain = np.ascontiguousarray(values.to_numpy(), dtype=form)
    if plain.dtype.kind == "f":
        # Adding 0.0 turns -0.0 into 0.0, in a copy; every NaN then gets the same bits.
        plain = plain + plain.dtype.type(0)
        plain[np.isnan(plain)] = np.nan
    return plain.tobytes()
