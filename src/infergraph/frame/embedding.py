"""Vectors for the operators that work by meaning: a column that is one already, or an embed step that makes it."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from polars.datatypes import DataTypeClass

from infergraph.errors import PlanError
from infergraph.frame import plan as plans
from infergraph.frame.allowing import check_allowed
from infergraph.frame.frame import SemanticFrame
from infergraph.frame.session import Session
from infergraph.operators.embed import EmbedOperator
from infergraph.operators.subject import ColumnArgument

_KEYWORDS = {"join": "ig.Similar(..., model=...)"}
"""Where the author of a step names the model that embeds, where that is not ``model=``."""


def with_vectors(
    frame: SemanticFrame, column: ColumnArgument, into: str, *, model: str | None, name: str, method: str
) -> tuple[SemanticFrame, str]:
    """The frame with a vector for each row.

    Args:
        frame: Any frame.
        column: Text columns as of every operator, or one ``Array`` column of vectors, which makes no call.
        into: The column that an embed step writes.
        model: A model that embeds; ``None``: the session's default model.
        name: The embed step's name in rejects, usage and traces.
        method: What errors call the step: ``"dedup"``.

    Returns:
        The frame, and the name of its vector column (``pl.Array`` of 32- or 64-bit floats).

    Raises:
        PlanError: The model does not embed, or the column does not fit.
    """
    given = vector_column(column, frame.schema)
    if given is not None:
        return frame, given
    _refuse_other_vectors(column, frame.schema, method)
    chosen, dimensions = embedding_model(frame.session, model, method)
    operator = EmbedOperator.build(frame.schema, column, into=into, dimensions=dimensions, method=method)
    node = plans.operator_step(operator, name=name, model=chosen, where=None, keeps_undecided=False, before=frame.node)
    check_allowed(frame.session, node, chosen, _KEYWORDS.get(method, "model="))
    return SemanticFrame(frame.session, node), into


def embedding_model(session: Session, model: str | None, method: str) -> tuple[str, int]:
    """A model of the session that embeds, and the length of its vectors.

    Args:
        session: Has the models.
        model: The name that was given; ``None``: the session's default model.
        method: What errors call the step.

    Raises:
        PlanError: It does not embed, or its vectors' length is not known.
    """
    chosen = session.model_name(model)
    definition, capabilities = session.facts(chosen)
    if not capabilities.embeds:
        able = session.models_that(lambda known: known.embeds)
        others = ", ".join(map(repr, able)) or "none is configured; add one, such as openai:text-embedding-3-small"
        raise PlanError(
            f".semantic.{method}: the model {chosen!r} ({definition.name}) does not embed. Name one that does with "
            f"model=: {others}."
        )
    dimensions = definition.dimensions or capabilities.dimensions
    if dimensions is None:
        raise PlanError(
            f".semantic.{method}: the length of {definition.name}'s vectors is not known; "
            f"write Model({definition.name!r}, dimensions=...)."
        )
    return chosen, dimensions


def vector_column(column: ColumnArgument, schema: pl.Schema) -> str | None:
    """The name of the one column of vectors that is meant; ``None`` where it is text that is to be embedded.

    Example:
        >>> schema = pl.Schema({"v": pl.Array(pl.Float32, 2), "body": pl.String()})
        >>> vector_column("v", schema), vector_column(pl.col("v"), schema), vector_column("body", schema)
        ('v', 'v', None)
    """
    if isinstance(column, pl.Expr):
        column = column.meta.output_name() if column.meta.is_column() else ""
    if not isinstance(column, str):
        given = list(column) if isinstance(column, Sequence) else []
        return vector_column(given[0], schema) if len(given) == 1 else None
    dtype = schema.get(column)
    if not isinstance(dtype, pl.Array) or len(dtype.shape) != 1 or dtype.inner not in (pl.Float32, pl.Float64):
        return None
    return column


def _refuse_other_vectors(column: ColumnArgument, schema: pl.Schema, method: str) -> None:
    """Raise ``PlanError`` where vectors of another type would be embedded as the text of their numbers."""
    if isinstance(column, pl.Expr):
        column = column.meta.output_name() if column.meta.is_column() else ""
    dtype = schema.get(column) if isinstance(column, str) else None
    if isinstance(dtype, (pl.List, pl.Array)) and _has_fractions(dtype):
        raise PlanError(
            f".semantic.{method}: {column!r} is {dtype}. A column of vectors is pl.Array(pl.Float32, d) with d numbers "
            f"in each: write .cast({{{column!r}: pl.Array(pl.Float32, d)}}) before."
        )


def _has_fractions(dtype: pl.DataType | DataTypeClass) -> bool:
    return _has_fractions(dtype.inner) if isinstance(dtype, (pl.List, pl.Array)) else dtype.is_float()


def refuse_model(model: str | None, method: str) -> None:
    """Raise ``PlanError`` where a model is named and none is asked, as all columns hold vectors."""
    if model is not None:
        raise PlanError(
            f".semantic.{method}: model={model!r}: what is compared are vectors already, and no model is asked; leave "
            "it out."
        )


def dimensions_of(frame: SemanticFrame, column: str) -> int:
    """Numbers in each vector of a column."""
    dtype = frame.schema[column]
    assert isinstance(dtype, pl.Array)
    return dtype.shape[0]


def operator_name(frame: SemanticFrame, kind: str, given: str | None, *others: SemanticFrame) -> str:
    """The name under which an operator's requests are counted: the given one, or its kind with a number.

    An operator that asks in two places puts a dot and the place behind it: ``sim_join.left``.

    Raises:
        PlanError: The name is taken.
    """
    steps = {step.name for one in (frame, *others) for step in plans.operator_steps(one.node)}
    taken = steps | {name.partition(".")[0] for name in steps}
    if given is not None:
        if not isinstance(given, str) or not given or given in taken:
            raise PlanError(f"name={given!r}: give each operator a name of its own; taken: {sorted(steps)}.")
        return given
    number = 1
    while (name := kind if number == 1 else f"{kind}_{number}") in taken:
        number += 1
    return name


def check_similarity(value: object, method: str, *, default: str = "") -> float:
    """A least similarity as a number.

    Raises:
        PlanError: It is no number from -1 to 1.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1 <= value <= 1:
        raise PlanError(
            f".semantic.{method}: min_similarity={value!r}: give a cosine from -1 to 1, such as 0.9"
            f"{default}; texts that mean the same often have 0.8 or more, which depends on the model."
        )
    return float(value)


def check_count(value: object, method: str) -> int:
    """``k`` as a number of rows.

    Raises:
        PlanError: It is no whole number of 1 or more.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise PlanError(f".semantic.{method}: k={value!r}: give a number of rows, 1 or more.")
    return value
