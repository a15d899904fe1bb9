"""Row ids: a stable name for every row, carried through a plan in a column that no expression sees.

An id is 128 bits of BLAKE2b as 32 hex digits: of the source's name and the key columns, or, without a
key, of the columns that the plan reads and the occurrence number among equal rows. One-to-one steps keep it;
one-to-many steps derive it from the parent and an index; groups and joins derive it from what they combine.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.datatypes import DataTypeClass

from infergraph.frame.keys import joined_keys

ROW_ID = "_row_id"
DOUBT = "_doubt"
"""In an estimate only, the marks of ``frame/doubt.py``: what is not known of the row while answers are missing."""
DOUBT_TYPE = pl.Int32()
PARENT = "__parent"
"""In a run only, beside a step that makes new rows: the ids of the rows that it reads (see ``frame/parents.py``)."""
MERGED_TYPE = pl.List(pl.Struct({"parent": pl.String(), "part": pl.String()}))
"""``PARENT`` of a step that merges rows: the ids of those that were merged into the row, each with why."""
OTHER_PARENT = f"{PARENT}__other"
"""The same of a join's right side."""
RESERVED = (ROW_ID, DOUBT, "__content", PARENT, OTHER_PARENT)
_DIGEST_BYTES = 16
_LEVEL_ROWS = 2**19


class RowNumberer:
    """Gives ids to the batches of one source, in order.

    Args:
        source: The source's name.
        columns: The columns whose content names a row.
    """

    def __init__(self, source: str, columns: Sequence[str]) -> None:
        self._prefix = source.encode() + b"\x00"
        self._columns = list(columns)
        self._seen = Occurrences()

    def ids(self, batch: pl.DataFrame) -> pl.Series:
        """The ids of the batch's rows (String, 32 hex digits), as many as rows."""
        encoded = batch.select(row_as_json(batch.schema, self._columns)).to_series().to_list()
        prefix = self._prefix
        digests = [blake2b(prefix + text.encode(), digest_size=_DIGEST_BYTES).digest() for text in encoded]
        before = self._seen.count(np.frombuffer(b"".join(digests), dtype=np.uint64)[::2])
        ids = [digest.hex() for digest in digests]
        for place in np.flatnonzero(before):
            ids[place] = blake2b(digests[place] + b"%d" % before[place], digest_size=_DIGEST_BYTES).hexdigest()
        return pl.Series(ROW_ID, ids, dtype=pl.String)


class Occurrences:
    """Counts how often each row was there before, in 12 bytes a row instead of the 150 of a ``Counter``.

    Rows are told apart by 64 bits of their digests: of 100 million rows the chance that two are taken for one
    is under a thousandth, and then the later one has the id of a second occurrence. Counts are kept in sorted levels;
    small ones are merged as they come, so that there are few, and large ones are left alone.
    """

    def __init__(self) -> None:
        self._levels: list[tuple[NDArray[np.uint64], NDArray[np.int32]]] = []

    def count(self, marks: NDArray[np.uint64]) -> NDArray[np.int64]:
        """How often each mark was there before, earlier in this very call included; all are counted from now on."""
        order = np.argsort(marks, kind="stable")
        distinct, starts, counts = np.unique(marks[order], return_index=True, return_counts=True)
        earlier = np.zeros(len(distinct), dtype=np.int64)
        for known, times in self._levels:
            places = np.minimum(np.searchsorted(known, distinct), len(known) - 1)
            earlier += np.where(known[places] == distinct, times[places], 0)
        before = np.empty(len(marks), dtype=np.int64)
        before[order] = np.arange(len(marks)) - np.repeat(starts - earlier, counts)
        if len(distinct):
            self._add(distinct, counts.astype(np.int32))
        return before

    def _add(self, distinct: NDArray[np.uint64], counts: NDArray[np.int32]) -> None:
        while self._levels and len(self._levels[-1][0]) <= min(2 * len(distinct), _LEVEL_ROWS):
            known, times = self._levels.pop()
            places = np.searchsorted(known, distinct)
            new = known[np.minimum(places, len(known) - 1)] != distinct
            times[places[~new]] += counts[~new]
            distinct, counts = np.insert(known, places[new], distinct[new]), np.insert(times, places[new], counts[new])
        self._levels.append((distinct, counts))


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
    columns += joined_keys(hidden, carried)
    # Both sides' parents stay: each is one of the row's own.
    gone = [name for name in carried.values() if name != OTHER_PARENT]
    return joined.with_columns(columns).select(pl.exclude(*hidden, *gone), *hidden)
