"""Twenty facts planted in 200 pages: each reaches the first level whole and once, and none is lost on the way up.

Over real HTTP, to a simulated server that answers with the facts that it was shown. Its context is not known, so that
requests are packed into the cautious 8,192 tokens.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import infergraph as ig
from infergraph.testing import SimulatedServer

PAGES = 200
SENTENCE = "a cold river ran past the old mill where nobody had worked since the flood of that year and still it turned"
NAMES = "Abara Baum Cho Diaz Eck Fujii Gomez Haas Ito Juhl Kern Lund Mori Nagy Ortiz Pohl Quist Roy Sato Tran"
FACTS = [
    f"Dr. {name} paid invoice No. {place * 37 + 11} of {place}.5 million on {place + 3} May, i.e. late!"
    for place, name in enumerate(NAMES.split())
]
FACT = re.compile(r"Dr\. \w+ paid invoice No\. \d+ of \d+\.5 million on \d+ May, i\.e\. late!")


@dataclass
class Asked:
    """A session on a server that answers with the facts that it finds, and what it was asked."""

    session: ig.Session
    server: SimulatedServer

    def prompts(self) -> list[tuple[str, str]]:
        """System message and content of each request."""
        bodies = [request.body["messages"] for request in self.server.requests]
        return [(messages[0]["content"], messages[-1]["content"]) for messages in bodies]


def answer(body: Mapping[str, Any]) -> str:
    return " ".join(FACT.findall(body["messages"][-1]["content"])) or "Nothing."


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Asked]:
    with SimulatedServer(answer=answer) as server:
        model = ig.Model("openai:own", base_url=server.openai_url, api_key=None, price=ig.Price(input=1, output=1))
        with ig.Session({"own": model}, store="sqlite:///state.db", root=tmp_path) as session:
            yield Asked(session, server)


@pytest.fixture(scope="module")
def pages() -> list[str]:
    """200 pages of about 400 words, 20 facts at random places among them."""
    chance, words = random.Random(5), SENTENCE.split()
    sentences = [
        " ".join(chance.choice(words) for _ in range(chance.randint(4, 20))).capitalize() + "."
        for _ in range(PAGES * 33)
    ]
    for fact in FACTS:
        sentences.insert(chance.randrange(len(sentences)), fact)
    made = []
    for page in range(PAGES):
        share = sentences[page * len(sentences) // PAGES : (page + 1) * len(sentences) // PAGES]
        made.append(re.sub(r"(?<=\.) (?=A )", "\n\n", " ".join(share)))
    assert len(" ".join(made).split()) > PAGES * 380
    return made


def check(asked: Asked, marks: Mapping[str, str], final: str) -> None:
    """Each fact stands whole in one request of the first level, and in the answer to the last."""
    prompts = asked.prompts()
    below = [content for system, content in prompts if marks["first"] in system]
    above = [content for system, content in prompts if marks["upper"] in system]
    assert len(below) + len(above) == len(prompts)
    assert (len(below) > 15, len(above) > 0) == (True, True)
    for fact in FACTS:
        assert [content.count(fact) for content in below if fact in content] == [1]
        assert fact in final
    # Context, less the room for an answer and a margin: see ``frame/room.py``.
    room = int(8192 * 0.95) - 2048
    count = asked.session.provider("own").count_tokens
    assert all(count(system)[0] + count(content)[0] <= room for system, content in prompts)


SUMMARY = {"first": "Keep every fact, name and number", "upper": "Each <summary> sums up one part"}
REDUCED = {"first": "There are more rows than these", "upper": "Each <answer> answers the task below"}
PROMPT = "Which payments are there?\n{% for row in rows %}\nPage {{ row.page }}: {{ row.text }}\n{% endfor %}"


def test_a_document_of_200_pages(asked: Asked, pages: list[str]) -> None:
    book = asked.session.frame(pl.DataFrame({"book": ["\n\n".join(pages)]}), name="books")
    result = book.semantic.summarize("book").run(row_ids=True)
    assert result.rejects.is_empty()
    check(asked, SUMMARY, result.frame["summary"].item())
    said = str(result.trace(result.frame["_row_id"].item()))
    assert "level 1, part 1 of " in said
    assert "level 2, part 1 of " in said
    calls = len(asked.server.requests)
    again = book.semantic.summarize("book").run()
    assert (again.usage.calls, len(asked.server.requests)) == (0, calls)
    assert again.frame["summary"].item() == result.frame["summary"].item()


def test_a_group_of_200_pages(asked: Asked, pages: list[str]) -> None:
    rows = pl.DataFrame({"book": ["b"] * PAGES, "page": range(PAGES), "text": pages})
    frame = asked.session.frame(rows, name="pages", key="page")
    estimate = frame.semantic.reduce(PROMPT, by="book", into="payments").estimate()
    result = frame.semantic.reduce(PROMPT, by="book", into="payments").run()
    assert result.rejects.is_empty()
    check(asked, REDUCED, result.frame["payments"].item())
    shown = "".join(content for system, content in asked.prompts() if REDUCED["first"] in system)
    assert [shown.count(f"Page {page}: ") for page in range(PAGES)] == [1] * PAGES
    (one,) = estimate.operators
    assert one.calls_low <= result.usage.calls <= one.calls_high


def test_a_group_with_one_row_of_200_pages(asked: Asked, pages: list[str]) -> None:
    rows = pl.DataFrame({"book": ["b"] * 3, "page": [1, 2, 3], "text": ["A title.", " ".join(pages), "The end."]})
    result = (
        asked.session.frame(rows, name="pages", key="page").semantic.reduce(PROMPT, by="book", into="payments").run()
    )
    check(asked, REDUCED, result.frame["payments"].item())
    below = [content for system, content in asked.prompts() if REDUCED["first"] in system]
    assert all('<row number="2" piece="' in content for content in below)
    assert sum("A title." in content for content in below) == sum("The end." in content for content in below) == 1
