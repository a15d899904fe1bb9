"""Sums up each text, however long it is: one that does not fit into a request is summed up in levels."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

import polars as pl

from infergraph.errors import PlanError
from infergraph.models.model import AnswerSchema, Message, Request, Response
from infergraph.models.verdict import Accepted, Repair, Verdict
from infergraph.operators.examples import ExamplePairs, worked_examples
from infergraph.operators.levels import Level, assumed_answer, in_levels
from infergraph.operators.operator import Example
from infergraph.operators.outputs import check_name
from infergraph.operators.packing import Unit
from infergraph.operators.prompt import Head, fingerprint_of, head_of
from infergraph.operators.rounds import Question, Room, Rounds
from infergraph.operators.subject import ColumnArgument, Subject
from infergraph.text.delimiters import Data, Escape
from infergraph.validation.answers import judge_text

Style = Literal["paragraph", "points"]

TASK = "Sum up {subject} {form}."
FORMS: dict[Style, str] = {
    "paragraph": "in one paragraph of at most {words} words",
    "points": "in points: one line for each, which begins with '- ', and at most {words} words in all",
}
NOTE = "Use only what the content says. Answer with the summary alone."
SOME_TEXT = "Keep every fact, name and number: the summary is put together with those of the other parts of the text."
COMBINE = (
    "Each <summary> sums up one part of a text; together they are about the whole, in order. Make them into one "
    "summary of the whole text {form}."
)
SOME_SUMMARIES = "There are more summaries than these: put these together; the results are put together afterwards."
PART_WORDS = 200
"""Words that the summary of a part may have at least."""
_POINT = re.compile(r"^\s*(?:[-*\u2022\u2013]|\d+[.)])\s+")
_SUMMARY = "summary"


@dataclass(frozen=True, kw_only=True)
class SummarizeOperator:
    """A summary of one or several columns."""

    kind: ClassVar[str] = "summarize"
    subject: Subject
    into: str
    style: Style
    max_words: int
    examples: tuple[Example, ...]
    head: Head = field(repr=False)
    part_head: Head = field(repr=False)
    upper_head: Head = field(repr=False)
    upper_part_head: Head = field(repr=False)

    @classmethod
    def build(
        cls,
        columns: pl.Schema,
        column: ColumnArgument,
        *,
        into: str = "summary",
        style: Style = "paragraph",
        max_words: int = 120,
        examples: ExamplePairs = (),
    ) -> SummarizeOperator:
        """Check everything against the input's columns.

        Args:
            columns: The input's columns and types.
            column: A name, an expression, or a list of them.
            into: The new String column.
            style: ``"paragraph"``, or ``"points"``: lines that begin with ``- ``.
            max_words: Words that the model is asked to keep to, 1 or more.
            examples: Pairs of an input and its summary.

        Raises:
            PlanError: A column, the style, the number, a name or an example does not fit; the message says what to
            write.

        Example:
            >>> operator = SummarizeOperator.build(pl.Schema({"body": pl.String}), "body", style="points", max_words=40)
            >>> operator.describe(), dict(operator.writes)
            ('body -> summary (points, at most 40 words), long texts in levels, packed by tokens', {'summary': String})
        """
        where = f".semantic.{cls.kind}"
        if style not in get_args(Style):
            raise PlanError(f"{where}: style={style!r}: write 'paragraph' or 'points'.")
        if isinstance(max_words, bool) or not isinstance(max_words, int) or max_words < 1:
            raise PlanError(f"{where}: max_words={max_words!r}: give a number of words, 1 or more, such as 120.")
        subject = Subject.of(column, columns, where=where)
        check_name(into, columns, where)
        judge = _judge_of(style)
        worked = worked_examples(
            examples,
            where=where,
            columns=columns,
            reads=subject.reads,
            content=subject.content,
            answer_text=lambda output, _: _text(output),
            judge=lambda response, _: judge(response),
        )
        form = FORMS[style].format(words=max_words)
        part_form = FORMS[style].format(words=max(max_words, PART_WORDS))
        task = TASK.format(subject=subject.spoken, form=form)
        part_task = TASK.format(subject=subject.spoken, form=part_form)
        tag = subject.tags[0]
        return cls(
            subject=subject,
            into=into,
            style=style,
            max_words=max_words,
            examples=worked,
            head=head_of((task, NOTE), tag, worked),
            part_head=head_of((part_task, SOME_TEXT, NOTE), tag, worked),
            upper_head=head_of((COMBINE.format(form=form), NOTE), _SUMMARY, ()),
            upper_part_head=head_of((COMBINE.format(form=part_form), SOME_SUMMARIES, NOTE), _SUMMARY, ()),
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
        """One text column."""
        return pl.Schema({self.into: pl.String()})

    @property
    def answer_schema(self) -> AnswerSchema | None:
        """None: an answer is text."""
        return None

    @property
    def content(self) -> pl.Expr:
        """The delimited values."""
        return self.subject.content

    def rounds(self, content: str, room: Room) -> Rounds:
        """The first level about the text, the others about the summaries of the level below; of no text, no text."""
        # No value holds one of the blocks' tags: they are escaped.
        names = "|".join(map(re.escape, self.tags))
        found = re.findall(rf"^<({names})>\n(.*?)\n</\1>$", content, re.DOTALL | re.MULTILINE)
        # In an estimate of a text that is not there yet, another one stands for it.
        units = [Unit(tag=tag, text=text) for tag, text in found] or [Unit(tag=self.tags[0], text=content)]
        if not any(unit.text.strip() for unit in units):
            return ""
        first = self._level(self.head, self.part_head, "text")
        upper = self._level(self.upper_head, self.upper_part_head, "summaries")
        return (yield from in_levels(first, upper, units, self.unit, room))

    def unit(self, value: str) -> Unit:
        """The block of a summary in the level above."""
        return Unit(tag=_SUMMARY, text=Escape([_SUMMARY])([Data(value)]))

    def assumed(self, question: Question, tokens: int, *, most: bool) -> Any:
        """A text of that length."""
        return assumed_answer(question, tokens)

    def sample(self) -> Request:
        """The first level's request about a text that says next to nothing."""
        tag = self.tags[0]
        return Request(messages=(*self.head, Message("user", f"<{tag}>\nx\n</{tag}>")))

    def judge(self, response: Response) -> Verdict:
        """Any text; of points, one a line."""
        return _judge_of(self.style)(response)

    def columns(self, values: Sequence[Any | None]) -> list[pl.Series]:
        """One text column."""
        return [pl.Series(self.into, values, dtype=pl.String)]

    def describe(self) -> str:
        """The subject, the new column, and how it is asked."""
        form = f"{self.style}, at most {self.max_words} words"
        return f"{self.subject.label} -> {self.into} ({form}), long texts in levels, packed by tokens"

    def fingerprint(self) -> str:
        """Messages of all levels and the subject."""
        heads = (self.head, self.part_head, self.upper_head, self.upper_part_head)
        messages = tuple(message for head in heads for message in head)
        return fingerprint_of(self.kind, messages, None, self.style, self.subject.identity)

    def _level(self, head: Head, part_head: Head, names: str) -> Level:
        return Level(
            head=head, part_head=part_head, before="", around="", schema=None, judge=self.judge, names=names,
            words=self.max_words, part_words=max(self.max_words, PART_WORDS),
        )  # fmt: skip


def _judge_of(style: Style) -> Callable[[Response], Verdict]:
    return judge_text if style == "paragraph" else _judge_points


def _judge_points(response: Response) -> Verdict:
    verdict = judge_text(response)
    if not isinstance(verdict, Accepted):
        return verdict
    points = points_of(verdict.value)
    return (
        Accepted(points) if points else Repair("The answer has no point. Write one line for each: '- ' and the point.")
    )


def points_of(text: str) -> str:
    r"""A model's list as lines that begin with ``- ``: other signs and numbers are replaced, a heading is left out.

    Example:
        >>> points_of("Here are the points:\n\n1. The lamp broke.\n2) It was sent\n   back.")
        '- The lamp broke.\n- It was sent back.'
        >>> points_of("The lamp broke.\nIt was sent back.")
        '- The lamp broke.\n- It was sent back.'
    """
    lines = [line for line in text.splitlines() if line.strip()]
    listed = any(_POINT.match(line) for line in lines)
    points: list[str] = []
    for line in lines:
        said = _POINT.sub("", line).strip()
        if not said or (not points and said.endswith(":") and not _POINT.match(line) and len(lines) > 1):
            continue
        if listed and points and not _POINT.match(line):
            points[-1] += f" {said}"
        else:
            points.append(said)
    return "\n".join(f"- {point}" for point in points)


def _text(answer: Any) -> str:
    if not isinstance(answer, str):
        raise ValueError("a summary is a text")
    return answer
