"""Transcripts: who said what, and when, out of the forms in which recordings are exported."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any, Literal, get_args

import polars as pl

from infergraph.errors import PlanError, did_you_mean
from infergraph.text import transcript_forms as forms
from infergraph.text.row_wise import Column, column_of, in_pieces, of_each_text
from infergraph.text.transcript_turns import Turn

Format = Literal["srt", "webvtt", "zoom", "teams", "meet", "whisper", "generic"]

TURN = pl.Struct(
    {"index": pl.Int64(), "speaker": pl.String(), "start": pl.Float64(), "end": pl.Float64(), "text": pl.String()}
)
"""One turn: its number from 0, the speaker (null: not named), start and end in seconds (null: not said), the words."""
TURNS = pl.List(TURN)


def parse(column: Column, *, format: Format | None = None) -> pl.Expr:
    r"""The turns of each transcript.

    Args:
        column: A String column, one transcript a row.
        format: ``srt``, ``webvtt`` (Zoom and Teams write it too), ``zoom`` (saved captions: ``[Name] 10:03:14`` above
            the words), ``teams`` (``Name  0:03`` above the words, or cues whose first line is the name), ``meet``
            (``Name: words``, a time on a line of its own now and then), ``whisper`` (JSON of Whisper or whisper.cpp) or
            ``generic`` (``Name (00:01:02): words``, ``[00:01:02] Name: words``, ``Name: words`` and the like).
            ``None``: each transcript's own, as ``detect`` tells.

    Returns:
        A row-wise expression of type ``TURNS``: a list of structs ``index`` (from 0), ``speaker``, ``start``, ``end``
        (seconds) and ``text``, in the order of the transcript. A missing end is the next turn's start; the last one's
        is null. Words over several lines are joined with a line break. What stands before the first turn (a title, who
        was there) and lines of the service itself (``Meeting ended after 00:45:10``, ``Ann stopped transcription``) are
        turns without speaker and times; headers, comments and styles of WebVTT are left out. Empty where no turn is
        found; null for null.

    Raises:
        PlanError: There is no such format.

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"call": ["Ann (0:01): Hello.\nHow are you?\nBo (0:04): Fine!"]})
        >>> turns = frame.select(ig.text.transcripts.parse("call")).to_series()[0]
        >>> turns.struct.unnest().rows()
        [(0, 'Ann', 1.0, 4.0, 'Hello.\nHow are you?'), (1, 'Bo', 4.0, None, 'Fine!')]
    """
    where = "ig.text.transcripts.parse"
    if format is not None and format not in get_args(Format):
        raise PlanError(f"{where}: there is no format {format!r}. {did_you_mean(str(format), get_args(Format))}")
    return of_each_text(column, partial(_turns, form=format), TURNS, where=where)


def detect(column: Column) -> pl.Expr:
    r"""The format of each transcript.

    Args:
        column: A String column, one transcript a row.

    Returns:
        A row-wise String expression: a format of ``parse``; null where none is recognised, and for null.

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"call": ["WEBVTT\n\n00:01.000 --> 00:02.000\nHi", "[00:01] Ann: Hi", "Dear Ann,"]})
        >>> frame.select(ig.text.transcripts.detect("call")).to_series().to_list()
        ['webvtt', 'generic', None]
    """
    return of_each_text(
        column, lambda text: forms.detect(_plain(text)), pl.String(), where="ig.text.transcripts.detect"
    )


def to_text(column: Column) -> pl.Expr:
    r"""Turns as text that people and models read, and that ``parse`` reads back.

    Args:
        column: A column of turns, as ``parse`` gives them.

    Returns:
        A row-wise String expression: a line ``Name (0:01:02.5): words`` a turn, without the parts that are not known;
        further lines of a turn are indented by two spaces. Null for null.

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"call": ["[01:02] Ann: Hello.\n[01:05] Bo: Hi"]})
        >>> print(frame.select(ig.text.transcripts.to_text(ig.text.transcripts.parse("call"))).item())
        Ann (0:01:02): Hello.
        Bo (0:01:05): Hi
    """
    return _of_turns(column, lambda turns: "\n".join(map(_line, turns)), pl.String(), "ig.text.transcripts.to_text")


def merge_speakers(column: Column) -> pl.Expr:
    r"""Turns of one speaker that follow one another as one turn.

    Args:
        column: A column of turns, as ``parse`` gives them.

    Returns:
        A row-wise expression of type ``TURNS``: the words joined with a space, from the first start to the last end,
        numbered anew. Turns whose speaker is not known stay as they are. Null for null.

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"call": ["Ann: Hello.\nAnn: Are you there?\nBo: Yes"]})
        >>> turns = frame.select(ig.text.transcripts.merge_speakers(ig.text.transcripts.parse("call"))).to_series()[0]
        >>> turns.struct.field("text").to_list()
        ['Hello. Are you there?', 'Yes']
    """
    return _of_turns(column, _merged, TURNS, "ig.text.transcripts.merge_speakers")


def _turns(text: str, form: str | None) -> list[dict[str, Any]]:
    content = _plain(text)
    chosen = form or forms.detect(content)
    if chosen is None:
        return []
    return _numbered(_with_ends(turn for turn in forms.READERS[chosen](content.split("\n")) if turn.text))


def _plain(text: str) -> str:
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _with_ends(turns: Iterator[Turn]) -> list[Turn]:
    known = list(turns)
    for turn, following in pairwise(known):
        if turn.end is None and turn.start is not None and following.start is not None:
            turn.end = max(turn.start, following.start)
    return known


def _numbered(turns: list[Turn]) -> list[dict[str, Any]]:
    return [
        {"index": number, "speaker": turn.speaker, "start": turn.start, "end": turn.end, "text": turn.text}
        for number, turn in enumerate(turns)
    ]


def _of_turns(column: Column, function: Any, returns: pl.DataType, where: str) -> pl.Expr:
    def batch(values: pl.Series) -> pl.Series:
        if values.dtype not in (TURNS, pl.Null):
            raise PlanError(
                f"{where}: the column {values.name!r} is {values.dtype}, not a list of turns. Write "
                f"ig.text.transcripts.parse({values.name!r}) first."
            )
        return in_pieces(values, some, returns)

    def some(rows: list[Any]) -> list[Any]:
        return [None if turns is None else function(turns) for turns in rows]

    return column_of(column, where).map_batches(batch, return_dtype=returns, is_elementwise=True)


def _line(turn: dict[str, Any]) -> str:
    name = turn["speaker"] or ""
    clock = "" if turn["start"] is None else f"({_clock(turn['start'])})"
    words = (turn["text"] or "").replace("\n", "\n  ")
    if not name:
        name = forms.NOBODY
    return f"{name} {clock}: {words}" if clock else f"{name}: {words}"


def _clock(seconds: float) -> str:
    whole, fraction = divmod(round(seconds * 1000), 1000)
    clock = f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
    return f"{clock}.{fraction:03}".rstrip("0").rstrip(".") if fraction else clock


def _merged(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    merged: list[dict[str, Any]] = []
    for turn in turns:
        last = merged[-1] if merged else None
        if last is not None and turn["speaker"] is not None and last["speaker"] == turn["speaker"]:
            last["text"] = f"{last['text']} {turn['text']}"
            last["end"] = turn["end"] if turn["end"] is not None else last["end"]
        else:
            merged.append({**turn, "index": len(merged)})
    return merged
