"""A question that nothing can be wrong with: asked when a model seems to be out, it tells that from rows that fail."""

from __future__ import annotations

import asyncio
import time

from infergraph.calls.question import Question
from infergraph.models.model import CallFailed, Message, Model, Provider, Request, Response, Tokens
from infergraph.models.prices import cost_nano_usd
from infergraph.models.redact import Secret, redact
from infergraph.store import Attempt, RequestHasher

_TEXT = "Say yes."
# Reasoning models take no less.
_ROOM = 16


class Canary:
    """One such request; what it brought is there after ``fly``.

    Args:
        model: The model that seems to be out.
        provider: What sends.
        question: Whose run pays for it.
        embeds: The model is asked for embeddings.
    """

    tokens_in = 8

    def __init__(self, model: Model, provider: Provider, question: Question, *, embeds: bool) -> None:
        self.question = question
        self._owner = question.owner
        self.said = ""
        """What went wrong."""
        self.found_it_well = False
        """The model answered, or refused this very question: either way it is there."""
        self.refused = False
        """No request of this model works: a wrong key, no such model."""
        self.no_answer = False
        """What came is no answer of a model."""
        self.unreachable = False
        """There is no such host, or nothing listens there."""
        self._model = model
        self._provider = provider
        chat = Request(messages=(Message("user", _TEXT),), max_output_tokens=_ROOM)
        self._request = Request(embed_text=_TEXT) if embeds else chat
        self._response: Response | None = None
        self._status: int | None = None

    def begin(self) -> None:
        """It is about to be sent."""
        self._started, self._started_at = time.monotonic(), time.time()
        if (ledger := self._owner.ledger) is not None:
            ledger.sent(first=False)

    async def fly(self) -> None:
        """Send it."""
        try:
            async with asyncio.timeout(None if self._provider.capabilities.minds_time else self._model.timeout_s):
                self._response = await self._provider.send(self._request)
                self.found_it_well = True
        except TimeoutError:
            self.said = f"{self._model.name} gave no answer within {self._model.timeout_s:g} seconds."
        except CallFailed as failure:
            self.said, self._status, self.unreachable = failure.message, failure.status, failure.unreachable
            self.found_it_well, self.refused = failure.outcome == "permanent", failure.outcome == "fatal"
            self.no_answer = failure.no_answer

    def attempt(self, hasher: RequestHasher, key: Secret | None) -> Attempt:
        """What the store keeps of it; it is also settled with whoever pays."""
        tokens = Tokens() if self._response is None else self._response.tokens
        cost = 0 if self._response is None else cost_nano_usd(self._model, tokens)
        owner, scope = self._owner, self._owner.scope
        if owner.ledger is not None:
            owner.ledger.landed(tokens, cost)
        if owner.budget is not None:
            owner.budget.settle(0, cost or 0)
        request_hash = hasher.hash(self._request)
        return Attempt(
            row_hash=request_hash,
            request_hash=request_hash,
            run_id=scope.run_id,
            asset=scope.asset,
            partition=scope.partition,
            operator=scope.operator,
            model=self._model.name,
            request=self._request,
            started_at=self._started_at,
            seconds=time.monotonic() - self._started,
            outcome="rejected" if self.found_it_well else "fatal" if self.refused else "transient",
            status=self._status,
            message=redact(self.said, key) if self.said else "Asked only to see whether the model is there.",
            via="probe",
            response=self._response,
            cost_nano_usd=cost,
        )
