"""Everything that goes to one model: who is next, what may go now, and what a failure means.

Questions wait here without a task of their own, oldest first, so that a million of them cost little and a
retry goes before younger questions. All of it runs on the engine's event loop.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from infergraph.calls.budget import Grant
from infergraph.calls.canary import Canary
from infergraph.calls.coordinator import Coordinator
from infergraph.calls.flight import Flight, Reports
from infergraph.calls.gate import Gate
from infergraph.calls.health import Health, backoff_s
from infergraph.calls.lengths import Lengths, length_of
from infergraph.calls.notices import TELL_AFTER_S, TELL_EVERY_S, model_is_silent, never_fits, waits_for_minutes
from infergraph.calls.purse import Purse
from infergraph.calls.question import Notify, Question
from infergraph.calls.warming import Warming
from infergraph.errors import InfergraphError, ProviderDown, ProviderRefused
from infergraph.models.model import NANO, CallFailed, Model, Provider, Request, Tokens
from infergraph.models.prices import cost_nano_usd
from infergraph.models.redact import Secret, redact, redact_error
from infergraph.models.verdict import Accepted, Rejected, Repair, Verdict
from infergraph.store import Attempt, RequestHasher
from infergraph.store.coordination import Beat
from infergraph.store.leases import SlotWish
from infergraph.store.rows import AttemptOutcome

_UNREACHABLE_TRIES = 3
_TOO_MANY = 429
_SLOW_DOWN = (_TOO_MANY, 529)
_NOT_ALLOWED = 403
_NOT_ALLOWED_OR_FOUND = (_NOT_ALLOWED, 404)
# Fewer may be a server that is just starting.
_NO_ANSWERS = 10
# Being told to slow down is not a row's fault; only a row that nothing else explains is given up.
_THROTTLED = 10
_EXPECTED_OUTPUT = 256
_PATIENCE_WITH_FALLBACK_S = 30.0
_CHARS_PER_TOKEN = 4
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
        self._purse = purse
        self._warming = Warming(model)
        self._health = Health()
        self._hasher = RequestHasher(model)
        self._first_backoff_s = first_backoff_s
        self._queue: list[Question] = []
        self._sleeping: dict[Question, asyncio.TimerHandle] = {}
        self._short_of_money: set[Question] = set()
        self._flights: dict[Question, asyncio.Task[None]] = {}
        self._opening: asyncio.Task[None] | None = None
        self._canary: tuple[Canary, asyncio.Task[None]] | None = None
        self._in_vain = 0
        """Canaries that found nobody there."""
        self._no_answers = 0
        """What came back one after another, before any answer, and was none."""
        self._told_of_limit: set[Notify] = set()
        self._told_of_outage: set[Notify] = set()
        self._tell_next = 0.0
        self._lengths = Lengths()

    @property
    def _key(self) -> Secret | None:
        return self.model.api_key if isinstance(self.model.api_key, Secret) else None

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in flight and nothing may be sent now."""
        return not self._flights and not self._queue

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
        for question in questions:
            question.lane = self.name
            heapq.heappush(self._queue, question)
        self._pump()

    def drop(self, question: Question) -> None:
        """Ask this question no more; an attempt in flight is given up."""
        self._short_of_money.discard(question)
        handle = self._sleeping.pop(question, None)
        if handle is not None:
            handle.cancel()
        task = self._flights.get(question)
        if task is not None:
            task.cancel()
        if self._canary is not None and self._canary[0].question is question:
            self._canary[1].cancel()

    def questions(self) -> list[Question]:
        """Every question that waits, sleeps or is in flight here, oldest first."""
        waiting = filter(self._is_ours, self._queue)
        all_of_them = [*waiting, *self._sleeping, *self._short_of_money, *filter(self._is_ours, self._flights)]
        return sorted(all_of_them)

    def hand_over(self) -> list[Question]:
        """Give every question away, oldest first; attempts in flight are given up."""
        leaving = self.questions()
        self._queue.clear()
        for question in leaving:
            self.drop(question)
            question.lane = ""
        return leaving

    def _is_ours(self, question: Question) -> bool:
        return question.lane == self.name and not (question.dropped or question.settled)

    def _pump(self) -> None:
        """Send what may go now, oldest first."""
        if self._opening is None:
            self._opening = self._loop.create_task(self._open())
            self._opening.add_done_callback(lambda task: self._reports.safely(self._has_opened, task))
        if not self._opening.done():
            return
        while self._queue:
            question = self._queue[0]
            if not self._is_ours(question) or question in self._flights:
                heapq.heappop(self._queue)  # gone elsewhere meanwhile, or queued twice
            elif not self._next_goes(question):
                return

    @property
    def quota(self) -> str:
        """What all processes call the limits of this model."""
        return self._gate.quota

    def slot_wish(self) -> SlotWish | None:
        """How many of the slots that all processes share are needed here; ``None``: they are not shared."""
        return self._gate.slot_wish(len(self._queue))

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
        tokens_in, tokens_out = self._expected(question)
        if self._limits.counts_tokens and not self._fits(question, tokens_in, tokens_out):
            return True
        open_ended = self._is_open_ended(question)
        if (open_ended and not self._lengths.may_go(question.asker)) or not self._warming.may_go(question):
            return False
        if not self._gate.opens((tokens_in, tokens_out), len(self._queue), self._next_sizes):
            return False
        if self._health.is_out:
            self._send_canary(question)
            return False
        heapq.heappop(self._queue)
        reserved = self._reserve(question, tokens_in)
        if reserved is not None:
            self._send(question, tokens_in, tokens_out, reserved, open_ended)
        return True

    def _fits(self, question: Question, tokens_in: int, tokens_out: int) -> bool:
        """Whether a minute of every limit has room for a request; one that has none for its input is an error."""
        beyond = self._limits.beyond(tokens_in, tokens_out)
        if beyond is None:
            return True
        operator = question.owner.scope.operator
        if beyond.never:
            heapq.heappop(self._queue)
            self._reports.broke(question, never_fits(self.name, self.model, operator, beyond))
        elif question.owner.notify not in self._told_of_limit:
            told = waits_for_minutes(self.name, self.model, operator, beyond)
            self._told_of_limit |= self._reports.told([question], told, self._told_of_limit)
        return not beyond.never

    def _next_sizes(self) -> list[tuple[int, int]]:
        return [self._expected(question) for question in heapq.nsmallest(_LOOK_AHEAD, self._queue)]

    def _expected(self, question: Question) -> tuple[int, int]:
        """Input and output tokens that the attempt may use; not counted where no limit or budget asks."""
        if not self._limits.counts_tokens and not self._pays(question):
            return 0, 0
        request = question.request
        chars = sum(len(message.content) for message in request.messages) + len(request.embed_text or "")
        chars += len(request.schema.text) if request.schema is not None else 0
        tokens_in = chars // _CHARS_PER_TOKEN + 1
        if images := request.images:
            tokens_in += sum(map(self.provider.capabilities.vision.tokens, images))
        if request.embed_text is not None:
            return tokens_in, 0
        mean = self._lengths.usual(question.asker)
        usual = _EXPECTED_OUTPUT if mean is None else int(mean) + 1
        return tokens_in, min(usual, self._most_output(request) or usual)

    def _most_output(self, request: Request) -> int | None:
        return 0 if request.embed_text is not None else request.max_output_tokens or self.model.max_output_tokens

    def _pays(self, question: Question) -> bool:
        """Whether a budget pays for it."""
        return question.owner.budget is not None or self._purse is not None

    def _is_open_ended(self, question: Question) -> bool:
        """Whether a budget pays for its answer, whose length nothing bounds."""
        if not self._pays(question) or self._most_output(question.request) is not None:
            return False
        if question.owner.usual_output is not None and question.owner.model == self.name:
            self._lengths.seed(question.asker, question.owner.usual_output)
        return bool(cost_nano_usd(self.model, Tokens(output=NANO)))

    def _reserve(self, question: Question, tokens_in: int) -> int | None:
        """Money for the longest answer that it may get, or for a usual one; ``None``: there is none."""
        if not self._pays(question):
            return 0
        tokens_out = self._most_output(question.request)
        if tokens_out is None:
            tokens_out = self._lengths.reserve(question.asker) or _EXPECTED_OUTPUT
        amount = cost_nano_usd(self.model, Tokens(input=tokens_in, output=tokens_out)) or 0
        budget, purse = question.owner.budget, self._purse
        if budget is not None and (grant := budget.reserve(amount)) != "granted":
            self._no_money(question, grant, budget.when_settled, everybody=False)
            return None
        if purse is not None and (grant := purse.reserve(amount)) != "granted":
            if budget is not None:
                budget.settle(amount, 0)
            self._no_money(question, grant, purse.when_changed, everybody=True)
            return None
        return amount

    def _no_money(
        self, question: Question, grant: Grant, when: Callable[[Callable[[], object]], None], *, everybody: bool
    ) -> None:
        if grant == "used_up":
            self._reports.unaffordable(question, everybody=everybody)
            return
        self._short_of_money.add(question)
        when(lambda: self._loop.call_soon(self._reports.safely, self._money_came, question))

    def _money_came(self, question: Question) -> None:
        if question in self._short_of_money:
            self._short_of_money.discard(question)
            self.push([question])

    def _send(self, question: Question, tokens_in: int, tokens_out: int, reserved: int, open_ended: bool) -> None:
        now = time.monotonic()
        if open_ended:
            self._lengths.enter(question.asker)
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
            keeps_output=self._most_output(question.request) is not None,
            asker=question.asker,
        )
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
            async with asyncio.timeout(self.model.timeout_s):
                flight.response = await self.provider.send(flight.request)
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
        cost = None if flight.response is None else self._cost(flight.response.tokens)
        self._settle(flight, cost, now)
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
        self._gate.one_left(len(self._queue))
        self._pump()

    def _settle(self, flight: Flight, cost: int | None, now: float) -> None:
        extra_in = extra_out = 0
        if flight.response is not None:
            tokens = flight.response.tokens
            extra_in, extra_out = tokens.input - flight.tokens_in, tokens.output - flight.tokens_out
            if length := length_of(flight.response):
                self._lengths.learn(flight.asker, length)
        if flight.open_ended:
            self._lengths.leave(flight.asker)
        if flight.response is None or not flight.keeps_output:
            self._limits.leave(extra_in, extra_out)
        else:
            self._limits.leave(extra_in, max(0, extra_out))
        self._warming.landed(flight.asker, flight.question, now, answered=flight.response is not None)
        # An answer that came without its cost has cost something: what was set aside for it is the best guess.
        spent = flight.reserved if cost is None and flight.response is not None else cost or 0
        if flight.budget is not None:
            flight.budget.settle(flight.reserved, spent)
        if self._purse is not None:
            self._purse.settle(flight.reserved, spent)

    def _cost(self, tokens: Tokens) -> int | None:
        """In nano-dollars; ``None``: no price, or a server that says of no answer how many tokens it had."""
        if not (tokens.input or tokens.output) and cost_nano_usd(self.model, Tokens(input=NANO, output=NANO)):
            return None
        return cost_nano_usd(self.model, tokens)

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
            self._wake_all()

    def _did_not(self, flight: Flight, failure: CallFailed, now: float) -> None:
        question = flight.question
        # A refused request costs nothing; one that was given up may have been answered and charged unseen.
        cost = None if failure.reason == "timeout" else 0
        outcome = failure.outcome
        if outcome == "fatal" and failure.status in _NOT_ALLOWED_OR_FOUND and self._health.turned_away(flight.started):
            outcome = "permanent"
        attempt = self._attempt(flight, outcome, cost, failure.message, failure.status)
        if not self._is_ours(question):
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
        worn_out = self._count(flight, failure)
        stop = self._hopeless(question, failure, attempt.message, now)
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
        patience = self._patience(question)
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
        if canary.unreachable and not self._health.ever_succeeded:
            self._in_vain += 1
        wrong_kind = self._is_of_another_kind(canary.no_answer, redact(canary.said, self._key))
        if self._in_vain >= _UNREACHABLE_TRIES:
            self._in_vain = 0
            self._reports.stopped(self, self._not_there(canary.said))
        elif canary.refused:
            self._reports.stopped(self, ProviderRefused(redact(canary.said, self._key)))
        elif wrong_kind is not None:
            self._reports.stopped(self, wrong_kind)
        elif canary.found_it_well:
            self._is_well(now)
            self._limits.recovered()
            self._wake_all()
        elif (down := self._health.down_s(now)) >= (patience := self._patience(canary.question)):
            self._reports.stopped(self, self._down(down, canary.said))
        else:
            for question in self.questions():
                # It was no fault of theirs: some were in flight when the outage began, and failed before it was seen.
                question.strikes, question.uncounted, question.first_failed_at = 0, 0, 0.0
            pause = backoff_s(self._limits.probe(), None, self._first_backoff_s)
            self._limits.pause(min(pause, max(0.01, patience - down)), now)
            self._tell_if_silent(canary.question, canary.said, now)
        self._pump()

    def _is_well(self, now: float) -> None:
        """The model answers: what failed while it seemed to be out was the rows' own."""
        if self._health.is_out:
            for question in self.questions():
                question.strikes, question.uncounted = question.strikes + question.uncounted, 0
        self._health.succeeded(now)
        self._told_of_outage.clear()

    def _is_of_another_kind(self, no_answer: bool, message: str) -> ProviderRefused | None:
        """The error of a server that never answers as a model does, once that has happened often enough in a row."""
        self._no_answers = self._no_answers + 1 if no_answer and not self._health.ever_succeeded else 0
        if self._no_answers < _NO_ANSWERS:
            return None
        times, self._no_answers = self._no_answers, 0
        return ProviderRefused(
            f"Model {self.name!r} ({self.model.name}) answered {times} times in a row with something that is no "
            f"answer of a model: is the base_url that of a server of this kind, and does it end as it should "
            f"(most OpenAI-compatible servers want '/v1')? {message}"
        )

    def _not_there(self, message: str) -> ProviderRefused:
        return ProviderRefused(f"Model {self.name!r} ({self.model.name}) cannot be reached: {message}")

    def _down(self, seconds: float, message: str) -> ProviderDown:
        return ProviderDown(
            f"Model {self.name!r} ({self.model.name}) has been down for {seconds:.0f} seconds: {message}"
        )

    def _stop(self, question: Question, attempt: Attempt, error: InfergraphError) -> None:
        self._reports.failed(question, attempt, None, lasting=False)
        heapq.heappush(self._queue, question)  # it goes where all others of this lane go
        self._reports.stopped(self, error)

    def _count(self, flight: Flight, failure: CallFailed) -> bool:
        """Count the failure against whoever caused it; says whether the question has used up its tries."""
        question, policy = flight.question, flight.question.owner.policy
        if failure.unreachable and not self._health.ever_succeeded:
            question.unreachable += 1
        elif failure.status in _SLOW_DOWN and self._health.last_success > flight.started:
            question.throttled += 1
        elif self._health.is_out:
            question.uncounted += 1
        else:
            question.strikes += 1
        return question.strikes >= policy.max_attempts or question.throttled >= _THROTTLED * policy.max_attempts

    def _hopeless(self, question: Question, failure: CallFailed, message: str, now: float) -> InfergraphError | None:
        """The error that stops the lane, where waiting longer makes no sense."""
        if question.unreachable >= _UNREACHABLE_TRIES:
            return self._not_there(message)
        if (wrong_kind := self._is_of_another_kind(failure.no_answer, message)) is not None:
            return wrong_kind
        patience, asked = self._patience(question), failure.retry_after_s
        if failure.status in _SLOW_DOWN and asked is not None and asked > patience:
            return ProviderDown(
                f"Model {self.name!r} ({self.model.name}) asks to wait {asked:.0f} seconds, and a run waits "
                f"{patience:g} at most: {message}"
            )
        down = self._health.down_s(now)
        if down >= patience and (self._health.is_out or not self._health.ever_succeeded):
            return self._down(down, message)
        return None

    def _patience(self, question: Question) -> float:
        asked = question.owner.policy.max_outage_s
        patience = self.model.max_outage_s if asked is None else asked
        return patience if self.model.fallback is None else min(patience, _PATIENCE_WITH_FALLBACK_S)

    def _sleep(self, question: Question, failure: CallFailed, now: float) -> None:
        tries = max(1, question.strikes, question.throttled, question.unreachable)
        delay = backoff_s(tries, failure.retry_after_s, self._first_backoff_s)
        # Not past the end of our patience: then somebody has to find out whether it is over.
        longest = max(0.01, self._patience(question) - self._health.down_s(now))
        if failure.status in _SLOW_DOWN:
            # An overloaded server (529) that names no pause takes fewer requests, but some all the same.
            pauses = failure.status == _TOO_MANY or failure.retry_after_s is not None
            self._gate.slow_down(min(delay, longest) if pauses else 0.0, now)
        if self._health.is_out or question.unreachable:
            # Nothing else needs to find out the same: one request at a time, at growing distances.
            pause = backoff_s(self._limits.probe(), None, self._first_backoff_s)
            self._limits.pause(min(pause, longest), now)
        handle = self._loop.call_later(min(delay, longest), self._reports.safely, self._wake, question)
        self._sleeping[question] = handle

    def _wake(self, question: Question) -> None:
        del self._sleeping[question]
        self.push([question])

    def _wake_all(self) -> None:
        sleeping, self._sleeping = self._sleeping, {}
        for handle in sleeping.values():
            handle.cancel()
        self.push(sleeping)

    def _attempt(
        self, flight: Flight, outcome: AttemptOutcome, cost: int | None, message: str, status: int | None = None
    ) -> Attempt:
        question = flight.question
        scope = question.owner.scope
        return Attempt(
            row_hash=question.hash,
            request_hash=question.hash if flight.direct else self._hasher.hash(flight.request),
            run_id=scope.run_id,
            asset=scope.asset,
            partition=scope.partition,
            operator=scope.operator,
            model=self.model.name,
            request=flight.request,
            started_at=flight.started_at,
            seconds=time.monotonic() - flight.started,
            outcome=outcome,
            shared_messages=question.shared_messages,
            status=status,
            message=redact(message, self._key) if message else "",
            via=flight.via,
            response=flight.response,
            cost_nano_usd=cost,
        )
