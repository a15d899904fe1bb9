"""Reads the fields of a schema out of each row's text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import polars as pl
from pydantic import BaseModel

from infergraph.models.model import AnswerSchema, Message, Request, Response
from infergraph.models.verdict import Verdict
from infergraph.operators.examples import ExamplePairs, worked_examples
from infergraph.operators.images import IMAGE_NOTE, ImageColumns, check_no_examples
from infergraph.operators.operator import Example
from infergraph.operators.outputs import check_fields, check_instruction, check_name
from infergraph.operators.prompt import Head, fingerprint_of, head_of, json_note
from infergraph.operators.quoted import check_quotes
from infergraph.operators.subject import ColumnArgument, Subject
from infergraph.validation.schema import AnswerModel

TASK = "Read the facts below out of {subject}. Use only what it says."


@dataclass(frozen=True, kw_only=True)
class ExtractOperator:
    """Fields of a Pydantic model, read out of one or several columns."""

    kind: ClassVar[str] = "extract"
    subject: Subject
    answer: AnswerModel
    into: str | None
    examples: tuple[Example, ...]
    head: Head = field(repr=False)
    images: ImageColumns | None = None
    """The image columns; ``None``: all is text."""

    @classmethod
    def build(
        cls,
        columns: pl.Schema,
        column: ColumnArgument,
        schema: type[BaseModel],
        *,
        into: str | None = None,
        instruction: str | None = None,
        examples: ExamplePairs = (),
        images: ColumnArgument | None = None,
    ) -> ExtractOperator:
        """Check everything against the input's columns.

        Args:
            columns: The input's columns and types.
            column: A name, an expression, or a list of them.
            schema: The Pydantic model.
            into: Name of one Struct column; ``None``: each field becomes a column.
            instruction: What to mind beyond the schema.
            examples: Pairs of an input and an instance of the model, or a dict of its fields.
            images: Columns of images, those in ``column`` or others: a name, an expression, or a list of them.

        Raises:
            PlanError: A column, the schema, a name, or an example does not fit; the message says what to write.

        Example:
            >>> class Ticket(BaseModel):
            ...     product: str
            >>> operator = ExtractOperator.build(pl.Schema({"body": pl.String}), "body", Ticket)
            >>> operator.describe(), dict(operator.writes)
            ('body -> product', {'product': String})
        """
        where = f".semantic.{cls.kind}"
        check_instruction(instruction, where)
        seen = ImageColumns.of(images, columns, where=where)
        check_no_examples(seen, examples, where)
        subject = Subject.of(column, columns, where=where, references={} if seen is None else seen.references)
        answer = AnswerModel.of(schema)
        if into is None:
            check_fields(answer.fields, columns, where, into=schema.__name__.lower())
        else:
            check_name(into, columns, where)
        check_quotes(answer.quotes, subject.reads, columns, where)
        worked = worked_examples(
            examples,
            where=where,
            columns=columns,
            reads=subject.reads,
            content=subject.content,
            answer_text=answer.answer_text,
            judge=answer.judge,
        )
        notes = (json_note(answer.answer_schema), "" if seen is None else IMAGE_NOTE)
        paragraphs = (TASK.format(subject=subject.spoken), instruction or "", *notes)
        head = head_of(paragraphs, subject.tags[0], worked)
        return cls(subject=subject, answer=answer, into=into, examples=worked, head=head, images=seen)

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns of the subject, then those of images."""
        return (
            self.subject.reads
            if self.images is None
            else tuple(dict.fromkeys([*self.subject.reads, *self.images.reads]))
        )

    @property
    def judges_by(self) -> tuple[str, ...]:
        """The columns of text, where a validator looks at the row."""
        return self.subject.reads if self.answer.reads_row else ()

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of the content's blocks."""
        return self.subject.tags

    @property
    def writes(self) -> pl.Schema:
        """The fields, or one Struct."""
        return self.answer.fields if self.into is None else pl.Schema({self.into: self.answer.struct})

    @property
    def content(self) -> pl.Expr:
        """The delimited values."""
        return self.subject.content

    @property
    def answer_schema(self) -> AnswerSchema:
        """The model's JSON schema."""
        return self.answer.answer_schema

    def request(self, content: str) -> Request:
        """Instruction, examples, then the content."""
        return Request(messages=(*self.head, Message("user", content)), schema=self.answer_schema)

    def judge(self, response: Response, row: Mapping[str, Any] | None = None) -> Verdict:
        """An object that the author's model validates."""
        return self.answer.judge(response, row)

    def columns(self, values: Sequence[Mapping[str, Any] | None]) -> list[pl.Series]:
        """The fields' columns, or one Struct column."""
        return self.answer.columns(values) if self.into is None else [self.answer.column(self.into, values)]

    def describe(self) -> str:
        """The subject and the fields."""
        target = ", ".join(self.answer.fields)
        return f"{self.subject.label} -> {target}" + (f" (as {self.into})" if self.into else "")

    def fingerprint(self) -> str:
        """Messages, schema, the subject and the images."""
        seen = () if self.images is None else (self.images.identity,)
        return fingerprint_of(self.kind, self.head, self.answer_schema, self.subject.identity, *seen)
