"""What the store remembers: a run asks for what changed, and for nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import infergraph as ig
from infergraph.models.model import Request
from infergraph.models.scripted import script

ROWS = pl.DataFrame({"id": range(1000), "body": [f"row {number}" for number in range(1000)]})


def answer(request: Request) -> Any:
    return "yes"


def session_with(tmp_path: Path, **parameters: Any) -> ig.Session:
    model = ig.Model("scripted:memory", **parameters)
    return ig.Session(models={"m": model}, store="sqlite:///state.db", root=tmp_path)


def calls(session: ig.Session, rows: pl.DataFrame = ROWS, prompt: str = "Say {{ body }}") -> int:
    return session.frame(rows, name="rows", key="id").semantic.map(prompt, into="said").run().usage.calls


def test_one_changed_row_of_a_thousand_makes_one_call(tmp_path: Path) -> None:
    with session_with(tmp_path) as session, script("memory", answer):
        assert calls(session) == 1000
        assert calls(session) == 0
        changed = ROWS.with_columns(body=pl.when(pl.col("id") == 500).then(pl.lit("new")).otherwise("body"))
        assert calls(session, changed) == 1
        assert calls(session) == 0


@pytest.mark.parametrize(
    "parameters", [{"temperature": 0.5}, {"max_output_tokens": 50}, {"revision": "2"}, {"salt": "again"}]
)
def test_another_parameter_asks_anew_and_keeps_the_old_answers(tmp_path: Path, parameters: dict[str, Any]) -> None:
    few = ROWS.head(10)
    with script("memory", answer):
        with session_with(tmp_path) as session:
            assert calls(session, few) == 10
            assert calls(session, few, "Tell {{ body }}") == 10
        with session_with(tmp_path, **parameters) as session:
            assert calls(session, few) == 10
        with session_with(tmp_path) as session:
            assert calls(session, few) == calls(session, few, "Tell {{ body }}") == 0


@pytest.mark.parametrize("limits", [{"requests_per_minute": 100_000}, {"max_concurrency": 3}, {"timeout_s": 5}])
def test_another_limit_asks_nothing(tmp_path: Path, limits: dict[str, Any]) -> None:
    few = ROWS.head(10)
    with script("memory", answer):
        with session_with(tmp_path) as session:
            assert calls(session, few) == 10
        with session_with(tmp_path, **limits) as session:
            assert calls(session, few) == 0
