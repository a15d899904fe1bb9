"""What a run of an asset says of itself: how far it is, what keeps it waiting, and why nothing was published."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import dagster as dg

from infergraph.dagster.checks import blocks
from infergraph.dagster.watching import notice_watcher, watcher

if TYPE_CHECKING:
    from infergraph.frame.frame import SemanticFrame
    from infergraph.frame.run import Progress, RunOptions, StagedRun

LOG_EVERY_S = 10.0


def progress_to(asset: str, context: dg.AssetExecutionContext) -> Callable[[Progress], None]:
    """Tell whoever watches this process, and Dagster's log every ten seconds: never a line a row."""
    watch = watcher(asset)
    lock = threading.Lock()
    said = {"at": time.monotonic()}

    def report(progress: Progress) -> None:
        if watch is not None:
            watch(progress)
        now = time.monotonic()
        with lock:
            if now - said["at"] < LOG_EVERY_S:
                return
            said["at"] = now
        context.log.info(_line(progress))

    return report


def notices_to(asset: str, context: dg.AssetExecutionContext) -> Callable[[str], None]:
    """Put what keeps the run waiting into Dagster's log, and tell whoever watches this process."""
    watch = notice_watcher(asset)

    def report(notice: str) -> None:
        if watch is not None:
            watch(notice)
        context.log.warning(notice)

    return report


def _line(progress: Progress) -> str:
    total = "" if progress.rows_total is None else f" of {progress.rows_total}"
    cost = "" if progress.cost_usd is None else f", {progress.cost_usd:.4f} USD"
    speed = progress.rows / progress.seconds if progress.seconds > 0 else 0.0
    return (
        f"{progress.operator}: {progress.rows}{total} rows, {progress.calls} calls, {progress.store_hits} store hits, "
        f"{progress.rejected} rejected, {progress.pending} pending{cost}, {speed:.1f} rows/s"
    )


def why_unpublished(
    asset: str,
    frame: SemanticFrame,
    run: StagedRun,
    results: list[dg.AssetCheckResult],
    options: RunOptions,
) -> str:
    """Which checks keep an asset from being published, and what finishing costs where rows are pending."""
    said = f"{asset!r} was not published, and what was published before still counts. {what_blocks(results)}."
    if run.usage.pending:
        said += f" {_what_finishing_costs(frame, run, options)}"
    return said


def what_blocks(results: list[dg.AssetCheckResult]) -> str:
    """What the blocking checks say."""
    return "; ".join(f"{result.check_name}: {result.description}" for result in results if blocks(result))


def _what_finishing_costs(frame: SemanticFrame, run: StagedRun, options: RunOptions) -> str:
    usage = run.usage
    done = usage.rows - usage.pending
    spent = "an unknown amount" if usage.cost_usd is None else f"{usage.cost_usd:.6f} USD"
    rest = frame.estimate(options)
    cost = "an unknown amount" if rest.cost_usd is None else f"about {rest.cost_usd:.6f} USD"
    return (
        f"{done} of {usage.rows} rows are done, {usage.calls} of them in this run for {spent}, and every answer is "
        f"kept; finishing takes {rest.calls} "
        f"more calls and {cost}. {_more_money(frame, options)} and run it again, or publish what is there with "
        "publish_partial=True."
    )


def _more_money(frame: SemanticFrame, options: RunOptions) -> str:
    own = "Raise max_cost_usd (the asset's, or in the run config)"
    shared = (
        "wait for the next day or month, or raise the deployment's budget (max_cost_usd_per_day or "
        "max_cost_usd_per_month of the resource 'models'),"
    )
    if not frame.session.has_budget:
        return own
    return shared[0].upper() + shared[1:] if options.max_cost_usd is None else f"{own}, or {shared}"
