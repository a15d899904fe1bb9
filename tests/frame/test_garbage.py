"""The collector looks less often while a run goes on, and as before afterwards."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

import infergraph as ig
from infergraph.frame.garbage import fewer_collections
from infergraph.models.model import Request
from infergraph.models.scripted import script


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def test_a_run_raises_the_threshold_and_puts_it_back(tmp_path: Path) -> None:
    seen: list[int] = []

    def answer(_: Request) -> str:
        seen.append(gc.get_threshold()[0])
        return "yes"

    models = {"m": ig.Model("scripted:m")}
    store = f"sqlite:///{tmp_path}/state.db"
    with script("m", answer), ig.Session(models=models, default_model="m", store=store) as session:
        session.frame(pl.DataFrame({"a": ["x"]}), name="f").semantic.map("{{ a }}", into="b").run()
    assert seen[0] > 700
    assert gc.get_threshold() == (700, 10, 10)


def test_the_last_of_overlapping_runs_puts_it_back() -> None:
    first, second = fewer_collections(), fewer_collections()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert gc.get_threshold()[0] > 700
    second.__exit__(None, None, None)
    assert gc.get_threshold() == (700, 10, 10)


def test_a_failed_run_puts_it_back() -> None:
    with pytest.raises(ZeroDivisionError), fewer_collections():
        _ = 1 / 0
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("own", [0, 100_000])
def test_a_process_keeps_what_it_chose_itself(own: int) -> None:
    gc.set_threshold(own, 10, 10)
    with fewer_collections():
        assert gc.get_threshold()[0] == own
    assert gc.get_threshold()[0] == own


def test_what_is_chosen_meanwhile_stays() -> None:
    with fewer_collections():
        gc.set_threshold(1234, 10, 10)
    assert gc.get_threshold()[0] == 1234
