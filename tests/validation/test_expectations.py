"""What Great Expectations is handed of Polars rows: the columns that an expectation needs, with their values."""

from __future__ import annotations

import datetime as dt
import io
import socket
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from decimal import Decimal
from typing import Any

import great_expectations.expectations as gxe
import polars as pl
import pytest
from great_expectations.expectations.row_conditions import Column
from polars.io.plugins import register_io_source

from infergraph.errors import PlanError
from infergraph.validation.expectations import Expectation, Verdict, check_expectation, validate

DAY, AT = dt.date(2026, 1, 1), dt.datetime(2026, 1, 1)
ROWS = pl.DataFrame(
    {
        "id": [1, 2, 3, None],
        "name": ["a", "bb", None, "cc"],
        "share": [1.0, None, float("nan"), 3.0],
        "kind": pl.Series(["x", "y", "x", None], dtype=pl.Enum(["x", "y"])),
        "day": [DAY, DAY, None, dt.date(2026, 3, 1)],
        "at": [AT, None, AT, dt.datetime(2026, 3, 1)],
        "zoned": pl.Series([AT, None, AT, dt.datetime(2026, 3, 1)]).dt.replace_time_zone("Asia/Tokyo"),
        "ok": [True, None, False, True],
        "price": [Decimal("1.5"), None, Decimal(2), Decimal(3)],
        "large": [2**60, 2**60 + 1, None, 5],
        "tags": [["a"], [], None, ["b"]],
        "place": [{"x": 1}] * 4,
        "span": [dt.timedelta(1), None, dt.timedelta(2), dt.timedelta(3)],
    }
)


def verdict(given: Any) -> Verdict:
    expectation = Expectation.of(given)
    check_expectation(expectation, ROWS.schema, "here")
    return validate(expectation, ROWS.lazy(), sample=3)


@pytest.mark.parametrize(
    ("given", "failing"),
    [
        (gxe.ExpectColumnValuesToBeBetween(column="id", max_value=2), [2]),
        (gxe.ExpectColumnValuesToNotBeNull(column="name"), [2]),
        (gxe.ExpectColumnValuesToNotBeNull(column="share"), [1, 2]),
        (gxe.ExpectColumnValuesToNotBeNull(column="tags"), [2]),
        (gxe.ExpectColumnValuesToNotBeNull(column="span"), [1]),
        (gxe.ExpectColumnValuesToNotBeNull(column="place"), []),
        (gxe.ExpectColumnValuesToBeInSet(column="kind", value_set=["x"]), [1]),
        (gxe.ExpectColumnValuesToBeInSet(column="ok", value_set=[True]), [2]),
        (gxe.ExpectColumnValuesToBeBetween(column="day", max_value=DAY), [3]),
        (gxe.ExpectColumnValuesToBeBetween(column="at", max_value=AT), [3]),
        (gxe.ExpectColumnValuesToBeBetween(column="zoned", max_value=AT.replace(tzinfo=dt.UTC)), [3]),
        (gxe.ExpectColumnValuesToBeBetween(column="price", min_value=2), [0]),
        (gxe.ExpectColumnValuesToBeInSet(column="large", value_set=[2**60, 5]), [1]),
        (gxe.ExpectColumnValueLengthsToBeBetween(column="name", max_value=1), [1, 3]),
        (gxe.ExpectCompoundColumnsToBeUnique(column_list=["kind", "ok"]), []),
        (gxe.ExpectColumnValuesToBeBetween(column="id", min_value=2, row_condition=Column("name") == "a"), [0]),
    ],
    ids=lambda value: f"{type(value).__name__} {getattr(value, 'column', '')}",
)
def test_values_arrive_as_they_are(given: Any, failing: list[int]) -> None:
    found = verdict(given)
    assert found.error == ""
    assert list(found.failing) == failing
    assert found.success == (not failing)
    assert found.figures["unexpected_count"] == len(failing)


def test_only_the_columns_that_are_needed_are_read() -> None:
    read: list[list[str]] = []

    def noted(
        wanted: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, size: int | None
    ) -> Iterator[pl.DataFrame]:
        read.append(ROWS.columns if wanted is None else wanted)
        yield ROWS.select(read[-1])

    rows = register_io_source(noted, schema=ROWS.schema)
    pair = gxe.ExpectColumnPairValuesToBeEqual(column_A="id", column_B="large", row_condition=Column("ok") == True)  # noqa: E712  # how Great Expectations spells it
    for given in (gxe.ExpectColumnMaxToBeBetween(column="id", max_value=9), pair):
        validate(Expectation.of(given), rows, sample=1)
    assert [sorted(columns) for columns in read] == [["id"], ["id", "large", "ok"]]
    read.clear()
    for given in (gxe.ExpectTableRowCountToEqual(value=4), gxe.ExpectColumnToExist(column="id")):
        assert validate(Expectation.of(given), rows, sample=1).success
    assert all(len(columns) <= 1 for columns in read), "to count rows no column's values are needed"


def test_figures_are_plain_numbers() -> None:
    for given in (
        gxe.ExpectColumnMeanToBeBetween(column="share", max_value=1),
        gxe.ExpectColumnSumToBeBetween(column="id", max_value=1),
        gxe.ExpectColumnMostCommonValueToBeInSet(column="name", value_set=["z"]),
    ):
        figures = verdict(given).figures
        assert {type(value) for value in figures.values()} <= {int, float}
    assert verdict(gxe.ExpectColumnSumToBeBetween(column="id", max_value=1)).figures["observed_value"] == 6


def test_nothing_is_printed_and_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        verdict(gxe.ExpectColumnValuesToBeBetween(column="id", max_value=2))
    assert printed.getvalue() == ""


def test_an_empty_frame_and_one_without_values() -> None:
    empty = ROWS.clear().lazy()
    for given in (
        gxe.ExpectColumnValuesToBeBetween(column="id", max_value=2),
        gxe.ExpectColumnValuesToNotBeNull(column="name"),
        gxe.ExpectTableRowCountToEqual(value=0),
    ):
        assert validate(Expectation.of(given), empty, sample=3).success


def test_objects_and_dicts_are_read_alike() -> None:
    made = gxe.ExpectColumnValuesToBeBetween(column="id", max_value=2, severity="info", meta={"name": "few"})
    plain = {
        "type": "expect_column_values_to_be_between",
        "kwargs": {"column": "id", "max_value": 2},
        "severity": "info",
        "meta": {"name": "few"},
    }
    assert Expectation.of(made) == Expectation.of(plain)
    assert (Expectation.of(made).blocking, Expectation.of(made).name) == (False, "few")


@pytest.mark.parametrize(
    ("column", "bound"),
    [("id", DAY), ("name", 3), ("share", DAY), ("day", 5), ("at", "x"), ("kind", 1), ("ok", "yes"), ("price", AT)],
)
def test_a_bound_of_another_type_is_found_before_there_are_rows(column: str, bound: Any) -> None:
    for kind in ("expect_column_values_to_be_between", "expect_column_max_to_be_between"):
        given = Expectation.of({"type": kind, "kwargs": {"column": column, "max_value": bound}})
        with pytest.raises(PlanError, match=rf"here: .*{column}"):
            check_expectation(given, ROWS.schema, "here")


def test_bounds_that_great_expectations_reads_as_numbers_and_lengths_of_texts_are_fine() -> None:
    for kind, column in (
        ("expect_column_values_to_be_between", "id"),
        ("expect_column_value_lengths_to_be_between", "name"),
    ):
        bounds = {"max_value": 2 if column == "name" else "2"}
        check_expectation(Expectation.of({"type": kind, "kwargs": {"column": column, **bounds}}), ROWS.schema, "here")
