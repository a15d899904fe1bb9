"""Where an asset's rows lie, and how new rows take the place of old ones.

Every materialization is a folder of its own that never changes again; one small file beside the folders,
``current.json``, says which of them counts. Publishing writes the folder first and that file last, in one
step (one PUT, or a rename), so a reader sees the old rows or the new ones and never half of either, and a
crash in between leaves the old ones in place::

    <base>/<asset key...>/<partition>/<run id>/{data,rejects,lineage}.parquet
    <base>/<asset key...>/<partition>/current.json

The base is any universal-pathlib URL. On a local disk the folder is moved into place; elsewhere the files
are copied up, and readers work on a copy of the immutable file that is kept while the process lives.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args
from uuid import uuid4

import polars as pl
from upath import UPath

from infergraph.dagster.layout import Place, folder_names, local_path
from infergraph.errors import ConfigurationError

Part = Literal["data", "rejects", "lineage"]
CURRENT = "current.json"
STAGE = ".stage"
_FORMAT = 1
_ORPHAN_AGE_S = 7 * 86_400
GRADED = "graded.parquet"
"""Beside the parts, where an asset has judges: the requests that graded its rows, so that their answers are kept."""


@dataclass(frozen=True, kw_only=True)
class Staged:
    """Rows that were written and checked, and wait to be published.

    Args:
        folder: A local folder that holds ``data.parquet`` and may hold ``rejects.parquet`` and
            ``lineage.parquet``; publishing moves or copies them away.
        rows: Number of rows in ``data.parquet``.
        schema: Its columns, ``_row_id`` left out.
        rejects: Number of rows in ``rejects.parquet``.
        fingerprint: Of the plan that made the rows; empty for a plain asset.
        data_version: From ``rows_digest``.
        keep_versions: Versions to keep, the new one included, 1 or more; ``None``: the storage's own number.
        facts: Anything else to keep in ``current.json`` (JSON values).
    """

    folder: Path
    rows: int
    schema: pl.Schema
    rejects: int = 0
    fingerprint: str = ""
    data_version: str = ""
    keep_versions: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        """The Parquet file with the rows."""
        return self.folder / "data.parquet"


@dataclass(frozen=True, kw_only=True)
class Version:
    """What ``current.json`` says about the rows that count now."""

    folder: UPath
    name: str
    run_id: str
    rows: int
    rejects: int
    published_at: datetime
    fingerprint: str
    data_version: str
    schema: Mapping[str, str]
    kept: tuple[str, ...]
    facts: Mapping[str, Any]
    earlier: Mapping[str, Mapping[str, Any]]
    """What was said about the kept versions before this one, by name."""

    def path(self, part: Part = "data") -> UPath:
        """Where a part of this version lies; ``rejects`` and ``lineage`` may not exist."""
        return self.folder / f"{part}.parquet"

    def named(self, name: str) -> Version | None:
        """This version or an earlier one that is kept, by name; ``None``: it is not kept, or nothing is known of it."""
        if name == self.name:
            return self
        said = self.earlier.get(name)
        if said is None:
            return None
        return _version({**said, "version": name, "kept": self.kept}, self.folder.parent)


def new_stage(base: UPath) -> Path:
    """An empty local folder for rows in the making, on the base's own disk where that is local.

    Args:
        base: Where the rows will be published.

    Returns:
        A folder of its own; whoever asked for it removes it.

    Raises:
        ConfigurationError: The base cannot be written.
    """
    local = local_path(base)
    if local is None:
        return Path(tempfile.mkdtemp(prefix="infergraph-stage-"))
    stage = local / STAGE / uuid4().hex
    try:
        stage.mkdir(parents=True)
        _sweep(local / STAGE)
    except OSError as error:
        raise ConfigurationError(
            f"{local}: cannot be written ({error.strerror}). Set another base_url on the storage resource."
        ) from error
    return stage


def _sweep(stages: Path) -> None:
    """Remove the stages of processes that were killed, once nothing was written there for a week."""
    for stage in stages.iterdir():
        if time.time() - _last_write(stage) > _ORPHAN_AGE_S:
            shutil.rmtree(stage, ignore_errors=True)


def _last_write(folder: Path) -> float:
    try:
        return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    except FileNotFoundError:
        return time.time()  # someone is at work there


def current_version(base: UPath, place: Place) -> Version | None:
    """What is published at a place now; ``None`` when nothing is.

    Args:
        base: The storage's base.
        place: The asset or partition.

    Raises:
        ConfigurationError: ``current.json`` cannot be understood, or belongs to another asset.
    """
    folder = base.joinpath(*place.segments())
    try:
        text = (folder / CURRENT).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        said = json.loads(text)
        if said["format"] != _FORMAT:
            raise ConfigurationError(
                f"{folder / CURRENT} has format {said['format']!r}; this version of Infergraph reads format "
                f"{_FORMAT}. Upgrade Infergraph."
            )
        _check_owner(said, place, folder)
        return _version(said, folder)
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{folder / CURRENT} is damaged ({error!r}). Remove that file and materialize {place} again: "
            "answers are in the store, so no model is asked twice."
        ) from error


def _check_owner(said: Mapping[str, Any], place: Place, folder: UPath) -> None:
    owner = Place(asset=tuple(said["asset"]), partition=said["partition"])
    if owner != place:
        raise ConfigurationError(
            f"{folder} holds {owner}, so {place} cannot use it. Rename one of the two, or give one of them "
            "another storage with its own base_url."
        )


def _version(said: Mapping[str, Any], folder: UPath) -> Version:
    return Version(
        folder=folder / said["version"],
        name=said["version"],
        run_id=said["run_id"],
        rows=said["rows"],
        rejects=said["rejects"],
        published_at=datetime.fromisoformat(said["published_at"]),
        fingerprint=said["fingerprint"],
        data_version=said["data_version"],
        schema=said["schema"],
        kept=tuple(said["kept"]),
        facts=said["facts"],
        earlier=said.get("earlier", {}),
    )


def publish(staged: Staged, base: UPath, place: Place, *, run_id: str, keep_versions: int = 3) -> Version:
    """Make staged rows the ones that count, then forget the oldest versions.

    Publishing the same run again (a retry) makes a version of its own; what readers have open stays.

    Args:
        staged: What was written; its files are gone from the stage afterwards.
        base: The storage's base.
        place: The asset or partition.
        run_id: The Dagster run; names the version's folder.
        keep_versions: Versions to keep, the new one included, 1 or more; ``staged.keep_versions`` goes first.

    Returns:
        The version that counts now.

    Raises:
        ConfigurationError: The folder belongs to another asset, or cannot be written.
    """
    before = current_version(base, place)
    folder = base.joinpath(*place.segments())
    try:
        name = _put_files(staged.folder, folder, run_id)
        keep = max(1, staged.keep_versions or keep_versions)
        kept = (name, *(before.kept if before else ()))[:keep]
        _put_current(folder, _manifest(staged, place, name, run_id, kept, before))
    except OSError as error:
        raise ConfigurationError(
            f"{folder}: {place} could not be published ({error}). What was published before still counts; "
            "the answers are in the store."
        ) from error
    _prune(folder, dropped=set(before.kept if before else ()) - set(kept), kept=kept)
    published = current_version(base, place)
    if published is None:
        raise ConfigurationError(f"{folder / CURRENT} was written but cannot be read back.")
    return published


def _manifest(
    staged: Staged, place: Place, name: str, run_id: str, kept: Sequence[str], before: Version | None
) -> dict[str, Any]:
    known = {} if before is None else {**before.earlier, before.name: _said_of(before)}
    return {
        "format": _FORMAT,
        "asset": list(place.asset),
        "partition": place.partition,
        "version": name,
        "run_id": run_id,
        "rows": staged.rows,
        "rejects": staged.rejects,
        "published_at": datetime.now(UTC).isoformat(),
        "fingerprint": staged.fingerprint,
        "data_version": staged.data_version,
        "schema": {column: str(kind) for column, kind in staged.schema.items()},
        "kept": list(kept),
        "facts": dict(staged.facts),
        "earlier": {earlier: known[earlier] for earlier in kept if earlier in known},
    }


def _said_of(version: Version) -> dict[str, Any]:
    """What a later ``current.json`` says of a version while it is kept."""
    return {
        "run_id": version.run_id,
        "rows": version.rows,
        "rejects": version.rejects,
        "published_at": version.published_at.isoformat(),
        "fingerprint": version.fingerprint,
        "data_version": version.data_version,
        "schema": dict(version.schema),
        "facts": dict(version.facts),
    }


def _put_files(stage: Path, folder: UPath, run_id: str) -> str:
    """Bring the stage's files under a name that no version has, and return the name."""
    name = first = "".join(folder_names(run_id))
    attempt = 1
    while (folder / name).exists():
        attempt += 1
        name = f"{first}.{attempt}"
    files = _files(stage)
    local = local_path(folder)
    if local is not None:
        local.mkdir(parents=True, exist_ok=True)
        for file in files:
            _flush(file)
        stage.rename(local / name)
        _flush(local)
        return name
    (folder / name).mkdir(parents=True, exist_ok=True)
    for file in files:
        with file.open("rb") as source, (folder / name / file.name).open("wb") as target:
            shutil.copyfileobj(source, target, length=1 << 20)
    return name


def _files(stage: Path) -> list[Path]:
    """The files to publish; whatever else a run left in its stage (spilled rows) goes."""
    wanted = {f"{part}.parquet" for part in get_args(Part)} | {GRADED}
    for child in stage.iterdir():
        if child.is_dir():
            shutil.rmtree(child)
        elif child.name not in wanted:
            child.unlink()
    return sorted(stage.iterdir())


def _put_current(folder: UPath, manifest: Mapping[str, Any]) -> None:
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    local = local_path(folder)
    if local is None:
        (folder / CURRENT).write_text(text, encoding="utf-8")
        return
    beside = local / f"{CURRENT}.{uuid4().hex}"
    beside.write_text(text, encoding="utf-8")
    _flush(beside)
    beside.replace(local / CURRENT)
    _flush(local)


def _flush(path: Path) -> None:
    """Wait until a file or a folder's list of names is on the disk."""
    if os.name == "nt":
        return  # Windows cannot flush a handle that was opened for reading
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _prune(folder: UPath, *, dropped: set[str], kept: Sequence[str]) -> None:
    """Remove versions that are no longer kept, and what crashed runs left a week ago."""
    for child in folder.iterdir():
        if child.name in kept or not child.is_dir():
            continue
        if child.name in dropped or _is_orphan(child):
            _remove(child)


def _is_orphan(child: UPath) -> bool:
    # A run beside us may be between its folder and its current.json: only old folders are left-overs.
    data = child / "data.parquet"
    if not data.exists():
        return False
    modified = data.stat().st_mtime
    # Some object stores do not say when a file was written: then it stays.
    return modified > 0 and time.time() - modified > _ORPHAN_AGE_S


def _remove(child: UPath) -> None:
    local = local_path(child)
    if local is not None:
        shutil.rmtree(local, ignore_errors=True)
    else:
        child.fs.rm(child.path, recursive=True)


class _Copies:
    """Local copies of immutable remote files, one per address, kept while the process lives."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._known: dict[str, Path] = {}

    def of(self, remote: UPath) -> Path:
        address = str(remote)
        with self._lock:
            known = self._known.get(address)
            if known is not None and known.exists():
                return known
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="infergraph-read-")
            copy = Path(self._folder.name) / f"{len(self._known)}.parquet"
            with remote.open("rb") as source, copy.open("wb") as target:
                shutil.copyfileobj(source, target, length=1 << 20)
            self._known[address] = copy
            return copy


_copies = _Copies()


def scan(path: UPath) -> pl.LazyFrame:
    """A LazyFrame over a published Parquet file, wherever it lies.

    Args:
        path: From ``Version.path``.

    Returns:
        Every column of the file, ``_row_id`` included, in the file's order.

    Raises:
        FileNotFoundError: There is no such file.
    """
    local = local_path(path) or _copies.of(path)
    if not local.exists():
        raise FileNotFoundError(str(path))
    return pl.scan_parquet(local, glob=False, hive_partitioning=False)
