"""The deployment's money in this process: set aside from the budgets of the day and the month, which all share."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from functools import partial

from infergraph.calls.budget import Grant
from infergraph.calls.coordinator import Coordinator
from infergraph.errors import InfergraphError
from infergraph.store import Store
from infergraph.store.leases import MoneyGrant

_USED_UP_FOR_S = 5.0
_AHEAD = 64


class Purse:
    """Money for requests, leased from the deployment's budgets; used on the event loop only.

    Args:
        per_day: Budget of a day (UTC) in nano-dollars; ``None``: none.
        per_month: Budget of a calendar month (UTC) in nano-dollars; ``None``: none.
        coordinator: Leases it.
        store: Writes down what is spent.
        loop: The event loop.
    """

    def __init__(
        self,
        per_day: int | None,
        per_month: int | None,
        coordinator: Coordinator,
        store: Store,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._per_day = per_day
        self._per_month = per_month
        self._coordinator = coordinator
        self._store = store
        self._loop = loop
        self._free = 0
        self._reserved = 0
        self._asking = False
        self._used_up_until = 0.0
        self._needed = 0
        self._spent = 0
        self._settling = False
        self._waiting: list[Callable[[], object]] = []

    def reserve(self, nano_usd: int) -> Grant:
        """Set money aside for one request: as ``Budget.reserve``."""
        if nano_usd <= self._free:
            self._free -= nano_usd
            self._reserved += nano_usd
            return "granted"
        if time.monotonic() < self._used_up_until and nano_usd >= self._needed:
            return "used_up"
        self._ask(nano_usd)
        return "wait"

    def settle(self, reserved_nano_usd: int, spent_nano_usd: int) -> None:
        """Give back what was reserved; what was spent leaves the lease once the store has written it down."""
        self._free += reserved_nano_usd - spent_nano_usd
        self._reserved -= reserved_nano_usd
        self._spent += spent_nano_usd
        if not self._settling and self._spent:
            self._settling = True
            self._coordinator.at_next_beat(self._settle_committed)
        self._wake()

    def when_changed(self, step: Callable[[], object]) -> None:
        """Run a step when money came, or is known not to come."""
        self._waiting.append(step)

    def lost(self) -> None:
        """What was set aside is gone; what is reserved is in flight all the same, and its end is settled."""
        self._free = -self._reserved
        self._spent = 0
        self._asking = self._settling = False
        self._wake()

    def _ask(self, need: int) -> None:
        if self._asking:
            return
        self._asking = True
        # What was spent beyond its reservation is to be covered as well.
        missing = need - self._free
        answer = partial(self._answered, need)
        self._coordinator.lease_money(missing, missing + _AHEAD * need, self._per_day, self._per_month, answer)

    def _answered(self, need: int, grant: MoneyGrant) -> None:
        self._asking = False
        self._free += grant.amount
        if not grant.amount and grant.can_come:
            # Others wait for the same: whoever has less than it needs gives that back.
            spare, self._free = max(0, self._free), min(0, self._free)
            self._coordinator.settle_money(spare)
            self._coordinator.at_next_beat(self._wake)
            return
        if not grant.amount and (self._reserved or self._spent or self._settling):
            # What is in flight may turn out cheaper, what is settled is free again: both wake everybody.
            if self._spent and not self._settling:
                self._settling = True
                self._settle_committed()
            return
        if not grant.amount:
            self._used_up_until, self._needed = time.monotonic() + _USED_UP_FOR_S, need
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for step in waiting:
            step()

    def _settle_committed(self) -> None:
        """What was spent until now is on its way into the store: take it out of the lease when it is there."""
        spent, self._spent = self._spent, 0

        def committed(_: InfergraphError | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended: all is given back
                self._loop.call_soon_threadsafe(self._settled, spent)

        self._store.writer.put(None, None, committed)
        if self._waiting:
            self._store.writer.hurry()

    def _settled(self, spent: int) -> None:
        self._settling = False
        self._coordinator.settle_money(spent)
        self.settle(0, 0)
