"""Tables whose cells reach over several rows or columns."""

from __future__ import annotations

from typing import Any

MOST_COLUMNS = 1_000
MOST_ROWS = 65_534
"""As browsers read ``colspan`` and ``rowspan``."""


def without_spans(page: str) -> str:
    """The page, in whose tables every cell is one row high and one column wide.

    A cell's content stands in its first row and column, where the cell was; the other places are empty cells. Columns
    in which no cell begins, such as those of a ``colspan=99``, are left out.

    Example:
        >>> "</td><td></td><td>c" in without_spans("<table><tr><td colspan=2>ab<td>c<tr><td>1<td>2<td>3</table>")
        True
    """
    lowered = page.lower()
    if "rowspan" not in lowered and "colspan" not in lowered:
        return page
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(page)
    tables = [table for table in tree.css("table") if table.css_first("[rowspan], [colspan]") is not None]
    if not tables:
        return page
    empty = LexborHTMLParser("<table><tr><td>").css_first("td")
    for table in tables:
        _set_apart(table, empty)
    return str(tree.html)


def groups_of_rows(table: Any) -> list[list[Any]]:
    """The table's rows, group by group (``thead``, ``tbody``, ``tfoot``), those of tables within its cells left out."""
    return [
        [row for row in group.iter() if row.tag == "tr"]
        for group in table.iter()
        if group.tag in ("thead", "tbody", "tfoot")
    ]


def cells_of(row: Any) -> list[Any]:
    """The cells of a row."""
    return [cell for cell in row.iter() if cell.tag in ("td", "th")]


def columns_of(cell: Any) -> int:
    """How many columns wide a cell is, 1 to 1,000."""
    return min(max(_number(cell.attributes.get("colspan")), 1), MOST_COLUMNS)


def rows_of(cell: Any) -> int:
    """How many rows high a cell is; ``rowspan=0`` reaches to the end of its group of rows."""
    return min(_number(cell.attributes.get("rowspan")) or MOST_ROWS, MOST_ROWS)


def _number(text: str | None) -> int:
    """A span as browsers read it: 1 where it is none."""
    digits = (text or "").strip()
    return int(digits[:6]) if digits.isascii() and digits.isdigit() else 1


def _set_apart(table: Any, empty: Any) -> None:
    rows: list[tuple[Any, list[tuple[int, Any]]]] = []
    for group in groups_of_rows(table):
        reaching: list[tuple[int, int, int]] = []
        rows += [(row, _placed(cells_of(row), reaching)) for row in group]
    columns = sorted({column for _, cells in rows for column, _ in cells})
    place = {column: number for number, column in enumerate(columns)}
    for _, cells in rows:
        done = 0
        for column, cell in cells:
            for _ in range(place[column] - done):
                cell.insert_before(empty)
            done = place[column] + 1
            for name in ("rowspan", "colspan"):
                if name in cell.attrs:
                    del cell.attrs[name]


def _placed(cells: list[Any], reaching: list[tuple[int, int, int]]) -> list[tuple[int, Any]]:
    """One row's cells with their columns; ``reaching`` holds the columns of cells from above, and for how many rows."""
    reaching.sort()
    placed: list[tuple[int, Any]] = []
    later = [(first, end, left - 1) for first, end, left in reaching if left > 1]
    column = passed = 0
    for cell in cells:
        while passed < len(reaching) and reaching[passed][0] <= column:
            column = max(column, reaching[passed][1])
            passed += 1
        end = column + columns_of(cell)
        placed.append((column, cell))
        if rows_of(cell) > 1:
            later.append((column, end, rows_of(cell) - 1))
        column = end
    reaching[:] = later
    return placed
