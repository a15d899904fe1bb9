"""Operators that ask in rounds, run as any operator: order, nothing lost, rejects, budgets, replay, traces."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest

import infergraph as ig
from infergraph.frame import plan as plans
from infergraph.frame.frame import SemanticFrame
from infergraph.models.model import AnswerSchema, CallFailed, Message, Request, Response
from infergraph.models.scripted import script
from infergraph.models.verdict import Verdict
from infergraph.operators.rounds import Question, Reply, Room, Rounds
from infergraph.validation.answers import judge_text

HEAD = "Join the two texts."


@dataclass(frozen=True, kw_only=True)
class Halve:
    """Each pair of texts is a question; a text without a partner goes on as it is; a rejected pair ends the row."""

    kind: ClassVar[str] = "halve"
    column: str = "texts"
    into: str = "joined"
    fails_at: str = ""
    """A text that the generator fails over."""

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def tags(self) -> tuple[str, ...]:
        return ()

    @property
    def writes(self) -> pl.Schema:
        return pl.Schema({self.into: pl.String()})

    @property
    def content(self) -> pl.Expr:
        return pl.col(self.column)

    @property
    def answer_schema(self) -> AnswerSchema | None:
        return None

    def rounds(self, content: Any, room: Room) -> Rounds:
        texts: list[str] = list(content)
        level = 0
        while len(texts) > 1:
            if self.fails_at and self.fails_at in texts:
                raise ValueError(self.fails_at)
            level += 1
            pairs = list(zip(texts[::2], texts[1::2], strict=False))
            replies: Sequence[Reply] = yield [
                self._question(pair, f"level {level}, part {number} of {len(pairs)}")
                for number, pair in enumerate(pairs, 1)
            ]
            if any(reply.rejected is not None for reply in replies):
                return None
            texts = [reply.value for reply in replies] + texts[2 * len(pairs) :]
        return texts[0] if texts else None

    def _question(self, pair: tuple[str, str], part: str) -> Question:
        messages = (Message("system", HEAD), Message("user", "+".join(pair)))
        return Question(request=Request(messages=messages), judge=self._judge, part=part)

    @staticmethod
    def _judge(response: Response) -> Verdict:
        return judge_text(response)

    def assumed(self, question: Question, tokens: int, *, most: bool) -> Any:
        return "x" * (4 * tokens)

    def sample(self) -> Request:
        return self._question(("x", "x"), "").request

    def columns(self, values: Sequence[Any | None]) -> list[pl.Series]:
        return [pl.Series(self.into, values, dtype=pl.String)]

    def describe(self) -> str:
        return f"{self.column} -> {self.into}"

    def fingerprint(self) -> str:
        return HEAD


def halved(
    frame: ig.SemanticFrame, *, model: str | None = None, where: pl.Expr | None = None, operator: Halve | None = None
) -> ig.SemanticFrame:
    """The frame with its lists of texts joined."""
    session = frame.session
    taken = len(plans.operator_steps(frame.node))
    name = "halve" if not taken else f"halve_{taken + 1}"
    node = plans.operator_step(
        operator or Halve(), name=name, model=session.model_name(model), where=where, keeps_undecided=False,
        before=frame.node,
    )  # fmt: skip
    return SemanticFrame(session, node)


def joins(request: Request) -> str:
    """What a model that does its work answers."""
    return request.messages[-1].content.replace("+", "")


LISTS = [["a", "b", "c", "d"], None, ["e"], [], ["f", "g", "h"], ["a", "b"], ["i", "j", "k", "l", "m"]]
JOINED = ["abcd", None, "e", None, "fgh", "ab", "ijklm"]
QUESTIONS = 3 + 2 + 1 + 4


def framed(session: ig.Session, lists: list[list[str] | None] = LISTS) -> ig.SemanticFrame:  # type: ignore[assignment]
    data = pl.DataFrame({"id": range(len(lists)), "texts": lists}, schema_overrides={"texts": pl.List(pl.String)})
    return session.frame(data, name="lists", key="id")


def refusing(*bad: str) -> Any:
    def answer(request: Request) -> Any:
        if request.messages[-1].content in bad:
            raise CallFailed("no", outcome="permanent", reason="refused")
        return joins(request)

    return answer


def adds_up(usage: ig.Usage) -> bool:
    parts = (usage.calls, usage.store_hits, usage.shared, usage.rejected_before, usage.nulls, usage.pending)
    return usage.rows == sum(parts)


def test_rows_in_order_and_every_question_asked_once(session: ig.Session) -> None:
    with script("fast", joins) as asked:
        result = halved(framed(session)).run()
        assert result.frame["joined"].to_list() == JOINED
        usage = result.usage
        # "a+b" of two rows is one request; a null, and rows that need no question, count as null.
        assert len(asked.requests) == usage.calls == QUESTIONS - 1
        assert (usage.shared, usage.nulls, usage.rows) == (1, 3, QUESTIONS + 3)
        assert adds_up(usage)
        assert result.rejects.is_empty()
        again = halved(framed(session)).run()
        assert len(asked.requests) == QUESTIONS - 1
    assert again.frame.equals(result.frame)
    assert (again.usage.calls, again.usage.store_hits) == (0, QUESTIONS)
    assert adds_up(again.usage)
    assert not [one for one in threading.enumerate() if one.name.startswith("infergraph-rounds")]
