"""What the store knows already, and the claim on the rest, so that no two processes ask the same.

Look-ups have a thread of their own. A question is claimed after it was looked up in vain, and looked up once more after
the claim unless this process was alone: whoever asked it before has stored the answer before giving up its claim.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from infergraph.calls.asks import Ask
from infergraph.calls.coordinator import Coordinator
from infergraph.calls.question import Batch, Question
from infergraph.errors import StoreError
from infergraph.models.model import Model, Provider
from infergraph.models.verdict import Verdict
from infergraph.store import Store, StoredAnswer

_RELEASE_S = 0.1

ProviderOf = Callable[[str], Provider]
Known = tuple[Question, StoredAnswer | None, Verdict | None]


class Found(NamedTuple):
    """What a look-up brought."""

    known: list[Known]
    held: frozenset[bytes]
    """Hashes that another process is asking."""
    claimed: bool
    """The others are this process's to ask."""


class LookUps:
    """Used on the event loop only.

    Args:
        store: Where answers are looked up.
        models: The deployment's models by name.
        provider_of: Makes or finds the provider of a model's name; called on the look-up thread.
        coordinator: This process among the others.
        loop: The event loop.
        safely: Runs a step that a timer or a thread starts.
        pays: Whether the deployment has a budget.
    """

    def __init__(
        self,
        store: Store,
        models: Mapping[str, Model],
        provider_of: ProviderOf,
        coordinator: Coordinator,
        loop: asyncio.AbstractEventLoop,
        safely: Callable[..., None],
        *,
        pays: bool,
    ) -> None:
        self._store = store
        self._models = models
        self._provider_of = provider_of
        self._coordinator = coordinator
        self._loop = loop
        self._safely = safely
        self._pays = pays
        self._running = 0
        self._done: list[bytes] = []
        self._releasing: asyncio.TimerHandle | None = None
        # One thread: SQLite gives up the interpreter's lock for every row, and two threads would fight for it.
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="infergraph-look-up")
        """Also what makes claims and gives them up, so that these keep their order."""

    @property
    def are_running(self) -> bool:
        """Whether any look-up has not come back."""
        return self._running > 0

    def start(self, batch: Batch, questions: Sequence[Question], then: Callable[[asyncio.Future[Found]], None]) -> None:
        """Look questions of one batch up; raises ``RuntimeError`` when no thread starts any more."""
        asks = [(question, question.ask) for question in questions]
        done, self._done = self._done, []
        looked_up = self._loop.run_in_executor(self.thread, self._look_up, batch, asks, done)
        self._running += 1
        looked_up.add_done_callback(lambda future: self._safely(self._came_back, future, then))

    def give_up(self, row_hash: bytes) -> None:
        """A claimed question is asked no more: others may."""
        self._done.append(row_hash)
        if self._releasing is None:
            self._releasing = self._loop.call_later(_RELEASE_S, self._safely, self._release)

    def claim_again(self, hashes: Sequence[bytes]) -> None:
        """Others took this process for dead: say anew what is on its way."""
        if hashes:
            self._loop.run_in_executor(self.thread, self._best_effort, self._coordinator.part().claim, hashes)

    def close(self) -> None:
        """Start nothing any more."""
        self.thread.shutdown(wait=False, cancel_futures=True)

    def _came_back(self, future: asyncio.Future[Found], then: Callable[[asyncio.Future[Found]], None]) -> None:
        self._running -= 1
        then(future)

    def _release(self) -> None:
        self._releasing = None
        done, self._done = self._done, []
        if done:
            with contextlib.suppress(RuntimeError):  # closed: everything was given back
                self._loop.run_in_executor(self.thread, self._best_effort, self._coordinator.part().release, done)

    @staticmethod
    def _best_effort(step: Callable[[Sequence[bytes]], object], hashes: Sequence[bytes]) -> None:
        # A store that cannot be written says so where answers are lost by it.
        with contextlib.suppress(StoreError):
            step(hashes)

    # -- on the look-up thread --------------------------------------------------------------------------------

    def _look_up(self, batch: Batch, asks: Sequence[tuple[Question, Ask]], done: Sequence[bytes]) -> Found:
        """The store's endings, judged again; claims, and the provider, where they are needed."""
        found = self._known(batch, asks)
        missing = [known[0].hash for known in found if not batch.policy.is_ended_by(known[1], known[2])]
        if not missing:
            self._coordinator.part().release(done)
            return Found(found, frozenset(), claimed=False)
        self._provider_of(batch.model)
        if batch.policy.retry_model is not None:
            self._provider_of(batch.policy.retry_model)
        claim = self._coordinator.part().claim(missing, done)
        if not claim.alone:
            wanted = set(missing)
            again = {known[0]: known for known in self._known(batch, [each for each in asks if each[1].hash in wanted])}
            found = [again.get(known[0], known) for known in found]
        if batch.budget is not None or self._pays:
            name, operator = self._models[batch.model].name, batch.scope.operator
            batch.usual_output = self._store.mean_output_tokens(name, operator)
        return Found(found, claim.held, claimed=True)

    def _known(self, batch: Batch, asks: Sequence[tuple[Question, Ask]]) -> list[Known]:
        policy = batch.policy
        stored: dict[bytes, StoredAnswer] = {}
        if not policy.refresh or policy.since is not None:
            stored = self._store.answers([ask.hash for _, ask in asks], max_age_s=policy.max_age_s)
        if policy.refresh:
            stored = {key: known for key, known in stored.items() if policy.counts_as_own(known.created_at)}
        found: list[Known] = []
        for question, ask in asks:
            known = stored.get(ask.hash)
            response = None if known is None else known.response
            found.append((question, known, None if response is None else ask.judge(response)))
        return found
