"""What a prompt template may say, and what it needs: reads the parsed template, renders nothing.

A template is written by the plan's author but runs over data, in every process of a deployment. So the language
is a short list of what prompts need (values, fields, conditions, loops, a few filters); the rest is refused with
the way to write it. Every name is checked against the input's columns and their fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Never

import polars as pl
from jinja2 import nodes

from infergraph.errors import TemplateError, UnknownVariable, did_you_mean

Scope = Mapping[str, pl.DataType | None]

LOOP = ("index", "index0", "revindex", "first", "last", "length")
FILTERS = (
    *("abs", "capitalize", "count", "default", "first", "float", "int", "join", "last", "length", "list", "lower"),
    *("max", "min", "replace", "reverse", "round", "sort", "string", "sum", "title", "tojson", "trim", "truncate"),
    *("unique", "upper", "wordcount"),
)
TESTS = ("defined", "even", "false", "in", "none", "number", "odd", "string", "true", "undefined")

_ALLOWED = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Slice),
    *(nodes.Const, nodes.List, nodes.Tuple, nodes.If, nodes.For, nodes.CondExpr, nodes.And, nodes.Or, nodes.Not),
    *(nodes.Compare, nodes.Operand, nodes.Filter, nodes.Test, nodes.Concat, nodes.Keyword, nodes.Neg),
)
_REFUSED: dict[type[nodes.Node], str] = {
    nodes.Call: "functions cannot be called in a prompt; use a filter such as {{ text|upper }}, or compute the value "
    "first with .with_columns(...)",
    **dict.fromkeys(
        (nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow),
        "arithmetic is not done in a prompt; compute the value first with .with_columns(...), and join texts with ~",
    ),
    nodes.Import: "templates cannot import",
    nodes.FromImport: "templates cannot import",
    nodes.Include: "templates cannot include others; put the text together in Python",
    nodes.Extends: "templates cannot extend others; put the text together in Python",
    nodes.Macro: "macros are not available; write the text out, or put it together in Python",
    nodes.Assign: "{% set %} is not available; compute the value first with .with_columns(...)",
}
_SAME_TYPE = ("sort", "unique", "reverse", "list")


def check(template: nodes.Template, columns: Scope, where: str) -> None:
    """Raise ``TemplateError`` where the template uses what is not available, or names what is not there.

    Args:
        template: As parsed.
        columns: The columns that it may name, with their types; ``None`` for a type that is not known yet.
        where: What errors call it.
    """
    _Check(where).visit(template, dict(columns))


def is_path(node: nodes.Node) -> bool:
    """Whether a node is a plain substitution: a column, or a field of a Struct column."""
    match node:
        case nodes.Name():
            return True
        case nodes.Getattr(node=inner):
            return is_path(inner)
        case nodes.Getitem(node=inner, arg=nodes.Const(value=str())):
            return is_path(inner)
        case _:
            return False


def path_of(node: nodes.Node) -> tuple[str, ...]:
    """The names of a plain substitution: the column, then its fields."""
    match node:
        case nodes.Getattr(node=inner, attr=attr):
            return (*path_of(inner), attr)
        case nodes.Getitem(node=inner, arg=nodes.Const(value=str(key))):
            return (*path_of(inner), key)
        case nodes.Name(name=name):
            return (name,)
        case _:
            raise TypeError(f"{node!r} is no path")


def variables_of(node: nodes.Node, columns: pl.Schema) -> list[str]:
    """The columns that a node reads, in the order of first use."""
    names = [found.name for found in _names(node)]
    return list(dict.fromkeys(name for name in names if name in columns))


def required_of(node: nodes.Node, columns: pl.Schema) -> list[str]:
    """The columns that a node reads outside any condition on them, in the order of first use."""
    return list(dict.fromkeys(name for name in _unguarded(node, frozenset()) if name in columns))


def _names(node: nodes.Node) -> Iterator[nodes.Name]:
    if isinstance(node, nodes.Name):
        yield node
    for child in node.iter_child_nodes():
        yield from _names(child)


def _unguarded(node: nodes.Node, guarded: frozenset[str]) -> Iterator[str]:
    match node:
        case nodes.Name(name=name):
            if name not in guarded:
                yield name
            return
        case nodes.If() | nodes.CondExpr():
            guarded |= _asked_for(node.test)
        case nodes.And() | nodes.Or():
            guarded |= _asked_for(node.left)
        case nodes.Not() | nodes.Test() | nodes.Filter(name="default"):
            guarded |= _asked_for(node)
    for child in node.iter_child_nodes():
        yield from _unguarded(child, guarded)


def _asked_for(condition: nodes.Node) -> frozenset[str]:
    """The columns whose presence a condition asks for."""
    match condition:
        case nodes.And() | nodes.Or():
            return _asked_for(condition.left) | _asked_for(condition.right)
        case nodes.Not(node=inner):
            return _asked_for(inner)
        case nodes.Test(node=inner, name="none" | "defined" | "undefined") | nodes.Filter(node=inner, name="default"):
            return _asked_for(inner) if inner is not None else frozenset()
        case _ if is_path(condition):
            return frozenset(path_of(condition)[:1])
        case _:
            return frozenset()


class _Check:
    """Walks the template with the types of the names in sight."""

    def __init__(self, where: str) -> None:
        self.where = where

    def visit(self, node: nodes.Node, scope: Scope) -> None:
        for kind, why in _REFUSED.items():
            if isinstance(node, kind):
                self.fail(node, why)
        if not isinstance(node, _ALLOWED):
            self.fail(node, f"{type(node).__name__} is not available in a prompt template")
        match node:
            case nodes.For():
                self.visit_loop(node, scope)
                return
            case nodes.Filter(name=name) if name not in FILTERS:
                self.fail(node, f"there is no filter {name!r}. {did_you_mean(name, FILTERS)}")
            case nodes.Test(name=name) if name not in TESTS:
                self.fail(node, f"there is no test {name!r}. {did_you_mean(name, TESTS)}")
            case nodes.Name() | nodes.Getattr() | nodes.Getitem():
                self.type_of(node, scope)
        for child in node.iter_child_nodes():
            self.visit(child, scope)

    def visit_loop(self, node: nodes.For, scope: Scope) -> None:
        if not isinstance(node.target, nodes.Name) or node.recursive:
            self.fail(node, "a loop has one variable: {% for item in items %}")
        name = node.target.name
        if name in scope or name == "loop":
            self.fail(node, f"the loop's variable {name!r} hides the name {name!r}; give it another name")
        self.visit(node.iter, scope)
        items = self.type_of(node.iter, scope)
        if items is not None and not isinstance(items, (pl.List, pl.Array)):
            self.fail(node, f"a loop needs a List, and {_spelled(node.iter)} is {items}")
        inner = {**scope, name: _inner(items), "loop": pl.Struct(dict.fromkeys(LOOP, pl.Int64))}
        for child in (*node.body, *node.else_, *([node.test] if node.test else [])):
            self.visit(child, inner)

    def type_of(self, node: nodes.Node, scope: Scope) -> pl.DataType | None:
        """The type of an expression; ``None`` where only the data could tell."""
        match node:
            case nodes.Name(name=name):
                if name not in scope:
                    raise UnknownVariable(
                        f"{self.where}, line {node.lineno}: there is no column {name!r}. "
                        f"{did_you_mean(name, [known for known in scope if known != 'loop'])}"
                    )
                return scope[name]
            case nodes.Getattr(node=inner, attr=field) | nodes.Getitem(node=inner, arg=nodes.Const(value=str(field))):
                return self.field_type(node, self.type_of(inner, scope), field)
            case nodes.Getitem(node=inner, arg=nodes.Slice()) | nodes.Filter(node=nodes.Expr() as inner, name="sort"):
                return self.type_of(inner, scope)
            case nodes.Filter(node=nodes.Expr() as inner, name=name) if name in _SAME_TYPE:
                return self.type_of(inner, scope)
            case nodes.Filter(node=nodes.Expr() as inner, name="first" | "last"):
                return _inner(self.type_of(inner, scope))
            case nodes.Getitem(node=inner, arg=nodes.Const() | nodes.Neg()):
                return _inner(self.type_of(inner, scope))
            case nodes.Getitem():
                self.fail(node, "[...] takes a field's name, a number or a range of numbers")
        return None

    def field_type(self, node: nodes.Node, owner: pl.DataType | None, field: str) -> pl.DataType | None:
        if field.startswith("__"):
            self.fail(node, f"{field!r} is no field of a column")
        if owner is None:
            return None
        if not isinstance(owner, pl.Struct):
            self.fail(node, f"{_spelled(node)}: {owner} has no fields, so there is no {field!r}")
        for known in owner.fields:
            if known.name == field:
                return known.dtype if isinstance(known.dtype, pl.DataType) else known.dtype()
        raise UnknownVariable(
            f"{self.where}, line {node.lineno}: {_spelled(node)}: there is no field {field!r}. "
            f"{did_you_mean(field, [known.name for known in owner.fields])}"
        )

    def fail(self, node: nodes.Node, why: str) -> Never:
        end = "" if why.endswith(("?", ".")) else "."
        raise TemplateError(f"{self.where}, line {node.lineno}: {why}{end}")


def _inner(dtype: pl.DataType | None) -> pl.DataType | None:
    if not isinstance(dtype, (pl.List, pl.Array)):
        return None
    return dtype.inner if isinstance(dtype.inner, pl.DataType) else dtype.inner()


def _spelled(node: nodes.Node) -> str:
    return "{{ " + ".".join(path_of(node)) + " }}" if is_path(node) else "this value"
