"""Semantic plans as Dagster assets: the decorator, the resources, the IO manager.

Importing this room imports Dagster, which takes a second; ``infergraph`` itself does so only on first use.
"""

from infergraph.dagster.asset import semantic_asset, semantic_asset_of
from infergraph.dagster.conditions import check
from infergraph.dagster.config import SemanticConfig
from infergraph.dagster.data_version import rows_digest
from infergraph.dagster.home import ensure_dagster_home
from infergraph.dagster.inputs import rejects_of
from infergraph.dagster.judging import judge
from infergraph.dagster.model_usage import model_usage_asset
from infergraph.dagster.model_versions import with_model_versions
from infergraph.dagster.resources import ModelSettings, ModelsResource, PriceSettings, StoreResource
from infergraph.dagster.storage import PolarsStorage
from infergraph.dagster.trace_query import trace

__all__ = [
    "ModelSettings",
    "ModelsResource",
    "PolarsStorage",
    "PriceSettings",
    "SemanticConfig",
    "StoreResource",
    "check",
    "ensure_dagster_home",
    "judge",
    "model_usage_asset",
    "rejects_of",
    "rows_digest",
    "semantic_asset",
    "semantic_asset_of",
    "trace",
    "with_model_versions",
]
