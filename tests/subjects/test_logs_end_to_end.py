"""Error lines, clusters, incidents: names by a scripted model, clusters by the embedded embeddings."""

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from assets.logs import reading
from definitions import defs
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, StoreResource

ASSETS = [
    asset
    for asset in defs.assets or []
    if isinstance(asset, dg.AssetsDefinition) and set(asset.group_names_by_key.values()) == {"logs"}
]
MODELS = {"tiny": ModelSettings(name="local:smollm2-135m"), "near": ModelSettings(name="local:minilm")}
CHAIN = ["error_lines", "error_clusters", "incidents"]
LABELS = {
    (file, line): label["incident"]
    for label in map(
        json.loads, (Path(reading.__file__).parent / "labels.jsonl").read_text(encoding="utf-8").splitlines()
    )
    for file, lines in label["lines"].items()
    for line in lines
}


class Deployment:
    """The subject in a folder of its own, on the embedded models."""

    def __init__(self, folder: Path) -> None:
        self.storage = PolarsStorage(base_url=str(folder / "assets"))
        self.resources = {
            "models": ModelsResource(
                models={"tiny": ModelSettings(name="local:smollm2-135m"), "near": ModelSettings(name="local:minilm")},
                default_model="tiny",
            ),
            "store": StoreResource(url=f"sqlite:///{folder}/state.db"),
            "io_manager": self.storage,
        }
        self.instance = dg.DagsterInstance.ephemeral()

    def run(self) -> dg.ExecuteInProcessResult:
        return dg.materialize(ASSETS, selection=CHAIN, resources=self.resources, instance=self.instance)

    def rows(self, asset: str) -> pl.DataFrame:
        return self.storage.load(asset).collect()


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    from infergraph.dagster.resources import close_sessions

    yield Deployment(tmp_path)
    close_sessions()


def test_every_error_belongs_to_an_incident_of_its_kind(deployment: Deployment) -> None:
    assert deployment.run().success
    errors, clusters, incidents = (deployment.rows(name) for name in CHAIN)
    assert incidents["errors"].sum() == errors.height == len(LABELS)
    assert incidents["first"].is_sorted()
    assert clusters["errors"].sum() == errors.height
    labelled = errors.select(
        "time", "message", label=pl.Series([LABELS[row] for row in errors.select("file", "line").rows()])
    )
    # Purity: the share of errors whose incident is mostly of their own kind.
    own = 0
    for incident in incidents.iter_rows(named=True):
        within = labelled.filter(pl.col("time").is_between(incident["first"], incident["last"]))
        kinds = set(labelled.filter(pl.col("message").is_in(incident["messages"]))["label"])
        assert kinds <= set(within["label"])
        own += incident["errors"] if len(kinds) == 1 else 0
    assert own / errors.height >= 0.9
    assert 8 <= incidents.height <= 12


def test_nothing_is_asked_again(deployment: Deployment) -> None:
    deployment.run()
    again = deployment.run()
    for name in ("error_clusters", "incidents"):
        (made,) = again.asset_materializations_for_node(name)
        assert made.metadata["infergraph/calls"].value == 0
