"""From a row to the requests that made it: the questions and answers of one row, operator by operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import polars as pl

from infergraph.errors import PlanError
from infergraph.records import usd
from infergraph.store.hashes import hash_from_text
from infergraph.store.rows import StoredAttempt
from infergraph.store.store import Store


@dataclass(frozen=True, kw_only=True)
class TraceStep:
    """What one operator asked for one row, and every attempt that was made."""

    operator: str
    model: str
    """``provider:model-id`` that gave the ending."""
    request_hash: str
    source: str
    """``call``, ``store``, ``shared``, ``rejected_before`` or ``pending``: where the run had the ending from."""
    via: str
    attempts: Sequence[StoredAttempt]
    """Oldest first, those of earlier runs included."""

    @property
    def cost_usd(self) -> Decimal | None:
        """USD of all attempts; ``None`` when a price is unknown."""
        costs = [attempt.cost_nano_usd for attempt in self.attempts]
        known = [cost for cost in costs if cost is not None]
        return usd(sum(known)) if len(known) == len(costs) else None


@dataclass(frozen=True, kw_only=True)
class Trace:
    """The requests behind one row of a run; ``print`` shows them as text."""

    row_id: str
    steps: Sequence[TraceStep]

    def as_dict(self) -> dict[str, Any]:
        """The trace as plain data, for JSON."""
        return {
            "row_id": self.row_id,
            "steps": [
                {
                    "operator": step.operator,
                    "model": step.model,
                    "request_hash": step.request_hash,
                    "source": step.source,
                    "via": step.via,
                    "cost_usd": None if step.cost_usd is None else float(step.cost_usd),
                    "attempts": [_attempt(attempt) for attempt in step.attempts],
                }
                for step in self.steps
            ],
        }

    def __str__(self) -> str:
        lines = [f"row {self.row_id}"]
        for step in self.steps:
            cost = "cost not known" if step.cost_usd is None else f"USD {step.cost_usd:.6f}"
            lines.append(f"  {step.operator} [{step.model}] from {step.source} ({step.via}), {cost}")
            for attempt in step.attempts:
                lines.append(f"    attempt {attempt.id} in run {attempt.run_id}: {attempt.outcome} {attempt.message}")
                lines.extend(f"      {m.role}: {m.content}" for m in attempt.messages)
                lines.extend([] if attempt.prompt_kept else ["      (prompt not kept)"])
                if attempt.response is not None:
                    lines.append(f"      -> {attempt.response.text or 'a vector'}")
        return "\n".join(lines)


def trace_row(store: Store, lineage: pl.DataFrame | pl.LazyFrame, row_id: str) -> Trace:
    """The requests behind one row.

    Args:
        store: The store that the run used.
        lineage: The run's lineage rows.
        row_id: The row, as in ``_row_id`` or in the rejects.

    Returns:
        One step for each operator that asked something for this very row id.

    Raises:
        PlanError: No operator of this run asked anything for that row.
    """
    rows = lineage.lazy().filter(pl.col("row_id") == row_id).collect()
    if rows.is_empty():
        raise PlanError(
            f"row {row_id!r}: no operator of this run asked anything for that very row. Row ids are in the column "
            "'_row_id' of run(row_ids=True).frame, and in .rejects['row_id']; a row made by explode, unpivot, join, "
            "group_by, select of aggregates or map_frame has an id of its own, and its trace begins there: trace the "
            "rows before that step."
        )
    return Trace(
        row_id=row_id,
        steps=[
            TraceStep(
                operator=row["operator"],
                model=row["model"],
                request_hash=row["request_hash"],
                source=row["source"],
                via=row["via"],
                attempts=store.attempts_of(hash_from_text(row["request_hash"])),
            )
            for row in rows.iter_rows(named=True)
        ],
    )


def _attempt(attempt: StoredAttempt) -> dict[str, Any]:
    response = attempt.response
    cost = usd(attempt.cost_nano_usd)
    return {
        "id": attempt.id,
        "run_id": attempt.run_id,
        "asset": attempt.asset,
        "partition": attempt.partition,
        "model": attempt.model,
        "started_at": attempt.started_at,
        "seconds": attempt.seconds,
        "outcome": attempt.outcome,
        "message": attempt.message,
        "via": attempt.via,
        "prompt_kept": attempt.prompt_kept,
        "messages": [{"role": m.role, "content": m.content} for m in attempt.messages],
        "response": None if response is None else response.text,
        "input_tokens": None if response is None else response.tokens.input,
        "output_tokens": None if response is None else response.tokens.output,
        "cost_usd": None if cost is None else float(cost),
    }
