"""What a published version was made from: the rows of the upstream versions that its run read, with their row ids.

``current.json`` says of every source of the run which asset, partitions and versions it was, and what named its rows.
A version that is not kept any more is replaced by the one that counts now, and that is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from infergraph.dagster.layout import Place
from infergraph.dagster.publish import Part, Version
from infergraph.dagster.published_assets import PublishedAssets, part_of
from infergraph.frame.parents import numbered_batches
from infergraph.frame.row_ids import ROW_ID
from infergraph.lineage import SourceRead

AT = "__at"
"""Which of the versions read a row lies in."""
POSITION = "__position"
"""The row's place in that version's file, from 0."""
OWN_ID = "__own_id"
"""The row's own id in that version; null where it has none."""
OWN = (AT, POSITION, OWN_ID, ROW_ID)
BEFORE = "it was published before runs kept what they read: run it again"


@dataclass(frozen=True, kw_only=True)
class VersionRead:
    """A version that a run read, or what is left of it."""

    place: Place
    name: str
    version: Version | None
    """``None``: nothing is published there any more."""

    @property
    def note(self) -> str:
        """What is to be said of rows that are looked up in it."""
        if self.version is None:
            return f"{self.place}: version {self.name} was read; nothing is published there any more"
        if self.version.name != self.name:
            return f"version {self.name} was read, which is no longer kept: this is the row as it is published now"
        return ""


@dataclass(frozen=True, kw_only=True)
class InputRead:
    """An upstream asset as one source of a run read it."""

    source: str
    key: tuple[str, ...]
    named_by: tuple[tuple[str, ...], ...]
    carries_ids: bool
    asset: tuple[str, ...]
    part: Part
    versions: tuple[VersionRead, ...]

    def names(self, columns: Sequence[str]) -> tuple[str, ...]:
        """The columns that name a row to a person."""
        return self.key or tuple(columns)

    def rows_named(self, wanted: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...], dict[str, Any]]]:
        """The rows with these ids: id, the columns that named it, and the row with the columns ``OWN``.

        Args:
            wanted: Row ids as the run knew them.
        """
        left = set(wanted)
        for columns, batch in self._batches(wanted):
            rows = batch.filter(pl.col(ROW_ID).is_in(list(left)))
            for row in rows.iter_rows(named=True):
                left.discard(row[ROW_ID])
                yield row[ROW_ID], self.names(columns), row
            if not left:
                return

    def ids_of(self, place: Place, rows: Mapping[int, str | None]) -> list[tuple[str, int]]:
        """The ids under which the run knew rows of an upstream place, with their positions there.

        Args:
            place: The upstream asset or partition.
            rows: Position of each row, and its own id where it has one; frames under one another may bring an id twice.
        """
        at = next(number for number, read in enumerate(self.versions) if read.place == place)
        own: dict[str, list[int]] = {}
        for position, row_id in rows.items():
            if row_id is not None:
                own.setdefault(row_id, []).append(position)
        if self.carries_ids:
            return [(row_id, position) for row_id, positions in own.items() for position in positions]
        found: list[tuple[str, int]] = []
        for _, batch in self._batches():
            mine = pl.col(OWN_ID).is_in(list(own)) if own else pl.col(POSITION).is_in(list(rows))
            chosen = batch.filter(mine & (pl.col(AT) == at))
            for row_id, own_id, position in chosen.select(ROW_ID, OWN_ID, POSITION).iter_rows():
                found += [(row_id, each) for each in own.get(own_id, [position])]
        return found

    def _batches(self, wanted: Sequence[str] = ()) -> Iterator[tuple[tuple[str, ...], pl.DataFrame]]:
        """All that was read, numbered as the run numbered it; where rows carry ids, the wanted ones."""
        data = self._data()
        if data is None:
            return
        if self.carries_ids:
            rows = data.filter(pl.col(OWN_ID).is_in(list(wanted))).collect(engine="streaming")
            yield (), rows.with_columns(pl.col(OWN_ID).alias(ROW_ID))
            return
        there = data.collect_schema()
        for columns in self.named_by:
            if set(columns) <= set(there):
                source = SourceRead(
                    name=self.source, key=self.key, carries_ids=False, named_by=self.named_by, data=data
                )
                for batch in numbered_batches(source, columns):
                    yield columns, batch

    def _data(self) -> pl.LazyFrame | None:
        """All that was read, in order, with the columns ``OWN`` beside the rows' own."""
        frames = []
        for number, read in enumerate(self.versions):
            rows = None if read.version is None else part_of(read.version, self.part)
            if rows is not None:
                frames.append(_marked(rows, number, self.part))
        return pl.concat(frames, how="diagonal_relaxed") if frames else None


def _marked(rows: pl.LazyFrame, number: int, part: Part) -> pl.LazyFrame:
    own = ROW_ID if part == "data" else "row_id"
    there = own in rows.collect_schema()
    own_id = pl.col(own) if there else pl.lit(None, pl.String)
    marked = rows.with_row_index(POSITION).with_columns(pl.lit(number, pl.UInt32).alias(AT), own_id.alias(OWN_ID))
    return marked.drop(ROW_ID, strict=False)


def inputs_of_version(assets: PublishedAssets, version: Version) -> list[InputRead]:
    """The upstream assets that a version was made from; frames made inside the asset's function are left out.

    Args:
        assets: Finds the upstream versions.
        version: What a semantic asset published.
    """
    return [_input(assets, said) for said in version.facts.get("inputs", []) if said["asset"] is not None]


def lost_sources(version: Version) -> str:
    """Why rows cannot be found in the sources of a version that are no asset's of ours; empty where there is none."""
    if "inputs" not in version.facts:
        return BEFORE
    lost = [said for said in version.facts["inputs"] if said["asset"] is None]
    notes = [
        f"{said['source']!r} was made inside the asset's function"
        if said["parameter"] is None
        else f"{said['source']!r} came through another IO manager"
        for said in lost
    ]
    return f"{' or '.join(dict.fromkeys(notes))}: its rows are not kept" if notes else ""


def may_have_read(version: Version, place: Place) -> bool:
    """Whether a version was made from an upstream place, as far as it is known; no file is opened."""
    inputs = version.facts.get("inputs")
    return inputs is None or any(
        said["asset"] == list(place.asset) and any(read["partition"] == place.partition for read in said["read"])
        for said in inputs
    )


def _input(assets: PublishedAssets, said: Mapping[str, Any]) -> InputRead:
    asset = tuple(said["asset"])
    versions = []
    for read in said["read"]:
        place = Place(asset=asset, partition=read["partition"])
        version = assets.kept(place, read["version"]) or assets.current(place)
        versions.append(VersionRead(place=place, name=read["version"], version=version))
    return InputRead(
        source=said["source"],
        key=tuple(said["key"]),
        named_by=tuple(tuple(columns) for columns in said["named_by"]),
        carries_ids=said["carries_ids"],
        asset=asset,
        part=said["part"],
        versions=tuple(versions),
    )
