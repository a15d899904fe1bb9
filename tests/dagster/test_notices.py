"""A run that stands still says why: in a notebook, in Dagster's log and on the command line."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

import infergraph as ig
from infergraph.cli.app import run_command
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, StoreResource
from infergraph.dagster.resources import close_sessions
from infergraph.frame.run import NothingComes
from infergraph.models.model import CallFailed, Request
from infergraph.models.scripted import script

SAID = r"Model 'm' \(scripted:mute\) has answered nothing since \d\d:\d\d:\d\d: overloaded\. It is asked again until"
CODE = """
import dagster as dg, infergraph as ig, polars as pl
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, StoreResource

@dg.asset
def notes() -> pl.DataFrame:
    return pl.DataFrame({"body": ["one", "two"]})

@ig.semantic_asset
def told(notes: ig.SemanticFrame) -> ig.SemanticFrame:
    return notes.semantic.map("Shorten {{ body }}", into="short")

defs = dg.Definitions(assets=[notes, told], resources={
    "models": ModelsResource(models={"m": ModelSettings(name="scripted:mute", max_outage_s=2)}),
    "store": StoreResource(url="sqlite:///state.db"), "io_manager": PolarsStorage(base_url="data"),
}, executor=dg.in_process_executor)
"""


def mute(request: Request) -> Any:
    raise CallFailed("overloaded", outcome="transient", status=503)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infergraph.calls.lane.TELL_AFTER_S", 0.2)


def test_a_notebook_gets_one_warning(tmp_path: Path) -> None:
    models = {"m": ig.Model("scripted:mute", max_outage_s=2)}
    with ig.Session(models=models, store="sqlite:///state.db", root=tmp_path) as session, script("mute", mute):
        frame = session.frame(pl.DataFrame({"body": ["one", "two"]}), name="t")
        asked = frame.semantic.map("Shorten {{ body }}", into="short").semantic.sentiment("body")
        with pytest.warns(NothingComes, match=SAID) as warned, pytest.raises(ig.ProviderDown, match="has been down"):
            asked.run()
    (said,) = [one for one in warned if issubclass(one.category, NothingComes)]
    assert said.filename == __file__, "it is the user's line that waits"


def test_dagsters_log_gets_it_too(tmp_path: Path) -> None:
    @dg.asset
    def notes() -> pl.DataFrame:
        return pl.DataFrame({"body": ["one", "two"]})

    @ig.semantic_asset
    def told(notes: ig.SemanticFrame) -> ig.SemanticFrame:
        return notes.semantic.map("Shorten {{ body }}", into="short")

    resources = {
        "models": ModelsResource(models={"m": ModelSettings(name="scripted:mute", max_outage_s=2)}),
        "store": StoreResource(url=f"sqlite:///{tmp_path}/state.db"),
        "io_manager": PolarsStorage(base_url=str(tmp_path / "data")),
    }
    with dg.DagsterInstance.ephemeral() as instance, script("mute", mute):
        done = dg.materialize([notes, told], resources=resources, instance=instance, raise_on_error=False)
        logged = [entry for entry in instance.all_logs(done.run_id) if entry.dagster_event is None]
    close_sessions()
    assert not done.success
    [entry] = [entry for entry in logged if entry.level == logging.WARNING]
    assert "has answered nothing since" in entry.user_message


def test_the_command_line_says_it_while_it_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    (tmp_path / "definitions.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with script("mute", mute):
        for more in ([], ["--json"]):
            monkeypatch.delitem(sys.modules, "definitions", raising=False)
            monkeypatch.delenv("DAGSTER_HOME", raising=False)
            code = run_command(["run", "notes", "told", *more])
            said = capsys.readouterr()
            close_sessions()
            assert code == ig.ProviderDown.exit_code
            assert said.err.count("told: Model 'm' (scripted:mute) has answered nothing since") == 1
    monkeypatch.delitem(sys.modules, "definitions", raising=False)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
