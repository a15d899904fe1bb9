"""Tables that a PDF says itself: by the tags of its structure, or by lines drawn around their cells.

Both are read by the library pdfplumber. Many programs write tags (word processors, browsers); lines are drawn by all.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ctypes import create_string_buffer
from io import BytesIO
from typing import Any

from infergraph.text.pdf_letters import Box

_LOG = logging.getLogger(__name__)
_MOST_OBJECTS = 20_000
"""A page with more of them is a map or a plot; looking for tables among its lines would take a minute."""
_FEWEST_POINTS = 8
"""The corners of a frame, and the ends of two lines that cross in it."""
Grid = list[list[Box | None]]
"""The boxes of a table's cells, row by row; ``None``: no cell stands there of its own."""


def may_have_marked_tables(page: Any) -> bool:
    """Whether it is worth while to have pdfplumber read a page, which takes it ten times as long as PDFium.

    Args:
        page: A page of pypdfium2.
    """
    from pypdfium2 import raw

    count = raw.FPDFPage_CountObjects(page)
    if count > _MOST_OBJECTS:
        return False
    points = 0
    for at in range(count):
        thing = raw.FPDFPage_GetObject(page, at)
        kind = raw.FPDFPageObj_GetType(thing)
        if kind == raw.FPDF_PAGEOBJ_FORM:
            return True  # what it holds is not looked at
        if kind == raw.FPDF_PAGEOBJ_PATH:
            points += raw.FPDFPath_CountSegments(thing)
    return points >= _FEWEST_POINTS or _has_tagged_table(page)


def _has_tagged_table(page: Any) -> bool:
    from pypdfium2 import raw

    tree = raw.FPDF_StructTree_GetForPage(page)
    if not tree:
        return False
    name = create_string_buffer(64)
    try:
        todo = [raw.FPDF_StructTree_GetChildAtIndex(tree, at) for at in range(raw.FPDF_StructTree_CountChildren(tree))]
        while todo:
            element = todo.pop()
            if not element:
                continue  # a mark, not an element
            raw.FPDF_StructElement_GetType(element, name, len(name))
            if name.raw.startswith("Table\0".encode("utf-16-le")):
                return True
            children = range(raw.FPDF_StructElement_CountChildren(element))
            todo.extend(raw.FPDF_StructElement_GetChildAtIndex(element, at) for at in children)
        return False
    finally:
        raw.FPDF_StructTree_Close(tree)


@contextmanager
def plumbed(content: bytes) -> Iterator[Any]:
    """The document as pdfplumber opens it, or ``None`` where it cannot.

    Args:
        content: The file's bytes.
    """
    import pdfplumber

    reader_log = logging.getLogger("pdfminer")
    if reader_log.level == logging.NOTSET:
        reader_log.setLevel(logging.ERROR)  # it warns of each font and colour that it does not know
    try:
        document = pdfplumber.open(BytesIO(content))
    except (
        Exception
    ) as error:  # pdfminer raises whatever its reader meets in a broken file, which PDFium had no trouble with
        _LOG.warning("Tables of a PDF are only found by their columns: pdfplumber cannot open it (%s).", error)
        yield None
        return
    with document:
        yield document


def grids_of(document: Any, number: int) -> list[Grid]:
    """The tables of a page that are tagged or ruled; tagged ones first.

    Args:
        document: As ``plumbed`` gives it.
        number: The page's, from 1.
    """
    try:
        page = document.pages[number - 1]
        try:
            return [*_tagged(document, page), *_ruled(page)]
        finally:
            page.close()
    except Exception as error:  # as above: a page that one of two readers cannot read is no reason to lose its text
        _LOG.warning("Page %d: tables are only found by their columns (%s: %s).", number, type(error).__name__, error)
        return []


def _ruled(page: Any) -> list[Grid]:
    # Places are measured from the page's own corner, wherever its box begins.
    x, y = page.bbox[:2]
    return [
        [[cell and (cell[0] - x, cell[1] - y, cell[2] - x, cell[3] - y) for cell in row.cells] for row in table.rows]
        for table in page.find_tables()
    ]


def _tagged(document: Any, page: Any) -> list[Grid]:
    from pdfplumber.structure import PDFStructTree, StructTreeMissing

    try:
        tree = PDFStructTree(document, page)
    except StructTreeMissing:
        return []
    # A table around other tables is there for the layout.
    tables = [table for table in tree.find_all("Table") if not any(True for _ in table.find_all("Table"))]
    if not tables:
        return []
    boxes = _boxes_of_marks(page)
    grids = []
    for table in tables:
        rows = [[_around(boxes, cell) for cell in row.children] for row in table.find_all("TR")]
        grids.append(in_columns([[box for box in row if box is not None] for row in rows]))
    return grids


def _boxes_of_marks(page: Any) -> dict[int, list[Box]]:
    boxes: dict[int, list[Box]] = {}
    x, y = page.bbox[:2]
    for char in page.chars:
        if char.get("mcid") is not None and not char["text"].isspace():
            boxes.setdefault(char["mcid"], []).append(
                (char["x0"] - x, char["top"] - y, char["x1"] - x, char["bottom"] - y)
            )
    return boxes


def _around(boxes: dict[int, list[Box]], cell: Any) -> Box | None:
    return union([box for _, mark in cell.all_mcids() for box in boxes.get(mark, ())])


def union(boxes: Sequence[Box]) -> Box | None:
    """The box around all of these; ``None`` where there is none."""
    if not boxes:
        return None
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def in_columns(rows: Sequence[Sequence[Box]]) -> Grid:
    """Rows of cells with gaps where a row has no cell: programs leave the tags of empty cells out.

    A column is what the cells of the fullest rows stand in; a cell goes to the column that it is nearest to, behind the
    one of the cell before it.

    Args:
        rows: The boxes of the cells that have text, each row from left to right.

    Example:
        >>> in_columns([[(0, 0, 9, 9), (20, 0, 29, 9)], [(22, 10, 29, 19)]])
        [[(0, 0, 9, 9), (20, 0, 29, 9)], [None, (22, 10, 29, 19)]]
    """
    most = max(map(len, rows), default=0)
    full = [row for row in rows if len(row) == most]
    columns = [union([row[place] for row in full]) for place in range(most)]
    grid: Grid = []
    for row in rows:
        cells: list[Box | None] = [None] * most
        first = 0
        for left_over, box in zip(range(len(row) - 1, -1, -1), row, strict=True):
            # The cells behind this one need their columns too.
            choice = range(first, most - left_over)
            place = min(choice, key=lambda column: _apart(box, columns[column]))
            cells[place] = box
            first = place + 1
        grid.append(cells)
    return grid


def _apart(box: Box, column: Box | None) -> float:
    """How far a box is from a column; the more they overlap, the more it is below 0."""
    assert column is not None
    return max(box[0], column[0]) - min(box[2], column[2])
