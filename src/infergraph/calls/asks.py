"""What the engine is handed and what it gives back: it knows nothing of rows, columns or schemas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from infergraph.models.model import RejectReason, Request, Response, Tokens
from infergraph.models.verdict import Accepted, Verdict
from infergraph.store.rows import StoredAnswer

Source = Literal["call", "store", "shared", "rejected_before", "pending"]


# Not frozen, as there is one of each for every row: a frozen one takes three times as long to make.
@dataclass(slots=True, eq=False)
class Ask:
    """One row's question: a request, its hash, and what makes a response an answer."""

    hash: bytes
    request: Request
    judge: Callable[[Response], Verdict]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Who asks: goes into the store beside every attempt, never into a request hash."""

    run_id: str
    operator: str
    asset: str | None = None
    partition: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How to ask.

    Args:
        refresh: Ask even where the store has an answer, and replace it.
        retry_rejects: Ask again where the store remembers a rejection.
        retry_model: Name of the model that is asked again there, under the same hash; ``None``: the one that was.
        since: Endings newer than this moment (seconds since 1970) hold in spite of ``refresh`` and ``retry_rejects``:
            they are the run's own.
        max_age_s: Treat answers older than so many seconds as missing; ``None``: any age is good.
        max_repairs: How often a wrong answer is sent back with its error, 0 or more.
        max_attempts: How often one request is sent at most when the failure is transient, 1 or more; tries made
            while the model as a whole was out or told everybody to slow down do not count.
        max_outage_s: Seconds without any success that are waited out before ``ProviderDown``; a server that asks for a
            longer pause ends the wait at once. ``None``: the model's own.

    An attempt that timed out may have been charged by the provider without our learning what: the store keeps its
    cost as unknown (``NULL``), while ``Outcome.spent``, ledgers and budgets count it as 0, so that one timeout does
    not make the cost of a whole run unknown.
    """

    refresh: bool = False
    retry_rejects: bool = False
    retry_model: str | None = None
    since: float | None = None
    max_age_s: float | None = None
    max_repairs: int = 2
    max_attempts: int = 6
    max_outage_s: float | None = None

    def is_ended_by(self, known: StoredAnswer | None, verdict: Verdict | None) -> bool:
        """Whether what the store knows, judged again, is an ending: an answer, or a rejection that holds."""
        if known is None or isinstance(verdict, Accepted):
            return known is not None
        return known.state == "rejected" and (not self.retry_rejects or self.counts_as_own(known.created_at))

    def counts_as_own(self, created_at: float) -> bool:
        """Whether an ending of that moment came about in the run itself."""
        return self.since is not None and created_at >= self.since


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What the attempts made for one ask used, the failed ones and repairs included; all 0 on a store hit.

    An attempt that timed out counts 0 here; its own cost is unknown, and ``NULL`` in the store.
    """

    attempts: int = 0
    tokens: Tokens = field(default_factory=Tokens)
    cost_nano_usd: int | None = 0
    """``None`` when an attempt's price is unknown; a timeout, whose cost nobody learns, counts 0."""
    seconds: float = 0.0


@dataclass(slots=True, kw_only=True)
class Outcome:
    """How one ask ended.

    ``source`` is where the ending came from: ``call`` (asked now), ``store`` (an answer was there), ``shared``
    (another ask of this process with the same hash was in flight and was waited for; its cost is the other's),
    ``rejected_before`` (the store remembers the rejection, or an image of the row cannot be sent; no call), ``pending``
    (the budget ended first; not asked, or not repaired any further).

    ``spent`` counts an attempt that timed out as 0: its own cost is unknown, and ``NULL`` in the store.
    """

    hash: bytes
    source: Source
    value: Any = None
    """The judged answer; ``None`` when rejected or pending."""
    rejected: RejectReason | None = None
    message: str = ""
    """Why it was rejected."""
    attempts: int = 0
    """Attempts behind this ending, those of earlier runs included."""
    model: str = ""
    """``provider:model-id`` that gave the ending."""
    via: str = ""
    """``direct``, ``repair``, ``more_room`` or ``fallback:<model>``; empty when pending."""
    response_text: str = ""
    """The last response's text, filled when rejected (``""`` when nothing came back)."""
    spent: Spent = field(default_factory=Spent)
    saved_nano_usd: int | None = 0
    """What the answer cost when it was bought, on ``store`` and ``shared``; ``None``: price unknown."""
