"""Turns as they are read line by line, and what in a transcript is nobody's turn.

Words before the first turn (a title, who was there) and lines that the service writes itself are kept as turns of
nobody, without times, so that nothing of a transcript is lost and nobody is made to say what they did not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_LINE = 400
# Google Meet's own lines, above or below the turns, and Teams' ones, which name somebody.
_NOTICE = re.compile(
    r"^[\s#*_]{0,12}(?:(?:Meeting|Transcription|Recording) ended after \d{1,3}:\d{2}:\d{2}\b"
    r"|This editable transcript was computer generated\b)"
)
_SWITCHED = re.compile(
    r"^[\s*_]{0,8}(?!(?:I|We|You|He|She|They)\b)[^\s:.?!a-z][^:.?!\n]{0,79}? (?:started|stopped) transcription[\s*_]*$"
)


@dataclass(slots=True)
class Turn:
    """What one person said; times in seconds, ``None`` where the transcript does not say."""

    speaker: str | None
    start: float | None
    end: float | None
    text: str


class Turns:
    """The turns that were read; words before the first one, and notices, make turns of nobody."""

    def __init__(self) -> None:
        self.turn: Turn | None = None
        """What is being read."""
        self.is_told = False
        """Whether that is a turn of the transcript, and no words that stand beside them."""
        self._words: list[str] = []
        self._read: list[Turn] = []
        self._any = False

    def begin(self, turn: Turn) -> None:
        """A turn, with the words of its first line."""
        self._any = True
        self.end()
        self.turn, self.is_told = turn, True
        self._words = [turn.text] if turn.text else []

    def aside(self, line: str) -> None:
        """A line that nobody said."""
        if self.is_told:
            self.end()
        self.go_on(line)

    def go_on(self, line: str) -> None:
        """A further line of whatever is being read."""
        words = line.strip()
        if not words:
            return
        if self.turn is None:
            self.turn = Turn(None, None, None, "")
        self._words.append(words)

    def end(self) -> None:
        """What is being read ends; before the first turn it goes on."""
        if self.turn is not None and self._any:
            self.turn.text = "\n".join(self._words)
            self._read.append(self.turn)
            self.turn, self.is_told, self._words = None, False, []

    def read(self) -> Iterator[Turn]:
        """All turns; none, where there are only words beside them."""
        self.end()
        return iter(self._read)


def is_notice(lines: Sequence[str], place: int) -> bool:
    """Whether a line is the service's own, such as ``Meeting ended after 00:45:10``."""
    line = lines[place]
    if "ranscri" not in line and " ended after " not in line:
        return False
    if _NOTICE.match(line[:_LINE]):
        return True
    return _SWITCHED.match(line[:_LINE]) is not None and not (place and lines[place - 1].strip())
