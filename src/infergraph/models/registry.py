"""Finds providers: ours come in through the same door as a third party's.

A package adds one with an entry point in the group ``infergraph.providers``; the name before the
colon of a model is the entry point's name.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from infergraph.errors import UnknownModel, did_you_mean
from infergraph.models.model import Model, Provider

ENTRY_POINT_GROUP = "infergraph.providers"


@cache
def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def provider_names() -> list[str]:
    """Names of the installed providers, sorted.

    Example:
        >>> "openai" in provider_names()
        True
    """
    return sorted(_entry_points())


def provider_for(model: Model) -> Provider:
    """The provider that serves this model; connects to nothing.

    Args:
        model: The model; the part of its name before the colon chooses the provider.

    Returns:
        A new provider object for this model.

    Raises:
        UnknownModel: No provider of that name is installed, or its package is broken.

    Example:
        >>> provider_for(Model("openai:gpt-5-mini")).capabilities.chat
        True
    """
    point = _entry_points().get(model.provider)
    if point is None:
        raise UnknownModel(
            f"Model({model.name!r}): no provider {model.provider!r} is installed. "
            f"{did_you_mean(model.provider, provider_names())}"
        )
    provider: Provider = _loaded(point, model)(model)
    return provider


def _loaded(point: EntryPoint, model: Model) -> Callable[[Model], Provider]:
    package = point.value.partition(":")[0] if point.dist is None else point.dist.name
    try:
        found = point.load()
    except (ImportError, AttributeError, SyntaxError) as error:
        raise UnknownModel(
            f"Model({model.name!r}): the provider {model.provider!r} of the package {package!r} cannot be loaded "
            f"({point.value}: {type(error).__name__}: {error}). Install that package anew, or take it out."
        ) from error
    if not callable(found):
        raise UnknownModel(
            f"Model({model.name!r}): the provider {model.provider!r} of the package {package!r} is no class "
            f"({point.value} is {found!r:.80}). Take that package out, or report it to its authors."
        )
    return cast(Callable[[Model], Provider], found)
