"""Ranks rows by a sentence: a model is shown two rows at a time and says which of them fits it better.

The rows stand in one list, which is the operator's one row; who is compared with whom is decided in ``selection.py``.
Which of two rows is shown first is decided by a hash of both, so that a model that prefers one place favours nobody,
and the same two texts ask the same request wherever they stand. Rows that say the same are not compared: they keep
their order. A row whose comparisons are rejected comes behind those that can be compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, ClassVar

import polars as pl

from infergraph.errors import PlanError
from infergraph.models.model import AnswerSchema, Choices, Message, Request, Response
from infergraph.models.verdict import Verdict
from infergraph.operators.examples import ExamplePairs, worked_examples
from infergraph.operators.operator import Example
from infergraph.operators.prompt import Head, fingerprint_of, head_of
from infergraph.operators.rounds import Question, Reply, Room, Rounds
from infergraph.operators.selection import Pair, best
from infergraph.operators.subject import typed
from infergraph.text.compiled_templates import CompiledTemplate, compile_template
from infergraph.text.delimiters import Data, Escape, tag_for
from infergraph.validation.answers import ChoiceAnswer

RESERVED = "__top_k"
CONTENTS = f"{RESERVED}_contents"
TEXT, ID = "text", "id"
"""Fields of the list's items: a row's content, and its row id as bytes."""
ORDER = f"{RESERVED}_order"
RANK = "rank"
TASK = "Of which of the two candidates, <{a}> or <{b}>, is this statement truer?"
JSON_NOTE = 'Answer with JSON: {"better": "a"} or {"better": "b"}'
ANSWER = ChoiceAnswer("better", ("a", "b"))
SCHEMA = ANSWER.answer_schema
_FEW, _MANY = 40, 100
_MOST_TOLD = 8
"""Of rows that say the same, so many have their comparisons in their traces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison(Question):
    """Which of two."""

    among: int
    """Texts that are to be ranked."""


@dataclass(frozen=True, kw_only=True)
class TopKOperator:
    """The best rows by a sentence, of all rows that stand in one list."""

    kind: ClassVar[str] = "top_k"
    template: CompiledTemplate
    types: str
    """The types of the columns that the sentence reads."""
    k: int
    sides: tuple[str, str]
    """Names of the two candidates' blocks."""
    examples: tuple[Example, ...]
    head: Head = field(repr=False)

    @classmethod
    def build(cls, columns: pl.Schema, criterion: str, *, k: int, examples: ExamplePairs = ()) -> TopKOperator:
        """Check everything against the input's columns.

        Args:
            columns: The input's columns and types.
            criterion: A sentence, as a template over the columns; the better it fits a row, the higher the rank.
            k: Rows wanted, 1 or more.
            examples: Pairs of two inputs, each a dict of the sentence's variables (a text when there is one), and
                ``"a"`` where the first fits better or ``"b"`` where the second does.

        Raises:
            TemplateError: The sentence is no valid template or names what is no column.
            PlanError: There is a column ``rank``, ``k`` is no number of rows, or an example does not fit.

        Example:
            >>> columns = pl.Schema({"body": pl.String})
            >>> TopKOperator.build(columns, "{{ body }} is the most urgent", k=3).describe()
            "the 3 best by '<body> is the most urgent'"
        """
        where = f".semantic.{cls.kind}"
        if not isinstance(criterion, str):
            raise PlanError(
                f"{where}: a criterion is a sentence such as '{{{{ body }}}} is urgent', not {criterion!r:.80}. To "
                "rank by a column write .sort(...).head(...) without .semantic."
            )
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise PlanError(f"{where}: k={k!r}: write how many rows you want, a whole number, 1 or more.")
        if RANK in columns:
            raise PlanError(
                f"{where}: the input already has a column {RANK!r}, and the rows' ranks become a column of that name. "
                f"Drop or rename the old one first: .rename({{{RANK!r}: 'old_rank'}})."
            )
        for name in columns:
            if name.startswith(RESERVED):
                raise PlanError(
                    f"{where}: the column names that begin with {RESERVED!r} are reserved; rename {name!r}."
                )
        template = compile_template(criterion, columns, where=where)
        a = tag_for("candidate_a", template.tags)
        sides = (a, tag_for("candidate_b", template.tags))
        worked = _examples(examples, template, columns, sides, where)
        task = TASK.format(a=sides[0], b=sides[1])
        head = head_of((task, template.instruction, JSON_NOTE), template.tags[0], worked)
        types = typed(template.variables, columns)
        return cls(template=template, types=types, k=k, sides=sides, examples=worked, head=head)

    @property
    def reads(self) -> tuple[str, ...]:
        """The list of all rows."""
        return (CONTENTS,)

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of the blocks in each row's content."""
        return self.template.tags

    @property
    def writes(self) -> pl.Schema:
        """The places of the best rows in the list, best first."""
        return pl.Schema({ORDER: pl.List(pl.UInt32())})

    @property
    def content(self) -> pl.Expr:
        """The list of the rows: each one's text and id."""
        return pl.col(CONTENTS)

    @property
    def answer_schema(self) -> AnswerSchema:
        """An object that names one of the two."""
        return SCHEMA

    def rounds(self, content: Sequence[Mapping[str, Any]], room: Room) -> Rounds:
        """The comparisons; gives the places of the best rows, best first, and ``None`` where all were rejected."""
        places: dict[str, list[int]] = {}
        for place, row in enumerate(content):
            places.setdefault(row[TEXT], []).append(place)
        texts = [self._shielded(text) for text in places]
        equal = list(places.values())
        ids = [_ids(content[place] for place in same[:_MOST_TOLD]) for same in equal]
        marks = [_mark(text) for text in texts]
        asked = best([len(where) for where in equal], self.k, marks)
        answers: list[int] | None = None
        number, decided = 0, False
        while True:
            try:
                pairs = next(asked) if answers is None else asked.send(answers)
            except StopIteration as done:
                if number and not decided:
                    return None  # Every comparison was rejected: there is no order that anybody could tell.
                return [place for item in done.value for place in equal[item]][: self.k]
            number += 1
            turned = [_turned(marks, pair) for pair in pairs]
            replies = yield [
                Comparison(
                    request=self.request(texts[one], texts[other]),
                    judge=self.judge,
                    part=f"round {number}: row {equal[one][0] + 1} or row {equal[other][0] + 1}",
                    about=(*ids[one], *ids[other]),
                    among=len(texts),
                )
                for one, other in turned
            ]
            answers = [
                _told(reply, straight=pair == shown) for reply, pair, shown in zip(replies, pairs, turned, strict=True)
            ]
            decided = decided or any(answers)

    def request(self, a: str, b: str) -> Request:
        """The sentence, examples, then both contents, in which nothing looks like the tags around them."""
        content = _both(a, b, self.sides)
        choices = Choices(ANSWER.field, ANSWER.values, ("", ""), self.template.instruction, content, candidates=(a, b))
        return Request(messages=(*self.head, Message("user", content)), schema=SCHEMA, choices=choices)

    def sample(self) -> Request:
        """A comparison of next to nothing."""
        return self.request("x", "y")

    def judge(self, response: Response) -> Verdict:
        """``"a"`` or ``"b"``."""
        return ANSWER.judge(response)

    def assumed(self, question: Question, tokens: int, *, most: bool) -> str:
        """An answer of somebody who has one order in mind, any; with ``most`` of one who contradicts himself.

        Pivots are the texts with the least marks: who mostly lets them lose leaves most to be asked.
        """
        assert isinstance(question, Comparison)
        assert question.request.choices is not None
        a, b = question.request.choices.candidates
        if not most:
            return "a" if _mark(a, "assumed") > _mark(b, "assumed") else "b"
        higher, lower = ("a", "b") if _mark(a) > _mark(b) else ("b", "a")
        # Of few rows any number of comparisons is possible; of many, hardly any judge is so perverse.
        seldom = 5 if question.among > _MANY else 12
        wins = question.among > _FEW and _mark(a + b, "assumed")[0] % seldom == 0
        return lower if wins else higher

    def _shielded(self, text: str) -> str:
        return Escape(self.sides)([Data(text)])

    def columns(self, values: Sequence[Any | None]) -> list[pl.Series]:
        """The places."""
        return [pl.Series(ORDER, values, dtype=pl.List(pl.UInt32))]

    def describe(self) -> str:
        """The number of rows and the sentence."""
        sentence = " ".join(self.template.instruction.split())
        return f"the {self.k} best by {sentence if len(sentence) <= 80 else sentence[:77] + '...'!r}"

    def fingerprint(self) -> str:
        """Messages, the template, its columns' types, and how many."""
        return fingerprint_of(self.kind, self.head, SCHEMA, self.template.source, self.types, str(self.k))


def _ids(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return [row[ID].decode() for row in rows if row[ID] is not None]


def _turned(marks: Sequence[bytes], pair: Pair) -> Pair:
    """The pair in the order in which it is shown, which does not depend on the order of the rows."""
    one, other = pair if marks[pair[0]] < marks[pair[1]] else (pair[1], pair[0])
    return (one, other) if blake2b(marks[one] + marks[other], digest_size=1).digest()[0] & 1 else (other, one)


def _told(reply: Reply, *, straight: bool) -> int:
    if reply.rejected is not None:
        return 0
    return 1 if (reply.value == "a") == straight else -1


def _mark(text: str, purpose: str = "") -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, person=purpose.encode()).digest()


def _both(a: str, b: str, sides: tuple[str, str]) -> str:
    return "\n".join(f"<{tag}>\n{text}\n</{tag}>" for tag, text in zip(sides, (a, b), strict=True))


def _examples(
    pairs: ExamplePairs, template: CompiledTemplate, columns: pl.Schema, sides: tuple[str, str], where: str
) -> tuple[Example, ...]:
    if isinstance(pairs, (str, Mapping)) or not isinstance(pairs, Sequence):
        raise PlanError(f"{where}: examples is a list of pairs ((one, other), 'a' or 'b'), not {pairs!r:.80}.")
    escape, made = Escape(sides), []
    for index, pair in enumerate(pairs):
        here = f"{where}: examples[{index}]"
        if not (isinstance(pair, (tuple, list)) and len(pair) == 2):
            raise PlanError(f"{here} is a pair ((one, other), 'a' or 'b'), not {pair!r:.80}.")
        inputs, better = pair
        if not (isinstance(inputs, (tuple, list)) and len(inputs) == 2):
            raise PlanError(f"{here}: its input is a pair (one, other) of two rows' inputs, not {inputs!r:.80}.")
        worked = worked_examples(
            [(one, better) for one in inputs],
            where=here,
            columns=columns,
            reads=template.variables,
            content=template.content,
            answer_text=lambda output, _: _text(output),
            judge=lambda response, _: ANSWER.judge(response),
        )
        a, b = (escape([Data(one.content)]) for one in worked)
        made.append(Example(content=_both(a, b, sides), answer=worked[0].answer))
    return tuple(made)


def _text(answer: Any) -> str:
    if answer not in ANSWER.values:
        raise ValueError("the answer is 'a', where the first fits better, or 'b'")
    return ANSWER.answer_text(answer)
