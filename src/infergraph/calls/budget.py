"""Money that a run may spend: reserved before a request is sent, settled with what it cost."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from infergraph.errors import ConfigurationError
from infergraph.models.model import NANO

Grant = Literal["granted", "wait", "used_up"]


@dataclass(frozen=True, slots=True)
class Spending:
    """Budgets of a whole deployment, in nano-dollars: of each day and each calendar month (UTC)."""

    per_day: int | None = None
    per_month: int | None = None

    @property
    def is_bound(self) -> bool:
        """Whether there is any budget."""
        return self.per_day is not None or self.per_month is not None


NO_BUDGET = Spending()


def nano_usd(amount: object) -> int | None:
    """An amount of USD in nano-dollars; ``None``: it is none.

    Example:
        >>> nano_usd(0.1), nano_usd(-1), nano_usd("5")
        (100000000, None, None)
    """
    if not isinstance(amount, (int, float)) or isinstance(amount, bool) or not math.isfinite(amount) or amount < 0:
        return None
    return int(Decimal(str(amount)) * NANO)


class Budget:
    """A sum that many requests share; it may be handed to any number of ``submit`` calls of one engine.

    Once a request did not fit, none is sent any more: a run stops at one point instead of picking the cheap rows.

    Args:
        max_nano_usd: What may be spent, in nano-dollars (USD 1e-9), 0 or more.

    Raises:
        ConfigurationError: It is no whole number of 0 or more.

    Example:
        >>> budget = Budget(100)
        >>> budget.reserve(80), budget.reserve(30)
        ('granted', 'wait')
        >>> budget.settle(80, 75)
        >>> budget.reserve(30), budget.spent_nano_usd
        ('used_up', 75)
    """

    def __init__(self, max_nano_usd: int) -> None:
        if not isinstance(max_nano_usd, int) or isinstance(max_nano_usd, bool) or max_nano_usd < 0:
            raise ConfigurationError(
                f"Budget({max_nano_usd!r}): a budget is 0 nano-dollars or more, a whole number; "
                "a dollar is 1_000_000_000."
            )
        self.max_nano_usd = max_nano_usd
        self._spent = 0
        self._reserved = 0
        self._used_up = False
        self._waiting: list[Callable[[], object]] = []
        self._lock = threading.Lock()

    @property
    def spent_nano_usd(self) -> int:
        """What finished requests cost so far, in nano-dollars."""
        return self._spent

    @property
    def used_up(self) -> bool:
        """Whether a request was turned away."""
        return self._used_up

    def reserve(self, nano_usd: int) -> Grant:
        """Set money aside for one request.

        Returns:
            ``granted``; ``wait``: it may fit when requests in flight turn out cheaper; ``used_up``: it never will.
        """
        with self._lock:
            if self._used_up or self._spent + nano_usd > self.max_nano_usd:
                self._used_up = True
                return "used_up"
            if self._spent + self._reserved + nano_usd > self.max_nano_usd:
                return "wait"
            self._reserved += nano_usd
            return "granted"

    def settle(self, reserved_nano_usd: int, spent_nano_usd: int) -> None:
        """Give back what was reserved and take what was spent; wakes those that wait."""
        with self._lock:
            self._reserved -= reserved_nano_usd
            self._spent += spent_nano_usd
            waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback()

    def when_settled(self, callback: Callable[[], object]) -> None:
        """Call back at the next ``settle``, on the settling thread; at once when nothing is reserved."""
        with self._lock:
            if self._reserved:
                self._waiting.append(callback)
                return
        callback()
