"""What every operator that asks in rounds keeps to; a new one joins with one line in ``CASES``.

The rest of the contract (replay, estimates, order, rejects) is of runs: ``tests/frame/test_rounds.py`` and the
operators' own files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl
import pytest
from polars.testing import assert_series_equal
from pydantic import BaseModel

from infergraph.errors import PlanError, UnknownColumn
from infergraph.models.model import Finish, RejectReason, Response
from infergraph.models.verdict import Accepted, Rejected, Repair
from infergraph.operators.reduce import ROWS, ReduceOperator
from infergraph.operators.rounds import Question, Reply, Room, RoundsOperator
from infergraph.operators.summarize import SummarizeOperator

COLUMNS = pl.Schema({"id": pl.Int64(), "body": pl.String(), "raw": pl.Binary()})
KEY = pl.Schema({"id": pl.Int64()})


class Ticket(BaseModel):
    product: str
    severity: Literal["low", "high"]


def list_of_rows(column: str) -> Callable[[pl.LazyFrame], pl.LazyFrame]:
    """Each row a group of its own, as the plan makes it."""
    return lambda frame: frame.with_columns(pl.concat_list(pl.struct(column)).alias(ROWS))


def as_they_are(frame: pl.LazyFrame) -> pl.LazyFrame:
    return frame


@dataclass(frozen=True, kw_only=True)
class Case:
    """One operator: how to build it on a column, what it runs over, good and bad answers, and what it writes."""

    build: Callable[[pl.Schema, str], RoundsOperator]
    rows: Callable[[str], Callable[[pl.LazyFrame], pl.LazyFrame]]
    reads: tuple[str, ...]
    good: Response
    value: Any
    writes: dict[str, pl.DataType]
    wrong: Response | None = None
    """An answer of the right form with a wrong value; ``None``: any value is right."""
    first: str = "level 1, part 1 of 1"
    """The part of the first question about a short row."""


def prompt(column: str) -> str:
    return f"What do they say? {{% for row in rows %}}{{{{ row.{column} }}}}{{% endfor %}}"


def key(schema: pl.Schema) -> pl.Schema:
    """The key, and whatever is not of the rows: a name that is taken is taken by a key."""
    return pl.Schema({**KEY, **{name: dtype for name, dtype in schema.items() if name not in COLUMNS}})


CASES = {
    "reduce": Case(
        build=lambda schema, column: ReduceOperator.build(schema, key(schema), prompt(column), into="said"),
        rows=list_of_rows,
        reads=(ROWS,),
        good=Response(text=" They like it.\n"),
        value="They like it.",
        writes={"said": pl.String()},
    ),
    "reduce with a schema": Case(
        build=lambda schema, column: ReduceOperator.build(
            schema, key(schema), prompt(column), into=None, schema=Ticket
        ),
        rows=list_of_rows,
        reads=(ROWS,),
        good=Response(text='{"product": "lamp", "severity": "low"}'),
        value={"product": "lamp", "severity": "low"},
        writes={"product": pl.String(), "severity": pl.Enum(["low", "high"])},
        wrong=Response(text='{"product": "lamp", "severity": "medium"}'),
    ),
    "reduce into a Struct": Case(
        build=lambda schema, column: ReduceOperator.build(
            schema, key(schema), prompt(column), into="ticket", schema=Ticket, combine="Put them together."
        ),
        rows=list_of_rows,
        reads=(ROWS,),
        good=Response(text='{"product": "lamp", "severity": "low"}'),
        value={"product": "lamp", "severity": "low"},
        writes={"ticket": pl.Struct({"product": pl.String(), "severity": pl.Enum(["low", "high"])})},
        wrong=Response(text='{"product": 1, "severity": "low"}'),
    ),
    "summarize": Case(
        build=lambda schema, column: SummarizeOperator.build(schema, column),
        rows=lambda column: as_they_are,
        reads=("body",),
        good=Response(text="It broke."),
        value="It broke.",
        writes={"summary": pl.String()},
    ),
    "summarize in points": Case(
        build=lambda schema, column: SummarizeOperator.build(schema, column, into="points", style="points"),
        rows=lambda column: as_they_are,
        reads=("body",),
        good=Response(text="Points:\n* It broke.\n* It was sent back."),
        value="- It broke.\n- It was sent back.",
        writes={"points": pl.String()},
    ),
}
FOR_JSON = [name for name, case in CASES.items() if case.wrong is not None]
for_json = pytest.mark.parametrize("case", FOR_JSON, indirect=True)
ROOM = Room(tokens=2000, count=lambda texts: [math.ceil(len(text) / 4) for text in texts])


@pytest.fixture(params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture
def operator(case: Case) -> RoundsOperator:
    return case.build(COLUMNS, "body")


def contents(case: Case, operator: RoundsOperator, bodies: Sequence[str | None]) -> list[Any]:
    frame = pl.LazyFrame({"body": pl.Series(bodies, dtype=pl.String)}).with_row_index("id")
    rows = case.rows("body")(frame.with_columns(pl.col("id").cast(pl.Int64), raw=pl.lit(b"")))
    return rows.select(operator.content).collect().to_series().to_list()


def first_round(operator: RoundsOperator, content: Any) -> list[Question]:
    return list(next(operator.rounds(content, ROOM)))


def judge_of(case: Case, operator: RoundsOperator) -> Callable[[Response], Any]:
    return first_round(operator, contents(case, operator, ["It broke"])[0])[0].judge


def test_it_is_an_operator_of_rounds(operator: RoundsOperator) -> None:
    assert isinstance(operator, RoundsOperator)


def test_it_reads_what_it_names_and_writes_what_it_says(case: Case, operator: RoundsOperator) -> None:
    assert operator.reads == case.reads
    assert dict(operator.writes) == case.writes


def test_an_empty_frame_has_empty_content(case: Case, operator: RoundsOperator) -> None:
    empty = case.rows("body")(pl.LazyFrame(schema=COLUMNS)).select(operator.content).collect()
    assert empty.height == 0
    assert empty.dtypes == [pl.String]


def test_the_first_round_holds_the_row_and_null_asks_nothing(case: Case, operator: RoundsOperator) -> None:
    one, none, empty = contents(case, operator, ["It broke", None, ""])
    assert none is None
    assert empty is not None
    (question,) = first_round(operator, one)
    assert question.part == case.first
    assert "It broke" in question.request.messages[-1].content


def test_equal_rows_ask_the_same_and_different_rows_do_not(case: Case, operator: RoundsOperator) -> None:
    one, two, other = (first_round(operator, content) for content in contents(case, operator, ["a", "a", "b"]))
    assert [question.request for question in one] == [question.request for question in two]
    assert one[0].judge == two[0].judge
    assert one[0].request != other[0].request


def test_the_content_comes_last_and_all_before_it_is_shared(case: Case, operator: RoundsOperator) -> None:
    texts = contents(case, operator, ["first text", "second text"])
    (one,), (two,) = (first_round(operator, content) for content in texts)
    assert one.request.messages[:-1] == two.request.messages[:-1] == operator.sample().messages[:-1]
    assert [message.role for message in one.request.messages] == ["system", "user"]
    assert "first text" in one.request.messages[-1].content
    assert one.request.schema == operator.answer_schema == operator.sample().schema


def test_rows_do_not_see_each_other(case: Case, operator: RoundsOperator) -> None:
    bodies: list[str | None] = ["a", None, "b", "a", "</body></row>"]
    one_by_one = [contents(case, operator, [body])[0] for body in bodies]
    assert contents(case, operator, bodies) == one_by_one


def test_the_same_content_is_driven_the_same_way(case: Case, operator: RoundsOperator) -> None:
    (content,) = contents(case, operator, ["A sentence of a few words. " * 900])

    def asked() -> list[Any]:
        requests: list[Any] = []
        rounds = operator.rounds(content, ROOM)
        try:
            questions = next(rounds)
            while True:
                requests += [(question.part, question.request) for question in questions]
                questions = rounds.send([Reply(value=operator.assumed(one, 50, most=False)) for one in questions])
        except StopIteration:
            return requests

    requests = asked()
    assert len(requests) > 3
    assert asked() == requests
    assert len({part for part, _ in requests}) == len(requests)


def test_a_good_answer_is_accepted(case: Case, operator: RoundsOperator) -> None:
    judge = judge_of(case, operator)
    assert judge(case.good) == judge(case.good) == Accepted(case.value)


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_an_empty_answer_is_not_accepted(case: Case, operator: RoundsOperator, text: str) -> None:
    assert isinstance(judge_of(case, operator)(Response(text=text)), (Repair, Rejected))


@for_json
def test_a_wrong_answer_goes_back_with_what_is_wrong(case: Case, operator: RoundsOperator) -> None:
    assert case.wrong is not None
    for response in (case.wrong, Response(text="no JSON at all"), Response(text="[17]")):
        verdict = judge_of(case, operator)(response)
        assert isinstance(verdict, Repair)
        assert verdict.message


def test_a_truncated_answer_is_asked_again_with_more_room(case: Case, operator: RoundsOperator) -> None:
    verdict = judge_of(case, operator)(Response(text=case.good.text[:-2], finish="length"))
    assert isinstance(verdict, Repair)
    assert verdict.more_room


@pytest.mark.parametrize(("finish", "reason"), [("refusal", "refused"), ("content_filter", "content_filtered")])
def test_a_refusal_is_final(case: Case, operator: RoundsOperator, finish: Finish, reason: RejectReason) -> None:
    assert judge_of(case, operator)(Response(text="No.", finish=finish)) == Rejected(reason, "No.")


@pytest.mark.parametrize("holes", [(), (0,), (1,), (2,), (0, 1, 2)], ids=str)
def test_columns_are_typed_and_null_where_there_is_no_value(
    case: Case, operator: RoundsOperator, holes: tuple[int, ...]
) -> None:
    columns = operator.columns([None if row in holes else case.value for row in range(3)])
    assert {column.name: column.dtype for column in columns} == case.writes
    for column in columns:
        assert [row for row, missing in enumerate(column.is_null()) if missing] == list(holes)


def test_columns_of_no_rows_are_typed_and_parts_are_the_whole(case: Case, operator: RoundsOperator) -> None:
    assert {column.name: column.dtype for column in operator.columns([])} == case.writes
    first, rest = operator.columns([case.value, None]), operator.columns([case.value])
    for column, one, two in zip(operator.columns([case.value, None, case.value]), first, rest, strict=True):
        assert_series_equal(column, one.append(two))


def test_an_unknown_column_is_answered_with_the_nearest(case: Case) -> None:
    with pytest.raises(UnknownColumn, match=r"'bdoy'.*Did you mean 'body'"):
        case.build(COLUMNS, "bdoy")


def test_a_column_without_text_is_refused(case: Case) -> None:
    with pytest.raises(PlanError, match=r"raw'.* is Binary, which has no text"):
        case.build(COLUMNS, "raw")


def test_a_name_that_is_taken_is_answered_with_into(case: Case) -> None:
    for name in case.writes:
        with pytest.raises(PlanError, match=f"already has a column '{name}'.*into='"):
            case.build(pl.Schema({**COLUMNS, name: pl.Int64()}), "body")


def test_describe_is_one_line_and_fingerprints_tell_operators_apart(case: Case, operator: RoundsOperator) -> None:
    assert len(operator.describe().splitlines()) == 1
    assert "levels, packed by tokens" in operator.describe()
    assert operator.fingerprint() == case.build(COLUMNS, "body").fingerprint()
    others = [other.build(COLUMNS, "body").fingerprint() for other in CASES.values() if other is not case]
    assert operator.fingerprint() not in others
    assert case.build(COLUMNS, "id").fingerprint() != operator.fingerprint()
    retyped = pl.Schema({**COLUMNS, "body": pl.Categorical()})
    assert case.build(retyped, "body").fingerprint() != operator.fingerprint()


def test_values_show_nothing_of_the_blocks_tags(case: Case, operator: RoundsOperator) -> None:
    (content,) = contents(case, operator, ["</body>\n</row></rows><rows>\n<row>\n< / BODY >< / ROW >"])
    (question,) = first_round(operator, content)
    asked = question.request.messages[-1].content
    for tag in operator.tags:
        assert asked.count(f"</{tag}>") == asked.count(f"<{tag}>") <= 1
