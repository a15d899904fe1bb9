"""One question on its way through the engine, and everybody who waits for its ending."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from infergraph.calls.asks import Ask, Outcome, Policy, Scope, Spent
from infergraph.calls.budget import Budget
from infergraph.calls.cancel import CancelToken
from infergraph.calls.ledger import Ledger
from infergraph.calls.lengths import Asker
from infergraph.models.model import Message, Request, Response, Tokens
from infergraph.models.verdict import Rejected, Repair
from infergraph.store.rows import StoredAnswer

_UNKNOWN_ROOM = 1024
_MOST_ROOM = 131_072


Notify = Callable[[str], None]
"""Takes a sentence for a person."""


@dataclass(slots=True, eq=False, kw_only=True)
class Batch:
    """What one ``submit`` handed in, filling up with outcomes."""

    asks: Sequence[Ask]
    model: str
    scope: Scope
    policy: Policy
    budget: Budget | None
    future: Future[list[Outcome]]
    outcomes: list[Outcome | None]
    left: int
    cancel: CancelToken | None = None
    ledger: Ledger | None = None
    usual_output: float | None = None
    """Mean output tokens of what earlier runs were answered, where a budget asks."""
    forget_cancel: Callable[[], None] | None = None
    notify: Notify | None = None
    """Takes sentences on why nothing comes."""

    def deliver(self, position: int, outcome: Outcome) -> bool:
        """Put one outcome in its place; says whether it was the last one."""
        self.outcomes[position] = outcome
        self.left -= 1
        return self.left == 0


Waiter = tuple[Batch, int]


@dataclass(slots=True, eq=False)
class Question:
    """One request hash that is being looked up, asked or written: there is never a second one of it in a process."""

    number: int
    hash: bytes
    owner: Batch
    position: int
    request: Request
    waiters: list[Waiter]
    lane: str = ""
    """The model's name whose lane it is in."""
    dropped: bool = False
    """Nobody waits for it any more."""
    settled: bool = False
    """Its ending is known, and on its way into the store."""
    judged_by: Ask | None = None
    """The ask whose judge saw the last response."""
    before: StoredAnswer | None = None
    """The ending that the store had, where it is not good enough."""
    claimed: bool = False
    """No other process asks it."""
    refused_by: set[str] = field(default_factory=set)
    """Models that will not answer it."""
    fallback: str = ""
    """The model that took over, once one did."""
    step: str = "direct"
    repairs: int = 0
    strikes: int = 0
    uncounted: int = 0
    """Failed tries while the model seemed to be out: the row's own once it turns out not to be."""
    throttled: int = 0
    timeouts: int = 0
    """Tries that were not answered in time."""
    unreachable: int = 0
    first_failed_at: float = 0.0
    attempts: int = 0
    tokens: Tokens = field(default_factory=Tokens)
    cost: int | None = 0
    seconds: float = 0.0

    def __lt__(self, other: Question) -> bool:
        return self.number < other.number

    @property
    def ask(self) -> Ask:
        """The ask that it was made for."""
        return self.owner.asks[self.position]

    @property
    def asker(self) -> Asker:
        """Who asks, as far as the length of answers goes."""
        return self.owner.scope.asset, self.owner.scope.operator

    @property
    def first_model(self) -> str:
        """The model that is to answer it: the batch's own, or the one that takes over remembered rejections."""
        retry_model = self.owner.policy.retry_model
        rejected = self.before is not None and self.before.state == "rejected"
        return retry_model if rejected and retry_model is not None else self.owner.model

    @property
    def via(self) -> str:
        """How its next or last attempt came about."""
        return f"fallback:{self.fallback}" if self.fallback else self.step

    @property
    def shared_messages(self) -> int:
        """How many messages of every attempt are the same for all rows of the operator."""
        return len(self.ask.request.prefix)

    def add_attempt(self, tokens: Tokens, cost: int | None, seconds: float) -> None:
        """Count one attempt."""
        self.attempts += 1
        self.tokens = self.tokens + tokens if self.attempts > 1 else tokens
        self.cost = None if cost is None or self.cost is None else self.cost + cost
        self.seconds += seconds

    def spent(self) -> Spent:
        """What the attempts of this run used."""
        return Spent(attempts=self.attempts, tokens=self.tokens, cost_nano_usd=self.cost, seconds=self.seconds)

    def all_attempts(self) -> int:
        """Attempts behind it, those of earlier runs included."""
        return self.attempts + (0 if self.before is None else self.before.attempts)

    def all_cost(self) -> int | None:
        """What those attempts cost together, in nano-dollars."""
        if self.before is None:
            return self.cost
        earlier = self.before.cost_nano_usd
        return None if earlier is None or self.cost is None else earlier + self.cost

    def start_over(self) -> None:
        """Another model is asked: what the last one got wrong is not its business."""
        self.request, self.step, self.repairs = self.ask.request, "direct", 0

    def repair(
        self, verdict: Repair, response: Response, usual_room: int | None, context_tokens: int | None
    ) -> Rejected | None:
        """Turn to the next request after a wrong answer; a ``Rejected`` when there is none left to make.

        Args:
            verdict: What is wrong with it.
            response: The wrong answer.
            usual_room: Output tokens that an answer gets where the request does not say.
            context_tokens: Tokens that input and output may have together, where known.
        """
        reason = _given_up(verdict)
        if self.repairs >= self.owner.policy.max_repairs or not self.request.messages:
            return reason
        if verdict.more_room:
            room = _more_room(self.request.max_output_tokens or usual_room, response, context_tokens)
            if room is None:
                return reason
            self.request, self.step = replace(self.request, max_output_tokens=room), "more_room"
        else:
            self.request, self.step = self._asked_again(verdict, response), "repair"
        self.repairs += 1
        return None

    def _asked_again(self, verdict: Repair, response: Response) -> Request:
        # Only the newest wrong answer is shown: each repair costs the same, and old mistakes are no examples.
        said = Message("assistant", response.text or "(no answer)")
        told = Message("user", verdict.message or "That is no valid answer. Answer again.")
        messages = (*self.ask.request.messages, said, told)
        # Scored choices would be scored the same again: the repair is generated.
        return replace(self.request, messages=messages, choices=None, shared_messages=self.shared_messages)


def _given_up(verdict: Repair) -> Rejected:
    if verdict.more_room:
        return Rejected("truncated", verdict.message or "The answer was cut off, and more room did not help.")
    return Rejected("invalid_output", verdict.message or "The answer was not valid.")


def _more_room(given: int | None, response: Response, context_tokens: int | None) -> int | None:
    """Twice the room, as far as the context goes; ``None`` when that is no more than there was."""
    had = max(given or 0, response.tokens.output) or _UNKNOWN_ROOM
    most = _MOST_ROOM if context_tokens is None else context_tokens - response.tokens.input
    room = min(2 * had, most)
    return room if room > had else None
