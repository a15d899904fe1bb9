"""How much fits into one request of a model, for operators that pack many texts into requests."""

from __future__ import annotations

from collections.abc import Sequence

from infergraph.frame.session import Session
from infergraph.operators.rounds import Room

CAUTIOUS_CONTEXT_TOKENS = 8_192
"""Assumed of a model whose context is not known: hardly one in use has less."""
_ANSWER_TOKENS = 4_096
_MARGIN = 0.05
"""Share of the context that is left free: for what a provider wraps around messages."""
_UNSURE = 1.4
"""A tokenizer that is not public may count so much more than ours (see ``estimate_rates``)."""


def room_of(session: Session, model: str) -> Room:
    """What fits into one request of a model, and of those that take over from it.

    The context is what the model is known to take, or 8,192 tokens. Off it go the room for the answer
    (``Model(max_output_tokens=)``, else 4,096 tokens, a quarter of the context at most) and a margin of 5 %.

    Args:
        session: Knows the models.
        model: The deployment's name of the model.

    Example:
        >>> import infergraph as ig
        >>> models = {"m": ig.Model("scripted:any", max_output_tokens=500)}
        >>> with ig.Session(models=models, store="sqlite://") as session:
        ...     room = room_of(session, "m")
        >>> room.tokens, list(room.count(["four", "a few words"]))
        (7282, [1, 3])
    """
    provider = session.provider(model)

    def count(texts: Sequence[str]) -> Sequence[int]:
        counts = [provider.count_tokens(text) for text in texts]
        return [tokens if exact else int(tokens * _UNSURE) for tokens, exact in counts]

    return Room(tokens=min(_input_tokens(session, name) for name in session.models_asked(model)), count=count)


def _input_tokens(session: Session, model: str) -> int:
    definition, facts = session.facts(model)
    context = facts.context_tokens or CAUTIOUS_CONTEXT_TOKENS
    answer = min(definition.max_output_tokens or min(_ANSWER_TOKENS, context // 4), context // 2)
    return int(context * (1 - _MARGIN)) - answer
