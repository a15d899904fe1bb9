"""Traces across assets: from a published row up to the rows that came in, and down to what it became.

Up: the lineage of the version that holds the row, then the versions that its run read, and so on. Down: every asset
that reads the row's asset, as it is published now, in all partitions. Assets made by plain code keep no lineage: a
trace ends at their row, unless the row still carries an id that an asset above it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import polars as pl

from infergraph.dagster.layout import Place
from infergraph.dagster.prompts_again import PromptsAgain
from infergraph.dagster.publish import Version
from infergraph.dagster.published_assets import (
    PublishedAssets,
    lineage_of,
    part_of,
    published,
    rejects_of_version,
)
from infergraph.dagster.upstream import (
    AT,
    BEFORE,
    OWN,
    OWN_ID,
    POSITION,
    InputRead,
    VersionRead,
    inputs_of_version,
    lost_sources,
    may_have_read,
)
from infergraph.frame.row_ids import ROW_ID
from infergraph.lineage import Became, Published, SourceRow, Trace
from infergraph.traces import RunRecords, follow_rows, trace_rows

PLAIN = "made by plain code, which keeps no lineage"
Rows = Mapping[int, str | None]
"""Rows of a version: their positions in its file, and their ids where they have some."""


class Tracer:
    """Walks rows through the published assets of a code location.

    Args:
        assets: What is published.
        again: Renders prompts that the store does not keep.
    """

    def __init__(self, assets: PublishedAssets, again: PromptsAgain) -> None:
        self._assets = assets
        self._again = again

    # -- backwards ---------------------------------------------------------------------------------

    def traces(self, place: Place, version: Version, row_ids: Sequence[str]) -> dict[str, Trace]:
        """Where rows of a version come from, by row id.

        Args:
            place: The asset or partition.
            version: The version that holds the rows, or rejected or dropped them.
            row_ids: As in ``_row_id`` or the rejects.
        """
        lineage = lineage_of(version)
        values = values_of(version, row_ids)
        told = published(place, version)
        if lineage is None:
            return {row_id: self._plain_with_id(place, version, row_id, values) for row_id in row_ids}
        records = self._records(place, version, lineage)
        traces = trace_rows(records, row_ids, lambda wanted: self._sources(version, wanted), known=values)
        return {row_id: replace(trace, asset=told, values=values.get(row_id)) for row_id, trace in traces.items()}

    def _records(self, place: Place, version: Version, lineage: pl.LazyFrame) -> RunRecords:
        rejects, store = rejects_of_version(version), self._assets.store(place.asset)
        return RunRecords(lineage, rejects, store, partial(self._again.request, place))

    def plain_row(self, place: Place, version: Version, position: int, values: Mapping[str, Any]) -> Trace:
        """A row of an asset without row ids: its trace ends here."""
        return Trace(row_id=f"#{position}", steps=[], asset=published(place, version), values=values, ended=PLAIN)

    def _plain_with_id(
        self, place: Place, version: Version, row_id: str, values: Mapping[str, Mapping[str, Any]]
    ) -> Trace:
        """A row that plain code carried on with its id: the asset above that has the id made it."""
        trace = Trace(row_id=row_id, steps=[], asset=published(place, version), values=values.get(row_id), ended=PLAIN)
        for asset in self._assets.above(place.asset):
            for above in self._assets.places(asset):
                holder = self._assets.current(above)
                if holder is not None and values_of(holder, [row_id]):
                    upstream = self.traces(above, holder, [row_id])[row_id]
                    source = SourceRow(
                        source="/".join(asset), key={}, values={}, asset=upstream.asset, upstream=upstream,
                        note="made by plain code, which kept the row's id: this is the row of that id as it is now",
                    )  # fmt: skip
                    return replace(trace, source=source, ended="")
        return trace

    def _sources(self, version: Version, wanted: Sequence[str]) -> dict[str, SourceRow]:
        if not wanted:
            return {}
        found: dict[str, SourceRow] = {}
        for read in inputs_of_version(self._assets, version):
            missing = [row_id for row_id in wanted if row_id not in found]
            if missing:
                found.update(self._rows_of(read, missing))
        note = lost_sources(version)
        if note:
            lost = SourceRow(source="?", key={}, values={}, note=note)
            found |= {row_id: lost for row_id in wanted if row_id not in found}
        return found

    def _rows_of(self, read: InputRead, wanted: Sequence[str]) -> dict[str, SourceRow]:
        rows = list(read.rows_named(wanted))
        upstream: dict[tuple[int, str], Trace] = {}
        for number, holder in enumerate(read.versions):
            own = [row[OWN_ID] for _, _, row in rows if row[AT] == number and row[OWN_ID] is not None]
            if own and holder.version is not None:
                made = self.traces(holder.place, holder.version, list(dict.fromkeys(own)))
                upstream |= {(number, row_id): trace for row_id, trace in made.items()}
        found = {}
        for row_id, names, row in rows:
            holder = read.versions[row[AT]]
            own_trace = upstream.get((row[AT], row[OWN_ID]))
            found[row_id] = _source_row(read, holder, names, row, own_trace)
        return found

    # -- forwards ----------------------------------------------------------------------------------

    def became(self, place: Place, version: Version, rows: Rows) -> dict[int, Became]:
        """What rows of a version became in the assets that read it, by position.

        Args:
            place: The asset or partition.
            version: The version that holds the rows.
            rows: Their positions, and their ids where they have some.
        """
        values = values_at(version, list(rows))
        below = self._below(place, version, rows)
        told = published(place, version)
        return {
            position: Became(
                row_id=row_id or f"#{position}", state="published", why="in the result", asset=told,
                values=values.get(position), downstream=below.get(position, ()),
            )
            for position, row_id in rows.items()
        }  # fmt: skip

    def _below(self, place: Place, version: Version, rows: Rows) -> dict[int, list[Became]]:
        found: dict[int, list[Became]] = {position: [] for position in rows}
        if not rows:
            return found
        for asset in self._assets.below(place.asset):
            for position, one in self._into(asset, place, version, rows):
                found[position].append(one)
        return found

    def _into(self, asset: tuple[str, ...], place: Place, version: Version, rows: Rows) -> Iterator[tuple[int, Became]]:
        """What rows became in one asset that depends on theirs."""
        if self._assets.storage(asset) is None:
            why = f"{'/'.join(asset)} is kept by another IO manager, where rows cannot be looked up"
            yield from _not_followed(rows, why)
        plain: list[tuple[Place, Version]] = []
        for below in self._assets.places(asset):
            holder = self._assets.current(below)
            if holder is None or not may_have_read(holder, place):
                continue
            if lineage_of(holder) is None:
                plain.append((below, holder))
            elif "inputs" not in holder.facts:
                yield from _not_followed(rows, BEFORE, published(below, holder))
            for read in inputs_of_version(self._assets, holder):
                if any(one.place == place for one in read.versions):
                    yield from self._through_run(below, holder, read, place, version, rows)
        if plain:
            same = [one for one in plain if one[0].partition == place.partition]
            yield from self._through_plain(same or plain, rows)

    def within(self, place: Place, version: Version, row_ids: Sequence[str]) -> dict[str, Became]:
        """What rows that a version's run read, made, dropped or rejected became in it and further down, by row id."""
        lineage = lineage_of(version)
        assert lineage is not None, "only runs with lineage name such rows"
        records = self._records(place, version, lineage)

        def go_on(reached: Sequence[str]) -> dict[str, Sequence[Became]]:
            places = positions_of(version, reached)
            made = self._below(place, version, {position: row_id for row_id, position in places.items()})
            return {row_id: made[position] for row_id, position in places.items()}

        made = follow_rows(records, row_ids, lambda reached: values_of(version, reached), go_on)
        told = published(place, version)
        return {row_id: replace(one, asset=told) for row_id, one in made.items()}

    def _through_run(
        self, below: Place, holder: Version, read: InputRead, place: Place, version: Version, rows: Rows
    ) -> Iterator[tuple[int, Became]]:
        ids = read.ids_of(place, rows)
        made = self.within(below, holder, [row_id for row_id, _ in ids]) if ids else {}
        name = next(one.name for one in read.versions if one.place == place)
        stale = "" if name == version.name else f" (it was made from version {name} of {place}, not from this one)"
        for row_id, position in ids:
            yield position, replace(made[row_id], why=made[row_id].why + stale)

    def _through_plain(self, holders: Sequence[tuple[Place, Version]], rows: Rows) -> Iterator[tuple[int, Became]]:
        """Plain code that keeps ids shows what became of a row; other plain code is named once."""
        left = dict(rows)
        for below, holder in holders:
            own = {row_id: position for position, row_id in left.items() if row_id is not None}
            kept = positions_of(holder, list(own))
            made = self.became(below, holder, {place: row_id for row_id, place in kept.items()})
            for row_id, place in kept.items():
                yield own[row_id], made[place]
                del left[own[row_id]]
        yield from _not_followed(left, PLAIN, published(*holders[0]))


def _not_followed(rows: Rows, why: str, asset: Published | None = None) -> Iterator[tuple[int, Became]]:
    for position, row_id in rows.items():
        yield position, Became(row_id=row_id or f"#{position}", state="not followed", why=why, asset=asset)


def values_of(version: Version, row_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The visible columns of a version's rows, by row id; those that it does not have are left out."""
    data = _data(version)
    if not row_ids or ROW_ID not in data.collect_schema():
        return {}
    rows = data.filter(pl.col(ROW_ID).is_in(list(row_ids))).collect(engine="streaming")
    return {str(row.pop(ROW_ID)): row for row in rows.iter_rows(named=True)}


def values_at(version: Version, positions: Sequence[int]) -> dict[int, dict[str, Any]]:
    """The visible columns of a version's rows, by their places in the file."""
    rows = _data(version).with_row_index(POSITION).filter(pl.col(POSITION).is_in(list(positions)))
    shown = rows.drop(ROW_ID, strict=False).collect(engine="streaming")
    return {int(row.pop(POSITION)): row for row in shown.iter_rows(named=True)}


def positions_of(version: Version, row_ids: Sequence[str]) -> dict[str, int]:
    """The places in the file of a version's rows, by row id."""
    data = _data(version)
    if not row_ids or ROW_ID not in data.collect_schema():
        return {}
    rows = data.select(ROW_ID).with_row_index(POSITION).filter(pl.col(ROW_ID).is_in(list(row_ids)))
    return {row_id: position for position, row_id in rows.collect(engine="streaming").iter_rows()}


def _data(version: Version) -> pl.LazyFrame:
    data = part_of(version, "data")
    return pl.LazyFrame() if data is None else data


def _source_row(
    read: InputRead, holder: VersionRead, names: Sequence[str], row: Mapping[str, Any], upstream: Trace | None
) -> SourceRow:
    values = {name: value for name, value in row.items() if name not in OWN}
    notes = [holder.note]
    if upstream is None:
        notes.append(PLAIN)
    if read.part == "rejects":
        notes.append(f"a reject of {read.asset[-1]!r}")
    return SourceRow(
        source=read.source,
        key={name: values[name] for name in names if name in values},
        values=values,
        asset=None if holder.version is None else published(holder.place, holder.version),
        upstream=upstream,
        note="; ".join(note for note in notes if note),
    )
