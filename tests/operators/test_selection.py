"""The best of many by pairs: right under a judge who is of one mind, and finite, whole and honest under any other."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import combinations, pairwise
from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.operators.selection import Pair, best

Judge = Callable[[int, int], int]


def mark(value: object) -> bytes:
    return blake2b(repr(value).encode(), digest_size=16).digest()


def played(weights: Sequence[int], k: int, marks: Sequence[bytes], judge: Judge) -> tuple[list[int], list[list[Pair]]]:
    """What comes out, and the rounds that it took."""
    asked, rounds = best(weights, k, marks), []
    try:
        pairs = next(asked)
        while True:
            rounds.append(list(pairs))
            pairs = asked.send([judge(one, other) for one, other in pairs])
    except StopIteration as done:
        return done.value, rounds


def higher(values: Sequence[int]) -> Judge:
    return lambda one, other: 1 if values[one] > values[other] else -1


def rows_wanted(ranked: Sequence[int], weights: Sequence[int], k: int) -> Sequence[int]:
    """As many of the ranked items as it takes for ``k`` rows."""
    taken, rows = 0, 0
    while taken < len(ranked) and rows < k:
        rows += weights[ranked[taken]]
        taken += 1
    return ranked[:taken]


@given(
    st.lists(st.integers(), unique=True, max_size=120).flatmap(
        lambda values: st.tuples(
            st.just(values), st.lists(st.integers(1, 4), min_size=len(values), max_size=len(values)), st.integers(1, 60)
        )
    )
)
def test_it_agrees_with_a_full_sort(case: tuple[list[int], list[int], int]) -> None:
    values, weights, k = case
    found, rounds = played(weights, k, [mark(value) for value in values], higher(values))
    whole = sorted(range(len(values)), key=lambda item: -values[item])
    assert found == rows_wanted(whole, weights, k)
    assert all(rounds), "a round without a question"


@given(st.integers(0, 90), st.integers(1, 100), st.integers())
def test_a_judge_without_any_order_still_gets_that_many_and_each_has_beaten_the_next(n: int, k: int, seed: int) -> None:
    coin, told = random.Random(seed), dict[Pair, int]()

    def judge(one: int, other: int) -> int:
        assert (one, other) not in told, "asked twice"
        told[one, other] = coin.choice((1, 0, -1))
        return told[one, other]

    found, _ = played([1] * n, k, [mark(item) for item in range(n)], judge)
    assert len(found) == len(set(found)) == min(n, k)
    for one, other in pairwise(found):
        assert told[one, other] >= 0 if one < other else told[other, one] <= 0


@given(st.permutations(range(60)), st.integers(1, 20))
def test_the_order_of_the_items_decides_nothing(order: list[int], k: int) -> None:
    def game(items: Sequence[int]) -> tuple[list[int], list[set[frozenset[int]]]]:
        found, rounds = played([1] * 60, k, [mark(item) for item in items], higher([-item for item in items]))
        return [items[place] for place in found], [{frozenset(items[p] for p in pair) for pair in r} for r in rounds]

    assert game(order) == game(range(60))


@given(st.integers(0, 39), st.permutations(range(40)), st.integers(1, 40))
def test_who_cannot_be_compared_comes_behind_those_who_can(mute: int, values: list[int], k: int) -> None:
    def judge(one: int, other: int) -> int:
        return 0 if mute in (one, other) else higher(values)(one, other)

    found, _ = played([1] * 40, k, [mark(item) for item in range(40)], judge)
    able = sorted(set(range(40)) - {mute}, key=lambda item: -values[item])
    assert found == [*able, mute][:k]


def with_one_undecided(values: Sequence[int], pair: set[int], k: int) -> list[int]:
    """Who is found by a judge of one mind who never tells about one pair, and asks no pair twice."""
    told: set[Pair] = set()

    def judge(one: int, other: int) -> int:
        assert (one, other) not in told, "asked twice"
        told.add((one, other))
        return 0 if {one, other} == pair else higher(values)(one, other)

    return played([1] * len(values), k, [mark(value) for value in values], judge)[0]


@given(st.permutations(range(24)), st.integers(0, 23), st.integers(1, 23), st.integers(1, 24))
def test_one_undecided_pair_keeps_nobody_out(values: list[int], one: int, step: int, k: int) -> None:
    """Whom somebody between the two tells apart; of neighbours nobody can say who is better."""
    other = (one + step) % 24
    best_first = sorted(range(24), key=lambda item: -values[item])
    expected = [best_first[:k]]
    if abs(values[one] - values[other]) == 1:
        turned = {one: other, other: one}
        expected.append([turned.get(item, item) for item in best_first][:k])
    assert with_one_undecided(values, {one, other}, k) in expected


@pytest.mark.parametrize("k", [1, 3])
def test_no_pair_of_few_rows_keeps_the_best_out(k: int) -> None:
    values = [3, 0, 5, 2, 4, 1]
    best_first = sorted(range(6), key=lambda item: -values[item])
    for one, other in combinations(range(6), 2):
        if abs(values[one] - values[other]) > 1:
            assert with_one_undecided(values, {one, other}, k) == best_first[:k], (one, other)


@given(st.permutations(range(30)), st.sets(st.integers(0, 29), max_size=5))
def test_pivots_that_nobody_can_be_compared_with_are_given_up(values: list[int], mute: set[int]) -> None:
    def judge(one: int, other: int) -> int:
        return 0 if mute & {one, other} else higher(values)(one, other)

    found, rounds = played([1] * 30, 4, [mark(value) for value in values], judge)
    able = sorted(set(range(30)) - mute, key=lambda item: -values[item])
    assert found == able[:4]
    assert sum(map(len, rounds)) < 4 * 30


@pytest.mark.parametrize(
    "judge",
    [
        lambda one, other: 1,
        lambda one, other: -1,
        lambda one, other: 0,
        lambda one, other: 1 if (one + other) % 2 else -1,
    ],
    ids=["the first", "the second", "undecided", "parity"],
)
@pytest.mark.parametrize("k", [1, 7, 300])
def test_stubborn_judges_come_to_an_end(judge: Judge, k: int) -> None:
    found, _ = played([1] * 300, k, [mark(item) for item in range(300)], judge)
    assert len(set(found)) == k


def test_a_model_that_refuses_everything_costs_little_more() -> None:
    found, rounds = played([1] * 500, 5, [mark(item) for item in range(500)], lambda one, other: 0)
    assert len(set(found)) == 5
    assert sum(map(len, rounds)) < 4 * 500


def test_a_judge_who_always_lets_the_pivot_lose_comes_to_an_end() -> None:
    """As bad as it gets: every part loses its pivot only, hundreds of times over."""
    marks = [mark(item) for item in range(400)]
    found, rounds = played([1] * 400, 1, marks, lambda one, other: 1 if marks[one] > marks[other] else -1)
    assert len(found) == 1
    assert sum(map(len, rounds)) <= 400 * 399 / 2


@pytest.mark.parametrize(("n", "k"), [(30, 5), (100, 1), (100, 10), (100, 100), (1000, 1), (1000, 10), (1000, 100)])
def test_the_number_of_calls_grows_as_n_and_k_log_k(n: int, k: int) -> None:
    """``n + k log2 k`` calls, within a factor, and few rounds; ``benchmarks/top_k.py`` has the figures."""
    calls, rounds = [], []
    for seed in range(12):
        values = random.Random(seed).sample(range(10 * n), n)
        _, played_rounds = played([1] * n, k, [mark((seed, value)) for value in values], higher(values))
        calls.append(sum(map(len, played_rounds)))
        rounds.append(len(played_rounds))
    assert min(calls) >= n - 1, "whoever is not the best must have lost once"
    assert sum(calls) / len(calls) <= 2 * n + k * log2(k)
    assert sum(rounds) / len(rounds) <= 3 * log2(n) + 4 * log2(k + 1)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.6])
def test_items_that_nobody_can_compare_cost_the_others_neither_their_place_nor_many_questions(share: float) -> None:
    for seed in range(6):
        chance = random.Random(seed)
        values = chance.sample(range(10_000), 1_000)
        blind = set(chance.sample(range(1_000), int(1_000 * share)))
        fair = higher(values)

        def judge(one: int, other: int, blind: set[int] = blind, fair: Judge = fair) -> int:
            return 0 if one in blind or other in blind else fair(one, other)

        found, rounds = played([1] * 1_000, 10, [mark(value) for value in values], judge)
        able = sorted(set(range(1_000)) - blind, key=lambda item: -values[item])
        assert len(set(found[:10]) & set(able[:10])) >= 3, "those that can be compared, among the first"
        assert sum(map(len, rounds)) < 3_000
