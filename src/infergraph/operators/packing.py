"""Rows of a group, parts of a document, answers of a level: packed in order into requests that fit.

Nothing is cut off and nothing left out: what is longer than a request is split at good places, and each piece says
which piece of what it is. Parts are filled one after the other, so that rows that come to the end of a group change its
last two parts only: the answers to the others are still good. Those two share their rows evenly, so that none is tiny.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from infergraph.text.delimiters import tag_pattern
from infergraph.text.splitting import Count, split_text

LEAST_TOKENS = 16
"""With less room for content, nothing is asked: a word and its delimiters would hardly fit."""
_JOINT = "\n"


class NoRoom(ValueError):
    """There is less room than ``LEAST_TOKENS`` beside a unit's delimiters."""


class Unit(NamedTuple):
    """What should stay in one piece; there may be hundreds of thousands, which tuples are made for."""

    tag: str
    """Name of its block."""
    text: str
    """Its tags escaped."""
    number: int | None = None
    """Which row it is, from 1, as a piece of it says; ``None``: there is only one."""


class Piece(NamedTuple):
    """A unit, or a part of one that is too long."""

    unit: Unit
    text: str
    number: int = 1
    """Which piece of the unit, from 1."""
    of: int = 1
    """How many pieces the unit has."""

    @property
    def block(self) -> str:
        """The delimited block that the model is shown."""
        unit = self.unit
        if self.of == 1:
            return f"<{unit.tag}>\n{self.text}\n</{unit.tag}>"
        which = "" if unit.number is None else f' number="{unit.number}"'
        # Where a word was cut, its end may look like a tag that the whole word was not.
        text = re.sub(f"(?i)<({tag_pattern([unit.tag])})", r"&lt;\1", self.text)
        return f'<{unit.tag}{which} piece="{self.number} of {self.of}">\n{text}\n</{unit.tag}>'


Part = tuple[Piece, ...]


def blocks_of(part: Part) -> str:
    """The blocks of a part as one text."""
    return _JOINT.join([piece.block for piece in part])


def whole(units: Sequence[Unit]) -> Part:
    """All units in one part."""
    return tuple([Piece(unit, unit.text) for unit in units])


def pack(units: Sequence[Unit], tokens: int, count: Count) -> list[Part]:
    """The units in parts whose blocks have at most so many tokens together.

    Args:
        units: In order, at least one.
        tokens: Tokens of a part's blocks.
        count: Tokens of each text.

    Returns:
        The parts in order; their pieces' texts, joined, are the units' texts in order.

    Raises:
        NoRoom: Not even a word would fit.

    Example:
        >>> rows = [Unit(tag="row", text=text, number=n) for n, text in enumerate(["one two", "three", "four"], 1)]
        >>> parts = pack(rows, 40, lambda texts: [len(text) for text in texts])
        >>> [[piece.text for piece in part] for part in parts]
        [['one two'], ['three', 'four']]
    """
    room, pieces = tokens, whole(units)
    sizes = count([piece.block for piece in pieces])
    while True:
        parts = _packed(pieces, sizes, room, count)
        longest = max(count([blocks_of(part) for part in parts]))
        if longest <= tokens:
            return parts
        # Some tokenizers count a little more for a text than for its parts.
        room -= longest - tokens


def _packed(pieces: Part, sizes: Sequence[int], room: int, count: Count) -> list[Part]:
    if room < LEAST_TOKENS:
        raise NoRoom(f"{room} tokens")
    sized: list[tuple[Piece, int]] = []
    for piece, size in zip(pieces, sizes, strict=True):
        if size < room:
            sized.append((piece, size + 1))
        else:
            sized += _split(piece.unit, room, count)
    return _balanced(_filled(sized, room))


def _split(unit: Unit, room: int, count: Count) -> list[tuple[Piece, int]]:
    around = count([Piece(unit=unit, text="", number=9999, of=9999).block])[0] + 1
    try:
        texts = split_text(unit.text, _left(room - around), count)
    except ValueError as error:
        raise NoRoom(str(error)) from error
    pieces = [
        Piece(unit=unit, text=text, number=place, of=len(texts)) for place, text in enumerate(texts, 1)
    ]  # fmt: skip
    return [(piece, size + 1) for piece, size in zip(pieces, count([piece.block for piece in pieces]), strict=True)]


def _left(tokens: int) -> int:
    if tokens < 1:
        raise ValueError("The delimiters alone fill a request.")
    return tokens


def _filled(sized: Sequence[tuple[Piece, int]], room: int) -> list[list[tuple[Piece, int]]]:
    parts: list[list[tuple[Piece, int]]] = []
    left = 0
    for piece, size in sized:
        if not parts or size > left:
            parts.append([])
            left = room
        parts[-1].append((piece, size))
        left -= size
    return parts


def _balanced(parts: list[list[tuple[Piece, int]]]) -> list[Part]:
    """The same parts; the last two share what they have as evenly as may be."""
    *others, last = parts
    if others:
        both = [*others[-1], *last]
        total, first = sum(size for _, size in both), 0
        best, at = total, len(others[-1])
        for place, (_, size) in enumerate(both[:-1], 1):
            first += size
            # At even places the first part is the fuller one, as all before it are.
            if place <= len(others[-1]) and max(first, total - first) <= best:
                best, at = max(first, total - first), place
        others[-1], last = both[:at], both[at:]
    return [tuple(piece for piece, _ in part) for part in [*others, last]]
