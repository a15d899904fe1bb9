"""The models' part of an asset's code version: the parameters that determine answers.

The decorator does not see the deployment's models, and a code version must be known before any run, so the models are
added where both are at hand: where ``dg.Definitions`` are made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import dagster as dg

from infergraph.dagster.asset import NOT_REACHED, asset_code, code_metadata, semantic_asset_of
from infergraph.dagster.building import SemanticAsset
from infergraph.dagster.code_version import CodeVersion
from infergraph.dagster.resources import ModelSettings, ModelsResource
from infergraph.errors import PlanError
from infergraph.models.model import ANSWER_PARAMETERS

_REDACTION = ("redact", "redact_patterns")


def with_model_versions(assets: Iterable[Any], models: object) -> list[Any]:
    """Assets whose code versions also follow the models that they ask.

    The models of an asset are its ``model=`` (else the deployment's default), every model whose name stands as a text
    in the code that the asset reaches, and the fallbacks of these. An asset with a ``code_version=`` of its own keeps
    it; what is no semantic asset is handed back as it is.

    Args:
        assets: As for ``dg.Definitions(assets=...)``.
        models: The resource ``models``, a ``ModelsResource``.

    Returns:
        As many assets, in the same order.

    Raises:
        PlanError: ``models`` is no ``ModelsResource``.

    Example:
        >>> import infergraph as ig
        >>> @ig.semantic_asset
        ... def facts(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
        ...     return tickets.semantic.sentiment("body")
        >>> def version(temperature):
        ...     settings = ModelSettings(name="openai:gpt-5-mini", temperature=temperature)
        ...     [asset] = with_model_versions([facts], ModelsResource(models={"fast": settings}))
        ...     return asset.get_asset_spec().code_version
        >>> version(0.0) == version(0.0), version(0.0) == version(0.7)
        (True, False)
    """
    if not isinstance(models, ModelsResource):
        raise PlanError(
            f"with_model_versions(assets, models): models is the resource 'models', a ModelsResource, not a "
            f"{type(models).__name__}."
        )
    return [_with_version(asset, models) for asset in assets]


def _with_version(asset: Any, models: ModelsResource) -> Any:
    found = semantic_asset_of(asset) if isinstance(asset, dg.AssetsDefinition) else None
    if found is None or found.has_own_code_version:
        return asset
    # All modules are imported by now: names that were defined below the decorator have their values.
    code = asset_code(found)
    facts, unseen = _facts(_models_of(found, code, models), models)
    digest = hashlib.blake2b(json.dumps([code.version, facts]).encode(), digest_size=8)
    told = code_metadata(replace(code, not_reached=(*code.not_reached, *unseen)))

    def versioned(spec: dg.AssetSpec) -> dg.AssetSpec:
        others = {name: value for name, value in spec.metadata.items() if name != NOT_REACHED}
        return spec.replace_attributes(code_version=digest.hexdigest(), metadata={**others, **told})

    return asset.map_asset_specs(versioned)


def _models_of(asset: SemanticAsset, code: CodeVersion, models: ModelsResource) -> list[str]:
    """Names of the models that an asset may ask, sorted."""
    only = next(iter(models.models)) if len(models.models) == 1 else None
    first = asset.model or models.default_model or only
    waiting = [name for name in (first, *code.strings) if name in models.models]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        fallback = models.models[name].fallback
        if name not in found and fallback in models.models:
            waiting.append(fallback)
        found.add(name)
    return sorted(found)


def _facts(names: Iterable[str], models: ModelsResource) -> tuple[list[Any], list[str]]:
    """What determines the answers of these models, and which of it only the environment knows."""
    facts: list[Any] = []
    unseen: list[str] = []
    for name in names:
        settings: ModelSettings = models.models[name]
        for parameter in ("name", "fallback", *ANSWER_PARAMETERS, *_REDACTION):
            value = getattr(settings, parameter)
            if isinstance(value, dg.EnvVar):
                unseen.append(f"{parameter} of the model {name!r}: the environment variable {value.env_var_name!r}")
                value = value.env_var_name
            if value is not None and value not in ([], {}):
                facts.append([name, parameter, value])
    # What is redacted is not asked: other rules, other prompts.
    everywhere = [[parameter, value] for parameter in _REDACTION if (value := getattr(models, parameter))]
    return [*facts, *everywhere], unseen
