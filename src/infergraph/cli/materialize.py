"""Materialises assets through Dagster in this process, and says what became of each.

The run is an ordinary Dagster run in the project's instance: the UI shows it beside those that it
started itself. Dagster's own log lines stay in its event log; here they become one line an asset.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from infergraph import errors
from infergraph.cli import figures
from infergraph.cli.guard import stopped
from infergraph.cli.leftovers import hangup_stops, tags_of_this_process
from infergraph.cli.progress import Board
from infergraph.errors import PlanError

if TYPE_CHECKING:
    import dagster as dg
    from dagster_shared.error import SerializableErrorInfo

State = Literal["made", "failed", "skipped"]
INTERRUPTED = {"DagsterExecutionInterruptedError", "KeyboardInterrupt"}
"""What Dagster makes of Ctrl-C while a step runs."""


@dataclass(frozen=True, kw_only=True)
class CheckOutcome:
    """One asset check as Dagster recorded it."""

    name: str
    passed: bool
    severity: str
    description: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class AssetOutcome:
    """What became of one asset."""

    asset: str
    state: State = "skipped"
    message: str = ""
    """Why it failed; empty otherwise."""
    error: str = ""
    """Name of the error's class; empty when nothing failed."""
    is_bug: bool = False
    """Whether it failed by an exception that nobody raised on purpose."""
    seconds: float = 0.0
    metadata: dict[str, Any] = field(default_factory=dict)
    """The materialization's metadata as plain values."""
    checks: list[CheckOutcome] = field(default_factory=list)

    @property
    def rows(self) -> int | None:
        """Rows published, where the asset says so."""
        for name in ("dagster/partition_row_count", "dagster/row_count"):
            if isinstance(self.metadata.get(name), int):
                return int(self.metadata[name])
        return None

    @property
    def semantic(self) -> bool:
        """Whether it reports calls to models."""
        return "infergraph/calls" in self.metadata

    def figure(self, name: str) -> Any:
        """One of the asset's own figures, such as ``calls`` or ``cost_usd``; ``None``: not reported."""
        return self.metadata.get(f"infergraph/{name}")


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """What became of one run."""

    run_id: str
    success: bool
    seconds: float
    partition: str | None
    assets: list[AssetOutcome]

    @property
    def exit_code(self) -> int:
        """0, or that of the first error that stopped an asset."""
        if self.success:
            return 0
        failed = [asset for asset in self.assets if asset.state == "failed"]
        return next((code for asset in failed if (code := _exit_code(asset)) != 1), 1)

    def total(self, name: str) -> float | None:
        """The sum of one figure over the semantic assets; ``None`` where one of them does not know it."""
        values = [asset.figure(name) for asset in self.assets if asset.semantic]
        return None if any(value is None for value in values) else sum(values)


def _exit_code(asset: AssetOutcome) -> int:
    kind = getattr(errors, asset.error, None)
    if isinstance(kind, type) and issubclass(kind, errors.InfergraphError):
        return kind.exit_code
    if any(check.metadata.get("pending") and not check.passed for check in asset.checks):
        return errors.BudgetExceeded.exit_code
    return errors.InfergraphError.exit_code


def materialize(
    definitions: dg.Definitions,
    keys: Sequence[dg.AssetKey],
    *,
    instance: dg.DagsterInstance,
    board: Board,
    partition: str | None = None,
    op_config: Mapping[str, Mapping[str, Any]] | None = None,
    quiet: bool = True,
) -> RunOutcome:
    """Materialise assets in one run, in this process.

    Args:
        definitions: The code location.
        keys: What to materialise.
        instance: Where the run is recorded.
        board: Where its progress is shown.
        partition: The partition's key; ``None`` for assets without partitions.
        op_config: Op name to its run config.
        quiet: Keep Dagster's own log lines off the screen.

    Returns:
        What became of each asset, in the order in which they are made.

    Raises:
        PlanError: The assets cannot be made in one run, or the partition is missing, unknown or too much.
    """
    from infergraph.dagster.home import records_explained
    from infergraph.dagster.watching import watch

    job = definitions.resolve_implicit_job_def_def_for_assets(list(keys))
    if job is None:
        raise PlanError("These assets have different partitions: materialise them one after the other.")
    check_partition(definitions, keys, partition, instance)
    run_id = str(uuid4())
    recorder = _Recorder(definitions, keys, board)
    instance.add_event_listener(run_id, recorder.on_event)
    begun = time.monotonic()
    try:
        with records_explained(run_id), hangup_stops(), watch(board.progress, board.notice):
            result = job.execute_in_process(
                run_config=_run_config(job, op_config or {}, quiet=quiet),
                instance=instance,
                partition_key=partition,
                raise_on_error=False,
                asset_selection=list(keys),
                run_id=run_id,
                tags=tags_of_this_process(run_id),
                resources=_lasting_resources(definitions),
            )
    finally:
        board.close()
    return RunOutcome(
        run_id=run_id,
        success=result.success,
        seconds=time.monotonic() - begun,
        partition=partition,
        assets=list(recorder.assets.values()),
    )


def check_partition(
    definitions: dg.Definitions, keys: Sequence[dg.AssetKey], partition: str | None, instance: dg.DagsterInstance
) -> None:
    """Refuse a partition that is missing, unknown or too much, and name those that there are."""
    graph = definitions.resolve_asset_graph()
    divided = {key.to_user_string(): d for key in keys if (d := graph.get(key).partitions_def) is not None}
    if not divided and partition is not None:
        raise PlanError(f"None of these assets has partitions: leave out --partition {partition}")
    for asset, partitions in divided.items():
        present = partitions.get_partition_keys(dynamic_partitions_store=instance)
        if partition is None:
            raise PlanError(f"{asset!r} has partitions: add --partition KEY. {_latest(present)}")
        if partition not in present:
            raise PlanError(f"{asset!r} has no partition {partition!r}. {_latest(present, partition)}")


def _latest(present: Sequence[str], given: str = "") -> str:
    near = errors.nearest(given, present) if given else []
    if near:
        return f"Did you mean {' or '.join(repr(key) for key in near)}?"
    if not present:
        return "There are none yet."
    shown = ", ".join(repr(key) for key in present[-5:])
    return f"The latest of {figures.plural(len(present), 'partition')}: {shown}."


def _run_config(job: dg.JobDefinition, op_config: Mapping[str, Mapping[str, Any]], *, quiet: bool) -> dict[str, Any]:
    config: dict[str, Any] = {"ops": {name: {"config": dict(values)} for name, values in op_config.items() if values}}
    if quiet and "console" in job.loggers:
        config["loggers"] = {"console": {"config": {"log_level": "CRITICAL"}}}
    return config


def _lasting_resources(definitions: dg.Definitions) -> dict[str, Any]:
    """Dagster's in-process runs would keep plain assets in memory only, where no IO manager is configured."""
    import dagster as dg

    return {} if "io_manager" in (definitions.resources or {}) else {"io_manager": dg.fs_io_manager}


class _Recorder:
    """Turns the run's events into one outcome an asset."""

    def __init__(self, definitions: dg.Definitions, keys: Sequence[dg.AssetKey], board: Board) -> None:
        self.assets = {key.to_user_string(): AssetOutcome(asset=key.to_user_string()) for key in keys}
        self._board = board
        graph = definitions.resolve_asset_graph()
        self._of_step: dict[str, list[str]] = {}
        for key in keys:
            self._of_step.setdefault(graph.get(key).assets_def.op.name, []).append(key.to_user_string())

    def on_event(self, entry: dg.EventLogEntry) -> None:
        """Take note of one event of the run, as Dagster stores it."""
        event = entry.dagster_event
        if event is None:
            return
        outcomes = [self.assets[name] for name in self._of_step.get(event.step_key or "", [])]
        if event.is_step_start:
            for outcome in outcomes:
                self._board.note(f"{outcome.asset}: started")
        elif event.is_step_materialization:
            self._on_materialization(event, entry.timestamp)
        elif event.event_type_value == "ASSET_CHECK_EVALUATION":
            self._on_check(event)
        elif event.is_step_success:
            for outcome in outcomes:
                outcome.seconds = event.step_success_data.duration_ms / 1000
                self._board.note(_made(outcome))
        elif event.is_step_failure:
            self._on_failure(event, outcomes)

    def _on_materialization(self, event: dg.DagsterEvent, timestamp: float) -> None:
        key = event.asset_key
        outcome = self.assets.get(key.to_user_string()) if key else None
        if outcome is not None:
            made = event.step_materialization_data.materialization
            outcome.state = "made"
            outcome.metadata = {name: _plain(value) for name, value in made.metadata.items()}

    def _on_check(self, event: dg.DagsterEvent) -> None:
        evaluation = event.asset_check_evaluation_data
        outcome = self.assets.get(evaluation.asset_key.to_user_string())
        if outcome is not None:
            outcome.checks.append(
                CheckOutcome(
                    name=evaluation.check_name,
                    passed=evaluation.passed,
                    severity=evaluation.severity.value,
                    description=evaluation.description or "",
                    metadata={name: _plain(value) for name, value in evaluation.metadata.items()},
                )
            )
            # A failed asset has no materialization: what it asked and cost stands in its checks.
            outcome.metadata = {**_usage(outcome.checks[-1]), **outcome.metadata}

    def _on_failure(self, event: dg.DagsterEvent, outcomes: list[AssetOutcome]) -> None:
        data = event.step_failure_data
        said = data.user_failure_data.description if data.user_failure_data else None
        error, message = _cause(data.error) if data.error else ("", "")
        if error in INTERRUPTED:
            # Below its own line stand the notes that the run left on it.
            error, message = errors.RunCancelled.__name__, stopped(message.partition("\n")[2])
        for outcome in outcomes:
            outcome.state, outcome.error, outcome.message = "failed", error, said or message
            outcome.is_bug = said is None and error != "" and not hasattr(errors, error)
            self._board.note(f"{outcome.asset}: failed")


def _usage(check: CheckOutcome) -> dict[str, Any]:
    return {name: value for name, value in check.metadata.items() if name.startswith("infergraph/")}


def _made(outcome: AssetOutcome) -> str:
    parts = [figures.seconds(outcome.seconds)]
    if outcome.rows is not None:
        parts.append(figures.plural(outcome.rows, "row"))
    if outcome.semantic:
        parts.append(figures.plural(int(outcome.figure("calls") or 0), "call"))
    return f"{outcome.asset}: {'done' if outcome.state == 'made' else 'nothing published'}, {', '.join(parts)}"


def _cause(error: SerializableErrorInfo) -> tuple[str, str]:
    """The class and the message of the error at the bottom of a chain of Dagster's own."""
    while error.cause is not None and (error.cls_name or "").startswith("Dagster"):
        error = error.cause
    name = error.cls_name or ""
    message = error.message.strip()
    before, colon, after = message.partition(": ")
    return name, after if colon and before.rpartition(".")[2] == name else message


def _plain(value: dg.MetadataValue[Any]) -> Any:
    from dagster import TableColumnLineageMetadataValue, TableMetadataValue, TableSchemaMetadataValue

    if isinstance(value, TableSchemaMetadataValue):
        return {column.name: column.type for column in value.schema.columns}
    if isinstance(value, TableMetadataValue):
        return [dict(record.data) for record in value.records]
    if isinstance(value, TableColumnLineageMetadataValue):
        return None
    return value.value
