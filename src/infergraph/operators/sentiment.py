"""Tells of each row whether what it says is negative, neutral or positive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import polars as pl

from infergraph.models.model import AnswerSchema, Choices, Message, Request, Response
from infergraph.models.verdict import Verdict
from infergraph.operators.examples import ExamplePairs, worked_examples
from infergraph.operators.operator import Example
from infergraph.operators.outputs import check_name
from infergraph.operators.prompt import Head, fingerprint_of, head_of
from infergraph.operators.subject import ColumnArgument, Subject
from infergraph.validation.answers import ChoiceAnswer

TASK = "What is the sentiment of {subject}: negative, neutral or positive?"
JSON_NOTE = 'Answer with JSON: {"sentiment": "..."}'
VALUES = ("negative", "neutral", "positive")
DESCRIPTIONS = (
    "unhappy, angry, worried or critical",
    "factual, neither or both",
    "happy, thankful or approving",
)
ANSWER = ChoiceAnswer("sentiment", VALUES)
SCHEMA = ANSWER.answer_schema


@dataclass(frozen=True, kw_only=True)
class SentimentOperator:
    """The sentiment of one or several columns."""

    kind: ClassVar[str] = "sentiment"
    judges_by: ClassVar[tuple[str, ...]] = ()
    subject: Subject
    into: str
    question: str
    examples: tuple[Example, ...]
    head: Head = field(repr=False)

    @classmethod
    def build(
        cls, columns: pl.Schema, column: ColumnArgument, *, into: str = "sentiment", examples: ExamplePairs = ()
    ) -> SentimentOperator:
        """Check everything against the input's columns.

        Args:
            columns: The input's columns and types.
            column: A name, an expression, or a list of them.
            into: The new column.
            examples: Pairs of an input and ``"negative"``, ``"neutral"`` or ``"positive"``.

        Raises:
            PlanError: A column, the name, or an example does not fit; the message says what to write.

        Example:
            >>> SentimentOperator.build(pl.Schema({"body": pl.String}), "body").describe()
            'body -> sentiment'
        """
        where = f".semantic.{cls.kind}"
        check_name(into, columns, where)
        subject = Subject.of(column, columns, where=where)
        worked = worked_examples(
            examples,
            where=where,
            columns=columns,
            reads=subject.reads,
            content=subject.content,
            answer_text=lambda output, _: _text(output),
            judge=lambda response, _: ANSWER.judge(response),
        )
        question = TASK.format(subject=subject.spoken)
        lines = [f"- {value}: {description}" for value, description in zip(VALUES, DESCRIPTIONS, strict=True)]
        head = head_of((question, *lines, JSON_NOTE), subject.tags[0], worked)
        return cls(subject=subject, into=into, question=question, examples=worked, head=head)

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns of the subject."""
        return self.subject.reads

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of the content's blocks."""
        return self.subject.tags

    @property
    def writes(self) -> pl.Schema:
        """The sentiment column."""
        return pl.Schema({self.into: pl.Enum(VALUES)})

    @property
    def content(self) -> pl.Expr:
        """The delimited values."""
        return self.subject.content

    @property
    def answer_schema(self) -> AnswerSchema:
        """An object with one of the three values."""
        return SCHEMA

    def request(self, content: str) -> Request:
        """The question, examples, then the content."""
        choices = Choices(ANSWER.field, VALUES, DESCRIPTIONS, self.question, content)
        return Request(messages=(*self.head, Message("user", content)), schema=SCHEMA, choices=choices)

    def judge(self, response: Response, row: Mapping[str, Any] | None = None) -> Verdict:
        """One of the three values."""
        return ANSWER.judge(response)

    def columns(self, values: Sequence[Any | None]) -> list[pl.Series]:
        """The sentiment column."""
        return [pl.Series(self.into, values, dtype=pl.Enum(VALUES))]

    def describe(self) -> str:
        """The subject and the new column."""
        return f"{self.subject.label} -> {self.into}"

    def fingerprint(self) -> str:
        """Messages and the subject."""
        return fingerprint_of(self.kind, self.head, SCHEMA, self.subject.identity)


def _text(answer: Any) -> str:
    if answer not in VALUES:
        raise ValueError(f"the answer is one of {', '.join(map(repr, VALUES))}")
    return ANSWER.answer_text(answer)
