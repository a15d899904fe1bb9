"""What whoever waits is told while a run stands still: a model that is out, a limit that is smaller than a request.

Said once, in a sentence: what, since when, until when it is waited for, and what to do.
"""

from __future__ import annotations

import time

from infergraph.calls.limits import Beyond
from infergraph.errors import ConfigurationError
from infergraph.models.model import Model

TELL_AFTER_S = 5.0
"""Seconds without any success after which a model's silence is worth a sentence."""
TELL_EVERY_S = 1.0
"""Seconds between two looks for somebody who came later and waits as well."""
_PARAMETERS = {
    "tokens": "tokens_per_minute",
    "input_tokens": "input_tokens_per_minute",
    "output_tokens": "output_tokens_per_minute",
}


def model_is_silent(
    name: str, model: Model, *, down_s: float, patience_s: float, said: str, now: float | None = None
) -> str:
    """What is said of a model that answers nobody.

    Args:
        name: The deployment's name of the model.
        model: The model.
        down_s: Seconds since the first failure after its last answer.
        patience_s: Seconds that are waited for it in all.
        said: What the last attempt brought.
        now: Seconds since 1970; ``None``: the clock's.

    Example:
        >>> told = model_is_silent("fast", Model("openai:m"), down_s=6, patience_s=900, said="503 overloaded", now=0)
        >>> told.startswith("Model 'fast' (openai:m) has answered nothing since ") and "503 overloaded." in told
        True
    """
    now = time.time() if now is None else now
    since, until = _clock(now - down_s), _clock(now - down_s + patience_s)
    after = f"{model.fallback!r} takes over" if model.fallback else "the run stops (max_outage_s of the model)"
    return (
        f"Model {name!r} ({model.name}) has answered nothing since {since}: {said.rstrip('. ')}. "
        f"It is asked again until {until}, then {after}. Ctrl-C stops the run now; every answer so far is kept."
    )


def never_fits(name: str, model: Model, operator: str, beyond: Beyond) -> ConfigurationError:
    """The error of a request that no minute of a limit has room for.

    Args:
        name: The deployment's name of the model.
        model: The model.
        operator: Who asks.
        beyond: The limit and the request's tokens.
    """
    return ConfigurationError(
        f"A request of {operator!r} has about {beyond.tokens:,} {_kind(beyond)} tokens, and {_limit(model, beyond)} of "
        f"model {name!r} ({model.name}) lets through {beyond.per_minute:,} a minute, so it could never be sent. "
        f"Raise {_PARAMETERS[beyond.kind]}= to what the provider gives you, or shorten the text before this step, for "
        f"example with pl.col(...).str.head({_CHARS_PER_TOKEN * beyond.per_minute // 2})."
    )


def waits_for_minutes(name: str, model: Model, operator: str, beyond: Beyond) -> str:
    """What is said of requests each of which may use more than a minute of a limit."""
    return (
        f"A request of {operator!r} may use about {beyond.tokens:,} {_kind(beyond)} tokens, answer included, and "
        f"{_limit(model, beyond)} of model {name!r} ({model.name}) lets through {beyond.per_minute:,} a minute: "
        f"each waits {beyond.tokens / beyond.per_minute:.1f} minutes for its turn. Raise {_PARAMETERS[beyond.kind]}=, "
        "or bound the answers with max_output_tokens=."
    )


_CHARS_PER_TOKEN = 4


def _kind(beyond: Beyond) -> str:
    return {"tokens": "input", "input_tokens": "input", "output_tokens": "output"}[beyond.kind]


def _limit(model: Model, beyond: Beyond) -> str:
    parameter = _PARAMETERS[beyond.kind]
    stated = getattr(model, parameter)
    if stated is not None and stated <= beyond.per_minute:
        return f"{parameter}={stated}"
    return "the limit that the server states"


def _clock(moment: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(moment))
