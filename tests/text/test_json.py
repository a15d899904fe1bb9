"""JSON in text: queries, types, containment and repair, on valid, broken and hostile texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import infergraph as ig
from infergraph.errors import PlanError

NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
BITS = (
    "{", "}", "[", "]", ",", ":", "'a'", '"b"', "1", "true", "None", "// c\n", "```json\n", "```", "NaN", " ", "\\",
    "\"",
)  # fmt: skip
BROKEN = st.lists(st.sampled_from(BITS), max_size=20).map("".join) | st.text(max_size=100)
FUNCTIONS: dict[str, Callable[[str], pl.Expr]] = {
    "jq": lambda column: ig.text.json.jq(column, ".. | numbers"),
    "jq, typed": lambda column: ig.text.json.jq(column, ".a?", dtype=pl.Int64),
    "type": ig.text.json.type,
    "contains": lambda column: ig.text.json.contains(column, {"a": 1}),
    "is_valid": ig.text.json.is_valid,
    "repair": ig.text.json.repair,
}


def computed(expr: pl.Expr, *texts: str | None) -> list[Any]:
    frame = pl.DataFrame({"t": pl.Series(texts, dtype=pl.String)})
    return frame.lazy().select(expr).collect(engine="streaming").to_series().to_list()


@pytest.mark.parametrize("name", FUNCTIONS)
@given(text=BROKEN)
@settings(max_examples=100, deadline=None)
def test_nothing_raises_on_any_text(name: str, text: str) -> None:
    computed(FUNCTIONS[name]("t"), text)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_null_stays_null_and_the_declared_type_holds(name: str) -> None:
    made = pl.LazyFrame({"t": ['{"a": 1}', None]}).select(FUNCTIONS[name]("t"))
    found = made.collect()
    assert found.schema == made.collect_schema()
    assert found.to_series()[1] is None


@given(VALUES)
def test_every_value_is_valid_contained_in_itself_and_comes_through_jq(value: Any) -> None:
    text = json.dumps(value)
    assert computed(ig.text.json.is_valid("t"), text) == [True]
    assert computed(ig.text.json.contains("t", value), text) == [True]
    assert computed(ig.text.json.contains("t", value), json.dumps([1, {"deep": value}])) == [True]
    assert computed(ig.text.json.repair("t"), text) == [text]
    ((result,),) = computed(ig.text.json.jq("t", "."), text)
    assert json.loads(result) == value


@given(BROKEN)
@settings(max_examples=150, deadline=None)
def test_what_is_repaired_is_json(text: str) -> None:
    for made in computed(ig.text.json.repair("t"), text):
        assert made is None or computed(ig.text.json.is_valid("t"), made) == [True]


@pytest.mark.parametrize(
    ("text", "repaired"),
    [
        ("{'a': 1, 'b': [1, 2,]}", {"a": 1, "b": [1, 2]}),
        ('Here it is:\n```json\n{"a": "x"}\n```', {"a": "x"}),
        ('{"a": "cut o', {"a": "cut o"}),
        ('{a: true, "b": None}', {"a": True, "b": None}),
        ('{"a": 1} // done', {"a": 1}),
    ],
)
def test_usual_damage_is_mended(text: str, repaired: Any) -> None:
    assert json.loads(computed(ig.text.json.repair("t"), text)[0]) == repaired


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"b": 1}, True),
        ({"a": {"b": 1}}, True),
        ({"b": 1, "x": 2}, False),
        ([1, 2], True),
        ([2, 1], False),
        ([1], False),
        ("two", True),
        ("tw", False),
        (True, True),
        (1, True),
        (0, False),
        (None, True),
        ({}, True),
    ],
)
def test_containment(wanted: Any, found: bool) -> None:
    text = '{"a": {"b": 1, "c": [1, 2]}, "d": "two", "e": true, "f": null}'
    assert computed(ig.text.json.contains("t", wanted), text) == [found]


def test_true_is_not_one() -> None:
    assert computed(ig.text.json.contains("t", 1), "[true]") == [False]
    assert computed(ig.text.json.contains("t", True), "[1]") == [False]


def test_the_first_result_may_have_a_type() -> None:
    texts = ['{"n": 3, "tags": ["a"], "x": 1e400}', '{"n": "three"}', "{}", "broken {", None]
    made: list[tuple[str, Any, list[Any]]] = [
        (".n", pl.Int64(), [3, None, None, None, None]),
        (".n", pl.String(), ["3", "three", None, None, None]),
        (".tags", pl.List(pl.String()), [["a"], None, None, None, None]),
        ("{n}", pl.Struct({"n": pl.String()}), [{"n": "3"}, {"n": "three"}, {"n": None}, None, None]),
        ("empty", pl.Int64(), [None] * 5),
    ]
    for query, dtype, values in made:
        frame = pl.LazyFrame({"t": texts}).select(ig.text.json.jq("t", query, dtype=dtype))
        assert frame.collect_schema() == {"t": dtype}
        assert frame.collect()["t"].to_list() == values


def test_a_query_that_fails_on_a_row_gives_null_for_that_row() -> None:
    assert computed(ig.text.json.jq("t", ".a | tonumber"), '{"a": "1"}', '{"a": "x"}') == [["1"], None]


@pytest.mark.parametrize("query", [".a[", "foo(1)", "", "{"])
def test_a_bad_query_fails_when_the_expression_is_built(query: str) -> None:
    with pytest.raises(PlanError, match="does not compile"):
        ig.text.json.jq("t", query)


def test_a_value_without_json_is_named() -> None:
    with pytest.raises(PlanError, match="has no JSON"):
        ig.text.json.contains("t", {1, 2})


def test_deep_and_long_texts() -> None:
    deep = "[" * 100_000 + "]" * 100_000
    long = json.dumps({"a": "x" * 10_000_000})
    assert computed(ig.text.json.is_valid("t"), deep, long) == [True, True]
    assert computed(ig.text.json.jq("t", ".a | length", dtype=pl.Int64), deep, long) == [None, 10_000_000]
    assert computed(ig.text.json.repair("t"), "[" * 100_000) in ([None], ["[]"])


def test_what_is_no_value_of_the_type_is_null_and_nothing_is_made_to_fit() -> None:
    texts = ['{"a": 1}', "[1, 2]", '"2024-01-02"', "true", "300", "1.5", "null", '[1, "x"]', "1e30"]
    day = date(2024, 1, 2)
    made: list[tuple[Any, list[Any]]] = [
        (pl.Int64, [None, None, None, None, 300, None, None, None, None]),
        (pl.UInt8, [None] * 9),
        (pl.Float64, [None, None, None, None, 300.0, 1.5, None, None, 1e30]),
        (pl.Boolean, [None, None, None, True, None, None, None, None, None]),
        (pl.Date, [None, None, day, None, None, None, None, None, None]),
        (pl.Datetime("ms"), [None, None, datetime(2024, 1, 2), None, None, None, None, None, None]),
        (pl.Datetime("us", "UTC"), [None] * 9),
        (pl.List(pl.Int64), [None, [1, 2], None, None, None, None, None, [1, None], None]),
        (pl.List(pl.String), [None, ["1", "2"], None, None, None, None, None, ["1", "x"], None]),
        (pl.Array(pl.Int64, 2), [None, [1, 2], None, None, None, None, None, [1, None], None]),
        (pl.Struct({"a": pl.Int64}), [{"a": 1}, None, None, None, None, None, None, None, None]),
        (pl.Decimal(10, 2), [None, None, None, None, Decimal("300.00"), Decimal("1.50"), None, None, None]),
    ]
    for dtype, values in made:
        assert computed(ig.text.json.jq("t", ".", dtype=dtype), *texts) == values, dtype
    assert computed(ig.text.json.jq("t", ".", dtype=pl.String), '{"a": "é"}', '"é"') == ['{"a": "é"}', "é"]


@pytest.mark.parametrize("wrong", ["Int64", pl.Object])
def test_a_type_that_is_none_is_named(wrong: Any) -> None:
    with pytest.raises(PlanError, match="write a type of JSON's values"):
        ig.text.json.jq("t", ".", dtype=wrong)


def test_the_environment_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    for query in ("env", "$ENV", "env | tojson", "[$ENV[]] # no"):
        assert "sk-secret" not in str(computed(ig.text.json.jq("t", query), "1")), query


def test_values_too_deep_for_python_and_numbers_of_many_digits() -> None:
    deep = "[" * 9000 + "]" * 9000
    assert computed(ig.text.json.jq("t", "."), deep) == [None]
    assert computed(ig.text.json.is_valid("t"), "9" * 5000, "-" + "9" * 5000, "9" * 5000 + "x") == [True, True, False]


@pytest.mark.parametrize("levels", [2_000, 12_000])
def test_valid_json_is_valid_however_deep(levels: int) -> None:
    arrays, objects = "[" * levels + '"x"' + "]" * levels, '{"a":' * levels + "[1, 2]" + "}" * levels
    broken = [arrays[:-1], arrays + "]", objects.replace("1", "01"), objects.replace("}", "]", 1), "[" * levels]
    texts = [arrays, objects, *broken]
    nulls = [None] * len(broken)
    assert computed(ig.text.json.is_valid("t"), *texts) == [True, True, *[False] * len(broken)]
    assert computed(ig.text.json.type("t"), *texts) == ["array", "object", *nulls]
    assert computed(ig.text.json.contains("t", "x"), *texts) == [True, False, *nulls]
    assert computed(ig.text.json.contains("t", {"a": [1, 2]}), *texts) == [False, True, *nulls]
    assert computed(ig.text.json.repair("t"), arrays, objects) == [arrays, objects]


@given(BROKEN | VALUES.map(lambda value: json.dumps(value, indent=1)))
@settings(max_examples=300, deadline=None)
def test_what_is_read_token_by_token_is_what_python_reads(text: str) -> None:
    levels = 2_000
    deep = "[" * levels + text + "]" * levels
    inner = computed(ig.text.json.is_valid("t"), text)[0] or not text.strip()
    assert computed(ig.text.json.is_valid("t"), deep) == [inner or computed(ig.text.json.is_valid("t"), f"[{text}]")[0]]


def test_a_value_too_deep_to_look_for_is_named() -> None:
    value: list[Any] = []
    for _ in range(700):
        value = [value]
    with pytest.raises(PlanError, match="has no JSON"):
        ig.text.json.contains("t", value)


@pytest.mark.parametrize(
    ("query", "text", "results"),
    [
        (".id", '{"id": 12345678901234567890}', ["12345678901234567890"]),
        (".", '{"id": 9007199254740993, "x": "é", "y": 1e400}', None),
        (".[]", "[-12345678901234567890, 0.1, 1.0, 100000000000000000000000000000001]", None),
        (".[0]", f"[{'9' * 5_000}]", ["1.7976931348623157e+308"]),
        (".id + 1", '{"id": 1}', ["2"]),
        ('"\\(.id)"', '{"id": 12345678901234567890}', ['"12345678901234567890"']),
    ],
)
def test_whole_numbers_keep_all_their_digits(query: str, text: str, results: list[str] | None) -> None:
    (found,) = computed(ig.text.json.jq("t", query), text)
    if results is not None:
        assert found == results
    elif query == ".":
        assert found == ['{"id": 9007199254740993, "x": "\\u00e9", "y": 1.7976931348623157e+308}']
    else:
        assert found == ["-12345678901234567890", "0.1", "1", "100000000000000000000000000000001"]


def test_typed_results_keep_all_digits_too() -> None:
    assert computed(ig.text.json.jq("t", ".id", dtype=pl.Int64), '{"id": 9007199254740993}') == [9007199254740993]
    assert computed(ig.text.json.jq("t", ".id", dtype=pl.UInt64), '{"id": 18446744073709551615}') == [2**64 - 1]
    assert computed(ig.text.json.jq("t", ".id", dtype=pl.String), '{"id": 9007199254740993}') == ["9007199254740993"]
