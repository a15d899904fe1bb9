from __future__ import annotations

import io
import json
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from infergraph.cli import figures, screen


def shown(renderable: object, *, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, markup=False)
    console.print(renderable)
    text = console.file.getvalue()  # type: ignore[attr-defined]  # the StringIO of the line above
    assert isinstance(text, str)
    return text


def test_cells_cannot_move_the_cursor_or_speak_markup() -> None:
    hostile = pl.DataFrame({"body": ["\x1b[2J[bold red]gone[/]\r\nsecond line", None], "n": [1, 22]})
    text = shown(screen.frame_table(hostile))
    assert "\x1b" not in text
    assert r"\x1b[2J[bold red]gone[/] second line" in text
    assert "-" in text


def test_a_table_shows_only_so_many_rows() -> None:
    text = shown(screen.frame_table(pl.DataFrame({"n": list(range(100, 200))}), most=3))
    assert "102" in text
    assert "103" not in text


@given(st.text())
def test_printable_is_one_harmless_line(text: str) -> None:
    safe = screen.printable(text, most=20)
    assert safe.isprintable()
    assert len(safe) <= 20


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.decimals() | st.dates() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_anything_becomes_json(value: object) -> None:
    json.loads(screen.as_json(value), parse_constant=pytest.fail)


def test_json_of_frames_and_money() -> None:
    frame = pl.DataFrame({"a": [1, None], "labels": [["x"], []]})
    assert json.loads(screen.as_json({"rows": frame, "cost_usd": Decimal("0.25"), "unknown": None})) == {
        "rows": [{"a": 1, "labels": ["x"]}, {"a": None, "labels": []}],
        "cost_usd": 0.25,
        "unknown": None,
    }


def test_pipes_are_wide_and_plain(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    out = screen.out()
    assert out.width == screen.PIPE_WIDTH
    out.print("plain", style="bold red")
    assert capsys.readouterr().out == "plain\n"


@given(st.decimals(min_value=0, max_value=10**9, allow_nan=False, allow_infinity=False))
def test_money_is_shown_to_two_digits_or_cents(amount: Decimal) -> None:
    text = figures.usd(amount)
    assert text.startswith("$")
    back = Decimal(text[1:].replace(",", ""))
    assert abs(back - amount) <= max(Decimal("0.005"), amount / 20) or amount >= 1
    assert (back == 0) == (amount == 0)
