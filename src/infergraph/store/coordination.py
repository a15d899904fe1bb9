"""What the processes of one deployment tell each other: who is alive, who uses which quota, who asks what.

None of it has to outlive a power cut, so with SQLite it lies in a file of its own beside the store, where a
transaction costs no wait for the disk; with PostgreSQL it lies in the same database. Every process keeps a beat; one
whose beat stands still is dead, and what it held is free again. Whether a beat stands still is judged by each
observer's own steady clock, and times in the tables are moved along when the shared clock goes back: no clock has to be
right.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from infergraph.store import leases
from infergraph.store.connect import explained, writing
from infergraph.store.leases import MoneyGrant, RateGrant, RateWish, SlotWish

BEAT_S = 1.0
SILENT_S = 6.0
"""A process whose beat has stood still for so long, seen by at least three beats of the observer, is dead."""
_SILENT_BEATS = 3
# Any number that other users of the same PostgreSQL server are unlikely to lock; not that of the migrations.
_POSTGRES_LOCK = 4_815_162_343
_CHUNK = 500

SpentSince = Callable[[str], int]
"""What a deployment spent on a day (``2026-11-22``) or in a month (``2026-11``), UTC, in nano-dollars."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """What a process learns with its beat."""

    slots: Mapping[str, int]
    """Quota name -> how many requests this process may have in flight."""
    paused: Mapping[str, float]
    """Quota name -> seconds for which nothing may be sent."""
    was_buried: bool
    """Others took this process for dead meanwhile: what it held is no longer its own."""


@dataclass(slots=True)
class _Seen:
    beat: int
    at: float
    own_beats: int = 0


@dataclass(frozen=True)
class Claimed:
    """What a claim brought."""

    held: frozenset[bytes]
    """Hashes that another living process is asking."""
    alone: bool
    """No other process was there since this one's last claim: nobody else can have stored an answer meanwhile."""


@dataclass
class Coordination:
    """One process's part; used by any thread, one transaction a call. It joins with its first call.

    Args:
        engine: Connections to the coordination tables.
        where: The database's name for messages.
        spent: What the deployment has spent on a day or in a month, as the store knows it.
        steady: Seconds on a clock that all processes of this machine share; ``None``: the database server's.
    """

    engine: Engine
    where: str
    spent: SpentSince
    steady: Callable[[], float] | None = time.monotonic
    process: str = field(default_factory=lambda: uuid.uuid4().hex)
    _joined: bool = False
    _was_buried: bool = False
    _joins: int = -1
    _others: int = 0
    _seen: dict[str, _Seen] = field(default_factory=dict)

    # -- living and dying -------------------------------------------------------------------------------------

    def beat(self, slots: Sequence[SlotWish] = (), quotas: Sequence[str] = ()) -> Beat:
        """Say that this process lives, bury those that do not, and share out slots anew.

        Args:
            slots: For each quota of concurrent requests: how many are wanted and in flight.
            quotas: Names of quotas whose pauses matter to this process.

        Returns:
            The slots this process may use, the pauses, and whether it had been taken for dead.
        """
        with self._turn() as connection:
            connection.execute(_BEAT, {"id": self.process})
            was_buried, self._was_buried = self._was_buried, False
            self._bury_the_dead(connection)
            now = self._now(connection)
            return Beat(
                slots={wish.name: leases.share_slots(connection, self.process, wish, now) for wish in slots},
                paused={name: leases.paused_s(connection, name, now) for name in quotas},
                was_buried=was_buried,
            )

    def leave(self) -> None:
        """Give back everything; the next call joins again."""
        if not self._joined:
            return
        with explained(self.where), writing(self.engine) as connection:
            _bury(connection, self.process)
        self._joined = False

    def _join(self, connection: Connection) -> None:
        born = {"id": self.process, "machine": _machine(), "pid": os.getpid(), "born": _birth(os.getpid())}
        connection.execute(_JOIN, born)
        connection.execute(_COUNT_JOIN)
        self._joined = True

    def _bury_the_dead(self, connection: Connection) -> None:
        now = time.monotonic()
        others = connection.execute(_OTHERS, {"id": self.process}).all()
        self._seen = {other: seen for other, seen in self._seen.items() if any(row[0] == other for row in others)}
        for other, beat, machine, pid, born in others:
            seen = self._seen.get(other)
            if seen is None or seen.beat != beat:
                self._seen[other] = seen = _Seen(beat, now)
            seen.own_beats += 1
            silent = now - seen.at >= SILENT_S and seen.own_beats > _SILENT_BEATS
            if silent or (machine and machine == _machine() and _birth(pid) != born):
                _bury(connection, other)

    # -- quotas -----------------------------------------------------------------------------------------------

    def lease_rates(self, quota: str, wishes: Sequence[RateWish]) -> list[RateGrant]:
        """Take the next turns of a quota's rates: see ``leases.lease_rate``."""
        with self._turn() as connection:
            now = self._now(connection)
            paused = leases.paused_s(connection, quota, now)
            return [leases.lease_rate(connection, quota, wish, now, now + paused) for wish in wishes]

    def share_slots(self, wish: SlotWish) -> int:
        """How many requests this process may have in flight, of a number that all processes share."""
        with self._turn() as connection:
            return leases.share_slots(connection, self.process, wish, self._now(connection))

    def pause(self, quota: str, seconds: float) -> None:
        """Let every process send nothing for so long; a longer pause that is on already stays."""
        with self._turn() as connection:
            leases.pause(connection, quota, seconds, self._now(connection))

    def lease_money(self, need: int, wanted: int, *, per_day: int | None, per_month: int | None) -> MoneyGrant:
        """Set money of the deployment's budgets aside for this process.

        Args:
            need: What the next request may cost, in nano-dollars.
            wanted: What would be good to have, ``need`` or more.
            per_day: Budget of a day (UTC) in nano-dollars; ``None``: none.
            per_month: Budget of a calendar month (UTC).
        """
        with self._turn() as connection:
            today = datetime.now(UTC)
            left = [
                limit - self.spent(period)
                for limit, period in ((per_day, f"{today:%Y-%m-%d}"), (per_month, f"{today:%Y-%m}"))
                if limit is not None
            ]
            return leases.lease_money(connection, self.process, need, wanted, min(left))

    def settle_money(self, amount: int) -> None:
        """Give money back that was spent and is counted as spent, or is not needed."""
        with self._turn() as connection:
            leases.return_money(connection, self.process, amount)

    # -- claims -----------------------------------------------------------------------------------------------

    def claim(self, hashes: Sequence[bytes], done: Sequence[bytes] = ()) -> Claimed:
        """Say that this process asks these; claims it had before stay its own.

        Args:
            hashes: Row hashes that it is about to ask.
            done: Row hashes that it asks no more.
        """
        with self._turn() as connection:
            self._release(connection, done)
            if hashes:
                connection.execute(_CLAIM, [{"hash": each, "id": self.process} for each in hashes])
            held: set[bytes] = set()
            for start in range(0, len(hashes), _CHUNK):
                held.update(_held(connection, self.process, hashes[start : start + _CHUNK]))
            others, joins = connection.execute(_COMPANY, {"id": self.process}).one()
            alone = not others and not self._others and joins == self._joins
            self._joins, self._others = joins, others
            return Claimed(frozenset(held), alone)

    def release(self, hashes: Sequence[bytes]) -> None:
        """Say that this process asks these no more."""
        if hashes and self._joined:
            with self._turn() as connection:
                self._release(connection, hashes)

    def _release(self, connection: Connection, hashes: Sequence[bytes]) -> None:
        if hashes:
            connection.execute(_RELEASE, [{"hash": each, "id": self.process} for each in hashes])

    # -- transactions -----------------------------------------------------------------------------------------

    @contextmanager
    def _turn(self) -> Iterator[Connection]:
        with explained(self.where), writing(self.engine) as connection:
            if self.steady is None:
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_POSTGRES_LOCK})")
            if not self._joined:
                self._join(connection)
            elif connection.execute(_THERE, {"id": self.process}).first() is None:
                self._join(connection)
                self._was_buried = True
            yield connection

    def _now(self, connection: Connection) -> float:
        if self.steady is not None:
            return self.steady()
        return float(connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())").scalar_one())


_BEAT = text("UPDATE processes SET beat = beat + 1 WHERE id = :id")
_THERE = text("SELECT 1 FROM processes WHERE id = :id")
_JOIN = text(
    "INSERT INTO processes (id, beat, machine, pid, born) VALUES (:id, 0, :machine, :pid, :born) "
    "ON CONFLICT (id) DO NOTHING"
)
_COUNT_JOIN = text("UPDATE joins SET number = number + 1")
_OTHERS = text("SELECT id, beat, machine, pid, born FROM processes WHERE id <> :id")
_COMPANY = text("SELECT (SELECT count(*) FROM processes WHERE id <> :id), number FROM joins")
_CLAIM = text("INSERT INTO claims (hash, process) VALUES (:hash, :id) ON CONFLICT (hash) DO NOTHING")
_RELEASE = text("DELETE FROM claims WHERE hash = :hash AND process = :id")
_BURIALS = tuple(
    text(sql)
    for sql in (
        "DELETE FROM claims WHERE process = :id",
        "DELETE FROM leases WHERE process = :id",
        "DELETE FROM processes WHERE id = :id",
    )
)


def _bury(connection: Connection, process: str) -> None:
    for statement in _BURIALS:
        connection.execute(statement, {"id": process})


def _held(connection: Connection, process: str, hashes: Sequence[bytes]) -> list[bytes]:
    if connection.dialect.name == "postgresql":
        sql, given = "SELECT hash FROM claims WHERE hash = ANY(%s) AND process <> %s", (list(hashes), process)
        return [bytes(row[0]) for row in connection.exec_driver_sql(sql, given)]
    marks = ",".join("?" * len(hashes))
    sql = f"SELECT hash FROM claims WHERE hash IN ({marks}) AND process <> ?"
    return [row[0] for row in connection.exec_driver_sql(sql, (*hashes, process))]


def _machine() -> str:
    """A name of this run of this machine and of the processes that see each other's numbers; empty: not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _birth(pid: int) -> str:
    """When the process of this number began, in the kernel's ticks: numbers are used again. Empty: there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
