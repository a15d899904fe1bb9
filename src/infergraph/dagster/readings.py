"""Which published versions a frame was read from: the IO manager knows it, and the run that reads the frame notes it.

A LazyFrame cannot say where it comes from, and a run must not look again: meanwhile another version may have been
published. So the IO manager writes it down here, for as long as the frame lives.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from infergraph.dagster.layout import Place
from infergraph.lineage import SourceRead

if TYPE_CHECKING:
    from infergraph.dagster.publish import Part, Version


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a frame holds.

    Args:
        asset: The upstream asset's key.
        part: ``data`` or ``rejects``.
        versions: Partition (``None``: unpartitioned) and version, in the order of the rows.
    """

    asset: tuple[str, ...]
    part: str
    versions: tuple[tuple[str | None, str], ...]


_readings: dict[int, Reading] = {}
_lock = threading.Lock()


def remember(frame: pl.LazyFrame, there: Sequence[tuple[Place, Version]], part: Part) -> None:
    """Note which versions a frame was read from, until the frame is gone.

    Args:
        frame: What a reader is handed.
        there: The places and versions, in the order of their rows.
        part: Which of their files.
    """
    versions = tuple((place.partition, version.name) for place, version in there)
    with _lock:
        _readings[id(frame)] = Reading(asset=there[0][0].asset, part=part, versions=versions)
    weakref.finalize(frame, _readings.pop, id(frame), None)


def reading_of(frame: Any) -> Reading | None:
    """Which versions a frame was read from; ``None``: it is no frame of our storage."""
    return _readings.get(id(frame))


def inputs_read(
    sources: Sequence[SourceRead], inputs: Mapping[str, Any], handed: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """What a run read, as it is kept beside the rows that it made: without it nobody could follow them upstream.

    Args:
        sources: The sources of its plan.
        inputs: The upstream frames by parameter, as the IO manager gave them.
        handed: The same as the asset's function got them.

    Returns:
        One JSON object a source: its name in the plan, ``key`` and ``named_by`` (what its row ids follow from, where it
        does not ``carries_ids`` of an earlier run), and, where it is an upstream asset's, ``parameter``, ``asset``,
        ``part`` and ``read`` (partition and version).
    """
    return [_entry(source, inputs, handed) for source in sources]


def _entry(source: SourceRead, inputs: Mapping[str, Any], handed: Mapping[str, Any]) -> dict[str, Any]:
    parameter = next((name for name, frame in _lazies(handed) if frame is source.data), None)
    reading = None if parameter is None else reading_of(inputs[parameter])
    return {
        "source": source.name,
        "key": list(source.key),
        "named_by": [list(columns) for columns in source.named_by],
        "carries_ids": source.carries_ids,
        "parameter": parameter,
        "asset": None if reading is None else list(reading.asset),
        "part": None if reading is None else reading.part,
        "read": [] if reading is None else [{"partition": key, "version": name} for key, name in reading.versions],
    }


def _lazies(handed: Mapping[str, Any]) -> Iterator[tuple[str, pl.LazyFrame]]:
    for name, value in handed.items():
        if isinstance(value, pl.LazyFrame):
            yield name, value
        elif hasattr(value, "node"):
            yield name, value.node.data
