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

ASSETS = [asset for asset in defs.assets or [] if isinstance(asset, dg.AssetsDefinition)]
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
            "models": ModelsResource(models={"tiny": ModelSettings(name="local:smollm2-135m"), "near": ModelSettings(name="local:minilm")}, default_model="tiny"),
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


def test_every_error_belongs_to_a_named_incident(deployment: Deployment) -> None:
    assert deployment.run().success
    errors, clusters, incidents = (deployment.rows(name) for name in CHAIN)
    assert incidents["errors"].sum() == errors.height == len(LABELS)
    assert incidents["first"].is_sorted()
    named = errors.join(clusters.select("template", "cluster"), on="template")
    labels = [LABELS[row["file"], row["line"]] for row in named.iter_rows(named=True)]
    # Purity: the share of errors that are of their cluster's most frequent incident.
    counted = named.select("cluster", incident=pl.Series(labels)).group_by("cluster", "incident").len()
    pure = counted.group_by("cluster").agg(pl.col("len").max())["len"].sum() / errors.height
    assert pure >= 0.9
    assert incidents.height <= 16
