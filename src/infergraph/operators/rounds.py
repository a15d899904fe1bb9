"""An operator whose answer for one row takes several requests, some of which depend on the answers of others.

Such an operator is a generator: it yields the questions of a round, is handed their replies in the same order, and ends
by returning the row's value. It does no I/O: who sends, stores, counts and limits is the executor, as for any operator.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import polars as pl

from infergraph.models.model import RejectReason, Request, Response
from infergraph.models.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request of a round."""

    request: Request
    judge: Callable[[Response], Verdict]
    """What a response to it means."""
    part: str
    """Where it belongs, as a reader of traces and rejects is told: ``"level 1, part 3 of 12"``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """How one question ended. A question that is pending (the budget ended) ends the row; no generator sees it."""

    value: Any = None
    """The judged answer; ``None`` when rejected."""
    rejected: RejectReason | None = None
    message: str = ""
    """Why it was rejected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What fits into one request of the model that is asked."""

    tokens: int
    """Input tokens of a request, the instruction included; room for the answer is already taken off."""
    count: Callable[[Sequence[str]], Sequence[int]]
    """Tokens of each text; an upper estimate where the model's tokenizer is not public."""


Rounds = Generator[Sequence[Question], Sequence[Reply], Any]
"""Yields the questions of a round (at least one), gets their replies, returns the row's value (``None``: it has none).

A question that is rejected is listed in the rejects under the row, whatever the generator makes of its reply.
"""


class RoundsOperator(Protocol):
    """An operator that asks any number of requests a row, round after round; see ``RowOperator`` for the rest."""

    kind: ClassVar[str]

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the input columns that the requests depend on, in the order of first use."""
        ...

    @property
    def writes(self) -> pl.Schema:
        """Columns that the operator adds, with their types."""
        ...

    @property
    def content(self) -> pl.Expr:
        """Row-wise expression: the row's part of the requests (text, or a list of texts or structs of texts)."""
        ...

    def rounds(self, content: Any, room: Room) -> Rounds:
        """The questions about one row's content, which is never null; the same content asks the same."""
        ...

    def columns(self, values: Sequence[Any | None]) -> list[pl.Series]:
        """The columns of ``writes`` for as many rows as values; ``None`` becomes null in each column."""
        ...

    def describe(self) -> str:
        """One line for ``explain``."""
        ...

    def fingerprint(self) -> str:
        """A text that is the same exactly when the operator asks the same."""
        ...
