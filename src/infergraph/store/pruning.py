"""How old attempts and answers leave a store without anything that is still needed.

An answer leaves in two steps. First it is *set aside*: no look-up finds it any more, so a run that begins now asks
anew. Only when every run that may have found it before has ended, and what these runs published is known not to refer
to it, it is *removed*, with its attempts; if they do refer to it, it is put back. What the removed attempts used stays
as sums (``analytics``); usage rows stay as they are. Each step is a series of short transactions, so that others go on
writing meanwhile, and may be stopped at any moment: the next pruning goes on there.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any, Self

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Engine,
    LargeBinary,
    MetaData,
    Table,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    select,
    true,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from infergraph.store import analytics
from infergraph.store.contents import reusable_bytes, total_bytes
from infergraph.store.tables import answers, attempts, prefixes, removed_attempts, set_aside

_ROWS_AT_ONCE = 2_000
_HASHES_AT_ONCE = 10_000
_WORK_S, _REST_S = 0.25, 0.12
_HOUR_S = 3_600
# What a row takes beside its prompt and response: the other columns, the index, the answer.
_ROW_BYTES = 300

_temporary = MetaData()
_keep = Table("kept_hashes", _temporary, Column("hash", LargeBinary, primary_key=True), prefixes=["TEMPORARY"])
_doomed = Table(
    "doomed_attempts",
    _temporary,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    prefixes=["TEMPORARY"],
)
# Any number that other users of the same PostgreSQL server are unlikely to lock; not those of the other modules.
_POSTGRES_LOCK = 4_815_162_344


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What a pruning did, or would do.

    Args:
        cutoff: What is older (seconds since 1970) was to leave.
        answers: Answers removed.
        attempts: Attempts removed.
        kept: Answers older than the cutoff that stay since something refers to them.
        waiting: Answers that are set aside and wait until runs that may refer to them have ended.
        payload_bytes: Bytes of the prompts and responses that were removed.
    """

    cutoff: float
    answers: int
    attempts: int
    kept: int
    waiting: int
    payload_bytes: int


class Pruning:
    """One pruning, on a connection of its own; a context manager.

    Args:
        engine: The store's.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._worked_s = 0.0

    def __enter__(self) -> Self:
        self._connection = self._engine.connect()
        _temporary.create_all(self._connection)
        self._connection.commit()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.rollback()
        try:
            _temporary.drop_all(self._connection)
            self._connection.commit()
        finally:
            self._connection.close()

    def keep(self, hashes: Iterable[bytes]) -> None:
        """Answers to these row hashes stay, beside those that were named before."""
        adding = _ignoring(self._connection, _keep)
        left = iter(hashes)
        while part := list(islice(left, _HASHES_AT_ONCE)):
            self._connection.execute(adding, [{"hash": each} for each in part])
            self._connection.commit()

    def cutoff_for_size(self, max_bytes: int, youngest: float) -> float:
        """How old things may be so that the database takes at most so many bytes.

        Args:
            max_bytes: Bytes on disk, 0 or more.
            youngest: Nothing that is younger (seconds since 1970) leaves, whatever the size.

        Returns:
            Seconds since 1970, at a full hour; 0: everything may stay.
        """
        with self._reading() as connection:
            there = total_bytes(connection) - reusable_bytes(connection)
            payload = int(connection.scalar(select(_payload_size())) or 0)
            if there <= max_bytes or not payload:
                return 0.0
            # Pages and indexes shrink with what they hold.
            to_free = (there - max_bytes) * payload / there
            hour = analytics.whole(connection, attempts.c.started_at, _HOUR_S).label("hour")
            leaving = select(hour, _payload_size()).where(_not_kept(attempts.c.row_hash))
            leaving = leaving.where(attempts.c.started_at < youngest).group_by(hour).order_by(hour)
            cutoff = 0.0
            for each, freed in connection.execute(leaving):
                cutoff = min((int(each) + 1) * float(_HOUR_S), youngest)
                to_free -= float(freed)
                if to_free <= 0:
                    break
            return cutoff

    def preview(self, cutoff: float) -> Pruned:
        """What pruning would remove, without changing anything.

        Args:
            cutoff: What is older leaves; seconds since 1970.
        """
        staying = exists().where(answers.c.row_hash == attempts.c.row_hash, answers.c.created_at >= cutoff)
        with self._reading() as connection:
            gone = select(func.count(), func.coalesce(_payload_size(), 0)).where(
                attempts.c.started_at < cutoff, _not_kept(attempts.c.row_hash), ~staying
            )
            count, freed = connection.execute(gone).one()
            old = answers.c.created_at < cutoff
            aside = _count(connection, set_aside, _not_kept(set_aside.c.row_hash))
            return Pruned(
                cutoff=cutoff,
                answers=_count(connection, answers, old, _not_kept(answers.c.row_hash)) + aside,
                attempts=int(count),
                kept=_count(connection, answers, old, ~_not_kept(answers.c.row_hash)),
                waiting=0,
                payload_bytes=int(freed),
            )

    def put_aside(self, cutoff: float) -> None:
        """Take old answers that are not to be kept out of every look-up's sight.

        Args:
            cutoff: What is older leaves; seconds since 1970.
        """
        condition = (answers.c.created_at < cutoff) & _not_kept(answers.c.row_hash)
        for connection, hashes in self._batches(answers, condition):
            _move(connection, answers, set_aside, hashes, set_aside_at=time.time())

    def put_back(self) -> None:
        """Put answers back into use that were set aside and are to be kept after all."""
        self._put_back(~_not_kept(set_aside.c.row_hash))

    def give_up(self) -> None:
        """Put everything back that is set aside: nobody knows any more what is needed."""
        self._put_back(true())

    def _put_back(self, condition: ColumnElement[bool]) -> None:
        for connection, hashes in self._batches(set_aside, condition):
            _move(connection, set_aside, answers, hashes)

    def remove(self, cutoff: float, *, set_aside_before: float) -> Pruned:
        """Remove what was set aside and is not to be kept, and old attempts that led to no answer.

        Args:
            cutoff: Attempts that led to no answer leave when they are older; seconds since 1970.
            set_aside_before: Of what was set aside at this moment or later nothing is removed: a run that may have
                found it before goes on.
        """
        removed = gone = freed = 0
        due = (set_aside.c.set_aside_at < set_aside_before) & _not_kept(set_aside.c.row_hash)
        for connection, hashes in self._batches(set_aside, due):
            # Whoever asked again meanwhile has another answer, and these attempts are part of its story.
            theirs = select(attempts.c.id).where(attempts.c.row_hash.in_(hashes), ~_is_answered())
            count, size = _remove_attempts(connection, list(connection.scalars(theirs)))
            connection.execute(delete(set_aside).where(set_aside.c.row_hash.in_(hashes)))
            removed, gone, freed = removed + len(hashes), gone + count, freed + size
        for connection, ids in self._left_over(cutoff):
            count, size = _remove_attempts(connection, ids)
            gone, freed = gone + count, freed + size
        self._remove_prefixes()
        with self._reading() as connection:
            kept = _count(connection, answers, answers.c.created_at < cutoff, ~_not_kept(answers.c.row_hash))
            waiting = _count(connection, set_aside)
        return Pruned(
            cutoff=cutoff, answers=removed, attempts=gone, kept=kept, waiting=waiting, payload_bytes=freed
        )  # fmt: skip

    def _left_over(self, cutoff: float) -> Iterator[tuple[Connection, list[int]]]:
        """Old attempts of questions without an ending: of runs that were stopped, of outages."""
        columns = attempts.c
        waiting = exists().where(set_aside.c.row_hash == columns.row_hash)
        condition = (columns.started_at < cutoff) & _not_kept(columns.row_hash) & ~_is_answered() & ~waiting
        return self._parts(columns.id, condition, -1)

    def _batches(self, table: Table, condition: ColumnElement[bool]) -> Iterator[tuple[Connection, list[bytes]]]:
        """Row hashes of a table, part by part."""
        return self._parts(table.c.row_hash, condition, b"")

    def _parts(self, key: Column[Any], condition: ColumnElement[bool], first: Any) -> Iterator[tuple[Connection, Any]]:
        """Keys in order, each part in a transaction that ends when the next one is asked for.

        They are looked for before the transaction and only looked at again inside of it: a search through a large table
        would hold up everybody who writes.
        """
        last = first
        while True:
            query = select(key).where(key > last, condition).order_by(key).limit(_ROWS_AT_ONCE)
            with self._reading() as connection:
                candidates = list(connection.scalars(query))
            if not candidates:
                return
            last = candidates[-1]
            with self._turn() as connection:
                still = select(key).where(key.in_(candidates), condition).with_for_update()
                found = list(connection.scalars(still))
                if found:
                    yield connection, found

    def _remove_prefixes(self) -> None:
        """Remove the beginnings of prompts that no attempt shares any more."""
        used = select(attempts.c.prefix_hash).where(attempts.c.prefix_hash.is_not(None))
        with self._reading() as connection:
            newest = connection.scalar(select(func.max(attempts.c.id))) or 0
            unused = list(connection.scalars(select(prefixes.c.hash).where(prefixes.c.hash.not_in(used.distinct()))))
        if not unused:
            return
        with self._turn() as connection:
            if connection.dialect.name == "postgresql":
                # Whoever is about to add an attempt with a prefix that is there must not find it gone afterwards; and
                # ids are given before they are committed, so a smaller one may be new.
                connection.exec_driver_sql("LOCK TABLE prefixes IN SHARE ROW EXCLUSIVE MODE")
            else:
                used = used.where(attempts.c.id > newest)
            connection.execute(delete(prefixes).where(prefixes.c.hash.in_(unused), prefixes.c.hash.not_in(used)))

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._connection.begin():
            yield self._connection

    @contextmanager
    def _turn(self) -> Iterator[Connection]:
        """A short transaction that writes; two prunings take turns."""
        if self._worked_s > _WORK_S:
            # Whoever waits for SQLite's lock looks every 0.1 s whether it is free: without a rest it never would be.
            time.sleep(_REST_S)
            self._worked_s = 0.0
        started = time.monotonic()
        connection = self._connection.execution_options(write=True)
        try:
            with connection.begin():
                if connection.dialect.name == "postgresql":
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_POSTGRES_LOCK})")
                yield connection
        finally:
            connection.execution_options(write=False)
            self._worked_s += time.monotonic() - started


def shrink(engine: Engine) -> None:
    """Give the room that was freed back to the disk; with PostgreSQL its own housekeeping does.

    SQLite writes the database anew for that: nobody else can write meanwhile.
    """
    if engine.dialect.name != "sqlite":
        return
    # Not through SQLAlchemy's connection, which begins a transaction: SQLite does neither inside of one.
    with closing(engine.raw_connection()) as raw, closing(raw.cursor()) as cursor:
        for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
            try:
                cursor.execute(statement)
            except sqlite3.Error as failure:
                raise DBAPIError.instance(statement, None, failure, sqlite3.Error) from failure


def _move(connection: Connection, source: Table, target: Table, hashes: Sequence[bytes], **more: float) -> None:
    names = [column.name for column in target.c if column.name not in more]
    values = [*(source.c[name] for name in names), *(literal(value) for value in more.values())]
    chosen = source.c.row_hash.in_(hashes)
    connection.execute(_ignoring(connection, target).from_select([*names, *more], select(*values).where(chosen)))
    connection.execute(delete(source).where(chosen))


def _remove_attempts(connection: Connection, ids: Sequence[int]) -> tuple[int, int]:
    """Remove attempts, keeping what they used as sums; how many, and the bytes of their prompts and responses."""
    if not ids:
        return 0, 0
    connection.execute(insert(_doomed), [{"id": each} for each in ids])
    chosen = attempts.c.id.in_(select(_doomed.c.id))
    size = int(connection.scalar(select(_payload_size()).where(chosen)) or 0)
    table, adding = removed_attempts, _insert(connection, removed_attempts)
    added, gone = table.c, adding.excluded
    sums: dict[str, Any] = {
        name: added[name] + gone[name]
        for name in ("attempts", "questions", "input_tokens", "cached_input_tokens", "output_tokens", "unknown_costs")
    }
    cost = added.cost_nano_usd + gone.cost_nano_usd
    sums["cost_nano_usd"] = func.coalesce(cost, added.cost_nano_usd, gone.cost_nano_usd)
    sums["started_at"] = _smaller(added.started_at, gone.started_at)
    sums["ended_at"] = -_smaller(-added.ended_at, -gone.ended_at)
    rows = analytics.removal_of(connection, _doomed)
    connection.execute(adding.on_conflict_do_update(index_elements=list(table.primary_key), set_=sums), rows)
    connection.execute(delete(attempts).where(chosen))
    connection.execute(delete(_doomed))
    return len(ids), size


def _smaller(one: ColumnElement[float], other: ColumnElement[float]) -> ColumnElement[float]:
    # The databases have no function of one name for it.
    return case((one < other, one), else_=other)


def _payload_size() -> ColumnElement[int]:
    columns = attempts.c
    each = func.length(columns.prompt) + func.coalesce(func.length(columns.response), 0) + _ROW_BYTES
    return func.sum(each)


def _not_kept(row_hash: ColumnElement[bytes]) -> ColumnElement[bool]:
    return ~exists().where(_keep.c.hash == row_hash)


def _is_answered() -> ColumnElement[bool]:
    return exists().where(answers.c.row_hash == attempts.c.row_hash)


def _count(connection: Connection, table: Table, *conditions: ColumnElement[bool]) -> int:
    return int(connection.scalar(select(func.count()).select_from(table).where(*conditions)) or 0)


def _insert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def _ignoring(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An insert that leaves rows alone whose key is there already."""
    return _insert(connection, table).on_conflict_do_nothing()
