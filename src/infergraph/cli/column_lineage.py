"""``infergraph lineage``: where a column comes from, across assets, with the prompts, schemas and models on the way."""

from __future__ import annotations

import json as json_module
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from infergraph.cli import figures, screen
from infergraph.cli.project import open_project
from infergraph.column_lineage import AssetColumn, ColumnTree, OperatorFacts, Origin, column_tree
from infergraph.errors import PlanError

MOST_BELOW_OPAQUE = 20
_TYPE_CHARACTERS = 60


def lineage(typed: str, *, json: bool) -> int:
    """Print where a column, or every column of an asset, comes from.

    Args:
        typed: ``ASSET`` or ``ASSET.column``.
        json: Write JSON instead of trees.

    Returns:
        0.

    Raises:
        PlanError: There is no such asset, or nothing is known of its columns.
        UnknownColumn: The asset has no such column.
    """
    from infergraph.dagster.column_lineage import asset_and_column, known_columns

    project = open_project()
    asset, column = asset_and_column(project.definitions, typed)
    with project.instance() as instance, known_columns(project.definitions, instance) as known:
        tree = column_tree(asset, None if column is None else [column], known)
    first = tree.assets[asset]
    if first.lineage is None:
        raise PlanError(f"Where the columns of {asset!r} come from is not known: {first.known_from}")
    shown: object = screen.as_json(tree.as_dict()) if json else rendered(tree)
    screen.out().print(shown, soft_wrap=json)
    return 0


def rendered(tree: ColumnTree) -> RenderableType:
    """A tree for each column, then what decides rows, then the operators on the way in full."""
    shown: set[AssetColumn] = set()
    parts: list[RenderableType] = [_branch(tree, root, shown) for root in tree.roots]
    values = _operators_of_values(tree)
    for asset, known in tree.assets.items():
        if known.lineage is not None:
            parts += [Text(), *_rows(tree, asset)]
    for asset, known in tree.assets.items():
        if known.lineage is None:
            continue
        wanted = values[asset] | set(known.lineage.rows.operators)
        for facts in known.lineage.operators:
            if facts.name in wanted:
                parts += [Text(), *_operator(asset, facts)]
    return Group(*parts)


def _operators_of_values(tree: ColumnTree) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {asset: set() for asset in tree.assets}
    for node in tree.nodes.values():
        if node.origin is not None:
            found[node.at.asset] |= set(node.origin.operators)
    return found


def _branch(tree: ColumnTree, at: AssetColumn, shown: set[AssetColumn]) -> Tree:
    node = tree.nodes[at]
    if node.origin is None:
        return Tree(_label(f"{at}: {node.end}"))
    kind = screen.printable(node.origin.type, most=_TYPE_CHARACTERS)
    if at in shown:
        return Tree(_label(f"{at}: {kind} (see above)"))
    shown.add(at)
    branch = Tree(_label(f"{at}: {kind}"))
    for name in node.origin.operators:
        branch.add(_label(f"answered by {_asked(tree, at.asset, name)}"))
    for code in node.origin.opaque:
        branch.add(_label(f"opaque: {code}; any column below may have been used"))
    most = MOST_BELOW_OPAQUE if node.origin.opaque else None
    for above in node.values_from[:most]:
        branch.add(_branch(tree, above, shown))
    if most is not None and len(node.values_from) > most:
        branch.add(_label(f"and {len(node.values_from) - most:,} columns more; --json has them all"))
    if not (node.values_from or node.origin.operators):
        branch.add(_label("from no column: a constant, a count or a number of the row"))
    return branch


def _asked(tree: ColumnTree, asset: str, name: str) -> str:
    known = tree.assets[asset].lineage
    facts = next(one for one in known.operators if one.name == name) if known else None
    return name if facts is None else f"{facts.kind} {name!r} [{facts.model}: {facts.model_id}]"


def _rows(tree: ColumnTree, asset: str) -> Iterator[Text]:
    known = tree.assets[asset]
    if known.lineage is None:
        return
    rows = known.lineage.rows
    yield _label(f"{asset} (by {known.known_from}): which rows there are, and their order,")
    if not rows.steps:
        yield _label("  is decided by no step: every row of the source, in its order")
        return
    yield from (_label(f"  is decided by {step}") for step in rows.steps)
    above = ", ".join(str(one) for one in tree.rows_from(asset))
    yield _label(f"  from {above or 'no column'}{_on_the_way(rows)}")


def _on_the_way(origin: Origin) -> str:
    said = [f"answered by {', '.join(origin.operators)}"] if origin.operators else []
    said += [f"opaque: {code}" for code in origin.opaque]
    return f" ({'; '.join(said)})" if said else ""


def _operator(asset: str, facts: OperatorFacts) -> Iterator[Text]:
    writes = ", ".join(f"{name}: {screen.printable(kind)}" for name, kind in facts.writes.items())
    yield _label(f"{asset}: {facts.kind} {facts.name!r} asks {facts.model} ({facts.model_id})")
    yield _label(f"  reads {', '.join(facts.reads)}; {f'writes {writes}' if writes else 'decides rows'}")
    if facts.where:
        yield _label(f"  only where {facts.where}")
    examples = f", then {figures.plural(facts.examples, 'example')}" if facts.examples else ""
    yield from _block(f"prompt{examples}", facts.prompt.splitlines())
    if facts.schema is not None:
        yield from _block("schema", [json_module.dumps(facts.schema, ensure_ascii=False)])


def _block(title: str, lines: Sequence[str]) -> Iterator[Text]:
    if lines:
        yield _label(f"  {title}:")
        yield from (_label(f"    {line}") for line in lines)


def _label(text: str) -> Text:
    return Text(screen.printable_line(text))
