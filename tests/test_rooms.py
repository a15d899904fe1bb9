"""The house of the design as a test: which room may import which, and what an import must not drag in."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "infergraph"
USER_ROOMS = ("assets", "resources", "sensors")

ROOMS = {
    "errors": 0,
    "text": 1,
    "models": 2,
    "store": 3,
    "calls": 4,
    "validation": 5,
    "records": 6,
    "lineage": 6,
    "column_lineage": 6,
    "lineage_text": 6,
    "traces": 6,
    "usage_report": 6,
    "operators": 7,
    "frame": 8,
    "dagster": 9,
    "cli": 10,
}
UNNUMBERED = {"testing"}

MUST_NOT_KNOW = {
    "errors": {"polars", "pydantic", "sqlalchemy", "dagster", "infergraph"},
    "text": {"sqlalchemy", "dagster", "infergraph.models"},
    "models": {"polars", "sqlalchemy", "dagster", "tenacity"},
    "store": {"polars", "dagster"},
    "calls": {"polars", "pydantic", "dagster"},
    "validation": {"infergraph.calls", "dagster"},
    "records": {"dagster"},
    "lineage": {"dagster"},
    "column_lineage": {"polars", "dagster"},
    "lineage_text": {"polars", "dagster"},
    "traces": {"dagster"},
    "usage_report": {"dagster"},
    "operators": {"infergraph.calls", "infergraph.store", "dagster", "asyncio", "threading", "aiohttp", "sqlalchemy"},
    "frame": {"dagster", "typer", "rich"},
    "dagster": {"typer", "rich"},
    "cli": {"sqlalchemy"},
}

IMPORTED_WHERE_USED = {
    "openai", "anthropic", "great_expectations", "xllamacpp", "onnxruntime", "tokenizers", "genai_prices", "bpe_openai",
    "sklearn",
}  # fmt: skip
HEAVY = {*IMPORTED_WHERE_USED, "dagster", "dagster_webserver", "typer", "rich", "llm", "llama_cpp"}
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "core", "misc", "shared", "base", "lib"}

PUBLIC_NAMES = [
    "Became",
    "BudgetExceeded",
    "ConfigurationError",
    "Estimate",
    "InfergraphError",
    "InternalError",
    "MissingExtra",
    "Model",
    "OperatorEstimate",
    "PlanError",
    "Price",
    "Progress",
    "ProviderDown",
    "ProviderError",
    "ProviderRefused",
    "Quote",
    "Redaction",
    "RunCancelled",
    "RunOptions",
    "RunResult",
    "SchemaError",
    "SemanticFrame",
    "Session",
    "Similar",
    "SinkResult",
    "StoreError",
    "TemplateError",
    "Trace",
    "Traces",
    "UnknownColumn",
    "UnknownModel",
    "UnknownVariable",
    "Usage",
    "check",
    "concat",
    "judge",
    "rejects_of",
    "semantic_asset",
    "trace",
]

MODULES = sorted(path for path in SOURCE.rglob("*.py"))


def _name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _room(path: Path) -> str:
    inside = path.relative_to(SOURCE).parts
    return inside[0].removesuffix(".py")


def _imports(nodes: list[ast.stmt] | ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that is imported below a node, relative imports resolved."""
    for node in ast.walk(nodes if isinstance(nodes, ast.AST) else ast.Module(nodes, [])):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def _package(path: Path) -> str:
    return _name(path) if path.name == "__init__.py" else _name(path).rpartition(".")[0]


def _starts_with(imported: str, names: set[str]) -> bool:
    return any(imported == name or imported.startswith(f"{name}.") for name in names)


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _runs_at_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run when the module is imported: no function bodies, nothing under TYPE_CHECKING."""
    for statement in body:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                continue
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                yield from _runs_at_import(statement.orelse)
            case ast.ClassDef():
                yield from _runs_at_import(statement.body)
            case ast.If() | ast.Try() | ast.With():
                for inner in ("body", "orelse", "finalbody", "handlers"):
                    for nested in getattr(statement, inner, []):
                        yield from _runs_at_import(nested.body if isinstance(nested, ast.ExceptHandler) else [nested])
            case _:
                yield statement


def test_every_module_stands_in_a_room() -> None:
    rooms = {_room(path) for path in MODULES} - {"__init__"}
    assert rooms <= set(ROOMS) | UNNUMBERED, "a new room needs a number in the design and here"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_arrows_point_to_smaller_rooms(path: Path) -> None:
    room = _room(path)
    if room == "__init__" or room in UNNUMBERED:
        return
    wrong = []
    for line, imported in _imports(_tree(path), _package(path)):
        if not imported.startswith("infergraph."):
            continue
        other = imported.split(".")[1]
        # `from infergraph import X` reaches through the front door into rooms above.
        allowed = other == room or (other in ROOMS and ROOMS[other] <= ROOMS[room])
        if not allowed:
            wrong.append(f"{path.name}:{line} imports {imported}")
    assert not wrong, f"room {room!r} ({ROOMS[room]}) may import only rooms with a smaller number"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_rooms_do_not_know_what_they_must_not(path: Path) -> None:
    banned = MUST_NOT_KNOW.get(_room(path), set())
    found = [
        f"{path.name}:{line} imports {imported}"
        for line, imported in _imports(_tree(path), _package(path))
        if _starts_with(imported, banned)
    ]
    assert not found


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_the_library_knows_nothing_of_the_users_rooms(path: Path) -> None:
    found = [
        imported
        for _, imported in _imports(_tree(path), _package(path))
        if _starts_with(imported, {*USER_ROOMS, "definitions"})
    ]
    assert not found


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_slow_packages_are_imported_where_used(path: Path) -> None:
    found = [
        f"{path.name}:{line} imports {imported}"
        for statement in _runs_at_import(_tree(path).body)
        if isinstance(statement, ast.Import | ast.ImportFrom)
        for line, imported in _imports(statement, _package(path))
        if _starts_with(imported, IMPORTED_WHERE_USED)
    ]
    assert not found, "import it inside the function that uses it"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_nothing_is_read_from_the_environment_at_import(path: Path) -> None:
    found = [
        f"{path.name}:{node.lineno}"
        for statement in _runs_at_import(_tree(path).body)
        for node in ast.walk(statement)
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
    ]
    assert not found


def test_no_name_that_says_nothing() -> None:
    root = SOURCE.parents[1]
    below = [path for room in USER_ROOMS for path in (root / room).rglob("*.py")]
    names = {part for path in (*MODULES, *below) for part in path.relative_to(root).with_suffix("").parts}
    assert not names & EMPTY_NAMES


def test_every_module_says_what_it_is_for() -> None:
    silent = [_name(path) for path in MODULES if not (ast.get_docstring(_tree(path)) or "").strip()]
    assert not silent, "begin the module with its idea in ordinary words"


def test_public_names_are_these_and_all_of_them_exist() -> None:
    import infergraph

    assert sorted(infergraph.__all__) == PUBLIC_NAMES, "a name that users see changed: say so in CHANGELOG.md"
    missing = [name for name in PUBLIC_NAMES if not hasattr(infergraph, name)]
    assert not missing
    assert set(PUBLIC_NAMES) <= set(dir(infergraph))


def test_import_drags_in_nothing_heavy() -> None:
    code = "import sys, infergraph; print('\\n'.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ran.stdout.split())
    assert "infergraph" in loaded
    assert not loaded & HEAVY


def test_the_command_line_shows_its_help_without_anything_heavy() -> None:
    code = (
        "import sys; from infergraph.cli.app import run_command; code = run_command(['--help']); "
        "print(code, *sorted({name.partition('.')[0] for name in sys.modules}), sep='\\n', file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    exit_code, *loaded = ran.stderr.split()
    assert exit_code == "0"
    assert "infergraph demo" in ran.stdout
    assert not set(loaded) & (HEAVY - {"typer", "rich"})
