"""What every face shows: usage and rejects look the same in a notebook, the CLI and the UI."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from decimal import Decimal

import polars as pl

from infergraph.models.model import NANO

REJECT_COLUMNS: dict[str, pl.DataType] = {
    "operator": pl.String(),
    "reason": pl.String(),
    "message": pl.String(),
    "attempts": pl.Int64(),
    "model": pl.String(),
    "prompt": pl.String(),
    "response": pl.String(),
    "cost_usd": pl.Float64(),
}
"""Columns of a rejects frame after ``row_id`` and the key columns."""


def rejects_schema(key_columns: dict[str, pl.DataType]) -> pl.Schema:
    """The schema of a rejects frame.

    Args:
        key_columns: Names and types of the plan's key columns.

    Example:
        >>> rejects_schema({"id": pl.Int64()}).names()[:3]
        ['row_id', 'id', 'operator']
    """
    return pl.Schema({"row_id": pl.String(), **key_columns, **REJECT_COLUMNS})


def usd(nano: int | None) -> Decimal | None:
    """Nano-dollars as dollars; unknown stays ``None``.

    Example:
        >>> usd(1_500_000_000)
        Decimal('1.5')
    """
    return None if nano is None else Decimal(nano) / NANO


def add_nano(one: int | None, other: int | None) -> int | None:
    """The sum of two costs; unknown when either is.

    Example:
        >>> add_nano(1, 2), add_nano(1, None)
        (3, None)
    """
    return None if one is None or other is None else one + other


@dataclass(kw_only=True)
class Tally:
    """Counts of one operator and model while a run goes on."""

    operator: str
    model: str
    rows: int = 0
    calls: int = 0
    store_hits: int = 0
    shared: int = 0
    rejected: int = 0
    rejected_before: int = 0
    nulls: int = 0
    unasked: int = 0
    pending: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nano_usd: int | None = 0
    saved_nano_usd: int | None = 0
    seconds: float = 0.0


_COUNTS = (
    "rows", "calls", "store_hits", "shared", "rejected", "rejected_before", "nulls", "unasked", "pending",
    "input_tokens", "cached_input_tokens", "output_tokens",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a run did and used.

    ``rows = calls + store_hits + shared + rejected_before + nulls + pending``, for each operator and in sum. Of an
    operator that asks several requests a row each request counts as a row, and a row that needs none counts under
    ``nulls``.

    Example:
        >>> usage = Usage.of([Tally(operator="extract", model="m", rows=2, calls=1, nulls=1)], seconds=0.5)
        >>> usage.calls, usage.by_operator["operator"].to_list()
        (1, ['extract'])
    """

    rows: int = 0
    """Rows that came to an operator, added up over operators. A row that two branches of the plan read comes twice: the
    second time it is counted under ``store_hits``, ``shared`` or ``rejected_before``, since it is asked once."""
    calls: int = 0
    """Rows whose answer (or rejection) was asked for in this run; repairs and retries belong to their row."""
    store_hits: int = 0
    """Rows whose answer was in the store."""
    shared: int = 0
    """Rows that shared the request of another row."""
    rejected: int = 0
    """Rows that ended as rejects, however they were counted above; ``.rejects`` lists a row once an operator."""
    rejected_before: int = 0
    """Rows whose rejection was in the store: no call was made."""
    nulls: int = 0
    """Rows with a null input, or outside ``where``: no call."""
    unasked: int = 0
    """Those of ``nulls`` that have a value all the same, without a question: a PDF file with a text layer."""
    pending: int = 0
    """Rows not asked because a budget was used up."""
    input_tokens: int = 0
    """Input tokens of all attempts of this run, cached ones included."""
    cached_input_tokens: int = 0
    """The part of ``input_tokens`` that providers read from their prompt caches."""
    output_tokens: int = 0
    """Output tokens of all attempts of this run."""
    cost_usd: Decimal | None = Decimal(0)
    """USD of all attempts of this run; ``None`` when a price is unknown."""
    saved_usd: Decimal | None = Decimal(0)
    """USD that stored and shared answers would have cost; ``None`` when a price is unknown."""
    seconds: float = 0.0
    """Wall-clock seconds of the run."""
    by_operator: pl.DataFrame = field(default_factory=pl.DataFrame, repr=False, compare=False)
    """The same columns, one row an operator, money as Float64; ``model`` beside it."""
    by_model: pl.DataFrame = field(default_factory=pl.DataFrame, repr=False, compare=False)
    """The same columns, one row a model."""

    @classmethod
    def of(cls, tallies: Iterable[Tally], seconds: float) -> Usage:
        """Add up tallies, in the operators' order."""
        parts = list(tallies)
        counts = {name: sum(getattr(part, name) for part in parts) for name in _COUNTS}
        operators = pl.DataFrame([_row(part) for part in parts], schema=_TALLY_SCHEMA)
        numbers = [name for name in _TALLY_SCHEMA if name not in ("operator", "model")]
        models = operators.group_by("model", maintain_order=True).agg(pl.col(numbers).sum())
        unknown = operators.group_by("model", maintain_order=True).agg(pl.col("cost_usd", "saved_usd").is_null().any())
        models = models.with_columns(
            pl.when(unknown[name]).then(None).otherwise(models[name]).alias(name) for name in ("cost_usd", "saved_usd")
        )
        return cls(
            **counts,
            cost_usd=usd(_total(part.cost_nano_usd for part in parts)),
            saved_usd=usd(_total(part.saved_nano_usd for part in parts)),
            seconds=seconds,
            by_operator=operators,
            by_model=models,
        )

    def as_dict(self) -> dict[str, int | float | None]:
        """The numbers alone, money as float: for JSON."""
        return {
            f.name: float(value) if isinstance(value := getattr(self, f.name), Decimal) else value
            for f in fields(self)
            if f.name not in ("by_operator", "by_model")
        }


_TALLY_SCHEMA: dict[str, pl.DataType] = {
    "operator": pl.String(),
    "model": pl.String(),
    **{name: pl.Int64() for name in _COUNTS},
    "cost_usd": pl.Float64(),
    "saved_usd": pl.Float64(),
    "seconds": pl.Float64(),
}


def _row(tally: Tally) -> dict[str, object]:
    cost, saved = usd(tally.cost_nano_usd), usd(tally.saved_nano_usd)
    return {
        **{name: getattr(tally, name) for name in ("operator", "model", *_COUNTS, "seconds")},
        "cost_usd": None if cost is None else float(cost),
        "saved_usd": None if saved is None else float(saved),
    }


def _total(parts: Iterable[int | None]) -> int | None:
    total: int | None = 0
    for part in parts:
        total = add_nano(total, part)
    return total
