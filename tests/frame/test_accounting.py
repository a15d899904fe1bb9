"""Every row has one ending, and every attempt is accounted once: what runs report, and what the store knows."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pytest
from pydantic import BaseModel

import infergraph as ig
from infergraph.frame.run import run_to_folder
from infergraph.models.model import CallFailed, Request, Tokens
from infergraph.models.scripted import script
from infergraph.store import Store

ROWS = 1_200
Change = Callable[[ig.SemanticFrame], ig.SemanticFrame]


class Mood(BaseModel):
    mood: Literal["good", "bad"]


def endings(usage: ig.Usage) -> int:
    return usage.calls + usage.store_hits + usage.shared + usage.rejected_before + usage.nulls + usage.pending


def spent_tokens(store: Store, run_id: str) -> dict[tuple[str | None, ...], tuple[Tokens, int | None]]:
    store.writer.flush()
    rows = store.spent(["asset", "operator", "model"], run_id=run_id)
    return {(row.asset, row.operator, row.model): (row.tokens, row.cost_nano_usd) for row in rows}


def used_tokens(store: Store, run_id: str) -> dict[tuple[str | None, ...], tuple[Tokens, int | None]]:
    return {(row.asset, row.operator, row.model): (row.tokens, row.cost_nano_usd) for row in store.usage(run_id=run_id)}


@pytest.fixture
def priced(tmp_path: Path) -> Any:
    models = {"m": ig.Model("scripted:priced", price=ig.Price(input=1, cached_input=1, output=2), max_concurrency=64)}
    with ig.Session(models=models, store="sqlite:///state.db", root=tmp_path) as session:
        yield session


@pytest.mark.parametrize("options", [{}, {"refresh": True}, {"max_cost_usd": 0.002}])
@pytest.mark.parametrize(
    ("change", "most"),
    [
        (lambda f: ig.concat([f.filter(pl.col("part") == "a"), f.filter(pl.col("part") != "a")]), ROWS),
        (lambda f: ig.concat([f.filter(pl.col("part") != "a"), f.filter(pl.col("part") != "b")]), 4 * ROWS // 3),
        (lambda f: ig.concat([f, f]), 2 * ROWS),
        (lambda f: f.join(f, on="id"), 2 * ROWS),
        (lambda f: ig.concat([f.filter(pl.col("said").is_null()), f.head(10)]), ROWS + 10),
        (lambda f: ig.concat([f, f]).head(300), 2 * ROWS),
    ],
)
def test_each_reading_of_a_row_has_one_ending(
    priced: ig.Session, change: Change, most: int, options: dict[str, Any]
) -> None:
    async def answer(request: Request) -> Any:
        await asyncio.sleep(0.001)
        if "row 7" in request.messages[-1].content:
            raise CallFailed("no", outcome="permanent", reason="refused")
        return "said"

    bodies = [None if number % 5 == 0 else f"row {number % 200}" for number in range(ROWS)]
    data = pl.DataFrame({"id": range(ROWS), "body": bodies, "part": ["a", "b", "c"] * (ROWS // 3)})
    with script("priced", answer) as asked:
        frame = change(priced.frame(data, name="t", key="id").semantic.map("Say {{ body }}", into="said"))
        for _ in range(2):
            before = len(asked.requests)
            result = frame.run(**options)
            usage = result.usage
            assert usage.rows == endings(usage) <= most
            assert usage.calls == len(asked.requests) - before
            assert usage.rejected >= result.rejects.height
            assert result.rejects["row_id"].n_unique() == result.rejects.height


def test_progress_promises_no_total_where_rows_come_twice(tickets: ig.SemanticFrame) -> None:
    told: list[ig.Progress] = []
    with script("fast", lambda request: "said"):
        said = tickets.semantic.map("Say {{ body }}", into="said")
        ig.concat([said, said]).run(on_progress=told.append)
    assert {progress.rows_total for progress in told} == {None}


def test_usage_and_attempts_agree_over_retries_repairs_failures_and_tries(priced: ig.Session, tmp_path: Path) -> None:
    seen: dict[str, int] = {}
    locked = True

    async def answer(request: Request) -> Any:
        text = request.messages[1].content
        seen[text] = seen.get(text, 0) + 1
        await asyncio.sleep(0.001)
        if "busy" in text and seen[text] == 1:
            raise CallFailed("busy", outcome="transient", status=503, retry_after_s=0.01)
        if "wrong" in text and seen[text] == 1:
            return {"mood": "neither"}
        if "refused" in text:
            raise CallFailed("no", outcome="permanent", reason="refused")
        if "late" in text and locked:
            raise CallFailed("wrong key", outcome="fatal", status=401)
        return {"mood": "good"}

    kinds = ["plain", "busy", "wrong", "refused"]
    data = pl.DataFrame({"body": [*(f"{kinds[number % 4]} {number}" for number in range(80)), "late"]})
    frame = priced.frame(data, name="t").semantic.extract("body", Mood)
    store = priced.store
    with script("priced", answer):
        with pytest.raises(ig.ProviderRefused):
            run_to_folder(frame, tmp_path / "one", run_id="r", asset="moods")
        first = used_tokens(store, "r")
        assert first == spent_tokens(store, "r")
        assert next(iter(first.values()))[1]
        locked = False
        retried = run_to_folder(frame, tmp_path / "two", run_id="r", asset="moods")
        other = run_to_folder(frame, tmp_path / "three", run_id="s", asset="moods", options=ig.RunOptions(refresh=True))
    assert used_tokens(store, "r") == spent_tokens(store, "r")
    assert used_tokens(store, "s") == spent_tokens(store, "s")
    [row] = store.usage(run_id="r")
    assert row.cost_nano_usd is not None
    assert retried.usage.cost_usd is not None
    assert row.cost_nano_usd == next(iter(first.values()))[1] + round(retried.usage.cost_usd * 1_000_000_000)  # type: ignore[operator]
    assert row.rows == endings_of(row) > retried.usage.rows == other.usage.rows == 81
    [whole] = store.spent([])
    assert 0 <= whole.attempts - sum(seen.values()) <= whole.unknown_costs  # given up before it began


def endings_of(row: Any) -> int:
    return int(row.calls + row.store_hits + row.shared + row.rejected_before + row.nulls + row.pending)


def test_what_a_killed_run_spent_is_known(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import asyncio, os, signal
        import polars as pl, infergraph as ig
        from infergraph.models.scripted import script

        async def answer(request):
            await asyncio.sleep(0.01)
            if "row 800" in request.messages[-1].content:
                os.kill(os.getpid(), signal.SIGKILL)
            return "said"

        models = {"m": ig.Model("scripted:m", price=ig.Price(input=1, output=1), max_concurrency=16)}
        with ig.Session(models=models, store="sqlite:///state.db", root=".") as session, script("m", answer):
            rows = pl.DataFrame({"body": [f"row {number}" for number in range(1_000)]})
            session.frame(rows, name="t").semantic.map("Say {{ body }}", into="said").collect()
    """)
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == -9, done.stderr
    with Store.open("sqlite:///state.db", root=tmp_path) as store:
        assert store.usage() == []
        [spent] = store.spent(["operator"])
        assert spent.operator == "map"
        assert 100 < spent.attempts < 1_000
        assert spent.cost_nano_usd
        assert spent.tokens.input > spent.attempts
