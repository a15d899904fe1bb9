"""``infergraph dev`` as a user starts and stops it, on a project of one plain asset."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from infergraph.cli.dev import check_port
from infergraph.errors import ConfigurationError

CODE = """
from pathlib import Path
import dagster as dg

class Inbox(dg.ConfigurableResource):
    folder: str
    @property
    def path(self) -> Path:
        return Path(self.folder)

@dg.asset
def numbers(): ...

@dg.sensor(target=[numbers])
def look(context: dg.SensorEvaluationContext, inbox: Inbox): ...

defs = dg.Definitions(assets=[numbers], sensors=[look], resources={"inbox": Inbox(folder="dropped/here")})
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "definitions.py").write_text(CODE)
    home = tmp_path / "home"
    home.mkdir()
    for folder in (home, tmp_path):
        (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return tmp_path


def environment(project: Path) -> dict[str, str]:
    return {**os.environ, "DAGSTER_HOME": str(project / "home"), "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def dev(project: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "infergraph.cli", "dev", "--port", str(port)],
        cwd=project,
        env=environment(project),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process, port
    process.kill()
    process.wait(timeout=10)


def said_until(process: subprocess.Popen[str], last: str) -> str:
    assert process.stdout is not None
    said = ""
    while last not in said:
        line = process.stdout.readline()
        assert line, f"ended after: {said} {process.stderr.read() if process.stderr else ''}"
        said += line
    return said


def processes_of(project: Path) -> list[str]:
    """Command lines of the processes that work on this project's Dagster state."""
    found = []
    mark = f"DAGSTER_HOME={project / 'home'}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="the system has no /proc to look in")


@needs_proc
@pytest.mark.timeout(180)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_and_leaves_nothing_behind(
    project: Path, dev: tuple[subprocess.Popen[str], int], number: signal.Signals
) -> None:
    process, port = dev
    said = said_until(process, "Ctrl-C")
    assert f"http://127.0.0.1:{port}" in said
    assert re.search(r"dropped/here \(sensor look\)", said), said
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info") as answer:
        assert json.load(answer)["dagster_webserver_version"]
    assert len(processes_of(project)) >= 4, "ours, dagster dev, web server, daemon"

    process.send_signal(number)
    out, err = process.communicate(timeout=40)
    assert process.returncode == 0, err
    assert "Stopped." in out
    assert "Traceback" not in err
    assert "dg dev" not in err, "advice to use another command is left out"
    assert "DAGSTER_HOME" not in said + out + err, "the root's dagster.yaml is for plain dagster dev"
    assert "Found a dagster instance" not in said + out + err
    deadline = time.monotonic() + 5
    while processes_of(project) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(project) == []


def test_a_taken_port_is_said_before_anything_starts(project: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ran = subprocess.run(
            [sys.executable, "-m", "infergraph.cli", "dev", "--port", str(port)],
            cwd=project,
            env=environment(project),
            capture_output=True,
            text=True,
            check=False,
        )
    assert ran.returncode == ConfigurationError.exit_code
    assert re.fullmatch(rf"Error: Port {port} on 127\.0\.0\.1 is taken.*infergraph dev --port \d+\n", ran.stderr)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"Cannot listen on 192\.0\.2\.1"):
        check_port("192.0.2.1", free_port())


def test_outside_of_a_project_it_says_so(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "infergraph.cli", "dev"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == ConfigurationError.exit_code
    assert "not inside an Infergraph project" in ran.stderr
    assert "Traceback" not in ran.stderr
