"""PDF files in assets: published, replayed without a call, and traced from a page's answer to its file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

import infergraph as ig
from infergraph.dagster.resources import ModelSettings, ModelsResource, StoreResource, close_sessions
from infergraph.dagster.storage import PolarsStorage
from infergraph.models.scripted import Script, script
from infergraph.testing.pdf_files import pdf_file


@pytest.fixture
def eye() -> Iterator[Script]:
    with script("eye", lambda request: f"# {request.messages[-1].content}") as running:
        yield running
    close_sessions()


@pytest.fixture
def resources(eye: Script, tmp_path: Path, storage: PolarsStorage) -> dict[str, Any]:
    return {
        "models": ModelsResource(models={"m": ModelSettings(name="scripted:eye")}, default_model="m"),
        "store": StoreResource(url=f"sqlite:///{tmp_path / 'state.db'}"),
        "io_manager": storage,
    }


def test_an_asset_over_pdf_files_is_published_and_replays(
    resources: dict[str, Any], tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "1.pdf").write_bytes(pdf_file(["One", None]))
    (folder / "2.pdf").write_bytes(pdf_file(["Two"]))
    (folder / "3.pdf").write_bytes(b"no PDF")

    @dg.asset
    def papers() -> pl.DataFrame:
        return ig.read_documents(folder, pattern="*.pdf").select("name", "bytes").collect()

    @ig.semantic_asset(model="m", key={"papers": "name"}, max_reject_rate=0.5)
    def read(papers: ig.SemanticFrame) -> ig.SemanticFrame:
        """The papers as Markdown."""
        return papers.semantic.parse_pdf("bytes").drop("bytes")

    def run() -> dict[str, Any]:
        result = dg.materialize([papers, read], resources=resources, instance=instance)
        event = result.asset_materializations_for_node("read")[-1]
        newest = max(tmp_path.rglob("read/*/data.parquet"), key=lambda path: path.stat().st_mtime_ns)
        expected = ["One\n\n<!-- page 2 -->\n\n# Page 2 of 2.", "Two", None]
        assert pl.read_parquet(newest)["markdown"].to_list() == expected
        return {name: value.value for name, value in event.metadata.items()}

    first, again = run(), run()
    assert (first["infergraph/calls"], first["infergraph/rejected"]) == (1, 1)
    assert (again["infergraph/calls"], again["infergraph/store_hits"]) == (0, 1)
    lineage = pl.read_parquet(next(tmp_path.rglob("lineage.parquet")))
    assert lineage["part"].to_list() == ["page 2 of 2", "document"]


def test_documents_that_nobody_is_asked_about_count_in_the_share_of_rejects(
    resources: dict[str, Any], instance: dg.DagsterInstance
) -> None:
    files = [pdf_file([f"Letter {number}"]) for number in range(8)]

    @dg.asset
    def papers() -> pl.DataFrame:
        return pl.DataFrame({"name": range(10), "bytes": [*files, b"no PDF", None]})

    @ig.semantic_asset(model="m", key={"papers": "name"}, max_reject_rate=0.12)
    def read(papers: ig.SemanticFrame) -> ig.SemanticFrame:
        """The papers as Markdown."""
        return papers.semantic.parse_pdf("bytes").drop("bytes")

    result = dg.materialize([papers, read], resources=resources, instance=instance)
    [rate] = [check for check in result.get_asset_check_evaluations() if check.check_name == "reject_rate"]
    assert rate.passed
    assert rate.metadata["reject_rate"].value == pytest.approx(1 / 9)
