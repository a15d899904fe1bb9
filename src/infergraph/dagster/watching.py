"""Listeners for the progress of semantic assets that run in this process, and for what keeps them waiting.

Dagster hands an asset's function nothing of whoever started the run, so the command line leaves its
listener in a context variable, and the asset's wrapper looks for it when it starts. In a run that a
daemon or the UI started there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infergraph.frame.run import Progress

Listener = Callable[[str, "Progress"], None]

NoticeListener = Callable[[str, str], None]

_listener: ContextVar[Listener | None] = ContextVar("infergraph_listener", default=None)
_notices: ContextVar[NoticeListener | None] = ContextVar("infergraph_notices", default=None)


@contextmanager
def watch(listener: Listener, notices: NoticeListener | None = None) -> Iterator[None]:
    """Hear of the progress of every semantic asset that runs inside this block, in this process.

    Args:
        listener: Called with the asset's key (parts separated by ``/``) and one step's cumulative
            figures, at most some times a second, from the run's threads.
        notices: Called with the asset's key and a sentence on why nothing comes.
    """
    token, notice_token = _listener.set(listener), _notices.set(notices)
    try:
        yield
    finally:
        _listener.reset(token)
        _notices.reset(notice_token)


def watcher(asset: str) -> Callable[[Progress], None] | None:
    """What to call with the progress of this asset; ``None``: nobody listens.

    Args:
        asset: The asset's key, parts separated by ``/``.

    Example:
        >>> with watch(lambda asset, progress: print(asset, progress)):
        ...     watcher("ticket_facts")("half done")
        ticket_facts half done
        >>> watcher("ticket_facts") is None
        True
    """
    listener = _listener.get()
    if listener is None:
        return None
    heard = listener

    def report(progress: Progress) -> None:
        heard(asset, progress)

    return report


def notice_watcher(asset: str) -> Callable[[str], None] | None:
    """What to call with what keeps this asset waiting; ``None``: nobody listens.

    Args:
        asset: The asset's key, parts separated by ``/``.
    """
    listener = _notices.get()
    return None if listener is None else partial(listener, asset)
