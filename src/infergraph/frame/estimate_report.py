"""What an estimate says: numbers for each operator and in total, as objects, as a table and as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from typing import Any

import polars as pl


@dataclass(frozen=True, kw_only=True)
class OperatorEstimate:
    """One operator's part: expected numbers, each with the least and the most where it cannot be known."""

    operator: str
    kind: str
    model: str
    rows: int
    rows_low: int
    rows_high: int
    calls: int
    calls_low: int
    calls_high: int
    store_hits: int
    store_hits_low: int
    store_hits_high: int
    input_tokens: int
    input_tokens_low: int
    input_tokens_high: int
    output_tokens: int
    output_tokens_low: int
    output_tokens_high: int
    cost_usd: Decimal | None
    cost_usd_low: Decimal | None
    cost_usd_high: Decimal | None
    seconds: float
    seconds_low: float
    seconds_high: float


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run would call, cost and take; totals are sums over the operators.

    Money is USD (``None``: a price is not known), times are seconds. ``print`` shows a table.
    """

    operators: Sequence[OperatorEstimate]
    assumptions: Sequence[str] = field(default_factory=list)
    """What was assumed, in words."""
    rows: int = 0
    rows_low: int = 0
    rows_high: int = 0
    calls: int = 0
    calls_low: int = 0
    calls_high: int = 0
    store_hits: int = 0
    store_hits_low: int = 0
    store_hits_high: int = 0
    input_tokens: int = 0
    input_tokens_low: int = 0
    input_tokens_high: int = 0
    output_tokens: int = 0
    output_tokens_low: int = 0
    output_tokens_high: int = 0
    cost_usd: Decimal | None = Decimal(0)
    cost_usd_low: Decimal | None = Decimal(0)
    cost_usd_high: Decimal | None = Decimal(0)
    seconds: float = 0.0
    seconds_low: float = 0.0
    seconds_high: float = 0.0

    @classmethod
    def of(cls, operators: Sequence[OperatorEstimate], assumptions: Sequence[str]) -> Estimate:
        """Add the operators' numbers up."""
        names = [f.name for f in fields(cls) if f.name not in ("operators", "assumptions")]
        totals = {name: _total([getattr(operator, name) for operator in operators]) for name in names}
        return cls(operators=list(operators), assumptions=list(assumptions), **totals)

    def to_frame(self) -> pl.DataFrame:
        """One row an operator, money as Float64."""
        schema: dict[str, pl.DataType] = {
            f.name: pl.String()
            if f.name in ("operator", "kind", "model")
            else pl.Float64()
            if f.name.startswith(("cost", "seconds"))
            else pl.Int64()
            for f in fields(OperatorEstimate)
        }
        return pl.DataFrame([_as_row(operator) for operator in self.operators], schema=schema)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain data, money as float: for JSON."""
        totals = {
            f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.name not in ("operators", "assumptions")
        }
        return {**totals, "operators": [_as_row(o) for o in self.operators], "assumptions": list(self.assumptions)}

    def __str__(self) -> str:
        lines = [["operator", "model", "rows", "calls", "hits", "input tokens", "output tokens", "USD"]]
        lines += [[part.operator, part.model, *_spans(part)] for part in self.operators]
        lines.append(["total", "", *_spans(self)])
        return "\n".join([*_aligned(lines), *(f"- {assumption}" for assumption in self.assumptions)])


def joined(estimates: Sequence[Estimate]) -> Estimate:
    """One estimate of all their operators, with the assumptions of all.

    Args:
        estimates: In the order of the operators.
    """
    operators = [operator for each in estimates for operator in each.operators]
    return Estimate.of(operators, list(dict.fromkeys(text for each in estimates for text in each.assumptions)))


def multiplied(part: OperatorEstimate, factor: int) -> OperatorEstimate:
    """An operator's numbers for so many times the rows.

    Args:
        part: Of a part of the rows.
        factor: 1 or more.
    """
    names = [name for f in fields(part) if (name := f.name) not in ("operator", "kind", "model")]
    values: dict[str, Any] = {name: getattr(part, name) for name in names}
    times: dict[str, Any] = {name: None if value is None else value * factor for name, value in values.items()}
    return replace(part, **times)


def at_most(estimate: Estimate, rows: int) -> Estimate:
    """The estimate of a random sample of the rows that one is of.

    Args:
        estimate: Of all rows.
        rows: How many are drawn, where there are so many.
    """
    drawn = [_drawn(part, rows) for part in estimate.operators]
    return Estimate.of(drawn, estimate.assumptions)


def _drawn(part: OperatorEstimate, most: int) -> OperatorEstimate:
    share = min(1.0, most / part.rows) if part.rows else 1.0
    calls = _drawn_counts(part, "calls", most, share)
    values: dict[str, Any] = {**_drawn_counts(part, "rows", most, share), **calls}
    values |= _drawn_counts(part, "store_hits", most, share)
    for end in ("", "_low", "_high"):
        whole = getattr(part, f"calls{end}")
        of_calls = calls[f"calls{end}"] / whole if whole else 1.0
        for name in ("input_tokens", "output_tokens"):
            values[f"{name}{end}"] = round(getattr(part, f"{name}{end}") * of_calls)
        cost = getattr(part, f"cost_usd{end}")
        values[f"cost_usd{end}"] = None if cost is None else cost * Decimal(of_calls)
        values[f"seconds{end}"] = getattr(part, f"seconds{end}") * of_calls
    return replace(part, **values)


def _drawn_counts(part: OperatorEstimate, name: str, most: int, share: float) -> dict[str, int]:
    """A count of rows among those drawn: hard bounds stay so, as each row that is not drawn takes one away at most."""
    left_out = max(0, part.rows_high - most)
    return {
        name: round(getattr(part, name) * share),
        f"{name}_low": max(0, getattr(part, f"{name}_low") - left_out),
        f"{name}_high": min(most, getattr(part, f"{name}_high")),
    }


def _total(values: list[Any]) -> Any:
    return None if any(value is None for value in values) else sum(values)


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value


def _as_row(part: OperatorEstimate) -> dict[str, Any]:
    return {f.name: _plain(getattr(part, f.name)) for f in fields(part)}


_SHOWN = ("rows", "calls", "store_hits", "input_tokens", "output_tokens", "cost_usd")
_NAMES = 2
"""Columns that are no numbers."""


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < _NAMES else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]


def _spans(part: OperatorEstimate | Estimate) -> list[str]:
    return [_span(getattr(part, f"{name}_low"), getattr(part, f"{name}_high")) for name in _SHOWN]


def _span(low: int | Decimal | None, high: int | Decimal | None) -> str:
    if low is None or high is None:
        return "not known"
    texts = [f"{value:.4f}" if isinstance(value, Decimal) else f"{value:,}" for value in (low, high)]
    return texts[0] if low == high else " to ".join(texts)
