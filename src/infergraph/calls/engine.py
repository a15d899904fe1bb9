"""The call engine's face: hand in questions from any thread, wait for their outcomes.

Behind it one event loop runs in one daemon thread per process, so that it works where a loop runs already
(notebooks) and where many threads ask at once. After a fork the child starts a loop of its own.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from infergraph.calls.asks import Ask, Outcome, Policy, Scope
from infergraph.calls.budget import NO_BUDGET, Budget, Spending
from infergraph.calls.cancel import CancelToken
from infergraph.calls.desk import Desk
from infergraph.calls.health import FIRST_BACKOFF_S
from infergraph.calls.ledger import Ledger
from infergraph.calls.question import Batch
from infergraph.errors import ConfigurationError, UnknownModel, did_you_mean
from infergraph.models.model import Model, Provider
from infergraph.models.prices import price_of
from infergraph.models.registry import provider_for
from infergraph.store import Store

_LOG = logging.getLogger(__name__)
_JOIN_S = 15.0


class Engine:
    """Asks models and keeps what they said; also a context manager.

    Args:
        models: The deployment's models by name; fallbacks are names among them.
        store: Where answers are looked up and written; it stays the caller's to close.
        providers: Makes the provider of a model; the default finds installed ones.
        first_backoff_s: Seconds to wait after a first failure, doubled with each further one.
        spending: Budgets of the deployment, which all processes that use the store keep together.

    Raises:
        UnknownModel: A fallback is no model of the deployment.
        ConfigurationError: Fallbacks lead back to where they started.

    Example:
        >>> import tempfile
        >>> from infergraph.models.model import Message, Request
        >>> from infergraph.models.scripted import script
        >>> from infergraph.models.verdict import Accepted
        >>> from infergraph.store import request_hash
        >>> models = {"fast": Model("scripted:parrot")}
        >>> request = Request(messages=(Message("user", "Say hello"),))
        >>> ask = Ask(request_hash(models["fast"], request), request, lambda response: Accepted(response.text))
        >>> folder = tempfile.TemporaryDirectory()
        >>> store = Store.open(f"sqlite:///{folder.name}/state.db")
        >>> with script("parrot", ["hello"]), Engine(models, store) as engine:
        ...     for _ in range(2):
        ...         asked = engine.submit([ask, ask], model="fast", scope=Scope(run_id="1", operator="map"))
        ...         [(outcome.source, outcome.value) for outcome in asked.result()]
        [('call', 'hello'), ('shared', 'hello')]
        [('store', 'hello'), ('store', 'hello')]
        >>> store.close()
        >>> folder.cleanup()
    """

    _lock: threading.Lock
    _background: _Background | None
    _providers: dict[str, Provider]

    def __init__(
        self,
        models: Mapping[str, Model],
        store: Store,
        *,
        providers: Callable[[Model], Provider] = provider_for,
        first_backoff_s: float = FIRST_BACKOFF_S,
        spending: Spending = NO_BUDGET,
    ) -> None:
        self._models = dict(models)
        _check_fallbacks(self._models)
        self._store = store
        self._make = providers
        self._first_backoff_s = first_backoff_s
        self._spending = spending
        self._closed = False
        self._forget()
        _OPEN.add(self)

    def submit(
        self,
        asks: Sequence[Ask],
        *,
        model: str,
        scope: Scope,
        policy: Policy | None = None,
        budget: Budget | None = None,
        cancel: CancelToken | None = None,
        ledger: Ledger | None = None,
        notify: Callable[[str], None] | None = None,
    ) -> Future[list[Outcome]]:
        """Have questions answered; returns at once.

        The future fails with ``ProviderRefused``, ``ProviderDown``, ``ConfigurationError``, ``StoreError`` or
        ``RunCancelled``; what came back until then is stored all the same.

        Args:
            asks: The questions; about a thousand at a time is a good size.
            model: Name of the deployment's model.
            scope: Who asks.
            policy: How to ask; ``None``: the defaults.
            budget: Money that all asks handed this budget share; ``None``: no bound.
            cancel: Stops these asks, together with all others handed the same token.
            ledger: Counts every attempt that is sent for these asks.
            notify: Takes sentences for a person on why nothing comes, on the engine's thread; all asks of a run hand in
                the same one.

        Returns:
            A future of one outcome for each ask, in the order of the asks.

        Raises:
            UnknownModel: No model of that name.
            ConfigurationError: A budget over a model whose price is not known, or the engine is closed.
        """
        self._check(model, budget)
        if policy is not None and policy.retry_model is not None:
            self._check(policy.retry_model, budget)
        future: Future[list[Outcome]] = Future()
        future.set_running_or_notify_cancel()
        if not asks:
            future.set_result([])
            return future
        batch = Batch(
            asks=asks,
            model=model,
            scope=scope,
            policy=policy or Policy(),
            budget=budget,
            cancel=cancel,
            ledger=ledger,
            notify=notify,
            future=future,
            outcomes=[None] * len(asks),
            left=len(asks),
        )
        running = self._running()
        desk = running.desk
        if cancel is not None:
            batch.forget_cancel = cancel.on_cancel(lambda: _post(running.loop, desk.stop, batch))
        _post(running.loop, desk.safely, desk.begin, batch)
        return future

    def provider(self, model: str) -> Provider:
        """The provider of one of the deployment's models, made at the first call; connects to nothing.

        Raises:
            UnknownModel: No model of that name, or its provider is not installed.
            ConfigurationError: A key or package is missing.
        """
        if model not in self._models:
            raise UnknownModel(f"There is no model {model!r}. {did_you_mean(model, self._models)}")
        with self._lock:
            found = self._providers.get(model)
        if found is not None:
            return found
        made = self._make(self._models[model])
        with self._lock:
            return self._providers.setdefault(model, made)

    def at_once(self, model: str) -> int:
        """How many requests it takes to keep a model busy now; it grows with what is found out about the model.

        Raises:
            UnknownModel: No model of that name.
        """
        known = self.provider(model).capabilities
        stated = self._models[model].max_concurrency or known.default_concurrency
        if stated is not None:
            return stated
        with self._lock:
            running = self._background
        in_flight = 0 if running is None else running.desk.in_flight(model)
        return max(known.usual_concurrency, 2 * in_flight)

    def close(self) -> None:
        """Stop what is running, give back connections, commit what came back; a closed engine stays closed."""
        with self._lock:
            self._closed = True
            running, self._background = self._background, None
        if running is not None:
            _post(running.loop, _close_and_stop, running)
            if running.thread is not threading.current_thread():
                running.thread.join(_JOIN_S)
        self._store.writer.flush()
        if running is not None:
            running.desk.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self, model: str, budget: Budget | None) -> None:
        if model not in self._models:
            raise UnknownModel(f"There is no model {model!r}. {did_you_mean(model, self._models)}")
        name: str | None = model
        while (budget is not None or self._spending.is_bound) and name is not None:
            if price_of(self._models[name]) is None:
                raise ConfigurationError(
                    f"Model {name!r} ({self._models[name].name}) has no known price, so a budget cannot be kept. "
                    "State it: Model(..., price=Price(input=, output=)), in USD per million tokens."
                )
            name = self._models[name].fallback

    def _ready_provider(self, model: str) -> Provider:
        provider = self.provider(model)
        provider.check_configuration()
        return provider

    def _running(self) -> _Background:
        with self._lock:
            if self._closed:
                raise ConfigurationError("This engine is closed. Open a new Session to go on.")
            if self._background is None:
                loop = _new_loop()
                desk = Desk(
                    self._models, self._store, self._ready_provider, self._first_backoff_s, loop, self._spending
                )
                thread = threading.Thread(target=_work, args=(loop,), name="infergraph-calls", daemon=True)
                self._background = _Background(loop, desk, thread)
                thread.start()
            return self._background

    def _forget(self) -> None:
        """Start from nothing: at first, and in a child after a fork."""
        self._lock = threading.Lock()
        self._background = None
        self._providers = {}


@dataclass(frozen=True, slots=True)
class _Background:
    loop: asyncio.AbstractEventLoop
    desk: Desk
    thread: threading.Thread


def _check_fallbacks(models: Mapping[str, Model]) -> None:
    for start in models:
        chain = [start]
        while (name := models[chain[-1]].fallback) is not None:
            if name not in models:
                raise UnknownModel(
                    f"Model {chain[-1]!r} has fallback={name!r}, which is no model. {did_you_mean(name, models)}"
                )
            chain.append(name)
            if name in chain[:-1]:
                raise ConfigurationError(
                    f"Fallbacks go in a circle: {' -> '.join(chain)}. Leave fallback= out of one of these models."
                )


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # an optional accelerator, and not there on Windows
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _work(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _post(loop: asyncio.AbstractEventLoop, step: Callable[..., object], *arguments: object) -> None:
    try:
        loop.call_soon_threadsafe(step, *arguments)
    except RuntimeError:
        _LOG.debug("The call engine's loop has ended; %s came too late.", step)


def _close_and_stop(running: _Background) -> None:
    closing = running.loop.create_task(running.desk.close())
    closing.add_done_callback(lambda _: running.loop.stop())


_OPEN: weakref.WeakSet[Engine] = weakref.WeakSet()


def _close_all() -> None:
    for engine in list(_OPEN):
        engine.close()


# A child after a fork must not even free the loop of its parent, which is running there.
_LEFT_TO_THE_PARENT: list[object] = []


def _forget_all() -> None:
    for engine in list(_OPEN):
        _LEFT_TO_THE_PARENT.append((engine._background, engine._providers))
        engine._forget()


# Registered after the store's own, so it runs before: what comes back last can still be committed.
atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
