"""The morsels of one operator that were asked and not handed on yet, in order.

Few wait at once as long as answers come evenly: who wants only a few rows pays for few. When a slow row at the head
leaves the model idle, more are asked behind it; when they fill the window, those that are done are finished and put
on disk, and the asking goes on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import takewhile
from typing import Any, Protocol

import polars as pl

from infergraph.frame import plan as plans
from infergraph.frame.doubt_marks import GATHERED
from infergraph.frame.spill import Spill, Spilled

MORSEL_ROWS = 512
WINDOW_BYTES = 256 * 1024 * 1024
WINDOW_ROWS = 8_192
WAIT_S = 0.25
# These take in all their rows before they give the first, whoever comes after them.
_READ_ALL = frozenset({"sort", "group_by.agg", "tail", "slice", "search", "dedup", "cluster", GATHERED})
_DONE = (Spilled, pl.DataFrame)


class Asked(Protocol):
    """Rows whose questions were asked: a ``Morsel`` or a ``RoundsMorsel``."""

    future: Future[Any]

    @property
    def size(self) -> int:
        """Bytes that they take in memory while they wait."""
        ...


Finish = Callable[[Any], pl.DataFrame | None]
"""Makes a morsel's rows from its answers, waiting for them; ``None``: the run is over and nobody needs them."""


class Window:
    """How many morsels may wait for answers at once.

    Args:
        at_once: Says how many requests the model takes at once, as far as that is known by now.
        n_rows: Rows that are wanted, where that is known: then one morsel at a time.
        few: A later step may want only the first rows: then no more wait than keep the model busy.
    """

    def __init__(self, at_once: Callable[[], int], n_rows: int | None = None, *, few: bool = False) -> None:
        self._at_once = at_once
        self.usual = max(1, min(MORSEL_ROWS, -(-at_once() // 2), MORSEL_ROWS if n_rows is None else n_rows))
        """Rows of a morsel."""
        self.rows = self.usual
        """Rows of the next morsel."""
        self._single = n_rows is not None
        self.fixed = few or self._single
        self._wider = 0
        """Morsels beyond those that keep the model busy."""

    @property
    def busy(self) -> int:
        """Morsels that keep the model busy."""
        # The morsel that is handed on waits for its commit; where all rows are wanted, two stand in for it.
        return -(-self._at_once() // self.rows) + (1 if self.fixed else 2)

    @property
    def most(self) -> int:
        """Morsels that may wait."""
        return 1 if self._single else self.busy + self._wider

    def full(self, morsels: int, size: int) -> bool:
        """Whether so many morsels of so many bytes are all that may wait."""
        return morsels >= self.most or size > WINDOW_BYTES

    def handed_on(self) -> None:
        """A morsel was handed on."""

    def widen(self) -> bool:
        """Let twice as many morsels wait; false when they are as many as may be."""
        most = self.most
        wider = min(2 * most, WINDOW_ROWS // self.rows) - most
        self._wider += max(0, wider)
        return wider > 0


class Line:
    """Morsels in order: asked at one end, handed on at the other.

    Args:
        window: How many may be in memory.
        finish: Makes a morsel's rows.
        spill: Takes finished rows that are too many for memory.
        stopped: Whether the run is over.
    """

    def __init__(self, window: Window, finish: Finish, spill: Spill, stopped: Callable[[], bool]) -> None:
        self._window = window
        self._finish = finish
        self._spill = spill
        self._stopped = stopped
        self._waiting: deque[Asked | Spilled | pl.DataFrame] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, morsel: Asked) -> None:
        """A morsel that was just asked goes to the end."""
        self._waiting.append(morsel)

    def must_hand_on(self) -> bool:
        """Whether the first morsel is to be handed on before the next is asked; waits while there is no room."""
        while self._waiting and not self._stopped():
            if _ready(self._waiting[0]):
                return True
            if not self._full():
                return False
            still_open = [one.future for one in self._waiting if not isinstance(one, _DONE) and not one.future.done()]
            if self._in_full_swing() >= self._window.busy or not self._make_room():
                wait(still_open, timeout=WAIT_S, return_when=FIRST_COMPLETED)
        return bool(self._waiting)

    def hand_on(self) -> pl.DataFrame | None:
        """The first morsel's rows, waited for; ``None``: the run is over."""
        first = self._waiting.popleft()
        self._window.handed_on()
        if isinstance(first, Spilled):
            return self._spill.take(first)
        return first if isinstance(first, pl.DataFrame) else self._finish(first)

    def _full(self) -> bool:
        held = [one for one in self._waiting if not isinstance(one, Spilled)]
        return self._window.full(len(held), sum(map(_size, held)))

    def _in_full_swing(self) -> int:
        """Morsels that keep the model busy: one that a later one has overtaken waits for single slow rows."""
        return sum(1 for _ in takewhile(lambda one: not _ready(one), reversed(self._waiting)))

    def _make_room(self) -> bool:
        """Widen the window, or put the first morsel that is done on disk; false when neither helps."""
        if self._window.fixed:
            return False
        if self._window.widen() and not self._full():
            return True
        # One at a time: the model works on meanwhile, and does not run dry while many are written.
        for place, one in enumerate(self._waiting):
            if not _ready(one) or isinstance(one, Spilled):
                continue
            rows = one if isinstance(one, pl.DataFrame) else self._finish(one)
            kept = None if rows is None else self._spill.keep(rows)
            if rows is not None:
                self._waiting[place] = rows if kept is None else kept
            return kept is not None
        return False


def asked_for_few(node: plans.Node) -> frozenset[int]:
    """The operators (``id(step)``) of whose rows a later step may want only the first."""
    few: set[int] = set()
    for current in reversed(list(plans.walk(node))):
        if _stops_early(current) or (id(current) in few and not _reads_all(current)):
            few.update(map(id, current.inputs))
    return frozenset(few)


def _stops_early(node: plans.Node) -> bool:
    if not isinstance(node, plans.Step):
        return False
    return node.method == "map_frame" or (node.most_rows is not None and not node.blocks)


def _reads_all(node: plans.Node) -> bool:
    return isinstance(node, plans.Step) and node.blocks and node.method in _READ_ALL


def _ready(one: Asked | Spilled | pl.DataFrame) -> bool:
    return isinstance(one, _DONE) or one.future.done()


def _size(one: Asked | Spilled | pl.DataFrame) -> int:
    if isinstance(one, pl.DataFrame):
        return int(one.estimated_size())
    return 0 if isinstance(one, Spilled) else one.size
