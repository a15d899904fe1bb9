"""The two walks of an estimate: over the very plan of the run, and over all rows that are possible."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import prod
from pathlib import Path
from threading import Timer

import polars as pl

from infergraph.frame import plan as plans
from infergraph.frame.compiling import Activity, Batches, io_source, lazy_frame, split_predicate, wanted_rows
from infergraph.frame.doubt import HEADS, Possible
from infergraph.frame.doubt_marks import FIRST_DECIDER, MAYBE, OPEN, UNKNOWN
from infergraph.frame.estimate_count import Count
from infergraph.frame.estimate_look_up import CONTENT, LookUp, feeds, model_of
from infergraph.frame.estimate_rates import PASS_SHARE, Rates
from infergraph.frame.estimate_rounds import RoundsLookUp, with_content
from infergraph.frame.execution import cut
from infergraph.frame.expressions import roots
from infergraph.frame.garbage import fewer_collections
from infergraph.frame.pulling import Passes, in_windows
from infergraph.frame.redacting import redacted_content
from infergraph.frame.row_ids import DOUBT, DOUBT_TYPE, ROW_ID
from infergraph.frame.run import RunOptions
from infergraph.frame.session import Session
from infergraph.frame.window import MORSEL_ROWS, Window, asked_for_few
from infergraph.operators.cluster_label import ClusterLabelOperator, requests_at_most

_LAST_DECIDER = 2**30


def content_of(step: plans.OperatorStep, content: pl.Expr, *, marked: bool = True) -> pl.Expr:
    """The row's part of the request; a row whose ``where`` is unknown keeps it."""
    if step.where is None:
        return content
    asked = pl.when(step.where).then(content)
    if not marked or not feeds(step).where:
        return asked
    return pl.when((pl.col(DOUBT) & UNKNOWN) > 0).then(content).otherwise(asked)


class TookTooLong(Exception):
    """A walk was given up."""


@dataclass
class Walk:
    """Reads a plan with the store as the only source of answers, and counts."""

    session: Session
    options: RunOptions
    names: dict[int, str]
    steps: list[plans.OperatorStep]
    rates: dict[int, Rates]
    """What is known of each operator's requests, by ``id(step)``."""
    retry_rates: dict[int, Rates] = field(default_factory=dict)
    """The same of the model that is asked for rejected rows again, where another one is."""
    activity: Activity = field(default_factory=Activity)
    counts: dict[int, Count] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    asked: dict[bytes, tuple[int, float, float]] = field(default_factory=dict)
    """Request hash to the operator that asks it, how sure that is, and how likely."""
    elsewhere: Mapping[bytes, str] = field(default_factory=dict)
    """Requests that another plan of the same run asks for sure, which its name tells: they are counted there."""
    counted_elsewhere: dict[tuple[int, str], set[bytes]] = field(default_factory=dict)
    """Those of them that are asked here too, by operator and by the other plan."""
    instead: dict[int, set[bytes]] = field(default_factory=dict)
    """By operator, what it asks where an earlier one with the same question does not."""
    unsure: set[int] = field(default_factory=set)
    """Operators that may not ask what they are counted for."""
    driven: set[tuple[int, bytes]] = field(default_factory=set)
    """Rows whose later rounds are counted: the operator, and what tells contents apart."""
    fetches_images: bool = False
    """Whether images behind URLs are fetched, as their hashes must be known."""

    def __post_init__(self) -> None:
        for step in self.steps:
            self.counts[id(step)] = Count(self.rates[id(step)], step.operator.kind)

    def read(self, rows: pl.LazyFrame, keep: Path | None = None, until: float | None = None) -> None:
        """Read all rows once.

        Args:
            rows: The walk's rows.
            keep: A Parquet file that gets them; ``None``: they are forgotten.
            until: When to give up, on the clock ``time.monotonic``; ``None``: never.

        Raises:
            TookTooLong: It was given up.
        """
        timer = None if until is None else Timer(max(0.0, until - time.monotonic()), self.activity.stop)
        try:
            if timer is not None:
                timer.daemon = True
                timer.start()
            with fewer_collections():
                self._read(rows, keep)
            if self.activity.stopped:
                raise TookTooLong
        finally:
            if timer is not None:
                timer.cancel()
            self.activity.stop()
            self.activity.join(10)

    def _read(self, rows: pl.LazyFrame, keep: Path | None) -> None:
        if keep is not None:
            rows.sink_parquet(keep)
            return
        for _ in rows.collect_batches(chunk_size=MORSEL_ROWS, maintain_order=True, engine="streaming"):
            pass

    def chance(self, doubt: int) -> float:
        """How likely a row with these marks comes, 0 to 1."""
        return 1.0 if not doubt & MAYBE else PASS_SHARE

    def asked_for_sure(self) -> set[bytes]:
        """Requests that a run sends whatever the missing answers are."""
        return {key for key, (_, low, _) in self.asked.items() if low >= 1}

    def counting(self, step: plans.OperatorStep) -> bool:
        """Whether the step's rows are to be counted in this walk."""
        return True

    def content(self, step: plans.OperatorStep) -> pl.Expr:
        """The operator's content, as that model is to see it."""
        return redacted_content(self.session, step, model_of(step, self.options))

    def look_up(
        self, step: plans.OperatorStep, batch: pl.DataFrame, times: int, usual_times: float
    ) -> tuple[pl.DataFrame, pl.Series]:
        """The rows with the operator's answers as far as they are stored, and which rows have none yet."""
        lookup = (
            LookUp(self, step, times, usual_times)
            if step.rounds is None
            else RoundsLookUp(self, step, step.rounds, times, usual_times)
        )
        values, missing = lookup.rows(batch)
        open_rows = pl.Series(missing, dtype=pl.Boolean)
        if not step.decides:
            return batch.with_columns(step.operator.columns(values)), open_rows
        # A row that the filter has not decided yet goes on, to be marked; kept rejects stay.
        kept = pl.Series([value is True for value in values], dtype=pl.Boolean)
        if step.keeps_undecided:
            kept = kept | pl.Series(lookup.rejected, dtype=pl.Boolean)
        return batch.with_columns(kept.alias(CONTENT)), open_rows


class Exact(Walk):
    """The very plan of the run; an operator with missing answers gives nulls and is remembered."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.missing: set[int] = set()
        self.opened: set[int] = set()
        self.needed: set[int] = set()
        self.early: dict[int, set[str]] = {}
        """Columns of the conditions that Polars tests before an operator."""
        self._unbounded: set[int] = set()

    def loose(self, node: plans.Node) -> frozenset[int]:
        """Operators that a later step may stop, wherever they happen to be by then: it needs no more of their rows."""
        steps = [one for one in plans.walk(node) if isinstance(one, plans.Step)]
        heads = [key for step in steps if step.method in HEADS for key in asked_for_few(step) & self._unbounded]
        semi = (key for step in steps if step.how == "semi" for key in self._left_unread(step))
        return frozenset([*heads, *semi]) - self.of_no_use(node)

    def of_no_use(self, node: plans.Node) -> set[int]:
        """Operators whose columns nobody reads, whatever comes of the others: their one reader wants none of them."""
        readers = _readers(node)
        return {key for key in self.opened - self.needed if readers[key] == 1}

    def _left_unread(self, join: plans.Step) -> set[int]:
        """Operators on a side of a join that Polars may or may not read, as the other side is empty."""
        sides = [{id(step) for step in plans.operator_steps(side)} for side in join.inputs]
        if not any(sides):
            return set()
        empty = [self._is_empty(side) for side in join.inputs]
        return set().union(*(sides[1 - place] for place in (0, 1) if empty[place]))

    def _is_empty(self, node: plans.Node) -> bool:
        """Whether no row comes, as far as that is known; read apart, so that nothing is counted."""
        apart = Exact(self.session, self.options, self.names, self.steps, self.rates)
        try:
            return not apart.frame(node).head(1).collect(engine="streaming").height
        finally:
            apart.activity.stop()
            apart.activity.join(10)

    def frame(self, node: plans.Node) -> pl.LazyFrame:
        """The plan as a lazy frame."""

        made = self._lazy(node, self._operator_frame, self.options.limit)
        return made.select(*node.schema, ROW_ID)

    def _lazy(
        self, node: plans.Node, operator: Callable[[plans.OperatorStep, pl.LazyFrame], pl.LazyFrame], limit: int | None
    ) -> pl.LazyFrame:
        return lazy_frame(node, hidden=(ROW_ID,), activity=self.activity, operator=operator, limit=limit)

    def _operator_frame(self, step: plans.OperatorStep, before: pl.LazyFrame) -> pl.LazyFrame:
        schema = {**step.schema, ROW_ID: pl.String()}

        def read(wanted: list[str] | None, predicate: pl.Expr | None, n_rows: int | None) -> Batches:
            return self._batches(step, before, list(schema) if wanted is None else wanted, predicate, n_rows)

        return io_source(schema, read, self.activity, f"estimate {step.name}")

    def _batches(
        self,
        step: plans.OperatorStep,
        before: pl.LazyFrame,
        columns: list[str],
        predicate: pl.Expr | None,
        n_rows: int | None,
        window: Window | None = None,
        below: Passes | None = None,
    ) -> Batches:
        written = set(step.operator.writes)
        bounded = n_rows is not None and not step.decides
        early, late = split_predicate(predicate, written) if bounded or n_rows is None else (None, predicate)
        carried = [name for name in columns if name not in written]
        needed = step.decides or not written.isdisjoint(columns)
        self.opened.add(id(step))
        if not bounded:
            self._unbounded.add(id(step))
        self.early.setdefault(id(step), set()).update(set() if early is None else roots(early))
        if needed:
            self.needed.add(id(step))
        upstream = before if n_rows is None or not bounded else before.head(n_rows)
        upstream = (
            upstream.with_columns(content_of(step, self.content(step), marked=False).alias(CONTENT))
            if needed
            else upstream
        )
        upstream = upstream if early is None else upstream.filter(early)
        asked = [*step.judges_by, *_own(step), CONTENT] if needed else []
        upstream = upstream.select(list(dict.fromkeys([*carried, ROW_ID, *asked])))
        size = MORSEL_ROWS if n_rows is None else Window(partial(self._at_once, step), n_rows).rows
        if below is None:
            batches: Batches = upstream.collect_batches(chunk_size=size, maintain_order=True, engine="streaming")
        else:
            batches = in_windows(upstream, below, lambda: self.activity.stopped)
        rows = (
            (self._answered(step, batch) if needed else batch).select(columns)
            for batch in cut(batches, lambda: size if window is None else window.rows)
        )
        return wanted_rows(rows, late, None if bounded else n_rows, self.activity)

    def _answered(self, step: plans.OperatorStep, batch: pl.DataFrame) -> pl.DataFrame:
        rows, open_rows = self.look_up(step, batch.with_columns(pl.lit(0, DOUBT_TYPE).alias(DOUBT)), 1, 1)
        if open_rows.any():
            self.missing.add(id(step))
        return rows.filter(pl.col(CONTENT)) if step.decides else rows

    def _at_once(self, step: plans.OperatorStep) -> int:
        rates = self.rates[id(step)]
        return rates.model.max_concurrency or rates.facts.usual_concurrency


class Doubtful(Walk):
    """All rows that are possible, marked where an answer behind them is missing."""

    def __init__(
        self,
        session: Session,
        options: RunOptions,
        names: dict[int, str],
        steps: list[plans.OperatorStep],
        rates: dict[int, Rates],
        missing: set[int],
        exact: Exact | None,
        loose: frozenset[int] = frozenset(),
    ) -> None:
        super().__init__(session, options, names, steps, rates)
        self._exact = exact
        self._missing = missing
        self._loose = loose
        self._settled: set[int] = set()
        self._unread: set[int] = set()
        """Operators whose columns nobody reads."""
        self._marks: dict[int, int] = {}
        self._shares: dict[int, float] = {}
        self._possible = self._new_possible((DOUBT,))

    def _new_possible(self, hidden: tuple[str, ...]) -> Possible:
        def operator(step: plans.OperatorStep, before: pl.LazyFrame) -> pl.LazyFrame:
            schema = {**step.schema, **{name: DOUBT_TYPE if name == DOUBT else pl.String() for name in hidden}}

            def read(wanted: list[str] | None, predicate: pl.Expr | None, n_rows: int | None) -> Batches:
                return self._batches(step, before, list(schema) if wanted is None else wanted, predicate, n_rows)

            return io_source(schema, read, self.activity, f"estimate {step.name}")

        return Possible(
            self._missing, hidden=hidden, activity=self.activity, operator=operator, say=self.said.append,
            limit=self.options.limit, loose=self._loose, decider=self._decider,
        )  # fmt: skip

    def frame(self, node: plans.Node, hidden: tuple[str, ...] = (DOUBT,)) -> pl.LazyFrame:
        """The plan as a lazy frame of its possible rows."""
        if hidden != (DOUBT,):
            self._possible = self._new_possible(hidden)
        return self._possible.frame(node)

    def settled(self, node: plans.Node) -> set[int]:
        """Operators whose numbers no missing answer can change."""
        stopped = self._possible.may_stop_early(node) | self._loose
        return {
            id(step) for step in self.steps
            if not self._possible.standing(step.inputs[0]).touched and id(step) not in stopped
        }  # fmt: skip

    def take_over(self, settled: set[int], node: plans.Node) -> None:
        """Use the exact numbers of these operators."""
        assert self._exact is not None
        self._settled = settled
        stopped = self._possible.may_stop_early(node)
        self._unread = (self._exact.opened - self._exact.needed - stopped) | self._exact.of_no_use(node)
        self.unsure = stopped | self._loose
        self.counts.update({key: self._exact.counts[key] for key in settled})
        self.asked = {key: by for key, by in self._exact.asked.items() if by[0] in settled}
        counted = self._exact.counted_elsewhere.items()
        self.counted_elsewhere = {by: keys for by, keys in counted if by[0] in settled}

    def asked_for_sure(self) -> set[bytes]:
        """Requests of the operators whose numbers no missing answer can change."""
        return {key for key, (step, low, _) in self.asked.items() if low >= 1 and step in self._settled}

    def bound(self, node: plans.Node) -> None:
        """Take the numbers down to what the plan allows at most and at least."""
        assert self._exact is not None
        stopped = self._possible.may_stop_early(node) | self._loose
        readers = _readers(node)
        for step in self.steps:
            if id(step) in self._settled:
                continue
            most = self._possible.standing(step.inputs[0]).most
            if step.rounds is None:
                self.counts[id(step)].bound(None if most is None else most * readers[id(step)])
            if isinstance(step.operator, ClusterLabelOperator):
                self._bound_names(step, step.operator)
            # Polars may have tested a condition further up that this walk tests further down.
            self.counts[id(step)].lower_to(self._exact.counts[id(step)])
            if id(step) in stopped or self._exact.early.get(id(step), set()) & step.inputs[0].answers:
                self.counts[id(step)].forget_low()

    def _bound_names(self, step: plans.OperatorStep, operator: ClusterLabelOperator) -> None:
        count = self.counts[id(step)]
        (grouping,) = step.inputs
        # Fewer rows may need a name than were put into clusters, and each of them may be of another one.
        vectors = self.counts[id(grouping.inputs[0])]
        count.bound_requests(*requests_at_most(count.rows_at_most, vectors.rows_at_most, operator.groups))
        if operator.groups is None:
            self.said.append(
                f"{self.names[id(step)]}: how many clusters there are depends on embeddings that are missing; twice "
                "the root of the rows is assumed, and one for two rows at most."
            )

    def _batches(
        self,
        step: plans.OperatorStep,
        before: pl.LazyFrame,
        columns: list[str],
        predicate: pl.Expr | None,
        n_rows: int | None,
    ) -> Batches:
        bounded = n_rows is not None and not step.decides
        written = {*step.operator.writes, DOUBT}
        early, late = split_predicate(predicate, written) if bounded or n_rows is None else (None, predicate)
        upstream = before if n_rows is None or not bounded else before.head(n_rows)
        upstream = with_content(step, upstream, content_of(step, self.content(step)))
        upstream = upstream if early is None else upstream.filter(early)
        carried = [name for name in columns if name not in step.operator.writes]
        asked = [*step.judges_by, *_own(step), DOUBT, CONTENT]
        upstream = upstream.select(list(dict.fromkeys([*carried, *asked])))
        batches = upstream.collect_batches(chunk_size=MORSEL_ROWS, maintain_order=True, engine="streaming")
        rows = (self._answered(step, batch).select(columns) for batch in cut(batches, lambda: MORSEL_ROWS))
        return wanted_rows(rows, late, None if bounded else n_rows, self.activity)

    def _answered(self, step: plans.OperatorStep, batch: pl.DataFrame) -> pl.DataFrame:
        if id(step) in self._unread:
            return batch.with_columns(step.operator.columns([None] * batch.height))
        before = step.inputs[0]
        rows, open_rows = self.look_up(step, batch, self._possible.times(before), self._possible.usual_times(before))
        mark = MAYBE | self._decider(step) if step.decides else UNKNOWN
        doubt = pl.when(open_rows).then(pl.col(DOUBT) | mark).otherwise(pl.col(DOUBT)).cast(DOUBT_TYPE).alias(DOUBT)
        rows = rows.with_columns(doubt)
        return rows.filter(open_rows | pl.col(CONTENT)) if step.decides else rows

    def counting(self, step: plans.OperatorStep) -> bool:
        """Whether the step's rows are to be counted in this walk."""
        return id(step) not in self._settled

    def chance(self, doubt: int) -> float:
        """How likely a row with these marks comes, by what the filters before it kept in the past."""
        if not doubt & MAYBE:
            return 1.0
        shares = [share for mark, share in self._shares.items() if doubt & mark]
        return prod(shares) if shares and not doubt & OPEN else PASS_SHARE * prod(shares)

    def open_rows(self, node: plans.Node, share: float) -> plans.OpenRows:
        """What is not known of the plan's rows, for a plan that reads them."""
        standing = self._possible.standing(node)
        return plans.OpenRows(
            answers=node.answers, rows=standing.rows, order=standing.order, fog=standing.fog, most=standing.most,
            times=self._possible.times(node), usual_times=self._possible.usual_times(node), share=share,
        )  # fmt: skip

    def touched(self, node: plans.Node) -> bool:
        """Whether an answer behind the node's rows is missing."""
        return self._possible.standing(node).touched

    def _decider(self, node: plans.Node) -> int:
        """The mark of a filter, a step that finds by vectors, or a source whose rows may not come; the last ones share
        ``OPEN``."""
        known = self._marks.get(id(node))
        if known is not None:
            return known
        mark = FIRST_DECIDER << len(self._shares)
        if mark > _LAST_DECIDER:
            return OPEN
        if isinstance(node, plans.Source):
            self._shares[mark] = PASS_SHARE if node.open is None else node.open.share
        elif isinstance(node, plans.Step):
            self._shares[mark] = 1.0 if node.finds_all else PASS_SHARE
        else:
            self._shares[mark] = self.rates[id(node)].pass_share
        self._marks[id(node)] = mark
        return mark


def _own(step: plans.OperatorStep) -> list[str]:
    """The column that says which rows are the operator's, where there is one."""
    return [] if step.rows_by is None else [step.rows_by]


def _readers(node: plans.Node) -> Counter[int]:
    """How often each node may be read: joined frames may have a part in common."""
    counted = Counter({id(node): 1})
    for current in reversed(list(plans.walk(node))):
        for before in current.inputs:
            counted[id(before)] += counted[id(current)]
    return counted
