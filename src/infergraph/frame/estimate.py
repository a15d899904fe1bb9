"""What a run would call, cost and take, without calling a model.

The very plan of the run is walked over the real rows, with the store as the only source of answers. Where answers are
missing and later steps depend on them, it is walked again over all rows that are possible: what depends on a missing
answer cannot be known, and what a filter will decide may not happen at all. Such rows give the ranges; so do
rows that are read or not as it happens, before a later step has all that it wants.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from infergraph.frame import plan as plans
from infergraph.frame.doubt import FOG, UNKNOWN
from infergraph.frame.estimate_count import assumed_output
from infergraph.frame.estimate_report import Estimate, OperatorEstimate
from infergraph.frame.estimate_walk import CONTENT, PASS_SHARE, Doubtful, Exact, Walk, content_of, feeds
from infergraph.frame.frame import SemanticFrame
from infergraph.frame.row_ids import DOUBT, ROW_ID
from infergraph.frame.run import RunOptions
from infergraph.frame.session import Session
from infergraph.models.model import Request
from infergraph.store.hashes import RequestHasher, hash_text

__all__ = ["Estimate", "OperatorEstimate", "estimate", "prompts"]


def estimate(frame: SemanticFrame, options: RunOptions | None = None) -> Estimate:
    """What a run of this plan would call, cost and take; see ``SemanticFrame.estimate``."""
    options = options or RunOptions()
    for name in (options.model, options.retry_model):
        if name is not None:
            frame.session.model_name(name)
    steps = plans.operator_steps(frame.node)
    names = plans.operator_names(frame.node)
    exact = Exact(frame.session, options, names, steps)
    exact.read(exact.frame(frame.node))
    walk: Walk = exact
    open_steps = {id(step) for step in steps if id(step) in exact.missing or id(step) not in exact.needed}
    loose = exact.loose(frame.node)
    if exact.missing or loose:
        doubtful = Doubtful(frame.session, options, names, steps, open_steps, exact, loose)
        settled = doubtful.settled(frame.node)
        if len(settled) < len(steps):
            doubtful.take_over(settled, frame.node)
            doubtful.read(doubtful.frame(frame.node))
            doubtful.bound(frame.node)
            walk = doubtful
    parts = [walk.counts[id(step)].finish() for step in steps]
    return Estimate.of(parts, list(dict.fromkeys([*_assumptions(walk, steps, names), *walk.said])))


def prompts(frame: SemanticFrame, n: int) -> list[dict[str, Any]]:
    """The exact messages of the first rows of each operator; see ``SemanticFrame.prompts``."""
    shown: list[dict[str, Any]] = []
    names = plans.operator_names(frame.node)
    for step in plans.operator_steps(frame.node):
        hasher = RequestHasher(frame.session.models[step.model])
        for row_id, content in _first_contents(frame.session, step, names, n):
            request = step.operator.request(content)
            shown.append(
                {
                    "operator": names[id(step)],
                    "model": step.model,
                    "row_id": row_id,
                    "messages": _messages(request),
                    "schema": None if request.schema is None else request.schema.as_dict(),
                    "request_hash": hash_text(hasher.hash(request)),
                }
            )
    return shown


def _first_contents(session: Session, step: plans.OperatorStep, names: dict[int, str], n: int) -> list[tuple[str, str]]:
    """Row id and content of the first rows that are asked for sure or perhaps, where the content is known."""
    before = plans.operator_steps(step.inputs[0])
    walk = Doubtful(session, RunOptions(), names, before, {id(one) for one in before}, None)
    rows = walk.frame(step.inputs[0], (ROW_ID, DOUBT)).with_columns(content_of(step).alias(CONTENT))
    unknown = FOG | UNKNOWN if feeds(step).reads else FOG
    wanted = rows.filter(pl.col(CONTENT).is_not_null() & ((pl.col(DOUBT) & unknown) == 0))
    try:
        return list(wanted.select(ROW_ID, CONTENT).head(n).collect(engine="streaming").iter_rows())
    finally:
        walk.activity.stop()


def _assumptions(walk: Walk, steps: list[plans.OperatorStep], names: dict[int, str]) -> Iterator[str]:
    if walk.options.retry_model is not None:
        yield f"Rejected rows are asked of {walk.options.retry_model!r}, and cost what it costs."
    for step in steps:
        name, model, count = names[id(step)], walk.model(step), walk.counts[id(step)]
        if step.operator.kind != "embed" and not count.learned:
            yield (
                f"{name}: no answers of {walk.session.models[model].name} yet; assumed "
                f"{assumed_output(step):.0f} output tokens an answer."
            )
        if not walk.session.provider(model).count_tokens("text")[1]:
            yield f"{name}: the tokenizer of {model!r} is not public; its tokens are estimated."
        if step.decides or any(before.decides for before in plans.operator_steps(step.inputs[0])):
            yield f"Where a filter has not decided yet, {PASS_SHARE:.0%} of the rows are assumed to pass."
        fed = feeds(step)
        if fed.reads:
            yield f"{name}: reads answers that may not be there yet; their length is assumed."
        if fed.where:
            yield f"{name}: its where= reads answers that may not be there yet."


def _messages(request: Request) -> list[dict[str, str]]:
    if request.embed_text is not None:
        return [{"role": "input", "content": request.embed_text}]
    return [{"role": message.role, "content": message.content} for message in request.messages]
