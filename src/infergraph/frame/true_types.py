"""Makes a step's declared types true where Polars plans one type and gives another.

Of some expressions over an Enum (``fill_null``, ``coalesce`` with a text) Polars says that text comes out, and
then an Enum does: the next step that relies on it fails in the middle of a run. Without rows, in less than 0.1 ms, the
step shows what it gives; a cast to that, which costs nothing, makes the declaration agree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl
from polars.exceptions import InvalidOperationError, PolarsError

from infergraph.errors import PlanError

Apply = Callable[[Sequence[pl.LazyFrame], tuple[str, ...]], pl.LazyFrame]
"""Makes the step's lazy frame from its inputs', given the hidden columns that the inputs carry."""


def truthful(
    apply: Apply, empty: Sequence[pl.LazyFrame], schema: pl.Schema, reads: Sequence[pl.Expr], where: str
) -> tuple[Apply, pl.Schema]:
    """The step and its schema, put right where Enums come out of what was declared as something else.

    Args:
        apply: The step.
        empty: Its inputs, without rows.
        schema: What Polars declares.
        reads: The step's expressions; where one calls a function of the author's, nothing is tried out.
        where: What errors call the step.

    Raises:
        PlanError: A literal is no category of its Enum.
    """
    if not reads or any("python_udf" in str(expression) for expression in reads):
        return apply, schema
    wrong = {name: dtype for name, dtype in _given(apply, empty, where).items() if dtype != schema.get(name)}
    enums = pl.Schema({name: dtype for name, dtype in wrong.items() if "Enum(" in str(dtype)})
    if not enums:
        return apply, schema
    return lambda inputs, hidden: apply(inputs, hidden).cast(enums), pl.Schema({**schema, **enums})


def _given(apply: Apply, empty: Sequence[pl.LazyFrame], where: str) -> pl.Schema:
    """What comes out without rows; empty where the step needs some."""
    try:
        # The streaming engine hands on what was declared when no row comes by.
        return apply(empty, ()).collect(engine="in-memory").schema
    except InvalidOperationError as error:
        if "to `enum` failed" not in str(error):
            return pl.Schema()
        # Without any row, only a literal of the expression can have failed.
        said = str(error).splitlines()[0]
        raise PlanError(f"{where}: {said}: it is no category of the Enum; write .cast(pl.String) before it.") from None
    except PolarsError:
        return pl.Schema()
