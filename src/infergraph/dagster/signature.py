"""What the function under ``@ig.semantic_asset`` asks for, read from its signature as Dagster reads it."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import dagster as dg
import polars as pl
from dagster._core.definitions.resource_annotation import get_resource_args

from infergraph.errors import PlanError

FrameKind = Literal["semantic", "lazy", "eager"]
_CONTEXT_NAMES = ("context", "_context", "context_", "_context_", "_")


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The parameters of an asset's function, by what they are."""

    context: str | None
    """The parameter that gets the ``AssetExecutionContext``."""
    config: type[dg.Config] | None
    """The class of its ``config`` parameter."""
    resources: tuple[str, ...]
    """Parameters that are resources; the resource's key is the parameter's name."""
    frames: dict[str, FrameKind]
    """Parameters that are upstream frames, and the form they are wanted in."""


def signature_of(fn: Callable[..., Any]) -> Signature:
    """Sort a function's parameters into context, config, resources and frames.

    Args:
        fn: The function; its annotations must be resolvable.

    Raises:
        PlanError: A parameter is none of these, or the function is async or a generator.

    Example:
        >>> def facts(context, tickets, prices: pl.LazyFrame): ...
        >>> signature_of(facts).frames
        {'tickets': 'semantic', 'prices': 'lazy'}
    """
    name = fn.__name__
    if inspect.iscoroutinefunction(fn) or inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise PlanError(f"{name!r} is async or a generator: write a plain function that returns the frame.")
    hints = _hints(fn)
    resources = tuple(argument.name for argument in get_resource_args(fn))
    parameters = list(inspect.signature(fn).parameters.values())
    context = parameters[0].name if parameters and parameters[0].name in _CONTEXT_NAMES else None
    config: type[dg.Config] | None = None
    frames: dict[str, FrameKind] = {}
    for parameter in parameters:
        if parameter.name == context or parameter.name in resources:
            continue
        if parameter.kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD:
            raise PlanError(f"{name!r}: write every input as a parameter of its own, not {parameter}.")
        hint = hints.get(parameter.name)
        if parameter.name == "config":
            config = _config_class(name, hint)
        else:
            frames[parameter.name] = _frame_kind(name, parameter.name, hint)
    return Signature(context=context, config=config, resources=resources, frames=frames)


def _hints(fn: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(fn)
    except NameError as error:
        raise PlanError(
            f"{fn.__name__!r}: an annotation cannot be resolved ({error}). Import the name at the top of the module "
            "(not only under TYPE_CHECKING), or leave out 'from __future__ import annotations'."
        ) from None


def _config_class(asset: str, hint: Any) -> type[dg.Config]:
    if isinstance(hint, type) and issubclass(hint, dg.Config):
        return hint
    raise PlanError(
        f"{asset!r}: annotate the parameter 'config' with a class of its own, for example "
        "'class MyConfig(dg.Config): ...' and 'config: MyConfig'."
    )


def _frame_kind(asset: str, parameter: str, hint: Any) -> FrameKind:
    from infergraph.frame.frame import SemanticFrame

    if hint is None or hint is Any or hint is SemanticFrame:
        return "semantic"
    if hint is pl.LazyFrame:
        return "lazy"
    if hint is pl.DataFrame:
        return "eager"
    raise PlanError(
        f"{asset!r}: parameter {parameter!r} is annotated {getattr(hint, '__name__', hint)!r}. An input is an upstream "
        "asset's frame: annotate it ig.SemanticFrame, pl.LazyFrame or pl.DataFrame. A resource is a "
        "dg.ConfigurableResource, config a dg.Config."
    )
