"""Groups vectors by likeness: the same vectors make the same groups with the same numbers, in whatever order they come.

With ``k`` it is k-means over vectors of length 1, which is k-means by angle. Without, two groups are joined as long as
their members are alike enough on average, and what stands alone in the end is in no group. What is enough follows from
the vectors themselves, as models differ in how alike they find texts that have nothing in common: two fifths of the
way from what two of the vectors have in common anyhow to what near neighbours have.

Nothing here depends on the order of rows or on chance: equal vectors are taken together, the distinct ones are put in
order by their bytes, and the seed is fixed. Whoever calls it has NumPy multiply with one thread, so that the last bit
does not depend on the number of cores either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Numbers = NDArray[np.int32]

ALONE = -1
"""The number of what is like nothing else."""
LINKED_AT_MOST = 3_000
"""So many distinct vectors are linked pair by pair, in 110 MB; of more, so many small groups of them."""
_STARTS_WORK, _FEWEST_STARTS, _MOST_STARTS = 2_000_000, 1, 30
_SAMPLE, _CHUNK = 1_000, 250
_ANYHOW, _NEIGHBOUR, _WAY = 0.25, 4, 0.4
_LEAST_BAR, _MOST_BAR = 0.2, 0.9
_TOLERANCE = 1e-4
_SEED = 0


@dataclass(frozen=True)
class Clusters:
    """Which group each row is in, and how near it is to the group's middle."""

    numbers: Numbers
    """A row's group: 0 is the largest; ``ALONE`` where it is in none."""
    same: Numbers
    """Equal for rows of equal vectors."""
    nearness: Matrix
    """Cosine of a row and the mean of its group, in [-1, 1]; 0 where it is in none."""


def clustered(vectors: Matrix, k: int | None) -> Clusters:
    """Group rows by their vectors.

    Args:
        vectors: A row each, of length 1, without NaN.
        k: How many groups, 1 or more; there are fewer where fewer vectors are distinct. ``None``: as many as the
            vectors make (average linkage, Sokal and Michener 1958, cut at ``likeness_bar``).

    Returns:
        Groups numbered by their count of rows, the largest first; of equal ones the one with the least vector.

    Example:
        >>> east, north = np.float32([1, 0]), np.float32([0, 1])
        >>> clustered(np.stack([north, east, east]), None).numbers.tolist()
        [-1, 0, 0]
        >>> clustered(np.stack([north, east, east]), 2).numbers.tolist()
        [1, 0, 0]
    """
    if not len(vectors):
        return Clusters(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32))
    distinct, same, counts = _distinct(vectors)
    groups = _linked(distinct) if k is None else _means(distinct, counts, k)
    numbers, sizes = _by_size(groups, counts)
    nearness = _nearness(distinct, counts, numbers)
    if k is None:
        alone = sizes[numbers] == 1
        numbers, nearness = np.where(alone, ALONE, numbers), np.where(alone, 0, nearness)
    return Clusters(numbers.astype(np.int32)[same], same.astype(np.int32), nearness.astype(np.float32)[same])


def _distinct(vectors: Matrix) -> tuple[Matrix, NDArray[np.intp], NDArray[np.intp]]:
    """The distinct vectors in an order of their own, which of them each row has, and how many rows each has."""
    clean = np.ascontiguousarray(vectors + np.float32(0))  # -0.0 becomes 0.0
    rows = clean.view(np.dtype((np.void, clean.shape[1] * clean.itemsize))).ravel()
    _, first, same, counts = np.unique(rows, return_index=True, return_inverse=True, return_counts=True)
    return clean[first], same, counts


def _means(distinct: Matrix, counts: NDArray[np.intp], k: int) -> NDArray[np.intp]:
    if k >= len(distinct):
        return np.arange(len(distinct))
    if k == 1:
        return np.zeros(len(distinct), np.intp)
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    # The best of several starts: of few vectors the groups depend much on it, of many hardly.
    starts = min(max(_STARTS_WORK // (len(distinct) * k), _FEWEST_STARTS), _MOST_STARTS)
    with threadpool_limits(1, "openmp"):  # several threads add up in the order in which they happen to end
        fitted = KMeans(k, n_init=starts, random_state=_SEED).fit(distinct, sample_weight=counts)
    return np.asarray(fitted.labels_, np.intp)


def _linked(distinct: Matrix) -> NDArray[np.intp]:
    if len(distinct) == 1:
        return np.zeros(1, np.intp)
    bar = likeness_bar(distinct)
    if len(distinct) <= LINKED_AT_MOST:
        return _average_linkage(distinct, bar)
    from sklearn.cluster import MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "openmp"):
        small = MiniBatchKMeans(
            LINKED_AT_MOST,
            batch_size=8_192,
            max_iter=4,
            n_init=1,
            init="random",
            random_state=_SEED,
            max_no_improvement=None,
            reassignment_ratio=0.0,
        ).fit_predict(distinct)
    used, small = np.unique(small, return_inverse=True)
    means = np.zeros((len(used), distinct.shape[1]), np.float32)
    np.add.at(means, small, distinct)
    means /= np.bincount(small)[:, None]
    return _average_linkage(means, bar)[small]


def likeness_bar(distinct: Matrix) -> float:
    """The least mean cosine of two groups that belong together, between 0.2 and 0.9.

    It lies two fifths of the way from the lower quartile of all pairs to the median of what each vector has with its
    fourth nearest neighbour (of few vectors a nearer one). The fractions were chosen on the texts of
    ``benchmarks/quality`` and others, where a third to a half, and the third to fifth neighbour, do as well.

    Args:
        distinct: Two vectors or more, of length 1; a thousand of them speak for all.

    Example:
        >>> round(likeness_bar(np.eye(3, dtype=np.float32)), 2), round(likeness_bar(np.ones((2, 1), np.float32)), 2)
        (0.2, 0.9)
    """
    sample = distinct[:: -(-len(distinct) // _SAMPLE)]
    neighbour = max(1, min(_NEIGHBOUR, len(distinct) // 10))
    near = [
        np.partition(sample[start : start + _CHUNK] @ distinct.T, -1 - neighbour, axis=1)[:, -1 - neighbour]
        for start in range(0, len(sample), _CHUNK)
    ]
    anyhow = float(np.quantile((sample @ sample.T)[np.triu_indices(len(sample), 1)], _ANYHOW))
    bar = anyhow + _WAY * (float(np.median(np.concatenate(near))) - anyhow)
    return min(max(bar, _LEAST_BAR), _MOST_BAR)


def _average_linkage(means: Matrix, bar: float) -> NDArray[np.intp]:
    """Groups whose members have a mean cosine of ``bar`` or more: that of two groups is the product of their means."""
    from sklearn.cluster import AgglomerativeClustering

    apart = 1.0 - (means @ means.T).astype(np.float64)
    np.fill_diagonal(apart, 0.0)
    linkage = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="average", distance_threshold=1.0 - bar + _TOLERANCE
    )
    return np.asarray(linkage.fit_predict(np.maximum(apart, 0.0)), np.intp)


def _by_size(groups: NDArray[np.intp], counts: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The groups numbered by their rows, the largest first, and each number's rows."""
    names, first, groups = np.unique(groups, return_index=True, return_inverse=True)
    sizes = np.bincount(groups, weights=counts).astype(np.intp)
    order = np.lexsort((first, -sizes))
    number = np.empty(len(names), np.intp)
    number[order] = np.arange(len(names))
    return number[groups], sizes[order]


def _nearness(distinct: Matrix, counts: NDArray[np.intp], numbers: NDArray[np.intp]) -> Matrix:
    middles = np.zeros((int(numbers.max()) + 1, distinct.shape[1]), np.float32)
    np.add.at(middles, numbers, distinct * counts[:, None].astype(np.float32))
    middles /= np.maximum(np.linalg.norm(middles, axis=1, keepdims=True), np.float32(1e-12))
    nearness: Matrix = np.einsum("nd,nd->n", distinct, middles[numbers])
    return nearness
