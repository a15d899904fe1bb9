"""Whose fault a failure is: a full server's, the model's, or the row's own."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from infergraph.calls.asks import Ask, Policy, Scope
from infergraph.calls.flight import Flight
from infergraph.calls.health import Health
from infergraph.calls.patience import Patience
from infergraph.calls.question import Batch, Question
from infergraph.models.model import CallFailed, Message, Model, Request
from infergraph.models.verdict import Accepted

REQUEST = Request(messages=(Message("user", "a row"),))


class Row:
    """One row that is sent and fails, again and again, at moments that the test says."""

    def __init__(self, max_attempts: int) -> None:
        ask = Ask(b"hash", REQUEST, lambda response: Accepted(1))
        self.batch = Batch(
            asks=[ask], model="m", scope=Scope(run_id="run", operator="map"), policy=Policy(max_attempts=max_attempts),
            budget=None, future=Future(), outcomes=[None], left=1,
        )  # fmt: skip
        self.question = Question(0, b"hash", self.batch, 0, REQUEST, [(self.batch, 0)])
        self.health = Health()
        self.patience = Patience("m", Model("scripted:m"), self.health, None)

    def refused(self, now: float, status: int = 429) -> bool:
        """Sent and refused within a moment; says whether it has used up its tries."""
        flight = Flight(
            question=self.question, request=REQUEST, via="direct", direct=True, budget=None, ledger=None,
            started=now - 0.001, started_at=0.0, tokens_in=0, tokens_out=0, reserved=0,
        )  # fmt: skip
        self.question.first_failed_at = self.question.first_failed_at or now
        return self.patience.count(flight, CallFailed("too many", outcome="transient", status=status))


@pytest.mark.parametrize("status", [429, 529])
def test_a_server_that_is_full_and_answers_others_uses_up_no_tries(status: int) -> None:
    row = Row(max_attempts=3)
    for second in range(1, 31):
        assert not row.refused(float(second), status), "another was answered since it was refused first"
        row.health.succeeded(second + 0.5)
    assert row.refused(31.0, status), "ten times the tries: nothing else explains it"


def test_refusals_while_nobody_is_answered_use_up_the_tries() -> None:
    row = Row(max_attempts=3)
    row.health.succeeded(0.5)
    assert [row.refused(float(second)) for second in (1, 2, 3)] == [False, False, True]


def test_other_failures_are_the_rows_own_whoever_else_is_answered() -> None:
    row = Row(max_attempts=3)
    told = []
    for second in (1, 2, 3):
        told.append(row.refused(float(second), 503))
        row.health.succeeded(second + 0.5)
    assert told == [False, False, True]


def test_refusals_in_an_outage_are_nobodys_fault() -> None:
    row = Row(max_attempts=2)
    row.health.suspect()
    assert not any(row.refused(float(second)) for second in range(1, 10))
    row.patience.charge([row.question])
    assert row.question.strikes == 0
    assert not row.refused(11.0, 503)
    row.patience.charge([row.question])
    assert row.question.strikes == 1, "a failure of another kind is its own once the model turns out to be there"
    row.patience.start_over([row.question])
    assert (row.question.strikes, row.question.throttled, row.question.first_failed_at) == (0, 0, 0.0)
