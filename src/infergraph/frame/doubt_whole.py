"""One step over whole inputs with marked rows among them: every row that could come out, marked.

For steps where a missing answer may change which rows there are: groups, joins, ``unique``, ``head``...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import polars as pl

from infergraph.frame import plan as plans
from infergraph.frame.doubt_marks import FOG, GATHERED, MAYBE, NEAREST, PERHAPS, UNKNOWN, Standing
from infergraph.frame.matched import Matched, without_fog
from infergraph.frame.probes import columns_read
from infergraph.frame.row_ids import DOUBT, DOUBT_TYPE, ROW_ID

_MOST_GATHERED = 100_000
EXPRESSIONS = {"with_columns", "select", "fill_null", "with_row_index", "filter"}


class WholeStep:
    """One step over whole inputs with marked rows among them."""

    def __init__(
        self,
        step: plans.Step,
        before: Standing,
        hidden: tuple[str, ...],
        times: dict[int, int],
        usual_times: dict[int, float],
        say: Callable[[str], None],
        decider: Callable[[plans.Node], int],
    ) -> None:
        self._step = step
        self._before = before
        self._hidden = hidden
        self._times = times
        self._usual_times = usual_times
        self._say = say
        self._decider = decider

    def rows(self, frames: list[pl.DataFrame]) -> pl.DataFrame:
        """The rows that may come out."""
        first, method = frames[0], self._step.method
        if not any(_has(frame, UNKNOWN | MAYBE | FOG) for frame in frames):
            return self.applied(frames)
        if self._step.how == NEAREST:
            return self._nearest(*frames)
        if isinstance(self._step.apply, Matched):
            return self._matched(self._step.apply, first)
        if method == "join":
            return self._join(*frames)
        if method == "join_asof":
            return self._join_asof(*frames)
        if method == "group_by.agg":
            return self._groups(first)
        if method == GATHERED:
            return self._gathered(first)
        if method == "unique":
            return self._unique(first)
        if method == "cluster":
            return self._clusters(first)
        if method in ("head", "tail", "slice", "dedup"):
            self._tell()
            return _mark(first, PERHAPS)
        if method == "filter":
            return self._filter(first)
        if method == "explode":
            return self._explode(first)
        if method in EXPRESSIONS and self._step.row_ids != "new":
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
                return _mark(left, PERHAPS)
            return self._with_open_rows(left, left_open, right, _mark(left.filter(left_open), PERHAPS))
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

    def _nearest(self, rows: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
        """Neighbours among rows some of which have no vector yet: each row may get any, or be none's."""
        ours, theirs = (UNKNOWN if self._decided_by_unknown(place) else FOG for place in (0, 1))
        most = self._step.most_rows
        found = most is not None
        possible = rows if found or _has(others, theirs | MAYBE) else rows.filter(_marked(ours))
        if not possible.height:
            return self.applied([rows, others])
        self._tell()
        most_each = 1 if found else max(1, min(self._step.most_each, others.height))
        self._times[id(self._step)] = self._usual_times[id(self._step)] = most_each
        known = [name for name in self._step.schema if name in rows.columns]
        names = [name for name in (*self._step.schema, *self._hidden) if name not in (*known, DOUBT)]
        blank = [pl.lit(None, self._step.schema.get(name, pl.String())).alias(name) for name in names]
        perhaps = PERHAPS if found else MAYBE | self._decider(self._step)
        open_rows = _mark(possible.select(*known, DOUBT).with_columns(blank), UNKNOWN | perhaps)
        open_rows = open_rows.select(*self._step.schema, *self._hidden)
        if possible.height == rows.height:
            return open_rows
        return _stack([self.applied([rows.filter(~_marked(ours)), others]), open_rows])

    def _loose(self, joined: pl.DataFrame, how: str, left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
        """Pairs whose keys are known: a row with no sure match may stay alone."""
        alone = (how in ("left", "full") and _has(right, MAYBE)) or (how in ("right", "full") and _has(left, MAYBE))
        if not alone:
            return joined
        self._tell()
        return _mark(joined, UNKNOWN | PERHAPS | FOG)

    def _matched(self, matched: Matched, pairs: pl.DataFrame) -> pl.DataFrame:
        self._tell()
        known, foggy = without_fog(pairs)
        return _stack([matched.possible(known, self._hidden, self._step.inputs[0].answers), self._fog(foggy)])

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
            return _stack([_mark(sure, UNKNOWN | PERHAPS | FOG), self._fog(rows.filter(keys_open))])
        grouped = self.applied([rows])
        if not _has(rows, MAYBE) and not self._before.order:
            return grouped
        self._tell()
        return _mark(grouped, UNKNOWN | PERHAPS | FOG)

    def _gathered(self, rows: pl.DataFrame) -> pl.DataFrame:
        times = round(times_of(self._step.inputs[0], self._times))
        if times > 1 and rows.height:
            # Each row may stand for so many, and all of them are compared.
            each = min(times, 1 + _MOST_GATHERED // rows.height)
            rows = pl.concat([rows] * each)
            self._times[id(self._step)] = -(-times // each)
        gathered = self.applied([rows])
        if not _has(rows, MAYBE | FOG) and not self._before.order:
            return gathered
        self._tell("which rows are compared depends")
        return _mark(gathered, UNKNOWN | PERHAPS | FOG)

    def _unique(self, rows: pl.DataFrame) -> pl.DataFrame:
        keys_open = _marked(UNKNOWN | MAYBE if self._decided_by_unknown(0) else FOG | MAYBE)
        if not rows.filter(keys_open).height and not self._before.order:
            return self.applied([rows])
        self._tell()
        if self._before.order:
            return _mark(rows, PERHAPS)
        return _mark(_stack([self.applied([rows.filter(~keys_open)]), rows.filter(keys_open)]), PERHAPS)

    def _clusters(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Every row as it is, its cluster unknown: it follows from the vectors of all rows."""
        self._tell("which row is in which cluster depends")
        new = [pl.lit(None, dtype).alias(name) for name, dtype in self._step.schema.items() if name not in rows.columns]
        return _mark(rows.with_columns(new), UNKNOWN).select(*self._step.schema, *self._hidden)

    def _filter(self, rows: pl.DataFrame) -> pl.DataFrame:
        self._tell()
        if not self._step.row_wise:
            return _mark(rows, PERHAPS)
        foggy = _marked(FOG)
        return _stack([self.applied([rows.filter(~foggy)]), _mark(rows.filter(foggy), PERHAPS)])

    def _explode(self, rows: pl.DataFrame) -> pl.DataFrame:
        open_rows = _marked(UNKNOWN | FOG)
        self._tell("how many rows each gives depends", "one row each is assumed")
        return _stack([self.applied([rows.filter(~open_rows)]), self._fog(rows.filter(open_rows))])

    def _renumbered(self, rows: pl.DataFrame) -> pl.DataFrame:
        method = self._step.method
        reads = columns_read(self._step, 0) if method == "select" else set(rows.columns)
        if not reads & self._step.inputs[0].answers and not _has(rows, MAYBE | FOG) and not self._before.order:
            return self.applied([rows]).with_columns(pl.lit(0, DOUBT_TYPE).alias(DOUBT))
        self._tell("its rows depend", "no more rows than go in are assumed to come out" if method != "select" else "")
        return self._fog(rows if rows.height else pl.DataFrame({DOUBT: [0]}, schema={DOUBT: DOUBT_TYPE}))

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
        marks = pl.lit(UNKNOWN | PERHAPS | FOG, DOUBT_TYPE).alias(DOUBT)
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


def times_of(node: plans.Node, times: Mapping[int, float]) -> float:
    """How many rows each possible row may stand for.

    Args:
        node: The rows' plan.
        times: By ``id`` of a step, how many each of its possible rows may stand for by itself.
    """
    product, open_nodes, seen = 1.0, [node], set()
    while open_nodes:
        one = open_nodes.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        product *= times.get(id(one), 1)
        if not (isinstance(one, plans.Step) and one.method == GATHERED):  # that one row has all of them in it
            open_nodes.extend(one.inputs)
    return product


def _stack(parts: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(parts, how="vertical_relaxed")


def _marked(marks: int) -> pl.Expr:
    return (pl.col(DOUBT) & marks) > 0


def _has(rows: pl.DataFrame, marks: int) -> bool:
    return rows.select(_marked(marks).any()).item() is True


def _mark(rows: pl.DataFrame, marks: int) -> pl.DataFrame:
    return rows.with_columns((pl.col(DOUBT) | marks).cast(DOUBT_TYPE).alias(DOUBT))
