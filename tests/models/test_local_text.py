"""Free text of the embedded model: it ends, with a sentence, and is about as long as was asked; for real."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import infergraph as ig
from infergraph.models.local import LocalProvider
from infergraph.models.local_process import DIR_VARIABLE, IDLE_VARIABLE, stop_server
from infergraph.models.local_text import MOST_WORDS_TO_THE_END, TOKENS_A_WORD, grammar, tokens_of
from infergraph.models.model import Message, Model, Request, Response

PROVIDER = LocalProvider(Model("local:smollm2-135m"))
STORY = "Tell a long story of a heron and a fox. Never end it."
BODIES = [
    "The lamp flickers since Monday. I replaced the bulb twice and it did not help.",
    "The switch of the lamp broke off in my hand on the second day.",
    "The kettle leaks at the handle. The kitchen table was wet this morning.",
    "I was charged twice for the lamp, 39.90 each time. Please send one back.",
]


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(DIR_VARIABLE, str(tmp_path_factory.mktemp("servers")))
        patch.setenv(IDLE_VARIABLE, "60")
        yield
        stop_server(PROVIDER.server_plan())


@pytest.fixture
def session() -> Iterator[ig.Session]:
    with ig.Session(store="sqlite://") as session:
        yield session


def sent(*requests: Request) -> list[Response]:
    async def run() -> list[Response]:
        try:
            return list(await asyncio.gather(*map(PROVIDER.send, requests)))
        finally:
            await PROVIDER.close()

    return asyncio.run(run())


def is_whole(text: str) -> bool:
    """Whether it ends with a sentence, and its last word is none that was cut."""
    return re.search(r"[.!?][\"')*_]*$", text) is not None


def most_words(words: int) -> int:
    return int(words * TOKENS_A_WORD) + MOST_WORDS_TO_THE_END + 2


@given(words=st.none() | st.integers(1, 3000), room=st.integers(1, 4096))
def test_the_free_part_leaves_room_for_the_end(words: int | None, room: int) -> None:
    tokens = tokens_of(words, room)
    if tokens is None:
        assert room < 48
        assert grammar(words, room) is None
    else:
        assert 0 < tokens <= room - min(room // 3, 8 * MOST_WORDS_TO_THE_END)
        assert f"max_tokens={tokens}]" in (grammar(words, room) or "")


def test_a_text_without_an_end_gets_one() -> None:
    asked = [
        Request(messages=(Message("user", STORY),), max_output_tokens=96),
        Request(messages=(Message("user", STORY),), words=20),
        Request(messages=(Message("user", "Write the word heron again and again."),), words=20),
    ]
    answers = sent(*asked)
    assert [answer.finish for answer in answers] == ["stop"] * 3
    assert all(is_whole(answer.text) for answer in answers), answers
    assert len(answers[1].text.split()) <= most_words(20)


def test_summarize_and_reduce_end_with_a_sentence_and_nothing_is_rejected(session: ig.Session) -> None:
    rows = pl.DataFrame({"id": range(4), "product": ["lamp", "lamp", "kettle", "lamp"], "body": BODIES})
    frame = session.frame(rows, name="letters", key="id")
    summaries = frame.semantic.summarize("body", max_words=15).run()
    faults = frame.semantic.reduce(
        "What is wrong with the {{ product }}? {% for row in rows %}{{ row.body }}{% endfor %}",
        by="product",
        into="faults",
    ).run()
    for result, column, asked in [(summaries, "summary", 4), (faults, "faults", 2)]:
        assert result.rejects.is_empty(), result.rejects
        assert result.usage.calls == asked
        # Not one of them was asked again with more room.
        assert len(result.frame[column].drop_nulls()) == result.usage.rows == asked
    texts = summaries.frame["summary"].to_list()
    assert all(len(text.split()) <= most_words(15) for text in texts), texts
    assert all(is_whole(text) for text in texts), texts
