"""Joins by meaning inside assets: real runs, partitions, estimates of what is not made yet, retries."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from pydantic import BaseModel

import infergraph as ig
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, PriceSettings, StoreResource
from infergraph.dagster.chain import estimate_selection
from infergraph.dagster.planning import planned
from infergraph.dagster.resources import close_sessions
from infergraph.dagster.retrying import changed_since, last_run
from infergraph.models.model import Request, Response
from infergraph.models.scripted import Answer, Script, script

NEEDS = {"chef": {"cooking"}, "pilot": {"flying", "maths"}, "poet": set[str]()}
UNCLEAR: set[str] = set()
SENTENCE = "{{ left.job }} needs {{ right.skill }}"


def answer(request: Request) -> Answer:
    content = request.messages[-1].content
    found = re.search(r"<left_job>\n(.*)\n</left_job>\n<right_skill>\n(.*)\n</right_skill>", content)
    if found is None:
        skill = content.split("\n")[1]
        return {"topic": skill.upper()}
    if found[1] in UNCLEAR:
        return Response(text="I do not know.", finish="refusal")
    return {"answer": found[2] in NEEDS[found[1]]}


class Topic(BaseModel):
    topic: str


days = dg.StaticPartitionsDefinition(["monday", "tuesday"])


@dg.asset
def jobs() -> pl.DataFrame:
    return pl.DataFrame({"id": [1, 2, 3], "job": list(NEEDS)})


@dg.asset
def skills() -> pl.DataFrame:
    return pl.DataFrame({"code": ["c", "f", "m"], "skill": ["cooking", "flying", "maths"]})


@ig.semantic_asset(key={"skills": "code"})
def topics(skills: ig.SemanticFrame) -> ig.SemanticFrame:
    """A topic for each skill."""
    return skills.semantic.extract("skill", Topic)


@ig.semantic_asset(key={"jobs": "id", "topics": "code"}, max_reject_rate=1.0)
def fits(jobs: ig.SemanticFrame, topics: ig.SemanticFrame) -> ig.SemanticFrame:
    """Each job with the skills that it needs."""
    return jobs.semantic.join(topics, SENTENCE, how="left")


@ig.semantic_asset(key={"jobs": "id", "skills": "code"}, partitions_def=days)
def idle(context: dg.AssetExecutionContext, jobs: ig.SemanticFrame, skills: ig.SemanticFrame) -> ig.SemanticFrame:
    """Jobs that need no skill of the day."""
    today = skills.filter(pl.col("code") == ("c" if context.partition_key == "monday" else "f"))
    return jobs.semantic.join(today, SENTENCE, how="anti")


ASSETS = [jobs, skills, topics, fits, idle]


@pytest.fixture
def asked() -> Iterator[Script]:
    UNCLEAR.clear()
    with script("jobs", answer) as made:
        yield made


@pytest.fixture
def definitions(tmp_path: Path, storage: PolarsStorage, asked: Script) -> Iterator[dg.Definitions]:
    model = ModelSettings(name="scripted:jobs", price=PriceSettings(input=1_000, output=1_000))
    resources = {
        "models": ModelsResource(models={"jobs": model}),
        "store": StoreResource(url=f"sqlite:///{tmp_path / 'state.db'}"),
        "io_manager": storage,
    }
    yield dg.Definitions(assets=ASSETS, resources=resources)
    close_sessions()


def run(
    definitions: dg.Definitions, instance: dg.DagsterInstance, *names: str, **more: Any
) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        ASSETS, selection=list(names), resources=definitions.resources, instance=instance, raise_on_error=False, **more
    )


def figures(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    event = result.asset_materializations_for_node(asset)[-1]
    return {name: value.value for name, value in event.metadata.items()}


def test_a_join_runs_as_an_asset_and_again_without_a_call(
    definitions: dg.Definitions, instance: dg.DagsterInstance, storage: PolarsStorage, asked: Script
) -> None:
    UNCLEAR.add("poet")
    result = run(definitions, instance, "jobs", "skills", "topics", "fits")
    assert result.success
    rows = storage.load("fits").collect()
    assert rows.select("id", "job", "code", "topic").rows() == [
        (1, "chef", "c", "COOKING"), (2, "pilot", "f", "FLYING"), (2, "pilot", "m", "MATHS"), (3, "poet", None, None)
    ]  # fmt: skip
    told = figures(result, "fits")
    assert (told["infergraph/calls"], told["infergraph/rejected"]) == (9, 3)
    lineage = {name: {(d.asset_key.to_user_string(), d.column_name) for d in deps}
               for name, deps in told["dagster/column_lineage"].deps_by_column.items()}  # fmt: skip
    assert lineage["job"] == {("jobs", "job")}
    assert lineage["topic"] == {("topics", "topic")}
    before = len(asked.requests)
    again = run(definitions, instance, "fits")
    assert figures(again, "fits")["infergraph/calls"] == 0
    assert len(asked.requests) == before
    assert storage.load("fits").collect().equals(rows)


def test_each_partition_joins_its_own_rows(
    definitions: dg.Definitions, instance: dg.DagsterInstance, storage: PolarsStorage
) -> None:
    assert run(definitions, instance, "jobs", "skills").success
    for day, ids in (("monday", [2, 3]), ("tuesday", [1, 3])):
        result = run(definitions, instance, "idle", partition_key=day)
        assert result.success
        assert figures(result, "idle")["infergraph/calls"] == 3
        assert storage.load("idle", day).collect()["id"].to_list() == ids


@pytest.mark.parametrize("made_before", [[], ["topics"], ["topics", "fits"]])
def test_a_join_above_assets_that_are_not_made_is_estimated(
    definitions: dg.Definitions, instance: dg.DagsterInstance, made_before: list[str]
) -> None:
    assert run(definitions, instance, "jobs", "skills", *made_before).success
    keys = [dg.AssetKey(name) for name in ("topics", "fits")]
    parts = {part.asset: part for part in estimate_selection(definitions, keys, instance=instance)}
    result = run(definitions, instance, "topics", "fits")
    foretold = parts["fits"].estimate
    assert foretold is not None, parts["fits"].problem
    calls = figures(result, "fits")["infergraph/calls"]
    assert foretold.calls_low <= calls <= foretold.calls_high
    assert foretold.calls_high == (0 if "fits" in made_before else 9)


def test_rejected_pairs_of_an_asset_can_be_retried_alone(
    definitions: dg.Definitions, instance: dg.DagsterInstance, storage: PolarsStorage, asked: Script
) -> None:
    UNCLEAR.add("chef")
    assert run(definitions, instance, "jobs", "skills", "topics", "fits").success
    assert storage.load("fits").collect()["code"].to_list() == [None, "f", "m", None]
    UNCLEAR.clear()
    last = last_run(storage, dg.AssetKey("fits"))
    assert (last.rejects.height, last.requests) == (3, 3)
    with planned(definitions, "fits", instance=instance) as (frame, options):
        assert changed_since(last, frame, replace(options, retry_rejects=False)) == ""
    before = len(asked.requests)
    config = {"ops": {"fits": {"config": {"retry_rejects": True}}}}
    result = run(definitions, instance, "fits", run_config=config)
    assert result.success
    assert len(asked.requests) - before == figures(result, "fits")["infergraph/calls"] == 3
    assert storage.load("fits").collect()["code"].to_list() == ["c", "f", "m", None]
