"""Tables by the lines drawn around their cells, as the library pdfplumber finds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from infergraph.text.pdf_edges import Edge
from infergraph.text.pdf_letters import Box

_NEAR = 3.0
"""Points: two lines within that are one."""
_SHORTEST = 3.0
"""Points, of lines that are joined."""
_MOST_CROSSINGS = 5_000
"""A page with more of them is squared paper or a plot; the search takes their number squared (6 s for 10,000)."""
Grid = list[list[Box | None]]
"""The boxes of a table's cells, row by row; ``None``: no cell stands there of its own."""


def grids_of(edges: Sequence[Edge]) -> list[Grid]:
    """The tables that these lines are drawn around.

    Args:
        edges: Of one page.

    Example:
        >>> level = [Edge(0, y, 80, y) for y in (0, 20)]
        >>> upright = [Edge(x, 0, x, 20) for x in (0, 40, 80)]
        >>> grids_of([*level, *upright])
        [[[(0.0, 0.0, 40.0, 20.0), (40.0, 0.0, 80.0, 20.0)]]]
    """
    if len({edge.upright for edge in edges}) < 2:
        return []
    from pdfplumber import table

    joined = [line for line in table.merge_edges(list(map(_line, edges)), *[_NEAR] * 4) if _length(line) >= _SHORTEST]
    upright = sum(line["orientation"] == "v" for line in joined)
    if upright * (len(joined) - upright) > 20 * _MOST_CROSSINGS:
        return []
    crossings = table.edges_to_intersections(joined, _NEAR, _NEAR)
    if len(crossings) > _MOST_CROSSINGS:
        return []
    return [_grid(cells) for cells in table.cells_to_tables(table.intersections_to_cells(crossings))]


def _line(edge: Edge) -> dict[str, Any]:
    return {
        "x0": edge.left, "x1": edge.right, "top": edge.top, "bottom": edge.bottom,
        "width": edge.right - edge.left, "height": edge.bottom - edge.top,
        "orientation": "v" if edge.upright else "h", "object_type": "line",
    }  # fmt: skip


def _length(line: dict[str, Any]) -> float:
    return float(max(line["x1"] - line["x0"], line["bottom"] - line["top"]))


def _grid(cells: Sequence[Box]) -> Grid:
    lefts = sorted({left for left, *_ in cells})
    rows: dict[float, dict[float, Box]] = {}
    for box in sorted(cells, key=lambda box: box[1]):
        rows.setdefault(box[1], {})[box[0]] = box
    return [[row.get(left) for left in lefts] for row in rows.values()]
