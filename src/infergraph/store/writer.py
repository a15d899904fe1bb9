"""One thread per process that commits in groups: many small writes become few transactions.

A commit starts when a group is full, when its oldest entry has waited long enough, or when someone is
in a hurry. Nobody is told that an entry is safe before the commit that holds it has returned.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from infergraph.errors import InfergraphError, InternalError, StoreError
from infergraph.store.rows import Answer, Attempt

GROUP = 256
LINGER_S = 0.05
_MOST_IN_ONE_COMMIT = 4096

Notify = Callable[[InfergraphError | None], None]


@dataclass(frozen=True, slots=True)
class _Entry:
    attempt: Attempt | None
    answer: Answer | None
    notify: Notify | None


class Writer:
    """Collects writes and hands them in groups to ``record``; the thread starts with the first entry.

    Args:
        record: Writes attempts and answers in one transaction; raises ``StoreError``.
    """

    def __init__(self, record: Callable[[Sequence[Attempt], Sequence[Answer]], None]) -> None:
        self._record = record
        self._entries: list[_Entry] = []
        self._oldest = 0.0
        self._hurry = False
        self._writing = False
        self._closed = False
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()

    def put(self, attempt: Attempt | None, answer: Answer | None = None, notify: Notify | None = None) -> None:
        """Queue one attempt, or an answer with its own attempt; returns at once.

        Args:
            attempt: An attempt that did not end its row's question.
            answer: An ending; its own attempt is written with it.
            notify: Called on the writer's thread after the commit, with ``None`` or what went wrong; must be quick.

        Raises:
            StoreError: The store is closed.
        """
        with self._changed:
            if self._closed:
                raise StoreError("The store is closed: nothing more can be written to it.")
            if not self._entries:
                self._oldest = time.monotonic()
            self._entries.append(_Entry(attempt, answer, notify))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="infergraph-writer", daemon=True)
                self._thread.start()
            elif len(self._entries) in (1, GROUP):
                self._changed.notify_all()

    def hurry(self) -> None:
        """Commit what is queued now: nothing more is on its way."""
        with self._changed:
            if self._entries and not self._hurry:
                self._hurry = True
                self._changed.notify_all()

    def flush(self, timeout_s: float = 60.0) -> None:
        """Wait until everything queued so far is committed, or has failed and said so.

        Raises:
            StoreError: It takes longer than ``timeout_s`` seconds.
        """
        with self._changed:
            self._hurry = bool(self._entries)
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: not self._entries and not self._writing, timeout_s):
                raise StoreError(f"The store did not finish writing within {timeout_s:g} seconds.")

    def close(self) -> None:
        """Commit what is queued and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=60.0)

    def _work(self) -> None:
        while group := self._next_group():
            failure: InfergraphError | None = InternalError("The store's writer failed: see the traceback above.")
            try:
                failure = self._commit(group)
            finally:
                # Also when a bug ends this thread: whoever waits must hear of it, and the next entry starts a new one.
                self._report(group, failure)

    def _report(self, group: Sequence[_Entry], failure: InfergraphError | None) -> None:
        for entry in group:
            if entry.notify is not None:
                entry.notify(failure)
        with self._changed:
            self._writing = False
            if isinstance(failure, InternalError):
                self._thread = None
            self._changed.notify_all()

    def _next_group(self) -> list[_Entry]:
        with self._changed:
            while not self._due():
                # With nothing queued it sleeps until somebody puts something in.
                wait = self._oldest + LINGER_S - time.monotonic() if self._entries else None
                self._changed.wait(wait)
            group, self._entries = self._entries[:_MOST_IN_ONE_COMMIT], self._entries[_MOST_IN_ONE_COMMIT:]
            self._hurry = self._hurry and bool(self._entries)
            self._writing = bool(group)
            return group

    def _due(self) -> bool:
        if self._closed:
            return True
        if not self._entries:
            return False
        return self._hurry or len(self._entries) >= GROUP or time.monotonic() >= self._oldest + LINGER_S

    def _commit(self, group: Sequence[_Entry]) -> StoreError | None:
        try:
            self._record(
                [entry.attempt for entry in group if entry.attempt is not None],
                [entry.answer for entry in group if entry.answer is not None],
            )
        except StoreError as failure:
            return failure
        return None
