"""Negative, neutral or positive: how likely the small model finds each word after a text, sentence by sentence.

A base-like model of this size does not follow instructions but does continue a list of examples. Its
preference for some of the words, whatever the text, is subtracted; what similar sentences feel like (by
embeddings) is added with a small weight. Figures are in ``docs/models.md``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import numpy as np

from infergraph.models.meaning import Anchor
from infergraph.models.minilm import Vector, minilm
from infergraph.models.model import Choices

VALUES = ("negative", "neutral", "positive")
PREFERENCE = (-1.045, -3.092, -0.974)
"""Mean log-probability of each value over ``SENTENCES``' first five of each, as SmolLM2-135M (Q4_1) gives them;
``benchmarks/labelled/measure.py`` prints it anew."""
MEANING_WEIGHT = 0.2
MOST_SENTENCES, SHORTEST, LONGEST = 8, 16, 600

_SHOTS = (
    ("I hate it, it broke at once.", "negative"),
    ("The parcel weighs two kilos.", "neutral"),
    ("What a lovely day, thank you!", "positive"),
    ("Please send it to my office.", "neutral"),
)
SENTENCES: dict[str, tuple[str, ...]] = {
    "negative": (
        "The hotel was filthy and nobody cared.",
        "I hate how slow this is.",
        "A complete disappointment, it fell apart.",
        "They lied to me and I am very upset.",
        "Worst meal of my life.",
        "I hate it, it broke at once.",
        "Nobody answers, I am really angry.",
    ),
    "neutral": (
        "The shop opens at nine.",
        "I have ordered two chairs and a table.",
        "Which size do you have in stock?",
        "The second page lists all members.",
        "Please call me on Friday.",
        "The parcel weighs two kilos.",
        "Please send it to my office.",
        "Do you have it in blue?",
    ),
    "positive": (
        "The hotel was spotless and the staff were kind.",
        "I love how fast this is.",
        "A complete success, it works like a charm.",
        "They helped me at once and I am very grateful.",
        "Best meal of my life.",
        "What a lovely day, thank you!",
        "It works very well, I am happy.",
    ),
}
_SENTENCE_END = re.compile(r"\n+|(?<=[.!?])\s+")
_BEFORE = "".join(f"Text: {text}\nSentiment: {value}\n\n" for text, value in _SHOTS)


def asks_sentiment(choices: Choices) -> bool:
    """Whether the values are those of a sentiment, in any order."""
    return not choices.boolean and set(choices.values) == set(VALUES)


def sentences(text: str) -> list[str]:
    """The sentences of a text that are judged: the first eight that are more than a greeting.

    Example:
        >>> sentences("Hi there,\\nI love the new colour. Is it a big one?")
        ['I love the new colour.', 'Is it a big one?']
    """
    parts = [part.strip()[:LONGEST] for part in _SENTENCE_END.split(text)]
    return [part for part in parts if len(part) >= SHORTEST][:MOST_SENTENCES] or [text.strip()[:LONGEST]]


def prompt(sentence: str) -> str:
    """The list of examples, up to where the model would write this sentence's sentiment."""
    return f"{_BEFORE}Text: {sentence}\nSentiment:"


def decide(parts: Sequence[str], log_probabilities: Sequence[Sequence[float]]) -> str:
    """The sentiment of a text.

    Args:
        parts: Its sentences.
        log_probabilities: For each of them the log-probability of each of ``VALUES``.
    """
    likely = np.array(log_probabilities) - np.array(PREFERENCE)
    felt = np.array([_felt(minilm().embed(part)[0]) for part in parts])
    return VALUES[int(np.argmax((likely + MEANING_WEIGHT * felt).mean(axis=0)))]


def _felt(vector: Vector) -> list[float]:
    return [anchor.strength(vector) for anchor in _anchors()]


@cache
def _anchors() -> tuple[Anchor, ...]:
    means = [np.mean([minilm().embed(text)[0] for text in SENTENCES[value]], axis=0) for value in VALUES]
    return tuple(Anchor.of((mean / np.linalg.norm(mean)).astype(np.float32)) for mean in means)
