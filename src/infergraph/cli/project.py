"""The project around the folder one stands in: its root, its code location and its Dagster state.

A project is a folder with a ``workspace.yaml`` (or a ``definitions.py``); every command works from
any folder below it. The code location is loaded in this process, as Dagster's own server would, and
runs are kept in the instance that ``infergraph dev`` shows.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from infergraph.cli.leftovers import report_dead_runs
from infergraph.dagster.project import DEFINITIONS, WORKSPACE, find_root, load_definitions
from infergraph.errors import ConfigurationError

if TYPE_CHECKING:
    import dagster as dg

__all__ = ["DEFINITIONS", "WORKSPACE", "Project", "dagster_home", "find_root", "open_instance", "open_project"]
_UNSET = re.compile(r'environment variable "(?P<name>[^"]+)" which is not set')


@dataclass(frozen=True, kw_only=True)
class Project:
    """A project whose code location is loaded."""

    root: Path
    definitions: dg.Definitions

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        """The Dagster instance that holds this project's runs; those of processes that died are reported first."""
        with open_instance(self.root) as instance, _clear_errors():
            yield instance


@contextmanager
def open_instance(root: Path) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance of a project, after its runs in processes that died were reported as failed."""
    import dagster as dg

    with dg.DagsterInstance.from_config(str(dagster_home(root))) as instance:
        report_dead_runs(instance)
        yield instance


def dagster_home(root: Path) -> Path:
    """The folder of Dagster's state: ``DAGSTER_HOME`` where it is set, else the project's own.

    It is also put into this process's environment, for what Dagster starts from here.
    """
    given = os.environ.get("DAGSTER_HOME")
    home = Path(given) if given else _own_home(root)
    if not home.is_dir():
        raise ConfigurationError(f"DAGSTER_HOME={str(home)!r} is no folder. Make it, or type: unset DAGSTER_HOME")
    os.environ["DAGSTER_HOME"] = str(home)
    return home


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Dagster's errors about configuration, without its stack traces."""
    import dagster as dg

    try:
        yield
    except dg.DagsterInvalidConfigError as error:
        missing = _UNSET.search(str(error))
        if missing:
            name = missing["name"]
            raise ConfigurationError(
                f"The environment variable {name!r}, which resources/ asks for, is not set. Type: export {name}=..."
            ) from error
        said = str(error).partition("Stack Trace:")[0]
        raise ConfigurationError(" ".join(said.split())) from error


def _own_home(root: Path) -> Path:
    from infergraph.dagster.home import ensure_dagster_home

    return ensure_dagster_home(root)


def open_project(start: Path | None = None) -> Project:
    """Load the code location of the project around a folder; the process then stands in its root.

    Args:
        start: Where to begin to look; ``None``: the current folder.

    Returns:
        The project.

    Raises:
        ConfigurationError: There is no project, or its file does not define one ``Definitions``.
    """
    root = find_root(start)
    # Relative addresses (store, data) must mean the same here as in `infergraph dev`, which stands in the root.
    os.chdir(root)
    return Project(root=root, definitions=load_definitions(root))
