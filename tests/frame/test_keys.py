"""Rejects carry the key columns as they were in the source, whatever the plan did to them since."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import polars as pl
import pytest

import infergraph as ig
from infergraph.models.model import CallFailed, Request
from infergraph.models.scripted import script

Change = Callable[[ig.SemanticFrame], ig.SemanticFrame]


def refuse(request: Request) -> Any:
    raise CallFailed("no", outcome="permanent", reason="refused")


@pytest.fixture
def words(session: ig.Session) -> Iterator[ig.SemanticFrame]:
    data = pl.DataFrame({"id": [1, 2, 3], "word": ["one", "two", "one"], "other": ["x", "y", "z"]})
    with script("fast", refuse):
        yield session.frame(data, name="words", key="id")


@pytest.fixture
def codes(session: ig.Session) -> ig.SemanticFrame:
    return session.frame(pl.DataFrame({"code": ["p", "q"], "word": ["one", "two"]}), name="codes", key="code")


def rejects(frame: ig.SemanticFrame) -> pl.DataFrame:
    result = frame.semantic.map("Say {{ word }}", into="said").run()
    assert result.rejects.height == result.frame.height > 0
    return result.rejects


@pytest.mark.parametrize(
    ("change", "ids"),
    [
        (lambda f: f, [1, 2, 3]),
        (lambda f: f.rename({"id": "number"}), [1, 2, 3]),
        (lambda f: f.rename({"id": "other", "other": "id"}), [1, 2, 3]),
        (lambda f: f.drop("id"), [1, 2, 3]),
        (lambda f: f.cast({"id": pl.String}), [1, 2, 3]),
        (lambda f: f.cast({pl.Int64: pl.String}), [1, 2, 3]),
        (lambda f: f.cast(pl.String), [1, 2, 3]),
        (lambda f: f.select("word"), [1, 2, 3]),
        (lambda f: f.with_columns(id=pl.lit("gone")), [1, 2, 3]),
        (lambda f: f.drop("id").sort("word", descending=True), [2, 1, 3]),
        (lambda f: f.drop("id").unique("word"), [1, 2]),
        (lambda f: f.select(word=pl.concat_list("word", "other")).explode("word"), [1, 1, 2, 2, 3, 3]),
        (lambda f: f.unpivot(["other"], index="word"), [1, 2, 3]),
        (lambda f: f.group_by("word").agg(pl.len()), [None, 2]),
        (lambda f: f.map_frame(lambda lf: lf.reverse()), [3, 2, 1]),
        (lambda f: f.map_frame(lambda lf: lf.drop("id")), [None, None, None]),
    ],
)
def test_keys_of_the_source(words: ig.SemanticFrame, change: Change, ids: list[int | None]) -> None:
    told = rejects(change(words))
    assert told.columns[:3] == ["row_id", "id", "operator"]
    assert told.schema["id"] == pl.Int64
    assert told["id"].to_list() == ids


@pytest.mark.parametrize(
    ("put_together", "pairs"),
    [
        (lambda w, c: w.drop("id").join(c.rename({"code": "x"}), on="word"), [(1, "p"), (2, "q"), (3, "p")]),
        (lambda w, c: w.join(c, on="word", how="semi").drop("id"), [(1, None), (2, None), (3, None)]),
        (lambda w, c: w.head(1).join(c, on="word", how="full", coalesce=True), [(1, "p"), (None, "q")]),
        (
            lambda w, c: ig.concat([w.select("word"), c.select("word")]),
            [(1, None), (2, None), (3, None), (None, "p"), (None, "q")],
        ),
    ],
)
def test_keys_of_frames_put_together(
    words: ig.SemanticFrame, codes: ig.SemanticFrame, put_together: Any, pairs: list[tuple[Any, Any]]
) -> None:
    assert rejects(put_together(words, codes)).select("id", "code").rows() == pairs


def test_keys_of_one_name_and_different_types_are_text(session: ig.Session, words: ig.SemanticFrame) -> None:
    more = session.frame(pl.DataFrame({"id": ["p"], "word": ["three"]}), name="more", key="id")
    told = rejects(ig.concat([words.select("word"), more.select("word")]))
    assert told["id"].to_list() == ["1", "2", "3", "p"]


def test_several_operators_and_a_pushed_down_condition(words: ig.SemanticFrame) -> None:
    twice = words.drop("id").semantic.map("Say {{ word }}", into="a").semantic.map("Tell {{ other }}", into="b")
    told = twice.filter(pl.col("word") == "one").run().rejects
    assert told.sort("operator", "id").select("operator", "id").rows() == [
        ("map", 1), ("map", 3), ("map_2", 1), ("map_2", 3),
    ]  # fmt: skip


def test_keys_are_not_seen_in_the_result(words: ig.SemanticFrame) -> None:
    frame = words.drop("id").semantic.map("Say {{ word }}", into="said").select(pl.all())
    assert frame.run(row_ids=True).frame.columns == ["word", "other", "said", "_row_id"]
    with pytest.raises(ig.PlanError, match="reserved"):
        words.rename({"other": "__key:id"})
