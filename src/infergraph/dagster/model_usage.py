"""``model_usage``: what was spent, as an asset like any other, so that it can be joined, charted and alerted on.

Each materialization reads the whole store anew: it is the store that knows, and adding up a million attempts takes
seconds. One row is one run, asset, partition, operator and model.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from infergraph.dagster.usage_chart import chart_markdown, chart_svg, daily_spending

if TYPE_CHECKING:
    from infergraph.usage_report import Fact, UsageReport

BY: "tuple[Fact, ...]" = ("run", "asset", "partition", "operator", "model")
"""What one row of the asset is."""
DESCRIPTION = """What every run spent and did: one row a run, asset, partition, operator and model.

Cost, tokens, calls, store hits, USD saved, rejects, latencies (`p50_s`, `p95_s`, `p99_s` of the attempts) and rows a
second. Runs that were killed are in it with what they had asked (`unfinished`); an unknown cost is null, and
`unknown_costs` counts the attempts beside those whose cost is known. Run ids are Dagster's, or those of notebooks."""


def model_usage_asset(
    name: str = "model_usage",
    *,
    key_prefix: str | Sequence[str] | None = None,
    group_name: str | None = None,
    owners: Sequence[str] | None = None,
    tags: Mapping[str, str] | None = None,
    deps: Iterable[Any] | None = None,
    automation_condition: dg.AutomationCondition[Any] | None = None,
    io_manager_key: str | None = None,
    retry_policy: dg.RetryPolicy | None = None,
) -> dg.AssetsDefinition:
    """An asset that says what every run spent, with a chart of the spending of each day.

    It needs the resource ``store``; run it on a schedule.

    Args:
        name: The asset's name.
        key_prefix: As for ``dg.asset``, like all that follow.
        group_name: Its group.
        owners: Its owners.
        tags: Its tags.
        deps: Assets that it is to stand below in the graph.
        automation_condition: When Dagster runs it by itself.
        io_manager_key: What keeps its rows; left out, ``io_manager``.
        retry_policy: What happens when it fails.

    Returns:
        An assets definition with one asset, whose rows are a Polars frame: see ``usage_report`` for the columns.

    Example:
        >>> usage = model_usage_asset(group_name="platform")
        >>> usage.key.to_user_string(), sorted(usage.required_resource_keys)
        ('model_usage', ['io_manager', 'store'])
    """

    # Dagster reads the annotations below as they are, so this module has no postponed ones.
    @dg.asset(
        name=name,
        key_prefix=key_prefix,
        group_name=group_name,
        owners=owners,
        tags=tags,
        deps=deps,
        automation_condition=automation_condition,
        io_manager_key=io_manager_key,
        retry_policy=retry_policy,
        description=DESCRIPTION,
        kinds={"polars", "infergraph"},
        required_resource_keys={"store"},
    )
    def model_usage(context: dg.AssetExecutionContext) -> dg.MaterializeResult[pl.DataFrame]:
        by_run, by_day = _reports(context.resources.store)
        return dg.MaterializeResult(value=by_run.frame, metadata=_metadata(by_run, by_day))

    return model_usage


def _reports(resource: Any) -> "tuple[UsageReport, UsageReport]":
    """What the store says, by everything and by day and asset."""
    from infergraph.dagster.resources import StoreResource
    from infergraph.errors import ConfigurationError
    from infergraph.frame.session import project_root
    from infergraph.store import Store
    from infergraph.usage_report import usage_report

    if not isinstance(resource, StoreResource):
        raise ConfigurationError(
            f"The resource 'store' is a {type(resource).__name__}; model_usage reads a StoreResource: "
            'resources={"store": StoreResource()}.'
        )
    with Store.open(resource.url, root=project_root()) as store:
        return usage_report(store, BY), usage_report(store, ["day", "asset"])


def _metadata(by_run: "UsageReport", by_day: "UsageReport") -> dict[str, Any]:
    """Totals as numbers, and the picture."""
    total = by_run.total
    counts = ("calls", "store_hits", "rejected", "input_tokens", "output_tokens", "unknown_costs", "unfinished")
    # Not under the names that a run's own figures have: nothing of this was spent by the run that adds it up.
    told: dict[str, Any] = {f"infergraph/total_{name}": int(total[name]) for name in counts}
    money = {f"infergraph/total_{name}": total[name] for name in ("cost_usd", "saved_usd")}
    told |= {name: float(amount) for name, amount in money.items() if amount is not None}
    told["infergraph/spending"] = dg.MetadataValue.md(spending_markdown(by_day))
    return told


def spending_markdown(by_day: "UsageReport") -> str:
    """The chart of spending by asset and day; where nothing has a known cost, of output tokens.

    Args:
        by_day: A report by ``day`` and ``asset``.
    """
    cost = by_day.total["cost_usd"]
    if cost:
        title, value, unit = "Spending by asset and day, USD", "cost_usd", "$"
    else:
        said = "free models" if cost == 0 and not by_day.total["unknown_costs"] else "no known price"
        title, value, unit = f"Output tokens by asset and day ({said})", "output_tokens", ""
    picture = chart_markdown(chart_svg(daily_spending(by_day.frame, value), title=title, unit=unit), title)
    unknown = by_day.total["unknown_costs"]
    if not unknown:
        return picture
    return f"{picture}\n\nThe cost of {unknown:,} attempts is not known and not in the picture: no price, or no answer."
