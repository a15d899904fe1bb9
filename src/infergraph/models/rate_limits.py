"""What a server says about its limits in the headers of every answer, as OpenAI and Anthropic spell it.

OpenAI states durations until a limit is whole again (``6m0s``), Anthropic points in time. What makes no sense is left
out: a header is a hint, and no answer fails over it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

Kind = Literal["requests", "tokens", "input_tokens", "output_tokens"]

_OPENAI: tuple[tuple[Kind, str], ...] = (("requests", "requests"), ("tokens", "tokens"))
_ANTHROPIC: tuple[tuple[Kind, str], ...] = (
    *_OPENAI,
    ("input_tokens", "input-tokens"),
    ("output_tokens", "output-tokens"),
)
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_DURATION = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_MINUTE_S = 60.0
_LONG_S = 600.0
"""A limit that needs longer than this to come back as a whole is none by the minute."""


@dataclass(frozen=True, slots=True)
class StatedLimit:
    """One limit that a server states.

    Args:
        kind: What it counts.
        per_minute: The rate, more than 0.
        remaining: What is left of it now, 0 or more; ``None``: not said.
        reset_s: Seconds until it is whole again; ``None``: not said.
    """

    kind: Kind
    per_minute: float
    remaining: float | None
    reset_s: float | None


def stated_limits(headers: Mapping[str, str], *, now: datetime | None = None) -> tuple[StatedLimit, ...]:
    """The limits among the headers of a response.

    OpenAI and others state limits by the day under the same names as those by the minute, and do not say which it
    is. What is used and when that is back tells: where the whole limit would need far longer than a minute to come
    back, ``per_minute`` is the rate at which it does.

    Args:
        headers: By lower-case name.
        now: The time now, with a time zone; ``None``: the clock's.

    Returns:
        One for each kind that is stated, in the order requests, tokens, input tokens, output tokens.

    Example:
        >>> stated_limits({"x-ratelimit-limit-tokens": "30000", "x-ratelimit-remaining-tokens": "29500"})
        (StatedLimit(kind='tokens', per_minute=30000.0, remaining=29500.0, reset_s=None),)
        >>> day = {"limit": "200", "remaining": "150", "reset": "6h0m0s"}
        >>> stated_limits({f"x-ratelimit-{name}-requests": text for name, text in day.items()})[0].per_minute
        0.1388888888888889
    """
    if not headers:
        return ()
    found = [_openai(headers, kind, name) for kind, name in _OPENAI if f"x-ratelimit-limit-{name}" in headers]
    if not found:
        stated = [(kind, f"anthropic-ratelimit-{name}") for kind, name in _ANTHROPIC]
        found = [_anthropic(headers, kind, name, now) for kind, name in stated if f"{name}-limit" in headers]
    return tuple(limit for limit in found if limit is not None)


def _openai(headers: Mapping[str, str], kind: Kind, name: str) -> StatedLimit | None:
    limit = _number(headers[f"x-ratelimit-limit-{name}"])
    if not limit:
        return None
    remaining = _number(headers.get(f"x-ratelimit-remaining-{name}"))
    text = headers.get(f"x-ratelimit-reset-{name}", "").strip()
    reset_s = _duration_s(text)
    per_minute = limit
    if reset_s is not None and remaining is not None and remaining < limit:
        used = limit - remaining
        # Whole seconds may be rounded up, and then say nothing about a single request.
        exact = "ms" in text or "." in text
        if (reset_s if exact else reset_s - 1) * limit / used > _LONG_S:
            per_minute = used / reset_s * _MINUTE_S
    return StatedLimit(kind, per_minute, remaining, reset_s) if per_minute > 0 else None


def _anthropic(headers: Mapping[str, str], kind: Kind, name: str, now: datetime | None) -> StatedLimit | None:
    limit = _number(headers[f"{name}-limit"])
    if not limit:
        return None
    remaining, reset_s = _number(headers.get(f"{name}-remaining")), _until_s(headers.get(f"{name}-reset"), now)
    return StatedLimit(kind, limit, remaining, reset_s)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _duration_s(text: str) -> float | None:
    if not _DURATION.fullmatch(text):
        # Some compatible servers say plain seconds.
        return _number(text)
    seconds = sum(float(amount) * _UNITS[unit] for amount, unit in _PART.findall(text))
    return seconds if math.isfinite(seconds) else None


def _until_s(text: str | None, now: datetime | None) -> float | None:
    try:
        until = datetime.fromisoformat((text or "").strip())
        until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
        return max(0.0, (until - (now or datetime.now(UTC))).total_seconds())
    except (ValueError, OverflowError):
        return None
