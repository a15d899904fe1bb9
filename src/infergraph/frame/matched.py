"""The last step of a join by meaning that keeps left rows: pairs with their answers become the join's rows.

``semi`` and ``anti`` give left rows that have, or have not, a pair for which the sentence is true; ``left`` gives
those pairs, and the left rows without one once. An undecided pair is no match. What comes out of one left row stands
where the left row stood.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl

from infergraph.frame import plan as plans
from infergraph.frame.column_rules import Flow, Reads
from infergraph.frame.compiling import Activity
from infergraph.frame.doubt_marks import FOG, MAYBE, PERHAPS, UNKNOWN
from infergraph.frame.expressions import conjuncts, roots
from infergraph.frame.keys import KEY_PREFIX, group_key
from infergraph.frame.pairs import BATCH_ROWS, LEFT_ID, MATCH, PAIR, ROW, PairColumns
from infergraph.frame.reading import Reading, Wanted
from infergraph.frame.row_ids import DOUBT, DOUBT_TYPE, PARENT, ROW_ID, derived_id
from infergraph.frame.true_types import Apply

OuterHow = Literal["left", "semi", "anti"]
_IDS, _PARENTS = "__join_ids", "__join_parents"


@dataclass(frozen=True, kw_only=True)
class Matched:
    """Makes the join's rows of its answered pairs; the ``apply`` of the step."""

    how: OuterHow
    columns: PairColumns

    def step(self, pairs: plans.Node) -> plans.Step:
        """The plain step behind the operator."""
        text = {"left": "all left rows, each with its matches", "semi": "left rows with a match"}.get(
            self.how, "left rows without a match"
        )
        return plans.step("matched", text, [pairs], self, identity=self.how, row_ids="derived", columns=self._rule)

    def __call__(self, inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...]) -> pl.LazyFrame:
        """The rows, hidden columns last."""
        return self._reading(inputs, hidden)

    def tracked(self, activity: Activity) -> Apply:
        """The same, stopped with a run or an estimate."""
        return self._reading.tracked(activity)

    @property
    def _reading(self) -> Reading:
        return Reading(label="matched", schema=self._schema, read=self._read)

    def _schema(self, inputs: Sequence[pl.Schema], hidden: tuple[str, ...]) -> pl.Schema:
        return self._of(pl.LazyFrame(schema=inputs[0]), hidden).collect_schema()

    def _read(self, inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...], wanted: Wanted) -> Iterator[pl.DataFrame]:
        """The rows as they are decided: the pairs of one left row stand together."""
        pairs = inputs[0]
        for condition in [] if wanted.predicate is None or wanted.n_rows is not None else conjuncts(wanted.predicate):
            if roots(condition).issubset(self.columns.left):
                pairs = pairs.filter(condition)  # of a left row that nobody wants no pair is asked about
        narrow = self._narrowed(wanted.columns)
        pairs = pairs.select(*narrow.columns.schema, ROW, LEFT_ID, PAIR, MATCH, *hidden)
        open_pairs: list[pl.DataFrame] = []
        for batch in pairs.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True, engine="streaming"):
            if wanted.stopped():
                return
            if batch.is_empty():
                continue
            last = batch.select(pl.col(ROW).eq_missing(pl.col(ROW).last())).to_series()
            if open_pairs and batch[ROW].first() == open_pairs[-1][ROW].last() and last.all():
                open_pairs.append(batch)
                continue
            whole = pl.concat([*open_pairs, batch.filter(~last)])
            open_pairs = [batch.filter(last)]
            if whole.height:
                yield narrow._of(whole.lazy(), hidden).collect()
        if open_pairs:
            yield narrow._of(pl.concat(open_pairs).lazy(), hidden).collect()

    def _narrowed(self, wanted: Sequence[str]) -> Matched:
        """The same with no more columns than are wanted."""
        columns = self.columns
        right = {name: dtype for name, dtype in columns.right.items() if columns.names[name] in wanted}
        # One of them says how many matches there are.
        right = right or dict(list(columns.right.items())[:1])
        left = {name: dtype for name, dtype in columns.left.items() if name in wanted}
        return replace(self, columns=replace(columns, left=pl.Schema(left), right=pl.Schema(right)))

    def _of(self, pairs: pl.LazyFrame, hidden: tuple[str, ...]) -> pl.LazyFrame:
        """The rows that come of all pairs of some left rows."""
        rows = self._with_matches(pairs, hidden) if self.how == "left" else self._left_rows(pairs, hidden)
        return rows.select(*self._output, *hidden)

    @property
    def _output(self) -> list[str]:
        return list(self.columns.schema if self.how == "left" else self.columns.left)

    @property
    def _right(self) -> list[str]:
        return [self.columns.names[name] for name in self.columns.right]

    def _grouped(self, pairs: pl.LazyFrame, hidden: tuple[str, ...], *more: pl.Expr) -> pl.LazyFrame:
        """One row for each left row, in order."""
        carried = [group_key(name) for name in hidden if name.startswith(KEY_PREFIX)]
        carried += [pl.col(DOUBT).max()] if DOUBT in hidden else []
        if PARENT in hidden:
            asked = pl.col(PAIR) if self.how != "semi" else pl.col(PAIR) & pl.col(MATCH)
            carried.append(pl.col(PARENT).filter(asked).alias(_PARENTS))
        first = pl.col(*self.columns.left, LEFT_ID).first()
        return pairs.group_by(ROW, maintain_order=True).agg(first, *carried, *more)

    def _left_rows(self, pairs: pl.LazyFrame, hidden: tuple[str, ...]) -> pl.LazyFrame:
        grouped = self._grouped(pairs, hidden, pl.col(MATCH).any())
        kept = grouped.filter(pl.col(MATCH) if self.how == "semi" else ~pl.col(MATCH))
        return kept.with_columns(*self._own_id(hidden), *self._own_parents(hidden))

    def _with_matches(self, pairs: pl.LazyFrame, hidden: tuple[str, ...]) -> pl.LazyFrame:
        matches = [pl.col(name).filter(MATCH) for name in self._right]
        keys = [name for name in hidden if name.startswith(KEY_PREFIX)]
        lists = [pl.col(name).filter(MATCH).alias(f"{name}__matches") for name in keys]
        lists += [pl.col(ROW_ID).filter(MATCH).alias(_IDS)] if ROW_ID in hidden else []
        names = [*self._right, *(f"{name}__matches" for name in keys), *([_IDS] if ROW_ID in hidden else [])]
        rows = self._grouped(pairs, hidden, *matches, *lists).explode(names, empty_as_null=True)
        if ROW_ID not in hidden:
            return rows
        # A match is its pair and keeps that one's id; a left row without one is made of the pairs that were asked.
        alone = pl.col(_IDS).is_null()
        own = [pl.when(alone).then(made).otherwise(_IDS).alias(ROW_ID) for made in self._own_id(hidden)]
        own += [pl.when(alone).then(name).otherwise(f"{name}__matches").alias(name) for name in keys]
        own += [pl.when(alone).then(made).alias(PARENT) for made in self._own_parents(hidden)]
        return rows.with_columns(own)

    def _own_id(self, hidden: tuple[str, ...]) -> list[pl.Expr]:
        """The id of a left row that comes out by itself."""
        return [derived_id(pl.lit(f"join {self.how}"), pl.col(LEFT_ID)).alias(ROW_ID)] if ROW_ID in hidden else []

    def _own_parents(self, hidden: tuple[str, ...]) -> list[pl.Expr]:
        """The pairs that decided, or where there was none the left row."""
        if PARENT not in hidden:
            return []
        none = pl.col(_PARENTS).list.len() == 0
        return [pl.when(none).then(pl.concat_list(LEFT_ID)).otherwise(_PARENTS).alias(PARENT)]

    def _rule(self, inputs: Sequence[pl.Schema], output: pl.Schema) -> Flow:
        """The columns stay as they are; the answers decide which rows there are."""
        values = {name: Reads(columns=frozenset({(0, name)})) for name in output}
        return Flow(values=values, rows=Reads(columns=frozenset({(0, MATCH), (0, PAIR)})))

    # -- while answers are missing -------------------------------------------------------------------

    def possible(self, pairs: pl.DataFrame, hidden: tuple[str, ...], answers: frozenset[str]) -> pl.DataFrame:
        """The rows that may come out, marked; none of the pairs is a row of which nothing is known.

        Args:
            pairs: The pairs, with ``_doubt``.
            hidden: Columns beside the visible ones.
            answers: Columns of the pairs that follow from models' answers.
        """
        missing, maybe = (pl.col(DOUBT) & UNKNOWN) > 0, (pl.col(DOUBT) & MAYBE) > 0
        yes = pl.col(MATCH).fill_null(value=False)
        may = (yes & maybe) | (pl.col(MATCH).is_null() & missing & pl.col(PAIR).fill_null(value=True))
        marked = pairs.lazy().with_columns((yes & ~maybe).alias("__sure"), may.alias("__may"))
        left = (
            marked.group_by(ROW, maintain_order=True)
            .agg(
                pl.col(*self.columns.left, LEFT_ID).first(),
                self._kept_marks(pl.col(DOUBT).bitwise_and(), self.columns.left, answers),
                pl.col("__sure", "__may").any(),
            )
            .with_columns(*self._own_id(hidden))
        )
        alone = left.filter(~pl.col("__sure"))
        if self.how == "semi":
            rows = left.filter(pl.any_horizontal("__sure", "__may")).with_columns(_perhaps(~pl.col("__sure")))
        elif self.how == "anti":
            rows = alone.with_columns(_perhaps(pl.col("__may")))
        else:
            nulls = [pl.lit(None, self.columns.schema[name]).alias(name) for name in self._right]
            matches = marked.filter(pl.any_horizontal("__sure", "__may")).with_columns(
                self._kept_marks(pl.col(DOUBT), self.columns.schema, answers)
            )
            parts = [
                matches.with_columns(_perhaps(pl.col("__may"))),
                alone.with_columns(_perhaps(pl.col("__may")), *nulls),
            ]
            wanted = [ROW, *self._output, *hidden]
            rows = pl.concat([part.select(wanted) for part in parts]).sort(ROW, maintain_order=True)
        return rows.select(*self._output, *hidden).collect()

    def _kept_marks(self, marks: pl.Expr, names: Sequence[str] | pl.Schema, answers: frozenset[str]) -> pl.Expr:
        """What is not known of the columns that come out: that a match is not decided is none of it."""
        kept = marks if answers.intersection(names) else marks & ~UNKNOWN
        return kept.cast(DOUBT_TYPE).alias(DOUBT)


def _perhaps(open_rows: pl.Expr) -> pl.Expr:
    return pl.when(open_rows).then(pl.col(DOUBT) | PERHAPS).otherwise(pl.col(DOUBT)).cast(DOUBT_TYPE).alias(DOUBT)


def without_fog(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of which something is known, and the others."""
    foggy = (pl.col(DOUBT) & FOG) > 0
    return rows.filter(~foggy), rows.filter(foggy)
