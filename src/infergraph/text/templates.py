"""Texts out of templates over columns, for whatever is no prompt: the same syntax and the same table of renderings."""

from __future__ import annotations

import textwrap
from functools import cache
from itertools import count
from typing import Any

import polars as pl
from jinja2 import TemplateSyntaxError, nodes
from jinja2.meta import find_undeclared_variables

from infergraph.errors import PlanError, TemplateError, did_you_mean
from infergraph.text import template_syntax as syntax
from infergraph.text.compiled_templates import checked, parse, parts_of, path_expr, rendered, sequence_of, try_out
from infergraph.text.rendering import plain_values
from infergraph.text.row_wise import Column, column_of, in_pieces
from infergraph.text.sandbox import sandbox


def render(template: str, **columns: Column) -> pl.Expr:
    r"""A text for each row, out of a template over its columns: no prompt, the text as it stands.

    Args:
        template: Jinja, sandboxed as prompts are: values, fields, conditions, loops and the filters of prompts. Common
            indentation is dropped.
        columns: What the template's names stand for; a name that is not given is the column of that name.

    Returns:
        A row-wise String expression, values written as in prompts; null where a column is null that the template reads
        outside any condition on it.

    Raises:
        TemplateError: A syntax error, what prompts may not use, or no name in it; at run time, where it does not fit
            the columns' types.

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"name": ["Ann", None], "tags": [["a", "b"], []]})
        >>> text = ig.text.templates.render("{{ who }}{% for tag in tags %} #{{ tag }}{% endfor %}", who="name")
        >>> frame.select(text).to_series().to_list()
        ['Ann #a #b', None]
    """
    where = "ig.text.templates.render"
    if not isinstance(template, str):
        raise TemplateError(f"{where}: a template is a text such as 'Dear {{{{ name }}}}', not {template!r:.80}.")
    text = textwrap.dedent(template)
    names = _names_in(text, where)
    if not names:
        raise TemplateError(f"{where}: the template names no column, for example {{{{ name }}}}.")
    for name in columns:
        if name not in names:
            raise TemplateError(f"{where}: {name}= is no name in the template. {did_you_mean(name, names)}")

    def batch(rows: pl.Series) -> pl.Series:
        frame = rows.struct.unnest()
        return frame.select(_text_expr(text, tuple(frame.schema.items()), where)).to_series()

    given = [column_of(columns.get(name, name), where).alias(name) for name in names]
    return pl.struct(given).map_batches(batch, return_dtype=pl.String, is_elementwise=True)


def _names_in(text: str, where: str) -> list[str]:
    """The columns that a template needs; raises ``TemplateError`` for what no column's type can make right."""
    parsed = parse(text, where)
    try:
        names = sorted(find_undeclared_variables(parsed))
    except TemplateSyntaxError as error:
        # Jinja compiles to find the names; what it cannot compile is named by our own check first.
        used = [name for name in parsed.find_all(nodes.Name) if name.ctx == "load"]
        set_here = {name.name for name in parsed.find_all(nodes.Name) if name.ctx != "load"}
        syntax.check(parsed, {name.name: None for name in used if name.name not in set_here}, where)
        raise TemplateError(f"{where}, line {error.lineno}: {error.message}") from error
    syntax.check(parsed, dict.fromkeys(names), where)
    return names


@cache
def _text_expr(text: str, types: tuple[tuple[str, pl.DataType], ...], where: str) -> pl.Expr:
    """The template's own text, nothing escaped."""
    columns = pl.Schema(types)
    parsed = checked(text, columns, where)
    required = syntax.required_of(parsed, columns)
    parts = parts_of(parsed)
    if all(isinstance(key, tuple) for key in parts):
        pieces = [
            pl.lit(part)
            if isinstance(part, str)
            else path_expr(parts[part], columns, {name: pl.col(name) for name in columns}, where).fill_null("")
            for part in sequence_of(parsed)
        ]
        made = pl.concat_str(pieces)
    else:
        environment = sandbox()
        render_row = environment.from_string(parsed).render
        reads = syntax.variables_of(parsed, columns)
        try_out(render_row, {name: columns[name] for name in reads}, required, where)
        try:
            values = [plain_values(pl.col(name), columns[name], where=repr(name)).alias(name) for name in reads]
        except PlanError as error:
            raise TemplateError(f"{where}: {error}") from error

        def text_of(row: dict[str, Any], place: int) -> str | None:
            at = f"{where}: row {place} (from 0) of those that are rendered together"
            return None if any(row[name] is None for name in required) else rendered(render_row, row, at)

        def batch(given: pl.Series) -> pl.Series:
            places = count()
            return in_pieces(given, lambda rows: [text_of(row, next(places)) for row in rows], pl.String())

        made = pl.struct(values).map_batches(batch, return_dtype=pl.String, is_elementwise=True)
    return pl.when(pl.all_horizontal(pl.col(name).is_not_null() for name in required)).then(made) if required else made
