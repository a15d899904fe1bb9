"""Everything that goes to one model: the oldest question goes when it may, and what came of it is reported.

Who is next is known to ``waiting.py``, when the next may go to ``gate.py``, what it may use to ``reservations.py``, and
what a failure means to ``patience.py``. All of it runs on the engine's event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress

from infergraph.calls.canary import Canary
from infergraph.calls.coordinator import Coordinator
from infergraph.calls.flight import Flight, Reports
from infergraph.calls.gate import Gate
from infergraph.calls.health import Health, backoff_s
from infergraph.calls.notices import TELL_AFTER_S, TELL_EVERY_S, model_is_silent, never_fits, waits_for_minutes
from infergraph.calls.patience import SLOW_DOWN, TOO_MANY, Patience
from infergraph.calls.purse import Purse
from infergraph.calls.question import Notify, Question
from infergraph.calls.reservations import Reservations
from infergraph.calls.waiting import Waiting
from infergraph.calls.warming import Warming
from infergraph.errors import InfergraphError, ProviderRefused
from infergraph.models.drawing import with_drawn_images
from infergraph.models.model import CallFailed, Model, Provider, Tokens
from infergraph.models.redact import Secret, redact, redact_error
from infergraph.models.verdict import Accepted, Rejected, Repair, Verdict
from infergraph.store import Attempt, RequestHasher
from infergraph.store.coordination import Beat
from infergraph.store.leases import SlotWish
from infergraph.store.rows import AttemptOutcome

_NOT_ALLOWED = 403
_NOT_ALLOWED_OR_FOUND = (_NOT_ALLOWED, 404)
_LOOK_AHEAD = 64


class Lane:
    """The way to one model of the deployment.

    Args:
        name: The deployment's name of the model.
        model: The model.
        provider: What sends.
        reports: Who is told what came of it.
        first_backoff_s: Seconds to wait after a first failure, before jitter.
        coordinator: Leases this process's part of the limits.
        purse: The deployment's money; ``None``: no bound.
    """

    def __init__(
        self,
        name: str,
        model: Model,
        provider: Provider,
        reports: Reports,
        first_backoff_s: float,
        coordinator: Coordinator,
        purse: Purse | None,
    ) -> None:
        self.name = name
        self.model = model
        self.provider = provider
        self.away_until = 0.0
        """Until then, on the monotonic clock, questions go to the fallback."""
        self._reports = reports
        self._loop = asyncio.get_running_loop()
        self._gate = Gate(model, provider, coordinator, self._loop, self._pump, reports.safely)
        self._limits = self._gate.limits
        self._reservations = Reservations(name, model, provider, purse)
        self._warming = Warming(model)
        self._health = Health()
        self._patience = Patience(name, model, self._health, provider.capabilities.tries_after_timeout)
        self._hasher = RequestHasher(model)
        self._first_backoff_s = first_backoff_s
        self._waiting = Waiting(name, self._loop, self._pump, reports.safely)
        self._flights: dict[Question, asyncio.Task[None]] = {}
        self._opening: asyncio.Task[None] | None = None
        self._canary: tuple[Canary, asyncio.Task[None]] | None = None
        self._told_of_limit: set[Notify] = set()
        self._told_of_outage: set[Notify] = set()
        self._tell_next = 0.0

    @property
    def _key(self) -> Secret | None:
        return self.model.api_key if isinstance(self.model.api_key, Secret) else None

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in flight and nothing may be sent now."""
        return not self._flights and not self._waiting

    @property
    def in_flight(self) -> int:
        """Attempts in flight."""
        return len(self._flights)

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """The attempts in flight."""
        return [*self._flights.values(), *([] if self._canary is None else [self._canary[1]])]

    def push(self, questions: Iterable[Question]) -> None:
        """Let these questions be asked, each when its turn comes."""
        self._waiting.push(questions)

    def drop(self, question: Question) -> None:
        """Ask this question no more; an attempt in flight is given up."""
        self._waiting.drop(question)
        task = self._flights.get(question)
        if task is not None:
            task.cancel()
        if self._canary is not None and self._canary[0].question is question:
            self._canary[1].cancel()

    def questions(self) -> list[Question]:
        """Every question that waits, sleeps or is in flight here, oldest first."""
        return sorted([*self._waiting.questions(), *filter(self._waiting.is_ours, self._flights)])

    def hand_over(self) -> list[Question]:
        """Give every question away, oldest first; attempts in flight are given up."""
        leaving = self.questions()
        self._waiting.clear()
        for question in leaving:
            self.drop(question)
            question.lane = ""
        return leaving

    def _pump(self) -> None:
        """Send what may go now, oldest first."""
        if self._opening is None:
            self._opening = self._loop.create_task(self._open())
            self._opening.add_done_callback(lambda task: self._reports.safely(self._has_opened, task))
        if not self._opening.done():
            return
        while (question := self._waiting.first(self._flights)) is not None:
            if not self._next_goes(question):
                return

    @property
    def quota(self) -> str:
        """What all processes call the limits of this model."""
        return self._gate.quota

    def slot_wish(self) -> SlotWish | None:
        """How many of the slots that all processes share are needed here; ``None``: they are not shared."""
        return self._gate.slot_wish(len(self._waiting))

    def lost(self) -> None:
        """What was leased of the limits is gone."""
        self._gate.lost()

    def take_back(self, question: Question) -> bool:
        """Ask a question no more that was not sent; false when it is on its way."""
        if question in self._flights:
            return False
        self.drop(question)
        question.lane = ""
        return True

    def heard(self, beat: Beat) -> None:
        """Take in what the other processes did."""
        self._gate.heard(beat)
        self._pump()

    def _next_goes(self, question: Question) -> bool:
        tokens_in, tokens_out = self._sizes(question)
        if self._limits.counts_tokens and not self._fits(question, tokens_in, tokens_out):
            return True
        open_ended = self._reservations.is_open_ended(question)
        if (open_ended and not self._reservations.may_go(question)) or not self._warming.may_go(question):
            return False
        if not self._gate.opens((tokens_in, tokens_out), len(self._waiting), self._next_sizes):
            return False
        if self._health.is_out:
            self._send_canary(question)
            return False
        self._waiting.take_first()
        reserved = self._reservations.reserve(question, tokens_in)
        if isinstance(reserved, int):
            self._send(question, tokens_in, tokens_out, reserved, open_ended)
        elif reserved.grant == "used_up":
            self._reports.unaffordable(question, everybody=reserved.everybody)
        else:
            self._waiting.wait_for_money(question, reserved.when_changed)
        return True

    def _fits(self, question: Question, tokens_in: int, tokens_out: int) -> bool:
        """Whether a minute of every limit has room for a request; one that has none for its input is an error."""
        beyond = self._limits.beyond(tokens_in, tokens_out)
        if beyond is None:
            return True
        operator = question.owner.scope.operator
        if beyond.never:
            self._waiting.take_first()
            self._reports.broke(question, never_fits(self.name, self.model, operator, beyond))
        elif question.owner.notify not in self._told_of_limit:
            told = waits_for_minutes(self.name, self.model, operator, beyond)
            self._told_of_limit |= self._reports.told([question], told, self._told_of_limit)
        return not beyond.never

    def _next_sizes(self) -> list[tuple[int, int]]:
        return [self._sizes(question) for question in self._waiting.next_ones(_LOOK_AHEAD)]

    def _sizes(self, question: Question) -> tuple[int, int]:
        return self._reservations.sizes(question, counted=self._limits.counts_tokens)

    def _send(self, question: Question, tokens_in: int, tokens_out: int, reserved: int, open_ended: bool) -> None:
        now = time.monotonic()
        self._limits.enter(tokens_in, tokens_out)
        self._warming.sent(question, now)
        flight = Flight(
            question=question,
            request=question.request,
            via=question.via,
            direct=question.request is question.ask.request and not question.fallback,
            budget=question.owner.budget,
            ledger=question.owner.ledger,
            started=now,
            started_at=time.time(),
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            reserved=reserved,
            open_ended=open_ended,
            keeps_output=self._reservations.most_output(question.request) is not None,
            asker=question.asker,
        )
        self._reservations.sent(flight)
        if flight.ledger is not None:
            flight.ledger.sent(first=not question.attempts)
        task = self._loop.create_task(self._fly(flight))
        self._flights[question] = task
        task.add_done_callback(lambda done: self._reports.safely(self._landed, flight, done))

    async def _open(self) -> None:
        # What goes wrong here goes wrong again with the first request, which says so.
        with suppress(CallFailed):
            await self.provider.open()

    def _has_opened(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (error := task.exception()) is None:
            self._pump()
            return
        self._opening = None
        for question in self.questions():
            self._reports.broke(question, redact_error(error, self._key))

    async def _fly(self, flight: Flight) -> None:
        try:
            async with asyncio.timeout(None if self.provider.capabilities.minds_time else self.model.timeout_s):
                flight.response = await self.provider.send(await with_drawn_images(flight.request))
        except TimeoutError:
            message = f"{self.model.name} gave no answer within {self.model.timeout_s:g} seconds."
            flight.failure = CallFailed(message, outcome="transient", reason="timeout")
        except CallFailed as failure:
            flight.failure = failure
        if flight.response is not None:
            flight.question.judged_by = flight.question.ask
            flight.verdict = flight.question.ask.judge(flight.response)

    def _landed(self, flight: Flight, task: asyncio.Task[None]) -> None:
        """Settle, then say what came of it; called once for each attempt, whatever happened to it."""
        question = flight.question
        now = time.monotonic()
        if self._flights.get(question) is task:
            del self._flights[question]
        cost = None if flight.response is None else self._reservations.cost(flight.response.tokens)
        self._limits.leave(*flight.beyond_expected)
        self._warming.landed(flight.asker, question, now, answered=flight.response is not None)
        self._reservations.settle(flight, cost)
        if task.cancelled():
            given_up = self._attempt(flight, "cancelled", None, "Given up: its run, or its model, was stopped.")
            self._reports.failed(question, given_up, None, lasting=False)
        elif (error := task.exception()) is not None:
            self._reports.failed(question, self._attempt(flight, "fatal", cost, repr(error)), None, lasting=False)
            self._reports.broke(question, redact_error(error, self._key))
        elif flight.verdict is not None:
            self._came_back(flight, flight.verdict, cost, now)
        elif flight.failure is not None:
            self._did_not(flight, flight.failure, now)
        if flight.ledger is not None:
            # Last, so that who waits until all have landed finds every answer on its way into the store.
            spent = Tokens() if flight.response is None else flight.response.tokens
            flight.ledger.landed(spent, 0 if flight.response is None else cost)
        self._gate.one_left(len(self._waiting))
        self._pump()

    def _came_back(self, flight: Flight, verdict: Verdict, cost: int | None, now: float) -> None:
        was_out = self._health.is_out
        self._is_well(now)
        self._limits.went_well(now - flight.started, now)
        if flight.response is not None:
            self._gate.learn(flight.response.headers, now)
        outcomes: dict[type, AttemptOutcome] = {Accepted: "done", Repair: "repair", Rejected: "rejected"}
        message = "" if isinstance(verdict, Accepted) else verdict.message
        attempt = self._attempt(flight, outcomes[type(verdict)], cost, message)
        self._reports.answered(self, flight.question, attempt, verdict)
        if was_out:
            self._waiting.wake_all()

    def _did_not(self, flight: Flight, failure: CallFailed, now: float) -> None:
        question = flight.question
        # A refused request costs nothing; one that was given up may have been answered and charged unseen.
        cost = None if failure.reason == "timeout" else 0
        outcome = failure.outcome
        if outcome == "fatal" and failure.status in _NOT_ALLOWED_OR_FOUND and self._health.turned_away(flight.started):
            outcome = "permanent"
        attempt = self._attempt(flight, outcome, cost, failure.message, failure.status)
        if not self._waiting.is_ours(question):
            self._reports.failed(question, attempt, None, lasting=False)
        elif outcome == "permanent":
            self._reports.failed(question, attempt, Rejected(failure.reason, attempt.message), lasting=True)
        elif outcome == "fatal" and failure.status == _NOT_ALLOWED and not self._health.ever_succeeded:
            # The key may not use the model, or a filter does not let this row pass: a canary tells which.
            self._health.failed(question.number, flight.started, now)
            self._health.suspect()
            self._reports.failed(question, attempt, None, lasting=False)
            self._sleep(question, failure, now)
        elif outcome == "fatal":
            self._stop(question, attempt, ProviderRefused(attempt.message))
        else:
            question.first_failed_at = question.first_failed_at or now
            self._health.failed(question.number, flight.started, now)
            self._try_later(flight, failure, attempt, now)

    def _try_later(self, flight: Flight, failure: CallFailed, attempt: Attempt, now: float) -> None:
        question = flight.question
        worn_out = self._patience.count(flight, failure)
        stop = self._patience.hopeless(question, failure, attempt.message, now)
        if stop is not None:
            self._stop(question, attempt, stop)
        elif worn_out and self._health.last_success <= question.first_failed_at:
            # The last few rows of a run cannot be told from an outage by counting.
            self._health.suspect()
            self._reports.failed(question, attempt, None, lasting=False)
            self._sleep(question, failure, now)
        elif worn_out:
            message = f"Given up after {question.attempts + 1} attempts; the last one: {attempt.message}"
            self._reports.failed(question, attempt, Rejected("timeout", message), lasting=False)
        else:
            self._reports.failed(question, attempt, None, lasting=False)
            self._sleep(question, failure, now)
        self._tell_if_silent(question, attempt.message, now)

    def _tell_if_silent(self, question: Question, said: str, now: float) -> None:
        """Once an outage, whoever waits hears of it."""
        down = self._health.down_s(now)
        if down < TELL_AFTER_S or now < self._tell_next:
            return
        self._tell_next = now + TELL_EVERY_S
        patience = self._patience.of(question)
        told = model_is_silent(self.name, self.model, down_s=down, patience_s=patience, said=said)
        self._told_of_outage |= self._reports.told(self.questions(), told, self._told_of_outage)

    def _send_canary(self, question: Question) -> None:
        """Find out whether the model is out, at the cost of whoever asks."""
        canary = Canary(self.model, self.provider, question, embeds=question.request.embed_text is not None)
        self._limits.enter(canary.tokens_in, canary.tokens_in)
        canary.begin()
        task = self._loop.create_task(canary.fly())
        self._canary = canary, task
        task.add_done_callback(lambda task: self._reports.safely(self._canary_back, canary, task))

    def _canary_back(self, canary: Canary, task: asyncio.Task[None]) -> None:
        now = time.monotonic()
        self._canary = None
        self._limits.leave(0, 0)
        self._reports.probed(canary.attempt(self._hasher, self._key))
        if task.cancelled():
            self._pump()
            return
        if (error := task.exception()) is not None:
            self._reports.broke(canary.question, redact_error(error, self._key))
            return
        said = redact(canary.said, self._key)
        stop = self._patience.hopeless_after(canary, said, now)
        if stop is not None:
            self._reports.stopped(self, stop)
        elif canary.found_it_well:
            self._is_well(now)
            self._limits.recovered()
            self._waiting.wake_all()
        else:
            self._patience.start_over(self.questions())
            pause = backoff_s(self._limits.probe(), None, self._first_backoff_s)
            self._limits.pause(min(pause, self._patience.left_s(canary.question, now)), now)
            self._tell_if_silent(canary.question, said, now)
        self._pump()

    def _is_well(self, now: float) -> None:
        if self._health.is_out:
            self._patience.charge(self.questions())
        self._health.succeeded(now)
        self._told_of_outage.clear()

    def _stop(self, question: Question, attempt: Attempt, error: InfergraphError) -> None:
        self._reports.failed(question, attempt, None, lasting=False)
        self._waiting.add(question)  # it goes where all others of this lane go
        self._reports.stopped(self, error)

    def _sleep(self, question: Question, failure: CallFailed, now: float) -> None:
        tries = max(1, question.strikes, question.throttled, question.unreachable)
        delay = backoff_s(tries, failure.retry_after_s, self._first_backoff_s)
        # Not past the end of our patience: then somebody has to find out whether it is over.
        longest = self._patience.left_s(question, now)
        if failure.status in SLOW_DOWN:
            # An overloaded server (529) that names no pause takes fewer requests, but some all the same.
            pauses = failure.status == TOO_MANY or failure.retry_after_s is not None
            self._gate.slow_down(min(delay, longest) if pauses else 0.0, now)
        if self._health.is_out or question.unreachable:
            # Nothing else needs to find out the same: one request at a time, at growing distances.
            pause = backoff_s(self._limits.probe(), None, self._first_backoff_s)
            self._limits.pause(min(pause, longest), now)
        self._waiting.sleep(question, min(delay, longest))

    def _attempt(
        self, flight: Flight, outcome: AttemptOutcome, cost: int | None, message: str, status: int | None = None
    ) -> Attempt:
        said = redact(message, self._key) if message else ""
        return flight.attempt(self.model.name, self._hasher, outcome, cost, said, status)
