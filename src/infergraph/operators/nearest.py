"""The nearest rows of one matrix for the rows of another: exactly, and where that takes too long, nearly.

Exact as long as the pairs looked at are at most ``EXACT_PAIRS`` (100,000 rows against 100,000). The rows after that are
looked up in cells (see ``cells.py``), with as many cells as it takes to find, on rows whose exact neighbours are known,
98 % of them; where a quarter of the cells does not do, all goes on exactly. While it goes on, one row in 128 is looked
up exactly as well: what share of its true neighbours was found is the run's recall, and where it falls below 95 %,
twice as many cells are looked into.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from infergraph.operators.cells import Cells
from infergraph.operators.vectors import (
    SLACK,
    Each,
    Mask,
    Matrix,
    Places,
    Scores,
    Stopped,
    best_of_each,
    distinct,
    one_by_one,
    pair_similarities,
)

EXACT_PAIRS = 10_000_000_000
"""Pairs that are looked at exactly before anything else is tried: two minutes on two cores, of 384 numbers a vector."""
RECALL_BAR = 0.95
_RECALL_AIM = 0.98
BLOCK_ROWS = 2_048
_TILE_ROWS, _TILE_COLUMNS = 512, 8_192
_TUNED_ON = 512
_CHECK_EVERY = 128
_CELL_ROWS = 1_024
_ENOUGH_CHECKS = 256

Found = tuple[Places, Places, Scores]
"""For each pair the left row, the right row and their similarity: left rows in order, best first."""


@dataclass
class Report:
    """How the neighbours of one run were found."""

    exact_rows: int = 0
    approximate_rows: int = 0
    probes: int = 0
    """Cells that were looked into for a row, at the end."""
    cells: int = 0
    expected: int = 0
    """True neighbours of the rows that were looked up both ways."""
    hits: int = 0
    """How many of these were found."""

    @property
    def recall(self) -> float:
        """Share, 0 to 1, of the true neighbours that were found."""
        return 1.0 if not self.expected else self.hits / self.expected


@dataclass
class _Sample:
    """Rows whose exact neighbours are known."""

    questions: list[Matrix] = field(default_factory=list)
    answers: list[tuple[Places, Scores]] = field(default_factory=list)
    rows: int = 0


class Nearest:
    """Finds the nearest rows of one matrix; questions come in blocks of ``BLOCK_ROWS``, the last one smaller.

    Args:
        vectors: Unit vectors; rows of zeros are to be left out by ``known``.
        known: Which of them can be found.
        k: So many for each question, 1 or more.
        least: Only what is this similar or more, -1 to 1; ``None``: any.
        exact_pairs: Pairs that are looked at exactly before cells are tried; ``None``: ``EXACT_PAIRS``.
        each: How parts of the work are done.
    """

    def __init__(
        self,
        vectors: Matrix,
        known: Mask,
        *,
        k: int,
        least: float | None,
        exact_pairs: int | None = None,
        each: Each = one_by_one,
    ) -> None:
        self.report = Report()
        rows = np.flatnonzero(known)
        first, same = distinct(vectors[rows] if len(rows) < len(vectors) else vectors)
        whole = len(first) == len(vectors)
        self._vectors = vectors if whole else vectors[rows[first]]
        order = np.argsort(same, kind="stable")
        self._twins = rows[order]
        self._twin_starts = np.searchsorted(same[order], np.arange(len(first) + 1))
        self._k = k
        self._each = each
        self._least = None if least is None else np.float32(least)
        self._exact_rows = (EXACT_PAIRS if exact_pairs is None else exact_pairs) // max(1, len(first))
        self._cells: Cells | None = None
        self._gave_up = False
        self._sample = _Sample()
        self._since = 0, 0
        """Expected and hits when the number of cells was last changed."""

    def of(self, questions: Matrix, known: Mask, stopped: Stopped = lambda: False) -> Found:
        """The neighbours of a block of questions.

        Args:
            questions: Unit vectors.
            known: Which of them have a direction; the others have no neighbours.
            stopped: Ends the search early; what it gives then is not to be used.
        """
        rows = np.flatnonzero(known)
        asked = questions[rows]
        if not len(asked) or not len(self._vectors):
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
        split = len(asked) if self._gave_up else max(0, min(len(asked), self._exact_rows - self.report.exact_rows))
        exact = self._exactly(asked[:split], stopped)
        self.report.exact_rows += split
        self._keep(asked[:split], exact)
        if split < len(asked) and not stopped():
            exact = _joined(exact, self._nearly(asked[split:], stopped), split)
        return self._with_twins(rows, exact)

    # -- exactly -------------------------------------------------------------------------------------

    def _exactly(self, asked: Matrix, stopped: Stopped) -> Found:
        def part(start: int) -> Found:
            rows, places, scores = self._exact_rows_of(asked[start : start + _TILE_ROWS], stopped)
            return rows + start, places, scores

        return _stacked(self._each(part, range(0, len(asked), _TILE_ROWS)))

    def _exact_rows_of(self, asked: Matrix, stopped: Stopped) -> Found:
        held: Found = _stacked([])
        floor = np.full(len(asked), -2 if self._least is None else self._least, dtype=np.float32)
        for start in range(0, len(self._vectors), _TILE_COLUMNS):
            if stopped():
                break
            tile = asked @ self._vectors[start : start + _TILE_COLUMNS].T
            bar = np.maximum(floor, _kth_best(tile, self._k)) if start == 0 or self._k == 1 else floor
            rows, columns = np.nonzero(tile >= (bar - SLACK)[:, None])
            places = columns + start
            scores = pair_similarities(asked, rows, self._vectors, places)
            held = self._best(*_both(held, (rows, places, scores)))
            counts = np.bincount(held[0], minlength=len(asked))
            full = counts >= self._k
            ends = np.cumsum(counts) - 1
            floor[full] = np.maximum(floor[full], held[2][ends[full]])
        return held

    def _best(self, rows: Places, places: Places, scores: Scores) -> Found:
        if self._least is not None:
            good = scores >= self._least
            rows, places, scores = rows[good], places[good], scores[good]
        chosen = best_of_each(rows, places, scores, self._k)
        return rows[chosen], places[chosen], scores[chosen]

    # -- nearly --------------------------------------------------------------------------------------

    def _keep(self, asked: Matrix, exact: Found) -> None:
        """Keep some exact answers, by which the number of cells is chosen."""
        wanted = min(len(asked), _TUNED_ON - self._sample.rows) if len(self._vectors) > self._k else 0
        if wanted <= 0:
            return
        rows, _, scores = exact
        mine = rows < wanted
        self._sample.questions.append(asked[:wanted])
        self._sample.answers.append((rows[mine] + self._sample.rows, scores[mine]))
        self._sample.rows += wanted

    def _nearly(self, asked: Matrix, stopped: Stopped) -> Found:
        if self._cells is None and not self._gave_up:
            self._tune(asked, stopped)
        if self._gave_up or self._cells is None:
            self.report.exact_rows += len(asked)
            return self._exactly(asked, stopped)
        found = self._in_cells(asked, self.report.probes)
        checked = np.arange(0, len(asked), _CHECK_EVERY)
        exact = self._exactly(asked[checked], stopped)
        self._note(exact, _of_rows(found, checked))
        self.report.approximate_rows += len(asked)
        self._look_further()
        return found

    def _look_further(self) -> None:
        """Look into more cells from here on, where too little was found since the last change."""
        assert self._cells is not None
        report = self.report
        expected, hits = report.expected - self._since[0], report.hits - self._since[1]
        if expected >= _ENOUGH_CHECKS and hits < RECALL_BAR * expected:
            report.probes = min(2 * report.probes, self._cells.count)
            self._since = report.expected, report.hits

    def _tune(self, asked: Matrix, stopped: Stopped) -> None:
        """Choose how many cells are looked into; where too many would be, go on exactly."""
        if not self._sample.rows:
            some = asked[: _TUNED_ON // 4]
            self._keep(some, self._exactly(some, stopped))
        cells = Cells(self._vectors, self._each)
        questions = np.concatenate(self._sample.questions) if self._sample.rows else asked[:0]
        rows = np.concatenate([np.empty(0, np.int64), *(rows for rows, _ in self._sample.answers)])
        scores = np.concatenate([np.empty(0, np.float32), *(one for _, one in self._sample.answers)])
        self._cells, self.report.cells = cells, cells.count
        probes = fewest_probes(len(rows))
        while probes <= cells.count // 4 and not stopped():
            self.report.expected = self.report.hits = 0
            self._note((rows, rows, scores), self._in_cells(questions, probes))
            if self.report.recall >= _RECALL_AIM:
                self.report.probes = probes
                self._since = self.report.expected, self.report.hits
                return
            probes *= 2
        self._cells, self._gave_up = None, True

    def _in_cells(self, asked: Matrix, probes: int) -> Found:
        assert self._cells is not None
        cells, least = self._cells, None if self._least is None else float(self._least - SLACK)

        def part(start: int) -> Found:
            block = asked[start : start + _CELL_ROWS]
            rows, places, scores = cells.near(block, probes=probes, k=self._k, least=least)
            chosen = best_of_each(rows, places, scores, self._k)
            rows, places = rows[chosen], places[chosen]
            rows, places, scores = self._best(rows, places, pair_similarities(block, rows, self._vectors, places))
            return rows + start, places, scores

        return _stacked(self._each(part, range(0, len(asked), _CELL_ROWS)))

    def _note(self, exact: Found, found: Found) -> None:
        """Count which of the true neighbours were found; one that is as near as the last true one counts as such."""
        rows, _, scores = exact
        if not len(rows):
            return
        last = np.full(int(max(rows.max(), found[0].max(initial=0))) + 1, np.inf, dtype=np.float32)
        np.minimum.at(last, rows, scores)
        self.report.expected += len(rows)
        self.report.hits += int((found[2] >= last[found[0]]).sum())

    # -- equal vectors -------------------------------------------------------------------------------

    def _with_twins(self, asked: Places, found: Found) -> Found:
        """The pairs with every row that has the same vector, and the best of those."""
        rows, places, scores = found
        starts = self._twin_starts[places]
        counts = np.minimum(self._twin_starts[places + 1] - starts, self._k)
        each = np.repeat(np.arange(len(rows)), counts)
        within = np.arange(len(each)) - np.repeat(np.cumsum(counts) - counts, counts)
        rows, right, scores = rows[each], self._twins[starts[each] + within], scores[each]
        chosen = best_of_each(rows, right, scores, self._k)
        return asked[rows[chosen]], right[chosen], scores[chosen]


def fewest_probes(known: int) -> int:
    """Cells to begin with, by how many true neighbours there are to measure on: few of them prove little."""
    return 4 if known >= _ENOUGH_CHECKS else 32


def _kth_best(tile: Matrix, k: int) -> Scores:
    best: Scores
    if k == 1:
        best = tile.max(axis=1)
    elif k >= tile.shape[1]:
        best = tile.min(axis=1)
    else:
        best = np.partition(tile, tile.shape[1] - k, axis=1)[:, tile.shape[1] - k]
    return best


def _stacked(parts: list[Found]) -> Found:
    if not parts:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    rows, places, scores = (np.concatenate(each) for each in zip(*parts, strict=True))
    return rows, places, scores


def _both(one: Found, other: Found) -> Found:
    return _stacked([one, other])


def _joined(exact: Found, rest: Found, rows: int) -> Found:
    return _both(exact, (rest[0] + rows, rest[1], rest[2]))


def _of_rows(found: Found, rows: Places) -> Found:
    """Only the pairs of these rows, which are numbered anew."""
    mine = np.isin(found[0], rows)
    return np.searchsorted(rows, found[0][mine]), found[1][mine], found[2][mine]
