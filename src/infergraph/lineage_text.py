"""Traces as text: a tree of rows, each with what was asked for it, for terminals and notebooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from infergraph.lineage import Became, SourceRow, Trace, TraceStep, plain
from infergraph.records import usd
from infergraph.store.rows import StoredAttempt

NOT_KEPT = "(prompt not kept)"
AGAIN = "(prompt not kept; rendered again from the row, the very one by its hash)"
_CELL = 200
_COLUMNS = 12


def trace_text(trace: Trace) -> str:
    """Where a row comes from, and what all the attempts behind it cost."""
    attempts, cost = len(trace.attempts), trace.cost_usd
    said = "cost not known" if cost is None else f"USD {cost:.6f}"
    total = [f"in all {attempts:,} attempt{'' if attempts == 1 else 's'}, {said}"] if attempts else []
    return "\n".join([*_trace_lines(trace, 0, set()), *total])


def became_text(row: Became) -> str:
    """What a row became."""
    return "\n".join(_became_lines(row, 0, set()))


def _trace_lines(trace: Trace, depth: int, shown: set[tuple[str, str]]) -> Iterator[str]:
    pad = "  " * depth
    name = (trace.row_id, str(trace.asset))
    where = "" if trace.asset is None else f"{trace.asset}: "
    if name in shown:
        yield f"{pad}{where}row {trace.row_id}: see above"
        return
    shown.add(name)
    yield f"{pad}{where}row {trace.row_id}"
    if trace.values is not None:
        yield f"{pad}  {_cells(trace.values)}"
    for step in trace.steps:
        yield from _step_lines(step, depth + 1)
    if trace.made_by:
        rows = _rows(trace.parents_total)
        merged = len(trace.merged) == len(trace.parents) > 0
        yield (
            f"{pad}  {trace.made_by} merged {rows} into it:"
            if merged
            else f"{pad}  made by {trace.made_by} from {rows}:"
        )
        for parent in trace.parents:
            if parent.row_id in trace.merged:
                yield f"{pad}    {trace.merged[parent.row_id]}:"
            yield from _trace_lines(parent, depth + 2, shown)
        if trace.parents_total > len(trace.parents):
            yield f"{pad}    and {trace.parents_total - len(trace.parents):,} more"
    if trace.source is not None:
        yield from _source_lines(trace.source, depth + 1, shown)
    if trace.ended:
        yield f"{pad}  the trace ends here: {trace.ended}"


def _source_lines(row: SourceRow, depth: int, shown: set[tuple[str, str]]) -> Iterator[str]:
    pad = "  " * depth
    key = f", {_cells(row.key)}" if row.key else ""
    yield f"{pad}from source {row.source!r}{key}"
    if row.note:
        yield f"{pad}  {row.note}"
    if row.upstream is not None:
        yield from _trace_lines(row.upstream, depth + 1, shown)
        return
    if row.asset is not None:
        yield f"{pad}  {row.asset}"
    rest = {name: value for name, value in row.values.items() if name not in row.key}
    if rest:
        yield f"{pad}  {_cells(rest)}"


def _became_lines(row: Became, depth: int, shown: set[tuple[str, str]]) -> Iterator[str]:
    pad = "  " * depth
    name = (row.row_id, str(row.asset))
    where = "" if row.asset is None else f"{row.asset}: "
    made = f" (by {row.made_by})" if row.made_by else ""
    yield f"{pad}{where}row {row.row_id}{made}: {row.why}"
    if name in shown:
        yield f"{pad}  see above"
        return
    shown.add(name)
    if row.values is not None:
        yield f"{pad}  {_cells(row.values)}"
    for step in row.steps:
        yield from _step_lines(step, depth + 1)
    for child in row.children:
        yield from _became_lines(child, depth + 1, shown)
    if row.children_total > len(row.children):
        yield f"{pad}  and {row.children_total - len(row.children):,} more"
    for below in row.downstream:
        yield from _became_lines(below, depth + 1, shown)


def _step_lines(step: TraceStep, depth: int) -> Iterator[str]:
    pad = "  " * depth
    cost = "cost not known" if step.cost_usd is None else f"USD {step.cost_usd:.6f}"
    via = f" ({step.via})" if step.via else ""
    ending = "" if step.kept is None else ", kept" if step.kept else ", dropped"
    part = "" if step.part is None else f", {step.part}"
    yield f"{pad}{step.operator}{part} [{step.model}] from {step.source}{via}, {cost}{ending}"
    if step.rejected is not None:
        yield f"{pad}  rejected: {step.rejected}"
    for attempt in step.attempts:
        yield from _attempt_lines(attempt, depth + 1)


def _attempt_lines(attempt: StoredAttempt, depth: int) -> Iterator[str]:
    pad = "  " * depth
    when = datetime.fromtimestamp(attempt.started_at, UTC)
    cost, response = usd(attempt.cost_nano_usd), attempt.response
    tokens = "" if response is None else f", {response.tokens.input:,} tokens in, {response.tokens.output:,} out"
    money = "cost not known" if cost is None else f"USD {cost:.6f}"
    said = f": {attempt.message}" if attempt.message else ""
    yield (
        f"{pad}attempt {attempt.id} of {attempt.model} in run {attempt.run_id}, {when:%Y-%m-%d %H:%M:%S} UTC, "
        f"{attempt.via}: {attempt.outcome}{said}, {attempt.seconds:.2f} s{tokens}, {money}"
    )
    if not attempt.prompt_kept:
        yield f"{pad}  {AGAIN if attempt.messages or attempt.embed_text is not None else NOT_KEPT}"
    if attempt.embed_text is not None:
        yield from _text_lines("embed", attempt.embed_text, pad)
    for message in attempt.messages:
        yield from _text_lines(message.role, message.shown, pad)
    if response is not None:
        yield from _text_lines(
            "->", response.text or ("nothing" if attempt.embed_text is None and attempt.messages else "a vector"), pad
        )


def _text_lines(heading: str, text: str, pad: str) -> Iterator[str]:
    first, *rest = text.splitlines() or [""]
    yield f"{pad}  {heading}{'' if heading == '->' else ':'} {first}"
    yield from (f"{pad}    {line}" for line in rest)


def _cells(values: Mapping[str, Any]) -> str:
    shown = list(values.items())[:_COLUMNS]
    more = f", and {len(values) - len(shown)} more columns" if len(values) > len(shown) else ""
    return ", ".join(f"{name} = {_cell(value)}" for name, value in shown) + more


def _cell(value: Any) -> str:
    text = repr(plain(value))
    return text if len(text) <= _CELL else f"{text[: _CELL - 1]}…"


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"
