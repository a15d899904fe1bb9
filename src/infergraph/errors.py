"""Every error that Infergraph raises, split by who can act on it.

A row that a model could not answer is not an error: it is a reject, kept with its reason beside the
result (see ``infergraph.records``). What is here stops a plan, a run or a deployment.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable


class InfergraphError(Exception):
    """Root of the tree: catching it catches everything that Infergraph raises on purpose."""

    exit_code = 1


class PlanError(InfergraphError):
    """The author of the plan can act: the plan is wrong, nothing was asked and nothing was spent."""

    exit_code = 2


class UnknownColumn(PlanError):
    """A step names a column that its input does not have."""


class TemplateError(PlanError):
    """A prompt template is no valid template, or names a variable that is no column."""


class UnknownVariable(TemplateError, UnknownColumn):
    """A template's variable is no column of the input."""


class SchemaError(PlanError):
    """An answer schema cannot be mapped to Polars types, or the provider cannot take it."""


class ConfigurationError(InfergraphError):
    """The owner of the platform can act: a model, key, extra, store or path is missing or wrong."""

    exit_code = 3


class MissingExtra(ConfigurationError):
    """A package of an optional extra is not installed."""


class UnknownModel(ConfigurationError):
    """A model name is not among the deployment's models, or its provider is not installed."""


class StoreError(ConfigurationError):
    """The store cannot be read or written: locked, full disk, damaged, read-only."""


class StoreLost(StoreError):
    """The store's file is damaged, deleted or replaced: what was kept in it may be gone."""


class ProviderError(InfergraphError):
    """The provider, or the way to it, stops the whole run."""

    exit_code = 4


class ProviderRefused(ProviderError):
    """No request can succeed: wrong key, unknown model, unknown host."""


class ProviderDown(ProviderError):
    """The provider was out of reach for longer than a run waits; what was done is stored."""


class BudgetExceeded(InfergraphError):
    """A budget is used up; rows not asked are pending, and every answer so far is kept."""

    exit_code = 5


class RunCancelled(InfergraphError):
    """The run was stopped from outside; every answer that came back is kept."""

    exit_code = 130


class InternalError(InfergraphError):
    """Our own bug: please report it."""

    exit_code = 70


def with_kept(error: BaseException, answers: int) -> BaseException:
    """An error that also says how many answers of the run it stopped are kept.

    Args:
        error: What stopped the run. It is left as it is if it is ours: other runs may hold the same object.
        answers: Answers of the run that are in the store; of 0 nothing is said.

    Returns:
        A copy that says so in its message; another library's error is the same one, with a note.

    Example:
        >>> str(with_kept(ProviderDown("It is down."), 1234))
        'It is down. 1,234 answers of this run are kept: run again and only the rest is asked.'
    """
    if not answers:
        return error
    number, be = ("1 answer", "is") if answers == 1 else (f"{answers:,} answers", "are")
    sentence = f"{number} of this run {be} kept: run again and only the rest is asked."
    if not isinstance(error, InfergraphError):
        error.add_note(sentence)
        return error
    told = copy.copy(error)
    told.args = (f"{error} {f'This run had put {number} into it.' if isinstance(error, StoreLost) else sentence}",)
    return told


def nearest(given: str, allowed: Iterable[str], *, most: int = 3) -> list[str]:
    """The allowed names that look most like what was given, best first.

    Args:
        given: What was typed.
        allowed: Every name that would have been accepted.
        most: How many to return at most.

    Returns:
        At most ``most`` names, closest first; empty when nothing is similar.

    Example:
        >>> nearest("bdoy", ["id", "body", "lang"])
        ['body']
    """
    names = list(allowed)
    return difflib.get_close_matches(given, names, n=most, cutoff=0.5) or [
        name for name in names if name.lower() == given.lower()
    ]


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """A sentence that helps on: the nearest names, or all of them when none is near.

    Args:
        given: What was typed.
        allowed: Every name that would have been accepted.

    Returns:
        One sentence without a leading space.

    Example:
        >>> did_you_mean("bdoy", ["id", "body"])
        "Did you mean 'body'?"
        >>> did_you_mean("zzz", ["id", "body"])
        "There are: 'id', 'body'."
    """
    names = list(allowed)
    near = nearest(given, names)
    if near:
        return f"Did you mean {' or '.join(repr(name) for name in near)}?"
    if not names:
        return "There are none."
    return f"There are: {', '.join(repr(name) for name in names)}."
