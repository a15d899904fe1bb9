"""The rejects of a ``sink_*`` are read from a file, which is there as long as somebody can read it."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import infergraph as ig
from infergraph.models.model import CallFailed, Request
from infergraph.models.scripted import script

COUNT = 300


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    made = tmp_path / "scratch"
    made.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(made))
    return made


def odd_ones_are_refused(request: Request) -> Any:
    number = int(request.messages[-1].content.split("row ")[1].split("\n")[0])
    if number % 2:
        raise CallFailed("no", outcome="permanent", reason="refused")
    return f"said {number}"


def said(session: ig.Session) -> ig.SemanticFrame:
    data = pl.DataFrame({"id": range(COUNT), "body": [f"row {number}" for number in range(COUNT)]})
    return session.frame(data, name="t", key="id").semantic.map("Say {{ body }}", into="said")


@pytest.mark.parametrize("kind", ["parquet", "csv", "ndjson"])
def test_the_file_stays_as_long_as_a_frame_of_it_and_no_longer(
    session: ig.Session, scratch: Path, tmp_path: Path, kind: str
) -> None:
    with script("fast", odd_ones_are_refused):
        result = getattr(said(session), f"sink_{kind}")(tmp_path / f"out.{kind}")
    [folder] = scratch.glob("infergraph-rejects-*")
    assert [path.name for path in folder.iterdir()] == ["rejects.parquet"]

    late = result.rejects.filter(pl.col("id") > 290).select("id", "reason")
    del result
    gc.collect()
    assert folder.is_dir()
    assert late.collect().to_dict(as_series=False) == {"id": [291, 293, 295, 297, 299], "reason": ["refused"] * 5}
    assert late.collect().height == 5  # and again
    del late
    gc.collect()
    assert list(scratch.iterdir()) == []


def test_nothing_but_what_is_wanted_is_read(session: ig.Session, scratch: Path, tmp_path: Path) -> None:
    with script("fast", odd_ones_are_refused):
        rejects = said(session).sink_parquet(tmp_path / "out.parquet").rejects
        expected = said(session).run().rejects
    assert rejects.collect_schema() == expected.schema
    assert rejects.select(pl.len()).collect().item() == COUNT // 2
    assert rejects.head(2).collect()["id"].to_list() == [1, 3]
    assert rejects.group_by("reason").len().collect().rows() == [("refused", COUNT // 2)]
    assert rejects.drop("attempts", "cost_usd").collect().equals(expected.drop("attempts", "cost_usd"))


def test_no_rejects_are_a_frame_with_the_same_columns(session: ig.Session, scratch: Path, tmp_path: Path) -> None:
    with script("fast", lambda request: "said"):
        rejects = said(session).sink_parquet(tmp_path / "out.parquet").rejects
    assert rejects.collect().is_empty()
    assert {"row_id", "id", "operator", "reason", "prompt"} <= set(rejects.collect_schema())


def test_a_process_that_still_has_rejects_ends_cleanly_and_leaves_nothing(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import os, tempfile
        import polars as pl, infergraph as ig
        from infergraph.models.model import CallFailed
        from infergraph.models.scripted import script

        def refuse(request):
            raise CallFailed("no", outcome="permanent", reason="refused")

        with ig.Session(models={"m": ig.Model("scripted:m")}, store="sqlite://") as session, script("m", refuse):
            data = pl.DataFrame({"body": [f"row {number}" for number in range(3_000)]})
            rejects = session.frame(data).semantic.map("Say {{ body }}", into="s").sink_parquet("out.parquet").rejects
        found = rejects.filter(pl.col("attempts") > 0).head(3).collect()
        print(found.height, len(os.listdir(tempfile.gettempdir())))
    """)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(scratch)},
        check=False,
    )
    assert (done.returncode, done.stdout.split()[0]) == (0, "3"), done.stderr
    assert done.stderr == ""
    assert list(scratch.iterdir()) == []
