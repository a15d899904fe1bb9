"""Where a row comes from, and what became of it: the data that every face shows.

A ``Trace`` is one row of one run with the questions that were asked for it, the rows that it was made from, and the row
of the source where it began; across assets each source row goes on with the trace of the row above it. A ``Became`` is
the same seen forwards. Walking is in ``traces.py``, the text in ``lineage_text.py``; here is what comes out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Literal, TypeVar

import polars as pl

from infergraph.records import usd
from infergraph.store.hashes import hash_text
from infergraph.store.rows import StoredAttempt

State = Literal["published", "became", "dropped", "rejected", "pending", "gone", "not followed"]


@dataclass(frozen=True, kw_only=True)
class SourceRead:
    """A source of a run, and how its rows were named."""

    name: str
    key: tuple[str, ...]
    carries_ids: bool
    """Its data has the row ids of an earlier run."""
    named_by: tuple[tuple[str, ...], ...]
    """The columns whose content named the rows, in order; several where branches of the plan read different ones."""
    data: pl.LazyFrame


@dataclass(frozen=True, kw_only=True)
class Published:
    """A version of an asset or partition."""

    asset: str
    partition: str | None
    version: str
    run_id: str
    """The Dagster run that made it."""
    published_at: datetime | None
    """UTC; ``None``: it is an earlier version, of which that is not kept."""

    def __str__(self) -> str:
        partition = "" if self.partition is None else f", partition {self.partition}"
        when = "" if self.published_at is None else f" at {self.published_at:%Y-%m-%d %H:%M} UTC"
        return f"{self.asset}{partition} (run {self.run_id}{when})"

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        when = None if self.published_at is None else self.published_at.isoformat()
        return {**vars(self), "published_at": when}


@dataclass(frozen=True, kw_only=True)
class TraceStep:
    """What one operator asked for one row, and every attempt that was made."""

    operator: str
    model: str
    """``provider:model-id`` that gave the ending."""
    request_hash: str
    """Empty where the row could not be asked: an image of it could not be sent."""
    source: str
    """``call``, ``store``, ``shared``, ``rejected_before`` or ``pending``: where the run had the ending from."""
    via: str
    """``direct``, ``repair``, ``more_room`` or ``fallback:<model>``."""
    attempts: Sequence[StoredAttempt]
    """Oldest first, those of earlier runs included."""
    kept: bool | None = None
    """Whether a semantic filter let the row pass; ``None``: the operator is no filter."""
    rejected: str | None = None
    """Reason and message, where the row is a reject of this operator."""
    part: str | None = None
    """Which of the row's questions it is, where the operator asks several: ``level 2, part 1 of 3``."""

    @property
    def cost_usd(self) -> Decimal | None:
        """USD of all attempts; ``None`` when a price is unknown."""
        return _cost(self.attempts)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "operator": self.operator,
            "part": self.part,
            "model": self.model,
            "request_hash": self.request_hash,
            "source": self.source,
            "via": self.via,
            "kept": self.kept,
            "rejected": self.rejected,
            "cost_usd": None if self.cost_usd is None else float(self.cost_usd),
            "attempts": [_attempt(attempt) for attempt in self.attempts],
        }


@dataclass(frozen=True, kw_only=True)
class SourceRow:
    """The row of a source where a trace leaves its run."""

    source: str
    """The source's name in the plan."""
    key: Mapping[str, Any]
    """What named the row: its key columns, or without a key the columns that the plan read."""
    values: Mapping[str, Any]
    """All its columns; empty where the row is not there any more."""
    asset: Published | None = None
    """Where it was read, if an asset's rows were."""
    upstream: Trace | None = None
    """How that row came about, where an asset of ours made it."""
    note: str = ""
    """What else is to be known: made by plain code, a version that is not kept."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "source": self.source,
            "key": plain(self.key),
            "values": plain(self.values),
            "asset": None if self.asset is None else self.asset.as_dict(),
            "upstream": None if self.upstream is None else self.upstream.as_dict(),
            "note": self.note or None,
        }


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One row and everything that made it; ``print`` shows the tree as text."""

    row_id: str
    """As in ``_row_id``; ``#17`` is the row at place 17 (from 0) of an asset without row ids."""
    steps: Sequence[TraceStep]
    """What was asked for this very row, in the order of the plan's endings."""
    asset: Published | None = None
    """The version that holds the row, in a trace across assets."""
    values: Mapping[str, Any] | None = None
    """The row's columns as they are published; ``None``: not looked up, or the row is not among them."""
    made_by: str = ""
    """The step that made it from other rows (``join``, ``explode``...), or merged others into it (``dedup``)."""
    parents: Sequence[Trace] = ()
    """The rows that it was made from, and those that were merged into it, the first ones of many."""
    parents_total: int = 0
    """How many there are."""
    merged: Mapping[str, str] = field(default_factory=dict)
    """Why a parent was merged into the row, by its row id: ``0.974 like this row``; the row kept its own id."""
    source: SourceRow | None = None
    """Where it was read, if it has its source row's id."""
    ended: str = ""
    """Why the trace ends here, where it ends before a source."""

    @property
    def attempts(self) -> list[StoredAttempt]:
        """Every attempt behind the row, those of its parents and of the assets above included, each once."""
        above = [*self.parents, *([self.source.upstream] if self.source and self.source.upstream else [])]
        own = [attempt for step in self.steps for attempt in step.attempts]
        every = [*own, *(attempt for trace in above for attempt in trace.attempts)]
        return list({(attempt.id, attempt.request_hash): attempt for attempt in every}.values())

    @property
    def cost_usd(self) -> Decimal | None:
        """USD of all these attempts; ``None`` when a price is unknown."""
        return _cost(self.attempts)

    def as_dict(self) -> dict[str, Any]:
        """The trace as plain data, for JSON."""
        return {
            "row_id": self.row_id,
            "asset": None if self.asset is None else self.asset.as_dict(),
            "values": None if self.values is None else plain(self.values),
            "cost_usd": None if self.cost_usd is None else float(self.cost_usd),
            "steps": [step.as_dict() for step in self.steps],
            "made_by": self.made_by or None,
            "parents_total": self.parents_total,
            "parents": [parent.as_dict() for parent in self.parents],
            "merged": dict(self.merged),
            "source": None if self.source is None else self.source.as_dict(),
            "ended": self.ended or None,
        }

    def __str__(self) -> str:
        from infergraph.lineage_text import trace_text

        return trace_text(self)


@dataclass(frozen=True, kw_only=True)
class Became:
    """What one row became in one run, and from there in the assets below."""

    row_id: str
    state: State
    """``published``; ``became`` other rows; ``dropped`` by a semantic filter; ``rejected`` by one that could not
    decide; ``pending``: not asked, as a budget was used up; ``gone``: not in the result; ``not followed``."""
    why: str
    """The state in words."""
    steps: Sequence[TraceStep] = ()
    asset: Published | None = None
    values: Mapping[str, Any] | None = None
    """The row's columns as they are published."""
    made_by: str = ""
    """The step that made it of the row before; empty: it has that row's id."""
    children: Sequence[Became] = ()
    """Rows of the same run that were made from it."""
    children_total: int = 0
    """How many there are."""
    downstream: Sequence[Became] = ()
    """The row in assets that read this one, as they are published now."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "row_id": self.row_id,
            "asset": None if self.asset is None else self.asset.as_dict(),
            "state": self.state,
            "why": self.why,
            "values": None if self.values is None else plain(self.values),
            "made_by": self.made_by or None,
            "steps": [step.as_dict() for step in self.steps],
            "children_total": self.children_total,
            "children": [child.as_dict() for child in self.children],
            "downstream": [below.as_dict() for below in self.downstream],
        }

    def __str__(self) -> str:
        from infergraph.lineage_text import became_text

        return became_text(self)


T_co = TypeVar("T_co", Trace, Became, covariant=True)


@dataclass(frozen=True, kw_only=True)
class Traces(Sequence[T_co]):
    """The first of the rows that were asked for, each a ``Trace`` or a ``Became``; ``print`` shows them as trees."""

    rows: Sequence[T_co]
    matched: int
    """How many rows there are in all."""

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[T_co]:
        return iter(self.rows)

    def __getitem__(self, place: Any) -> Any:
        return self.rows[place]

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {"matched": self.matched, "rows": [row.as_dict() for row in self.rows]}

    def __str__(self) -> str:
        texts = [str(row) for row in self.rows]
        if self.matched > len(self.rows):
            texts.append(f"{len(self.rows)} of {self.matched:,} rows are shown.")
        return "\n\n".join(texts)


def plain(value: Any) -> Any:
    """A cell or row as JSON can hold it.

    Example:
        >>> plain({"day": datetime(2026, 11, 22), "n": [1, None]})
        {'day': '2026-11-22 00:00:00', 'n': [1, None]}
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple, pl.Series)):
        return [plain(inner) for inner in value]
    if isinstance(value, bytes):
        return value.hex() if len(value) <= _BYTES_SHOWN else f"[{len(value):,} bytes, {_digest(value)}]"
    return str(value)


_BYTES_SHOWN = 64


def _digest(value: bytes) -> str:
    return hash_text(blake2b(value, digest_size=16).digest())


def _cost(attempts: Sequence[StoredAttempt]) -> Decimal | None:
    costs = [attempt.cost_nano_usd for attempt in attempts]
    known = [cost for cost in costs if cost is not None]
    return usd(sum(known)) if len(known) == len(costs) else None


def _attempt(attempt: StoredAttempt) -> dict[str, Any]:
    response = attempt.response
    cost = usd(attempt.cost_nano_usd)
    return {
        "id": attempt.id,
        "run_id": attempt.run_id,
        "asset": attempt.asset,
        "partition": attempt.partition,
        "model": attempt.model,
        "started_at": attempt.started_at,
        "seconds": attempt.seconds,
        "outcome": attempt.outcome,
        "message": attempt.message,
        "via": attempt.via,
        "prompt_kept": attempt.prompt_kept,
        "messages": [{"role": m.role, "content": m.shown} for m in attempt.messages],
        "embed_text": attempt.embed_text,
        "response": None if response is None else response.text,
        "input_tokens": None if response is None else response.tokens.input,
        "output_tokens": None if response is None else response.tokens.output,
        "cost_usd": None if cost is None else float(cost),
    }
