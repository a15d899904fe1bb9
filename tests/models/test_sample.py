"""Made-up answers fit their schema, whatever it is."""

from __future__ import annotations

import math
from typing import Any

import jsonschema
from hypothesis import given
from hypothesis import strategies as st

from infergraph.models.sample import sample_answer, sample_embedding, sample_text

texts = st.builds(
    lambda low, more, form: {"type": "string", "minLength": low, "maxLength": low + more, **form},
    st.integers(0, 30),
    st.integers(0, 30),
    st.just({}),
) | st.sampled_from([{"type": "string", "format": f} for f in ("date", "date-time", "email", "uuid", "ipv4", "uri")])
numbers = st.builds(
    lambda kind, low, more: {"type": kind, "minimum": low, "maximum": low + more},
    st.sampled_from(["integer", "number"]),
    st.integers(-100, 100),
    st.integers(0, 5),
) | st.builds(
    lambda kind, low: {"type": kind, "exclusiveMinimum": low, "exclusiveMaximum": low + 2},
    st.sampled_from(["integer", "number"]),
    st.integers(-5, 5),
)
leaves = (
    texts
    | numbers
    | st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"const": 7}, {"enum": ["a", None, 3]}])
    | st.just({"$ref": "#/$defs/node"})
)


def nested(parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    def as_object(fields: dict[str, Any]) -> dict[str, Any]:
        return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}

    return (
        st.dictionaries(st.sampled_from("abcd"), parts, max_size=3).map(as_object)
        | st.builds(
            lambda item, n: {"type": "array", "items": item, "minItems": n, "maxItems": n + 2}, parts, st.integers(0, 3)
        )
        | st.lists(parts, min_size=1, max_size=3).map(lambda variants: {"anyOf": variants})
    )


NODE = {
    "type": "object",
    "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}, "n": {"type": "integer"}},
    "required": ["next", "n"],
}


@given(st.recursive(leaves, nested, max_leaves=8), st.text())
def test_an_answer_fits_and_is_the_same_again(part: dict[str, Any], key: str) -> None:
    schema = {**part, "$defs": {"node": NODE}}
    answer = sample_answer(schema, key)
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    jsonschema.Draft202012Validator(schema, format_checker=checker).validate(answer)
    assert sample_answer(schema, key) == answer


def test_other_keys_give_other_answers() -> None:
    schema = {"type": "object", "properties": {"text": {"type": "string"}}}
    assert len({str(sample_answer(schema, str(number))) for number in range(50)}) > 40
    assert len({sample_text(str(number)) for number in range(50)}) == 50


@given(st.text(max_size=40), st.integers(1, 40))
def test_embeddings_are_unit_vectors(text: str, dimensions: int) -> None:
    vector = sample_embedding(text, dimensions)
    assert len(vector) == dimensions
    assert math.isclose(math.hypot(*vector), 1, rel_tol=1e-9)
    assert vector == sample_embedding(text, dimensions)
