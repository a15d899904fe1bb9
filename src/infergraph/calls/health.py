"""Tells a row that fails from a model that is out.

A row that fails while others succeed is the row's fault, and its tries are counted. When requests that were
sent after the last success fail as well, and several of them, it may be the model's: rows then wait without
using up their tries, only the clock of the outage runs, and a question that nothing can be wrong with is asked
now and then (``calls/canary.py``). Its answer is a success, and what fails after that is the rows' own.
"""

from __future__ import annotations

import random

FRESH_FAILURES = 8
FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0


class Health:
    """What is known about whether a model is up; time is handed in.

    Example:
        >>> health = Health()
        >>> for row in range(8):
        ...     health.failed(row, started=1.0, now=2.0)
        >>> health.is_out, health.down_s(now=12.0)
        (True, 10.0)
        >>> health.succeeded(now=13.0)
        >>> health.is_out
        False
    """

    def __init__(self) -> None:
        self.ever_succeeded = False
        self.last_success = float("-inf")
        self._down_since: float | None = None
        self._turned_away = 0
        self._fresh: set[int] = set()
        self._suspected = False

    @property
    def is_out(self) -> bool:
        """Whether the failures look like the model's and not like the rows'."""
        return self._suspected or len(self._fresh) >= FRESH_FAILURES

    def suspect(self) -> None:
        """A row is worn out and nothing succeeded since it first failed: find out whose fault it is."""
        self._suspected = True

    def down_s(self, now: float) -> float:
        """Seconds since the first failure after the last success; 0.0 when there is none."""
        return 0.0 if self._down_since is None else now - self._down_since

    def succeeded(self, now: float) -> None:
        """A response came back."""
        self.ever_succeeded = True
        self.last_success = now
        self._down_since = None
        self._turned_away = 0
        self._fresh.clear()
        self._suspected = False

    def failed(self, row: int, started: float, now: float) -> None:
        """A request of this row, sent at that moment, failed in a way that may pass."""
        if self._down_since is None:
            self._down_since = now
        if started > self.last_success and not self.is_out:
            self._fresh.add(row)

    def turned_away(self, started: float) -> bool:
        """A request was answered "not allowed" or "not found"; says whether that is about this request alone.

        It is while others succeed. Before any success, or when request after request that was sent since the last
        success gets the same, it is about the model or its key.
        """
        if not self.ever_succeeded:
            return False
        self._turned_away += started > self.last_success
        return self._turned_away < FRESH_FAILURES


def backoff_s(tries: int, asked_s: float | None, first_s: float = FIRST_BACKOFF_S) -> float:
    """Seconds to wait before the next try: doubling, jittered, and never less than the server asked for.

    Args:
        tries: Tries made so far, 1 or more.
        asked_s: Seconds that the server asked for; ``None``: it did not.
        first_s: The wait after the first try, before jitter.

    Example:
        >>> 0.25 <= backoff_s(1, None) <= 0.5
        True
        >>> 7.0 <= backoff_s(1, 7.0) <= 7.7
        True
    """
    # Jitter spreads retries; nothing secret hangs on it.
    spread = random.random()
    if asked_s is not None and asked_s > 0:
        return asked_s * (1 + 0.1 * spread)
    return min(LONGEST_BACKOFF_S, first_s * 2.0 ** min(tries - 1, 16)) * (0.5 + 0.5 * spread)
