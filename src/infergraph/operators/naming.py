"""Expressions as a person would type them: functions of ``ig.text`` under their own names.

Polars calls every Python function ``python_udf()``. Ours are told from those of others by what is pickled of them:
their module, and the name under which their errors call them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

_OURS = b"infergraph.text"
_NAME = re.compile(rb"\x8c(.)(ig\.text\.[a-z]+\.[a-z_]+)", re.DOTALL)
"""A text of a pickle, behind its length: the whole of it, and no sentence in which another function is named."""
_FUNCTION = "AnonymousFunction"
# Letters of a private use area: no column is called so.
_STAND_IN = re.compile('col\\("\ue010(\\d+)\ue011"\\)')


def plain_tree(expr: pl.Expr) -> Any | None:
    """An expression as plain data; ``None`` where Polars cannot write it down."""
    try:
        return json.loads(expr.meta.serialize(format="json"))
    except (PolarsError, TypeError, ValueError, AttributeError):
        return None


def from_tree(tree: Any) -> pl.Expr:
    """The reverse of ``plain_tree``."""
    return pl.Expr.deserialize(json.dumps(tree).encode(), format="json")


def functions_in(tree: Any) -> Iterator[Any]:
    """Every Python function in an expression: its ``function``, a pickle as a list of numbers, and its ``input``."""
    if isinstance(tree, list):
        if tree and not isinstance(tree[0], int):  # a pickle
            for item in tree:
                yield from functions_in(item)
    elif isinstance(tree, dict):
        for kind, value in tree.items():
            if kind == _FUNCTION:
                yield value
            yield from functions_in(value)


def is_own(function: Any) -> bool:
    """Whether a function of ``functions_in`` is one of ``ig.text``."""
    return _OURS in bytes(function["function"])


def has_foreign_function(expr: pl.Expr) -> bool:
    """Whether there is a Python function in an expression that is none of ``ig.text``."""
    tree = plain_tree(expr)
    return "python_udf" in str(expr) if tree is None else any(not is_own(one) for one in functions_in(tree))


def shown(expr: pl.Expr) -> str:
    """An expression as text.

    Example:
        >>> import infergraph as ig
        >>> shown(ig.text.tokens.count("body") > 3)
        '[(ig.text.tokens.count(body)) > (dyn int: 3)]'
        >>> shown(pl.col("body").map_batches(len, return_dtype=pl.Int64).alias("n"))
        'col("body").python_udf().alias("n")'
    """
    tree = plain_tree(expr)
    if tree is None or not any(functions_in(tree)):
        return str(expr)
    try:
        return _text(tree)
    except PolarsError:
        return str(expr)


def _text(tree: Any) -> str:
    texts: list[str] = []
    text = str(from_tree(_named(tree, texts)))
    return _STAND_IN.sub(lambda found: texts[int(found[1])], text)


def _named(tree: Any, texts: list[str]) -> Any:
    """The expression with a column in place of each function; ``texts`` are what these columns stand for."""
    if isinstance(tree, list):
        return [_named(item, texts) for item in tree]
    if not isinstance(tree, dict):
        return tree
    found = _function_text(tree)
    if found is not None:
        texts.append(found)
        return {"Column": f"\ue010{len(texts) - 1}\ue011"}
    return {kind: _named(value, texts) for kind, value in tree.items()}


def _function_text(tree: dict[str, Any]) -> str | None:
    """The text of a tree that is a function; ``None``: it is none."""
    if (ternary := tree.get("Ternary")) is not None:
        return _checked_text(ternary)
    if (function := tree.get(_FUNCTION)) is None:
        return None
    if not is_own(function):
        first, *others = [_text(one) for one in function["input"]]
        return f"{first}.python_udf({'[' + ', '.join(others) + ']' if others else ''})"
    inputs = [_input_text(one) for one in function["input"]]
    name = _name(function)
    return inputs[0] if name is None else f"{name}({', '.join(inputs)})"


def _checked_text(ternary: dict[str, Any]) -> str | None:
    """The text of a function that is Polars' own expressions behind a check of ours of its column's type."""
    check = ternary["predicate"].get(_FUNCTION) if isinstance(ternary["predicate"], dict) else None
    asked = check["input"][0].get("DataTypeFunction") if check and isinstance(check["input"][0], dict) else None
    column = asked and asked.get("Display", {}).get("OfExpr")
    return f"{_name(check)}({_input_text(column)})" if column and is_own(check) else None


def _name(function: Any) -> str | None:
    found = _NAME.finditer(bytes(function["function"]))
    return next((one[2].decode() for one in found if one[1][0] == len(one[2])), None)


def _input_text(tree: Any) -> str:
    if isinstance(tree, dict) and set(tree) == {"Column"}:
        return str(tree["Column"])
    return _text(tree)
