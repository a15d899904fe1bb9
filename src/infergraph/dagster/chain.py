"""Estimates of a whole selection, upstream first: what one run of all its assets would call, cost and take.

An asset that reads another one of the selection is planned on that one's *plan*: the run makes it anew, so what is
published of it now does not count. Rows that depend on answers still missing become ranges further down. Code of assets
without a model is never run here: where their rows are not made yet, what reads them cannot be known, and says why.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
from polars.exceptions import PanicException

from infergraph.dagster.asset import semantic_asset_of
from infergraph.dagster.config import options_of
from infergraph.dagster.findings import OwnCheck
from infergraph.dagster.judge_estimates import with_judges
from infergraph.dagster.judging import Judge
from infergraph.dagster.planning import Reading, planned
from infergraph.errors import ConfigurationError, InfergraphError, PlanError
from infergraph.frame.estimate import Estimate, PossibleRows, Survey
from infergraph.frame.estimate_report import joined
from infergraph.frame.run import RunOptions


class NotMadeYet(ConfigurationError):
    """The rows that an asset reads are made by this very run, and cannot be foretold."""


@dataclass(frozen=True, kw_only=True)
class AssetEstimate:
    """One semantic asset's part of a selection: its own operators, each once.

    Args:
        asset: The asset's name.
        estimate: Its estimate; ``None``: there is none.
        problem: Why there is none.
        exit_code: Of that problem, for the command line; 0 without one.
        rows_missing: There is none only because rows that it reads are not made yet.
        max_cost_usd: The budget that the run would have, in USD; ``None``: no bound.
    """

    asset: str
    estimate: Estimate | None = None
    problem: str = ""
    exit_code: int = 0
    rows_missing: bool = False
    max_cost_usd: float | None = None


def estimate_selection(
    definitions: dg.Definitions,
    keys: Sequence[dg.AssetKey],
    *,
    instance: dg.DagsterInstance,
    partition: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> list[AssetEstimate]:
    """What one run of these assets would call, cost and take; no model is called.

    Args:
        definitions: The code location.
        keys: All assets of the run, also those that call no model.
        instance: Knows the dynamic partitions.
        partition: The partition's key, where the assets are partitioned.
        config: Values for every semantic asset's op, as in run config.

    Returns:
        One for each asset that calls models, upstream first.
    """
    graph = definitions.resolve_asset_graph()
    ordered = [key for key in graph.toposorted_asset_keys if key in set(keys)]
    with tempfile.TemporaryDirectory(prefix="infergraph-plan-", ignore_cleanup_errors=True) as folder:
        chain = _Chain(definitions, ordered, instance, partition, dict(config or {}), Path(folder))
        return [chain.estimate(key) for key in ordered if semantic_asset_of(graph.get(key).assets_def) is not None]


def total(parts: Sequence[AssetEstimate]) -> Estimate:
    """The sum over the assets that could be estimated, with the assumptions of all.

    Args:
        parts: From ``estimate_selection``.
    """
    known = [part.estimate for part in parts if part.estimate is not None]
    return replace(joined(known), assumptions=said(parts))


def said(parts: Sequence[AssetEstimate]) -> list[str]:
    """What was assumed, in words; with the asset's name where there are several.

    Args:
        parts: From ``estimate_selection``.
    """
    known = [(part.asset, part.estimate) for part in parts if part.estimate is not None]
    several = len(known) > 1
    words = (f"{asset}: {text}" if several else text for asset, each in known for text in each.assumptions)
    return list(dict.fromkeys(words))


class _Chain:
    """Plans the assets of a selection one after another, each on the rows that those before may give."""

    def __init__(
        self,
        definitions: dg.Definitions,
        keys: Sequence[dg.AssetKey],
        instance: dg.DagsterInstance,
        partition: str | None,
        config: Mapping[str, Any],
        folder: Path,
    ) -> None:
        self._definitions = definitions
        self._graph = definitions.resolve_asset_graph()
        self._keys = keys
        self._instance = instance
        self._partition = partition
        self._config = config
        self._folder = folder
        self._rows: dict[dg.AssetKey, PossibleRows | None] = {}
        """What the assets before may give; ``None``: that is not known."""
        self._asked: dict[bytes, str] = {}
        """What the assets before ask for sure, and which of them does."""

    def estimate(self, key: dg.AssetKey) -> AssetEstimate:
        """One asset's own estimate."""
        asset = key.to_user_string()
        self._rows[key] = None
        notes: list[str] = []
        try:
            made, budget = self._made(key, notes)
        except InfergraphError as error:
            return AssetEstimate(
                asset=asset, problem=str(error), exit_code=error.exit_code, rows_missing=isinstance(error, NotMadeYet),
                max_cost_usd=self._budget(key),
            )  # fmt: skip
        except (Exception, PanicException) as error:
            # The asset's own function and its steps run here. What they raise is said of this asset, and all others are
            # estimated; a run will say the same.
            problem = f"{type(error).__name__}: {error}"
            return AssetEstimate(asset=asset, problem=problem, exit_code=PlanError.exit_code)
        made = replace(made, assumptions=[*made.assumptions, *notes])
        return AssetEstimate(asset=asset, estimate=made, max_cost_usd=budget)

    def _budget(self, key: dg.AssetKey) -> float | None:
        found = semantic_asset_of(self._graph.get(key).assets_def)
        assert found is not None
        return options_of(self._config, max_cost_usd=found.max_cost_usd).max_cost_usd

    def _made(self, key: dg.AssetKey, notes: list[str]) -> tuple[Estimate, float | None]:
        with planned(
            self._definitions, key, instance=self._instance, partition=self._partition, config=self._config,
            rows_of=lambda reading: self._rows_of(reading, notes),
        ) as (frame, options):  # fmt: skip
            asset, read, own = key.to_user_string(), self._is_read(key), self._own(key)
            # Whoever asks again does so whatever another asset was told a moment ago.
            asks_again = options.refresh or options.retry_rejects
            survey = Survey(frame, options, asset=asset, elsewhere={} if asks_again else self._asked)
            if not read and not any(isinstance(check, Judge) for check in own):
                made = survey.estimate()
                self._note_asked(asset, survey, options)
                return made, options.max_cost_usd
            made, rows = survey.with_rows(self._folder / f"{len(self._rows)}.parquet")
            self._note_asked(asset, survey, options)
            self._rows[key] = rows if read else None
            made = with_judges(made, rows, frame, options, asset=key.to_user_string(), own=own)
            return made, options.max_cost_usd

    def _note_asked(self, asset: str, survey: Survey, options: RunOptions) -> None:
        """What an asset with a budget asks is not sure: the budget may end before."""
        if options.max_cost_usd is None:
            for key in survey.asked_for_sure:
                self._asked.setdefault(key, asset)

    def _own(self, key: dg.AssetKey) -> Sequence[OwnCheck]:
        found = semantic_asset_of(self._graph.get(key).assets_def)
        assert found is not None
        return found.checks

    def _is_read(self, key: dg.AssetKey) -> bool:
        """Whether another asset of the selection that calls models reads this one."""
        readers = self._graph.get(key).child_keys & set(self._keys)
        return any(semantic_asset_of(self._graph.get(reader).assets_def) is not None for reader in readers)

    def _rows_of(self, reading: Reading, notes: list[str]) -> Any:
        """The rows of an upstream asset: those that this run will make, where they are known; else those of now."""
        if reading.upstream not in self._keys:
            return reading.published()
        found = self._foretold(reading)
        if found is not None:
            return found
        name = reading.upstream.to_user_string()
        try:
            published = reading.published()
        except (ConfigurationError, OSError) as error:
            raise NotMadeYet(
                f"It reads {name!r}, {self._why(reading)}. To know more, make that first: infergraph run {name}"
            ) from error
        notes.append(f"It reads {name!r} as it is published now; the run makes that anew first.")
        return published

    def _foretold(self, reading: Reading) -> Any:
        rows = self._rows.get(reading.upstream)
        here = self._graph.get(reading.upstream).partitions_def
        same = list(reading.partitions) == [None if here is None else self._partition]
        if rows is None or not same or set(reading.parts.values()) != {"data"}:
            return None
        plain = rows.known()
        given = {
            name: rows if kind == "semantic" and rows.open is not None else plain
            for name, kind in reading.kinds.items()
        }  # fmt: skip
        if any(each is None for each in given.values()):
            return None
        if len(given) == 1:
            return given[reading.parameter]
        return {"" if name == reading.parameter else name: each for name, each in given.items()}

    def _why(self, reading: Reading) -> str:
        if reading.upstream not in self._rows:
            return "which is not made yet; it calls no model, and its code is not run for an estimate"
        if self._rows[reading.upstream] is None:
            return "which cannot be estimated itself"
        if set(reading.parts.values()) != {"data"}:
            return "whose rejects are not known before it is made"
        if list(reading.partitions) not in ([None], [self._partition]):
            return "of which it needs several partitions"
        return "as a plain Polars frame, which cannot hold rows whose answers are still missing"
