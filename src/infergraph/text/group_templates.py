"""Templates about many items: ``{% for row in rows %}{{ row.body }}{% endfor %}``, over a group's rows or over answers.

Outside its one loop such a template is like any other, over the columns that all items share. The loop's body is the
text of one item, rendered for all items of a frame at once; the instruction refers to the items as ``<rows>``. So items
can be packed into requests by their length, and nobody has to know how many there will be.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import polars as pl
from jinja2 import nodes

from infergraph.errors import TemplateError, UnknownVariable, did_you_mean
from infergraph.text import template_syntax as syntax
from infergraph.text.compiled_templates import CompiledTemplate, compile_parsed, logic_expr, parse, path_expr
from infergraph.text.delimiters import escape_expr
from infergraph.text.sandbox import sandbox
from infergraph.text.unrenderable import is_unrenderable, problem_in

_LOOP = {
    "index": pl.Int64(), "index0": pl.Int64(), "revindex": pl.Int64(), "first": pl.Boolean(), "last": pl.Boolean(),
    "length": pl.Int64(),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Items:
    """What a template loops over.

    Args:
        name: The loop's list: ``rows``.
        one: What an item is called in the examples of errors, and in its block: ``row``.
        columns: An item's columns; ``None``: an item is a text.
    """

    name: str
    one: str
    columns: pl.Schema | None
    counted: bool = True
    """Whether it is known where an item stands among all: the loop may say ``{{ loop.index }}``."""

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of all items' block and of one."""
        return (self.name, self.one)

    @property
    def example(self) -> str:
        """How to write the loop."""
        value = self.one if self.columns is None else f"{self.one}.{next(iter(self.columns), 'body')}"
        return f"{{% for {self.one} in {self.name} %}}{{{{ {value} }}}}{{% endfor %}}"


@dataclass(frozen=True, kw_only=True)
class GroupTemplate:
    """A template about many items, checked against their columns and the columns that they share."""

    shared: CompiledTemplate
    """What stands outside the loop; its instruction refers to the items as ``<rows>``."""
    source: str
    """The template as written, without common indentation."""
    variable: str | None
    """The loop's variable; ``None``: there is no loop."""
    reads: tuple[str, ...]
    """The items' columns that the loop reads, in the order of first use."""
    shared_reads: tuple[str, ...]
    """The shared columns that it reads, in the order of first use."""
    text: pl.Expr = field(repr=False, compare=False)
    """An item's text, row-wise, its blocks' tags escaped; null where it is left out.

    Runs over a frame with ``variable`` (a Struct of ``reads``, or a text), ``loop`` (see ``loop_columns``) and the
    shared columns.
    """


def compile_group_template(
    source: str,
    items: Items,
    shared: pl.Schema,
    *,
    where: str,
    needs_loop: bool = True,
    others: tuple[str, ...] = (),
    sets_aside: bool = False,
) -> GroupTemplate:
    """Check a template about many items and compile it.

    Args:
        source: The template; common indentation and blank lines around it are dropped.
        items: What it loops over.
        shared: Columns that the items share, which it may name anywhere, with their types.
        where: What errors call it.
        needs_loop: It must have a loop.
        others: Tags of other blocks that its content stands beside.
        sets_aside: See ``compile_template``.

    Raises:
        TemplateError: It has a syntax error, no loop or several, or uses what prompts may not use.
        UnknownVariable: A name is no column; the message has the nearest names.

    Example:
        >>> items = Items(name="rows", one="row", columns=pl.Schema({"body": pl.String()}))
        >>> template = compile_group_template(
        ...     "Sum up what is said of {{ product }}: {% for row in rows %}- {{ row.body }}{% endfor %}",
        ...     items, pl.Schema({"product": pl.String()}), where="reduce",
        ... )
        >>> template.shared.instruction, template.reads
        ('Sum up what is said of <product>: <rows>', ('body',))
    """
    text = textwrap.dedent(source)
    parsed = parse(text, where)
    loops = [node for node in parsed.body if isinstance(node, nodes.For) and _is_over(node, items)]
    _check_loops(parsed, loops, items, where, needs_loop)
    loop = loops[0] if loops else None
    _check_names(parsed, loop, items, shared, where)
    inner: pl.DataType = pl.String() if items.columns is None else pl.Struct(items.columns)
    syntax.check(parsed, pl.Schema({**shared, items.name: pl.List(inner)}), where)
    reads = () if loop is None else _reads(loop, items)
    if loop is not None and not reads:
        raise TemplateError(f"{where}: the loop reads nothing of its {items.one}; write {items.example}.")
    tags = (*items.tags, *others)
    outer = nodes.Template([_reference(node, items) if node is loop else node for node in parsed.body], lineno=1)
    compiled = compile_parsed(outer, text, shared, where=where, others=tags, sets_aside=sets_aside)
    logic = partial(_logic, where=where, sets_aside=sets_aside)
    item = pl.lit(None, pl.String) if loop is None else _item_text(loop, items, reads, shared, logic, where)
    return GroupTemplate(
        shared=compiled,
        source=text.strip(),
        variable=None if loop is None else _variable(loop),
        reads=reads,
        shared_reads=tuple(dict.fromkeys([*compiled.variables, *_names_in([] if loop is None else loop.body, shared)])),
        text=escape_expr(item, (*compiled.tags, *tags)),
    )


def loop_columns(places: pl.Expr, length: pl.Expr) -> pl.Expr:
    """The Struct ``loop`` of an item: where it stands among its group's.

    Args:
        places: The item's place, from 0.
        length: How many items its group has.
    """
    values = {
        "index": places + 1, "index0": places, "revindex": length - places, "first": places == 0,
        "last": places + 1 == length, "length": length,
    }  # fmt: skip
    return pl.struct(value.cast(_LOOP[name]).alias(name) for name, value in values.items()).alias("loop")


def _is_over(loop: nodes.For, items: Items) -> bool:
    return isinstance(loop.iter, nodes.Name) and loop.iter.name == items.name


def _check_loops(parsed: nodes.Template, loops: list[nodes.For], items: Items, where: str, needs_loop: bool) -> None:
    uses = [name for name in parsed.find_all(nodes.Name) if name.name == items.name]
    if not uses and not needs_loop:
        return
    if not loops:
        said = f", and {items.name!r} is a list of them" if uses else ""
        raise TemplateError(
            f"{where}: the template has no loop of its own over the {items.name}{said}. Write {items.example}, outside "
            "any condition."
        )
    if len(uses) > 1 or len(loops) > 1:
        raise TemplateError(
            f"{where}, line {uses[1].lineno}: {items.name!r} is used twice; the {items.name} are given once, where the "
            f"one loop {items.example} stands."
        )
    if loops[0].else_:
        raise TemplateError(
            f"{where}, line {loops[0].lineno}: {{% else %}} of the loop never comes: there is always a {items.one}."
        )


def _check_names(parsed: nodes.Template, loop: nodes.For | None, items: Items, shared: pl.Schema, where: str) -> None:
    """Names that are there, but not where they are used; and the items' columns, by their nearest names."""
    columns = items.columns or pl.Schema()
    if not items.counted:
        for name in parsed.find_all(nodes.Name):
            if name.name == "loop":
                raise TemplateError(
                    f"{where}, line {name.lineno}: {{{{ loop }}}} is not known here: the {items.name} may be given in "
                    "several requests."
                )
        if loop is not None and (loop.test is not None or list(_names_in(loop.body, shared))):
            raise TemplateError(
                f"{where}, line {loop.lineno}: the loop over the {items.name} gives each {items.one} and nothing else; "
                f"write {items.example}, and everything else outside of it."
            )
    inside = set() if loop is None else {id(name) for name in loop.find_all(nodes.Name)}
    bound = {one.target.name for one in parsed.find_all(nodes.For) if isinstance(one.target, nodes.Name)}
    for name in parsed.find_all(nodes.Name):
        if name.name in shared or name.name in bound or name.name not in columns or name.name == items.name:
            continue
        here = f"{where}, line {name.lineno}: {{{{ {name.name} }}}}"
        if id(name) in inside and loop is not None:
            raise UnknownVariable(
                f"{here} is a column of the {items.one}: write {{{{ {_variable(loop)}.{name.name} }}}}."
            )
        raise UnknownVariable(
            f"{here} stands outside the loop, and each {items.one} has a value of its own. Write "
            f"{{{{ {items.one}.{name.name} }}}} in the loop, or put {name.name!r} into by=."
        )
    if loop is None or items.columns is None:
        return
    for node in loop.find_all((nodes.Getattr, nodes.Getitem)):
        path = syntax.path_of(node) if syntax.is_path(node) else ()
        if len(path) > 1 and path[0] == _variable(loop) and path[1] not in columns:
            raise UnknownVariable(
                f"{where}, line {node.lineno}: {{{{ {'.'.join(path)} }}}}: there is no column {path[1]!r}. "
                f"{did_you_mean(path[1], columns)}"
            )


def _variable(loop: nodes.For) -> str:
    return loop.target.name if isinstance(loop.target, nodes.Name) else ""


def _reference(loop: nodes.For, items: Items) -> nodes.Output:
    return nodes.Output([nodes.TemplateData(f"<{items.name}>\n", lineno=loop.lineno)], lineno=loop.lineno)


def _reads(loop: nodes.For, items: Items) -> tuple[str, ...]:
    variable = _variable(loop)
    parts = [*loop.body, *([loop.test] if loop.test else [])]
    names = [name for part in parts for name in _fields(part, variable)]
    if items.columns is None:
        return (variable,) if names else ()
    return tuple(items.columns) if "" in names else tuple(dict.fromkeys(names))


def _fields(node: nodes.Node, variable: str) -> Iterator[str]:
    """The fields of the loop's variable that a node reads; ``""``: the whole of it."""
    match node:
        case (
            nodes.Getattr(node=nodes.Name(name=name), attr=key)
            | nodes.Getitem(node=nodes.Name(name=name), arg=nodes.Const(value=str(key)))
        ) if name == variable:
            yield key
        case nodes.Name(name=name):
            if name == variable:
                yield ""
        case _:
            for child in node.iter_child_nodes():
                yield from _fields(child, variable)


def _names_in(body: list[nodes.Node], shared: pl.Schema) -> Iterator[str]:
    for node in body:
        yield from syntax.variables_of(node, shared)


Logic = Callable[[nodes.Node, pl.Schema, str], pl.Expr]
"""A part with logic, the columns and the loop's variable -> its text."""


def _item_text(
    loop: nodes.For, items: Items, reads: tuple[str, ...], shared: pl.Schema, logic: Logic, where: str
) -> pl.Expr:
    variable = _variable(loop)
    item: pl.DataType
    if items.columns is None:
        item, present = pl.String(), pl.col(variable).is_not_null()
    else:
        item = pl.Struct({name: items.columns[name] for name in reads})
        present = pl.any_horizontal(pl.col(variable).struct.field(name).is_not_null() for name in reads)
    columns = pl.Schema({**shared, variable: item, "loop": pl.Struct(_LOOP)})

    def text_of(node: nodes.Node) -> pl.Expr | str:
        if isinstance(node, nodes.TemplateData):
            return node.data
        if syntax.is_path(node):
            return path_expr(node, columns, _values(columns), where).fill_null("")
        # An item that the loop's condition leaves out is not rendered: its nulls may be why.
        statement = nodes.Output([node], lineno=node.lineno) if isinstance(node, nodes.Expr) else node
        guarded = nodes.If(loop.test, [statement], [], [], lineno=node.lineno) if loop.test else node
        return logic(guarded, columns, variable)

    text = pl.concat_str(_trimmed([text_of(node) for node in _flat(loop.body)]))
    if loop.test is not None:
        chosen = nodes.CondExpr(loop.test, nodes.Const("yes"), nodes.Const(""), lineno=loop.lineno)
        test = logic(chosen, columns, variable)
        unclear = is_unrenderable(test)
        text, present = pl.when(unclear).then(test).otherwise(text), present & (unclear | (test == "yes"))
    return pl.when(present).then(text)


def _logic(node: nodes.Node, columns: pl.Schema, variable: str, *, where: str, sets_aside: bool) -> pl.Expr:
    """A part with logic; tried out on an item whose values are all null, as any of them may be."""
    text = logic_expr(node, columns, _values(columns), sandbox(), "".join, [variable], where, sets_aside=sets_aside)
    nothing = {name: pl.lit(None, dtype) for name, dtype in columns.items() if name != "loop"}
    item = columns[variable]
    if isinstance(item, pl.Struct):
        nothing[variable] = pl.struct(pl.lit(None, one.dtype).alias(one.name) for one in item.fields)
    try:
        items = pl.select(loop_columns(pl.lit(0), pl.lit(1)), *(one.alias(name) for name, one in nothing.items()))
        if (problem := problem_in(items.select(text).item() or "")) is not None:
            raise TemplateError(problem)
    except TemplateError as error:
        # Polars adds to the message where it came by.
        said = str(error).splitlines()[0]
        raise TemplateError(
            f"{said} Any value may be null: ask first, for example {{% if value and value > 3 %}}."
        ) from None
    return text


def _values(columns: pl.Schema) -> dict[str, pl.Expr]:
    return {name: pl.col(name) for name in columns}


def _flat(body: list[nodes.Node]) -> Iterator[nodes.Node]:
    for statement in body:
        yield from statement.nodes if isinstance(statement, nodes.Output) else [statement]


def _trimmed(parts: list[pl.Expr | str]) -> list[pl.Expr]:
    """The parts without the line breaks of the template's own at both ends."""
    if isinstance(parts[0], str):
        parts[0] = parts[0].lstrip("\n")
    if isinstance(parts[-1], str):
        parts[-1] = parts[-1].rstrip("\n")
    return [pl.lit(part) if isinstance(part, str) else part for part in parts]
