"""Transcripts, promises, action items, minutes: on a model that answers as the labels say, and on the embedded one."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

import infergraph as ig
from assets.meetings.turns import TRANSCRIPTS, read_folder
from definitions import defs
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, StoreResource
from infergraph.models.model import Request
from infergraph.models.scripted import Script, script

ASSETS = [
    asset
    for asset in defs.assets or []
    if isinstance(asset, dg.AssetsDefinition) and set(asset.group_names_by_key.values()) == {"meetings"}
]
CHAIN = ["meeting_turns", "promises", "action_items", "minutes"]
LABELS = {
    label["meeting"]: label["promises"]
    for label in map(json.loads, (TRANSCRIPTS.parent / "labels.jsonl").read_text(encoding="utf-8").splitlines())
}
PROMISED = {
    row["text"] for row in read_folder(TRANSCRIPTS).to_dicts() if str(row["turn"]) in LABELS[row["meeting"]]
}  # fmt: skip


def answer(request: Request) -> str | Mapping[str, Any]:
    """What somebody who knows the labels would answer."""
    asked = request.messages[-1].content
    if request.choices is not None:
        return {request.choices.field: "promise" if any(text in asked for text in PROMISED) else "statement"}
    assert request.schema is not None
    known = {"task": "do what was promised", "tasks": "what was promised", "minutes": "All will do what they promised."}
    return {field: known[field] for field in request.schema.parsed["properties"]}


class Deployment:
    """The subject in a folder of its own."""

    def __init__(self, folder: Path, model: str) -> None:
        self.storage = PolarsStorage(base_url=str(folder / "assets"))
        self.resources = {
            "models": ModelsResource(models={"one": ModelSettings(name=model)}),
            "store": StoreResource(url=f"sqlite:///{folder}/state.db"),
            "io_manager": self.storage,
        }
        self.instance = dg.DagsterInstance.ephemeral()

    def run(self, *names: str) -> dg.ExecuteInProcessResult:
        return dg.materialize(ASSETS, selection=list(names), resources=self.resources, instance=self.instance)

    def rows(self, asset: str) -> pl.DataFrame:
        return self.storage.load(asset).collect()


@pytest.fixture
def model() -> Iterator[Script]:
    with script("office", answer) as running:
        yield running


def test_every_promise_leads_to_a_person_and_the_minutes(tmp_path: Path, model: Script) -> None:
    office = Deployment(tmp_path, "scripted:office")
    assert office.run(*CHAIN).success
    promised = {(row["meeting"], str(row["turn"])): row["speaker"] for row in office.rows("promises").to_dicts()}
    assert promised == {(meeting, turn): who for meeting, turns in LABELS.items() for turn, who in turns.items()}
    tasks = office.rows("action_items")
    assert set(tasks.select("meeting", "speaker").iter_rows()) == {
        (meeting, who) for meeting, turns in LABELS.items() for who in turns.values()
    }
    assert sorted(office.rows("minutes")["meeting"]) == sorted(LABELS)
    asked = len(model.requests)
    assert office.run(*CHAIN).success
    assert len(model.requests) == asked


def test_the_minutes_lead_back_to_the_turns(tmp_path: Path, model: Script) -> None:
    office = Deployment(tmp_path, "scripted:office")
    office.run(*CHAIN)
    found = ig.trace("minutes", where="meeting = 'hiring'", definitions=defs_with(office), instance=office.instance)
    told = str(found)
    for name in ("action_items", "promises", "meeting_turns", "order one for her today"):
        assert name in told


def defs_with(office: Deployment) -> dg.Definitions:
    return dg.Definitions(assets=ASSETS, resources=office.resources)


def test_on_the_embedded_model(tmp_path: Path) -> None:
    office = Deployment(tmp_path, "local:smollm2-135m")
    assert office.run(*CHAIN).success
    promised = {(row["meeting"], str(row["turn"])) for row in office.rows("promises").to_dicts()}
    labelled = {(meeting, turn) for meeting, turns in LABELS.items() for turn in turns}
    assert len(promised & labelled) >= 12, promised ^ labelled
    assert len(promised - labelled) <= 4, promised - labelled
    assert office.rows("action_items").filter(pl.col("tasks").is_null()).height <= 3
