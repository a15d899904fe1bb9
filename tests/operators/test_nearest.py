"""Neighbours and groups of vectors: what is found is what looking at every pair finds."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infergraph.operators import nearest as module
from infergraph.operators.alike import merges
from infergraph.operators.cells import Cells
from infergraph.operators.nearest import BLOCK_ROWS, RECALL_BAR, Found, Nearest
from infergraph.operators.vectors import Matrix, similarities, unit_vectors

NUMBERS = st.sampled_from([-1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 3.0])
VECTORS = st.lists(
    st.one_of(st.none(), st.lists(st.one_of(NUMBERS, st.none()), min_size=3, max_size=3)), min_size=0, max_size=12
)


def column(vectors: list[list[float | None] | None]) -> pl.Series:
    return pl.Series("v", vectors, dtype=pl.Array(pl.Float32, 3))


def clustered(rows: int, seed: int, *, centres: int = 40, spread: float = 0.5, width: int = 32) -> Matrix:
    middle = np.random.default_rng(0).normal(size=(centres, width))
    chance = np.random.default_rng(seed)
    made = middle[chance.integers(0, centres, rows)] + spread * chance.normal(size=(rows, width))
    return unit_vectors(pl.Series(made.astype(np.float32), dtype=pl.Array(pl.Float32, width)))[0]


def every_pair(left: pl.Series, right: pl.Series, k: int, least: float | None) -> list[tuple[int, int, float]]:
    """Brute force, one pair at a time."""
    (one, has_one), (two, has_two) = unit_vectors(left), unit_vectors(right)
    found = []
    for row in np.flatnonzero(has_one):
        scores = [(-float(similarities(one[[row]], two[[at]])[0]), int(at)) for at in np.flatnonzero(has_two)]
        near = sorted(score for score in scores if least is None or -score[0] >= np.float32(least))
        found += [(int(row), at, -score) for score, at in near[:k]]
    return found


def triples(found: Found) -> list[tuple[int, int, float]]:
    return list(zip(*(part.tolist() for part in found), strict=True))


@settings(max_examples=300, deadline=None)
@given(VECTORS, VECTORS, st.integers(1, 5), st.sampled_from([None, -1.0, 0.0, 0.5, 1.0]))
def test_neighbours_are_those_of_every_pair(
    left: list[list[float | None] | None], right: list[list[float | None] | None], k: int, least: float | None
) -> None:
    vectors, known = unit_vectors(column(right))
    found = Nearest(vectors, known, k=k, least=least).of(*unit_vectors(column(left)))
    assert triples(found) == every_pair(column(left), column(right), k, least)


@pytest.mark.parametrize("k", [1, 3, 600])
def test_tiles_leave_nothing_out(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TILE_ROWS", 7)
    monkeypatch.setattr(module, "_TILE_COLUMNS", 11)
    left, right = clustered(20, 1), np.concatenate([clustered(500, 2), clustered(60, 2)])
    everywhere = np.ones(len(right), bool)
    found = Nearest(right, everywhere, k=k, least=None).of(left, np.ones(20, bool))
    best = similarities(np.repeat(left, len(right), axis=0), np.tile(right, (20, 1))).reshape(20, -1)
    order = np.argsort(-best, axis=1, kind="stable")[:, :k]
    assert found[1].reshape(20, -1).tolist() == order.tolist()
    assert np.array_equal(found[2].reshape(20, -1), np.take_along_axis(best, order, axis=1))


def test_beyond_the_exact_pairs_neighbours_come_from_cells_and_the_recall_is_the_true_one() -> None:
    right, left = clustered(4_000, 1), clustered(2 * BLOCK_ROWS, 2)
    known, asking = np.ones(len(right), bool), np.ones(BLOCK_ROWS, bool)
    exact, nearly = (Nearest(right, known, k=5, least=None, exact_pairs=pairs) for pairs in (10**9, 4_000_000))
    hits = 0
    for start in (0, BLOCK_ROWS):
        block = left[start : start + BLOCK_ROWS]
        hits += len(set(triples(exact.of(block, asking))) & set(triples(nearly.of(block, asking))))
    report = nearly.report
    assert exact.report.approximate_rows == 0
    assert (report.exact_rows, report.approximate_rows) == (1_000, 2 * BLOCK_ROWS - 1_000)
    assert 0 < report.probes <= report.cells // 4
    assert report.recall >= RECALL_BAR
    assert hits / (5 * len(left)) == pytest.approx(report.recall, abs=0.03)


def test_where_cells_do_not_do_everything_is_exact() -> None:
    # Without any structure the nearest rows lie in any cell.
    chance = np.random.default_rng(3)
    right = unit_vectors(pl.Series(chance.normal(size=(2_000, 64)), dtype=pl.Array(pl.Float64, 64)))[0]
    nearly = Nearest(right, np.ones(2_000, bool), k=3, least=None, exact_pairs=200_000)
    exact = Nearest(right, np.ones(2_000, bool), k=3, least=None)
    found = [one.of(right[:500], np.ones(500, bool)) for one in (nearly, exact)]
    assert triples(found[0]) == triples(found[1])
    assert (nearly.report.exact_rows, nearly.report.approximate_rows) == (500, 0)


def test_blocks_are_told_apart_from_what_stands_around_them() -> None:
    vectors = clustered(300, 5)
    whole = similarities(vectors, vectors[::-1])
    alone = np.array([similarities(vectors[[row]], vectors[[299 - row]])[0] for row in range(300)])
    assert np.array_equal(whole, alone)


def test_cells_hold_every_vector_once() -> None:
    vectors = clustered(700, 6)
    cells = Cells(vectors)
    rows, places, _ = cells.near(vectors[:3], probes=cells.count)
    assert [sorted(places[rows == row]) for row in range(3)] == [list(range(700))] * 3


def components(vectors: pl.Series, least: float) -> list[int]:
    """Brute force: the first row of each row's group; -1 where there is no vector."""
    units, known = unit_vectors(vectors)
    first = [row if known[row] else -1 for row in range(len(units))]
    alike = [
        (one, two)
        for one in range(len(units)) for two in range(one)
        if known[one] and known[two] and similarities(units[[one]], units[[two]])[0] >= np.float32(least)
    ]  # fmt: skip
    for _ in units:
        for one, two in alike:
            first[one] = first[two] = min(first[one], first[two])
    return first


@settings(max_examples=300, deadline=None)
@given(VECTORS, st.sampled_from([-1.0, 0.0, 0.5, 0.9, 1.0]))
def test_merges_are_the_groups_of_every_pair_and_each_has_a_true_reason(
    vectors: list[list[float | None] | None], least: float
) -> None:
    units, known = unit_vectors(column(vectors))
    found, report = merges(units, known, least)
    expected = components(column(vectors), least)
    assert {merge.row: merge.into for merge in found} == {
        row: first for row, first in enumerate(expected) if first not in (-1, row)
    }
    assert report.approximate_rows == 0
    like = {merge.row: merge.like for merge in found}
    for merge in found:
        assert merge.similarity == similarities(units[[merge.row]], units[[merge.like]])[0] >= np.float32(least)
        way = merge.row
        for _ in vectors:  # the reasons lead to the row that stays
            way = like.get(way, way)
        assert way == merge.into


def test_merges_in_cells_find_what_all_pairs_find() -> None:
    vectors = clustered(3_000, 7, centres=300, spread=0.05)
    exact, all_pairs = merges(vectors, np.ones(3_000, bool), 0.97)
    nearly, by_cell = merges(vectors, np.ones(3_000, bool), 0.97, exact_pairs=1_000)
    assert (all_pairs.approximate_rows, by_cell.approximate_rows) == (0, 3_000)
    assert by_cell.recall >= 0.98
    assert {merge.row: merge.into for merge in nearly} == {merge.row: merge.into for merge in exact}
