"""``head`` over operators that keep some rows: as many calls as it takes to find its rows, and one window more."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import infergraph as ig
from infergraph.frame.pulling import pulled_heads
from infergraph.models.model import Request
from infergraph.models.scripted import script

ROWS = 20_000


@pytest.fixture
def wide(tmp_path: Path) -> Iterator[ig.Session]:
    """A model that takes 512 requests at once, and so is usually asked hundreds of rows ahead."""
    models = {"m": ig.Model("scripted:wide", max_concurrency=512)}
    with ig.Session(models=models, default_model="m", store="sqlite:///wide.db", root=tmp_path) as made:
        yield made


def source(session: ig.Session, count: int = ROWS) -> ig.SemanticFrame:
    data = pl.DataFrame({"id": range(count), "body": [f"row {number}" for number in range(count)]})
    return session.frame(data, name="t", key="id")


class Judge:
    """Finds each sentence true of the rows that its function keeps, and counts the calls of each."""

    def __init__(self, **keeps: Callable[[int], bool]) -> None:
        self._keeps = keeps
        self.calls: Counter[str] = Counter()

    def __call__(self, request: Request) -> Any:
        if request.choices is None:
            self.calls["said"] += 1
            return "said " + request.messages[-1].content.split("row ")[1].split("\n")[0]
        name = next(name for name in self._keeps if name in request.choices.question)
        self.calls[name] += 1
        return {request.choices.field: self._keeps[name](int(request.choices.subject.split()[2]))}


def chained(frame: ig.SemanticFrame, *names: str) -> ig.SemanticFrame:
    for name in names:
        frame = frame.semantic.filter(f"{{{{ body }}}} is {name}")
    return frame


def test_three_filters_that_keep_everything_are_asked_for_ten_rows_each(wide: ig.Session) -> None:
    judge = Judge(red=lambda n: True, green=lambda n: True, blue=lambda n: True)
    with script("wide", judge):
        result = chained(source(wide), "red", "green", "blue").head(10).run()
        assert result.frame["id"].to_list() == list(range(10))
        assert judge.calls == {"red": 10, "green": 10, "blue": 10}
        time.sleep(0.3)
        assert judge.calls.total() == 30
    assert result.usage.rows == result.usage.calls == 30


@pytest.mark.parametrize("one_in", [2, 7, 40])
def test_rows_that_are_hard_to_find_cost_one_window_more_than_they_must(wide: ig.Session, one_in: int) -> None:
    judge = Judge(red=lambda n: n % one_in == 0, green=lambda n: True, blue=lambda n: True)
    with script("wide", judge):
        found = chained(source(wide), "red", "green", "blue").head(10).collect()
    assert found["id"].to_list() == [one_in * number for number in range(10)]
    needed = 9 * one_in + 1
    assert needed <= judge.calls["red"] <= 2 * needed + 10
    assert 10 <= judge.calls["blue"] <= judge.calls["green"] <= judge.calls["red"] // one_in + 1


def test_a_row_that_is_far_away_is_found_in_few_steps(wide: ig.Session) -> None:
    open_now, most = 0, 0

    async def answer(request: Request) -> Any:
        nonlocal open_now, most
        import asyncio

        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0.01)
        open_now -= 1
        assert request.choices is not None
        return {request.choices.field: int(request.choices.subject.split()[2]) == 6_000}

    with script("wide", answer) as asked:
        assert chained(source(wide), "red").head(1).collect()["id"].to_list() == [6_000]
    assert most >= 256  # the windows have grown until they kept the model busy
    assert len(asked.requests) < 6_000 + 1_024


def test_plain_steps_between_are_seen_through(wide: ig.Session) -> None:
    judge = Judge(red=lambda n: True)
    with script("wide", judge):
        said = source(wide).semantic.map("Say {{ body }}", into="said")
        frame = (
            chained(said.filter(pl.col("said") != "said 3").with_columns(twice=pl.col("id") * 2), "red")
            .filter(pl.col("twice") % 4 == 0)
            .rename({"twice": "double"})
            .head(5)
        )
        assert frame.collect()["double"].to_list() == [0, 4, 8, 12, 16]
    # Both plain conditions need no answer of a filter, so Polars tests one before it; the other needs what was said.
    assert judge.calls["red"] <= 15
    assert judge.calls["said"] <= 35


def test_nothing_is_asked_for_no_rows_or_for_columns_that_nobody_reads(wide: ig.Session) -> None:
    with script("wide", Judge(red=lambda n: True)) as asked:
        assert chained(source(wide), "red").head(0).collect().is_empty()
        assert asked.requests == []
        said = source(wide).semantic.map("Say {{ body }}", into="said").filter(pl.col("id") > 3).head(2)
        assert said.select("id").collect()["id"].to_list() == [4, 5]
        assert asked.requests == []
        never = chained(source(wide), "red").filter(pl.lit(False)).head(3)
        assert never.collect().is_empty()


def test_the_end_of_the_rows_ends_it(wide: ig.Session) -> None:
    with script("wide", Judge(red=lambda n: n == 30, green=lambda n: True)):
        found = chained(source(wide, 50), "red", "green").head(10).run()
        assert found.frame["id"].to_list() == [30]
        assert found.usage.calls == 51
        assert chained(source(wide, 0), "red", "green").head(10).collect().is_empty()


def test_a_failure_comes_through_as_it_is(wide: ig.Session) -> None:
    from infergraph.models.model import CallFailed

    def answer(request: Request) -> Any:
        raise CallFailed("the key is wrong", outcome="fatal", status=401)

    with script("wide", answer), pytest.raises(ig.ProviderRefused, match="the key is wrong"):
        chained(source(wide), "red", "green", "blue").head(10).collect()


def unsure(series: pl.Series) -> pl.Series:
    return series > series.mean()


@pytest.mark.parametrize(
    ("build", "operators"),
    [
        (lambda f: chained(f, "red", "green").head(10), 2),
        (lambda f: chained(f, "red").semantic.map("Say {{ body }}", into="said").head(10), 2),
        (lambda f: f.semantic.map("Say {{ body }}", into="said").filter(pl.col("said") != "x").head(10), 1),
        (lambda f: chained(f, "red").drop("id").cast({"body": pl.String}).limit(3), 1),
        # Polars tells each operator how many rows are wanted.
        (lambda f: f.semantic.map("Say {{ body }}", into="said").head(10), 0),
        (lambda f: f.filter(pl.col("id") > 3).semantic.map("Say {{ body }}", into="said").head(10), 0),
        # Whether such a step looks at one row alone is not known, or it does not.
        (lambda f: chained(f, "red").filter(pl.col("id") == pl.col("id").max()).head(10), 0),
        (lambda f: chained(f, "red").filter(pl.col("id").map_batches(unsure)).head(10), 0),
        (lambda f: chained(f, "red").with_row_index().head(10), 0),
        (lambda f: chained(f, "red").sort("id").head(10), 0),
        (lambda f: chained(f, "red").unique("body").head(10), 0),
        (lambda f: chained(chained(f, "red").sort("id"), "green").head(10), 1),
        (lambda f: chained(f, "red").head(10_000), 0),
        (lambda f: chained(f, "red").tail(10), 0),
        (lambda f: chained(f, "red").join(f.select("id"), on="id").head(10), 0),
    ],
)
def test_which_operators_are_read_in_windows(wide: ig.Session, build: Any, operators: int) -> None:
    found = pulled_heads(build(source(wide, 5)).node)
    assert sum(map(len, found.values())) == operators


def test_an_operator_that_two_branches_read_is_left_to_polars(wide: ig.Session) -> None:
    red = chained(source(wide, 40), "red")
    both = ig.concat([red.filter(pl.col("id") < 3).head(10), red.tail(2)])
    assert pulled_heads(both.node) == {}
    with script("wide", Judge(red=lambda n: n % 2 == 0)):
        assert both.collect()["id"].to_list() == [0, 2, 36, 38]


def test_heads_of_two_branches_and_of_a_head(wide: ig.Session) -> None:
    judge = Judge(red=lambda n: n % 2 == 0, green=lambda n: n % 3 == 0)
    with script("wide", judge):
        red, green = chained(source(wide), "red").head(4), chained(source(wide), "green").head(3)
        assert ig.concat([red, green]).collect()["id"].to_list() == [0, 2, 4, 6, 0, 3, 6]
        twice = chained(chained(source(wide), "red").head(6), "green").head(2)
        assert twice.collect()["id"].to_list() == [0, 6]
        assert red.head(2).filter(pl.col("id") > 0).collect()["id"].to_list() == [2]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(0, 120),
    n=st.integers(0, 40),
    at_once=st.sampled_from([1, 3, 16, 512]),
    kept=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    plain=st.sampled_from(["none", "filter", "explode", "select"]),
    seed=st.integers(0, 5),
)
def test_the_first_rows_are_those_of_all_rows(
    count: int, n: int, at_once: int, kept: list[int], plain: str, seed: int
) -> None:
    """Whatever stands between, ``head`` gives what it would give of all rows, and nobody is asked twice."""
    chosen = random.Random(seed)
    names = ["red", "green", "blue"][: len(kept)]
    sets = {
        name: {number for number in range(count) if chosen.random() < 1 / one_in}
        for name, one_in in zip(names, kept, strict=True)
    }
    steps: dict[str, Callable[[Any], Any]] = {
        "none": lambda f: f,
        "filter": lambda f: f.filter(pl.col("id") % 3 != 1),
        "explode": lambda f: f.with_columns(part=pl.concat_list("id", pl.col("id") + 1)).explode("part"),
        "select": lambda f: f.select("body", twice=pl.col("id") * 2),
    }
    judge = Judge(**{name: chosen_rows.__contains__ for name, chosen_rows in sets.items()})
    data = pl.DataFrame({"id": range(count), "body": [f"row {number}" for number in range(count)]})
    plain_rows = data.filter(*[pl.col("id").is_in(list(rows)) for rows in sets.values()])
    expected = steps[plain](plain_rows).head(n)
    models = {"m": ig.Model("scripted:wide", max_concurrency=at_once)}
    with ig.Session(models=models, store="sqlite://") as session, script("wide", judge) as asked:
        frame = session.frame(data, name="t", key="id")
        first, *rest = names
        result = chained(steps[plain](chained(frame, first)) if plain != "select" else chained(frame, first), *rest)
        result = steps[plain](result) if plain == "select" else result
        found = result.head(n).run(row_ids=True)
    assert found.frame.drop("_row_id").to_dict(as_series=False) == expected.to_dict(as_series=False)
    assert found.frame["_row_id"].n_unique() == found.frame.height
    questions = {(request.choices.question, request.choices.subject) for request in asked.requests if request.choices}
    assert found.usage.calls == len(asked.requests) == len(questions)
