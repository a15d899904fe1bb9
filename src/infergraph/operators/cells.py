"""Vectors sorted into cells around centres, so that a vector's neighbours are looked for in the nearest cells only.

An inverted file (Sivic and Zisserman 2003; Jegou, Douze and Schmid 2011): spherical k-means finds the centres on a
sample. It is built in seconds, is the same for the same vectors, and how many cells are looked into can be chosen after
it was built. Measured against graph indexes (HNSW of usearch and faiss) in ``benchmarks/neighbours.py``.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from infergraph.operators.vectors import SLACK, Each, Matrix, Places, Scores, best_of_each, one_by_one

_ROUNDS = 6
_SAMPLE_A_CELL = 32
_BLOCK = 4_096
Finds = tuple[Places, Places, Scores]
"""Rows of questions, places of vectors, and scores: products of 32-bit numbers."""


class Cells:
    """The vectors of one matrix, by cell.

    Args:
        vectors: Unit vectors, one at least.
        each: How parts of the work are done.

    Example:
        >>> cells = Cells(np.eye(3, dtype=np.float32))
        >>> rows, places, scores = cells.near(np.eye(3, dtype=np.float32)[:1], probes=1, k=1)
        >>> rows.tolist(), places.tolist(), scores.tolist()
        ([0], [0], [1.0])
    """

    def __init__(self, vectors: Matrix, each: Each = one_by_one) -> None:
        self._centres = _centres(vectors, max(1, min(len(vectors), int(4 * len(vectors) ** 0.5))), each)
        self.count = len(self._centres)
        """How many cells there are."""
        cell = _nearest(vectors, self._centres, each)
        self._order = np.argsort(cell, kind="stable")
        self._starts = np.searchsorted(cell[self._order], np.arange(self.count + 1))
        self._vectors = vectors

    def near(self, questions: Matrix, *, probes: int, k: int | None = None, least: float | None = None) -> Finds:
        """What is found in the cells nearest to each question.

        Args:
            questions: Unit vectors.
            probes: Cells that are looked into, 1 or more.
            k: Leave out what cannot be among so many best; ``None``: nothing.
            least: Only what has this score or more; ``None``: any.

        Returns:
            The ``k`` best of these cells and some more, in no order.
        """
        probes = min(probes, self.count)
        closeness = questions @ self._centres.T
        floor = np.full(len(questions), -2 if least is None else least, dtype=np.float32)
        found: list[Finds] = []
        if k is not None:
            # What the nearest cell holds says what is worth a look in all others.
            nearest = closeness.argmax(axis=1)
            found += [_best(finds, k, floor) for finds in self._in_cells(questions, nearest[:, None], floor)]
            closeness[np.arange(len(questions)), nearest] = -np.inf
            probes -= 1
        if probes:
            cells = np.argpartition(closeness, self.count - probes, axis=1)[:, self.count - probes :]
            found += self._in_cells(questions, cells, floor)
        if not found:
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
        rows, places, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return rows, places, scores

    def _in_cells(self, questions: Matrix, cells: Places, floor: Scores) -> Iterator[Finds]:
        """What reaches each question's floor, cell by cell: all that ask a cell are compared with it at once."""
        askers, asked = np.repeat(np.arange(len(questions)), cells.shape[1]), cells.ravel()
        order = np.argsort(asked, kind="stable")
        askers, bounds = askers[order], np.searchsorted(asked[order], np.arange(self.count + 1))
        for number in np.flatnonzero(np.diff(bounds)):
            members = self._order[self._starts[number] : self._starts[number + 1]]
            if not len(members):
                continue
            asking = askers[bounds[number] : bounds[number + 1]]
            scores = questions[asking] @ self._vectors[members].T
            rows, columns = np.nonzero(scores >= floor[asking][:, None])
            yield asking[rows], members[columns], scores[rows, columns]


def _best(finds: Finds, k: int, floor: Scores) -> Finds:
    """The ``k`` best of each question's finds, the last of which is its new floor."""
    rows, places, scores = finds
    chosen = best_of_each(rows, places, scores, k)
    rows, places, scores = rows[chosen], places[chosen], scores[chosen]
    counts = np.bincount(rows, minlength=len(floor))
    full = np.flatnonzero(counts >= k)
    last = np.cumsum(counts)[full] - 1
    # A hair less: products of matrices are not the same in blocks of another shape.
    floor[full] = np.maximum(floor[full], scores[last] - SLACK)
    return rows, places, scores


def _centres(vectors: Matrix, count: int, each: Each) -> Matrix:
    """Spherical k-means from evenly spaced rows."""
    size = min(len(vectors), count * _SAMPLE_A_CELL)
    sample = vectors[np.linspace(0, len(vectors) - 1, size).astype(np.int64)]
    centres: Matrix = sample[np.linspace(0, size - 1, count).astype(np.int64)].copy()
    for _ in range(_ROUNDS):
        cell = _nearest(sample, centres, each)
        order = np.argsort(cell, kind="stable")
        starts = np.searchsorted(cell[order], np.arange(count))
        filled = np.flatnonzero(np.bincount(cell, minlength=count))
        sums = np.add.reduceat(sample[order], starts[filled], axis=0)
        lengths = np.sqrt((sums.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
        # A centre without members, or whose members cancel out, stays where it was.
        moved = lengths[:, 0] > 1e-9
        centres[filled[moved]] = sums[moved] / lengths[moved]
    return centres


def _nearest(vectors: Matrix, centres: Matrix, each: Each) -> Places:
    def part(start: int) -> Places:
        nearest: Places = (vectors[start : start + _BLOCK] @ centres.T).argmax(axis=1)
        return nearest

    return np.concatenate(each(part, range(0, len(vectors), _BLOCK)))
