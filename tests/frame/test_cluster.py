"""Clusters of rows in whole plans: embedded, grouped, named."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from threadpoolctl import threadpool_info

import infergraph as ig
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, StoreResource
from infergraph.dagster.resources import close_sessions
from infergraph.models.model import CallFailed, Request, Response
from infergraph.models.scripted import Script, script

DIMENSIONS = 64
TEXTS = ["bill a", "lamp a", "bill b", None, "bill c", "lamp b", "bill a", "cat", "lamp c"]
ROWS = pl.DataFrame({"id": range(len(TEXTS)), "lang": ["en", "de"] * 4 + ["en"], "body": TEXTS})
NUMBERS = [0, 1, 0, None, 0, 1, 0, -1, 1]


def vector(text: str) -> tuple[float, ...]:
    """Texts with the same first word point almost the same way; those with another one point elsewhere."""

    def direction(word: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest())
        return np.random.default_rng(seed).normal(size=DIMENSIONS)

    return tuple(float(value) for value in direction(text.split()[0]) + 0.1 * direction(text))


class Models:
    """A model that embeds and one that names clusters, with what they were asked and what they refuse."""

    def __init__(self) -> None:
        self.bad: set[str] = set()
        self.namer: Script
        self.embedder: Script

    def embed(self, request: Request) -> Response:
        assert request.embed_text is not None
        return Response(embedding=() if request.embed_text in self.bad else vector(request.embed_text))

    def name(self, request: Request) -> dict[str, str]:
        word = request.messages[-1].content.split("\n")[1].split()[0]
        if word in self.bad:
            raise CallFailed("no name for that", outcome="permanent", reason="refused")
        return {"label": f"about {word}s"}

    @property
    def calls(self) -> tuple[int, int]:
        return len(self.embedder.requests), len(self.namer.requests)


@pytest.fixture
def models() -> Iterator[Models]:
    made = Models()
    with script("cluster-vectors", made.embed) as made.embedder, script("cluster-names", made.name) as made.namer:
        yield made


@pytest.fixture
def session(models: Models) -> Iterator[ig.Session]:
    known = {
        "vectors": ig.Model("scripted:cluster-vectors", dimensions=DIMENSIONS),
        "names": ig.Model("scripted:cluster-names"),
    }
    with ig.Session(models=known, default_model="names", store="sqlite://", progress=False) as made:
        yield made


@pytest.fixture
def letters(session: ig.Session) -> ig.SemanticFrame:
    return session.frame(ROWS, name="letters", key="id")


def test_rows_keep_place_and_id_and_get_a_number(letters: ig.SemanticFrame, models: Models) -> None:
    result = letters.semantic.cluster("body", model="vectors").run(row_ids=True)
    assert result.frame["cluster"].dtype == pl.Int32
    assert result.frame["cluster"].to_list() == NUMBERS
    assert_frame_equal(result.frame.drop("cluster", "_row_id"), ROWS)
    assert result.frame["_row_id"].to_list() == letters.run(row_ids=True).frame["_row_id"].to_list()
    assert models.calls == (7, 0)
    (told,) = result.usage.by_operator.select("operator", "rows", "calls", "shared", "nulls").rows()
    assert told == ("cluster", 9, 7, 1, 1)


def test_with_k_every_row_is_in_a_cluster(letters: ig.SemanticFrame) -> None:
    numbers = letters.semantic.cluster("body", k=3, into="topic", model="vectors").collect()["topic"]
    assert numbers.to_list() == [0, 1, 0, None, 0, 1, 0, 2, 1]
    many = letters.semantic.cluster("body", k=50, model="vectors").collect()["cluster"]
    assert many.drop_nulls().n_unique() == 7
    assert many[0] == many[6] == 0


def test_each_cluster_is_named_once(letters: ig.SemanticFrame, models: Models) -> None:
    result = letters.semantic.cluster("body", model="vectors", label=True).run()
    assert result.frame["cluster"].to_list() == NUMBERS
    names = {0: "about bills", 1: "about lamps"}
    assert result.frame["cluster_label"].to_list() == [names.get(-1 if n is None else n) for n in NUMBERS]
    assert result.frame.columns == [*ROWS.columns, "cluster", "cluster_label"]
    assert models.calls == (7, 2)
    told = result.usage.by_operator.filter(operator="cluster.label").select("rows", "calls", "shared", "nulls")
    assert told.row(0) == (9, 2, 5, 2)
    shown = next(r for r in models.namer.requests if "bill" in r.messages[-1].content).messages[-1].content
    assert sorted(shown.split("\n")[1:-1]) == ["bill a", "bill b", "bill c"]


def test_a_run_again_and_rows_in_another_order_ask_nothing(session: ig.Session, models: Models) -> None:
    first = session.frame(ROWS, name="letters", key="id").semantic.cluster("body", model="vectors", label=True)
    before = first.collect()
    asked = models.calls
    assert_frame_equal(first.collect(), before)
    moved = session.frame(ROWS.reverse(), name="letters", key="id")
    again = moved.semantic.cluster("body", model="vectors", label=True).run()
    assert_frame_equal(again.frame.sort("id"), before)
    assert again.usage.calls == 0
    assert models.calls == asked


@settings(max_examples=12, deadline=None)
@given(order=st.permutations(range(len(TEXTS))), k=st.none() | st.integers(1, 4))
def test_the_order_of_rows_changes_no_cluster(order: list[int], k: int | None) -> None:
    models = Models()
    with script("cluster-order", models.embed):
        known = {"vectors": ig.Model("scripted:cluster-order", dimensions=DIMENSIONS)}
        with ig.Session(models=known, default_model="vectors", store="sqlite://", progress=False) as session:
            plans = [
                session.frame(rows, name="r", key="id").semantic.cluster("body", k=k) for rows in (ROWS, ROWS[order])
            ]
            one, other = (plan.collect().sort("id") for plan in plans)
    assert_frame_equal(one, other)


@pytest.mark.parametrize("bad", ["bill a", "lamp c", "cat"])
def test_a_rejected_embedding_has_no_cluster_and_the_others_do(
    letters: ig.SemanticFrame, models: Models, bad: str
) -> None:
    models.bad = {bad}
    plan = letters.semantic.cluster("body", model="vectors", label=True)
    result = plan.run()
    places = [place for place, text in enumerate(TEXTS) if text == bad]
    for place, number in enumerate(result.frame["cluster"]):
        assert (number is None) == (place in places or TEXTS[place] is None)
    assert result.frame["cluster_label"].gather(places).is_null().all()
    assert result.rejects.select("id", "operator", "reason").rows() == [
        (place, "cluster", "invalid_output") for place in places
    ]
    assert plan.run().usage.calls == 0


def test_a_rejected_name_leaves_the_cluster(letters: ig.SemanticFrame, models: Models) -> None:
    models.bad = {"lamp"}
    result = letters.semantic.cluster("body", model="vectors", label=True).run()
    assert result.frame["cluster"].to_list() == NUMBERS
    assert result.frame.filter(cluster=1)["cluster_label"].to_list() == [None] * 3
    assert result.frame.filter(cluster=0)["cluster_label"].null_count() == 0
    assert result.rejects.select("id", "operator").rows() == [
        (1, "cluster.label"),
        (5, "cluster.label"),
        (8, "cluster.label"),
    ]


def test_no_row_and_one_row(session: ig.Session, models: Models) -> None:
    for rows, without, with_k in ((0, [], []), (1, [-1], [0])):
        frame = session.frame(ROWS.head(rows), name=f"first {rows}", key="id")
        assert frame.semantic.cluster("body", model="vectors", label=True).collect()["cluster"].to_list() == without
        assert frame.semantic.cluster("body", model="vectors", k=2).collect()["cluster"].to_list() == with_k
    assert models.calls == (1, 0)
    nothing = session.frame(ROWS.filter(pl.col("body").is_null()), name="nulls", key="id")
    assert nothing.semantic.cluster("body", model="vectors").collect()["cluster"].to_list() == [None]


def test_later_steps_do_not_change_what_is_clustered(letters: ig.SemanticFrame, models: Models) -> None:
    plan = letters.semantic.cluster("body", model="vectors")
    wanted = pl.DataFrame({"id": ROWS["id"], "cluster": pl.Series(NUMBERS, dtype=pl.Int32)})
    seen = plan.filter(pl.col("lang") == "de").select("id", "cluster").collect()
    assert_frame_equal(seen, wanted.filter(ROWS["lang"] == "de"))
    assert_frame_equal(plan.head(2).select("id", "cluster").collect(), wanted.head(2))
    assert_frame_equal(plan.filter(pl.col("cluster") == 1).select("id", "cluster").collect(), wanted.filter(cluster=1))
    counted = plan.group_by("cluster").agg(pl.len().alias("rows")).collect()
    assert counted.rows() == [(0, 4), (1, 3), (None, 1), (-1, 1)]
    assert models.calls == (7, 0)


def test_nobody_is_asked_for_clusters_that_nobody_reads(letters: ig.SemanticFrame, models: Models) -> None:
    plan = letters.semantic.cluster("body", model="vectors", label=True)
    assert plan.select("id").collect()["id"].to_list() == ROWS["id"].to_list()
    assert models.calls == (0, 0)
    assert plan.select("cluster").collect().height == 9
    assert models.calls == (7, 0)


def test_vectors_of_the_frame_are_taken_as_they_are(session: ig.Session, models: Models) -> None:
    vectors = pl.Series(
        [None if text is None else vector(text) for text in TEXTS], dtype=pl.Array(pl.Float32, DIMENSIONS)
    )
    frame = session.frame(ROWS.with_columns(place=vectors), name="letters", key="id")
    plan = frame.semantic.cluster("place")
    assert plan.columns == ["id", "lang", "body", "place", "cluster"]
    assert plan.collect()["cluster"].to_list() == NUMBERS
    assert models.calls == (0, 0)
    with pytest.raises(ig.PlanError, match="'place' holds vectors; name the column of the texts"):
        frame.semantic.cluster("place", label=True)


def test_two_clusterings_in_one_plan(letters: ig.SemanticFrame, models: Models) -> None:
    plan = letters.semantic.cluster("body", model="vectors", label=True).semantic.cluster(
        "lang", into="tongue", k=2, model="vectors", label=True
    )
    result = plan.run()
    assert result.usage.by_operator["operator"].to_list() == [
        "cluster",
        "cluster.label",
        "cluster_2",
        "cluster_2.label",
    ]
    assert result.frame["tongue_label"].to_list() == [f"about {lang}s" for lang in ROWS["lang"]]
    assert models.calls == (9, 4)


def test_examples_are_shown_to_the_model_that_names(letters: ig.SemanticFrame, models: Models) -> None:
    plan = letters.semantic.cluster(
        "body", model="vectors", label=True, examples=[(["dogs bark", "dogs bite"], "about dogs")]
    )
    plan.collect()
    user, answer = models.namer.requests[0].messages[1:3]
    assert (user.content, answer.content) == ("<texts>\ndogs bark\ndogs bite\n</texts>", '{"label": "about dogs"}')


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"column": "bdoy"}, r"'bdoy'.*Did you mean 'body'"),
        ({"k": 0}, r"k=0 is no number of clusters"),
        ({"k": True}, r"k=True is no number of clusters"),
        ({"into": "lang"}, r"already has a column 'lang'.*into='lang_2'"),
        ({"into": "tag", "label": True}, r"already has a column 'tag_label'"),
        ({"label": "topic"}, r"write label=True"),
        ({"label_model": "names"}, r"label_model= is for naming the clusters; write label=True"),
        ({"examples": [(["a"], "b")]}, r"examples= is for naming the clusters"),
        ({"label": True, "label_model": "nmaes"}, r"nmaes"),
        ({"label": True, "examples": [(["a"], "")]}, r"examples\[0\]: its output"),
        ({"name": ""}, r"give each operator a name"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_when_the_plan_is_built(
    session: ig.Session, models: Models, arguments: dict[str, Any], message: str
) -> None:
    frame = session.frame(ROWS.with_columns(tag_label=pl.lit("x")), name="letters", key="id")
    with pytest.raises(ig.InfergraphError, match=message):
        frame.semantic.cluster(**{"column": "body", "model": "vectors", **arguments})
    assert models.calls == (0, 0)


def test_a_model_that_only_embeds_names_nothing(tmp_path: Path) -> None:
    known = {"e": ig.Model("local:minilm")}
    with ig.Session(models=known, default_model="e", store="sqlite://", progress=False) as session:
        frame = session.frame(ROWS, name="letters", key="id")
        assert frame.semantic.cluster("body").schema["cluster"] == pl.Int32
        with pytest.raises(ig.PlanError, match=r"'e' only embeds; name one that names clusters: label_model="):
            frame.semantic.cluster("body", label=True)


def test_a_frame_says_which_models_may_see_it(session: ig.Session) -> None:
    frame = session.frame(ROWS, name="letters", key="id", allowed_models=["vectors"])
    assert frame.semantic.cluster("body", model="vectors").schema["cluster"] == pl.Int32
    with pytest.raises(ig.PlanError, match=r"'names' .*may not see the data of 'letters'"):
        frame.semantic.cluster("body", model="vectors", label=True)


def test_the_name_is_asked_without_personal_data(models: Models) -> None:
    known = {
        "vectors": ig.Model("scripted:cluster-vectors", dimensions=DIMENSIONS),
        "names": ig.Model("scripted:cluster-names"),
    }
    # Cut after 400 characters, the address would be no address any more.
    rows = pl.DataFrame({"id": [1, 2], "body": [f"bill {'x' * (n + 385)} ann.lee@example.org" for n in range(2)]})
    with ig.Session(models=known, default_model="names", store="sqlite://", redact="all", progress=False) as session:
        session.frame(rows, name="r", key="id").semantic.cluster("body", model="vectors", label=True).collect()
    (request,) = models.namer.requests
    assert "ann" not in request.messages[-1].content
    assert max(map(len, request.messages[-1].content.split("\n"))) <= 400


# -- before and after a run ------------------------------------------------------------------------


def test_the_estimate_with_nothing_and_with_everything_stored(letters: ig.SemanticFrame) -> None:
    plan = letters.semantic.cluster("body", k=3, model="vectors", label=True)
    embed, name = plan.estimate().operators
    assert (embed.calls_low, embed.calls, embed.calls_high) == (7, 7, 7)
    assert (name.rows_low, name.rows, name.rows_high) == (9, 9, 9)
    assert (name.calls_low, name.calls, name.calls_high) == (0, 3, 3)
    letters.semantic.cluster("body", k=3, model="vectors").collect()
    embed, name = plan.estimate().operators
    assert (embed.calls_low, embed.calls_high, name.calls_low, name.calls_high) == (0, 0, 3, 3)
    assert plan.run().usage.calls == 3
    assert [part.calls_high for part in plan.estimate().operators] == [0, 0]


def test_the_estimate_without_k_says_what_it_assumes(letters: ig.SemanticFrame) -> None:
    made = letters.semantic.cluster("body", model="vectors", label=True).estimate()
    name = made.operators[1]
    assert (name.calls_low, name.calls, name.calls_high) == (0, 4, 4)
    assert any("twice the root of the rows is assumed" in line for line in made.assumptions)


def test_the_estimate_of_some_rows_names_knows_that_their_clusters_have_more_rows(letters: ig.SemanticFrame) -> None:
    some = letters.semantic.cluster("body", model="vectors", label=True).head(1)
    name = some.estimate().operators[1]
    assert (name.rows_high, name.calls_high) == (1, 1)
    assert name.calls_low <= some.run().usage.by_operator["calls"][1] == 1


def test_missing_clusters_leave_the_rest_of_an_estimate_exact(letters: ig.SemanticFrame, models: Models) -> None:
    clusters = letters.semantic.cluster("body", model="vectors")
    about_texts = clusters.semantic.map("{{ body }}", into="out").estimate().operators[1]
    assert (about_texts.calls_low, about_texts.calls_high) == (7, 7)
    about_clusters = clusters.semantic.map("{{ cluster }}", into="out").estimate().operators[1]
    assert (about_clusters.calls_low, about_clusters.calls_high) == (0, 9)
    some = clusters.filter(pl.col("cluster") == 0).semantic.map("{{ body }}", into="out").estimate().operators[1]
    assert (some.calls_low, some.calls_high) == (0, 7)


def test_an_undecided_filter_leaves_clusters_open(session: ig.Session) -> None:
    vectors = [vector(f"{word} {row}") for row, word in enumerate(["bill", "lamp"] * 3)]
    rows = pl.DataFrame(
        {"id": range(6), "body": "x", "place": pl.Series(vectors, dtype=pl.Array(pl.Float32, DIMENSIONS))}
    )
    frame = session.frame(rows, name="r", key="id")
    some = frame.semantic.filter("{{ id }} is odd", where=pl.col("id") > 0).semantic.cluster("place", k=2)
    asked = some.semantic.map("{{ cluster }} and {{ id }}", into="out").estimate().operators[1]
    assert (asked.calls_low, asked.calls_high) == (0, 5)
    sure = frame.semantic.cluster("place", k=2).semantic.map("{{ cluster }}", into="out").estimate().operators[0]
    assert (sure.calls_low, sure.calls_high) == (2, 2)


def test_explain_and_prompts(letters: ig.SemanticFrame) -> None:
    plan = letters.semantic.cluster("body", model="vectors", k=2, label=True)
    assert "cluster(cluster, k=2)  -- waits for all rows" in plan.explain()
    assert "semantic.cluster_label 'cluster.label' [model names]" in plan.explain()
    assert {prompt["operator"] for prompt in plan.prompts()} == {"cluster"}
    plan.collect()
    named = [prompt for prompt in plan.prompts(1) if prompt["operator"] == "cluster.label"]
    assert "bill a" in named[0]["messages"][-1]["content"]


def test_another_k_is_another_plan(letters: ig.SemanticFrame) -> None:
    prints = {letters.semantic.cluster("body", model="vectors", k=k).fingerprint() for k in (None, 2, 3)}
    assert len(prints) == 3


def test_a_trace_shows_the_embedding_and_the_request_that_named_the_cluster(letters: ig.SemanticFrame) -> None:
    result = letters.semantic.cluster("body", model="vectors", label=True).run(row_ids=True)
    told = str(result.trace(result.frame["_row_id"][2]))
    assert re.search(r"embed: bill b", told)
    assert "about bills" in told
    assert "from source 'letters', id = 2" in told


def test_column_lineage(letters: ig.SemanticFrame) -> None:
    found = letters.semantic.cluster("body", model="vectors", label=True).column_lineage()
    number, name = found.columns["cluster"], found.columns["cluster_label"]
    assert [source.column for source in number.sources] == ["body"]
    assert (number.operators, name.operators) == (("cluster",), ("cluster", "cluster.label"))
    assert not number.opaque
    assert not found.columns["lang"].operators
    assert not found.rows.operators


def test_only_the_first_rows(letters: ig.SemanticFrame, models: Models) -> None:
    assert letters.semantic.cluster("body", model="vectors").collect(limit=3)["cluster"].to_list() == [0, -1, 0]
    assert models.calls == (3, 0)


def test_clusters_at_the_same_time_are_those_of_one_after_the_other(session: ig.Session) -> None:
    def threads() -> list[int]:
        return [one["num_threads"] for one in threadpool_info()]

    chance = np.random.default_rng(3).normal(size=(400, 32)).astype(np.float32)
    rows = pl.DataFrame({"id": range(400), "place": pl.Series(chance, dtype=pl.Array(pl.Float32, 32))})
    plan = session.frame(rows, name="places", key="id").semantic.cluster("place", k=9)
    alone, before = plan.collect(), threads()
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda _: plan.collect(), range(6)))
    assert all(other.equals(alone) for other in together)
    assert threads() == before


def test_topics_are_found_by_the_embedded_model() -> None:
    lines = Path(__file__).parents[2].joinpath("benchmarks", "quality", "texts.jsonl").read_text().splitlines()
    rows = pl.DataFrame([json.loads(line) for line in lines]).filter(
        pl.col("topic").is_in(["travel", "access", "health"])
    )
    with ig.Session(models={"e": ig.Model("local:minilm")}, store="sqlite://", progress=False) as session:
        frame = session.frame(rows, name="questions", key="id")
        for k, least in ((3, 0.85), (None, 0.85)):
            groups = frame.semantic.cluster("text", k=k).collect().filter(pl.col("cluster") >= 0)
            assert groups.height >= 0.9 * rows.height
            commonest = groups.group_by("cluster", "topic").len().group_by("cluster").agg(pl.col("len").max())
            assert commonest["len"].sum() >= least * groups.height


def test_as_an_asset(models: Models, tmp_path: Path) -> None:
    @dg.asset
    def letters() -> pl.DataFrame:
        return ROWS

    @ig.semantic_asset(key={"letters": "id"})
    def topics(letters: ig.SemanticFrame) -> ig.SemanticFrame:
        return letters.semantic.cluster("body", model="vectors", label=True)

    settings = {
        "vectors": ModelSettings(name="scripted:cluster-vectors", dimensions=DIMENSIONS),
        "names": ModelSettings(name="scripted:cluster-names"),
    }
    storage = PolarsStorage(base_url=str(tmp_path / "assets"))
    resources = {
        "models": ModelsResource(models=settings, default_model="names"),
        "store": StoreResource(url=f"sqlite:///{tmp_path / 'state.db'}"),
        "io_manager": storage,
    }
    try:
        for asked in ((7, 2), (7, 2)):
            assert dg.materialize([letters, topics], resources=resources).success
            assert models.calls == asked
        version = storage.version(dg.AssetKey("topics"), None)
        assert version is not None
        assert pl.read_parquet(str(version.path("data")))["cluster"].to_list() == NUMBERS
    finally:
        close_sessions()
