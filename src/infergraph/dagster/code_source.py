"""Where code comes from: the user's project or a package, and the syntax trees of functions, classes and modules."""

from __future__ import annotations

import ast
import importlib.util
import linecache
import os
import sys
import sysconfig
import types
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path


def is_library_file(path: str) -> bool:
    """Whether a file belongs to Python, to an installed package or to Infergraph."""
    if path.startswith("<frozen"):
        return True
    if path.startswith("<"):
        return False  # typed at a prompt, or a cell of a notebook
    parts = Path(path).parts
    if "site-packages" in parts or "dist-packages" in parts:
        return True
    return any(path.startswith(folder) for folder in _library_folders())


@lru_cache(maxsize=1)
def _library_folders() -> tuple[str, ...]:
    own = str(Path(__file__).resolve().parents[1])
    found = {own, *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))}
    every = {folder for path in found if path for folder in (path, str(Path(path).resolve()))}
    return tuple(sorted(f"{folder}{os.sep}" for folder in every))


def is_library_module(name: str) -> bool:
    """Whether a module belongs to Python, to an installed package or to Infergraph."""
    if name.partition(".")[0] in ("infergraph", *sys.builtin_module_names):
        return True
    file = module_file(name)
    if file is not None:
        return is_library_file(file)
    module = sys.modules.get(name)
    folders = [str(folder) for folder in getattr(module, "__path__", ())]
    return bool(folders) and all(is_library_file(f"{folder}{os.sep}") for folder in folders)


def module_file(name: str) -> str | None:
    """The source file of a module, imported or not; ``None``: it has none, or there is no such module."""
    module = sys.modules.get(name)
    if module is not None:
        return getattr(module, "__file__", None)
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, AttributeError, ValueError):
        return None
    return None if spec is None or spec.origin in (None, "built-in", "frozen") else spec.origin


def function_node(code: types.CodeType) -> ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | None:
    """The tree of a function; ``None``: its source is not there, or is not what was imported."""
    tree = module_tree(code.co_filename)
    if tree is None:
        return None
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        and _first_line(node) == code.co_firstlineno
        and getattr(node, "name", "<lambda>") == code.co_name
    ]
    if len(found) > 1:
        found = [node for node in found if _holds(node, code)]
    return found[0] if len(found) == 1 else None


def _first_line(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> int:
    decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
    return min(each.lineno for each in (node, *decorators))


def _holds(node: ast.AST, code: types.CodeType) -> bool:
    """Whether all of a lambda's instructions stand in the body of this one."""
    body = getattr(node, "body", None)
    if not isinstance(body, ast.expr):
        return False
    start, end = (body.lineno, body.col_offset), (body.end_lineno or 0, body.end_col_offset or 0)
    places = [(line, column) for line, _, column, _ in code.co_positions() if line is not None and column is not None]
    inside = [place for place in places if start <= place <= end]
    # The first instruction (RESUME) stands at the beginning of the line.
    return len(inside) >= len([place for place in places if place[1] > 0]) and bool(inside)


def class_nodes(cls: type) -> list[ast.ClassDef]:
    """The trees of a class: several, where its module defines it in one branch or another."""
    tree = module_tree(module_file(cls.__module__))
    return [] if tree is None else [node for name, node in _classes(tree, "") if name == cls.__qualname__]


def _classes(node: ast.AST, inside: str) -> Iterable[tuple[str, ast.ClassDef]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield f"{inside}{child.name}", child
            yield from _classes(child, f"{inside}{child.name}.")
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _classes(child, f"{inside}{child.name}.<locals>.")
        else:
            yield from _classes(child, inside)


def module_tree(file: str | None) -> ast.Module | None:
    """The tree of a source file; ``None``: there is no source, or none that Python can read."""
    if file is None:
        return None
    linecache.checkcache(file)
    text = "".join(linecache.getlines(file))
    return _parsed(text) if text else None


@lru_cache(maxsize=256)
def _parsed(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except SyntaxError:
        return None
