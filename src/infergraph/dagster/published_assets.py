"""What is published of a code location's assets, looked at outside of any run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Self

import dagster as dg
import polars as pl
from upath import UPath

from infergraph.dagster.layout import Place
from infergraph.dagster.publish import CURRENT, Part, Version, current_version, scan
from infergraph.dagster.resources import StoreResource
from infergraph.dagster.storage import PolarsStorage
from infergraph.errors import PlanError
from infergraph.frame.lineage_rows import LINEAGE_SCHEMA
from infergraph.lineage import Published
from infergraph.records import rejects_schema
from infergraph.store.store import Store


@contextmanager
def storage_of(
    definitions: dg.Definitions, key: dg.AssetKey, instance: dg.DagsterInstance | None = None
) -> Iterator[PolarsStorage | None]:
    """The storage that keeps an asset; ``None`` where another IO manager does.

    Args:
        definitions: The code location.
        key: The asset.
        instance: For resources that want one; ``None``: one in memory.
    """
    definition = definitions.resolve_asset_graph().get(key).assets_def
    name = definition.get_io_manager_key_for_asset_key(key)
    if name not in definition.resource_defs:
        yield None
        return
    with dg.build_resources({name: definition.resource_defs[name]}, instance=instance) as built:
        storage = getattr(built, name)
        yield storage if isinstance(storage, PolarsStorage) else None


class PublishedAssets:
    """The versions of all assets of a code location, and the stores behind them; a context manager.

    Args:
        definitions: The code location.
        instance: For resources that want one; ``None``: one in memory.
    """

    def __init__(self, definitions: dg.Definitions, instance: dg.DagsterInstance | None = None) -> None:
        self._definitions = definitions
        self._instance = instance
        self._graph = definitions.resolve_asset_graph()
        self._stack = ExitStack()
        self._storages: dict[dg.AssetKey, PolarsStorage | None] = {}
        self._stores: dict[str, Store] = {}
        self._current: dict[Place, Version | None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def key(self, asset: tuple[str, ...]) -> dg.AssetKey | None:
        """The key of an asset of this code location; ``None``: there is none."""
        key = dg.AssetKey(list(asset))
        return key if self._graph.has(key) else None

    def above(self, asset: tuple[str, ...]) -> list[tuple[str, ...]]:
        """The assets that an asset depends on."""
        return self._neighbours(asset, "parent_keys")

    def below(self, asset: tuple[str, ...]) -> list[tuple[str, ...]]:
        """The assets that depend on an asset."""
        return self._neighbours(asset, "child_keys")

    def _neighbours(self, asset: tuple[str, ...], which: str) -> list[tuple[str, ...]]:
        key = self.key(asset)
        return [] if key is None else sorted(tuple(other.path) for other in getattr(self._graph.get(key), which))

    def storage(self, asset: tuple[str, ...]) -> PolarsStorage | None:
        """The storage of an asset; ``None``: another IO manager's, or no asset of this code location."""
        key = self.key(asset)
        if key is None:
            return None
        if key not in self._storages:
            self._storages[key] = self._stack.enter_context(storage_of(self._definitions, key, self._instance))
        return self._storages[key]

    def current(self, place: Place) -> Version | None:
        """What is published at a place now."""
        if place not in self._current:
            storage = self.storage(place.asset)
            self._current[place] = None if storage is None else current_version(storage.base(), place)
        return self._current[place]

    def kept(self, place: Place, version: str) -> Version | None:
        """A version by name; ``None``: it is not kept any more."""
        current = self.current(place)
        return None if current is None else current.named(version)

    def places(self, asset: tuple[str, ...]) -> list[Place]:
        """Where something of an asset is published: the asset itself, or its partitions in order."""
        storage = self.storage(asset)
        if storage is None:
            return []
        whole = Place(asset=asset)
        folder = storage.base().joinpath(*whole.segments())
        found = [Place(asset=asset, partition=key) for key in _partitions(folder, asset)]
        return [place for place in [whole, *found] if self.current(place) is not None]

    def store(self, asset: tuple[str, ...]) -> Store:
        """The store that answers of an asset are in."""
        from infergraph.frame.session import project_root

        key = dg.AssetKey(list(asset))
        # An asset of another code location has no resources here but the storage: it shares this one's store.
        own = {**(self._definitions.resources or {}), **self._graph.get(key).assets_def.resource_defs}
        if "store" not in own:
            raise PlanError(f"{key.to_user_string()!r} needs the resource 'store'; add it to Definitions.")
        with dg.build_resources({"store": own["store"]}, instance=self._instance) as built:
            resource: StoreResource = built.store
        if resource.url not in self._stores:
            self._stores[resource.url] = self._stack.enter_context(Store.open(resource.url, root=project_root()))
        return self._stores[resource.url]


def _partitions(folder: UPath, asset: tuple[str, ...]) -> list[str]:
    """Partitions of an asset that something is published of; folders of other assets may lie below too."""
    import json

    found = []
    for child in sorted(folder.iterdir(), key=lambda path: path.name) if folder.is_dir() else []:
        if not child.is_dir() or child.name.startswith("."):
            continue
        if child.name.endswith("~"):
            found += _partitions(child, asset)
        elif (child / CURRENT).exists():
            said = json.loads((child / CURRENT).read_text(encoding="utf-8"))
            if tuple(said["asset"]) == asset and said["partition"] is not None:
                found.append(str(said["partition"]))
    return found


def published(place: Place, version: Version) -> Published:
    """A version as traces name it."""
    return Published(
        asset="/".join(place.asset),
        partition=place.partition,
        version=version.name,
        run_id=version.run_id,
        published_at=version.published_at,
    )


def part_of(version: Version, part: Part) -> pl.LazyFrame | None:
    """A part of a version; ``None``: it has none, as plain code made it."""
    try:
        return scan(version.path(part))
    except FileNotFoundError:
        return None


def lineage_of(version: Version) -> pl.LazyFrame | None:
    """A version's lineage rows, those of older files with nulls in newer columns; ``None``: plain code made it."""
    return _completed(part_of(version, "lineage"), LINEAGE_SCHEMA)


def rejects_of_version(version: Version) -> pl.LazyFrame:
    """A version's rejects; none where plain code made it."""
    schema = rejects_schema({})
    found = part_of(version, "rejects")
    return pl.LazyFrame(schema=schema) if found is None else found


def _completed(frame: pl.LazyFrame | None, schema: Any) -> pl.LazyFrame | None:
    if frame is None:
        return None
    there = frame.collect_schema()
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in schema.items() if name not in there]
    return frame.with_columns(missing)
