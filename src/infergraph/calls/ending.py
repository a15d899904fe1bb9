"""How a question ended, and what is made of that: an outcome for whoever asked, an answer for the store."""

from __future__ import annotations

from dataclasses import dataclass

from infergraph.calls.asks import Ask, Outcome, Policy, Source, Spent
from infergraph.calls.question import Question
from infergraph.models.model import Response
from infergraph.models.verdict import Accepted, Rejected, Verdict
from infergraph.store import Answer, Attempt, StoredAnswer

_NOTHING = Spent()


@dataclass(slots=True, eq=False, kw_only=True)
class Ending:
    """How a question ended, before it is told to anybody."""

    asked: Ask
    """The ask whose judge gave the verdict."""
    policy: Policy
    """How that one wanted to be asked."""
    verdict: Accepted | Rejected
    source: Source
    response: Response | None
    model: str
    via: str
    attempts: int
    cost: int | None
    spent: Spent = _NOTHING

    @classmethod
    def of_attempt(cls, question: Question, attempt: Attempt, verdict: Accepted | Rejected) -> Ending:
        """The ending that an attempt of this run brought."""
        return cls(
            asked=question.judged_by or question.ask,
            policy=question.owner.policy,
            verdict=verdict,
            source="call",
            response=attempt.response,
            model=attempt.model,
            via=attempt.via,
            attempts=question.all_attempts(),
            cost=question.all_cost(),
            spent=question.spent(),
        )

    @classmethod
    def of_store(cls, question: Question, known: StoredAnswer, verdict: Accepted | Rejected) -> Ending:
        """The ending that the store knew."""
        return cls(
            asked=question.ask,
            policy=question.owner.policy,
            verdict=verdict,
            source="store" if isinstance(verdict, Accepted) else "rejected_before",
            response=known.response,
            model=known.model,
            via=known.via,
            attempts=known.attempts,
            cost=known.cost_nano_usd,
        )

    def seen_by(self, ask: Ask, policy: Policy) -> Verdict | None:
        """What it is for another ask, which may judge differently; ``None``: that one wants a look-up of its own."""
        if self.source != "call" and policy != self.policy:
            return None
        return self.verdict if self.response is None or ask.judge == self.asked.judge else ask.judge(self.response)

    def outcome(self, row_hash: bytes, verdict: Accepted | Rejected, *, shared: bool) -> Outcome:
        """The outcome for one ask; only the first one that is told carries what it cost."""
        bought_now = self.source == "call" and not shared
        source: Source = "shared" if shared else self.source
        spent, saved = (self.spent, 0) if bought_now else (_NOTHING, self.cost)
        if isinstance(verdict, Accepted):
            return Outcome(
                hash=row_hash,
                source=source,
                value=verdict.value,
                attempts=self.attempts,
                model=self.model,
                via=self.via,
                spent=spent,
                saved_nano_usd=saved,
            )
        return Outcome(
            hash=row_hash,
            source=source,
            rejected=verdict.reason,
            message=_encodable(verdict.message),
            attempts=self.attempts,
            model=self.model,
            via=self.via,
            response_text="" if self.response is None else _encodable(self.response.text),
            spent=spent,
            saved_nano_usd=saved,
        )

    def answer(self, row_hash: bytes, attempt: Attempt) -> Answer:
        """What the store remembers."""
        rejected = self.verdict if isinstance(self.verdict, Rejected) else None
        return Answer(
            row_hash=row_hash,
            state="done" if rejected is None else "rejected",
            attempt=attempt,
            reason=None if rejected is None else rejected.reason,
            message="" if rejected is None else rejected.message,
            attempts=self.attempts,
            via=self.via,
            model=self.model,
            cost_nano_usd=self.cost,
        )


def _encodable(text: str) -> str:
    # Answers and errors are JSON, which can spell halves of characters; no column takes them.
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def accepted_after_all(known: StoredAnswer) -> Answer:
    """A rejection that the judge takes as an answer now: the same attempt, another ending."""
    return Answer(
        row_hash=known.row_hash,
        state="done",
        attempt=known.attempt_id,
        attempts=known.attempts,
        via=known.via,
        model=known.model,
        cost_nano_usd=known.cost_nano_usd,
        created_at=known.created_at,
    )
