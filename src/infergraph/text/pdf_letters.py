"""The characters of a PDF page's text layer, each with its place on the page as it is read.

Characters are in the order of the text layer, which is the order in which one reads them in nearly all documents.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

_SAMPLE = 400
"""Characters that tell how a page's text stands."""
_ASKEW = 5
"""Degrees."""
_NO_GAP = 0.08
"""Of a line's height: letters of one word stand no further apart."""
Box = tuple[float, float, float, float]
"""Left, top, right and bottom in points, from the upper left corner of the page as it is read."""


HYPHEN = "-\n"
"""One that parts a word at the end of a line, of which the text layer says no other end."""


class Letter(NamedTuple):
    """One character; a space or line end that PDFium put between two others has an empty box."""

    char: str
    left: float
    top: float
    right: float
    bottom: float
    mark: int = -1
    """The number of the marked content it is in, which tags refer to; -1: in none."""
    tilt: int = 0
    """0: it stands upright; 90, 180, 270: turned clockwise by so many degrees; -1: by others."""

    @property
    def visible(self) -> bool:
        """Whether it is to be seen: no space, no line end."""
        return not self.char.isspace()

    @property
    def box(self) -> Box:
        """Where it is."""
        return self.left, self.top, self.right, self.bottom

    @property
    def middle(self) -> tuple[float, float]:
        """The middle of its box."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    @property
    def height(self) -> float:
        """Of its line: from the lowest to the highest place that a letter of its font may have."""
        return self.bottom - self.top


def letters_of(page: Any, layer: Any, *, marked: bool = False) -> list[Letter]:
    """The characters of a page's text layer, without those that stand outside of the page.

    Args:
        page: A page of pypdfium2.
        layer: Its text page.
        marked: Whether to ask which marked content each is in.
    """
    from pypdfium2 import raw

    turned = _turned(page, layer)
    turn = turn_of(page, layer)
    left, bottom, right, top = page.get_bbox()
    found, box = [], raw.FS_RECTF()
    box_of, angle_of, is_hyphen = raw.FPDFText_GetLooseCharBox, raw.FPDFText_GetCharAngle, raw.FPDFText_IsHyphen
    for index, code in _codes_of(layer):
        box_of(layer, index, box)
        x0, y0, x1, y1 = box.left, box.bottom, box.right, box.top
        if x1 < left or x0 > right or y1 < bottom or y0 > top:
            continue
        (x0, y0), (x1, y1) = point(turn, x0, y0), point(turn, x1, y1)
        mark = _mark_of(layer, index) if marked else -1
        char = HYPHEN if code == 0xFFFE or (code == 2 and is_hyphen(layer, index) == 1) else chr(code)
        angle = angle_of(layer, index)
        tilt = _tilt(angle, turned) if angle or turned else 0
        found.append(Letter(char, min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1), mark, tilt))
    return _without_false_breaks(found)


def _without_false_breaks(letters: Sequence[Letter]) -> list[Letter]:
    """Without the spaces and line ends that PDFium puts into words, and line ends behind raised letters."""
    found: list[Letter] = []
    seen = -1  # the last that is to be seen, among those found
    for letter in letters:
        if not letter.char.isspace():
            if 0 <= seen < len(found) - 1 and _beside(found[seen], letter):
                made = " \r\n" if letter.left - found[seen].right < _NO_GAP * letter.height else "\r\n"
                found[seen + 1 :] = [one for one in found[seen + 1 :] if one.char not in made or one.right > one.left]
            seen = len(found)
        found.append(letter)
    return found


def _beside(last: Letter, this: Letter) -> bool:
    lower, higher = sorted((last.height, this.height))
    overlap = min(last.bottom, this.bottom) - max(last.top, this.top)
    return overlap > lower / 2 and -0.3 * higher < this.left - last.right < 0.5 * higher


def _codes_of(layer: Any) -> Iterator[tuple[int, int]]:
    """Each character's place in the text layer and its code; what a broken font says that is none is left out."""
    from pypdfium2 import raw

    high = 0
    for index in range(layer.count_chars()):
        code = raw.FPDFText_GetUnicode(layer, index)
        if high and 0xDC00 <= code < 0xE000:
            code = 0x10000 + ((high - 0xD800) << 10) + (code - 0xDC00)
        high = code if 0xD800 <= code < 0xDC00 else 0  # the first half of a character, as UTF-16 has it
        if code and not 0xD800 <= code < 0xE000:
            yield index, code


def _mark_of(layer: Any, index: int) -> int:
    from pypdfium2 import raw

    thing = raw.FPDFText_GetTextObject(layer, index)
    return int(raw.FPDFPageObj_GetMarkedContentID(thing)) if thing else -1


Turn = tuple[float, float, float, float, float, float]


def turn_of(page: Any, layer: Any) -> Turn:
    """From a page's own coordinates (upwards, before it is turned) to those of who reads most of its text (downwards).

    Args:
        page: A page of pypdfium2.
        layer: Its text page.
    """
    left, bottom, right, top = page.get_mediabox()
    return {
        0: (1.0, 0.0, 0.0, -1.0, -left, top),
        90: (0.0, 1.0, 1.0, 0.0, -bottom, -left),
        180: (-1.0, 0.0, 0.0, 1.0, right, -bottom),
        270: (0.0, -1.0, -1.0, 0.0, top, right),
    }[_turned(page, layer)]


def _turned(page: Any, layer: Any) -> int:
    """By how many degrees one turns a page to read it: wide tables often stand sideways on a page that is not."""
    from pypdfium2 import raw

    own = int(page.get_rotation())
    count = layer.count_chars()
    angles = (raw.FPDFText_GetCharAngle(layer, index) for index in range(0, count, max(1, count // _SAMPLE)))
    tilts = Counter(_tilt(angle, 0) for angle in angles)
    tilts.pop(-1, None)
    upright = {(360 - tilt) % 360: number for tilt, number in tilts.items()}
    return max(sorted(upright, key=lambda turned: turned != own), key=lambda turned: upright[turned], default=own)


def _tilt(angle: float, turned: int) -> int:
    """How a character stands, as ``Letter`` says it, whose text goes at an angle on a page that is turned."""
    degrees = math.degrees(angle) + turned
    quarter = round(degrees / 90)
    return quarter % 4 * 90 if abs(degrees - 90 * quarter) < _ASKEW else -1


def point(turn: Turn, x: float, y: float) -> tuple[float, float]:
    """A place in the coordinates of who looks at the page."""
    a, b, c, d, e, f = turn
    return a * x + c * y + e, b * x + d * y + f


@dataclass(frozen=True, slots=True)
class Segment:
    """Characters that stand side by side on a line, without a gap such as columns have between them."""

    places: tuple[int, ...]
    """Their places among the page's letters, ascending."""
    text: str
    narrowest: float
    """Of its letters, in points."""
    widest: float
    left: float
    top: float
    right: float
    bottom: float

    @property
    def middle(self) -> float:
        """How far down its line is."""
        return (self.top + self.bottom) / 2

    @property
    def height(self) -> float:
        """Of its line."""
        return self.bottom - self.top


_GAP = 0.8
"""Of a line's height. Spaces take a quarter of it, in justified text at most half; columns of tables stand further
apart."""
_NARROW_GAP = 0.4
"""The same where spaces are written, or where there are none: columns of figures stand close."""


def segments_of(letters: Sequence[Letter], places: Sequence[int]) -> list[Segment]:
    """These letters as segments, in the same order.

    Args:
        letters: All of a page.
        places: Which of them, ascending; spaces among them do not count.
    """
    visible = [place for place in places if not letters[place].char.isspace()]
    widest = _widest_gap(letters, visible)
    found: list[Segment] = []
    run: list[int] = []
    for place in visible:
        if run and not _goes_on(letters, run[-1], place, widest):
            found.append(_segment(letters, run))
            run = []
        run.append(place)
    return [*found, _segment(letters, run)] if run else found


def _widest_gap(letters: Sequence[Letter], visible: Sequence[int]) -> float:
    """Of a line's height: how far apart two words are at most that have no space written between them.

    Some programs write their spaces, others only leave room for them. Of those it is not known which room is one,
    unless all that there is is wider than spaces are, as between the figures of a table.
    """
    pairs = [(a, b) for a, b in pairwise(visible) if b > a + 1 and _same_line(letters[a], letters[b])]
    rooms = [_room(letters, a, b) for a, b in pairs if not _is_written(letters, a, b)]
    narrow = [room for room in rooms if 0.1 < room < _GAP]
    written = len(pairs) - len(rooms)
    return _NARROW_GAP if written > len(narrow) or (narrow and median(narrow) > 0.5) else _GAP


def _goes_on(letters: Sequence[Letter], last: int, this: int, widest: float) -> bool:
    if not _same_line(letters[last], letters[this]):
        return False
    room = _room(letters, last, this)
    if room >= _NARROW_GAP and (_is_written(letters, last, this) or _is_spaced(letters, last, this)):
        widest = _GAP
    return -0.5 < room < widest


def _is_spaced(letters: Sequence[Letter], last: int, this: int) -> bool:
    """Whether both are alone between spaces, as those of a heading in spaced type are."""
    around = (last - 1, last, this, this + 1)
    before, one, other, behind = (letters[place].char if 0 <= place < len(letters) else " " for place in around)
    return one.isalpha() and other.isalpha() and (before.isspace() or behind.isspace()) and this > last + 1


def _same_line(last: Letter, this: Letter) -> bool:
    height = max(last.bottom - last.top, this.bottom - this.top)
    return abs(last.top + last.bottom - this.top - this.bottom) < height


def _room(letters: Sequence[Letter], last: int, this: int) -> float:
    """Between two letters of a line, of its height."""
    one, other = letters[last], letters[this]
    return (other.left - one.right) / max(one.bottom - one.top, other.bottom - other.top)


def _is_written(letters: Sequence[Letter], last: int, this: int) -> bool:
    """Whether a space that takes room stands between two letters, or nothing at all does."""
    between = letters[last + 1 : this]
    return not between or any(letter.right > letter.left for letter in between)


def _segment(letters: Sequence[Letter], run: Sequence[int]) -> Segment:
    boxes = [letters[place] for place in run]
    widths = [box.right - box.left for box in boxes]
    return Segment(
        tuple(run), words_of(letters, run), min(widths), max(widths), min(box.left for box in boxes),
        min(box.top for box in boxes), max(box.right for box in boxes), max(box.bottom for box in boxes),
    )  # fmt: skip


def words_of(letters: Sequence[Letter], places: Sequence[int]) -> str:
    """The text of these letters on one line: a space wherever the text layer has white space or others between them.

    Args:
        letters: All of a page.
        places: Which of them, ascending.

    Example:
        >>> words_of([Letter(char, 0, 0, 1, 1) for char in "a\\n b|c"], [0, 3, 5])
        'a b c'
    """
    return " ".join("".join(_with_spaces(letters, places)).replace(HYPHEN, "-").split())


def _with_spaces(letters: Sequence[Letter], places: Sequence[int]) -> Iterator[str]:
    before = None
    for place in places:
        if before is not None and place != before + 1:
            yield " "
        yield letters[place].char
        before = place
