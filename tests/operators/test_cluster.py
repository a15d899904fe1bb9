"""Groups of vectors: the same ones for the same vectors, whatever their order; planted ones are found."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from infergraph.operators.cluster import ALONE, LINKED_AT_MOST, clustered, likeness_bar

Matrix = NDArray[np.float32]


def unit(rows: NDArray[np.float64]) -> Matrix:
    scaled: Matrix = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return scaled


def planted(
    rows: int, groups: int, *, dimensions: int = 16, noise: float = 0.3, seed: int = 5
) -> tuple[Matrix, list[int]]:
    """Rows around a few directions, at right angles to each other, and which one each is around."""
    chance = np.random.default_rng(seed)
    middles = np.linalg.qr(chance.normal(size=(dimensions, groups)))[0].T
    truth = chance.integers(0, groups, rows)
    return unit(middles[truth] + noise * chance.normal(size=(rows, dimensions)) / dimensions**0.5), truth.tolist()


def same_partition(one: list[int], other: list[int]) -> bool:
    return len(set(zip(one, other, strict=True))) == len(set(one)) == len(set(other))


@settings(max_examples=25, deadline=None)
@given(
    distinct=st.integers(1, 14),
    rows=st.integers(1, 30),
    k=st.none() | st.integers(1, 6),
    seed=st.integers(0, 2**16),
)
def test_the_order_of_rows_changes_nothing(distinct: int, rows: int, k: int | None, seed: int) -> None:
    chance = np.random.default_rng(seed)
    vectors = unit(chance.normal(size=(distinct, 6)))[chance.integers(0, distinct, rows)]
    order = chance.permutation(rows)
    first, again, moved = clustered(vectors, k), clustered(vectors.copy(), k), clustered(vectors[order], k)
    for other, place in ((again, np.arange(rows)), (moved, order)):
        assert other.numbers.tolist() == first.numbers[place].tolist()
        assert other.same.tolist() == first.same[place].tolist()
        assert other.nearness.tolist() == first.nearness[place].tolist()


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 30), k=st.none() | st.integers(1, 8), seed=st.integers(0, 2**16))
def test_numbers_go_by_size_and_equal_rows_stay_together(rows: int, k: int | None, seed: int) -> None:
    chance = np.random.default_rng(seed)
    vectors = unit(chance.normal(size=(10, 6)))[chance.integers(0, 10, rows)]
    numbers = clustered(vectors, k).numbers.tolist()
    sizes = [numbers.count(number) for number in range(max(numbers) + 1)]
    assert all(one >= other for one, other in pairwise(sizes))
    assert all(sizes), "a number is left out"
    by_vector: dict[bytes, set[int]] = {}
    for vector, number in zip(vectors, numbers, strict=True):
        by_vector.setdefault(vector.tobytes(), set()).add(number)
    assert all(len(found) == 1 for found in by_vector.values())
    if k is None:
        assert all(size > 1 for size in sizes)
    else:
        assert ALONE not in numbers
        assert len(sizes) == min(k, len(by_vector))


@pytest.mark.parametrize("k", [None, 7])
def test_planted_groups_are_found(k: int | None) -> None:
    vectors, truth = planted(300, 7)
    assert same_partition(clustered(vectors, k).numbers.tolist(), truth)


def test_more_vectors_than_are_linked_pair_by_pair() -> None:
    vectors, truth = planted(LINKED_AT_MOST + 500, 9, dimensions=48)
    found = clustered(vectors, None)
    assert same_partition(found.numbers.tolist(), truth)
    order = np.random.default_rng(1).permutation(len(vectors))
    assert clustered(vectors[order], None).numbers.tolist() == found.numbers[order].tolist()


def test_what_is_like_nothing_stands_alone() -> None:
    vectors, _ = planted(40, 3)
    stranger = unit(-vectors.astype(np.float64).sum(axis=0, keepdims=True))
    numbers = clustered(np.concatenate([vectors, stranger]), None).numbers
    assert numbers[-1] == ALONE
    assert ALONE not in numbers[:-1]


def test_nearness_is_highest_in_the_middle() -> None:
    angles = np.deg2rad([0, 10, 20, 90, 100])
    found = clustered(unit(np.stack([np.cos(angles), np.sin(angles)], axis=1)), 2)
    assert found.numbers.tolist() == [0, 0, 0, 1, 1]
    assert found.nearness.argmax() == 1


@pytest.mark.parametrize(
    ("vectors", "k", "numbers"),
    [
        (np.empty((0, 4)), None, []),
        (np.empty((0, 4)), 3, []),
        ([[1, 0]], None, [ALONE]),
        ([[1, 0]], 3, [0]),
        ([[1, 0], [1, 0]], None, [0, 0]),
        ([[1, 0], [0, 1]], None, [ALONE, ALONE]),
        ([[1, 0], [0.8, 0.6]], None, [0, 0]),
        ([[1, 0], [1, 0], [-1, 0]], 2, [0, 0, 1]),
        ([[0.0, 1], [-0.0, 1]], 2, [0, 0]),
    ],
)
def test_few_rows(vectors: list[list[float]], k: int | None, numbers: list[int]) -> None:
    assert clustered(np.asarray(vectors, np.float32), k).numbers.tolist() == numbers


@pytest.mark.parametrize("groups", [1, 2, 3, 12])
def test_the_bar_lies_between_strangers_and_neighbours_however_many_groups_there_are(groups: int) -> None:
    vectors, truth = planted(1_500, groups, dimensions=48)
    likeness = vectors @ vectors.T
    together = np.equal.outer(truth, truth)
    assert likeness_bar(vectors) < likeness[together].mean()
    if groups > 1:
        assert likeness[~together].mean() < likeness_bar(vectors)
        assert same_partition(clustered(vectors, None).numbers.tolist(), truth)
