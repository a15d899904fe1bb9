"""Cuts a long text into pieces that fit, at the best places there are; put together again they are the text.

The places, best first: between paragraphs, lines, sentences, words; inside a word only where a word alone is too long.
Tokens are counted by whoever will read the pieces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

Count = Callable[[Sequence[str]], Sequence[int]]
"""Tokens of each text."""

_PARAGRAPH, _LINE, _SENTENCE = 3, 2, 1
_BREAK = re.compile(
    r"(?P<paragraph>\s*\n[ \t\r\f\v]*\n)|(?P<line>\n)|(?<=[\u3002\uff01\uff1f])(?=\S)"
    r"|(?P<end>\b\w+)?[.!?\u2026][\"'\u201d\u2019»)\]]*(?=\s)"
)
# After these a full stop ends no sentence, nor after a single letter.
_SHORT_WORDS = (
    "approx ca cf co corp dept dr ed eds eg est etc fig figs ie inc jr ltd mr mrs ms no nos pp prof sec sr st vol vs "
    "jan feb mar apr jun jul aug sep sept oct nov dec bzw evtl ggf inkl nr usw"
)
_SHORT = frozenset(_SHORT_WORDS.split())
_WORD = re.compile(r"\s*\S+|\s+$")
_GOOD_SHARE = 0.5
_EVEN = 1.1


def split_text(text: str, limit: int, count: Count) -> list[str]:
    """Pieces of a text of at most so many tokens.

    A sentence is cut only where it alone is longer than a piece, a word likewise. A paragraph's or line's end is taken
    where it lies in a piece's second half; the last two pieces are about equally long.

    Args:
        text: The text.
        limit: Tokens that a piece may have, 1 or more.
        count: Tokens of each text, which may be some more than those of its parts together.

    Returns:
        At least one piece; joined, they are the text.

    Raises:
        ValueError: A single character has more tokens.

    Example:
        >>> words = lambda texts: [len(text.split()) for text in texts]
        >>> split_text("One is here. Two is there. Three came late.", 6, words)
        ['One is here.', ' Two is there. Three came late.']
    """
    if count([text])[0] <= limit:
        return [text]
    atoms = list(_atoms(text, limit, count))
    sums = [0, *accumulate(tokens for _, tokens, _ in atoms)]
    pieces: list[str] = []
    at = 0
    while at < len(atoms):
        end, piece = _piece(atoms, sums, at, limit, count)
        pieces.append(piece)
        at = end
    return pieces


Atom = tuple[str, int, int]
"""A text that is not cut, its tokens, and how good a place its end is."""


def _piece(atoms: Sequence[Atom], sums: Sequence[int], at: int, limit: int, count: Count) -> tuple[int, str]:
    """The piece that begins here, and the atom before which it ends."""
    room = limit
    while True:
        end = _end(atoms, sums, at, room)
        piece = "".join(part for part, _, _ in atoms[at:end])
        # Estimates are rounded for each atom, and tokenizers take some texts apart in another way when they are joined.
        excess = count([piece])[0] - limit
        if excess <= 0 or end == at + 1:
            return end, piece
        room = max(1, sums[end] - sums[at] - excess)


def _end(atoms: Sequence[Atom], sums: Sequence[int], at: int, limit: int) -> int:
    """The atom before which the piece that begins here ends."""
    left = sums[-1] - sums[at]
    if left <= limit:
        return len(atoms)
    if left <= 2 * limit:
        even = _best(atoms, sums, at, min(limit, int(left / 2 * _EVEN) + 1))
        if sums[-1] - sums[even] <= limit:
            return even
    return _best(atoms, sums, at, limit)


def _best(atoms: Sequence[Atom], sums: Sequence[int], at: int, limit: int) -> int:
    last = at + 1
    while last < len(atoms) and sums[last + 1] - sums[at] <= limit:
        last += 1
    for good in (_PARAGRAPH, _LINE):
        for end in range(last, at, -1):
            if sums[end] - sums[at] < limit * _GOOD_SHARE:
                break
            if atoms[end - 1][2] >= good:
                return end
    return next((end for end in range(last, at, -1) if atoms[end - 1][2] >= _SENTENCE), last)


def _atoms(text: str, limit: int, count: Count) -> Iterator[Atom]:
    """Sentences; the words of those that are too long; the halves of such words, halved again."""
    sentences = list(_sentences(text))
    for (part, good), tokens in zip(sentences, count([part for part, _ in sentences]), strict=True):
        if tokens <= limit:
            yield part, tokens, good
            continue
        words = _WORD.findall(part)
        sizes = count(words)
        for place, (word, size) in enumerate(zip(words, sizes, strict=True)):
            *inner, end = _halves(word, size, limit, count)
            yield from ((half, tokens, 0) for half, tokens in inner)
            yield (*end, good if place == len(words) - 1 else 0)


def _halves(text: str, tokens: int, limit: int, count: Count) -> list[tuple[str, int]]:
    if tokens <= limit:
        return [(text, tokens)]
    if len(text) == 1:
        raise ValueError(f"The character {text!r} has {tokens} tokens, and {limit} fit.")
    halves = text[: len(text) // 2], text[len(text) // 2 :]
    return [one for half, size in zip(halves, count(halves), strict=True) for one in _halves(half, size, limit, count)]


def _sentences(text: str) -> Iterator[tuple[str, int]]:
    """The sentences in order, each with the white space before it, and how good a place its end is."""
    start = 0
    for found in _BREAK.finditer(text):
        if found["paragraph"] is not None or found["line"] is not None:
            # The white space begins the next sentence: tokenizers take it together with the word behind it.
            end, good = found.start(), _PARAGRAPH if found["paragraph"] is not None else _LINE
        else:
            word = found["end"]
            if word is not None and found.group().endswith(f"{word}.") and _is_short(word):
                continue
            end, good = found.end(), _better(text, found.end())
        if end > start:
            yield text[start:end], good
            start = end
    if start < len(text):
        yield text[start:], _PARAGRAPH


def _is_short(word: str) -> bool:
    return (len(word) == 1 and word.isalpha()) or word.lower() in _SHORT


def _better(text: str, at: int) -> int:
    """How good a place a sentence's end is: a paragraph or a line may end there too."""
    behind = text[at : at + 8]
    gap = behind[: len(behind) - len(behind.lstrip())]
    return _PARAGRAPH if gap.count("\n") > 1 else _LINE if "\n" in gap else _SENTENCE
