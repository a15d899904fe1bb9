"""What runs by the clock."""

import dagster as dg

from assets.support import inbox_batches

support_report_job = dg.define_asset_job(
    "support_report_job", selection="support_report", description="Write the support report anew."
)


@dg.schedule(
    job=support_report_job,
    cron_schedule="0 6 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="The support report, every morning at 06:00 UTC.",
)
def daily_support_report(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """One run a day, once there is a first batch."""
    if not inbox_batches.get_partition_keys(dynamic_partitions_store=context.instance):
        return dg.SkipReason("No message has come in yet.")
    return dg.RunRequest(run_key=f"{context.scheduled_execution_time:%Y-%m-%d}")


model_usage_job = dg.define_asset_job("model_usage_job", selection="model_usage", description="Add up what runs spent.")

hourly_model_usage = dg.ScheduleDefinition(
    name="hourly_model_usage",
    job=model_usage_job,
    cron_schedule="5 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="What every run spent until now, five minutes past each hour.",
)
