"""What an author gave as ``checks=`` and ``expectations=``: read when the asset is defined, and each gets its name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from infergraph.dagster.conditions import Condition
from infergraph.dagster.expecting import ExpectationCheck, name_of
from infergraph.dagster.findings import OwnCheck
from infergraph.dagster.judging import Judge
from infergraph.errors import PlanError
from infergraph.validation.expectations import Expectation

_NAME = re.compile(r"[A-Za-z0-9_]+")


def own_checks(
    asset: str, checks: Sequence[Any], expectations: Sequence[Any], *, reserved: Sequence[str]
) -> tuple[OwnCheck, ...]:
    """The checks of an asset beside those that every asset has.

    Args:
        asset: The asset's name, for errors.
        checks: Made by ``ig.check`` and ``ig.judge``.
        expectations: Objects of Great Expectations, dicts, or suites of them.
        reserved: Names of the checks that every asset has.

    Raises:
        PlanError: Something else was given, or a name is taken or none.

    Example:
        >>> given = {"type": "expect_table_row_count_to_equal", "kwargs": {"value": 3}}
        >>> [one.name for one in own_checks("facts", [], [given], reserved=["schema"])]
        ['expect_table_row_count_to_equal']
    """
    made: list[OwnCheck] = []
    for given in _listed(asset, "checks", checks):
        if not isinstance(given, (Condition, Judge)):
            raise PlanError(f"{asset!r}: checks=[{given!r:.80}]: make each with ig.check(...) or ig.judge(...).")
        named = given
        if isinstance(given, Judge) and not given.name:
            named = replace(given, name=_free("judge", [one.name for one in made]))
        made.append(_fit(asset, named, made, reserved))
    for given in _single_ones(asset, expectations):
        expectation = Expectation.of(given)
        name = name_of(expectation, [one.name for one in made])
        made.append(_fit(asset, ExpectationCheck(name=name, expectation=expectation), made, reserved))
    return tuple(made)


def _listed(asset: str, argument: str, given: Any) -> list[Any]:
    if isinstance(given, (list, tuple)):
        return list(given)
    raise PlanError(f"{asset!r}: {argument}={given!r:.80}: give a list.")


def _single_ones(asset: str, expectations: Any) -> list[Any]:
    """Expectations one by one, also those of a suite."""
    listed = [expectations] if hasattr(expectations, "expectations") else _listed(asset, "expectations", expectations)
    return [one for given in listed for one in getattr(given, "expectations", [given])]


def _fit(asset: str, check: OwnCheck, made: Sequence[OwnCheck], reserved: Sequence[str]) -> OwnCheck:
    name = check.name
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise PlanError(f"{asset!r}: the check's name {name!r} is none: use letters, digits and '_'.")
    if name in reserved:
        raise PlanError(f"{asset!r}: {name!r} is the name of a check that every asset has. Choose another name.")
    if any(one.name == name for one in made):
        raise PlanError(f"{asset!r}: two checks are named {name!r}. Give each a name of its own.")
    return check


def _free(name: str, taken: Sequence[str]) -> str:
    number = 1
    while (free := name if number == 1 else f"{name}_{number}") in taken:
        number += 1
    return free
