"""The estimate that a run makes for itself: of a sample where the rows are many, and given up where it takes long."""

from __future__ import annotations

import time
from typing import Any

import polars as pl
import pytest

import infergraph as ig
from infergraph.frame.estimate_sample import quick_estimate
from infergraph.models.model import Request
from infergraph.models.scripted import script


def answer(request: Request) -> str:
    return "short"


def sampled(plan: ig.SemanticFrame, options: ig.RunOptions | None = None, **bounds: Any) -> ig.Estimate | None:
    found = quick_estimate(plan, options, **bounds)
    return None if found is None else found.estimate


def frame(session: ig.Session, rows: int) -> ig.SemanticFrame:
    data = pl.DataFrame({"id": range(rows), "body": [f"text {n:05}" for n in range(rows)]})
    return session.frame(data, name="docs", key="id")


def test_few_rows_are_all_looked_at(session: ig.Session) -> None:
    plan = frame(session, 100).semantic.map("x {{ body }}", into="t")
    assert sampled(plan, most_rows=100) == plan.estimate()


def test_of_many_rows_every_so_many_stand_for_all(session: ig.Session) -> None:
    with script("fast", answer):
        frame(session, 600).semantic.map("x {{ body }}", into="t").run()
        plan = frame(session, 1_000).semantic.map("x {{ body }}", into="t")
        whole, sample = plan.estimate(), sampled(plan, most_rows=100)
    assert sample is not None
    assert (
        (whole.rows, whole.calls, whole.store_hits)
        == (sample.rows, sample.calls, sample.store_hits)
        == (1000, 400, 600)
    )
    assert sample.input_tokens == pytest.approx(whole.input_tokens, rel=0.02)
    assert sample.assumptions[0] == "Estimated from 1 of 10 rows of 'docs', and multiplied."


def test_a_limit_counts_before_the_sample(session: ig.Session) -> None:
    plan = frame(session, 1_000).semantic.map("x {{ body }}", into="t")
    sample = sampled(plan, ig.RunOptions(limit=200), most_rows=50)
    assert sample is not None
    assert sample.calls == plan.estimate(ig.RunOptions(limit=200)).calls == 200


def test_operators_over_other_sources_are_not_multiplied(session: ig.Session) -> None:
    few = frame(session, 40).select("id", small="body").semantic.map("x {{ small }}", into="t")
    plan = frame(session, 1_000).semantic.map("y {{ body }}", into="u").join(few, on="id", how="left")
    sample = sampled(plan, most_rows=100)
    assert sample is not None
    assert [part.calls for part in sample.operators] == [1_000, 40]
    assert [part.calls for part in plan.estimate().operators] == [1_000, 40]


def test_it_is_given_up_where_a_step_takes_long(session: ig.Session) -> None:
    def slow(text: str) -> str:
        time.sleep(0.01)
        return text

    plan = (
        frame(session, 2_000)
        .with_columns(pl.col("body").map_elements(slow, return_dtype=pl.String))
        .semantic.map("x {{ body }}", into="t")
    )
    assert sampled(plan, most_s=0.05) is None
