"""A Python function over texts as a Polars expression: null stays null, equal texts close by are worked on once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from infergraph.errors import PlanError

Column = str | pl.Expr
"""A column's name, or an expression."""
_ROWS = 512


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
        function: Called once for each different text among some hundred rows; ``None`` becomes null.
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
        return in_pieces(values, some, returns)

    def some(texts: list[str | None]) -> list[Any]:
        known: dict[str | None, Any] = {None: None}
        for text in texts:
            if text not in known and text is not None:
                known[text] = function(text)
        return [known[text] for text in texts]

    return column_of(column, where).map_batches(batch, return_dtype=returns, is_elementwise=True)


def in_pieces(values: pl.Series, function: Callable[[list[Any]], list[Any]], returns: Any) -> pl.Series:
    """What a function makes of a column, some hundred rows at a time: Python's values are many times those of Polars.

    Args:
        values: The column.
        function: Takes the values of some rows and gives as many.
        returns: The result's type.
    """
    made = [
        column_from(function(values.slice(start, _ROWS).to_list()), returns) for start in range(0, len(values), _ROWS)
    ]
    return pl.concat(made).alias(values.name) if made else pl.Series(values.name, [], dtype=returns)


def column_from(results: list[Any], returns: Any) -> pl.Series:
    """The results as a column; lists of structs go field by field, which takes a quarter of the time.

    Args:
        results: A list of dicts for each row, or whatever ``returns`` says; ``None`` is null.
        returns: The result's type.
    """
    inner = returns.inner if isinstance(returns, pl.List) else None
    if not isinstance(inner, pl.Struct):
        return pl.Series(results, dtype=returns)
    every = [one for result in results if result for one in result]
    fields = [pl.Series(field.name, [one[field.name] for one in every], dtype=field.dtype) for field in inner.fields]
    lengths = np.fromiter((len(result or ()) for result in results), dtype=np.uint32, count=len(results))
    rows = pl.Series("row", np.repeat(np.arange(len(results), dtype=np.uint32), lengths))
    lists = (
        pl.DataFrame([rows, pl.DataFrame(fields).to_struct("of")]).group_by("row", maintain_order=True).agg("of")["of"]
    )
    empty = pl.Series([[], None], dtype=returns)
    places, next_list = [], 0
    for result in results:
        places.append(next_list if result else len(lists) + (result is None))
        next_list += bool(result)
    return pl.concat([lists.cast(returns), empty]).gather(places)


def check_texts(values: pl.Series, where: str) -> None:
    """Raise ``PlanError`` where a series is no text; a column of nulls alone counts as text."""
    if values.dtype not in (pl.String, pl.Null):
        raise PlanError(
            f"{where}: the column {values.name!r} is {values.dtype}, not String. Cast it, for example "
            f"pl.col({values.name!r}).cast(pl.String)."
        )
