"""Tables that a PDF tags as such: word processors and browsers mark which characters belong to which cell.

The tree of tags is read by PDFium. It is walked with a note of where one has been: in broken files, it goes in circles.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from infergraph.text.pdf_letters import Box

_MOST_ELEMENTS = 50_000


@dataclass(slots=True)
class Element:
    """An element of the tree of tags; one without type is not on this page, such as an empty cell."""

    kind: str = ""
    columns: int = 1
    """How many a cell goes over."""
    marks: list[int] = field(default_factory=list)
    """Of the content that is its own."""
    children: list[Element] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class TaggedCell:
    """A cell of a tagged table."""

    marks: frozenset[int]
    """Of all content in it; none where it is empty."""
    columns: int = 1
    """How many it goes over."""


TaggedTable = list[list[TaggedCell]]
"""Rows of cells, in the order of the tags."""


def tagged_tables(page: Any) -> list[TaggedTable]:
    """The tables that a page's tags tell of.

    A table around other tables is there for the layout, and none.

    Args:
        page: A page of pypdfium2.
    """
    from pypdfium2 import raw

    tree = raw.FPDF_StructTree_GetForPage(page)
    if not tree:
        return []
    try:
        root = _tree_of(tree)
    finally:
        raw.FPDF_StructTree_Close(tree)
    return [
        [[_cell(child) for child in row.children] for row in _all(table, "TR")]
        for table in _all(root, "Table")
        if not any(_all(table, "Table"))
    ]


def _tree_of(tree: Any) -> Element:
    from pypdfium2 import raw

    root = Element()
    tops = [raw.FPDF_StructTree_GetChildAtIndex(tree, at) for at in range(raw.FPDF_StructTree_CountChildren(tree))]
    todo = [(top, root) for top in reversed(tops)]
    seen: set[int] = set()
    while todo and len(seen) < _MOST_ELEMENTS:
        handle, parent = todo.pop()
        if not handle:
            parent.children.append(Element())
        elif (address := ctypes.addressof(handle.contents)) not in seen:
            seen.add(address)
            element = Element(_type_of(handle), _columns_of(handle))
            parent.children.append(element)
            todo.extend((child, element) for child in reversed(_children_of(handle, element.marks)))
    return root


def _children_of(handle: Any, marks: list[int]) -> list[Any]:
    """The elements in an element (null where one is not on this page); the marks of its own content go to ``marks``."""
    from pypdfium2 import raw

    children = []
    for at in range(raw.FPDF_StructElement_CountChildren(handle)):
        mark = raw.FPDF_StructElement_GetChildMarkedContentID(handle, at)
        if mark >= 0:
            marks.append(mark)
        else:
            children.append(raw.FPDF_StructElement_GetChildAtIndex(handle, at))
    return children


def _type_of(handle: Any) -> str:
    from pypdfium2 import raw

    name = ctypes.create_string_buffer(64)
    size = raw.FPDF_StructElement_GetType(handle, name, len(name))
    return name.raw[: max(0, min(size, len(name)) - 2)].decode("utf-16-le", "ignore")


def _columns_of(handle: Any) -> int:
    from pypdfium2 import raw

    number = ctypes.c_float()
    for at in range(raw.FPDF_StructElement_GetAttributeCount(handle)):
        said = raw.FPDF_StructElement_GetAttributeAtIndex(handle, at)
        value = raw.FPDF_StructElement_Attr_GetValue(said, b"ColSpan") if said else None
        if value and raw.FPDF_StructElement_Attr_GetNumberValue(value, number):
            return min(max(1, int(number.value)), 1_000)
    return 1


def _all(element: Element, kind: str) -> Iterator[Element]:
    """The elements of a kind below this one, in order."""
    todo = [*reversed(element.children)]
    while todo:
        one = todo.pop()
        if one.kind == kind:
            yield one
        todo.extend(reversed(one.children))


def _cell(element: Element) -> TaggedCell:
    below, todo = [*element.marks], [*element.children]
    while todo:
        one = todo.pop()
        below.extend(one.marks)
        todo.extend(one.children)
    return TaggedCell(frozenset(below), element.columns)


def columns_of(rows: Sequence[Sequence[tuple[Box | None, int]]]) -> list[list[int]]:
    """Which column each cell begins in: programs leave the tags of empty cells out.

    Of a row with as many cells as any has, that is their order. In the others, a cell goes to the column that it is
    nearest to, behind the one of the cell before it.

    Args:
        rows: The boxes of cells (``None`` for an empty one) and over how many columns they go, from left to right.

    Example:
        >>> columns_of([[((0, 0, 9, 9), 1), ((20, 0, 29, 9), 1)], [((22, 10, 29, 19), 1)]])
        [[0, 1], [1]]
    """
    most = max((width_of(row) for row in rows), default=0)
    around = _boxes_of_columns([row for row in rows if width_of(row) == most], most)
    found = []
    for row in rows:
        places: list[int] = []
        first, behind = 0, width_of(row)
        for box, columns in row:
            # The cells behind this one need their columns too.
            choice = range(first, most - behind + 1)
            places.append(first if box is None else min(choice, key=lambda at: _apart(box, around[at])))
            first, behind = places[-1] + columns, behind - columns
        found.append(places)
    return found


def width_of(row: Sequence[tuple[Box | None, int]]) -> int:
    """Over how many columns the cells of a row go."""
    return sum(columns for _, columns in row)


def _boxes_of_columns(rows: Sequence[Sequence[tuple[Box | None, int]]], most: int) -> list[Box | None]:
    boxes: list[list[Box]] = [[] for _ in range(most)]
    for row in rows:
        at = 0
        for box, columns in row:
            if box is not None and columns == 1:
                boxes[at].append(box)
            at += columns
    return [union(one) for one in boxes]


def _apart(box: Box, column: Box | None) -> float:
    """How far a box is from a column; the more they overlap, the more it is below 0."""
    return float("inf") if column is None else max(box[0], column[0]) - min(box[2], column[2])


def union(boxes: Sequence[Box]) -> Box | None:
    """The box around all of these; ``None`` where there is none."""
    if not boxes:
        return None
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def from_left(rows: Sequence[Sequence[Box | None]]) -> bool:
    """Whether cells go from left to right, as they do not in Arabic and Hebrew."""
    pairs = [pair for row in rows for pair in pairwise(box for box in row if box is not None)]
    return 2 * sum(left[0] <= right[0] for left, right in pairs) >= len(pairs)
