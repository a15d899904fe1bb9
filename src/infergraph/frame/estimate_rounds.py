"""The look of an operator that asks in rounds into the store: what is answered, what is asked, what may follow.

Its rows are driven through their rounds with the store's answers. Where one is missing, the request is counted, and an
assumed answer takes its place: what is asked from there on is only likely. Those rows are driven once more with answers
that leave more to be asked, for the upper end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import polars as pl

from infergraph.frame import plan as plans
from infergraph.frame.doubt_marks import FOG, UNKNOWN
from infergraph.frame.estimate_look_up import CONTENT, LookUp, Walking
from infergraph.frame.lockstep import Lockstep
from infergraph.frame.room import room_of
from infergraph.frame.rounds_again import stored_reply
from infergraph.frame.row_ids import DOUBT
from infergraph.models.model import Request
from infergraph.operators.rounds import UNKNOWN_FILE, Question, Reply, RoundsOperator
from infergraph.store.rows import StoredAnswer

_STAND_IN = "\ufffc\ufffc"
"""Stands for a text that is not known: two of the character that stands for an object in a text."""


@dataclass(slots=True)
class _Row:
    """One row on its way through its rounds."""

    low: float
    """Times that it comes for sure, 0 or 1."""
    expected: float
    known: bool
    """Its content is known."""
    missing: bool = False
    """An answer of it is missing: what follows is only likely."""
    name: bytes = b""
    """The same for rows that ask the same."""
    later: list[Request] = field(default_factory=list)
    """Requests that may follow."""
    most: list[Request] = field(default_factory=list)
    """Those of the drive that leaves most to be asked."""

    @property
    def sure(self) -> bool:
        """Whether its questions are those of a run."""
        return self.known and not self.missing


class RoundsLookUp(LookUp):
    """One operator's look into the store for one batch.

    Args:
        walk: The walk that it is part of.
        step: The operator's node.
        operator: The operator.
        times: How many rows each row may stand for.
        usual_times: How many it probably stands for.
    """

    def __init__(
        self, walk: Walking, step: plans.OperatorStep, operator: RoundsOperator, times: int, usual_times: float
    ) -> None:
        super().__init__(walk, step, times, usual_times)
        self._operator = operator
        self._rates = walk.rates[id(step)]
        self._room = room_of(walk.session, self._rates.model_name)

    def rows(self, batch: pl.DataFrame) -> tuple[list[Any], list[bool]]:
        """Each row's value, ``None`` without one, and whether an answer of it is still to come."""
        contents, doubts = batch[CONTENT].to_list(), batch[DOUBT].to_list()
        self.rejected = [False] * batch.height
        rows: dict[int, _Row] = {}
        for place, (content, doubt) in enumerate(zip(contents, doubts, strict=True)):
            unknown = self._unknown(doubt)
            low, expected = self._chance(doubt)
            if content is None and not unknown:
                self._add("rows", low, expected)
                continue
            rows[place] = _Row(low, expected, not unknown)
            # Whether a row with an unknown ``where`` is asked at all is open, also where the answers are there.
            rows[place].missing = self._feeds.where and bool(doubt & UNKNOWN)
        values = self._drive(rows, self._contents(contents, rows, batch.schema[CONTENT], most=False), self._usual)
        for row in rows.values():
            if not row.name:
                # Nothing is to be asked; a run counts it as a row that needs no answer.
                self._add("rows", row.low, row.expected)
        again = {place: row for place, row in rows.items() if not row.sure}
        if self._count is not None and again:
            self._drive(again, self._contents(contents, again, batch.schema[CONTENT], most=True), self._most)
            for row in again.values():
                self._count_later(row)
        missing = [place in rows and not rows[place].sure for place in range(batch.height)]
        return [None if is_open else value for value, is_open in zip(values, missing, strict=True)], missing

    def _contents(
        self, contents: Sequence[Any], rows: Mapping[int, _Row], dtype: pl.DataType, *, most: bool
    ) -> list[Any]:
        """The contents of these rows, what is not known of them filled in."""
        text = "x" * self._rates.content_characters(most=most)
        made: list[Any] = [None] * len(contents)
        for place, row in rows.items():
            made[place] = contents[place] if row.known else filled(contents[place], dtype, text, stand_in=_STAND_IN)
        return made

    def _drive(
        self, rows: Mapping[int, _Row], contents: Sequence[Any], reply: Callable[..., Reply]
    ) -> Sequence[Any | None]:
        """Go through the rounds of these rows; gives the rows' values."""
        lockstep = Lockstep(self._operator, contents, self._room, name=self._step.name)
        lockstep.begin()
        while lockstep.questions:
            asked = list(_each(lockstep.questions))
            hashes = [self._hasher.hash(question.request) for _, question in asked]
            stored = self._stored(hashes)
            replies: dict[int, list[Reply]] = {}
            missing: list[_Row] = []
            for (place, question), key in zip(asked, hashes, strict=True):
                row = rows[place]
                if not row.name:
                    row.name = _named(lockstep.questions[place], self._hasher.hash)
                replies.setdefault(place, []).append(reply(row, question, key, stored.get(key), missing))
            for row in missing:
                row.missing = True
            lockstep.reply(replies)
        return lockstep.values

    def _stored(self, hashes: list[bytes]) -> Mapping[bytes, StoredAnswer]:
        options = self._walk.options
        if options.refresh:
            return {}
        return self._walk.session.store.answers(hashes, max_age_s=options.max_age_s)

    def _answer(self, question: Question, answer: StoredAnswer | None) -> Reply | None:
        if answer is not None and answer.state == "rejected" and self._walk.options.retry_rejects:
            return None
        return stored_reply(question, answer, self._redaction)

    def _usual(
        self, row: _Row, question: Question, key: bytes, answer: StoredAnswer | None, missing: list[_Row]
    ) -> Reply:
        """The reply as a run would get it, or the usual one in its place; it is counted."""
        low = row.low if row.sure else 0.0
        known = self._answer(question, answer)
        if known is not None:
            self._add("rows", low, row.expected)
            if known.rejected is None:
                self._add("store_hits", low, row.expected)
            return known
        if row.sure:
            self._add("rows", low, row.expected)
            again = answer is not None and answer.state == "rejected"
            self._ask(key, question.request, low, row.expected, self._retried_by if again else None)
            missing.append(row)
        else:
            row.later.append(question.request)
        return Reply(value=self._operator.assumed(question, self._rates.usual_answer, most=False))

    def _most(
        self, row: _Row, question: Question, key: bytes, answer: StoredAnswer | None, missing: list[_Row]
    ) -> Reply:
        """The reply that leaves most to be asked, where the store has none; only what is asked is noted."""
        known = self._answer(question, answer)
        if known is not None:
            return known
        if not row.known or key not in self._walk.asked:
            row.most.append(question.request)
        return Reply(value=self._operator.assumed(question, self._rates.long_answer, most=True))

    def _count_later(self, row: _Row) -> None:
        """Count what may follow of a row; rows that are known to ask the same share it."""
        assert self._count is not None
        most = row.most if len(row.most) >= len(row.later) else row.later
        usual = row.expected * self._usual_times
        for times, requests in (((usual, 0), row.later), ((0, self._times), most)):
            for _ in requests:
                self._count.add("rows", 0, *times)
        name = (id(self._step), row.name)
        if (row.known and name in self._walk.driven) or not most:
            return
        self._walk.driven.add(name)
        self._count.assumed_rounds = True
        for request in row.later:
            self._count.ask(request, 0, row.expected if row.known else usual, 0)
        for request in most:
            self._count.ask(request, 0, 0, 1 if row.known else self._times)


def with_content(step: plans.OperatorStep, rows: pl.LazyFrame, content: pl.Expr) -> pl.LazyFrame:
    """The possible rows with an operator's content, a stand-in wherever it reads an answer that is not known.

    What an operator makes of nulls (it may leave them out of a list) it is not to make of what is to come.

    Args:
        step: The operator's node.
        rows: Its input, with the doubts.
        content: The row's part of its requests.
    """
    before = step.inputs[0]
    read = [name for name in step.operator.reads if name in before.answers]
    if step.rounds is None or not read:
        return rows.with_columns(content.alias(CONTENT))
    unknown = (pl.col(DOUBT) & (FOG | UNKNOWN)) > 0
    own = {name: f"__own_{place}" for place, name in enumerate(read)}
    filling = [
        pl.when(unknown).then(_all_filled(pl.col(name), before.schema[name])).otherwise(pl.col(name)) for name in read
    ]
    made = rows.with_columns(pl.col(name).alias(kept) for name, kept in own.items())
    made = made.with_columns(one.alias(name) for one, name in zip(filling, read, strict=True))
    made = made.with_columns(content.alias(CONTENT))
    return made.with_columns(pl.col(kept).alias(name) for name, kept in own.items()).drop(own.values())


def _all_filled(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    def fill(values: pl.Series) -> pl.Series:
        return pl.Series(values.name, [filled(value, dtype, _STAND_IN) for value in values.to_list()], dtype=dtype)

    return column.map_batches(fill, return_dtype=dtype, is_elementwise=True)


def filled(value: Any, dtype: pl.DataType, text: str, *, stand_in: str = "") -> Any:
    """Content with a text wherever one is not known; of a list that is not known, one.

    In a list each is another text: of equal ones an operator may ask nothing.

    Args:
        value: Content, or a part of it.
        dtype: Its type.
        text: Is put in.
        stand_in: What stands for a text that is not known, beside null; empty: nothing does.

    Example:
        >>> filled([{"body": None}, {"body": "b"}], pl.List(pl.Struct({"body": pl.String})), "?")
        [{'body': '?0'}, {'body': 'b'}]
    """
    match dtype:
        case pl.String():
            if value is None:
                return text
            return value.replace(stand_in, text) if stand_in else value
        case pl.List():
            inner = _typed(dtype.inner)
            return [
                filled(one, inner, f"{text}{place}", stand_in=stand_in) for place, one in enumerate(value or [None])
            ]
        case pl.Struct():
            of = value or {}
            return {
                one.name: filled(of.get(one.name), _typed(one.dtype), text, stand_in=stand_in) for one in dtype.fields
            }
        case pl.Binary():
            return UNKNOWN_FILE if value is None else value
        case _:
            return value


def _typed(dtype: Any) -> pl.DataType:
    return dtype if isinstance(dtype, pl.DataType) else dtype()


def _each(questions: Mapping[int, Sequence[Question]]) -> Iterator[tuple[int, Question]]:
    for place, several in questions.items():
        for question in several:
            yield place, question


def _named(questions: Sequence[Question], hash_of: Callable[[Request], bytes]) -> bytes:
    digest = blake2b(digest_size=16)
    for question in questions:
        digest.update(hash_of(question.request))
    return digest.digest()
