"""The version of an asset's code: a hash of everything of the user's project that its function reaches.

From the function outwards: functions and classes by the normal form of their syntax trees, constants by their values,
schemas by what their provider sees, through modules, closures, default values and decorators. Code of installed
packages, of Python and of Infergraph counts for nothing: an upgrade would mark every asset at once, and what it
changes about a question shows in the question's own hash. What cannot be reached is listed and never guessed.
"""

from __future__ import annotations

import ast
import builtins
import enum
import hashlib
import importlib.util
import inspect
import json
import linecache
import os
import sys
import sysconfig
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from infergraph.dagster.code_tree import (
    Import,
    Reference,
    bindings,
    normal_form,
    out_of_reach,
    references,
    strings_of,
)
from infergraph.dagster.code_values import Visit, value_token

_NOT_THERE = object()
_CONSTANTS = (str, bytes, int, float, list, tuple, set, frozenset, Mapping)


@dataclass(frozen=True, kw_only=True)
class CodeVersion:
    """The version of a function and all that it reaches in the user's project."""

    version: str
    """16 hex digits."""
    reached: tuple[str, ...]
    """Functions, classes and constants that count, in the order in which they were met."""
    not_reached: tuple[str, ...]
    """What may change answers and was not seen."""
    strings: frozenset[str]
    """Every text in the code: names of models are among them."""


def code_version_of(fn: Callable[..., Any], *more: object) -> CodeVersion:
    """The version of a function's code.

    Args:
        fn: The function; its own name, decorators and docstring do not count.
        more: Plain values that count as well.

    Returns:
        The version; the same for code that differs in comments, layout and functions' docstrings only.

    Example:
        >>> limit = 1
        >>> def one(a): return a + limit
        >>> def two(a):
        ...     # the same
        ...     return a + limit
        >>> code_version_of(one).version == code_version_of(two).version
        True
    """
    walk = _Walk()
    tokens = [walk.function(fn, is_root=True), *(walk.value(one, "an argument") for one in more)]
    digest = hashlib.blake2b(repr([tokens, walk.parts]).encode(), digest_size=8)
    return CodeVersion(
        version=digest.hexdigest(),
        reached=tuple(walk.reached),
        not_reached=tuple(walk.not_reached),
        strings=frozenset(walk.strings),
    )


@dataclass(frozen=True, kw_only=True)
class _Scope:
    """Where the names of a piece of code are looked up."""

    label: str
    module: str
    values: Mapping[str, Any]
    """The module's names with their values; empty for a module that is only read as text."""
    cells: Mapping[str, Any]
    known_otherwise: bool = False
    """Names that are not found need not be listed: what they stand for is seen in another way."""


class _Walk:
    """Walks from a function to what it reaches; everything is numbered in the order in which it is met."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.reached: dict[str, None] = {}
        self.not_reached: dict[str, None] = {}
        self.strings: set[str] = set()
        self._numbers: dict[object, int] = {}
        self._kept: list[object] = []
        """Objects whose ids are in use."""

    def value(self, given: object, label: str) -> str:
        """A text for a value: the same for the same content."""
        return value_token(given, label, Visit(self._code_object, self._unseen, self.strings.add))

    def function(self, fn: Callable[..., Any], *, is_root: bool = False) -> str:
        """A function of the project by its tree, its names, its defaults and its closure."""
        if not isinstance(fn, types.FunctionType):
            return self.value(fn, getattr(fn, "__name__", type(fn).__name__))
        label = f"{fn.__module__}.{fn.__qualname__}"
        if not is_root and is_library_file(fn.__code__.co_filename):
            return self._library_function(fn, label)
        number, is_new = self._number(id(fn), fn)
        if is_new:
            self.reached[label] = None
            scope = _Scope(label=label, module=fn.__module__, values=fn.__globals__, cells=self._cells(fn, label))
            kept = [self.value(each, f"a default value of {label}") for each in fn.__defaults__ or ()]
            kept += [
                f"{name}={self.value(each, f'a default value of {label}')}"
                for name, each in sorted((fn.__kwdefaults__ or {}).items())
            ]
            node = function_node(fn.__code__)
            if node is None:
                self._unseen(f"the source of {label}, of which only the byte code counts")
                code = fn.__code__
                form = hashlib.blake2b(code.co_code + repr(code.co_consts).encode(), digest_size=8).hexdigest()
                names = [Reference(name=name) for name in code.co_names if name in fn.__globals__]
                self._add(number, form, [kept, [self._resolved(one, scope) for one in names]])
            else:
                self._add_code(number, _bare(node) if is_root else node, scope, defaults=False, more=kept)
        return f"#{number}"

    def _library_function(self, fn: types.FunctionType, label: str) -> str:
        """A package's function counts by its name; a function of the project that it wraps counts in full."""
        wrapped = getattr(fn, "__wrapped__", None)
        inner = [wrapped] if wrapped is not None else []
        for cell in fn.__closure__ or ():
            content = _content(cell)
            if isinstance(content, (types.FunctionType, type)) and not _is_library_object(content):
                inner.append(content)
        tokens = dict.fromkeys(self.value(each, label) for each in inner)
        return f"library {label} {list(tokens)}"

    def _cells(self, fn: types.FunctionType, label: str) -> dict[str, Any]:
        found = {}
        for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
            content = _content(cell)
            if content is not _NOT_THERE:
                found[name] = content
            elif name != "__class__":
                self._unseen(f"{name} in {label}: it has no value yet")
        return found

    def _class(self, cls: type) -> str:
        label = f"{cls.__module__}.{cls.__qualname__}"
        number, is_new = self._number(id(cls), cls)
        if not is_new:
            return f"#{number}"
        self.reached[label] = None
        bases = [self.value(base, label) for base in cls.__bases__]
        schema = _json_schema(cls)
        module = sys.modules.get(cls.__module__)
        scope = _Scope(
            label=label,
            module=cls.__module__,
            values={} if module is None else vars(module),
            cells=self._class_cells(cls, label),
            known_otherwise=schema is not None,
        )
        nodes = class_nodes(cls)
        if not nodes and issubclass(cls, enum.Enum):
            self._add(number, cls.__qualname__, [[name, self.value(each.value, label)] for name, each in _members(cls)])
            return f"#{number}"
        if not nodes:
            self._unseen(f"the source of the class {label}" + (": only its JSON schema counts" if schema else ""))
        edges = [edge for node in nodes for edge in self._edges(node, scope, defaults=True)]
        self._add(number, repr([normal_form(node) for node in nodes]), [bases, schema, edges])
        return f"#{number}"

    def _class_cells(self, cls: type, label: str) -> dict[str, Any]:
        """What the methods of a class that was made inside a function know from there."""
        found: dict[str, Any] = {}
        for member in vars(cls).values():
            method = inspect.unwrap(getattr(member, "__func__", getattr(member, "fget", member)) or member)
            if isinstance(method, types.FunctionType) and not is_library_file(method.__code__.co_filename):
                found.update(self._cells(method, label))
        return found

    def _code_object(self, given: object, label: str) -> str | None:
        """The token of a function, class or module; ``None``: it is none of these."""
        if isinstance(given, types.FunctionType):
            return self.function(given)
        if isinstance(given, type):
            if _is_library_object(given):
                return f"library {given.__module__}.{given.__qualname__}"
            return self._class(given)
        if isinstance(given, types.ModuleType):
            if not is_library_module(given.__name__):
                self._unseen(f"the module {given.__name__} in {label}: it is used as a whole")
            return f"module {given.__name__}"
        return None

    # -- names -------------------------------------------------------------------------------------

    def _edges(self, node: ast.AST, scope: _Scope, *, defaults: bool) -> list[tuple[str, str]]:
        """What the names in a piece of code stand for."""
        self.strings.update(strings_of(node))
        for text in out_of_reach(node):
            self._unseen(f"{text} in {scope.label}")
        return [
            (".".join([one.name, *one.attributes]), self._resolved(one, scope))
            for one in references(node, defaults=defaults)
        ]

    def _resolved(self, one: Reference, scope: _Scope) -> str:
        if one.imported is not None:
            return self._imported(one.imported, one.attributes, scope)
        if one.name in scope.cells:
            return self._attributes(scope.cells[one.name], one.attributes, f"{one.name} in {scope.label}")
        if one.name in scope.values:
            return self._attributes(scope.values[one.name], one.attributes, f"{scope.module}.{one.name}")
        found = self._unmade(scope.module, one.name, one.attributes)
        if found is not None:
            return found
        if hasattr(builtins, one.name) or (one.name.startswith("__") and one.name.endswith("__")):
            return f"builtin {one.name}"
        if not (one.optional or scope.known_otherwise):
            self._unseen(f"the name {one.name!r} in {scope.label}: it is not found")
        return "not found"

    def _attributes(self, value: object, attributes: Sequence[str], label: str) -> str:
        """A value, or what is read from it: through modules name by name, of anything else as a whole."""
        for number, name in enumerate(attributes):
            if not isinstance(value, types.ModuleType):
                if name == "__doc__":
                    return self.value(value.__doc__, label)
                own = vars(value).get(name) if isinstance(value, types.FunctionType) else None
                return self._named(value, label) + ("" if own is None else self.value(own, f"{label}.{name}"))
            if is_library_module(value.__name__):
                return f"library {'.'.join([value.__name__, *attributes[number:]])}"
            label = f"{value.__name__}.{name}"
            if name in vars(value):
                value = vars(value)[name]
            elif label in sys.modules:
                value = sys.modules[label]
            else:
                return self._by_name(value.__name__, name, attributes[number + 1 :])
        return self._named(value, label)

    def _named(self, value: object, label: str) -> str:
        if isinstance(value, _CONSTANTS):
            self.reached[label] = None
        return self.value(value, label)

    def _imported(self, target: Import, attributes: Sequence[str], scope: _Scope) -> str:
        """What an import inside code brings: read as text, since importing it here might run it too early."""
        module = target.module
        if target.level:
            module = _absolute(target, scope.module)
        names = [*([target.name] if target.name else []), *attributes]
        return self._by_name(module, names[0], names[1:]) if names else self._code_name(module)

    def _code_name(self, module: str) -> str:
        if not is_library_module(module):
            self._unseen(f"the module {module}: it is used as a whole")
        return f"module {module}"

    def _by_name(self, module: str, name: str, attributes: Sequence[str]) -> str:
        """A module's name without its value: by the statements that bind it."""
        if is_library_module(module):
            return f"library {'.'.join([module, name, *attributes])}"
        found = self._unmade(module, name, attributes)
        if found is not None:
            return found
        if module_file(f"{module}.{name}") is not None:
            inner = f"{module}.{name}"
            return self._by_name(inner, attributes[0], attributes[1:]) if attributes else self._code_name(inner)
        self._unseen(f"the name {name!r} of the module {module}: it is not found")
        return "not found"

    def _unmade(self, module: str, name: str, attributes: Sequence[str]) -> str | None:
        """A name whose value is not there yet, by the statements that will bind it; ``None``: nothing binds it."""
        tree = _module_tree(module_file(module))
        found = [] if tree is None else [what for bound, what in bindings(tree.body) if bound == name]
        if not found:
            return None
        number, is_new = self._number((module, name), None)
        if is_new:
            label = f"{module}.{name}"
            self.reached[label] = None
            scope = _Scope(label=label, module=module, values={}, cells={})
            edges: list[object] = []
            for what in found:
                if isinstance(what, Import):
                    edges.append(self._imported(what, attributes, scope))
                    continue
                if not isinstance(what, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                    self._note_computed(what, label)
                edges += [normal_form(what), self._edges(what, scope, defaults=True)]
            self._add(number, "", edges)
        return f"#{number}"

    def _note_computed(self, statement: ast.stmt, label: str) -> None:
        if any(isinstance(each, ast.Call) for each in ast.walk(statement)):
            self._unseen(f"the value of {label}: it is computed after the asset was defined, and only its code counts")

    # -- keeping -----------------------------------------------------------------------------------

    def _number(self, key: object, kept: object) -> tuple[int, bool]:
        is_new = key not in self._numbers
        if is_new:
            self._numbers[key] = len(self._numbers)
            self._kept.append(kept)
        return self._numbers[key], is_new

    def _add_code(self, number: int, node: ast.AST, scope: _Scope, *, defaults: bool, more: Iterable[str]) -> None:
        self._add(number, normal_form(node), [list(more), self._edges(node, scope, defaults=defaults)])

    def _add(self, number: int, form: str, more: object) -> None:
        self.parts.append(repr([number, form, more]))

    def _unseen(self, what: str) -> None:
        self.not_reached[what] = None


# -- source ----------------------------------------------------------------------------------------


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


def _is_library_object(given: types.FunctionType | type) -> bool:
    if isinstance(given, types.FunctionType):
        return is_library_file(given.__code__.co_filename)
    return given.__module__ == "builtins" or is_library_module(given.__module__)


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
    tree = _module_tree(code.co_filename)
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
    tree = _module_tree(module_file(cls.__module__))
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


def _module_tree(file: str | None) -> ast.Module | None:
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


def _bare(node: ast.AST) -> ast.AST:
    """The asset's own function without its name and decorators."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        fields = {name: value for name, value in ast.iter_fields(node) if name not in ("name", "decorator_list")}
        return type(node)(name="", decorator_list=[], **fields)
    return node


def _json_schema(cls: type) -> str | None:
    """What a provider would see of a Pydantic model; ``None``: it is none, or its schema cannot be made yet."""
    if not issubclass(cls, BaseModel) or cls is BaseModel:
        return None
    try:
        return json.dumps(cls.model_json_schema())
    except Exception:  # the author's own code may run in it; the syntax tree counts in any case
        return None


def _members(cls: type[enum.Enum]) -> Iterable[tuple[str, enum.Enum]]:
    return cls.__members__.items()


def _absolute(target: Import, module: str) -> str:
    """The full name of a relative import's module."""
    is_package = hasattr(sys.modules.get(module), "__path__")
    parts = module.split(".") if is_package else module.split(".")[:-1]
    above = parts[: len(parts) - (target.level - 1)] if target.level > 1 else parts
    return ".".join([*above, *([target.module] if target.module else [])])


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _NOT_THERE
