"""The rejects of a run that was not published: without them nobody could see what blocked an asset.

They lie beside the versions, under a name that no partition and no version has, and count as the latest run's until
the asset is published again::

    <base>/<asset key...>/<partition>/.failed/<run id>/rejects.parquet
    <base>/<asset key...>/<partition>/.failed/failed.json
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from upath import UPath

from infergraph.dagster.layout import Place, folder_names, local_path
from infergraph.dagster.publish import scan
from infergraph.errors import ConfigurationError

FOLDER = ".failed"
_MANIFEST = "failed.json"


@dataclass(frozen=True, kw_only=True)
class FailedRun:
    """The latest run of an asset or partition, which a blocking check kept from being published.

    Args:
        run_id: The Dagster run.
        failed_at: When, UTC.
        why: What the blocking checks said.
        folder: Where its rejects lie.
        facts: The plan's ``fingerprint``, the rows' ``data_version``, and the options ``limit`` and ``model``.
    """

    run_id: str
    failed_at: datetime
    why: str
    folder: UPath
    facts: Mapping[str, Any] = field(default_factory=dict)

    def rejects(self) -> pl.LazyFrame:
        """Its rejects, with the columns of published ones."""
        return scan(self.folder / "rejects.parquet")


def keep_failed(
    rejects: Path, base: UPath, place: Place, *, run_id: str, why: str, facts: Mapping[str, Any] | None = None
) -> None:
    """Keep the rejects of a run that is not published, in place of those of an earlier one.

    Args:
        rejects: The staged file.
        base: The storage's base.
        place: The asset or partition.
        run_id: The Dagster run.
        why: What the blocking checks said.
        facts: As in ``FailedRun`` (JSON values).

    Raises:
        OSError: It cannot be written.
    """
    forget_failed(base, place)
    folder = _folder(base, place)
    name = "".join(folder_names(run_id))
    (folder / name).mkdir(parents=True, exist_ok=True)
    with rejects.open("rb") as source, (folder / name / "rejects.parquet").open("wb") as target:
        shutil.copyfileobj(source, target, length=1 << 20)
    said: dict[str, Any] = {"run_id": run_id, "name": name, "failed_at": datetime.now(UTC).isoformat(), "why": why}
    said["facts"] = dict(facts or {})
    (folder / _MANIFEST).write_text(json.dumps(said, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def failed_run(base: UPath, place: Place) -> FailedRun | None:
    """The run after the published one that a blocking check stopped; ``None``: there is none.

    Args:
        base: The storage's base.
        place: The asset or partition.

    Raises:
        ConfigurationError: What was kept of it cannot be understood.
    """
    folder = _folder(base, place)
    try:
        said = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        return FailedRun(
            run_id=said["run_id"],
            failed_at=datetime.fromisoformat(said["failed_at"]),
            why=said["why"],
            folder=folder / said["name"],
            facts=said.get("facts", {}),
        )
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{folder / _MANIFEST} is damaged ({error!r}): remove that file.") from error


def forget_failed(base: UPath, place: Place) -> None:
    """Remove what was kept of a failed run: the place was published since."""
    folder = _folder(base, place)
    local = local_path(folder)
    if local is not None:
        shutil.rmtree(local, ignore_errors=True)
    elif folder.exists():
        folder.fs.rm(folder.path, recursive=True)


def _folder(base: UPath, place: Place) -> UPath:
    return base.joinpath(*place.segments()) / FOLDER
