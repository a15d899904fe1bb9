"""Rejects of operators that ask several questions a row, against ``max_reject_rate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

import infergraph as ig
from infergraph.dagster.resources import ModelSettings, ModelsResource, StoreResource, close_sessions
from infergraph.dagster.storage import PolarsStorage
from infergraph.models.model import Request, Response
from infergraph.models.scripted import script

PAGES = 12


@dg.asset
def pages() -> pl.DataFrame:
    book = [number // PAGES for number in range(2 * PAGES)]
    text = [f"page {number} " + "word " * 1_500 for number in range(2 * PAGES)]
    return pl.DataFrame({"id": range(2 * PAGES), "book": book, "text": text})


def squeamish(request: Request) -> Any:
    content = request.messages[-1].content
    return Response(text="No.", finish="refusal") if "page 3 " in content else "A book."


@pytest.mark.parametrize(("allowed", "published"), [(0.25, False), (0.5, True)])
def test_a_refused_part_counts_as_its_whole_row(
    allowed: float, published: bool, tmp_path: Path, storage: PolarsStorage, instance: dg.DagsterInstance
) -> None:
    @ig.semantic_asset(key={"pages": "id"}, max_reject_rate=allowed)
    def books(pages: ig.SemanticFrame) -> ig.SemanticFrame:
        prompt = "What is it? {% for row in rows %}{{ row.text }}{% endfor %}"
        return pages.semantic.reduce(prompt, by="book", into="answer")

    resources = {
        "models": ModelsResource(models={"reader": ModelSettings(name="scripted:reader")}, default_model="reader"),
        "store": StoreResource(url=f"sqlite:///{tmp_path / 'state.db'}"),
        "io_manager": storage,
    }
    try:
        with script("reader", squeamish) as asked:
            result = dg.materialize([pages, books], resources=resources, instance=instance, raise_on_error=False)
            assert len(asked.requests) > 10, "one of two rows lost its answer by one of many questions"
    finally:
        close_sessions()
    assert result.success == published
    [check] = [one for one in result.get_asset_check_evaluations() if one.check_name == "reject_rate"]
    assert check.passed == published
    assert check.metadata["reject_rate"].value == 0.5
    assert check.metadata["rejected"].value == 1
