"""The code location: gathers the rooms ``assets``, ``resources`` and ``sensors``, and sets what holds for all, once."""

import dagster as dg

from assets.deployment import usage
from assets.logs import incidents
from assets.meetings import actions, turns
from assets.packages import facts, installed, report
from assets.support import facts as support_facts
from assets.support import messages
from assets.support import report as support_report
from infergraph.dagster import with_model_versions
from resources import RESOURCES
from sensors import JOBS, ON_NEW_DATA, SCHEDULES, SENSORS

OWNERS = {
    "logs": "team:platform",
    "meetings": "team:office",
    "packages": "team:platform",
    "platform": "team:platform",
    "support": "team:support",
}
SOURCES = {"error_lines", "installed_packages", "meeting_turns", "support_messages", "skipped_files"}
MODULES = [installed, facts, report, messages, support_facts, support_report, turns, actions, incidents, usage]
BY_THE_CLOCK = {"support_report", "model_usage"}


def policy(spec: dg.AssetSpec) -> dg.AssetSpec:
    """What holds for every asset: an owner by group, its kinds, and no run without new data above."""
    name = spec.key.path[-1]
    by_data = name not in SOURCES | BY_THE_CLOCK
    return spec.replace_attributes(
        owners=spec.owners or [OWNERS[spec.group_name or ""]],
        kinds=spec.kinds or {"polars"},
        automation_condition=ON_NEW_DATA if by_data else None,
    )


defs = dg.Definitions(
    assets=with_model_versions(
        [
            asset.map_asset_specs(policy)
            for asset in dg.load_assets_from_modules(MODULES)
            if isinstance(asset, dg.AssetsDefinition)
        ],
        RESOURCES["models"],
    ),
    asset_checks=dg.load_asset_checks_from_modules([report]),
    resources=RESOURCES,
    jobs=JOBS,
    schedules=SCHEDULES,
    sensors=SENSORS,
    executor=dg.in_process_executor,
)
