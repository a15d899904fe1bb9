"""Great Expectations as checks of an asset, in real Dagster runs."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import dagster as dg
import great_expectations as gx
import great_expectations.expectations as gxe
import polars as pl
import pytest
from great_expectations.data_context.data_context.context_factory import project_manager
from great_expectations.expectations.row_conditions import Column

import infergraph as ig

BETWEEN = "expect_column_values_to_be_between_score"


def test_each_expectation_is_a_check_and_its_severity_says_whether_it_blocks(shop: Any) -> None:
    notes = shop.notes(
        expectations=[
            gxe.ExpectColumnValuesToBeBetween(column="score", min_value=0, max_value=100),
            gxe.ExpectColumnValuesToBeBetween(column="score", max_value=60, severity="warning", meta={"name": "low"}),
            gxe.ExpectColumnValuesToBeBetween(column="score", max_value=99, severity="info", description="Never 100."),
            {"type": "expect_table_row_count_to_equal", "kwargs": {"value": 3}},
        ]
    )
    specs = {spec.name: spec for spec in notes.check_specs}
    assert list(specs)[4:] == [BETWEEN, "low", f"{BETWEEN}_2", "expect_table_row_count_to_equal"]
    assert [specs[name].blocking for name in list(specs)[4:]] == [True, False, False, True]
    assert specs[f"{BETWEEN}_2"].description == "Never 100."
    assert "max_value=100" in (specs[BETWEEN].description or "")
    result = shop.run(shop.tickets(), notes)
    assert result.success, shop.failure(result)
    told = shop.told(result, BETWEEN)
    assert (told["passed_check"], told["element_count"], told["unexpected_count"]) == (True, 3, 0)
    low = shop.told(result, "low")
    assert (low["passed_check"], low["severity"], low["unexpected_count"]) == (False, "WARN", 1)
    assert low["says"] == "1 of 3 values are unexpected"
    assert low["failed_rows"] == shop.published().filter(pl.col("score") > 60)["_row_id"].to_list()
    assert shop.told(result, "expect_table_row_count_to_equal")["observed_value"] == 3


def test_a_suite_is_its_expectations(shop: Any) -> None:
    one, other = gxe.ExpectColumnToExist(column="id"), gxe.ExpectTableRowCountToEqual(value=3)
    suite = gx.ExpectationSuite(name="notes", expectations=[one, other])
    wanted = ["expect_column_to_exist_id", "expect_table_row_count_to_equal"]
    for given in (suite, [suite], [one, other]):
        assert [spec.name for spec in shop.notes(expectations=given).check_specs][4:] == wanted


@pytest.mark.parametrize("partition", [None, "de"])
def test_a_critical_one_that_fails_leaves_what_was_published(shop: Any, partition: str | None) -> None:
    parts = None if partition is None else dg.StaticPartitionsDefinition(["en", "de"])
    expectation = gxe.ExpectColumnMeanToBeBetween(column="score", max_value=60)
    tickets, notes = shop.tickets(parts), shop.notes(partitions_def=parts, expectations=[expectation])
    assert shop.run(tickets, notes, partition=partition).success
    before = shop.storage.version("notes", partition)
    shop.bodies = ["lamp 70", "desk 80"]
    failed = shop.run(tickets, notes, partition=partition)
    assert "expect_column_mean_to_be_between_score: observed 75.0" in shop.failure(failed)
    assert shop.storage.version("notes", partition) == before
    only = shop.check_only(notes)
    assert shop.told(only, "expect_column_mean_to_be_between_score")["observed_value"] == 52.0


def test_no_value_of_a_row_reaches_the_event_log(shop: Any) -> None:
    shop.bodies = ["secret-word 7", "secret-word 8"]
    notes = shop.notes(
        expectations=[
            gxe.ExpectColumnValuesToMatchRegex(column="body", regex="^lamp"),
            gxe.ExpectColumnMostCommonValueToBeInSet(column="body", value_set=["lamp"]),
            gxe.ExpectColumnValueZScoresToBeLessThan(column="body", threshold=3, double_sided=False),
        ]
    )
    result = shop.run(shop.tickets(), notes)
    assert not result.success
    assert not any("secret-word" in str(entry) for entry in shop.instance.all_logs(result.run_id))
    broken = [check.description for name, check in shop.checks(result).items() if "z_scores" in name]
    assert [str(said).startswith("it could not be evaluated: ") for said in broken] == [True]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (gxe.ExpectColumnValuesToNotBeNull(column="scor"), "there is no column 'scor'. Did you mean 'score'?"),
        ({"type": "expect_column_values_to_not_be_nul", "kwargs": {"column": "score"}}, "Did you mean 'expect_"),
        ({"type": "expect_column_values_to_not_be_null", "kwargs": {"colum": "score"}}, "field required"),
        (gxe.UnexpectedRowsExpectation(unexpected_rows_query="SELECT * FROM {batch}"), "asks a database"),
        (
            gxe.ExpectColumnValuesToBeBetween(column="body", min_value=3),
            "min_value=3.0 cannot be compared with values",
        ),
    ],
    ids=["column", "type", "argument", "sql", "bound"],
)
def test_one_that_cannot_work_is_refused_before_anything_is_asked(shop: Any, given: Any, says: str) -> None:
    result = shop.run(shop.tickets(), shop.notes(expectations=[given]))
    assert says in shop.failure(result)
    assert not shop.writer.requests


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["expect_column_to_exist"], "give objects such as"),
        ([{"kind": "expect_column_to_exist"}], "there is no 'kind'"),
        ([{"type": "expect_column_to_exist", "severity": "high"}], "write 'critical', 'warning' or 'info'"),
        ([{"kwargs": {}}], "write 'type', a name"),
        ({"type": "expect_column_to_exist"}, "give a list"),
        ([{"type": "expect_column_to_exist", "meta": {"name": "budget"}}], "every asset has"),
    ],
)
def test_what_is_no_expectation_is_refused_when_the_asset_is_defined(shop: Any, given: Any, says: str) -> None:
    with pytest.raises(ig.PlanError, match=says):
        shop.notes(expectations=given)


def test_the_current_context_stays_the_users_own(shop: Any) -> None:
    own = gx.get_context(mode="ephemeral")
    condition = gxe.ExpectColumnValuesToNotBeNull(column="summary", row_condition=Column("score") > 1)
    assert shop.run(shop.tickets(), shop.notes(expectations=[condition])).success
    assert project_manager.get_current_project() is own
    assert "tqdm_monitor" not in {thread.name for thread in threading.enumerate()}, "which watches progress bars"


def test_an_asset_is_defined_without_importing_great_expectations() -> None:
    code = """
import sys, infergraph as ig
@ig.semantic_asset(expectations=[{"type": "expect_column_to_exist", "kwargs": {"column": "id"}}])
def notes(tickets): return tickets
print({"great_expectations", "pandas"} & set(sys.modules))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
