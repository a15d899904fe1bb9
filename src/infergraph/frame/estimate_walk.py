"""The two walks of an estimate: over the very plan of the run, and over all rows that are possible."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import polars as pl

from infergraph.frame import plan as plans
from infergraph.frame.compiling import Activity, Batches, io_source, lazy_frame, split_predicate, wanted_rows
from infergraph.frame.doubt import FOG, HEADS, MAYBE, UNKNOWN, Possible
from infergraph.frame.estimate_count import Count
from infergraph.frame.execution import cut
from infergraph.frame.expressions import roots
from infergraph.frame.judging import judges
from infergraph.frame.row_ids import DOUBT, ROW_ID
from infergraph.frame.run import RunOptions
from infergraph.frame.session import Session
from infergraph.frame.window import MORSEL_ROWS, Window, asked_for_few
from infergraph.models.model import Model, Request
from infergraph.models.verdict import Accepted
from infergraph.store.hashes import RequestHasher

CONTENT = "__content"
PASS_SHARE = 0.5


@dataclass(frozen=True)
class Feeds:
    """Whether an operator's request, and its ``where``, depend on answers of other operators."""

    reads: bool
    where: bool


def feeds(step: plans.OperatorStep) -> Feeds:
    """What of an operator depends on answers."""
    answers = step.inputs[0].answers
    where = set() if step.where is None else roots(step.where)
    return Feeds(bool(answers.intersection(step.operator.reads)), bool(answers & where))


def content_of(step: plans.OperatorStep, *, marked: bool = True) -> pl.Expr:
    """The row's part of the request; a row whose ``where`` is unknown keeps it."""
    content = step.operator.content
    if step.where is None:
        return content
    asked = pl.when(step.where).then(content)
    if not marked or not feeds(step).where:
        return asked
    return pl.when((pl.col(DOUBT) & UNKNOWN) > 0).then(content).otherwise(asked)


@dataclass
class Walk:
    """Reads a plan with the store as the only source of answers, and counts."""

    session: Session
    options: RunOptions
    names: dict[int, str]
    steps: list[plans.OperatorStep]
    activity: Activity = field(default_factory=Activity)
    counts: dict[int, Count] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    asked: dict[bytes, tuple[int, float]] = field(default_factory=dict)
    """Request hash to the operator that asks it and how sure that is."""
    instead: dict[int, set[bytes]] = field(default_factory=dict)
    """By operator, what it asks where an earlier one with the same question does not."""
    unsure: set[int] = field(default_factory=set)
    """Operators that may not ask what they are counted for."""

    def __post_init__(self) -> None:
        for step in self.steps:
            self.counts[id(step)] = Count(self.session, step, self.names[id(step)], self.model(step))

    def read(self, rows: pl.LazyFrame) -> None:
        """Read all rows once."""
        try:
            for _ in rows.collect_batches(chunk_size=MORSEL_ROWS, maintain_order=True, engine="streaming"):
                pass
        finally:
            self.activity.stop()
            self.activity.join(10)

    def model(self, step: plans.OperatorStep) -> str:
        """The name of the model that the operator would use."""
        override = self.options.model
        return override if override is not None and step.operator.kind != "embed" else step.model

    def look_up(self, step: plans.OperatorStep, batch: pl.DataFrame, times: int) -> tuple[pl.DataFrame, pl.Series]:
        """The rows with the operator's answers as far as they are stored, and which rows have none yet."""
        lookup = _LookUp(self, step, times)
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
        """Operators that a later ``head`` stops once it has its rows, wherever they happen to be by then."""
        heads = [one for one in plans.walk(node) if isinstance(one, plans.Step) and one.method in HEADS]
        return frozenset(key for head in heads for key in asked_for_few(head) & self._unbounded)

    def frame(self, node: plans.Node) -> pl.LazyFrame:
        """The plan as a lazy frame."""

        def operator(step: plans.OperatorStep, before: pl.LazyFrame) -> pl.LazyFrame:
            schema = {**step.schema, ROW_ID: pl.String()}

            def read(wanted: list[str] | None, predicate: pl.Expr | None, n_rows: int | None) -> Batches:
                return self._batches(step, before, wanted or list(schema), predicate, n_rows)

            return io_source(schema, read, self.activity, f"estimate {step.name}")

        made = lazy_frame(node, hidden=(ROW_ID,), activity=self.activity, operator=operator, limit=self.options.limit)
        return made.select(*node.schema, ROW_ID)

    def _batches(
        self,
        step: plans.OperatorStep,
        before: pl.LazyFrame,
        columns: list[str],
        predicate: pl.Expr | None,
        n_rows: int | None,
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
        upstream = upstream.with_columns(content_of(step, marked=False).alias(CONTENT)) if needed else upstream
        upstream = upstream if early is None else upstream.filter(early)
        asked = [*step.operator.judges_by, CONTENT] if needed else []
        upstream = upstream.select(list(dict.fromkeys([*carried, ROW_ID, *asked])))
        size = MORSEL_ROWS if n_rows is None else Window(partial(self._at_once, step), n_rows).rows
        batches = upstream.collect_batches(chunk_size=size, maintain_order=True, engine="streaming")
        rows = (
            (self._answered(step, batch) if needed else batch).select(columns) for batch in cut(batches, lambda: size)
        )
        return wanted_rows(rows, late, None if bounded else n_rows, self.activity)

    def _answered(self, step: plans.OperatorStep, batch: pl.DataFrame) -> pl.DataFrame:
        rows, open_rows = self.look_up(step, batch.with_columns(pl.lit(0, pl.Int8).alias(DOUBT)), 1)
        if open_rows.any():
            self.missing.add(id(step))
        return rows.filter(pl.col(CONTENT)) if step.decides else rows

    def _at_once(self, step: plans.OperatorStep) -> int:
        model, known = self.session.facts(self.model(step))
        return model.max_concurrency or known.usual_concurrency


class Doubtful(Walk):
    """All rows that are possible, marked where an answer behind them is missing."""

    def __init__(
        self,
        session: Session,
        options: RunOptions,
        names: dict[int, str],
        steps: list[plans.OperatorStep],
        missing: set[int],
        exact: Exact | None,
        loose: frozenset[int] = frozenset(),
    ) -> None:
        super().__init__(session, options, names, steps)
        self._exact = exact
        self._missing = missing
        self._loose = loose
        self._settled: set[int] = set()
        self._unread: set[int] = set()
        """Operators whose columns nobody reads."""
        self._possible = self._new_possible((DOUBT,))

    def _new_possible(self, hidden: tuple[str, ...]) -> Possible:
        def operator(step: plans.OperatorStep, before: pl.LazyFrame) -> pl.LazyFrame:
            schema = {**step.schema, **{name: pl.Int8() if name == DOUBT else pl.String() for name in hidden}}

            def read(wanted: list[str] | None, predicate: pl.Expr | None, n_rows: int | None) -> Batches:
                return self._batches(step, before, wanted or list(schema), predicate, n_rows)

            return io_source(schema, read, self.activity, f"estimate {step.name}")

        return Possible(
            self._missing, hidden=hidden, activity=self.activity, operator=operator, say=self.said.append,
            limit=self.options.limit, loose=self._loose,
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
        self._unread = self._exact.opened - self._exact.needed - stopped
        self.unsure = stopped | self._loose
        self.counts.update({key: self._exact.counts[key] for key in settled})
        self.asked = {key: by for key, by in self._exact.asked.items() if by[0] in settled}

    def bound(self, node: plans.Node) -> None:
        """Take the numbers down to what the plan allows at most and at least."""
        assert self._exact is not None
        stopped = self._possible.may_stop_early(node) | self._loose
        readers = _readers(node)
        for step in self.steps:
            if id(step) in self._settled:
                continue
            most = self._possible.standing(step.inputs[0]).most
            self.counts[id(step)].bound(None if most is None else most * readers[id(step)])
            if id(step) in stopped or self._exact.early.get(id(step), set()) & step.inputs[0].answers:
                self.counts[id(step)].forget_low()

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
        upstream = upstream.with_columns(content_of(step).alias(CONTENT))
        upstream = upstream if early is None else upstream.filter(early)
        carried = [name for name in columns if name not in step.operator.writes]
        upstream = upstream.select(list(dict.fromkeys([*carried, *step.operator.judges_by, DOUBT, CONTENT])))
        batches = upstream.collect_batches(chunk_size=MORSEL_ROWS, maintain_order=True, engine="streaming")
        rows = (self._answered(step, batch).select(columns) for batch in cut(batches, lambda: MORSEL_ROWS))
        return wanted_rows(rows, late, None if bounded else n_rows, self.activity)

    def _answered(self, step: plans.OperatorStep, batch: pl.DataFrame) -> pl.DataFrame:
        if id(step) in self._unread:
            return batch.with_columns(step.operator.columns([None] * batch.height))
        rows, open_rows = self.look_up(step, batch, self._possible.times(step.inputs[0]))
        mark = MAYBE if step.decides else UNKNOWN
        doubt = pl.when(open_rows).then(pl.col(DOUBT) | mark).otherwise(pl.col(DOUBT)).cast(pl.Int8).alias(DOUBT)
        rows = rows.with_columns(doubt)
        return rows.filter(open_rows | pl.col(CONTENT)) if step.decides else rows

    def counting(self, step: plans.OperatorStep) -> bool:
        """Whether the step's rows are to be counted in this walk."""
        return id(step) not in self._settled


def _readers(node: plans.Node) -> Counter[int]:
    """How often each node may be read: joined frames may have a part in common."""
    counted = Counter({id(node): 1})
    for current in reversed(list(plans.walk(node))):
        for before in current.inputs:
            counted[id(before)] += counted[id(current)]
    return counted


class _LookUp:
    """One operator's look into the store for one batch."""

    def __init__(self, walk: Walk, step: plans.OperatorStep, times: int) -> None:
        self._walk = walk
        self._step = step
        self._times = times
        self._feeds = feeds(step)
        self._hasher = RequestHasher(walk.session.models[walk.model(step)])
        counting = not isinstance(walk, Doubtful) or walk.counting(step)
        self._count = walk.counts.get(id(step)) if counting else None
        retried_by = walk.options.retry_model if step.operator.kind != "embed" else None
        self._retried_by = None if retried_by is None else walk.session.models[retried_by]
        self._instead: set[bytes] = walk.instead.setdefault(id(step), set())
        self.rejected: list[bool] = []
        """Rows whose rejection is remembered."""

    def rows(self, batch: pl.DataFrame) -> tuple[list[Any], list[bool]]:
        """Each row's answer, ``None`` without one, and whether it is still to come."""
        contents, doubts = batch[CONTENT].to_list(), batch[DOUBT].to_list()
        known = dict.fromkeys(
            content for content, doubt in zip(contents, doubts, strict=True)
            if content is not None and not self._unknown(doubt)
        )  # fmt: skip
        requests = {content: self._step.operator.request(content) for content in known}
        hashes = {content: self._hasher.hash(request) for content, request in requests.items()}
        options = self._walk.options
        stored = {} if options.refresh else self._walk.session.store.answers(
            list(hashes.values()), max_age_s=options.max_age_s
        )  # fmt: skip
        values: list[Any] = []
        missing: list[bool] = []
        for content, doubt, judge in zip(contents, doubts, judges(self._step.operator, batch), strict=True):
            low, expected = self._chance(doubt)
            self._add("rows", low, expected)
            value, unanswered, rejected = None, False, False
            if self._unknown(doubt):
                unanswered = True
                self._ask_unknown(content, expected)
            elif content is not None:
                answer = stored.get(hashes[content])
                verdict = None
                if answer is not None and answer.state == "done" and answer.response is not None:
                    verdict = judge(answer.response)
                # Whether a row with an unknown ``where`` is asked at all is open, also where the answer is there.
                unanswered = self._feeds.where and bool(doubt & UNKNOWN)
                if isinstance(verdict, Accepted):
                    value = verdict.value
                    self._add("store_hits", low, expected)
                elif answer is None or answer.state == "done" or options.retry_rejects:
                    unanswered = True
                    again = answer is not None and answer.state == "rejected"
                    paid = self._retried_by if again else None
                    self._ask(hashes[content], requests[content], low, expected, paid)
                else:
                    rejected = True
            values.append(value)
            missing.append(unanswered)
            self.rejected.append(rejected)
        return values, missing

    def _unknown(self, doubt: int) -> bool:
        return bool(doubt & FOG) or (self._feeds.reads and bool(doubt & UNKNOWN))

    def _chance(self, doubt: int) -> tuple[float, float]:
        open_where = self._feeds.where and doubt & UNKNOWN
        return (0.0, PASS_SHARE) if doubt & MAYBE or open_where else (1.0, 1.0)

    def _add(self, what: str, low: float, expected: float) -> None:
        if self._count is not None:
            self._count.add(what, low, expected, self._times)

    def _ask_unknown(self, content: str | None, expected: float) -> None:
        if self._count is not None:
            self._count.ask(self._count.typical_tokens(content), 0, expected, self._times)
            self._count.add("store_hits", 0, 0, self._times)

    def _ask(self, key: bytes, request: Request, low: float, expected: float, paid: Model | None) -> None:
        if self._count is None:
            return
        known = self._walk.asked.get(key)
        if known is None:
            self._walk.asked[key] = (id(self._step), low)
            self._count.ask(self._count.request_tokens(request), low, expected, model=paid)
        elif low > known[1] and known[0] == id(self._step):
            # It was only possible before; now a row needs it for sure.
            self._walk.asked[key] = (id(self._step), low)
            self._count.ask(self._count.request_tokens(request), low, low - PASS_SHARE, 0, model=paid)
        elif known[0] != id(self._step) and known[0] in self._walk.unsure and key not in self._instead:
            self._instead.add(key)
            self._count.ask(self._count.request_tokens(request), 0, 0, model=paid)
