"""``sim_join`` and ``search``: each row with what means the most similar. A text here says its own vector: "3 4"."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import infergraph as ig
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, StoreResource
from infergraph.dagster.resources import close_sessions
from infergraph.models.model import CallFailed, Capabilities, Model, Request, Response, Tokens
from infergraph.models.scripted import Script, ScriptedProvider, script

TEXTS = st.lists(st.one_of(st.none(), st.sampled_from(["1 0", "0 1", "1 1", "3 4", "-1 0", "0.6 0.8"])), max_size=8)


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
    models = {"embedder": ig.Model("scripted:embedder", dimensions=2), "other": ig.Model("scripted:o", dimensions=3)}
    with ig.Session(models=models, default_model="embedder", store="sqlite:///s.db", root=tmp_path) as made:
        yield made


def wanted(session: ig.Session, texts: list[str | None], name: str = "wanted") -> ig.SemanticFrame:
    rows = pl.DataFrame({"id": range(len(texts)), "text": texts}, schema={"id": pl.Int64, "text": pl.String})
    return session.frame(rows, name=name, key="id")


def shelf(texts: list[str | None]) -> pl.DataFrame:
    rows = {"item": range(10, 10 + len(texts)), "text": texts}
    return pl.DataFrame(rows, schema={"item": pl.Int64, "text": pl.String})


def cosine(one: str, other: str) -> float:
    a, b = (np.array([float(number) for number in text.split()[:2]]) for text in (one, other))
    return float(np.float32(a @ b / np.sqrt((a @ a) * (b @ b))))


# -- both ----------------------------------------------------------------------------------------


def test_neighbours_are_counted_where_no_column_is_wanted(session: ig.Session) -> None:
    """Polars asks for the cheapest column then, which is the similarity where the rows themselves have only texts."""
    texts = session.frame(pl.DataFrame({"text": ["3 4", "1 0", "bad", None]}), name="texts")
    found = texts.semantic.search("text", "0 1", k=5)
    near = texts.semantic.sim_join(pl.DataFrame({"other": ["1 0", "0 1"]}), "text", "other", k=2)
    for rows, expected in ((found, 2), (near, 4)):
        assert rows.select("similarity").collect().height == expected
        assert rows.select(pl.len()).collect().item() == expected
        assert rows.drop("similarity").select(pl.len()).collect().item() == expected


# -- sim_join ----------------------------------------------------------------------------------------


def test_each_row_comes_with_its_nearest_rows(session: ig.Session) -> None:
    left = wanted(session, ["1 0", "0 1", None, "3 4"])
    joined = left.semantic.sim_join(shelf(["0 2", "2 0", "6 8", None]), "text", "text", k=2)
    assert dict(joined.schema) == {
        "id": pl.Int64, "text": pl.String, "item": pl.Int64, "text_right": pl.String, "similarity": pl.Float32,
    }  # fmt: skip
    assert joined.collect().select("id", "item", pl.col("similarity").round(3)).rows() == [
        (0, 11, 1.0), (0, 12, pytest.approx(0.6)), (1, 10, 1.0), (1, 12, pytest.approx(0.8)),
        (3, 12, 1.0), (3, 10, pytest.approx(0.8)),
    ]  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS, TEXTS, st.integers(1, 4), st.sampled_from([None, 0.0, 0.7, 1.0]))
def test_it_equals_looking_at_every_pair(
    session: ig.Session, left: list[str | None], right: list[str | None], k: int, least: float | None
) -> None:
    joined = wanted(session, left).semantic.sim_join(shelf(right), "text", "text", k=k, min_similarity=least)
    expected = []
    for row, text in enumerate(left):
        pairs = [(-cosine(text, other), at) for at, other in enumerate(right) if text is not None and other is not None]
        near = sorted(pair for pair in pairs if least is None or -pair[0] >= np.float32(least))
        expected += [(row, 10 + at, -score) for score, at in near[:k]]
    found = joined.collect().select("id", "item", "similarity").rows()
    assert [one[:2] for one in found] == [one[:2] for one in expected]
    assert [one[2] for one in found] == pytest.approx([one[2] for one in expected], abs=1e-6)


@pytest.mark.parametrize(("left", "right"), [([], ["1 0"]), (["1 0"], []), ([], []), ([None], ["1 0"])])
def test_without_rows_there_are_no_pairs(session: ig.Session, left: list[str | None], right: list[str | None]) -> None:
    joined = wanted(session, left).semantic.sim_join(shelf(right), "text", "text")
    assert joined.collect().schema == joined.schema
    assert joined.collect().height == 0


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_rejected_row_is_in_the_rejects_and_has_no_neighbours(session: ig.Session, side: str, place: int) -> None:
    texts: list[str | None] = ["1 0", "0 1", "3 4"]
    texts[place] = "bad"
    good: list[str | None] = ["1 0", "0 1", "3 4"]
    left, right = (texts, good) if side == "left" else (good, texts)
    result = wanted(session, left).semantic.sim_join(shelf(right), "text", "text", k=3).run()
    assert result.rejects["operator"].to_list() == [f"sim_join.{side}"]
    assert result.rejects["reason"].to_list() == ["refused"]
    assert result.frame.height == 6
    assert not result.frame.filter((pl.col("text") == "bad") | (pl.col("text_right") == "bad")).height


def test_vectors_are_stored_and_made_once_for_equal_texts(session: ig.Session, asked: Script) -> None:
    joined = wanted(session, ["1 0", "0 1", "1 0"]).semantic.sim_join(shelf(["1 0", "2 0"]), "text", "text")
    first = joined.run()
    assert len(asked.requests) == first.usage.calls == 3
    again = joined.run()
    assert (again.usage.calls, again.usage.store_hits, len(asked.requests)) == (0, 5, 3)
    assert_frame_equal(again.frame, first.frame)
    embedded = wanted(session, ["2 0"]).semantic.embed("text").run()
    assert embedded.usage.calls == 0


def test_columns_of_vectors_make_no_call(session: ig.Session, asked: Script) -> None:
    vectors = pl.DataFrame(
        {"v": [[1.0, 0.0], [0.0, 1.0]], "n": [1, 2]}, schema_overrides={"v": pl.Array(pl.Float32, 2)}
    )
    left, right = session.frame(vectors, name="l"), vectors.rename({"v": "w"})
    joined = left.semantic.sim_join(right, "v", pl.col("w"))
    assert joined.columns == ["v", "n", "w", "n_right", "similarity"]
    assert joined.collect()["n_right"].to_list() == [1, 2]
    assert joined.run().usage.rows == len(asked.requests) == 0
    assert left.semantic.search("v", "0 3", k=1).collect()["n"].to_list() == [2]
    with pytest.raises(ig.PlanError, match=r"sim_join: model='embedder'.*leave it out"):
        left.semantic.sim_join(right, "v", "w", model="embedder")


def test_plain_steps_reach_the_embeddings(session: ig.Session, asked: Script) -> None:
    left = wanted(session, ["1 0", "0 1", "3 4", "5 6"])
    joined = left.semantic.sim_join(shelf(["1 0"]), "text", "text")
    chosen = joined.filter(pl.col("id") < 2).select("id", "item").collect()
    assert chosen.rows() == [(0, 10), (1, 10)]
    assert sorted(request.embed_text or "" for request in asked.requests) == ["0 1", "1 0"]
    # What is on the right decides who is near, so a condition on it is no reason to leave rows out before.
    nearest = left.semantic.sim_join(shelf(["1 0", "0 1"]), "text", "text").filter(pl.col("item") == 11)
    assert nearest.collect()["id"].to_list() == [1, 2, 3]


def test_a_frame_can_be_joined_with_itself_and_twice(session: ig.Session) -> None:
    rows = wanted(session, ["1 0", "3 4", "0 1"])
    twice = rows.semantic.sim_join(rows, "text", "text", k=2).filter(pl.col("id") != pl.col("id_right"))
    assert twice.select("id", "id_right").collect().rows() == [(0, 1), (1, 2), (2, 1)]
    more = twice.drop("similarity").semantic.sim_join(shelf(["1 1"]).rename({"text": "label"}), "text", "label")
    names = more.run().usage.by_operator["operator"].to_list()
    assert names == ["sim_join.left", "sim_join.right", "sim_join_2.left", "sim_join_2.right"]


def test_the_estimate_is_the_run(session: ig.Session) -> None:
    joined = wanted(session, ["1 0", "0 1", None]).semantic.sim_join(shelf(["1 0", "7 7"]), "text", "text", k=2)
    for calls in (3, 0):
        estimate, used = joined.estimate(), joined.run().usage
        assert (estimate.calls_low, estimate.calls, estimate.calls_high) == (calls, calls, calls) == (used.calls,) * 3


def test_explain_and_prompts_show_the_embeddings(session: ig.Session) -> None:
    joined = wanted(session, ["1 0"]).semantic.sim_join(shelf(["1 0"]), "text", "text", min_similarity=0.5, name="near")
    told = joined.explain()
    assert "sim_join(text, text, k=1, min_similarity=0.5: exact up to 10 billion pairs)" in told
    assert "waits for all rows, row ids derived" in told
    assert [(one["operator"], one["messages"]) for one in joined.prompts()] == [
        ("near.left", [{"role": "input", "content": "1 0"}]), ("near.right", [{"role": "input", "content": "1 0"}]),
    ]  # fmt: skip


def test_a_pair_is_traced_to_both_its_rows(session: ig.Session) -> None:
    joined = wanted(session, ["1 0", "0 1"]).semantic.sim_join(shelf(["0 1", "1 0"]), "text", "text")
    result = joined.run(row_ids=True)
    trace = result.trace(result.frame["_row_id"][0])
    assert trace.made_by == "sim_join"
    assert [(one.source.source, one.source.values["text"]) for one in trace.parents if one.source] == [
        ("wanted", "1 0"), ("other", "1 0"),
    ]  # fmt: skip
    assert [step.operator for parent in trace.parents for step in parent.steps] == ["sim_join.left", "sim_join.right"]


def test_columns_are_followed(session: ig.Session) -> None:
    joined = wanted(session, ["1 0"]).semantic.sim_join(shelf(["1 0"]), "text", "text")
    lineage = joined.column_lineage()
    both = [("other", "text"), ("wanted", "text")]
    assert [(one.source, one.column) for one in lineage.columns["similarity"].sources] == both
    assert [(one.source, one.column) for one in lineage.columns["text_right"].sources] == [("other", "text")]
    assert [(one.source, one.column) for one in lineage.rows.sources] == both
    assert lineage.rows.operators == ("sim_join.left", "sim_join.right")
    assert not lineage.rows.opaque


def test_fingerprints_tell_the_arguments_apart(session: ig.Session) -> None:
    rows = wanted(session, ["1 0"])
    plans = [
        rows.semantic.sim_join(shelf(["1 0"]), "text", "text"),
        rows.semantic.sim_join(shelf(["1 0"]), "text", "text", k=2),
        rows.semantic.sim_join(shelf(["1 0"]), "text", "text", min_similarity=0.5),
        rows.semantic.search("text", "a", k=1),
        rows.semantic.search("text", "b", k=1),
        rows.semantic.dedup("text", min_similarity=0.9),
        rows.semantic.dedup("text", min_similarity=0.8),
    ]
    assert len({plan.fingerprint() for plan in plans}) == len(plans)


def test_the_first_pairs_do_not_ask_for_all_rows(session: ig.Session) -> None:
    left = wanted(session, [f"1 {number}" for number in range(3_000)])
    first = left.semantic.sim_join(shelf(["1 0", "0 1"]), "text", "text").head(3).run()
    assert first.frame["id"].to_list() == [0, 1, 2]
    assert first.usage.rows < 2_000


def test_what_ends_a_run_comes_through(session: ig.Session) -> None:
    def locked(request: Request) -> Response:
        raise CallFailed("wrong key", outcome="fatal")

    models = {"locked": ig.Model("scripted:locked", dimensions=2)}
    with script("locked", locked), ig.Session(models=models, default_model="locked", store="sqlite://") as other:
        joined = wanted(other, ["1 0"]).semantic.sim_join(shelf(["1 0"]), "text", "text")
        with pytest.raises(ig.ProviderRefused, match="wrong key"):
            joined.run()
    assert wanted(session, ["1 0"]).semantic.sim_join(shelf(["1 0"]), "text", "text").collect().height == 1


# -- search ------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS, st.integers(1, 4))
def test_search_equals_a_sort_by_similarity(session: ig.Session, texts: list[str | None], k: int) -> None:
    found = wanted(session, texts).semantic.search("text", "3 1", k=k).collect()
    scored = sorted((-cosine(text, "3 1"), row) for row, text in enumerate(texts) if text is not None)[:k]
    assert found["id"].to_list() == [row for _, row in scored]
    assert found["similarity"].to_list() == pytest.approx([-score for score, _ in scored], abs=1e-6)


def test_search_keeps_the_rows_as_they_are(session: ig.Session) -> None:
    rows = wanted(session, ["0 1", "1 0", None, "bad"])
    found = rows.semantic.search("text", "1 0", k=9)
    assert dict(found.schema) == {"id": pl.Int64, "text": pl.String, "similarity": pl.Float32}
    result = found.run(row_ids=True)
    assert result.frame["text"].to_list() == ["1 0", "0 1"]
    ids = rows.run(row_ids=True).frame
    assert set(result.frame["_row_id"]) <= set(ids["_row_id"])
    assert result.trace(result.frame["_row_id"][0]).source is not None
    assert result.rejects["operator"].to_list() == ["search"]
    assert found.run().usage.calls == 0


def test_a_rejected_query_finds_nothing_and_is_told(session: ig.Session) -> None:
    result = wanted(session, ["0 1"]).semantic.search("text", "bad", k=1).run()
    assert result.frame.height == 0
    assert result.rejects["operator"].to_list() == ["search.query"]


# -- arguments ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"left_on": "txet"}, r"'txet'.*Did you mean 'text'"),
        ({"right_on": "itme"}, r"'itme'.*Did you mean 'item'"),
        ({"k": 0}, r"k=0.*1 or more"),
        ({"k": True}, r"k=True.*1 or more"),
        ({"min_similarity": 2}, r"min_similarity=2.*from -1 to 1"),
        ({"model": "nobody"}, r"nobody"),
        ({"name": ""}, r"name=''.*a name of its own"),
    ],
)
def test_what_does_not_fit_is_said_when_the_plan_is_built(
    session: ig.Session, asked: Script, arguments: dict[str, Any], said: str
) -> None:
    given = {"left_on": "text", "right_on": "text"} | arguments
    with pytest.raises(ig.InfergraphError, match=said):
        wanted(session, ["1 0"]).semantic.sim_join(shelf(["1 0"]), **given)
    assert not asked.requests


def test_names_that_clash_are_said(session: ig.Session) -> None:
    rows = wanted(session, ["1 0"])
    with pytest.raises(ig.PlanError, match=r"'similarity' already.*rename or drop"):
        rows.semantic.search("text", "1 0", k=1).semantic.search("text", "1 0", k=1)
    both = shelf(["1 0"]).with_columns(text_right=pl.col("text"))
    with pytest.raises(ig.PlanError, match=r"two columns would be called 'text_right'"):
        rows.semantic.sim_join(both, "text", "text")


def test_vectors_of_two_lengths_are_not_compared(session: ig.Session) -> None:
    vectors = pl.DataFrame({"v": [[1.0, 0.0, 0.0]]}, schema={"v": pl.Array(pl.Float32, 3)})
    with pytest.raises(ig.PlanError, match="vectors of 2 and of 3 numbers"):
        wanted(session, ["1 0"]).semantic.sim_join(vectors, "text", "v")
    with pytest.raises(ig.PlanError, match="vectors of 3 and of 2 numbers"):
        session.frame(vectors, name="v").semantic.search("v", "1 0", k=1)


@pytest.mark.parametrize("dtype", [pl.List(pl.Float32), pl.List(pl.Float64), pl.Array(pl.Float32, (1, 2))])
def test_vectors_of_another_type_are_not_embedded_as_text(session: ig.Session, dtype: pl.DataType) -> None:
    lists = session.frame(pl.DataFrame({"v": [None]}, schema={"v": dtype}), name="lists")
    plans: list[Callable[[], object]] = [
        lambda: lists.semantic.sim_join(shelf(["1 0"]), "v", "text"),
        lambda: lists.semantic.search(pl.col("v"), "1 0", k=1),
        lambda: lists.semantic.dedup("v", min_similarity=0.9),
        lambda: lists.semantic.cluster("v"),
    ]
    for plan in plans:
        with pytest.raises(ig.PlanError, match=r"'v' is .*write .cast\({'v': pl.Array\(pl.Float32, d\)}\)"):
            plan()


def test_names_are_told_apart_from_those_of_the_other_side(session: ig.Session) -> None:
    other = session.frame(pl.DataFrame({"part": ["1 0"]}), name="other")
    there = other.semantic.sim_join(pl.DataFrame({"found": ["1 0"]}), "part", "found").drop("similarity")
    twice = wanted(session, ["1 0"]).semantic.sim_join(there, "text", "part")
    assert set(twice.run().usage.by_operator["operator"]) == {
        "sim_join_2.left", "sim_join.left", "sim_join.right", "sim_join_2.right",
    }  # fmt: skip
    with pytest.raises(ig.PlanError, match="name of its own"):
        wanted(session, ["1 0"]).semantic.sim_join(there, "text", "part", name="sim_join")


def test_a_query_has_words(session: ig.Session) -> None:
    given: list[Any] = ["", "  ", 7]
    for query in given:
        with pytest.raises(ig.PlanError, match="give a text to look for"):
            wanted(session, ["1 0"]).semantic.search("text", query, k=1)


def test_a_model_that_does_not_embed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def chats(provider: ScriptedProvider) -> Capabilities:
        return Capabilities(embeds=provider._model.model_id == "vectors", dimensions=2)

    monkeypatch.setattr(ScriptedProvider, "capabilities", property(chats))
    models: dict[str, Model] = {"chat": ig.Model("scripted:chat"), "vectors": ig.Model("scripted:vectors")}
    with ig.Session(models=models, default_model="chat", store="sqlite://", root=tmp_path) as session:
        rows = wanted(session, ["1 0"])
        with pytest.raises(ig.PlanError, match=r"semantic.search: the model 'chat'.*does not embed.*'vectors'"):
            rows.semantic.search("text", "1 0", k=1)
        assert rows.semantic.dedup("text", min_similarity=0.9, model="vectors").columns == ["id", "text"]


# -- in Dagster --------------------------------------------------------------------------------------


def test_assets_of_neighbours_and_merged_rows(tmp_path: Path, asked: Script) -> None:
    @dg.asset
    def tickets() -> pl.DataFrame:
        return pl.DataFrame({"id": [1, 2, 3], "text": ["1 0", "0 1", "1 0.01"]})

    @ig.semantic_asset(key={"tickets": "id"})
    def themes(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
        return tickets.semantic.dedup("text", min_similarity=0.99)

    @ig.semantic_asset(key={"tickets": "id"})
    def themed(tickets: ig.SemanticFrame, themes: ig.SemanticFrame) -> ig.SemanticFrame:
        return tickets.semantic.sim_join(themes, "text", "text")

    storage = PolarsStorage(base_url=str(tmp_path / "assets"))
    resources = {
        "models": ModelsResource(models={"embedder": ModelSettings(name="scripted:embedder", dimensions=2)}),
        "store": StoreResource(url=f"sqlite:///{tmp_path / 'state.db'}"),
        "io_manager": storage,
    }
    definitions = dg.Definitions([tickets, themes, themed], resources=resources)
    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([tickets, themes, themed], resources=resources, instance=instance).success
        (merged,) = ig.trace("tickets", "id = 3", definitions=definitions, forward=True)
        (kept,) = ig.trace("themes", "id = 1", definitions=definitions)
    close_sessions()
    assert "dedup merged it into another row: 1.000 like that row" in str(merged)
    assert kept.merged == {kept.parents[0].row_id: "1.000 like this row"}
    assert kept.source is not None
    assert kept.parents[0].source is not None
    assert kept.parents[0].source.values["id"] == 3
