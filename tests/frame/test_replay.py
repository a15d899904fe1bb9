"""What the store alone makes of a plan: the rows of a run, with nulls for what is still to come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
from polars.testing import assert_frame_equal
from pydantic import BaseModel

import infergraph as ig
from infergraph.frame.replay import replay
from infergraph.frame.run import RunOptions, run_to_folder
from infergraph.models.model import Request
from infergraph.models.scripted import script


class Fact(BaseModel):
    product: str


def answer(request: Request) -> Any:
    text = request.messages[1].content
    if request.choices is not None:
        return {request.choices.field: "slow" not in text}
    return "nothing" if "merci" in text else {"product": text.split("\n")[1]}


def replayed(frame: ig.SemanticFrame, folder: Path, options: RunOptions | None = None) -> tuple[pl.DataFrame, int]:
    path = folder / "replay.parquet"
    asked = replay(frame, path, options or RunOptions())
    return pl.read_parquet(path), asked


def test_it_is_what_a_run_gave(tickets: ig.SemanticFrame, tmp_path: Path) -> None:
    plans = [
        tickets.semantic.extract("body", Fact),
        tickets.semantic.extract("body", Fact).filter(pl.col("product").is_not_null()).sort("product"),
        tickets.semantic.filter("{{ body }} is loud", on_reject="keep").semantic.extract("body", Fact),
        tickets.semantic.extract("body", Fact).group_by("product").agg(pl.len()),
    ]
    for number, plan in enumerate(plans):
        with script("fast", answer) as asked:
            made = run_to_folder(plan, tmp_path / str(number))
            count = len(asked.requests)
            rows, open_requests = replayed(plan, tmp_path)
            assert open_requests == 0
            assert len(asked.requests) == count, "no model is asked"
        assert_frame_equal(rows, pl.read_parquet(made.data))


def test_what_is_missing_is_null_and_counted_once(tickets: ig.SemanticFrame, tmp_path: Path) -> None:
    plan = tickets.semantic.extract("body", Fact)
    with script("fast", answer):
        plan.head(2).run()
    rows, open_requests = replayed(plan, tmp_path)
    assert rows["product"].to_list() == ["broken", "slow", None, "broken", None, None]
    assert open_requests == 2
    assert replayed(plan, tmp_path, RunOptions(limit=2))[1] == 0
