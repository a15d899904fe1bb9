"""How each plain step's columns follow from the columns before it: one small rule a method.

A rule reads the arguments that the method was given and guesses nothing: what comes out is compared with the step's
true columns, and where they differ, or where a step has no rule, the step counts as code that cannot be looked into.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from infergraph.frame.expressions import tree_of
from infergraph.operators.naming import functions_in, is_own, shown

InputColumn = tuple[int, str]
"""Number of the step's input (0: the frame itself) and a column's name."""

_FUNCTION = "AnonymousFunction"
_FOREIGN_CODE = {
    _FUNCTION, "AnonymousAgg", "FfiPlugin", "FoldHorizontal", "ReduceHorizontal", "CumFoldHorizontal",
    "CumReduceHorizontal",
}  # fmt: skip
_SHOWN = 120


@dataclass(frozen=True, kw_only=True)
class Reads:
    """What one column follows from."""

    columns: frozenset[InputColumn] = frozenset()
    opaque: frozenset[str] = frozenset()
    """Code between them that cannot be looked into."""


@dataclass(frozen=True, kw_only=True)
class Flow:
    """How one step's result follows from its inputs."""

    values: Mapping[str, Reads]
    """Output column -> what its values follow from."""
    rows: Reads = Reads()
    """What decides which rows come out, and their order."""


ColumnRule = Callable[[Sequence[pl.Schema], pl.Schema], Flow]
"""A step's rule: the inputs' columns and the step's own -> the flow."""


def kept(*, decided_by: Sequence[pl.Expr] = (), names: Iterable[str] = ()) -> ColumnRule:
    """Columns stay as they are; rows may go or move.

    Args:
        decided_by: Expressions that decide which rows stay, or where.
        names: Columns that do so.
    """

    def rule(inputs: Sequence[pl.Schema], output: pl.Schema) -> Flow:
        rows = _together([*(reads_of(one) for one in decided_by), _plain(names)])
        return Flow(values={name: _plain([name]) for name in output}, rows=rows)

    return rule


def by_expressions(
    exprs: Sequence[pl.Expr], *, keeps_others: bool, decided_by: Sequence[pl.Expr] = (), keys: Sequence[pl.Expr] = ()
) -> ColumnRule:
    """Columns come from expressions.

    Args:
        exprs: Their selectors spelt out.
        keeps_others: The other columns of the input stay as they are (``with_columns``).
        decided_by: Expressions that decide which rows come out.
        keys: Expressions that give columns and decide rows (``group_by``).
    """

    def rule(inputs: Sequence[pl.Schema], output: pl.Schema) -> Flow:
        values = {name: _plain([name]) for name in inputs[0]} if keeps_others else {}
        for one in (*keys, *exprs):
            values.update(reads_by_output(one, inputs[0]))
        return Flow(values=values, rows=_together([reads_of(one) for one in (*decided_by, *keys)]))

    return rule


def renamed(names: Mapping[str, str]) -> ColumnRule:
    """Columns under new names: old name -> new name."""
    return lambda inputs, output: Flow(values={names.get(name, name): _plain([name]) for name in inputs[0]})


def counted(name: str) -> ColumnRule:
    """A counter in front, which follows from no column."""
    return lambda inputs, output: Flow(values={name: Reads(), **{each: _plain([each]) for each in inputs[0]}})


def unnested(names: Sequence[str]) -> ColumnRule:
    """Struct columns replaced by their fields."""

    def rule(inputs: Sequence[pl.Schema], output: pl.Schema) -> Flow:
        values: dict[str, Reads] = {}
        for name, dtype in inputs[0].items():
            if name in names and isinstance(dtype, pl.Struct):
                values.update({each.name: _plain([name]) for each in dtype.fields})
            else:
                values[name] = _plain([name])
        return Flow(values=values)

    return rule


def unpivoted(on: Sequence[str], index: Sequence[str], variable: str, value: str) -> ColumnRule:
    """Columns turned into rows: the new value column follows from all of them, the names' column from none."""
    values = {name: _plain([name]) for name in index}
    return lambda inputs, output: Flow(values={**values, variable: Reads(), value: _plain(on)})


def stacked(inputs: Sequence[pl.Schema], output: pl.Schema) -> Flow:
    """Frames under one another: a column follows from the columns of its name."""
    return Flow(
        values={
            name: Reads(columns=frozenset((number, name) for number, each in enumerate(inputs) if name in each))
            for name in output
        }
    )


@dataclass(frozen=True, kw_only=True)
class JoinRule:
    """Two frames beside one another, by Polars' own naming; ``join_asof`` is a left join here."""

    how: str
    left: tuple[pl.Expr, ...]
    """Keys of the left frame, in pairs with ``right``."""
    right: tuple[pl.Expr, ...]
    by: tuple[str, ...] = ()
    """``join_asof``: columns that must be equal, which come out once."""
    suffix: str
    coalesce: bool | None

    def __call__(self, inputs: Sequence[pl.Schema], output: pl.Schema) -> Flow:
        """The flow of this join."""
        left, right = inputs
        rows = _together(
            [
                *(_numbered(reads_of(_spelt(one, left)), 0) for one in self.left),
                *(_numbered(reads_of(_spelt(one, right)), 1) for one in self.right),
                _plain(self.by),
                _numbered(_plain(self.by), 1),
            ]
        )
        if self.how in ("semi", "anti"):
            return Flow(values={name: _plain([name]) for name in left}, rows=rows)
        pairs = self._pairs(left, right)
        gone_left = {one for one, _ in pairs} if self.how == "right" else set()
        gone_right = {other for _, other in pairs} if self.how != "right" else set()
        values = {name: _plain([name]) for name in left if name not in gone_left}
        for name in right:
            if name not in gone_right:
                values[name if name not in values else name + self.suffix] = _numbered(_plain([name]), 1)
        if self.how == "full":
            for one, other in pairs:
                values[one] = Reads(columns=frozenset({(0, one), (1, other)}))
        return Flow(values=values, rows=rows)

    def _pairs(self, left: pl.Schema, right: pl.Schema) -> list[tuple[str, str]]:
        """Keys of both sides that come out as one column."""
        shared = [(name, name) for name in self.by]
        if self.how == "cross" or self.coalesce is False or (self.how == "full" and not self.coalesce):
            return shared
        keys = [_names(one, left) for one in self.left], [_names(one, right) for one in self.right]
        if not all(names is not None for side in keys for names in side):
            return shared
        here, there = ([name for names in side for name in names or ()] for side in keys)
        return [*shared, *zip(here, there, strict=True)] if len(here) == len(there) else shared


def asof(
    on: str | None, left_on: str | None, right_on: str | None, by: str | Sequence[str] | None, suffix: str
) -> JoinRule:
    """The rule of ``join_asof``; two keys of different names both come out."""
    one, other = (on, on) if on is not None else (left_on, right_on)
    return JoinRule(
        how="left",
        left=() if one is None else (pl.col(one),),
        right=() if other is None else (pl.col(other),),
        by=() if by is None else (by,) if isinstance(by, str) else tuple(by),
        suffix=suffix,
        coalesce=None if one == other else False,
    )


def join_keys(given: Any) -> tuple[pl.Expr, ...]:
    """A join's ``on`` as expressions."""
    if given is None:
        return ()
    keys = given if isinstance(given, (list, tuple)) else [given]
    return tuple(one if isinstance(one, pl.Expr) else pl.col(one) for one in keys)


def reads_of(one: pl.Expr) -> Reads:
    """All columns that an expression reads, and the functions in it that cannot be looked into."""
    tree = tree_of(one)
    if tree is None:
        foreign = "python_udf" in str(one)
        return Reads(columns=_of_frame(one.meta.root_names()), opaque=_shown(one) if foreign else frozenset())
    plain, selected = _columns(tree)
    names = [*plain, *(name for names in selected for name in names)]
    return Reads(columns=_of_frame(names), opaque=_shown(one) if _has_foreign_code(tree) else frozenset())


def reads_by_output(one: pl.Expr, schema: pl.Schema) -> dict[str, Reads]:
    """What each column that an expression gives follows from.

    Where an expression gives several columns in a way that cannot be taken apart, each follows from all that it reads.

    Args:
        one: The expression, its selectors spelt out.
        schema: The columns it runs over.

    Example:
        >>> schema = pl.Schema({"a": pl.Int64(), "b": pl.Int64(), "n": pl.Int64()})
        >>> flows = reads_by_output((pl.col("a", "b") / pl.col("n")).name.suffix("_share"), schema)
        >>> {name: sorted(column for _, column in reads.columns) for name, reads in flows.items()}
        {'a_share': ['a', 'n'], 'b_share': ['b', 'n']}
    """
    outputs = pl.LazyFrame(schema=schema).select(one).collect_schema().names()
    every, tree = reads_of(one), tree_of(one)
    if len(outputs) > 1 and tree is not None and not _has_key(tree, {"StructExpr"}):
        plain, selected = _columns(tree)
        if len(selected) == 1 and len(selected[0]) == len(outputs):
            return {
                output: Reads(columns=_of_frame([*plain, name]), opaque=every.opaque)
                for output, name in zip(outputs, selected[0], strict=True)
            }
    return dict.fromkeys(outputs, every)


def _plain(names: Iterable[str]) -> Reads:
    return Reads(columns=_of_frame(names))


def _of_frame(names: Iterable[str]) -> frozenset[InputColumn]:
    return frozenset((0, name) for name in names)


def _numbered(reads: Reads, number: int) -> Reads:
    return Reads(columns=frozenset((number, name) for _, name in reads.columns), opaque=reads.opaque)


def _together(parts: Iterable[Reads]) -> Reads:
    known = list(parts)
    return Reads(
        columns=frozenset[InputColumn]().union(*(one.columns for one in known)),
        opaque=frozenset[str]().union(*(one.opaque for one in known)),
    )


def _spelt(key: pl.Expr, schema: pl.Schema) -> pl.Expr:
    """A join's key with its selector as names; as it is where it is none."""
    names = _names(key, schema)
    return key if names is None else pl.col(names)


def _names(key: pl.Expr, schema: pl.Schema) -> list[str] | None:
    """The columns that a key names; ``None`` where it computes something."""
    if not key.meta.is_column_selection():
        return None
    return pl.LazyFrame(schema=schema).select(key).collect_schema().names()


def _shown(one: pl.Expr) -> frozenset[str]:
    text = shown(one)
    return frozenset({text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."})


def _columns(tree: Any) -> tuple[list[str], list[list[str]]]:
    """Names of plain columns, and the names of each selector, anywhere in an expression."""
    plain: list[str] = []
    selected: list[list[str]] = []
    waiting = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            for kind, value in part.items():
                if kind == "Column":
                    plain.append(str(value))
                elif kind == "Selector" and isinstance(value, dict) and "ByName" in value:
                    selected.append(value["ByName"]["names"])
                else:
                    waiting.append(value)
    return plain, selected


def _has_foreign_code(tree: Any) -> bool:
    """Whether there is code of others, of which nobody knows what it uses; ``ig.text`` uses the columns it is given."""
    return _has_key(tree, _FOREIGN_CODE - {_FUNCTION}) or any(not is_own(one) for one in functions_in(tree))


def _has_key(tree: Any, keys: set[str]) -> bool:
    waiting = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if keys.intersection(part):
                return True
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
    return False
