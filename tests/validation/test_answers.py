"""Answers without a model class: texts, choices, vectors."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.models.model import Response
from infergraph.models.verdict import Accepted, Rejected, Repair
from infergraph.validation.answers import ChoiceAnswer, VectorAnswer, judge_text
from infergraph.validation.parsing import embedded_object, without_thoughts

KIND = ChoiceAnswer("kind", ("bug", "billing", "How-to"))
KINDS = ChoiceAnswer("kinds", ("bug", "billing", "How-to"), several=True)
TRUE = ChoiceAnswer("answer", ("true", "false"), boolean=True)


def said(text: str) -> Response:
    return Response(text=text)


@pytest.mark.parametrize(
    "text",
    [
        '{"kind": "How-to"}',
        '{"kind": "how-to"}',
        "How-to",
        '"how-to"',
        "**HOW-TO**.",
        '```json\n{"kind":"How-to"}\n```',
    ],
)
def test_a_choice_is_recognised_in_what_models_write(text: str) -> None:
    assert KIND.judge(said(text)) == Accepted("How-to")


@pytest.mark.parametrize("text", ['{"kind": "weather"}', '{"type": "bug"}', "bug or billing", '{"kind": ["bug"]}', "1"])
def test_anything_else_goes_back_with_what_is_allowed(text: str) -> None:
    verdict = KIND.judge(said(text))
    assert isinstance(verdict, Repair)
    assert 'Answer with JSON {"kind": ...}; allowed: "bug", "billing", "How-to".' in verdict.message


def test_labels_that_differ_in_case_alone_are_told_apart() -> None:
    answer = ChoiceAnswer("kind", ("US", "us"))
    assert answer.judge(said('{"kind": "us"}')) == Accepted("us")
    assert isinstance(answer.judge(said('{"kind": "Us"}')), Repair)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"answer": true}', True),
        ('{"answer": false}', False),
        ("true", True),
        ("False.", False),
        ('{"answer": "true"}', True),
    ],
)
def test_booleans(text: str, value: bool) -> None:
    assert TRUE.judge(said(text)) == Accepted(value)


@pytest.mark.parametrize("text", ["yes", '{"answer": null}', '{"answer": 1}', "true or false"])
def test_what_is_neither_true_nor_false_goes_back(text: str) -> None:
    assert isinstance(TRUE.judge(said(text)), Repair)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"kinds": ["How-to", "bug", "bug"]}', ["bug", "How-to"]),
        ('{"kinds": []}', []),
        ('{"kinds": "bug"}', ["bug"]),
        ('["billing"]', ["billing"]),
    ],
)
def test_several_come_in_the_labels_order_once_each(text: str, value: list[str]) -> None:
    assert KINDS.judge(said(text)) == Accepted(value)


def test_one_wrong_label_among_several_is_named() -> None:
    verdict = KINDS.judge(said('{"kinds": ["bug", "weather"]}'))
    assert isinstance(verdict, Repair)
    assert verdict.message.startswith('"weather" is not allowed')


@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=2, unique=True), st.data())
def test_what_an_example_shows_is_accepted(labels: list[str], data: st.DataObject) -> None:
    label = data.draw(st.sampled_from(labels))
    one = ChoiceAnswer("label", tuple(labels))
    assert one.judge(said(one.answer_text(label))) == Accepted(label)
    several = ChoiceAnswer("labels", tuple(labels), several=True)
    assert several.judge(said(several.answer_text([label]))) == Accepted([label])
    assert json.loads(one.answer_schema.text)["properties"]["label"]["enum"] == labels


@pytest.mark.parametrize(
    ("answer", "node"),
    [
        (KIND, {"type": "string", "enum": ["bug", "billing", "How-to"]}),
        (KINDS, {"type": "array", "items": {"type": "string", "enum": ["bug", "billing", "How-to"]}}),
        (TRUE, {"type": "boolean"}),
    ],
)
def test_schemas(answer: ChoiceAnswer, node: dict[str, Any]) -> None:
    assert answer.answer_schema.parsed == {
        "type": "object",
        "properties": {answer.field: node},
        "required": [answer.field],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(("text", "value"), [(" a\nb ", "a\nb"), ("<think>hm</think>\n\nParis", "Paris"), ("{}", "{}")])
def test_texts(text: str, value: str) -> None:
    assert judge_text(said(text)) == Accepted(value)


@pytest.mark.parametrize("text", ["", " \n", "<think>only thoughts</think>"])
def test_an_empty_text_is_no_answer(text: str) -> None:
    assert isinstance(judge_text(said(text)), Repair)


@pytest.mark.parametrize(
    ("embedding", "message"),
    [(None, "no embedding"), ((1.0,), "dimensions=1"), ((1.0, math.nan), "not finite"), ((), "0 numbers")],
)
def test_vectors_that_do_not_fit(embedding: tuple[float, ...] | None, message: str) -> None:
    verdict = VectorAnswer(2).judge(Response(embedding=embedding))
    assert isinstance(verdict, Rejected)
    assert verdict.reason == "invalid_output"
    assert message in verdict.message


@given(st.dictionaries(st.text(), st.text() | st.integers()), st.text(alphabet='abc {}[]"\n'))
def test_an_object_alone_is_found_and_never_changed(value: dict[str, Any], around: str) -> None:
    text = json.dumps(value)
    assert embedded_object(text) == text
    found = embedded_object(around + text)
    assert found is None or isinstance(json.loads(found), dict)


@pytest.mark.parametrize("text", ["{" * 50_000, '{"a":' * 50_000, "[" * 50_000, "{" * 500 + '{"a": 1}'])
def test_hostile_nesting_ends_quickly(text: str) -> None:
    assert embedded_object(text) is None


@pytest.mark.parametrize("half", ["\ud83d", "x\udc80ü"])
def test_half_characters_do_not_get_through(half: str) -> None:
    text = judge_text(said(f"a{half}"))
    assert isinstance(text, Accepted)
    assert text.value.encode()
    wrong = KIND.judge(said(json.dumps({"kind": half})))
    assert isinstance(wrong, Repair)
    assert wrong.message.encode()


def test_halves_that_belong_together_become_the_character() -> None:
    assert judge_text(said("\ud83d\ude00")) == Accepted("\N{GRINNING FACE}")


def test_thoughts_that_never_end_stay() -> None:
    assert without_thoughts("<think>I wonder") == "<think>I wonder"
