"""The text layer of PDF pages as Markdown: as it stands, but tables as Markdown tables.

A table's characters are taken out of the text and put into its cells, so that nothing is lost and nothing stands twice,
however wrong a guess about cells may be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from infergraph.text.pdf_columns import Column, heads_above, lines_of, tables_of
from infergraph.text.pdf_edges import Edge, edges_of
from infergraph.text.pdf_letters import Box, Letter, letters_of, segments_of, words_of
from infergraph.text.pdf_pages import Page, cleaned, opened, sheet
from infergraph.text.pdf_ruled import Grid, grids_of
from infergraph.text.pdf_tags import TaggedTable, columns_of, from_left, tagged_tables, union, width_of

_AT_ONCE = 16
"""Pages whose characters are in memory together; other threads get at PDFium in between."""

Cells = list[list[list[int]]]
"""Rows of cells: the places of the characters that are in each."""


def page_markdowns(content: bytes, pages: Sequence[Page]) -> list[str]:
    """The text layer of each of these pages, tables as Markdown tables.

    Args:
        content: The file's bytes.
        pages: The pages, as ``pages_of`` gives them.

    Raises:
        UnreadablePdf: It cannot be opened.
    """
    found: list[str] = []
    for start in range(0, len(pages), _AT_ONCE):
        for read in _read(content, pages[start : start + _AT_ONCE]):
            found.append(markdown_of(read.letters, read.tagged, grids_of(read.edges)) or read.page.text)
    return found


@dataclass(frozen=True, slots=True)
class _Read:
    page: Page
    letters: Sequence[Letter] = ()
    tagged: Sequence[TaggedTable] = ()
    edges: Sequence[Edge] = ()


def _read(content: bytes, pages: Sequence[Page]) -> list[_Read]:
    if not any(page.text.strip() for page in pages):
        return list(map(_Read, pages))
    with opened(content) as document:
        return [_read_page(document, page) for page in pages]


def _read_page(document: Any, page: Page) -> _Read:
    if not page.text.strip():
        return _Read(page)
    with sheet(document, page.number, filled_in=page.filled_in) as (paper, layer):
        tagged = tagged_tables(paper)
        return _Read(page, letters_of(paper, layer, marked=bool(tagged)), tagged, edges_of(paper, layer))


def markdown_of(letters: Sequence[Letter], tagged: Sequence[TaggedTable], grids: Sequence[Grid]) -> str:
    """A page's text with its tables as Markdown; ``""`` where it has none.

    Args:
        letters: The page's characters.
        tagged: The tables that its tags tell of.
        grids: Those that lines are drawn around; one that overlaps an earlier one keeps what that leaves.
    """
    owners: list[int | None] = [None] * len(letters)
    tables: list[Cells] = []

    def take(cells: Cells) -> None:
        for place in (place for row in cells for cell in row for place in cell):
            owners[place] = len(tables)
        tables.append(cells)

    for table in tagged:
        cells = _by_tags(table, letters, owners)
        if _is_marked_table(cells):
            take(_with_repeated_heads(cells, letters, owners))
    for grid in grids:
        cells = _by_line(_filled(grid, letters, owners), letters)
        if _is_marked_table(cells):
            take(cells)
    free = [place for place, owner in enumerate(owners) if owner is None and letters[place].tilt == 0]
    for rows in tables_of(segments_of(letters, free)):
        take([[[place for segment in cell for place in segment.places] for cell in row] for row in rows])
    return _flow(letters, owners, [_markdown(cells, letters) for cells in tables]) if tables else ""


def _by_tags(table: TaggedTable, letters: Sequence[Letter], owners: Sequence[int | None]) -> Cells:
    """The characters in each cell that no other table has, in columns from left to right."""
    marked: dict[int, list[int]] = {}
    for place, letter in enumerate(letters):
        if letter.mark >= 0 and owners[place] is None and letter.visible:
            marked.setdefault(letter.mark, []).append(place)
    # Content that two cells refer to, as they do in broken files, is in the first.
    filled = [[[place for mark in cell.marks for place in marked.pop(mark, ())] for cell in row] for row in table]
    boxes = [[union([letters[place].box for place in cell]) for cell in row] for row in filled]
    step = 1 if from_left(boxes) else -1
    rows = [
        list(zip(boxes_of_row, (cell.columns for cell in row), strict=True))[::step]
        for boxes_of_row, row in zip(boxes, table, strict=True)
    ]
    found: Cells = []
    for cells, places in zip(filled, columns_of(rows), strict=True):
        line: list[list[int]] = [[] for _ in range(max(map(width_of, rows)))]
        for cell, at in zip(cells[::step], places, strict=True):
            line[at] = cell
        found.append(line)
    return found


def _with_repeated_heads(cells: Cells, letters: Sequence[Letter], owners: Sequence[int | None]) -> Cells:
    """With the headings above it that have no tags: of those that each page repeats, only the first ones have some."""
    columns = [union([letters[place].box for row in column for place in row]) for column in zip(*cells, strict=True)]
    top = next(row for row in cells if any(row))
    first = lines_of(segments_of(letters, sorted(place for cell in top for place in cell)))[0]
    free = [
        place
        for place, (letter, owner) in enumerate(zip(letters, owners, strict=True))
        if owner is None and letter.mark < 0 and letter.middle[1] < first[0].top
    ]
    known = [Column(box[0], box[2]) for box in columns if box is not None]
    heads = heads_above(lines_of(segments_of(letters, free)), known, first) if len(known) == len(columns) else []
    return [[[place for segment in cell for place in segment.places] for cell in row] for row in heads] + cells


def _filled(grid: Grid, letters: Sequence[Letter], owners: Sequence[int | None]) -> Cells:
    """The characters in each cell that no other table has."""
    cells: Cells = [[[] for _ in row] for row in grid]
    around = [union([box for box in row if box is not None]) for row in grid]
    for place, letter in enumerate(letters):
        if owners[place] is not None or not letter.visible or letter.tilt < 0:
            continue
        spot = _spot(grid, around, letter)
        if spot is not None:
            cells[spot[0]][spot[1]].append(place)
    return cells


def _spot(grid: Grid, around: Sequence[Box | None], letter: Letter) -> tuple[int, int] | None:
    for number, (row, whole) in enumerate(zip(grid, around, strict=True)):
        if whole is not None and _inside(whole, letter):
            for column, box in enumerate(row):
                if box is not None and _inside(box, letter):
                    return number, column
    return None


def _inside(box: Box, letter: Letter) -> bool:
    x, y = letter.middle
    return box[0] <= x <= box[2] and box[1] <= y <= box[3]


def _is_marked_table(cells: Cells) -> bool:
    """Whether it has text in two rows and two columns, and in a third of its cells; frames and charts have not."""
    rows = [row for row in cells if any(row)]
    columns = [column for column in zip(*rows, strict=True) if any(column)]
    filled = sum(bool(cell) for row in rows for cell in row)
    return len(rows) > 1 and len(columns) > 1 and 3 * filled >= len(rows) * len(columns)


def _by_line(cells: Cells, letters: Sequence[Letter]) -> Cells:
    """Rows that no line parts: where all cells of a row have the same three lines or more, each line is a row."""
    found: Cells = []
    for row in cells:
        if any(letters[place].tilt for cell in row for place in cell):
            found.append(row)  # its letters stand above one another
            continue
        lines = [lines_of(segments_of(letters, cell)) for cell in row]
        counts = {len(one) for one in lines if one}
        if len(counts) == 1 and max(counts) > 2 and sum(map(bool, lines)) > 1:
            places = [[[place for segment in line for place in segment.places] for line in one] for one in lines]
            found.extend([one[at] if one else [] for one in places] for at in range(max(counts)))
        else:
            found.append(row)
    return found


def _markdown(cells: Cells, letters: Sequence[Letter]) -> str:
    rows = [[words_of(letters, sorted(cell)).replace("|", "\\|") for cell in row] for row in cells if any(row)]
    filled = [any(column) for column in zip(*rows, strict=True)]
    head, *body = [[text for text, keep in zip(row, filled, strict=True) if keep] for row in rows]
    return "\n".join(map(_line, [head, ["---"] * len(head), *body]))


def _line(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _flow(letters: Sequence[Letter], owners: Sequence[int | None], tables: Sequence[str]) -> str:
    """The text with each table where its first character stood."""
    pieces: list[str] = []
    placed: set[int] = set()
    for owner, places in groupby(_each_owned(letters, owners), key=lambda item: item[1]):
        if owner is None:
            pieces.append(cleaned("".join(letters[place].char for place, _ in places)).strip())
        elif owner not in placed:
            pieces.append(tables[owner])
            placed.add(owner)
    return "\n\n".join(piece for piece in pieces if piece)


def _each_owned(letters: Sequence[Letter], owners: Sequence[int | None]) -> Iterator[tuple[int, int | None]]:
    """Every place with its table; white space goes with what is in front of it."""
    last = None
    for place, letter in enumerate(letters):
        last = owners[place] if letter.visible else last
        yield place, last
