"""Provider dialects of JSON schema: what is sent is taken by the provider, and answers to it fit the original."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from pydantic import BaseModel, Field, TypeAdapter

from infergraph.models.sample import sample_answer
from infergraph.models.schemas import ANTHROPIC, COMPATIBLE, OPENAI, Dialect, schema_problems, strict_schema


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Part(BaseModel):
    name: Annotated[str, Field(min_length=2, max_length=12)]
    made: date | None = None


class Lamp(BaseModel):
    """A lamp."""

    colour: Colour = Field(description="its colour", default=Colour.RED)
    kind: Literal["desk", "floor"]
    watts: Annotated[int, Field(ge=1, lt=100)] = 5
    price: Decimal | None = None
    parts: Annotated[list[Part], Field(min_length=2, max_length=3)]
    main: Part = Field(description="the main part")


class Tree(BaseModel):
    label: str
    children: list[Tree] = []


LAMP = Lamp.model_json_schema()


def objects(part: Any) -> list[dict[str, Any]]:
    found = [part] if isinstance(part, dict) and part.get("type") == "object" else []
    children = part.values() if isinstance(part, dict) else part if isinstance(part, list) else []
    return found + [inner for child in children for inner in objects(child)]


@pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC, COMPATIBLE], ids=lambda d: d.title)
def test_every_object_is_closed_and_complete(dialect: Dialect) -> None:
    assert schema_problems(LAMP, dialect) == []
    sent = strict_schema(LAMP, dialect)
    assert len(objects(sent)) >= 2
    for part in objects(sent):
        assert part["additionalProperties"] is False
        assert part["required"] == list(part["properties"])


@pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC, COMPATIBLE], ids=lambda d: d.title)
@pytest.mark.parametrize("key", ["a", "b", "c", "d"])
def test_an_answer_to_the_full_schema_fits_the_one_that_is_sent(dialect: Dialect, key: str) -> None:
    answer = sample_answer(LAMP, key)
    jsonschema.validate(answer, strict_schema(LAMP, dialect))
    Lamp.model_validate(answer)


def test_what_openai_takes_is_kept_and_the_rest_is_told_to_the_model() -> None:
    sent = strict_schema(LAMP, OPENAI)
    assert (sent["properties"]["watts"]["minimum"], sent["properties"]["watts"]["exclusiveMaximum"]) == (1, 100)
    assert sent["properties"]["parts"]["maxItems"] == 3
    name = sent["$defs"]["Part"]["properties"]["name"]
    assert (
        name["description"] == "(maxLength: 12, minLength: 2)" or name["description"] == "(minLength: 2, maxLength: 12)"
    )
    assert not {"minLength", "maxLength"} & name.keys()
    assert "default" not in str(sent)
    # A reference with a description beside it is refused; it is written out instead.
    assert sent["properties"]["main"]["description"] == "the main part"
    assert "$ref" not in sent["properties"]["main"]
    assert "(?" not in re.sub(r"'description': '.*?'", "", str(sent))


def test_what_anthropic_does_not_take_is_told_to_the_model() -> None:
    sent = strict_schema(LAMP, ANTHROPIC)
    assert sent["properties"]["watts"]["description"] == "(exclusiveMaximum: 100, minimum: 1)"
    assert "minItems" not in sent["properties"]["parts"]
    assert sent["$defs"]["Part"]["properties"]["made"]["anyOf"][0]["format"] == "date"


def test_compatible_servers_are_given_every_constraint() -> None:
    sent = strict_schema(LAMP, COMPATIBLE)
    assert sent["$defs"]["Part"]["properties"]["name"]["minLength"] == 2


def test_a_schema_that_contains_itself() -> None:
    schema = Tree.model_json_schema()
    assert schema_problems(schema, OPENAI) == []
    sent = strict_schema(schema, OPENAI)
    assert sent["type"] == "object"
    jsonschema.validate({"label": "a", "children": [{"label": "b", "children": []}]}, sent)
    (said, *_) = schema_problems(schema, ANTHROPIC)
    assert said == "The schema: Anthropic takes no schema that contains itself."


def test_a_union_is_sent_as_any_of() -> None:
    class Cat(BaseModel):
        sort: Literal["cat"]

    class Dog(BaseModel):
        sort: Literal["dog"]

    class Owner(BaseModel):
        pet: Annotated[Cat | Dog, Field(discriminator="sort")]

    pet = strict_schema(Owner.model_json_schema(), OPENAI)["properties"]["pet"]
    assert [variant["$ref"] for variant in pet["anyOf"]] == ["#/$defs/Cat", "#/$defs/Dog"]
    assert not {"oneOf", "discriminator"} & pet.keys()


@pytest.mark.parametrize(
    ("field", "problem"),
    [
        (dict[str, int], "free keys"),
        (tuple[int, str], "tuple"),
        (Any, "any value"),
        (list[Any], "any value"),
    ],
    ids=str,
)
def test_what_cannot_be_sent_is_said_with_the_field(field: Any, problem: str) -> None:
    schema = {"type": "object", "properties": {"x": TypeAdapter(field).json_schema()}}
    for dialect in (OPENAI, ANTHROPIC):
        (said, *_) = schema_problems(schema, dialect)
        assert said.startswith("x")
        assert problem in said


def test_limits_of_size() -> None:
    many = {"type": "object", "properties": {"x": {"enum": [str(number) for number in range(1001)]}}}
    assert schema_problems(many, OPENAI) == ["The schema has 1001 enum values; OpenAI takes 1000."]
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(11):
        deep = {"type": "object", "properties": {"x": deep}}
    assert schema_problems(deep, OPENAI) == ["The schema has 11 levels of nested objects; OpenAI takes 10."]
    assert schema_problems(deep, COMPATIBLE) == []
