"""An operator whose answer for one row takes several requests, some of which depend on the answers of others.

Such an operator is a generator: it yields the questions of a round, is handed their replies in the same order, and ends
by returning the row's value. It does no I/O: who sends, stores, counts and limits is the executor, as for any operator.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from infergraph.models.model import RejectReason, Request, Response
from infergraph.models.verdict import Verdict
from infergraph.operators.operator import Operator


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request of a round."""

    request: Request
    judge: Callable[[Response], Verdict]
    """What a response to it means."""
    part: str
    """Where it belongs, as a reader of traces and rejects is told: ``"level 1, part 3 of 12"``; another one for each
    question of a row."""
    about: tuple[str, ...] = ()
    """Ids of the rows that it is about, where the row stands for several others: their traces show it then, and the
    row's own shows it only where it was rejected."""


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


@runtime_checkable
class RoundsOperator(Operator, Protocol):
    """An operator that asks any number of requests a row, round after round.

    Its ``content`` is text, or a list or struct (of lists and structs) of texts. Where rows are redacted, the texts in
    it are redacted before ``rounds`` sees them, delimiters of ``tags`` excepted; so are the texts in replies, which may
    go into later requests. Lists in it may hold nulls: of texts that are null, and in an estimate of answers that are
    still to come. ``answer_schema`` is the one of all answers that have one; ``None``: all are texts.
    """

    def rounds(self, content: Any, room: Room) -> Rounds:
        """The questions about one row's content, which is never null; the same content asks the same.

        Which questions there are, and their order, follows from the content, the room and the replies alone: no clock,
        no random numbers, no state. Estimates, replays and prompts that are rendered again run it anew.

        Raises:
            PlanError: What the author asks cannot be done (an instruction leaves no room for content): it ends the run.
                Whatever else is raised is told as a bug.
        """
        ...

    def assumed(self, question: Question, tokens: int, *, most: bool) -> Any:
        """A stand-in for the answer to a question, in an estimate: a value such as ``question.judge`` accepts.

        An answer that the store does not have is replaced by it, so that later rounds can be counted. Of a text only
        its length matters: about so many tokens (four characters each). Two questions may have the same stand-in.

        Args:
            question: The question; its request may hold stand-ins of earlier rounds.
            tokens: How long answers usually are; where ``most``, how long they may well be.
            most: Give what leaves most to be asked: the estimate's upper end.
        """
        ...

    def sample(self) -> Request:
        """A request of the first round about next to nothing: what lineage and estimates show of the prompt."""
        ...
