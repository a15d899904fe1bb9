"""The code location of a project, loaded in this process as Dagster's own server would.

A project is a folder with a ``workspace.yaml`` or a ``definitions.py``; it is found from any folder below it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster as dg

from infergraph.errors import ConfigurationError

WORKSPACE = "workspace.yaml"
DEFINITIONS = "definitions.py"


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


def load_definitions(root: Path) -> dg.Definitions:
    """The one ``Definitions`` of a project.

    Args:
        root: From ``find_root``.

    Raises:
        ConfigurationError: Its file does not define one.
    """
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
