"""A row out of whose values a template makes no text, and that must not end the run of all others.

A column of texts has one place for what became of a row: its text. So what is wrong stands in there, between marks that
no data can hold, drawn anew in each process; whoever asks a model about the texts looks for them first. Columns and
types are named, values are not: a problem is told and kept where the row's content may not be.
"""

from __future__ import annotations

import secrets
from typing import Any

import polars as pl

# Letters of a private use area, which no rule for personal data and no delimiter looks for.
_MARK = "".join(chr(0xE000 + one) for one in secrets.token_bytes(16))
_SHOWN = 200


def unrenderable(problem: str) -> str:
    """The text of such a row."""
    return f"{_MARK}{problem}{_MARK}"


def problem_in(text: str) -> str | None:
    """What is wrong with a row, by its text; ``None``: nothing.

    Example:
        >>> problem_in("Dear Ann"), problem_in("Dear " + unrenderable("'name' is a list."))
        (None, "'name' is a list.")
    """
    return text.split(_MARK, 2)[1] if _MARK in text else None


def is_unrenderable(text: pl.Expr) -> pl.Expr:
    """Whether something is wrong with rows, by their texts."""
    return text.str.contains(_MARK, literal=True)


def without_problem(text: str) -> str:
    """The text to be shown to a person beside what is wrong.

    Example:
        >>> without_problem("Dear " + unrenderable("'name' is a list."))
        'Dear [...]'
    """
    return "".join("[...]" if place % 2 else part for place, part in enumerate(text.split(_MARK)))


def kind_of(value: Any) -> str:
    """What a value is, without saying it.

    Example:
        >>> kind_of([1, None, 2]), kind_of([{"name": "Ann", "paid": None}])
        ('list of number or null', 'list of struct(name: text, paid: null)')
    """
    text = _kind_of(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _kind_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "text"
        case dict():
            return f"struct({', '.join(f'{name}: {_kind_of(inner)}' for name, inner in value.items())})"
        case list() | tuple():
            kinds = dict.fromkeys(_kind_of(one) for one in value)
            return f"list of {' or '.join(kinds)}" if kinds else "empty list"
        case _:
            return "number"
