"""Where a text may be cut, and how pieces of it are put into chunks of a size.

Everything here is about offsets: a span is (start, end) in characters of the source, so that a chunk is always the very
text between its offsets.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from itertools import accumulate

from infergraph.text.encodings import count_tokens, pieces_of

Span = tuple[int, int]
_WORD = re.compile(r"\S+")


Piece = tuple[int, int, int, bool]
"""A part of a text that stays whole: its span, its tokens, and whether it is part of a word that was too long."""


def chunks_of_words(text: str, size: int, overlap: int) -> list[Span]:
    """Spans of so many words with the white space behind them (and that in front of the first one).

    Args:
        text: Any text.
        size: Words of a span, 1 or more.
        overlap: Words that a span repeats of the one before it, 0 or more and less than ``size``.

    Example:
        >>> chunks_of_words(" one two three", 2, 1)
        [(0, 9), (5, 14)]
    """
    starts = [found.start() for found in _WORD.finditer(text)]
    if not starts:
        return [(0, len(text))] if text else []
    starts[0] = 0
    firsts = range(0, max(len(starts) - overlap, 1), size - overlap)
    return [(starts[first], starts[first + size] if first + size < len(starts) else len(text)) for first in firsts]


def tokens(text: str, encoding: str, longest: int) -> list[Piece]:
    """What the tokenizer takes apart by itself before it looks for tokens, mostly words; longer ones cut in pieces.

    Args:
        text: Any text.
        encoding: As ``encoding_of`` names it.
        longest: Most tokens of a piece, 1 or more; a single character of more tokens stays whole.
    """
    pieces: list[Piece] = []
    place = 0
    for part, length in pieces_of(encoding, text):
        end = place + len(part)
        if length <= longest or len(part) == 1:
            pieces.append((place, end, length, False))
        else:
            pieces += _cut(part, place, encoding, longest)
        place = end
    return pieces


def chunks_of_tokens(text: str, encoding: str, size: int, overlap: int) -> Iterator[Span]:
    """Spans of whole pieces (see ``tokens``), each as long as fits, together covering the text.

    Args:
        text: Any text.
        encoding: As ``encoding_of`` names it.
        size: Most tokens of a span, 1 or more; a longer piece is a span of its own.
        overlap: Most tokens of what a span repeats of the one before it, 0 or more and less than ``size``.
    """
    pieces = tokens(text, encoding, size)
    before = [0, *accumulate(length for _, _, length, _ in pieces)]
    any_is_cut = any(is_cut for *_, is_cut in pieces)

    def fits(first: int, after: int, limit: int) -> bool:
        # The tokens of the pieces added up are the span's, except where a cut word is put together again and where
        # white space has nothing behind it: tokenizers look ahead there.
        start, end = pieces[first][0], pieces[after - 1][1]
        if any_is_cut or text[end - 1].isspace():
            return is_within(text[start:end], encoding, limit)
        return before[after] - before[first] <= limit

    first = 0
    while first < len(pieces):
        after = max(first + 1, bisect_right(before, before[first] + size) - 1)
        while after > first + 1 and not fits(first, after, size):
            after -= 1
        yield pieces[first][0], pieces[after - 1][1]
        if after == len(pieces):
            return
        # As far back as the overlap allows, and so that the next span gets beyond this one's end.
        room = min(overlap, size - pieces[after][2])
        first = after if room < 0 else max(first + 1, bisect_left(before, before[after] - room))
        while first < after and not (fits(first, after, overlap) and fits(first, after + 1, size)):
            first += 1


def is_within(text: str, encoding: str, limit: int) -> bool:
    """Whether a text has at most so many tokens."""
    return count_tokens(encoding, text)[0] <= limit


def _cut(part: str, place: int, encoding: str, longest: int) -> Iterator[Piece]:
    def measure(text: str) -> int:
        return count_tokens(encoding, text)[0]

    start = 0
    while start < len(part):
        end = _furthest(part, start, measure, longest)
        yield place + start, place + end, measure(part[start:end]), True
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
