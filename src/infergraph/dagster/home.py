"""Where Dagster keeps runs, events and schedules of a project: ``.infergraph/dagster`` under its root.

``infergraph dev`` and ``infergraph demo`` set ``DAGSTER_HOME`` to that folder. Plain ``dagster dev``, with
no ``DAGSTER_HOME``, reads the ``dagster.yaml`` of the folder that it stands in; ``ROOT_YAML`` is one that
points into the same folder, so that both show the same runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infergraph.errors import ConfigurationError, with_kept

HOME = Path(".infergraph") / "dagster"

HOME_YAML = """\
# Written by Infergraph when this file was missing; yours to change.
telemetry:
  enabled: false
nux:
  enabled: false
python_logs:
  python_log_level: INFO
concurrency:
  runs:
    max_concurrent_runs: 2
"""

ROOT_YAML = f"""\
# Read by plain `dagster dev`, typed in this folder without DAGSTER_HOME: the state is that of `infergraph dev`.
telemetry:
  enabled: false
nux:
  enabled: false
python_logs:
  python_log_level: INFO
concurrency:
  runs:
    max_concurrent_runs: 2
storage:
  sqlite:
    base_dir: {HOME.as_posix()}
local_artifact_storage:
  module: dagster._core.storage.root
  class: LocalArtifactStorage
  config:
    base_dir: {HOME.as_posix()}
compute_logs:
  module: dagster._core.storage.local_compute_log_manager
  class: LocalComputeLogManager
  config:
    base_dir: {HOME.as_posix()}/storage
"""


def ensure_dagster_home(root: Path) -> Path:
    """Make the project's ``DAGSTER_HOME`` where it is missing.

    Args:
        root: The project's root.

    Returns:
        An absolute path of an existing folder with a ``dagster.yaml``, which is left alone where it exists.

    Raises:
        ConfigurationError: The folder cannot be made.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     sorted(path.name for path in ensure_dagster_home(Path(root)).iterdir())
        ['dagster.yaml']
    """
    home = (root / HOME).resolve()
    try:
        home.mkdir(parents=True, exist_ok=True)
        settings = home / "dagster.yaml"
        if not settings.exists():
            settings.write_text(HOME_YAML, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{home}: Dagster's state cannot be kept here ({error.strerror}). Set DAGSTER_HOME to a folder that can "
            "be written."
        ) from error
    return home


@contextmanager
def records_explained(run_id: str) -> Iterator[None]:
    """Says in one message that Dagster could not write down what happened in a run of this process.

    Args:
        run_id: The run.

    Raises:
        ConfigurationError: Dagster's database failed: full disk, damaged, locked.
    """
    from sqlalchemy.exc import DBAPIError

    from infergraph.dagster.resources import kept_answers

    try:
        yield
    except DBAPIError as failure:
        home = os.environ.get("DAGSTER_HOME", "DAGSTER_HOME")
        said = str(failure.orig).strip().partition("\n")[0]
        error = ConfigurationError(
            f"Dagster's records of this run cannot be written to {home}: {said}. Make room there, or set DAGSTER_HOME "
            "to a folder on another disk."
        )
        raise with_kept(error, kept_answers(run_id)) from failure
