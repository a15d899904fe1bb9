"""This process among the others: leases shares of quotas, keeps its beat, hears of pauses.

It lives on the engine's event loop and talks to the store from a thread of its own, so that a store that is slow
for a moment does not hold up the loop. While nothing is asked it has left, and nothing is written.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from infergraph.errors import InfergraphError
from infergraph.store import Store
from infergraph.store.coordination import BEAT_S, SILENT_S, Beat, Coordination
from infergraph.store.leases import MoneyGrant, RateGrant, RateWish, SlotWish

if TYPE_CHECKING:
    from infergraph.calls.lane import Lane

T = TypeVar("T")


class Coordinator:
    """One an event loop, used on it only, but for ``part``.

    Args:
        store: Whose processes share quotas.
        loop: The event loop.
        lanes: The lanes that are there now.
        is_busy: Whether anything is being asked.
        buried: Called when others took this process for dead: what it had claimed is to be claimed again.
        lost: Called when leases are gone: because of that, by leaving, or because the store failed.
        safely: Runs a step; a bug in it must leave nobody waiting.
        failed: Told when the store cannot be used.
    """

    def __init__(
        self,
        store: Store,
        loop: asyncio.AbstractEventLoop,
        *,
        lanes: Callable[[], Iterable[Lane]],
        is_busy: Callable[[], bool],
        buried: Callable[[], None],
        lost: Callable[[], None],
        safely: Callable[..., None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._store = store
        self._loop = loop
        self._lanes = lanes
        self._is_busy = is_busy
        self._buried = buried
        self._lost = lost
        self._safely = safely
        self._failed = failed
        self._leaving = False
        self._put_off: list[Callable[[], None]] = []
        """What is to be done when this process has left, and joins again."""
        self._heard_at = 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="infergraph-quotas")
        self._part: Coordination | None = None
        self._making = threading.Lock()
        self._beating = self._closed = False
        self._at_beat: list[Callable[[], None]] = []

    def part(self) -> Coordination:
        """This process's part, made at the first call; from any thread."""
        with self._making:
            if self._part is None:
                self._part = self._store.coordination()
            return self._part

    def wake(self, leaving: Executor) -> None:
        """Something is being asked: keep the beat until nothing is.

        Args:
            leaving: Runs the last step, which gives back everything; claims are made in order with it.
        """
        if not self._beating and not self._closed:
            self._beating = True
            self._heard_at = time.monotonic()
            self._loop.call_later(BEAT_S, self._safely, self._beat, leaving)

    @property
    def is_heard(self) -> bool:
        """Whether the others know that this process lives; if not, what it holds may be somebody else's by now."""
        return time.monotonic() - self._heard_at < SILENT_S

    def lease_rates(self, quota: str, wishes: Sequence[RateWish], then: Callable[[list[RateGrant]], None]) -> None:
        """Take turns of rates."""
        self._do(lambda part: part.lease_rates(quota, wishes), then)

    def share_slots(self, wish: SlotWish, then: Callable[[int], None]) -> None:
        """Ask for a part of the slots."""
        self._do(lambda part: part.share_slots(wish), then)

    def pause(self, quota: str, seconds: float) -> None:
        """Let every process send nothing for so long."""
        self._do(lambda part: part.pause(quota, seconds), _nothing)

    def lease_money(
        self, need: int, wanted: int, per_day: int | None, per_month: int | None, then: Callable[[MoneyGrant], None]
    ) -> None:
        """Set money of the deployment's budgets aside."""
        self._do(lambda part: part.lease_money(need, wanted, per_day=per_day, per_month=per_month), then)

    def settle_money(self, amount: int) -> None:
        """Give money back that was spent and is written down as spent."""
        self._do(lambda part: part.settle_money(amount), _nothing)

    def at_next_beat(self, step: Callable[[], None]) -> None:
        """Run a step after the next beat: others may have given something back."""
        self._at_beat.append(step)

    def close(self) -> None:
        """Do nothing more."""
        self._closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)

    def leave(self) -> None:
        """Give back everything, after ``close`` and when what was spent is written down; from any thread."""
        with self._making:
            part, self._part = self._part, None
        if part is not None:
            self._leave(part)

    def _beat(self, leaving: Executor) -> None:
        if not self._is_busy():
            self._beating = False
            with self._making:
                part = self._part
            if part is not None and not self._closed:
                self._start_leaving(leaving, part)
            return
        lanes = list(self._lanes())
        slots = [wish for lane in lanes if (wish := lane.slot_wish()) is not None]
        quotas = [lane.quota for lane in lanes]
        self._do(lambda part: part.beat(slots, quotas), lambda beat: self._beaten(beat, leaving), self._stop_beating)

    def _stop_beating(self) -> None:
        self._beating = False

    def _start_leaving(self, leaving: Executor, part: Coordination) -> None:
        """Nothing is used without a lease: what is needed meanwhile is fetched after this process has left."""
        self._leaving = True
        self._lost()
        try:
            left = self._loop.run_in_executor(leaving, self._leave, part)
        except RuntimeError:
            # The interpreter is ending and takes no more work; the others see that this process is gone.
            return
        left.add_done_callback(lambda _: self._safely(self._has_left))

    def _has_left(self) -> None:
        self._leaving = False
        put_off, self._put_off = self._put_off, []
        for step in put_off:
            step()

    def _beaten(self, beat: Beat, leaving: Executor) -> None:
        self._heard_at = time.monotonic()
        if beat.was_buried:
            self._lost()
            self._buried()
        for lane in self._lanes():
            lane.heard(beat)
        self._run_at_beat()
        self._loop.call_later(BEAT_S, self._safely, self._beat, leaving)

    def _run_at_beat(self) -> None:
        steps, self._at_beat = self._at_beat, []
        for step in steps:
            step()

    def _leave(self, part: Coordination) -> None:
        # What was spent must be written down before the money that was set aside for it is free.
        try:
            self._store.writer.flush()
            part.leave()
        except InfergraphError:
            # Then the others will find out by themselves, as they do when a process is killed.
            return

    def _do(
        self, step: Callable[[Coordination], T], then: Callable[[T], None], failed: Callable[[], None] | None = None
    ) -> None:
        if self._leaving:
            self._put_off.append(lambda: self._do(step, then, failed))
            return
        try:
            done = self._loop.run_in_executor(self._thread, lambda: step(self.part()))
        except RuntimeError:  # closed, or the interpreter is ending: nobody waits any more
            return
        done.add_done_callback(lambda future: self._safely(self._did, future, then, failed))

    def _did(self, future: asyncio.Future[T], then: Callable[[T], None], failed: Callable[[], None] | None) -> None:
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            then(future.result())
            return
        if failed is not None:
            failed()
        # Whoever waits for something from the store begins anew with the next question.
        self._lost()
        self._run_at_beat()
        self._failed(error)


def _nothing(_: None) -> None:
    return
