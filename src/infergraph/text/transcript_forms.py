"""The forms in which transcripts come: for each one, how it is recognised and how its turns are read.

A reader gets the lines of a transcript and gives turns as they stand; numbers, missing ends and empty turns are seen to
by ``transcripts.py``. Patterns are bounded, so that a line of ten megabytes costs no more than ten megabytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from infergraph.text.transcript_turns import Turn, Turns, is_notice

NOBODY = "-"
CLOCK = r"(?:\d{1,3}:)?\d{1,2}:\d{2}(?:[.,]\d{1,6})?"
# What stands in brackets behind a name belongs to it, such as (Guest) or (she/her), but not a time.
_ASIDE = r"(?:[ \t]{0,3}\([^\s\d:()\[\]<>{}][^:()\[\]<>{}\n]{0,39}\))"
_NAME = rf"[^\s:\[\]()<>{{}}\"][^:\[\]()<>{{}}\n]{{0,79}}?{_ASIDE}{{0,2}}"
_NAME_LINE = re.compile(rf"\s*{_NAME}\s*$")
_CUE = re.compile(rf"^\s*(?P<start>{CLOCK}|\d+:\d+:\d+(?:\.\d+)?)\s*-->\s*(?P<end>{CLOCK}|\d+:\d+:\d+(?:\.\d+)?)?")
_VOICE = re.compile(r"^<v(?:\.[^\s>]{1,40})?\s+(?P<name>[^>]{1,200})>(?P<text>.*)$", re.DOTALL)
_VOICES = re.compile(r"(?=<v[.\s])")
_ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "nbsp": "\u00a0", "lrm": "\u200e", "rlm": "\u200f"}
_ENTITY = re.compile(f"&({'|'.join(_ENTITIES)});")
_TAG = re.compile(r"</?(?:v|c|i|b|u|ruby|rt|lang|font)(?:[.\s][^>]{0,200})?>|<\d[\d:.]{0,20}>")
_NAMED = re.compile(rf"^(?P<name>{_NAME}):[ \t]+(?P<text>.*)$", re.DOTALL)
_TIMED_LINES = (
    # Name (00:01:02): text      Name [00:01:02]: text
    re.compile(rf"^\s*(?P<name>{_NAME})\s*[\[(](?P<start>{CLOCK})[\])]\s*:[ \t]*(?P<text>.*)$"),
    # [00:01:02] Name: text      (00:01:02) Name: text      00:01:02 Name: text      00:01:02 - Name: text
    re.compile(rf"^\s*[\[(]?(?P<start>{CLOCK})[\])]?\s*(?:-\s*)?(?P<name>{_NAME}):[ \t]+(?P<text>.*)$"),
)
_HEADINGS = (
    # Name (00:01:02)      Name [00:01:02]      Name  0:03      [Name] 10:03:14
    re.compile(rf"^\s*(?P<name>{_NAME})\s*[\[(](?P<start>{CLOCK})[\])]\s*$"),
    re.compile(rf"^\s*(?P<name>{_NAME})(?:\s{{2,20}}|\t)(?P<start>{CLOCK})\s*$"),
    re.compile(rf"^\s*\[(?P<name>{_NAME})\]\s+(?P<start>{CLOCK})\s*$"),
)
_UNNAMED = (
    # [00:00:01.000 --> 00:00:02.000] text      [0:01 - 0:05] Name: text
    re.compile(
        rf"^\s*\[(?P<start>{CLOCK})\s*(?:-->|-|\u2013)\s*(?P<end>{CLOCK})\]\s*"
        rf"(?:(?P<name>{_NAME}):[ \t]+)?(?P<text>\S.*)$"
    ),
    # [00:00:01] text
    re.compile(rf"^\s*[\[(](?P<start>{CLOCK})[\])]\s+(?P<text>\S.*)$"),
    # [SPEAKER_00]: text
    re.compile(r"^\s*\[(?P<name>[^\[\]:\n]{1,80})\]\s*:[ \t]+(?P<text>.*)$"),
)
_CHAT = re.compile(
    rf"^\s*(?P<start>{CLOCK})\s+From\s+(?P<name>[^:\n]{{1,80}}?)(?:\s+to\s+[^:\n]{{1,80}})?\s*:[ \t]*(?P<text>.*)$"
)
_BY_DAY = re.compile(
    rf"^\s*(?P<name>{_NAME})\s*[\[(](?P<start>\d{{1,2}}:\d{{2}}(?::\d{{2}})?)\s?(?P<half>[AaPp])\.?[Mm]\.?[\])]"
    r"\s*:?[ \t]*(?P<text>.*)$"
)
_SPELT = re.compile(
    rf"^\s*(?P<name>{_NAME})\s+(?:(?P<h>\d{{1,3}}) hours?\s+)?(?P<m>\d{{1,2}}) minutes?\s+"
    r"(?P<s>\d{1,2}) seconds?\s*$"
)
_BEHIND = re.compile(rf"^\s*(?P<name>{_NAME})\s(?P<start>\d{{1,2}}:\d{{2}}:\d{{2}})\s*$")
_ALONE = re.compile(r"^\s*(?P<name>[^\W\d_][^:\[\]()<>{}\n]{0,39}):\s*$")
_BOLD = re.compile(r"^(\s*)(?:\*\*|__)([^*_\n]{1,120})(?:\*\*|__)")
_HEAD = 200
_CLOCK_LINE = re.compile(rf"^\s*(?:#{{1,6}}\s+)?(?P<start>{CLOCK})\s*$")
_BLOCK = re.compile(r"^\s*(?:NOTE|STYLE|REGION)(?:\s|$)")
_NUMBER_LINE = re.compile(r"^\s*\d{1,9}\s*$")


def seconds(clock: str) -> float:
    """A time such as ``1:02:03.5``, ``02:03`` or ``00:02:03,500`` in seconds.

    Example:
        >>> seconds("1:02:03.5"), seconds("02:03,250")
        (3723.5, 123.25)
    """
    whole, _, fraction = clock.replace(",", ".").partition(".")
    total = 0
    for part in whole.split(":"):
        total = total * 60 + int(part)
    fraction = fraction[:6]
    # One division of whole numbers: no sum of inexact parts, and no rounding, which takes longer than all the rest.
    scale = int("1" + "0" * len(fraction))
    return (total * scale + int(fraction or 0)) / scale


def detect(content: str) -> str | None:
    """The form of a transcript: a key of ``READERS``, or ``None``."""
    head = content[:_LOOKED_AT]
    if head.lstrip()[:1] in ("{", "[") and _segments(content) is not None:
        return "whisper"
    lines = head.split("\n")
    if lines[0].lstrip().startswith("WEBVTT"):
        return "webvtt"
    cues = [number for number, line in enumerate(lines) if _CUE.match(line[:_LINE])]
    if cues:
        return "srt" if any(n and _NUMBER_LINE.match(lines[n - 1][:_LINE]) for n in cues) else "teams"
    told = [line for place, line in enumerate(lines) if line.strip() and not is_notice(lines, place)]
    shapes = [_shape(line[:_LINE]) for line in told]
    if "bracketed" in shapes:
        return "zoom"
    if "spaced" in shapes:
        return "teams"
    if "clock" in shapes and "named" in shapes:
        return "meet"
    # One line such as "Agenda:" makes no transcript yet.
    begun = {"timed", "heading", "named"}.intersection(shapes) or shapes.count("alone") > 1
    return "generic" if begun else None


def read_cues(lines: Sequence[str]) -> Iterator[Turn]:
    """Subtitles: a line with times, then the words, up to the next times and what numbers or names them."""
    webvtt = bool(lines) and lines[0].lstrip().startswith("WEBVTT")
    turn: Turn | None = None
    before: list[str] = []
    words = before
    # Of WebVTT: its header, and blocks of comments and styles.
    skipped = webvtt
    for place, line in enumerate(lines):
        cue = _CUE.match(line[:_LINE]) if "-->" in line else None
        if cue is not None:
            if words and _is_id(lines, place, webvtt):
                words.pop()
            yield from _cue_or_head(turn, words)
            end = cue["end"]
            turn, words = Turn(None, seconds(cue["start"]), seconds(end) if end else None, ""), []
            skipped = False
        elif not line.strip():
            skipped = False
        elif webvtt and _BLOCK.match(line[:_LINE]) and not lines[place - 1].strip():
            skipped = True
        elif not skipped:
            words.append(line.strip())
    if turn is not None:
        yield from _cue_or_head(turn, words[:-1] if words[1:] and _ends_with_number(lines) else words)


def read_teams(lines: Sequence[str]) -> Iterator[Turn]:
    """Teams: cues whose first line is the speaker, or ``Name  0:03`` above the words."""
    if not any(_CUE.match(line[:_LINE]) for line in lines):
        yield from read_generic(lines)
        return
    for turn in read_cues(lines):
        if turn.speaker is None and turn.start is not None and "\n" in turn.text:
            name, _, rest = turn.text.partition("\n")
            if _NAME_LINE.match(name):
                turn = Turn(name.strip(), turn.start, turn.end, rest)
        yield turn


def read_meet(lines: Sequence[str]) -> Iterator[Turn]:
    """Google Meet: ``Name: text``, with a time alone on a line every few minutes."""
    start: float | None = None
    turns = Turns()
    for place, line in enumerate(lines):
        clock = _CLOCK_LINE.match(line[:_LINE])
        if clock is not None:
            start = seconds(clock["start"])
            turns.end()
        elif is_notice(lines, place):
            turns.aside(line)
        elif (named := _NAMED.match(_plainer(line).strip())) is not None:
            turns.begin(Turn(_name(named), start, None, named["text"].strip()))
        elif line.strip() and turns.turn is None and start is not None:
            turns.begin(Turn(None, start, None, line.strip()))
        else:
            turns.go_on(line)
    return turns.read()


def read_generic(lines: Sequence[str]) -> Iterator[Turn]:
    """Texts whose turns begin with a name, a time or both, on the line of the words or on the line above them."""
    turns = Turns()
    for place, line in enumerate(lines):
        # What is indented below a turn goes on with it, as ``to_text`` writes it.
        if turns.is_told and line.startswith("  "):
            turns.go_on(line)
        elif is_notice(lines, place):
            turns.aside(line)
        elif (begun := _begun(line)) is not None:
            turns.begin(begun)
        else:
            turns.go_on(line)
    return turns.read()


def read_whisper(lines: Sequence[str]) -> Iterator[Turn]:
    """Whisper's JSON: ``segments`` with seconds, or whisper.cpp's ``transcription`` with milliseconds."""
    for segment in _segments("\n".join(lines)) or []:
        offsets = segment.get("offsets")
        if isinstance(offsets, dict):
            start, end = (_number(offsets.get(key), 1000) for key in ("from", "to"))
        else:
            start, end = _number(segment.get("start"), 1), _number(segment.get("end"), 1)
        speaker = segment.get("speaker")
        yield Turn(speaker if isinstance(speaker, str) else None, start, end, str(segment.get("text") or "").strip())


READERS: dict[str, Callable[[Sequence[str]], Iterator[Turn]]] = {
    "srt": read_cues,
    "webvtt": read_cues,
    "zoom": read_generic,
    "teams": read_teams,
    "meet": read_meet,
    "whisper": read_whisper,
    "generic": read_generic,
}
_LOOKED_AT = 20_000
_LINE = 400
_LONGEST = 1e12


def _is_id(lines: Sequence[str], place: int, webvtt: bool) -> bool:
    """Whether the line above a cue's times is its number, or in WebVTT its name."""
    above = lines[place - 1] if place else ""
    if _NUMBER_LINE.match(above):
        return True
    return webvtt and bool(above.strip()) and (place < 2 or not lines[place - 2].strip())


def _ends_with_number(lines: Sequence[str]) -> bool:
    """Whether a number stands last that would be that of a further cue."""
    last = next(place for place in range(len(lines) - 1, -1, -1) if lines[place].strip())
    return _NUMBER_LINE.match(lines[last]) is not None and not lines[last - 1].strip()


def _cue_or_head(turn: Turn | None, words: Sequence[str]) -> Iterator[Turn]:
    if turn is not None:
        yield from _spoken(turn, words)
    elif words:
        yield Turn(None, None, None, "\n".join(words))


def _spoken(turn: Turn, words: Sequence[str]) -> Iterator[Turn]:
    """The cue's words, its speakers taken out of voice tags or from in front of a colon."""
    text = "\n".join(words)
    for part in _VOICES.split(text) if text.startswith("<v") else [text]:
        voice = _VOICE.match(part)
        if voice is not None:
            yield Turn(_said(voice["name"]), turn.start, turn.end, _said(voice["text"]))
            continue
        said = _said(part)
        named = _NAMED.match(said)
        if named is not None:
            yield Turn(_name(named), turn.start, turn.end, named["text"].strip())
        else:
            yield Turn(None, turn.start, turn.end, said)


def _said(text: str) -> str:
    """Words without tags, and with the signs that stand for ``&lt;`` and the like."""
    plain = "\n".join(filter(None, map(str.strip, _TAG.sub("", text).split("\n")))) if "<" in text else text
    return (_ENTITY.sub(lambda found: _ENTITIES[found[1]], plain) if "&" in plain else plain).strip()


def _begun(line: str) -> Turn | None:
    line = _plainer(line)
    chat = _CHAT.match(line)
    if chat is not None:
        return Turn(_name(chat), seconds(chat["start"]), None, chat["text"].strip())
    for form in _TIMED_LINES:
        found = form.match(line)
        if found is not None:
            return Turn(_name(found), seconds(found["start"]), None, found["text"].strip())
    heading = _heading(line) if len(line) < _LINE else None
    if heading is not None:
        return heading
    for form in _UNNAMED:
        found = form.match(line)
        if found is not None:
            said = found.groupdict()
            start, end = (seconds(said[one]) if said.get(one) else None for one in ("start", "end"))
            return Turn(_name(found) if said.get("name") else None, start, end, found["text"].strip())
    named = _NAMED.match(line.strip())
    return None if named is None else Turn(_name(named), None, None, named["text"].strip())


def _heading(line: str) -> Turn | None:
    """A turn whose words, or most of them, stand on the lines below."""
    for form in (*_HEADINGS, _BEHIND):
        found = form.match(line)
        if found is not None:
            return Turn(_name(found), seconds(found["start"]), None, "")
    found = _BY_DAY.match(line)
    if found is not None:
        clock = found["start"] + (":00" if found["start"].count(":") == 1 else "")
        later = 12 * 3600 * ((found["half"] in "Pp") - clock.startswith("12:"))
        return Turn(_name(found), seconds(clock) + later, None, found["text"].strip())
    found = _SPELT.match(line)
    if found is not None:
        hours, minutes, rest = (int(found[part] or 0) for part in "hms")
        return Turn(_name(found), float(hours * 3600 + minutes * 60 + rest), None, "")
    found = _ALONE.match(line)
    return None if found is None else Turn(_name(found), None, None, "")


def _plainer(line: str) -> str:
    """The line without bold type around a name, and with a colon of the usual width behind it."""
    head = line[:_HEAD]
    if "**" in head or "__" in head:
        line = _BOLD.sub(r"\1\2", line, count=1)
    wide = head.find("\uff1a")
    return line if wide < 0 or ":" in head[:wide] else line.replace("\uff1a", ": ", 1)


def _name(found: re.Match[str]) -> str | None:
    """The speaker; a dash stands for one that is not known."""
    name = str(found["name"]).strip()
    return None if name == NOBODY else name


def _shape(line: str) -> str | None:
    line = _plainer(line)
    if _HEADINGS[2].match(line):
        return "bracketed"
    if _HEADINGS[1].match(line):
        return "spaced"
    if _CLOCK_LINE.match(line):
        return "clock"
    if any(form.match(line) for form in (*_TIMED_LINES, *_UNNAMED, _CHAT)):
        return "timed"
    if any(form.match(line) for form in (_HEADINGS[0], _BY_DAY, _SPELT, _BEHIND)):
        return "heading"
    if _ALONE.match(line):
        return "alone"
    return "named" if _NAMED.match(line.strip()) else None


def _segments(content: str) -> list[dict[str, Any]] | None:
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError):
        return None
    found = parsed if isinstance(parsed, list) else None
    if isinstance(parsed, dict):
        found = parsed.get("segments", parsed.get("transcription"))
    if not isinstance(found, list):
        return None
    segments = [one for one in found if isinstance(one, dict) and "text" in one]
    return segments if len(segments) == len(found) else None


def _number(value: Any, per_second: int) -> float | None:
    """A time in seconds; ``None`` for what is no number, and for one that no recording lasts."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < _LONGEST:
        return None
    return round(value / per_second, 6)
