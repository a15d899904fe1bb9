"""Running a plan: into memory, into a file, or into a folder that is published later."""

from __future__ import annotations

import logging
import math
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from threading import Thread
from typing import Any, Literal, TypeVar

import polars as pl

from infergraph.calls.asks import Policy, Scope
from infergraph.calls.budget import Budget
from infergraph.errors import InternalError, PlanError, StoreError, did_you_mean, with_kept
from infergraph.frame import plan as plans
from infergraph.frame.allowing import check_options
from infergraph.frame.asking import Progress
from infergraph.frame.compiling import Activity, lazy_frame
from infergraph.frame.disk import disk_trouble
from infergraph.frame.execution import Execution
from infergraph.frame.frame import SemanticFrame
from infergraph.frame.garbage import fewer_collections
from infergraph.frame.ordering import order_errors
from infergraph.frame.parents import SourceFinder
from infergraph.frame.parts import ROW_GROUP_ROWS, kept_while_read
from infergraph.frame.progress_line import ProgressLine, progress_line
from infergraph.frame.row_ids import ROW_ID
from infergraph.frame.session import Session
from infergraph.lineage import SourceRead, Trace
from infergraph.models.model import NANO, Request, Tokens
from infergraph.models.prices import level_of_the_caller, price_of
from infergraph.records import Usage
from infergraph.store.rows import UsageRow
from infergraph.traces import RunRecords, trace_rows

__all__ = ["Progress", "RunOptions", "RunResult", "SinkResult", "StagedRun", "run", "run_to_folder", "sink"]

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
_JOIN_S = 10.0


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a run goes about it; the same options for ``run``, ``sink_*``, assets and Dagster run config.

    Args:
        limit: Read only the first so many rows of the plan's leftmost source, 1 or more.
        refresh: Ask again where the store has an answer, and replace it.
        retry_rejects: Ask again where the store remembers a rejection.
        retry_model: With ``retry_rejects``, the model of the session that is asked there; all other rows keep theirs.
        model: A model of the session that takes the place of every chat operator's own.
        max_cost_usd: Money for this run, 0 or more; when it ends, rows not asked are pending.
        max_age: Treat answers older than this (a timedelta, or seconds) as missing.

    Raises:
        PlanError: A value out of range.

    Example:
        >>> RunOptions(limit=10).limit
        10
    """

    limit: int | None = None
    refresh: bool = False
    retry_rejects: bool = False
    model: str | None = None
    max_cost_usd: float | None = None
    max_age: timedelta | float | None = None
    retry_model: str | None = None

    def __post_init__(self) -> None:
        if self.retry_model is not None and not self.retry_rejects:
            raise PlanError(
                f"retry_model={self.retry_model!r} says which model is asked for rejected rows again: add "
                "retry_rejects=True, or write model= for the model of all rows."
            )
        if self.retry_model is not None and self.refresh:
            raise PlanError("refresh= asks for every row again, retry_model= for the rejected ones alone: give one.")
        if self.limit is not None and (type(self.limit) is not int or self.limit < 1):
            raise PlanError(f"limit={self.limit!r}: give a number of rows, 1 or more.")
        if self.max_cost_usd is not None and not _is_amount(self.max_cost_usd):
            raise PlanError(f"max_cost_usd={self.max_cost_usd!r}: give an amount of USD, 0 or more.")
        if self.max_age is not None and not _is_amount(self.max_age_s):
            raise PlanError(f"max_age={self.max_age!r}: give a timedelta or seconds, 0 or more.")

    @classmethod
    def of(cls, **options: Any) -> RunOptions:
        """The options from keywords; an unknown one is named."""
        for name in options:
            if name not in cls.__dataclass_fields__:
                raise PlanError(f"{name}= is no option of a run. {did_you_mean(name, cls.__dataclass_fields__)}")
        return cls(**options)

    @property
    def max_age_s(self) -> float | None:
        """``max_age`` in seconds."""
        return self.max_age.total_seconds() if isinstance(self.max_age, timedelta) else self.max_age

    def policy(self) -> Policy:
        """The part that the call engine reads."""
        return Policy(
            refresh=self.refresh, retry_rejects=self.retry_rejects, retry_model=self.retry_model,
            max_age_s=self.max_age_s, since=time.time(),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run brought, in memory."""

    frame: pl.DataFrame
    """The rows, in order; ``_row_id`` last with ``row_ids=True``."""
    rejects: pl.DataFrame
    """One row for each row that an operator rejected: see ``records.REJECT_COLUMNS``."""
    usage: Usage
    run_id: str
    lineage: pl.DataFrame = field(repr=False)
    """One row for each row and operator that needed an answer, and for each row and row that it was made from."""
    session: Session = field(repr=False)
    sources: Sequence[SourceRead] = field(default=(), repr=False)
    """What the plan read, kept so that ``trace`` can show source rows."""
    plan: plans.Node | None = field(default=None, repr=False)
    """The plan, kept so that ``trace`` can render prompts again that the store does not keep."""

    def trace(self, row_id: str) -> Trace:
        """Where one row comes from: its requests with prompts, responses and cost, and its rows in the sources.

        Args:
            row_id: From ``run(row_ids=True).frame["_row_id"]`` or from ``.rejects["row_id"]``.

        Raises:
            PlanError: The run neither made nor read such a row.
        """
        records = RunRecords(self.lineage.lazy(), self.rejects.lazy(), self.session.store, self._rendered_again)
        return trace_rows(records, [row_id], SourceFinder(self.sources))[row_id]

    def _rendered_again(self, operator: str, row_id: str, request_hash: str) -> Request | None:
        from infergraph.frame.again import rendered_again

        if self.plan is None:
            return None
        try:
            return rendered_again(
                SemanticFrame(self.session, self.plan), operator, row_id, request_hash=request_hash
            )  # fmt: skip
        except Exception as error:
            # Sources that are gone and functions of the user raise anything: the rest of the trace is worth showing.
            _LOG.warning("The prompt of row %s could not be rendered again: %s.", row_id, type(error).__name__)
            return None


@dataclass(frozen=True, kw_only=True)
class SinkResult:
    """What a run wrote into a file."""

    path: Path
    rejects: pl.LazyFrame
    """As ``RunResult.rejects``, in a temporary file that goes when neither this frame nor any made of it is left."""
    usage: Usage
    run_id: str


@dataclass(frozen=True, kw_only=True)
class StagedRun:
    """What a run left in a folder, not published yet."""

    folder: Path
    data: Path
    """The rows, ``_row_id`` last."""
    rejects: Path
    lineage: Path
    rows: int
    schema: pl.Schema
    """Visible columns."""
    usage: Usage
    fingerprint: str
    run_id: str
    seconds: float
    sources: Sequence[SourceRead] = field(default=(), repr=False)
    """What the plan read, and by which columns rows were named."""


def run(
    frame: SemanticFrame,
    options: RunOptions,
    *,
    row_ids: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> RunResult:
    """Run a plan into memory; see ``SemanticFrame.run``."""
    with disk_trouble(Path(tempfile.gettempdir())), _scratch() as folder:
        line = _line(frame.session, on_progress)
        execution = _prepare(frame, folder, options, on_progress=on_progress or line)
        query = execution.frame()
        rows, usage = _drive(execution, lambda: query.collect(engine="streaming"), line)
        return RunResult(
            frame=rows if row_ids else rows.drop(ROW_ID),
            rejects=pl.read_parquet(execution.rejects.finish()),
            lineage=pl.read_parquet(execution.lineage.finish()),
            usage=usage,
            run_id=execution.scope.run_id,
            session=frame.session,
            sources=execution.parents.sources(frame.node),
            plan=frame.node,
        )


def sink(
    frame: SemanticFrame,
    path: Path,
    kind: Literal["parquet", "csv", "ndjson"],
    options: RunOptions,
    *,
    row_ids: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> SinkResult:
    """Run a plan into one file; see ``SemanticFrame.sink_parquet``."""
    target = Path(path)
    _check_format(frame, kind)
    if target.is_dir():
        raise PlanError(f"{target} is a folder; name a file in it, such as {str(target / f'out.{kind}')!r}.")
    if not target.parent.is_dir():
        raise PlanError(f"{target}: the folder {str(target.parent)!r} does not exist; make it first.")
    with disk_trouble(target.parent, Path(tempfile.gettempdir())), _scratch() as folder:
        line = _line(frame.session, on_progress)
        execution = _prepare(frame, folder, options, on_progress=on_progress or line)
        run_id = execution.scope.run_id
        query = execution.frame() if row_ids else execution.frame().drop(ROW_ID)
        beside = target.with_name(f".{target.name}.{run_id}.part")
        try:
            _, usage = _drive(execution, lambda: _WRITERS[kind](query, beside), line)
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
        return SinkResult(path=target, rejects=kept_while_read(execution.rejects), usage=usage, run_id=run_id)


def run_to_folder(
    frame: SemanticFrame,
    folder: Path,
    *,
    options: RunOptions | None = None,
    run_id: str | None = None,
    asset: str | None = None,
    partition: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_notice: Callable[[str], None] | None = None,
) -> StagedRun:
    """Run a plan into ``data.parquet``, ``rejects.parquet`` and ``lineage.parquet`` of a folder.

    Args:
        frame: The plan.
        folder: Where the files go; it is made when it is not there.
        options: How to run; left out, the defaults.
        run_id: The run that pays, as the store will know it; left out, a new one.
        asset: The asset that is made.
        partition: Its partition.
        on_progress: Called some times a second from the run's threads.
        on_notice: Takes sentences for a person on why nothing comes; left out, they are warnings.

    Returns:
        Paths, rows, schema and usage. Pending rows do not raise: they are in the data with nulls.
    """
    started = time.monotonic()
    data = folder / "data.parquet"
    with disk_trouble(folder):
        folder.mkdir(parents=True, exist_ok=True)
        execution = _prepare(
            frame,
            folder,
            options or RunOptions(),
            run_id=run_id,
            asset=asset,
            partition=partition,
            on_progress=on_progress,
            on_notice=on_notice,
        )
        query = execution.frame()
        _, usage = _drive(execution, lambda: query.sink_parquet(data, row_group_size=ROW_GROUP_ROWS))
        return StagedRun(
            folder=folder,
            data=data,
            rejects=execution.rejects.finish(),
            lineage=execution.lineage.finish(),
            rows=int(pl.scan_parquet(data).select(pl.len()).collect().item()),
            schema=frame.schema,
            usage=usage,
            fingerprint=frame.fingerprint(),
            run_id=execution.scope.run_id,
            seconds=time.monotonic() - started,
            sources=execution.parents.sources(frame.node),
        )


def polars_plans(frame: SemanticFrame) -> str:
    """What Polars makes of the plan: the optimised query around each operator."""
    parts: list[str] = []

    def operator(step: plans.OperatorStep, before: pl.LazyFrame) -> pl.LazyFrame:
        parts.append(f"Polars, before {step.name!r}:\n{before.select(step.operator.reads).explain()}")
        return pl.LazyFrame(schema={**step.schema, ROW_ID: pl.String()})

    last = lazy_frame(frame.node, hidden=(ROW_ID,), activity=Activity(), operator=operator)
    parts.append(f"Polars, last part:\n{last.select(list(frame.schema)).explain()}")
    return "\n\n".join(parts)


_WRITERS: dict[str, Callable[[pl.LazyFrame, Path], object]] = {
    "parquet": lambda query, path: query.sink_parquet(path, row_group_size=ROW_GROUP_ROWS),
    "csv": lambda query, path: query.sink_csv(path, check_extension=False),
    "ndjson": lambda query, path: query.sink_ndjson(path, check_extension=False),
}


def _prepare(
    frame: SemanticFrame,
    folder: Path,
    options: RunOptions,
    *,
    run_id: str | None = None,
    asset: str | None = None,
    partition: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_notice: Callable[[str], None] | None = None,
) -> Execution:
    session = frame.session
    model = None if options.model is None else session.model_name(options.model)
    retry_model = None if options.retry_model is None else session.model_name(options.retry_model)
    check_options(session, frame.node, options)
    execution = Execution(
        session,
        frame.node,
        folder,
        scope=Scope(run_id=run_id or uuid.uuid4().hex, operator="", asset=asset, partition=partition),
        policy=options.policy(),
        budget=_budget(session, frame.node, options),
        limit=options.limit,
        model=model,
        on_progress=on_progress,
        on_notice=on_notice or _warn_of_waiting,
    )
    for step, tally in zip(plans.operator_steps(frame.node), execution.tallies, strict=True):
        for name in (model, retry_model):
            if name is not None and step.operator.kind != "embed":
                session.check_chat(name, step.operator)
                session.provider(name).check_configuration()
        session.provider(tally.model).check_configuration()
        # Asked in the caller's thread, so that a warning about it names the line that runs the plan.
        price_of(session.models[tally.model])
    return execution


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for a run's own files; what cannot be removed again is left to the system."""
    with tempfile.TemporaryDirectory(prefix="infergraph-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _line(session: Session, on_progress: Callable[[Progress], None] | None) -> ProgressLine | None:
    return progress_line() if session.progress and on_progress is None else None


def _is_amount(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _check_format(frame: SemanticFrame, kind: str) -> None:
    nested = [name for name, dtype in frame.schema.items() if dtype.is_nested()]
    if kind == "csv" and nested:
        raise PlanError(
            f".sink_csv: CSV has no place for the nested column {nested[0]!r} ({frame.schema[nested[0]]}); write "
            ".sink_parquet or .sink_ndjson, or turn it into text first."
        )


def _budget(session: Session, node: plans.Node, options: RunOptions) -> Budget | None:
    if options.max_cost_usd is None:
        return None
    for name in _asked_models(node, options):
        definition = session.models[name]
        if price_of(definition) is None:
            raise PlanError(
                f"max_cost_usd={options.max_cost_usd}: the price of {definition.name} is not known, so the budget "
                f"cannot be kept. Write Model({definition.name!r}, price=ig.Price(input=..., output=...)) in USD per "
                "million tokens."
            )
    return Budget(max_nano_usd=int(Decimal(str(options.max_cost_usd)) * NANO))


def _asked_models(node: plans.Node, options: RunOptions) -> Iterator[str]:
    """Names of the models that a run may ask, fallbacks left out."""
    for step in plans.operator_steps(node):
        chats = step.operator.kind != "embed"
        yield options.model if chats and options.model is not None else step.model
        if chats and options.retry_model is not None:
            yield options.retry_model


def _drive(execution: Execution, query: Callable[[], T], line: ProgressLine | None = None) -> tuple[T, Usage]:
    """Run a query and write down what it used, also when it fails."""
    started = time.monotonic()
    try:
        with fewer_collections(), order_errors(execution.node):
            result = _in_a_thread(execution, query, line)
        usage = _record(execution, started)
    except BaseException as error:
        kept = execution.kept()
        # What went wrong matters more than a store that takes no note of it.
        with suppress(StoreError):
            _record(execution, started)
        told = with_kept(error, kept)
        if told is error:
            raise
        raise told.with_traceback(error.__traceback__) from error.__cause__
    if usage.pending and execution.scope.asset is None:
        warnings.warn(_said_of_pending(usage), BudgetEnded, stacklevel=2)
    return result, usage


class BudgetEnded(UserWarning):
    """Rows were not asked because a budget was used up: they have nulls, and the next run asks them."""


class NothingComes(UserWarning):
    """A run stands still for now: a model answers nobody, or a limit is smaller than a request."""


def _warn_of_waiting(notice: str) -> None:
    warnings.warn(notice, NothingComes, stacklevel=level_of_the_caller())


def _said_of_pending(usage: Usage) -> str:
    said = f"The budget ended: {usage.pending:,} of {usage.rows:,} rows are pending and have nulls. "
    if usage.calls:
        return said + "Run again with more money (max_cost_usd), and only they are asked."
    return said + (
        "Not one request was sent, as the longest answer that it may get would cost more than what is left: give "
        "more money (max_cost_usd), or bound the answers with Model(..., max_output_tokens=)."
    )


def _in_a_thread(execution: Execution, query: Callable[[], T], line: ProgressLine | None) -> T:
    """Run a query in a thread of its own, so that Ctrl-C reaches this one at once."""
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(query())
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=work, name="infergraph-run", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.2)
            execution.pass_on_notices()
    except BaseException:
        execution.stop()
        thread.join(_JOIN_S)
        raise
    finally:
        execution.stop()
        still_working = not execution.activity.join(_JOIN_S)
        execution.settle()
        if line is not None:
            line.finish()
    if errors:
        raise execution.error or errors[0]
    if still_working:
        raise InternalError("A source of this run did not stop; please report this with the plan's explain().")
    return results[0]


def _record(execution: Execution, started: float) -> Usage:
    scope = execution.scope
    usage = Usage.of(execution.tallies, time.monotonic() - started)
    if execution.recorded:
        return usage
    execution.session.store.record_usage(
        [
            UsageRow(
                run_id=scope.run_id, asset=scope.asset, partition=scope.partition, operator=tally.operator,
                model=execution.session.models[tally.model].name, rows=tally.rows, calls=tally.calls,
                store_hits=tally.store_hits, shared=tally.shared, rejected=tally.rejected,
                rejected_before=tally.rejected_before, nulls=tally.nulls, pending=tally.pending,
                tokens=Tokens(
                    input=tally.input_tokens, cached_input=tally.cached_input_tokens,
                    cache_write_input=tally.cache_write_input_tokens, output=tally.output_tokens,
                    reasoning=tally.reasoning_tokens,
                ),
                cost_nano_usd=tally.cost_nano_usd, saved_nano_usd=tally.saved_nano_usd, seconds=tally.seconds,
            )
            for tally in execution.tallies
        ]
    )  # fmt: skip
    execution.recorded = True
    return usage
