"""What is kept of a run that a blocking check stopped."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from upath import UPath

from infergraph.dagster.failed import failed_run, forget_failed, keep_failed
from infergraph.dagster.layout import Place
from infergraph.errors import ConfigurationError

PLACE = Place(asset=("support", "facts"), partition="2026-11-21")


@pytest.fixture(params=["local", "memory"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> UPath:
    return UPath(tmp_path / "assets") if request.param == "local" else UPath(f"memory://{tmp_path.name}")


def rejects(folder: Path, *reasons: str) -> Path:
    path = folder / "rejects.parquet"
    pl.DataFrame({"reason": list(reasons)}).write_parquet(path)
    return path


def test_the_latest_failed_run_is_kept_until_it_is_forgotten(base: UPath, tmp_path: Path) -> None:
    assert failed_run(base, PLACE) is None
    forget_failed(base, PLACE)
    keep_failed(rejects(tmp_path, "refused"), base, PLACE, run_id="first", why="too many")
    keep_failed(rejects(tmp_path, "timeout"), base, PLACE, run_id="second", why="still too many")
    found = failed_run(base, PLACE)
    assert found is not None
    assert (found.run_id, found.why) == ("second", "still too many")
    assert found.rejects().collect()["reason"].to_list() == ["timeout"]
    assert not (found.folder.parent / "first").exists()
    assert failed_run(base, Place(asset=PLACE.asset, partition="2026-11-22")) is None
    forget_failed(base, PLACE)
    assert failed_run(base, PLACE) is None


def test_what_cannot_be_understood_is_said(tmp_path: Path) -> None:
    base = UPath(tmp_path)
    keep_failed(rejects(tmp_path, "refused"), base, PLACE, run_id="first", why="too many")
    next(tmp_path.rglob("failed.json")).write_text("{")
    with pytest.raises(ConfigurationError, match="remove that file"):
        failed_run(base, PLACE)
