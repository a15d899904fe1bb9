"""Images in assets: the same as outside, and nothing of their bytes in what an asset leaves behind but its rows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from pydantic import BaseModel

import infergraph as ig
from infergraph.dagster.planning import planned
from infergraph.dagster.resources import ModelSettings, ModelsResource, StoreResource, close_sessions
from infergraph.dagster.retrying import changed_since, last_run
from infergraph.dagster.storage import PolarsStorage
from infergraph.models.image import Image
from infergraph.models.scripted import Script, script
from infergraph.testing import sample_image


class Seen(BaseModel):
    what: str


@pytest.fixture
def eye() -> Iterator[Script]:
    with script("eye", lambda request: {"what": request.images[0].media_type}) as running:
        yield running
    close_sessions()


def test_an_asset_over_images_is_published_and_replays(
    eye: Script, tmp_path: Path, storage: PolarsStorage, instance: dg.DagsterInstance
) -> None:
    files = [tmp_path / f"{place}.png" for place in range(4)]
    for shade, file in enumerate(files[:3]):
        file.write_bytes(sample_image(shade=shade))

    @dg.asset
    def photos() -> pl.DataFrame:
        return pl.DataFrame({"id": range(4), "photo": list(map(str, files))})

    @ig.semantic_asset(model="m", key={"photos": "id"}, max_reject_rate=0.5)
    def seen(photos: ig.SemanticFrame) -> ig.SemanticFrame:
        """What is on the photos."""
        return photos.semantic.extract("photo", Seen, images="photo")

    resources: dict[str, Any] = {
        "models": ModelsResource(models={"m": ModelSettings(name="scripted:eye")}, default_model="m"),
        "store": StoreResource(url=f"sqlite:///{tmp_path / 'state.db'}"),
        "io_manager": storage,
    }

    def run() -> dict[str, Any]:
        result = dg.materialize([photos, seen], resources=resources, instance=instance)
        event = result.asset_materializations_for_node("seen")[-1]
        newest = max(tmp_path.rglob("seen/*/data.parquet"), key=lambda path: path.stat().st_mtime_ns)
        assert pl.read_parquet(newest)["what"].to_list() == ["image/png"] * 3 + [None]
        return {name: value.value for name, value in event.metadata.items()}

    first, again = run(), run()
    assert (first["infergraph/calls"], first["infergraph/rejected"]) == (3, 1)
    assert (again["infergraph/calls"], again["infergraph/store_hits"]) == (0, 3)
    rejects = pl.read_parquet(next(tmp_path.rglob("rejects.parquet")))
    assert rejects["id"].to_list() == [3]
    assert "there is no file" in rejects["message"][0]
    lineage = pl.read_parquet(next(tmp_path.rglob("lineage.parquet")))
    assert lineage.filter(pl.col("request_hash").is_null())["source"].to_list() == ["rejected_before"]
    files[0].write_bytes(sample_image(shade=200))
    assert run()["infergraph/calls"] == 1
    assert Image.of(sample_image(shade=200)) in [request.images[0] for request in eye.requests]


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder's files at an address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_images_that_can_be_sent_now_are_what_a_retry_asks(
    eye: Script, tmp_path: Path, storage: PolarsStorage, instance: dg.DagsterInstance
) -> None:
    for shade in range(3):
        (tmp_path / f"{shade}.png").write_bytes(sample_image(shade=shade))
    missing = [tmp_path / "late.png", tmp_path / "later.png"]
    resources: dict[str, Any] = {
        "models": ModelsResource(models={"m": ModelSettings(name="scripted:eye")}, default_model="m"),
        "store": StoreResource(url=f"sqlite:///{tmp_path / 'state.db'}"),
        "io_manager": storage,
    }
    with served(tmp_path) as web:
        files = [str(tmp_path / "0.png"), f"{web}/1.png", f"{web}/2.png", *map(str, missing)]

        @dg.asset
        def photos() -> pl.DataFrame:
            return pl.DataFrame({"id": range(len(files)), "photo": files})

        @ig.semantic_asset(model="m", key={"photos": "id"}, max_reject_rate=0.5)
        def seen(photos: ig.SemanticFrame) -> ig.SemanticFrame:
            """What is on the photos."""
            return photos.semantic.extract("photo", Seen, images="photo")

        assert dg.materialize([photos, seen], resources=resources, instance=instance).success
        assert len(eye.requests) == 3
        last = last_run(storage, dg.AssetKey("seen"))
        assert (last.rejects.height, last.requests) == (2, 2)
        definitions = dg.Definitions(assets=[photos, seen], resources=resources)

        def changes() -> str:
            with planned(definitions, "seen", instance=instance) as (frame, options):
                return changed_since(last, frame, options)

        assert changes() == "", "images behind URLs are answered already"
        for shade, path in enumerate(missing):
            path.write_bytes(sample_image(shade=100 + shade))
        assert changes() == "", "what was not sent is open, each row for itself"
        assert len(eye.requests) == 3
        (tmp_path / "1.png").write_bytes(sample_image(shade=200))
        assert changes().startswith("1 request beside the rejects would be made")
