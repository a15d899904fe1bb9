"""Which answers in the store the published rows refer to: what must stay when the store is pruned.

Every published version names, beside its rows, the requests that made them. All versions that lie in a storage count,
kept ones and such as are being published at the moment. Whatever cannot be read is an error that names it: an answer
that nobody can see any reference to might be needed all the same.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
from polars.exceptions import PolarsError
from upath import UPath

from infergraph.dagster.layout import local_path
from infergraph.dagster.publish import CURRENT, scan
from infergraph.dagster.storage import PolarsStorage
from infergraph.errors import ConfigurationError
from infergraph.models.redact import redact
from infergraph.store.hashes import hash_from_text

REQUEST_HASH = "request_hash"


@dataclass(frozen=True, kw_only=True)
class Storages:
    """Where a project publishes.

    Args:
        storages: Each once, with values resolved, and whether Dagster knows of anything that was published there.
        others: Semantic assets that another IO manager keeps: nothing is known of what their rows refer to.
    """

    storages: tuple[tuple[PolarsStorage, bool], ...]
    others: tuple[str, ...]


def storages_of(definitions: dg.Definitions, instance: dg.DagsterInstance) -> Storages:
    """Every storage that a code location's assets are kept in.

    Args:
        definitions: The code location.
        instance: For resources that need one.
    """
    from infergraph.dagster.asset import semantic_asset_of

    graph = definitions.resolve_asset_graph()
    found: dict[str, tuple[PolarsStorage, list[dg.AssetKey]]] = {}
    others: list[str] = []
    kept_in: dict[int, Any] = {}
    for key in sorted(graph.materializable_asset_keys, key=str):
        definition = graph.get(key).assets_def
        name = definition.get_io_manager_key_for_asset_key(key)
        resource = definition.resource_defs.get(name)
        if resource is not None and id(resource) not in kept_in:
            with dg.build_resources({name: resource}, instance=instance) as built:
                kept_in[id(resource)] = getattr(built, name)
        storage = kept_in.get(id(resource))
        if isinstance(storage, PolarsStorage):
            found.setdefault(str(storage.base()), (storage, []))[1].append(key)
        elif semantic_asset_of(definition) is not None:
            others.append(key.to_user_string())
    storages = tuple((storage, _is_used(instance, keys)) for storage, keys in found.values())
    return Storages(storages=storages, others=tuple(others))


def _is_used(instance: dg.DagsterInstance, keys: Sequence[dg.AssetKey]) -> bool:
    return any(event is not None for event in instance.get_latest_materialization_events(keys).values())


def references(storage: PolarsStorage, *, is_used: bool = True) -> Iterator[set[bytes]]:
    """The row hashes of every answer that the versions in a storage refer to, one set a file.

    Args:
        storage: With its values resolved.
        is_used: Whether something was published there, so that an empty storage means a missing one.

    Raises:
        ConfigurationError: The storage, or a file in it, cannot be read; or a current version is not there.
    """
    base = storage.base()
    try:
        files = sorted(_files(base))
        if is_used and not files:
            raise FileNotFoundError("it is empty, though assets were published there")
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not is_used:
            return
        raise ConfigurationError(
            f"{redact(str(base))}: this storage cannot be read ({error}), so nobody knows which answers its published "
            "rows refer to. Nothing was removed. Mount it, or correct base_url of the storage resource."
        ) from error
    there = set(files)
    for name in files:
        path = base / name
        if name.endswith(f"/{CURRENT}"):
            _check_current(path, name, there)
        elif name.endswith(".parquet"):
            hashes = _hashes(path)
            if hashes:
                yield hashes


def _files(base: UPath) -> Iterator[str]:
    """Names of the files of versions and of what says which of them count, from the base on, with ``/`` between."""
    local = local_path(base)
    if local is None:
        top = base.path.rstrip("/")
        names = (str(found)[len(top) :].lstrip("/") for found in base.fs.find(base.path))
        yield from (name for name in names if not any(part.startswith(".") for part in name.split("/")))
        return
    # An asset's folder may be a link to another disk.
    for folder, below, here in os.walk(local, onerror=_raise, followlinks=True):
        # Stages and the rejects of failed runs: what is in the making is waited for, and rejects hold their prompts.
        below[:] = [name for name in below if not name.startswith(".")]
        inside = Path(folder).relative_to(local)
        yield from ((inside / name).as_posix() for name in here)


def _raise(error: OSError) -> None:
    raise error


def _check_current(path: UPath, name: str, there: set[str]) -> None:
    """Make sure that the version that counts is there: if not, a part of the storage is not."""
    try:
        version = json.loads(path.read_text(encoding="utf-8"))["version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable(path, error) from error
    data = f"{name.removesuffix(CURRENT)}{version}/data.parquet"
    if data not in there:
        raise ConfigurationError(
            f"{redact(str(path))} names the version {version!r}, which is not there: a part of the storage is missing, "
            "so nobody knows which answers it refers to. Nothing was removed. Mount it, or remove that file."
        )


def _hashes(path: UPath) -> set[bytes]:
    try:
        rows = scan(path)
        kind = rows.collect_schema().get(REQUEST_HASH)
        if kind is None:
            return set()
        if kind != pl.String():
            raise TypeError(f"{REQUEST_HASH} is {kind}")
        found = rows.select(pl.col(REQUEST_HASH).drop_nulls().unique()).collect(engine="streaming")
        return {hash_from_text(each) for each in found[REQUEST_HASH]}
    except (OSError, PolarsError, ValueError, TypeError) as error:
        # A run that is publishing forgets its oldest version meanwhile: what is gone refers to nothing.
        if not path.exists() and not (path.parent / "data.parquet").exists():
            return set()
        raise _unreadable(path, error) from error


def _unreadable(path: UPath, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"{redact(str(path))} cannot be read ({type(error).__name__}: {error}), so nobody knows which answers it "
        "refers to. Nothing was removed. Materialize the asset again and remove that file's folder."
    )


def oldest_run_going_on(instance: dg.DagsterInstance) -> float | None:
    """When the oldest run began that may still publish what it found in the store; ``None``: no run goes on.

    Args:
        instance: Where the runs are recorded.

    Returns:
        Seconds since 1970. Runs that wait in the queue have found nothing yet.
    """
    busy = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    records = instance.get_run_records(dg.RunsFilter(statuses=busy))
    began = [record.start_time or record.create_timestamp.timestamp() for record in records]
    return min(began, default=None)
