"""What every operator is: parameters, the columns it reads and writes, its prompt, and its answers' values.

An operator does no I/O and nothing asynchronous: it says which requests a row needs and what a
response means. The executor (``frame/run.py``) sends, stores and puts columns together; ``explain``,
``estimate`` and ``prompts`` read the same object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import polars as pl

from infergraph.models.model import AnswerSchema, Request, Response
from infergraph.models.verdict import Verdict


class Operator(Protocol):
    """What all operators have, whether they ask one request a row or several.

    Implementations are frozen dataclasses, one file each, built by a function that gets the input's schema
    and raises ``PlanError`` with the next thing to type (see ``operators/extract.py``).
    """

    kind: ClassVar[str]
    """The frame method's name: ``extract``, ``classify``..."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the input columns that the request depends on, in the order of first use."""
        ...

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of the delimited blocks in the content, whose delimiters are no data; none where it has no blocks."""
        ...

    @property
    def writes(self) -> pl.Schema:
        """Columns that the operator adds, with their types (empty for ``filter``)."""
        ...

    @property
    def content(self) -> pl.Expr:
        """Row-wise expression: the row's part of the requests; null where the row needs no call.

        Two rows with the same content need the same requests.
        """
        ...

    @property
    def answer_schema(self) -> AnswerSchema | None:
        """The JSON schema of every answer; ``None``: free text or an embedding."""
        ...

    def columns(self, values: Sequence[Any | None]) -> list[pl.Series]:
        """The columns of ``writes`` for as many rows as values; ``None`` becomes null in each column."""
        ...

    def describe(self) -> str:
        """One line for ``explain``: the parameters that a reader wants to see."""
        ...

    def fingerprint(self) -> str:
        """A text that is the same exactly when the operator asks the same: goes into the plan's fingerprint."""
        ...


class RowOperator(Operator, Protocol):
    """An operator that asks at most one request a row; its content is text."""

    @property
    def judges_by(self) -> tuple[str, ...]:
        """Those of ``reads`` that ``judge`` looks at beside the response; empty: the response alone says all."""
        ...

    def request(self, content: str) -> Request:
        """The request for one rendered content; everything shared by all rows comes first in it."""
        ...

    def judge(self, response: Response, row: Mapping[str, Any] | None = None) -> Verdict:
        """What a response means: a pure function. A response cut off or refused is handed in as well.

        Args:
            response: What came back.
            row: The row's values of ``judges_by``, by column.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One worked example shown to the model: an input's rendered content and the right answer as JSON text."""

    content: str
    answer: str = field(repr=False)
