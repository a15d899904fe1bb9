"""One process's part of the limits by itself: leased turns and slots, used up in time that the test hands in."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.calls.limits import Limits, Turns
from infergraph.models.model import Model
from infergraph.store.leases import AHEAD_S, LATE_S, RateGrant


@given(seed=st.integers(0, 2**32), rate=st.floats(0.5, 2000), processes=st.integers(1, 4))
def test_processes_together_keep_the_rate_and_waste_little(seed: int, rate: float, processes: int) -> None:
    """However late each looks: never more than the rate and a second's worth, and nearly all of the rate is used."""
    chance = random.Random(seed)
    now = next_at = used = begun = 100.0
    parts = [Turns(60 * rate) for _ in range(processes)]
    used = 0.0
    while now < begun + 10:
        now += chance.uniform(0, 0.1)
        for part in chance.sample(parts, processes):
            if part.missing(1, now) or part.lasts_until() < now + 0.25:
                start = max(next_at, now - LATE_S)
                if start <= now + AHEAD_S:
                    amount = max(1.0, float(int(rate * 0.25)))
                    part.add(start, amount)
                    next_at = start + amount / rate
            while (due := part.due_at(1, now)) is not None and due <= now:
                part.take(1)
                used += 1
            assert used <= rate * (now - begun) + max(1.0, rate) + 1e-6
    if rate >= 4 * processes:
        assert used >= 0.9 * rate * (now - begun) - rate


@given(st.lists(st.tuples(st.sampled_from(["take", "back", "lease"]), st.integers(1, 50)), max_size=40))
def test_nothing_leaks(steps: list[tuple[str, int]]) -> None:
    """What was leased is what was used, what is left and what is owed."""
    turns, leased, used = Turns(600_000), 0, 0
    for step, amount in steps:
        if step == "lease":
            turns.add(0.0, amount)
            leased += amount
        elif step == "take":
            turns.take(amount)
            used += amount
        elif used >= amount and turns.missing(1000, now=0.0) > amount:
            turns.give_back(amount)
            used -= amount
    assert turns.missing(10_000, now=0.0) == pytest.approx(10_000 - (leased - used))


def test_turns_come_due_one_after_the_other_and_grow_old() -> None:
    turns = Turns(600)
    turns.add(starts_at=10.0, amount=10)
    assert turns.due_at(3, now=10.0) == pytest.approx(10.05)
    turns.take(3)
    assert turns.due_at(1, now=10.0) == pytest.approx(10.3)
    assert turns.due_at(8, now=10.0) is None
    assert turns.missing(8, now=10.0) == pytest.approx(1)
    assert turns.due_at(2, now=20.0) == pytest.approx(10.8)
    assert turns.due_at(1, now=20.0) == pytest.approx(10.9)
    assert turns.missing(2, now=20.0) == pytest.approx(1)


@given(rate=st.floats(0.01, 1000), amount=st.floats(0.01, 5000), late=st.floats(0, 5))
def test_every_request_goes_in_the_end(rate: float, amount: float, late: float) -> None:
    """However large for its rate, and however long nobody looks: a second after its turns came it is due."""
    turns = Turns(60 * rate)
    turns.add(starts_at=100.0, amount=amount)
    assert turns.due_at(amount, now=100.0) is not None
    due = turns.due_at(amount, now=100.0 + late)
    assert due is not None
    assert due <= 101.0
    turns.take(amount)
    assert turns.missing(1, now=100.0 + late) > 0


def test_a_request_that_is_worth_minutes_waits_a_second() -> None:
    turns = Turns(60)
    turns.add(starts_at=10.0, amount=500)
    assert turns.due_at(500, now=10.0) == pytest.approx(10.75)


def test_what_was_not_used_can_be_used_at_once_and_what_was_overdrawn_is_paid_back() -> None:
    turns = Turns(6000)
    turns.add(starts_at=10.0, amount=100)
    turns.take(100)
    turns.give_back(4)
    assert turns.due_at(4, now=10.0) == 10.0
    turns.give_back(1000)
    assert turns.due_at(11, now=10.0) is None
    turns.take(10)
    turns.give_back(-5)
    turns.add(starts_at=11.0, amount=10)
    assert turns.due_at(6, now=11.0) is None
    assert turns.due_at(5, now=11.0) == 11.0
    turns.take(5)
    assert turns.missing(1, now=11.0) == 1


def _wishes(limits: Limits, *sizes: tuple[int, int], queued: int | None = None) -> dict[str, float]:
    wishes = limits.rate_wishes(sizes, len(sizes) if queued is None else queued, now=0.0)
    return {wish.kind: wish.amount for wish in wishes}


def test_a_lease_asks_for_whole_requests_of_a_quarter_of_a_second() -> None:
    limits = Limits(Model("scripted:m", requests_per_minute=1200, tokens_per_minute=6000), 5, None)
    assert _wishes(limits, *[(40, 10)] * 9) == {"requests": 5, "tokens": 50}
    assert _wishes(limits, *[(9, 1)] * 9) == {"requests": 5, "tokens": 30}
    assert _wishes(limits, (1, 1), (1, 1)) == {"requests": 2, "tokens": 4}
    assert _wishes(limits, (1, 1), queued=1000) == {"requests": 5, "tokens": 25}
    limits.leased(RateGrant("requests", 1.0, 2), now=0.0)
    limits.leased(RateGrant("tokens", 1.0, 4), now=0.0)
    assert not limits.needs_turns(1, 1, now=0.0)
    assert limits.needs_turns(4, 1, now=0.0)
    assert limits.wait_s(1, 1, now=0.0) == 1.0
    limits.lost()
    assert limits.wait_s(1, 1, now=0.0) is None


def test_slots_that_all_share_are_used_as_they_are_granted() -> None:
    limits = Limits(Model("scripted:m", max_concurrency=8), 8, None)
    assert limits.wants_slots
    assert limits.wait_s(0, 0, 0.0) is None
    limits.granted(2)
    limits.enter(0, 0)
    assert limits.wait_s(0, 0, 0.0) == 0
    limits.enter(0, 0)
    assert (limits.wait_s(0, 0, 0.0), limits.wants_slots) == (None, True)
    limits.granted(8)
    assert (limits.wait_s(0, 0, 0.0), limits.wants_slots) == (0, False)


def test_a_stated_limit_is_learned_and_a_lower_one_of_the_model_stays() -> None:
    limits = Limits(Model("scripted:m", requests_per_minute=60), 8, None)
    limits.learn("requests", 600)
    limits.learn("tokens", 6000)
    wishes = {wish.kind: wish.per_second for wish in limits.rate_wishes([(1, 1)], queued=9, now=0.0)}
    assert wishes == {"requests": 1, "tokens": 100}
    limits.learn("requests", 30)
    assert limits.rate_wishes([(1, 1)], queued=9, now=0.0)[0].per_second == 0.5


def test_too_many_requests_halve_the_slots_once_a_moment_and_successes_bring_them_back() -> None:
    limits = Limits(Model("scripted:m"), 8, None)
    assert limits.level == 8
    for _ in range(8):
        limits.enter(0, 0)
    for _ in range(8):
        limits.leave(0, 0)
        limits.slow_down(1.0, 0.0)
    assert limits.wait_s(0, 0, 0.5) == pytest.approx(0.5)
    assert (limits.wait_s(0, 0, 1.0), limits.level) == (0, 4)
    for _ in range(30):
        limits.went_well(0.1, 2.0)
    assert limits.level == 8
