"""A server's slots: so many requests are worked on at once, the others wait in the order in which they came, or go."""

from __future__ import annotations

import asyncio
import time
from collections import deque


class Slots:
    """Places to work in, and the queue before them; everything happens on one event loop.

    Args:
        number: Requests worked on at once; ``None``: any number.
        queue: Whether there is a queue; where not, nobody may enter while ``turns_away``.
    """

    def __init__(self, number: int | None, *, queue: bool = True) -> None:
        self.number = number
        self._queues = queue
        self.busy = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        self.reset()

    def reset(self) -> None:
        """Begin the statistics anew."""
        self.max_queued = len(self._queue)
        self._came = 0
        self._waited = 0.0
        self._since = self._at = time.monotonic()

    @property
    def turns_away(self) -> bool:
        """Whether a request that comes now is sent away."""
        return not self._queues and not self._is_free()

    @property
    def queued(self) -> int:
        """Requests that wait now."""
        return len(self._queue)

    @property
    def mean_queued(self) -> float:
        """Mean length of the queue over time."""
        self._count_time()
        return self._waited / max(1e-9, self._at - self._since)

    @property
    def mean_wait_s(self) -> float:
        """Seconds in the queue, as a mean over the requests that came."""
        self._count_time()
        return self._waited / max(1, self._came)

    async def enter(self) -> None:
        """Wait for a slot and take it; whoever took one leaves it."""
        self._came += 1
        if self._is_free() and not self._queue:
            self.busy += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count_time()
        self._queue.append(turn)
        self.max_queued = max(self.max_queued, len(self._queue))
        try:
            await turn
        except asyncio.CancelledError:
            self._give_up(turn)
            raise

    def leave(self) -> None:
        """Give a slot back; the one that waited longest takes it."""
        self.busy -= 1
        self._let_in()

    def resize(self, number: int | None) -> None:
        """Change the number of slots; what is being worked on goes on."""
        self.number = number
        self._let_in()

    def _give_up(self, turn: asyncio.Future[None]) -> None:
        if turn.cancelled():
            self._count_time()
            if turn in self._queue:
                self._queue.remove(turn)
        else:
            # Its turn had come, and nobody had told it yet.
            self.leave()

    def _is_free(self) -> bool:
        return self.number is None or self.busy < self.number

    def _let_in(self) -> None:
        self._count_time()
        while self._queue and self._is_free():
            turn = self._queue.popleft()
            if not turn.cancelled():
                self.busy += 1
                turn.set_result(None)

    def _count_time(self) -> None:
        now = time.monotonic()
        self._waited += len(self._queue) * (now - self._at)
        self._at = now
