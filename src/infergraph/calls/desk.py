"""Keeps the questions of one process apart and together: looks them up, has them asked, hands out their endings.

All of it runs on the engine's event loop, except the look-ups, which have a thread of their own. No ending is
handed out before the store has committed it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial

from infergraph.calls.asks import Outcome, Spent
from infergraph.calls.budget import Spending
from infergraph.calls.coordinator import Coordinator
from infergraph.calls.ending import Ending, accepted_after_all
from infergraph.calls.lane import Lane
from infergraph.calls.look_ups import Found, LookUps, ProviderOf
from infergraph.calls.purse import Purse
from infergraph.calls.question import Batch, Notify, Question
from infergraph.errors import ConfigurationError, InfergraphError, InternalError, RunCancelled
from infergraph.models.model import Model, Response, Tokens
from infergraph.models.redact import redact_error
from infergraph.models.verdict import Accepted, Rejected, Repair, Verdict
from infergraph.store import Attempt, Store, StoredAnswer

_LOOK_UP_AT_ONCE = 2000
_AWAY_S = 60.0
_CLOSING_S = 5.0
_HELD_S = 0.25
_NO_TOKENS = Tokens()


class Desk:
    """One desk an event loop, used on it only.

    Args:
        models: The deployment's models by name.
        store: Where answers are looked up and written.
        provider_of: Makes or finds the provider of a model's name; called on a look-up thread first.
        first_backoff_s: Seconds to wait after a first failure, before jitter.
        loop: The event loop that it is used on.
        spending: The budgets of the whole deployment.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        store: Store,
        provider_of: ProviderOf,
        first_backoff_s: float,
        loop: asyncio.AbstractEventLoop,
        spending: Spending,
    ) -> None:
        self._models = models
        self._store = store
        self._provider_of = provider_of
        self._first_backoff_s = first_backoff_s
        self._loop = loop
        self._questions: dict[bytes, Question] = {}
        self._batches: set[Batch] = set()
        self._lanes: dict[str, Lane] = {}
        self._numbers = itertools.count()
        self._committed: deque[tuple[Question, Ending, InfergraphError | None]] = deque()
        self._draining = False
        self._drain_lock = threading.Lock()
        self._coordinator = Coordinator(
            store,
            loop,
            lanes=self._lanes.values,
            is_busy=lambda: bool(self._questions),
            buried=self._claim_again,
            lost=self._leases_lost,
            safely=self.safely,
            failed=lambda error: self.fail_all(redact_error(error)),
        )
        self._purse: Purse | None = None
        if spending.is_bound:
            self._purse = Purse(spending.per_day, spending.per_month, self._coordinator, store, loop)
        self._look_ups = LookUps(
            store, models, provider_of, self._coordinator, loop, self.safely, pays=spending.is_bound
        )
        self._held: list[Question] = []
        """What another process is asking."""
        self._asking_again: asyncio.TimerHandle | None = None

    def begin(self, batch: Batch) -> None:
        """Take in a batch."""
        self._batches.add(batch)
        self._coordinator.wake(self._look_ups.thread)
        if batch.cancel is not None and batch.cancel.cancelled:
            self.stop(batch)
            return
        self._take_in(batch, range(len(batch.asks)))

    def fail(self, batch: Batch, error: BaseException) -> None:
        """End a batch with an error; what only it waited for is asked no more."""
        if batch not in self._batches:
            return
        self._end(batch)
        for ask in batch.asks:
            question = self._questions.get(ask.hash)
            if question is not None:
                self._leave(batch, question)
        self._store.writer.hurry()
        batch.future.set_exception(error)

    def stop(self, batch: Batch) -> None:
        """End a batch that was cancelled."""
        self.fail(batch, cancelled())

    def fail_all(self, error: BaseException) -> None:
        """End every batch with an error."""
        for batch in list(self._batches):
            self.fail(batch, error)

    async def close(self) -> None:
        """End everything and give back connections; waits some seconds at most."""
        self.fail_all(cancelled())
        tasks = [task for lane in self._lanes.values() for task in lane.tasks]
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSING_S)
        self._coordinator.close()
        self._look_ups.close()
        closing = [asyncio.ensure_future(lane.provider.close()) for lane in self._lanes.values()]
        if closing:
            await asyncio.wait(closing, timeout=_CLOSING_S)

    def in_flight(self, model: str) -> int:
        """Requests on their way to a model; from any thread."""
        lane = self._lanes.get(model)
        return 0 if lane is None else lane.in_flight

    def leave(self) -> None:
        """After ``close``, from any thread: give back what this process holds of what all share."""
        self._coordinator.leave()

    # -- what lanes report ------------------------------------------------------------------------------------

    def answered(self, lane: Lane, question: Question, attempt: Attempt, verdict: Verdict) -> None:
        """A response came back and was judged."""
        response = attempt.response
        assert response is not None
        question.add_attempt(response.tokens, attempt.cost_nano_usd, attempt.seconds)
        if isinstance(verdict, Repair) and question.lane != lane.name:
            self._store.writer.put(attempt)  # another model has taken over meanwhile
            return
        if isinstance(verdict, Repair):
            context = lane.provider.capabilities.context_tokens
            given_up = question.repair(verdict, response, lane.model.max_output_tokens, context)
            if given_up is None:
                self._store.writer.put(attempt)
                if not question.dropped:
                    lane.push([question])
                return
            verdict = given_up
        if isinstance(verdict, Rejected) and self._another_takes_over(lane, question, verdict):
            self._store.writer.put(attempt)
        else:
            self._conclude(question, attempt, verdict, lasting=True)

    def probed(self, attempt: Attempt) -> None:
        """An attempt was made that answers nobody's question."""
        self._store.writer.put(attempt)

    def failed(self, question: Question, attempt: Attempt, rejected: Rejected | None, *, lasting: bool) -> None:
        """An attempt brought nothing."""
        question.add_attempt(_NO_TOKENS, 0, attempt.seconds)
        if rejected is None or self._another_takes_over(self._lanes.get(question.lane), question, rejected):
            self._store.writer.put(attempt)
        else:
            self._conclude(question, attempt, rejected, lasting=lasting)

    def _another_takes_over(self, lane: Lane | None, question: Question, rejected: Rejected) -> bool:
        """A refusal is the model's own: where it has a fallback, that one is asked."""
        refused = rejected.reason in ("refused", "content_filtered")
        if not refused or lane is None or lane.model.fallback is None or question.settled:
            return False
        if question.lane == lane.name and not question.dropped:
            question.refused_by.add(lane.name)
            question.start_over()
            self._ask([question])
        return True

    def unaffordable(self, question: Question, *, everybody: bool) -> None:
        """The budget ended first: those who share it get nothing now, others go on asking."""
        budget = question.owner.budget
        others = [] if everybody else [waiter for waiter in question.waiters if waiter[0].budget is not budget]
        mine = [waiter for waiter in question.waiters if waiter not in others]
        spent = question.spent()
        if others:
            question.waiters = others
            question.owner, question.position = others[0]
            self._loop.call_soon(self.safely, self._ask, [question])
        else:
            self._forget(question)
        for batch, position in mine:
            self._deliver(batch, position, Outcome(hash=question.hash, source="pending", spent=spent))
            spent = Spent()

    def stopped(self, lane: Lane, error: InfergraphError) -> None:
        """No question of this lane can be asked now: its fallback takes over, or whoever waits gets the error."""
        questions = lane.questions()
        # Another name of the same model (another address) may share a question and fare better.
        batches = {
            batch for question in questions for batch, _ in question.waiters if batch.model == question.owner.model
        }
        if lane.model.fallback is not None:
            lane.away_until = time.monotonic() + _AWAY_S
            try:
                self._ask(lane.hand_over())
                return
            except ConfigurationError as misconfigured:
                error = misconfigured
        for batch in batches:
            self.fail(batch, error)
        self._ask(lane.hand_over())

    def broke(self, question: Question, error: BaseException) -> None:
        """Code that is not the engine's failed: whoever waits sees the error as it is."""
        for batch in {batch for batch, _ in question.waiters}:
            self.fail(batch, error)

    def told(self, questions: Iterable[Question], message: str, already: AbstractSet[Notify]) -> set[Notify]:
        """Say something to whoever waits for these questions and was not told; gives who was told now."""
        batches = {batch for question in questions for batch, _ in question.waiters}
        new = {batch.notify for batch in batches if batch.notify is not None and batch.notify not in already}
        for notify in new:
            notify(message)
        return new

    # -- looking up -------------------------------------------------------------------------------------------

    def _take_in(self, batch: Batch, positions: Iterable[int]) -> None:
        fresh: list[Question] = []
        for position in positions:
            ask = batch.asks[position]
            question = self._questions.get(ask.hash)
            if question is None:
                question = Question(next(self._numbers), ask.hash, batch, position, ask.request, [(batch, position)])
                self._questions[ask.hash] = question
                fresh.append(question)
            else:
                question.waiters.append((batch, position))
        for start in range(0, len(fresh), _LOOK_UP_AT_ONCE):
            self._start_look_up(batch, fresh[start : start + _LOOK_UP_AT_ONCE])

    def _start_look_up(self, batch: Batch, questions: Sequence[Question]) -> None:
        try:
            self._look_ups.start(batch, questions, partial(self._looked_up, batch, questions))
        except RuntimeError:  # the interpreter is ending, or the engine was closed: no thread starts any more
            self.stop(batch)

    def _looked_up(self, batch: Batch, questions: Sequence[Question], future: asyncio.Future[Found]) -> None:
        if future.cancelled() or (error := future.exception()) is not None:
            reason = cancelled() if future.cancelled() else error
            assert reason is not None
            reason = redact_error(reason)
            for waiting in {waiting for question in questions for waiting, _ in question.waiters}:
                self.fail(waiting, reason)
            return
        found, to_ask = future.result(), []
        for question, known, verdict in found.known:
            held = question.hash in found.held
            if found.claimed and not held:
                self._claimed(question)
            if question.owner is not batch:
                self._start_again(question)
            elif batch.policy.is_ended_by(known, verdict) or not held:
                if (left := self._settle(question, known, verdict)) is not None:
                    to_ask.append(left)
            elif not question.dropped:
                self._held.append(question)
        self._ask(to_ask)
        self._look_again_soon()

    def _look_again_soon(self) -> None:
        if self._held and self._asking_again is None:
            self._asking_again = self._loop.call_later(_HELD_S, self.safely, self._look_up_held)

    def _claimed(self, question: Question) -> None:
        if not question.dropped:
            question.claimed = True
        elif question.hash not in self._questions:  # else it is asked anew meanwhile, on the same claim
            self._look_ups.give_up(question.hash)

    def _look_up_held(self) -> None:
        """See whether the others have an answer by now, or have given up."""
        self._asking_again = None
        held, self._held = self._held, []
        batches: dict[Batch, list[Question]] = {}
        for question in held:
            if not question.dropped:
                batches.setdefault(question.owner, []).append(question)
        for batch, questions in batches.items():
            for start in range(0, len(questions), _LOOK_UP_AT_ONCE):
                self._start_look_up(batch, questions[start : start + _LOOK_UP_AT_ONCE])

    def _claim_again(self) -> None:
        """Others took this process for dead: what is not on its way yet is looked up and claimed as if it were new."""
        on_their_way: list[bytes] = []
        for question in list(self._questions.values()):
            lane = self._lanes.get(question.lane)
            if not question.claimed:
                continue
            if lane is not None and not question.settled and lane.take_back(question):
                question.claimed = False
                self._held.append(question)
            else:
                on_their_way.append(question.hash)
        self._look_ups.claim_again(on_their_way)
        self._look_again_soon()

    def _leases_lost(self) -> None:
        for lane in self._lanes.values():
            lane.lost()
        if self._purse is not None:
            self._purse.lost()

    def _start_again(self, question: Question) -> None:
        """Whoever had it looked up is gone: the others may judge differently, or want it fresh."""
        if not question.dropped:
            self._forget(question)
            for batch, position in question.waiters:
                self._take_in(batch, [position])

    def _settle(self, question: Question, known: StoredAnswer | None, verdict: Verdict | None) -> Question | None:
        """End a question with what the store knows, or give it back to be asked."""
        if question.dropped or known is None:
            return None if question.dropped else question
        if isinstance(verdict, Accepted):
            if known.state == "rejected":
                self._store.writer.put(None, accepted_after_all(known))
            self._finish(question, Ending.of_store(question, known, verdict))
            return None
        if question.owner.policy.is_ended_by(known, verdict):
            rejected = Rejected(known.reason or "invalid_output", known.message)
            self._finish(question, Ending.of_store(question, known, rejected))
            return None
        question.before = known
        if known.state == "rejected" or known.response is None:
            return question
        return self._go_on(question, known, known.response, verdict)

    def _go_on(
        self, question: Question, known: StoredAnswer, response: Response, verdict: Verdict | None
    ) -> Question | None:
        """A stored answer is no answer any more: repair it."""
        rejected = verdict if isinstance(verdict, Rejected) else None
        if isinstance(verdict, Repair):
            lane = self._lane(question.owner.model)
            context = lane.provider.capabilities.context_tokens
            rejected = question.repair(verdict, response, lane.model.max_output_tokens, context)
        if rejected is None:
            return question
        self._finish(question, Ending.of_store(question, known, rejected))
        return None

    # -- asking -----------------------------------------------------------------------------------------------

    def _ask(self, questions: Iterable[Question]) -> None:
        lanes: dict[str, list[Question]] = {}
        for question in questions:
            if not question.dropped:
                lanes.setdefault(self._route(question), []).append(question)
        for name, group in lanes.items():
            self._lane(name).push(group)

    def _route(self, question: Question) -> str:
        """The model that is asked: the question's first, or the first of its fallbacks that is not away."""
        name = question.first_model
        while (fallback := self._models[name].fallback) and (
            name in question.refused_by or self._lane(name).away_until > time.monotonic()
        ):
            name = fallback
        took_over = name if name != question.owner.model else ""
        if took_over != question.fallback:
            question.fallback = took_over
            question.strikes = question.uncounted = question.throttled = question.unreachable = 0
            question.timeouts, question.first_failed_at = 0, 0.0
        return name

    def _lane(self, name: str) -> Lane:
        lane = self._lanes.get(name)
        if lane is None:
            provider = self._provider_of(name)
            lane = self._lanes[name] = Lane(
                name, self._models[name], provider, self, self._first_backoff_s, self._coordinator, self._purse
            )
        return lane

    # -- ending -----------------------------------------------------------------------------------------------

    def _conclude(self, question: Question, attempt: Attempt, verdict: Accepted | Rejected, *, lasting: bool) -> None:
        """Write an ending with the attempt that brought it, and tell it once it is committed."""
        if question.settled:
            self._store.writer.put(attempt)
            return
        self._settle_lane(question)
        ending = Ending.of_attempt(question, attempt, verdict)
        notify = partial(self._on_commit, question, ending)
        if lasting:
            self._store.writer.put(None, ending.answer(question.hash, attempt), notify)
        else:
            self._store.writer.put(attempt, None, notify)
        if not self._look_ups.are_running and all(lane.is_idle for lane in self._lanes.values()):
            self._store.writer.hurry()

    def _settle_lane(self, question: Question) -> None:
        question.settled = True
        # An answer that came in while the question was being handed over to another model.
        lane = self._lanes.get(question.lane)
        if lane is not None:
            lane.drop(question)

    def _on_commit(self, question: Question, ending: Ending, failure: InfergraphError | None) -> None:
        """On the writer's thread: many endings of one commit wake the loop once."""
        with self._drain_lock:
            self._committed.append((question, ending, failure))
            if self._draining:
                return
            self._draining = True
        # The loop may have ended meanwhile: then nobody waits any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.safely, self._drain)

    def _drain(self) -> None:
        with self._drain_lock:
            committed, self._committed = self._committed, deque()
            self._draining = False
        for question, ending, failure in committed:
            if failure is None:
                self._finish(question, ending)
            else:
                self.broke(question, failure)

    def _finish(self, question: Question, ending: Ending) -> None:
        """Tell everybody who waits; those who see the response differently, or wanted it fresh, go on by themselves."""
        self._forget(question)
        again: dict[Batch, list[int]] = {}
        shared = False
        for batch, position in question.waiters:
            ask = batch.asks[position]
            verdict = ending.verdict if ask is ending.asked else ending.seen_by(ask, batch.policy)
            if verdict is None or isinstance(verdict, Repair):
                again.setdefault(batch, []).append(position)
                continue
            self._deliver(batch, position, ending.outcome(question.hash, verdict, shared=shared))
            shared = ending.source == "call"
        for batch, positions in again.items():
            self._take_in(batch, positions)

    def _deliver(self, batch: Batch, position: int, outcome: Outcome) -> None:
        if batch in self._batches and batch.deliver(position, outcome):
            self._end(batch)
            batch.future.set_result([each for each in batch.outcomes if each is not None])

    def _end(self, batch: Batch) -> None:
        self._batches.discard(batch)
        if batch.forget_cancel is not None:
            batch.forget_cancel()

    def _leave(self, batch: Batch, question: Question) -> None:
        question.waiters = [waiter for waiter in question.waiters if waiter[0] is not batch]
        if question.waiters:
            if question.owner is batch:
                question.owner, question.position = question.waiters[0]
            return
        self._forget(question)
        question.dropped = True
        lane = self._lanes.get(question.lane)
        if lane is not None:
            lane.drop(question)

    def _forget(self, question: Question) -> None:
        if self._questions.get(question.hash) is question:
            del self._questions[question.hash]
        if question.claimed:
            question.claimed = False
            self._look_ups.give_up(question.hash)

    def safely(self, step: Callable[..., None], *arguments: object) -> None:
        """Run one step; a bug of ours ends every batch at once and loudly, instead of leaving callers waiting."""
        went_well = False
        try:
            step(*arguments)
            went_well = True
        finally:
            if not went_well:
                self.fail_all(InternalError("Infergraph's call engine failed: see the traceback in the log."))


def cancelled() -> RunCancelled:
    """What everybody who waits for a stopped run gets."""
    return RunCancelled("The run was cancelled; every answer that came back is kept.")
