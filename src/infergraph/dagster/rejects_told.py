"""What Dagster's event log is told about rejects: how many, why, and the first few.

Event logs are kept for long and shown to many, so what customers and models wrote stays out of them: no prompt, no
response, and no part of either that a message repeats. ``infergraph rejects`` shows all of it.
"""

from __future__ import annotations

import re

import dagster as dg
import polars as pl

from infergraph.models.redact import redact

SAMPLE = 5
LEFT_OUT = "[...]"
_MOST = 300
_COLUMNS = ("row_id", "operator", "reason", "message")
# Reasons whose message may be what the model said.
_SAID_BY_THE_MODEL = ("refused", "content_filtered")
# How ``validation`` repeats a value: see ``parsing._problem`` and ``ChoiceAnswer``.
_REPEATED = re.compile(r" \(given: .*\)|^.* (?=is not allowed\. Answer with JSON)", re.MULTILINE)
_QUOTED = re.compile(r"\'[^\'\n]+\'|\"[^\"\n]+\"")
_RUN = 3


def reject_reasons(rejects: pl.LazyFrame) -> dict[str, int]:
    """How many rejects there are of each reason, the most frequent first."""
    counted = rejects.group_by(pl.col("reason").cast(pl.String)).len().collect()
    return dict(counted.sort("len", "reason", descending=[True, False]).iter_rows())


def rejects_sample(rejects: pl.LazyFrame) -> dg.MetadataValue[dg.TableMetadataValue]:
    """The first rejects as a table, without what prompts and responses say.

    Args:
        rejects: The rejects of a run.

    Returns:
        At most 5 records: ``row_id``, ``operator``, ``reason``, ``message``.
    """
    rows = rejects.select(pl.col(*_COLUMNS, "prompt", "response").cast(pl.String)).head(SAMPLE).collect()
    records = []
    for row in rows.iter_rows(named=True):
        told = {**row, "message": _without_repeats(row["message"] or "", row)}
        records.append(dg.TableRecord({name: redact(told[name] or "")[:_MOST] for name in _COLUMNS}))
    schema = dg.TableSchema(columns=[dg.TableColumn(name=name) for name in _COLUMNS])
    return dg.MetadataValue.table(records=records, schema=schema)


def _without_repeats(message: str, row: dict[str, str | None]) -> str:
    if row["reason"] in _SAID_BY_THE_MODEL:
        return ""
    content = (row["prompt"] or "").rpartition("[user]\n")[2]
    return without_repeats(_REPEATED.sub("", message), (content, row["response"] or ""))


def without_repeats(message: str, texts: tuple[str, ...]) -> str:
    """A message without what it has in common with texts: quoted words, and runs of three words or more.

    Example:
        >>> without_repeats("the total is one of: 12.50 and 10.00", ("Pay one of: 12.50 and 10.00 now",))
        'the total is [...]'
    """
    common = [match.group() for match in _QUOTED.finditer(message) if any(match.group()[1:-1] in t for t in texts)]
    for quoted in common:
        message = message.replace(quoted, LEFT_OUT)
    words = re.split(r"(\s+)", message)
    repeated: set[int] = set()
    for start in range(0, len(words) - 2 * _RUN + 2, 2):
        if any("".join(words[start : start + 2 * _RUN - 1]) in text for text in texts):
            repeated.update(range(start, start + 2 * _RUN - 1))
    kept = [LEFT_OUT if place in repeated else word for place, word in enumerate(words)]
    return re.sub(r"(?:\[\.\.\.\]\s*){2,}", LEFT_OUT, "".join(kept))
