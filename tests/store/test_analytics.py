"""Sums over attempts: the same figures as adding them up one by one, on both databases."""

from __future__ import annotations

import random
import statistics
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.store import Store, UsageRow
from infergraph.store.analytics import DAY_S, KEYS, Latencies, Span


def test_attempts_are_added_up_by_what_they_have_in_common(store: Store, make: Any) -> None:
    day = 20_000 * DAY_S
    same = {"run_id": "r", "asset": "a", "partition": "p", "model": "m"}
    store.record(
        [
            make.attempt(1, started_at=day + 1.0, **same),
            make.attempt(2, started_at=day + DAY_S - 0.5, seconds=2.0, cost_nano_usd=None, **same),
            make.attempt(3, started_at=float(day + DAY_S), **same),
            make.attempt(4, started_at=day + 1.0, run_id="r", model="m"),
        ],
        [],
    )
    sums = {tuple(getattr(each, key) for key in KEYS): each for each in store.attempt_sums(Span())}
    assert set(sums) == {
        (20_000, "r", "a", "p", "extract", "m"),
        (20_001, "r", "a", "p", "extract", "m"),
        (20_000, "r", "", "", "extract", "m"),
    }, "midnight belongs to the day that begins"
    two = sums[20_000, "r", "a", "p", "extract", "m"]
    assert (two.attempts, two.input_tokens, two.cached_input_tokens, two.output_tokens) == (2, 60, 20, 40)
    assert (two.cost_nano_usd, two.unknown_costs) == (7, 1)
    assert (two.started_at, two.ended_at) == (day + 1.0, day + DAY_S + 1.5)


def test_a_span_is_half_open_and_may_be_one_asset(store: Store, make: Any) -> None:
    store.record([make.attempt(number, started_at=float(number), asset="a" * (number % 2)) for number in range(10)], [])
    assert sum(each.attempts for each in store.attempt_sums(Span(since=2.0, until=8.0))) == 6
    [odd] = store.attempt_sums(Span(since=2.0, asset="a"))
    assert (odd.attempts, odd.started_at) == (4, 3.0)


def test_latencies_leave_out_what_was_given_up(store: Store, make: Any) -> None:
    lengths = [0.0004, 0.0126, 0.5, 1.234, 12.34, 123.4]
    store.record([make.attempt(number, seconds=length) for number, length in enumerate(lengths)], [])
    store.record(
        [make.attempt(9, seconds=500.0, outcome="cancelled"), make.attempt(10, model="other", seconds=1.0)], []
    )
    found = dict(store.latencies(["model"], Span()))
    assert found["other",].counts == {1000: 1}
    # To the millisecond below a second, to three digits above.
    assert found["scripted:x",].counts == {0: 1, 13: 1, 500: 1, 1230: 1, 12300: 1, 123000: 1}
    [(nothing, together)] = store.latencies([], Span())
    assert nothing == ()
    assert sum(together.counts.values()) == 7


@given(st.lists(st.floats(0, 300), min_size=1, max_size=200))
def test_quantiles_are_lengths_that_so_many_attempts_did_not_exceed(lengths: list[float]) -> None:
    found = Latencies()
    for length in lengths:
        found.add(round(length * 1000), 1)
    in_order = sorted(round(length * 1000) / 1000 for length in lengths)
    for share, quantile in zip((0.5, 0.95, 0.99), found.quantiles(), strict=True):
        assert quantile in in_order
        within = sum(length <= quantile for length in in_order)
        assert within >= share * len(lengths) - 1e-9
        below = [length for length in in_order if length < quantile]
        assert len(below) < share * len(lengths), "the smallest such length"


def test_quantiles_of_many_attempts_are_near_the_exact_ones(store: Store, make: Any) -> None:
    chance = random.Random(5)
    lengths = [chance.lognormvariate(0.3, 0.8) for _ in range(3_000)]
    store.record([make.attempt(number, seconds=length) for number, length in enumerate(lengths)], [])
    [(_, found)] = store.latencies([], Span())
    exact = statistics.quantiles(lengths, n=100, method="inclusive")
    for quantile, place in zip(found.quantiles(), (49, 94, 98), strict=True):
        assert quantile == pytest.approx(exact[place], rel=0.01)


def test_questions_are_counted_once_whatever_became_of_them(store: Store, make: Any) -> None:
    run = {"run_id": "killed"}
    store.record(
        [
            make.attempt(1, outcome="transient", response=None, **run),
            make.attempt(1, **run),
            make.attempt(2, outcome="repair", **run),
            make.attempt(2, via="repair", **run),
            make.attempt(2, via="fallback:other", model="other:m", **run),
            make.attempt(3, via="probe", **run),
            make.attempt(4, run_id="another"),
        ],
        [],
    )
    assert [(each.run_id, each.model, each.questions) for each in store.questions(["killed"], Span())] == [
        ("killed", "scripted:x", 2)
    ]


def test_usage_of_runs_that_ended_comes_oldest_first(store: Store) -> None:
    store.record_usage([UsageRow(run_id="b", operator="o", model="m", rows=3, started_at=2.0 * DAY_S)])
    store.record_usage([UsageRow(run_id="a", operator="o", model="m", rows=2, saved_nano_usd=None, started_at=5.0)])
    rows = store.usage_in(Span())
    assert [(row[0], row[1], row[6], row[14]) for row in rows] == [(0, "a", 2, None), (2, "b", 3, 0)]
    assert [row[1] for row in store.usage_in(Span(since=6.0))] == ["b"]
