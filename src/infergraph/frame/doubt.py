"""The rows that are possible while answers are missing: the plan as an estimate walks it.

Each row carries a mark in ``_doubt``. Steps that look at one row at a time run as they are. Steps for which a missing
answer may change which rows there are (groups, joins, ``unique``, ``head``...) get their input whole: without a marked
row they run as they are; otherwise every row that could come out is kept, marked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl

from infergraph.frame import plan as plans
from infergraph.frame.compiling import Activity, Batches, followed, io_source, source_frame
from infergraph.frame.doubt_marks import MAYBE, NEAREST, OPEN, RANKED, Standing
from infergraph.frame.doubt_whole import EXPRESSIONS, WholeStep, times_of
from infergraph.frame.row_ids import DOUBT, DOUBT_TYPE
from infergraph.frame.window import asked_for_few

_ONE_ROW_AT_A_TIME = {
    "rename", "drop", "cast", "unnest", "cache", "concat", "sort", "unpivot", "numbered", "counted", RANKED,
}  # fmt: skip
HEADS = {"head", "slice"}

Whole = Callable[[list[pl.DataFrame]], pl.DataFrame]


class Possible:
    """A plan as a lazy frame of its possible rows.

    Args:
        missing: ``id`` of the operators whose answers are not all in the store.
        hidden: Columns that every node carries; ``_doubt`` is one of them.
        operator: Makes an operator's lazy frame from its input's.
        say: Takes a sentence on what is assumed.
        limit: Read only the first so many rows of the leftmost source.
        loose: ``id`` of the operators that a later ``head`` stops wherever they are by then: it gets all their rows.
        decider: The mark of what decides which of a source's rows there are, or how many a step finds by vectors.
    """

    def __init__(
        self,
        missing: set[int],
        *,
        hidden: tuple[str, ...],
        activity: Activity,
        operator: Callable[[plans.OperatorStep, pl.LazyFrame], pl.LazyFrame],
        say: Callable[[str], None],
        limit: int | None = None,
        loose: frozenset[int] = frozenset(),
        decider: Callable[[plans.Node], int] = lambda node: OPEN,
    ) -> None:
        self._loose = loose
        self._decider = decider
        self._missing = missing
        self._hidden = hidden
        self._activity = activity
        self._operator = operator
        self._say = say
        self._limit = limit
        self._made: dict[tuple[int, int | None], pl.LazyFrame] = {}
        self._standings: dict[int, Standing] = {}
        self._times: dict[int, int] = {}
        self._usual_times: dict[int, float] = {}

    def frame(self, node: plans.Node) -> pl.LazyFrame:
        """The possible rows of a node, with the hidden columns last."""
        return self._make(node, self._limit).select(*node.schema, *self._hidden)

    def standing(self, node: plans.Node) -> Standing:
        """What is not settled about a node's rows; nothing runs."""
        known = self._standings.get(id(node))
        if known is None:
            known = self._standings[id(node)] = self._stand(node)
        return known

    def times(self, node: plans.Node) -> int:
        """How many rows each possible row may stand for; true once the rows above have been read."""
        return round(times_of(node, self._times))

    def usual_times(self, node: plans.Node) -> float:
        """How many rows each possible row probably stands for; as for ``times``."""
        return times_of(node, self._usual_times)

    def may_stop_early(self, node: plans.Node) -> set[int]:
        """``id`` of the operators that a later step may stop, or save from asking, before they have read all rows."""
        stopped: set[int] = set()
        for current in plans.walk(node):
            if not isinstance(current, plans.Step):
                continue
            before = [self.standing(one) for one in current.inputs]
            if current.method in HEADS and before[0].rows:
                stopped |= {id(step) for step in plans.operator_steps(current.inputs[0])}
            elif current.how == NEAREST and self._asks_unknown(current.inputs[1]):
                # Its right side is read first, and may ask what the left one would have asked.
                stopped |= {id(one) for one in current.inputs[:1] if isinstance(one, plans.OperatorStep)}
            elif current.method.startswith("join") and any(one.rows for one in before):
                # Polars does not read one side of a join when it sees that the other side is empty.
                for place, other in ((0, 1), (1, 0)):
                    if before[other].rows:
                        stopped |= {id(step) for step in plans.operator_steps(current.inputs[place])}
        return stopped

    def _asks_unknown(self, node: plans.Node) -> bool:
        """Whether it is not known what the operators below a node ask."""
        return any(self.standing(step.inputs[0]).touched for step in plans.operator_steps(node))

    # -- what is settled -----------------------------------------------------------------------------

    def _stand(self, node: plans.Node) -> Standing:
        if isinstance(node, plans.Source):
            return _standing_of(node.open)
        before = [self.standing(one) for one in node.inputs]
        first = before[0]
        touched = any(one.touched for one in before)
        if isinstance(node, plans.OperatorStep):
            touched = touched or id(node) in self._missing
            rows = first.rows or (node.decides and touched)
            return Standing(touched, rows, first.order, first.fog, first.most)
        merged = Standing(
            touched, any(one.rows for one in before), any(one.order for one in before), any(one.fog for one in before),
            _most(node, before),
        )  # fmt: skip
        if not touched or self._runs_as_it_is(node, merged):
            order = merged.order or (node.method in ("sort", RANKED) and touched)
            rows = merged.rows or (node.method in ("filter", RANKED) and touched)
            return Standing(touched, rows, order, merged.fog, merged.most)
        if node.method == "cluster":
            return merged
        return Standing(touched, rows=True, order=True, fog=True, most=merged.most)

    def _runs_as_it_is(self, step: plans.Step, before: Standing) -> bool:
        """Whether the step's own frame is right for marked rows too."""
        if step.method in _ONE_ROW_AT_A_TIME:
            return True
        if step.method in ("head", "tail", "slice"):
            return not before.rows and not before.order
        if step.method == "explode":
            unknown = step.inputs[0].answers
            return not before.fog and not any(
                name in unknown for name, dtype in step.inputs[0].schema.items() if step.schema.get(name) != dtype
            )
        if step.method in EXPRESSIONS and step.row_ids != "new":
            return not (before.fog and step.method == "filter") and step.row_wise
        return False

    # -- the lazy frame ------------------------------------------------------------------------------

    def _make(self, node: plans.Node, limit: int | None) -> pl.LazyFrame:
        known = self._made.get((id(node), limit))
        if known is not None:
            return known
        if isinstance(node, plans.Source):
            made = self._source(node, limit)
        elif isinstance(node, plans.OperatorStep):
            made = self._operator(node, self._make(node.inputs[0], limit))
        else:
            every = node.method == "concat"
            inputs = [self._make(one, limit if every or not place else None) for place, one in enumerate(node.inputs)]
            made = self._step(node, inputs)
        self._made[id(node), limit] = made
        return made

    def _source(self, node: plans.Source, limit: int | None) -> pl.LazyFrame:
        data = source_frame(node, self._hidden, self._activity, limit)
        if node.open is None:
            return data
        self._times[id(node)] = node.open.times
        self._usual_times[id(node)] = node.open.usual_times
        maybe = (pl.col(DOUBT) & MAYBE) > 0
        marked = pl.when(maybe).then(pl.col(DOUBT) | self._decider(node)).otherwise(pl.col(DOUBT))
        return data.with_columns(marked.cast(DOUBT_TYPE).alias(DOUBT))

    def _step(self, step: plans.Step, inputs: list[pl.LazyFrame]) -> pl.LazyFrame:
        before = [self.standing(one) for one in step.inputs]
        merged = Standing(
            any(s.touched for s in before), any(s.rows for s in before), any(s.order for s in before),
            any(s.fog for s in before),
        )  # fmt: skip
        as_it_is = not merged.touched or self._runs_as_it_is(step, merged)
        if as_it_is and not self._stops_loose(step):
            return followed(step, self._activity).apply(inputs, self._hidden)
        whole = WholeStep(step, merged, self._hidden, self._times, self._usual_times, self._say, self._decider)
        return self._barrier(step, inputs, whole.applied if as_it_is else whole.rows)

    def _stops_loose(self, step: plans.Step) -> bool:
        if step.how == "semi":
            return any(id(one) in self._loose for one in plans.operator_steps(step))
        return step.method in HEADS and not asked_for_few(step).isdisjoint(self._loose)

    def _barrier(self, step: plans.Step, inputs: list[pl.LazyFrame], change: Whole) -> pl.LazyFrame:
        schema = {**step.schema, **{name: DOUBT_TYPE if name == DOUBT else pl.String() for name in self._hidden}}

        def read(wanted: list[str] | None, predicate: pl.Expr | None, n_rows: int | None) -> Batches:
            frames = [
                one.select(*node.schema, *self._hidden).collect(engine="streaming")
                for one, node in zip(inputs, step.inputs, strict=True)
            ]
            if self._activity.stopped:
                return
            rows = change(frames).lazy().select(*schema)
            rows = rows if n_rows is None else rows.head(n_rows)
            rows = rows if predicate is None else rows.filter(predicate)
            yield rows.select(list(schema) if wanted is None else wanted).collect()

        return io_source(schema, read, self._activity, f"possible rows of {step.method}")


def _standing_of(rows: plans.OpenRows | None) -> Standing:
    """What is not settled about a source's rows."""
    if rows is None:
        return Standing()
    return Standing(touched=True, rows=rows.rows, order=rows.order, fog=rows.fog, most=rows.most)


def _most(step: plans.Step, before: Sequence[Standing]) -> int | None:
    """At most so many rows, as far as ``head``, ``tail`` and ``slice`` say."""
    first = before[0].most
    if step.method == RANKED:
        return step.most_rows
    if step.most_rows is not None:
        told = [most for most in (first, step.most_rows) if most is not None]
        return min(told) if told else None
    if step.method in ("filter", "with_columns", "select", "rename", "drop", "cast", "sort", "unique", "fill_null",
                       "unnest", "cache", "with_row_index", "dedup", "cluster") and step.row_ids != "new":  # fmt: skip
        return first
    if step.how == NEAREST:
        return None if first is None else first * step.most_each
    return first if step.how in ("semi", "anti") else None
