"""Asset selections as they are typed: Dagster's own syntax, with the nearest names when one is wrong."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from infergraph.errors import PlanError, did_you_mean

if TYPE_CHECKING:
    import dagster as dg

_NAME = re.compile(r'^\+*(?:key:)?"?(?P<name>[\w./-]+)"?\+*$')
_GROUP = re.compile(r'^\+*group:"?(?P<name>[\w-]+)"?\+*$')


def select_assets(definitions: dg.Definitions, typed: Sequence[str]) -> list[dg.AssetKey]:
    """The assets that were asked for, upstream first.

    Args:
        definitions: The code location.
        typed: One selection or more: ``a``, ``a+`` (and what is below), ``+a`` (and what is above),
            ``group:x``, ``tag:k=v``, or several joined by ``and``, ``or``, ``not``.

    Returns:
        The keys of materialisable assets, each once, in the order in which they would be made.

    Raises:
        PlanError: A selection is no selection, names an unknown asset or group, or matches nothing.
    """
    graph = definitions.resolve_asset_graph()
    known = {key.to_user_string(): key for key in graph.materializable_asset_keys}
    groups = {graph.get(key).group_name for key in known.values()}
    chosen: set[dg.AssetKey] = set()
    for text in typed:
        chosen |= _resolve(definitions, text, known, groups)
    return [key for key in graph.toposorted_asset_keys if key in chosen]


def _resolve(
    definitions: dg.Definitions, text: str, known: dict[str, dg.AssetKey], groups: set[str]
) -> set[dg.AssetKey]:
    import dagster as dg

    _check_name(text, _GROUP, groups, "group")
    _check_name(text, _NAME, known, "asset")
    graph = definitions.resolve_asset_graph()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.BetaWarning)
            found = dg.AssetSelection.from_string(text).resolve(graph)
    except dg.DagsterError as error:
        raise PlanError(f"{text!r} is no asset selection: {error} Try: a, a+, +a or group:x") from error
    chosen = set(found) & set(known.values())
    if not chosen:
        raise PlanError(f"The selection {text!r} matches no asset. {did_you_mean(text, known)}")
    return chosen


def _check_name(text: str, form: re.Pattern[str], known: Iterable[str], noun: str) -> None:
    match = form.match(text)
    if match and match["name"] not in known:
        raise PlanError(f"There is no {noun} {match['name']!r}. {did_you_mean(match['name'], sorted(known))}")


def one_asset(definitions: dg.Definitions, name: str) -> dg.AssetKey:
    """The one asset of this name.

    Args:
        definitions: The code location.
        name: Its key, parts separated by ``/``.

    Returns:
        Its key.

    Raises:
        PlanError: There is none of this name.
    """
    keys = {key.to_user_string(): key for key in definitions.resolve_asset_graph().materializable_asset_keys}
    if name not in keys:
        raise PlanError(f"There is no asset {name!r}. {did_you_mean(name, sorted(keys))}")
    return keys[name]
