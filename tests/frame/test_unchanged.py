"""Which columns a step hands on as they are: looked at in what it does to rows."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import polars.selectors as cs
import pytest

import infergraph as ig
from infergraph.frame.plan import Step
from infergraph.frame.unchanged import columns_unchanged

ROWS = pl.DataFrame({"id": [3, 1, 2], "a": [1, None, 3], "b": ["x", "y", "z"]})


@pytest.mark.parametrize(
    ("step", "kept"),
    [
        (lambda f: f.filter(pl.col("a") > 0), {"id", "a", "b"}),
        (lambda f: f.sort("id").head(2), {"id", "a", "b"}),
        (lambda f: f.drop("b"), {"id", "a"}),
        (lambda f: f.with_row_index("n"), {"id", "a", "b"}),
        (lambda f: f.with_columns(a=pl.col("a") + 1), {"id", "b"}),
        (lambda f: f.with_columns(pl.col("a").fill_null(0)), {"id", "b"}),
        (lambda f: f.with_columns(c=pl.col("a")), {"id", "a", "b"}),
        (lambda f: f.with_columns(cs.numeric() * 2), {"b"}),
        (lambda f: f.select("a", "id"), {"a", "id"}),
        (lambda f: f.select(pl.all()), {"id", "a", "b"}),
        (lambda f: f.select(pl.col("a"), b=pl.col("b").str.to_uppercase()), {"a"}),
        (lambda f: f.select(a=pl.col("id")), set()),
        (lambda f: f.select(pl.col("a").sort()), set()),
        (lambda f: f.with_columns(pl.col("a").map_elements(lambda x: x, return_dtype=pl.Int64)), {"id", "b"}),
        (lambda f: f.rename({"a": "c"}), set()),
        (lambda f: f.cast({"a": pl.Int32}), set()),
        (lambda f: f.fill_null(0), set()),
        (lambda f: f.map_frame(lambda lf: lf), set()),
    ],
)
def test_columns_that_a_step_hands_on(step: Callable[[ig.SemanticFrame], ig.SemanticFrame], kept: set[str]) -> None:
    with ig.Session(models={"m": ig.Model("scripted:doc")}, store="sqlite://", progress=False) as session:
        frame = step(session.frame(ROWS, name="rows", key="id"))
        assert isinstance(frame.node, Step)
        found = columns_unchanged(frame.node)
        assert found <= kept, "nothing is said to be unchanged that is not"
        if "map_elements" not in frame.node.text and "udf" not in frame.node.text:
            assert found == kept
        after = frame.run(row_ids=True).frame
        before = session.frame(ROWS, name="rows", key="id").run(row_ids=True).frame
    for name in found:
        joined = after.join(before, on="_row_id", how="left", suffix="_before")
        assert joined[name].to_list() == joined[f"{name}_before"].to_list()
