"""Who spent what on which model, and when: everything that a store remembers, added up by any of a few facts.

What was sent (attempts, tokens, cost, how long answers took) comes from the attempts themselves, so runs that failed,
were killed or are still going on are in it; what became of rows (store hits, rejects, savings, rows a second) comes
from the usage that each run leaves when it ends. A run that left none counts with the rows that it asked, as
unfinished. Unknown costs are counted beside the known ones, never taken for 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import polars as pl

from infergraph.errors import PlanError, did_you_mean
from infergraph.models.model import NANO
from infergraph.store.analytics import KEYS, USAGE_COLUMNS, Latencies, Span, UsageBy
from infergraph.store.store import Store

Fact = Literal["asset", "model", "day", "run", "operator", "partition"]
FACTS: dict[Fact, UsageBy] = {
    "asset": "asset",
    "model": "model",
    "day": "day",
    "run": "run_id",
    "operator": "operator",
    "partition": "partition",
}
"""What usage is reported by, and the column that says it."""

_COUNTS = (
    "rows", "calls", "store_hits", "shared", "rejected", "rejected_before", "nulls", "pending", "attempts",
    "input_tokens", "cached_input_tokens", "output_tokens",
)  # fmt: skip
_KEY_TYPES: dict[str, pl.DataType] = {name: pl.Int64() if name == "day" else pl.String() for name in KEYS}
FIGURES: dict[str, pl.DataType] = {
    **{name: pl.Int64() for name in _COUNTS},
    "cost_usd": pl.Float64(),
    "unknown_costs": pl.Int64(),
    "saved_usd": pl.Float64(),
    "unknown_savings": pl.Int64(),
    "p50_s": pl.Float64(),
    "p95_s": pl.Float64(),
    "p99_s": pl.Float64(),
    "seconds": pl.Float64(),
    "rows_per_s": pl.Float64(),
    "unfinished": pl.Int64(),
    "started_at": pl.Datetime("us", "UTC"),
}
"""Columns of a usage report after those that it is by."""

_PARTS: dict[str, pl.DataType] = {
    **_KEY_TYPES,
    **{name: pl.Int64() for name in _COUNTS},
    "cost_nano_usd": pl.Int64(),
    "unknown_costs": pl.Int64(),
    "saved_nano_usd": pl.Int64(),
    "seconds": pl.Float64(),
    "started_at": pl.Float64(),
    "unfinished_run": pl.String(),
}
_SUMS = ("attempts", "input_tokens", "cached_input_tokens", "output_tokens", "cost_nano_usd", "unknown_costs")
_STEP = ("run_id", "asset", "partition", "operator")


@dataclass(frozen=True, kw_only=True)
class UsageReport:
    """What was used.

    Args:
        frame: One row a group; the columns of ``by`` (``day`` a date in UTC; null: none), then ``FIGURES``.
        total: The same figures of all groups together.
    """

    frame: pl.DataFrame
    total: dict[str, Any]


def usage_report(
    store: Store,
    by: Sequence[Fact],
    *,
    since: datetime | timedelta | None = None,
    until: datetime | timedelta | None = None,
    asset: str | None = None,
) -> UsageReport:
    """What was used, by any of ``asset``, ``model``, ``day``, ``run``, ``operator`` and ``partition``.

    Args:
        store: Where it is remembered.
        by: One fact or more, each once.
        since: Count from this moment on, or from so long ago; ``None``: from the first attempt on. Attempts count when
            they were sent, what became of a run's rows when the run ended.
        until: Count up to this moment, or up to so long ago; ``None``: up to now.
        asset: Only this asset's.

    Returns:
        A report. ``calls`` are rows whose answer was asked for; ``attempts`` are requests, with their repairs and
        retries. ``cost_usd`` adds up the known costs (null: not one is known), ``unknown_costs`` counts the attempts
        beside it; ``saved_usd`` and ``unknown_savings`` (operators of runs) likewise. ``p50_s``, ``p95_s`` and
        ``p99_s`` are seconds that half, 95 % and 99 % of the attempts did not exceed. ``seconds`` adds up the wall time
        of each operator of each run, ``rows_per_s`` is rows by those. ``unfinished`` counts runs that left no usage:
        killed, or still going on. Days go forwards, runs backwards; else what cost most comes first.

    Raises:
        PlanError: ``by`` names no fact, an unknown one or one twice, or the time has no zone.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder, Store.open("sqlite:///s.db", root=Path(folder)) as store:
        ...     usage_report(store, ["asset"]).total["cost_usd"]
        0.0
    """
    keys = _columns(by)
    span = Span(since=_moment("since", since), until=_moment("until", until), asset=asset)
    if span.since is not None and span.until is not None and span.since >= span.until:
        raise PlanError(f"since={since!r} is not before until={until!r}: there is nothing between.")
    parts = _parts(store, span)
    lengths, all_lengths = _latencies(store, keys, span)
    frame = parts.group_by(keys).agg(_added_up()) if not parts.is_empty() else pl.DataFrame(schema=_schema(keys))
    if not parts.is_empty():
        frame = frame.join(lengths, on=keys, how="left", nulls_equal=True)
    total = parts.select(_added_up()).row(0, named=True)
    total |= dict(zip(("p50_s", "p95_s", "p99_s"), all_lengths.quantiles(), strict=True))
    return UsageReport(
        frame=_sorted(_shown(frame, keys), keys), total={name: total[name] for name in FIGURES}
    )  # fmt: skip


def _columns(by: Sequence[Fact]) -> list[str]:
    facts = list(by)
    for fact in facts:
        if fact not in FACTS:
            raise PlanError(f"Usage is not reported by {fact!r}. {did_you_mean(str(fact), FACTS)}")
    if not facts or len(set(facts)) < len(facts):
        raise PlanError(f"by={facts!r}: name one or more of {', '.join(FACTS)}, each once.")
    return [FACTS[fact] for fact in facts]


def _moment(name: str, given: datetime | timedelta | None) -> float | None:
    if given is None:
        return None
    if isinstance(given, timedelta):
        return (datetime.now(UTC) - given).timestamp()
    if given.tzinfo is None:
        raise PlanError(f"{name}={given!r}: say in which zone, for example {name}={given!r}.astimezone().")
    return given.timestamp()


def _parts(store: Store, span: Span) -> pl.DataFrame:
    """Everything to be added up, in rows of ``_PARTS``: what was sent, and what became of rows."""
    sent = store.attempt_sums(span)
    sums = pl.DataFrame(
        {name: [getattr(each, name) for each in sent] for name in (*KEYS, *_SUMS, "started_at", "ended_at")},
        schema_overrides={**_PARTS, "ended_at": pl.Float64()},
    )
    # A run that went on after the span has left its usage all the same.
    ended = pl.DataFrame(
        store.usage_in(Span(asset=span.asset)),
        schema={name: _PARTS[name] for name in USAGE_COLUMNS},
        orient="row",
    )
    unfinished = sums.join(ended, on=_STEP, how="anti")
    within = pl.lit(True)
    if span.since is not None:
        within &= pl.col("started_at") >= span.since
    if span.until is not None:
        within &= pl.col("started_at") < span.until
    parts = [sums.drop("ended_at"), ended.filter(within), _asked(store, unfinished, span)]
    return pl.concat([pl.DataFrame(schema=_PARTS), *parts], how="diagonal")


def _asked(store: Store, unfinished: pl.DataFrame, span: Span) -> pl.DataFrame:
    """What runs that left no usage asked, as far as their attempts tell."""
    runs = unfinished["run_id"].unique().to_list()
    asked = store.questions(runs, span) if runs else []
    counted = pl.DataFrame(
        {name: [getattr(each, name) for each in asked] for name in (*KEYS, "questions")},
        schema_overrides={**_KEY_TYPES, "questions": pl.Int64()},
    )
    took = unfinished.group_by(KEYS).agg(seconds=pl.col("ended_at").max() - pl.col("started_at").min())
    return (
        counted.group_by(KEYS).agg(pl.col("questions").sum())
        .join(took, on=list(KEYS))
        .select(*KEYS, rows="questions", calls="questions", seconds="seconds", unfinished_run="run_id")
    )  # fmt: skip


def _added_up() -> list[pl.Expr]:
    attempts, cost, saved = pl.col("attempts").sum(), pl.col("cost_nano_usd"), pl.col("saved_nano_usd")
    spared = pl.col("store_hits").fill_null(0) + pl.col("shared").fill_null(0) > 0
    unknown_savings = (spared & saved.is_null()).sum()
    none_saved_known = (unknown_savings > 0) & (saved.filter(spared).count() == 0)
    rows, seconds = pl.col("rows").sum(), pl.col("seconds").sum()
    return [
        *(pl.col(name).sum() for name in _COUNTS),
        pl.when((attempts > 0) & (cost.count() == 0)).then(None).otherwise(cost.sum() / NANO).alias("cost_usd"),
        pl.col("unknown_costs").sum(),
        pl.when(none_saved_known).then(None).otherwise(saved.sum() / NANO).alias("saved_usd"),
        unknown_savings.cast(pl.Int64).alias("unknown_savings"),
        seconds,
        pl.when(seconds > 0).then(rows / seconds).alias("rows_per_s"),
        pl.col("unfinished_run").drop_nulls().n_unique().cast(pl.Int64).alias("unfinished"),
        (pl.col("started_at").min() * 1e6).round().cast(pl.Int64).cast(pl.Datetime("us", "UTC")).alias("started_at"),
    ]


def _latencies(store: Store, keys: Sequence[str], span: Span) -> tuple[pl.DataFrame, Latencies]:
    """How long attempts took, by group and together."""
    together = Latencies()
    rows: list[tuple[Any, ...]] = []
    names = [name for name in KEYS if name in keys]
    for key, found in store.latencies(names, span):
        rows.append((*key, *found.quantiles()))
        for milliseconds, attempts in found.counts.items():
            together.add(milliseconds, attempts)
    quantiles = {name: FIGURES[name] for name in ("p50_s", "p95_s", "p99_s")}
    schema: dict[str, pl.DataType] = {**{name: _KEY_TYPES[name] for name in names}, **quantiles}
    return pl.DataFrame(rows, schema=schema, orient="row"), together


def _schema(keys: Sequence[str]) -> dict[str, pl.DataType]:
    return {**{name: _KEY_TYPES[name] for name in keys}, **FIGURES}


def _shown(frame: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Days as dates, and null where there is no asset or partition."""
    shown = [
        pl.col(name).cast(pl.Int32).cast(pl.Date) if name == "day" else pl.col(name).replace("", None) for name in keys
    ]
    return frame.select(*shown, *FIGURES)


def _sorted(frame: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    if "day" in keys:
        return frame.sort("day", *(key for key in keys if key != "day"), nulls_last=True)
    if "run_id" in keys:
        others = [key for key in keys if key != "run_id"]
        return frame.sort("started_at", "run_id", *others, descending=[True, *[False] * len(keys)], nulls_last=True)
    descending = [True, True, *[False] * len(keys)]
    return frame.sort("cost_usd", "attempts", *keys, descending=descending, nulls_last=True)
