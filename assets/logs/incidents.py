"""From error lines to incidents: errors that mean the same are one incident, with a name, a beginning and an end."""

from pathlib import Path

import dagster as dg
import polars as pl

import infergraph as ig
from assets.logs.reading import read_logs

EXAMPLES = Path(__file__).parent / "examples"


@dg.asset(group_name="logs")
def error_lines(context: dg.AssetExecutionContext) -> pl.DataFrame:
    """One row an error in the log files: file, line, time, level, service, message, stack trace and template."""
    errors = read_logs(EXAMPLES)
    context.add_output_metadata({"errors": errors.height, "templates": errors["template"].n_unique()})
    return errors


@ig.semantic_asset(group_name="logs", max_reject_rate=0.1)
def error_clusters(error_lines: ig.SemanticFrame) -> ig.SemanticFrame:
    """The different errors and how often they came, those that mean the same in one cluster, which has a name."""
    return (
        error_lines.group_by("template")
        .agg(pl.len().cast(pl.Int64).alias("lines"), pl.col("message").first())
        .semantic.cluster("template", label=True)
    )


@ig.semantic_asset(
    group_name="logs",
    checks=[
        ig.check("ends_after_it_begins", pl.col("last") >= pl.col("first")),
        ig.check("has_a_name", pl.col("incident").str.len_chars() > 0),
    ],
)
def incidents(error_lines: ig.SemanticFrame, error_clusters: ig.SemanticFrame) -> ig.SemanticFrame:
    """One row an incident: its name, when it began and ended, how many errors, in which services, and one of them."""
    kinds = error_clusters.select("template", "cluster", incident=pl.col("cluster_label"))
    return (
        error_lines.join(kinds, on="template")
        .group_by("cluster", "incident")
        .agg(
            first=pl.col("time").min(),
            last=pl.col("time").max(),
            errors=pl.len().cast(pl.Int64),
            services=pl.col("service").unique().sort(),
            example=pl.col("message").first(),
        )
        .sort("first")
    )
