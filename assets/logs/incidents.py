"""From error lines to incidents: errors that mean the same and come together are one, with a name, begin and end."""

from datetime import timedelta
from pathlib import Path

import dagster as dg
import polars as pl
from pydantic import BaseModel, Field

import infergraph as ig
from assets.logs.reading import read_logs

EXAMPLES = Path(__file__).parent / "examples"
QUIET = timedelta(hours=1)
"""Errors that mean the same are two incidents where nothing was heard of them for so long."""


class Name(BaseModel):
    """What a person on call says of an incident."""

    incident: str = Field(description="what went wrong, in two to six words", min_length=3, max_length=60)


@dg.asset(group_name="logs")
def error_lines(context: dg.AssetExecutionContext) -> pl.DataFrame:
    """One row an error in the log files: file, line, time, level, service, message, stack trace and template."""
    errors = read_logs(EXAMPLES)
    context.add_output_metadata({"errors": errors.height, "templates": errors["template"].n_unique()})
    return errors


@ig.semantic_asset(group_name="logs", max_reject_rate=0.1)
def error_clusters(error_lines: ig.SemanticFrame) -> ig.SemanticFrame:
    """The different errors, how often they came, and their clusters: the same where they mean the same."""
    kinds = error_lines.group_by("template").agg(pl.len().cast(pl.Int64).alias("errors"), pl.col("message").first())
    return kinds.semantic.cluster("template")


@ig.semantic_asset(
    group_name="logs",
    max_reject_rate=0.1,
    checks=[
        ig.check("ends_after_it_begins", pl.col("last") >= pl.col("first")),
        ig.check("has_services", pl.col("services").list.len() > 0),
    ],
)
def incidents(error_lines: ig.SemanticFrame, error_clusters: ig.SemanticFrame) -> ig.SemanticFrame:
    """One row an incident: errors that mean the same, with no quiet hour in between, and a name for them."""
    alone = pl.col("cluster") == -1
    kind = pl.when(alone).then("template").otherwise(pl.col("cluster").cast(pl.String))
    return (
        error_lines.join(error_clusters.select("template", kind=kind), on="template")
        .sort("time")
        .with_columns(begins=(pl.col("time").diff() > QUIET).over("kind").fill_null(value=False))
        .with_columns(episode=pl.col("begins").cast(pl.Int64).cum_sum().over("kind"))
        .group_by("kind", "episode")
        .agg(
            first=pl.col("time").min(),
            last=pl.col("time").max(),
            errors=pl.len().cast(pl.Int64),
            services=pl.col("service").unique().sort(),
            messages=pl.col("message").unique(maintain_order=True).head(5),
        )
        .sort("first")
        .drop("kind", "episode")
        .semantic.map("Name the incident behind these error messages: {{ messages }}", schema=Name)
    )
