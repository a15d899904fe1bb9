"""``infergraph init``: a new project with the three rooms, one semantic asset and its test, which runs at once.

The files lie in ``new_project`` beside this module, with ``.template`` at the end of their names, so that no tool takes
them for parts of the library.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from importlib import metadata, resources
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from urllib.parse import urlsplit
from urllib.request import url2pathname

from infergraph.cli import figures, screen
from infergraph.cli.project import DEFINITIONS, WORKSPACE
from infergraph.dagster.home import ROOT_YAML
from infergraph.errors import ConfigurationError, PlanError

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_MOST_CHARACTERS = 64
_SUFFIX = ".template"
_UV = "UV"
"""Set by uv for what it runs: then the commands are not on the user's own path."""
_SOURCES = """
[tool.uv.sources]
# The folder that Infergraph was installed from; take this out for a released version.
infergraph = {{ path = {path}, editable = true }}
"""
_NEXT = {
    "infergraph run +note_facts": "asks the embedded model, checks and publishes",
    "infergraph plan note_facts": "what a run would call and cost",
    "pytest": "the same asset on a scripted model",
    "infergraph dev": "the Dagster UI",
}


def init(folder: str) -> int:
    """Make a project, and say what was made and what to type next.

    Args:
        folder: The new folder, or an empty one; its last part is the project's name.

    Returns:
        0.

    Raises:
        PlanError: The name is no name for a package, or one that an installed package has.
        ConfigurationError: The folder holds something, or cannot be written.
    """
    target = Path(folder).expanduser()
    root = target.resolve()
    check_name(root.name)
    _check_folder(root)
    made = write_project(root)
    console = screen.out()
    console.print(f"Made {root} with {figures.plural(len(made), 'file')}:", soft_wrap=True)
    for path in made:
        console.print(f"  {path}", soft_wrap=True)
    console.print("\nNext:")
    if root != Path.cwd():
        console.print(f"  cd {_quoted(target)}", soft_wrap=True)
    prefix = "uv run " if os.environ.get(_UV) else ""
    width = len(prefix) + max(map(len, _NEXT))
    for command, what in _NEXT.items():
        console.print(f"  {prefix + command:{width}}   # {what}", soft_wrap=True)
    return 0


def check_name(name: str) -> None:
    """Refuse what is no name for a project.

    Args:
        name: Of the folder and of the package in ``pyproject.toml``.

    Raises:
        PlanError: It has other characters than those of package names, is too long, or is that of an installed package.

    Example:
        >>> check_name("customer-notes")
        >>> check_name("customer notes")
        Traceback (most recent call last):
        infergraph.errors.PlanError: 'customer notes' is no name for a project: ... infergraph init customer-notes
    """
    if _NAME.fullmatch(name) is None or len(name) > _MOST_CHARACTERS:
        better = re.sub(r"[^A-Za-z0-9]+", "-", name)[:_MOST_CHARACTERS].strip("-") or "my-project"
        raise PlanError(
            f"{name!r} is no name for a project: it takes letters (a-z), digits, '-', '_' and '.', begins and ends "
            f"with a letter or digit, and has {_MOST_CHARACTERS} characters at most. Type: infergraph init {better}"
        )
    if _is_installed(name):
        raise PlanError(
            f"{name!r} is the name of a package that is installed here, and a project of that name could not ask for "
            f"it. Type: infergraph init {name}-project"
        )


def write_project(root: Path) -> list[str]:
    """Write the project's files.

    Args:
        root: The folder, which holds nothing; it is made where it is missing. Its name is the project's.

    Returns:
        The files' paths in the folder, sorted.

    Raises:
        ConfigurationError: The folder cannot be written.
    """
    files = project_files(root.name)
    try:
        for path, text in files.items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise ConfigurationError(
            f"The project cannot be written to {root}: {error.strerror or error}. Go to a folder that you may write to "
            f"and type: infergraph init {root.name}"
        ) from error
    return list(files)


def project_files(name: str) -> dict[str, str]:
    """The files of a new project.

    Args:
        name: The project's name.

    Returns:
        Path in the project, with ``/`` -> text, sorted by path.

    Example:
        >>> files = project_files("customer-notes")
        >>> [path for path in files if "/" not in path]
        ['.gitignore', 'README.md', 'dagster.yaml', 'definitions.py', 'pyproject.toml', 'workspace.yaml']
    """
    ours = metadata.metadata("infergraph")
    values = {
        "name": name,
        "python": ours["Requires-Python"],
        "infergraph": compatible(ours["Version"]),
        "sources": _sources(),
    }
    files = {
        _path(path): Template(template.read_text(encoding="utf-8")).substitute(values)
        for path, template in _templates(resources.files("infergraph.cli") / "new_project")
    }
    return dict(sorted({**files, "dagster.yaml": ROOT_YAML}.items()))


def compatible(version: str) -> str:
    """The bounds of the versions that a project made with this one runs with.

    Args:
        version: Three numbers; before 1.0 a minor version may change things.

    Example:
        >>> compatible("0.1.4"), compatible("2.3.0")
        ('>=0.1.4,<0.2', '>=2.3.0,<3')
    """
    major, minor = (int(part) for part in version.split(".")[:2])
    return f">={version},<{major + 1}" if major else f">={version},<0.{minor + 1}"


def _check_folder(root: Path) -> None:
    if not root.exists():
        return
    other = f"Type: infergraph init {root.name}-project"
    if not root.is_dir():
        raise ConfigurationError(f"{str(root)!r} is a file; nothing was written. {other}")
    held = sorted(path.name for path in root.iterdir())
    if {WORKSPACE, DEFINITIONS}.intersection(held):
        raise ConfigurationError(
            f"{str(root)!r} is a project already; nothing was written. To work in it: cd {shlex.quote(str(root))}; "
            f"for another one: infergraph init {root.name}-2"
        )
    if held:
        raise ConfigurationError(f"{str(root)!r} is not empty: it holds {held[0]!r}; nothing was written. {other}")


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _sources() -> str:
    """Where uv finds an Infergraph that was installed from a folder of sources; empty for a released one."""
    told = json.loads(metadata.distribution("infergraph").read_text("direct_url.json") or "{}")
    address = urlsplit(told.get("url", ""))
    if address.scheme != "file" or not told.get("dir_info", {}).get("editable"):
        return ""
    return _SOURCES.format(path=json.dumps(url2pathname(address.path)))


def _templates(folder: Traversable, above: str = "") -> list[tuple[str, Traversable]]:
    found: list[tuple[str, Traversable]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _templates(entry, f"{above}{entry.name}/")
        elif entry.name.endswith(_SUFFIX):
            found.append((above + entry.name, entry))
    return found


def _path(template: str) -> str:
    """Where a template's text goes; names with a leading dot are spelled out, as tools pass over hidden files."""
    folder, slash, name = template.removesuffix(_SUFFIX).rpartition("/")
    return f"{folder}{slash}{re.sub('^dot_', '.', name)}"


def _quoted(path: Path) -> str:
    text = str(path)
    return text if re.fullmatch(r"[\w./~-]+", text) else f'"{text}"'
