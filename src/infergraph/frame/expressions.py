"""Polars expressions as the plan needs them: selectors spelt out, and what an expression does to its rows.

Hidden columns travel beside the visible ones, so ``pl.all()``, ``pl.last()`` and selectors are replaced by the
names that they mean when the step is written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from types import CodeType
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from infergraph.errors import PlanError, UnknownColumn, did_you_mean
from infergraph.operators.naming import shown
from infergraph.operators.trying import check_text_functions

# Steps that change the length or the order of a column, so that a row's id no longer stands beside its row.
_REARRANGING_NODES = {"Sort", "SortBy", "Gather", "Filter", "Slice", "Explode"}
_REARRANGING_FUNCTIONS = {
    "Reverse", "Range", "GatherEvery", "Unique", "DropNulls", "DropNans", "Mode", "TopK", "TopKBy", "ArgWhere",
    "ArgUnique", "ArgSort", "Random", "Repeat", "SearchSorted", "ValueCounts", "UniqueCounts", "ExtendConstant",
    "RLE", "RLEID", "Append",
}  # fmt: skip
_ONE_ROW_NODES = {"Agg", "Literal"}
_ROW_BY_ROW = {"ROW_SEPARABLE", "LENGTH_PRESERVING"}


def expressions(exprs: Sequence[Any], named: Mapping[str, Any]) -> list[pl.Expr]:
    """What a Polars method was given, as expressions: names are columns, other values are literals."""
    flat: list[Any] = []
    for item in exprs:
        flat.extend(item if isinstance(item, (list, tuple)) else [item])
    wanted = [expression(item) for item in flat]
    return [*wanted, *(expression(item).alias(name) for name, item in named.items())]


def expression(item: Any) -> pl.Expr:
    """One argument as an expression."""
    if isinstance(item, pl.Expr):
        return item
    if isinstance(item, str):
        return pl.col(item)
    if isinstance(item, pl.Series):
        raise PlanError("A Series has no place in a lazy plan: join it as a frame, or use pl.lit for one value.")
    return pl.lit(item)


def spelt_out(wanted: Iterable[pl.Expr], schema: Mapping[str, pl.DataType]) -> list[pl.Expr]:
    """The same expressions with every selector replaced by the columns that it names in this schema.

    Raises:
        PlanError: An expression with a selector cannot be rewritten (it holds an infinite number or a function), or a
            function of ``ig.text`` is given a type that it cannot take.
    """
    spelt = [_spelt_out(one, schema) for one in wanted]
    for one in spelt:
        check_text_functions(one, schema)
    return spelt


def _spelt_out(one: pl.Expr, schema: Mapping[str, pl.DataType]) -> pl.Expr:
    tree = tree_of(one)
    if tree is None:
        if one.meta.has_multiple_outputs():
            raise PlanError(
                f"{one}: a selector cannot stand in one expression with this function or infinite number; write "
                "one expression a column: [pl.col(name)... for name in names]."
            )
        return one
    if "Selector" not in json.dumps(tree) and '"Nth"' not in json.dumps(tree):
        return one
    return _from_tree(_named(tree, schema))


def _named(tree: Any, schema: Mapping[str, pl.DataType]) -> Any:
    if isinstance(tree, list):
        return [_named(item, schema) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if set(tree) == {"Selector"} or set(tree) == {"Nth"}:
        selected = pl.LazyFrame(schema=dict(schema)).select(_from_tree(tree)).collect_schema().names()
        return {"Selector": {"ByName": {"names": selected, "strict": True}}}
    return {kind: _named(value, schema) for kind, value in tree.items()}


def tree_of(one: pl.Expr) -> Any | None:
    """The expression as plain data; ``None`` where it cannot be read back (infinite numbers, some functions)."""
    try:
        text = one.meta.serialize(format="json")
        pl.Expr.deserialize(text.encode(), format="json")
    except (PolarsError, TypeError, ValueError, AttributeError):
        return None
    return json.loads(text)


def _from_tree(tree: Any) -> pl.Expr:
    return pl.Expr.deserialize(json.dumps(tree).encode(), format="json")


def conjuncts(predicate: pl.Expr) -> list[pl.Expr]:
    """The parts of a condition that must all be true; the condition itself where it cannot be taken apart."""
    tree = tree_of(predicate)
    return [predicate] if tree is None else [_from_tree(part) for part in _parts(tree)]


def _parts(tree: Any) -> list[Any]:
    binary = tree.get("BinaryExpr") if isinstance(tree, dict) else None
    if binary and binary["op"] in ("And", "LogicalAnd"):
        return [*_parts(binary["left"]), *_parts(binary["right"])]
    return [tree]


def identity(one: pl.Expr) -> str:
    """A text that tells this expression from every other one."""
    try:
        return one.meta.serialize(format="json")
    except (PolarsError, TypeError, ValueError, AttributeError):
        return f"opaque {one}"


def function_identity(function: Callable[..., Any]) -> str:
    """A text for a function: its name and what its code does, as far as that can be seen."""
    code = getattr(function, "__code__", None)
    seen = "" if code is None else _code_text(code)
    name = getattr(function, "__qualname__", type(function).__name__)
    return f"opaque {name} {blake2b(seen.encode(), digest_size=8).hexdigest()}"


def _code_text(code: CodeType) -> str:
    """What a function's code does; constants as they are in every process: no addresses, sets in an order."""
    constants = [
        _code_text(one)
        if isinstance(one, CodeType)
        else repr(sorted(map(repr, one)) if isinstance(one, frozenset) else one)
        for one in code.co_consts
    ]
    return repr((code.co_code, constants, code.co_names))


def keeps_rows_in_place(wanted: Iterable[pl.Expr]) -> bool:
    """Whether these expressions of a ``select`` give one value a row, each beside its own row.

    Aggregations alone (one row comes out) and expressions that sort, drop or repeat rows do not; nor do Python
    functions, except those that are said to work row by row: ``map_elements``, ``map_batches(is_elementwise=True)``,
    and so all of ``ig.text``. Polars' ``is_row_separable`` cannot be used: it is true for ``Expr.filter`` and false
    for ``cum_sum``.
    """
    trees = [tree_of(one) for one in wanted]
    if any(tree is None or _rearranges(tree) for tree in trees):
        return False
    return not trees or any(not _gives_one_row(tree) for tree in trees)


def _gives_one_row(tree: Any) -> bool:
    """Whether no part of the expression stands beside the rows."""
    if isinstance(tree, list):
        return all(_gives_one_row(item) for item in tree)
    if not isinstance(tree, dict):
        return True
    if "Over" in tree or "Column" in tree or "Selector" in tree:
        return False
    return all(kind in _ONE_ROW_NODES or _gives_one_row(value) for kind, value in tree.items())


def _rearranges(tree: Any) -> bool:
    if isinstance(tree, list):
        return any(_rearranges(item) for item in tree)
    if not isinstance(tree, dict):
        return False
    for kind, value in tree.items():
        if kind in ("Agg", "Over"):
            continue  # whatever is rearranged inside, one value comes out, or one a row
        if kind in _REARRANGING_NODES:
            return True
        if kind == "AnonymousFunction":
            if not _works_row_by_row(value) or _rearranges(value["input"]):
                return True
            continue
        if kind == "function" and _function_name(value) in _REARRANGING_FUNCTIONS:
            return True
        if _rearranges(value):
            return True
    return False


def _works_row_by_row(function: Any) -> bool:
    flags = str(function.get("options", {}).get("flags", ""))
    return {flag.strip() for flag in flags.split("|")} >= _ROW_BY_ROW


def _function_name(function: Any) -> str:
    return next(iter(function), "") if isinstance(function, dict) else str(function)


def column_names(columns: Iterable[Any], schema: Mapping[str, pl.DataType], method: str) -> list[str]:
    """Names, selectors or lists of them as names of columns that are there.

    Raises:
        UnknownColumn: A name that is no column.
    """
    names: list[str] = []
    for column in columns:
        if isinstance(column, (list, tuple)):
            names += column_names(column, schema, method)
        elif isinstance(column, pl.Expr):
            names += pl.LazyFrame(schema=dict(schema)).select(column).collect_schema().names()
        elif isinstance(column, str) and column in schema:
            names.append(column)
        elif isinstance(column, str):
            raise UnknownColumn(f".{method}: unknown column {column!r}. {did_you_mean(column, schema)}")
        else:
            raise PlanError(f".{method}: give column names or selectors, not {type(column).__name__}.")
    return list(dict.fromkeys(names))


def roots(one: pl.Expr) -> set[str]:
    """The columns that an expression reads, its selectors spelt out before."""
    tree = tree_of(one)
    return set(one.meta.root_names()) if tree is None else set(_columns(tree))


def _columns(tree: Any) -> list[str]:
    if isinstance(tree, list):
        return [name for item in tree for name in _columns(item)]
    if not isinstance(tree, dict):
        return []
    names: list[str] = []
    for kind, value in tree.items():
        if kind == "Column":
            names.append(str(value))
        elif kind == "ByName":
            names += value["names"]
        else:
            names += _columns(value)
    return names


def text_of(wanted: Sequence[pl.Expr], **options: Any) -> str:
    """Expressions and options as a reader would type them, for ``explain``."""
    parts = [shown(one) for one in wanted]
    return ", ".join([*parts, *(f"{name}={value!r}" for name, value in options.items() if value is not None)])
