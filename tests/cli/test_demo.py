"""``infergraph demo`` on a copy of this repository's subjects, with a scripted model; ``.ci/run`` runs the real one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from infergraph.cli.demo import api_cost, how_many
from infergraph.errors import PlanError
from infergraph.models.model import Tokens

ROOT = Path(__file__).parents[2]
Demo = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    for name in ("assets", "resources", "sensors"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("definitions.py", "workspace.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    environment = {name: value for name, value in os.environ.items() if name not in ("DAGSTER_HOME", "COLUMNS")}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "infergraph.cli", "demo", *arguments]
        return subprocess.run(
            command, cwd=tmp_path / "assets", env=environment, capture_output=True, text=True, check=False
        )

    return run


@pytest.mark.timeout(240)
def test_it_ends_with_everything_a_newcomer_wants_to_know(demo: Demo, tmp_path: Path) -> None:
    first = demo("--packages", "2", "--model", "scripted:any")
    assert first.returncode == 0, first.stderr
    assert "Auditing 2 Python packages" in first.stderr
    assert "package_report: done" in first.stderr
    assert "Traceback" not in first.stdout + first.stderr
    for expected in (
        "purpose",
        "Rejects",
        "Checked against the packages' own metadata.",
        "6 calls, ",
        "Cost: $0; on gpt-5-mini it would have been about $0.0",
        f"The result: {tmp_path.resolve()}",
        "infergraph dev",
    ):
        assert expected in first.stdout
    assert (tmp_path / ".infergraph" / "dagster" / "dagster.yaml").exists(), "infergraph dev shows this run"

    second = demo("--packages", "2", "--model", "scripted:any")
    assert second.returncode == 0, second.stderr
    assert "No call was made: every answer was in the store." in second.stdout


@pytest.mark.parametrize("typed", ["0", "-1", "many", "1.5", ""])
def test_a_number_of_packages_is_a_number(typed: str) -> None:
    with pytest.raises(PlanError, match="--packages 30"):
        how_many(typed)


def test_the_comparison_is_with_a_real_price() -> None:
    assert api_cost(Tokens(input=1000, output=1000)) is not None
