"""A process that is killed again and again: nothing that was committed is asked twice, and nothing is damaged."""

from __future__ import annotations

import importlib
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any, Literal, cast

import polars as pl
import pytest
from pydantic import BaseModel

import infergraph as ig
from infergraph.store import hash_text
from infergraph.testing import SimulatedServer

KILLS = 20
ROWS = 2500
CONCURRENCY = 16
COMMIT_LAG = 256
"""Answers that came back and wait for their commit at most."""


class Fact(BaseModel):
    product: str
    severity: Literal["low", "high"]


def facts(session: ig.Session, rows: int = ROWS) -> ig.SemanticFrame:
    """The plan that every life of the process runs."""
    tickets = pl.DataFrame({"id": range(rows), "body": [f"ticket {number}" for number in range(rows)]})
    return session.frame(tickets, name="tickets", key="id").semantic.extract("body", Fact)


def open_session(url: str, folder: Path) -> ig.Session:
    """The same deployment for every life."""
    model = ig.Model(
        "openai:m", base_url=url, api_key=None, max_concurrency=CONCURRENCY, price=ig.Price(input=0, output=0)
    )
    return ig.Session({"m": model}, store="sqlite:///state.db", root=folder, progress=False)


def warm_up() -> None:
    """Have everything imported: a kill is to meet the run, not the imports."""
    importlib.import_module("openai")
    with ig.Session({"m": ig.Model("scripted:warm")}, store="sqlite://", progress=False) as session:
        facts(session, 1).run()


LIFE = f"""
import importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("killed", {__file__!r})
module = importlib.util.module_from_spec(spec)
sys.modules["killed"] = module
spec.loader.exec_module(module)
folder = Path(sys.argv[2])
module.warm_up()
print("ready", flush=True)
sys.stdin.readline()
with module.open_session(sys.argv[1], folder) as session:
    module.facts(session).sink_parquet(folder / "facts.parquet")
"""


class Life:
    """One process, which starts to work when it is told to."""

    def __init__(self, url: str, folder: Path) -> None:
        command = [sys.executable, "-c", LIFE, url, str(folder)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def begin(self) -> None:
        assert cast(IO[str], self.process.stdout).readline() == "ready\n"
        given = cast(IO[str], self.process.stdin)
        given.write("go\n")
        given.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=30)

    def end(self) -> int:
        self.process.communicate(timeout=60)
        return self.process.returncode


@pytest.fixture
def server() -> Iterator[SimulatedServer]:
    with SimulatedServer(latency_s=0.04) as running:
        yield running


def committed(folder: Path, scratch: Path) -> set[str]:
    """Hashes of the answers in a store whose user was killed, looked at in a copy: the next user has to recover it."""
    if not (folder / "state.db").exists():
        return set()
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    for name in ("state.db", "state.db-wal"):
        if (folder / name).exists():
            shutil.copy(folder / name, scratch / name)
    with closing(sqlite3.connect(scratch / "state.db")) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if not copy.execute("SELECT 1 FROM sqlite_master WHERE name = 'answers'").fetchall():
            return set()
        return {hash_text(row) for (row,) in copy.execute("SELECT row_hash FROM answers")}


def asked(server: SimulatedServer, since: int = 0) -> list[str]:
    """What the server was asked, in order: the last message of each request."""
    return [cast(Any, request.body)["messages"][-1]["content"] for request in server.requests[since:]]


def wait_for(server: SimulatedServer, requests: int) -> None:
    """Until the server has been asked so often, or for some seconds: a machine may be slow."""
    give_up = time.monotonic() + 10
    while len(server.requests) < requests and time.monotonic() < give_up:
        time.sleep(0.005)


@pytest.mark.timeout(180)
def test_twenty_kills_repeat_only_what_was_in_flight(tmp_path: Path, server: SimulatedServer) -> None:
    seed = random.randrange(10**6)
    sys.stdout.write(f"seed {seed}\n")
    dice = random.Random(seed)
    folder, calm = tmp_path / "killed", tmp_path / "calm"
    folder.mkdir()
    calm.mkdir()
    with SimulatedServer() as undisturbed, open_session(f"{undisturbed.url}/v1", calm) as session:
        expected = facts(session).run(row_ids=True)
    hashes = dict(zip(expected.frame["_row_id"], expected.frame["id"], strict=True))
    row_of = {
        line["request_hash"]: hashes[line["row_id"]] for line in expected.lineage.iter_rows(named=True)
    }  # fmt: skip

    url = f"{server.url}/v1"
    lives = [Life(url, folder), Life(url, folder)]
    stored: set[str] = set()
    repeated = 0
    for _ in range(KILLS):
        life, before = lives.pop(0), len(server.requests)
        lives.append(Life(url, folder))
        life.begin()
        wait_for(server, before + dice.choice([0, dice.randrange(150)]))
        time.sleep(dice.random() * 0.2)
        life.kill()
        now = asked(server, before)
        rows = Counter(int(text.split("ticket ")[1].split()[0]) for text in now)
        assert rows.keys().isdisjoint({row_of[each] for each in stored}), "a committed answer was asked again"
        assert max(rows.values(), default=1) == 1
        before_it, stored = len(stored), committed(folder, tmp_path / "copy")
        in_flight = len(now) - (len(stored) - before_it)
        assert 0 <= in_flight <= CONCURRENCY + COMMIT_LAG
        repeated += in_flight

    last = lives.pop(0)
    last.begin()
    assert last.end() == 0
    lives[0].kill()
    assert len(server.requests) == ROWS + repeated
    assert repeated > KILLS, "kills met requests in flight"
    sys.stdout.write(f"{repeated} rows were in flight at {KILLS} kills\n")
    assert committed(folder, tmp_path / "copy") == set(row_of)
    assert pl.read_parquet(folder / "facts.parquet").equals(expected.frame.drop("_row_id"))
