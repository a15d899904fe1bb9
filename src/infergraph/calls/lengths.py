"""How long answers are, learned from those that came: what a request under a budget, or a rate of tokens, sets aside.

Whoever has no idea of a length must not send many requests at once: the first one goes alone, and then as many as
answers have shown what they cost, which doubles with every round. What an earlier run learned is a first guess, and
good until the first answer.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

from infergraph.models.model import Response

Asker = tuple[str | None, str]
"""Asset and operator: what asks with the same prompt gets answers of about the same length."""

_MARGIN = 1.2
_BLIND, _SEEDED = 1, 8
_SLOWEST = 0.05
_CHARS_PER_TOKEN = 4


@dataclass(slots=True)
class _Known:
    mean: float | None = None
    seen: int = 0
    first: int = _BLIND
    """How many may go before the first answer."""
    in_flight: int = 0


class Lengths:
    """Output tokens of one model's answers, for each asker.

    Example:
        >>> lengths, asker = Lengths(), (None, "map")
        >>> lengths.reserve(asker), lengths.may_go(asker)
        (None, True)
        >>> lengths.learn(asker, 100)
        >>> lengths.reserve(asker)
        120
    """

    def __init__(self) -> None:
        self._known: defaultdict[Asker, _Known] = defaultdict(_Known)

    def seed(self, asker: Asker, mean: float) -> None:
        """Take over what earlier runs learned, unless this one knows better."""
        known = self._known[asker]
        if not known.seen:
            known.mean, known.first = mean, _SEEDED

    def learn(self, asker: Asker, tokens: int) -> None:
        """An answer had so many output tokens."""
        known = self._known[asker]
        known.seen += 1
        weight = max(_SLOWEST, 1 / known.seen)
        known.mean = tokens if known.mean is None else (1 - weight) * known.mean + weight * tokens

    def usual(self, asker: Asker) -> float | None:
        """The mean; ``None``: nothing is known."""
        return self._known[asker].mean

    def reserve(self, asker: Asker) -> int | None:
        """Tokens to set aside for one answer, with a margin; ``None``: nothing is known."""
        mean = self._known[asker].mean
        return None if mean is None else math.ceil(_MARGIN * mean)

    def may_go(self, asker: Asker) -> bool:
        """Whether enough is known to send one more request whose answer has no bound."""
        known = self._known[asker]
        return known.in_flight < known.first + known.seen

    def enter(self, asker: Asker) -> None:
        """A request whose answer has no bound goes out."""
        self._known[asker].in_flight += 1

    def leave(self, asker: Asker) -> None:
        """It is over."""
        self._known[asker].in_flight -= 1


def length_of(response: Response) -> int:
    """Output tokens of a response; where the server counts none, about what its text has."""
    return response.tokens.output or len(response.text) // _CHARS_PER_TOKEN
