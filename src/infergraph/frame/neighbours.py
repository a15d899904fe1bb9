"""Rows put together with the rows that mean the most similar: ``sim_join``, and ``search`` for one text.

Both are embed steps and one plain step over their vectors. The right side's rows and vectors are held; the left side
streams through. The temporary vector columns do not leave the step.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from infergraph.errors import PlanError
from infergraph.frame import plan as plans
from infergraph.frame.column_rules import Flow, Reads
from infergraph.frame.compiling import Batches
from infergraph.frame.cores import on_all_cores
from infergraph.frame.doubt_marks import NEAREST
from infergraph.frame.embedding import (
    check_count,
    check_similarity,
    dimensions_of,
    operator_name,
    refuse_model,
    vector_column,
    with_vectors,
)
from infergraph.frame.expressions import conjuncts, roots
from infergraph.frame.frame import SemanticFrame
from infergraph.frame.reading import Reading, Wanted
from infergraph.frame.row_ids import join_hidden
from infergraph.operators.nearest import BLOCK_ROWS, EXACT_PAIRS, Nearest, Report
from infergraph.operators.subject import ColumnArgument
from infergraph.operators.vectors import Mask, Matrix, Places, similarities, unit_vectors

_LOG = logging.getLogger(__name__)
_SCORE = pl.Float32()


def sim_join(
    left: SemanticFrame,
    other: SemanticFrame | pl.LazyFrame | pl.DataFrame,
    left_on: ColumnArgument,
    right_on: ColumnArgument,
    *,
    k: int = 1,
    min_similarity: float | None = None,
    model: str | None = None,
    name: str | None = None,
    similarity: str | None = "similarity",
    suffix: str = "_right",
    method: str = "sim_join",
    lonely: bool = False,
) -> SemanticFrame:
    """Each row with its nearest rows of another frame; see ``.semantic.sim_join``.

    Args:
        left: The rows that look for neighbours.
        other: The rows among which they look.
        left_on: Text, or one column of vectors.
        right_on: The same of ``other``.
        k: Neighbours of a row, at most.
        min_similarity: Least cosine of a neighbour, -1 to 1; ``None``: any.
        model: A model that embeds; ``None``: the session's default model.
        name: Under which the requests are counted, ``<name>.left`` and ``<name>.right``.
        similarity: The column for the cosine; ``None``: none.
        suffix: What columns of ``other`` get whose name the left frame has too.
        method: What errors and ``explain`` call the step.
        lonely: A left row without a neighbour comes too, once, with nulls beside it.
    """
    check_count(k, method)
    least = None if min_similarity is None else check_similarity(min_similarity, method)
    right = left._other(other)
    if vector_column(left_on, left.schema) and vector_column(right_on, right.schema):
        refuse_model(model, method)
    named = operator_name(left, method, name, right)
    one, left_vector = with_vectors(left, left_on, f"__{method}_left", model=model, name=f"{named}.left", method=method)
    two, right_vector = with_vectors(
        right, right_on, f"__{method}_right", model=model, name=f"{named}.right", method=method
    )
    _same_length(one, left_vector, two, right_vector, method)
    pairing = _Pairing(
        left=tuple(left.columns),
        right={column: column + suffix if column in left.schema else column for column in right.columns},
        vectors=(left_vector, right_vector),
        similarity=similarity,
        k=k,
        least=least,
        lonely=lonely,
    )
    pairing.check(method)
    text = f"{_spoken(left_on)}, {_spoken(right_on)}, k={k}" + ("" if least is None else f", min_similarity={least}")
    known = _follows_from_answers(one, two)
    step = plans.step(
        method,
        f"{text}: exact up to {EXACT_PAIRS / 1e9:g} billion pairs",
        [one.node, two.node],
        Reading(label=method, schema=pairing.schema, read=pairing.read, after=pairing.after),
        identity=repr([text, left_vector, right_vector, similarity, suffix, *(["lonely"] if lonely else [])]),
        row_ids="derived",
        blocks=True,
        how=NEAREST,
        most_each=k,
        finds_all=least is None,
        columns=pairing.flow,
        answers=lambda before: before | pairing.added if known else before,
    )
    return SemanticFrame(left.session, step)


class _Pairing:
    """The step of ``sim_join``."""

    def __init__(
        self,
        *,
        left: tuple[str, ...],
        right: dict[str, str],
        vectors: tuple[str, str],
        similarity: str | None,
        k: int,
        least: float | None,
        lonely: bool,
    ) -> None:
        self._lonely = lonely
        self._left = left
        self._right = right
        self._vectors = vectors
        self._similarity = similarity
        self._k = k
        self._least = least

    @property
    def added(self) -> frozenset[str]:
        """Columns beside those of the left frame."""
        return frozenset([*self._right.values(), *([self._similarity] if self._similarity else [])])

    def check(self, method: str) -> None:
        """Raise ``PlanError`` where two columns would have one name."""
        taken = [*self._left, *self._right.values()]
        twice = next((name for name in taken if taken.count(name) > 1), None)
        if twice is not None:
            raise PlanError(f".semantic.{method}: two columns would be called {twice!r}; rename one of them first.")
        if self._similarity in taken:
            raise PlanError(
                f".semantic.{method}: a column is called {self._similarity!r} already, as the new one is; rename or "
                "drop it first."
            )

    def schema(self, inputs: Sequence[pl.Schema], hidden: tuple[str, ...]) -> pl.Schema:
        left, right = inputs
        columns = {name: left[name] for name in self._left}
        columns |= {after: right[name] for name, after in self._right.items()}
        columns |= {self._similarity: _SCORE} if self._similarity else {}
        columns |= {name: left[name] for name in hidden}
        return pl.Schema(columns | {other: right[name] for name, other in _carried(hidden).items()})

    def after(self, rows: pl.LazyFrame, hidden: tuple[str, ...]) -> pl.LazyFrame:
        return join_hidden(rows, hidden, _carried(hidden)) if hidden else rows

    def flow(self, inputs: Sequence[pl.Schema], output: pl.Schema) -> Flow:
        found_by = Reads(columns=frozenset({(0, self._vectors[0]), (1, self._vectors[1])}))
        values = {name: Reads(columns=frozenset({(0, name)})) for name in self._left}
        values |= {after: Reads(columns=frozenset({(1, name)})) for name, after in self._right.items()}
        return Flow(values=values | ({self._similarity: found_by} if self._similarity else {}), rows=found_by)

    def read(self, inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...], wanted: Wanted) -> Iterator[pl.DataFrame]:
        theirs = self._vectors[1]
        renamed = self._right | _carried(hidden)
        held = [name for name, after in renamed.items() if after in wanted.columns]
        right = inputs[1].select(list(dict.fromkeys([*held, theirs]))).collect(engine="streaming")
        if wanted.stopped():
            return
        vectors, known = unit_vectors(right[theirs])
        right = right.select(held).rename({name: renamed[name] for name in held})
        with on_all_cores() as each:
            nearest = Nearest(vectors, known, k=self._k, least=self._least, each=each)
            yield from self._pairs(inputs[0], hidden, wanted, nearest, right)
        tell_recall(nearest.report, "sim_join")

    def _pairs(
        self, rows: pl.LazyFrame, hidden: tuple[str, ...], wanted: Wanted, nearest: Nearest, right: pl.DataFrame
    ) -> Iterator[pl.DataFrame]:
        """The left rows with their neighbours, block by block."""
        ours = self._vectors[0]
        kept = [name for name in (*self._left, *hidden) if name in wanted.columns]
        left = rows if wanted.n_rows is not None else _filtered(rows, wanted.predicate, self._left)
        columns = list(dict.fromkeys([*kept, ours]))
        # Where only the first pairs are wanted, a row more than needed is a call more than needed.
        size = BLOCK_ROWS if wanted.n_rows is None else max(1, min(BLOCK_ROWS, wanted.n_rows))
        batches = left.select(columns).collect_batches(chunk_size=size, maintain_order=True, engine="streaming")
        for block in blocks(batches, size):
            if wanted.stopped():
                return
            found, places, scores = nearest.of(*unit_vectors(block[ours]), wanted.stopped)
            beside = pl.Series(places, dtype=pl.UInt32)
            cosines = pl.Series(self._similarity or "", scores, dtype=_SCORE)
            if self._lonely:
                found, beside, cosines = _with_lonely(block.height, found, beside, cosines)
            # Polars counts rows by one column, which may be any: no columns have no rows to take.
            parts = [block.select(kept)[found]] if kept else []
            parts += [right.select(pl.all().gather(beside))] if right.width else []
            parts += [cosines.to_frame()] if self._similarity else []
            yield pl.concat(parts, how="horizontal")


def _with_lonely(
    height: int, rows: Places, beside: pl.Series, cosines: pl.Series
) -> tuple[Places, pl.Series, pl.Series]:
    """The neighbours of a block's rows, and each row that has none with nulls, in its place."""
    alone = np.setdiff1d(np.arange(height), rows)
    every = np.concatenate([rows, alone])
    order = np.argsort(every, kind="stable")
    nulls = [pl.Series(column.name, [None] * len(alone), dtype=column.dtype) for column in (beside, cosines)]
    columns = [column.append(none).gather(order) for column, none in zip((beside, cosines), nulls, strict=True)]
    return every[order], columns[0], columns[1]


def search(
    frame: SemanticFrame,
    column: ColumnArgument,
    query: str,
    *,
    k: int,
    model: str | None = None,
    name: str | None = None,
) -> SemanticFrame:
    """The rows nearest to a text; see ``.semantic.search``."""
    check_count(k, "search")
    if not isinstance(query, str) or not query.strip():
        raise PlanError(f".semantic.search: query={query!r}: give a text to look for, such as 'a refund for a lamp'.")
    named = operator_name(frame, "search", name)
    rows, vector = with_vectors(frame, column, "__search_vector", model=model, name=named, method="search")
    asked = frame.session.frame(pl.DataFrame({"query": [query]}), name="query")
    one, wanted = with_vectors(asked, "query", "__search_query", model=model, name=f"{named}.query", method="search")
    _same_length(rows, vector, one, wanted, "search")
    if "similarity" in frame.schema:
        raise PlanError(
            ".semantic.search: a column is called 'similarity' already, as the new one is; rename or drop it first."
        )
    finding = _Finding(columns=tuple(frame.columns), vector=vector, query=wanted, k=k)
    step = plans.step(
        "search",
        f"{_spoken(column)}, {query!r}, k={k}",
        [rows.node, one.node],
        Reading(label="search", schema=finding.schema, read=finding.read),
        identity=repr([_spoken(column), vector, query, k]),
        blocks=True,
        most_rows=k,
        how=NEAREST,
        columns=finding.flow,
        answers=lambda before: before | {"similarity"},
    )
    return SemanticFrame(frame.session, step)


class _Finding:
    """The step of ``search``."""

    def __init__(self, *, columns: tuple[str, ...], vector: str, query: str, k: int) -> None:
        self._columns = columns
        self._vector = vector
        self._query = query
        self._k = k

    def schema(self, inputs: Sequence[pl.Schema], hidden: tuple[str, ...]) -> pl.Schema:
        columns = {name: inputs[0][name] for name in self._columns}
        return pl.Schema(columns | {"similarity": _SCORE} | {name: inputs[0][name] for name in hidden})

    def flow(self, inputs: Sequence[pl.Schema], output: pl.Schema) -> Flow:
        found_by = Reads(columns=frozenset({(0, self._vector), (1, self._query)}))
        values = {name: Reads(columns=frozenset({(0, name)})) for name in self._columns}
        return Flow(values=values | {"similarity": found_by}, rows=found_by)

    def read(self, inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...], wanted: Wanted) -> Iterator[pl.DataFrame]:
        query, has_query = unit_vectors(inputs[1].select(self._query).collect(engine="streaming")[self._query])
        if wanted.stopped():
            return
        kept = [name for name in (*self._columns, *hidden) if name in wanted.columns]
        columns = list(dict.fromkeys([*kept, self._vector]))
        batches = (
            inputs[0].select(columns).collect_batches(chunk_size=BLOCK_ROWS, maintain_order=True, engine="streaming")
        )
        best: pl.DataFrame | None = None
        for batch in batches:
            if wanted.stopped():
                return
            found = self._scored(batch, kept, query, has_query)
            best = found if best is None else pl.concat([best, found])
            # Equal rows keep their order: what came first is first here too.
            best = best.sort("similarity", descending=True, maintain_order=True).head(self._k)
        if best is not None:
            yield best

    def _scored(self, batch: pl.DataFrame, kept: Sequence[str], query: Matrix, has_query: Mask) -> pl.DataFrame:
        vectors, known = unit_vectors(batch[self._vector])
        rows = np.flatnonzero(known & (has_query.any() if len(has_query) else False))
        scores = similarities(vectors[rows], np.broadcast_to(query[:1], (len(rows), vectors.shape[1])))
        similarity = pl.Series("similarity", scores, dtype=_SCORE)
        return batch.select(kept)[rows].with_columns(similarity) if kept else similarity.to_frame()


def blocks(batches: Batches, rows: int) -> Batches:
    """The same rows in blocks of so many, the last one smaller: what is computed does not depend on how they came."""
    waiting: list[pl.DataFrame] = []
    count = 0
    for batch in batches:
        waiting.append(batch)
        count += batch.height
        if count >= rows:
            whole = pl.concat(waiting)
            end = count - count % rows
            for start in range(0, end, rows):
                yield whole.slice(start, rows)
            waiting, count = [whole.slice(end)], count - end
    if count:
        yield pl.concat(waiting)


def tell_recall(report: Report, method: str) -> None:
    """Say how many true neighbours were found, where they were not all looked for."""
    if report.approximate_rows:
        _LOG.warning(
            "%s: %s rows were compared with the rows nearest by cell (%s of %s cells), %s with all rows; recall %.3f, "
            "measured on %s true neighbours",
            method, f"{report.approximate_rows:,}", report.probes, report.cells, f"{report.exact_rows:,}",
            report.recall, f"{report.expected:,}",
        )  # fmt: skip


def _filtered(rows: pl.LazyFrame, predicate: pl.Expr | None, columns: Sequence[str]) -> pl.LazyFrame:
    """Without the rows that a condition on their own columns drops anyway; what is asked for them is saved."""
    for condition in [] if predicate is None else conjuncts(predicate):
        if roots(condition).issubset(columns):
            rows = rows.filter(condition)
    return rows


def _carried(hidden: tuple[str, ...]) -> dict[str, str]:
    return {name: f"{name}__other" for name in hidden}


def _follows_from_answers(*frames: SemanticFrame) -> bool:
    """Whether an answer may say which rows are found."""
    return any(frame.node.answers or plans.operator_steps(frame.node) for frame in frames)


def _same_length(one: SemanticFrame, left: str, other: SemanticFrame, right: str, method: str) -> None:
    lengths = dimensions_of(one, left), dimensions_of(other, right)
    if lengths[0] != lengths[1]:
        raise PlanError(
            f".semantic.{method}: vectors of {lengths[0]} and of {lengths[1]} numbers cannot be compared; both sides "
            "need vectors of the same model."
        )


def _spoken(column: ColumnArgument) -> str:
    if isinstance(column, (str, pl.Expr)):
        return str(column)
    return "[" + ", ".join(map(str, column)) + "]"
