"""Vectors sorted into cells around centres, so that a vector's neighbours are looked for in the nearest cells only.

An inverted file (Sivic and Zisserman 2003; Jegou, Douze and Schmid 2011): spherical k-means finds the centres on a
sample. It is built in seconds, is the same for the same vectors, and how many cells are looked into can be chosen after
it was built. Measured against graph indexes (HNSW of usearch and faiss) in ``benchmarks/neighbours.py``.
"""

from __future__ import annotations

import numpy as np

from infergraph.operators.vectors import Matrix, Places, Scores

_ROUNDS = 6
_SAMPLE_A_CELL = 32
_BLOCK = 4_096


class Cells:
    """The vectors of one matrix, by cell.

    Args:
        vectors: Unit vectors, one at least.

    Example:
        >>> cells = Cells(np.eye(3, dtype=np.float32))
        >>> rows, places, scores = cells.near(np.eye(3, dtype=np.float32)[:1], probes=1, k=1)
        >>> rows.tolist(), places.tolist(), scores.tolist()
        ([0], [0], [1.0])
    """

    def __init__(self, vectors: Matrix) -> None:
        self._centres = _centres(vectors, max(1, min(len(vectors), int(4 * len(vectors) ** 0.5))))
        self.count = len(self._centres)
        """How many cells there are."""
        cell = _nearest(vectors, self._centres)
        self._order = np.argsort(cell, kind="stable")
        self._starts = np.searchsorted(cell[self._order], np.arange(self.count + 1))
        self._vectors = vectors

    def near(
        self, questions: Matrix, *, probes: int, k: int | None = None, least: float | None = None
    ) -> tuple[Places, Places, Scores]:
        """What is found in the cells nearest to each question.

        Args:
            questions: Unit vectors; memory goes with their number times ``probes`` times ``k``.
            probes: Cells that are looked into, 1 or more.
            k: So many of each cell at most; ``None``: all.
            least: Only what has this score or more; ``None``: any.

        Returns:
            For each find the question's row, the vector's place, and the score (a product of 32-bit numbers).
        """
        probes = min(probes, self.count)
        closeness = questions @ self._centres.T
        cells = np.argpartition(closeness, self.count - probes, axis=1)[:, self.count - probes :]
        askers, cells = np.repeat(np.arange(len(questions)), probes), cells.ravel()
        order = np.argsort(cells, kind="stable")
        askers, bounds = askers[order], np.searchsorted(cells[order], np.arange(self.count + 1))
        found: list[tuple[Places, Places, Scores]] = []
        for number in np.flatnonzero(np.diff(bounds)):
            members = self._order[self._starts[number] : self._starts[number + 1]]
            asking = askers[bounds[number] : bounds[number + 1]]
            if len(members):
                found.append(_found(questions, asking, self._vectors[members], members, k, least))
        if not found:
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
        rows, places, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return rows, places, scores


def _found(
    questions: Matrix, asking: Places, vectors: Matrix, members: Places, k: int | None, least: float | None
) -> tuple[Places, Places, Scores]:
    scores = questions[asking] @ vectors.T
    if k is not None and k < scores.shape[1]:
        at = np.argpartition(scores, scores.shape[1] - k, axis=1)[:, scores.shape[1] - k :]
        rows, columns = np.repeat(np.arange(len(asking)), k), at.ravel()
    else:
        rows, columns = (axis.ravel() for axis in np.indices(scores.shape))
    values = scores[rows, columns]
    if least is not None:
        good = values >= least
        rows, columns, values = rows[good], columns[good], values[good]
    return asking[rows], members[columns], values


def _centres(vectors: Matrix, count: int) -> Matrix:
    """Spherical k-means from evenly spaced rows."""
    size = min(len(vectors), count * _SAMPLE_A_CELL)
    sample = vectors[np.linspace(0, len(vectors) - 1, size).astype(np.int64)]
    centres: Matrix = sample[np.linspace(0, size - 1, count).astype(np.int64)].copy()
    for _ in range(_ROUNDS):
        cell = _nearest(sample, centres)
        order = np.argsort(cell, kind="stable")
        starts = np.searchsorted(cell[order], np.arange(count))
        filled = np.flatnonzero(np.bincount(cell, minlength=count))
        sums = np.add.reduceat(sample[order], starts[filled], axis=0)
        lengths = np.sqrt((sums.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
        # A centre without members, or whose members cancel out, stays where it was.
        moved = lengths[:, 0] > 1e-9
        centres[filled[moved]] = sums[moved] / lengths[moved]
    return centres


def _nearest(vectors: Matrix, centres: Matrix) -> Places:
    parts = [(vectors[start : start + _BLOCK] @ centres.T).argmax(axis=1) for start in range(0, len(vectors), _BLOCK)]
    nearest: Places = np.concatenate(parts)
    return nearest
