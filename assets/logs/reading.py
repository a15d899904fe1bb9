"""Reading log files: errors with their stack traces, and what is the same in all errors of one kind."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

ERRORS = ("ERROR", "CRITICAL")
LINES = pl.Schema(
    {
        "file": pl.String(),
        "line": pl.Int64(),
        "time": pl.Datetime("ms", "UTC"),
        "level": pl.String(),
        "service": pl.String(),
        "message": pl.String(),
        "trace": pl.String(),
        "template": pl.String(),
    }
)
_ENTRY = re.compile(
    r"^(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3})Z (?P<level>[A-Z]+) (?P<service>\S+) "
    r"(?:\[[^]]*\] )?(?P<message>.*)$"
)
_VARYING = re.compile(r"\b(?:0x)?(?=[0-9a-f]*\d)[0-9a-f]{6,}\b|\d+(?:[.:]\d+)*")


def read_logs(folder: Path) -> pl.DataFrame:
    """The errors of all ``.log`` files in a folder.

    Args:
        folder: Holds files of lines such as ``2026-11-03T09:12:01.250Z ERROR billing [req-1] message``; lines without a
            time belong to the entry before them.

    Returns:
        ``LINES``, one row an entry of a level in ``ERRORS``, by file and line.
    """
    rows = [row for path in sorted(folder.glob("*.log")) for row in _errors(path)]
    return pl.DataFrame(rows, schema=LINES, orient="row")


def template_of(message: str) -> str:
    """A message with ``#`` in place of numbers and ids, so that errors of one kind read alike.

    Example:
        >>> template_of("session 9f3a01bc rejected after 12.5 s, user 3312")
        'session # rejected after # s, user #'
    """
    return _VARYING.sub("#", message)


def _errors(path: Path) -> Iterator[tuple[str, int, datetime, str, str, str, str | None, str]]:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    begun = [(number, found) for number, line in enumerate(lines) if (found := _ENTRY.match(line)) is not None]
    ends = [number for number, _ in begun[1:]] + [len(lines)]
    for (number, entry), end in zip(begun, ends, strict=True):
        if entry["level"] in ERRORS:
            trace = "\n".join(lines[number + 1 : end]) or None
            time = datetime.fromisoformat(entry["time"]).replace(tzinfo=UTC)
            message = entry["message"]
            yield path.name, number + 1, time, entry["level"], entry["service"], message, trace, template_of(message)
