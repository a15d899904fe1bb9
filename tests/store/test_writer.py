"""The writer's promises: few commits, soon, and nobody is told before the commit that holds their entry."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import partial
from queue import Queue
from typing import Any

import pytest

from infergraph.errors import InfergraphError, InternalError, StoreError
from infergraph.store import Answer, Attempt, Store
from infergraph.store.writer import GROUP, Writer


class Sink:
    """Takes groups, and can be told to fail."""

    def __init__(self) -> None:
        self.groups: list[int] = []
        self.failure: Exception | None = None

    def __call__(self, attempts: Sequence[Attempt], answers: Sequence[Answer]) -> None:
        if self.failure is not None:
            raise self.failure
        self.groups.append(len(attempts) + len(answers))


def test_whoever_is_told_finds_the_answer_in_the_store(store: Store, make: Any) -> None:
    seen: list[bool] = []
    done = threading.Event()

    def look(number: int, failure: InfergraphError | None) -> None:
        seen.append(failure is None and make.row_hash(number) in store.answers([make.row_hash(number)]))
        if len(seen) == 600:
            done.set()

    for number in range(600):
        store.writer.put(None, make.answer(number), partial(look, number))
    assert done.wait(30)
    assert all(seen)


def test_many_entries_become_few_commits(make: Any) -> None:
    sink = Sink()
    writer = Writer(sink)
    for number in range(10 * GROUP):
        writer.put(make.attempt(number))
    writer.flush()
    assert sum(sink.groups) == 10 * GROUP
    assert len(sink.groups) <= 11


def test_a_lonely_entry_waits_a_tenth_of_a_second(make: Any) -> None:
    sink = Sink()
    writer = Writer(sink)
    told: Queue[InfergraphError | None] = Queue()
    waited: list[float] = []
    for _ in range(10):
        start = time.monotonic()
        writer.put(make.attempt(1), None, told.put)
        assert told.get(timeout=60) is None
        waited.append(time.monotonic() - start)
    assert sink.groups == [1] * 10
    assert min(waited) < 0.5  # the one of ten that a busy machine held up least


def test_hurry_commits_at_once(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infergraph.store.writer.LINGER_S", 60.0)
    sink = Sink()
    writer = Writer(sink)
    told = threading.Event()
    writer.put(make.attempt(1), None, lambda _: told.set())
    writer.hurry()
    assert told.wait(5)


def test_a_failed_commit_is_told_to_everybody_in_it_and_the_next_one_goes_on(make: Any) -> None:
    sink = Sink()
    sink.failure = StoreError("The disk is full.")
    writer = Writer(sink)
    told: list[InfergraphError | None] = []
    writer.put(make.attempt(1), None, told.append)
    writer.put(make.attempt(2), None, told.append)
    writer.flush()
    assert told == [sink.failure, sink.failure]
    sink.failure = None
    writer.put(make.attempt(3), None, told.append)
    writer.flush()
    assert told[2:] == [None]


def test_a_bug_in_a_commit_is_loud_and_leaves_nobody_waiting(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    loud: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", loud.append)
    sink = Sink()
    sink.failure = KeyError("a bug")
    writer = Writer(sink)
    told: list[InfergraphError | None] = []
    writer.put(make.attempt(1), None, told.append)
    writer.flush(timeout_s=10)
    assert isinstance(told[0], InternalError)
    sink.failure = None
    writer.put(make.attempt(2), None, told.append)
    writer.flush(timeout_s=10)
    assert told[1] is None
    assert [args.exc_type for args in loud] == [KeyError]


def test_closing_commits_what_is_queued_and_takes_nothing_more(make: Any) -> None:
    sink = Sink()
    writer = Writer(sink)
    writer.put(make.attempt(1))
    writer.close()
    assert sink.groups == [1]
    with pytest.raises(StoreError, match="closed"):
        writer.put(make.attempt(2))
