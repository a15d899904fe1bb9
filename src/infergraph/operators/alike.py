"""Groups of rows that are alike, also by way of others, and why each is in its group.

Two rows are alike when their similarity is the least one or more; rows that are alike with a common third one are in
one group. All pairs are looked at as long as they are at most ``EXACT_PAIRS`` (141,000 rows); above that each row is
compared with the rows in the cells nearest to it (see ``cells.py``), as many as find 98 % of what is alike with a
sample of rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from infergraph.operators import nearest
from infergraph.operators.cells import Cells, Finds
from infergraph.operators.nearest import Report
from infergraph.operators.vectors import (
    SLACK,
    Each,
    Mask,
    Matrix,
    Places,
    Scores,
    Stopped,
    distinct,
    one_by_one,
    pair_similarities,
    similarities,
)

_TILE = 1_024
_AT_ONCE = 8
_SAMPLE = 512
_RECALL_AIM = 0.98


@dataclass(frozen=True)
class Merge:
    """Why a row is in a group."""

    row: int
    into: int
    """The group's first row."""
    like: int
    """The row of the group that it is alike with: the first one, or one that is there for a reason of its own."""
    similarity: float


class Groups:
    """Rows in groups, put together pair by pair.

    Args:
        count: How many rows there are.
    """

    def __init__(self, count: int) -> None:
        self.first = np.arange(count)
        """The first row of each row's group."""
        self._pairs: list[tuple[Places, Places]] = []

    def join(self, one: Places, other: Places) -> None:
        """These pairs are alike."""
        while True:
            low, high = np.sort(np.stack([self.first[one], self.first[other]]), axis=0)
            apart = low != high
            if not apart.any():
                return
            one, other, low, high = one[apart], other[apart], low[apart], high[apart]
            # Each group goes to one that begins before it, so that they never go round in a circle.
            order = np.lexsort((low, high))
            chosen = order[np.unique(high[order], return_index=True)[1]]
            self.first[high[chosen]] = low[chosen]
            self._pairs.append((one[chosen], other[chosen]))
            while not np.array_equal(self.first, further := self.first[self.first]):
                self.first = further

    def paths(self) -> dict[int, int]:
        """For each row but the first of its group the next one on a way to that, over pairs that are alike."""
        beside: dict[int, list[int]] = {}
        for ones, others in self._pairs:
            for one, other in zip(ones.tolist(), others.tolist(), strict=True):
                beside.setdefault(one, []).append(other)
                beside.setdefault(other, []).append(one)
        towards: dict[int, int] = {}
        for start in sorted({int(self.first[row]) for row in beside}):
            waiting = deque([start])
            while waiting:
                row = waiting.popleft()
                for other in beside.get(row, ()):
                    if other != start and other not in towards:
                        towards[other] = row
                        waiting.append(other)
        return towards


def merges(
    vectors: Matrix,
    known: Mask,
    least: float,
    *,
    exact_pairs: int | None = None,
    stopped: Stopped = lambda: False,
    each: Each = one_by_one,
) -> tuple[list[Merge], Report]:
    """Which rows are merged into an earlier one.

    Args:
        vectors: Unit vectors.
        known: Which of them have a direction; the others are alike with none.
        least: The least similarity of rows that are alike, -1 to 1.
        exact_pairs: Pairs that are looked at before cells are tried; ``None``: ``EXACT_PAIRS``.
        stopped: Ends the search early; what it gives then is not to be used.
        each: How parts of the work are done.

    Returns:
        One merge for each row that is not the first of its group, in order, and how they were found.

    Example:
        >>> vectors = np.array([[1, 0], [0, 1], [0.8, 0.6], [1, 0]], dtype=np.float32)
        >>> for merge in merges(vectors, np.ones(4, bool), 0.75)[0]:
        ...     print(merge.row, merge.into, merge.like, round(merge.similarity, 2))
        2 0 0 0.8
        3 0 0 1.0
    """
    rows = np.flatnonzero(known)
    first, same = distinct(vectors[rows])
    kinds = vectors[rows[first]]
    groups, report = Groups(len(kinds)), Report()
    near = _Alike(kinds, np.float32(least), groups, stopped, each)
    most = nearest.EXACT_PAIRS if exact_pairs is None else exact_pairs
    cells = None if len(kinds) * (len(kinds) - 1) // 2 <= most else near.tuned(report)
    if cells is None:
        report.exact_rows = len(kinds)
        near.all_pairs()
    else:
        report.approximate_rows = len(kinds)
        near.in_cells(cells, report.probes)
    return _told(kinds, np.float32(least), groups, rows, first, same), report


class _Alike:
    """Looks for pairs that are alike and joins their groups."""

    def __init__(self, kinds: Matrix, least: np.float32, groups: Groups, stopped: Stopped, each: Each) -> None:
        self._each = each
        self._kinds = kinds
        self._least = least
        self._groups = groups
        self._stopped = stopped

    def all_pairs(self) -> None:
        for top in range(0, len(self._kinds), _TILE):
            for lefts in _bundles(range(top, len(self._kinds), _TILE)):
                if self._stopped():
                    return
                for found in self._each(partial(self._tile, top), lefts):
                    self._join(*found)

    def _tile(self, top: int, left: int) -> Finds:
        tile = self._kinds[top : top + _TILE] @ self._kinds[left : left + _TILE].T
        rows, columns = np.nonzero(tile >= self._least - SLACK)
        return self._apart(rows + top, columns + left, tile[rows, columns])

    def in_cells(self, cells: Cells, probes: int) -> None:
        def block(start: int) -> Finds:
            asked = self._kinds[start : start + _TILE]
            rows, places, scores = cells.near(asked, probes=probes, least=float(self._least - SLACK))
            return self._apart(rows + start, places, scores)

        for starts in _bundles(range(0, len(self._kinds), _TILE)):
            if self._stopped():
                return
            for found in self._each(block, starts):
                self._join(*found)

    def _apart(self, one: Places, other: Places, scores: Scores) -> Finds:
        """Only what is not in one group already: of rows that are all alike there would be very many pairs."""
        apart = self._groups.first[one] != self._groups.first[other]
        return one[apart], other[apart], scores[apart]

    def tuned(self, report: Report) -> Cells | None:
        """The cells, with how many to look into in the report; ``None`` where that would be too many."""
        cells = Cells(self._kinds, self._each)
        report.cells = cells.count
        chosen = np.linspace(0, len(self._kinds) - 1, _SAMPLE).astype(np.int64)
        report.expected = sum(
            int((self._kinds[chosen] @ self._kinds[start : start + _TILE].T >= self._least).sum())
            for start in range(0, len(self._kinds), _TILE)
        )
        probes = nearest.fewest_probes(report.expected - len(chosen))
        while probes <= cells.count // 4 and not self._stopped():
            found = cells.near(self._kinds[chosen], probes=probes, least=float(self._least))
            report.hits, report.probes = len(found[0]), probes
            # Each row is alike with itself, which is no feat.
            if report.hits - _SAMPLE >= _RECALL_AIM * (report.expected - _SAMPLE):
                report.hits, report.expected = report.hits - _SAMPLE, report.expected - _SAMPLE
                return cells
            probes *= 2
        report.expected = report.hits = report.probes = report.cells = 0
        return None

    def _join(self, one: Places, other: Places, scores: Scores) -> None:
        one, other, scores = self._apart(one, other, scores)
        # What lies at the very edge is decided by the pair alone, whatever block it was in.
        edge = scores < self._least + SLACK
        sure = ~edge
        sure[edge] = pair_similarities(self._kinds, one[edge], self._kinds, other[edge]) >= self._least
        self._groups.join(one[sure], other[sure])


def _bundles(starts: range) -> Iterator[range]:
    """Some at a time, so that what is found in them is not all in memory at once."""
    return (starts[at : at + _AT_ONCE] for at in range(0, len(starts), _AT_ONCE))


def _told(kinds: Matrix, least: np.float32, groups: Groups, rows: Places, first: Places, same: Places) -> list[Merge]:
    """The merges in terms of rows: what is equal to an earlier row is like that one."""
    towards = groups.paths()
    into = groups.first
    direct = similarities(kinds, kinds[into])
    like = into.copy()
    for kind, other in towards.items():
        if direct[kind] < least:
            like[kind] = other
    score = similarities(kinds, kinds[like])
    told: list[Merge] = []
    for place, kind in enumerate(same.tolist()):
        beginning, near, similarity = first[into[kind]], first[like[kind]], float(score[kind])
        if place != first[kind] and direct[kind] < least:
            near, similarity = first[kind], 1.0
        if place != beginning:
            told.append(
                Merge(row=int(rows[place]), into=int(rows[beginning]), like=int(rows[near]), similarity=similarity)
            )
    return told
