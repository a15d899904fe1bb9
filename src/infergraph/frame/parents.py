"""From which rows a run made others, written down while it goes on.

Steps that make new rows (``explode``, ``unpivot``, joins, groups) carry the ids of the rows that they read in hidden
columns; a function at the end of the step takes child and parents from them. A step that rows cannot be followed
through leaves a line that says so. Sources write nothing: a source's ids follow from its rows, and are computed again
when somebody traces one; what is kept is which columns named the rows. Estimates and explanations record nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from threading import Lock

import polars as pl

from infergraph.frame import plan as plans
from infergraph.frame.lineage_rows import LineageRows
from infergraph.frame.row_ids import OTHER_PARENT, PARENT, ROW_ID, RowNumberer
from infergraph.lineage import SourceRead, SourceRow

_PARENTS = (PARENT, OTHER_PARENT)


class ParentRecorder:
    """Writes the edges of one run.

    Args:
        lineage: Takes a row for each child and parent, and one for each row whose trace ends at a step.
    """

    def __init__(self, lineage: LineageRows) -> None:
        self._lineage = lineage
        self._lock = Lock()
        self._named_by: dict[int, list[tuple[str, ...]]] = {}

    def named(self, source: plans.Source, columns: Sequence[str]) -> None:
        """Take note of the columns by which a source's rows were named."""
        with self._lock:
            known = self._named_by.setdefault(id(source), [])
            if tuple(columns) not in known:
                known.append(tuple(columns))

    def sources(self, node: plans.Node) -> list[SourceRead]:
        """The plan's sources, with what named their rows in this run; those that nobody read are left out."""
        return [
            SourceRead(
                name=source.name,
                key=source.key,
                carries_ids=source.carries_ids,
                named_by=tuple(self._named_by.get(id(source), ())),
                data=source.data,
            )
            for source in plans.walk(node)
            if isinstance(source, plans.Source) and (source.carries_ids or id(source) in self._named_by)
        ]

    def applied(self, step: plans.Step, inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...]) -> pl.LazyFrame:
        """The step's lazy frame, which writes down where its rows come from as they are made."""
        if step.row_ids == "kept":
            return step.apply(inputs, hidden)
        if step.row_ids == "new":
            return _tapped(step.apply(inputs, hidden), (), self._ends(f"{step.method}({step.text})"))
        if step.row_ids == "merged":
            return _tapped(step.apply(inputs, (*hidden, PARENT)), (PARENT,), self._merges(step.method))
        marked = [frame.with_columns(pl.col(ROW_ID).alias(PARENT)) for frame in inputs]
        return _tapped(step.apply(marked, (*hidden, PARENT)), _PARENTS[: len(inputs)], self._edges(step.method))

    def _edges(self, method: str) -> Callable[[pl.DataFrame], None]:
        def write(rows: pl.DataFrame) -> None:
            for column in rows.columns[1:]:
                self._lineage.made(rows[ROW_ID], rows[column], method)

        return write

    def _merges(self, method: str) -> Callable[[pl.DataFrame], None]:
        """Rows that were merged into each row, with why, as parents of a row that keeps its id."""

        def write(rows: pl.DataFrame) -> None:
            merged = rows.select(pl.col(ROW_ID).alias("row_id"), PARENT).explode(PARENT).drop_nulls(PARENT)
            if merged.height:
                # Branches that were put under one another bring the same row twice.
                edges = merged.unnest(PARENT).filter(pl.col("parent") != pl.col("row_id"))
                self._lineage.merged(edges, method)

        return write

    def _ends(self, said: str) -> Callable[[pl.DataFrame], None]:
        def write(rows: pl.DataFrame) -> None:
            self._lineage.ended(rows[ROW_ID], said)

        return write


def derives_twice(node: plans.Node) -> bool:
    """Whether a step that makes new rows is read by two branches, and so makes them twice."""
    readers: dict[int, int] = {}
    for current in plans.walk(node):
        for before in current.inputs:
            readers[id(before)] = readers.get(id(before), 0) + 1
    return any(
        readers.get(id(current), 0) > 1
        and any(isinstance(below, plans.Step) and below.row_ids != "kept" for below in plans.walk(current))
        for current in plans.walk(node)
    )


def _tapped(made: pl.LazyFrame, parents: Sequence[str], write: Callable[[pl.DataFrame], None]) -> pl.LazyFrame:
    def note(rows: pl.Series) -> pl.Series:
        if len(rows):
            write(rows.struct.unnest())
        return rows.struct.field(ROW_ID)

    told = pl.struct(ROW_ID, *parents).map_batches(note, return_dtype=pl.String, is_elementwise=True)
    return made.with_columns(told.alias(ROW_ID)).drop(*parents)


class SourceFinder:
    """Finds rows of a run's sources by their ids, which are computed again.

    Args:
        sources: What the run read, with its data.
    """

    def __init__(self, sources: Sequence[SourceRead]) -> None:
        self._sources = sources

    def __call__(self, row_ids: Sequence[str]) -> dict[str, SourceRow]:
        """The source rows with these ids; those that are nowhere are left out."""
        found: dict[str, SourceRow] = {}
        for source in self._sources:
            for columns in [()] if source.carries_ids else source.named_by:
                left = [row_id for row_id in row_ids if row_id not in found]
                if left:
                    found.update(_rows_of(source, columns, left))
        return found


def _rows_of(source: SourceRead, columns: Sequence[str], wanted: Sequence[str]) -> dict[str, SourceRow]:
    named_by = source.key or columns
    return {
        row_id: SourceRow(source=source.name, key={name: row[name] for name in named_by}, values=row)
        for batch in numbered(source, columns, wanted)
        for row in batch.iter_rows(named=True)
        for row_id in [str(row.pop(ROW_ID))]
    }


def numbered(source: SourceRead, columns: Sequence[str], wanted: Sequence[str]) -> list[pl.DataFrame]:
    """The source's rows with these ids, their ids in ``_row_id``; it is read until all are found.

    Args:
        source: A source of a run, with its data.
        columns: What named the rows; not looked at where they carry ids.
        wanted: Row ids.
    """
    if source.carries_ids:
        return [source.data.filter(pl.col(ROW_ID).is_in(list(wanted))).collect(engine="streaming")]
    found: list[pl.DataFrame] = []
    left = set(wanted)
    for batch in numbered_batches(source, columns):
        rows = batch.filter(pl.col(ROW_ID).is_in(list(left)))
        if rows.height:
            found.append(rows)
            left -= set(rows[ROW_ID])
        if not left:
            break
    return found


def numbered_batches(source: SourceRead, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """All rows of a source that carries no ids, with the ids in ``_row_id`` that a run gives them.

    Args:
        source: A source of a run, with its data.
        columns: What named the rows.
    """
    numberer = RowNumberer(source.name, columns)
    for batch in source.data.collect_batches(maintain_order=True, engine="streaming"):
        yield batch.with_columns(numberer.ids(batch).alias(ROW_ID))
