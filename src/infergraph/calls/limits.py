"""How much may go to one model at once and a minute, counted within this process.

Time is handed in, so that everything here is plain arithmetic. A later version leases its share from
the store, so that all processes of a deployment keep one limit together.
"""

from __future__ import annotations

from infergraph.models.model import Model

_BURST_S = 1.0


class Bucket:
    """So much a minute, at most one second's worth at once; true use may push it into debt.

    Args:
        per_minute: The rate, more than 0.
        now: Seconds on any steady clock.

    Example:
        >>> bucket = Bucket(60, now=0.0)
        >>> bucket.take(1, now=0.0)
        >>> bucket.wait_s(1, now=0.0)
        1.0
    """

    def __init__(self, per_minute: float, now: float) -> None:
        self._rate = per_minute / 60
        self._most = max(1.0, self._rate * _BURST_S)
        self._level = self._most
        self._at = now

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until so much may be taken; an amount above the burst may go when the bucket is full."""
        self._fill(now)
        return max(0.0, (min(amount, self._most) - self._level) / self._rate)

    def take(self, amount: float, now: float) -> None:
        """Take so much; a negative amount gives back."""
        self._fill(now)
        self._level = min(self._most, self._level - amount)

    def _fill(self, now: float) -> None:
        self._level = min(self._most, self._level + (now - self._at) * self._rate)
        self._at = now


class Limits:
    """The limits of one model: slots, requests and tokens a minute, pauses that the server asked for.

    When the server says "too many requests", the number of slots is halved and grows back with every success.

    Args:
        model: Says the rates.
        slots: Requests in flight at once, 1 or more.
        now: Seconds on any steady clock.
    """

    def __init__(self, model: Model, slots: int, now: float) -> None:
        self._slots = slots
        self._allowed = float(slots)
        self._probes = 0
        self._paused_until = 0.0
        self._requests = _bucket(model.requests_per_minute, now)
        self._both = _bucket(model.tokens_per_minute, now)
        self._input = _bucket(model.input_tokens_per_minute, now)
        self._output = _bucket(model.output_tokens_per_minute, now)
        self.in_flight = 0
        self.counts_tokens = bool(self._both or self._input or self._output)
        """Whether token estimates matter here."""

    def wait_s(self, tokens_in: int, tokens_out: int, now: float) -> float | None:
        """Seconds until a request of this size may go (0.0: now); ``None``: when another one has come back."""
        if self.in_flight >= (1 if self._probes else int(self._allowed)):
            return None
        waits = [self._paused_until - now]
        for bucket, amount in self._amounts(1, tokens_in, tokens_out):
            waits.append(bucket.wait_s(amount, now))
        return max(0.0, *waits)

    def enter(self, tokens_in: int, tokens_out: int, now: float) -> None:
        """Count one request in, with the tokens it is expected to use."""
        self.in_flight += 1
        for bucket, amount in self._amounts(1, tokens_in, tokens_out):
            bucket.take(amount, now)

    def leave(self, tokens_in: int, tokens_out: int, now: float) -> None:
        """Count one request out, with the tokens it used beyond the expected ones (negative: fewer)."""
        self.in_flight -= 1
        for bucket, amount in self._amounts(0, tokens_in, tokens_out):
            bucket.take(amount, now)

    def pause(self, seconds: float, now: float) -> None:
        """Send nothing for so long."""
        self._paused_until = max(self._paused_until, now + seconds)

    def slow_down(self, seconds: float, now: float) -> None:
        """Pause, and use half of the slots from then on; many refusals of one moment count once."""
        if now >= self._paused_until:
            self._allowed = max(1.0, min(self._allowed, self.in_flight + 1) / 2)
        self.pause(seconds, now)

    def probe(self) -> int:
        """The model is out: send one request at a time until one succeeds; gives the number of probes so far."""
        self._probes = max(1, self._probes + (not self.in_flight))
        return self._probes

    def went_well(self) -> None:
        """A request succeeded: the slots grow back, one a round."""
        if self._probes:
            self._probes, self._paused_until = 0, 0.0
        if self._allowed < self._slots:
            self._allowed = min(float(self._slots), self._allowed + 1 / self._allowed)

    def _amounts(self, requests: int, tokens_in: int, tokens_out: int) -> list[tuple[Bucket, int]]:
        pairs = (
            (self._requests, requests),
            (self._both, tokens_in + tokens_out),
            (self._input, tokens_in),
            (self._output, tokens_out),
        )
        return [(bucket, amount) for bucket, amount in pairs if bucket is not None]


def _bucket(per_minute: int | None, now: float) -> Bucket | None:
    return None if per_minute is None else Bucket(per_minute, now)
