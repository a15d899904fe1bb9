from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from pydantic import BaseModel, Field

import infergraph as ig
from infergraph.dagster.resources import ModelSettings, ModelsResource, PriceSettings, StoreResource, close_sessions
from infergraph.dagster.storage import PolarsStorage
from infergraph.models.model import CallFailed, Request
from infergraph.models.scripted import Script, script


@pytest.fixture(scope="session")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def storage(tmp_path: Path) -> PolarsStorage:
    return PolarsStorage(base_url=str(tmp_path / "assets"))


class Note(BaseModel):
    summary: str = Field(max_length=40)
    score: int = Field(ge=0, le=100)


class Workshop:
    """Notes on tickets, written by one scripted model and graded by another, as assets in real runs."""

    writer: Script
    grader: Script

    def __init__(self, storage: PolarsStorage, instance: dg.DagsterInstance, folder: Path) -> None:
        self.storage = storage
        self.instance = instance
        self.bodies: list[str | None] = ["lamp 7", "desk 50", "chair 99"]
        self.refuse: set[str] = set()
        """Words of tickets that the writer refuses."""
        self.bad: set[str] = set()
        """Words of notes that the grader finds bad."""
        self.unclear: set[str] = set()
        """Words of notes that the grader refuses to grade."""
        self.locked = False
        """The grader's key is wrong."""
        price = PriceSettings(input=1_000, output=1)
        models = {
            name: ModelSettings(name=f"scripted:{name}", price=price, max_concurrency=1)
            for name in ("writer", "grader")
        } | {"unpriced": ModelSettings(name="openai:never-heard-of", base_url="http://localhost:9/v1")}
        self.resources: dict[str, Any] = {
            "models": ModelsResource(models=models, default_model="writer"),
            "store": StoreResource(url=f"sqlite:///{folder / 'state.db'}"),
            "io_manager": storage,
        }

    def write(self, request: Request) -> dict[str, Any]:
        body = re.findall(r"<body>\n(.*?)\n</body>", request.messages[-1].content, re.DOTALL)[-1]
        if any(word in body for word in self.refuse):
            raise CallFailed("not about this one", outcome="permanent", reason="refused")
        return {"summary": f"about {body}", "score": int(body.split()[-1])}

    def grade(self, request: Request) -> dict[str, Any]:
        content = request.messages[-1].content
        if self.locked:
            raise CallFailed("wrong key", outcome="fatal")
        if any(word in content for word in self.unclear):
            raise CallFailed("hard to say", outcome="permanent", reason="refused")
        return {"answer": not any(word in content for word in self.bad)}

    def tickets(self, partitions: dg.PartitionsDefinition[Any] | None = None) -> dg.AssetsDefinition:
        @dg.asset(name="tickets", partitions_def=partitions)
        def tickets() -> pl.DataFrame:
            ids = list(range(1, len(self.bodies) + 1))
            return pl.DataFrame({"id": ids, "body": self.bodies}, schema={"id": pl.Int64, "body": pl.String})

        return tickets

    def notes(self, schema: type[BaseModel] = Note, **arguments: Any) -> dg.AssetsDefinition:
        def made(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
            return tickets.semantic.extract("body", schema)

        definition: dg.AssetsDefinition = ig.semantic_asset(**{"name": "notes", "key": {"tickets": "id"}, **arguments})(
            made
        )
        return definition

    def run(self, *assets: dg.AssetsDefinition, partition: str | None = None, **more: Any) -> dg.ExecuteInProcessResult:
        given = {"resources": self.resources, "raise_on_error": False, "instance": self.instance, **more}
        return dg.materialize(list(assets), partition_key=partition, **given)

    def run_selection(self, selection: dg.AssetSelection, *assets: dg.AssetsDefinition) -> dg.ExecuteInProcessResult:
        definitions = dg.Definitions(
            assets=list(assets), resources=self.resources, jobs=[dg.define_asset_job("some", selection=selection)]
        )
        job = definitions.resolve_job_def("some")
        return job.execute_in_process(instance=self.instance, raise_on_error=False)

    def check_only(self, made: dg.AssetsDefinition) -> dg.ExecuteInProcessResult:
        return self.run_selection(dg.AssetSelection.checks_for_assets(made), self.tickets(made.partitions_def), made)

    @staticmethod
    def checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
        return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}

    @classmethod
    def told(cls, result: dg.ExecuteInProcessResult, check: str) -> dict[str, Any]:
        """A check's metadata, and what it says."""
        found = cls.checks(result)[check]
        values = {name: value.value for name, value in found.metadata.items()}
        return {**values, "passed_check": found.passed, "severity": found.severity.value, "says": found.description}

    @staticmethod
    def failure(result: dg.ExecuteInProcessResult) -> str:
        """What a person reads about the failed step."""
        data = result.get_step_failure_events()[0].step_failure_data
        if data.user_failure_data is not None and data.user_failure_data.description:
            return str(data.user_failure_data.description)
        error = data.error
        while error is not None and error.cause is not None and (error.cls_name or "").startswith("Dagster"):
            error = error.cause
        return "" if error is None else error.message

    def published(self, partition: str | None = None) -> pl.DataFrame:
        return self.storage.load("notes", partition, row_ids=True).collect()


@pytest.fixture
def shop(storage: PolarsStorage, instance: dg.DagsterInstance, tmp_path: Path) -> Iterator[Workshop]:
    made = Workshop(storage, instance, tmp_path)
    with script("writer", made.write) as writer, script("grader", made.grade) as grader:
        made.writer, made.grader = writer, grader
        yield made
    close_sessions()
