"""A switch that stops a run from any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable


class CancelToken:
    """One per run: ``cancel`` stops everything that was handed this token; it cannot be undone.

    Example:
        >>> token = CancelToken()
        >>> token.cancel()
        >>> token.cancelled
        True
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = False
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._next = 0

    @property
    def cancelled(self) -> bool:
        """Whether ``cancel`` was called."""
        return self._cancelled

    def cancel(self) -> None:
        """Stop: nothing more is sent, what is in flight is given up, what came back is kept."""
        with self._lock:
            self._cancelled = True
            callbacks, self._callbacks = list(self._callbacks.values()), {}
        for callback in callbacks:
            callback()

    def on_cancel(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back when cancelled, on the cancelling thread; at once where it is cancelled already.

        Returns:
            A function that takes the callback away again.
        """
        with self._lock:
            number = self._next = self._next + 1
            if not self._cancelled:
                self._callbacks[number] = callback
                return lambda: self._forget(number)
        callback()
        return lambda: None

    def _forget(self, number: int) -> None:
        with self._lock:
            self._callbacks.pop(number, None)
