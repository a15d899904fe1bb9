"""Asks a prompt of each row: a template over its columns, answered with text or with the fields of a schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import polars as pl
from pydantic import BaseModel

from infergraph.errors import PlanError
from infergraph.models.model import AnswerSchema, Message, Request, Response
from infergraph.models.verdict import Verdict
from infergraph.operators.examples import ExamplePairs, worked_examples
from infergraph.operators.images import IMAGE_NOTE, ImageColumns, check_no_examples
from infergraph.operators.operator import Example
from infergraph.operators.outputs import check_fields, check_name
from infergraph.operators.prompt import Head, fingerprint_of, head_of, json_note
from infergraph.operators.quoted import check_quotes
from infergraph.operators.subject import ColumnArgument, typed
from infergraph.text.compiled_templates import CompiledTemplate, compile_template
from infergraph.validation.answers import judge_text
from infergraph.validation.schema import AnswerModel

TEXT_NOTE = "Answer with the result alone."


@dataclass(frozen=True, kw_only=True)
class MapOperator:
    """A prompt asked of each row."""

    kind: ClassVar[str] = "map"
    template: CompiledTemplate
    types: str
    """The types of the columns that the template reads."""
    answer: AnswerModel | None
    into: str | None
    examples: tuple[Example, ...]
    head: Head = field(repr=False)
    texts: tuple[str, ...]
    """The columns that the template reads as text."""
    images: ImageColumns | None = None
    """The image columns; ``None``: all is text."""

    @classmethod
    def build(
        cls,
        columns: pl.Schema,
        prompt: str,
        *,
        into: str | None,
        schema: type[BaseModel] | None = None,
        examples: ExamplePairs = (),
        images: ColumnArgument | None = None,
    ) -> MapOperator:
        """Check everything against the input's columns.

        Args:
            columns: The input's columns and types.
            prompt: A template over the columns.
            into: The new String column; with a schema the one Struct column, or ``None`` for a column a field.
            schema: A Pydantic model; ``None``: the answer is text.
            examples: Pairs of a dict of the template's variables (a text when there is one) and the right answer.
            images: Columns of images, which the template may name: a name, an expression, or a list of them.

        Raises:
            TemplateError: The template is not valid or names what is no column.
            PlanError: The schema, a name, or an example does not fit; the message says what to write.

        Example:
            >>> operator = MapOperator.build(pl.Schema({"body": pl.String}), "A title for {{ body }}", into="title")
            >>> operator.describe(), dict(operator.writes)
            ("'A title for <body>' -> title", {'title': String})
        """
        where = f".semantic.{cls.kind}"
        if not isinstance(prompt, str):
            raise PlanError(
                f"{where}: the prompt is a template such as 'Translate {{{{ body }}}}', not {prompt!r:.80}."
            )
        answer = None if schema is None else AnswerModel.of(schema)
        if answer is None and into is None:
            raise PlanError(f"{where}: name the new column: into='answer'.")
        if into is not None:
            check_name(into, columns, where)
        elif schema is not None and answer is not None:
            check_fields(answer.fields, columns, where, into=schema.__name__.lower())
        seen = ImageColumns.of(images, columns, where=where)
        check_no_examples(seen, examples, where)
        references = {} if seen is None else seen.references
        template = compile_template(prompt, columns, where=where, references=references, sets_aside=True)
        texts = tuple(name for name in template.variables if name not in references)
        if answer is not None:
            check_quotes(answer.quotes, texts, columns, where)
        worked = worked_examples(
            examples,
            where=where,
            columns=columns,
            reads=template.variables,
            content=template.content,
            answer_text=(lambda output, _: _text(output)) if answer is None else answer.answer_text,
            judge=(lambda response, _: judge_text(response)) if answer is None else answer.judge,
        )
        note = TEXT_NOTE if answer is None else json_note(answer.answer_schema)
        notes = (note, "" if seen is None else IMAGE_NOTE)
        head = head_of((template.instruction, *notes), template.tags[0], worked)
        types = typed(texts, columns)
        return cls(
            template=template,
            types=types,
            answer=answer,
            into=into,
            examples=worked,
            head=head,
            images=seen,
            texts=texts,
        )

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns of the template's variables, then those of images."""
        return self.texts if self.images is None else tuple(dict.fromkeys([*self.texts, *self.images.reads]))

    @property
    def judges_by(self) -> tuple[str, ...]:
        """The columns of text, where a validator of the schema looks at the row."""
        return self.texts if self.answer is not None and self.answer.reads_row else ()

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of the content's blocks."""
        return self.template.tags

    @property
    def writes(self) -> pl.Schema:
        """The text column, the schema's fields, or one Struct."""
        if self.answer is None:
            return pl.Schema({self.into or "": pl.String()})
        return self.answer.fields if self.into is None else pl.Schema({self.into: self.answer.struct})

    @property
    def content(self) -> pl.Expr:
        """The template's content."""
        return self.template.content

    @property
    def answer_schema(self) -> AnswerSchema | None:
        """The model's JSON schema; ``None``: text."""
        return None if self.answer is None else self.answer.answer_schema

    def request(self, content: str) -> Request:
        """Instruction, examples, then the content."""
        return Request(messages=(*self.head, Message("user", content)), schema=self.answer_schema)

    def judge(self, response: Response, row: Mapping[str, Any] | None = None) -> Verdict:
        """Any text, or an object that the author's model validates."""
        return judge_text(response) if self.answer is None else self.answer.judge(response, row)

    def columns(self, values: Sequence[Any | None]) -> list[pl.Series]:
        """The text column, the fields' columns, or one Struct column."""
        if self.answer is None:
            return [pl.Series(self.into, values, dtype=pl.String)]
        return self.answer.columns(values) if self.into is None else [self.answer.column(self.into, values)]

    def describe(self) -> str:
        """The instruction and the new columns."""
        prompt = " ".join(self.template.instruction.split())
        shown = prompt if len(prompt) <= 60 else prompt[:57] + "..."
        fields = "" if self.answer is None else ", ".join(self.answer.fields)
        return f"{shown!r} -> {self.into or fields}"

    def fingerprint(self) -> str:
        """Messages, schema, the template and its columns' types, and the images."""
        seen = () if self.images is None else (self.images.identity,)
        return fingerprint_of(self.kind, self.head, self.answer_schema, self.template.source, self.types, *seen)


def _text(answer: Any) -> str:
    if not isinstance(answer, str):
        raise ValueError("without a schema the answer is a text")
    return answer
