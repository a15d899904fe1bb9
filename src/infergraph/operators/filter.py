"""Asks of each row whether a sentence about it is true; the frame keeps the rows for which it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import polars as pl

from infergraph.errors import PlanError
from infergraph.models.model import AnswerSchema, Choices, Message, Request, Response
from infergraph.models.verdict import Verdict
from infergraph.operators.examples import ExamplePairs, worked_examples
from infergraph.operators.operator import Example
from infergraph.operators.prompt import Head, fingerprint_of, head_of
from infergraph.operators.subject import typed
from infergraph.text.compiled_templates import CompiledTemplate, compile_template
from infergraph.validation.answers import ChoiceAnswer

TASK = "Is this statement true?"
JSON_NOTE = 'Answer with JSON: {"answer": true} or {"answer": false}'
ANSWER = ChoiceAnswer("answer", ("true", "false"), boolean=True)
SCHEMA = ANSWER.answer_schema


@dataclass(frozen=True, kw_only=True)
class FilterOperator:
    """A sentence that is true or false of each row; adds no column, its values are ``bool``."""

    kind: ClassVar[str] = "filter"
    judges_by: ClassVar[tuple[str, ...]] = ()
    template: CompiledTemplate
    types: str
    """The types of the columns that the sentence reads."""
    examples: tuple[Example, ...]
    head: Head = field(repr=False)

    @classmethod
    def build(cls, columns: pl.Schema, predicate: str, *, examples: ExamplePairs = ()) -> FilterOperator:
        """Check everything against the input's columns.

        Args:
            columns: The input's columns and types.
            predicate: A sentence, as a template over the columns.
            examples: Pairs of a dict of the sentence's variables (a text when there is one) and a bool.

        Raises:
            TemplateError: The sentence is no valid template or names what is no column.
            PlanError: An example does not fit.

        Example:
            >>> FilterOperator.build(pl.Schema({"body": pl.String}), "{{ body }} is a complaint").describe()
            "'<body> is a complaint'"
        """
        where = f".semantic.{cls.kind}"
        if not isinstance(predicate, str):
            raise PlanError(
                f"{where}: a predicate is a sentence such as '{{{{ body }}}} is a complaint', not {predicate!r:.80}. "
                "For a Polars condition write .filter(...) without .semantic."
            )
        template = compile_template(predicate, columns, where=where, sets_aside=True)
        worked = worked_examples(
            examples,
            where=where,
            columns=columns,
            reads=template.variables,
            content=template.content,
            answer_text=lambda output, _: _text(output),
            judge=lambda response, _: ANSWER.judge(response),
        )
        head = head_of((TASK, template.instruction, JSON_NOTE), template.tags[0], worked)
        return cls(template=template, types=typed(template.variables, columns), examples=worked, head=head)

    @property
    def reads(self) -> tuple[str, ...]:
        """The sentence's variables."""
        return self.template.variables

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of the content's blocks."""
        return self.template.tags

    @property
    def writes(self) -> pl.Schema:
        """Nothing."""
        return pl.Schema()

    @property
    def content(self) -> pl.Expr:
        """The template's content."""
        return self.template.content

    @property
    def answer_schema(self) -> AnswerSchema:
        """An object with one boolean."""
        return SCHEMA

    def request(self, content: str) -> Request:
        """The sentence, examples, then the content."""
        question = self.template.instruction
        choices = Choices(ANSWER.field, ANSWER.values, ("", ""), question, content, boolean=True)
        return Request(messages=(*self.head, Message("user", content)), schema=SCHEMA, choices=choices)

    def judge(self, response: Response, row: Mapping[str, Any] | None = None) -> Verdict:
        """True or false."""
        return ANSWER.judge(response)

    def columns(self, values: Sequence[Any | None]) -> list[pl.Series]:
        """None: the frame keeps or drops rows by the values themselves."""
        return []

    def describe(self) -> str:
        """The sentence."""
        sentence = " ".join(self.template.instruction.split())
        return repr(sentence if len(sentence) <= 80 else sentence[:77] + "...")

    def fingerprint(self) -> str:
        """Messages, the template and its columns' types."""
        return fingerprint_of(self.kind, self.head, SCHEMA, self.template.source, self.types)


def _text(answer: Any) -> str:
    if not isinstance(answer, bool):
        raise ValueError("the answer is True or False")
    return ANSWER.answer_text(answer)
