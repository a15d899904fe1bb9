"""Fuzzy ratios of texts, and cosine, dot and normalize of vectors, against their definitions."""

from __future__ import annotations

import math
from typing import Any, get_args

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import infergraph as ig
from infergraph.errors import PlanError
from infergraph.text.similarity import Method

TEXTS = st.text(max_size=20)
VECTORS = st.lists(st.lists(st.floats(-100, 100, width=32), min_size=3, max_size=3) | st.none(), max_size=8)


def computed(expr: pl.Expr, **columns: Any) -> list[Any]:
    return pl.DataFrame(columns).select(expr).to_series().to_list()


@pytest.mark.parametrize("method", get_args(Method))
@given(pairs=st.lists(st.tuples(TEXTS | st.none(), TEXTS | st.none()), max_size=5))
def test_ratios_lie_between_0_and_1_and_the_same_is_1(
    method: Method, pairs: list[tuple[str | None, str | None]]
) -> None:
    left, right = [one for one, _ in pairs], [other for _, other in pairs]
    frame = {"a": pl.Series(left, dtype=pl.String), "b": pl.Series(right, dtype=pl.String)}
    for value, (one, other) in zip(
        computed(ig.text.similarity.fuzzy("a", "b", method=method), **frame), pairs, strict=True
    ):
        assert value is None if one is None or other is None else 0 <= value <= 1
    for value, one in zip(computed(ig.text.similarity.fuzzy("a", "a", method=method), **frame), left, strict=True):
        assert (
            value is None
            if one is None
            else value == 1 or not one.strip() or "token" in method or method == "weighted_ratio"
        )


@pytest.mark.parametrize(
    ("method", "one", "other", "value"),
    [
        ("ratio", "abcd", "abxd", 0.75),
        ("levenshtein", "abcd", "abxd", 0.75),
        ("damerau_levenshtein", "abcd", "abdc", 0.75),
        ("levenshtein", "abcd", "abdc", 0.5),
        ("partial_ratio", "the cat", "I saw the cat today", 1.0),
        ("token_sort_ratio", "new york", "york new", 1.0),
        ("token_set_ratio", "new york new", "york new", 1.0),
        ("jaro", "martha", "marhta", 0.9444),
        ("jaro_winkler", "martha", "marhta", 0.9611),
    ],
)
def test_known_pairs(method: Method, one: str, other: str, value: float) -> None:
    found = computed(ig.text.similarity.fuzzy("a", pl.lit(other), method=method), a=[one, one])
    assert found == pytest.approx([value, value], abs=1e-4)


def test_case_is_ignored_where_it_is_asked_for() -> None:
    assert computed(ig.text.similarity.fuzzy("a", "b", ignore_case=True), a=["ÄB"], b=["äb"]) == [1.0]
    assert computed(ig.text.similarity.fuzzy("a", "b"), a=["ÄB"], b=["äb"]) == [0.0]


@given(left=VECTORS, data=st.data())
def test_cosine_and_dot_are_what_they_say(left: list[list[float] | None], data: st.DataObject) -> None:
    right = data.draw(st.lists(VECTORS.map(lambda v: v[0] if v else None), min_size=len(left), max_size=len(left)))
    for dtype in (pl.List(pl.Float64), pl.Array(pl.Float32, 3)):
        frame = {"a": pl.Series(left, dtype=dtype), "b": pl.Series(right, dtype=dtype)}
        dots = computed(ig.text.similarity.dot("a", "b"), **frame)
        cosines = computed(ig.text.similarity.cosine("a", "b"), **frame)
        for dot, cosine, one, other in zip(dots, cosines, left, right, strict=True):
            if one is None or other is None:
                assert (dot, cosine) == (None, None)
                continue
            assert dot == pytest.approx(sum(x * y for x, y in zip(one, other, strict=True)), rel=1e-3, abs=1e-2)
            assert cosine is None or -1 <= cosine <= 1


@given(VECTORS)
@pytest.mark.parametrize("dtype", [pl.List(pl.Float64), pl.Array(pl.Float32, 3)], ids=str)
def test_normalized_vectors_have_length_1(dtype: pl.DataType, vectors: list[list[float] | None]) -> None:
    column = pl.Series(vectors, dtype=dtype)
    found = pl.DataFrame({"v": column}).lazy().select(ig.text.similarity.normalize("v")).collect()["v"]
    assert found.dtype == dtype
    for unit, vector in zip(found.to_list(), vectors, strict=True):
        if vector is None or not any(vector):
            assert unit is None
        elif math.hypot(*vector) > 1e-15:  # below, the square of a 32-bit number is 0
            assert math.hypot(*unit) == pytest.approx(1, rel=1e-4)


def test_one_vector_is_compared_with_all_rows() -> None:
    assert computed(ig.text.similarity.dot("v", [1, 2]), v=[[1.0, 1.0], None, [0.0, 3.0]]) == [3.0, None, 6.0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("a", "b", "ration"), "no method 'ration'"),
        ((3, "b", "ratio"), "a column is a name or a Polars expression"),
    ],
)
def test_what_is_wrong_is_said_when_the_expression_is_built(arguments: tuple[Any, Any, Any], says: str) -> None:
    left, right, method = arguments
    with pytest.raises(PlanError, match=says):
        ig.text.similarity.fuzzy(left, right, method=method)


@pytest.mark.parametrize(
    ("expr", "says"),
    [
        (ig.text.similarity.cosine("v", [1, 2, 3]), "length 2 and 3"),
        (ig.text.similarity.normalize("t"), "embeddings are an Array or a List"),
        (ig.text.similarity.fuzzy("n", "t"), "is Int64, not String"),
    ],
)
def test_columns_that_do_not_fit_are_named(expr: pl.Expr, says: str) -> None:
    with pytest.raises((PlanError, pl.exceptions.ComputeError), match=says):
        pl.DataFrame({"v": [[1.0, 2.0]], "t": ["x"], "n": [1]}).select(expr)


def test_they_work_lazily_and_in_the_streaming_engine() -> None:
    lazy = pl.LazyFrame({"a": ["abc"] * 5000, "b": ["abd"] * 5000, "v": [[3.0, 4.0]] * 5000})
    found = lazy.select(ig.text.similarity.fuzzy("a", "b"), v=ig.text.similarity.normalize("v")).collect(
        engine="streaming"
    )
    assert found["v"].to_list()[-1] == pytest.approx([0.6, 0.8])
    assert found.height == 5000


def test_one_value_for_all_rows_of_an_empty_frame_and_vectors_that_are_all_null() -> None:
    empty = pl.DataFrame(schema={"a": pl.String, "v": pl.List(pl.Float32)})
    row = empty.select(f=ig.text.similarity.fuzzy("a", pl.lit("x")), c=ig.text.similarity.cosine("v", [1, 2]))
    assert row.schema == {"f": pl.Float64, "c": pl.Float32}
    assert row.is_empty()
    assert computed(ig.text.similarity.normalize("v"), v=[None, None]) == [None, None]


def test_huge_and_tiny_vectors_have_a_direction() -> None:
    huge, tiny = [1e30, 0.0], [0.0, 1e-30]
    assert computed(ig.text.similarity.cosine("v", [1, 0]), v=[huge, tiny]) == [1.0, 0.0]
    assert computed(ig.text.similarity.cosine("v", [0, 1]), v=[huge, tiny]) == [0.0, 1.0]
    assert computed(ig.text.similarity.normalize("v"), v=[huge, tiny]) == [[1.0, 0.0], [0.0, 1.0]]
    assert computed(ig.text.similarity.normalize("v"), v=[huge, None, tiny]) == [[1.0, 0.0], None, [0.0, 1.0]]


@pytest.mark.parametrize("wrong", [[1, "a"], None, 3])
def test_what_is_no_vector_is_said_when_the_plan_is_built(wrong: Any) -> None:
    with pytest.raises(PlanError, match="is no vector"):
        ig.text.similarity.cosine("v", wrong)


@pytest.mark.parametrize("huge", [1e39, 1e154, 1e300, 1.7e308])
@pytest.mark.parametrize("dtype", [pl.List(pl.Float64), pl.Array(pl.Float64, 2)], ids=str)
def test_numbers_beyond_32_bits_have_a_direction_too(huge: float, dtype: pl.DataType) -> None:
    tiny = 1 / huge
    vectors = [[huge, huge], [tiny, 0.0], [0.0, -huge], [huge, tiny], None, [0.0, 0.0], [math.inf, 1.0], [3.0, 4.0]]
    column = pl.Series(vectors, dtype=dtype)
    half = math.sqrt(0.5)
    assert computed(ig.text.similarity.cosine("v", [1, 0]), v=column) == pytest.approx(
        [half, 1.0, 0.0, 1.0, None, None, None, 0.6], abs=1e-6
    )
    assert computed(ig.text.similarity.cosine("v", "v"), v=column) == pytest.approx(
        [1.0, 1.0, 1.0, 1.0, None, None, None, 1.0]
    )
    units = computed(ig.text.similarity.normalize("v"), v=column)
    assert [None if unit is None else [round(x, 6) for x in unit] for unit in units] == [
        [0.707107, 0.707107], [1.0, 0.0], [0.0, -1.0], [1.0, 0.0], None, None, None, [0.6, 0.8],
    ]  # fmt: skip


def test_the_dot_product_of_huge_and_tiny_numbers() -> None:
    frame = {"a": [[1e200, 1.0], [1e300, 0.0], [1e25, 0.0]], "b": [[1e-200, 1.0], [1e300, 0.0], [1e25, 0.0]]}
    assert computed(ig.text.similarity.dot("a", "b"), **frame) == [2.0, math.inf, math.inf]
