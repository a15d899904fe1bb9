from __future__ import annotations

import io
from dataclasses import replace
from decimal import Decimal

import pytest
from rich.console import Console

from infergraph.cli.progress import BarBoard, LineBoard, SilentBoard, board_for, line_of, time_left
from infergraph.frame.run import Progress

HALF = Progress(
    operator="extract",
    rows=50,
    rows_total=100,
    calls=40,
    store_hits=10,
    rejected=2,
    pending=0,
    cost_usd=Decimal("0.012"),
    seconds=10.0,
)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def lines(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def plain_console() -> Console:
    return Console(file=io.StringIO(), width=200, markup=False, highlight=False)


def test_a_line_says_rows_rate_cost_and_time_left() -> None:
    assert line_of(HALF) == ("50 of 100 rows, 5.0 rows/s, 40 calls, 10 from the store, 2 rejected, $0.012, 10 s left")


def test_what_is_unknown_is_said_or_left_out() -> None:
    unknown = replace(HALF, rows_total=None, cost_usd=None, store_hits=0, rejected=0, calls=1)
    assert line_of(unknown) == "50 rows, 5.0 rows/s, 1 call, cost unknown"
    assert time_left(unknown) is None
    assert time_left(replace(HALF, rows=0)) is None


def test_lines_are_rare_and_the_last_state_is_never_lost() -> None:
    console, clock = plain_console(), Clock()
    board = LineBoard(console, clock)
    for second in range(25):
        clock.now = float(second)
        board.progress("facts", replace(HALF, rows=second))
    board.close()
    written = lines(console)
    assert len(written) == 3, "at 10 s, at 20 s, and at the end"
    assert written[-1].startswith("facts extract: 24 of 100 rows")


def test_a_note_comes_after_the_state_that_led_to_it() -> None:
    console = plain_console()
    board = LineBoard(console, Clock())
    board.progress("facts", HALF)
    board.note("facts: done")
    board.close()
    assert [line.split(":")[0] for line in lines(console)] == ["facts extract", "facts"]


def test_bars_on_a_terminal() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=160, highlight=False)
    board = board_for(console)
    assert isinstance(board, BarBoard)
    board.progress("facts", HALF)
    board.progress("facts", replace(HALF, rows=100))
    board.progress("topics", replace(HALF, operator="classify", rows_total=None))
    board.note("a note with [brackets]")
    board.close()
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "facts extract" in text
    assert "100 of 100 rows" in text
    assert "topics classify" in text
    assert "[brackets]" in text


@pytest.mark.parametrize(("silent", "kind"), [(False, LineBoard), (True, SilentBoard)])
def test_no_bars_where_nothing_may_move(silent: bool, kind: type) -> None:
    assert isinstance(board_for(plain_console(), silent=silent), kind)
