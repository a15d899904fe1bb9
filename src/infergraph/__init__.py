"""Infergraph turns model calls into trustworthy data assets.

Semantic transformations are written like steps on a Polars frame (``Session.frame(...).semantic.extract(...)``) and
run in a notebook, or as Dagster assets (``semantic_asset``). Every name is imported on first use: what needs Dagster
or a database costs nothing to those who do not use it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infergraph.dagster import check, judge, rejects_of, semantic_asset, trace
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
        UnknownVariable,
    )
    from infergraph.frame.combining import concat
    from infergraph.frame.estimate import Estimate, OperatorEstimate
    from infergraph.frame.frame import SemanticFrame
    from infergraph.frame.run import Progress, RunOptions, RunResult, SinkResult
    from infergraph.frame.session import Session
    from infergraph.frame.similar import Similar
    from infergraph.lineage import Became, Trace, Traces
    from infergraph.models.model import Model, Price
    from infergraph.models.redaction import Redaction
    from infergraph.records import Usage
    from infergraph.validation.quote import Quote

__version__ = "0.1.0"

__all__ = [
    "Became",
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
    "Quote",
    "Redaction",
    "RunCancelled",
    "RunOptions",
    "RunResult",
    "SchemaError",
    "SemanticFrame",
    "Session",
    "Similar",
    "SinkResult",
    "StoreError",
    "TemplateError",
    "Trace",
    "Traces",
    "UnknownColumn",
    "UnknownModel",
    "UnknownVariable",
    "Usage",
    "check",
    "concat",
    "judge",
    "rejects_of",
    "semantic_asset",
    "trace",
]

_ERRORS = [
    "BudgetExceeded",
    "ConfigurationError",
    "InfergraphError",
    "InternalError",
    "MissingExtra",
    "PlanError",
    "ProviderDown",
    "ProviderError",
    "ProviderRefused",
    "RunCancelled",
    "SchemaError",
    "StoreError",
    "TemplateError",
    "UnknownColumn",
    "UnknownModel",
    "UnknownVariable",
]
_HOMES = {
    **dict.fromkeys(_ERRORS, "infergraph.errors"),
    **dict.fromkeys(["Estimate", "OperatorEstimate"], "infergraph.frame.estimate"),
    "SemanticFrame": "infergraph.frame.frame",
    "concat": "infergraph.frame.combining",
    **dict.fromkeys(["Progress", "RunOptions", "RunResult", "SinkResult"], "infergraph.frame.run"),
    "Session": "infergraph.frame.session",
    "Similar": "infergraph.frame.similar",
    **dict.fromkeys(["Became", "Trace", "Traces"], "infergraph.lineage"),
    **dict.fromkeys(["Model", "Price"], "infergraph.models.model"),
    "Redaction": "infergraph.models.redaction",
    "Usage": "infergraph.records",
    "Quote": "infergraph.validation.quote",
    **dict.fromkeys(["check", "judge", "rejects_of", "semantic_asset", "trace"], "infergraph.dagster"),
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'infergraph' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
