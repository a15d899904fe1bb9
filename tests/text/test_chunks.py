"""Chunks cover the text, their offsets are true, they are as long as asked for at most, and nothing raises."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import infergraph as ig
from infergraph.errors import PlanError
from infergraph.text.encodings import count_tokens
from infergraph.text.headings import heading_paths, headings_of

chunks = ig.text.chunks
TEXTS = st.text(max_size=300) | st.lists(
    st.sampled_from(
        [
            "word ",
            "Zoë ",
            "日本語",
            "\n\n",
            "\n",
            "# Title\n",
            "## Sub\n",
            "- item\n",
            "```\n# code\n```\n",
            "| a | b |\n|---|---|\n",
            "don't stop. ",
            "\r\n",
            "x" * 40,
            "\t",
            "===\n",
            "> quoted\n",
        ]
    ),
    max_size=40,
).map("".join)
SIZES = st.integers(1, 40).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1)))


def length_in_words(text: str) -> int:
    return len(text.split())


def length_in_tokens(text: str) -> int:
    return count_tokens("o200k_base", text)[0]


WAYS: dict[str, tuple[Callable[..., pl.Expr], Callable[[str], int]]] = {
    "characters": (chunks.characters, len),
    "words": (chunks.words, length_in_words),
    "tokens": (chunks.tokens, length_in_tokens),
    "recursive": (chunks.recursive, len),
    "recursive, words": (lambda *a, **k: chunks.recursive(*a, unit="words", **k), length_in_words),
    "recursive, tokens": (lambda *a, **k: chunks.recursive(*a, unit="tokens", **k), length_in_tokens),
    "markdown": (chunks.markdown, len),
    "markdown, tokens": (lambda *a, **k: chunks.markdown(*a, unit="tokens", **k), length_in_tokens),
}


def cut(way: str, text: str | None, size: int, overlap: int = 0) -> Any:
    frame = pl.DataFrame({"t": pl.Series([text], dtype=pl.String)})
    return frame.select(WAYS[way][0]("t", size, overlap=overlap)).to_series().to_list()[0]


@pytest.mark.parametrize("way", WAYS)
@given(text=TEXTS, sizes=SIZES)
@settings(max_examples=60, deadline=None)
def test_chunks_cover_the_text_and_their_offsets_are_true(way: str, text: str, sizes: tuple[int, int]) -> None:
    size, overlap = sizes
    found = cut(way, text, size, overlap)
    covered = 0
    for number, chunk in enumerate(found):
        assert chunk["index"] == number
        assert chunk["text"] == text[chunk["start"] : chunk["end"]] != ""
        assert chunk["start"] <= covered < chunk["end"]
        covered = chunk["end"]
    assert covered == len(text)


@pytest.mark.parametrize("way", WAYS)
@given(text=TEXTS, sizes=SIZES)
@settings(max_examples=60, deadline=None)
def test_chunks_are_as_long_as_asked_for_at_most(way: str, text: str, sizes: tuple[int, int]) -> None:
    size, overlap = sizes
    measure = WAYS[way][1]
    for chunk in cut(way, text, size, overlap):
        assert measure(chunk["text"]) <= size or len(chunk["text"]) == 1


@pytest.mark.parametrize("way", ["characters", "words", "tokens"])
def test_chunks_overlap_as_far_as_asked_for(way: str) -> None:
    text = "one two three four five six seven eight nine ten eleven twelve"
    found = cut(way, text, 6, 3)
    assert all(after["start"] < before["end"] for before, after in pairwise(found))
    for before, after in pairwise(found):
        assert WAYS[way][1](text[after["start"] : before["end"]]) == 3


@pytest.mark.parametrize("way", WAYS)
def test_null_and_empty(way: str) -> None:
    assert cut(way, None, 5) is None
    assert cut(way, "", 5) == []


@pytest.mark.parametrize("way", ["characters", "words", "recursive", "markdown"])
@pytest.mark.parametrize("line", ["word " * 2_000_000, "x" * 2_000_000])
def test_megabytes_in_one_line(way: str, line: str) -> None:
    found = cut(way, line, 10_000, 100 if way != "words" else 0)
    assert found[-1]["end"] == len(line)
    assert all(chunk["text"] == line[chunk["start"] : chunk["end"]] for chunk in found)


@pytest.mark.parametrize("way", ["recursive", "markdown", "recursive, words"])
@pytest.mark.parametrize("overlap", [0, 20])
def test_a_long_text_is_cut_as_if_it_were_looked_at_whole(
    way: str, overlap: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "".join(f"## Part {n}\n\nOne sentence of part {n}. Another one, longer.\n\n- item\n\n" for n in range(800))
    monkeypatch.setattr("infergraph.text.chunks._WINDOW", 10**9)
    whole = cut(way, text, 120, overlap)
    monkeypatch.setattr("infergraph.text.chunks._WINDOW", 5_000)
    assert cut(way, text, 120, overlap) == whole


def test_tokens_of_a_long_word_and_a_long_text() -> None:
    text = "a" * 20_000 + " " + "sentence after sentence. " * 4_000
    found = cut("tokens", text, 500, 50)
    assert found[-1]["end"] == len(text)
    assert all(length_in_tokens(chunk["text"]) <= 500 for chunk in found)


@pytest.mark.parametrize("way", [chunks.tokens, lambda *a, **k: chunks.recursive(*a, unit="tokens", **k)])
@pytest.mark.filterwarnings("ignore:.*are estimated:UserWarning")
def test_estimated_tokens_fill_a_chunk_and_no_more(way: Callable[..., pl.Expr]) -> None:
    model = "anthropic:claude-opus-4-6"
    for text, size in [("word " * 2_000, 100), ("\U0010ffff\u0378\U0010ffff", 10)]:
        found = pl.DataFrame({"t": [text]}).select(way("t", size, model=model)).to_series()[0].to_list()
        lengths = [count_tokens(model, chunk["text"])[0] for chunk in found]
        assert max(lengths) <= size
        assert min(lengths[:-1]) > size // 2


@pytest.mark.parametrize(
    ("text", "size", "overlap"), [("aaaae\u0301", 2, 0), (" - nested\n \xa0👍", 4, 2), ("a\r\n \xa0👍 b", 4, 2)]
)
def test_tokens_of_pieces_that_are_put_together(text: str, size: int, overlap: int) -> None:
    # The embedded model's tokenizer has more tokens for these than for their parts.
    def length(part: str) -> int:
        return count_tokens("local:smollm2-135m", part)[0]

    frame = pl.DataFrame({"t": [text]})
    found = frame.select(chunks.tokens("t", size, overlap=overlap, model="local:smollm2-135m")).to_series()[0].to_list()
    assert all(length(chunk["text"]) <= size or len(chunk["text"]) == 1 for chunk in found)
    assert all(length(text[after["start"] : one["end"]]) <= overlap for one, after in pairwise(found))


def test_sizes_beyond_any_text() -> None:
    huge = 10**400
    for way in WAYS:
        assert [chunk["text"] for chunk in cut(way, "one two", huge, huge - 1)] == ["one two"]


def test_markdown_chunks_know_their_headings() -> None:
    text = "before\n\n# A\n\ntext of a\n\n## B *b* `c`\n\ntext of b\n\n```\n# not one\n```\n\n"
    text += "C\n---\n\ntext of c\n\n# D\n\nlast"
    found = {chunk["text"].strip().split("\n")[-1]: chunk["headings"] for chunk in cut("markdown", text, 24)}
    assert found["before"] == []
    assert found["text of a"] == ["A"]
    assert found["text of b"] == ["A", "B b c"]
    assert found["text of c"] == ["A", "C"]
    assert found["last"] == ["D"]
    frame = pl.DataFrame({"t": [text]}).select(chunks.markdown("t", 24, keep=None))
    assert "headings" not in frame.to_series()[0].struct.fields


@given(TEXTS)
@settings(max_examples=150, deadline=None)
def test_headings_stand_where_they_say(text: str) -> None:
    for heading in headings_of(text):
        assert heading.title[:1] in text[heading.start :].split("\n")[0] or not heading.title
        assert heading.start == 0 or text[heading.start - 1] in "\r\n"
    assert len(heading_paths(text, [0, len(text)])) == 2


@given(TEXTS, SIZES, st.integers(0, 3), st.integers(0, 3))
def test_a_chunk_with_its_neighbours_is_a_piece_of_the_source(
    text: str, sizes: tuple[int, int], before: int, after: int
) -> None:
    frame = pl.DataFrame({"t": [text]}).select(c=chunks.characters("t", sizes[0], overlap=sizes[1]))
    found = frame.select(chunks.window("c", before=before, after=after)).to_series().to_list()[0]
    for place, chunk in enumerate(found):
        whole = chunk["before"] + chunk["text"] + chunk["after"]
        start = found[max(0, place - before)]["start"]
        assert whole == text[start : found[min(len(found) - 1, place + after)]["end"]]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: chunks.words("t", 0), "size=0: give a number, 1 or more"),
        (lambda: chunks.words("t", 5, overlap=5), "from 0 to less than size=5"),
        (lambda: chunks.recursive("t", 5, unit=WRONG), "'characters', 'words' or 'tokens'"),
        (lambda: chunks.markdown("t", 5, keep=WRONG), "write 'headings' or None"),
        (lambda: chunks.window("t", before=-1), "before=-1"),
        (lambda: chunks.tokens("t", 5, model=""), "model='': write a model id"),
        (lambda: chunks.markdown("t", 5, unit="tokens", model=NO_MODEL), "model=None: write a model id"),
        (
            lambda: chunks.recursive("t", 5, model="gpt-4"),
            "counts nothing where unit='characters'; write unit='tokens'",
        ),
    ],
)
def test_what_cannot_be_is_said_when_the_expression_is_built(call: Callable[[], pl.Expr], says: str) -> None:
    with pytest.raises(PlanError, match=says):
        call()


WRONG: Any = "lines"
NO_MODEL: Any = None


def test_estimated_sizes_are_told() -> None:
    with pytest.warns(UserWarning, match=r"chunks\.tokens: the tokenizer of 'claude-chunks-1' is not at hand"):
        chunks.tokens("t", 5, model="claude-chunks-1")
    with pytest.warns(UserWarning, match=r"chunks\.recursive: the tokenizer of 'claude-chunks-2' is not at hand"):
        chunks.recursive("t", 5, unit="tokens", model="claude-chunks-2")


def test_neighbours_leave_the_other_fields_as_they_are() -> None:
    frame = pl.DataFrame({"t": ["# Tea\n\nGreen.\n\n## Black\n\nDry it.\n", "", None]})
    around = frame.select(chunks.window(chunks.markdown("t", 12), before=2)).to_series()
    found = around[0].struct.unnest()
    assert found["headings"].to_list() == [["Tea"], ["Tea"], ["Tea", "Black"], ["Tea", "Black"]]
    assert found.columns == ["index", "text", "start", "end", "headings", "before", "after"]
    assert found["before"].to_list()[3] == "Green.\n\n## Black\n\n"
    assert around.to_list()[1:] == [[], None]


def test_what_is_cut_is_cut_once() -> None:
    cut: list[str] = []

    def told(texts: pl.Series) -> pl.Series:
        cut.extend(texts)
        return texts

    source = pl.col("t").map_batches(told, return_dtype=pl.String, is_elementwise=True)
    pl.DataFrame({"t": ["a b c"]}).select(chunks.window(chunks.words(source, 1), before=2, after=2))
    assert cut == ["a b c"]


def test_one_window_serves_chunks_of_different_fields() -> None:
    around = chunks.window("c", before=2**70, after=2**70)
    for made in (chunks.words("t", 1), chunks.markdown("t", 5)):
        frame = pl.DataFrame({"t": ["one two"]}).select(c=made)
        assert frame.select(around).item().struct.field("after")[0] == "two"
