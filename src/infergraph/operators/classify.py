"""Gives each row one of a few labels, or any number of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar

import polars as pl

from infergraph.errors import PlanError
from infergraph.models.model import AnswerSchema, Choices, Message, Request, Response
from infergraph.models.verdict import Verdict
from infergraph.operators.examples import ExamplePairs, worked_examples
from infergraph.operators.operator import Example
from infergraph.operators.outputs import check_instruction, check_name
from infergraph.operators.prompt import Head, fingerprint_of, head_of
from infergraph.operators.subject import ColumnArgument, Subject
from infergraph.validation.answers import ChoiceAnswer

LabelsArgument = Sequence[str] | Mapping[str, str] | type[Enum]

TASK = "Choose the label that fits {subject} best."
TASK_SEVERAL = "Choose all labels that fit {subject}; none is allowed."
LABELS = "Labels:"
JSON_NOTE = 'Answer with JSON: {"label": "..."}'
JSON_NOTE_SEVERAL = 'Answer with JSON: {"labels": ["...", "..."]}'


@dataclass(frozen=True, kw_only=True)
class ClassifyOperator:
    """One label, or several, for one or several columns."""

    kind: ClassVar[str] = "classify"
    judges_by: ClassVar[tuple[str, ...]] = ()
    subject: Subject
    answer: ChoiceAnswer
    descriptions: tuple[str, ...]
    question: str
    into: str
    examples: tuple[Example, ...]
    head: Head = field(repr=False)
    answer_schema: AnswerSchema = field(repr=False)

    @classmethod
    def build(
        cls,
        columns: pl.Schema,
        column: ColumnArgument,
        labels: LabelsArgument,
        *,
        into: str = "label",
        multi: bool = False,
        instruction: str | None = None,
        examples: ExamplePairs = (),
    ) -> ClassifyOperator:
        """Check everything against the input's columns.

        Args:
            columns: The input's columns and types.
            column: A name, an expression, or a list of them.
            labels: A list, a dict of label to description, or an ``Enum`` whose values are texts (else its names are
                the labels); two or more.
            into: The new column.
            multi: Any number of labels a row.
            instruction: What to go by when choosing.
            examples: Pairs of an input and its label, or list of labels with ``multi``.

        Raises:
            PlanError: A column, label, name, or example does not fit; the message says what to write.

        Example:
            >>> operator = ClassifyOperator.build(pl.Schema({"body": pl.String}), "body", ["bug", "billing"])
            >>> operator.describe(), dict(operator.writes)
            ('body -> label: bug, billing', {'label': Enum(categories=['bug', 'billing'])})
        """
        where = f".semantic.{cls.kind}"
        check_instruction(instruction, where)
        check_name(into, columns, where)
        subject = Subject.of(column, columns, where=where)
        described = _described(labels, where)
        answer = ChoiceAnswer("labels" if multi else "label", tuple(described), several=multi)
        worked = worked_examples(
            examples,
            where=where,
            columns=columns,
            reads=subject.reads,
            content=subject.content,
            answer_text=lambda output, _: answer.answer_text(_exact(output, answer)),
            judge=lambda response, _: answer.judge(response),
        )
        task = (TASK_SEVERAL if multi else TASK).format(subject=subject.spoken)
        lines = [
            f"- {label}: {description}" if description else f"- {label}" for label, description in described.items()
        ]
        note = JSON_NOTE_SEVERAL if multi else JSON_NOTE
        return cls(
            subject=subject,
            answer=answer,
            descriptions=tuple(described.values()),
            question=instruction or task,
            into=into,
            examples=worked,
            head=head_of((task, instruction or "", LABELS, *lines, note), subject.tags[0], worked),
            answer_schema=answer.answer_schema,
        )

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
        """The label column."""
        return pl.Schema({self.into: self._dtype})

    @property
    def _dtype(self) -> pl.DataType:
        label = pl.Enum(self.answer.values)
        return pl.List(label) if self.answer.several else label

    @property
    def content(self) -> pl.Expr:
        """The delimited values."""
        return self.subject.content

    def request(self, content: str) -> Request:
        """Instruction and labels, examples, then the content."""
        return Request(
            messages=(*self.head, Message("user", content)), schema=self.answer_schema, choices=self._choices(content)
        )

    def _choices(self, content: str) -> Choices | None:
        if self.answer.several:
            return None
        return Choices(self.answer.field, self.answer.values, self.descriptions, self.question, content)

    def judge(self, response: Response, row: Mapping[str, Any] | None = None) -> Verdict:
        """One of the labels, or a list of them."""
        return self.answer.judge(response)

    def columns(self, values: Sequence[Any | None]) -> list[pl.Series]:
        """The label column."""
        return [pl.Series(self.into, values, dtype=self._dtype)]

    def describe(self) -> str:
        """The subject and the labels."""
        shown = ", ".join(self.answer.values[:8]) + (", ..." if len(self.answer.values) > 8 else "")
        return f"{self.subject.label} -> {self.into}: {'any of ' if self.answer.several else ''}{shown}"

    def fingerprint(self) -> str:
        """Messages, schema and the subject."""
        return fingerprint_of(self.kind, self.head, self.answer_schema, self.subject.identity)


def _described(labels: LabelsArgument, where: str) -> dict[str, str]:
    names = list(_names(labels, where))
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise PlanError(f"{where}: a label is a text that is not empty, not {name!r:.80}.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise PlanError(f"{where}: labels stand once, and {', '.join(map(repr, twice))} stands twice or more.")
    if len(names) < 2:
        given = f"only {names[0]!r}" if names else "no label"
        raise PlanError(f"{where}: give at least two labels to choose from, not {given}: ['bug', 'billing', 'other'].")
    descriptions = labels if isinstance(labels, Mapping) else dict.fromkeys(names, "")
    for name in names:
        if not isinstance(descriptions[name], str):
            raise PlanError(f"{where}: the description of {name!r} is a text, not {descriptions[name]!r:.80}.")
    return {name: " ".join(descriptions[name].split()) for name in names}


def _names(labels: Any, where: str) -> Iterable[Any]:
    if isinstance(labels, type) and issubclass(labels, Enum):
        values = [member.value for member in labels]
        return values if all(isinstance(value, str) for value in values) else [member.name for member in labels]
    if isinstance(labels, (Mapping, list, tuple)):
        return labels
    raise PlanError(
        f"{where}: labels is a list, a dict of label to description, or an Enum, not {labels!r:.80}. "
        "Write for example ['bug', 'billing', 'how-to']."
    )


def _exact(output: Any, answer: ChoiceAnswer) -> Any:
    """An example's label as the model should write it; an ``Enum`` member stands for its label."""
    if answer.several:
        if not isinstance(output, (list, tuple, set, frozenset)):
            raise ValueError("with multi=True the answer is a list of labels")
        return [value for value in answer.values if value in {_one(item, answer) for item in output}]
    return _one(output, answer)


def _one(item: Any, answer: ChoiceAnswer) -> str:
    names = (item.value, item.name) if isinstance(item, Enum) else (item,)
    for name in names:
        if name in answer.values:
            return str(name)
    raise ValueError(f"{item!r} is no label; labels are {', '.join(map(repr, answer.values))}")
