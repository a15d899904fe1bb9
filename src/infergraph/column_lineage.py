"""Where the columns of a result come from, as plain data, and the walk from asset to asset up to the sources.

Two questions are told apart. What are a column's *values* made from: source columns, and the operators that a model
answered on the way? And what decides which *rows* there are, and their order: conditions, keys of joins, groups and
sorts? Code that cannot be looked into (``map_frame``, a Python function in an expression) is named; below it, every
column that went in is listed, since each may have been used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from infergraph.errors import UnknownColumn, did_you_mean


@dataclass(frozen=True, order=True)
class SourceColumn:
    """A column of a plan's source."""

    source: str
    """The name that ``session.frame(..., name=)`` or the asset's parameter gave the source."""
    column: str


@dataclass(frozen=True, kw_only=True)
class OperatorFacts:
    """What an operator of a plan asks, of whom."""

    name: str
    kind: str
    """``extract``, ``classify``..."""
    model: str
    """The deployment's name of the model."""
    model_id: str
    """``provider:model-id``."""
    reads: tuple[str, ...]
    writes: Mapping[str, str]
    """Column -> type; empty for ``filter``."""
    prompt: str
    """The message that all rows share, without examples and content; empty for ``embed``."""
    examples: int
    """How many worked examples stand between that and a row's content."""
    schema: Mapping[str, Any] | None
    """The JSON schema of the answers; ``None``: free text or a vector."""
    where: str
    """The condition for asking; empty: every row."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What something follows from."""

    sources: tuple[SourceColumn, ...] = ()
    """In alphabetical order; empty for constants and counters."""
    operators: tuple[str, ...] = ()
    """Names of the operators on the way, in the order in which the plan asks."""
    opaque: tuple[str, ...] = ()
    """Code on the way that cannot be looked into."""


@dataclass(frozen=True, kw_only=True)
class ColumnOrigin(Origin):
    """What a column's values follow from."""

    type: str


@dataclass(frozen=True, kw_only=True)
class RowOrigin(Origin):
    """What decides which rows there are, and their order."""

    steps: tuple[str, ...] = ()
    """The plan's steps that do so, as text."""


@dataclass(frozen=True, kw_only=True)
class ColumnLineage:
    """Where each column of a plan's result comes from; ``SemanticFrame.column_lineage`` makes it."""

    columns: Mapping[str, ColumnOrigin]
    rows: RowOrigin
    operators: tuple[OperatorFacts, ...]
    """All operators of the plan."""

    def as_dict(self) -> dict[str, Any]:
        """The lineage as plain data, for JSON."""
        return {
            # A list, since event logs keep the keys of JSON in alphabetical order.
            "columns": [{"column": name, **_plain(asdict(one))} for name, one in self.columns.items()],
            "rows": _plain(asdict(self.rows)),
            "operators": [_plain(asdict(one)) for one in self.operators],
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> ColumnLineage:
        """The reverse of ``as_dict``.

        Example:
            >>> one = ColumnLineage(columns={"n": ColumnOrigin(type="Int64")}, rows=RowOrigin(), operators=())
            >>> ColumnLineage.from_dict(one.as_dict()) == one
            True
        """
        return cls(
            columns={one["column"]: ColumnOrigin(type=one["type"], **_origin(one)) for one in told["columns"]},
            rows=RowOrigin(steps=tuple(told["rows"]["steps"]), **_origin(told["rows"])),
            operators=tuple(OperatorFacts(**{**one, "reads": tuple(one["reads"])}) for one in told["operators"]),
        )


def _plain(value: Any) -> Any:
    """The same with lists for tuples, as JSON has them."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _origin(told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "sources": tuple(SourceColumn(**one) for one in told["sources"]),
        "operators": tuple(told["operators"]),
        "opaque": tuple(told["opaque"]),
    }


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """The asset behind a source of another asset's plan."""

    asset: str
    part: str = "data"
    """``data`` or ``rejects``."""


@dataclass(frozen=True, kw_only=True)
class AssetColumns:
    """What is known of one asset's columns."""

    asset: str
    lineage: ColumnLineage | None
    """``None``: the asset is no plan, and nothing tells its columns' origins."""
    upstream: Mapping[str, Upstream] = field(default_factory=dict)
    """Source name -> asset; other sources were made inside the asset's function."""
    known_from: str
    """In words: the plan as it is written now, a materialization, or why nothing is known."""

    def as_dict(self) -> dict[str, Any]:
        """What is known as plain data, for JSON; ``known_from`` is left out, since it differs by who reads it."""
        lineage = {} if self.lineage is None else self.lineage.as_dict()
        return {"asset": self.asset, "upstream": {name: asdict(one) for name, one in self.upstream.items()}, **lineage}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any], *, known_from: str) -> AssetColumns:
        """The reverse of ``as_dict``, of an asset whose lineage is known."""
        return cls(
            asset=told["asset"],
            lineage=ColumnLineage.from_dict(told),
            upstream={name: Upstream(**one) for name, one in told["upstream"].items()},
            known_from=known_from,
        )


@dataclass(frozen=True, order=True)
class AssetColumn:
    """A column of an asset, or of a frame that an asset's own code made."""

    asset: str
    column: str
    part: str = "data"
    """``data`` or ``rejects``."""
    frame: str = ""
    """The frame's name, where the asset's own code made the frame; empty: a column of the asset itself."""

    def __str__(self) -> str:
        if self.frame:
            return f"{self.frame}.{self.column} (a frame made in {self.asset})"
        return f"{self.asset}.{self.column}" if self.part == "data" else f"{self.column} of the rejects of {self.asset}"


@dataclass(frozen=True, kw_only=True)
class ColumnNode:
    """One column on the way from an asset to its sources."""

    at: AssetColumn
    origin: ColumnOrigin | None
    """``None``: the walk ends here."""
    values_from: tuple[AssetColumn, ...] = ()
    end: str = ""
    """Why the walk ends here."""


@dataclass(frozen=True, kw_only=True)
class ColumnTree:
    """Every column between some columns of an asset and the sources."""

    roots: tuple[AssetColumn, ...]
    nodes: Mapping[AssetColumn, ColumnNode]
    assets: Mapping[str, AssetColumns]
    """Every asset that was looked at."""

    def rows_from(self, asset: str) -> tuple[AssetColumn, ...]:
        """The columns that decide which rows an asset has."""
        known = self.assets[asset]
        return () if known.lineage is None else _resolved(known, known.lineage.rows)

    def as_dict(self) -> dict[str, Any]:
        """The tree as plain data: a list of nodes, which refer to one another by asset and column."""
        return {
            "columns": [asdict(root) for root in self.roots],
            "nodes": [_node_dict(node) for node in self.nodes.values()],
            "assets": {name: self._asset_dict(known) for name, known in self.assets.items()},
        }

    def _asset_dict(self, known: AssetColumns) -> dict[str, Any]:
        told: dict[str, Any] = {"known_from": known.known_from}
        if known.lineage is not None:
            rows = known.lineage.rows
            told["rows_decided_by"] = {
                "steps": list(rows.steps),
                "columns": [asdict(one) for one in self.rows_from(known.asset)],
                "operators": list(rows.operators),
                "opaque": list(rows.opaque),
            }
            told["operators"] = [_plain(asdict(one)) for one in known.lineage.operators]
        return told


def column_tree(asset: str, columns: Sequence[str] | None, known: Callable[[str], AssetColumns]) -> ColumnTree:
    """Walk from columns of an asset to the sources, across assets.

    Args:
        asset: The asset's name.
        columns: Its columns; ``None``: all of them.
        known: What is known of an asset's columns, by its name; asked once for each.

    Returns:
        The tree; a column that several others need is in it once.

    Raises:
        UnknownColumn: The asset has no such column.
    """
    looked_at: dict[str, AssetColumns] = {}
    nodes: dict[AssetColumn, ColumnNode] = {}

    def look(name: str) -> AssetColumns:
        if name not in looked_at:
            looked_at[name] = known(name)
        return looked_at[name]

    def visit(at: AssetColumn) -> None:
        if at in nodes:
            return
        nodes[at] = node = _node(at, look)
        for above in node.values_from:
            visit(above)

    first = look(asset)
    roots = tuple(AssetColumn(asset, column) for column in _asked(first, columns))
    for root in roots:
        visit(root)
    return ColumnTree(roots=roots, nodes=nodes, assets=looked_at)


def _asked(first: AssetColumns, columns: Sequence[str] | None) -> Sequence[str]:
    there = {} if first.lineage is None else first.lineage.columns
    if columns is None:
        return list(there)
    for column in columns:
        if first.lineage is not None and column not in there:
            raise UnknownColumn(f"{first.asset!r} has no column {column!r}. {did_you_mean(column, there)}")
    return columns


def _node(at: AssetColumn, look: Callable[[str], AssetColumns]) -> ColumnNode:
    if at.part == "rejects":
        return ColumnNode(at=at, origin=None, end="written down for each rejected row")
    if at.frame:
        return ColumnNode(at=at, origin=None, end="its rows are not an upstream asset's, or plain Polars changed them")
    there = look(at.asset)
    if there.lineage is None:
        return ColumnNode(at=at, origin=None, end=there.known_from)
    origin = there.lineage.columns.get(at.column)
    if origin is None:
        return ColumnNode(at=at, origin=None, end=f"{there.known_from} has no such column")
    return ColumnNode(at=at, origin=origin, values_from=_resolved(there, origin))


def _resolved(there: AssetColumns, origin: Origin) -> tuple[AssetColumn, ...]:
    return tuple(_above(there, source) for source in origin.sources)


def _above(there: AssetColumns, source: SourceColumn) -> AssetColumn:
    found = there.upstream.get(source.source)
    if found is None:
        return AssetColumn(there.asset, source.column, frame=source.source)
    return AssetColumn(found.asset, source.column, found.part)


def _node_dict(node: ColumnNode) -> dict[str, Any]:
    told: dict[str, Any] = {**asdict(node.at), "values_from": [asdict(one) for one in node.values_from]}
    if node.origin is None:
        return {**told, "type": None, "operators": [], "opaque": [], "end": node.end}
    origin = node.origin
    return {
        **told,
        "type": origin.type,
        "operators": list(origin.operators),
        "opaque": list(origin.opaque),
        "end": None,
    }
