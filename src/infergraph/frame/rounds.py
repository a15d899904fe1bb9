"""One operator's rows whose requests are asked in rounds: driven through the call engine, and turned into columns.

The rows of a morsel go through their rounds together: the questions of a round are one look-up and one hand-over to the
engine. When all of them have ended, the generators come to their next questions on a thread of the run's own, as
rendering would hold up the engine's event loop. Morsels behind one another overlap through the window.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock

import polars as pl

from infergraph.calls.asks import Ask, Outcome
from infergraph.errors import RunCancelled
from infergraph.frame import plan as plans
from infergraph.frame.asking import (
    CONTENT,
    PROGRESS_EVERY_S,
    ROW_OBJECTS_BYTES,
    Account,
    Progress,
    Wiring,
    prompt_text,
    rejects_of,
    row_names,
)
from infergraph.frame.judging import RedactedJudge, shown
from infergraph.frame.lineage_rows import PART
from infergraph.frame.lockstep import Lockstep
from infergraph.frame.row_ids import ROW_ID
from infergraph.models.model import Model, Request
from infergraph.operators.rounds import Question, Reply, Room, RoundsOperator
from infergraph.records import usd
from infergraph.store.echoes import without_echoes
from infergraph.store.hashes import RequestHasher


class RoundsWorker:
    """The thread of a run that generators run on; started when it is first needed.

    Args:
        stopped: Whether the run is over.
    """

    def __init__(self, stopped: Callable[[], bool]) -> None:
        self.stopped = stopped
        self._lock = Lock()
        self._closed = False
        self._thread: ThreadPoolExecutor | None = None

    def start(self, step: Callable[[], None]) -> bool:
        """Have a step done after those that wait; false when the run is over and it will not be."""
        with self._lock:
            if self._closed:
                return False
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="infergraph-rounds")
            self._thread.submit(step)
            return True

    def close(self) -> None:
        """Wait for the step at work; those that wait are not done any more."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown(wait=True, cancel_futures=True)


@dataclass(slots=True, frozen=True)
class Answered:
    """How one question of a row ended."""

    place: int
    """The row's place in the morsel."""
    part: str
    about: Sequence[str]
    """Ids of other rows whose traces show it."""
    outcome: Outcome
    """Without the value, which its row has made something of."""
    request: Request | None
    """What was asked, where it was rejected."""


@dataclass(slots=True)
class RoundsMorsel:
    """Rows on their way through their rounds."""

    rows: pl.DataFrame
    """Without their content, which the generators have."""
    asks_nothing: Sequence[bool]
    """Rows without content."""
    bytes: int
    future: Future[Lockstep]
    """Done when all rows have ended; the lockstep has their values."""
    answered: list[Answered] = field(default_factory=list)
    asked: int = 0

    @property
    def size(self) -> int:
        """Bytes that it takes in memory while it waits."""
        return 2 * self.bytes + ROW_OBJECTS_BYTES * max(self.asked, self.rows.height)


class RoundsAsker:
    """Asks for one operator of one run.

    Args:
        step: The operator's node.
        operator: The operator.
        account: Its counts, shared by all askers of the operator.
        model: The model that is asked.
        wiring: What it is connected to.
        room: What fits into one request of the model.
        worker: Where generators run.
    """

    def __init__(
        self,
        step: plans.OperatorStep,
        operator: RoundsOperator,
        account: Account,
        model: Model,
        wiring: Wiring,
        *,
        room: Room,
        worker: RoundsWorker,
    ) -> None:
        self._name = step.name
        self._operator = operator
        self._account = account
        self._tally = account.tally
        self._hasher = RequestHasher(model)
        self._model_name = model.name
        self._wiring = wiring
        self._room = room
        self._worker = worker
        self._started = time.monotonic()
        self._reported = 0.0
        self._report(force=True)

    def ask(self, rows: pl.DataFrame) -> RoundsMorsel:
        """Have the rows go through their rounds; returns at once."""
        contents = rows[CONTENT].to_list()
        lockstep = Lockstep(
            self._operator, contents, self._room, name=self._name, stopped=lambda: self._worker.stopped()
        )
        asks_nothing = [content is None for content in contents]
        future: Future[Lockstep] = Future()
        future.set_running_or_notify_cancel()
        morsel = RoundsMorsel(rows.drop(CONTENT), asks_nothing, int(rows.estimated_size()), future)
        self._go_on(morsel, lockstep, lockstep.begin)
        return morsel

    # -- on any thread ---------------------------------------------------------------------------------------

    def _go_on(self, morsel: RoundsMorsel, lockstep: Lockstep, step: Callable[[], None]) -> None:
        """Have the generators take a step on their thread, and what they ask then asked."""

        def work() -> None:
            try:
                step()
                self._ask_round(morsel, lockstep)
            except BaseException as error:
                # Whatever it is, whoever waits for the morsel is to have it: nobody looks at this thread.
                lockstep.close()
                morsel.future.set_exception(error)

        if not self._worker.start(work):
            morsel.future.set_exception(RunCancelled("The run was cancelled; every answer that came back is kept."))

    # -- on the generators' thread ---------------------------------------------------------------------------

    def _ask_round(self, morsel: RoundsMorsel, lockstep: Lockstep) -> None:
        questions = [(place, one) for place, several in lockstep.questions.items() for one in several]
        if not questions:
            morsel.future.set_result(lockstep)
            return
        morsel.asked += len(questions)
        asks = [self._ask_of(question) for _, question in questions if not question.refused]
        self._report()

        def came_back(done: Future[list[Outcome]]) -> None:
            self._go_on(morsel, lockstep, lambda: self._take(morsel, lockstep, questions, done.result()))

        if not asks:
            self._go_on(morsel, lockstep, lambda: self._take(morsel, lockstep, questions, []))
            return
        self._wiring.submit(asks, self._account.ledger).add_done_callback(came_back)

    def _ask_of(self, question: Question) -> Ask:
        judge = (
            question.judge if self._wiring.redaction is None else RedactedJudge(question.judge, self._wiring.redaction)
        )
        return Ask(self._hasher.hash(question.request), question.request, judge)

    def _refused(self, question: Question) -> Outcome:
        return Outcome(
            hash=b"", source="rejected_before", rejected="bad_request", message=question.refused, model=self._model_name
        )

    def _take(
        self,
        morsel: RoundsMorsel,
        lockstep: Lockstep,
        questions: Sequence[tuple[int, Question]],
        outcomes: Sequence[Outcome],
    ) -> None:
        replies: dict[int, list[Reply]] = {}
        pending: set[int] = set()
        asked = iter(outcomes)
        for place, question in questions:
            outcome = self._refused(question) if question.refused else next(asked)
            if outcome.source == "pending":
                pending.add(place)
            value = shown(outcome.value, self._wiring.redaction)
            replies.setdefault(place, []).append(Reply(value=value, rejected=outcome.rejected, message=outcome.message))
            outcome.value = None
            request = question.request if outcome.rejected is not None else None
            morsel.answered.append(Answered(place, question.part, question.about, outcome, request))
        lockstep.reply({place: several for place, several in replies.items() if place not in pending})

    # -- on the thread that reads the rows -------------------------------------------------------------------

    def finish(self, morsel: RoundsMorsel, ended: Lockstep) -> pl.DataFrame:
        """The morsel's rows with the operator's columns; everything is counted."""
        asked = sorted(morsel.answered, key=lambda one: one.place)
        with_questions = {one.place for one in asked}
        without = [value for place, value in enumerate(ended.values) if place not in with_questions]
        unasked = sum(value is not None for value in without)
        self._account.count([*(one.outcome for one in asked), *([None] * len(without))], unasked=unasked)
        self._account.rows_done += morsel.rows.height
        self._write(morsel, asked)
        self._report()
        return morsel.rows.with_columns(self._operator.columns(ended.values))

    def _write(self, morsel: RoundsMorsel, asked: Sequence[Answered]) -> None:
        ids = morsel.rows[ROW_ID].to_list()
        told = [(row_id, one) for one in asked for row_id in _shown_with(one, ids[one.place])]
        if told:
            self._wiring.lineage.answered(
                pl.Series([row_id for row_id, _ in told], dtype=pl.String),
                self._tally.operator,
                [one.outcome for _, one in told],
                parts=[one.part for _, one in told],
            )
        rejected = [one for one in asked if one.outcome.rejected is not None]
        if rejected:
            listed = rejects_of(
                morsel.rows[[one.place for one in rejected]].select(row_names(self._wiring.keys)),
                self._tally.operator,
                [one.outcome for one in rejected],
                messages=[f"{one.part}: {self._told(one)}" for one in rejected],
                prompts=[prompt_text(one.request) if self._wiring.keep_prompts else None for one in rejected],
            )
            self._wiring.rejects.add(
                listed.with_columns(pl.Series(PART, [one.part for one in rejected], dtype=pl.String))
            )

    def _told(self, one: Answered) -> str:
        message, request = one.outcome.message, one.request
        return message if self._wiring.keep_prompts or request is None else without_echoes(message, request)

    def _report(self, *, force: bool = False) -> None:
        now, listener, total = time.monotonic(), self._wiring.report, self._wiring.rows_total
        done = total is not None and self._account.rows_done >= total
        if listener is None or not (force or done or now - self._reported >= PROGRESS_EVERY_S):
            return
        self._reported = now
        tally, ledger = self._tally, self._account.ledger
        listener(
            Progress(
                operator=tally.operator, rows=self._account.rows_done, rows_total=total, calls=ledger.asked,
                store_hits=tally.store_hits, rejected=tally.rejected, pending=tally.pending,
                cost_usd=usd(ledger.cost_nano_usd), seconds=now - self._started,
            )
        )  # fmt: skip


def _shown_with(one: Answered, row_id: str) -> Sequence[str]:
    """The rows whose traces show a question: those that it is about, and its own where it is among the rejects."""
    return one.about if one.about and one.outcome.rejected is None else (*one.about, row_id)
