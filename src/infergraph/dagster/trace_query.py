"""``ig.trace``: the rows of an asset that somebody asks about, and their traces."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, overload

import dagster as dg
import polars as pl
from polars.exceptions import PolarsError

from infergraph.dagster.layout import Place
from infergraph.dagster.project import find_root, load_definitions
from infergraph.dagster.prompts_again import PromptsAgain
from infergraph.dagster.publish import Version
from infergraph.dagster.published_assets import PublishedAssets, lineage_of, part_of, rejects_of_version
from infergraph.dagster.tracing import Tracer
from infergraph.dagster.upstream import POSITION
from infergraph.errors import ConfigurationError, PlanError, did_you_mean
from infergraph.frame.row_ids import ROW_ID
from infergraph.lineage import Became, Trace, Traces

MOST_ROWS = 3
Asked = tuple[int | None, str | None, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Found:
    """Rows of one version that were asked for."""

    place: Place
    version: Version
    rows: Sequence[Asked]
    """The first ones: position in the file (``None``: not among those published), row id (``None``: it has none),
    columns."""
    total: int
    """How many there are."""


@overload
def trace(
    asset: dg.AssetKey | str | Sequence[str],
    where: str | pl.Expr | None = None,
    row_id: str | None = None,
    partition: str | None = None,
    *,
    forward: Literal[False] = False,
    definitions: dg.Definitions | None = None,
    instance: dg.DagsterInstance | None = None,
    most: int = MOST_ROWS,
) -> Traces[Trace]: ...


@overload
def trace(
    asset: dg.AssetKey | str | Sequence[str],
    where: str | pl.Expr | None = None,
    row_id: str | None = None,
    partition: str | None = None,
    *,
    forward: Literal[True],
    definitions: dg.Definitions | None = None,
    instance: dg.DagsterInstance | None = None,
    most: int = MOST_ROWS,
) -> Traces[Became]: ...


@overload
def trace(
    asset: dg.AssetKey | str | Sequence[str],
    where: str | pl.Expr | None = None,
    row_id: str | None = None,
    partition: str | None = None,
    *,
    forward: bool,
    definitions: dg.Definitions | None = None,
    instance: dg.DagsterInstance | None = None,
    most: int = MOST_ROWS,
) -> Traces[Trace] | Traces[Became]: ...


def trace(
    asset: dg.AssetKey | str | Sequence[str],
    where: str | pl.Expr | None = None,
    row_id: str | None = None,
    partition: str | None = None,
    *,
    forward: bool = False,
    definitions: dg.Definitions | None = None,
    instance: dg.DagsterInstance | None = None,
    most: int = MOST_ROWS,
) -> Traces[Trace] | Traces[Became]:
    """Where rows of a published asset come from, or with ``forward`` what they became.

    Args:
        asset: The asset's key; a text with ``/`` between its parts.
        where: A condition on the published columns: SQL, such as ``"id = 17"``, or a Polars expression. Where no
            published row fits, the rejects are searched by their columns.
        row_id: A row id, or how it begins, as in ``_row_id`` or the rejects.
        partition: The partition's key; ``None``: all that are published.
        forward: Follow the rows down to what they became in the assets that read them, instead of up.
        definitions: The code location; ``None``: the project around the current folder is loaded.
        instance: Knows the dynamic partitions, for prompts that are rendered again; ``None``: one in memory.
        most: Rows that are traced, 1 or more; the others are counted.

    Returns:
        A sequence of ``Trace`` (of ``Became`` with ``forward``) that prints as trees and has ``.as_dict()``.

    Raises:
        PlanError: No such asset, column or row, or neither ``where`` nor ``row_id``.
        ConfigurationError: Nothing is published of the asset, or the current folder is in no project.

    Example:
        >>> import dagster as dg, polars as pl
        >>> from infergraph.dagster import PolarsStorage
        >>> @dg.asset
        ... def numbers() -> pl.DataFrame:
        ...     return pl.DataFrame({"n": [1, 2, 3]})
        >>> defs = dg.Definitions([numbers], resources={"io_manager": PolarsStorage(base_url="memory://trace")})
        >>> run = defs.resolve_implicit_global_asset_job_def().execute_in_process()
        >>> trace("numbers", where="n = 2", definitions=defs)[0].values
        {'n': 2}
    """
    if (where is None) == (row_id is None):
        raise PlanError('Say which row to trace: where="id = 17" (a condition on its columns) or row_id="...".')
    if row_id == "":
        raise PlanError("row_id='' is the beginning of every row id: give the first characters of one.")
    if most < 1:
        raise PlanError(f"most={most!r}: give a number of rows, 1 or more.")
    with (
        _location(definitions) as location,
        PublishedAssets(location, instance) as assets,
        PromptsAgain(location, instance) as again,
    ):
        key = _key_of(location, asset)
        found = _found(assets, key, where, row_id, partition, most)
        tracer, matched = Tracer(assets, again), sum(one.total for one in found)
        taken = _taken(found, most)
        if forward:
            return Traces(rows=[row for one in taken for row in _forward(tracer, one)], matched=matched)
        return Traces(rows=[row for one in taken for row in _backward(tracer, one)], matched=matched)


@contextlib.contextmanager
def _location(definitions: dg.Definitions | None) -> Iterator[dg.Definitions]:
    if definitions is not None:
        yield definitions
        return
    root = find_root()
    # Relative addresses mean the project's folder, as in `infergraph dev`.
    with contextlib.chdir(root):
        yield load_definitions(root)


def _key_of(definitions: dg.Definitions, asset: dg.AssetKey | str | Sequence[str]) -> tuple[str, ...]:
    key = dg.AssetKey.from_user_string(asset) if isinstance(asset, str) else dg.AssetKey.from_coercible(asset)
    known = {one.to_user_string(): one for one in definitions.resolve_asset_graph().get_all_asset_keys()}
    if key.to_user_string() not in known:
        raise PlanError(f"There is no asset {key.to_user_string()!r}. {did_you_mean(key.to_user_string(), known)}")
    return tuple(key.path)


def _found(
    assets: PublishedAssets,
    asset: tuple[str, ...],
    where: str | pl.Expr | None,
    row_id: str | None,
    partition: str | None,
    most: int,
) -> list[Found]:
    name = "/".join(asset)
    if assets.storage(asset) is None:
        raise PlanError(f"{name!r} is kept by another IO manager than PolarsStorage: its rows cannot be looked up.")
    places = assets.places(asset)
    if partition is not None:
        places = [place for place in places if place.partition == partition]
    if not places:
        raise ConfigurationError(f"Nothing is published of {Place(asset=asset, partition=partition)}: run it first.")
    versions = [(place, version) for place in places for version in [assets.current(place)] if version is not None]
    condition = _condition(where, versions) if where is not None else None
    looks = (_published_rows, _other_rows)
    for look in looks:
        found = [one for place, version in versions for one in look(place, version, condition, row_id, most)]
        if found:
            return found
    asked = f"row id that begins with {row_id!r}" if row_id is not None else f"row where {where}"
    raise PlanError(f"{name!r} has no {asked}, neither among its published rows nor among its rejects.")


def _condition(where: str | pl.Expr, versions: Sequence[tuple[Place, Version]]) -> pl.Expr:
    """The condition, tried on the columns before any row is read."""
    try:
        condition = pl.sql_expr(where) if isinstance(where, str) else where
    except PolarsError as error:
        raise PlanError(f"where={where!r} is no SQL condition ({error}). Write for example: id = 17") from None
    wanted = set(condition.meta.root_names())
    for _, version in versions:
        data = part_of(version, "data")
        schema = pl.Schema() if data is None else data.collect_schema()
        rejects = rejects_of_version(version).collect_schema()
        if not wanted <= set(schema) and not wanted <= set(rejects):
            missing = sorted(wanted - set(schema))
            known = [name for name in schema if name != ROW_ID]
            raise PlanError(
                f"where={where!r}: unknown column {', '.join(map(repr, missing))}. {did_you_mean(missing[0], known)}"
            )
        try:
            columns = pl.LazyFrame(schema=schema if wanted <= set(schema) else rejects)
            made = columns.select(condition).collect_schema().dtypes()
            if made == [pl.Boolean()]:
                columns.filter(condition).collect()
        except PolarsError as error:
            raise PlanError(f"where={where!r}: {str(error).splitlines()[0]}") from None
        if made != [pl.Boolean()]:
            raise PlanError(
                f"where={str(where)!r} is {', '.join(map(str, made))} and no condition. Write for example: id = 17"
            )
    return condition


def _published_rows(
    place: Place, version: Version, condition: pl.Expr | None, row_id: str | None, most: int
) -> Iterator[Found]:
    data = part_of(version, "data")
    if data is None:
        return
    schema = data.collect_schema()
    if condition is not None and not set(condition.meta.root_names()) <= set(schema):
        return  # it is about the rejects
    chosen = _with_id(row_id or "", has_ids=ROW_ID in schema) if condition is None else condition
    if chosen is None:
        return
    fitting = data.with_row_index(POSITION).filter(chosen)
    total = int(fitting.select(pl.len()).collect(engine="streaming").item())
    if total:
        rows = fitting.head(most).collect(engine="streaming")
        taken = [(int(row.pop(POSITION)), row.pop(ROW_ID, None), row) for row in rows.iter_rows(named=True)]
        yield Found(place=place, version=version, rows=taken, total=total)


def _with_id(row_id: str, *, has_ids: bool) -> pl.Expr | None:
    """The rows whose id begins so; ``None``: no row of this file can have it."""
    if has_ids:
        return pl.col(ROW_ID).str.starts_with(row_id)
    place = row_id.removeprefix("#")
    return pl.col(POSITION) == int(place) if place != row_id and place.isdecimal() else None


def _other_rows(
    place: Place, version: Version, condition: pl.Expr | None, row_id: str | None, most: int
) -> Iterator[Found]:
    """Rows that are not among the published ones: rejects, rows that a filter dropped, rows on the way."""
    lineage = lineage_of(version)
    if lineage is None:
        return
    rejects = rejects_of_version(version)
    if row_id is not None:
        begins = pl.col("row_id").str.starts_with(row_id)
        made = lineage.filter(begins).select("row_id")
        parents = lineage.filter(pl.col("parent").str.starts_with(row_id)).select(pl.col("parent").alias("row_id"))
        ids = pl.concat([made, parents]).unique(maintain_order=True).collect()
    else:
        assert condition is not None
        if not set(condition.meta.root_names()) <= set(rejects.collect_schema()):
            return
        ids = rejects.filter(condition).select("row_id").unique(maintain_order=True).collect()
    rows: list[Asked] = [(None, one, {}) for one in ids["row_id"].head(most)]
    if rows:
        yield Found(place=place, version=version, rows=rows, total=ids.height)


def _taken(found: Sequence[Found], most: int) -> Iterator[Found]:
    """The first rows of all versions together."""
    for one in found:
        if most > 0:
            yield replace(one, rows=one.rows[:most])
        most -= len(one.rows)


def _backward(tracer: Tracer, found: Found) -> list[Trace]:
    ids = [row_id for _, row_id, _ in found.rows if row_id is not None]
    made = tracer.traces(found.place, found.version, ids) if ids else {}
    return [
        made[row_id] if row_id is not None else tracer.plain_row(found.place, found.version, position or 0, values)
        for position, row_id, values in found.rows
    ]


def _forward(tracer: Tracer, found: Found) -> list[Became]:
    unpublished = [row_id for position, row_id, _ in found.rows if position is None and row_id is not None]
    if unpublished:
        return list(tracer.within(found.place, found.version, unpublished).values())
    asked = {position: row_id for position, row_id, _ in found.rows if position is not None}
    return list(tracer.became(found.place, found.version, asked).values())
