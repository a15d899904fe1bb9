"""What lies in the storage of an asset, looked at before and after a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from infergraph.cli.project import Project

if TYPE_CHECKING:
    import dagster as dg

    from infergraph.dagster.failed import FailedRun
    from infergraph.dagster.publish import Version
    from infergraph.dagster.storage import PolarsStorage


@contextmanager
def storage_of(project: Project, key: dg.AssetKey, instance: dg.DagsterInstance) -> Iterator[PolarsStorage | None]:
    """The storage that keeps an asset; ``None`` where another IO manager does."""
    from infergraph.dagster.published_assets import storage_of as found

    with found(project.definitions, key, instance) as storage:
        yield storage


def failed_run_of(
    project: Project, key: dg.AssetKey, partition: str | None, instance: dg.DagsterInstance
) -> FailedRun | None:
    """The latest run, where a blocking check kept it from being published; ``None``: it was published, or never ran."""
    with storage_of(project, key, instance) as storage:
        return None if storage is None else storage.failed(key, partition)


def version_of(
    project: Project, key: dg.AssetKey, partition: str | None, instance: dg.DagsterInstance
) -> Version | None:
    """What is published of an asset now; ``None``: nothing, or not in a storage of ours."""
    with storage_of(project, key, instance) as storage:
        return None if storage is None else storage.version(key, partition)
