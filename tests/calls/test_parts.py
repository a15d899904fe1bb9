"""Budgets, limits and health by themselves: plain arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.calls.budget import Budget
from infergraph.calls.cancel import CancelToken
from infergraph.calls.health import Health, backoff_s
from infergraph.calls.limits import Bucket, Limits
from infergraph.errors import ConfigurationError, RunCancelled
from infergraph.models.model import Model


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=40), st.integers(0, 500))
def test_a_budget_is_kept_whatever_is_reserved(requests: list[tuple[int, int]], most: int) -> None:
    """While nothing costs more than was reserved for it, what is spent never exceeds the budget."""
    budget = Budget(most)
    held: list[tuple[int, int]] = []
    for reserve, part in requests:
        grant = budget.reserve(reserve)
        if grant == "granted":
            held.append((reserve, min(reserve, part)))
        elif grant == "wait":
            assert held
            budget.settle(*held.pop())
        else:
            assert budget.used_up
    for reserved, spent in held:
        budget.settle(reserved, spent)
    assert budget.spent_nano_usd <= most


def test_those_who_wait_for_money_are_called_when_it_settles() -> None:
    budget = Budget(10)
    called: list[str] = []
    budget.reserve(10)
    budget.when_settled(lambda: called.append("later"))
    assert called == []
    budget.settle(10, 1)
    budget.when_settled(lambda: called.append("at once"))
    assert called == ["later", "at once"]


def test_a_budget_is_not_negative() -> None:
    with pytest.raises(ConfigurationError, match="0 nano-dollars or more"):
        Budget(-1)


@given(st.integers(1, 5000), st.lists(st.floats(0, 0.5), min_size=1, max_size=200))
def test_a_bucket_never_gives_more_than_its_rate_and_one_burst(per_minute: int, pauses: list[float]) -> None:
    bucket, now, taken = Bucket(per_minute, now=0.0), 0.0, 0
    for pause in pauses:
        now += pause
        if bucket.wait_s(1, now) == 0:
            bucket.take(1, now)
            taken += 1
    assert taken <= max(1, per_minute / 60) + per_minute / 60 * now + 1e-6


def test_a_request_bigger_than_the_burst_may_go_and_is_paid_back() -> None:
    bucket = Bucket(600, now=0.0)
    assert bucket.wait_s(100, now=0.0) == 0
    bucket.take(100, now=0.0)
    assert bucket.wait_s(1, now=0.0) == pytest.approx(9.1)


def test_tokens_are_settled_with_what_was_used() -> None:
    limits = Limits(Model("scripted:m", tokens_per_minute=600), slots=5, now=0.0)
    assert limits.counts_tokens
    limits.enter(5, 5, now=0.0)
    limits.leave(-5, -5, now=0.0)
    assert limits.wait_s(5, 5, now=0.0) == 0
    limits.enter(5, 5, now=0.0)
    limits.leave(10, 10, now=0.0)
    assert limits.wait_s(10, 0, now=0.0) == pytest.approx(3.0)


def test_too_many_requests_halve_the_slots_once_a_moment_and_successes_bring_them_back() -> None:
    limits = Limits(Model("scripted:m"), slots=8, now=0.0)

    def free(now: float) -> int:
        count = 0
        while limits.wait_s(0, 0, now) == 0:
            limits.enter(0, 0, now)
            count += 1
        for _ in range(count):
            limits.leave(0, 0, now)
        return count

    assert free(0.0) == 8
    for _ in range(8):
        limits.enter(0, 0, 0.0)
    for _ in range(8):
        limits.leave(0, 0, 0.0)
        limits.slow_down(1.0, 0.0)
    assert limits.wait_s(0, 0, 0.5) == pytest.approx(0.5)
    assert free(1.0) == 4
    for _ in range(30):
        limits.went_well()
    assert free(1.0) == 8


def test_rows_that_were_tried_before_the_last_success_are_no_sign_of_an_outage() -> None:
    health = Health()
    health.succeeded(now=10.0)
    for row in range(100):
        health.failed(row, first_tried_at=5.0, now=11.0)
    assert not health.is_out
    assert health.down_s(now=12.0) == 1.0


@given(st.integers(1, 50), st.floats(0.001, 5))
def test_backoff_grows_but_stays_bounded(tries: int, first: float) -> None:
    assert first * 0.5 <= backoff_s(tries, None, first) <= 30.0
    assert backoff_s(tries, 12.0, first) >= 12.0


def test_a_cancelled_token_calls_back_once_and_at_once() -> None:
    token = CancelToken()
    called: list[int] = []
    token.on_cancel(lambda: called.append(1))
    token.on_cancel(lambda: called.append(2))()
    token.raise_if_cancelled()
    token.cancel()
    token.cancel()
    assert called == [1]
    token.on_cancel(lambda: called.append(3))
    assert called == [1, 3]
    with pytest.raises(RunCancelled):
        token.raise_if_cancelled()
