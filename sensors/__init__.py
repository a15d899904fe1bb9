"""What starts runs: files that are dropped, the clock, and changed data."""

from sensors.automation import ON_NEW_DATA, automation
from sensors.inbox import inbox_files, support_batch
from sensors.schedules import daily_support_report, hourly_model_usage, model_usage_job, support_report_job

JOBS = [support_batch, support_report_job, model_usage_job]
SCHEDULES = [daily_support_report, hourly_model_usage]
SENSORS = [inbox_files, automation]

__all__ = ["JOBS", "ON_NEW_DATA", "SCHEDULES", "SENSORS"]
