"""Schemas for the embedded server: what no grammar can hold is said, and everything else gets an end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infergraph.models.local_schema import MAX_CHARACTERS, MAX_ITEMS, grammar, problems


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def bounded(schema: dict[str, Any]) -> dict[str, Any]:
    head, rule = grammar(schema).split("\n")
    assert head == "%llguidance {}"
    parsed: dict[str, Any] = json.loads(rule.removeprefix("start: %json "))
    return parsed


def test_texts_and_lists_get_an_end_and_bounds_of_the_author_stay() -> None:
    schema = of(
        free={"type": "string"},
        short={"type": "string", "maxLength": 9},
        long={"type": "string", "minLength": 900},
        tags={"type": "array", "items": {"type": "string"}},
        maybe={"anyOf": [{"type": "string"}, {"type": "null"}]},
        kind={"type": "string", "enum": ["a"]},
        day={"type": "string", "format": "date"},
    )
    found = bounded(schema)["properties"]
    assert found["free"]["maxLength"] == MAX_CHARACTERS
    assert found["short"]["maxLength"] == 9
    assert found["long"]["maxLength"] == 900
    assert found["tags"]["maxItems"] == MAX_ITEMS
    assert found["tags"]["items"]["maxLength"] == MAX_CHARACTERS
    assert found["maybe"]["anyOf"][0]["maxLength"] == MAX_CHARACTERS
    assert found["kind"] == {"type": "string", "enum": ["a"]}
    assert found["day"] == {"type": "string", "format": "date"}


def test_keywords_that_the_grammar_does_not_know_are_left_to_the_validation() -> None:
    schema = of(
        a={"type": "string", "format": "color", "title": "A", "default": "x"},
        b={"type": "array", "items": {"type": "integer"}, "uniqueItems": True},
        c={"oneOf": [{"type": "integer"}, {"type": "null"}]},
        d={"type": "string", "pattern": "^(?=a)b$"},
        e={"type": "string", "pattern": "^[a-z]+$"},
    )
    found = bounded(schema)["properties"]
    assert found["a"] == {"type": "string", "maxLength": MAX_CHARACTERS}
    assert "uniqueItems" not in found["b"]
    assert found["c"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    assert "pattern" not in found["d"]
    assert found["e"]["pattern"] == "^[a-z]+$"


def test_a_property_may_be_called_like_a_keyword() -> None:
    found = bounded(of(title={"type": "string"}, items={"type": "string"}, enum={"type": "integer"}))
    assert list(found["properties"]) == ["title", "items", "enum"]


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        (of(age={"type": "integer", "minimum": 9, "maximum": 1}), "'age': minimum 9 is above maximum 1."),
        (of(a=of(b={"type": "string", "minLength": 5, "maxLength": 3})), "'a.b': minLength 5 is above maxLength 3."),
        (of(a={"type": "array", "items": {"$ref": "#/$defs/Lost"}}), "'a[]': $ref '#/$defs/Lost' points to nothing"),
        (of(a={"$ref": "http://example.org/schema"}), "points to nothing in the schema"),
        (of(a={"type": "text"}), "'a': 'text' is no JSON type."),
        (of(a={"anyOf": [{"enum": []}, {"type": "null"}]}), "'a': enum has no value."),
        ({"$defs": {"A": {"type": "none"}}, **of(a={"$ref": "#/$defs/A"})}, "'A': 'none' is no JSON type."),
    ],
)
def test_what_no_answer_can_follow_is_said(schema: dict[str, Any], says: str) -> None:
    (problem,) = problems(schema)
    assert says in problem


def test_recursive_and_plain_schemas_have_no_problem() -> None:
    node = of(name={"type": "string"}, inner={"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]})
    assert problems({"$defs": {"Node": node}, "$ref": "#/$defs/Node"}) == []
    assert problems(of(a={"type": ["string", "null"], "minLength": 1, "maxLength": 1})) == []
