"""Vectors of a column as a matrix, and how alike two of them are: the cosine of the angle between them.

A similarity is computed in 64 bits from the two vectors alone and rounded to 32, so that it is the same whatever other
rows stand around them; products of whole matrices, which are faster and less exact, only say what is worth a look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Protocol, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
"""One unit vector a row."""
Mask = NDArray[np.bool_]
Places = NDArray[np.int64]
Scores = NDArray[np.float32]
Stopped = Callable[[], bool]
"""Says that nobody needs the result any more."""

T = TypeVar("T")
R = TypeVar("R")


class Each(Protocol):
    """Applies a function to items, perhaps to several at once; results come in the items' order."""

    def __call__(self, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """The results."""
        ...


def one_by_one(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """An ``Each`` that does nothing at once."""
    return [function(item) for item in items]


SLACK = np.float32(1e-5)
"""More than a product of two 32-bit matrices can be off."""
_CHUNK = 4_096


def unit_vectors(column: pl.Series) -> tuple[Matrix, Mask]:
    """The column's vectors, each of length 1.

    Args:
        column: ``Array`` of numbers.

    Returns:
        A matrix with one row a vector (4 bytes a number), and which of them have a direction: null, a vector with a
        null or a number that is not finite, and one of zeros have none, and are rows of zeros.

    Example:
        >>> vectors, known = unit_vectors(pl.Series([[3.0, 4.0], None, [0.0, 0.0]], dtype=pl.Array(pl.Float32, 2)))
        >>> vectors.tolist(), known.tolist()
        ([[0.6000000238418579, 0.800000011920929], [0.0, 0.0], [0.0, 0.0]], [True, False, False])
    """
    numbers = column.to_numpy()
    units = np.zeros(numbers.shape, dtype=np.float32)
    known = np.zeros(len(numbers), dtype=np.bool_)
    for start in range(0, len(numbers), _CHUNK):
        part = numbers[start : start + _CHUNK].astype(np.float64)
        # The largest number first: squares of very large or very small ones would leave the range.
        largest = np.abs(part).max(axis=1, keepdims=True, initial=0.0)
        has = np.isfinite(largest[:, 0]) & (largest[:, 0] > 0)
        part = part[has] / largest[has]
        units[start : start + _CHUNK][has] = part / np.sqrt((part * part).sum(axis=1, keepdims=True))
        known[start : start + _CHUNK] = has
    return units, known


def similarities(left: Matrix, right: Matrix) -> Scores:
    """The cosine of each row of one matrix with the same row of another, -1 to 1.

    Args:
        left: Unit vectors.
        right: As many.

    Example:
        >>> similarities(np.eye(2, dtype=np.float32), np.array([[1, 0], [1, 0]], dtype=np.float32)).tolist()
        [1.0, 0.0]
    """
    found = np.empty(len(left), dtype=np.float32)
    for start in range(0, len(left), _CHUNK):
        one = left[start : start + _CHUNK].astype(np.float64)
        other = right[start : start + _CHUNK].astype(np.float64)
        lengths = np.sqrt((one * one).sum(axis=1) * (other * other).sum(axis=1))
        dots = (one * other).sum(axis=1)
        found[start : start + _CHUNK] = np.divide(dots, lengths, out=np.zeros(len(one)), where=lengths > 0)
    return np.clip(found, -1, 1)


def pair_similarities(left: Matrix, left_rows: Places, right: Matrix, right_rows: Places) -> Scores:
    """The similarities of pairs of rows, a few thousand pairs in memory at a time."""
    found = np.empty(len(left_rows), dtype=np.float32)
    for start in range(0, len(left_rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        found[part] = similarities(left[left_rows[part]], right[right_rows[part]])
    return found


def distinct(vectors: Matrix) -> tuple[Places, Places]:
    """Which rows are the first of their kind, and which of these each row is equal to.

    Example:
        >>> first, same = distinct(np.array([[1, 0], [0, 1], [1, 0]], dtype=np.float32))
        >>> first.tolist(), same.tolist()
        ([0, 1], [0, 1, 0])
    """
    known: dict[bytes, int] = {}
    same = np.empty(len(vectors), dtype=np.int64)
    first: list[int] = []
    for place, vector in enumerate(vectors):
        # Minus zero and zero are equal numbers of different bytes.
        mark = blake2b((vector + np.float32(0)).tobytes(), digest_size=16).digest()
        number = known.setdefault(mark, len(first))
        if number == len(first):
            first.append(place)
        same[place] = number
    return np.array(first, dtype=np.int64), same


def best_of_each(rows: Places, columns: Places, scores: Scores, k: int) -> NDArray[np.int64]:
    """Which entries are among the ``k`` best of their row: by score, then by column; ordered by row, best first.

    Example:
        >>> best_of_each(np.array([0, 0, 1]), np.array([7, 5, 5]), np.array([0.5, 0.5, 0.1], np.float32), 1).tolist()
        [1, 2]
    """
    order = np.lexsort((columns, -scores, rows))
    ordered = rows[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(ordered) else np.empty(0, np.int64)
    rank = np.arange(len(ordered)) - np.repeat(starts, np.diff(np.r_[starts, len(ordered)]))
    chosen: NDArray[np.int64] = order[rank < k]
    return chosen
