"""Infergraph turns model calls into trustworthy data assets.

Semantic transformations are written like steps on a Polars frame (``Session.frame(...).semantic.extract(...)``) and
run in a notebook, or as Dagster assets (``semantic_asset``). What needs Dagster is imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from infergraph.errors import (
    BudgetExceeded,
    ConfigurationError,
    InfergraphError,
    InternalError,
    MissingExtra,
    PlanError,
    ProviderDown,
    ProviderError,
    ProviderRefused,
    RunCancelled,
    SchemaError,
    StoreError,
    TemplateError,
    UnknownColumn,
    UnknownModel,
)
from infergraph.frame.estimate import Estimate, OperatorEstimate
from infergraph.frame.frame import SemanticFrame, concat
from infergraph.frame.run import Progress, RunOptions, RunResult, SinkResult
from infergraph.frame.session import Session
from infergraph.lineage import Trace
from infergraph.models.model import Model, Price
from infergraph.records import Usage

if TYPE_CHECKING:
    from infergraph.dagster import rejects_of, semantic_asset

__version__ = "0.1.0"

__all__ = [
    "BudgetExceeded",
    "ConfigurationError",
    "Estimate",
    "InfergraphError",
    "InternalError",
    "MissingExtra",
    "Model",
    "OperatorEstimate",
    "PlanError",
    "Price",
    "Progress",
    "ProviderDown",
    "ProviderError",
    "ProviderRefused",
    "RunCancelled",
    "RunOptions",
    "RunResult",
    "SchemaError",
    "SemanticFrame",
    "Session",
    "SinkResult",
    "StoreError",
    "TemplateError",
    "Trace",
    "UnknownColumn",
    "UnknownModel",
    "Usage",
    "concat",
    "rejects_of",
    "semantic_asset",
]

_NEEDS_DAGSTER = {"semantic_asset", "rejects_of"}


def __getattr__(name: str) -> Any:
    # Dagster takes a second to import: only those who write assets pay for it.
    if name in _NEEDS_DAGSTER:
        return getattr(importlib.import_module("infergraph.dagster"), name)
    raise AttributeError(f"module 'infergraph' has no attribute {name!r}")
