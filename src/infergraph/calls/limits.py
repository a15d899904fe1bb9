"""How much may go to one model at once and a minute: this process's part of what all processes share.

Turns of a rate and slots are leased from the store in small chunks (``store/leases.py``) and used up here. Time is
handed in, so that everything here is plain arithmetic.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from infergraph.calls.tuner import Tuner
from infergraph.models.model import Model
from infergraph.store.leases import RateGrant, RateKind, RateWish, SlotWish

_CHUNK_S = 0.25
"""So much of a rate is leased at once, unless one request needs more."""
_EARLY_S = 0.1
"""More is leased when what is there lasts no longer than so: later than those ask who were turned away."""
_KEEP_S = 0.3
"""Turns may be used so long after they were due: servers let about a second's worth come at once."""
_AHEAD_S, _LONGEST_S = 0.25, 1.0
"""A request goes when all its turns but so many are due; one that is worth more waits no longer than so."""
_MOMENT_S = 0.5
_CREDIT_S = 0.1
"""So much of what is given back is kept: a server that was full when it was not used gained nothing."""


@dataclass(frozen=True, slots=True)
class Beyond:
    """A limit of which one request takes more than a minute gives."""

    kind: RateKind
    per_minute: int
    tokens: int
    never: bool
    """Its input alone is more: whatever the answer is like, it does not fit."""


class Turns:
    """Leased turns of one rate, each with the moment from which it may be used.

    Args:
        per_minute: The rate, more than 0.

    Example:
        >>> turns = Turns(60)
        >>> turns.add(starts_at=10.0, amount=2)
        >>> turns.due_at(1, now=10.0), turns.take(1), turns.due_at(1, now=10.0)
        (10.75, None, 11.75)
    """

    def __init__(self, per_minute: float) -> None:
        self.per_second = per_minute / 60
        self._leased: deque[list[float]] = deque()
        self._credit = 0.0
        """Given back, and free to be used at once; less than 0: owed."""

    def add(self, starts_at: float, amount: float) -> None:
        """Take in leased turns; the first may be used from ``starts_at`` on."""
        self._leased.append([starts_at, amount])

    def due_at(self, amount: float, now: float) -> float | None:
        """When so much may be used, on the clock of ``now``; ``None``: more must be leased first."""
        self._forget_old(now, amount)
        if self._credit >= amount:
            return now
        if self._left() + self._credit < amount:
            return None
        # Whole requests are charged when they come, so a large one must be earned first.
        return max(self._leased[0][0], self._earned_at(amount - self._credit) - _AHEAD_S)

    def _earned_at(self, amount: float) -> float:
        start = at = self._leased[0][0]
        for begins, left in self._leased:
            at = begins + min(left, amount) / self.per_second
            amount -= left
            if amount <= 0:
                break
        return min(at, start + _LONGEST_S)

    def take(self, amount: float) -> None:
        """Use so much."""
        if self._credit > 0:
            used = min(self._credit, amount)
            self._credit -= used
            amount -= used
        owed, self._credit = amount - self._credit, 0.0
        while owed > 0 and self._leased:
            first = self._leased[0]
            used = min(owed, first[1])
            first[0] += used / self.per_second
            first[1] -= used
            owed -= used
            if first[1] <= 0:
                self._leased.popleft()
        self._credit = -owed

    def give_back(self, amount: float) -> None:
        """Less was used than was taken; a negative amount: more was."""
        self._credit = min(self._credit + amount, max(1.0, _CREDIT_S * self.per_second))

    def missing(self, amount: float, now: float) -> float:
        """How much must be leased before so much can be used; 0.0: none."""
        self._forget_old(now, amount)
        return max(0.0, amount - self._credit - self._left())

    def lasts_until(self) -> float:
        """The moment when what is leased will have been due."""
        return self._leased[-1][0] + self._leased[-1][1] / self.per_second if self._leased else float("-inf")

    def forget(self) -> None:
        """Give up all that is leased."""
        self._leased.clear()

    def _left(self) -> float:
        return sum(amount for _, amount in self._leased)

    def _forget_old(self, now: float, wanted: float) -> None:
        """Forget turns that are too old, but none of those that one request of this size waits to have together."""
        while self._leased and (late := now - _KEEP_S - self._leased[0][0]) > 0:
            first = self._leased[0]
            spare = self._left() + self._credit - wanted
            if spare <= 1e-9:
                return
            gone = min(first[1], late * self.per_second, spare)
            first[0] += gone / self.per_second
            first[1] -= gone
            if first[1] > 1e-9:
                return
            self._leased.popleft()


class Limits:
    """The limits of one model in this process: slots, turns, and pauses that the server asked for.

    Args:
        model: Says the rates, and the slots that all processes share.
        slots: Requests in flight at once where the model states none.
        tuner: Finds that number instead, by measuring; ``None``: ``slots`` it is.
    """

    def __init__(self, model: Model, slots: int, tuner: Tuner | None) -> None:
        self._tuner = tuner
        self._most = model.max_concurrency or slots
        self.shares_slots = model.max_concurrency is not None
        """Whether the slots are leased."""
        self._granted = 0 if self.shares_slots else self._most
        self._shrinks = False
        self._allowed = float(self._most)
        self._probes = 0
        self._paused_until = 0.0
        self._slowed_until = float("-inf")
        self.in_flight = 0
        stated: Mapping[RateKind, int | None] = {
            "requests": model.requests_per_minute,
            "tokens": model.tokens_per_minute,
            "input_tokens": model.input_tokens_per_minute,
            "output_tokens": model.output_tokens_per_minute,
        }
        self._stated = {kind: rate for kind, rate in stated.items() if rate is not None}
        self._turns = {kind: Turns(rate) for kind, rate in self._stated.items()}

    @property
    def counts_tokens(self) -> bool:
        """Whether token estimates matter here."""
        return any(kind != "requests" for kind in self._turns)

    @property
    def has_rates(self) -> bool:
        """Whether there are turns to be leased."""
        return bool(self._turns)

    @property
    def level(self) -> int:
        """Requests that may be in flight at once now."""
        if self._probes:
            return 1
        if self._tuner is not None:
            return self._tuner.level
        return min(self._granted, int(self._allowed))

    def wait_s(self, tokens_in: int, tokens_out: int, now: float) -> float | None:
        """Seconds until a request of this size may go (0.0: now); ``None``: when another came back, or with a lease."""
        if self.in_flight >= self.level:
            return None
        latest = self._paused_until
        for kind, amount in _amounts(1, tokens_in, tokens_out):
            turns = self._turns.get(kind)
            if turns is not None:
                due = turns.due_at(amount, now)
                if due is None:
                    return None
                latest = max(latest, due)
        return max(0.0, latest - now)

    def needs_turns(self, tokens_in: int, tokens_out: int, now: float) -> bool:
        """Whether turns are to be leased now: for a request of this size, or because what is there soon ends."""
        return now >= self._paused_until and any(
            turns.missing(amount, now) or turns.lasts_until() < now + _EARLY_S
            for kind, amount in _amounts(1, tokens_in, tokens_out)
            if (turns := self._turns.get(kind)) is not None
        )

    def beyond(self, tokens_in: int, tokens_out: int) -> Beyond | None:
        """The limit of which one request of this size takes more than a minute gives; ``None``: there is none."""
        sizes: dict[RateKind, tuple[int, int]] = {
            "tokens": (tokens_in, tokens_out), "input_tokens": (tokens_in, 0), "output_tokens": (0, tokens_out),
        }  # fmt: skip
        found = None
        for kind, (sure, likely) in sizes.items():
            turns = self._turns.get(kind)
            if turns is None:
                continue
            per_minute = round(60 * turns.per_second)
            if sure > per_minute:
                return Beyond(kind, per_minute, sure, never=True)
            if found is None and sure + likely > per_minute:
                found = Beyond(kind, per_minute, sure + likely, never=False)
        return found

    def rate_wishes(self, sizes: Sequence[tuple[int, int]], queued: int, now: float) -> list[RateWish]:
        """Turns to be leased now: for whole requests, as a part of one cannot be used and grows old.

        Args:
            sizes: Input and output tokens of the next requests, in order; one or more.
            queued: Requests that wait, those included.
            now: The local clock.
        """
        wishes: list[RateWish] = []
        for kind, turns in self._turns.items():
            amounts = [dict(_amounts(1, *size))[kind] for size in sizes]
            missing = turns.missing(amounts[0], now)
            if not missing and turns.lasts_until() >= now + _EARLY_S:
                continue
            chunk = turns.per_second * _CHUNK_S
            # Up to the first request with which it is a chunk, or all that wait.
            sums = (turns.missing(total, now) for total in accumulate(amounts))
            wanted = next((total for total in sums if total >= chunk), turns.missing(sum(amounts), now))
            if wanted < chunk and queued > len(sizes):
                wanted = max(1.0, float(int(chunk)))
            if wanted > 0:
                wishes.append(RateWish(kind, turns.per_second, wanted))
        return wishes

    def leased(self, grant: RateGrant, now: float) -> None:
        """Take in what was leased."""
        turns = self._turns.get(grant.kind)
        if turns is not None and grant.amount:
            turns.add(now + grant.starts_in_s, grant.amount)

    def slot_wish(self, name: str, queued: int) -> SlotWish:
        """How many slots are needed."""
        return SlotWish(name, self._most, min(self._most, self.in_flight + queued), self.in_flight)

    def granted(self, slots: int) -> None:
        """This process may have so many requests in flight."""
        self._granted = slots
        self._shrinks = self.in_flight > slots

    @property
    def gives_slots(self) -> bool:
        """Whether fewer were granted than were in flight, and those have come back: others wait to hear of it."""
        return self._shrinks and self.in_flight <= self._granted

    @property
    def wants_slots(self) -> bool:
        """Whether another slot would help, and the server has not asked for less."""
        return self.shares_slots and self.in_flight >= self._granted and self._granted < min(self._most, self._allowed)

    def lost(self) -> None:
        """What was leased is somebody else's by now."""
        if self.shares_slots:
            self._granted = 0
        for turns in self._turns.values():
            turns.forget()

    def enter(self, tokens_in: int, tokens_out: int) -> None:
        """Count one request in, with the tokens it is expected to use."""
        self.in_flight += 1
        for kind, amount in _amounts(1, tokens_in, tokens_out):
            if kind in self._turns:
                self._turns[kind].take(amount)

    def leave(self, tokens_in: int, tokens_out: int) -> None:
        """Count one request out, with the tokens it used beyond the expected ones (negative: fewer)."""
        self.in_flight -= 1
        for kind, amount in _amounts(0, tokens_in, tokens_out):
            if kind in self._turns:
                self._turns[kind].give_back(-amount)

    def learn(self, kind: RateKind, per_minute: float) -> None:
        """The server states a limit: it holds where the model states none, or a higher one."""
        own = self._stated.get(kind)
        rate = per_minute if own is None else min(own, per_minute)
        known = self._turns.get(kind)
        if known is None:
            self._turns[kind] = Turns(rate)
        else:
            known.per_second = rate / 60
        # A server that says what it takes need not be measured.
        self._tuner = None

    def pause(self, seconds: float, now: float) -> None:
        """Send nothing for so long."""
        self._paused_until = max(self._paused_until, now + seconds)

    def slow_down(self, seconds: float, now: float) -> None:
        """Pause, and use fewer slots from then on; many refusals of one moment count once."""
        if self._tuner is not None:
            self._tuner.slow_down(now)
        if now >= self._slowed_until:
            self._allowed = max(1.0, min(self._allowed, self.in_flight + 1) / 2)
            self._slowed_until = now + (seconds or _MOMENT_S)
        self.pause(seconds, now)

    def probe(self) -> int:
        """The model is out: send one request at a time until one succeeds; gives the number of probes so far."""
        self._probes = max(1, self._probes + (not self.in_flight))
        return self._probes

    def recovered(self) -> None:
        """The model is not out any more."""
        if self._probes:
            self._probes, self._paused_until = 0, 0.0

    def went_well(self, seconds: float, now: float) -> None:
        """A request succeeded; slots that were taken away grow back, one a round.

        Args:
            seconds: How long it took.
            now: The local clock.
        """
        self.recovered()
        if self._tuner is not None:
            self._tuner.came_back(seconds, self.in_flight + 1, now)
        if self._allowed < self._most:
            self._allowed = min(float(self._most), self._allowed + 1 / self._allowed)


def _amounts(requests: int, tokens_in: int, tokens_out: int) -> tuple[tuple[RateKind, int], ...]:
    return (
        ("requests", requests),
        ("tokens", tokens_in + tokens_out),
        ("input_tokens", tokens_in),
        ("output_tokens", tokens_out),
    )
