"""Prompt templates: Jinja, sandboxed and checked when the plan is built.

A prompt has two halves. The *instruction* is the same for every row: each ``{{ body }}`` in it becomes a reference
such as ``<body>``. The *content* is the row's own part: each value once, between ``<body>`` and ``</body>``. So a
provider's prompt cache meets the same beginning in every request, and what stands in the data stays data: whatever
looks like one of the template's own tags inside a value, or comes about where a value meets other text, is escaped.

Plain substitutions become Polars expressions. Conditions, loops and filters are rendered row by row and their
text is content too; the instruction refers to it as ``<details>``, or by the value's name.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import polars as pl
from jinja2 import TemplateError as JinjaError
from jinja2 import TemplateSyntaxError, nodes

from infergraph.errors import PlanError, TemplateError
from infergraph.text import template_syntax as syntax
from infergraph.text.delimiters import Escape, blocks_expr, escape_expr, tag_for
from infergraph.text.rendering import plain_values, render_value_expr
from infergraph.text.sandbox import Sandbox, sandbox
from infergraph.text.unrenderable import kind_of, unrenderable

_NOTHING: Mapping[str, pl.Expr] = {}
_AS_THEY_ARE: Mapping[str, str] = {}
_QUOTING = (ValueError, LookupError)
"""Errors whose messages may hold a value."""


@dataclass(frozen=True, kw_only=True)
class CompiledTemplate:
    """A template checked against the columns it runs over."""

    source: str
    """The template as written, without common indentation."""
    variables: tuple[str, ...]
    """The columns it reads, in the order of first use."""
    required: tuple[str, ...]
    """The columns whose null means that the row makes no call."""
    tags: tuple[str, ...]
    """Names of the content's blocks, in their order."""
    instruction: str
    """The part shared by all rows, with references such as ``<body>``."""
    content: pl.Expr = field(repr=False, compare=False)
    """String, row-wise: the row's blocks; null where a required column is null."""


def compile_template(
    source: str,
    columns: pl.Schema,
    *,
    where: str,
    references: Mapping[str, pl.Expr] = _NOTHING,
    named: Mapping[str, str] | None = None,
    sets_aside: bool = False,
) -> CompiledTemplate:
    r"""Check a template and compile it.

    Args:
        source: The template; common indentation and blank lines around it are dropped.
        columns: The columns that it may name, with their types.
        where: What errors call it, for example ``"map(prompt)"``.
        references: By name, texts that stand for what is no text (images). Those that the template does not name get a
            block too, and are required.
        named: Variables that stand for a column of another name, and that name.
        sets_aside: A row for which it fails gets a text that says so (``problem_in`` finds it), and the others go on;
            ``False``: it ends the run.

    Returns:
        The compiled template; its ``content`` runs over a frame with these columns.

    Raises:
        TemplateError: The template has a syntax error, uses what prompts may not use, fails on the columns' types, or
            names no column.
        UnknownVariable: A variable is no column; the message has the nearest names.

    Example:
        >>> frame = pl.DataFrame({"body": ["It broke.", None], "lang": ["en", "de"]})
        >>> title = compile_template("A title for {{ body }} in {{ lang }}", frame.schema, where="map(prompt)")
        >>> title.instruction
        'A title for <body> in <lang>'
        >>> frame.select(title.content).to_series().to_list()
        ['<body>\nIt broke.\n</body>\n<lang>\nen\n</lang>', None]
    """
    text = textwrap.dedent(source)
    columns = pl.Schema({**columns, **dict.fromkeys(references, pl.String())}) if references else columns
    parsed = checked(text, columns, where)
    if not references and not syntax.variables_of(parsed, columns):
        names = f"for example {{{{ {next(iter(columns))} }}}}" if columns else "but the input has no columns"
        raise TemplateError(f"{where}: the template names no column, so every row would ask the same; {names}.")
    return compile_parsed(
        parsed, text, columns, where=where, references=references, named=named or {}, sets_aside=sets_aside
    )


def compile_parsed(
    parsed: nodes.Template,
    text: str,
    columns: pl.Schema,
    *,
    where: str,
    references: Mapping[str, pl.Expr] = _NOTHING,
    named: Mapping[str, str] = _AS_THEY_ARE,
    others: tuple[str, ...] = (),
    sets_aside: bool = False,
) -> CompiledTemplate:
    """Compile a template that is parsed and checked; it may read no column at all.

    Args:
        parsed: The template; it is changed.
        text: The template as written.
        columns: The columns that it may name, with their types; ``references`` are among them.
        where: What errors call it.
        references: See ``compile_template``.
        named: See ``compile_template``.
        others: Tags of other blocks that its content stands beside: they are escaped too, and not used again.
        sets_aside: See ``compile_template``.

    Raises:
        TemplateError: The template fails on the columns' types.
    """
    variables = syntax.variables_of(parsed, columns)
    required = syntax.required_of(parsed, columns)
    parts = parts_of(parsed)
    tags = _name_parts(parts, columns, others)
    unnamed = {name: tag_for(name, (*tags.values(), *others)) for name in references if name not in variables}
    column = {name: references.get(name, pl.col(named.get(name, name))) for name in (*variables, *unnamed)}
    for part in parts.values():
        _refer(part, tags)
    environment = sandbox()
    every = (*tags.values(), *unnamed.values())
    escape = Escape((*every, *others))
    blocks = {
        tag: escape_expr(path_expr(part, columns, column, where), (*every, *others))
        if syntax.is_path(part := parts[key])
        else logic_expr(part, columns, column, environment, escape, required, where, sets_aside=sets_aside)
        for key, tag in tags.items()
    }
    content = blocks_expr(blocks | {tag: column[name] for name, tag in unnamed.items()}) if every else pl.lit("")
    if needed := [column[name].is_not_null() for name in (*required, *unnamed)]:
        content = pl.when(pl.all_horizontal(needed)).then(content)
    return CompiledTemplate(
        source=text.strip(),
        variables=tuple(variables),
        required=tuple(required),
        tags=every,
        instruction="".join(f"<{tags[part]}>" if part in tags else part for part in sequence_of(parsed)).strip(),
        content=content,
    )


def parse(text: str, where: str) -> nodes.Template:
    """The template's tree, unchecked; raises ``TemplateError`` where it is no Jinja."""
    try:
        return sandbox().parse(text)
    except TemplateSyntaxError as error:
        raise TemplateError(f"{where}, line {error.lineno}: {error.message}") from error


def checked(text: str, columns: pl.Schema, where: str) -> nodes.Template:
    """The template's tree, checked against the columns; raises ``TemplateError`` where it does not fit them."""
    try:
        parsed = parse(text, where)
        syntax.check(parsed, columns, where)
    except TemplateError as error:
        if unspeakable := _unspeakable(text, columns, where):
            raise unspeakable from error
        raise
    return parsed


def _unspeakable(text: str, columns: pl.Schema, where: str) -> TemplateError | None:
    """The error for a column that is there, but whose name Jinja reads as something else (``{{ first name }}``)."""
    said = " ".join(re.findall(r"\{[{%](.*?)[%}]\}", text, re.DOTALL))
    for name in sorted(columns, key=len, reverse=True):
        if not name.isidentifier() and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", said):
            new = re.sub(r"\W+", "_", name).strip("_")
            new = tag_for(new if new.isidentifier() else f"column_{new}", columns)
            return TemplateError(
                f"{where}: the column {name!r} cannot be named in a template, where a name has letters, digits and _ "
                f"only. Write .rename({{{name!r}: {new!r}}}) before this step, and {{{{ {new} }}}} in the template."
            )
    return None


def sequence_of(template: nodes.Template) -> list[Any]:
    """What stands one after the other: constant text, the path of a plain substitution, or the id of a logic node."""
    sequence: list[Any] = []
    for statement in template.body:
        for node in statement.nodes if isinstance(statement, nodes.Output) else [statement]:
            if isinstance(node, nodes.TemplateData):
                sequence.append(node.data)
            else:
                sequence.append(syntax.path_of(node) if syntax.is_path(node) else id(node))
    return sequence


def parts_of(template: nodes.Template) -> dict[Any, nodes.Node]:
    """Each value or logic part of the template once, by its key in ``sequence_of``."""
    found = (
        node
        for statement in template.body
        for node in (statement.nodes if isinstance(statement, nodes.Output) else [statement])
        if not isinstance(node, nodes.TemplateData)
    )
    return {(syntax.path_of(node) if syntax.is_path(node) else id(node)): node for node in found}


def _name_parts(parts: Mapping[Any, nodes.Node], columns: pl.Schema, others: tuple[str, ...]) -> dict[Any, str]:
    tags: dict[Any, str] = {}
    for key in [key for key in parts if isinstance(key, tuple)]:
        tags[key] = tag_for(".".join(key), (*tags.values(), *others))
    for key, node in parts.items():
        if key not in tags:
            names = syntax.variables_of(node, columns) if isinstance(node, nodes.Expr) else []
            tags[key] = tag_for(names[0] if names else "details", (*tags.values(), *others))
    return {key: tags[key] for key in parts}


def _refer(part: nodes.Node, tags: Mapping[Any, str]) -> None:
    """Inside a logic part, a value that has a block of its own becomes a reference to it: values stand once."""
    for output in part.find_all(nodes.Output):
        output.nodes = [
            nodes.TemplateData(f"<{tags[syntax.path_of(node)]}>", lineno=node.lineno)
            if syntax.is_path(node) and syntax.path_of(node) in tags
            else node
            for node in output.nodes
        ]


def path_expr(node: nodes.Node, columns: pl.Schema, column: Mapping[str, pl.Expr], where: str) -> pl.Expr:
    """The text of a plain substitution, row-wise; null where the value is null.

    Args:
        node: The substitution.
        columns: The types of the names that it may use.
        column: By name, where the values are.
        where: What errors call the template.
    """
    name, *fields = syntax.path_of(node)
    expr, dtype = column[name], columns[name]
    for step in fields:
        expr = expr.struct.field(step)
        dtype = _instance(dict(dtype)[step]) if isinstance(dtype, pl.Struct) else dtype
    try:
        return render_value_expr(expr, dtype, where=repr(".".join((name, *fields))))
    except PlanError as error:
        raise TemplateError(f"{where}: {error}") from error


def _instance(dtype: Any) -> pl.DataType:
    instance: pl.DataType = dtype() if isinstance(dtype, type) else dtype
    return instance


def logic_expr(
    node: nodes.Node,
    columns: pl.Schema,
    column: Mapping[str, pl.Expr],
    environment: Sandbox,
    escape: Callable[[Iterable[str]], str],
    required: list[str],
    where: str,
    *,
    sets_aside: bool = False,
) -> pl.Expr:
    """A part with logic: rendered row by row over a Struct of the columns that it reads."""
    render = _renderer(node, environment, escape)
    reads = syntax.variables_of(node, columns)
    needed = [name for name in reads if name in required]
    try_out(render, {name: columns[name] for name in reads}, needed, where)

    def text_of(row: Mapping[str, Any]) -> str | None:
        if any(row[name] is None for name in needed):
            return None
        try:
            return rendered(render, row, where)
        except TemplateError as error:
            if not sets_aside:
                raise
            return unrenderable(str(error))

    def render_rows(rows: pl.Series) -> pl.Series:
        texts = [text_of(row) for row in rows.to_list()]
        return pl.Series(rows.name, texts, dtype=pl.String)

    if not reads:
        return pl.lit(rendered(render, {}, where))
    try:
        values = [plain_values(column[name], columns[name], where=repr(name)).alias(name) for name in reads]
    except PlanError as error:
        raise TemplateError(f"{where}: {error}") from error
    return pl.struct(values).map_batches(render_rows, return_dtype=pl.String, is_elementwise=True)


def _renderer(node: nodes.Node, environment: Sandbox, escape: Callable[[Iterable[str]], str]) -> Callable[..., str]:
    statement = nodes.Output([node], lineno=node.lineno) if isinstance(node, nodes.Expr) else node
    tree = nodes.Template([statement], lineno=node.lineno)
    tree.set_environment(environment)
    template = environment.from_string(tree)

    def render(row: Mapping[str, Any]) -> str:
        return escape(template.root_render_func(template.new_context(dict(row))))

    # A loop's text ends with a line break of the template's own, not of the data.
    return render if isinstance(node, nodes.Expr) else lambda row: render(row).strip("\n")


def rendered(render: Callable[..., str], row: Mapping[str, Any], where: str) -> str:
    """A row's text; raises ``TemplateError``, with what the row's values are, where the template fails for them."""
    try:
        return render(row)
    except (JinjaError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        given = ", ".join(f"{name!r} is {kind_of(value)}" for name, value in row.items())
        why = type(error).__name__ if isinstance(error, _QUOTING) else str(error)
        raise TemplateError(f"{where}: the template fails where {given}: {why}.") from None


def try_out(render: Callable[..., str], types: Mapping[str, pl.DataType], needed: list[str], where: str) -> None:
    """Render made-up rows, so that a wrong use of a type is found before any data is read."""
    full = {name: _sample(dtype, full=True) for name, dtype in types.items()}
    bare = {name: _sample(dtype, full=False) for name, dtype in types.items()}
    for row in (full, bare, {name: value if name in needed else None for name, value in full.items()}):
        rendered(render, row, where)


def _sample(dtype: pl.DataType, *, full: bool) -> Any:
    match dtype:
        case pl.List() | pl.Array():
            return [_sample(_instance(dtype.inner), full=True)] if full else []
        case pl.Struct():
            return {inner.name: _sample(_instance(inner.dtype), full=full) for inner in dtype.fields}
        case pl.Boolean():
            return full
        case pl.Decimal():
            return Decimal(int(full))
        case _ if dtype.is_integer():
            return int(full)
        case _ if dtype.is_float():
            return float(full)
        case _:
            return "2024-01-02" if full else ""
