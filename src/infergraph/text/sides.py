"""Templates over pairs of rows: ``{{ left.title }}`` and ``{{ right.text }}``, each side with its own columns.

A side and its column become one name, ``left_title``, that an ordinary template can have: so conditions, filters, nulls
and delimiters mean the same as over one frame. The names are what the model sees: ``<left_title>``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Never

import polars as pl
from jinja2 import Environment, TemplateSyntaxError, meta
from jinja2.sandbox import SandboxedEnvironment

from infergraph.errors import TemplateError, UnknownVariable, did_you_mean
from infergraph.text.delimiters import tag_for

SIDES = ("left", "right")
_Token = tuple[int, str, str]


@dataclass(frozen=True, kw_only=True)
class SidedTemplate:
    """A template over two frames, written as one over their columns side by side."""

    source: str
    """The template with one name a column."""
    columns: pl.Schema
    """These names with their types; only those that the template uses."""
    origins: Mapping[str, tuple[str, str]]
    """Name -> side and column."""

    def as_written(self, message: str) -> str:
        """A message about the template, with the names that its author wrote."""
        for name, (side, column) in self.origins.items():
            own = f"{side}.{column}".replace("\\", r"\\")
            message = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", own, message)
        return message


def one_name_a_column(source: str, sides: Mapping[str, pl.Schema], *, where: str) -> SidedTemplate:
    """Give each side's columns names that a template can have.

    Args:
        source: The template as written.
        sides: ``left`` and ``right`` with their columns.
        where: What errors call it.

    Raises:
        UnknownVariable: A side has no such column, or a name stands without its side.
        TemplateError: A side stands alone, or the template reads only one side.

    Example:
        >>> sides = {"left": pl.Schema({"job": pl.String()}), "right": pl.Schema({"job": pl.String()})}
        >>> made = one_name_a_column("{{ left.job }} is {{ right['job']|upper }}", sides, where=".semantic.join")
        >>> made.source
        '{{ left_job }} is {{ right_job|upper }}'
        >>> made.origins
        {'left_job': ('left', 'job'), 'right_job': ('right', 'job')}
    """
    names: dict[tuple[str, str], str] = {}
    for side, schema in sides.items():
        for column in schema:
            names[side, column] = tag_for(re.sub(r"\W", "_", f"{side}_{column}"), names.values())
    try:
        tokens = list(Environment().lex(source))
    except TemplateSyntaxError as error:
        raise TemplateError(f"{where}, line {error.lineno}: {error.message}") from error
    rewriter = _Rewriter(tokens, sides, names, where)
    text = "".join(rewriter.pieces())
    _refuse_bare_names(text, sides, names, where)
    used = list(dict.fromkeys(rewriter.used))
    for side, other in (SIDES, reversed(SIDES)):
        if all(one != side for one, _ in used):
            raise TemplateError(
                f"{where}: the sentence names no column of the {side} frame, so it says nothing of pairs. Name one, as "
                f"in {{{{ {side}.{next(iter(sides[side]), 'x')} }}}}, or write .semantic.filter(...) on the {other} "
                "frame before."
            )
    return SidedTemplate(
        source=text,
        columns=pl.Schema({names[side, column]: sides[side][column] for side, column in used}),
        origins={names[side, column]: (side, column) for side, column in used},
    )


class _Rewriter:
    """Goes through a template's tokens, and puts one name for each side and column."""

    def __init__(
        self,
        tokens: Sequence[_Token],
        sides: Mapping[str, pl.Schema],
        names: Mapping[tuple[str, str], str],
        where: str,
    ) -> None:
        self._tokens = tokens
        self._sides = sides
        self._names = names
        self._where = where
        self.used: list[tuple[str, str]] = []

    def pieces(self) -> Iterator[str]:
        """The new template's text in pieces."""
        place, before = 0, ""
        while place < len(self._tokens):
            _, kind, text = self._tokens[place]
            if kind == "name" and text in self._sides and before != ".":
                column, place = self._column(place)
                self.used.append((text, column))
                yield self._names[text, column]
                before = ""
                continue
            before = text if kind != "whitespace" else before
            yield text
            place += 1

    def _column(self, place: int) -> tuple[str, int]:
        """The column that follows a side's name, and the place behind it."""
        line, _, side = self._tokens[place]
        following = [at for at in range(place + 1, len(self._tokens)) if self._tokens[at][1] != "whitespace"]
        said = [self._tokens[at][1:] for at in following[:3]]
        column = None
        if len(said) > 1 and said[0] == ("operator", ".") and said[1][0] == "name":
            column, last = said[1][1], following[1]
        elif len(said) > 2 and said[0] == ("operator", "[") and said[1][0] == "string" and said[2][1] == "]":
            column, last = str(ast.literal_eval(said[1][1])), following[2]
        if column is None:
            self._refuse_alone(line, side)
        if column not in self._sides[side]:
            raise UnknownVariable(
                f"{self._where}, line {line}: the {side} frame has no column {column!r}. "
                f"{did_you_mean(column, self._sides[side])}"
            )
        return column, last + 1

    def _refuse_alone(self, line: int, side: str) -> Never:
        example = next(iter(self._sides[side]), "x")
        raise TemplateError(
            f"{self._where}, line {line}: {side!r} is a whole row; name a column of it, as in "
            f"{{{{ {side}.{example} }}}}."
        )


class _Unfolded(SandboxedEnvironment):
    """Jinja that works out no arithmetic of constants, such as 9**9**9, before it is refused."""

    intercepted_binops = frozenset({"*", "**", "%"})


def _refuse_bare_names(
    text: str, sides: Mapping[str, pl.Schema], names: Mapping[tuple[str, str], str], where: str
) -> None:
    """Refuse names without a side; what else is wrong with the template is said where it is compiled."""
    try:
        bare = meta.find_undeclared_variables(_Unfolded().parse(text)).difference(names.values())
    except TemplateSyntaxError:
        return
    for name in sorted(bare):
        owners = [side for side in sides if name in sides[side]]
        known = [f"{side}.{column}" for side, schema in sides.items() for column in schema]
        way = " or ".join(f"{{{{ {side}.{name} }}}}" for side in owners)
        raise UnknownVariable(
            f"{where}: {name!r} stands without its side. "
            + (f"Write {way}." if owners else did_you_mean(f"left.{name}", known))
        )
