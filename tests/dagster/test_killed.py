"""A process that is killed in the middle of an asset: the old rows count, and the next run goes on."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from pydantic import BaseModel

import infergraph as ig
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, StoreResource
from infergraph.dagster.resources import close_sessions
from infergraph.models.model import Request
from infergraph.models.scripted import script
from infergraph.store import Store
from infergraph.usage_report import usage_report

ROWS = 60


class Facts(BaseModel):
    product: str


def materialize(folder: Path, word: str, log: Path, pause_s: float) -> dg.ExecuteInProcessResult:
    """Make the asset from rows that say a word; every answer leaves a line in the log."""

    @dg.asset
    def tickets() -> pl.DataFrame:
        return pl.DataFrame({"id": range(ROWS), "body": [f"{word} {number}" for number in range(ROWS)]})

    @ig.semantic_asset(key={"tickets": "id"})
    def facts(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
        return tickets.semantic.extract("body", Facts)

    def answer(request: Request) -> dict[str, str]:
        time.sleep(pause_s)
        with log.open("a") as lines:
            lines.write("answered\n")
        found = re.findall(r"<body>\n(.*?)\n</body>", request.messages[-1].content)
        return {"product": found[-1]}

    resources = {
        "models": ModelsResource(models={"m": ModelSettings(name="scripted:slow", max_concurrency=1)}),
        "store": StoreResource(url=f"sqlite:///{folder / 'state.db'}"),
        "io_manager": PolarsStorage(base_url=str(folder / "assets")),
    }
    with script("slow", answer):
        result = dg.materialize([tickets, facts], resources=resources)
        close_sessions()
    return result


CHILD = f"""
import importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("killed", {__file__!r})
module = importlib.util.module_from_spec(spec)
sys.modules["killed"] = module
spec.loader.exec_module(module)
module.materialize(Path(sys.argv[1]), "new", Path(sys.argv[2]), 0.05)
"""


def lines(log: Path) -> int:
    return len(log.read_text().splitlines()) if log.exists() else 0


def test_a_killed_run_leaves_the_old_rows_and_its_answers(tmp_path: Path) -> None:
    old, killed, again = tmp_path / "old.log", tmp_path / "killed.log", tmp_path / "again.log"
    assert materialize(tmp_path, "old", old, 0.0).success
    storage = PolarsStorage(base_url=str(tmp_path / "assets"))
    before = storage.version("facts")
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path), str(killed)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while lines(killed) < 20:
        if child.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"the child ended with {child.poll()} after {lines(killed)} answers")
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert storage.version("facts") == before
    with Store.open(f"sqlite:///{tmp_path / 'state.db'}") as store:
        used = usage_report(store, ["run"]).frame
    # The killed run left no usage, and what it had asked and was answered until then is in the figures all the same.
    assert used.select("unfinished").to_series().to_list() == [1, 0]
    assert lines(killed) - 8 <= used["attempts"][0] == used["calls"][0] <= ROWS
    assert storage.load("facts").collect()["body"].to_list() == [f"old {number}" for number in range(ROWS)]
    assert materialize(tmp_path, "new", again, 0.0).success
    # A commit starts at most 100 ms after an answer: some of the last answers may be lost, the others never.
    assert lines(again) <= ROWS - lines(killed) + 8
    assert storage.load("facts").collect()["product"].to_list() == [f"new {number}" for number in range(ROWS)]
