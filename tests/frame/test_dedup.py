"""``dedup``: rows that mean the same become the first of them. A text here says its own vector: "3 4"."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import infergraph as ig
from infergraph.lineage_text import trace_text
from infergraph.models.model import CallFailed, Request, Response, Tokens
from infergraph.models.scripted import Script, script

ANGLES = st.lists(st.one_of(st.none(), st.integers(0, 17)), max_size=10)


def vector(request: Request) -> Response:
    if "bad" in (text := request.embed_text or ""):
        raise CallFailed("not this one", outcome="permanent", reason="refused")
    return Response(embedding=tuple(map(float, text.split()[:2])), tokens=Tokens(input=2))


@pytest.fixture
def asked() -> Iterator[Script]:
    with script("embedder", vector) as running:
        yield running


@pytest.fixture
def session(tmp_path: Path, asked: Script) -> Iterator[ig.Session]:
    models = {"embedder": ig.Model("scripted:embedder", dimensions=2)}
    with ig.Session(models=models, default_model="embedder", store="sqlite:///s.db", root=tmp_path) as made:
        yield made


def rows_of(session: ig.Session, texts: list[str | None]) -> ig.SemanticFrame:
    rows = pl.DataFrame({"id": range(len(texts)), "text": texts}, schema={"id": pl.Int64, "text": pl.String})
    return session.frame(rows, name="rows", key="id")


def at(degrees: float | None) -> str | None:
    """A text whose vector points there."""
    if degrees is None:
        return None
    return f"{np.cos(np.radians(degrees)):.6f} {np.sin(np.radians(degrees)):.6f}"


def kept(session: ig.Session, texts: list[str | None], least: float) -> list[int]:
    return rows_of(session, texts).semantic.dedup("text", min_similarity=least).collect()["id"].to_list()


def test_the_first_of_what_means_the_same_stays_in_order(session: ig.Session) -> None:
    texts = [at(80), at(0), at(82), None, at(1), "bad", None, at(0)]
    result = rows_of(session, texts).semantic.dedup("text", min_similarity=0.99).run()
    assert result.frame["id"].to_list() == [0, 1, 3, 5, 6]
    assert result.frame.schema == pl.Schema({"id": pl.Int64, "text": pl.String})
    assert (result.rejects["id"].to_list(), result.rejects["operator"].to_list()) == ([5], ["dedup"])


def test_what_is_alike_with_a_third_is_merged_too(session: ig.Session) -> None:
    # 0 and 40 degrees are alike by way of 20 degrees, which comes last.
    assert kept(session, [at(0), at(40), at(20)], 0.93) == [0]
    assert kept(session, [at(0), at(40)], 0.93) == [0, 1]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANGLES, st.sampled_from([-1.0, 0.0, 0.9, 0.99, 1.0]))
def test_it_is_idempotent_keeps_the_order_and_says_what_became_of_every_row(
    session: ig.Session, angles: list[int | None], least: float
) -> None:
    rows = rows_of(session, [at(None if angle is None else 10 * angle) for angle in angles])
    result = rows.semantic.dedup("text", min_similarity=least).run(row_ids=True)
    again = rows.semantic.dedup("text", min_similarity=least).semantic.dedup("text", min_similarity=least).collect()
    assert_frame_equal(again, result.frame.drop("_row_id"))
    ids = result.frame["id"].to_list()
    assert ids == sorted(ids)
    assert {row for row, angle in enumerate(angles) if angle is None} <= set(ids)
    everyone = rows.run(row_ids=True).frame["_row_id"].to_list()
    edges = result.lineage.filter(pl.col("parent").is_not_null())
    assert sorted(edges["parent"]) == sorted(set(everyone) - set(result.frame["_row_id"]))
    assert edges["part"].null_count() == 0
    assert set(edges["row_id"]) <= set(result.frame["_row_id"])


@pytest.mark.parametrize("texts", [[], [None], ["1 0"], [None, None]])
def test_small_frames_stay(session: ig.Session, texts: list[str | None]) -> None:
    assert kept(session, texts, 0.5) == list(range(len(texts)))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_rejected_row_stays_whatever_its_place(session: ig.Session, place: int) -> None:
    texts: list[str | None] = ["1 0", "1 0", "1 0"]
    texts[place] = "bad"
    first = 1 if place == 0 else 0
    assert kept(session, texts, 0.9) == sorted({place, first})


def test_equal_rows_cost_one_call_and_a_re_run_none(session: ig.Session, asked: Script) -> None:
    deduped = rows_of(session, ["1 0", "1 0", "0 1"]).semantic.dedup("text", min_similarity=0.9)
    assert deduped.estimate().calls == deduped.run().usage.calls == len(asked.requests) == 2
    assert deduped.estimate().calls == deduped.run().usage.calls == 0


def test_the_trace_says_which_rows_were_merged_and_why(session: ig.Session) -> None:
    deduped = rows_of(session, [at(0), at(90), at(40), at(20), at(0)]).semantic.dedup("text", min_similarity=0.93)
    result = deduped.run(row_ids=True)
    first, other = (result.trace(row_id) for row_id in result.frame["_row_id"])
    merged = {one.source.values["id"]: first.merged[one.row_id] for one in first.parents if one.source is not None}
    by_way = rows_of(session, [at(0), at(90), at(40), at(20)]).run(row_ids=True).frame["_row_id"][3]
    assert merged == {
        2: f"0.940 like row {by_way}, which was merged too", 3: "0.940 like this row", 4: "1.000 like this row",
    }  # fmt: skip
    assert (first.made_by, first.parents_total) == ("dedup", 3)
    assert first.source is not None
    assert first.source.values["id"] == 0
    assert "dedup merged 3 rows into it:\n    0.940 like" in trace_text(first)
    assert (other.made_by, other.parents, other.merged) == ("", [], {})
    assert first.as_dict()["merged"] == dict(first.merged)


def test_merged_rows_of_rows_that_were_made_on_the_way(session: ig.Session) -> None:
    data = pl.DataFrame({"id": [1, 2], "texts": [["1 0", "0 1"], ["2 0"]]})
    made = session.frame(data, name="rows", key="id").explode("texts")
    result = made.semantic.dedup("texts", min_similarity=0.9).run(row_ids=True)
    trace = result.trace(result.frame["_row_id"][0])
    assert (trace.made_by, trace.parents_total, len(trace.merged), trace.source) == ("explode and dedup", 2, 1, None)
    sources = [[parent.source, *(above.source for above in parent.parents)] for parent in trace.parents]
    assert sorted(one.key["id"] for found in sources for one in found if one is not None) == [1, 2]


def test_a_row_that_two_branches_bring_is_not_its_own_parent(session: ig.Session) -> None:
    rows = rows_of(session, ["1 0", "0 1"])
    result = ig.concat([rows, rows]).semantic.dedup("text", min_similarity=0.9).run(row_ids=True)
    assert result.frame["id"].to_list() == [0, 1]
    assert result.trace(result.frame["_row_id"][0]).parents == []


def test_branches_that_merge_either_way_round_can_be_traced(session: ig.Session) -> None:
    rows = rows_of(session, ["1 0", "1 0"])
    one, other = (rows.sort("id", descending=down).semantic.dedup("text", min_similarity=0.9) for down in (True, False))
    result = ig.concat([one, other]).run(row_ids=True)
    assert [len(result.trace(row_id).parents) for row_id in result.frame["_row_id"]] == [1, 1]


def test_columns_of_vectors_and_what_has_no_direction(session: ig.Session, asked: Script) -> None:
    vectors = [[1.0, 0.0], [0.0, 0.0], [2.0, 0.0], [0.0, 0.0], None, [float("nan"), 1.0], [float("nan"), 1.0]]
    data = pl.DataFrame({"id": range(7), "v": vectors}, schema={"id": pl.Int64, "v": pl.Array(pl.Float64, 2)})
    deduped = session.frame(data, name="v").semantic.dedup("v", min_similarity=0.9)
    assert deduped.collect()["id"].to_list() == [0, 1, 3, 4, 5, 6]
    assert not asked.requests


def test_several_columns_and_expressions_are_embedded_together(session: ig.Session, asked: Script) -> None:
    rows = rows_of(session, ["1", "1", "0"]).with_columns(more=pl.lit("1"))
    assert rows.semantic.dedup(["text", "more"], min_similarity=0.9).collect()["id"].to_list() == [0, 2]
    assert [request.embed_text for request in asked.requests] == ["1\n\n1", "0\n\n1"]


def test_explain_lineage_and_errors(session: ig.Session) -> None:
    deduped = rows_of(session, ["1 0"]).semantic.dedup("text", min_similarity=0.9)
    told = deduped.explain()
    assert "dedup(text, min_similarity=0.9: exact up to 10 billion pairs)  -- waits for all rows, merged rows" in told
    lineage = deduped.column_lineage()
    assert [one.column for one in lineage.columns["id"].sources] == ["id"]
    assert ([one.column for one in lineage.rows.sources], lineage.rows.operators) == (["text"], ("dedup",))
    assert [one["operator"] for one in deduped.prompts()] == ["dedup"]
    with pytest.raises(ig.UnknownColumn, match=r"semantic.dedup.*'txet'.*'text'"):
        rows_of(session, []).semantic.dedup("txet", min_similarity=0.9)
    for wrong in (1.5, True, -2):
        with pytest.raises(ig.PlanError, match="from -1 to 1"):
            rows_of(session, []).semantic.dedup("text", min_similarity=wrong)
