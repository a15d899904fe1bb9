"""The gate before one model: says when the next request may go, and fetches what this process lacks for that.

What it lacks are turns and slots, which all processes share; they come a moment after they were asked for. It also
hears what the server says of its limits, and of the pauses of the others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from infergraph.calls.coordinator import Coordinator
from infergraph.calls.limits import Limits
from infergraph.calls.tuner import Tuner
from infergraph.models.model import Model, Provider
from infergraph.models.rate_limits import stated_limits
from infergraph.models.redact import redact_address
from infergraph.store.coordination import Beat
from infergraph.store.leases import RateGrant, SlotWish

_START, _MOST_AT_ONCE = 8, 512
_HEADERS_EVERY_S = 0.5
_SLOTS_EVERY_S = 0.25

Sizes = Callable[[], Sequence[tuple[int, int]]]
"""Gives input and output tokens of the next requests, in order; one or more."""


class Gate:
    """One a model and process, used on the event loop only.

    Args:
        model: Says the limits.
        provider: Says how many requests it takes where the model does not.
        coordinator: Fetches turns and slots.
        loop: The event loop.
        wake: Called when another look makes sense.
        safely: Runs a step that a timer starts.
    """

    def __init__(
        self,
        model: Model,
        provider: Provider,
        coordinator: Coordinator,
        loop: asyncio.AbstractEventLoop,
        wake: Callable[[], None],
        safely: Callable[..., None],
    ) -> None:
        self.quota = model.name if model.base_url is None else f"{model.name} at {redact_address(model.base_url)}"
        """What all processes call the limits of this model."""
        self.limits = _limits(model, provider, time.monotonic())
        self._coordinator = coordinator
        self._loop = loop
        self._wake = wake
        self._safely = safely
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._fetching_turns = False
        self._no_turns_before = 0.0
        self._fetching_slots = False
        self._headers_after = 0.0

    def opens(self, size: tuple[int, int], queued: int, sizes: Sizes) -> bool:
        """Whether the next request may go now; if not, somebody will wake the lane when to ask again.

        Args:
            size: Its input and output tokens.
            queued: Requests that wait, this one included.
            sizes: Those of the next ones, this one first.
        """
        if not self._coordinator.is_heard:
            return False  # the next beat wakes the lane
        now = time.monotonic()
        wait = self.limits.wait_s(*size, now)
        if self.limits.wants_slots:
            self._fetch_slots(queued)
        if self.limits.needs_turns(*size, now):
            self._fetch_turns(queued, sizes, now)
        if wait is not None and wait > 0:
            self._wake_after(wait)
        return wait == 0

    def slot_wish(self, queued: int) -> SlotWish | None:
        """How many of the slots that all processes share are needed here; ``None``: they are not shared."""
        return self.limits.slot_wish(self.quota, queued) if self.limits.shares_slots else None

    def one_left(self, queued: int) -> None:
        """A request came back: where others wait for this process's slots, they hear of it."""
        if self.limits.gives_slots:
            self._fetch_slots(queued)

    def lost(self) -> None:
        """What was leased is gone, and what is on its way may not come."""
        self._fetching_turns = self._fetching_slots = False
        self.limits.lost()

    def heard(self, beat: Beat) -> None:
        """Take in what the other processes did."""
        if (slots := beat.slots.get(self.quota)) is not None:
            self.limits.granted(slots)
        if (paused := beat.paused.get(self.quota, 0.0)) > 0:
            self.limits.pause(paused, time.monotonic())

    def learn(self, headers: Mapping[str, str], now: float) -> None:
        """What the server says of its limits holds, and where nearly nothing is left we wait."""
        if not headers or now < self._headers_after:
            return
        self._headers_after = now + _HEADERS_EVERY_S
        for limit in stated_limits(headers):
            self.limits.learn(limit.kind, limit.per_minute)
            if limit.remaining is not None and limit.remaining < 1:
                self.limits.pause(min(60 / limit.per_minute, limit.reset_s or 1.0, _HEADERS_EVERY_S), now)

    def slow_down(self, seconds: float, now: float) -> None:
        """The server was asked too much: fewer at once, and a pause, which all processes make."""
        self.limits.slow_down(seconds, now)
        if seconds > 0:
            self._coordinator.pause(self.quota, seconds)

    def _fetch_turns(self, queued: int, sizes: Sizes, now: float) -> None:
        if self._fetching_turns:
            return
        if (early := self._no_turns_before - now) > 0:
            # Timers may go off a little early: whoever waits must be woken again.
            self._wake_after(early)
            return
        wishes = self.limits.rate_wishes(sizes(), queued, now)
        if wishes:
            self._fetching_turns = True
            self._coordinator.lease_rates(self.quota, wishes, self._turns_came)

    def _turns_came(self, grants: Sequence[RateGrant]) -> None:
        self._fetching_turns = False
        now = time.monotonic()
        for grant in grants:
            self.limits.leased(grant, now)
        turned_away = [grant.starts_in_s for grant in grants if not grant.amount]
        if turned_away:
            self._no_turns_before = now + max(turned_away)
            self._wake_after(max(turned_away))
        self._wake()

    def _fetch_slots(self, queued: int) -> None:
        if not self._fetching_slots:
            self._fetching_slots = True
            self._coordinator.share_slots(self.limits.slot_wish(self.quota, queued), self._slots_came)

    def _slots_came(self, slots: int) -> None:
        had = self.limits.level
        self.limits.granted(slots)
        if slots > had:
            self._fetching_slots = False
        else:
            self._loop.call_later(_SLOTS_EVERY_S, self._safely, self._may_fetch_slots)
        self._wake()

    def _may_fetch_slots(self) -> None:
        self._fetching_slots = False
        self._wake()

    def _wake_after(self, seconds: float) -> None:
        due = time.monotonic() + seconds
        if self._timer is not None:
            if self._timer_due <= due:
                return
            self._timer.cancel()
        self._timer_due = due
        self._timer = self._loop.call_later(seconds, self._safely, self._wake_now)

    def _wake_now(self) -> None:
        self._timer = None
        self._wake()


def _limits(model: Model, provider: Provider, now: float) -> Limits:
    """Where nothing is stated of a server, and it does not say itself, how much it takes at once is measured."""
    known = provider.capabilities.default_concurrency
    if model.max_concurrency is not None or known is not None:
        return Limits(model, known or 1, None)
    limits = Limits(model, _MOST_AT_ONCE, None)
    return limits if limits.has_rates else Limits(model, _MOST_AT_ONCE, Tuner(_START, _MOST_AT_ONCE, now))
