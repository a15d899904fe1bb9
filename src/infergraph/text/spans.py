"""Where a text may be cut, and how pieces of it are put into chunks of a size.

Everything here is about offsets: a span is (start, end) in characters of the source, so that a chunk is always the very
text between its offsets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from infergraph.text.encodings import pieces_of

Span = tuple[int, int]
_WORD = re.compile(r"\S+\s*|^\s+")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text that is not cut, with its length in the unit that chunks are measured in."""

    start: int
    end: int
    length: int


def words(text: str) -> list[Piece]:
    """Words with the white space behind them (and that in front of the first one, which counts nothing).

    Example:
        >>> words(" two words")
        [Piece(start=0, end=1, length=0), Piece(start=1, end=5, length=1), Piece(start=5, end=10, length=1)]
    """
    return [Piece(*found.span(), int(not found.group().isspace())) for found in _WORD.finditer(text)]


def tokens(text: str, model: str, longest: int) -> list[Piece]:
    """What the tokenizer takes apart by itself before it looks for tokens, mostly words; longer ones cut in pieces.

    Args:
        text: Any text.
        model: A model id or the name of an encoding.
        longest: Most tokens of a piece, 1 or more; a single character of more tokens stays whole.
    """
    pieces: list[Piece] = []
    place = 0
    for part, length in pieces_of(model, text):
        end = place + len(part)
        if length <= longest or len(part) == 1:
            pieces.append(Piece(place, end, length))
        else:
            pieces += _cut(part, place, model, longest)
        place = end
    return pieces


def chunks_of(pieces: Sequence[Piece], size: int, overlap: int) -> Iterator[Span]:
    """Spans of whole pieces, each as long as fits, together covering all pieces.

    Args:
        pieces: One after the other, without gaps.
        size: Most length of a span, 1 or more; a longer piece is a span of its own.
        overlap: Most length of what a span repeats of the one before it, 0 or more and less than ``size``.
    """
    first = 0
    while first < len(pieces):
        after, length = first, 0
        while after < len(pieces) and (after == first or length + pieces[after].length <= size):
            length += pieces[after].length
            after += 1
        yield pieces[first].start, pieces[after - 1].end
        if after == len(pieces):
            return
        first = _back(pieces, first, after, overlap, room=size - pieces[after].length)


def _back(pieces: Sequence[Piece], first: int, after: int, overlap: int, room: int) -> int:
    """Where the next span begins: as far back as the overlap allows, and so that it gets beyond the last one's end."""
    begin, repeated = after, 0
    while begin - 1 > first and repeated + pieces[begin - 1].length <= min(overlap, room):
        begin -= 1
        repeated += pieces[begin].length
    return begin


def _cut(part: str, place: int, model: str, longest: int) -> Iterator[Piece]:
    start = 0
    while start < len(part):
        end = _furthest(part, start, lambda text: sum(length for _, length in pieces_of(model, text)), longest)
        yield Piece(place + start, place + end, sum(length for _, length in pieces_of(model, part[start:end])))
        start = end


def _furthest(part: str, start: int, measure: Callable[[str], int], longest: int) -> int:
    """The furthest end that fits, at least one character on; found by halving."""
    low, high = start + 1, min(len(part), start + 1 + 16 * longest)
    while low < high:
        middle = (low + high + 1) // 2
        if measure(part[start:middle]) <= longest:
            low = middle
        else:
            high = middle - 1
    return low
