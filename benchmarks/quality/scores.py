"""How good an answer is, against what is known: precision, recall, and how far two partitions agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from math import comb
from typing import NamedTuple


class Score(NamedTuple):
    """Precision and recall, 0 to 1; nothing found is precise."""

    precision: float
    recall: float

    @classmethod
    def of(cls, right: int, found: int, wanted: int) -> Score:
        """From counts: how many of those found are right, and how many were to be found."""
        return cls(right / found if found else 1.0, right / wanted if wanted else 1.0)

    @property
    def f1(self) -> float:
        """Their harmonic mean."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def pairs_together(truth: Sequence[Hashable], found: Sequence[Hashable]) -> Score:
    """Over all pairs of rows: those that are in one group, against those that should be."""
    right, grouped, wanted = (
        sum(comb(rows, 2) for rows in Counter(side).values()) for side in (zip(truth, found, strict=True), found, truth)
    )
    return Score.of(right, grouped, wanted)


def agreement(truth: Sequence[Hashable], found: Sequence[Hashable]) -> float:
    """The adjusted Rand index of two partitions: 1 the same, 0 as by chance (Hubert and Arabie 1985)."""
    pairs = comb(len(truth), 2)
    together = sum(comb(n, 2) for n in Counter(zip(truth, found, strict=True)).values())
    one, other = (sum(comb(n, 2) for n in Counter(side).values()) for side in (truth, found))
    by_chance = one * other / pairs
    return (together - by_chance) / ((one + other) / 2 - by_chance)


def purity(truth: Sequence[Hashable], found: Sequence[Hashable]) -> float:
    """Share of the rows that are of the commonest kind in their group."""
    kinds: dict[Hashable, Counter[Hashable]] = {}
    for kind, group in zip(truth, found, strict=True):
        kinds.setdefault(group, Counter())[kind] += 1
    return sum(max(counts.values()) for counts in kinds.values()) / len(truth)
