"""Row ids: a stable name for every row, carried through a plan in a column that no expression sees.

An id is 128 bits of BLAKE2b as 32 hex digits: of the source's name and the key columns, or, without a
key, of the columns that the plan reads and the occurrence number among equal rows. One-to-one steps keep it;
one-to-many steps derive it from the parent and an index; groups and joins derive it from what they combine.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

import polars as pl

ROW_ID = "_row_id"
DOUBT = "_doubt"
"""In an estimate only: bit 1, an answer behind the row is missing; bit 2, a filter may drop the row."""
HIDDEN = (ROW_ID, DOUBT)
RESERVED = (*HIDDEN, "__content")
_DIGEST_BYTES = 16
# Steps that change the length or the order of a column, so that a row's id no longer stands beside its row.
_REARRANGING_NODES = {"Sort", "SortBy", "Gather", "Filter", "Slice", "Explode"}
_REARRANGING_FUNCTIONS = {
    "Reverse", "Range", "GatherEvery", "Unique", "DropNulls", "DropNans", "Mode", "TopK", "TopKBy", "ArgWhere",
    "ArgUnique", "ArgSort", "Random", "Repeat", "SearchSorted", "ValueCounts", "UniqueCounts", "ExtendConstant",
}  # fmt: skip


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
    values = [pl.col(name).bin.encode("hex") if schema[name] == pl.Binary else pl.col(name) for name in columns]
    return pl.struct(values).struct.json_encode()


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


def blind(expression: pl.Expr, hidden: Sequence[str]) -> pl.Expr:
    """The same expression, with ``pl.all()`` and selectors passing over the hidden columns.

    Args:
        expression: Any expression.
        hidden: Names that selectors must not match.
    """
    if not hidden or not expression.meta.has_multiple_outputs():
        return expression
    tree = json.loads(expression.meta.serialize(format="json"))
    return pl.Expr.deserialize(json.dumps(_exclude(tree, list(hidden))).encode(), format="json")


def _exclude(tree: Any, hidden: list[str]) -> Any:
    if isinstance(tree, list):
        return [_exclude(item, hidden) for item in tree]
    if not isinstance(tree, dict):
        return tree
    return {
        kind: {"Difference": [value, {"ByName": {"names": hidden, "strict": False}}]}
        if kind == "Selector"
        else _exclude(value, hidden)
        for kind, value in tree.items()
    }


def keeps_rows_in_place(expressions: Iterable[pl.Expr], schema: pl.Schema) -> bool:
    """Whether these expressions of a ``select`` give one value a row, each beside its own row.

    Aggregations alone (one row comes out) and expressions that sort, drop or repeat rows do not. Polars'
    ``is_row_separable`` cannot be used: it is true for ``Expr.filter`` and false for ``cum_sum``.
    """
    expressions = list(expressions)
    if not expressions:
        return True
    if any(_rearranges(json.loads(expression.meta.serialize(format="json"))) for expression in expressions):
        return False
    # On no rows an aggregation or a literal still gives one row.
    return pl.LazyFrame(schema=schema).select(expressions).collect().height == 0


def _rearranges(tree: Any) -> bool:
    if isinstance(tree, list):
        return any(_rearranges(item) for item in tree)
    if not isinstance(tree, dict):
        return False
    for kind, value in tree.items():
        if kind in ("Agg", "Over"):
            continue  # whatever is rearranged inside, one value comes out, or one a row
        if kind in _REARRANGING_NODES or (kind == "function" and _function_name(value) in _REARRANGING_FUNCTIONS):
            return True
        if _rearranges(value):
            return True
    return False


def _function_name(function: Any) -> str:
    return next(iter(function), "") if isinstance(function, dict) else str(function)
