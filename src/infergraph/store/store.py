"""The store: every request that was sent, and the answer that each row's question ended with.

It is the centre of Infergraph: incremental runs, resuming after a crash, de-duplication, estimates and
traces are look-ups in it. Any number of threads and processes may use one store at once. What ``record``
returned from is on disk and survives ``kill -9``. It knows nothing of plans, operators or Dagster.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, get_args

from sqlalchemy import Connection, Engine

from infergraph.errors import PlanError, StoreError, StoreLost
from infergraph.models.redact import Secret
from infergraph.store import analytics, contents, expected, pruning, reading, recording
from infergraph.store.connect import explained, file_of, open_coordination, open_engine, resolve, shown, writing
from infergraph.store.coordination import Coordination
from infergraph.store.rows import (
    Answer,
    Attempt,
    EstimateRow,
    Learned,
    PastAttempt,
    SpentBy,
    SpentRow,
    StoredAnswer,
    StoredAttempt,
    UsageRow,
)
from infergraph.store.writer import Writer


class Store:
    """One store, opened with ``Store.open``; also a context manager.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, Store.open("sqlite:///state.db", root=Path(folder)) as store:
        ...     store.answers([bytes(16)])
        {}
    """

    def __init__(self, engine: Engine, where: str, *, keep_prompts: bool = True) -> None:
        self._keep_prompts = keep_prompts
        self._engine: Engine | None = engine
        self._coordination: Engine | None = None
        self._opening = threading.Lock()
        self._url = engine.url
        self._file = file_of(engine.url)
        self.where = where
        """The database's name for messages: a path, or an address without its password."""
        self.writer = Writer(self.record)
        """Commits in groups from one thread; see ``Writer.put``."""
        self._kept: Counter[tuple[str, str | None, str | None]] = Counter()
        _OPEN.add(self)

    @classmethod
    def open(cls, url: str | Secret, *, root: Path | None = None, keep_prompts: bool = True) -> Self:
        """Open a store, making or upgrading the database where needed.

        Args:
            url: ``sqlite:///relative/or/absolute.db`` or ``postgresql+psycopg://user@host/database``.
            root: Folder that a relative path starts from; ``None``: the current one.
            keep_prompts: Write down what was sent; ``False``: hashes and answers only.

        Returns:
            The open store.

        Raises:
            ConfigurationError: The address is of no known kind.
            MissingExtra: PostgreSQL without the extra ``postgres``.
            StoreError: The database cannot be opened, written or understood.
        """
        # A traceback that shows variables would show the password.
        secret, url = Secret.of(url), ""
        address = resolve(secret, root)
        return cls(open_engine(address), shown(address), keep_prompts=keep_prompts)

    def answers(self, hashes: Sequence[bytes], *, max_age_s: float | None = None) -> dict[bytes, StoredAnswer]:
        """The endings known for these row hashes, in one bulk look-up.

        Args:
            hashes: Row hashes, any number, repeats allowed.
            max_age_s: Leave out what is older than so many seconds; ``None``: any age.

        Returns:
            The known ones by hash; their order says nothing.
        """
        oldest = None if max_age_s is None else time.time() - max_age_s
        with explained(self.where), self._connect() as connection:
            return reading.answers(connection, hashes, oldest)

    def record(self, attempts: Sequence[Attempt], answers: Sequence[Answer]) -> None:
        """Write attempts and answers in one transaction; when it returns they are durable.

        Args:
            attempts: Attempts that did not end their row's question.
            answers: Endings; each one's own ``attempt`` is written with it. An ending known before is replaced.

        Raises:
            StoreError: Nothing of it was written.
        """
        with explained(self.where), writing(self._open_engine()) as connection:
            recording.record(connection, attempts, answers, keep_prompts=self._keep_prompts)
        # SQLite goes on writing into a file that was deleted meanwhile, and all of it is lost.
        self._check_file()
        own = [answer.attempt for answer in answers if isinstance(answer.attempt, Attempt)]
        self._kept.update((attempt.run_id, attempt.asset, attempt.partition) for attempt in own)

    def kept(self, run_id: str, asset: str | None = None, partition: str | None = None) -> int:
        """Answers that this process committed for a run, remembered rejections included; ``None``: of any asset."""
        wanted = (run_id, asset, partition)
        return sum(
            count
            for whose, count in self._kept.copy().items()
            if all(want in (None, has) for want, has in zip(wanted, whose, strict=True))
        )

    def spent_in(self, period: str) -> int:
        """What attempts that began in a day or month cost together, as far as it is known.

        Args:
            period: ``2026-11-22`` or ``2026-11``, in UTC.

        Returns:
            Nano-dollars.
        """
        with explained(self.where), self._connect() as connection:
            return reading.spent_in(connection, period)

    def coordination(self) -> Coordination:
        """This process's part in what the store's users tell each other; each call gives another part."""
        engine = self._open_engine()
        with self._opening:
            if self._coordination is None:
                self._coordination = open_coordination(self._url, engine)
            steady = time.monotonic if self._url.get_backend_name() == "sqlite" else None
            where = shown(self._coordination.url)
            return Coordination(self._coordination, where, self.spent_in, steady)

    def record_usage(self, rows: Iterable[UsageRow]) -> None:
        """Write what runs used; it is added to what the same run, asset, partition, operator and model used before."""
        with explained(self.where), writing(self._open_engine()) as connection:
            recording.record_usage(connection, rows)

    def usage(
        self, *, run_id: str | None = None, asset: str | None = None, partition: str | None = None, limit: int = 1000
    ) -> list[UsageRow]:
        """What runs used, newest first.

        Args:
            run_id: Only this run's.
            asset: Only this asset's.
            partition: Only this partition's.
            limit: At most so many rows.
        """
        with explained(self.where), self._connect() as connection:
            return reading.usage(connection, run_id, asset, partition, limit)

    def record_estimates(self, rows: Iterable[EstimateRow]) -> None:
        """Write what a run is expected to use, before it starts; see ``estimates``."""
        with explained(self.where), writing(self._open_engine()) as connection:
            expected.record_estimates(connection, rows)

    def estimates(
        self, *, run_id: str | None = None, asset: str | None = None, partition: str | None = None, limit: int = 1000
    ) -> list[EstimateRow]:
        """What runs were expected to use, newest first; ``usage`` has what they used, under the same keys.

        Args:
            run_id: Only this run's.
            asset: Only this asset's.
            partition: Only this partition's.
            limit: At most so many rows.
        """
        with explained(self.where), self._connect() as connection:
            return expected.estimates_of(connection, run_id, asset, partition, limit)

    def past_attempts(
        self, model: str, *, operator: str | None = None, asset: str | None = None, limit: int = 200
    ) -> list[PastAttempt]:
        """The latest attempts of a model that brought a response, oldest first.

        Args:
            model: ``provider:model-id``.
            operator: Only this operator's; ``None``: of those among the store's last 5,000 attempts.
            asset: Only this asset's.
            limit: At most so many.
        """
        with explained(self.where), self._connect() as connection:
            return expected.past_attempts(connection, model, operator, asset, limit)

    def spent(
        self, by: Sequence[SpentBy] = ("run_id",), *, run_id: str | None = None, since: float | None = None
    ) -> list[SpentRow]:
        """What was spent, from the attempts themselves: also by runs that failed, were killed or are going on.

        It reads every attempt of the store; ``usage`` is at once there, and knows of runs that ended.

        Args:
            by: What to group by: any of ``run_id``, ``asset``, ``partition``, ``operator``, ``model``; none: one sum.
            run_id: Only this run's.
            since: Only attempts sent at this moment or later, in seconds since 1970.

        Returns:
            One row a group that has attempts, in the groups' order.

        Raises:
            PlanError: An attempt has no such fact.

        Example:
            >>> import tempfile
            >>> with tempfile.TemporaryDirectory() as folder, Store.open("sqlite:///s.db", root=Path(folder)) as store:
            ...     store.spent(["model"])
            []
        """
        allowed = get_args(SpentBy)
        for name in by:
            if name not in allowed:
                raise PlanError(f"spent(by={name!r}): attempts are grouped by {', '.join(allowed)}.")
        with explained(self.where), self._connect() as connection:
            return reading.spent(connection, by, run_id, since)

    def attempt_sums(self, span: analytics.Span) -> list[analytics.AttemptSum]:
        """What was sent, added up by day, run, asset, partition, operator and model; see ``analytics``."""
        with explained(self.where), self._connect() as connection:
            return analytics.attempt_sums(connection, span)

    def latencies(
        self, by: Sequence[analytics.UsageBy], span: analytics.Span
    ) -> Iterator[tuple[tuple[Any, ...], analytics.Latencies]]:
        """How long the attempts of each group took, one group after the other; see ``analytics``."""
        with explained(self.where), self._connect() as connection:
            yield from analytics.latencies(connection, by, span)

    def questions(self, runs: Sequence[str], span: analytics.Span) -> list[analytics.Asked]:
        """How many rows' questions these runs asked, as far as their attempts tell."""
        with explained(self.where), self._connect() as connection:
            return analytics.questions(connection, runs, span)

    def usage_in(self, span: analytics.Span) -> list[tuple[Any, ...]]:
        """The usage of runs that ended, oldest first; values are those of ``analytics.USAGE_COLUMNS``."""
        with explained(self.where), self._connect() as connection:
            return analytics.usage_rows(connection, span)

    def contents(self) -> contents.Contents:
        """What lies in the store; reads all of it."""
        with explained(self.where), self._connect() as connection:
            return contents.contents(connection)

    def size(self) -> int:
        """Bytes that the database takes on the disk, the write-ahead log of a SQLite file left out."""
        with explained(self.where), self._connect() as connection:
            return contents.total_bytes(connection)

    @contextmanager
    def pruning(self) -> Iterator[pruning.Pruning]:
        """Removes old answers and attempts; see ``pruning``."""
        with explained(self.where), pruning.Pruning(self._open_engine()) as begun:
            yield begun

    def shrink(self) -> bool:
        """Give room that was freed back to the disk, unless other processes are asking something.

        Returns:
            Whether that was done; with PostgreSQL its own housekeeping does it.
        """
        if self._url.get_backend_name() != "sqlite":
            return False
        part = self.coordination()
        try:
            part.beat()
            part.claim(())
            # Writing the file anew takes long, and others would wait for the lock in vain.
            if not part.claim(()).alone:
                return False
            with explained(self.where):
                pruning.shrink(self._open_engine())
        finally:
            part.leave()
        return True

    def attempts_of(self, row_hash: bytes) -> list[StoredAttempt]:
        """Every attempt made for a row's question, in the order they were made, prompt and response included."""
        with explained(self.where), self._connect() as connection:
            return reading.attempts_of(connection, row_hash)

    def learned(self, model: str, *, operator: str | None = None, asset: str | None = None) -> Learned | None:
        """What answers of a model were like so far.

        Args:
            model: ``provider:model-id``.
            operator: Only this operator's.
            asset: Only this asset's.

        Returns:
            Means and how many answers they rest on; ``None``: no answer yet.
        """
        with explained(self.where), self._connect() as connection:
            return reading.learned(connection, model, operator, asset)

    def mean_output_tokens(self, model: str, operator: str | None = None) -> float | None:
        """Mean output tokens of a model's answers so far; ``None``: no answer yet."""
        known = self.learned(model, operator=operator)
        return None if known is None else known.output_tokens

    def close(self) -> None:
        """Commit what the writer still holds and give back the connections; a closed store stays closed."""
        self.writer.close()
        engines = (self._coordination, self._engine)
        self._engine = self._coordination = None
        for engine in engines:
            if engine is not None:
                engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Store({self.where!r})"

    def _open_engine(self) -> Engine:
        if self._engine is None:
            raise StoreError(f"The store {self.where} is closed. Open it again with Store.open or a new Session.")
        self._check_file()
        return self._engine

    def _check_file(self) -> None:
        if self._file is not None and file_of(self._url) != self._file:
            raise StoreLost(
                f"The store {self.where} was deleted or replaced while in use, so nothing more can be kept in it. "
                "Put the file back if there is a copy, then run again in a new Session: what is missing is asked again."
            )

    def _connect(self) -> Connection:
        return self._open_engine().connect()

    def _after_fork(self) -> None:
        self.writer = Writer(self.record)
        self._opening = threading.Lock()
        for engine in (self._engine, self._coordination):
            if engine is not None:
                _LEFT_TO_THE_PARENT.append(engine.pool)
                engine.dispose(close=False)


_OPEN: weakref.WeakSet[Store] = weakref.WeakSet()
# SQLite forbids using, and even closing, a connection in a child that was forked from its opener.
_LEFT_TO_THE_PARENT: list[object] = []


def _forget_connections() -> None:
    for store in list(_OPEN):
        store._after_fork()


def _close_all() -> None:
    for store in list(_OPEN):
        store.writer.close()


# What came back last is committed even where nobody closed the store.
atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_connections)
