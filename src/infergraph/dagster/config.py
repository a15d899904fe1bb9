"""The run config of a semantic asset: the options of one run, beside the function's own config.

In the launchpad or in code they stand under the asset's op::

    {"ops": {"ticket_facts": {"config": {"limit": 50, "max_cost_usd": 1.5}}}}

When the function has a ``config`` parameter of its own, its fields and these stand side by side there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from infergraph.errors import PlanError

if TYPE_CHECKING:
    from infergraph.frame.run import RunOptions


class SemanticConfig(dg.Config):
    """The options of one run: ``ig.RunOptions`` as Dagster run config.

    Example:
        >>> SemanticConfig(limit=50).model_dump(exclude_defaults=True)
        {'limit': 50}
    """

    # No bounds here: RunOptions states them in a sentence, and pydantic's own errors are none.
    limit: int | None = Field(default=None, description="Read only so many rows of the first input, 1 or more.")
    refresh: bool = Field(default=False, description="Ask again where the store has an answer, and replace it.")
    retry_rejects: bool = Field(default=False, description="Ask again where the store remembers a rejection.")
    retry_model: str | None = Field(
        default=None, description="With retry_rejects: who is asked there, a name or provider:model-id."
    )
    model: str | None = Field(default=None, description="Model for every step: a name, or provider:model-id.")
    max_cost_usd: float | None = Field(default=None, description="Money for this run in USD, 0 or more.")
    max_age: float | None = Field(default=None, description="Treat answers older than so many seconds as missing.")


OPTION_NAMES = tuple(SemanticConfig.model_fields)


def config_class(asset: str, own: type[dg.Config] | None) -> type[dg.Config]:
    """The config of an asset's op: the run options and the fields of the function's own config.

    Args:
        asset: A name for the class, for error messages.
        own: What the function's ``config`` parameter is annotated with; ``None``: it has none.

    Returns:
        A config class with both sets of fields.

    Raises:
        PlanError: The function's config has a field with the name of a run option.

    Example:
        >>> class Window(dg.Config):
        ...     days: int = 7
        >>> sorted(config_class("facts", Window).model_fields)[:2]
        ['days', 'limit']
    """
    if own is None:
        return SemanticConfig
    taken = [name for name in own.model_fields if name in OPTION_NAMES]
    if taken:
        raise PlanError(
            f"{asset!r}: {own.__name__} has the field {taken[0]!r}, which is a run option of every semantic asset "
            f"({', '.join(OPTION_NAMES)}). Rename it."
        )
    return type(f"{own.__name__}And{SemanticConfig.__name__}", (own, SemanticConfig), {"__doc__": own.__doc__})


def own_config(own: type[dg.Config], given: Mapping[str, Any]) -> dg.Config:
    """The function's own config out of the values of the op's config.

    Args:
        own: Its class.
        given: Every value of the op's config by name.
    """
    return own(**{name: value for name, value in given.items() if name not in OPTION_NAMES})


def options_of(given: Mapping[str, Any], *, max_cost_usd: float | None) -> RunOptions:
    """The run options out of the values of the op's config.

    Args:
        given: Every value of the op's config by name.
        max_cost_usd: The asset's own budget in USD, for runs that name none.
    """
    from infergraph.frame.run import RunOptions

    options = {name: given[name] for name in OPTION_NAMES if given.get(name) is not None}
    options.setdefault("max_cost_usd", max_cost_usd)
    return RunOptions(**options)
