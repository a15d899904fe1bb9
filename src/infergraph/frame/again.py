"""The prompt of one row, rendered again from the row: for stores that keep hashes and answers only.

A prompt that was not kept can still be shown where its row is still there and the plan still asks it the same way; the
request hash proves that it is the very one.
"""

from __future__ import annotations

from collections.abc import Iterator

from infergraph.errors import PlanError, did_you_mean
from infergraph.frame import plan as plans
from infergraph.frame.estimate import first_contents
from infergraph.frame.frame import SemanticFrame
from infergraph.frame.run import RunOptions
from infergraph.models.model import Request
from infergraph.store.hashes import RequestHasher, hash_text


def rendered_again(
    frame: SemanticFrame, operator: str, row_id: str, *, request_hash: str | None = None
) -> Request | None:
    """The first request of a row, as the plan asks it now; nothing is sent.

    Args:
        frame: The plan, over the rows as they are now.
        operator: The operator's name in the plan.
        row_id: The row that the operator asks about, as in ``lineage``, rejects and ``_row_id``.
        request_hash: ``b2:...`` of the request that was sent; left out, whatever the plan asks now will do.

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
        for _, content in first_contents(frame.session, step, names, 1, row_id=row_id, options=options):
            request = step.operator.request(content)
            found = hash_text(RequestHasher(frame.session.models[model]).hash(request))
            if request_hash is None or found == request_hash:
                return request
        if request_hash is None:
            return None
    return None


def _models(frame: SemanticFrame, step: plans.OperatorStep) -> Iterator[str]:
    """The models that a run may have asked for the operator: its own first, then those that a run's option may name."""
    yield step.model
    if step.operator.kind != "embed":
        yield from (name for name in frame.session.models if name != step.model)
