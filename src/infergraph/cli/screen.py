"""Where a command writes: tables and sentences for a person on stdout, news and errors on stderr.

On a terminal there is colour; in a pipe or a log there is none, and nothing moves. Cells may hold
anything that a customer or a model wrote, so markup is never read from them and control characters
(which could move the cursor or rewrite the screen) are shown as what they are.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 140
CELL_CHARACTERS = 60

Justify = Literal["left", "right"]


def out() -> Console:
    """The console for what was asked for."""
    return _console(stderr=False)


def err() -> Console:
    """The console for progress, warnings and errors."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False, emoji=False, markup=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    return console


def printable(value: object, most: int | None = CELL_CHARACTERS) -> str:
    """One line of harmless text for a cell.

    Args:
        value: Anything; ``None`` is shown as a dash.
        most: Characters at most, an ellipsis included; ``None``: all of them.

    Returns:
        The text with white space folded and control characters escaped.

    Example:
        >>> printable("line one\\n  line two"), printable("\\x1b[2Jgone"), printable("x" * 9, most=4)
        ('line one line two', '\\\\x1b[2Jgone', 'xxx…')
    """
    if value is None:
        return "-"
    safe = printable_line(" ".join(str(value).split()))
    return safe if most is None or len(safe) <= most else f"{safe[: most - 1]}…"


def printable_line(line: str) -> str:
    """A line with its spaces as they are and its control characters escaped.

    Example:
        >>> printable_line("a  b\\x07")
        'a  b\\\\x07'
    """
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in line)


def table(columns: Mapping[str, Justify], rows: Iterable[Sequence[object]], *, title: str | None = None) -> Table:
    """A table without vertical lines.

    Args:
        columns: Heading to alignment, in order.
        rows: As many values a row as columns; each is made printable.
        title: A line above it.

    Returns:
        What ``Console.print`` takes.
    """
    made = Table(
        box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False, padding=(0, 1, 0, 0)
    )
    for heading, justify in columns.items():
        made.add_column(heading, justify=justify, overflow="fold")
    for row in rows:
        made.add_row(*(Text(printable(value)) for value in row))
    return made


def frame_table(frame: pl.DataFrame, *, most: int = 20, title: str | None = None) -> Table:
    """The first rows of a frame as a table; numbers stand right.

    Args:
        frame: Any frame.
        most: Rows at most.
        title: A line above it.

    Returns:
        What ``Console.print`` takes.
    """
    columns: dict[str, Justify] = {
        name: "right" if dtype.is_numeric() else "left" for name, dtype in frame.schema.items()
    }
    return table(columns, frame.head(most).iter_rows(), title=title)


def as_json(value: object) -> str:
    """JSON for programs: money as numbers, paths and times as text, unknown as null.

    Example:
        >>> as_json({"cost_usd": Decimal("0.5"), "rows": 2, "speed": float("nan")})
        '{"cost_usd": 0.5, "rows": 2, "speed": null}'
    """
    return json.dumps(_plain(value), ensure_ascii=False)


def _plain(value: object) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case Decimal():
            return _plain(float(value)) if value.is_finite() else None
        case float():
            return value if math.isfinite(value) else None
        case pl.DataFrame():
            return [_plain(row) for row in value.iter_rows(named=True)]
        case pl.Series():
            return _plain(value.to_list())
        case Mapping():
            return {str(name): _plain(inner) for name, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(inner) for inner in value]
        case Path():
            return str(value)
        case bytes():
            return value.hex()
        case _:
            return str(value)
