"""The lineage rows of a run, gathered while it goes on: which request answered a row, and which rows it was made from.

A morsel's lines are few, and a frame or a file for each would cost more than what is in them. So they wait as they
come, and thousands at a time become a frame; hashes become text only then, all at once. What a run without calls spends
on its lineage is mostly this and the one writing of the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import polars as pl

from infergraph.calls.asks import Outcome
from infergraph.frame.parts import PartsFile
from infergraph.store.hashes import PREFIX

LINEAGE_SCHEMA = pl.Schema(
    {
        "row_id": pl.String(),
        "operator": pl.String(),
        "model": pl.String(),
        "request_hash": pl.String(),
        "source": pl.String(),
        "via": pl.String(),
        "kept": pl.Boolean(),
        "parent": pl.String(),
        "part": pl.String(),
    }
)
"""One row for each row and operator that needed an answer, ``source`` as in ``calls.asks.Outcome`` (``request_hash``
is null where an image of the row could not be sent), ``kept`` whether a semantic filter let it pass (null: the
operator is no filter), ``part`` which of the row's questions it is (null: it has one; those of several are in the order
in which they were asked); one for each row and row that it was made from (``parent``, with the step's name as
``operator``, and in ``part`` why, where the parent was merged into the row); one for each row whose trace ends at a
step (``operator`` alone).
"""
PART = "part"
"""Column of lineage that tells a row's questions apart; rejects have it too until they are written out."""
_NAMES = ("row_id", "operator", "parent", PART)
"""Columns that tell lineage rows apart where a plan meets its rows twice."""
_GATHERED_ROWS = 16_384
# Rows of 200 bytes: a run of some 100,000 rows writes its file in one go.
_PART_ROWS = 262_144


class LineageRows:
    """Gathers the lineage rows of one run and writes them to ``lineage.parquet``; safe from several threads.

    Args:
        folder: Where the file goes; it exists.
        met_twice: Whether the plan may meet a row at one step twice; each row is listed once.
    """

    def __init__(self, folder: Path, *, met_twice: bool) -> None:
        once_by = _NAMES if met_twice else ()
        self._file = PartsFile(folder, "lineage", LINEAGE_SCHEMA, once_by, part_rows=_PART_ROWS)
        self._lock = Lock()
        self._answered = _Answered()
        self._made: list[tuple[pl.Series, pl.Series, str]] = []
        self._made_rows = 0

    def answered(
        self,
        row_ids: pl.Series,
        operator: str,
        endings: Sequence[Outcome],
        *,
        kept: Sequence[bool] | None = None,
        parts: Sequence[str] | None = None,
    ) -> None:
        """Rows and what an operator's requests for them came to.

        Args:
            row_ids: The rows.
            operator: The operator's name.
            endings: One a row.
            kept: Whether the operator, a filter, let each pass; ``None``: it is no filter.
            parts: Which of the row's questions each is; ``None``: rows have one.
        """
        with self._lock:
            self._answered.add(row_ids, operator, endings, kept, parts)
            if len(self._answered.operators) >= _GATHERED_ROWS:
                self._flush_answered()

    def made(self, row_ids: pl.Series, parents: pl.Series, step: str) -> None:
        """Rows that a step made.

        Args:
            row_ids: The new rows.
            parents: The row, or the list of rows, that each was made from; null: none.
            step: The step's method.
        """
        with self._lock:
            self._made.append((row_ids, parents, step))
            self._made_rows += len(row_ids)
            if self._made_rows >= _GATHERED_ROWS:
                self._flush_made()

    def merged(self, edges: pl.DataFrame, step: str) -> None:
        """Rows that were merged into others: ``row_id``, ``parent`` and, in ``part``, why."""
        self._file.add(edges.with_columns(pl.lit(step).alias("operator")))

    def ended(self, row_ids: pl.Series, step: str) -> None:
        """Rows that cannot be followed further back than this step."""
        lines = pl.DataFrame([row_ids.alias("row_id")])
        self._file.add(lines.with_columns(pl.lit(step).alias("operator")))

    def finish(self) -> Path:
        """Write what is left and return the file."""
        with self._lock:
            self._flush_answered()
            self._flush_made()
        return self._file.finish()

    def _flush_answered(self) -> None:
        if self._answered.operators:
            self._file.add(self._answered.frame())
        self._answered = _Answered()

    def _flush_made(self) -> None:
        for step in dict.fromkeys(step for _, _, step in self._made):
            of_step = [(rows, parents) for rows, parents, made_by in self._made if made_by == step]
            edges = pl.DataFrame(
                [
                    pl.concat([rows for rows, _ in of_step]).alias("row_id"),
                    pl.concat([parents for _, parents in of_step]).alias("parent"),
                ]
            )
            if isinstance(edges.schema["parent"], pl.List):
                edges = edges.explode("parent")
            if edges["parent"].null_count():
                edges = edges.drop_nulls("parent")
            self._file.add(edges.with_columns(pl.lit(step).alias("operator")))
        self._made = []
        self._made_rows = 0


class _Answered:
    """Answered rows as columns of Python values, which cost least to add to."""

    def __init__(self) -> None:
        self.operators: list[str] = []
        self._row_ids: list[pl.Series] = []
        self._models: list[str] = []
        self._hashes: list[bytes] = []
        self._sources: list[str] = []
        self._via: list[str] = []
        self._kept: list[bool | None] = []
        self._parts: list[str | None] = []

    def add(
        self,
        row_ids: pl.Series,
        operator: str,
        endings: Sequence[Outcome],
        kept: Sequence[bool] | None,
        parts: Sequence[str] | None,
    ) -> None:
        self._row_ids.append(row_ids)
        self.operators += [operator] * len(endings)
        self._models += [ending.model for ending in endings]
        self._hashes += [ending.hash for ending in endings]
        self._sources += [ending.source for ending in endings]
        self._via += [ending.via for ending in endings]
        self._kept += [None] * len(endings) if kept is None else kept
        self._parts += [None] * len(endings) if parts is None else parts

    def frame(self) -> pl.DataFrame:
        asked = self._hashes if all(self._hashes) else [value or None for value in self._hashes]
        hashes = pl.Series(asked, dtype=pl.Binary)
        return pl.DataFrame(
            [
                pl.concat(self._row_ids).alias("row_id"),
                pl.Series("operator", self.operators, dtype=pl.String),
                pl.Series("model", self._models, dtype=pl.String),
                (PREFIX + hashes.bin.encode("hex")).alias("request_hash"),
                pl.Series("source", self._sources, dtype=pl.String),
                pl.Series("via", self._via, dtype=pl.String),
                pl.Series("kept", self._kept, dtype=pl.Boolean),
                pl.Series(PART, self._parts, dtype=pl.String),
            ]
        )
