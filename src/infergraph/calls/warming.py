"""Prompt caches: the first request of a long shared prefix goes alone, the others when the provider has read it.

A provider keeps a prefix only once the first answer to it began, so requests that are sent together all pay in full.
"""

from __future__ import annotations

from dataclasses import dataclass

from infergraph.calls.lengths import Asker
from infergraph.calls.question import Question
from infergraph.models.model import Model
from infergraph.models.prompt_cache import cacheable_prefix_tokens

_KEPT_S = 240.0
"""Providers forget a prefix that nobody used for five minutes."""


@dataclass(slots=True)
class _Prefix:
    reading: Question | None = None
    """The request that goes alone."""
    used_at: float = float("-inf")


class Warming:
    """What a provider has in its prompt cache, as far as one lane knows.

    Args:
        model: The lane's model.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._prefixes: dict[Asker, _Prefix | None] = {}

    def may_go(self, question: Question) -> bool:
        """Whether it need not wait for the request that goes alone."""
        prefix = self._prefix(question)
        return prefix is None or prefix.reading is None

    def sent(self, question: Question, now: float) -> None:
        """A request went out."""
        prefix = self._prefix(question)
        if prefix is None:
            return
        if now > prefix.used_at + _KEPT_S:
            prefix.reading = question
        prefix.used_at = now

    def landed(self, asker: Asker, question: Question, now: float, *, answered: bool) -> None:
        """A request is over; when the one that went alone failed, another one does.

        Args:
            asker: Who asked when it was sent; its question may belong to somebody else by now.
            question: The question.
            now: The local clock.
            answered: Whether a response came.
        """
        prefix = self._prefixes.get(asker)
        if prefix is not None and prefix.reading is question:
            prefix.reading = None
            prefix.used_at = now if answered else float("-inf")

    def _prefix(self, question: Question) -> _Prefix | None:
        asker = question.asker
        if asker not in self._prefixes:
            long_enough = cacheable_prefix_tokens(self._model, question.ask.request) > 0
            self._prefixes[asker] = _Prefix() if long_enough else None
        return self._prefixes[asker]
