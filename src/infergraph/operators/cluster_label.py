"""Names groups of texts: a short title for what the most typical texts of a group have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from infergraph.models.model import AnswerSchema, Message, Request, Response
from infergraph.models.verdict import Accepted, Verdict
from infergraph.operators.examples import ExamplePairs, worked_examples
from infergraph.operators.operator import Example
from infergraph.operators.outputs import check_name
from infergraph.operators.prompt import Head, fingerprint_of, head_of
from infergraph.operators.subject import ColumnArgument, Subject
from infergraph.validation.schema import AnswerModel

TASK = (
    "Each line of {subject} is a text of one group, the most typical first. Say in two to five words what they have in "
    "common: a title that tells this group from others."
)
JSON_NOTE = 'Answer with JSON: {"label": "..."}'
SHOWN_CHARACTERS = 400
"""So much of each text is shown."""


class _Name(BaseModel):
    model_config = ConfigDict(str_strip_whitespace=True)

    label: str = Field(min_length=1, max_length=80)


ANSWER = AnswerModel.of(_Name)


@dataclass(frozen=True, kw_only=True)
class ClusterLabelOperator:
    """A title for each group; rows of one group have the same content, and so share one request."""

    kind: ClassVar[str] = "cluster_label"
    judges_by: ClassVar[tuple[str, ...]] = ()
    subject: Subject
    into: str
    groups: int | None
    """At most so many groups come; ``None``: that is not known."""
    examples: tuple[Example, ...]
    head: Head = field(repr=False)

    @classmethod
    def build(
        cls,
        columns: pl.Schema,
        column: ColumnArgument,
        *,
        into: str = "label",
        groups: int | None = None,
        examples: ExamplePairs = (),
    ) -> ClusterLabelOperator:
        """Check everything against the input's columns.

        Args:
            columns: The input's columns and types.
            column: What has a group's texts, one a line; null where there is nothing to name.
            into: The new column.
            groups: At most so many groups come; ``None``: that is not known.
            examples: Pairs of a group's texts and its title.

        Raises:
            PlanError: A column, the name, or an example does not fit; the message says what to write.

        Example:
            >>> ClusterLabelOperator.build(pl.Schema({"texts": pl.String}), "texts", into="topic").describe()
            'texts -> topic'
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
            answer_text=lambda title, row: ANSWER.answer_text({"label": title}, row),
            judge=ANSWER.judge,
        )
        worked = tuple(Example(content=_shortened(one.content), answer=one.answer) for one in worked)
        head = head_of((TASK.format(subject=subject.spoken), JSON_NOTE), subject.tags[0], worked)
        return cls(subject=subject, into=into, groups=groups, examples=worked, head=head)

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
        """The titles' column."""
        return pl.Schema({self.into: pl.String()})

    @property
    def content(self) -> pl.Expr:
        """The delimited texts."""
        return self.subject.content

    @property
    def answer_schema(self) -> AnswerSchema:
        """An object with the title."""
        return ANSWER.answer_schema

    def request(self, content: str) -> Request:
        """The question, examples, then the texts, of long ones the beginning.

        They are shortened here, where personal data is replaced already: half an address would not be found.
        """
        return Request(messages=(*self.head, Message("user", _shortened(content))), schema=ANSWER.answer_schema)

    def judge(self, response: Response, row: Mapping[str, Any] | None = None) -> Verdict:
        """A title of 1 to 80 characters."""
        verdict = ANSWER.judge(response)
        return Accepted(verdict.value["label"]) if isinstance(verdict, Accepted) else verdict

    def columns(self, values: Sequence[Any | None]) -> list[pl.Series]:
        """The titles' column."""
        return [pl.Series(self.into, values, dtype=pl.String)]

    def describe(self) -> str:
        """The subject and the new column."""
        return f"{self.subject.label} -> {self.into}"

    def fingerprint(self) -> str:
        """Messages and the subject."""
        return fingerprint_of(self.kind, self.head, ANSWER.answer_schema, self.subject.identity)


def requests_at_most(rows: float, clustered: float, groups: int | None) -> tuple[float, float]:
    """How many groups are to be expected behind so many rows, and how many there are at most.

    Without a number of groups, twice the root of the rows is expected, as texts of many subjects gave when measured
    (``docs/clustering.md``); a group has two rows at least.

    Args:
        rows: Rows that need their group's name.
        clustered: Rows that were put into groups: these, and those that later steps leave out.
        groups: ``k``.

    Example:
        >>> requests_at_most(100, 100, 8), requests_at_most(100, 100, None), requests_at_most(3, 100, None)
        ((8.0, 8.0), (20.0, 50.0), (3.0, 3.0))
    """
    most = float(min(rows, clustered // 2 if groups is None else groups))
    return min(most, 2.0 * clustered**0.5) if groups is None else most, most


def _shortened(content: str) -> str:
    return "\n".join(
        line if len(line) <= SHOWN_CHARACTERS else line[: SHOWN_CHARACTERS - 3] + "..." for line in content.split("\n")
    )
