"""Commands as they are typed in a project: the test module's ``CODE`` as its definitions, in a folder of its own."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infergraph.cli.app import run_command
from infergraph.dagster.resources import close_sessions

Ran = tuple[int, str, str]
"""Exit code, stdout and stderr."""
SETTINGS = ("DAGSTER_HOME", "OPENAI_API_KEY", "INFERGRAPH_DEBUG", "COLUMNS")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Path]:
    """The project's folder, where commands are typed; what they leave in the process is taken away."""
    (tmp_path / "definitions.py").write_text(request.module.CODE)
    (tmp_path / "workspace.yaml").write_text("load_from:\n  - python_file: definitions.py\n")
    monkeypatch.chdir(tmp_path)
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    path = list(sys.path)
    yield tmp_path
    close_sessions()
    sys.path[:] = path
    sys.modules.pop("definitions", None)
    for name in ("DAGSTER_HOME", "INFERGRAPH_DEBUG"):
        os.environ.pop(name, None)


@pytest.fixture
def typed(project: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Type a command: exit code, stdout and stderr."""

    def type_it(*arguments: str) -> Ran:
        os.environ.pop("DAGSTER_HOME", None)
        sys.modules.pop("definitions", None)
        capsys.readouterr()
        code = run_command(list(arguments))
        said = capsys.readouterr()
        return code, said.out, said.err

    return type_it


@pytest.fixture
def parsed() -> Callable[[Ran], Any]:
    """What a command that went well printed as JSON."""

    def read(ran: Ran) -> Any:
        code, out, err = ran
        assert code == 0, err
        return json.loads(out)

    return read
