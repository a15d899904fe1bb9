"""A condition after ``head`` is one on the first rows: Polars hands a source both, and means them in that order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import infergraph as ig
from infergraph.models.model import Request
from infergraph.models.scripted import script

COUNT = 40


def answer(request: Request) -> Any:
    if request.choices is None:
        return f"said {number_in(request)}"
    return {request.choices.field: number_in(request) % 3 == 0}


def number_in(request: Request) -> int:
    return int(request.messages[-1].content.split("row ")[1].split("\n")[0])


BUILDS: dict[str, tuple[Callable[[ig.SemanticFrame], ig.SemanticFrame], Callable[[pl.DataFrame], pl.DataFrame]]] = {
    "a source": (lambda f: f, lambda rows: rows),
    "an operator that adds a column": (
        lambda f: f.semantic.map("Say {{ body }}", into="said"),
        lambda rows: rows.with_columns(said=pl.format("said {}", "id")),
    ),
    "an operator that decides": (
        lambda f: f.semantic.filter("{{ body }} can be divided by three"),
        lambda rows: rows.filter(pl.col("id") % 3 == 0),
    ),
    "an operator after a condition": (
        lambda f: f.filter(pl.col("id") % 2 == 0).semantic.map("Say {{ body }}", into="said"),
        lambda rows: rows.filter(pl.col("id") % 2 == 0).with_columns(said=pl.format("said {}", "id")),
    ),
}


@pytest.mark.parametrize("kind", BUILDS)
@pytest.mark.parametrize("key", [None, "id", "body"])
@pytest.mark.parametrize("n", [0, 1, 10, 100])
def test_a_condition_after_head_looks_at_the_first_rows(
    session: ig.Session, kind: str, key: str | None, n: int
) -> None:
    build, plain = BUILDS[kind]
    data = pl.DataFrame({"id": range(COUNT), "body": [f"row {number}" for number in range(COUNT)]})
    conditions = [pl.col("id") > 3, pl.col("body").str.len_chars() > 5]
    if "said" in plain(data).columns:
        conditions.append((pl.col("said") != "said 6") & (pl.col("id") != 7))
    with script("fast", answer):
        for condition in conditions:
            frame = build(session.frame(data, name="t", key=key)).head(n).filter(condition)
            assert frame.collect().to_dicts() == plain(data).head(n).filter(condition).to_dicts()
            assert frame.filter(condition).run(row_ids=True).usage.calls == 0


def test_rows_that_the_condition_drops_are_not_asked(session: ig.Session) -> None:
    data = pl.DataFrame({"id": range(COUNT), "body": [f"row {number}" for number in range(COUNT)]})
    said = session.frame(data, name="t").semantic.map("Say {{ body }}", into="said")
    frame = said.head(10).filter(pl.col("id") >= 6)
    assert frame.estimate().calls == 4
    with script("fast", answer) as asked:
        assert frame.collect()["id"].to_list() == [6, 7, 8, 9]
    assert sorted(map(number_in, asked.requests)) == [6, 7, 8, 9]


def test_rejects_that_were_sunk_are_read_as_polars_means_it(session: ig.Session, tmp_path: Path) -> None:
    from infergraph.models.model import CallFailed

    def refuse(request: Request) -> Any:
        raise CallFailed("no", outcome="permanent", reason="refused")

    data = pl.DataFrame({"id": range(COUNT), "body": [f"row {number}" for number in range(COUNT)]})
    with script("fast", refuse):
        said = session.frame(data, name="t", key="id").semantic.map("Say {{ body }}", into="said")
        rejects = said.sink_parquet(tmp_path / "said.parquet").rejects
    assert rejects.head(5).filter(pl.col("id") > 2).collect()["id"].to_list() == [3, 4]
