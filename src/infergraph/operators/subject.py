"""What an operator works on: its ``column`` argument, resolved against the input's columns.

A name, an expression or a list of them becomes one row-wise text expression: each value between its own tags,
so that the model can tell columns apart and content from instructions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from infergraph.errors import PlanError, UnknownColumn, did_you_mean
from infergraph.operators.naming import has_foreign_function, shown
from infergraph.operators.portable import function_text
from infergraph.operators.trying import check_text_functions
from infergraph.text.delimiters import blocks_expr, escape_expr, tag_for
from infergraph.text.rendering import render_value_expr

ColumnArgument = str | pl.Expr | Sequence[str | pl.Expr]
_NOTHING: Mapping[str, pl.Expr] = {}


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The content that an operator works on.

    Example:
        >>> frame = pl.DataFrame({"title": ["Help", None, None], "body": ["It broke", "Hi", None]})
        >>> subject = Subject.of(["title", "body"], frame.schema, where="extract(...)")
        >>> frame.select(subject.content).to_series().to_list()
        ['<title>\\nHelp\\n</title>\\n<body>\\nIt broke\\n</body>', '<body>\\nHi\\n</body>', None]
    """

    reads: tuple[str, ...]
    """The input columns, in the order of first use."""
    tags: tuple[str, ...]
    """Names of the blocks."""
    identity: str
    """The same text exactly when the same is computed from the same types."""
    foreign: tuple[str, ...]
    """The expressions that hold a Python function of the author's, as text."""
    content: pl.Expr = field(repr=False, compare=False)
    """The delimited blocks of the columns that are not null; null where all are."""
    text: pl.Expr = field(repr=False, compare=False)
    """The values alone, an empty line between them; null where all are."""

    @classmethod
    def of(
        cls, column: ColumnArgument, columns: pl.Schema, *, where: str, references: Mapping[str, pl.Expr] = _NOTHING
    ) -> Subject:
        """Resolve a ``column`` argument.

        Args:
            column: A name, an expression, or a list of names and expressions.
            columns: The input's columns and types.
            where: What errors call the step, for example ``"extract(...)"``.
            references: By name, texts that stand for columns whose values are no text (images); they come last.

        Raises:
            UnknownColumn: A column does not exist; the message has the nearest names.
            PlanError: Nothing is named, a type has no text or is none that a function of ``ig.text`` can take, or an
                expression is not row by row.
        """
        exprs = resolved_columns(column, columns, where)
        if references:
            exprs = [expr for expr in exprs if expr.meta.output_name() not in references]
        reads = tuple(dict.fromkeys(name for expr in exprs for name in expr.meta.root_names()))
        tags: list[str] = []
        values: list[pl.Expr] = []
        types: list[str] = []
        for expr in exprs:
            name = expr.meta.output_name()
            dtype = type_of_column(expr, columns, where)
            values.append(_text(expr, dtype, name, where))
            tags.append(tag_for(name, tags))
            types.append(f"{expr} -> {dtype}")
            if function := function_text(expr):
                types.append(f"function {function}")
        for name, reference in references.items():
            values.append(reference)
            tags.append(tag_for(name, tags))
        return cls(
            reads=reads,
            tags=tuple(tags),
            identity="\n".join(types),
            foreign=tuple(shown(expr) for expr in exprs if has_foreign_function(expr)),
            content=_blocks(tags, values),
            text=_present(values, pl.concat_str(values, separator="\n\n", ignore_nulls=True)),
        )

    @property
    def label(self) -> str:
        """The blocks' names, for one line of ``explain``."""
        return ", ".join(self.tags)

    @property
    def spoken(self) -> str:
        """The blocks as a prompt refers to them: ``<title> and <body>``."""
        *first, last = (f"<{tag}>" for tag in self.tags)
        return f"{', '.join(first)} and {last}" if first else last


def is_row_wise(expr: pl.Expr) -> bool:
    """Whether every row's value depends on that row alone, as far as Polars tells; Python functions are trusted.

    Example:
        >>> is_row_wise(pl.col("x").str.to_uppercase()), is_row_wise(pl.col("x") == pl.col("x").max())
        (True, False)
    """
    if expr.meta.has_multiple_outputs():
        return False  # Polars cannot tell before it has taken them apart
    return all(_step_is_row_wise(step) for step in _steps(expr))


def _step_is_row_wise(step: pl.Expr) -> bool:
    try:
        return step.meta.is_row_separable() and (step.meta.is_length_preserving() or step.meta.is_literal())
    except pl.exceptions.PolarsError:  # a Python function, or a step inside list.eval: the schema would be needed
        return True


def _steps(expr: pl.Expr) -> Iterator[pl.Expr]:
    """The expression and what it is made of; Polars asks an expression only about its outermost step."""
    yield expr
    try:
        inner = expr.meta.pop()
    except pl.exceptions.PolarsError:
        return
    for one in inner:
        yield from _steps(one)


def _listed(column: ColumnArgument, where: str) -> list[str | pl.Expr]:
    given = [column] if isinstance(column, (str, pl.Expr)) else list(column) if isinstance(column, Sequence) else None
    if given is None or not all(isinstance(one, (str, pl.Expr)) for one in given):
        raise PlanError(
            f"{where}: a column is a name, a Polars expression or a list of them, not {column!r:.80}. "
            'Write for example "body", pl.col("body") or ["title", "body"].'
        )
    return given


def resolved_columns(column: ColumnArgument, columns: pl.Schema, where: str) -> list[pl.Expr]:
    """The expressions of a ``column`` argument, one for each column; see ``Subject.of``."""
    exprs = [one for given in _listed(column, where) for one in _resolved(given, columns, where)]
    if not exprs:
        raise PlanError(f"{where}: name at least one column, for example {_example(columns)}.")
    return exprs


def _resolved(given: str | pl.Expr, columns: pl.Schema, where: str) -> list[pl.Expr]:
    if isinstance(given, str):
        check_columns([given], columns, where)
        return [pl.col(given)]
    if given.meta.has_multiple_outputs():
        if not given.meta.is_column_selection():
            raise PlanError(f"{where}: {given} makes several columns; list one expression for each.")
        return [pl.col(name) for name in _schema_of(given, columns, where)]
    check_columns(given.meta.root_names(), columns, where)
    if not given.meta.root_names():
        raise PlanError(f"{where}: {given} reads no column, so every row would ask the same; name a column.")
    if not is_row_wise(given):
        raise PlanError(
            f"{where}: {given} needs more than its own row. Compute it in a step before: "
            ".with_columns(...), then name the new column."
        )
    return [given]


def check_columns(names: Sequence[str], columns: pl.Schema, where: str) -> None:
    """Raise ``UnknownColumn`` for the first name that is no column."""
    for name in names:
        if name not in columns:
            raise UnknownColumn(f"{where}: there is no column {name!r}. {did_you_mean(name, columns)}")


def _schema_of(expr: pl.Expr, columns: pl.Schema, where: str) -> pl.Schema:
    check_text_functions(expr, columns)
    selected = pl.LazyFrame(schema=columns).select(expr)
    try:
        # Polars checks some types only when it runs; an author's Python function is not run here.
        return selected.collect_schema() if "python_udf" in str(expr) else selected.collect().schema
    except pl.exceptions.ColumnNotFoundError as error:
        raise UnknownColumn(f"{where}: {expr}: {str(error).splitlines()[0]}") from error
    except pl.exceptions.PolarsError as error:
        raise PlanError(f"{where}: {expr} does not work on this input: {str(error).splitlines()[0]}") from error


def type_of_column(expr: pl.Expr, columns: pl.Schema, where: str) -> pl.DataType:
    """The type of one expression over the input's columns."""
    return next(iter(_schema_of(expr, columns, where).values()))


def _text(expr: pl.Expr, dtype: pl.DataType, name: str, where: str) -> pl.Expr:
    # Of some expressions over an Enum Polars plans as if they gave text, though they give an Enum.
    value = expr.cast(dtype) if dtype == pl.Enum else expr
    try:
        return render_value_expr(value, dtype, where=f"column {name!r}")
    except PlanError as error:
        raise PlanError(f"{where}: {error}") from error


def _blocks(tags: Sequence[str], values: Sequence[pl.Expr]) -> pl.Expr:
    blocks = [blocks_expr({tag: escape_expr(value, tags)}) for tag, value in zip(tags, values, strict=True)]
    if len(blocks) == 1:
        return blocks[0]
    return _present(values, pl.concat_str(blocks, separator="\n", ignore_nulls=True))


def _present(values: Sequence[pl.Expr], joined: pl.Expr) -> pl.Expr:
    return pl.when(pl.any_horizontal(value.is_not_null() for value in values)).then(joined)


def _example(columns: pl.Schema) -> str:
    return repr(next(iter(columns), "body"))


def typed(names: Sequence[str], columns: pl.Schema) -> str:
    """Columns with their types, as a part of fingerprints: the same text of another type reads differently."""
    return ", ".join(f"{name}: {columns[name]}" for name in names)
