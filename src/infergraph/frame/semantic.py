"""The ``.semantic`` methods of a frame: each builds its operator, which checks itself, and adds it to the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Literal, NoReturn

import polars as pl
from pydantic import BaseModel

from infergraph.errors import PlanError, did_you_mean
from infergraph.frame import plan as plans
from infergraph.frame.allowing import check_allowed
from infergraph.frame.frame import SemanticFrame
from infergraph.operators.classify import ClassifyOperator
from infergraph.operators.embed import EmbedOperator
from infergraph.operators.extract import ExtractOperator
from infergraph.operators.filter import FilterOperator
from infergraph.operators.map import MapOperator
from infergraph.operators.operator import Operator, RowOperator
from infergraph.operators.rounds import RoundsOperator
from infergraph.operators.sentiment import SentimentOperator

Column = str | pl.Expr | Sequence[str | pl.Expr]
Labels = Sequence[str] | Mapping[str, str] | type[Enum]
Examples = Sequence[tuple[Any, Any]]


class SemanticNamespace:
    """Operators on the rows of one frame.

    Common arguments: ``model``, a name of the session's models (default: the session's default model); ``name``, the
    operator's name in rejects, usage and traces (default: the method's name, numbered from the second on);
    ``where``, a Polars condition (other rows get null and make no call); ``examples``, pairs of input and
    right answer that are shown to the model. A null input makes no call and is no reject.
    """

    def __init__(self, frame: SemanticFrame) -> None:
        self._frame = frame

    def __getattr__(self, name: str) -> NoReturn:
        operators = [method for method in dir(type(self)) if not method.startswith("_")]
        raise AttributeError(f".semantic has no operator {name!r}. {did_you_mean(name, operators)}")

    def map(
        self,
        prompt: str,
        *,
        into: str | None = None,
        schema: type[BaseModel] | None = None,
        model: str | None = None,
        name: str | None = None,
        where: pl.Expr | None = None,
        examples: Examples = (),
    ) -> SemanticFrame:
        """Ask a prompt of each row.

        Args:
            prompt: A Jinja template over the columns, such as ``"Translate {{ body }} into French"``.
            into: Name of the new column; with a schema it may be left out.
            schema: A Pydantic model of the answer; without it the answer is text.
            model: See the class.
            name: See the class.
            where: See the class.
            examples: See the class; inputs are dicts of the template's variables.

        Returns:
            All rows in order; one String column ``into``, or the fields of the schema (one Struct column when
            ``into`` is given as well).

        Raises:
            PlanError: Unknown variable, name clash, a schema or example that does not fit.
        """
        operator = MapOperator.build(self._frame.schema, prompt, into=into, schema=schema, examples=examples)
        return self._add(operator, model, name, where)

    def extract(
        self,
        column: Column,
        schema: type[BaseModel],
        *,
        into: str | None = None,
        instruction: str | None = None,
        model: str | None = None,
        name: str | None = None,
        where: pl.Expr | None = None,
        examples: Examples = (),
    ) -> SemanticFrame:
        """Read fields out of a text.

        Args:
            column: Name of the text column, an expression, or a list of them.
            schema: A Pydantic model of what to read out; field descriptions are shown to the model.
            into: Name of one Struct column; left out, each field becomes a column.
            instruction: What to mind, beyond the schema.
            model: See the class.
            name: See the class.
            where: See the class.
            examples: See the class.

        Returns:
            All rows in order, with the new columns.

        Raises:
            PlanError: Unknown column, name clash, a schema that Polars or the provider cannot take.
        """
        operator = ExtractOperator.build(
            self._frame.schema, column, schema, into=into, instruction=instruction, examples=examples
        )
        return self._add(operator, model, name, where)

    def classify(
        self,
        column: Column,
        labels: Labels,
        *,
        into: str = "label",
        multi: bool = False,
        instruction: str | None = None,
        model: str | None = None,
        name: str | None = None,
        where: pl.Expr | None = None,
        examples: Examples = (),
    ) -> SemanticFrame:
        """Give each text one label, or several.

        Args:
            column: Name of the text column, an expression, or a list of them.
            labels: A list, a dict of label and description, or an ``Enum``; two or more.
            into: Name of the new column.
            multi: Any number of labels a row.
            instruction: What to mind when choosing.
            model: See the class.
            name: See the class.
            where: See the class.
            examples: See the class.

        Returns:
            All rows in order, with ``into`` of type ``pl.Enum``, or ``pl.List(pl.Enum)`` with ``multi``.

        Raises:
            PlanError: Unknown column, name clash, fewer than two labels, duplicates.
        """
        operator = ClassifyOperator.build(
            self._frame.schema, column, labels, into=into, multi=multi, instruction=instruction, examples=examples
        )
        return self._add(operator, model, name, where)

    def filter(
        self,
        predicate: str,
        *,
        on_reject: Literal["drop", "keep"] = "drop",
        model: str | None = None,
        name: str | None = None,
        where: pl.Expr | None = None,
        examples: Examples = (),
    ) -> SemanticFrame:
        """Keep the rows for which a sentence is true.

        Args:
            predicate: A sentence over the columns, such as ``"{{ body }} asks for a refund"``.
            on_reject: What happens to undecided rows, which are in the rejects either way.
            model: See the class.
            name: See the class.
            where: See the class; a row that is not asked is not true, and is dropped.
            examples: See the class; answers are booleans.

        Returns:
            The rows for which it is true, in order, same columns. A row with a null variable is dropped, and so is
            one that is pending because the run's budget ended first; ``usage.nulls`` and ``usage.pending`` count them.

        Raises:
            PlanError: Unknown variable, an ``on_reject`` that does not exist.
        """
        if on_reject not in ("drop", "keep"):
            raise PlanError(f"on_reject={on_reject!r}: write 'drop' or 'keep'.")
        operator = FilterOperator.build(self._frame.schema, predicate, examples=examples)
        return self._add(operator, model, name, where, keeps_undecided=on_reject == "keep")

    def sentiment(
        self,
        column: Column,
        *,
        into: str = "sentiment",
        model: str | None = None,
        name: str | None = None,
        where: pl.Expr | None = None,
        examples: Examples = (),
    ) -> SemanticFrame:
        """Tell whether each text is negative, neutral or positive.

        Args:
            column: Name of the text column, an expression, or a list of them.
            into: Name of the new column.
            model: See the class.
            name: See the class.
            where: See the class.
            examples: See the class.

        Returns:
            All rows in order, with ``into`` of type ``pl.Enum(["negative", "neutral", "positive"])``.
        """
        operator = SentimentOperator.build(self._frame.schema, column, into=into, examples=examples)
        return self._add(operator, model, name, where)

    def embed(
        self,
        column: Column,
        *,
        into: str = "embedding",
        model: str | None = None,
        name: str | None = None,
        where: pl.Expr | None = None,
    ) -> SemanticFrame:
        """Turn each text into a vector.

        Args:
            column: Name of the text column, an expression, or a list of them.
            into: Name of the new column.
            model: A model that embeds.
            name: See the class.
            where: See the class.

        Returns:
            All rows in order, with ``into`` of type ``pl.Array(pl.Float32, d)``.

        Raises:
            PlanError: The model does not embed, or its ``d`` is not known: give ``Model(..., dimensions=d)``.
        """
        chosen = self._frame.session.model_name(model)
        definition, capabilities = self._frame.session.facts(chosen)
        if not capabilities.embeds:
            able = self._frame.session.models_that(lambda known: known.embeds)
            others = ", ".join(map(repr, able)) or "none is configured; add one, such as openai:text-embedding-3-small"
            raise PlanError(
                f".semantic.embed: the model {chosen!r} ({definition.name}) does not embed. Name one that does with "
                f"model=: {others}."
            )
        dimensions = definition.dimensions or capabilities.dimensions
        if dimensions is None:
            raise PlanError(
                f".semantic.embed: the length of {definition.name}'s vectors is not known; "
                f"write Model({definition.name!r}, dimensions=...)."
            )
        operator = EmbedOperator.build(self._frame.schema, column, into=into, dimensions=dimensions)
        return self._add(operator, model, name, where)

    def _add(
        self,
        operator: RowOperator | RoundsOperator,
        model: str | None,
        name: str | None,
        where: pl.Expr | None,
        *,
        keeps_undecided: bool = False,
    ) -> SemanticFrame:
        session, before = self._frame.session, self._frame.node
        if where is not None and not isinstance(where, pl.Expr):
            raise PlanError(f"where={where!r}: write a Polars condition, such as pl.col({str(where)!r}) == 'x'.")
        chosen = session.model_name(model)
        if operator.kind != "embed":
            session.check_chat(chosen, operator)
        node = plans.operator_step(
            operator,
            name=_operator_name(operator, name, before),
            model=chosen,
            where=where,
            keeps_undecided=keeps_undecided,
            before=before,
        )
        check_allowed(session, node, chosen)
        return SemanticFrame(session, node)


def _operator_name(operator: Operator, given: str | None, before: plans.Node) -> str:
    taken = {step.name for step in plans.operator_steps(before)}
    if given is not None:
        if not given or given in taken:
            raise PlanError(f"name={given!r}: give each operator a name of its own; taken: {sorted(taken)}.")
        return given
    number = 1
    while (name := operator.kind if number == 1 else f"{operator.kind}_{number}") in taken:
        number += 1
    return name
