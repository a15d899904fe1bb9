"""One attempt on its way, and who hears of what came of it."""

from __future__ import annotations

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
from infergraph.store import Attempt

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
