"""Turns each row's text into a vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import polars as pl

from infergraph.errors import PlanError
from infergraph.models.model import Request, Response
from infergraph.models.verdict import Verdict
from infergraph.operators.operator import Example
from infergraph.operators.outputs import check_name
from infergraph.operators.prompt import fingerprint_of
from infergraph.operators.subject import ColumnArgument, Subject
from infergraph.validation.answers import VectorAnswer


@dataclass(frozen=True, kw_only=True)
class EmbedOperator:
    """The embedding of one or several columns; the text is embedded as it is, without tags."""

    kind: ClassVar[str] = "embed"
    judges_by: ClassVar[tuple[str, ...]] = ()
    subject: Subject
    into: str
    answer: VectorAnswer
    examples: tuple[Example, ...] = field(default=(), init=False)
    answer_schema: None = field(default=None, init=False, repr=False)
    tags: tuple[str, ...] = field(default=(), init=False, repr=False)

    @classmethod
    def build(
        cls,
        columns: pl.Schema,
        column: ColumnArgument,
        *,
        into: str = "embedding",
        dimensions: int,
        method: str = "embed",
    ) -> EmbedOperator:
        """Check everything against the input's columns.

        Args:
            columns: The input's columns and types.
            column: A name, an expression, or a list of them, which are joined with an empty line between.
            into: The new column.
            dimensions: Length of the model's vectors, 1 or more.
            method: What errors call the step.

        Raises:
            PlanError: A column, the name, or the length does not fit; the message says what to write.

        Example:
            >>> EmbedOperator.build(pl.Schema({"body": pl.String}), "body", dimensions=384).writes
            Schema([('embedding', Array(Float32, shape=(384,)))])
        """
        where = f".semantic.{method}"
        check_name(into, columns, where)
        if not isinstance(dimensions, int) or isinstance(dimensions, bool) or dimensions < 1:
            raise PlanError(
                f"{where}: dimensions= is the length of the model's vectors, 1 or more, not {dimensions!r}."
            )
        subject = Subject.of(column, columns, where=where)
        return cls(subject=subject, into=into, answer=VectorAnswer(dimensions))

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns of the subject."""
        return self.subject.reads

    @property
    def writes(self) -> pl.Schema:
        """The vector column."""
        return pl.Schema({self.into: self._dtype})

    @property
    def _dtype(self) -> pl.Array:
        return pl.Array(pl.Float32, self.answer.dimensions)

    @property
    def content(self) -> pl.Expr:
        """The values alone."""
        return self.subject.text

    def request(self, content: str) -> Request:
        """The text to embed."""
        return Request(embed_text=content)

    def judge(self, response: Response, row: Mapping[str, Any] | None = None) -> Verdict:
        """A vector of the right length."""
        return self.answer.judge(response)

    def columns(self, values: Sequence[Any | None]) -> list[pl.Series]:
        """The vector column."""
        return [pl.Series(self.into, values, dtype=self._dtype)]

    def describe(self) -> str:
        """The subject and the vectors' length."""
        return f"{self.subject.label} -> {self.into} ({self.answer.dimensions} numbers)"

    def fingerprint(self) -> str:
        """The subject and the length."""
        return fingerprint_of(self.kind, (), None, self.subject.identity, str(self.answer.dimensions))
