"""The walk from columns to sources: each column once, whatever the assets' shape."""

from __future__ import annotations

import pytest

from infergraph.column_lineage import (
    AssetColumn,
    AssetColumns,
    ColumnLineage,
    ColumnOrigin,
    RowOrigin,
    SourceColumn,
    Upstream,
    column_tree,
)
from infergraph.errors import UnknownColumn


def asset(name: str, *, reads: str = "", **columns: str) -> AssetColumns:
    """An asset whose columns each follow from the columns named, of the asset that it reads."""
    lineage = ColumnLineage(
        columns={
            column: ColumnOrigin(type="String", sources=tuple(SourceColumn("above", one) for one in above.split()))
            for column, above in columns.items()
        },
        rows=RowOrigin(),
        operators=(),
    )
    return AssetColumns(asset=name, lineage=lineage, upstream={"above": Upstream(asset=reads)}, known_from="here")


def test_a_column_that_two_others_need_is_looked_at_once() -> None:
    known = {
        "c": asset("c", reads="b", x="left right"),
        "b": asset("b", reads="a", left="text", right="text"),
        "a": AssetColumns(asset="a", lineage=None, known_from="a file"),
    }
    asked: list[str] = []

    def look(name: str) -> AssetColumns:
        asked.append(name)
        return known[name]

    tree = column_tree("c", ["x"], look)
    assert asked == ["c", "b", "a"]
    assert [str(at) for at in tree.nodes] == ["c.x", "b.left", "a.text", "b.right"]
    assert tree.nodes[AssetColumn("a", "text")].end == "a file"


def test_an_asset_that_reads_itself_comes_to_an_end() -> None:
    own = asset("total", reads="total", sum="sum")
    tree = column_tree("total", None, lambda name: own)
    assert tree.nodes[AssetColumn("total", "sum")].values_from == (AssetColumn("total", "sum"),)


def test_an_upstream_column_that_is_gone_is_said() -> None:
    known = {"b": asset("b", reads="a", x="old"), "a": asset("a", new="")}
    tree = column_tree("b", ["x"], known.__getitem__)
    assert tree.nodes[AssetColumn("a", "old")].end == "here has no such column"
    with pytest.raises(UnknownColumn, match="'b' has no column 'y'"):
        column_tree("b", ["y"], known.__getitem__)


def test_what_is_known_survives_json() -> None:
    one = asset("b", reads="a", z="q", a="r s")
    back = AssetColumns.from_dict(one.as_dict(), known_from="here")
    assert back == one
    assert one.lineage is not None
    assert back.lineage is not None
    assert list(back.lineage.columns) == list(one.lineage.columns)
