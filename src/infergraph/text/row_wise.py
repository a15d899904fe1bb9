"""A Python function over texts as a Polars expression: null stays null, equal texts are worked on once a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from infergraph.errors import PlanError

Column = str | pl.Expr
"""A column's name, or an expression."""


def column_of(column: Any, where: str) -> pl.Expr:
    """The expression that is meant.

    Args:
        column: A name or an expression.
        where: What errors call the function, for example ``"ig.text.markdown.toc"``.

    Raises:
        PlanError: It is neither.
    """
    if isinstance(column, pl.Expr):
        return column
    if isinstance(column, str) and column:
        return pl.col(column)
    raise PlanError(f"{where}: a column is a name or a Polars expression such as pl.col('body'), not {column!r:.80}.")


def of_each_text(
    column: Column, function: Callable[[str], Any], returns: pl.DataType | type[pl.DataType], *, where: str
) -> pl.Expr:
    """What a function makes of each text of a column.

    Args:
        column: A String column.
        function: Called once for each different text of a batch; ``None`` becomes null.
        returns: The result's type.
        where: What errors call it.

    Returns:
        A row-wise expression of type ``returns``; null where the text is null.

    Raises:
        PlanError: ``column`` is neither a name nor an expression; at run time, where it is no text.

    Example:
        >>> frame = pl.DataFrame({"body": ["a b", None, "a b"]})
        >>> frame.select(of_each_text("body", str.split, pl.List(pl.String), where="split")).to_series().to_list()
        [['a', 'b'], None, ['a', 'b']]
    """

    def batch(values: pl.Series) -> pl.Series:
        check_texts(values, where)
        known: dict[str, Any] = {}
        results: list[Any] = []
        for text in values.to_list():
            if text is None:
                results.append(None)
                continue
            if text not in known:
                known[text] = function(text)
            results.append(known[text])
        return pl.Series(values.name, results, dtype=returns)

    return column_of(column, where).map_batches(batch, return_dtype=returns, is_elementwise=True)


def check_texts(values: pl.Series, where: str) -> None:
    """Raise ``PlanError`` where a series is no text; a column of nulls alone counts as text."""
    if values.dtype not in (pl.String, pl.Null):
        raise PlanError(
            f"{where}: the column {values.name!r} is {values.dtype}, not String. Cast it, for example "
            f"pl.col({values.name!r}).cast(pl.String)."
        )
