"""``top_k`` in an asset: published with its ranks, unchanged when nothing changed, traced into the asset above."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

import infergraph as ig
from infergraph.dagster.resources import ModelSettings, ModelsResource, StoreResource, close_sessions
from infergraph.dagster.storage import PolarsStorage
from infergraph.models.model import Request
from infergraph.models.scripted import script


def judged(request: Request) -> Any:
    assert request.choices is not None
    a, b = (int(re.findall(r"\d+", one)[0]) for one in request.choices.candidates)
    return {"better": "a" if a > b else "b"}


def test_the_best_rows_as_an_asset(tmp_path: Path, storage: PolarsStorage, instance: dg.DagsterInstance) -> None:
    numbers = [3, 40, 7, None, 9, 12]

    @dg.asset
    def mails() -> pl.DataFrame:
        bodies = [None if number is None else f"mail {number}" for number in numbers]
        return pl.DataFrame({"id": range(len(numbers)), "body": bodies})

    @ig.semantic_asset(key={"mails": "id"})
    def urgent(mails: ig.SemanticFrame) -> ig.SemanticFrame:
        """The most urgent mails."""
        return mails.semantic.top_k("{{ body }} is urgent", k=3)

    resources = {
        "models": ModelsResource(models={"judge": ModelSettings(name="scripted:judge")}, default_model="judge"),
        "store": StoreResource(url=f"sqlite:///{tmp_path / 'state.db'}"),
        "io_manager": storage,
    }

    def run() -> tuple[pl.DataFrame, dict[str, Any]]:
        result = dg.materialize([mails, urgent], resources=resources, instance=instance)
        event = result.asset_materializations_for_node("urgent")[-1]
        loaded = storage.load("urgent", row_ids=True)
        return loaded.collect(), {name: value.value for name, value in event.metadata.items()}

    try:
        with script("judge", judged) as asked:
            first, told = run()
            assert first["id"].to_list() == [1, 5, 4]
            assert first["rank"].to_list() == [1, 2, 3]
            calls = len(asked.requests)
            assert told["infergraph/calls"] == calls > 0
            again, told = run()
            assert told["infergraph/calls"] == 0
            assert len(asked.requests) == calls
            assert again["_row_id"].to_list() == first["_row_id"].to_list()
            numbers.append(50)
            more, told = run()
            assert more["id"].to_list() == [6, 1, 5]
            assert 0 < told["infergraph/calls"] <= 4
            definitions = dg.Definitions(assets=[mails, urgent], resources=resources)
            [second] = ig.trace("urgent", "rank = 2", definitions=definitions, instance=instance).rows
            before, group = second.parents
            assert before.source is not None
            assert before.source.values["body"] == "mail 40"
            assert before.steps
            assert all("\nmail 40\n" in step.attempts[0].messages[-1].content for step in before.steps)
            assert group.parents_total == 6
            [lost] = ig.trace("mails", "id = 2", forward=True, definitions=definitions, instance=instance).rows
            assert lost.downstream or lost.children, "who lost is followed into the asset that compared it"
    finally:
        close_sessions()
