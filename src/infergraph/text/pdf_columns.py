"""Tables that nothing marks as such: lines whose parts stand below one another in columns.

Prose in two columns, lists and accidental gaps look much alike, so that a table must show: enough rows, columns whose
texts begin, end or are centred at the same place, and cells that the text layer has row by row.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from infergraph.text.pdf_letters import Segment

Line = list[Segment]
"""Segments side by side, from left to right."""
Row = list[list[Segment]]
"""Cells from left to right, each with the segments in it, in the order of the text layer."""
_MARK = re.compile(r"[•▪◦‣·∙*\-\u2013\u2014]|\(?\w{1,3}[.)]|\[\w{1,4}\]|\w+(\.\d+)+\.?")
"""What an item of a list, or the heading of a section, begins with."""
_BULLET = re.compile(r"([•▪◦‣·∙]|[*\-\u2013\u2014] )\s*[^\W\d]")
_LEADERS = re.compile(r"(\. ?){4}")
_NUMBER = re.compile(r"[\d.,%€$£+\-\u2013()\s]*\d[\d.,%€$£+\-\u2013()\s]*")
_BACK_UP = 5
"""Lines: cells of a table have no more, columns of an article have."""
_MOST_HEADS = 3
_MOST_COLUMNS = 60
_TOUCH = 0.01
"""Points."""
_LONG = 40
"""Characters: of texts that are usually longer, a table has one column at most."""
_PARAGRAPH = 120
"""Characters: texts beside which something stands that are usually longer are prose."""


@dataclass(slots=True)
class Column:
    """What a column takes of the page's width."""

    left: float
    right: float
    lines: frozenset[int] = frozenset()
    """Where it has a text; two columns that never have one on the same line are perhaps one, with a centred heading."""


def tables_of(segments: Sequence[Segment]) -> list[list[Row]]:
    """The tables that these segments form.

    They are looked for on the whole page, and then in what is read in one go, such as a column of an article.

    Args:
        segments: Of one page, in the order of the text layer; none of a table that is known already.
    """
    found = _tables_among(segments)
    taken = {segment.places[0] for rows in found for row in rows for cell in row for segment in cell}
    blocks = _blocks([segment for segment in segments if segment.places[0] not in taken])
    return found + [rows for block in blocks if len(blocks) > 1 for rows in _tables_among(block)]


def _blocks(segments: Sequence[Segment]) -> list[list[Segment]]:
    """What is read in one go: up to where the text layer goes back up the page."""
    blocks: list[list[Segment]] = []
    for segment in segments:
        if not blocks or segment.top < blocks[-1][-1].top - _BACK_UP * segment.height:
            blocks.append([])
        blocks[-1].append(segment)
    return blocks


def _tables_among(segments: Sequence[Segment]) -> list[list[Row]]:
    lines = lines_of(segments)
    order = {segment.places[0]: place for place, segment in enumerate(segments)}
    found = []
    start = free = 0
    while start < len(lines):
        made = _table_at(lines, start, order)
        if made is None:
            start += 1
        else:
            rows, columns, end = made
            found.append(heads_above(lines[free:start], columns, lines[start]) + rows)
            start = free = end
    return found


def _table_at(
    lines: Sequence[Line], start: int, order: Mapping[int, int]
) -> tuple[list[Row], list[Column], int] | None:
    for lone in (True, False):
        columns, end = _region(lines, start, lone=lone)
        if end - start < 2:
            continue
        rows = _rows(lines[start:end], columns, order)
        if is_table(rows):
            return rows, columns, end
        body = _without_totals(rows)
        if len(body) < len(rows) and is_table(body):
            below = min(segment.top for row in rows[len(body) :] for cell in row for segment in cell)
            return body, columns, next(at for at in range(start, end) if lines[at][0].bottom > below)
    return None


def _without_totals(rows: list[Row]) -> list[Row]:
    """Without the last rows that have no first cell: totals often stand below a table in columns of their own."""
    return rows[: next((at for at in range(len(rows), 0, -1) if rows[at - 1][0]), 0)]


def heads_above(above: Sequence[Line], columns: Sequence[Column], first: Line) -> list[Row]:
    """Lines directly above a table whose parts stand over one column or more each, the lowest last.

    Args:
        above: The lines above it, the lowest last.
        columns: The table's.
        first: The first line of its first row.
    """
    found: list[Row] = []
    rows: list[Row] = []
    below = first
    for line in reversed(above[-_MOST_HEADS:]):
        spots = [_over(columns, segment) for segment in line]
        if not _near(line, below) or None in spots or len(set(spots)) < len(spots):
            break
        rows.insert(
            0,
            [
                [segment for segment, at in zip(line, spots, strict=True) if at == place]
                for place in range(len(columns))
            ],
        )
        below = line
        if len(line) > 1:
            found = rows[:]
    return found


def _over(columns: Sequence[Column], segment: Segment) -> int | None:
    """The first column that a text is over; ``None`` for one that stands out at a side, or is over all."""
    hit = [at for at, column in enumerate(columns) if segment.left < column.right and column.left < segment.right]
    out = segment.left < columns[0].left - segment.height or segment.right > columns[-1].right + segment.height
    return None if out or not hit or len(hit) == len(columns) else hit[0]


def lines_of(segments: Sequence[Segment]) -> list[Line]:
    """Segments as lines from top to bottom, each from left to right."""
    lines: list[Line] = []
    for segment in sorted(segments, key=lambda segment: segment.middle):
        if lines and abs(lines[-1][0].middle - segment.middle) < 0.4 * min(lines[-1][0].height, segment.height):
            lines[-1].append(segment)
        else:
            lines.append([segment])
    return [sorted(line, key=lambda segment: segment.left) for line in lines]


def _region(lines: Sequence[Line], start: int, *, lone: bool) -> tuple[list[Column], int]:
    """The columns of a first line, and the line behind the last that goes on in them.

    Args:
        lines: Of the page.
        start: Which is the first.
        lone: Whether a text that is alone on its line may be the first of a column, as that of a section is where the
            heading above it is centred.
    """
    columns = [Column(segment.left, segment.right, frozenset([start])) for segment in lines[start]]
    if len(columns) > _MOST_COLUMNS or (len(columns) == 1 and not _overlap(lines, start + 1)):
        return columns, start + 1
    known, end = columns, start + 1
    for at in range(start + 1, len(lines)):
        in_row = _overlap(lines, at) or _overlap(lines, at + 1)
        near = len(lines[at]) <= _MOST_COLUMNS and _near(lines[at - 1], lines[at])
        wider = _widened(columns, lines, at, lone=lone, in_row=in_row) if near else None
        if wider is None:
            break
        columns = wider
        # A text in the first column alone may be that of a row; or, where no row follows, of what is below the table.
        if len(lines[at]) > 1 or _place(columns, lines[at][0]) > 0:
            known, end = columns, at + 1
    return _with_headings(known, start), end


def _overlap(lines: Sequence[Line], at: int) -> bool:
    """Whether a line and the one above it are of the same row: cells of two lines stand half a line above others."""
    if not 0 < at < len(lines):
        return False
    above, below = lines[at - 1], lines[at]
    return max(one.bottom for one in above) - min(one.top for one in below) > 0.3 * below[0].height


def _near(above: Line, below: Line) -> bool:
    height = max(segment.height for segment in above)
    return min(segment.top for segment in below) - max(segment.bottom for segment in above) < 1.5 * height


def _widened(
    columns: Sequence[Column], lines: Sequence[Line], at: int, *, lone: bool, in_row: bool
) -> list[Column] | None:
    """The columns with a line's parts in them; ``None`` where they do not fit."""
    made = list(columns)
    for segment in lines[at]:
        hit = [column for column in made if segment.left < column.right and column.left < segment.right]
        if not hit and len(lines[at]) == 1 and not (lone and segment.left < made[0].left) and not in_row:
            return None
        mine = Column(segment.left, segment.right, frozenset([at]))
        merged = _merged([*hit, mine])
        if merged is None:
            return None
        made = [column for column in made if column not in hit] + [merged]
    made.sort(key=lambda column: column.left)
    apart = all(a.right <= b.left for a, b in pairwise(made))
    return made if apart and len(made) > 1 else None


def _merged(columns: Sequence[Column]) -> Column | None:
    """These as one column; ``None`` where two of them have a text on the same line."""
    lines = frozenset[int]().union(*(column.lines for column in columns))
    if len(lines) < sum(len(column.lines) for column in columns):
        return None
    return Column(min(column.left for column in columns), max(column.right for column in columns), lines)


def _with_headings(columns: Sequence[Column], start: int) -> list[Column]:
    """Columns of a heading alone, as where it is centred over short texts, become one with that below them."""
    made: list[Column] = []
    for column in columns:
        pair = [*made[-1:], column]
        merged = _merged(pair) if any(one.lines == {start} for one in pair) else None
        made[-1:] = [*made[-1:], column] if merged is None else [merged]
    return made


def _place(columns: Sequence[Column], segment: Segment) -> int:
    """The column that a text stands in: the first that it is least apart from, were it as wide as nothing."""
    apart = [max(segment.left - column.right, column.left - segment.right, -_TOUCH) for column in columns]
    return apart.index(min(apart))


def _rows(lines: Sequence[Line], columns: Sequence[Column], order: Mapping[int, int]) -> list[Row]:
    """The rows of these lines, as the text layer has them: one begins where a cell stands further left than the last.

    So a cell of several lines is one, wherever the others of its row stand beside it.
    """
    segments = sorted((segment for line in lines for segment in line), key=lambda segment: order[segment.places[0]])
    rows: list[Row] = []
    last = len(columns)
    for at, segment in enumerate(segments):
        place = _place(columns, segment)
        if not rows or place < last or (place == last and not _goes_on(rows[-1], place, segments, at)):
            rows.append([[] for _ in columns])
        rows[-1][place].append(segment)
        last = place
    return rows


def _goes_on(row: Row, place: int, segments: Sequence[Segment], at: int) -> bool:
    """Whether a text below another of its column is the next line of the same cell."""
    above, below = row[place][-1], segments[at]
    height = below.height
    if not -height / 2 < below.top - above.bottom < height / 2 or _NUMBER.fullmatch(below.text):
        return False
    edges = (above.left - below.left, above.right - below.right, _centre(above) - _centre(below))
    if not any(abs(edge) < 0.2 * height for edge in edges):
        return False
    if place > 0:
        return any(row[:place])
    # The first cell has two lines when the next one is not below them but beside.
    return at + 1 < len(segments) and segments[at + 1].middle < below.middle - 0.4 * height


def is_table(rows: Sequence[Row]) -> bool:
    """Whether rows of cells are a table and no prose, list or accident.

    Args:
        rows: Rows of as many cells each, at least one.
    """
    width = len(rows[0]) if rows else 0
    if width < 2 or len(rows) < (3 if width == 2 else 2):
        return False
    columns = list(zip(*rows, strict=True))
    texts = [[" ".join(segment.text for segment in cell) for cell in column if cell] for column in columns]
    if 2 * sum(map(len, texts)) < width * len(rows) or not all(texts):
        return False
    if 3 * sum(not any(row[1:]) for row in rows) > len(rows):
        return False
    if sum(median(map(len, column)) > _LONG for column in texts) > 1 or any(map(_is_contents, texts)):
        return False
    if all(map(_BULLET.match, texts[0])):
        return False
    if width == 2 and (_is_list(*texts) or _are_pages(texts[1]) or _are_equations(texts[1]) or _is_prose(texts[1])):
        return False
    if not _follow(rows) or (_is_typed(rows) and (width < 3 or len(rows) < 3 or not all(rows[0]))):
        return False
    return all(map(_straight, columns))


def _is_typed(rows: Sequence[Row]) -> bool:
    """Whether all letters are as wide as each other: a program's source, which has gaps wherever it is put in order."""
    segments = [segment for row in rows for cell in row for segment in cell]
    if len({char for segment in segments for char in segment.text if char.isalpha()}) < 5:
        return False  # figures are that in most fonts
    return max(one.widest for one in segments) < 1.05 * min(one.narrowest for one in segments)


def _follow(rows: Sequence[Row]) -> bool:
    """Whether each row is below the one before it: of prose in columns the text layer has a whole column first."""
    segments = [[segment for cell in row for segment in cell] for row in rows]
    return all(
        max(one.bottom for one in above) - min(one.top for one in below) < 0.4 * below[0].height
        for above, below in pairwise(segments)
    )


def _is_contents(texts: Sequence[str]) -> bool:
    """Whether a column is of a table of contents, with dots that lead to the numbers of pages."""
    return 2 * sum(bool(_LEADERS.search(text)) for text in texts) > len(texts)


def _are_pages(texts: Sequence[str]) -> bool:
    """Whether a column has the numbers of pages that a table of contents refers to: they ascend, without a heading."""
    if len(texts) < 3 or not all(map(str.isdecimal, texts)):
        return False
    numbers = list(map(int, texts))
    return numbers == sorted(numbers) and numbers[0] < numbers[-1]


def _are_equations(texts: Sequence[str]) -> bool:
    """Whether a column numbers equations: (3), (4), (5)."""
    found = [re.fullmatch(r"\((?:\d+\.)*(\d+)\)", text) for text in texts]
    numbers = [int(one[1]) for one in found if one is not None]
    return len(numbers) == len(texts) and all(b == a + 1 for a, b in pairwise(numbers))


def _is_prose(texts: Sequence[str]) -> bool:
    """Whether a column has paragraphs, beside which notes, names or years stand."""
    return median(map(len, texts)) > _PARAGRAPH


def _is_list(marks: Sequence[str], items: Sequence[str]) -> bool:
    return all(map(_MARK.fullmatch, marks)) and not all(map(_NUMBER.fullmatch, items))


def _straight(column: Sequence[Sequence[Segment]]) -> bool:
    """Whether a column's texts begin, end or have their middle at the same place; the heading may differ."""
    segments = [segment for cell in (column[1:] if len(column) > 2 else column) for segment in cell]
    if not segments:
        return False
    step = 0.3 * median(segment.height for segment in segments)
    edges = (
        [segment.left for segment in segments],
        [segment.right for segment in segments],
        [_centre(segment) for segment in segments],
    )
    return any(_agree(values, step) >= 0.7 * len(segments) for values in edges)


def _centre(segment: Segment) -> float:
    return (segment.left + segment.right) / 2


def _agree(values: Sequence[float], step: float) -> int:
    """How many of these are within a step of the one that most are near to."""
    ordered = sorted(values)
    return max(bisect_right(ordered, value + step) - bisect_left(ordered, value - step) for value in ordered)
