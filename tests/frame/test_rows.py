"""Row ids travel through every listed method, unseen by expressions."""

from __future__ import annotations

from typing import Any

import polars as pl
import polars.selectors as cs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import infergraph as ig
from infergraph.frame.expressions import keeps_rows_in_place, spelt_out


def ids(frame: ig.SemanticFrame) -> list[str]:
    return frame.run(row_ids=True).frame["_row_id"].to_list()


def test_ids_are_last_and_only_on_request(tickets: ig.SemanticFrame) -> None:
    assert tickets.run(row_ids=True).frame.columns[-1] == "_row_id"
    assert "_row_id" not in tickets.run().frame.columns


def test_ids_are_stable_and_follow_the_key(session: ig.Session, rows: pl.DataFrame) -> None:
    one = ids(session.frame(rows, name="t", key="id"))
    changed = rows.with_columns(body=pl.lit("other"))
    assert ids(session.frame(changed, name="t", key="id")) == one
    assert ids(session.frame(rows, name="u", key="id")) != one
    assert len(set(one)) == len(one)


def test_ids_without_a_key_follow_content_and_occurrence(session: ig.Session) -> None:
    frame = session.frame(pl.DataFrame({"x": ["a", "b", "a"]}), name="t")
    first = ids(frame)
    assert len(set(first)) == 3
    assert ids(session.frame(pl.DataFrame({"x": ["b", "a", "a"]}), name="t")) == [first[1], first[0], first[2]]


@pytest.mark.parametrize(
    "step",
    [
        lambda f: f.with_columns(pl.all().name.suffix("_2")),
        lambda f: f.select(pl.all()),
        lambda f: f.select(cs.string()),
        lambda f: f.select("body", n=pl.col("id").cum_sum()),
        lambda f: f.rename({"body": "text"}),
        lambda f: f.drop("lang"),
        lambda f: f.cast({"id": pl.String}),
        lambda f: f.fill_null("none"),
        lambda f: f.with_row_index(),
        lambda f: f.cache(),
    ],
)
def test_one_to_one_methods_keep_ids(tickets: ig.SemanticFrame, step: object) -> None:
    changed = step(tickets)  # type: ignore[operator]
    assert ids(changed) == ids(tickets)
    assert "_row_id" not in changed.run().frame.columns


def test_choosing_methods_keep_the_ids_of_their_rows(tickets: ig.SemanticFrame) -> None:
    all_ids = ids(tickets)
    assert ids(tickets.filter(pl.col("lang") == "en")) == [all_ids[i] for i in (0, 1, 3, 5)]
    assert ids(tickets.head(2)) == all_ids[:2]
    assert ids(tickets.tail(2)) == all_ids[-2:]
    assert ids(tickets.slice(1, 2)) == all_ids[1:3]
    assert ids(tickets.sort("id", descending=True)) == all_ids[::-1]
    assert ids(tickets.drop_nulls()) == [all_ids[i] for i in (0, 1, 3, 4, 5)]
    assert ids(tickets.unique("lang")) == [all_ids[i] for i in (0, 2, 4)]


def test_unique_ignores_ids(session: ig.Session) -> None:
    assert session.frame(pl.DataFrame({"x": [1, 1, 2]})).unique().collect()["x"].to_list() == [1, 2]


def test_aggregating_select_gives_one_row(tickets: ig.SemanticFrame) -> None:
    assert tickets.select(pl.len()).collect().to_dicts() == [{"len": 6}]
    assert tickets.select(pl.col("id").sum(), pl.len()).collect().rows() == [(21, 6)]
    assert tickets.select(pl.col("lang").unique().sort()).collect()["lang"].to_list() == ["de", "en", "fr"]


def test_one_to_many_methods_derive_ids(session: ig.Session) -> None:
    frame = session.frame(pl.DataFrame({"k": [1, 2, 3], "parts": [["a", "b"], [], ["c"]]}), name="t", key="k")
    exploded = frame.explode("parts")
    assert exploded.collect().rows() == pl.DataFrame(frame.collect()).explode("parts").rows()
    assert len(set(ids(exploded))) == exploded.collect().height
    long = session.frame(pl.DataFrame({"k": [1, 2], "a": [3, 4], "b": [5, 6]}), name="w", key="k").unpivot(
        ["a", "b"], index="k"
    )
    assert len(set(ids(long))) == 4


def test_joins_and_groups(tickets: ig.SemanticFrame, session: ig.Session) -> None:
    names = pl.DataFrame({"lang": ["en", "de"], "name": ["English", "German"]})
    inner = tickets.join(names, on="lang")
    assert inner.collect()["id"].to_list() == [1, 2, 3, 4, 6]
    assert inner.columns == ["id", "lang", "body", "name"]
    left = tickets.join(session.frame(names, name="names"), on="lang", how="left")
    assert left.collect()["name"].null_count() == 1
    assert len(set(ids(left))) == 6
    anti = tickets.join(names, on="lang", how="anti")
    assert ids(anti) == [ids(tickets)[4]]
    groups = tickets.group_by("lang").agg(pl.len(), pl.col("id").sum())
    assert groups.collect().rows() == [("en", 4, 13), ("de", 1, 3), ("fr", 1, 5)]
    assert ids(groups) == ids(groups)
    whole = tickets.group_by("lang").agg(pl.all())
    assert whole.columns == ["lang", "id", "body"]


def test_join_asof(session: ig.Session) -> None:
    left = session.frame(pl.DataFrame({"t": [1, 5, 9]}), name="l")
    right = pl.DataFrame({"t": [0, 4], "v": ["a", "b"]})
    assert left.join_asof(right, on="t").collect()["v"].to_list() == ["a", "b", "b"]


def test_concat_and_map_frame(tickets: ig.SemanticFrame) -> None:
    both = ig.concat([tickets.head(1), tickets.tail(1)])
    assert both.collect()["id"].to_list() == [1, 6]
    turned = tickets.map_frame(lambda lf: lf.reverse())
    assert turned.collect()["id"].to_list() == [6, 5, 4, 3, 2, 1]
    assert not set(ids(turned)).intersection(ids(tickets))
    with pytest.raises(ig.PlanError, match="at least one"):
        ig.concat([])


def test_row_ids_of_an_earlier_run_are_taken_over(tickets: ig.SemanticFrame, session: ig.Session) -> None:
    published = tickets.run(row_ids=True).frame
    again = session.frame(published, name="later")
    assert again.columns == ["id", "lang", "body"]
    assert ids(again) == published["_row_id"].to_list()


@pytest.mark.parametrize(
    ("expression", "columns"),
    [
        (pl.all(), ["a", "b"]),
        (pl.last(), ["b"]),
        (pl.nth(-1), ["b"]),
        (cs.by_index(-1), ["b"]),
        (pl.exclude("a"), ["b"]),
        (cs.float() + 1.0, ["b"]),
        (pl.all().cast(pl.String), ["a", "b"]),
        (pl.all().map_batches(lambda s: s), ["a", "b"]),
        (pl.col("b") < float("inf"), ["b"]),
    ],
)
def test_selectors_mean_the_visible_columns(expression: pl.Expr, columns: list[str]) -> None:
    frame = pl.DataFrame({"a": [1], "b": [1.5], "_row_id": ["x"]})
    [spelt] = spelt_out([expression], {"a": pl.Int64(), "b": pl.Float64()})
    assert frame.select(spelt).columns == columns


def test_a_selector_beside_infinity_is_refused_with_the_way_out(session: ig.Session) -> None:
    frame = session.frame(pl.DataFrame({"b": [1.5]}))
    with pytest.raises(ig.PlanError, match="one expression a column"):
        frame.with_columns(cs.float() + float("inf"))


@pytest.mark.parametrize(
    ("expression", "in_place"),
    [
        (pl.col("x") + 1, True),
        (pl.col("x") == pl.col("x").max(), True),
        (pl.col("x").cum_sum(), True),
        (pl.col("x").shift(), True),
        (pl.col("x").sort().first().over("y"), True),
        (pl.col("x").sum(), False),
        (pl.len(), False),
        (pl.col("x").sort(), False),
        (pl.col("x").filter(pl.col("y") > 1), False),
        (pl.col("x").unique(), False),
        (pl.col("x").reverse(), False),
        (pl.col("x").head(2), False),
        (pl.col("x").map_batches(lambda s: s), False),
        (pl.col("x").map_batches(lambda s: s, is_elementwise=True), True),
        (pl.col("x").sort().map_batches(lambda s: s, is_elementwise=True), False),
        (pl.col("x").map_elements(lambda one: one, return_dtype=pl.Int64), True),
        (pl.lit("x").map_batches(lambda s: s, is_elementwise=True), False),
        (ig.text.chunks.window(ig.text.chunks.tokens("x", 5)).alias("chunks"), True),
        (ig.text.chunks.markdown("x", 5), True),
        (ig.text.html.select("x", "p"), True),
        (ig.text.transcripts.parse("x"), True),
        (ig.text.templates.render("{{ x }} {% if y %}{{ y }}{% endif %}"), True),
    ],
)
def test_expressions_that_keep_rows_in_place(expression: pl.Expr, in_place: bool) -> None:
    assert keeps_rows_in_place([expression]) is in_place


def written_in(path: str, source: str) -> Any:
    """The function ``source`` writes, as a module at this path would have it."""
    names: dict[str, Any] = {"__name__": "elsewhere"}
    exec(compile(source, path, "exec"), names)
    return names["made"]


def test_a_plan_is_the_same_wherever_the_code_of_its_functions_lies(session: ig.Session) -> None:
    source = "def made(rows):\n    return rows.head(len([one for one in 'ab' if one in {'a', 'b'}]))\n"
    frame = session.frame(pl.DataFrame({"a": [1]}), name="rows")

    def fingerprints(path: str, source: str) -> set[str]:
        made = written_in(path, source)
        return {
            frame.with_columns(b=pl.col("a").map_batches(made, pl.Int64)).fingerprint(),
            frame.map_frame(made).fingerprint(),
        }

    here, there = fingerprints("/here/rows.py", source), fingerprints("/over/there/rows.py", source)
    assert here == there
    assert not here & fingerprints("/here/rows.py", source.replace("'b'", "'c'"))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=30), st.integers(0, 3))
def test_filter_and_projection_do_not_change_ids(pairs: list[tuple[str, int]], bound: int) -> None:
    data = pl.DataFrame(pairs, schema={"s": pl.String, "n": pl.Int64}, orient="row")
    with ig.Session(models={"m": ig.Model("scripted:m")}, store="sqlite://") as session:
        frame = session.frame(data, name="t")
        every = frame.run(row_ids=True).frame
        some = frame.filter(pl.col("n") > bound).run(row_ids=True).frame
        assert some.equals(every.filter(pl.col("n") > bound))
        assert every["_row_id"].n_unique() == data.height
