"""Lines drawn on a PDF page: upright and level ones, which is what tables are ruled with.

They are read by PDFium, as the characters are: it opens more files than other readers, never follows a form into
itself, and gives places that agree with those of the characters.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from infergraph.text.pdf_letters import Turn, point, turn_of

_MOST_OBJECTS = 20_000
_MOST_POINTS = 40_000
"""A page with more of either is a map or a plot."""
_DEEPEST = 5
"""Forms inside of forms."""
_LEVEL = 0.1
"""Points: matrices turn what is level into what is nearly so."""


@dataclass(frozen=True, slots=True)
class Edge:
    """A line that is upright (its left is its right) or level (its top is its bottom)."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def upright(self) -> bool:
        """Whether it goes from top to bottom."""
        return self.bottom - self.top > self.right - self.left


class _TooMany(Exception):
    """The page is a map or a plot."""


class _Budget:
    """What may still be looked at on a page."""

    def __init__(self) -> None:
        self.objects, self.points = _MOST_OBJECTS, _MOST_POINTS

    def take(self, *, objects: int = 0, points: int = 0) -> None:
        """Count these.

        Raises:
            _TooMany: There are more than may be.
        """
        self.objects -= objects
        self.points -= points
        if self.objects < 0 or self.points < 0:
            raise _TooMany


def edges_of(page: Any, layer: Any) -> list[Edge]:
    """The upright and level lines of a page, and the sides of its rectangles; none of a map or a plot.

    Args:
        page: A page of pypdfium2.
        layer: Its text page, which tells how the page is read.
    """
    from pypdfium2 import raw

    def inside(parent: Any, count: int, get: Any, turn: Turn, deep: int) -> Iterator[Edge]:
        budget.take(objects=count)
        for at in range(count):
            thing = get(parent, at)
            kind = raw.FPDFPageObj_GetType(thing)
            if kind == raw.FPDF_PAGEOBJ_PATH:
                yield from _of_path(thing, _inner(turn, thing), budget)
            elif kind == raw.FPDF_PAGEOBJ_FORM and deep < _DEEPEST:
                held = raw.FPDFFormObj_CountObjects(thing)
                yield from inside(thing, held, raw.FPDFFormObj_GetObject, _inner(turn, thing), deep + 1)

    budget = _Budget()
    try:
        return list(inside(page, raw.FPDFPage_CountObjects(page), raw.FPDFPage_GetObject, turn_of(page, layer), 0))
    except _TooMany:
        return []


def _inner(turn: Turn, thing: Any) -> Turn:
    """From the coordinates inside of a thing to those of who looks at the page."""
    from pypdfium2 import raw

    matrix = raw.FS_MATRIX()
    if not raw.FPDFPageObj_GetMatrix(thing, matrix):
        return turn
    a, b, c, d, e, f = turn
    return (
        a * matrix.a + c * matrix.b, b * matrix.a + d * matrix.b, a * matrix.c + c * matrix.d,
        b * matrix.c + d * matrix.d, a * matrix.e + c * matrix.f + e, b * matrix.e + d * matrix.f + f,
    )  # fmt: skip


def _of_path(path: Any, turn: Turn, budget: _Budget) -> Iterator[Edge]:
    from pypdfium2 import raw

    fill, stroke = ctypes.c_int(), ctypes.c_int()
    raw.FPDFPath_GetDrawMode(path, fill, stroke)
    if not (fill.value or stroke.value):
        return  # it only bounds what else is drawn
    count = raw.FPDFPath_CountSegments(path)
    budget.take(points=count)
    x, y = ctypes.c_float(), ctypes.c_float()
    first = last = (0.0, 0.0)
    for at in range(count):
        segment = raw.FPDFPath_GetPathSegment(path, at)
        raw.FPDFPathSegment_GetPoint(segment, x, y)
        here = point(turn, x.value, y.value)
        kind = raw.FPDFPathSegment_GetType(segment)
        if kind == raw.FPDF_SEGMENT_MOVETO:
            first = here
        elif kind == raw.FPDF_SEGMENT_LINETO:
            yield from _edge(last, here)
        if raw.FPDFPathSegment_GetClose(segment):
            yield from _edge(here, first)
        last = here


def _edge(one: tuple[float, float], other: tuple[float, float]) -> Iterator[Edge]:
    (x0, x1), (y0, y1) = sorted((one[0], other[0])), sorted((one[1], other[1]))
    if x1 - x0 <= _LEVEL < y1 - y0:
        yield Edge(x0, y0, x0, y1)
    elif y1 - y0 <= _LEVEL < x1 - x0:
        yield Edge(x0, y0, x1, y0)
