"""What an answer must quote is shown to the model: otherwise nothing could be quoted from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl

from infergraph.errors import PlanError, did_you_mean
from infergraph.validation.quote import Quote

_TEXTS = (pl.String, pl.Categorical, pl.Enum)


def check_quotes(quotes: Iterable[Quote], reads: Sequence[str], columns: pl.Schema, where: str) -> None:
    """Raise ``PlanError`` where a quote is of a column that the request does not read, or that holds no text.

    Args:
        quotes: Of the answer's schema.
        reads: Columns that the request reads.
        columns: The input's columns and types.
        where: What errors call the step.
    """
    for quote in quotes:
        if not reads:
            raise PlanError(f"{where}: the schema has Quote(of={quote.of!r}), and the request reads no text.")
        if quote.of not in reads:
            more = (
                f"Name it at the step too, so that the model is shown it, or write Quote(of={reads[0]!r})."
                if quote.of in columns
                else did_you_mean(quote.of, reads)
            )
            read = ", ".join(map(repr, reads))
            raise PlanError(
                f"{where}: the schema has Quote(of={quote.of!r}), and the request reads only {read}. {more}"
            )
        dtype = columns[quote.of]
        if dtype.base_type() not in _TEXTS:
            raise PlanError(
                f"{where}: the schema has Quote(of={quote.of!r}), and that column is {dtype}; a quote is of text. Make "
                f"it text in a step before: .with_columns(pl.col({quote.of!r}).cast(pl.String))."
            )
