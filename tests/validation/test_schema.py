"""An answer's way from JSON text to columns, and the schema that providers get."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    AliasChoices,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WrapValidator,
    create_model,
    field_validator,
)

from infergraph.errors import SchemaError
from infergraph.models.model import Response
from infergraph.models.verdict import Accepted, Rejected, Repair, Verdict
from infergraph.validation.schema import AnswerModel


class Kind(Enum):
    BUG = "bug"
    BILLING = "billing"


class Line(BaseModel):
    what: str = Field(alias="item")
    price: Annotated[Decimal, Field(max_digits=10, decimal_places=2)] | None = None
    kinds: list[Kind] = []


class Everything(BaseModel):
    """All that a schema may hold."""

    text: str
    number: int
    ratio: float | None
    flag: bool
    day: dt.date
    moment: dt.datetime
    instant: AwareDatetime
    clock: dt.time
    span: dt.timedelta
    exact: Decimal
    level: Literal["low", "high"] | None = None
    grade: Literal[1, 2, 3]
    kind: Kind
    id: UUID
    tags: set[str]
    line: Line
    lines: list[Line | None]
    nested: list[list[int]]
    pair: tuple[float, float] = (0.0, 0.0)


ANSWER = AnswerModel.of(Everything)


class Ticket(BaseModel):
    product: str = Field(description="what it is about")
    severity: Literal["low", "medium", "high"]
    days: int | None = Field(default=None, ge=0, le=365)

    @field_validator("product")
    @classmethod
    def _named(cls, product: str) -> str:
        if product == "boom":
            raise KeyError("the author's own bug")
        if product.islower():
            raise ValueError("write the product's name with a capital")
        return product


TICKET = AnswerModel.of(Ticket)


def judged(text: str, answer: AnswerModel = TICKET) -> Verdict:
    return answer.judge(Response(text=text))


INT64 = st.integers(-(2**63), 2**63 - 1)
LINES = st.builds(
    lambda item, price, kinds: Line(item=item, price=price, kinds=kinds),
    st.text(),
    st.none() | st.decimals(-10000, 10000, places=2),
    st.lists(st.sampled_from(Kind), max_size=2),
)
ANSWERS = st.builds(
    Everything,
    text=st.text(),
    number=INT64,
    ratio=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    flag=st.booleans(),
    day=st.dates(),
    moment=st.datetimes(),
    instant=st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 1, 1), timezones=st.just(dt.UTC)),
    clock=st.times(),
    span=st.timedeltas(dt.timedelta(-100_000), dt.timedelta(100_000)),
    exact=st.decimals(-(10**12), 10**12, places=6),
    level=st.sampled_from(["low", "high", None]),
    grade=st.sampled_from([1, 2, 3]),
    kind=st.sampled_from(Kind),
    id=st.uuids(),
    tags=st.sets(st.text(), max_size=3),
    line=LINES,
    lines=st.lists(st.none() | LINES, max_size=3),
    nested=st.lists(st.lists(INT64, max_size=2), max_size=2),
    pair=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.none() | ANSWERS, max_size=4))
def test_answers_go_to_json_through_the_judge_into_columns_and_back(answers: list[Everything | None]) -> None:
    values: list[Any] = []
    for answer in answers:
        verdict = Accepted(None) if answer is None else judged(ANSWER.answer_text(answer), ANSWER)
        assert isinstance(verdict, Accepted), verdict
        values.append(verdict.value)
    columns = ANSWER.columns(values)
    assert pl.Schema({column.name: column.dtype for column in columns}) == ANSWER.fields
    for row, (answer, value) in enumerate(zip(answers, values, strict=True)):
        if answer is None:
            assert all(column[row] is None for column in columns)
            continue
        back = {column.name: column.to_list()[row] for column in columns}
        assert back == value
        back["line"] = {"item": back["line"].pop("what"), **back["line"]}
        back["lines"] = [line and {"item": line.pop("what"), **line} for line in back["lines"]]
        assert Everything.model_validate(back) == answer
    structs = ANSWER.column("all", values)
    assert structs.struct.unnest().equals(pl.DataFrame(columns)) or not values
    assert structs.is_null().to_list() == [value is None for value in values]


def test_the_schema_for_providers() -> None:
    assert json.loads(TICKET.answer_schema.text) == {
        "type": "object",
        "properties": {
            "product": {"type": "string", "description": "what it is about"},
            "severity": {"type": "string", "enum": ["low", "medium", "high"]},
            "days": {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 365}, {"type": "null"}]},
        },
        "required": ["product", "severity", "days"],
        "additionalProperties": False,
    }
    assert TICKET.answer_schema.name == "Ticket"


def objects(node: Any) -> list[dict[str, Any]]:
    if isinstance(node, list):
        return [found for inner in node for found in objects(inner)]
    if not isinstance(node, dict):
        return []
    below = [found for inner in node.values() for found in objects(inner)]
    return [node, *below] if node.get("type") == "object" else below


def test_every_object_in_the_schema_is_closed_and_complete() -> None:
    found = objects(ANSWER.answer_schema.as_dict())
    assert len(found) == 3
    for node in found:
        assert node["additionalProperties"] is False
        assert node["required"] == list(node["properties"])
    assert not [
        word for word in ("$ref", "$defs", "title", "default", "prefixItems") if word in ANSWER.answer_schema.text
    ]


def test_the_schema_names_keys_by_alias_and_the_columns_by_field() -> None:
    line = AnswerModel.of(Line)
    assert list(line.answer_schema.parsed["properties"]) == ["item", "price", "kinds"]
    assert list(line.fields) == ["what", "price", "kinds"]
    assert judged('{"item": "lamp"}', line) == Accepted({"what": "lamp", "price": None, "kinds": []})
    assert line.answer_text({"what": "lamp"}) == line.answer_text({"item": "lamp"})


def test_other_ways_to_give_an_alias() -> None:
    class Facts(BaseModel):
        model_config = ConfigDict(alias_generator=str.upper)
        a: int
        b: int = Field(validation_alias=AliasChoices("bee", "B"))

    answer = AnswerModel.of(Facts)
    assert list(answer.answer_schema.parsed["properties"]) == ["A", "bee"]
    assert judged(answer.answer_text({"A": 1, "b": 2}), answer) == Accepted({"a": 1, "b": 2})

    class ByName(BaseModel):
        model_config = ConfigDict(validate_by_alias=False, validate_by_name=True)
        a: int = Field(alias="A")

    assert list(AnswerModel.of(ByName).answer_schema.parsed["properties"]) == ["a"]
    assert judged('{"a": 1}', AnswerModel.of(ByName)) == Accepted({"a": 1})


def test_generic_models_have_a_name_that_providers_take() -> None:
    class Box(BaseModel):
        x: int

    Box.__name__ = "Box[int, größer]"
    assert AnswerModel.of(Box).answer_schema.name == "Box_int_gr_er"


GOOD = Accepted({"product": "Lamp", "severity": "low", "days": None})


@pytest.mark.parametrize(
    "text",
    [
        '{"product": "Lamp", "severity": "low"}',
        ' \n{"product": "Lamp", "severity": "low", "days": null}\n',
        '```json\n{"product": "Lamp", "severity": "low"}\n```',
        'Here is the JSON: {"product": "Lamp", "severity": "low"} I hope that helps.',
        '<think>Maybe {"product": "Chair"}?</think>{"product": "Lamp", "severity": "low"}',
        'I use {curly} braces. {"product": "Lamp", "severity": "low"}',
    ],
)
def test_the_object_is_found_in_its_wrapping(text: str) -> None:
    assert judged(text) == GOOD


@pytest.mark.parametrize(
    "text", ["", "Lamp", '{"product": "Lamp"', "[1, 2", '{"a": 1}\n{"a": 2}', "{'product': 'Lamp'}"]
)
def test_what_is_no_json_object_goes_back(text: str) -> None:
    assert judged(text) == Repair("The answer is not one JSON object. Answer with one JSON object and nothing else.")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '{"product": "Lamp", "severity": "urgent"}',
            "- severity: must be 'low', 'medium' or 'high' (given: \"urgent\")",
        ),
        (
            '{"product": "lamp", "severity": "low"}',
            '- product: write the product\'s name with a capital (given: "lamp")',
        ),
        ('{"severity": "low"}', "- product is missing"),
        ('{"product": "L", "severity": "low", "days": 999}', "- days: must be less than or equal to 365 (given: 999)"),
        ('[{"product": "Lamp"}]', "- the answer: must be an object"),
        ('{"product": "boom", "severity": "low"}', 'KeyError: "the author\'s own bug"'),
    ],
)
def test_what_is_wrong_is_told_to_the_model(text: str, said: str) -> None:
    verdict = judged(text)
    assert isinstance(verdict, Repair)
    assert said in verdict.message
    assert verdict.message.endswith("Answer again with the whole corrected JSON object and nothing else.")


def test_a_repair_message_stays_short() -> None:
    class Many(BaseModel):
        numbers: list[int]

    verdict = judged(json.dumps({"numbers": ["x" * 5000] * 50}), AnswerModel.of(Many))
    assert isinstance(verdict, Repair)
    assert "numbers.0: " in verdict.message
    assert "and 45 more" in verdict.message
    assert len(verdict.message) < 1500


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("number", 2**63, "number: 9223372036854775808 does not fit into 64 bits"),
        ("exact", "1" * 29, "exact: .* has more than 28 digits"),
        ("exact", "9" * 28 + ".99999999999", "exact: .* has more than 28 digits"),
        ("exact", "1E+300", "exact: .* has more than 28 digits"),
        ("span", "P999999999D", "span: .* is too long"),
        ("instant", "0001-01-01T00:00:00+10:00", "instant: .* out of range in UTC"),
        ("nested", [[1], [2**70]], "nested: .* does not fit into 64 bits"),
    ],
)
def test_values_that_no_column_holds_go_back(field: str, value: Any, said: str) -> None:
    answer = json.loads(ANSWER.answer_text(EXAMPLE))
    verdict = judged(json.dumps({**answer, field: value}), ANSWER)
    assert isinstance(verdict, Repair)
    assert pl.Series([verdict.message]).str.contains(said).item(), verdict.message


EXAMPLE = Everything(
    text="",
    number=1,
    ratio=None,
    flag=True,
    day=dt.date(2024, 1, 2),
    moment=dt.datetime(2024, 1, 2),
    instant=dt.datetime(2024, 1, 2, tzinfo=dt.UTC),
    clock=dt.time(1),
    span=dt.timedelta(1),
    exact=Decimal("0.1"),
    grade=1,
    kind=Kind.BUG,
    id=UUID(int=0),
    tags={"b", "a", "c"},
    line=Line(item="x"),
    lines=[],
    nested=[],
)


def test_times_with_an_offset_keep_what_a_column_can_hold() -> None:
    answer = json.loads(ANSWER.answer_text(EXAMPLE))
    late = {"moment": "2024-01-02T00:00:00+02:00", "instant": "2024-01-02T00:00:00+02:00", "clock": "01:00:00+02:00"}
    verdict = judged(json.dumps({**answer, **late}), ANSWER)
    assert isinstance(verdict, Accepted)
    assert verdict.value["moment"] == dt.datetime(2024, 1, 1, 22)
    assert verdict.value["instant"] == dt.datetime(2024, 1, 1, 22, tzinfo=dt.UTC)
    assert verdict.value["clock"] == dt.time(1)


def test_sets_have_one_order_everywhere() -> None:
    verdict = judged(ANSWER.answer_text(EXAMPLE), ANSWER)
    assert isinstance(verdict, Accepted)
    assert verdict.value["tags"] == ["a", "b", "c"]


def test_decimals_round_to_the_columns_scale() -> None:
    class Price(BaseModel):
        usd: Decimal

    assert judged('{"usd": 0.12345678905}', AnswerModel.of(Price)) == Accepted({"usd": Decimal("0.1234567890")})
    assert judged('{"usd": "19.99"}', AnswerModel.of(Price)) == Accepted({"usd": Decimal("19.9900000000")})


@pytest.mark.parametrize("text", ['{"word": "\\ud83d"}', '{"word": "\ud83d"}'])
def test_half_characters_do_not_get_through(text: str) -> None:
    class Word(BaseModel):
        word: str

    verdict = judged(text, AnswerModel.of(Word))
    values = [verdict.value] if isinstance(verdict, Accepted) else []
    assert AnswerModel.of(Word).columns(values)[0].len() == len(values)
    assert not isinstance(verdict, Repair) or verdict.message.encode()


def test_the_authors_validators_change_values() -> None:
    class Shout(BaseModel):
        word: Annotated[str, AfterValidator(str.upper)]

    assert judged('{"word": "hi"}', AnswerModel.of(Shout)) == Accepted({"word": "HI"})


@pytest.mark.parametrize(
    ("annotation", "default"), [(str, 5), (int, "soon"), (Kind, "weather"), (list[int], ["x"]), (Line, {"what": "x"})]
)
def test_a_default_of_another_type_is_refused(annotation: Any, default: Any) -> None:
    with pytest.raises(SchemaError, match=r"Lax\.x: its default .* is not of the field's type"):
        AnswerModel.of(create_model("Lax", x=(annotation, default)))


@pytest.mark.parametrize(
    "annotation",
    [str, int, float, bool, dt.date, dt.datetime, AwareDatetime, dt.time, dt.timedelta, Decimal, Kind, Line, list[int]],
)
def test_a_validator_that_gives_another_type_costs_its_row_alone(annotation: Any) -> None:
    wrong = Annotated[annotation, BeforeValidator(lambda _: None), WrapValidator(lambda _value, _handler: object())]
    verdict = judged('{"x": 1}', AnswerModel.of(create_model("Odd", x=(wrong, ...))))
    assert isinstance(verdict, Repair)
    assert "x: " in verdict.message or "TypeError" in verdict.message or "AttributeError" in verdict.message


def test_a_default_that_was_never_validated_still_fits() -> None:
    lax = create_model("Lax", kind=(Kind, "bug"), days=(int, None))
    answer = AnswerModel.of(lax)
    assert judged("{}", answer) == Accepted({"kind": "bug", "days": None})


@pytest.mark.parametrize(
    ("response", "verdict"),
    [
        (Response(text='{"product": "La', finish="length"), Repair("The answer was cut off.", more_room=True)),
        (Response(text="No.", finish="refusal"), Rejected("refused", "No.")),
        (Response(finish="refusal"), Rejected("refused", "The model refused to answer.")),
        (
            Response(finish="content_filter"),
            Rejected("content_filtered", "The provider's content filter stopped the answer."),
        ),
    ],
)
def test_answers_that_ended_early(response: Response, verdict: Verdict) -> None:
    assert TICKET.judge(response) == verdict


@settings(max_examples=150, deadline=None)
@given(
    st.text()
    | st.recursive(
        st.none() | st.integers() | st.text(),
        lambda v: st.lists(v) | st.dictionaries(st.sampled_from(["product", "severity", "days"]), v),
    ).map(json.dumps)
)
def test_any_text_gets_a_verdict(text: str) -> None:
    assert isinstance(judged(text), (Accepted, Repair))


def test_a_validator_that_gives_nothing_where_null_is_no_value_is_repaired() -> None:
    class Part(BaseModel):
        name: str = Field(alias="part_name")
        note: str | None
        unknown: str = None  # type: ignore[assignment]  # as authors write it

        @field_validator("name", "note", "unknown")
        @classmethod
        def _known(cls, value: str) -> str | None:
            return None if value == "n/a" else value

    answer = AnswerModel.of(Part)
    assert answer.required == ("name",)
    fine = answer.judge(Response(text='{"part_name": "lamp", "note": "n/a", "unknown": "n/a"}'))
    assert fine == Accepted({"name": "lamp", "note": None, "unknown": None})
    told = answer.judge(Response(text='{"part_name": "n/a", "note": null, "unknown": "x"}'))
    assert isinstance(told, Repair)
    assert "part_name: a validator gave nothing for it, and its type knows no null" in told.message
