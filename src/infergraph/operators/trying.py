"""Functions of ``ig.text`` tried on no rows, when a step is written.

Polars tells a Python function its types only when a batch runs: a column that it cannot take would be found after the
steps before it were paid. Functions of others are not run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl
from polars.exceptions import PanicException, PolarsError

from infergraph.errors import PlanError
from infergraph.operators.naming import from_tree, functions_in, is_own, plain_tree

_OF_POLARS = "\n\nThis error occurred"


def check_text_functions(expr: pl.Expr, columns: Mapping[str, pl.DataType]) -> None:
    """Refuse what a function of ``ig.text`` in an expression cannot take.

    Args:
        expr: The expression.
        columns: The columns that it runs over, with their types.

    Raises:
        PlanError: A column has a type that such a function cannot take, in the function's own words.
    """
    tree = plain_tree(expr)
    nothing = pl.DataFrame(schema=dict(columns))
    for part in _own_parts(tree):
        try:
            nothing.select(from_tree(part))
        except PlanError as error:
            raise type(error)(str(error).split(_OF_POLARS)[0]) from None
        except (PolarsError, PanicException):
            continue  # What it is part of needs rows, or is refused with the step's own words.


def _own_parts(tree: Any) -> Iterator[Any]:
    """The outermost functions of ours, with what they work on, where nobody else's function is in it."""
    if isinstance(tree, list):
        for item in tree:
            yield from _own_parts(item)
    elif isinstance(tree, dict):
        functions = list(functions_in(tree)) if "AnonymousFunction" in tree else []
        if functions and all(is_own(function) for function in functions):
            yield tree
        else:
            for value in tree.values():
                yield from _own_parts(value)
