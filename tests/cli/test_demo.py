"""``infergraph demo`` on a copy of this repository's subjects, with a scripted model; ``.ci/run`` runs the real one."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from infergraph.cli import screen
from infergraph.cli.demo import _next, api_cost, how_many
from infergraph.cli.materialize import RunOutcome
from infergraph.errors import ConfigurationError, PlanError
from infergraph.models.model import Tokens

ROOT = Path(__file__).parents[2]
Demo = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    for name in ("assets", "resources", "sensors"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("definitions.py", "workspace.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def demo(copied: Path) -> Demo:
    environment = {name: value for name, value in os.environ.items() if name not in ("DAGSTER_HOME", "COLUMNS")}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "infergraph.cli", "demo", *arguments]
        return subprocess.run(
            command, cwd=copied / "assets", env=environment, capture_output=True, text=True, check=False
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


def test_a_model_that_does_not_exist_is_refused_before_anything_is_made(demo: Demo, tmp_path: Path) -> None:
    refused = demo("--packages", "2", "--model", "nonsense")
    assert refused.returncode == ConfigurationError.exit_code
    assert "There is no model 'nonsense'" in refused.stderr
    assert "no call is made" not in refused.stdout
    assert not (tmp_path / ".infergraph" / "assets").exists()


def test_after_a_failure_it_does_not_promise_that_nothing_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    failed = RunOutcome(run_id="x", success=False, seconds=1.0, partition=None, assets=[])
    _next(failed, screen.out())
    said = capsys.readouterr().out
    assert "no call is made" not in said
    assert "goes on from here" in said


@pytest.mark.timeout(120)
def test_a_model_that_costs_money_is_asked_about(copied: Path) -> None:
    outer, inner = pty.openpty()
    environment = {**os.environ, "OPENAI_API_KEY": "sk-not-a-real-key-at-all"}
    environment.pop("DAGSTER_HOME", None)
    command = [sys.executable, "-m", "infergraph.cli", "demo", "--packages", "2", "--model", "openai:gpt-5-mini"]
    process = subprocess.Popen(
        command, cwd=copied, env=environment, stdin=inner, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    os.write(outer, b"n\n")
    out, err = process.communicate(timeout=100)
    os.close(outer)
    os.close(inner)
    assert process.returncode == 130, out + err
    assert "may cost is not known. Go on?" in err, "the list of packages is made by the run itself"
    assert not (copied / ".infergraph" / "assets").exists()
