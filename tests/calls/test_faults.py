"""Requests that meet faults, through a whole run and both real protocols: every row is delivered or says why not."""

from __future__ import annotations

import importlib
import json
import re
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import polars as pl
import pytest
from pydantic import BaseModel

import infergraph as ig
from infergraph.calls import Engine, Policy
from infergraph.errors import ProviderDown
from infergraph.frame.run import RunOptions, run
from infergraph.testing import Fault, SimulatedServer
from infergraph.testing.faults import FaultKind

ROWS = 200
PASSING: list[int | FaultKind] = [
    500, 529, "reset", "hang", "slow_drip", "not_json", "truncated", "empty", "wrong_schema",
]  # fmt: skip
Body = Mapping[str, Any]
Protocol = str

pytestmark = pytest.mark.timeout(120)


class Fact(BaseModel):
    product: str


class Impatient(RunOptions):
    """Options of a run that waits out an outage of a second."""

    def policy(self) -> Policy:
        return replace(super().policy(), max_outage_s=1.0)


PROBE = 10**9


def row_of(body: Body) -> int:
    """The row that a request is about; its repairs name it as well. One that only probes the model comes last."""
    found = re.search(r"ticket (\d+) ", json.dumps(body))
    return int(found[1]) if found else PROBE


def one_in_five(kind: int | FaultKind, kinds: int = 1, turn: int = 0) -> Fault:
    """A fault that every fifth row meets, on its first try or its first two; with several kinds they take turns."""
    met: Counter[int] = Counter()
    lock = threading.Lock()

    def strikes(body: Body) -> bool:
        row = row_of(body)
        if row % 5 or row // 5 % kinds != turn:
            return False
        with lock:
            met[row] += 1
            return met[row] <= 1 + row // 10 % 2

    return Fault(kind, when=strikes, seconds=30)


class World:
    """A session on a fresh store and a simulated server that speaks one protocol."""

    def __init__(self, folder: Path, server: SimulatedServer, protocol: Protocol) -> None:
        importlib.import_module(protocol)  # the first request would wait for it, and its time is short here
        address = server.openai_url if protocol == "openai" else server.anthropic_url
        free = ig.Price(input=0, output=0)
        model = ig.Model(f"{protocol}:m", base_url=address, api_key=None, max_concurrency=50, timeout_s=0.6, price=free)
        self.server = server
        self.path = folder / "state.db"
        self.session = ig.Session({"m": model}, store=f"sqlite:///{self.path}", root=folder, progress=False)
        self.session._engine = Engine(self.session.models, self.session.store, first_backoff_s=0.02)

    def run(self, options: RunOptions | None = None) -> Any:
        tickets = pl.DataFrame({"id": range(ROWS), "body": [f"ticket {number} is open" for number in range(ROWS)]})
        frame = self.session.frame(tickets, name="tickets", key="id").semantic.extract("body", Fact)
        return run(frame, options or RunOptions())

    def count(self, table: str) -> int:
        with closing(sqlite3.connect(self.path)) as database:
            return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


@pytest.fixture
def server() -> Iterator[SimulatedServer]:
    with SimulatedServer(latency_s=0.002) as running:
        yield running


@pytest.fixture(params=["openai", "anthropic"])
def world(tmp_path: Path, server: SimulatedServer, request: pytest.FixtureRequest) -> Iterator[World]:
    made = World(tmp_path, server, request.param)
    yield made
    made.session.close()


def accounted(result: Any, *, rows: int = ROWS) -> None:
    """The identity of a run's usage."""
    usage = result.usage
    (line,) = usage.by_operator.iter_rows(named=True)
    parts = ("calls", "store_hits", "shared", "rejected_before", "nulls", "pending")
    assert usage.rows == rows == sum(line[part] for part in parts)
    assert usage.rejected == result.rejects.height


def delivered(world: World, result: Any) -> None:
    accounted(result)
    assert (result.usage.rejected, result.usage.pending) == (0, 0)
    assert result.frame["id"].to_list() == list(range(ROWS))
    assert result.frame["product"].null_count() == 0
    world.session.store.writer.flush()
    assert world.count("answers") == ROWS


@pytest.mark.parametrize("kind", PASSING)
def test_a_fault_that_passes_loses_no_row(world: World, kind: int | FaultKind) -> None:
    world.server.faults = [one_in_five(kind)]
    result = world.run()
    delivered(world, result)
    assert world.count("attempts") == len(world.server.requests), "every request is one attempt"
    assert len(world.server.requests) >= ROWS + ROWS // 5 + ROWS // 10, "each fault was met, some of them twice"


def test_all_faults_at_once_lose_no_row(world: World) -> None:
    kinds = [*PASSING, 429]
    world.server.faults = [one_in_five(kind, len(kinds), turn) for turn, kind in enumerate(kinds)]
    delivered(world, world.run())
    asked = len(world.server.requests)
    assert world.count("attempts") == asked
    again = world.run()
    delivered(world, again)
    assert (again.usage.calls, again.usage.store_hits, len(world.server.requests)) == (0, ROWS, asked)


def test_one_row_in_a_hundred_fails_for_good(world: World) -> None:
    def about(row: int) -> Callable[[Body], bool]:
        return lambda body: row_of(body) == row

    too_long = "prompt is too long: 210000 tokens > 200000 maximum"
    world.server.faults = [
        Fault(400, when=about(7)),
        Fault("refusal", when=about(77)),
        Fault(400, message=too_long, code="context_length_exceeded", when=about(177)),
    ]
    result = world.run()
    accounted(result)
    assert dict(result.rejects.select("id", "reason").iter_rows()) == {7: "bad_request", 77: "refused", 177: "too_long"}
    assert result.frame["product"].null_count() == 3
    assert len(world.server.requests) == ROWS
    again = world.run()
    accounted(again)
    assert again.rejects.height == 3
    assert len(world.server.requests) == ROWS, "a permanent rejection is remembered"


def test_an_answer_that_a_filter_withholds(tmp_path: Path, server: SimulatedServer) -> None:
    """Anthropic's protocol has no content filter apart from its refusals."""
    world = World(tmp_path, server, "openai")
    server.faults = [Fault("content_filter", when=lambda body: row_of(body) % 100 == 0)]
    result = world.run()
    accounted(result)
    assert result.rejects["reason"].to_list() == ["content_filtered"] * 2
    assert result.rejects["id"].to_list() == [0, 100]
    world.session.close()


def test_an_outage_is_waited_out(world: World) -> None:
    back_at = time.monotonic() + 1.5

    world.server.faults = [Fault(503, when=lambda body: row_of(body) > 50 and time.monotonic() < back_at)]
    delivered(world, world.run())
    assert time.monotonic() > back_at
    assert len(world.server.requests) < 3 * ROWS, "an outage is not hammered at"


def test_a_long_outage_stops_the_run_and_loses_nothing(world: World) -> None:
    world.server.faults = [Fault(503, when=lambda body: row_of(body) >= 100)]
    started = time.monotonic()
    with pytest.raises(ProviderDown, match="has been down") as caught:
        world.run(Impatient())
    assert time.monotonic() - started < 10
    kept = world.count("answers")
    assert kept == 100
    assert str(caught.value).count("100 answers of this run are kept: run again and only the rest is asked.") == 1
    world.server.faults = []
    world.server.requests.clear()
    again = world.run()
    delivered(world, again)
    assert (again.usage.store_hits, again.usage.calls) == (kept, ROWS - kept)
    assert sum(row_of(request.body) != PROBE for request in world.server.requests) == ROWS - kept


def test_every_kind_of_fault_that_passes_is_tried() -> None:
    for_good = {"refusal", "content_filter"}
    assert {kind for kind in PASSING if isinstance(kind, str)} == set(get_args(FaultKind)) - for_good
