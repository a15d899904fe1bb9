"""``infergraph trace`` as it is typed, on a small project with a scripted model."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import infergraph as ig
from infergraph.cli.app import run_command
from infergraph.dagster.resources import close_sessions
from infergraph.models.model import Request
from infergraph.models.scripted import script

CODE = """
import dagster as dg
import polars as pl
import infergraph as ig
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, StoreResource

days = dg.StaticPartitionsDefinition(["monday", "tuesday"])

@dg.asset(partitions_def=days)
def letters(context: dg.AssetExecutionContext) -> pl.DataFrame:
    day = context.partition_key
    bodies = ["I leave \\x1b[2J", "all is well"]
    return pl.DataFrame({"id": [f"{day} 1", f"{day} 2"], "body": bodies, "file": [day + ".txt"] * 2})

@ig.semantic_asset(partitions_def=days, key={"letters": "id"})
def kinds(letters: ig.SemanticFrame) -> ig.SemanticFrame:
    return letters.semantic.classify("body", ["angry", "calm"], into="kind")

@ig.semantic_asset(partitions_def=days, key={"kinds": "id"})
def leaving(kinds: ig.SemanticFrame) -> ig.SemanticFrame:
    return kinds.semantic.filter("The writer of {{ body }} leaves")

defs = dg.Definitions(
    assets=[letters, kinds, leaving],
    resources={
        "models": ModelsResource(models={"shop": ModelSettings(name="scripted:shop")}),
        "store": StoreResource(),
        "io_manager": PolarsStorage(),
    },
    executor=dg.in_process_executor,
)
"""

Run = Callable[..., tuple[int, str, str]]


def answer(request: Request) -> str:
    leaves = "I leave" in request.messages[-1].content
    if "Is this statement true" in request.messages[0].content:
        return json.dumps({"answer": leaves})
    return json.dumps({"label": "angry" if leaves else "calm"})


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project whose two partitions are published."""
    root, before, path = tmp_path_factory.mktemp("project"), Path.cwd(), list(sys.path)
    (root / "definitions.py").write_text(CODE)
    (root / "below").mkdir()
    os.chdir(root / "below")
    with script("shop", answer):
        for day in ("monday", "tuesday"):
            sys.modules.pop("definitions", None)
            assert run_command(["run", "letters", "kinds", "leaving", "--partition", day, "--yes"]) == 0
        yield root
    close_sessions()
    os.chdir(before)
    sys.path[:] = path
    sys.modules.pop("definitions", None)
    os.environ.pop("DAGSTER_HOME", None)


@pytest.fixture
def typed(typed: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(project / "below")
    return typed


def test_a_row_is_shown_up_to_the_file_that_it_came_from(typed: Run) -> None:
    code, out, _ = typed("trace", "leaving", "--where", "id = 'monday 1'")
    assert code == 0
    for part in ("leaving, partition monday", "from source 'kinds'", "from source 'letters'", "file = 'monday.txt'"):
        assert part in out
    assert '-> {"answer": true}' in out
    assert "kind = 'angry'" in out
    assert "\x1b" not in out


def test_forward_says_what_became_of_a_row_in_all_partitions(typed: Run) -> None:
    code, out, _ = typed("trace", "letters", "--where", "body = 'all is well'", "--forward", "--json")
    assert code == 0
    said = json.loads(out)
    assert (said["asset"], said["forward"], said["matched"]) == ("letters", True, 2)
    ends = [row["downstream"][0]["downstream"][0] for row in said["rows"]]
    assert [end["state"] for end in ends] == ["dropped", "dropped"]
    assert [end["asset"]["partition"] for end in ends] == ["monday", "tuesday"]


def test_one_partition_and_the_number_of_rows_can_be_asked_for(typed: Run) -> None:
    code, out, _ = typed("trace", "kinds", "--where", "true", "--partition", "tuesday", "--most", "1")
    assert code == 0
    assert "partition tuesday" in out
    assert "partition monday" not in out
    assert "1 of 2 rows are shown" in out
    assert "--most" in out


def test_a_row_is_found_by_the_beginning_of_its_id(typed: Run) -> None:
    _, out, _ = typed("trace", "leaving", "--where", "id = 'tuesday 1'", "--json")
    row_id = json.loads(out)["rows"][0]["row_id"]
    code, out, _ = typed("trace", "kinds", "--row", row_id[:10], "--json")
    assert code == 0
    assert json.loads(out)["rows"][0]["values"]["kind"] == "angry"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trace", "leaving"], "Say which row to trace"),
        (["trace", "leavin", "--where", "id = 1"], "'leaving'"),
        (["trace", "leaving", "--where", "ident = 1"], "'id'"),
        (["trace", "leaving", "--where", "id = 'nobody'"], "has no row where id = 'nobody'"),
    ],
)
def test_mistakes_are_answered_with_the_next_step(typed: Run, arguments: list[str], message: str) -> None:
    code, _, err = typed(*arguments)
    assert code == 2
    assert message in err


def test_from_python_the_project_around_the_current_folder_is_meant(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project / "below")
    sys.modules.pop("definitions", None)
    [found] = ig.trace("leaving", where="id = 'monday 1'")
    assert found.asset is not None
    assert found.asset.partition == "monday"
    assert Path.cwd() == project / "below"
