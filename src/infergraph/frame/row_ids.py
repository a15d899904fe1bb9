"""Row ids: a stable name for every row, carried through a plan in a column that no expression sees.

An id is 128 bits of BLAKE2b as 32 hex digits: of the source's name and the key columns, or, without a
key, of the columns that the plan reads and the occurrence number among equal rows. One-to-one steps keep it;
one-to-many steps derive it from the parent and an index; groups and joins derive it from what they combine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b

import polars as pl
from polars.datatypes import DataTypeClass

ROW_ID = "_row_id"
DOUBT = "_doubt"
"""In an estimate only, the marks of ``frame/doubt.py``: what is not known of the row while answers are missing."""
HIDDEN = (ROW_ID, DOUBT)
RESERVED = (*HIDDEN, "__content")
_DIGEST_BYTES = 16


class RowNumberer:
    """Gives ids to the batches of one source, in order.

    Args:
        source: The source's name.
        columns: The columns whose content names a row.
    """

    def __init__(self, source: str, columns: Sequence[str]) -> None:
        self._prefix = source.encode() + b"\x00"
        self._columns = list(columns)
        self._seen: Counter[bytes] = Counter()

    def ids(self, batch: pl.DataFrame) -> pl.Series:
        """The ids of the batch's rows (String, 32 hex digits), as many as rows."""
        encoded = batch.select(row_as_json(batch.schema, self._columns)).to_series().to_list()
        return pl.Series(ROW_ID, [self._id(text.encode()) for text in encoded], dtype=pl.String)

    def _id(self, content: bytes) -> str:
        digest = blake2b(self._prefix + content, digest_size=_DIGEST_BYTES).digest()
        occurrence = self._seen[digest]
        self._seen[digest] += 1
        if occurrence == 0:
            return digest.hex()
        return blake2b(digest + b"%d" % occurrence, digest_size=_DIGEST_BYTES).hexdigest()


def row_as_json(schema: pl.Schema, columns: Sequence[str]) -> pl.Expr:
    """The named columns as one JSON text a row, the same for the same values in any engine or chunking."""
    return pl.struct([_jsonable(pl.col(name), schema[name]).alias(name) for name in columns]).struct.json_encode()


def _jsonable(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """The value in a form that JSON tells from every other one: it knows neither bytes nor NaN."""
    if dtype == pl.Binary:
        return value.bin.encode("hex")
    if dtype.is_float():
        return value.cast(pl.String)
    if isinstance(dtype, pl.List):
        return value.list.eval(_jsonable(pl.element(), _typed(dtype.inner)))
    if isinstance(dtype, pl.Array):
        return value.arr.to_list().list.eval(_jsonable(pl.element(), _typed(dtype.inner)))
    if isinstance(dtype, pl.Struct):
        fields = [
            _jsonable(value.struct.field(field.name), _typed(field.dtype)).alias(field.name) for field in dtype.fields
        ]
        return pl.when(value.is_not_null()).then(pl.struct(fields))
    return value


def _typed(dtype: pl.DataType | DataTypeClass) -> pl.DataType:
    return dtype() if isinstance(dtype, DataTypeClass) else dtype


def derived_id(*parts: pl.Expr) -> pl.Expr:
    """An id (String) that follows from other ids and indexes; null parts are told apart from all texts."""
    return pl.struct([part.cast(pl.String).alias(str(position)) for position, part in enumerate(parts)]).map_batches(
        _hash_rows, return_dtype=pl.String, is_elementwise=True
    )


def _hash_rows(rows: pl.Series) -> pl.Series:
    encoded = rows.struct.json_encode().to_list()
    return pl.Series(
        rows.name, [blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest() for text in encoded], dtype=pl.String
    )


def join_hidden(joined: pl.LazyFrame, hidden: tuple[str, ...], carried: dict[str, str]) -> pl.LazyFrame:
    """A join's hidden columns made of both sides'; ``carried`` are the right side's names for them."""
    columns: list[pl.Expr] = []
    if ROW_ID in hidden:
        columns.append(derived_id(pl.col(ROW_ID), pl.col(carried[ROW_ID])).alias(ROW_ID))
    if DOUBT in hidden:
        columns.append((pl.col(DOUBT).fill_null(0) | pl.col(carried[DOUBT]).fill_null(0)).alias(DOUBT))
    return joined.with_columns(columns).select(pl.exclude(*hidden, *carried.values()), *hidden)
