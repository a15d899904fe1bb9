"""How alike two texts are, letter by letter, and how alike two embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from infergraph.errors import PlanError, did_you_mean
from infergraph.text.row_wise import Column, check_texts, column_of

Method = Literal[
    "ratio", "partial_ratio", "token_sort_ratio", "token_set_ratio", "token_ratio", "weighted_ratio",
    "levenshtein", "damerau_levenshtein", "jaro", "jaro_winkler",
]  # fmt: skip
_FUZZ = {"weighted_ratio": "WRatio"}
_DISTANCES = {
    "levenshtein": "Levenshtein",
    "damerau_levenshtein": "DamerauLevenshtein",
    "jaro": "Jaro",
    "jaro_winkler": "JaroWinkler",
}
_Matrix = NDArray[Any]
_SINGLE = pl.Float32()
_SHORTEST = 1e-30
"""Numbers of 32 bits begin to lose digits at 1e-38."""


def fuzzy(left: Column, right: Column, *, method: Method = "ratio", ignore_case: bool = False) -> pl.Expr:
    """How alike two texts are, letter by letter.

    Args:
        left: A String column.
        right: Another one; write ``pl.lit("...")`` to compare all rows with one text.
        method: ``ratio`` (share of letters in common order), ``partial_ratio`` (the shorter text within the longer
            one), ``token_sort_ratio`` and ``token_set_ratio`` (words in any order, words as a set), ``token_ratio``
            (the better of these two), ``weighted_ratio`` (the best of all of them, weighted), or a normalised edit
            distance: ``levenshtein``, ``damerau_levenshtein``, ``jaro``, ``jaro_winkler``.
        ignore_case: Compare case-folded texts.

    Returns:
        A row-wise Float64 expression, 0 (nothing in common) to 1 (the same); null where either text is null.

    Raises:
        PlanError: An unknown method, or something that is no column.

    The measures are those of the library RapidFuzz, divided by 100 where it gives percent.

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"a": ["Smith, John", None], "b": ["john smith", "x"]})
        >>> alike = ig.text.similarity.fuzzy("a", "b", method="token_sort_ratio", ignore_case=True)
        >>> frame.select(alike.round(2))["a"].to_list()
        [0.95, None]
    """
    where = "ig.text.similarity.fuzzy"
    if method not in get_args(Method):
        raise PlanError(f"{where}: there is no method {method!r}. {did_you_mean(str(method), get_args(Method))}")

    def compare(pair: Sequence[pl.Series]) -> pl.Series:
        from rapidfuzz import process

        for side in pair:
            check_texts(side, where)
        there = pair[0].is_not_null() & pair[1].is_not_null()
        texts = (side.filter(there).cast(pl.String) for side in pair)
        one, other = (side.str.to_lowercase().to_list() if ignore_case else side.to_list() for side in texts)
        scorer, most = _scorer(method)
        found = process.cpdist(one, other, scorer=scorer, dtype=np.float64) / most
        return _in_place(found, there)

    return _of_pairs(left, right, compare, pl.Float64(), where)


def cosine(left: Column, right: Column | Sequence[float]) -> pl.Expr:
    """The cosine of the angle between two embeddings.

    Args:
        left: A column of vectors: ``Array`` or ``List`` of numbers, all of one length.
        right: Another one, or one vector for all rows.

    Returns:
        A row-wise Float32 expression, -1 to 1; null where either vector is null, and where one has no direction (all
        zeros, or a number that is not finite).

    Raises:
        PlanError: At run time, where a column holds no vectors or the lengths differ.

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"v": [[1.0, 0.0], [0.6, 0.8], [0.0, 0.0]]})
        >>> frame.select(ig.text.similarity.cosine("v", [1, 0]))["v"].to_list()
        [1.0, 0.6000000238418579, None]
    """
    return _of_vectors(left, right, "cosine")


def dot(left: Column, right: Column | Sequence[float]) -> pl.Expr:
    """The dot product of two embeddings: the cosine, where both have length 1.

    Args:
        left: A column of vectors: ``Array`` or ``List`` of numbers, all of one length.
        right: Another one, or one vector for all rows.

    Returns:
        A row-wise Float32 expression; null where either vector is null, infinite beyond what 32 bits can say (3.4e38).

    Raises:
        PlanError: At run time, where a column holds no vectors or the lengths differ.

    Example:
        >>> import infergraph as ig
        >>> pl.DataFrame({"v": [[1.0, 2.0]]}).select(ig.text.similarity.dot("v", [3, 4]))["v"].to_list()
        [11.0]
    """
    return _of_vectors(left, right, "dot")


def normalize(column: Column) -> pl.Expr:
    """Vectors brought to length 1.

    Args:
        column: A column of vectors: ``Array`` or ``List`` of floats.

    Returns:
        A row-wise expression of the column's own type, computed with 32 bits; null where the vector is null or has no
        direction (all zeros, or a number that is not finite).

    Raises:
        PlanError: At run time, where the column holds no vectors.

    Example:
        >>> import infergraph as ig
        >>> pl.DataFrame({"v": [[3.0, 4.0], None]}).select(ig.text.similarity.normalize("v"))["v"].to_list()
        [[0.6000000238418579, 0.800000011920929], None]
    """
    where = "ig.text.similarity.normalize"

    def units(values: pl.Series) -> pl.Series:
        dtype = _check_vectors(values, where)
        if dtype == pl.Null:
            return values
        if not isinstance(dtype, (pl.Array, pl.List)) or dtype.inner not in (pl.Float32, pl.Float64):
            raise PlanError(f"{where}: the column {values.name!r} is {dtype}; cast its numbers to Float32 first.")
        there = values.is_not_null()
        given = values.filter(there)
        matrix = _matrix(given, where).copy()
        lengths = _lengths(matrix)
        doubtful = _doubtful(lengths)
        if doubtful.any() and dtype.inner == pl.Float64:
            matrix[doubtful] = _scaled(given.filter(pl.Series(doubtful)), where)[0]
            lengths[doubtful] = _lengths(matrix[doubtful])
        usable = np.isfinite(lengths) & (lengths > 0)
        if usable.all() and len(matrix) == len(values) and matrix.size:
            np.divide(matrix, lengths[:, None], out=matrix, casting="same_kind")
            return pl.Series(values.name, matrix.reshape(-1)).reshape(matrix.shape).cast(dtype)
        matrix[usable] = matrix[usable] / lengths[usable, None]
        whole = np.zeros((len(values), matrix.shape[1]), dtype=np.float32)
        whole[there.to_numpy()] = matrix
        shown = there.to_numpy().copy()
        shown[shown] = usable
        vectors = pl.Series(values.name, whole.reshape(-1)).reshape(whole.shape) if whole.size else None
        if vectors is None:
            return pl.Series(values.name, [None] * len(values), dtype=dtype)
        return pl.select(pl.when(pl.Series(shown)).then(vectors)).to_series().alias(values.name).cast(dtype)

    return column_of(column, where).map_batches(units, return_dtype=pl.self_dtype(), is_elementwise=True)


def _scorer(method: str) -> tuple[Callable[..., float], float]:
    """RapidFuzz' function, and what it gives for two equal texts."""
    from rapidfuzz import distance, fuzz

    if method in _DISTANCES:
        return getattr(distance, _DISTANCES[method]).normalized_similarity, 1
    return getattr(fuzz, _FUZZ.get(method, method)), 100


def _in_place(found: NDArray[Any], there: pl.Series) -> pl.Series:
    """As many values as places, null where nothing was there to compare."""
    whole = np.zeros(len(there), dtype=found.dtype)
    whole[there.to_numpy()] = found
    return pl.select(pl.when(there).then(pl.Series(whole))).to_series()


def _of_pairs(
    left: Column,
    right: Column,
    compare: Callable[[Sequence[pl.Series]], pl.Series],
    returns: pl.DataType,
    where: str,
) -> pl.Expr:
    pair = [column_of(left, where), column_of(right, where)]

    def batch(columns: Sequence[pl.Series]) -> pl.Series:
        # A literal comes as one value for all rows, of which there may be none.
        rows = next((len(column) for column in columns if len(column) != 1), 1)
        same = [column if len(column) == rows else column.new_from_index(0, rows) for column in columns]
        return compare(same).alias(columns[0].name).cast(returns)

    return pl.map_batches(pair, batch, return_dtype=returns, is_elementwise=True)


def _of_vectors(left: Column, right: Column | Sequence[float], measure: Literal["cosine", "dot"]) -> pl.Expr:
    where = f"ig.text.similarity.{measure}"
    other = right if isinstance(right, (str, pl.Expr)) else _literal(right, where)
    return _of_pairs(left, other, partial(_compared, cosine=measure == "cosine", where=where), pl.Float32(), where)


def _literal(vector: Sequence[float], where: str) -> pl.Expr:
    try:
        return pl.lit(pl.Series([[float(x) for x in vector]]))
    except (TypeError, ValueError):
        raise PlanError(
            f"{where}: {vector!r:.80} is no vector: give a column, or a list of numbers such as [0.6, 0.8]."
        ) from None


def _compared(pair: Sequence[pl.Series], *, cosine: bool, where: str) -> pl.Series:
    for side in pair:
        _check_vectors(side, where)
    there = pair[0].is_not_null() & pair[1].is_not_null()
    sides = [side.filter(there) for side in pair]
    one, other = (_matrix(side, where) for side in sides)
    if one.shape[1] != other.shape[1]:
        raise PlanError(f"{where}: vectors of length {one.shape[1]} and {other.shape[1]} cannot be compared.")
    with np.errstate(all="ignore"):
        products = np.einsum("ij,ij->i", one, other, dtype=np.float64)
        lengths = [_lengths(one), _lengths(other)] if cosine else []
        doubtful = np.logical_or.reduce([~np.isfinite(products), *map(_doubtful, lengths)])
        if cosine:
            products /= lengths[0] * lengths[1]
        if doubtful.any() and any(_is_double(side) for side in sides):
            rows = pl.Series(doubtful)
            products[doubtful] = _compared_in_double([side.filter(rows) for side in sides], cosine=cosine, where=where)
    if not cosine:
        return _in_place(products, there)
    found = _in_place(np.clip(products, -1, 1), there)
    return pl.select(pl.when(found.is_finite()).then(found)).to_series()


def _compared_in_double(sides: Sequence[pl.Series], *, cosine: bool, where: str) -> NDArray[np.float64]:
    """The same for vectors whose numbers are too large or too small for 32 bits."""
    (one, size), (other, other_size) = (_scaled(side, where) for side in sides)
    products: NDArray[np.float64] = np.einsum("ij,ij->i", one, other)
    if cosine:
        return products / (_lengths(one) * _lengths(other))
    return products * size * other_size


def _scaled(values: pl.Series, where: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Vectors whose largest number is 1 or -1, and what they have to be multiplied with; of zeros: as they are."""
    matrix = _matrix(values, where, pl.Float64())
    size = np.abs(matrix).max(axis=1, initial=0)
    with np.errstate(all="ignore"):
        return matrix / np.where(size > 0, size, 1)[:, None], size


def _doubtful(lengths: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether 32 bits may not have been enough for the numbers of vectors so long."""
    return ~((lengths > _SHORTEST) & (lengths < np.inf))


def _is_double(values: pl.Series) -> bool:
    return isinstance(values.dtype, (pl.Array, pl.List)) and values.dtype.inner == pl.Float64


def _lengths(matrix: _Matrix) -> NDArray[np.float64]:
    """The rows' lengths, with 64 bits: the square of a number of 32 may be too large or too small for 32."""
    lengths: NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64))
    return lengths


def _check_vectors(values: pl.Series, where: str) -> pl.DataType:
    dtype = values.dtype
    numbers = isinstance(dtype, (pl.Array, pl.List)) and dtype.inner is not None and dtype.inner.is_numeric()
    if numbers or dtype == pl.Null:
        return dtype
    raise PlanError(
        f"{where}: the column {values.name!r} is {dtype}; embeddings are an Array or a List of numbers, such as "
        ".semantic.embed gives."
    )


def _matrix(values: pl.Series, where: str, dtype: pl.DataType = _SINGLE) -> _Matrix:
    widths = _widths(values)
    if len(widths) > 1:
        raise PlanError(f"{where}: the column {values.name!r} holds vectors of lengths {widths[:5]}.")
    if not widths:
        return np.zeros((0, 0), dtype=np.float32)
    [width] = widths
    flat = values.explode().cast(dtype).fill_null(float("nan")).to_numpy()
    return flat.reshape(len(values), width)


def _widths(values: pl.Series) -> list[int]:
    """The lengths that the vectors have, of which none is null."""
    if values.dtype == pl.Null or values.is_empty():
        return []
    if isinstance(values.dtype, pl.Array):
        return [values.dtype.size]
    return values.list.len().unique().sort().to_list()
