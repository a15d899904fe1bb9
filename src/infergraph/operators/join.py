"""Asks of each pair of rows, one of each frame, whether a sentence about the two is true.

The pairs are rows of one frame, which a plain step makes; what becomes of the answers is for plain steps behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import polars as pl

from infergraph.errors import PlanError, TemplateError, did_you_mean
from infergraph.models.model import AnswerSchema, Choices, Message, Request, Response
from infergraph.models.verdict import Verdict
from infergraph.operators.examples import ExamplePairs, worked_examples
from infergraph.operators.operator import Example
from infergraph.operators.outputs import check_name
from infergraph.operators.prompt import Head, fingerprint_of, head_of
from infergraph.operators.subject import typed
from infergraph.text.compiled_templates import CompiledTemplate, compile_template
from infergraph.text.sides import SIDES, SidedTemplate, one_name_a_column
from infergraph.validation.answers import ChoiceAnswer

TASK = "Is this statement true?"
JSON_NOTE = 'Answer with JSON: {"answer": true} or {"answer": false}'
ANSWER = ChoiceAnswer("answer", ("true", "false"), boolean=True)
SCHEMA = ANSWER.answer_schema


@dataclass(frozen=True, kw_only=True)
class JoinOperator:
    """A sentence that is true or false of each pair.

    Without ``into`` its values say which pairs stay; with it they are a Boolean column, null for an undecided pair.
    """

    kind: ClassVar[str] = "join"
    judges_by: ClassVar[tuple[str, ...]] = ()
    template: CompiledTemplate
    columns_read: tuple[str, ...]
    """The pairs' columns that the sentence names, in the order of first use."""
    types: str
    """The types of the columns that the sentence reads."""
    into: str | None
    asked: str | None
    """A Boolean column that says which rows are pairs; ``None``: all are."""
    examples: tuple[Example, ...]
    head: Head = field(repr=False)

    @classmethod
    def build(
        cls,
        left: pl.Schema,
        right: Mapping[str, tuple[str, pl.DataType]],
        predicate: str,
        *,
        into: str | None = None,
        asked: str | None = None,
        examples: ExamplePairs = (),
    ) -> JoinOperator:
        """Check everything against both frames' columns.

        Args:
            left: The left frame's columns, which the pairs have under their own names.
            right: The right frame's columns: the name in the pairs and the type of each.
            predicate: A sentence over ``{{ left.x }}`` and ``{{ right.y }}``.
            into: See the class.
            asked: A Boolean column of the pairs; a row where it is false is none and asks nothing.
            examples: Pairs of a dict such as ``{"left": {"x": ...}, "right": {"y": ...}}`` and a bool.

        Raises:
            TemplateError: The sentence is no valid template, names what is no column, or only one side.
            PlanError: An example does not fit.

        Example:
            >>> left, right = pl.Schema({"job": pl.String()}), {"skill": ("skill", pl.String())}
            >>> JoinOperator.build(left, right, "{{ left.job }} needs {{ right.skill }}").describe()
            "'<left_job> needs <right_skill>'"
        """
        where = f".semantic.{cls.kind}"
        if not isinstance(predicate, str):
            raise PlanError(
                f"{where}: a predicate is a sentence such as '{{{{ left.x }}}} is about {{{{ right.y }}}}', not "
                f"{predicate!r:.80}. For a join by equal keys write .join(...) without .semantic."
            )
        sides = {"left": left, "right": pl.Schema({name: dtype for name, (_, dtype) in right.items()})}
        sided = one_name_a_column(predicate, sides, where=where)
        named = {name: column if side == "left" else right[column][0] for name, (side, column) in sided.origins.items()}
        if into is not None:
            check_name(into, left, where)
        try:
            template = compile_template(sided.source, sided.columns, where=where, named=named, sets_aside=True)
        except TemplateError as error:
            raise type(error)(sided.as_written(str(error))) from error
        worked = worked_examples(
            _by_variable(examples, sided, where),
            where=where,
            columns=sided.columns,
            reads=template.variables,
            content=compile_template(sided.source, sided.columns, where=where).content,
            answer_text=lambda output, _: _text(output),
            judge=lambda response, _: ANSWER.judge(response),
        )
        head = head_of((TASK, template.instruction, JSON_NOTE), template.tags[0], worked)
        return cls(
            template=template, columns_read=tuple(dict.fromkeys(named[name] for name in template.variables)),
            types=typed(template.variables, sided.columns), into=into, asked=asked, examples=worked, head=head,
        )  # fmt: skip

    @property
    def reads(self) -> tuple[str, ...]:
        """The pairs' columns that the sentence names."""
        return self.columns_read

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of the content's blocks."""
        return self.template.tags

    @property
    def writes(self) -> pl.Schema:
        """The column of the answers, or nothing."""
        return pl.Schema({} if self.into is None else {self.into: pl.Boolean()})

    @property
    def content(self) -> pl.Expr:
        """The template's content; null where the row is no pair."""
        content = self.template.content
        return content if self.asked is None else pl.when(pl.col(self.asked)).then(content)

    @property
    def answer_schema(self) -> AnswerSchema:
        """An object with one boolean."""
        return SCHEMA

    def request(self, content: str) -> Request:
        """The sentence, examples, then the content."""
        question = self.template.instruction
        choices = Choices(ANSWER.field, ANSWER.values, ("", ""), question, content, boolean=True, pair=True)
        return Request(messages=(*self.head, Message("user", content)), schema=SCHEMA, choices=choices)

    def judge(self, response: Response, row: Mapping[str, Any] | None = None) -> Verdict:
        """True or false."""
        return ANSWER.judge(response)

    def columns(self, values: Sequence[Any | None]) -> list[pl.Series]:
        """The answers; none where the frame keeps or drops pairs by the values themselves."""
        return [] if self.into is None else [pl.Series(self.into, values, dtype=pl.Boolean)]

    def describe(self) -> str:
        """The sentence."""
        sentence = " ".join(self.template.instruction.split())
        return repr(sentence if len(sentence) <= 80 else sentence[:77] + "...")

    def fingerprint(self) -> str:
        """Messages, the template, the columns that it reads and their types."""
        return fingerprint_of(
            self.kind, self.head, SCHEMA, self.template.source, self.types, " ".join(self.columns_read)
        )


def _by_variable(examples: ExamplePairs, sided: SidedTemplate, where: str) -> ExamplePairs:
    """The examples with one name a column; what is no list of pairs is left to whoever checks it."""
    if isinstance(examples, (str, Mapping)) or not isinstance(examples, Sequence):
        return examples
    return [
        (_one_example(pair[0], sided, f"{where}: examples[{at}]"), pair[1])
        if isinstance(pair, (tuple, list)) and len(pair) == 2
        else pair
        for at, pair in enumerate(examples)
    ]


def _one_example(given: Any, sided: SidedTemplate, here: str) -> dict[str, Any]:
    names = {origin: name for name, origin in sided.origins.items()}
    form = {side: {column: "..." for one, column in names if one == side} for side in SIDES}
    if not isinstance(given, Mapping) or not set(given) <= set(SIDES):
        raise PlanError(f"{here}: its input is a dict of both sides' columns, such as {form}, not {given!r:.80}.")
    row: dict[str, Any] = {}
    for side, columns in given.items():
        if not isinstance(columns, Mapping):
            raise PlanError(f"{here}: {side!r} is a dict of columns, such as {form[side]}, not {columns!r:.80}.")
        for column, value in columns.items():
            if (side, column) not in names:
                read = [one for owner, one in names if owner == side]
                raise PlanError(
                    f"{here}: its {side!r} has {column!r}, which the sentence does not read. "
                    f"{did_you_mean(str(column), read)}"
                )
            row[names[side, column]] = value
    return row


def _text(answer: Any) -> str:
    if not isinstance(answer, bool):
        raise ValueError("the answer is True or False")
    return ANSWER.answer_text(answer)
