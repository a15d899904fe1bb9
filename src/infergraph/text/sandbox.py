"""Where templates are rendered: Jinja over data alone, with what prompts need and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from jinja2.runtime import ChainableUndefined, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from infergraph.text import template_syntax as syntax
from infergraph.text.delimiters import Data
from infergraph.text.rendering import json_text, text_of


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja over data alone: values have fields and items, no methods and no attributes."""

    # Arithmetic is refused, but Jinja would work it out before anybody can: 9**9**9 takes all memory there is.
    intercepted_binops = frozenset({"*", "**", "%"})

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A value's field; of a loop, what Jinja says of it."""
        return super().getattr(obj, attribute) if isinstance(obj, LoopContext) else self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """A value's field or item; undefined where it has none."""
        try:
            return obj[argument]
        except (LookupError, TypeError):
            return self.undefined(obj=obj, name=argument)


def sandbox() -> Sandbox:
    """Where templates are parsed and rendered: what prompts need, and nothing else."""
    environment = Sandbox(undefined=ChainableUndefined, finalize=_finalize, trim_blocks=True, lstrip_blocks=True)
    builtin = environment.filters
    environment.filters = {name: builtin[name] for name in syntax.FILTERS}
    environment.filters.update({name: _on_text(builtin[name]) for name in _TEXT_FILTERS})
    environment.filters.update({name: _nulls_apart(builtin[name], kept=name == "sort") for name in _COMPARING_FILTERS})
    environment.filters.update(
        default=_default, replace=_replace, truncate=_truncate, join=_join, string=text_of, tojson=json_text
    )
    environment.tests = {name: environment.tests[name] for name in syntax.TESTS}
    environment.tests.update(defined=lambda value: value is not None, undefined=lambda value: value is None)
    environment.globals = {}
    return environment


_TEXT_FILTERS = ("upper", "lower", "title", "capitalize", "trim", "wordcount")
_COMPARING_FILTERS = ("sort", "min", "max", "sum")


def _finalize(value: Any) -> str:
    return Data("" if isinstance(value, ChainableUndefined) else text_of(value))


def _on_text(text_filter: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(text_filter)
    def filtered(*args: Any) -> Any:
        return text_filter(*(text_of(arg) if not isinstance(arg, str) else arg for arg in args))

    return filtered


def _nulls_apart(list_filter: Callable[..., Any], *, kept: bool) -> Callable[..., Any]:
    """The filter over what is not null, as Polars has it; a list with one null among a million rows ends no run."""

    @wraps(list_filter)
    def filtered(environment: Any, values: Any, *args: Any, **named: Any) -> Any:
        given = list(values or ())
        present = [value for value in given if value is not None]
        nulls = [None] * (len(given) - len(present)) if kept else []
        made = list_filter(environment, present, *args, **named)
        return [*made, *nulls] if nulls else made

    return filtered


def _default(value: Any, other: Any = "", empty_too: bool = False) -> Any:
    missing = value is None or isinstance(value, ChainableUndefined)
    return other if missing or (empty_too and not value) else value


def _replace(value: Any, old: str, new: str) -> str:
    return text_of(value).replace(old, new)


def _truncate(value: Any, length: int = 255, end: str = "...") -> str:
    text = text_of(value)
    return text if len(text) <= length else text[: max(0, length - len(end))] + end


def _join(values: Any, separator: str = ", ") -> str:
    return separator.join(text_of(value) for value in values or ())
