"""What goes wrong in ``order_by=``, told as whose argument it is: Polars' own error quotes the values of rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from polars.exceptions import PolarsError

from infergraph.errors import PlanError
from infergraph.frame import plan as plans
from infergraph.validation.expectations import without_values

_FAILED = "This error occurred in the following expression:"
_SORTED = ".sort_by(by=["


@contextmanager
def order_errors(node: plans.Node) -> Iterator[None]:
    """Turn an error of Polars into one about ``order_by=``, where it comes from there.

    Args:
        node: The last node of the plan that is read inside the ``with`` block.

    Raises:
        PlanError: An expression of ``order_by=`` fails for the rows that there are.
    """
    try:
        yield
    except PolarsError as error:
        told = _told(node, str(error))
        if told is None:
            raise
        # Not chained: the traceback would show the values.
        raise PlanError(told) from None


def _told(node: plans.Node, message: str) -> str | None:
    said, _, where = message.partition(_FAILED)
    if _SORTED not in where:
        return None
    part = where.strip().splitlines()[0].strip()
    steps = [step for step in plans.walk(node) if isinstance(step, plans.Step) and step.order_by]
    # Polars may have rewritten one of them: then it is one of those that stand in the whole.
    failing = [key for step in steps for key in step.order_by if part in str(key)]
    for key in failing or [key for step in steps for key in step.order_by if str(key) in where]:
        # Values stand in brackets, behind how many there are.
        first, values, _ = said.splitlines()[0].partition(": [")
        return (
            f".semantic.reduce(order_by={key}): {first if values else without_values(said)}. Where such values may "
            "come, write strict=False in it: what cannot be converted is null then and comes last."
        )
    return None
