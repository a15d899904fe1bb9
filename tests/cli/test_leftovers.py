"""Runs whose process died, or whose terminal was closed, do not stay in Dagster as running."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest

from infergraph.cli.leftovers import HOST, PROCESS, RUN, STARTED, report_dead_runs, started_mark, tags_of_this_process

CODE = """
import time
from pathlib import Path
import dagster as dg

@dg.asset
def slow() -> None:
    Path("began").touch()
    time.sleep(600)

@dg.asset
def quick() -> None: ...

defs = dg.Definitions(assets=[slow, quick])
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "definitions.py").write_text(CODE)
    return tmp_path


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}


def begun(project: Path, *before: str) -> subprocess.Popen[str]:
    """A run that has come to its asset."""
    (project / "began").unlink(missing_ok=True)
    process = subprocess.Popen(
        [*before, sys.executable, "-m", "infergraph.cli", "run", "slow"],
        cwd=project,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    until = time.monotonic() + 60
    while not (project / "began").exists():
        assert process.poll() is None, process.stdout and process.stdout.read()
        assert time.monotonic() < until
        time.sleep(0.05)
    return process


def states(project: Path) -> list[str]:
    with dg.DagsterInstance.from_config(str(project / ".infergraph" / "dagster")) as instance:
        return [run.status.value for run in instance.get_runs()]


@pytest.mark.timeout(180)
def test_a_killed_run_is_freed_by_the_next_command(project: Path) -> None:
    killed = begun(project)
    killed.kill()
    killed.wait(timeout=10)
    assert states(project) == ["STARTED"]
    next_one = subprocess.run(
        [sys.executable, "-m", "infergraph.cli", "run", "quick"],
        cwd=project, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert next_one.returncode == 0, next_one.stderr
    assert "was left over from a process that died; it now counts as failed" in next_one.stderr
    assert states(project) == ["SUCCESS", "FAILURE"]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_closed_terminal_stops_a_run_as_sigterm_does(project: Path, number: signal.Signals) -> None:
    stopped = begun(project)
    stopped.send_signal(number)
    said, _ = stopped.communicate(timeout=40)
    assert stopped.returncode == 130, said
    assert "Every answer that came back is kept" in said
    assert states(project) == ["FAILURE"]


def test_runs_of_living_processes_other_machines_and_the_ui_are_left_alone() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(timeout=30)
    dead = {HOST: socket.gethostname(), PROCESS: str(ended.pid), STARTED: "boot 1"}
    with dg.DagsterInstance.ephemeral() as instance:

        def made(tags: dict[str, str], run_id: str, named: str | None = None) -> str:
            run = dg.DagsterRun(
                job_name="any", run_id=run_id, status=dg.DagsterRunStatus.STARTED, tags={**tags, RUN: named or run_id}
            )
            return instance.add_run(run).run_id

        ids = [f"{number:08d}-0000-4000-8000-000000000000" for number in range(6)]
        made(tags_of_this_process(ids[0]), ids[0])
        made({**dead, HOST: "another-machine"}, ids[1])
        made(dead, ids[2], named=ids[3])  # started anew from the UI, which copies tags
        made({**dead, STARTED: ""}, ids[3])  # the system did not tell
        gone = made(dead, ids[4])
        reused = made({**tags_of_this_process(ids[5]), STARTED: "boot 1"}, ids[5])
        assert sorted(report_dead_runs(instance)) == [gone, reused]
        assert report_dead_runs(instance) == []
        failed = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
        assert {run.run_id for run in failed} == {gone, reused}


def test_a_process_that_ended_has_no_mark_even_before_its_parent_takes_note() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert started_mark(child.pid)
    child.kill()
    time.sleep(0.3)
    assert started_mark(child.pid) is None
    child.wait(timeout=10)
    assert started_mark(child.pid) is None
