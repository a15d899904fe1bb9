"""Nothing is asked that a plan does not need, nothing twice, and ``explain`` says so beforehand: calls are counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from pydantic import BaseModel

import infergraph as ig
from infergraph.models.model import Request
from infergraph.models.scripted import script

ROWS = pl.DataFrame(
    {
        "id": [1, 2, 3, 4, 5, 6, 7, 8],
        "lang": ["en", "de", "en", "de", "en", "de", "en", "de"],
        "body": ["a", "b", "c", "d", "e", "f", "a", None],
    }
)
"""Six different texts, one of them twice, and a null."""


class Facts(BaseModel):
    product: str


def answer(request: Request) -> dict[str, Any]:
    if request.schema is not None and "product" in request.schema.text:
        return {"product": "lamp"}
    if request.schema is not None and "answer" in request.schema.text:
        return {"answer": True}
    return {"label": "x"}


def kinds(rows: ig.SemanticFrame, into: str = "kind") -> ig.SemanticFrame:
    return rows.semantic.classify("body", ["x", "y"], into=into)


def english(rows: ig.SemanticFrame) -> ig.SemanticFrame:
    return rows.filter(pl.col("lang") == "en")


Build = Callable[[ig.SemanticFrame], ig.SemanticFrame]
CASES: dict[str, tuple[Build, int, str]] = {
    "all rows, equal ones once, nulls never": (kinds, 6, "'classify': all rows of its input"),
    "a condition on another column": (
        lambda rows: english(kinds(rows)),
        3,
        '\'classify\': rows of its input where [(col("lang")) == ("en")]',
    ),
    "a condition on its own column": (
        lambda rows: kinds(rows).filter(pl.col("kind") == "y"),
        6,
        "'classify': all rows of its input",
    ),
    "a condition on both, taken apart": (
        lambda rows: kinds(rows).filter((pl.col("kind") == "x") & (pl.col("lang") == "en")),
        3,
        '\'classify\': rows of its input where [(col("lang")) == ("en")]',
    ),
    "a condition above two operators": (
        lambda rows: english(kinds(rows).semantic.extract("body", Facts)),
        6,
        '\'extract\': rows of its input where [(col("lang")) == ("en")]',
    ),
    "a condition above a new column, a renamed one and a sort": (
        lambda rows: english(kinds(rows).with_columns(n=pl.col("id") * 2).rename({"n": "m"}).sort("m")),
        3,
        '\'classify\': rows of its input where [(col("lang")) == ("en")]',
    ),
    "columns without its own": (
        lambda rows: kinds(rows).select("id", "lang"),
        0,
        "'classify': makes no call, as nobody reads kind",
    ),
    "its column dropped": (
        lambda rows: kinds(rows).drop("kind"),
        0,
        "'classify': makes no call, as nobody reads kind",
    ),
    "the upper of two operators alone": (
        lambda rows: kinds(rows).semantic.extract("body", Facts).select("product"),
        6,
        "'classify': makes no call, as nobody reads kind",
    ),
    "the number of rows": (
        lambda rows: kinds(rows).select(pl.len()),
        0,
        "'classify': makes no call, as nobody reads kind",
    ),
    "a semantic filter decides, whoever reads what": (
        lambda rows: rows.semantic.filter("{{ body }} is short").select("id"),
        6,
        "'filter': all rows of its input",
    ),
    "head": (lambda rows: kinds(rows).head(2), 2, "'classify': the first 2 rows of its input"),
    "slice": (lambda rows: kinds(rows).slice(1, 2), 3, "'classify': the first 3 rows of its input"),
    "a condition above slice": (
        lambda rows: english(kinds(rows).slice(1, 3)),
        4,
        "'classify': the first 4 rows of its input",
    ),
    "limit": (lambda rows: kinds(rows).limit(3), 3, "'classify': the first 3 rows of its input"),
    "head over two operators": (
        lambda rows: kinds(rows).semantic.extract("body", Facts).head(2),
        4,
        "'classify': the first 2 rows of its input",
    ),
    "head over a filter by meaning": (
        lambda rows: rows.semantic.filter("{{ body }} is short").head(2),
        2,
        "'filter': all rows of its input, window by window until head(2) has its rows",
    ),
    "a condition after head": (
        lambda rows: english(kinds(rows).head(4)),
        2,
        '\'classify\': of the first 4 rows of its input those where [(col("lang")) == ("en")]',
    ),
    "after unique": (
        lambda rows: kinds(rows.unique("lang")),
        2,
        "'classify': all rows of its input",
    ),
    "after a semi join": (
        lambda rows: kinds(rows.join(ROWS.head(2), on="id", how="semi")),
        2,
        "join('id', how='semi')",
    ),
    "two branches of one step": (
        lambda rows: ig.concat([one := kinds(rows), one]),
        6,
        "-- as above, its rows are asked once",
    ),
    "a join with itself": (
        lambda rows: (one := kinds(rows)).join(one, on="id"),
        6,
        "-- as above, its rows are asked once",
    ),
    "the same question under two names": (
        lambda rows: kinds(kinds(rows), "again"),
        6,
        "asks the same as 'classify': equal rows are asked once",
    ),
    "the same question in two branches over other rows": (
        lambda rows: ig.concat([kinds(english(rows)), kinds(rows.filter(pl.col("id") > 2))]),
        5,
        "asks the same as 'classify': equal rows are asked once",
    ),
    "another question": (lambda rows: kinds(rows).semantic.extract("body", Facts), 12, "'extract': all rows"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_calls_of_a_plan(session: ig.Session, case: str) -> None:
    build, calls, told = CASES[case]
    plan = build(session.frame(ROWS, name="mails", key="id"))
    with script("fast", answer) as asked:
        explained = plan.explain()
        expected = plan.estimate()
        assert asked.requests == [], "explaining asks nobody"
        result = plan.run()
    assert len(asked.requests) == result.usage.calls == calls
    assert expected.calls_low <= calls <= expected.calls_high
    assert told in explained
    with script("fast", answer) as again:
        plan.run()
    assert again.requests == []


def test_only_what_differs_is_said_to_differ(session: ig.Session) -> None:
    rows = session.frame(ROWS, name="mails", key="id")
    both = kinds(rows).semantic.classify("body", ["x", "y"], into="other", model="other")
    assert "asks the same" not in both.explain()
    assert "asks the same" not in kinds(rows).semantic.classify("lang", ["x", "y"], into="other").explain()


def test_explain_reads_no_data_and_runs_no_code_of_the_author(session: ig.Session) -> None:
    def fails(*_: Any) -> Any:
        raise AssertionError("explain ran it")

    scanned = pl.LazyFrame(ROWS).with_columns(pl.col("lang").map_batches(fails, return_dtype=pl.String))
    plan = english(kinds(session.frame(scanned, name="mails", key="id")))
    assert "'classify': rows of its input where" in plan.explain()
    own = kinds(session.frame(ROWS, name="mails", key="id").with_columns(pl.col("id").map_elements(fails, pl.Int64)))
    assert "What reaches" not in own.explain()
    assert "semantic.classify" in own.explain()


def test_a_step_that_takes_no_nulls_is_no_hindrance(session: ig.Session) -> None:
    rows = session.frame(ROWS, name="mails", key="id").with_columns(pl.col("lang").str.to_date("%Y", strict=True))
    assert "semantic.classify" in kinds(rows).explain()
