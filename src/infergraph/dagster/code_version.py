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
import inspect
import json
import sys
import types
from collections.abc import Callable, Iterable, Mapping, Sequence, ValuesView
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from infergraph.dagster.code_source import (
    class_nodes,
    function_node,
    is_library_file,
    is_library_module,
    module_file,
    module_tree,
)
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
    walk = _Walk(_project_of(fn))
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

    def __init__(self, root: Path) -> None:
        self._root = root
        self.parts: list[str] = []
        self.reached: dict[str, None] = {}
        self.not_reached: dict[str, None] = {}
        self.strings: set[str] = set()
        self._numbers: dict[object, int] = {}
        self._kept: list[object] = []
        """Objects whose ids are in use."""

    def value(self, given: object, label: str) -> str:
        """A text for a value: the same for the same content."""
        return value_token(given, label, Visit(self._code_object, self._unseen, self.strings.add, self._root))

    def function(self, fn: Callable[..., Any], *, is_root: bool = False) -> str:
        """A function of the project by its tree, its names, its defaults and its closure."""
        if not isinstance(fn, types.FunctionType):
            return self.value(fn, getattr(fn, "__name__", type(fn).__name__))
        label = f"{fn.__module__}.{fn.__code__.co_qualname}"  # functools.wraps gives a wrapper the other's name
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
        inner: list[object] = []
        # Its attributes as well: there are what functools.wraps was given, and a generic function's implementations.
        for content in (*(_content(cell) for cell in fn.__closure__ or ()), *vars(fn).values()):
            held = content.values() if isinstance(content, Mapping) else content
            inner += held if isinstance(held, (list, tuple, ValuesView)) else [held]
        tokens = dict.fromkeys(self.value(each, label) for each in inner if _is_own_code(each))
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
        if label.endswith(".__file__") and isinstance(value, str):
            value = Path(value)  # counts from the project's root: where the project lies is no part of its code
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
        tree = module_tree(module_file(module))
        found = [] if tree is None else [what for bound, what in bindings(tree.body) if bound == name]
        if not found:
            return None
        # What is imported leads on to another name for each attribute; other statements count as a whole.
        leads_on = tuple(attributes) if any(isinstance(what, Import) for what in found) else ()
        number, is_new = self._number((module, name, leads_on), None)
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


def _project_of(fn: Callable[..., Any]) -> Path:
    """The root of the project that a function's file lies in, wherever the process stands."""
    from infergraph.frame.session import project_root

    code = getattr(inspect.unwrap(fn), "__code__", None)
    file = "" if code is None else code.co_filename
    return project_root(Path(file).parent if Path(file).is_file() else None)


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


def _is_library_object(given: types.FunctionType | type) -> bool:
    if isinstance(given, types.FunctionType):
        return is_library_file(given.__code__.co_filename)
    return given.__module__ == "builtins" or is_library_module(given.__module__)


def _is_own_code(given: object) -> bool:
    return isinstance(given, (types.FunctionType, type)) and not _is_library_object(given)
