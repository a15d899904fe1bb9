"""Processes that share quotas and claims: each ``Coordination`` here stands for a process of its own."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infergraph.store import Store
from infergraph.store.coordination import Coordination
from infergraph.store.leases import AHEAD_S, LATE_S, RateWish, SlotWish

NUMBERS = itertools.count()
Join = Callable[[], Coordination]


class Clock:
    """A shared clock that tests set, in place of the machine's or the PostgreSQL server's."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def join(store: Store, clock: Clock) -> Iterator[Join]:
    parts: list[Coordination] = []

    def one_more() -> Coordination:
        part = store.coordination()
        part.steady, part.process = clock, f"{len(parts):06}"
        parts.append(part)
        return part

    yield one_more
    for part in parts:
        part.leave()


def _take(part: Coordination, amount: float, rate: float = 20.0, quota: str = "m") -> Any:
    return part.lease_rates(quota, [RateWish("requests", rate, amount)])[0]


# -- rates ----------------------------------------------------------------------------------------------------


def test_turns_of_two_processes_follow_each_other(join: Join) -> None:
    one, other = join(), join()
    assert _take(one, 5).starts_in_s == 0
    assert _take(other, 3).starts_in_s == pytest.approx(0.25)
    assert _take(one, 3).starts_in_s == pytest.approx(0.4)
    denied = _take(other, 1)
    assert (denied.amount, denied.starts_in_s) == (0, pytest.approx(0.55 - AHEAD_S / 2))


def test_quotas_and_kinds_do_not_touch_each_other(join: Join) -> None:
    part = join()
    _take(part, 100, quota="a")
    assert _take(part, 1, quota="b").amount == 1
    wishes = [RateWish("requests", 20, 1), RateWish("tokens", 1000, 500)]
    assert [grant.amount for grant in part.lease_rates("c", wishes)] == [1, 500]


@pytest.mark.parametrize("jump", [-3600.0, 3600.0, -0.01, 86_400.0])
def test_a_clock_that_jumps_does_no_harm(join: Join, clock: Clock, jump: float) -> None:
    part = join()
    _take(part, 5)
    clock.now += jump
    granted = _take(part, 5)
    assert granted.amount == 5
    assert -LATE_S <= granted.starts_in_s <= AHEAD_S


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), rate=st.floats(0.5, 500), processes=st.integers(1, 4))
def test_never_more_than_the_rate_and_nothing_is_lost(
    join: Join, clock: Clock, seed: int, rate: float, processes: int
) -> None:
    """Turns never overlap, and while somebody asks in time none is left out."""
    chance = random.Random(seed)
    parts, quota = [join() for _ in range(processes)], f"q{next(NUMBERS)}"
    turns: list[tuple[float, float]] = []
    begun = clock.now
    for _ in range(80):
        clock.now += chance.uniform(0, LATE_S)
        granted = _take(chance.choice(parts), chance.uniform(0.1, 0.2 * rate), rate, quota)
        if granted.amount:
            start = clock.now + granted.starts_in_s
            turns.append((start, start + granted.amount / rate))
            assert -LATE_S - 1e-6 <= granted.starts_in_s <= AHEAD_S + 1e-6
    for (_, end), (start, _) in itertools.pairwise(turns):
        assert start >= end - 1e-6
    given_out = sum(end - start for start, end in turns)
    assert given_out <= clock.now - begun + AHEAD_S + LATE_S + 0.2 + 1e-6


def test_a_pause_holds_for_everybody_and_ends(join: Join, clock: Clock) -> None:
    one, other = join(), join()
    one.pause("m", 5)
    one.pause("m", 2)
    assert other.beat(quotas=["m", "n"]).paused == {"m": pytest.approx(5), "n": 0}
    assert _take(other, 1).amount == 0
    clock.now += 4.9
    assert _take(other, 1).starts_in_s == pytest.approx(0.1)
    clock.now += 1
    assert other.beat(quotas=["m"]).paused["m"] == 0


# -- slots ----------------------------------------------------------------------------------------------------


def _slots(part: Coordination, wanted: int, in_flight: int = 0, capacity: int = 8) -> int:
    return part.share_slots(SlotWish("m", capacity, wanted, in_flight))


def test_one_process_gets_all_slots_and_gives_up_half(join: Join) -> None:
    one, other = join(), join()
    assert _slots(one, 100) == 8
    assert _slots(other, 100) == 0
    assert _slots(one, 100, in_flight=8) == 4
    assert _slots(other, 100) == 0
    assert _slots(one, 100, in_flight=5) == 4
    assert _slots(other, 100) == 3
    assert _slots(one, 100, in_flight=4) == 4
    assert _slots(other, 100, in_flight=3) == 4
    assert _slots(one, 0) == 0
    assert _slots(other, 100, in_flight=4) == 8


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_never_more_in_flight_than_slots(join: Join, data: st.DataObject) -> None:
    capacity, count = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 4))
    parts, quota = [join() for _ in range(count)], f"q{next(NUMBERS)}"
    flying, allowed = [0] * count, [0] * count
    for _ in range(30):
        who = data.draw(st.integers(0, count - 1))
        if data.draw(st.booleans()):
            flying[who] = data.draw(st.integers(0, flying[who]))
        wanted = data.draw(st.integers(flying[who], 20))
        allowed[who] = parts[who].share_slots(SlotWish(quota, capacity, wanted, flying[who]))
        flying[who] = max(flying[who], data.draw(st.integers(0, min(wanted, allowed[who]))))
        assert sum(flying) <= capacity


def test_processes_take_turns_where_there_are_fewer_slots(join: Join, clock: Clock) -> None:
    parts, had = [join() for _ in range(4)], [0] * 4
    flying = [0] * 4
    for _ in range(40):
        clock.now += 0.5
        for place, part in enumerate(parts):
            flying[place] = min(flying[place], _slots(part, 100, flying[place], capacity=2))
            flying[place] = _slots(part, 100, flying[place], capacity=2)
            had[place] += flying[place]
        assert sum(flying) <= 2
    assert min(had) >= 10


# -- money ----------------------------------------------------------------------------------------------------


def test_money_set_aside_and_spent_never_exceeds_the_budget(store: Store, join: Join, make: Any) -> None:
    one, other = join(), join()
    limits: dict[str, Any] = {"per_day": 100, "per_month": None}
    first = one.lease_money(10, 1000, **limits)
    assert (first.amount, first.left) == (25, 100)
    assert other.lease_money(10, 10, **limits).amount == 10
    waits = other.lease_money(70, 70, **limits)
    assert (waits.amount, waits.can_come, waits.left) == (0, True, 100)
    # Spending is written down first, then given back: in between it counts twice, never not at all.
    store.record([make.attempt(1, started_at=time.time(), cost_nano_usd=20)], [])
    assert other.lease_money(50, 50, **limits).amount == 0
    one.settle_money(20)
    assert other.lease_money(65, 65, **limits).amount == 65
    over = other.lease_money(81, 81, **limits)
    assert (over.amount, over.can_come, over.left) == (0, False, 80)
    assert other.lease_money(1, 1, per_day=None, per_month=10).can_come is False


def test_spending_is_counted_by_the_day_it_began(store: Store, make: Any) -> None:
    day = 86_400.0
    store.record([make.attempt(1, started_at=day * 20_000), make.attempt(2, started_at=day * 20_001 - 1)], [])
    store.record([make.attempt(3, started_at=day * 20_001), make.attempt(4, cost_nano_usd=None)], [])
    assert (store.spent_in("2024-10-04"), store.spent_in("2024-10-05"), store.spent_in("2024-10")) == (14, 7, 21)
    assert store.spent_in("2023") == 0


# -- claims ---------------------------------------------------------------------------------------------------


def test_a_claim_is_held_by_one(join: Join) -> None:
    one, other = join(), join()
    a, b, c = bytes(16), b"\1" * 16, b"\2" * 16
    assert one.claim([a, b]).held == set()
    assert one.claim([a]).held == set()
    assert other.claim([b, c]).held == {b}
    assert one.claim([c]).held == {c}
    assert one.claim([], done=[b, c]).held == set()
    assert other.claim([b]).held == set()
    other.leave()
    assert one.claim([b, c]).held == set()


def test_only_who_was_alone_all_the_time_need_not_look_again(join: Join) -> None:
    one = join()
    assert one.claim([bytes(16)]).alone is False
    assert one.claim([bytes(16)]).alone is True
    other = join()
    other.release([])
    assert one.claim([bytes(16)]).alone is True
    other.claim([b"\1" * 16])
    assert one.claim([bytes(16)]).alone is False
    other.leave()
    assert one.claim([bytes(16)]).alone is False
    assert one.claim([bytes(16)]).alone is True


# -- death ----------------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from infergraph.store import Store
from infergraph.store.leases import SlotWish
part = Store.open(sys.argv[1]).coordination()
part.claim([bytes(16)])
part.share_slots(SlotWish("m", 8, 8, 8))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_held_is_free_at_the_next_beat(store: Store, store_url: str) -> None:
    subprocess.run([sys.executable, "-c", KILLED, store_url], check=False)
    part = store.coordination()
    assert part.claim([bytes(16)]).held == {bytes(16)}
    part.beat()
    assert part.claim([bytes(16)]).held == set()
    assert _slots(part, 100) == 8


def test_a_process_that_stands_still_is_buried_and_hears_of_it(
    store: Store, join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = join(), join()
    steady = Clock()
    monkeypatch.setattr("infergraph.store.coordination.time.monotonic", steady)
    one.claim([bytes(16)])
    for _ in range(7):
        assert other.claim([bytes(16)]).held == {bytes(16)}
        other.beat()
        steady.now += 1
    other.beat()
    assert other.claim([bytes(16)]).held == set()
    assert one.beat().was_buried is True
    assert one.beat().was_buried is False


def test_who_slept_itself_buries_nobody(store: Store, join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = join(), join()
    steady = Clock()
    monkeypatch.setattr("infergraph.store.coordination.time.monotonic", steady)
    one.claim([bytes(16)])
    other.beat()
    steady.now += 3600
    other.beat()
    assert one.beat().was_buried is False


# -- the file -------------------------------------------------------------------------------------------------


def test_tables_of_another_version_give_way(tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "state.db-coordination") as raw:
        raw.execute("CREATE TABLE claims (other TEXT)")
    raw.close()
    with Store.open(f"sqlite:///{tmp_path / 'state.db'}") as store:
        assert store.coordination().claim([bytes(16)]).held == set()
