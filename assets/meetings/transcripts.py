"""Reading transcripts: who said what, and when. Subtitles (WebVTT, SRT) and texts with times in front of the turns."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TIME = r"(?:(?P<{0}h>\d+):)?(?P<{0}m>\d\d?):(?P<{0}s>\d\d)(?:[.,](?P<{0}f>\d{{1,3}}))?"
_CUE = re.compile(rf"^{_TIME.format('a')}\s+-->\s+{_TIME.format('b')}")
_VOICE = re.compile(r"^<v\s+(?P<speaker>[^>]+)>(?P<text>.*?)(?:</v>)?$", re.DOTALL)
_NAMED = re.compile(r"^(?P<speaker>[^\s:][^:\n]{0,60}?):\s+(?P<text>.*)$", re.DOTALL)
_TURNS = (
    re.compile(rf"^\[{_TIME.format('a')}\]\s*(?P<speaker>[^:]{{1,60}}?):\s+(?P<text>.*)$"),
    re.compile(rf"^(?P<speaker>[^:(\[]{{1,60}}?)\s*\({_TIME.format('a')}\):\s+(?P<text>.*)$"),
)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one person said until the next one spoke.

    Args:
        speaker: As the transcript names them; empty where it does not.
        start: Seconds since the meeting began.
        text: The words, on one line.
    """

    speaker: str
    start: float
    text: str


def read_transcript(content: str) -> list[Turn]:
    """The turns of a transcript, in order.

    Args:
        content: A WebVTT or SRT file, or a text whose turns begin with ``[00:01:02] Name: `` or ``Name (00:01:02): ``.

    Returns:
        One ``Turn`` each; lines before the first one (a title) are left out. Empty where there is no turn.

    Example:
        >>> read_transcript("Stand-up\\n\\nAnn (00:01:02): I will send it.\\nTomorrow.")
        [Turn(speaker='Ann', start=62.0, text='I will send it. Tomorrow.')]
    """
    lines = content.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    return list(_cues(lines) if any(_CUE.match(line) for line in lines) else _texts(lines))


def _cues(lines: list[str]) -> Iterator[Turn]:
    """Turns of subtitles: a line with times, then the words, up to an empty line."""
    start: float | None = None
    words: list[str] = []
    for line in [*lines, ""]:
        cue = _CUE.match(line)
        if cue is not None:
            start, words = _seconds(cue), []
        elif line.strip() and start is not None:
            words.append(line.strip())
        elif not line.strip() and start is not None:
            if words:
                yield _turn(" ".join(words), start)
            start = None


def _texts(lines: list[str]) -> Iterator[Turn]:
    """Turns of a text; a line without a time goes on with the turn before it."""
    turn: Turn | None = None
    for line in lines:
        begun = next((found for form in _TURNS if (found := form.match(line)) is not None), None)
        if begun is not None:
            if turn is not None:
                yield turn
            turn = Turn(speaker=begun["speaker"].strip(), start=_seconds(begun), text=begun["text"].strip())
        elif turn is not None and line.strip():
            turn = Turn(speaker=turn.speaker, start=turn.start, text=f"{turn.text} {line.strip()}")
    if turn is not None:
        yield turn


def _turn(words: str, start: float) -> Turn:
    named = _VOICE.match(words) or _NAMED.match(words)
    if named is None:
        return Turn(speaker="", start=start, text=words)
    return Turn(speaker=named["speaker"].strip(), start=start, text=named["text"].strip())


def _seconds(found: re.Match[str]) -> float:
    fraction = found["af"]
    whole = int(found["ah"] or 0) * 3600 + int(found["am"]) * 60 + int(found["as"])
    return whole + (int(fraction) / 10 ** len(fraction) if fraction else 0.0)
