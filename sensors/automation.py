"""When Dagster runs an asset by itself: when there is something new to ask, and never because a clock ticked.

``AutomationCondition.eager()`` would run an asset each time an asset above it was materialised, also when that gave the
same data again; with models in between that is money. This condition looks at data versions instead, which Infergraph
computes from the rows.
"""

import dagster as dg

_Is = dg.AutomationCondition

ON_NEW_DATA = (
    _Is.any_deps_match(_Is.data_version_changed()).since(_Is.newly_requested() | _Is.newly_updated())
    & ~_Is.any_deps_missing()
    & ~_Is.any_deps_in_progress()
    & ~_Is.in_progress()
).with_label("new data above")

automation = dg.AutomationConditionSensorDefinition(
    "automation",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Runs assets whose data above has really changed.",
)
