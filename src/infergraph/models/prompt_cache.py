"""Which part of a prompt a provider keeps between requests, so that it is read once and paid in full once.

OpenAI keeps long prefixes by itself; Anthropic those up to a block that the request marks. Both keep only what is
long enough, and both keep it once the first answer to it began: requests sent together all pay in full.
"""

from __future__ import annotations

import re
from functools import lru_cache

from infergraph.models.model import AnswerSchema, Message, Model, Request
from infergraph.text.encodings import count_many

_OPENAI_LEAST = 1024
# Anthropic documents 1,024 tokens for most older models; where sources disagree, the larger number stands here.
_ANTHROPIC_LEAST = (
    (re.compile(r"claude-(3-opus|3-5-sonnet|3-7-sonnet|(opus|sonnet)-4(-[01])?(-20\d{6})?$|sonnet-4-5)"), 1024),
    (re.compile(r"claude-(3-haiku|3-5-haiku|sonnet-4-6)"), 2048),
)
_ANTHROPIC_NEWER = 4096


def least_cached_tokens(model_id: str) -> int:
    """Tokens from which on Anthropic keeps the marked prefix of a prompt.

    Args:
        model_id: Anthropic's name of the model; one that is not known counts as a newer one.

    Example:
        >>> least_cached_tokens("claude-sonnet-4-5"), least_cached_tokens("claude-haiku-4-5")
        (1024, 4096)
    """
    return next((least for names, least in _ANTHROPIC_LEAST if names.match(model_id)), _ANTHROPIC_NEWER)


def cacheable_prefix_tokens(model: Model, request: Request) -> int:
    """How much of a request its provider keeps for the next one of the same operator.

    Args:
        model: The model that is asked.
        request: The request; ``request.prefix`` and the schema are what others have in common with it.

    Returns:
        Tokens of the shared prefix, for Claude an estimate; 0: too short, or the provider keeps nothing.

    Example:
        >>> rules = Message("system", "Be brief and polite. " * 400)
        >>> request = Request(messages=(rules, Message("user", "Hello")))
        >>> cacheable_prefix_tokens(Model("anthropic:claude-sonnet-4-5"), request) > 1024
        True
        >>> cacheable_prefix_tokens(Model("anthropic:claude-haiku-4-5"), request)
        0
    """
    if model.provider == "openai":
        least = _OPENAI_LEAST
    elif model.provider == "anthropic" and model.model_id.startswith("claude") and request.prefix:
        least = least_cached_tokens(model.model_id)
    else:
        return 0
    tokens = _prefix_tokens(model.model_id, request.prefix, request.schema)
    return tokens if tokens >= least else 0


# Asked for every request, while the prefix is the same for all rows.
@lru_cache(maxsize=64)
def _prefix_tokens(model_id: str, prefix: tuple[Message, ...], schema: AnswerSchema | None) -> int:
    texts = [message.content for message in prefix] + ([] if schema is None else [schema.text])
    return sum(count_many(model_id, texts)[0])
