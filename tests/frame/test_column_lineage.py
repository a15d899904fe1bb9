"""Column lineage: every listed method has a rule, and the rules agree with what changed values do to results."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl
import polars.selectors as cs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

import infergraph as ig
from infergraph.column_lineage import ColumnLineage
from infergraph.frame import plan as plans
from infergraph.models.scripted import script

Make = Callable[[ig.SemanticFrame], ig.SemanticFrame]


class Facts(BaseModel):
    """What is said."""

    product: str = Field(description="the product")
    days: int


def values(frame: ig.SemanticFrame) -> dict[str, str]:
    """Column -> its sources as one text, the tickets' own without the frame's name."""
    found = frame.column_lineage()
    return {
        name: " ".join(
            one.column if one.source == "tickets" else f"{one.source}.{one.column}" for one in origin.sources
        )
        for name, origin in found.columns.items()
    }


def deciders(frame: ig.SemanticFrame) -> str:
    rows = frame.column_lineage().rows
    return " ".join(one.column if one.source == "tickets" else f"{one.source}.{one.column}" for one in rows.sources)


SAME = {"id": "id", "lang": "lang", "body": "body"}
OTHER = pl.DataFrame({"id": [1, 2, 9], "lang": ["en", "xx", "de"], "score": [1.0, 2.0, 3.0]})

CASES: dict[str, tuple[Make, dict[str, str], str]] = {
    "filter": (lambda f: f.filter(pl.col("lang") == "en", pl.col("id") > 1), SAME, "id lang"),
    "filter constraint": (lambda f: f.filter(lang="en"), SAME, "lang"),
    "select": (lambda f: f.select("id", n=pl.col("body").str.len_chars()), {"id": "id", "n": "body"}, ""),
    "select all": (lambda f: f.select(pl.all()), SAME, ""),
    "select aggregates": (lambda f: f.select(pl.col("id").max(), pl.len()), {"id": "id", "len": ""}, ""),
    "select selector": (lambda f: f.select(cs.string().str.head(1)), {"lang": "lang", "body": "body"}, ""),
    "select suffix": (lambda f: f.select((cs.string() + pl.col("id").cast(pl.String)).name.suffix("_2")),
                      {"lang_2": "id lang", "body_2": "body id"}, ""),
    "select horizontal": (lambda f: f.select(x=pl.concat_str(pl.all())), {"x": "body id lang"}, ""),
    "select mixed selectors": (lambda f: f.select(cs.string() + pl.concat_str(cs.string())),
                               {"lang": "body lang", "body": "body lang"}, ""),
    "select unnested": (lambda f: f.select(pl.struct("lang", "body").struct.unnest()),
                        {"lang": "body lang", "body": "body lang"}, ""),
    "with_columns": (lambda f: f.with_columns(pl.col("lang").alias("body"), k=pl.lit(1), w=pl.len().over("lang")),
                     {"id": "id", "lang": "lang", "body": "lang", "k": "", "w": "lang"}, ""),
    "with_columns swapped": (lambda f: f.with_columns(lang="body", body="lang"),
                             {"id": "id", "lang": "body", "body": "lang"}, ""),
    "with_columns condition": (lambda f: f.with_columns(x=pl.when(pl.col("id") > 1).then("lang").otherwise("body")),
                               {**SAME, "x": "body id lang"}, ""),
    "with_row_index": (lambda f: f.with_row_index("n"), {"n": "", **SAME}, ""),
    "drop": (lambda f: f.drop("lang"), {"id": "id", "body": "body"}, ""),
    "rename": (lambda f: f.rename({"lang": "body", "body": "lang"}), {"id": "id", "body": "lang", "lang": "body"}, ""),
    "rename function": (lambda f: f.rename(str.upper), {"ID": "id", "LANG": "lang", "BODY": "body"}, ""),
    "cast": (lambda f: f.cast({"id": pl.String}), SAME, ""),
    "sort": (lambda f: f.sort("lang", descending=True), SAME, "lang"),
    "head": (lambda f: f.head(2), SAME, ""),
    "limit": (lambda f: f.limit(2), SAME, ""),
    "tail": (lambda f: f.tail(2), SAME, ""),
    "slice": (lambda f: f.slice(1, 2), SAME, ""),
    "unique": (lambda f: f.unique("lang"), SAME, "lang"),
    "unique whole": (lambda f: f.unique(), SAME, "body id lang"),
    "drop_nulls": (lambda f: f.drop_nulls("body"), SAME, "body"),
    "fill_null": (lambda f: f.fill_null("none"), SAME, ""),
    "fill_null expression": (lambda f: f.select("lang", "body").fill_null(pl.col("lang")),
                             {"lang": "lang", "body": "body lang"}, ""),
    "fill_null strategy": (lambda f: f.fill_null(strategy="forward"), SAME, ""),
    "explode": (lambda f: f.with_columns(pl.col("body").str.split(" ")).explode("body"), SAME, "body"),
    "unnest": (lambda f: f.select("id", s=pl.struct("lang", x="body")).unnest("s"),
               {"id": "id", "lang": "body lang", "x": "body lang"}, ""),
    "unpivot": (lambda f: f.unpivot(["lang", "body"], index="id", value_name="text"),
                {"id": "id", "variable": "", "text": "body lang"}, ""),
    "join": (lambda f: f.join(OTHER, on="id"), {**SAME, "lang_right": "other.lang", "score": "other.score"},
             "other.id id"),
    "join semi": (lambda f: f.join(OTHER, left_on="lang", right_on=pl.col("lang"), how="semi"), SAME,
                  "other.lang lang"),
    "join cross": (lambda f: f.join(OTHER.select("score"), how="cross"), {**SAME, "score": "other.score"}, ""),
    "join full": (lambda f: f.join(OTHER.select("id", "score"), on="id", how="full", coalesce=True),
                  {**SAME, "id": "other.id id", "score": "other.score"}, "other.id id"),
    "join computed": (lambda f: f.join(OTHER, left_on=pl.col("id") + pl.col("body").str.len_chars(), right_on="id"),
                      {**SAME, "id_right": "other.id", "lang_right": "other.lang", "score": "other.score"},
                      "other.id body id"),
    "join_asof": (lambda f: f.sort("id").join_asof(OTHER.sort("id"), on="id", suffix="_2"),
                  {**SAME, "lang_2": "other.lang", "score": "other.score"}, "other.id id"),
    "join_asof by": (lambda f: f.sort("id").join_asof(OTHER.sort("id"), on="id", by="lang"),
                     {**SAME, "score": "other.score"}, "other.id other.lang id lang"),
    "group_by": (lambda f: f.group_by("lang", long=pl.col("body").is_null()).agg(pl.col("id").sum(), pl.len()),
                 {"lang": "lang", "long": "body", "id": "id", "len": ""}, "body lang"),
    "concat": (lambda f: ig.concat([f, f.rename({"lang": "body", "body": "lang"}).filter(pl.col("id") > 1).select(
        "id", "lang", "body")]), {"id": "id", "lang": "body lang", "body": "body lang"}, "id"),
    "concat diagonal": (lambda f: ig.concat([f, f.select("id", extra="lang")], how="diagonal"),
                        {**SAME, "extra": "lang"}, ""),
    "cache": (lambda f: f.cache(), SAME, ""),
    "pipe": (lambda f: f.pipe(lambda g: g.drop("lang")), {"id": "id", "body": "body"}, ""),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.replace(" ", "_"))
def test_every_method_has_its_rule(tickets: ig.SemanticFrame, case: str) -> None:
    make, wanted, rows = CASES[case]
    made = make(tickets)
    assert (values(made), deciders(made)) == (wanted, rows)
    lineage = made.column_lineage()
    assert not lineage.rows.opaque
    assert not any(origin.opaque for origin in lineage.columns.values())
    assert list(lineage.columns) == made.columns
    steps = [step for step in plans.walk(made.node) if isinstance(step, plans.Step)]
    for step in steps:
        assert step.columns is not None
        flow = step.columns([each.schema for each in step.inputs], step.schema)
        assert set(flow.values) == set(step.schema), step.method


def test_no_listed_method_is_forgotten() -> None:
    methods = inspect.getmembers(ig.SemanticFrame, inspect.isfunction)
    own = {
        name
        for name, method in methods
        if not name.startswith("_") and inspect.signature(method).return_annotation in ("SemanticFrame", "GroupBy", "T")
    }
    assert {"filter", "join", "group_by", "pipe"} < own
    assert {name.partition(" ")[0] for name in CASES} - {"concat"} == own - {"map_frame"}


def test_map_frame_is_opaque_and_everything_before_may_be_behind_it(tickets: ig.SemanticFrame) -> None:
    made = tickets.select("id", "lang").map_frame(lambda lf: lf.with_columns(x=pl.lit(1))).select("x", k=pl.lit(2))
    assert values(made) == {"x": "id lang", "k": ""}
    lineage = made.column_lineage()
    [said] = lineage.columns["x"].opaque
    assert said.startswith("map_frame(")
    assert "<lambda>" in said
    assert lineage.rows.opaque == (said,)
    assert lineage.columns["k"].opaque == ()


@pytest.mark.parametrize(
    ("make", "column"),
    [
        (lambda f: f.with_columns(x=pl.col("lang").map_elements(str.upper, return_dtype=pl.String)), "x"),
        (lambda f: f.with_columns(x=pl.col("lang").map_batches(lambda s: s, return_dtype=pl.String)), "x"),
        (lambda f: f.select(x=pl.reduce(lambda a, b: a + b, ["lang", "body"])), "x"),
        (lambda f: f.group_by("id").agg(x=pl.col("lang").map_batches(lambda s: s, return_dtype=pl.String)), "x"),
        (lambda f: f.with_columns(x=pl.col("lang").str.split("").list.eval(
            pl.element().map_elements(str.upper, return_dtype=pl.String))), "x"),
    ],
)  # fmt: skip
def test_functions_in_expressions_are_opaque_and_said(tickets: ig.SemanticFrame, make: Make, column: str) -> None:
    lineage = make(tickets).column_lineage()
    [said] = lineage.columns[column].opaque
    assert said.split(":")[0] in ("with_columns", "select", "group_by.agg")
    assert "lang" in said
    assert {one.column for one in lineage.columns[column].sources} <= {"lang", "body"}
    assert not [name for name, origin in lineage.columns.items() if origin.opaque and name != column]


def test_a_function_in_a_condition_makes_the_choice_of_rows_opaque(tickets: ig.SemanticFrame) -> None:
    made = tickets.filter(pl.col("lang").map_elements(str.isalpha, return_dtype=pl.Boolean))
    lineage = made.column_lineage()
    assert lineage.rows.opaque == ('filter: col("lang").python_udf()',)
    assert not lineage.columns["body"].opaque


def test_a_step_without_a_rule_is_opaque(session: ig.Session, tickets: ig.SemanticFrame) -> None:
    node = plans.step("reshape", "", [tickets.node], lambda inputs, hidden: inputs[0].select("id"), identity="")
    assert ig.SemanticFrame(session, node).column_lineage().columns["id"].opaque == ("reshape()",)


def test_a_rule_that_does_not_give_the_columns_is_not_believed(session: ig.Session, tickets: ig.SemanticFrame) -> None:
    tickets_rule = tickets.head(1).node
    assert isinstance(tickets_rule, plans.Step)
    node = plans.step(
        "reshape",
        "",
        [tickets.node],
        lambda inputs, hidden: inputs[0].select(other="id"),
        identity="",
        columns=lambda inputs, output: tickets_rule.columns(inputs, inputs[0]),  # type: ignore[misc]  # it has one
    )
    assert ig.SemanticFrame(session, node).column_lineage().columns["other"].opaque == ("reshape()",)


def test_operators_add_their_prompt_schema_and_model(tickets: ig.SemanticFrame) -> None:
    made = (
        tickets.semantic.extract("body", Facts, instruction="Mind the days.", where=pl.col("lang") == "en")
        .semantic.filter("{{ product }} is broken", model="other")
        .semantic.classify(pl.col("body") + pl.col("product"), ["a", "b"], into="kind", examples=[({"body": "secret",
                           "product": "x"}, "a")])
        .drop("product")
    )  # fmt: skip
    lineage = made.column_lineage()
    assert values(made) == {**SAME, "days": "body lang", "kind": "body lang"}
    assert lineage.columns["days"].operators == ("extract",)
    assert lineage.columns["kind"].operators == ("extract", "classify")
    assert (lineage.rows.operators, deciders(made)) == (("extract", "filter"), "body lang")
    extract, keep, classify = lineage.operators
    assert "Mind the days." in extract.prompt
    assert extract.schema is not None
    assert extract.schema["properties"]["product"] == {"type": "string", "description": "the product"}
    assert (extract.reads, extract.writes) == (("body",), {"product": "String", "days": "Int64"})
    assert extract.where == '[(col("lang")) == ("en")]'
    assert (keep.kind, keep.model, keep.model_id, dict(keep.writes)) == ("filter", "other", "scripted:other", {})
    assert "<product> is broken" in keep.prompt
    assert classify.reads == ("body", "product")
    assert (extract.examples, classify.examples) == (0, 1)
    assert "secret" not in json.dumps(lineage.as_dict())


def test_a_function_in_what_an_operator_reads_is_opaque(tickets: ig.SemanticFrame) -> None:
    made = tickets.semantic.sentiment(pl.col("body").map_elements(str.upper, return_dtype=pl.String))
    [said] = made.column_lineage().columns["sentiment"].opaque
    assert said == 'semantic.sentiment: col("body").python_udf()'


def test_templates_with_loops_are_not_opaque(tickets: ig.SemanticFrame) -> None:
    made = tickets.semantic.map("{% for i in [1, 2] %}{{ body }}{% endfor %}", into="x")
    assert made.column_lineage().columns["x"].opaque == ()


def test_two_frames_with_one_operator_name_are_told_apart(session: ig.Session, tickets: ig.SemanticFrame) -> None:
    other = session.frame(pl.DataFrame({"id": [1], "note": ["x"]}), name="notes").semantic.sentiment("note", into="n")
    joined = tickets.semantic.sentiment("body", into="b").join(other, on="id")
    lineage = joined.column_lineage()
    assert lineage.columns["b"].operators == ("sentiment",)
    assert lineage.columns["n"].operators == ("sentiment_2",)


def test_plain_data_and_back(tickets: ig.SemanticFrame) -> None:
    lineage = (
        tickets.filter(pl.col("id") > 1)
        .semantic.extract("body", Facts)
        .map_frame(lambda lf: lf.select("product"))
        .column_lineage()
    )
    assert ColumnLineage.from_dict(json.loads(json.dumps(lineage.as_dict()))) == lineage


def test_nothing_is_asked_for_it(tickets: ig.SemanticFrame) -> None:
    with script("fast", lambda request: "x") as running:
        tickets.semantic.extract("body", Facts).column_lineage()
        assert not running.requests


# -- a law: whoever changes a source column changes only what depends on it -------------------------

BASE = pl.DataFrame({"k": [1, 2, 3, 4], "a": ["p", "q", "r", "s"], "b": [10, 20, 30, 40], "c": ["u", "u", "v", "w"]})
RIGHT = pl.DataFrame({"k": [2, 3, 5], "b": [3, 1, 2], "d": ["x", "y", "z"]})
CHANGED: Mapping[tuple[str, str], pl.Expr] = {
    ("left", "a"): pl.col("a") + "!",
    ("left", "b"): pl.col("b") * 7,
    ("left", "c"): pl.col("c").replace("v", "u"),
    ("left", "k"): pl.col("k") + 1,
    ("right", "k"): pl.col("k") + 1,
    ("right", "b"): pl.col("b") * 5,
    ("right", "d"): pl.col("d") + "?",
}
HOWS = st.sampled_from(["inner", "left", "right", "full"])
KEYS = st.sampled_from([("k", "k"), ("k", "b"), ("b", "k")])
STEPS: dict[str, st.SearchStrategy[Any]] = {
    "join": st.tuples(HOWS, st.sampled_from([None, True, False]), KEYS),
    "group": st.sampled_from(["a", "b", "c"]),
    "filter": st.integers(1, 3),
    "swap": st.just(None),
    "sum": st.just(None),
}  # fmt: skip


def stepped(frame: ig.SemanticFrame, right: ig.SemanticFrame, kind: str, choice: Any) -> ig.SemanticFrame:
    match kind:
        case "join" if {"k", "b"} <= set(frame.columns) and frame.schema["k"] == frame.schema["b"] == pl.Int64:
            how, coalesce, (one, other) = choice
            if f"{other}_right" in frame.columns or "d" in frame.columns:
                return frame
            return frame.join(right, left_on=one, right_on=other, how=how, coalesce=coalesce)
        case "group" if choice in frame.columns:
            rest = [name for name in frame.columns if name != choice]
            return frame.group_by(choice).agg(pl.col(rest).first()) if rest else frame
        case "filter" if "k" in frame.columns:
            return frame.filter(pl.col("k") > choice)
        case "swap" if {"k", "b"} <= set(frame.columns):
            return frame.rename({"k": "b", "b": "k"})
        case "sum" if frame.columns:
            return frame.with_columns(cs.integer() + pl.col(cs.expand_selector(frame.schema, cs.integer())[:1]).max())
    return frame


def built(session: ig.Session, left: pl.DataFrame, right: pl.DataFrame, steps: list[Any]) -> ig.SemanticFrame:
    frame, other = session.frame(left, name="left"), session.frame(right, name="right")
    for kind, choice in steps:
        frame = stepped(frame, other, kind, choice)
    return frame


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.sampled_from(sorted(STEPS)).flatmap(lambda kind: st.tuples(st.just(kind), STEPS[kind])), max_size=4
    ),
    changed=st.sampled_from(sorted(CHANGED)),
)
def test_a_changed_source_column_changes_only_what_follows_from_it(
    session: ig.Session, steps: list[Any], changed: tuple[str, str]
) -> None:
    """Where it decides no rows, the columns that do not name it stay equal to the bit."""
    side, _ = changed
    frame = built(session, BASE, RIGHT, steps)
    lineage = frame.column_lineage()
    assert not any(origin.opaque for origin in lineage.columns.values())
    if any((one.source, one.column) == changed for one in lineage.rows.sources):
        return
    left, right = (
        data.with_columns(CHANGED[changed]) if side == name else data
        for name, data in (("left", BASE), ("right", RIGHT))
    )
    before, after = frame.collect(), built(session, left, right, steps).collect()
    for name, origin in lineage.columns.items():
        if not any((one.source, one.column) == changed for one in origin.sources):
            assert before[name].equals(after[name]), name
