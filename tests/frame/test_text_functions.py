"""Functions of ``ig.text`` in a plan: what they cannot take is said when the step is written, before any call."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

import infergraph as ig

text = ig.text


@pytest.fixture
def docs(session: ig.Session) -> ig.SemanticFrame:
    return session.frame(pl.DataFrame({"id": [1], "n": [3], "doc": ["one two three"]}), name="docs", key="id")


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (lambda f: f.with_columns(k=text.tokens.count("n")), r"tokens\.count: the column 'n' is Int64, not String"),
        (lambda f: f.select(k=text.chunks.window("doc")), r"window: the column 'doc' is str, not a list of chunks"),
        (lambda f: f.select(k=text.chunks.window(text.chunks.words("n", 5))), r"words: the column 'n' is Int64"),
        (
            lambda f: f.semantic.sentiment(text.tokens.truncate("n", 3)),
            r"truncate: the column 'n' is Int64, not String",
        ),
        (
            lambda f: f.semantic.map("Of {{ doc }}", into="k", where=text.tokens.count("n") > 3),
            "the column 'n' is Int64",
        ),
        (lambda f: f.semantic.embed(["doc", text.json.repair("n")]), "the column 'n' is Int64"),
        (lambda f: f.semantic.parse_pdf(text.tokens.truncate("n", 3)), "the column 'n' is Int64"),
        (lambda f: f.semantic.search(text.tokens.truncate("n", 3), "tea", k=1), "the column 'n' is Int64"),
        (lambda f: f.semantic.dedup(text.tokens.truncate("n", 3), min_similarity=0.9), "the column 'n' is Int64"),
        (
            lambda f: f.with_columns(k=text.tokens.count("n") + pl.col("n").map_batches(lambda n: n, pl.Int64)),
            "the column 'n' is Int64",
        ),
        (lambda f: f.filter(text.tokens.count("n") > 3), "the column 'n' is Int64"),
        (lambda f: f.sort(text.tokens.count("n")), "the column 'n' is Int64"),
        (lambda f: f.group_by("id").agg(text.tokens.count("n").sum()), "the column 'n' is Int64"),
        (
            lambda f: f.select(k=text.templates.render("{% for one in n %}x{% endfor %}")),
            r"a loop needs a List, and \{\{ n \}\} is Int64\.$",
        ),
    ],
)
def test_a_type_that_cannot_be_is_said_when_the_step_is_written(
    docs: ig.SemanticFrame, step: Callable[[ig.SemanticFrame], object], says: str
) -> None:
    with pytest.raises(ig.PlanError, match=says):
        step(docs)


def test_functions_of_others_are_not_run(docs: ig.SemanticFrame) -> None:
    def fails(_: pl.Series) -> pl.Series:
        raise ig.PlanError("was run")

    counted = text.tokens.count("doc") + pl.col("n").map_batches(fails, return_dtype=pl.Int64)
    assert docs.with_columns(k=counted).schema["k"] == pl.Int64


def test_a_step_that_needs_rows_is_left_to_the_run(docs: ig.SemanticFrame) -> None:
    longest = docs.with_columns(k=text.chunks.words("doc", 1).list.get(0, null_on_oob=False).struct.field("text"))
    assert longest.run().frame["k"].to_list() == ["one "]
    assert docs.group_by("id").agg(text.tokens.count("doc").sum()).run().frame.rows() == [(1, 3)]


def test_pieces_of_a_text_lead_to_their_row(session: ig.Session) -> None:
    frame = session.frame(pl.DataFrame({"id": [1, 2], "doc": ["one two three", "four"]}), name="docs", key="id")
    pieces = frame.select("id", chunk=ig.text.chunks.window(ig.text.chunks.words("doc", 2))).explode("chunk")
    result = pieces.unnest("chunk").run(row_ids=True)
    for number, row_id in result.frame.select("id", "_row_id").iter_rows():
        [document] = result.trace(row_id).parents
        assert document.source is not None
        assert document.source.key == {"id": number}


def test_cuts_at_other_places_are_other_questions(docs: ig.SemanticFrame) -> None:
    def asked(*places: int) -> str:
        frame = docs
        for number, place in enumerate(places):
            frame = frame.semantic.sentiment(text.tokens.truncate("doc", place), into=f"s{number}")
        return frame.explain()

    assert "asks the same as" not in asked(3, 5)
    assert "asks the same as" in asked(3, 3)
