"""Packing: every unit once, in order, whole where it fits, in requests that are not too long."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infergraph.operators.packing import LEAST_TOKENS, NoRoom, Part, Piece, Unit, blocks_of, pack, whole
from infergraph.text.encodings import count_many

Count = Callable[[Sequence[str]], list[int]]


def quarters(texts: Sequence[str]) -> list[int]:
    return [math.ceil(len(text) / 4) for text in texts]


def claude(texts: Sequence[str]) -> list[int]:
    return count_many("claude-opus-4-6", texts)[0]


def units(texts: Sequence[str]) -> list[Unit]:
    return [Unit(tag="row", text=text, number=number) for number, text in enumerate(texts, 1)]


def texts_of(parts: Sequence[Part]) -> dict[int, str]:
    """What stands in the parts, by unit."""
    said: dict[int, str] = {}
    for part in parts:
        for piece in part:
            number = piece.unit.number or 0
            said[number] = said.get(number, "") + piece.text
    return said


def order_of(parts: Sequence[Part]) -> list[tuple[int, int]]:
    return [(piece.unit.number or 0, piece.number) for part in parts for piece in part]


REPEATED = st.tuples(st.text(st.sampled_from("ab .\n<>/row"), max_size=9), st.integers(0, 60))
ROWS = st.lists(REPEATED.map(lambda one: one[0] * one[1]), min_size=1, max_size=30)


def more_than_its_parts(texts: Sequence[str]) -> list[int]:
    """As some tokenizers do, a little."""
    return [math.ceil(len(text) ** 1.05 / 4) for text in texts]


@pytest.mark.parametrize("count", [quarters, claude, more_than_its_parts])
@settings(deadline=None)
@given(rows=ROWS, room=st.integers(40, 200))
def test_every_row_is_there_once_in_order_and_no_part_is_too_long(count: Count, rows: list[str], room: int) -> None:
    parts = pack(units(rows), room, count)
    assert texts_of(parts) == dict(enumerate(rows, 1))
    assert order_of(parts) == sorted(set(order_of(parts)))
    assert all(parts)
    assert max(count([blocks_of(part) for part in parts])) <= room
    for piece in (piece for part in parts for piece in part):
        fits = 1.2 * count([whole([piece.unit])[0].block])[0] < room - 2
        assert (piece.of == 1) or not fits


def test_what_fits_is_one_part() -> None:
    rows = units(["a", "b", "c"])
    assert pack(rows, 40, quarters) == [whole(rows)]
    assert blocks_of(whole(rows)) == "<row>\na\n</row>\n<row>\nb\n</row>\n<row>\nc\n</row>"


def test_a_row_that_is_too_long_says_which_piece_of_which_row_it_is() -> None:
    parts = pack(units(["short", "One sentence is here. " * 20]), 60, quarters)
    blocks = [piece.block for part in parts for piece in part]
    assert blocks[0] == "<row>\nshort\n</row>"
    assert [block.splitlines()[0] for block in blocks[1:]] == [
        f'<row number="2" piece="{place} of {len(blocks) - 1}">' for place in range(1, len(blocks))
    ]


def test_the_end_of_a_cut_word_is_not_taken_for_a_tag() -> None:
    (unit,) = units(["<rowing over </rowan"])
    assert "<rowing over </rowan" in Piece(unit=unit, text=unit.text).block
    assert "<rowing over &lt;/row\n" in Piece(unit=unit, text="<rowing over </row", number=1, of=2).block


@given(st.lists(st.integers(1, 60), min_size=2, max_size=40))
def test_the_last_part_is_not_tiny(sizes: list[int]) -> None:
    parts = pack(units(["x" * size for size in sizes]), 40, quarters)
    if len(parts) > 1:
        *_, before, last = (quarters([blocks_of(part)])[0] for part in parts)
        longest = max(quarters([piece.block])[0] for piece in parts[-2]) + 1
        assert last + longest + 1 >= before


def test_rows_that_come_to_the_end_leave_all_but_the_last_two_parts_as_they_were() -> None:
    rows = [f"Row {number} says something." for number in range(60)]
    before, after = pack(units(rows[:50]), 80, quarters), pack(units(rows), 80, quarters)
    assert len(before) > 4
    assert after[: len(before) - 2] == before[:-2]


@pytest.mark.parametrize("room", [-5, 0, LEAST_TOKENS - 1])
def test_no_room_is_said(room: int) -> None:
    with pytest.raises(NoRoom):
        pack(units(["word " * 200]), room, quarters)


def test_no_row_is_counted_twice_where_a_part_turns_out_too_long() -> None:
    """Of a group of hundreds of thousands of rows that is most of the work."""
    rows, counted = units([f"row number {n}" for n in range(200)]), list[str]()

    def count(texts: Sequence[str]) -> list[int]:
        counted.extend(text for text in texts if text.count("<row>") == 1)
        return more_than_its_parts(texts)

    assert len(pack(rows, 120, count)) > 10
    assert sorted(counted) == sorted(set(counted)) == sorted(piece.block for piece in whole(rows))
