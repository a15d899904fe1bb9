"""``summarize`` in runs: short and long texts, nulls, order, rejects, replay, estimates, traces, lineage, an asset."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

import infergraph as ig
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, StoreResource
from infergraph.dagster.resources import close_sessions
from infergraph.models.model import CallFailed, Request
from infergraph.models.scripted import script

LONG = "A sentence of some words that fills the page. " * 1_500


def pieces(request: Request, tag: str = "body") -> list[str]:
    return re.findall(rf"<{tag}(?: [^>]*)?>\n(.*?)\n</{tag}>", request.messages[-1].content, re.DOTALL)


def told(request: Request) -> str:
    shown = [*pieces(request), *pieces(request, "summary")]
    return f"{len(shown)} of {shown[0].split()[0]}"


def adds_up(usage: ig.Usage) -> bool:
    parts = (usage.calls, usage.store_hits, usage.shared, usage.rejected_before, usage.nulls, usage.pending)
    return usage.rows == sum(parts)


@pytest.fixture
def notes(session: ig.Session) -> ig.SemanticFrame:
    rows = pl.DataFrame(
        {
            "id": [1, 2, 3, 4, 5, 6],
            "title": ["a", None, "c", "d", None, "f"],
            "body": ["one", None, "two", "one", "three", f"four {LONG}"],
        }
    )
    return session.frame(rows, name="notes", key="id")


def test_all_rows_in_order_nulls_ask_nothing_equal_texts_ask_once(notes: ig.SemanticFrame) -> None:
    frame = notes.head(5).semantic.summarize("body")
    estimate = frame.estimate().operators[0]
    with script("fast", told) as asked:
        result = frame.run()
        assert len(asked.requests) == 3
        again = frame.run()
        assert len(asked.requests) == 3
    assert result.frame.columns == ["id", "title", "body", "summary"]
    assert result.frame["summary"].to_list() == ["1 of one", None, "1 of two", "1 of one", "1 of three"]
    usage = result.usage
    assert (usage.rows, usage.calls, usage.shared, usage.nulls) == (5, 3, 1, 1)
    assert (estimate.calls, estimate.rows) == (3, 5)
    assert again.frame.equals(result.frame)
    assert (again.usage.calls, again.usage.store_hits) == (0, 4)
    assert frame.estimate().operators[0].calls == 0


def test_where_there_is_nothing_to_sum_up_nobody_is_asked(session: ig.Session) -> None:
    rows = pl.DataFrame(
        {"id": range(6), "body": ["", " \n\t ", None, "one", "\u00a0", ""], "title": ["", "", "t", "", "t", None]}
    )
    frame = session.frame(rows, name="blanks", key="id")
    short = frame.semantic.summarize("body", style="points")
    expected = short.estimate().operators[0]
    with script("fast", lambda request: "- said") as asked:
        result = short.run()
        both = frame.semantic.summarize(["title", "body"], into="both").run()
    assert result.frame["summary"].to_list() == ["", "", None, "- said", "", ""]
    usage = result.usage
    assert (usage.rows, usage.calls, usage.nulls) == (6, 1, 5) == (expected.rows, expected.calls, usage.nulls)
    assert adds_up(usage)
    assert result.rejects.is_empty()
    assert len(short.prompts(6)) == 1
    # Of several columns one is enough to be summed up.
    assert [text == "" for text in both.frame["both"].to_list()] == [True, True, False, False, False, True]
    assert len(asked.requests) == 1 + both.usage.calls == 4


def test_an_empty_frame_one_row_and_where(notes: ig.SemanticFrame) -> None:
    with script("fast", told) as asked:
        empty = notes.filter(pl.col("id") > 9).semantic.summarize("body").run()
        one = notes.filter(pl.col("id") == 3).semantic.summarize("body").run()
        some = notes.head(5).semantic.summarize("body", where=pl.col("id") < 4, into="short").run()
    assert empty.frame.is_empty()
    assert empty.frame.schema["summary"] == pl.String
    assert one.frame["summary"].to_list() == ["1 of two"]
    assert some.frame["short"].to_list() == ["1 of one", None, "1 of two", None, None]
    assert len(asked.requests) == 2


def test_several_columns_are_one_text(notes: ig.SemanticFrame) -> None:
    both = notes.semantic.summarize(["title", pl.col("body").str.to_uppercase()])
    prompts = both.prompts(6)
    assert prompts[0]["messages"][-1]["content"] == "<title>\na\n</title>\n<body>\nONE\n</body>"
    assert prompts[0]["messages"][0]["content"].startswith("Sum up <title> and <body> in one paragraph of at most 120")
    assert prompts[3]["messages"][-1]["content"] == "<body>\nTHREE\n</body>"


def test_a_long_text_is_summed_up_in_levels_that_its_trace_shows(notes: ig.SemanticFrame) -> None:
    frame = notes.semantic.summarize("body", style="points", max_words=30)
    estimate = frame.estimate().operators[0]
    with script("fast", told) as asked:
        result = frame.run(row_ids=True)
        calls = len(asked.requests)
        assert frame.run().usage.calls == 0
        assert len(asked.requests) == calls
    long = [request for request in asked.requests if "piece=" in request.messages[-1].content]
    assert "".join(pieces(request)[0] for request in sorted(long, key=_piece)) == f"four {LONG}"
    # What a provider may hold a text to is what the prompt says.
    for request in asked.requests:
        assert request.words == (200 if request in long else 30)
        assert f"at most {request.words} words" in request.messages[0].content
    assert result.frame["summary"].to_list()[-1] == f"- {len(long)} of -"
    assert estimate.calls_low <= result.usage.calls <= estimate.calls_high
    said = str(result.trace(result.frame["_row_id"][5]))
    levels = re.findall(r"summarize, (level \d+, part \d+ of \d+)", said)
    assert levels == [f"level 1, part {n} of {len(long)}" for n in range(1, len(long) + 1)] + ["level 2, part 1 of 1"]


def _piece(request: Request) -> int:
    found = re.search(r'piece="(\d+) of', request.messages[-1].content)
    return int(found[1]) if found else 0


@pytest.mark.parametrize("bad", ["one", "two", "three", "four"])
def test_a_rejected_text_is_null_and_listed_and_the_others_go_on(notes: ig.SemanticFrame, bad: str) -> None:
    def answer(request: Request) -> str:
        if any(piece.split()[0] == bad for piece in pieces(request)):
            raise CallFailed("no", outcome="permanent", reason="refused")
        return told(request)

    with script("fast", answer):
        result = notes.semantic.summarize("body").run()
    gone = [row for row, text in enumerate(result.frame["body"]) if text and text.split()[0] == bad]
    nulls = [row for row, summary in enumerate(result.frame["summary"]) if summary is None]
    assert nulls == sorted([*gone, 1])
    assert result.rejects["id"].to_list() == [row + 1 for row in gone]
    assert set(result.rejects["reason"]) == {"refused"}


def test_explain_and_column_lineage(notes: ig.SemanticFrame) -> None:
    frame = notes.semantic.summarize(["title", "body"], into="short", max_words=9)
    expected = "title, body -> short (paragraph, at most 9 words), long texts in levels, packed by tokens"
    assert expected in frame.explain()
    short = frame.column_lineage().columns["short"]
    assert {source.column for source in short.sources} == {"title", "body"}
    assert short.operators == ("summarize",)


def test_examples_are_shown(notes: ig.SemanticFrame) -> None:
    frame = notes.semantic.summarize("body", examples=[("A long story.", "Short.")])
    messages = frame.prompts(1)[0]["messages"]
    assert [message["content"] for message in messages[1:3]] == ["<body>\nA long story.\n</body>", "Short."]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"column": "bdoy"}, "'bdoy'.*Did you mean 'body'"),
        ({"style": "poem"}, "style='poem': write 'paragraph' or 'points'"),
        ({"max_words": 0}, "max_words=0: give a number of words, 1 or more"),
        ({"max_words": True}, "max_words=True: give a number"),
        ({"into": "title"}, "already has a column 'title'"),
        ({"examples": [("a", 3)]}, "a summary is a text"),
        ({"where": "id"}, "write a Polars condition"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_asked(
    notes: ig.SemanticFrame, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(ig.PlanError, match=said):
        notes.semantic.summarize(**{"column": "body", **arguments})


def test_in_an_asset(tmp_path: Path) -> None:
    @dg.asset
    def notes() -> pl.DataFrame:
        return pl.DataFrame({"id": [1, 2], "body": ["one", f"four {LONG}"]})

    @ig.semantic_asset(key={"notes": "id"})
    def summaries(notes: ig.SemanticFrame) -> ig.SemanticFrame:
        return notes.semantic.summarize("body").select("id", "summary")

    storage = PolarsStorage(base_url=str(tmp_path / "assets"))
    resources = {
        "models": ModelsResource(models={"desk": ModelSettings(name="scripted:summing")}, default_model="desk"),
        "store": StoreResource(url=f"sqlite:///{tmp_path / 'state.db'}"),
        "io_manager": storage,
    }
    with script("summing", told) as asked:
        assert dg.materialize([notes, summaries], resources=resources).success
        calls = len(asked.requests)
        assert dg.materialize([notes, summaries], resources=resources).success
    close_sessions()
    assert len(asked.requests) == calls > 3
    published = storage.load("summaries", None).collect()
    assert published["summary"].to_list() == ["1 of one", f"{calls - 2} of 1"]
