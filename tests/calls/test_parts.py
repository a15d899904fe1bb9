"""Budgets, limits and health by themselves: plain arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.calls.budget import Budget
from infergraph.calls.cancel import CancelToken
from infergraph.calls.health import Health, backoff_s
from infergraph.errors import ConfigurationError


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


def test_requests_sent_before_the_last_success_are_no_sign_of_an_outage() -> None:
    health = Health()
    health.succeeded(now=10.0)
    for row in range(100):
        health.failed(row, started=5.0, now=11.0)
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
    assert not token.cancelled
    token.cancel()
    token.cancel()
    assert called == [1]
    token.on_cancel(lambda: called.append(3))
    assert called == [1, 3]
    assert token.cancelled
