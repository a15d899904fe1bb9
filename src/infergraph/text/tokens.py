"""Tokens of texts, counted and cut without asking a model and without downloads."""

from __future__ import annotations

import warnings
from bisect import bisect_right
from itertools import accumulate
from typing import Literal

import polars as pl

from infergraph.errors import PlanError
from infergraph.text import encodings, spans
from infergraph.text.row_wise import Column, of_each_text
from infergraph.text.spans import Piece

Side = Literal["start", "end"]


def count(column: Column, *, model: str = "o200k_base") -> pl.Expr:
    """How many tokens each text has.

    Args:
        column: A String column.
        model: A model id (``gpt-5-mini``, ``openai:gpt-5-mini``, ``local:smollm2-135m``) or an encoding
            (``o200k_base``, ``cl100k_base``).

    Returns:
        A row-wise Int64 expression; null for null. Exact for these two encodings, OpenAI's models that have them, and
        the embedded chat model; for others an estimate, and a warning says so once: see ``is_exact``.

    Raises:
        PlanError: ``model`` is no text.

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"body": ["hello world", "", None]})
        >>> frame.select(ig.text.tokens.count("body", model="gpt-5-mini")).to_series().to_list()
        [2, 0, None]
    """
    where = "ig.text.tokens.count"
    check_model(model, where)
    return of_each_text(column, lambda text: encodings.count_tokens(model, text)[0], pl.Int64(), where=where)


def truncate(column: Column, n: int, *, side: Side = "end", model: str = "o200k_base") -> pl.Expr:
    """Texts cut down to so many tokens.

    Args:
        column: A String column.
        n: Most tokens, 0 or more.
        side: What goes: the ``"end"`` of a longer text, or its ``"start"``.
        model: As in ``count``.

    Returns:
        A row-wise String expression: the text itself where it fits, else its first (last) characters, of at most ``n``
        tokens, cut between characters. Null for null.

    Raises:
        PlanError: A number or side that cannot be.

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"body": ["one two three"]})
        >>> frame.select(ig.text.tokens.truncate("body", 2), a=ig.text.tokens.truncate("body", 2, side="start")).row(0)
        ('one two', ' two three')
    """
    where = "ig.text.tokens.truncate"
    check_model(model, where)
    if type(n) is not int or n < 0:
        raise PlanError(f"{where}: n={n!r}: give a number of tokens, 0 or more.")
    if side not in ("start", "end"):
        raise PlanError(f"{where}: side={side!r}: write 'end' or 'start', the side that goes.")

    encoding, most = encodings.encoding_and_limit(model, n)

    def cut(text: str) -> str:
        if spans.is_within(text, encoding, most):
            return text
        pieces = spans.tokens(text, encoding, max(most, 1))
        return _beginning(text, pieces, encoding, most) if side == "end" else _end(text, pieces, encoding, most)

    return of_each_text(column, cut, pl.String(), where=where)


def is_exact(model: str) -> bool:
    """Whether the tokens of a model are counted, and not estimated.

    Args:
        model: As in ``count``.

    Returns:
        True for ``o200k_base``, ``cl100k_base``, OpenAI's models that have them, and the embedded chat model. Others
        are estimated by ``o200k_base``, those of Anthropic at 1.3 times its count (measured: 1.1 to 1.35 for English
        prose).

    Raises:
        PlanError: ``model`` is no text.

    Example:
        >>> import infergraph as ig
        >>> ig.text.tokens.is_exact("gpt-5-mini"), ig.text.tokens.is_exact("claude-opus-4-6")
        (True, False)
    """
    _check_is_name(model, "ig.text.tokens.is_exact")
    return encodings.encoding_of(model)[2]


def check_model(model: str, where: str, *, callers: int = 2) -> None:
    """Raise ``PlanError`` where ``model`` is no name; warn once, so many callers up, where its tokens are estimated."""
    _check_is_name(model, where)
    encoding, factor, exact = encodings.encoding_of(model)
    if not exact and model not in _TOLD:
        _TOLD.add(model)
        how = f"{factor} x {encoding}" if factor != 1 else encoding
        warnings.warn(
            f"{where}: the tokenizer of {model!r} is not at hand; tokens are estimated as {how}. Exact are "
            "'o200k_base', 'cl100k_base', OpenAI's models of these, and 'local:smollm2-135m'.",
            stacklevel=callers + 1,
        )


def _check_is_name(model: str, where: str) -> None:
    if not isinstance(model, str) or not model:
        raise PlanError(f"{where}: model={model!r}: write a model id such as 'gpt-5-mini', or an encoding.")


_TOLD: set[str] = set()


def _beginning(text: str, pieces: list[Piece], encoding: str, most: int) -> str:
    """The longest beginning of whole pieces that fits."""
    kept = bisect_right(list(accumulate(length for _, _, length, _ in pieces)), most)
    while kept and not spans.is_within(text[: pieces[kept - 1][1]], encoding, most):
        kept -= 1
    return text[: pieces[kept - 1][1]] if kept else ""


def _end(text: str, pieces: list[Piece], encoding: str, most: int) -> str:
    """The longest end of whole pieces that fits."""
    kept = bisect_right(list(accumulate(length for _, _, length, _ in reversed(pieces))), most)
    while kept and not spans.is_within(text[pieces[-kept][0] :], encoding, most):
        kept -= 1
    return text[pieces[-kept][0] :] if kept else ""
