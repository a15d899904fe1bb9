"""Answers in levels: what is too long for one request is packed into several, and their answers are put together.

The first level is asked about the content, each further one about the answers of the level before, until one request
holds them all. Each level has at most half as many requests as answers went in, because an answer of which two would
not fit into a request is sent back as too long: so there is an end, and nothing is ever cut off to get there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from infergraph.errors import PlanError
from infergraph.models.model import AnswerSchema, Message, Request, Response
from infergraph.models.verdict import Accepted, Repair, Verdict
from infergraph.operators.packing import LEAST_TOKENS, NoRoom, Part, Unit, blocks_of, pack, whole
from infergraph.operators.prompt import Head
from infergraph.operators.rounds import Question, Room, Rounds
from infergraph.text.splitting import Count

Judge = Callable[[Response], Verdict]
TOKENS_A_MESSAGE = 4
"""What providers add around a message, at most."""
_WORDS_A_TOKEN = 0.6
_MOST_TOKENS_A_BYTE = 2
_SLACK = 4
"""A text may have a token or two more than its parts."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """How one level asks.

    Args:
        head: The messages shared by all rows, where one request holds everything.
        part_head: The same for a request that holds a part.
        before: What stands in front of the parts' blocks: what all of them share.
        around: Tag of a block around them; ``""``: there is none.
        schema: The answers' schema.
        judge: What a response means.
        names: What it is that is packed, for errors: ``rows``.
        words: Words that the prompt asks an answer to keep to, where one request holds everything; ``None``: it names
            none.
        part_words: The same for a request that holds a part.
    """

    head: Head
    part_head: Head
    before: str
    around: str
    schema: AnswerSchema | None
    judge: Judge
    names: str
    words: int | None = None
    part_words: int | None = None

    def request(self, part: Part, *, alone: bool) -> Request:
        """The request that holds these pieces."""
        head, words = (self.head, self.words) if alone else (self.part_head, self.part_words)
        return Request(messages=(*head, Message("user", self.content(part))), schema=self.schema, words=words)

    def content(self, part: Part) -> str:
        """A request's own part."""
        blocks = blocks_of(part)
        around = f"<{self.around}>\n{blocks}\n</{self.around}>" if self.around else blocks
        return f"{self.before}\n{around}" if self.before else around

    def tokens_left(self, room: Room) -> int:
        """Tokens that a request for a part has for blocks; none, or fewer, where what all parts share leaves none."""
        texts = self._shared_texts(alone=False)
        left = room.tokens - sum(room.count(texts)) - TOKENS_A_MESSAGE * (len(texts) + 1)
        if left < LEAST_TOKENS:
            raise PlanError(
                f"The instruction takes {room.tokens - left} of the {room.tokens} tokens that a request to this model "
                f"may have, which leaves no room for the {self.names}. Shorten the prompt, its examples or the schema, "
                "or name a model that takes longer requests with model=."
            )
        return left - sum(room.count([self.content(())])) - _SLACK

    def most_tokens(self, room: Room) -> int:
        """Tokens that a block may have so that two fit into a request."""
        most = (self.tokens_left(room) - 2) // 2
        if most < LEAST_TOKENS and not self.before:
            raise PlanError(
                f"A request to this model may have {room.tokens} tokens, which leaves no room for two answers of the "
                "level below. Shorten the prompt or combine=, or name a model that takes longer requests with model=."
            )
        return most

    def parts(self, units: Sequence[Unit], room: Room) -> list[Part]:
        """The units in as few parts as they need; one part that is too long where what they share leaves no room."""
        everything = whole(units)
        texts = [*self._shared_texts(alone=True), self.content(everything)]
        if _MOST_TOKENS_A_BYTE * sum(len(text.encode()) for text in texts) <= room.tokens:
            return [everything]  # most rows are short, and counting costs more than all else here
        if sum(room.count(texts)) + TOKENS_A_MESSAGE * len(texts) <= room.tokens:
            return [everything]
        try:
            return pack(units, self.tokens_left(room), room.count)
        except NoRoom:
            # The values that all rows share are too long: the model says so, and the row is a reject like any other.
            return [everything]

    def _shared_texts(self, *, alone: bool) -> list[str]:
        head = self.head if alone else self.part_head
        return [message.content for message in head] + ([] if self.schema is None else [self.schema.text])


@dataclass(frozen=True)
class ShortEnough:
    """The judge of an answer that goes on to the next level: two of them fit into a request.

    Args:
        judge: What a response means.
        unit: The block of an answer in the next level.
        most: Tokens that the block may have.
        count: Tokens of each text.
    """

    judge: Judge
    unit: Callable[[Any], Unit]
    most: int
    count: Count = field(compare=False, repr=False)

    def __call__(self, response: Response) -> Verdict:
        """As the judge says; an answer that is too long goes back."""
        verdict = self.judge(response)
        if not isinstance(verdict, Accepted):
            return verdict
        tokens = self.tokens(verdict.value)
        if tokens <= self.most:
            return verdict
        return Repair(
            f"The answer is too long to be put together with others: it has {tokens} tokens, and {self.most} fit. Say "
            f"the same in at most {words_in(self.most)} words."
        )

    def tokens(self, value: Any) -> int:
        """Tokens of an answer's block in the next level."""
        return self.count([blocks_of(whole([self.unit(value)]))])[0]


def assumed_answer(question: Question, tokens: int) -> str:
    """A stand-in for an answer of about so many tokens, in an estimate; one that goes on is no longer than allowed."""
    text, judge = "x" * (4 * max(1, tokens)), question.judge
    while isinstance(judge, ShortEnough) and len(text) > 1 and judge.tokens(text) > judge.most:
        text = text[: len(text) * 3 // 4]
    return text


def words_in(tokens: int) -> int:
    """Words that so many tokens hold for sure, more or less."""
    return max(1, int(tokens * _WORDS_A_TOKEN))


def in_levels(first: Level, upper: Level, units: Sequence[Unit], unit: Callable[[Any], Unit], room: Room) -> Rounds:
    """Asks about the units in as many levels as they need.

    Args:
        first: The first level.
        upper: All further levels.
        units: What the first level is about, at least one.
        unit: The block of an answer in the level above, by the answer's value.
        room: What fits into a request.

    Returns:
        The last level's one answer; ``None`` where any question of any level was rejected: an answer over the rest
        would be silent about what is missing.

    Raises:
        PlanError: The instruction leaves no room.
    """
    number, level = 1, first
    while True:
        parts = level.parts(units, room)
        most = upper.most_tokens(room) if len(parts) > 1 else 0
        # Without room for two answers, or where redaction made answers longer than they were, there would be no end:
        # the model is asked once about everything, and says itself that it is too long.
        if most < LEAST_TOKENS or (number > 1 and len(parts) >= len(units)):
            parts = [whole(units)]
        alone = len(parts) == 1
        judge = level.judge if alone else ShortEnough(level.judge, unit, most, room.count)
        replies = yield [
            Question(
                request=level.request(part, alone=alone),
                judge=judge,
                part=f"level {number}, part {place} of {len(parts)}",
            )
            for place, part in enumerate(parts, 1)
        ]
        if any(reply.rejected is not None for reply in replies):
            return None
        if alone:
            return replies[0].value
        units = [unit(reply.value) for reply in replies]
        number, level = number + 1, upper
