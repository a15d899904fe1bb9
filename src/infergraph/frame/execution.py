"""Runs a plan: each operator reads morsels of rows, asks the engine, and gives the morsels on in order.

A morsel's requests are sent as soon as the morsel is read; morsels that wait for answers form a window (see
``frame/window.py``). What was rejected and which request made which row is written as the run goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import polars as pl

from infergraph.calls.asks import Ask, Outcome, Policy, Scope
from infergraph.calls.budget import Budget
from infergraph.calls.cancel import CancelToken
from infergraph.calls.ledger import Ledger
from infergraph.errors import RunCancelled, StoreError
from infergraph.frame import plan as plans
from infergraph.frame.asking import CONTENT, Account, Asker, Progress, Wiring
from infergraph.frame.compiling import Activity, Batches, io_source, lazy_frame, split_predicate, wanted_rows
from infergraph.frame.image_loading import PIECE_BYTES, ImageLoader, Piece
from infergraph.frame.keys import hidden_key
from infergraph.frame.lineage_rows import PART, LineageRows
from infergraph.frame.parents import ParentRecorder, derives_twice
from infergraph.frame.parts import PartsFile
from infergraph.frame.pulling import Growing, Passes, in_windows, pulled_heads
from infergraph.frame.redacting import redacted_content
from infergraph.frame.room import room_of
from infergraph.frame.rounds import RoundsAsker, RoundsWorker
from infergraph.frame.row_ids import ROW_ID
from infergraph.frame.session import Session
from infergraph.frame.spill import Spill
from infergraph.frame.window import WAIT_S, Asked, Line, Window, asked_for_few
from infergraph.operators.images import images_of
from infergraph.records import Tally, rejects_schema

T = TypeVar("T")


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
        on_notice: Takes sentences for a person on why nothing comes, on the thread that calls ``pass_on_notices``.
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
        on_notice: Callable[[str], None],
    ) -> None:
        self.session = session
        self.node = node
        self.cancel = CancelToken()
        self.activity = Activity()
        self.error: BaseException | None = None
        self.recorded = False
        """Whether the store has what this run used."""
        self.scope = scope
        self._policy = policy
        self._budget = budget
        self._limit = limit
        self._model = model
        self._on_progress = on_progress
        self._on_notice = on_notice
        self._notices: SimpleQueue[str] = SimpleQueue()
        self._accounts: dict[int, Account] = {}
        self.keys = key_columns(node)
        # An operator that two branches read meets its rows twice; each is listed once.
        once_by = ("row_id", "operator", PART) if plans.reads_twice(node) else ()
        self.rejects = PartsFile(
            folder, "rejects", rejects_schema(self.keys), once_by, hidden=pl.Schema({PART: pl.String()})
        )
        self.lineage = LineageRows(folder, met_twice=bool(once_by) or derives_twice(node))
        self.parents = ParentRecorder(self.lineage)
        self._spill = Spill(folder / "spill")
        self._rounds = RoundsWorker(lambda: self.activity.stopped)
        self._few = asked_for_few(node)
        self._pulled = pulled_heads(node)
        names = plans.operator_names(node)
        for step in plans.operator_steps(node):
            self._accounts[id(step)] = Account(Tally(operator=names[id(step)], model=self._model_of(step)))

    @property
    def tallies(self) -> list[Tally]:
        """Counts of each operator, in the order of the plan."""
        return [account.tally for account in self._accounts.values()]

    def frame(self) -> pl.LazyFrame:
        """The plan as a lazy frame with ``_row_id`` last; collecting it makes the calls."""
        return self._lazy(self.node, self._operator_frame, self._limit).select(*self.node.schema, ROW_ID)

    def stop(self) -> None:
        """Stop sending and let every generator end; what came back is stored."""
        self.activity.stop()
        self.cancel.cancel()

    def pass_on_notices(self) -> None:
        """Say what the engine has to say, on the thread that waits for the run."""
        with suppress(Empty):
            while True:
                self._on_notice(self._notices.get_nowait())

    def kept(self) -> int:
        """Answers of this run that are in the store; to be asked once nothing is in flight."""
        store, scope = self.session.store, self.scope
        with suppress(StoreError):
            store.writer.flush()
        return store.kept(scope.run_id, scope.asset, scope.partition)

    def _model_of(self, step: plans.OperatorStep) -> str:
        return self._model if self._model is not None and step.operator.kind != "embed" else step.model

    def _lazy(
        self, node: plans.Node, operator: Callable[[plans.OperatorStep, pl.LazyFrame], pl.LazyFrame], limit: int | None
    ) -> pl.LazyFrame:
        return lazy_frame(
            node, hidden=(ROW_ID,), activity=self.activity, operator=operator, limit=limit, keys=self.keys,
            head=self._head_frame, recorder=self.parents,
        )  # fmt: skip

    def _operator_frame(self, step: plans.OperatorStep, before: pl.LazyFrame) -> pl.LazyFrame:
        """An operator that Polars reads as it likes."""

        def read(wanted: list[str] | None, predicate: pl.Expr | None, n_rows: int | None) -> Batches:
            window = Window(self._at_once(step), n_rows, few=id(step) in self._few)
            return self._batches(step, before, wanted, predicate, n_rows, window)

        return io_source(self._schema(step), read, self.activity, f"semantic.{step.operator.kind}")

    def _head_frame(self, step: plans.Step, limit: int | None) -> pl.LazyFrame | None:
        """A ``head`` that reads the operators below it window by window; ``None``: Polars does it."""
        operators = self._pulled.get(id(step))
        if operators is None:
            return None

        def read(wanted: list[str] | None, predicate: pl.Expr | None, n_rows: int | None) -> Batches:
            frame, passes = self._pulled_frame(step, operators, limit)
            frame = frame.select(list(self._schema(step)) if wanted is None else wanted)
            rows = in_windows(frame, passes, lambda: self.activity.stopped)
            first = wanted_rows(rows, None, step.most_rows, self.activity)
            return wanted_rows(first, predicate, n_rows, self.activity)

        return io_source(self._schema(step), read, self.activity, step.describe())

    def _pulled_frame(
        self, head: plans.Step, operators: frozenset[int], limit: int | None
    ) -> tuple[pl.LazyFrame, Passes]:
        """What a head reads, made anew for one reading of it, and its last operator."""
        chain: list[Passes] = []

        def operator(step: plans.OperatorStep, before: pl.LazyFrame) -> pl.LazyFrame:
            if id(step) not in operators:
                return self._operator_frame(step, before)
            below = chain[-1] if chain else None

            def read(wanted: list[str] | None, predicate: pl.Expr | None) -> Batches:
                window = Growing(self._at_once(step), head.most_rows or 1)
                return self._batches(step, before, wanted, predicate, None, window, below)

            chain.append(Passes(read))
            return io_source(self._schema(step), chain[-1].next_window, self.activity, step.operator.kind)

        return self._lazy(head.inputs[0], operator, limit), chain[-1]

    def _content(self, step: plans.OperatorStep) -> pl.Expr:
        """What an operator reads of a row, as its model is to see it; null where nothing is to be asked."""
        content = redacted_content(self.session, step, self._model_of(step))
        return content if step.where is None else pl.when(step.where).then(content)

    def _at_once(self, step: plans.OperatorStep) -> Callable[[], int]:
        return partial(self.session.engine.at_once, self._model_of(step))

    def _schema(self, node: plans.Node) -> dict[str, pl.DataType]:
        """A node's columns, the hidden ones among them."""
        return {**node.schema, ROW_ID: pl.String(), **{hidden_key(name): dtype for name, dtype in self.keys.items()}}

    def _batches(
        self,
        step: plans.OperatorStep,
        before: pl.LazyFrame,
        wanted: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        window: Window,
        below: Passes | None = None,
    ) -> Batches:
        """An operator's rows.

        Args:
            step: The operator.
            before: What it reads.
            wanted: Columns; ``None``: all.
            predicate: A row-wise condition.
            n_rows: Most rows; ``None``: all.
            window: How many may be asked ahead.
            below: The operator below, where ``before`` is read in passes over it.
        """
        columns = wanted if wanted is not None else list(self._schema(step))
        written = set(step.operator.writes)
        # Of a filter's rows nobody knows which are the first before they are asked.
        bounded = n_rows is not None and not step.decides
        early, late = split_predicate(predicate, written) if bounded or n_rows is None else (None, predicate)
        carried = [name for name in columns if name not in written]
        needed = step.decides or not written.isdisjoint(columns)
        keys = map(hidden_key, self.keys)
        judged = step.judges_by
        own = [] if step.rows_by is None else [step.rows_by]
        kept = dict.fromkeys([*carried, *judged, *own, *keys, ROW_ID, CONTENT] if needed else [*carried, ROW_ID])
        upstream = before if n_rows is None or not bounded else before.head(n_rows)
        upstream = upstream.with_columns(self._content(step).alias(CONTENT)) if needed else upstream
        upstream = upstream.select(*kept) if early is None else upstream.filter(early).select(*kept)
        if below is not None:
            source = in_windows(upstream, below, lambda: self.activity.stopped)
        else:
            source = upstream.collect_batches(chunk_size=window.usual, maintain_order=True, engine="streaming")
        morsels = self._checked(cut(source, lambda: window.rows))
        answered = (
            self._answered(step, morsels, window, columns) if needed else (one.select(columns) for one in morsels)
        )
        return wanted_rows(answered, late, None if bounded else n_rows, self.activity)

    def _checked(self, batches: Iterator[pl.DataFrame]) -> Batches:
        for batch in batches:
            if self.activity.stopped:
                return
            yield batch

    # -- asking ------------------------------------------------------------------------------------

    def _answered(self, step: plans.OperatorStep, morsels: Batches, window: Window, columns: list[str]) -> Batches:
        """These columns of the morsels, the operator's among them, in order, asked ahead within the window."""
        asker: Any = self._asker(step)

        def finish(morsel: Asked) -> pl.DataFrame | None:
            ended = self._wait(morsel.future)
            return None if ended is None else asker.finish(morsel, ended).select(columns)

        line = Line(window, finish, self._spill, lambda: self.activity.stopped)
        for rows, loaded in self._loaded(step, morsels, window):
            line.add(asker.ask(rows) if loaded is None else asker.ask(rows, loaded))
            while line.must_hand_on():
                finished = line.hand_on()
                if finished is None:
                    return
                yield finished
        while line:
            finished = line.hand_on()
            if finished is None:
                return
            yield finished

    def _loaded(
        self, step: plans.OperatorStep, morsels: Batches, window: Window
    ) -> Iterator[tuple[pl.DataFrame, Piece | None]]:
        """The morsels, or pieces of them with their images, where the operator has some."""
        images = images_of(step.operator)
        if images is None:
            yield from ((piece, None) for rows in morsels for piece in bounded(rows, CONTENT))
            return
        _, facts = self.session.facts(self._model_of(step))
        with ImageLoader(images, facts.vision, self.session.root, stopped=lambda: self.activity.stopped) as loader:
            for rows in morsels:
                for piece in loader.pieces(rows, CONTENT):
                    # Of large images fewer rows are a morsel, and more morsels keep the model busy.
                    if not window.fixed:
                        window.rows = window.usual if piece.whole else piece.rows.height
                    yield piece.rows, piece

    def _wait(self, future: Future[T]) -> T | None:
        """What came of it, or ``None`` when the run is over and nobody needs them."""
        while True:
            try:
                return future.result(timeout=WAIT_S)
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

    def _asker(self, step: plans.OperatorStep) -> Asker | RoundsAsker:
        account = self._accounts[id(step)]
        tally = account.tally
        scope = replace(self.scope, operator=tally.operator)
        # A vector of another model has no place among this one's.
        policy = replace(self._policy, retry_model=None) if step.operator.kind == "embed" else self._policy
        model = self.session.models[tally.model]

        def submit(asks: Sequence[Ask], ledger: Ledger) -> Future[list[Outcome]]:
            return self.session.engine.submit(
                asks, model=tally.model, scope=scope, policy=policy, budget=self._budget, cancel=self.cancel,
                ledger=ledger, notify=self._notices.put,
            )  # fmt: skip

        wiring = Wiring(
            submit=submit,
            lineage=self.lineage,
            rejects=self.rejects,
            keys=list(self.keys),
            report=self._on_progress,
            rows_total=self.rows_total(step),
            redaction=self.session.redaction_of(tally.model),
            keep_prompts=self.session.store_prompts,
        )
        if step.rounds is None:
            return Asker(step, account, model, wiring)
        room = room_of(self.session, tally.model)
        return RoundsAsker(step, step.rounds, account, model, wiring, room=room, worker=self._rounds)

    def settle(self) -> None:
        """After the end: count what was asked for rows that nobody took, and remove what was kept for them."""
        self._rounds.close()
        self._spill.close()
        for account in self._accounts.values():
            account.settle()

    def rows_total(self, step: plans.OperatorStep) -> int | None:
        """Rows that will come to an operator, where they can be counted without an answer and somebody listens."""
        before: plans.Node = step.inputs[0]
        while isinstance(before, plans.OperatorStep) and not before.decides:
            before = before.inputs[0]
        if self._on_progress is None or plans.operator_steps(before) or plans.reads_twice(self.node):
            return None
        plain = lazy_frame(before, hidden=(), activity=self.activity, operator=self._operator_frame, limit=self._limit)
        plain = plain if step.rows_by is None else plain.filter(step.rows_by)
        return int(plain.select(pl.len()).collect(engine="streaming").item())


def key_columns(node: plans.Node) -> dict[str, pl.DataType]:
    """Key columns of all sources of a plan; text where two sources have keys of one name and different types."""
    keys: dict[str, pl.DataType] = {}
    for current in plans.walk(node):
        if isinstance(current, plans.Source):
            for name in current.key:
                dtype = current.schema[name]
                keys[name] = dtype if keys.get(name, dtype) == dtype else pl.String()
    return keys


def cut(batches: Iterator[pl.DataFrame], rows: Callable[[], int]) -> Batches:
    """The batches in pieces of at most so many rows, asked before each piece."""
    for batch in batches:
        start = 0
        while start < batch.height:
            piece = batch.slice(start, rows())
            start += piece.height
            yield piece


def bounded(rows: pl.DataFrame, column: str) -> Batches:
    """The rows in pieces of a bounded number of bytes, where the column holds files."""
    if rows.schema[column] != pl.Binary:
        yield rows
        return
    start = size = 0
    for place, length in enumerate(rows[column].bin.size()):
        size += length or 0
        if size >= PIECE_BYTES:
            yield rows.slice(start, place + 1 - start)
            start, size = place + 1, 0
    if start < rows.height or not rows.height:
        yield rows.slice(start)
