"""Laws of row lineage, on random plans over every listed method of a frame.

Each plan carries a column ``made_from`` that its own Polars expressions keep: the keys of all source rows behind a row.
Lineage must find the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import infergraph as ig
from infergraph.frame.parents import SourceFinder
from infergraph.lineage import Trace
from infergraph.models.model import Request, Response
from infergraph.models.sample import sample_embedding
from infergraph.models.scripted import script
from infergraph.traces import ancestors, descendants

Step = Callable[[ig.SemanticFrame], ig.SemanticFrame]

COLUMNS = ["k", "g", "n", "parts", "made_from"]
OTHER_KEYS = [101, 102, 103]


@pytest.fixture(scope="module")
def session() -> Iterator[ig.Session]:
    models = {"judge": ig.Model("scripted:judge")}
    with (
        script("judge", answer),
        ig.Session(models=models, default_model="judge", store="sqlite://", progress=False) as made,
    ):
        yield made


def table(keys: list[int]) -> pl.DataFrame:
    """Rows with these keys, some alike in everything else."""
    return pl.DataFrame(
        {
            "k": keys,
            "g": [["a", "b", None][key % 3] for key in keys],
            "n": [key % 4 for key in keys],
            "parts": [[f"{key}.{at}" for at in range(key % 3)] for key in keys],
            "made_from": [[key] for key in keys],
        },
        schema={
            "k": pl.Int64,
            "g": pl.String,
            "n": pl.Int64,
            "parts": pl.List(pl.String),
            "made_from": pl.List(pl.Int64),
        },
    )


def others(frame: ig.SemanticFrame) -> ig.SemanticFrame:
    rows = pl.DataFrame({"key": OTHER_KEYS, "g": ["a", "a", "b"], "n": [0, 1, 2]})
    return frame.session.frame(rows, name="others", key="key").with_columns(pl.concat_list("key").alias("made_from"))


def together(joined: ig.SemanticFrame) -> ig.SemanticFrame:
    """A join's rows with the columns that every step leaves, and both sides' sources."""
    both = pl.concat_list(pl.col("made_from").fill_null([]), pl.col("made_from_right").fill_null([]))
    return joined.with_columns(made_from=both).select(COLUMNS)


def joined(how: Any) -> Step:
    def step(frame: ig.SemanticFrame) -> ig.SemanticFrame:
        keys: dict[str, Any] = {} if how == "cross" else {"on": "g"}
        made = frame.join(others(frame), how=how, **keys)
        if how in ("semi", "anti"):
            return made
        if how == "cross":
            return together(made.head(20))
        return together(made)

    return step


def joined_by_meaning(how: Any) -> Step:
    def step(frame: ig.SemanticFrame) -> ig.SemanticFrame:
        same_group = pl.col("g") == pl.col("g_right")
        made = frame.semantic.join(others(frame), "{{ left.k }} {{ right.key }}", how=how, candidates=same_group)
        return together(made)

    return step


def nearest(frame: ig.SemanticFrame) -> ig.SemanticFrame:
    right = others(frame).select(pl.col("n").alias("m"), "made_from").sort("m")
    sorted_rows = frame.filter(pl.col("n").is_not_null()).sort("n")
    return together(sorted_rows.join_asof(right, left_on="n", right_on="m"))


def alike(frame: ig.SemanticFrame) -> ig.SemanticFrame:
    return together(frame.semantic.sim_join(others(frame), "g", "g", k=2).drop("similarity"))


def found(frame: ig.SemanticFrame) -> ig.SemanticFrame:
    return frame.semantic.search("g", "a", k=4).drop("similarity")


def answer(request: Request) -> str | Response:
    if request.embed_text is not None:
        return Response(embedding=sample_embedding(request.embed_text))
    return '{"answer": true}' if request.schema else "a text"


def grouped(frame: ig.SemanticFrame) -> ig.SemanticFrame:
    first = pl.col("k", "n", "parts").first()
    return frame.group_by("g").agg(first, pl.col("made_from").explode()).select(COLUMNS)


def unpivoted(frame: ig.SemanticFrame) -> ig.SemanticFrame:
    long = frame.with_columns(m=pl.col("n") + 1).unpivot(["n", "m"], index=["k", "g", "parts", "made_from"])
    return long.select("k", "g", pl.col("value").alias("n"), "parts", "made_from")


def renumbered(frame: ig.SemanticFrame) -> ig.SemanticFrame:
    nothing = pl.lit([], dtype=pl.List(pl.Int64)).alias("made_from")
    return frame.map_frame(lambda rows: rows.with_columns(nothing).reverse())


def added_up(frame: ig.SemanticFrame) -> ig.SemanticFrame:
    nothing = pl.lit([], dtype=pl.List(pl.Int64)).alias("made_from")
    one = frame.select(pl.col("k").max(), pl.lit("a").alias("g"), pl.col("n").sum(), pl.col("parts").first())
    return one.with_columns(nothing)


def with_struct(frame: ig.SemanticFrame) -> ig.SemanticFrame:
    return frame.with_columns(s=pl.struct(m="n")).unnest("s").drop("m")


STEPS: dict[str, Step] = {
    "semantic.join": joined_by_meaning("inner"),
    "semantic.join left": joined_by_meaning("left"),
    "filter": lambda f: f.filter(pl.col("n") != 1),
    "select": lambda f: f.select("k", "g", pl.col("n") + 0, "parts", "made_from"),
    "with_columns": lambda f: f.with_columns(n=pl.col("n") * 2),
    "with_row_index": lambda f: f.with_row_index("at").drop("at"),
    "drop": lambda f: f.with_columns(m=1).drop("m"),
    "rename": lambda f: f.rename({"n": "m"}).rename({"m": "n"}),
    "cast": lambda f: f.cast({"n": pl.Float64}).cast({"n": pl.Int64}),
    "sort": lambda f: f.sort("n", "k", descending=True),
    "head": lambda f: f.head(4),
    "limit": lambda f: f.limit(5),
    "tail": lambda f: f.tail(4),
    "slice": lambda f: f.slice(1, 5),
    "unique": lambda f: f.unique("n"),
    "drop_nulls": lambda f: f.drop_nulls("g"),
    "fill_null": lambda f: f.fill_null("z"),
    "explode": lambda f: f.explode("parts").with_columns(parts=pl.concat_list(pl.col("parts").fill_null("-"))),
    "unnest": with_struct,
    "unpivot": unpivoted,
    **{f"join, {how}": joined(how) for how in ("inner", "left", "right", "full", "semi", "anti", "cross")},
    "join, itself": lambda f: together(f.head(5).join(f, on="n")),
    "join_asof": nearest,
    "group_by": grouped,
    "pipe": lambda f: f.pipe(lambda same: same),
    "cache": lambda f: f.cache(),
    "concat": lambda f: ig.concat([f, f.filter(pl.col("n") > 0)]).select(COLUMNS),
    "map_frame": renumbered,
    "select, aggregates": added_up,
    "semantic.map": lambda f: f.semantic.map("Shorten {{ k }}", into="said").filter(pl.col("said") != "").drop("said"),
    "semantic.sim_join": alike,
    "semantic.search": found,
    "semantic.filter": lambda f: f.semantic.filter("{{ n }} is fine"),
}
NOT_STEPS = {
    "collect", "collect_schema", "column_lineage", "columns", "estimate", "explain", "fingerprint", "node", "prompts",
    "run", "schema", "semantic", "session", "sink_csv", "sink_ndjson", "sink_parquet",
}  # fmt: skip
plans = st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=4)
keys = st.lists(st.integers(0, 30), min_size=1, max_size=9, unique=True)


def planned(session: ig.Session, rows: pl.DataFrame, steps: list[str], key: str | None = "k") -> ig.SemanticFrame:
    frame = session.frame(rows, name="rows", key=key)
    for name in steps:
        frame = STEPS[name](frame)
    return frame


def source_keys(result: ig.RunResult, row_id: str) -> set[int]:
    """The keys of the source rows that lineage finds behind a row."""
    rows = ancestors(result.lineage.lazy(), [row_id])
    made = set(rows.filter(pl.col("parent").is_not_null())["row_id"])
    leaves = [one for one in {row_id, *rows["parent"].drop_nulls()} if one not in made]
    return {next(iter(row.key.values())) for row in SourceFinder(result.sources)(leaves).values()}


def leaves_of(trace: Trace) -> Iterator[Trace]:
    if not trace.parents:
        yield trace
    for parent in trace.parents:
        yield from leaves_of(parent)


def test_every_listed_method_has_its_place_here() -> None:
    listed = {name for name in dir(ig.SemanticFrame) if not name.startswith("_")} - NOT_STEPS
    assert listed <= {name.partition(",")[0] for name in STEPS}


@pytest.mark.parametrize("name", sorted(STEPS))
def test_each_method_is_followed(session: ig.Session, name: str) -> None:
    result = planned(session, table(list(range(1, 10))), [name]).run(row_ids=True)
    assert result.frame.height
    for row_id, made_from in result.frame["_row_id", "made_from"].iter_rows():
        assert source_keys(result, row_id) == set(made_from)


@settings(max_examples=120, deadline=None)
@given(keys, plans)
def test_every_row_has_a_trace_to_its_sources_or_to_a_stated_end(
    session: ig.Session, keys: list[int], steps: list[str]
) -> None:
    result = planned(session, table(keys), steps).run(row_ids=True)
    for row_id, made_from in result.frame["_row_id", "made_from"].iter_rows():
        assert source_keys(result, row_id) == set(made_from)
        ends = list(leaves_of(result.trace(row_id)))
        assert all((end.source is None) != (end.ended == "") for end in ends)
        assert any(end.ended for end in ends) or made_from


@settings(max_examples=40, deadline=None)
@given(keys, plans)
def test_forwards_and_backwards_agree(session: ig.Session, keys: list[int], steps: list[str]) -> None:
    result = planned(session, table(keys), steps).run(row_ids=True)
    lineage = result.lineage.lazy()
    up = {row_id: {row_id, *ancestors(lineage, [row_id])["parent"].drop_nulls()} for row_id in result.frame["_row_id"]}
    everyone = {one for ancestry in up.values() for one in ancestry}
    for one in everyone:
        down = {one, *descendants(lineage, [one])["row_id"]}
        assert {row_id for row_id, ancestry in up.items() if one in ancestry} == down & set(up)


FROM_ONE_ROW = [
    "filter", "select", "with_columns", "rename", "cast", "sort", "drop_nulls", "fill_null", "explode", "unnest",
    "unpivot", "join, inner", "join, left", "join, semi", "join, anti", "semantic.map", "semantic.filter",
]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(keys, st.lists(st.sampled_from(FROM_ONE_ROW), max_size=4), st.randoms(use_true_random=False), st.booleans())
def test_ids_stay_when_rows_come_go_and_move(
    session: ig.Session, keys: list[int], steps: list[str], random: Random, keyed: bool
) -> None:
    moved = [*keys[: len(keys) // 2], *range(40, 44)]
    random.shuffle(moved)
    key = "k" if keyed else None
    before, after = (
        planned(session, table(one), [*steps, "select"], key).run(row_ids=True).frame for one in (keys, moved)
    )
    kept = pl.col("k").is_in(keys[: len(keys) // 2])
    names = [sorted(rows.filter(kept).select("k", "g", "n", "_row_id").rows(), key=str) for rows in (before, after)]
    assert names[0] == names[1]


@settings(max_examples=20, deadline=None)
@given(keys, st.randoms(use_true_random=False))
def test_groups_keep_their_ids_when_their_rows_move(session: ig.Session, keys: list[int], random: Random) -> None:
    moved = random.sample(keys, len(keys))
    before, after = (planned(session, table(one), ["group_by"]).run(row_ids=True).frame for one in (keys, moved))
    assert dict(before["g", "_row_id"].iter_rows()) == dict(after["g", "_row_id"].iter_rows())


def test_groups_by_other_columns_are_other_rows(session: ig.Session) -> None:
    rows = session.frame(pl.DataFrame({"k": [1], "a": [1], "b": [1]}), name="rows", key="k")
    groups = [rows.group_by(name).agg(pl.len()).run(row_ids=True).frame["_row_id"][0] for name in ("a", "b")]
    assert groups[0] != groups[1]
