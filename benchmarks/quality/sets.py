"""What quality is measured on: short texts of our own with known meanings and topics, and e-mails where they are there.

``texts.jsonl`` has texts of twelve topics (six of a help desk, six of daily life). Each topic has nine meanings, eight
of them in two or three wordings that share few words. Beside nineteen of them stands a look-alike, which shares most
words and means something else ("I was charged twice", "I was not charged"; the fastest train, the cheapest train).
``queries.jsonl`` has short queries and the meanings that answer them. Topics are split in two halves: thresholds are
chosen on ``tune`` and reported on ``report``.
"""

from __future__ import annotations

import email
import json
import re
from collections.abc import Sequence
from email import policy
from itertools import combinations
from pathlib import Path

import polars as pl

HERE = Path(__file__).parent
MAILS = HERE.parents[2] / "shared" / "data" / "enron" / "enron-eval-medium"
"""250 e-mails of the Enron corpus, with those that discuss certain transactions marked; beside the repository."""
_RUN_OF_WORDS = 8
_LEAST_RUNS = 30


def texts(split: str | None = None, *, look_alikes: bool = True) -> pl.DataFrame:
    """Our texts: ``id, split, topic, meaning, look_alike, text``, of one half or of both."""
    rows = pl.DataFrame([json.loads(line) for line in (HERE / "texts.jsonl").read_text().splitlines()])
    rows = rows if look_alikes else rows.filter(~pl.col("look_alike"))
    return rows if split is None else rows.filter(split=split)


def queries() -> list[tuple[str, set[str]]]:
    """Queries, each with the meanings that answer it."""
    rows = [json.loads(line) for line in (HERE / "queries.jsonl").read_text().splitlines()]
    return [(row["query"], set(row["relevant"])) for row in rows]


def support() -> pl.DataFrame:
    """Messages to a support desk with their topics, written for another benchmark: ``id, topic, text``."""
    lines = (HERE.parent / "labelled" / "topics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return pl.DataFrame(
        {"topic": [row["label"] for row in rows], "text": [row["text"] for row in rows]}
    ).with_row_index("id")


def mails(folder: Path) -> pl.DataFrame | None:
    """The e-mails: ``id`` (file name), ``text`` (subject and body), ``relevant``; ``None`` where they are not there.

    Args:
        folder: Has one file an e-mail, and beside it ``<folder>-labels.json``.
    """
    if not folder.is_dir():
        return None
    labels = json.loads(folder.with_name(f"{folder.name}-labels.json").read_text())
    paths = sorted(folder.glob("*.txt"))
    return pl.DataFrame(
        {
            "id": [path.name for path in paths],
            "text": [_text_of(path) for path in paths],
            "relevant": [bool(labels.get(path.name)) for path in paths],
        }
    )


def groups_of_near_copies(bodies: Sequence[str]) -> list[int]:
    """A group's number for each text: copies, forwarded and quoted ones are in one group.

    Two texts belong together when half of the shorter one's runs of eight words, at least thirty, are in the other;
    and so do those that belong together with a third.
    """
    runs = [_runs(body) for body in bodies]
    groups = list(range(len(bodies)))
    for one, other in combinations(range(len(bodies)), 2):
        shorter = min(len(runs[one]), len(runs[other]))
        if shorter >= _LEAST_RUNS and len(runs[one] & runs[other]) >= shorter / 2 and groups[one] != groups[other]:
            groups = [groups[one] if group == groups[other] else group for group in groups]
    return groups


def _text_of(path: Path) -> str:
    message = email.message_from_bytes(path.read_bytes(), policy=policy.default)
    return f"{message['subject'] or ''}\n\n{message.get_content()}"


def _runs(body: str) -> set[str]:
    words = re.findall(r"\w+", body.lower())
    return {" ".join(words[at : at + _RUN_OF_WORDS]) for at in range(len(words) - _RUN_OF_WORDS + 1)}
