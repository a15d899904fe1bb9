"""The prompt of one row, rendered again from the row: for stores that keep hashes and answers only.

A prompt that was not kept can still be shown where its row is still there and the plan still asks it the same way; the
request hash proves that it is the very one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import chain

from infergraph.errors import PlanError, did_you_mean
from infergraph.frame import plan as plans
from infergraph.frame.estimate import all_contents, first_contents
from infergraph.frame.frame import SemanticFrame
from infergraph.frame.image_loading import Unusable
from infergraph.frame.rounds_again import requests_by_store
from infergraph.frame.run import RunOptions
from infergraph.models.model import Request
from infergraph.store.hashes import RequestHasher, hash_text


def rendered_again(
    frame: SemanticFrame, operator: str, row_id: str, *, request_hash: str | None = None, message: str = ""
) -> Request | None:
    """The request that was sent for a row, as the plan asks it now; nothing is sent.

    Args:
        frame: The plan, over the rows as they are now.
        operator: The operator's name in the plan.
        row_id: The row that the operator asks about, as in ``lineage``, rejects and ``_row_id``.
        request_hash: ``b2:...`` of the request that was sent; left out, whatever the plan asks now will do.
        message: The reject's message, where the hash is not known: of a row's several questions it names the part.

    Returns:
        The request; ``None`` where the row is gone, depends on an answer that is not stored, or would be asked
        something else now.

    Raises:
        PlanError: The plan has no such operator.
    """
    names = plans.operator_names(frame.node)
    step = next((step for step in plans.operator_steps(frame.node) if names[id(step)] == operator), None)
    if step is None:
        raise PlanError(f"The plan has no operator {operator!r}. {did_you_mean(operator, names.values())}")
    for model in _models(frame, step):
        options = RunOptions(model=None if model == step.model else model)
        first = first_contents(frame.session, step, names, 1, row_id=row_id, options=options)
        own = [content for _, content in first if not isinstance(content, Unusable)]
        if request_hash is None:
            return _told_by(requests_by_store(frame.session, step, model, own[0]), message) if own else None
        hasher = RequestHasher(frame.session.models[model])
        # Rows without a key are named by the columns that are read, which are others for a whole run; and a question
        # of several rounds may be about rows that the operator's own row stands for.
        sure = _keyed(step) and step.rounds is None
        with closing(all_contents(frame.session, step, names, options)) as others:
            for content in chain(own, () if sure else others):
                if isinstance(content, Unusable):
                    continue
                for _, request in requests_by_store(frame.session, step, model, content):
                    if hash_text(hasher.hash(request)) == request_hash:
                        return request
    return None


def _told_by(requests: Iterable[tuple[str | None, Request]], message: str) -> Request | None:
    """The request that a reject's message is about; without a message the first."""
    for part, request in requests:
        if part is None or not message or message.startswith(f"{part}: "):
            return request
    return None


def _keyed(step: plans.OperatorStep) -> bool:
    """Whether row ids are the same whatever of the plan is read."""
    sources = [node for node in plans.walk(step) if isinstance(node, plans.Source)]
    return all(source.key or source.carries_ids for source in sources) and not any(
        isinstance(node, plans.Step) and node.row_ids == "new" for node in plans.walk(step)
    )


def _models(frame: SemanticFrame, step: plans.OperatorStep) -> Iterator[str]:
    """The models that a run may have asked for the operator: its own first, then those that a run's option may name."""
    yield step.model
    if step.operator.kind != "embed":
        yield from (name for name in frame.session.models if name != step.model)
