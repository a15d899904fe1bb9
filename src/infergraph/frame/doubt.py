"""The rows that are possible while answers are missing: the plan as an estimate walks it.

Each row carries a mark in ``_doubt``. Steps that look at one row at a time run as they are. Steps for which a missing
answer may change which rows there are (groups, joins, ``unique``, ``head``...) get their input whole: without a marked
row they run as they are; otherwise every row that could come out is kept, marked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from infergraph.frame import plan as plans
from infergraph.frame.compiling import Activity, Batches, io_source, source_frame
from infergraph.frame.probes import columns_read
from infergraph.frame.row_ids import DOUBT, ROW_ID
from infergraph.frame.window import asked_for_few

UNKNOWN, MAYBE, FOG = 1, 2, 4
"""Marks of a row: an answer behind it is missing; it may not be there; nothing is known of its columns."""
_ONE_ROW_AT_A_TIME = {"rename", "drop", "cast", "unnest", "cache", "concat", "sort", "unpivot"}
HEADS = {"head", "slice"}
_EXPRESSIONS = {"with_columns", "select", "fill_null", "with_row_index", "filter"}

Whole = Callable[[list[pl.DataFrame]], pl.DataFrame]


@dataclass(frozen=True)
class Standing:
    """What is not settled about a node's rows."""

    touched: bool = False
    """Some answer behind them is missing."""
    rows: bool = False
    """Such answers say which rows there are."""
    order: bool = False
    """Such answers say in which order the rows come."""
    fog: bool = False
    """There may be rows of which nothing is known."""
    most: int | None = None
    """At most so many rows come, where a step says so."""


class Possible:
    """A plan as a lazy frame of its possible rows.

    Args:
        missing: ``id`` of the operators whose answers are not all in the store.
        hidden: Columns that every node carries; ``_doubt`` is one of them.
        operator: Makes an operator's lazy frame from its input's.
        say: Takes a sentence on what is assumed.
        limit: Read only the first so many rows of the leftmost source.
        loose: ``id`` of the operators that a later ``head`` stops wherever they are by then: it gets all their rows.
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
    ) -> None:
        self._loose = loose
        self._missing = missing
        self._hidden = hidden
        self._activity = activity
        self._operator = operator
        self._say = say
        self._limit = limit
        self._made: dict[tuple[int, int | None], pl.LazyFrame] = {}
        self._standings: dict[int, Standing] = {}
        self._times: dict[int, int] = {}

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
        product = 1
        for before in plans.walk(node):
            product *= self._times.get(id(before), 1)
        return product

    def may_stop_early(self, node: plans.Node) -> set[int]:
        """``id`` of the operators that a later step may stop before they have read all their rows."""
        stopped: set[int] = set()
        for current in plans.walk(node):
            if not isinstance(current, plans.Step):
                continue
            before = [self.standing(one) for one in current.inputs]
            if current.method in HEADS and before[0].rows:
                stopped |= {id(step) for step in plans.operator_steps(current.inputs[0])}
            elif current.method.startswith("join") and any(one.rows for one in before):
                # Polars does not read one side of a join when it sees that the other side is empty.
                for place, other in ((0, 1), (1, 0)):
                    if before[other].rows:
                        stopped |= {id(step) for step in plans.operator_steps(current.inputs[place])}
        return stopped

    # -- what is settled -----------------------------------------------------------------------------

    def _stand(self, node: plans.Node) -> Standing:
        if isinstance(node, plans.Source):
            return Standing()
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
            order = merged.order or (node.method == "sort" and touched)
            rows = merged.rows or (node.method == "filter" and touched)
            return Standing(touched, rows, order, merged.fog, merged.most)
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
        if step.method in _EXPRESSIONS and step.row_ids != "new":
            return not (before.fog and step.method == "filter") and step.row_wise
        return False

    # -- the lazy frame ------------------------------------------------------------------------------

    def _make(self, node: plans.Node, limit: int | None) -> pl.LazyFrame:
        known = self._made.get((id(node), limit))
        if known is not None:
            return known
        if isinstance(node, plans.Source):
            made = source_frame(node, self._hidden, self._activity, limit)
        elif isinstance(node, plans.OperatorStep):
            made = self._operator(node, self._make(node.inputs[0], limit))
        else:
            every = node.method == "concat"
            inputs = [self._make(one, limit if every or not place else None) for place, one in enumerate(node.inputs)]
            made = self._step(node, inputs)
        self._made[id(node), limit] = made
        return made

    def _step(self, step: plans.Step, inputs: list[pl.LazyFrame]) -> pl.LazyFrame:
        before = [self.standing(one) for one in step.inputs]
        merged = Standing(
            any(s.touched for s in before), any(s.rows for s in before), any(s.order for s in before),
            any(s.fog for s in before),
        )  # fmt: skip
        as_it_is = not merged.touched or self._runs_as_it_is(step, merged)
        if as_it_is and not self._stops_loose(step):
            return step.apply(inputs, self._hidden)
        whole = _Whole(step, merged, self._hidden, self._times, self._say)
        return self._barrier(step, inputs, whole.applied if as_it_is else whole.rows)

    def _stops_loose(self, step: plans.Step) -> bool:
        return step.method in HEADS and not asked_for_few(step).isdisjoint(self._loose)

    def _barrier(self, step: plans.Step, inputs: list[pl.LazyFrame], change: Whole) -> pl.LazyFrame:
        schema = {**step.schema, **{name: pl.Int8() if name == DOUBT else pl.String() for name in self._hidden}}

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
            yield rows.select(wanted or list(schema)).collect()

        return io_source(schema, read, self._activity, f"possible rows of {step.method}")


class _Whole:
    """One step over whole inputs with marked rows among them."""

    def __init__(
        self,
        step: plans.Step,
        before: Standing,
        hidden: tuple[str, ...],
        times: dict[int, int],
        say: Callable[[str], None],
    ) -> None:
        self._step = step
        self._before = before
        self._hidden = hidden
        self._times = times
        self._say = say

    def rows(self, frames: list[pl.DataFrame]) -> pl.DataFrame:
        """The rows that may come out."""
        first, method = frames[0], self._step.method
        if not any(_has(frame, UNKNOWN | MAYBE | FOG) for frame in frames):
            return self.applied(frames)
        if method == "join":
            return self._join(*frames)
        if method == "join_asof":
            return self._join_asof(*frames)
        if method == "group_by.agg":
            return self._groups(first)
        if method == "unique":
            return self._unique(first)
        if method in ("head", "tail", "slice"):
            self._tell()
            return _mark(first, MAYBE)
        if method == "filter":
            return self._filter(first)
        if method == "explode":
            return self._explode(first)
        if method in _EXPRESSIONS and self._step.row_ids != "new":
            self._tell("the values that it computes depend")
            return _mark(self.applied(frames), UNKNOWN | FOG)
        return self._renumbered(first)

    def _join(self, left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
        how = self._step.how
        left_keys, right_keys = (self._decided_by_unknown(place) for place in (0, 1))
        left_open = _marked(UNKNOWN if left_keys else FOG)
        right_open = _has(right, UNKNOWN if right_keys else FOG)
        if how in ("semi", "anti"):
            if right_open or _has(right, MAYBE):
                self._tell()
                return _mark(left, MAYBE)
            return self._with_open_rows(left, left_open, right, _mark(left.filter(left_open), MAYBE))
        if not right_open and not left.filter(left_open).height:
            return self._loose(self.applied([left, right]), how, left, right)
        self._tell()
        most = self._most_matches(right, simple=not right_open)
        if how in ("inner", "left") and not right_open and not (_has(right, MAYBE) and how == "left"):
            self._times[id(self._step)] = most
            return self._with_open_rows(left, left_open, right, self._fog(left.filter(left_open)))
        self._times[id(self._step)] = max(1, right.height if how != "inner" and how != "left" else most)
        fogs = [self._fog(left)] + ([self._fog(right)] if how in ("right", "full") else [])
        return _stack(fogs)

    def _loose(self, joined: pl.DataFrame, how: str, left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
        """Pairs whose keys are known: a row with no sure match may stay alone."""
        alone = (how in ("left", "full") and _has(right, MAYBE)) or (how in ("right", "full") and _has(left, MAYBE))
        if not alone:
            return joined
        self._tell()
        return _mark(joined, UNKNOWN | MAYBE | FOG)

    def _join_asof(self, left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
        left_keys, right_keys = (self._decided_by_unknown(place) for place in (0, 1))
        keys_open = _has(left, UNKNOWN if left_keys else FOG) or _has(right, UNKNOWN if right_keys else FOG)
        if not keys_open and not _has(right, MAYBE):
            return self.applied([left, right])
        self._tell()
        return self._fog(left)

    def _groups(self, rows: pl.DataFrame) -> pl.DataFrame:
        keys_open = _marked(UNKNOWN if self._decided_by_unknown(0) else FOG)
        if rows.filter(keys_open).height:
            self._tell()
            sure = self.applied([rows.filter(~keys_open)])
            return _stack([_mark(sure, UNKNOWN | MAYBE | FOG), self._fog(rows.filter(keys_open))])
        grouped = self.applied([rows])
        if not _has(rows, MAYBE) and not self._before.order:
            return grouped
        self._tell()
        return _mark(grouped, UNKNOWN | MAYBE | FOG)

    def _unique(self, rows: pl.DataFrame) -> pl.DataFrame:
        keys_open = _marked(UNKNOWN | MAYBE if self._decided_by_unknown(0) else FOG | MAYBE)
        if not rows.filter(keys_open).height and not self._before.order:
            return self.applied([rows])
        self._tell()
        if self._before.order:
            return _mark(rows, MAYBE)
        return _mark(_stack([self.applied([rows.filter(~keys_open)]), rows.filter(keys_open)]), MAYBE)

    def _filter(self, rows: pl.DataFrame) -> pl.DataFrame:
        self._tell()
        if not self._step.row_wise:
            return _mark(rows, MAYBE)
        foggy = _marked(FOG)
        return _stack([self.applied([rows.filter(~foggy)]), _mark(rows.filter(foggy), MAYBE)])

    def _explode(self, rows: pl.DataFrame) -> pl.DataFrame:
        open_rows = _marked(UNKNOWN | FOG)
        self._tell("how many rows each gives depends", "one row each is assumed")
        return _stack([self.applied([rows.filter(~open_rows)]), self._fog(rows.filter(open_rows))])

    def _renumbered(self, rows: pl.DataFrame) -> pl.DataFrame:
        method = self._step.method
        reads = columns_read(self._step, 0) if method == "select" else set(rows.columns)
        if not reads & self._step.inputs[0].answers and not _has(rows, MAYBE | FOG) and not self._before.order:
            return self.applied([rows]).with_columns(pl.lit(0, pl.Int8).alias(DOUBT))
        self._tell("its rows depend", "no more rows than go in are assumed to come out" if method != "select" else "")
        return self._fog(rows if rows.height else pl.DataFrame({DOUBT: [0]}, schema={DOUBT: pl.Int8}))

    def _with_open_rows(
        self, left: pl.DataFrame, open_rows: pl.Expr, right: pl.DataFrame, possible: pl.DataFrame
    ) -> pl.DataFrame:
        if possible.height:
            self._tell()
        return _stack([self.applied([left.filter(~open_rows), right]), possible])

    def applied(self, frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
        """What the step's own frame gives."""
        names = [*self._step.schema, *self._hidden]
        return self._step.apply([frame.lazy() for frame in frames], self._hidden).select(names).collect()

    def _fog(self, rows: pl.DataFrame) -> pl.DataFrame:
        """As many rows of which nothing is known."""
        nulls = [pl.lit(None, dtype).alias(name) for name, dtype in self._step.schema.items()]
        ids = [pl.lit(None, pl.String).alias(ROW_ID)] if ROW_ID in self._hidden else []
        marks = pl.lit(UNKNOWN | MAYBE | FOG, pl.Int8).alias(DOUBT)
        return rows.select(DOUBT).with_columns(*nulls, *ids, marks).select(*self._step.schema, *self._hidden)

    def _decided_by_unknown(self, place: int) -> bool:
        """Whether an answer decides which rows the step makes of this input."""
        return bool(columns_read(self._step, place, only_rows=True) & self._step.inputs[place].answers)

    def _most_matches(self, right: pl.DataFrame, *, simple: bool) -> int:
        keys = list(self._step.right_keys)
        if not simple or not keys or not right.height:
            return max(1, right.height)
        return max(1, int(right.group_by(keys).len().select(pl.col("len").max()).item()))

    def _tell(self, what: str = "which rows come out depends", so: str = "") -> None:
        text = self._step.text if len(self._step.text) <= 60 else f"{self._step.text[:57]}..."
        sentence = f".{self._step.method}({text}): {what} on answers that are missing; what follows is counted from 0"
        self._say(f"{sentence} to the most that is possible{'; ' + so if so else ''}.")


def _most(step: plans.Step, before: Sequence[Standing]) -> int | None:
    """At most so many rows, as far as ``head``, ``tail`` and ``slice`` say."""
    first = before[0].most
    if step.method in ("head", "tail", "slice"):
        told = [most for most in (first, step.most_rows) if most is not None]
        return min(told) if told else None
    if step.method in ("filter", "with_columns", "select", "rename", "drop", "cast", "sort", "unique", "fill_null",
                       "unnest", "cache", "with_row_index") and step.row_ids != "new":  # fmt: skip
        return first
    return first if step.how in ("semi", "anti") else None


def _stack(parts: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(parts, how="vertical_relaxed")


def _marked(marks: int) -> pl.Expr:
    return (pl.col(DOUBT) & marks) > 0


def _has(rows: pl.DataFrame, marks: int) -> bool:
    return rows.select(_marked(marks).any()).item() is True


def _mark(rows: pl.DataFrame, marks: int) -> pl.DataFrame:
    return rows.with_columns((pl.col(DOUBT) | marks).cast(pl.Int8).alias(DOUBT))
