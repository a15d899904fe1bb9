"""Shares of quotas, as rows: each function is one step inside the caller's transaction, which no other process enters.

Rates are kept as a queue of turns (the virtual scheduling form of the generic cell rate algorithm, ITU-T I.371): a
quota's row says when its next turn is due, whoever takes turns moves that on by their number divided by the rate. So
nothing is counted down or refilled, and turns that a killed process took are simply missed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, text

RateKind = Literal["requests", "tokens", "input_tokens", "output_tokens"]

AHEAD_S = 0.5
"""Turns are given out at most so long before they are due."""
LATE_S = 0.25
"""Turns that nobody took may still be taken so long afterwards."""
_TURN_S = 2.0
_PAUSE = "pause"
_SLOTS = "slots"
_MONEY, _USD = "money", "usd"


@dataclass(frozen=True, slots=True)
class RateWish:
    """Turns that a process would like to have: ``amount`` requests or tokens of a rate a second."""

    kind: RateKind
    per_second: float
    amount: float


@dataclass(frozen=True, slots=True)
class RateGrant:
    """Turns from ``starts_in_s`` on (negative: since then); with an ``amount`` of 0: ask again in so many seconds."""

    kind: RateKind
    starts_in_s: float
    amount: float


@dataclass(frozen=True, slots=True)
class SlotWish:
    """What a process needs of ``capacity`` concurrent requests: how many it wants, and how many are in flight."""

    name: str
    capacity: int
    wanted: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class MoneyGrant:
    """Money set aside for a process.

    Args:
        amount: Nano-dollars; 0: less is free than was needed.
        can_come: Enough is set aside by others, who may give it back.
        left: What the budgets have left, in nano-dollars, money set aside included.
    """

    amount: int
    can_come: bool
    left: int


def lease_rate(connection: Connection, quota: str, wish: RateWish, now: float, not_before: float) -> RateGrant:
    """Take the next turns of one rate.

    Args:
        connection: Inside a transaction that no other process enters.
        quota: The quota's name.
        wish: What is wanted.
        now: The shared clock, seconds.
        not_before: The end of the quota's pause on that clock.
    """
    start = max(_next_at(connection, quota, wish.kind, now), now - LATE_S, not_before)
    if start > now + AHEAD_S:
        return RateGrant(wish.kind, start - now - AHEAD_S / 2, 0)
    _move_on(connection, quota, wish.kind, start + wish.amount / wish.per_second, now)
    return RateGrant(wish.kind, start - now, wish.amount)


def pause(connection: Connection, quota: str, seconds: float, now: float) -> None:
    """Let nobody use a quota for so long."""
    until = max(now + seconds, _next_at(connection, quota, _PAUSE, now))
    _move_on(connection, quota, _PAUSE, until, now)


def paused_s(connection: Connection, quota: str, now: float) -> float:
    """Seconds for which nobody uses a quota, 0.0 or more."""
    return max(0.0, _next_at(connection, quota, _PAUSE, now) - now)


def _next_at(connection: Connection, quota: str, kind: str, now: float) -> float:
    row = connection.execute(_TURN, {"name": quota, "kind": kind}).first()
    if row is None:
        return now
    next_at, seen_at = row
    # A clock that went back (a restarted machine, a corrected server) takes its appointments along.
    return float(next_at) - max(0.0, float(seen_at) - now)


def _move_on(connection: Connection, quota: str, kind: str, next_at: float, now: float) -> None:
    connection.execute(_MOVE_ON, {"name": quota, "kind": kind, "next_at": next_at, "now": now})


def share_slots(connection: Connection, process: str, wish: SlotWish, now: float) -> int:
    """A process's part of a number of concurrent requests.

    It is all that is free, but no more than a fair part where others wait for theirs. What is in flight cannot be taken
    back, so a part shrinks as requests end.

    Args:
        connection: Inside a transaction that no other process enters.
        process: Who wants it.
        wish: What is wanted; 0 gives the part back.
        now: The shared clock, seconds: where there are fewer slots than processes, they take turns.

    Returns:
        Requests that the process may have in flight.
    """
    key = {"name": wish.name, "kind": _SLOTS, "process": process}
    others = connection.execute(_OTHER_LEASES, key).all()
    free = max(0, wish.capacity - sum(row.amount for row in others))
    claimants = sorted([process, *(row.process for row in others if row.wanted > 0)])
    part: int = min(wish.wanted, free)
    if len(claimants) > wish.capacity:
        part = min(part, _in_turn(claimants.index(process), len(claimants), wish.capacity, now))
    elif any(row.amount < min(row.wanted, fair := wish.capacity // len(claimants)) for row in others):
        part = min(part, fair)
    if wish.wanted or wish.in_flight:
        connection.execute(_LEASE, {**key, "amount": max(part, wish.in_flight), "wanted": wish.wanted})
    else:
        connection.execute(_UNLEASE, key)
    return part


def _in_turn(place: int, claimants: int, capacity: int, now: float) -> int:
    """One slot for as many processes as there are slots, and after a while for the next ones."""
    return int((place - int(now / _TURN_S) * capacity) % claimants < capacity)


def lease_money(connection: Connection, process: str, need: int, wanted: int, left: int) -> MoneyGrant:
    """Set money aside for a process.

    Args:
        connection: Inside a transaction that no other process enters.
        process: Who wants it.
        need: Nano-dollars without which it cannot go on.
        wanted: Nano-dollars that would be good to have; at most a quarter of what is free, unless ``need`` is more.
        left: What the budgets have left; money that is set aside is still part of it.
    """
    key = {"name": _MONEY, "kind": _USD, "process": process}
    mine = connection.execute(_HELD, key).scalar_one_or_none() or 0
    aside = connection.execute(_ASIDE, key).scalar_one() or 0
    free = left - aside
    if free < need:
        return MoneyGrant(0, aside > mine and left - mine >= need, left)
    amount = max(need, min(wanted, free // 4))
    _add_money(connection, process, amount)
    return MoneyGrant(amount, True, left)


def return_money(connection: Connection, process: str, amount: int) -> None:
    """Take money out of what a process has set aside."""
    _add_money(connection, process, -amount)


def _add_money(connection: Connection, process: str, amount: int) -> None:
    key = {"name": _MONEY, "kind": _USD, "process": process}
    held = connection.execute(_HELD, key).scalar_one_or_none() or 0
    connection.execute(_LEASE, {**key, "amount": max(0, held + amount), "wanted": 0})


_TURN = text("SELECT next_at, seen_at FROM quotas WHERE name = :name AND kind = :kind")
_MOVE_ON = text(
    "INSERT INTO quotas (name, kind, next_at, seen_at) VALUES (:name, :kind, :next_at, :now) "
    "ON CONFLICT (name, kind) DO UPDATE SET next_at = excluded.next_at, seen_at = excluded.seen_at"
)
_OTHER_LEASES = text(
    "SELECT process, amount, wanted FROM leases WHERE name = :name AND kind = :kind AND process <> :process"
)
_ASIDE = text("SELECT sum(amount) FROM leases WHERE name = :name AND kind = :kind")
_HELD = text("SELECT amount FROM leases WHERE name = :name AND kind = :kind AND process = :process")
_LEASE = text(
    "INSERT INTO leases (name, kind, process, amount, wanted) VALUES (:name, :kind, :process, :amount, :wanted) "
    "ON CONFLICT (name, kind, process) DO UPDATE SET amount = excluded.amount, wanted = excluded.wanted"
)
_UNLEASE = text("DELETE FROM leases WHERE name = :name AND kind = :kind AND process = :process")
