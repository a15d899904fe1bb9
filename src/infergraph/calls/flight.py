"""One attempt on its way, and who hears of what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from infergraph.calls.budget import Budget
from infergraph.calls.ledger import Ledger
from infergraph.calls.lengths import Asker
from infergraph.calls.question import Notify, Question
from infergraph.errors import InfergraphError
from infergraph.models.model import CallFailed, Request, Response
from infergraph.models.verdict import Rejected, Verdict
from infergraph.store import Attempt, RequestHasher
from infergraph.store.rows import AttemptOutcome

if TYPE_CHECKING:
    from infergraph.calls.lane import Lane


@dataclass(slots=True, eq=False)
class Flight:
    """One attempt on its way, as it was when it was sent."""

    question: Question
    request: Request
    via: str
    direct: bool
    budget: Budget | None
    ledger: Ledger | None
    started: float
    """On the monotonic clock."""
    started_at: float
    """Seconds since 1970."""
    tokens_in: int
    tokens_out: int
    reserved: int
    open_ended: bool = False
    """Money hangs on the length of its answer, and nothing bounds that."""
    keeps_output: bool = False
    """Its room for output is stated, and servers count that whole against their limits, whatever of it is used."""
    asker: Asker = (None, "")
    response: Response | None = None
    verdict: Verdict | None = None
    failure: CallFailed | None = None

    @property
    def beyond_expected(self) -> tuple[int, int]:
        """Input and output tokens that it used beyond the expected ones; negative: fewer."""
        if self.response is None:
            return 0, 0
        tokens = self.response.tokens
        more_out = tokens.output - self.tokens_out
        return tokens.input - self.tokens_in, max(0, more_out) if self.keeps_output else more_out

    def attempt(
        self,
        model: str,
        hasher: RequestHasher,
        outcome: AttemptOutcome,
        cost: int | None,
        said: str,
        status: int | None,
    ) -> Attempt:
        """What the store keeps of it, now that it is over.

        Args:
            model: The model's name, ``provider:model-id``.
            hasher: Hashes requests to it.
            outcome: What came of it.
            cost: In nano-dollars; ``None``: nobody knows.
            said: What went wrong, without secrets; empty: nothing.
            status: The HTTP status of a failure.
        """
        question, scope = self.question, self.question.owner.scope
        return Attempt(
            row_hash=question.hash,
            request_hash=question.hash if self.direct else hasher.hash(self.request),
            run_id=scope.run_id,
            asset=scope.asset,
            partition=scope.partition,
            operator=scope.operator,
            model=model,
            request=self.request,
            started_at=self.started_at,
            seconds=time.monotonic() - self.started,
            outcome=outcome,
            shared_messages=question.shared_messages,
            status=status,
            message=said,
            via=self.via,
            response=self.response,
            cost_nano_usd=cost,
        )


class Reports(Protocol):
    """Who a lane tells what came of its questions."""

    def answered(self, lane: Lane, question: Question, attempt: Attempt, verdict: Verdict) -> None:
        """A response came back and was judged."""
        ...

    def probed(self, attempt: Attempt) -> None:
        """An attempt was made that answers nobody's question."""
        ...

    def failed(self, question: Question, attempt: Attempt, rejected: Rejected | None, *, lasting: bool) -> None:
        """An attempt brought nothing; with ``rejected`` the question ends, for good where ``lasting``."""
        ...

    def unaffordable(self, question: Question, *, everybody: bool) -> None:
        """The budget ended before the question could be asked; ``everybody``: that of the whole deployment."""
        ...

    def stopped(self, lane: Lane, error: InfergraphError) -> None:
        """No question of this lane can be asked now."""
        ...

    def broke(self, question: Question, error: BaseException) -> None:
        """Code that is not the engine's failed: a bug of a provider or a judge."""
        ...

    def told(self, questions: Iterable[Question], message: str, already: AbstractSet[Notify]) -> set[Notify]:
        """There is something to say to whoever waits for these questions and was not told; gives who was told now."""
        ...

    def safely(self, step: Callable[..., None], *arguments: object) -> None:
        """Run one step of a lane; a bug in it must leave nobody waiting."""
        ...
