"""What waits for answers: bounded, in order, and on disk where a slow row would stop the work behind it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import infergraph as ig
from infergraph.frame import spill as spills
from infergraph.frame import window as windows
from infergraph.frame.run import run_to_folder
from infergraph.frame.spill import Spill
from infergraph.frame.window import Window, asked_for_few
from infergraph.models.model import CallFailed, Request
from infergraph.models.scripted import script

AT_ONCE = 8


def number_in(request: Request) -> int:
    text = request.choices.subject if request.choices is not None else request.messages[-1].content
    return int(text.split("row ")[1].split()[0])


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[ig.Session]:
    models = {"m": ig.Model("scripted:narrow", max_concurrency=AT_ONCE)}
    with ig.Session(models=models, default_model="m", store="sqlite:///narrow.db", root=tmp_path) as made:
        yield made


def rows(count: int) -> pl.DataFrame:
    return pl.DataFrame({"id": range(count), "body": [f"row {number} of many" for number in range(count)]})


def settled(look: Callable[[], int]) -> int:
    """What a count comes to rest at: it stays for a second."""
    seen, since = look(), time.monotonic()
    while time.monotonic() - since < 1.0:
        time.sleep(0.02)
        if (now := look()) != seen:
            seen, since = now, time.monotonic()
    return seen


class Slow:
    """Answers every row with its number, the slow ones only when they are let go."""

    def __init__(self, *slow: int, refused: Callable[[int], bool] = lambda number: False) -> None:
        self._slow = set(slow)
        self._refused = refused
        self._lock = threading.Lock()
        self.let_go = threading.Event()
        self.answered: list[int] = []

    async def __call__(self, request: Request) -> Any:
        number = number_in(request)
        while number in self._slow and not self.let_go.is_set():
            await asyncio.sleep(0.005)
        with self._lock:
            self.answered.append(number)
        if self._refused(number):
            raise CallFailed("no", outcome="permanent", reason="refused")
        return f"said {number}"

    def wait_for(self, count: int, seconds: float = 20) -> bool:
        """Whether so many rows were answered in time."""
        end = time.monotonic() + seconds
        while len(self.answered) < count and time.monotonic() < end:
            time.sleep(0.01)
        return len(self.answered) >= count


def in_a_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, results


@pytest.mark.parametrize("slow_rows", [(0,), (0, 40, 41, 300, 1_500)])
def test_everything_behind_slow_rows_is_done_meanwhile(
    narrow: ig.Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, slow_rows: tuple[int, ...]
) -> None:
    monkeypatch.setattr(windows, "WINDOW_ROWS", 64)
    slow, count = Slow(*slow_rows, refused=lambda number: number % 100 == 7), 2_000
    with script("narrow", slow):
        frame = narrow.frame(rows(count), name="t", key="id").semantic.map("Say {{ body }}", into="said")
        folder = tmp_path / "stage"
        thread, results = in_a_thread(lambda: run_to_folder(frame, folder))
        try:
            assert slow.wait_for(count - len(slow_rows))
            kept = sorted((folder / "spill").glob("*.arrow"))
            assert len(kept) > (count - 200) / Window(lambda: AT_ONCE).rows
        finally:
            slow.let_go.set()
            thread.join()
    [staged] = results
    expected = [None if number % 100 == 7 else f"said {number}" for number in range(count)]
    assert pl.read_parquet(staged.data)["said"].to_list() == expected
    assert pl.read_parquet(staged.rejects)["id"].sort().to_list() == list(range(7, count, 100))
    assert pl.read_parquet(staged.lineage)["row_id"].n_unique() == count
    assert (staged.usage.rows, staged.usage.calls, staged.usage.rejected) == (count, count, count // 100)
    assert not (folder / "spill").exists()


@pytest.mark.parametrize("how", ["cancelled", "failed"])
def test_a_run_that_ends_early_leaves_nothing_on_disk(
    narrow: ig.Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    monkeypatch.setattr(windows, "WINDOW_ROWS", 64)
    slow, stopped = Slow(0), threading.Event()
    folder = tmp_path / "stage"

    async def answer(request: Request) -> Any:
        if number_in(request) == 1_500 and how == "failed":
            while not stopped.is_set():
                await asyncio.sleep(0.005)
            raise CallFailed("wrong key", outcome="fatal", status=401)
        return await slow(request)

    with script("narrow", answer):
        frame = narrow.frame(rows(2_000), name="t").semantic.map("Say {{ body }}", into="said")
        thread, results = in_a_thread(lambda: run_to_folder(frame, folder))
        assert slow.wait_for(1_400)
        assert list((folder / "spill").glob("*.arrow"))
        if how == "failed":
            stopped.set()
        else:
            narrow.engine.close()
        thread.join(20)
        assert not thread.is_alive()
    [error] = results
    assert isinstance(error, ig.ProviderRefused if how == "failed" else ig.InfergraphError)
    assert not (folder / "spill").exists()


def test_without_room_on_disk_the_run_waits_and_does_not_fail(
    narrow: ig.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "WINDOW_ROWS", 64)
    monkeypatch.setattr(spills, "SPILL_BYTES", 20_000)
    slow, count = Slow(0), 2_000
    with script("narrow", slow):
        frame = narrow.frame(rows(count), name="t").semantic.map("Say {{ body }}", into="said")
        thread, results = in_a_thread(lambda: frame.run(row_ids=True))
        try:
            assert slow.wait_for(200)
            assert settled(lambda: len(slow.answered)) < 1_000
        finally:
            slow.let_go.set()
            thread.join()
    assert results[0].frame["said"].to_list() == [f"said {number}" for number in range(count)]


def test_who_wants_few_rows_asks_for_them_first(narrow: ig.Session) -> None:
    slow = Slow(0)
    with script("narrow", slow):
        said = narrow.frame(rows(2_000), name="t").semantic.map("Say {{ body }}", into="said")
        few = said.filter(pl.col("said").str.len_chars() > 0).head(3)
        thread, results = in_a_thread(few.run)
        try:
            assert slow.wait_for(2)
            time.sleep(0.5)
            assert sorted(slow.answered) == [1, 2]
        finally:
            slow.let_go.set()
            thread.join()
    assert results[0].frame["id"].to_list() == [0, 1, 2]
    assert results[0].usage.calls == 3


def test_who_may_want_few_rows_does_not_ask_far_ahead(narrow: ig.Session) -> None:
    """What a function of the user's wants is not known: perhaps all rows, perhaps three."""
    first_window = 12
    slow, held = Slow(0), Slow(*range(first_window, 2_000))

    async def answer(request: Request) -> Any:
        # Behind the first window nothing is answered: how soon Polars sees that three rows are enough is all one.
        return await (slow if number_in(request) < first_window else held)(request)

    with script("narrow", answer) as asked:
        said = narrow.frame(rows(2_000), name="t").semantic.map("Say {{ body }}", into="said")
        few = said.map_frame(lambda lf: lf.filter(pl.col("said").str.len_chars() > 0).head(3))
        thread, results = in_a_thread(few.run)
        try:
            assert slow.wait_for(first_window - 1)
            time.sleep(0.5)
            assert len(asked.requests) == first_window
        finally:
            slow.let_go.set()
            thread.join()
    assert results[0].frame["id"].to_list() == [0, 1, 2]
    assert not held.answered
    assert results[0].usage.calls <= first_window + AT_ONCE


@pytest.mark.parametrize(
    ("after", "few"),
    [
        (lambda f: f, False),
        (lambda f: f.filter(pl.col("id") > 1), False),
        (lambda f: f.head(3), True),
        (lambda f: f.filter(pl.col("id") > 1).limit(3), True),
        (lambda f: f.slice(2, 3), True),
        (lambda f: f.slice(2), False),
        (lambda f: f.tail(3), False),
        (lambda f: f.slice(-3, 2), False),
        (lambda f: f.sort("id").head(3), False),
        (lambda f: f.group_by("body").agg(pl.len()).head(3), False),
        (lambda f: f.unique("body").head(3), True),
        (lambda f: f.map_frame(lambda lf: lf.with_columns(x=1)), True),
        (lambda f: f.map_frame(lambda lf: lf.head(2)).sort("id"), True),
        (lambda f: f.join(f.select("id"), on="id").head(3), True),
        (lambda f: f.semantic.map("Say {{ body }}", into="more").head(3), True),
        (lambda f: ig.concat([f, f.head(2)]), True),
    ],
)
def test_the_plan_says_whether_few_rows_may_be_wanted(tickets: ig.SemanticFrame, after: Any, few: bool) -> None:
    asked = tickets.semantic.sentiment("body")
    operator = asked.node
    assert (id(operator) in asked_for_few(after(asked).node)) is few


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(1, 300),
    slow=st.dictionaries(st.integers(0, 299), st.floats(0.0, 0.03), max_size=12),
    lengths=st.lists(st.integers(0, 2_000), min_size=1, max_size=7),
    window_rows=st.sampled_from([1, 8, 40]),
    window_bytes=st.sampled_from([1, 20_000, 10**9]),
    spill_bytes=st.sampled_from([0, 5_000, 10**9]),
    keep=st.booleans(),
)
def test_order_is_kept_and_nothing_is_lost(
    count: int,
    slow: dict[int, float],
    lengths: list[int],
    window_rows: int,
    window_bytes: int,
    spill_bytes: int,
    keep: bool,
) -> None:
    async def answer(request: Request) -> Any:
        number = number_in(request)
        await asyncio.sleep(slow.get(number, 0.0))
        if request.choices is not None:
            return {request.choices.field: number % 3 != 0}
        return f"said {number}"

    data = pl.DataFrame({"body": [f"row {n} {'x' * lengths[n % len(lengths)]}" for n in range(count)]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "WINDOW_ROWS", window_rows)
        patch.setattr(windows, "WINDOW_BYTES", window_bytes)
        patch.setattr(spills, "SPILL_BYTES", spill_bytes)
        models = {"m": ig.Model("scripted:narrow", max_concurrency=AT_ONCE)}
        with ig.Session(models=models, store="sqlite://") as session, script("narrow", answer) as asked:
            frame = session.frame(data, name="t").semantic.map("Say {{ body }}", into="said", model="m")
            frame = frame.semantic.filter("{{ body }} is odd", model="m") if keep else frame
            result = frame.run(row_ids=True)
    numbers = [number for number in range(count) if not keep or number % 3]
    assert result.frame["said"].to_list() == [f"said {number}" for number in numbers]
    assert result.frame["_row_id"].n_unique() == len(numbers)
    assert len(asked.requests) == count * (1 + keep)
    assert result.lineage.height == count * (1 + keep)


def test_a_slow_reader_is_not_run_away_from(narrow: ig.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, most = Slow(), [0]
    taken = 0

    def slowly(batch: pl.DataFrame) -> pl.DataFrame:
        nonlocal taken
        taken += batch.height
        time.sleep(0.01)
        most[0] = max(most[0], len(slow.answered) - taken)
        return batch

    with script("narrow", slow):
        said = narrow.frame(rows(2_000), name="t").semantic.map("Say {{ body }}", into="said")
        out = said.map_frame(lambda lf: lf.map_batches(slowly, streamable=True)).run()
    assert out.frame.height == 2_000
    assert most[0] < 1_000


def test_two_operators_in_a_chain_ask_at_the_same_time(tmp_path: Path) -> None:
    open_now, together, count = {"one": 0, "two": 0}, [0], 400

    def answering(which: str) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Any:
            open_now[which] += 1
            together[0] += all(open_now.values())
            await asyncio.sleep(0.02)
            open_now[which] -= 1
            return f"{which} {number_in(request)}"

        return answer

    models = {name: ig.Model(f"scripted:{name}", max_concurrency=AT_ONCE) for name in open_now}
    with (
        script("one", answering("one")),
        script("two", answering("two")),
        ig.Session(models=models, store="sqlite:///s.db", root=tmp_path) as session,
    ):
        said = session.frame(rows(count), name="t").semantic.map("Say {{ body }}", into="said", model="one")
        told = said.semantic.map("Tell {{ body }} from {{ said }}", into="told", model="two").run()
    assert told.frame["told"].to_list() == [f"two {number}" for number in range(count)]
    assert together[0] > count


@pytest.mark.parametrize("slow_rows", [(), (0,), (0, 5, 700)])
def test_steps_that_look_at_other_rows_see_all_of_them(
    narrow: ig.Session, monkeypatch: pytest.MonkeyPatch, slow_rows: tuple[int, ...]
) -> None:
    monkeypatch.setattr(windows, "WINDOW_ROWS", 32)
    data = rows(800)
    plain = data.with_columns(said=pl.format("said {}", "id"))
    steps: list[Callable[[Any], Any]] = [
        lambda f: f.filter(pl.col("said").str.len_chars() == pl.col("said").str.len_chars().max()),
        lambda f: f.filter(pl.col("said").shift() == "said 5"),
        lambda f: f.filter(pl.col("id") == pl.col("id").max().over(pl.col("said").str.len_chars())),
        lambda f: f.filter(pl.len() > 799),
        lambda f: f.with_columns(total=pl.col("said").str.len_chars().sum(), mean=pl.col("id").mean()),
        lambda f: f.with_row_index().filter(pl.col("said") == "said 700"),
        lambda f: f.with_columns(c=pl.col("said").cum_count()).tail(3),
        lambda f: f.select(pl.len()),
    ]
    slow = Slow(*slow_rows)
    with script("narrow", slow):
        said = narrow.frame(data, name="t").semantic.map("Say {{ body }}", into="said")
        timer = threading.Timer(0.5, slow.let_go.set)
        timer.start()
        for step in steps:
            assert step(said).collect().equals(step(plain.lazy()).collect())
        timer.join()


def test_counting_what_a_filter_keeps_survives_the_disk(narrow: ig.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "WINDOW_ROWS", 16)
    let_go = threading.Timer(0.3, lambda: None)

    async def answer(request: Request) -> Any:
        number = number_in(request)
        while number == 0 and let_go.is_alive():
            await asyncio.sleep(0.005)
        assert request.choices is not None
        return {request.choices.field: number % 2 == 0}

    with script("narrow", answer):
        let_go.start()
        even = narrow.frame(rows(600), name="t").semantic.filter("{{ body }} is even")
        assert even.select(pl.len()).collect().item() == 300


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 30), max_size=40), max_size=30))
def test_occurrences_are_counted_as_a_dictionary_would(batches: list[list[int]]) -> None:
    import numpy as np

    from infergraph.frame.row_ids import Occurrences

    seen, known = Occurrences(), dict.fromkeys(range(31), 0)
    for batch in batches:
        expected = []
        for mark in batch:
            expected.append(known[mark])
            known[mark] += 1
        assert seen.count(np.array(batch, dtype=np.uint64)).tolist() == expected


def test_rows_come_back_from_disk_as_they_went(tmp_path: Path) -> None:
    rows = pl.DataFrame(
        {
            "enum": pl.Series(["a", None], dtype=pl.Enum(["a", "b"])),
            "labels": pl.Series([["a"], None], dtype=pl.List(pl.Enum(["a", "b"]))),
            "category": pl.Series(["x", None], dtype=pl.Categorical),
            "nested": pl.Series([{"n": 1, "e": "a"}, None], dtype=pl.Struct({"n": pl.Int8, "e": pl.Enum(["a"])})),
            "vector": pl.Series([[1.0, 2.0], None], dtype=pl.Array(pl.Float32, 2)),
            "amount": pl.Series(["1.20", None]).cast(pl.Decimal(10, 2)),
            "at": pl.Series([0, None]).cast(pl.Datetime("ns", "Europe/Berlin")),
            "bytes": [b"\x00", None],
            "nothing": [None, None],
        }
    )
    spill = Spill(tmp_path / "spill")
    kept = spill.keep(rows)
    assert kept is not None
    back = spill.take(kept)
    assert back.schema == rows.schema
    assert back.equals(rows)
    assert not list((tmp_path / "spill").iterdir())


def test_a_place_that_takes_nothing_is_no_error_and_one_that_loses_rows_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert Spill(tmp_path / "file" / "spill").keep(rows(3)) is None
    spill = Spill(tmp_path / "spill")
    kept = spill.keep(rows(3))
    assert kept is not None
    kept.path.unlink()
    with pytest.raises(ig.ConfigurationError, match="Nothing was lost: run again"):
        spill.take(kept)
