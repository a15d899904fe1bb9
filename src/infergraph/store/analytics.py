"""Sums over everything that was ever sent, group by group: the database adds up, so that memory stays small.

Attempts that were pruned count as well, by the sums that were kept of them (``removed_attempts``); only how long each
of them took is gone. Days are counted from 1970 in UTC. A partition or asset that an attempt does not have is ``""``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any, Literal

from sqlalchemy import BigInteger, ColumnElement, Connection, FromClause, Select, case, cast, func, select

from infergraph.store.tables import attempts, removed_attempts
from infergraph.store.tables import usage as usage_table

DAY_S = 86_400
UsageBy = Literal["day", "run_id", "asset", "partition", "operator", "model"]
KEYS: tuple[UsageBy, ...] = ("day", "run_id", "asset", "partition", "operator", "model")
QUANTILES = (0.5, 0.95, 0.99)
_RUNS_AT_ONCE = 500
_SUMS = ("attempts", "input_tokens", "cached_input_tokens", "output_tokens", "cost_nano_usd", "unknown_costs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Which attempts and runs count.

    Args:
        since: Seconds since 1970: from this moment on; ``None``: from the first one on. Of attempts that were pruned,
            those of a day, run and operator count together, by when the first of them was sent.
        until: Before this moment; ``None``: up to now.
        asset: Only this asset's; ``None``: every asset's, and what was asked outside of assets.
    """

    since: float | None = None
    until: float | None = None
    asset: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSum:
    """What the attempts of one day, run, asset, partition, operator and model came to.

    ``cost_nano_usd`` adds up the known costs (``None``: none is known), and ``unknown_costs`` counts the others.
    ``started_at`` and ``ended_at`` are the first attempt's start and the last one's end, in seconds since 1970.
    """

    day: int
    run_id: str
    asset: str
    partition: str
    operator: str
    model: str
    attempts: int
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    cost_nano_usd: int | None
    unknown_costs: int
    started_at: float
    ended_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How many rows' questions a day, run, asset, partition, operator and model asked."""

    day: int
    run_id: str
    asset: str
    partition: str
    operator: str
    model: str
    questions: int


@dataclass(slots=True)
class Latencies:
    """How long attempts took: for each length in milliseconds, how many."""

    counts: dict[int, int] = field(default_factory=dict)

    def add(self, milliseconds: int, attempts: int) -> None:
        """Take in attempts of one length."""
        self.counts[milliseconds] = self.counts.get(milliseconds, 0) + attempts

    def quantiles(self) -> tuple[float | None, float | None, float | None]:
        """The lengths in seconds that 50, 95 and 99 % of the attempts did not exceed; ``None``: there are no attempts.

        Example:
            >>> one_to_hundred = Latencies({number * 10: 1 for number in range(1, 101)})
            >>> one_to_hundred.quantiles()
            (0.5, 0.95, 0.99)
        """
        if not self.counts:
            return None, None, None
        in_order = sorted(self.counts.items())
        total = sum(self.counts.values())
        found = (_nearest_rank(in_order, total, share) for share in QUANTILES)
        low, high, highest = found
        return low, high, highest


def _nearest_rank(in_order: Sequence[tuple[int, int]], total: int, share: float) -> float:
    # The smallest length that at least this share of the attempts did not exceed. Whole numbers, as 0.95 is not exact.
    rank, seen = -(-total * round(share * 100) // 100), 0
    for milliseconds, count in in_order:
        seen += count
        if seen >= rank:
            return milliseconds / 1000
    raise AssertionError("unreachable: the counts add up to the total")


def attempt_sums(connection: Connection, span: Span) -> list[AttemptSum]:
    """What was sent, one sum a day, run, asset, partition, operator and model; pruned attempts among them."""
    columns = attempts.c
    keys = _keys(connection)
    stored: Select[Any] = select(*keys, *_added_up()).group_by(*keys)
    gone = removed_attempts.c
    removed: Select[Any] = select(
        *(gone[name] for name in KEYS), *(gone[name] for name in _SUMS), gone.started_at, gone.ended_at
    )
    return [
        _sum(row)
        for query in (_within(stored, columns, span), _within(removed, gone, span))
        for row in connection.execute(query)
    ]


def _sum(row: Any) -> AttemptSum:
    day, run_id, asset, partition, operator, model, count, given, cached, came, cost, unknown, started, ended = row
    # PostgreSQL adds whole numbers up to decimals.
    return AttemptSum(
        day=int(day), run_id=run_id, asset=asset, partition=partition, operator=operator, model=model,
        attempts=int(count), input_tokens=int(given), cached_input_tokens=int(cached), output_tokens=int(came),
        cost_nano_usd=None if cost is None else int(cost), unknown_costs=int(unknown), started_at=float(started),
        ended_at=float(ended),
    )  # fmt: skip


def latencies(connection: Connection, by: Sequence[UsageBy], span: Span) -> Iterator[tuple[tuple[Any, ...], Latencies]]:
    """How long the attempts of each group took, those given up by us left out, and those that were pruned.

    Lengths are rounded to a millisecond below a second and to three digits above, so that a group has at most some
    thousands of different ones, however many attempts it has.
    """
    columns = attempts.c
    by_name = dict(zip(KEYS, _keys(connection), strict=True))
    keys = [by_name[name] for name in by]
    length = _milliseconds(columns.seconds).label("length")
    query: Select[Any] = select(*keys, length, func.count()).where(columns.outcome != "cancelled")
    query = _within(query, columns, span).group_by(*keys, length).order_by(*keys, length)
    rows = connection.execution_options(stream_results=True).execute(query)
    group = itemgetter(*range(len(keys))) if len(keys) > 1 else lambda row: tuple(row[: len(keys)])
    for key, members in groupby(rows, group):
        found = Latencies()
        for row in members:
            found.add(int(row[-2]), int(row[-1]))
        yield tuple(key), found


def questions(connection: Connection, runs: Sequence[str], span: Span) -> list[Asked]:
    """How many questions these runs asked: for runs that left no usage since they were killed, or are going on."""
    columns = attempts.c
    keys = _keys(connection)
    own = ~columns.via.startswith("fallback:") & (columns.via != "probe")
    found: list[Asked] = []
    for start in range(0, len(runs), _RUNS_AT_ONCE):
        wanted = list(runs[start : start + _RUNS_AT_ONCE])
        stored: Select[Any] = select(*keys, func.count(columns.row_hash.distinct())).group_by(*keys)
        stored = _within(stored, columns, span).where(own, columns.run_id.in_(wanted))
        gone = removed_attempts.c
        removed: Select[Any] = select(*(gone[name] for name in KEYS), gone.questions)
        removed = _within(removed, gone, span).where(gone.run_id.in_(wanted))
        for query in (stored, removed):
            found += [
                Asked(**dict(zip(KEYS, row[:6], strict=True)), questions=int(row[6]))
                for row in connection.execute(query)
            ]
    return found


def usage_rows(connection: Connection, span: Span) -> list[tuple[Any, ...]]:
    """The usage of runs that ended, oldest first; a row holds ``USAGE_COLUMNS``."""
    columns = usage_table.c
    query: Select[Any] = select(_day(connection, columns.started_at), *(columns[name] for name in USAGE_COLUMNS[1:]))
    found = connection.execute(_within(query, columns, span).order_by(columns.started_at))
    return [tuple(row) for row in found]


USAGE_COLUMNS = (
    "day", "run_id", "asset", "partition", "operator", "model", "rows", "calls", "store_hits", "shared", "rejected",
    "rejected_before", "nulls", "pending", "saved_nano_usd", "seconds", "started_at",
)  # fmt: skip
"""What a row of ``usage_rows`` holds, in order."""


def removal_of(connection: Connection, doomed: FromClause) -> list[dict[str, Any]]:
    """Rows of ``removed_attempts`` for attempts that are about to be removed; ``doomed`` has their ids."""
    columns = attempts.c
    keys = _keys(connection)
    own = case((columns.via.startswith("fallback:") | (columns.via == "probe"), None), else_=columns.row_hash)
    query: Select[Any] = select(*keys, *_added_up(), func.count(own.distinct())).group_by(*keys)
    names = (*KEYS, *_SUMS, "started_at", "ended_at", "questions")
    found = connection.execute(query.where(columns.id.in_(select(doomed.c.id))))
    return [dict(zip(names, row, strict=True)) for row in found]


def _keys(connection: Connection) -> list[ColumnElement[Any]]:
    columns = attempts.c
    plain = (columns.run_id, func.coalesce(columns.asset, ""), func.coalesce(columns["partition"], ""))
    return [_day(connection, columns.started_at), *plain, columns.operator, columns.model]


def _added_up() -> list[ColumnElement[Any]]:
    """The sums of ``_SUMS``, and when the first attempt began and the last one ended."""
    columns = attempts.c
    return [
        func.count(),
        *(func.sum(columns[name]) for name in ("input_tokens", "cached_input_tokens", "output_tokens")),
        func.sum(columns.cost_nano_usd),
        func.count() - func.count(columns.cost_nano_usd),
        func.min(columns.started_at),
        func.max(columns.started_at + columns.seconds),
    ]


def _day(connection: Connection, started_at: ColumnElement[float]) -> ColumnElement[int]:
    return whole(connection, started_at, DAY_S)


def whole(connection: Connection, moment: ColumnElement[float], unit_s: int) -> ColumnElement[int]:
    """Whole days, hours... of so many seconds since 1970."""
    units = moment / unit_s
    # Casting cuts in SQLite, which need not have floor(), and rounds in PostgreSQL, which has it.
    return cast(func.floor(units) if connection.dialect.name == "postgresql" else units, BigInteger)


def _milliseconds(seconds: ColumnElement[float]) -> ColumnElement[int]:
    def rounded(step: int) -> ColumnElement[int]:
        return cast(func.round(seconds * (1000 / step)), BigInteger) * step

    return case(
        (seconds < 1, rounded(1)), (seconds < 10, rounded(10)), (seconds < 100, rounded(100)), else_=rounded(1000)
    )


def _within(query: Select[Any], columns: Any, span: Span) -> Select[Any]:
    if span.since is not None:
        query = query.where(columns.started_at >= span.since)
    if span.until is not None:
        query = query.where(columns.started_at < span.until)
    if span.asset is not None:
        query = query.where(func.coalesce(columns.asset, "") == span.asset)
    return query
