"""Runs a plan: each operator reads morsels of rows, asks the engine, and gives the morsels on in order.

A morsel's requests are sent as soon as the morsel is read; morsels that wait for answers form a window, bounded
in bytes and in morsels. What was rejected and which request made which row is written as the run goes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from threading import Lock

import polars as pl

from infergraph.calls.asks import Ask, Outcome, Policy, Scope
from infergraph.calls.budget import Budget
from infergraph.calls.cancel import CancelToken
from infergraph.errors import RunCancelled
from infergraph.frame import plan as plans
from infergraph.frame.compiling import Activity, Batches, io_source, lazy_frame, split_predicate
from infergraph.frame.parts import PartsFile
from infergraph.frame.row_ids import ROW_ID
from infergraph.frame.session import Session
from infergraph.models.model import Request
from infergraph.records import Tally, add_nano, rejects_schema, usd
from infergraph.store.hashes import RequestHasher, hash_text

MORSEL_ROWS = 512
WINDOW_BYTES = 256 * 1024 * 1024
WINDOW_ROWS = 32_768
_CONTENT = "__content"
_PROGRESS_EVERY_S = 0.2
_WAIT_S = 0.25

LINEAGE_SCHEMA = pl.Schema(
    {
        "row_id": pl.String(),
        "operator": pl.String(),
        "model": pl.String(),
        "request_hash": pl.String(),
        "source": pl.String(),
        "via": pl.String(),
    }
)
"""One row for each row and operator that needed an answer; ``source`` as in ``calls.asks.Outcome``."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far one operator has come; the counts only grow.

    Args:
        operator: The operator's name.
        rows: Rows that have their ending.
        rows_total: Rows that will come, where that is known beforehand.
        calls: Rows asked in this run.
        store_hits: Rows answered from the store.
        rejected: Rows that ended as rejects.
        pending: Rows not asked because a budget was used up.
        cost_usd: Money spent so far; ``None``: not known.
        seconds: Seconds since the operator got its first row.
    """

    operator: str
    rows: int
    rows_total: int | None
    calls: int
    store_hits: int
    rejected: int
    pending: int
    cost_usd: Decimal | None
    seconds: float


class Window:
    """How many morsels may wait for answers at once.

    It starts just wide enough to keep the model busy and doubles with every morsel that is taken: who wants only
    a few rows pays for few, and a slow row soon has enough rows behind it to go on with.

    Args:
        at_once: Requests that the model takes at once.
        n_rows: Rows that are wanted, where that is known: then one morsel at a time.
    """

    def __init__(self, at_once: int, n_rows: int | None) -> None:
        self.rows = max(1, min(MORSEL_ROWS, at_once, MORSEL_ROWS if n_rows is None else n_rows))
        self._most = 1 if n_rows is not None else 2
        self._widest = 1 if n_rows is not None else WINDOW_ROWS // self.rows

    def full(self, morsels: int, waiting_bytes: int) -> bool:
        """Whether the first morsel must be waited for before another is asked."""
        return morsels >= self._most or waiting_bytes > WINDOW_BYTES

    def widen(self) -> None:
        """A morsel was taken: more are wanted."""
        self._most = min(self._widest, 2 * self._most)


@dataclass(slots=True)
class _Morsel:
    """Rows that wait for their answers."""

    rows: pl.DataFrame
    requests: list[Request | None]
    hashes: list[bytes]
    """One a row that is asked, in order."""
    future: Future[list[Outcome]]
    bytes: int


class Execution:
    """One run of one plan.

    Args:
        session: Gives models, engine and store.
        node: The plan's last node.
        folder: Where rejects and lineage are written while the run goes on.
        scope: Who asks; the operator's name is filled in for each.
        policy: How to ask.
        budget: Money of this run; ``None``: no bound.
        limit: Only so many rows of the leftmost source.
        model: A model's name that takes the place of every chat operator's own.
        on_progress: Called some times a second.
    """

    def __init__(
        self,
        session: Session,
        node: plans.Node,
        folder: Path,
        *,
        scope: Scope,
        policy: Policy,
        budget: Budget | None,
        limit: int | None,
        model: str | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self.session = session
        self.node = node
        self.cancel = CancelToken()
        self.activity = Activity()
        self.error: BaseException | None = None
        self._scope = scope
        self._policy = policy
        self._budget = budget
        self._limit = limit
        self._model = model
        self._on_progress = on_progress
        self._lock = Lock()
        self._tallies: dict[int, Tally] = {}
        self.keys = key_columns(node)
        self.rejects = PartsFile(folder, "rejects", rejects_schema(self.keys))
        self.lineage = PartsFile(folder, "lineage", LINEAGE_SCHEMA)
        for step in plans.operator_steps(node):
            self._tallies[id(step)] = Tally(operator=self._name(step), model=self._model_of(step))

    @property
    def tallies(self) -> list[Tally]:
        """Counts of each operator, in the order of the plan."""
        return list(self._tallies.values())

    def frame(self) -> pl.LazyFrame:
        """The plan as a lazy frame with ``_row_id`` last; collecting it makes the calls."""
        made = lazy_frame(
            self.node, hidden=(ROW_ID,), activity=self.activity, operator=self._operator_frame, limit=self._limit
        )
        return made.select(*self.node.schema, ROW_ID)

    def stop(self) -> None:
        """Stop sending and let every generator end; what came back is stored."""
        self.activity.stop()
        self.cancel.cancel()

    def _at_once(self, step: plans.OperatorStep) -> int:
        model, known = self.session.facts(self._model_of(step))
        return model.max_concurrency or known.default_concurrency

    def _model_of(self, step: plans.OperatorStep) -> str:
        return self._model if self._model is not None and step.operator.kind != "embed" else step.model

    def _name(self, step: plans.OperatorStep) -> str:
        """The operator's name; frames that are joined may bring the same name twice."""
        taken = {tally.operator for tally in self._tallies.values()}
        name, number = step.name, 1
        while name in taken:
            number += 1
            name = f"{step.name}_{number}"
        return name

    def _operator_frame(self, step: plans.OperatorStep, before: pl.LazyFrame) -> pl.LazyFrame:
        content = step.operator.content
        if step.where is not None:
            content = pl.when(step.where).then(content)
        prepared = before.with_columns(content.alias(_CONTENT))

        def read(wanted: list[str] | None, predicate: pl.Expr | None, n_rows: int | None) -> Batches:
            columns = wanted if wanted is not None else [*step.schema, ROW_ID]
            return self._batches(step, before, prepared, columns, predicate, n_rows)

        return io_source({**step.schema, ROW_ID: pl.String()}, read, self.activity, f"semantic.{step.operator.kind}")

    def _batches(
        self,
        step: plans.OperatorStep,
        before: pl.LazyFrame,
        prepared: pl.LazyFrame,
        columns: list[str],
        predicate: pl.Expr | None,
        n_rows: int | None,
    ) -> Batches:
        written = set(step.operator.writes)
        early, late = split_predicate(predicate, written)
        carried = [name for name in columns if name not in written]
        needed = step.decides or not written.isdisjoint(columns)
        keys = [name for name in self.keys if name in step.inputs[0].schema]
        kept = dict.fromkeys([*carried, *keys, ROW_ID, _CONTENT] if needed else [*carried, ROW_ID])
        upstream = prepared if needed else before
        upstream = upstream.select(*kept) if early is None else upstream.filter(early).select(*kept)
        if n_rows is not None and late is None and not step.decides:
            upstream = upstream.head(n_rows)
        window = Window(self._at_once(step), n_rows)
        source = upstream.collect_batches(chunk_size=window.rows, maintain_order=True, engine="streaming")
        morsels = self._checked(cut(source, window.rows))
        answered = self._answered(step, morsels, window) if needed else morsels
        left = n_rows
        for batch in answered:
            result = batch.select(columns)
            result = result if late is None else result.filter(late)
            if left is not None:
                result = result.head(left)
                left -= result.height
            yield result
            if left is not None and left <= 0:
                return

    def _checked(self, batches: Iterator[pl.DataFrame]) -> Batches:
        for batch in batches:
            if self.activity.stopped:
                return
            yield batch

    # -- asking ------------------------------------------------------------------------------------

    def _answered(self, step: plans.OperatorStep, morsels: Batches, window: Window) -> Batches:
        """The morsels with the operator's columns, in order, asked ahead within the window."""
        asker = _Asker(self, step)
        waiting: deque[_Morsel] = deque()
        waiting_bytes = 0
        for rows in morsels:
            waiting.append(asker.ask(rows))
            waiting_bytes += waiting[-1].bytes
            while waiting and (waiting[0].future.done() or window.full(len(waiting), waiting_bytes)):
                waiting_bytes -= waiting[0].bytes
                finished = self._finish(asker, waiting.popleft())
                if finished is None:
                    return
                yield finished
                window.widen()
        while waiting:
            finished = self._finish(asker, waiting.popleft())
            if finished is None:
                return
            yield finished

    def _finish(self, asker: _Asker, morsel: _Morsel) -> pl.DataFrame | None:
        outcomes = self._wait(morsel.future)
        return None if outcomes is None else asker.finish(morsel, outcomes)

    def _wait(self, future: Future[list[Outcome]]) -> list[Outcome] | None:
        """The outcomes, or ``None`` when the run is over and nobody needs them."""
        while True:
            try:
                return future.result(timeout=_WAIT_S)
            except NotYet:
                if self.activity.stopped:
                    return None
            except (CancelledError, RunCancelled):
                if self.activity.stopped:
                    return None
                raise
            except Exception as error:
                # Polars hands exceptions on, but which of several it hands on is its choice: the first one tells most.
                self.error = self.error or error
                raise

    def submit(self, step: plans.OperatorStep, asks: Sequence[Ask]) -> Future[list[Outcome]]:
        """Hand asks of one operator to the engine."""
        scope = Scope(
            run_id=self._scope.run_id, operator=self._tallies[id(step)].operator, asset=self._scope.asset,
            partition=self._scope.partition,
        )  # fmt: skip
        return self.session.engine.submit(
            asks, model=self._model_of(step), scope=scope, policy=self._policy, budget=self._budget, cancel=self.cancel
        )

    def tally(self, step: plans.OperatorStep) -> Tally:
        """The counts of one operator; change them under ``counting``."""
        return self._tallies[id(step)]

    @property
    def counting(self) -> Lock:
        """Held while counts change: one operator may be read by two branches at once."""
        return self._lock

    def report(self, progress: Progress) -> None:
        """Tell the caller how far an operator has come."""
        if self._on_progress is not None:
            self._on_progress(progress)

    def rows_total(self, step: plans.OperatorStep) -> int | None:
        """Rows that will come to an operator, where they can be counted without an answer and somebody listens."""
        before: plans.Node = step.inputs[0]
        while isinstance(before, plans.OperatorStep) and not before.decides:
            before = before.inputs[0]
        if self._on_progress is None or plans.operator_steps(before):
            return None
        plain = lazy_frame(before, hidden=(), activity=self.activity, operator=self._operator_frame, limit=self._limit)
        return int(plain.select(pl.len()).collect(engine="streaming").item())


class _Asker:
    """Turns one operator's morsels into asks and the outcomes into columns, rejects, lineage and counts."""

    def __init__(self, run: Execution, step: plans.OperatorStep) -> None:
        self._run = run
        self._step = step
        self._operator = step.operator
        self._tally = run.tally(step)
        self._hasher = RequestHasher(run.session.models[self._tally.model])
        self._started = time.monotonic()
        self._reported = 0.0
        self._total = run.rows_total(step)
        self._report(force=True)

    def ask(self, rows: pl.DataFrame) -> _Morsel:
        made: dict[str, tuple[Request, bytes]] = {}
        requests: list[Request | None] = []
        asks: list[Ask] = []
        for content in rows[_CONTENT].to_list():
            if content is None:
                requests.append(None)
                continue
            known = made.get(content)
            if known is None:
                request = self._operator.request(content)
                known = made[content] = (request, self._hasher.hash(request))
            requests.append(known[0])
            asks.append(Ask(known[1], known[0], self._operator.judge))
        future: Future[list[Outcome]] = self._run.submit(self._step, asks) if asks else _nothing()
        return _Morsel(rows, requests, [ask.hash for ask in asks], future, int(rows.estimated_size()))

    def finish(self, morsel: _Morsel, outcomes: Sequence[Outcome]) -> pl.DataFrame:
        endings = iter(outcomes)
        by_row = [next(endings) if request is not None else None for request in morsel.requests]
        self._count(by_row)
        self._write(morsel, by_row)
        values = [None if ending is None else ending.value for ending in by_row]
        self._report()
        if not self._step.decides:
            return morsel.rows.with_columns(self._operator.columns(values))
        kept = [
            value is True or (self._step.keeps_undecided and ending is not None and ending.rejected is not None)
            for value, ending in zip(values, by_row, strict=True)
        ]
        return morsel.rows.filter(pl.Series(kept, dtype=pl.Boolean))

    def _count(self, by_row: Sequence[Outcome | None]) -> None:
        with self._run.counting:
            tally = self._tally
            tally.rows += len(by_row)
            for ending in by_row:
                if ending is None:
                    tally.nulls += 1
                    continue
                field = {"call": "calls", "store": "store_hits"}.get(ending.source, ending.source)
                setattr(tally, field, getattr(tally, field) + 1)
                tally.rejected += ending.rejected is not None
                tokens = ending.spent.tokens
                tally.input_tokens += tokens.input
                tally.cached_input_tokens += tokens.cached_input
                tally.output_tokens += tokens.output
                tally.cost_nano_usd = add_nano(tally.cost_nano_usd, ending.spent.cost_nano_usd)
                tally.saved_nano_usd = add_nano(tally.saved_nano_usd, ending.saved_nano_usd)
            tally.seconds = time.monotonic() - self._started

    def _write(self, morsel: _Morsel, by_row: Sequence[Outcome | None]) -> None:
        ids = morsel.rows[ROW_ID].to_list()
        asked = [(place, ending) for place, ending in enumerate(by_row) if ending is not None]
        self._run.lineage.add(
            pl.DataFrame(
                {
                    "row_id": [ids[place] for place, _ in asked],
                    "operator": [self._tally.operator] * len(asked),
                    "model": [ending.model for _, ending in asked],
                    "request_hash": [hash_text(ending.hash) for _, ending in asked],
                    "source": [ending.source for _, ending in asked],
                    "via": [ending.via for _, ending in asked],
                },
                schema=LINEAGE_SCHEMA,
            )
        )
        rejected = [(place, ending) for place, ending in asked if ending.rejected is not None]
        if rejected:
            self._run.rejects.add(self._rejects(morsel, rejected))

    def _rejects(self, morsel: _Morsel, rejected: Sequence[tuple[int, Outcome]]) -> pl.DataFrame:
        places = [place for place, _ in rejected]
        endings = [ending for _, ending in rejected]
        keys = [name for name in self._run.keys if name in morsel.rows.columns]
        costs = [usd(ending.spent.cost_nano_usd) for ending in endings]
        told = morsel.rows[places].select(pl.col(ROW_ID).alias("row_id"), *keys)
        return told.with_columns(
            pl.lit(self._tally.operator).alias("operator"),
            pl.Series("reason", [ending.rejected for ending in endings], dtype=pl.String),
            pl.Series("message", [ending.message for ending in endings], dtype=pl.String),
            pl.Series("attempts", [ending.attempts for ending in endings], dtype=pl.Int64),
            pl.Series("model", [ending.model for ending in endings], dtype=pl.String),
            pl.Series("prompt", [prompt_text(morsel.requests[place]) for place in places], dtype=pl.String),
            pl.Series("response", [ending.response_text for ending in endings], dtype=pl.String),
            pl.Series("cost_usd", [None if cost is None else float(cost) for cost in costs], dtype=pl.Float64),
        )

    def _report(self, *, force: bool = False) -> None:
        now = time.monotonic()
        done = self._total is not None and self._tally.rows >= self._total
        if not force and not done and now - self._reported < _PROGRESS_EVERY_S:
            return
        self._reported = now
        tally = self._tally
        self._run.report(
            Progress(
                operator=tally.operator, rows=tally.rows, rows_total=self._total, calls=tally.calls,
                store_hits=tally.store_hits, rejected=tally.rejected, pending=tally.pending,
                cost_usd=usd(tally.cost_nano_usd), seconds=now - self._started,
            )
        )  # fmt: skip


def prompt_text(request: Request | None) -> str:
    """A request's messages as one text to read."""
    if request is None:
        return ""
    if request.embed_text is not None:
        return request.embed_text
    return "\n\n".join(f"[{message.role}]\n{message.content}" for message in request.messages)


def key_columns(node: plans.Node) -> dict[str, pl.DataType]:
    """Key columns of all sources of a plan, where every operator that still has one agrees on its type."""
    keys: dict[str, pl.DataType] = {}
    for current in plans.walk(node):
        if isinstance(current, plans.Source):
            keys.update({name: current.schema[name] for name in current.key if name not in keys})
    for step in plans.operator_steps(node):
        schema = step.inputs[0].schema
        keys = {name: dtype for name, dtype in keys.items() if schema.get(name, dtype) == dtype}
    return keys


def cut(batches: Iterator[pl.DataFrame], rows: int) -> Batches:
    """The batches in pieces of at most ``rows`` rows."""
    for batch in batches:
        for start in range(0, batch.height, rows):
            yield batch.slice(start, rows)


def _nothing() -> Future[list[Outcome]]:
    future: Future[list[Outcome]] = Future()
    future.set_result([])
    return future
