"""The questions that wait for one model: in line, asleep after a failure, or short of money.

They wait without a task of their own, oldest first, so that a million of them cost little and a retry goes before
younger questions.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Container, Iterable

from infergraph.calls.question import Question


class Waiting:
    """One a lane, used on the event loop only.

    Args:
        lane: The deployment's name of the model.
        loop: The event loop.
        wake: Called when somebody has joined the line.
        safely: Runs a step that the event loop starts later.
    """

    def __init__(
        self, lane: str, loop: asyncio.AbstractEventLoop, wake: Callable[[], None], safely: Callable[..., None]
    ) -> None:
        self._lane = lane
        self._loop = loop
        self._wake = wake
        self._safely = safely
        self._line: list[Question] = []
        self._asleep: dict[Question, asyncio.TimerHandle] = {}
        self._short_of_money: set[Question] = set()

    def __len__(self) -> int:
        """How many are in line."""
        return len(self._line)

    def is_ours(self, question: Question) -> bool:
        """Whether a question is still to be asked here."""
        return question.lane == self._lane and not (question.dropped or question.settled)

    def questions(self) -> list[Question]:
        """Every question that waits, in any order."""
        return [*filter(self.is_ours, self._line), *self._asleep, *self._short_of_money]

    def push(self, questions: Iterable[Question]) -> None:
        """Let these questions join the line."""
        for question in questions:
            question.lane = self._lane
            self.add(question)
        self._wake()

    def add(self, question: Question) -> None:
        """Let a question of this lane join the line, and wake nobody."""
        heapq.heappush(self._line, question)

    def first(self, on_their_way: Container[Question]) -> Question | None:
        """The oldest in line, which stays there; ``None``: there is none."""
        while self._line:
            question = self._line[0]
            if self.is_ours(question) and question not in on_their_way:
                return question
            heapq.heappop(self._line)  # gone elsewhere meanwhile, or queued twice
        return None

    def take_first(self) -> None:
        """Take the first out of the line."""
        heapq.heappop(self._line)

    def next_ones(self, most: int) -> list[Question]:
        """The oldest in line."""
        return heapq.nsmallest(most, self._line)

    def sleep(self, question: Question, seconds: float) -> None:
        """Let a question join the line again after so long."""
        self._asleep[question] = self._loop.call_later(seconds, self._safely, self._wake_up, question)

    def wake_all(self) -> None:
        """Let all that sleep join the line now."""
        asleep, self._asleep = self._asleep, {}
        for handle in asleep.values():
            handle.cancel()
        self.push(asleep)

    def wait_for_money(self, question: Question, when: Callable[[Callable[[], object]], None]) -> None:
        """Let a question join the line again when there may be money for it."""
        self._short_of_money.add(question)
        when(lambda: self._loop.call_soon(self._safely, self._money_came, question))

    def drop(self, question: Question) -> None:
        """Let a question sleep, or wait for money, no more."""
        self._short_of_money.discard(question)
        handle = self._asleep.pop(question, None)
        if handle is not None:
            handle.cancel()

    def clear(self) -> None:
        """Let nobody stand in line."""
        self._line.clear()

    def _wake_up(self, question: Question) -> None:
        del self._asleep[question]
        self.push([question])

    def _money_came(self, question: Question) -> None:
        if question in self._short_of_money:
            self._short_of_money.discard(question)
            self.push([question])
