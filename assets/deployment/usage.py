"""What every run spent, from the store; refreshed by the clock (``sensors/schedules.py``)."""

from infergraph.dagster import model_usage_asset

model_usage = model_usage_asset(group_name="platform")
