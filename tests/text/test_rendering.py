"""The rendering table: each type's text, and that whole columns and single values read alike."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infergraph.errors import PlanError
from infergraph.text.rendering import plain_values, render_value_expr, text_of

TABLE: list[tuple[pl.DataType, Any, str]] = [
    (pl.String(), "a <b>\n", "a <b>\n"),
    (pl.Enum(["low", "high"]), "high", "high"),
    (pl.Categorical(), "x", "x"),
    (pl.Int8(), -5, "-5"),
    (pl.UInt64(), 2**64 - 1, "18446744073709551615"),
    (pl.Int128(), 2**100, "1267650600228229401496703205376"),
    (pl.Float64(), 0.1, "0.1"),
    (pl.Float64(), 3.0, "3.0"),
    (pl.Float64(), 1e-5, "0.00001"),
    (pl.Float64(), float("nan"), "NaN"),
    (pl.Float32(), 0.1, "0.1"),
    (pl.Decimal(10, 2), Decimal("1.2"), "1.20"),
    (pl.Decimal(12, 7), Decimal("-0.0000001"), "-0.0000001"),
    (pl.Boolean(), True, "true"),
    (pl.Date(), dt.date(2024, 1, 2), "2024-01-02"),
    (pl.Datetime("us"), dt.datetime(2024, 1, 2, 3, 4, 5), "2024-01-02T03:04:05"),
    (pl.Datetime("ms"), dt.datetime(2024, 1, 2, 3, 4, 5, 120_000), "2024-01-02T03:04:05.120"),
    (pl.Datetime("us", "UTC"), dt.datetime(2024, 1, 2, tzinfo=dt.UTC), "2024-01-02T00:00:00+00:00"),
    (pl.Time(), dt.time(1, 2, 3), "01:02:03"),
    (pl.Duration("us"), dt.timedelta(days=1, seconds=-1), "PT23H59M59S"),
    (pl.List(pl.Date()), [dt.date(2024, 1, 2), None], '["2024-01-02", null]'),
    (pl.Array(pl.Int8, 2), [1, 2], "[1, 2]"),
    (pl.Array(pl.Int8, (2, 1)), [[1], [2]], "[[1], [2]]"),
    (pl.List(pl.Float64()), [1.5, float("nan")], '[1.5, "NaN"]'),
    (pl.Struct({"a": pl.Float32, "t": pl.Time}), {"a": 0.1, "t": dt.time(1)}, '{"a": 0.1, "t": "01:00:00"}'),
    (pl.List(pl.Struct({"e": pl.Enum(["ü"])})), [{"e": "ü"}], '[{"e": "ü"}]'),
]


def rendered(values: list[Any], dtype: pl.DataType) -> list[str | None]:
    frame = pl.DataFrame({"x": pl.Series(values, dtype=dtype)})
    return frame.select(render_value_expr(pl.col("x"), dtype)).to_series().to_list()


@pytest.mark.parametrize(("dtype", "value", "text"), TABLE, ids=lambda part: str(part)[:30])
def test_each_type_has_its_text(dtype: pl.DataType, value: Any, text: str) -> None:
    assert rendered([value, None], dtype) == [text, None]


SCALARS: dict[pl.DataType, st.SearchStrategy[Any]] = {
    pl.String(): st.text(),
    pl.Int64(): st.integers(-(2**63), 2**63 - 1),
    pl.Float64(): st.floats(),
    pl.Float32(): st.floats(width=32),
    pl.Boolean(): st.booleans(),
    pl.Date(): st.dates(),
    pl.Datetime("us"): st.datetimes(),
    pl.Datetime("ns"): st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1)),
    pl.Time(): st.times(),
    pl.Duration("us"): st.timedeltas(dt.timedelta(-100_000), dt.timedelta(100_000)),
    pl.Decimal(20, 6): st.decimals(-(10**12), 10**12, places=6, allow_nan=False),
    pl.Enum(["a", "<b>"]): st.sampled_from(["a", "<b>"]),
}


@st.composite
def columns(draw: st.DrawFn) -> tuple[pl.DataType, list[Any]]:
    """A type, nested up to twice, with values of it."""
    dtype = draw(st.sampled_from(list(SCALARS)))
    values = st.none() | SCALARS[dtype]
    for _ in range(draw(st.integers(0, 2))):
        if draw(st.booleans()):
            dtype, values = pl.List(dtype), st.none() | st.lists(values, max_size=3)
        else:
            dtype, values = pl.Struct({"f": dtype}), st.none() | st.fixed_dictionaries({"f": values})
    return dtype, draw(st.lists(values, max_size=4))


@settings(max_examples=150, deadline=None)
@given(columns())
def test_a_column_and_its_single_values_read_alike(column: tuple[pl.DataType, list[Any]]) -> None:
    dtype, values = column
    frame = pl.DataFrame({"x": pl.Series(values, dtype=dtype)})
    singles = frame.select(plain_values(pl.col("x"), dtype)).to_series().to_list()
    expected = [None if value is None else text_of(value) for value in singles]
    assert rendered(values, dtype) == expected


@settings(max_examples=60, deadline=None)
@given(st.floats(allow_nan=False))
def test_a_float_reads_back_as_itself(number: float) -> None:
    assert float(text_of(number)) == number


@given(st.lists(st.text() | st.none()))
def test_lists_are_json(texts: list[str | None]) -> None:
    assert json.loads(text_of(texts)) == texts


@pytest.mark.parametrize("dtype", [pl.Binary(), pl.List(pl.Binary), pl.Struct({"raw": pl.Binary}), pl.Object()])
def test_bytes_have_no_text(dtype: pl.DataType) -> None:
    with pytest.raises(PlanError, match=r"'blob'.* has no text"):
        render_value_expr(pl.col("x"), dtype, where="column 'blob'")
