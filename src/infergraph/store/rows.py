"""What goes into the store and what comes out: plain frozen values, no database in sight."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

from infergraph.models.model import Message, RejectReason, Request, Response, Tokens

AttemptOutcome = Literal["done", "repair", "rejected", "transient", "permanent", "fatal", "cancelled"]
State = Literal["done", "rejected"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One request that was sent, whatever came of it.

    Args:
        row_hash: Hash of the row's first request: what the answer is stored under.
        request_hash: Hash of the request that was sent (a repair's differs from the row's).
        run_id: The run that pays.
        asset: The asset that the run makes; ``None`` outside Dagster.
        partition: The asset's partition, where it has one.
        operator: The operator's name in its plan.
        model: ``provider:model-id`` that was asked.
        request: What was sent.
        started_at: When it was sent, in seconds since 1970.
        seconds: How long it took.
        outcome: What came of it. ``done``: an answer; ``repair``: asked again; ``rejected``: the row is rejected;
            ``transient``, ``permanent``, ``fatal``: no response; ``cancelled``: given up by us.
        shared_messages: How many of the first messages all rows of the operator share; they are stored once.
        status: HTTP status, where there was one.
        message: What went wrong, without secrets.
        via: ``direct``, ``repair``, ``more_room`` or ``fallback:<model>``.
        response: What came back, if anything.
        cost_nano_usd: Cost in nano-dollars; ``None``: not known.
    """

    row_hash: bytes
    request_hash: bytes
    run_id: str
    operator: str
    model: str
    request: Request
    started_at: float
    seconds: float
    outcome: AttemptOutcome
    asset: str | None = None
    partition: str | None = None
    shared_messages: int = 0
    status: int | None = None
    message: str = ""
    via: str = "direct"
    response: Response | None = None
    cost_nano_usd: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How a row's question ended for good.

    Args:
        row_hash: Hash of the row's first request.
        state: ``done``, or ``rejected`` (remembered: a plain re-run makes no call).
        attempt: The attempt that ended it, written with it; an ``int`` is the id of one stored before.
        reason: Why it was rejected.
        message: The same for a reader.
        attempts: Attempts made for it, all runs together.
        via: How the ending came about: ``direct``, ``repair``, ``more_room`` or ``fallback:<model>``.
        model: ``provider:model-id`` that gave the ending.
        cost_nano_usd: Cost of those attempts in nano-dollars; ``None``: not known.
        created_at: Seconds since 1970.
    """

    row_hash: bytes
    state: State
    attempt: Attempt | int | None
    reason: RejectReason | None = None
    message: str = ""
    attempts: int = 1
    via: str = "direct"
    model: str = ""
    cost_nano_usd: int | None = None
    created_at: float = field(default_factory=time.time)


@dataclass(slots=True, kw_only=True)
class StoredAnswer:
    """An answer as the store has it; ``response`` is what its last attempt brought back.

    Not frozen, unlike its neighbours: a re-run makes one a row, and a frozen one takes three times as long to make.
    """

    row_hash: bytes
    state: State
    reason: RejectReason | None
    message: str
    attempts: int
    via: str
    model: str
    cost_nano_usd: int | None
    created_at: float
    attempt_id: int | None
    response: Response | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAttempt:
    """An attempt as the store has it: the fields of ``Attempt``, with the prompt spelt out where it was kept."""

    id: int
    row_hash: bytes
    request_hash: bytes
    run_id: str
    asset: str | None
    partition: str | None
    operator: str
    model: str
    started_at: float
    seconds: float
    outcome: AttemptOutcome
    status: int | None
    message: str
    via: str
    messages: tuple[Message, ...]
    embed_text: str | None
    response: Response | None
    cost_nano_usd: int | None
    prompt_kept: bool = True
    """Whether ``messages`` and ``embed_text`` are what was sent; the store may have been told not to keep prompts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """What one operator of one run did on one model, all tries of the run together.

    ``rows = calls + store_hits + shared + rejected_before + nulls + pending``; ``rejected`` counts all rejected rows.
    Costs are nano-dollars, ``None`` when a price is not known; ``seconds`` is wall time; ``started_at`` is when it was
    first recorded.
    """

    run_id: str
    operator: str
    model: str
    asset: str | None = None
    partition: str | None = None
    rows: int = 0
    calls: int = 0
    store_hits: int = 0
    shared: int = 0
    rejected: int = 0
    rejected_before: int = 0
    nulls: int = 0
    pending: int = 0
    tokens: Tokens = field(default_factory=Tokens)
    cost_nano_usd: int | None = 0
    saved_nano_usd: int | None = 0
    seconds: float = 0.0
    started_at: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateRow:
    """What one operator of one run was expected to do on one model, before the run; keyed like ``UsageRow``.

    A number with ``_low`` and ``_high`` lies between them. Costs are nano-dollars, ``None`` when a price is not known;
    ``seconds`` is wall time; ``made_at`` is when the estimate was made, in seconds since 1970.
    """

    run_id: str
    operator: str
    model: str
    asset: str | None = None
    partition: str | None = None
    rows: int = 0
    store_hits: int = 0
    calls: int = 0
    calls_low: int = 0
    calls_high: int = 0
    input_tokens: int = 0
    input_tokens_low: int = 0
    input_tokens_high: int = 0
    output_tokens: int = 0
    output_tokens_low: int = 0
    output_tokens_high: int = 0
    cost_nano_usd: int | None = 0
    cost_nano_usd_low: int | None = 0
    cost_nano_usd_high: int | None = 0
    seconds: float = 0.0
    made_at: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class PastAttempt:
    """An attempt that brought a response back, as estimates look at it.

    Args:
        row_hash: Hash of the row's first request.
        run_id: The run that paid.
        via: As in ``Attempt``.
        messages: What was asked; empty for an embedding, or where prompts are not kept.
        embed_text: The text that was embedded.
        response: What came back, with the tokens that the provider counted.
        done: Whether it is the answer that was accepted.
    """

    row_hash: bytes
    run_id: str
    via: str
    messages: tuple[Message, ...]
    embed_text: str | None
    response: Response
    done: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SpentRow:
    """What attempts cost together: every request that was sent, whatever came of it and of its run.

    Args:
        run_id: The run, asset, partition, operator or model (``provider:model-id``) that the attempts have in common;
            ``None`` where they were not grouped by it, or have none.
        asset: See ``run_id``.
        partition: See ``run_id``.
        operator: See ``run_id``.
        model: See ``run_id``; the one that was asked, which for a fallback is not the operator's own.
        attempts: How many.
        tokens: All that came back.
        cost_nano_usd: The known costs in nano-dollars; ``None``: not one of them is known.
        unknown_costs: Attempts whose cost is not in that sum: no price, timed out, or given up on the way.
        seconds: The attempts' own seconds; those made at once count each.
    """

    run_id: str | None = None
    asset: str | None = None
    partition: str | None = None
    operator: str | None = None
    model: str | None = None
    attempts: int
    tokens: Tokens
    cost_nano_usd: int | None
    unknown_costs: int
    seconds: float


SpentBy = Literal["run_id", "asset", "partition", "operator", "model"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What answers of a model were like so far: means over ``answers`` answers."""

    answers: int
    input_tokens: float
    output_tokens: float
    seconds: float
