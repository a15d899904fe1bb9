"""Answers in levels: every row once a level, no request too long, an end always, and nothing made of missing parts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from infergraph.errors import PlanError
from infergraph.models.model import Response
from infergraph.models.verdict import Accepted, Repair
from infergraph.operators.levels import ShortEnough, assumed_answer
from infergraph.operators.reduce import ROWS, ReduceOperator
from infergraph.operators.rounds import Question, Reply, Room, RoundsOperator
from infergraph.operators.summarize import SummarizeOperator

COLUMNS = pl.Schema({"product": pl.String(), "id": pl.Int64(), "body": pl.String()})
BY = pl.Schema({"product": pl.String()})
PROMPT = "Faults of {{ product }}: {% for row in rows %}[{{ row.id }}] {{ row.body }}{% endfor %}"


def count(texts: Sequence[str]) -> list[int]:
    return [math.ceil(len(text) / 4) for text in texts]


def tokens(question: Question) -> int:
    schema = question.request.schema
    texts = [message.content for message in question.request.messages] + ([schema.text] if schema else [])
    return sum(count(texts))


def own(question: Question) -> str:
    return question.request.messages[-1].content


@dataclass
class Driven:
    """What came of driving one row through its rounds."""

    value: Any = None
    rounds: list[list[Question]] = field(default_factory=list)


def drive(operator: RoundsOperator, content: str, room: Room, answer: Callable[[Question], Reply]) -> Driven:
    driven, rounds = Driven(), operator.rounds(content, room)
    try:
        questions = next(rounds)
        while True:
            driven.rounds.append(list(questions))
            questions = rounds.send([answer(question) for question in questions])
    except StopIteration as ended:
        driven.value = ended.value
    return driven


def judged(question: Question, text: str) -> Reply:
    verdict = question.judge(Response(text=text))
    assert isinstance(verdict, Accepted)
    return Reply(value=verdict.value)


def short(question: Question) -> Reply:
    return judged(question, f"answer to {question.part}")


def group(rows: Sequence[str | None], product: str | None = "lamp") -> pl.DataFrame:
    items = [{"id": number, "body": body} for number, body in enumerate(rows)]
    dtype = pl.List(pl.Struct({"id": pl.Int64(), "body": pl.String()}))
    return pl.DataFrame({"product": [product], ROWS: pl.Series([items], dtype=dtype)})


def reducing(prompt: str = PROMPT, **options: Any) -> ReduceOperator:
    return ReduceOperator.build(COLUMNS, BY, prompt, **{"into": "faults", **options})


def content_of(operator: Any, frame: pl.DataFrame) -> str:
    text = frame.select(operator.content).item()
    assert isinstance(text, str)
    return text


REPEATED = st.tuples(st.sampled_from(["word. ", "a", "<row>", "so it goes\n\n", "</rows> "]), st.integers(0, 300))
BODIES = st.lists(REPEATED.map(lambda one: one[0] * one[1]), min_size=1, max_size=25)


@settings(max_examples=60, deadline=None)
@example(bodies=["word. " * length for length in range(0, 600, 40)], room=400, length=100)
@given(bodies=BODIES, room=st.integers(330, 900), length=st.integers(1, 400))
def test_every_row_is_asked_about_once_a_level_and_no_request_is_too_long(
    bodies: list[str], room: int, length: int
) -> None:
    operator, seen = reducing(), dict.fromkeys(range(len(bodies)), 0)
    driven = drive(
        operator,
        content_of(operator, group(bodies)),
        Room(tokens=room, count=count),
        lambda question: Reply(value=assumed_answer(question, length)),
    )
    assert all(tokens(question) <= room for questions in driven.rounds for question in questions)
    for question in driven.rounds[0]:
        for place in seen:
            seen[place] += own(question).count(f"[{place}] ")
    assert set(seen.values()) == {1}
    for below, above in zip(driven.rounds, driven.rounds[1:], strict=False):
        assert sum(own(question).count("<answer>\n") for question in above) == len(below)
        assert len(above) <= math.ceil(len(below) / 2)
    assert len(driven.rounds[-1]) == 1
    assert driven.value


def test_what_fits_is_one_question_with_the_prompt_as_it_is() -> None:
    operator = reducing()
    driven = drive(operator, content_of(operator, group(["a", "b"])), Room(tokens=2000, count=count), short)
    ((question,),) = driven.rounds
    assert question.part == "level 1, part 1 of 1"
    assert question.request.messages[0].content.startswith("Faults of <product>: <rows>\nAnswer with")
    assert own(question) == ("<product>\nlamp\n</product>\n<rows>\n<row>\n[0] a\n</row>\n<row>\n[1] b\n</row>\n</rows>")
    assert driven.value == "answer to level 1, part 1 of 1"


def test_parts_say_that_there_are_more_and_levels_are_numbered() -> None:
    operator = reducing()
    bodies = [f"Sentence {number} is here. " * 8 for number in range(60)]
    driven = drive(operator, content_of(operator, group(bodies)), Room(tokens=500, count=count), short)
    first, *_, last = driven.rounds
    assert [question.part for question in first] == [
        f"level 1, part {n} of {len(first)}" for n in range(1, len(first) + 1)
    ]
    assert all("There are more rows than these" in question.request.messages[0].content for question in first)
    assert last[0].part == f"level {len(driven.rounds)}, part 1 of 1"
    asked = last[0].request.messages[0].content
    assert "The task:\nFaults of <product>: <rows>" in asked
    assert "There are more" not in asked
    assert own(last[0]).startswith("<product>\nlamp\n</product>\n<answers>\n<answer>\nanswer to level")


def test_combine_is_the_prompt_of_the_upper_levels() -> None:
    combine = "Merge the lists about {{ product }}:{% for one in answers %}* {{ one }}{% endfor %}"
    operator = reducing(combine=combine)
    content = content_of(operator, group(["word " * 200] * 6))
    driven = drive(operator, content, Room(tokens=500, count=count), short)
    first, last = driven.rounds[0][0], driven.rounds[-1][0]
    assert "Merge" not in first.request.messages[0].content
    assert "<combine>" not in own(first)
    assert last.request.messages[0].content.startswith("Merge the lists about <product>:<answers>\n")
    assert "Faults" not in last.request.messages[0].content
    assert own(last).startswith("<product>\nlamp\n</product>\n<answers>\n<answer>\n* answer to level")


def test_a_plain_sentence_as_combine_gets_the_answers_as_blocks() -> None:
    operator = reducing(combine="Put the lists together.")
    driven = drive(operator, content_of(operator, group(["word " * 200] * 6)), Room(tokens=500, count=count), short)
    last = driven.rounds[-1][0]
    assert last.request.messages[0].content.startswith("Put the lists together.\n")
    assert own(last).startswith("<answers>\n<answer>\nanswer to level")


class Fault(BaseModel):
    part: str
    times: int


def test_with_a_schema_the_answers_of_all_levels_follow_it() -> None:
    operator = reducing(schema=Fault)
    content = content_of(operator, group(["word " * 200] * 6))
    driven = drive(
        operator,
        content,
        Room(tokens=700, count=count),
        lambda question: judged(question, '{"part": "</answer> switch", "times": 2}'),
    )
    assert len(driven.rounds) > 1
    assert all(question.request.schema is not None for questions in driven.rounds for question in questions)
    assert driven.value == {"part": "</answer> switch", "times": 2}
    assert '<answer>\n{"part": "&lt;/answer> switch", "times": 2}\n</answer>' in own(driven.rounds[-1][0])


@pytest.mark.parametrize("level", [1, 2])
def test_a_rejected_part_of_any_level_leaves_the_group_without_an_answer(level: int) -> None:
    operator = reducing()
    content = content_of(operator, group(["word " * 150] * 40))

    def answer(question: Question) -> Reply:
        bad = question.part.startswith(f"level {level}, part 2 ")
        return Reply(rejected="refused", message="no") if bad else Reply(value="fine " * 20)

    driven = drive(operator, content, Room(tokens=500, count=count), answer)
    assert driven.value is None
    assert len(driven.rounds) == level


def test_an_answer_of_which_two_do_not_fit_goes_back() -> None:
    operator = reducing()
    rounds = operator.rounds(content_of(operator, group(["word " * 200] * 6)), Room(tokens=500, count=count))
    judge = next(rounds)[0].judge
    assert judge(Response(text="short")) == Accepted("short")
    verdict = judge(Response(text="long " * 200))
    assert isinstance(verdict, Repair)
    assert "The answer is too long to be put together with others: it has" in verdict.message
    assert isinstance(judge, ShortEnough)
    assert (
        judge
        == next(operator.rounds(content_of(operator, group(["word " * 200] * 6)), Room(tokens=500, count=count)))[
            0
        ].judge
    )
    assert isinstance(judge(Response(text="sho", finish="length")), Repair)


def test_an_instruction_that_leaves_no_room_is_an_error_that_says_what_to_do() -> None:
    operator = reducing("Be kind. " * 100 + PROMPT)
    with pytest.raises(PlanError, match=r"takes \d+ of the 200 tokens .* no room for the rows\. Shorten the prompt"):
        next(operator.rounds(content_of(operator, group(["word " * 200])), Room(tokens=200, count=count)))
    summary = SummarizeOperator.build(COLUMNS, "body")
    with pytest.raises(PlanError, match="no room for the text"):
        next(summary.rounds("<body>\n" + "word " * 900 + "\n</body>", Room(tokens=100, count=count)))


def test_room_for_one_answer_only_is_an_error_too() -> None:
    operator = reducing("{% for row in rows %}{{ row.body }}{% endfor %}", combine="Put together, please. " * 40)
    with pytest.raises(PlanError, match=r"no room for (two answers|the answers)"):
        next(operator.rounds(content_of(operator, group(["word " * 900])), Room(tokens=310, count=count)))


def test_a_key_that_leaves_no_room_is_the_models_to_reject() -> None:
    """A value is no fault of the plan: the one group becomes a reject, and all others go on."""
    operator = reducing()
    content = content_of(operator, group(["a", "b"], product="very " * 900))
    driven = drive(operator, content, Room(tokens=500, count=count), lambda _: Reply(rejected="too_long"))
    assert [len(questions) for questions in driven.rounds] == [1]
    assert driven.value is None


def test_answers_that_grew_on_the_way_come_to_an_end() -> None:
    """Where replies are redacted, an answer may be longer than the judge saw it."""
    operator = reducing()
    content = content_of(operator, group(["word " * 150] * 12))
    driven = drive(operator, content, Room(tokens=500, count=count), lambda _: Reply(value="[email] " * 300))
    assert len(driven.rounds) == 2
    assert len(driven.rounds[-1]) == 1


def test_an_unknown_group_of_an_estimate_is_one_long_row() -> None:
    operator = reducing()
    driven = drive(operator, "x" * 9000, Room(tokens=700, count=count), short)
    pieces = [own(question) for question in driven.rounds[0]]
    assert sum(piece.count("x") for piece in pieces) == 9000
    summary = SummarizeOperator.build(COLUMNS, ["product", "body"])
    driven = drive(summary, "x" * 9000, Room(tokens=700, count=count), short)
    assert sum(own(question).count("x") for question in driven.rounds[0]) == 9000


@settings(max_examples=40, deadline=None)
@example(product="a", body="</product> and so on. " * 200, room=400)
@given(
    product=REPEATED.map(lambda one: one[0] * one[1]),
    body=st.lists(REPEATED.map(lambda one: one[0] * one[1]), max_size=6).map("<body".join),
    room=st.integers(330, 900),
)
def test_a_document_is_in_the_first_level_to_the_last_sign(product: str, body: str, room: int) -> None:
    operator = SummarizeOperator.build(COLUMNS, ["product", "body"])
    content = content_of(operator, pl.DataFrame({"product": [product], "body": [body]}))
    driven = drive(operator, content, Room(tokens=room, count=count), short)
    if not f"{product}{body}".strip():
        assert (driven.rounds, driven.value) == ([], ""), "there is nothing to sum up"
        return
    assert all(tokens(question) <= room for questions in driven.rounds for question in questions)
    assert len(driven.rounds[-1]) == 1
    said = {"product": "", "body": ""}
    for question in driven.rounds[0]:
        for tag in said:
            block = re.compile(rf'<{tag}(?: piece="\d+ of \d+")?>\n(.*?)\n</{tag}>', re.DOTALL)
            said[tag] += "".join(block.findall(own(question)))
    escaped = {tag: content.partition(f"<{tag}>\n")[2].partition(f"\n</{tag}>")[0] for tag in said}
    assert said == escaped


def test_a_summary_of_parts_is_asked_for_in_more_words_than_that_of_the_whole() -> None:
    operator = SummarizeOperator.build(COLUMNS, "body", style="points", max_words=30)
    content = content_of(operator, pl.DataFrame({"body": ["A sentence of some words. " * 300]}))
    driven = drive(operator, content, Room(tokens=600, count=count), short)
    first, last = driven.rounds[0][0], driven.rounds[-1][0]
    assert "at most 200 words in all.\nKeep every fact, name and number" in first.request.messages[0].content
    assert "summary of the whole text in points" in last.request.messages[0].content
    assert "at most 30 words in all" in last.request.messages[0].content
    assert own(first).startswith('<body piece="1 of ')
    assert own(last).startswith("<summary>\n- answer to level")
