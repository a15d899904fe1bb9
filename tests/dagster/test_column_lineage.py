"""Column lineage of assets: what materializations say, and what is read back across assets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from pydantic import BaseModel, Field

import infergraph as ig
from infergraph.column_lineage import AssetColumn, AssetColumns, ColumnTree, column_tree
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, StoreResource
from infergraph.dagster import column_metadata as metadata_of_columns
from infergraph.dagster.column_lineage import asset_and_column, known_columns
from infergraph.dagster.column_metadata import LEFT_OUT, OURS, THEIRS
from infergraph.dagster.resources import close_sessions

KEY = dg.AssetKey(["crm", "facts"])


class Facts(BaseModel):
    product: str = Field(description="the product")
    urgent: bool


@dg.asset
def tickets() -> pl.DataFrame:
    return pl.DataFrame({"id": [1, 2], "body": ["lamp", "kettle"], "lang": ["en", "en"]})


@dg.asset
def prices() -> pl.DataFrame:
    return pl.DataFrame({"product": ["lamp"], "price": [2.5]})


@ig.semantic_asset(key={"tickets": "id"}, key_prefix="crm", name="facts")
def facts(tickets: ig.SemanticFrame, prices: ig.SemanticFrame) -> ig.SemanticFrame:
    return (
        tickets.filter(pl.col("lang") == "en")
        .semantic.extract("body", Facts, instruction="Mind the urgency.")
        .join(prices, on="product", how="left")
        .with_columns(dear=pl.col("price") > 1)
    )


@ig.semantic_asset(ins={"facts": dg.AssetIn(KEY), "rejects": ig.rejects_of(KEY)})
def letters(facts: ig.SemanticFrame, rejects: ig.SemanticFrame) -> ig.SemanticFrame:
    failed = rejects.select("id", "reason")
    plain = pl.DataFrame({"product": ["lamp"], "shelf": [4]})
    return (
        facts.semantic.filter("{{ product }} is a lamp")
        .join(failed, on="id", how="left")
        .join(plain, on="product", how="left")
        .semantic.map("Write to the owner of {{ product }}", into="text")
        .map_frame(lambda lf: lf.with_columns(pl.col("text").str.to_uppercase()))
    )


@pytest.fixture
def resources(tmp_path: Path, storage: PolarsStorage) -> Iterator[dict[str, Any]]:
    models = {"fast": ModelSettings(name="scripted:plain"), "other": ModelSettings(name="scripted:other")}
    yield {
        "models": ModelsResource(models=models, default_model="fast"),
        "store": StoreResource(url=f"sqlite:///{tmp_path / 'state.db'}"),
        "io_manager": storage,
    }
    close_sessions()


@pytest.fixture
def own_instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def tree_of(
    assets: list[Any], resources: dict[str, Any], instance: dg.DagsterInstance, asset: str, *columns: str
) -> ColumnTree:
    definitions = dg.Definitions(assets=assets, resources=resources)
    with known_columns(definitions, instance) as known:
        return column_tree(asset, columns or None, known)


def above(tree: ColumnTree, asset: str, column: str) -> list[str]:
    return [str(one) for one in tree.nodes[AssetColumn(asset, column)].values_from]


def test_a_materialization_says_where_its_columns_come_from(
    resources: dict[str, Any], own_instance: dg.DagsterInstance
) -> None:
    result = dg.materialize([tickets, prices, facts], resources=resources, instance=own_instance)
    event = own_instance.get_latest_materialization_event(KEY)
    assert result.success
    assert event
    assert event.asset_materialization
    told = event.asset_materialization.metadata
    theirs = told[THEIRS].value
    assert isinstance(theirs, dg.TableColumnLineage)
    found = {
        name: [(dep.asset_key.to_user_string(), dep.column_name) for dep in deps]
        for name, deps in theirs.deps_by_column.items()
    }
    assert found == {
        "id": [("tickets", "id")],
        "body": [("tickets", "body")],
        "lang": [("tickets", "lang")],
        "product": [("tickets", "body")],
        "urgent": [("tickets", "body")],
        "price": [("prices", "price")],
        "dear": [("prices", "price")],
    }
    ours = told[OURS].value
    assert isinstance(ours, dict)
    assert ours["rows"]["steps"][0] == 'filter([(col("lang")) == ("en")])'
    [asked] = ours["operators"]
    assert (asked["model"], asked["model_id"]) == ("fast", "scripted:plain")
    assert "Mind the urgency." in asked["prompt"]
    assert asked["schema"]["properties"]["product"]["description"] == "the product"
    assert ours["upstream"] == {
        "tickets": {"asset": "tickets", "part": "data"},
        "prices": {"asset": "prices", "part": "data"},
    }
    assert "lamp" not in json.dumps(ours)
    known = AssetColumns.from_dict(ours, known_from="here")
    assert known.as_dict() == ours


def test_a_run_with_another_model_says_that_one(resources: dict[str, Any], own_instance: dg.DagsterInstance) -> None:
    config = {"ops": {"crm__facts": {"config": {"model": "other"}}}}
    dg.materialize([tickets, prices, facts], resources=resources, instance=own_instance, run_config=config)
    event = own_instance.get_latest_materialization_event(KEY)
    assert event
    assert event.asset_materialization
    ours = event.asset_materialization.metadata[OURS].value
    assert isinstance(ours, dict)
    assert [(one["model"], one["model_id"]) for one in ours["operators"]] == [("other", "scripted:other")]


def test_the_tree_goes_on_through_assets_that_are_not_materialized(
    resources: dict[str, Any], own_instance: dg.DagsterInstance
) -> None:
    assets = [tickets, prices, facts, letters]
    dg.materialize([tickets, prices], resources=resources, instance=own_instance)
    tree = tree_of(assets, resources, own_instance, "crm/facts")
    assert above(tree, "crm/facts", "dear") == ["prices.price"]
    assert tree.nodes[AssetColumn("prices", "price")].end == "a plain asset: its own code tells nothing of its columns"
    assert [str(one) for one in tree.rows_from("crm/facts")] == ["prices.product", "tickets.body", "tickets.lang"]
    # The rejects of what was never run have no columns yet.
    told = tree_of(assets, resources, own_instance, "letters").assets["letters"]
    assert told.lineage is None
    assert told.known_from == "nothing is published of 'crm/facts' yet. Type: infergraph run crm/facts"

    @ig.semantic_asset(ins={"facts": dg.AssetIn(KEY)})
    def moods(facts: pl.LazyFrame, more: ig.SemanticFrame) -> ig.SemanticFrame:
        return more.semantic.sentiment("product").join(facts.select("id", "urgent"), on="id")

    @ig.semantic_asset(ins={"facts": dg.AssetIn(KEY)})
    def more(facts: ig.SemanticFrame) -> ig.SemanticFrame:
        return facts.select("id", product=pl.col("product").str.to_lowercase())

    tree = tree_of([*assets, moods, more], resources, own_instance, "moods", "sentiment", "urgent")
    assert above(tree, "moods", "sentiment") == ["more.product"]
    assert above(tree, "more", "product") == ["crm/facts.product"]
    assert above(tree, "crm/facts", "product") == ["tickets.body"]
    # A plain frame that joins in is no asset's column any more, and that is said.
    assert above(tree, "moods", "urgent") == ["other.urgent (a frame made in moods)"]


def test_rejects_plain_frames_and_opaque_steps_are_told_apart(
    resources: dict[str, Any], own_instance: dg.DagsterInstance
) -> None:
    assets = [tickets, prices, facts, letters]
    assert dg.materialize(assets, resources=resources, instance=own_instance).success
    tree = tree_of(assets, resources, own_instance, "letters", "reason")
    known = tree.assets["letters"].lineage
    assert known is not None
    assert {str(one) for one in tree.nodes[AssetColumn("letters", "reason")].values_from} == {
        *(f"crm/facts.{name}" for name in ("id", "body", "lang", "product", "urgent", "price", "dear")),
        "reason of the rejects of crm/facts",
        "other.shelf (a frame made in letters)",
    }
    [opaque] = known.columns["reason"].opaque
    assert opaque.startswith("map_frame(")
    event = own_instance.get_latest_materialization_event(dg.AssetKey("letters"))
    assert event
    assert event.asset_materialization
    theirs = event.asset_materialization.metadata[THEIRS].value
    assert isinstance(theirs, dg.TableColumnLineage)
    deps = {(dep.asset_key.to_user_string(), dep.column_name) for dep in theirs.deps_by_column["reason"]}
    assert deps == {("crm/facts", name) for name in ("id", "body", "lang", "product", "urgent", "price", "dear")}


def test_what_was_said_counts_where_the_plan_cannot_be_made(
    resources: dict[str, Any], own_instance: dg.DagsterInstance
) -> None:
    broken = {"now": False}

    @ig.semantic_asset
    def moods(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
        if broken["now"]:
            raise RuntimeError("no such file")
        return tickets.semantic.sentiment("body")

    dg.materialize([tickets, moods], resources=resources, instance=own_instance)
    broken["now"] = True
    tree = tree_of([tickets, moods], resources, own_instance, "moods", "sentiment")
    assert above(tree, "moods", "sentiment") == ["tickets.body"]
    assert tree.assets["moods"].known_from.startswith("the materialization by run ")
    with dg.DagsterInstance.ephemeral() as empty:
        told = tree_of([tickets, moods], resources, empty, "moods").assets["moods"]
    assert told.lineage is None
    assert told.known_from == "the plan of 'moods' cannot be made: no such file"


def test_partitioned_assets_are_looked_at_through_one_partition(
    resources: dict[str, Any], own_instance: dg.DagsterInstance
) -> None:
    days = dg.StaticPartitionsDefinition(["monday", "tuesday"])

    @dg.asset(partitions_def=days)
    def mails() -> pl.DataFrame:
        return pl.DataFrame({"body": ["x"]})

    @ig.semantic_asset(partitions_def=days)
    def moods(context: dg.AssetExecutionContext, mails: ig.SemanticFrame) -> ig.SemanticFrame:
        return mails.with_columns(day=pl.lit(context.partition_key)).semantic.sentiment("body")

    dg.materialize([mails], resources=resources, instance=own_instance, partition_key="monday")
    tree = tree_of([mails, moods], resources, own_instance, "moods")
    assert above(tree, "moods", "sentiment") == ["mails.body"]
    assert above(tree, "moods", "day") == []


def test_lineage_that_another_tool_reported_is_followed(
    resources: dict[str, Any], own_instance: dg.DagsterInstance
) -> None:
    @dg.asset
    def model() -> dg.MaterializeResult[Any]:
        deps = {"body": [dg.TableColumnDep(dg.AssetKey("raw"), "text")]}
        told = dg.TableColumnLineage(deps_by_column=deps)
        value = pl.DataFrame({"body": ["x"]})
        return dg.MaterializeResult(value=value, metadata={THEIRS: told})

    @ig.semantic_asset
    def moods(model: ig.SemanticFrame) -> ig.SemanticFrame:
        return model.semantic.sentiment("body")

    dg.materialize([model, moods], resources=resources, instance=own_instance)
    tree = tree_of([model, moods], resources, own_instance, "moods", "sentiment")
    assert above(tree, "moods", "sentiment") == ["model.body"]
    assert above(tree, "model", "body") == ["raw.text"]
    assert tree.nodes[AssetColumn("model", "body")].origin is not None


def test_too_many_pairs_are_left_out_and_that_is_said(
    resources: dict[str, Any], own_instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata_of_columns, "MOST_DEPS", 3)
    dg.materialize([tickets, prices, facts], resources=resources, instance=own_instance)
    event = own_instance.get_latest_materialization_event(KEY)
    assert event
    assert event.asset_materialization
    told = event.asset_materialization.metadata
    assert str(told[LEFT_OUT].value).startswith("7 pairs of columns; at most 3 are kept")
    assert THEIRS not in told
    assert OURS not in told


def test_unknown_columns_and_assets_have_the_nearest_names(
    resources: dict[str, Any], own_instance: dg.DagsterInstance
) -> None:
    dg.materialize([tickets, prices], resources=resources, instance=own_instance)
    with pytest.raises(ig.UnknownColumn, match=r"'crm/facts' has no column 'produkt'\. Did you mean 'product'"):
        tree_of([tickets, prices, facts], resources, own_instance, "crm/facts", "produkt")


def test_the_longest_asset_name_that_fits_is_taken() -> None:
    def made(*key: str) -> dg.AssetSpec:
        return dg.AssetSpec(list(key))

    definitions = dg.Definitions(assets=[made("crm", "facts"), made("crm", "facts.new"), made("facts")])
    assert asset_and_column(definitions, "crm/facts") == ("crm/facts", None)
    assert asset_and_column(definitions, "crm/facts.a.b") == ("crm/facts", "a.b")
    assert asset_and_column(definitions, "crm/facts.new") == ("crm/facts.new", None)
    assert asset_and_column(definitions, "crm/facts.new.a") == ("crm/facts.new", "a")
    assert asset_and_column(definitions, "facts.a/b") == ("facts", "a/b")
    with pytest.raises(ig.PlanError, match=r"no asset 'crm/fact'\. Did you mean 'crm/facts'"):
        asset_and_column(definitions, "crm/fact.a")
