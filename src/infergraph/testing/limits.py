"""The limits that a simulated server enforces: so much a minute, as the real servers count it.

Tokens are charged when a request arrives: those of its prompt, and those that its answer may have. Where the
request states no such room, a small guess stands for the answer until it is made; then its true length is charged,
and what is left may go below zero. What a request stated and did not use is not given back.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["requests", "tokens", "input_tokens", "output_tokens"]
_GUESSED_OUTPUT = 16


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits that a simulated server enforces and states in its headers.

    Args:
        requests_per_minute: Requests a minute, spread evenly.
        tokens_per_minute: Tokens a minute: the prompt's and those that the answer may have.
        input_tokens_per_minute: Tokens of prompts a minute; those read from the prompt cache are given back.
        output_tokens_per_minute: Tokens of answers a minute, whatever room the requests state.
        slots: Requests worked on at once.
        queue: Requests beyond the slots wait for their turn, as in llama.cpp and vLLM; else they are told 429.
        burst_s: So many seconds' worth of the limits may come at once.

    Example:
        >>> Limits(requests_per_minute=1200).requests_per_minute
        1200
    """

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    input_tokens_per_minute: float | None = None
    output_tokens_per_minute: float | None = None
    slots: int | None = None
    queue: bool = False
    burst_s: float = 1.0


class Bucket:
    """A leaky allowance: so many units a minute, at most ``burst_s`` seconds' worth at once."""

    def __init__(self, per_minute: float, burst_s: float) -> None:
        self.per_minute = per_minute
        self._rate = per_minute / 60
        self._most = max(1.0, self._rate * burst_s)
        self._level = self._most
        self._at = time.monotonic()

    @property
    def remaining(self) -> int:
        """Whole units left now."""
        return max(0, int(self._filled()))

    def take(self, units: float) -> float:
        """Take units; returns 0 when they were there, else the seconds until they are.

        Args:
            units: How many; more than the bucket holds may go when it is full, and leave it below zero.

        Returns:
            Seconds to wait, 0 when taken.
        """
        missing = min(units, self._most) - self._filled()
        if missing > 1e-9:
            return missing / self._rate
        self._level -= units
        return 0.0

    def charge(self, units: float) -> None:
        """Take units whether they are there or not; a negative number gives back."""
        self._level = min(self._most, self._filled() - units)

    def _filled(self) -> float:
        now = time.monotonic()
        self._level = min(self._most, self._level + (now - self._at) * self._rate)
        self._at = now
        return self._level


class Meters:
    """All the limits by the minute of one server.

    Args:
        limits: What is enforced.
    """

    def __init__(self, limits: Limits) -> None:
        rates: dict[Kind, float | None] = {
            "requests": limits.requests_per_minute,
            "tokens": limits.tokens_per_minute,
            "input_tokens": limits.input_tokens_per_minute,
            "output_tokens": limits.output_tokens_per_minute,
        }
        self.by_kind: Mapping[Kind, Bucket] = {
            kind: Bucket(rate, limits.burst_s) for kind, rate in rates.items() if rate is not None
        }

    def charge(self, prompt: int, room: int | None) -> float:
        """Charge a request that arrives, for everything or for nothing.

        Args:
            prompt: Tokens of its prompt.
            room: Tokens that its answer may have, where it says so.

        Returns:
            Seconds until it may come again, 0 when charged.
        """
        amounts: dict[Kind, int] = {
            "requests": 1,
            "tokens": prompt + (_GUESSED_OUTPUT if room is None else room),
            "input_tokens": prompt,
            "output_tokens": _GUESSED_OUTPUT,
        }
        charged: list[tuple[Bucket, int]] = []
        for kind, bucket in self.by_kind.items():
            wait = bucket.take(amounts[kind])
            if wait:
                for other, amount in charged:
                    other.charge(-amount)
                return wait
            charged.append((bucket, amounts[kind]))
        return 0.0

    def settle(self, output: int, cached: int, room: int | None) -> None:
        """Correct the charge of a request that was answered.

        Args:
            output: Tokens of its answer.
            cached: Tokens of its prompt that were read from the prompt cache.
            room: What it said that its answer may have.
        """
        more = output - _GUESSED_OUTPUT
        corrections: dict[Kind, int] = {
            "tokens": more if room is None else 0,
            "input_tokens": -cached,
            "output_tokens": more,
        }
        for kind, amount in corrections.items():
            if kind in self.by_kind:
                self.by_kind[kind].charge(amount)
