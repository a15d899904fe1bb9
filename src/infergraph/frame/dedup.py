"""Rows that mean the same become one: the first of them, in the frame's order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from infergraph.frame import plan as plans
from infergraph.frame.column_rules import Flow, Reads
from infergraph.frame.cores import on_all_cores
from infergraph.frame.embedding import check_similarity, operator_name, refuse_model, vector_column, with_vectors
from infergraph.frame.frame import SemanticFrame
from infergraph.frame.neighbours import tell_recall
from infergraph.frame.reading import Reading, Wanted
from infergraph.frame.row_ids import MERGED_TYPE, PARENT, ROW_ID
from infergraph.operators.alike import Merge, merges
from infergraph.operators.nearest import EXACT_PAIRS
from infergraph.operators.subject import ColumnArgument
from infergraph.operators.vectors import unit_vectors


def dedup(
    frame: SemanticFrame,
    column: ColumnArgument,
    *,
    min_similarity: float,
    model: str | None = None,
    name: str | None = None,
) -> SemanticFrame:
    """The rows without those that mean the same as an earlier one; see ``.semantic.dedup``."""
    least = check_similarity(min_similarity, "dedup")
    if vector_column(column, frame.schema):
        refuse_model(model, "dedup")
    named = operator_name(frame, "dedup", name)
    rows, vector = with_vectors(frame, column, "__dedup_vector", model=model, name=named, method="dedup")
    merging = _Merging(columns=tuple(frame.columns), vector=vector, least=least)
    spoken = column if isinstance(column, str) else str(column)
    step = plans.step(
        "dedup",
        f"{spoken}, min_similarity={least}: exact up to {EXACT_PAIRS / 1e9:g} billion pairs",
        [rows.node],
        Reading(label="dedup", schema=merging.schema, read=merging.read),
        identity=repr([spoken, vector, least]),
        row_ids="merged",
        blocks=True,
        columns=merging.flow,
    )
    return SemanticFrame(frame.session, step)


class _Merging:
    """The step of ``dedup``."""

    def __init__(self, *, columns: tuple[str, ...], vector: str, least: float) -> None:
        self._columns = columns
        self._vector = vector
        self._least = least

    def schema(self, inputs: Sequence[pl.Schema], hidden: tuple[str, ...]) -> pl.Schema:
        columns = {name: inputs[0][name] for name in self._columns}
        return pl.Schema(columns | {name: MERGED_TYPE if name == PARENT else inputs[0][name] for name in hidden})

    def flow(self, inputs: Sequence[pl.Schema], output: pl.Schema) -> Flow:
        values = {name: Reads(columns=frozenset({(0, name)})) for name in self._columns}
        return Flow(values=values, rows=Reads(columns=frozenset({(0, self._vector)})))

    def read(self, inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...], wanted: Wanted) -> Iterator[pl.DataFrame]:
        kept = [name for name in (*self._columns, *hidden) if name in wanted.columns and name != PARENT]
        traced = PARENT in wanted.columns
        columns = dict.fromkeys([*kept, self._vector, *([ROW_ID] if traced else [])])
        rows = inputs[0].select(list(columns)).collect(engine="streaming")
        if wanted.stopped():
            return
        vectors, known = unit_vectors(rows[self._vector])
        if self._vector not in kept:
            rows = rows.drop(self._vector)
        with on_all_cores() as each:
            found, report = merges(vectors, known, self._least, stopped=wanted.stopped, each=each)
        if wanted.stopped():
            return
        tell_recall(report, "dedup")
        stays = np.ones(rows.height, dtype=np.bool_)
        stays[[merge.row for merge in found]] = False
        if traced:
            rows = rows.with_columns(_why(found, rows[ROW_ID]))
        yield rows.filter(pl.Series(stays))


def _why(found: Sequence[Merge], ids: pl.Series) -> pl.Series:
    """For each row the ids of those that were merged into it, and why."""
    why: dict[int, list[dict[str, str]]] = {}
    for merge in found:
        like = "this row" if merge.like == merge.into else f"row {ids[merge.like]}, which was merged too"
        why.setdefault(merge.into, []).append({"parent": ids[merge.row], "part": f"{merge.similarity:.3f} like {like}"})
    return pl.Series(PARENT, [why.get(row) for row in range(len(ids))], dtype=MERGED_TYPE)
