"""The daily report: plain Polars over every batch so far."""

import dagster as dg
import polars as pl


@dg.asset(
    group_name="support",
    ins={
        "message_topics": dg.AssetIn(metadata={"allow_missing_partitions": True}),
        "escalations": dg.AssetIn(metadata={"allow_missing_partitions": True}),
    },
)
def support_report(message_topics: pl.LazyFrame, escalations: pl.LazyFrame) -> pl.LazyFrame:
    """Messages, bad moods and escalations of each day (UTC) and topic, newest day first."""
    return report(message_topics, escalations)


def report(topics: pl.LazyFrame, escalations: pl.LazyFrame) -> pl.LazyFrame:
    """Counts of each day and topic.

    Args:
        topics: One row a message: ``message_id``, ``received``, ``topic``, ``mood``.
        escalations: The messages among them that need a person: ``message_id``.

    Returns:
        ``day`` (UTC), ``topic`` (null: the model gave no answer), ``messages``, ``negative``, ``escalated``; newest day
        first, then by number of messages.
    """
    escalated = escalations.select("message_id", escalated=pl.lit(True)).unique("message_id")
    return (
        topics.unique("message_id")
        .join(escalated, on="message_id", how="left")
        .group_by(day=pl.col("received").dt.date(), topic=pl.col("topic").cast(pl.String))
        .agg(
            messages=pl.len().cast(pl.Int64),
            negative=(pl.col("mood") == "negative").sum().cast(pl.Int64),
            escalated=pl.col("escalated").sum().cast(pl.Int64),
        )
        .sort("day", "messages", "topic", descending=[True, True, False])
    )
