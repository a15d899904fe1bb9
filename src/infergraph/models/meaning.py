"""Chooses one of a few values by what they mean: embeddings of the value, its description and the content.

Similarities of different sentences cannot be compared as they are: a sentence of everyday words is a little
similar to everything. So each similarity is measured in standard deviations above what the same sentence has to
sixty unrelated texts (``background.txt``). To that comes a plain count of shared words, which carries names
that an embedding blurs (``LGPL``, ``MPL``). The three weights and the threshold were chosen on the ``tune`` rows of
``benchmarks/labelled``; ``docs/models.md`` has what they reach on the others.

The content's order of words, negations in it, and languages other than English are hardly seen this way.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from statistics import fmean

import numpy as np

from infergraph.models.minilm import Vector, minilm
from infergraph.models.model import Choices

PHRASE_WEIGHT, WORD_WEIGHT, EXAMPLE_WEIGHT = 0.5, 2.0, 0.5
TRUE_ABOVE = 1.25
"""Standard deviations above the background from which a sentence counts as true of a text."""
PAIR_ABOVE = 4.25
"""The same between the two sides of a pair: what a sentence says of them is hardly seen, how near they are is.
Chosen by eye, with both halves of ``benchmarks/quality`` in view, unlike the weights above."""

_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*|\d+")
_BLOCK = re.compile(r"<(\w+)>\n(.*?)\n</\1>", re.DOTALL)
_REFERENCE = re.compile(r"</?\w+>")
_REFERRED_TO_AS = ("this", "this message", "it", "")
"""How a sentence may speak of the content: which one fits is not known, so all are tried and averaged."""
_PART = re.compile(r"[,:;.]\s|\n")
_NEGATION = re.compile(
    r"\b(?:do|does|did) not\b ?|\b(?:do|does|did)n['\u2019]t\b ?|\bnever\b ?"
    r"|(?:(?<=\bis )|(?<=\bare )|(?<=\bwas )|(?<=\bwere ))not\b ?|(?:(?<=\bis)|(?<=\bare)|(?<=\bwas))n['\u2019]t\b",
    re.IGNORECASE,
)
_COMMON = 3


@dataclass(frozen=True, slots=True)
class Worked:
    """One example that the author gave: a content and its right value."""

    subject: str
    value: str


@dataclass(frozen=True, slots=True)
class Anchor:
    """A sentence to compare contents with, and how similar unrelated texts are to it."""

    vector: Vector
    mean: float
    deviation: float

    @classmethod
    def of(cls, vector: Vector) -> Anchor:
        """Measure a vector against the background."""
        usual = background() @ vector
        return cls(vector, float(usual.mean()), float(usual.std()))

    def strength(self, vector: Vector) -> float:
        """Standard deviations by which this vector is nearer than unrelated texts are."""
        return (float(self.vector @ vector) - self.mean) / self.deviation


@cache
def _background_lines() -> tuple[str, ...]:
    text = resources.files("infergraph.models").joinpath("background.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())


@cache
def background() -> Vector:
    """The vectors of the background's texts, one a row."""
    return np.array([minilm().embed(line)[0] for line in _background_lines()])


@cache
def _common_words() -> frozenset[str]:
    seen = Counter(word for line in _background_lines() for word in _words(line))
    return frozenset(word for word, count in seen.items() if count >= _COMMON)


@lru_cache(maxsize=4096)
def _anchor(sentence: str) -> Anchor:
    return Anchor.of(minilm().embed(sentence)[0])


@lru_cache(maxsize=4096)
def _embedded(text: str) -> tuple[Vector, int]:
    return minilm().embed(text)


def plain(subject: str) -> str:
    """A rendered content without the tags around its values.

    Example:
        >>> plain("<title>\\nHelp\\n</title>\\n<body>\\nIt broke.\\n</body>")
        'Help\\nIt broke.'
    """
    blocks = [found[2] for found in _BLOCK.finditer(subject)]
    return "\n".join(blocks) if blocks else subject


def choose(choices: Choices, examples: Sequence[Worked] = ()) -> tuple[str, int]:
    """The value that fits the content best.

    Args:
        choices: What is asked.
        examples: The author's examples, used as further descriptions of their values.

    Returns:
        One of ``choices.values``, and the word pieces of the content.
    """
    if choices.candidates:
        return _best_candidate(choices)
    if choices.pair and all(sides := _sides(choices.subject)):
        return _of_a_pair(choices.question, sides)
    text = plain(choices.subject)
    vector, tokens = minilm().embed(text)
    if choices.boolean:
        return ("true" if _is_true(choices.question, vector, examples) else "false"), tokens
    words = _words(text)
    scores = [
        _fit(value, description, vector, words) + EXAMPLE_WEIGHT * _nearness(value, vector, examples)
        for value, description in zip(choices.values, choices.descriptions, strict=True)
    ]
    return choices.values[int(np.argmax(scores))], tokens


def _sides(subject: str) -> list[str]:
    blocks = [(found[1], found[2]) for found in _BLOCK.finditer(subject)]
    return ["\n".join(text for tag, text in blocks if tag.startswith(side)) for side in ("left_", "right_")]


def _of_a_pair(question: str, sides: Sequence[str]) -> tuple[str, int]:
    """Whether the two sides are near enough to each other; a "not" turns that round."""
    (left, some), (right, more) = map(_embedded, sides)
    is_near = fmean((Anchor.of(left).strength(right), Anchor.of(right).strength(left))) > PAIR_ABOVE
    negated = _NEGATION.search(question) is not None
    return ("true" if is_near != negated else "false"), some + more


def _fit(value: str, description: str, vector: Vector, words: frozenset[str]) -> float:
    whole = f"{value}: {description}" if description else value
    phrases = [value, *(part for part in _PART.split(description) if part.strip())]
    nearest = max(_anchor(phrase).strength(vector) for phrase in phrases)
    shared = max(_shared(phrase, words) for phrase in phrases)
    return _anchor(whole).strength(vector) + PHRASE_WEIGHT * nearest + WORD_WEIGHT * shared


def _shared(phrase: str, words: frozenset[str]) -> float:
    """The part of a phrase's uncommon words that the content has, or begins a word with (``lgpl``, ``lgplv3``)."""
    telling = _words(phrase) - _common_words()
    found = [
        word for word in telling if word in words or (len(word) > 2 and any(one.startswith(word) for one in words))
    ]
    return len(found) / len(telling) if telling else 0.0


def _words(text: str) -> frozenset[str]:
    return frozenset(word.lower() for word in _WORD.findall(text))


def _nearness(value: str, vector: Vector, examples: Sequence[Worked]) -> float:
    strengths = [
        Anchor.of(_embedded(plain(example.subject))[0]).strength(vector)
        for example in examples
        if example.value == value
    ]
    return max(strengths, default=0.0)


def _best_candidate(choices: Choices) -> tuple[str, int]:
    affirmed = _NEGATION.sub("", choices.question)
    embedded = [_embedded(plain(candidate)) for candidate in choices.candidates]
    strengths = [_strength(affirmed, vector) for vector, _ in embedded]
    chosen = np.argmax(strengths) if affirmed == choices.question else np.argmin(strengths)
    return choices.values[int(chosen)], sum(tokens for _, tokens in embedded)


def _strength(affirmed: str, vector: Vector) -> float:
    return fmean(_anchor(" ".join(_REFERENCE.sub(name, affirmed).split())).strength(vector) for name in _REFERRED_TO_AS)


def _is_true(question: str, vector: Vector, examples: Sequence[Worked]) -> bool:
    affirmed = _NEGATION.sub("", question)
    strength = _strength(affirmed, vector)
    if affirmed != question:
        # An embedding hardly notices a "not": the sentence without it is judged, and the answer turned round.
        return strength <= TRUE_ABOVE
    if examples:
        nearer = _nearness("true", vector, examples) - _nearness("false", vector, examples)
        strength += EXAMPLE_WEIGHT * nearer
    return strength > TRUE_ABOVE
