"""The project around the folder one stands in: its root, its code location and its Dagster state.

A project is a folder with a ``workspace.yaml`` (or a ``definitions.py``); every command works from
any folder below it. The code location is loaded in this process, as Dagster's own server would, and
runs are kept in the instance that ``infergraph dev`` shows.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from infergraph.cli.leftovers import report_dead_runs
from infergraph.errors import ConfigurationError

if TYPE_CHECKING:
    import dagster as dg

WORKSPACE = "workspace.yaml"
DEFINITIONS = "definitions.py"
_UNSET = re.compile(r'environment variable "(?P<name>[^"]+)" which is not set')


def find_root(start: Path | None = None) -> Path:
    """The project's root: the nearest folder upwards with a ``workspace.yaml`` or ``definitions.py``.

    Args:
        start: Where to begin; ``None``: the current folder.

    Returns:
        An absolute path.

    Raises:
        ConfigurationError: No folder upwards is a project.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / WORKSPACE).is_file() or (folder / DEFINITIONS).is_file():
            return folder
    raise ConfigurationError(
        f"{str(here)!r} is not inside an Infergraph project: neither it nor a folder above it has a "
        f"{WORKSPACE!r} or a {DEFINITIONS!r}. Go to the project's folder first, for example: cd my-project"
    )


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
    return Project(root=root, definitions=_load_definitions(root))


def _load_definitions(root: Path) -> dg.Definitions:
    import dagster as dg

    module = _load_module(root)
    found = [value for value in vars(module).values() if isinstance(value, dg.Definitions)]
    if len(found) != 1:
        raise ConfigurationError(
            f"{str(module.__file__)!r} must define exactly one dagster.Definitions at its top level; "
            f"it has {len(found)}. Write: defs = dg.Definitions(assets=..., resources=...)"
        )
    return found[0]


def _load_module(root: Path) -> ModuleType:
    entry = _location(root)
    match entry:
        case {"python_file": dict() as file}:
            working = root / str(file.get("working_directory") or ".")
            return _module_from_file(root / str(file["relative_path"]), working)
        case {"python_file": str(file)}:
            return _module_from_file(root / file, root)
        case {"python_module": dict() as module}:
            working = root / str(module.get("working_directory") or ".")
            return _module_by_name(str(module["module_name"]), working)
        case {"python_module": str(module)}:
            return _module_by_name(module, root)
    raise ConfigurationError(
        f"The first entry under load_from in {str(root / WORKSPACE)!r} is {entry!r}; the command line loads "
        "a python_file or a python_module. Use `dagster` itself for code locations of other kinds."
    )


def _location(root: Path) -> Any:
    import yaml

    path = root / WORKSPACE
    if not path.is_file():
        return {"python_file": DEFINITIONS}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{str(path)!r} is not valid YAML: {error}") from error
    entries = content.get("load_from") if isinstance(content, dict) else None
    if not (isinstance(entries, list) and entries):
        raise ConfigurationError(f"{str(path)!r} names no code location: it needs a list under load_from.")
    return entries[0]


def _module_from_file(path: Path, working_directory: Path) -> ModuleType:
    _import_from(working_directory)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ConfigurationError(f"{str(path)!r}, named in {WORKSPACE}, is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _module_by_name(name: str, working_directory: Path) -> ModuleType:
    _import_from(working_directory)
    return importlib.import_module(name)


def _import_from(folder: Path) -> None:
    text = str(folder.resolve())
    if text not in sys.path:
        sys.path.insert(0, text)
