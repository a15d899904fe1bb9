"""The estimate before a run, and the question before it spends more than a set amount.

The amount is ``--ask-above``, else the project's (``ask_above_usd`` under ``[tool.infergraph]`` in its
``pyproject.toml``), else 1 USD. What counts is the most that the run may cost. Where there is nobody to ask, a run that
may cost more is refused before anything is sent.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infergraph.cli import figures, screen
from infergraph.errors import ConfigurationError, PlanError, RunCancelled

if TYPE_CHECKING:
    import dagster as dg

    from infergraph.cli.project import Project
    from infergraph.cli.run import Options
    from infergraph.dagster.chain import AssetEstimate
    from infergraph.frame.estimate import Estimate

ASK_ABOVE_USD = Decimal("1.00")
SETTING = "ask_above_usd"


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What a run may spend.

    Args:
        most: The most that it may cost in USD, as far as it is known; an asset with a budget costs no more than that.
        unpriced: Assets that may ask a model whose price is not known.
        unknowable: Assets whose input is made by the run itself, and that have no budget within the amount.
    """

    most: Decimal
    unpriced: Sequence[str] = ()
    unknowable: Sequence[str] = ()


def ask_above(root: Path, typed: float | None) -> Decimal:
    """The amount in USD above which a run asks.

    Args:
        root: The project's folder.
        typed: What was given on the command line; ``None``: the project's setting, else 1 USD.

    Raises:
        ConfigurationError: The project's setting is no amount, or ``pyproject.toml`` is no TOML.
    """
    if typed is not None:
        return Decimal(str(typed))
    file = root / "pyproject.toml"
    if not file.is_file():
        return ASK_ABOVE_USD
    try:
        tools: Any = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{str(file)!r} is not valid TOML: {error}") from error
    own = tools.get("infergraph", {}) if isinstance(tools, dict) else {}
    amount = own.get(SETTING, ASK_ABOVE_USD) if isinstance(own, dict) else ASK_ABOVE_USD
    known = isinstance(amount, (int, float, Decimal)) and not isinstance(amount, bool)
    if not known or not math.isfinite(amount) or amount < 0:
        raise ConfigurationError(
            f"{str(file)!r}: {SETTING} = {amount!r} under [tool.infergraph] is no amount of USD; write 0 or more, for "
            f"example {SETTING} = 5.0"
        )
    return Decimal(str(amount))


def confirm_spending(
    project: Project,
    keys: Sequence[dg.AssetKey],
    instance: dg.DagsterInstance,
    partition: str | None,
    options: Options,
    *,
    above: Decimal,
    asks: bool,
    silent: bool = False,
) -> None:
    """Show what a run would cost, and ask where it may cost more than a set amount.

    Args:
        project: The project.
        keys: All assets of the run.
        instance: Knows the dynamic partitions.
        partition: The partition's key, if any.
        options: As the run will get them.
        above: The amount in USD.
        asks: Whether somebody can be asked.
        silent: Show no estimate.

    Raises:
        PlanError: It may cost more, and nobody can be asked.
        RunCancelled: The answer was no.
    """
    import typer

    from infergraph.dagster.chain import estimate_selection, total

    parts = estimate_selection(
        project.definitions, keys, instance=instance, partition=partition, config=options.as_config()
    )
    if not parts:
        return
    err = screen.err()
    if not silent and any(part.estimate is not None for part in parts):
        err.print(f"Estimate: {in_words(total(parts))}", soft_wrap=True)
    # Prices of all models are looked at only where it is not known which are asked: an unknown one warns.
    free = not any(part.rows_missing for part in parts) or all(
        _is_free(project, model) for model in {options.model, options.retry_model or options.model}
    )
    outlook = outlook_of(parts, above=above, free=free)
    if not silent and outlook.unknowable:
        names = ", ".join(outlook.unknowable)
        said = f"Not estimated: {names}, before this run makes what it reads; --max-cost-usd bounds what it spends."
        err.print(said, soft_wrap=True)
    reason = _why_to_ask(outlook, above)
    if reason is not None and not asks:
        raise PlanError(
            f"{reason} Add --yes if that is meant, or --ask-above USD with a higher amount, or bound it with "
            "--max-cost-usd. Nothing was asked and nothing was spent."
        )
    if asks and outlook.unknowable and reason is None:
        reason = f"What {', '.join(outlook.unknowable)} may cost is not known."
    if reason is not None and not typer.confirm(f"{reason} Go on?", err=True):
        raise RunCancelled("Nothing was asked and nothing was spent.")


def outlook_of(parts: Sequence[AssetEstimate], *, above: Decimal, free: bool) -> Outlook:
    """What a run of these assets may spend.

    Args:
        parts: Their estimates.
        above: The amount in USD above which a run asks.
        free: Whether every model of the deployment costs nothing.
    """
    most, unpriced, unknowable = Decimal(0), [], []
    for part in parts:
        if part.estimate is None:
            # What is wrong with it in another way, the run itself will say.
            bounded = part.max_cost_usd is not None and Decimal(str(part.max_cost_usd)) <= above
            if part.rows_missing and not free and not bounded:
                unknowable.append(part.asset)
        elif part.estimate.cost_usd_high is not None:
            budget = part.max_cost_usd
            most += min(part.estimate.cost_usd_high, Decimal(str(math.inf if budget is None else budget)))
        elif any(each.cost_usd_high is None and each.calls_high for each in part.estimate.operators):
            unpriced.append(part.asset)
    return Outlook(most=most, unpriced=unpriced, unknowable=unknowable)


def in_words(estimate: Estimate) -> str:
    """An estimate in one line."""
    if not estimate.calls_high:
        return "no call: every answer that is needed is in the store."
    calls = _span(figures.count(estimate.calls_low), figures.count(estimate.calls_high))
    tokens = figures.span(figures.count(estimate.input_tokens_low), figures.count(estimate.input_tokens_high))
    written = figures.span(figures.count(estimate.output_tokens_low), figures.count(estimate.output_tokens_high))
    cost = figures.span(figures.usd(estimate.cost_usd_low), figures.usd(estimate.cost_usd_high))
    return (
        f"{calls}, {tokens} tokens in, {written} out, cost {cost}, about {figures.seconds(estimate.seconds)}; "
        f"{figures.count(estimate.store_hits_high)} from the store."
    )


def _span(low: str, high: str) -> str:
    return f"{figures.span(low, high)} call{'' if high == '1' else 's'}"


def _why_to_ask(outlook: Outlook, above: Decimal) -> str | None:
    """Why the run is asked about before anything is sent; ``None``: it is not."""
    if outlook.unpriced:
        return (
            f"The price of a model that {', '.join(outlook.unpriced)} may ask is not known, so what this run costs is "
            "not known either."
        )
    if outlook.most > above:
        return f"This may cost up to {figures.usd(outlook.most)}, more than {figures.usd(above)}."
    return None


def _is_free(project: Project, model: str | None) -> bool:
    """Whether every model that could be asked is known to cost nothing."""
    from infergraph.cli.models import deployment
    from infergraph.models.model import Model
    from infergraph.models.prices import price_of

    models = {name: entry.model for name, entry in deployment(project).entries.items()}
    asked = [models.get(model) or Model(model)] if model else list(models.values())
    prices = [price_of(each) for each in asked]
    return all(price is not None and price.input == 0 and price.output == 0 for price in prices)
