"""An operator's content as the models that may see it are to see it: personal data replaced by placeholders.

One place for the run, ``estimate`` and ``prompts``: what is hashed, sent, stored and shown is the redacted text. The
instruction, examples and the blocks' delimiters are the author's and stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import polars as pl

from infergraph.frame import plan as plans
from infergraph.frame.session import Session
from infergraph.models.personal_data import SUSPICIOUS
from infergraph.models.redaction import Redaction
from infergraph.operators.images import images_of
from infergraph.text.unrenderable import problem_in, unrenderable


def redacted_content(session: Session, step: plans.OperatorStep, model: str) -> pl.Expr:
    """The row's part of an operator's request, redacted as the model and its fallbacks ask.

    Args:
        session: Knows the models.
        step: The operator's node.
        model: The deployment's name of the model that is asked.

    Returns:
        A row-wise expression of the content's type, with images a Struct (see ``ImageColumns.with_text``); null where
        the operator's content is null.
    """
    redaction = session.redaction_of(model)
    operator = step.operator
    if (images := images_of(operator)) is not None:
        return images.with_text(operator.content)  # a model with images has no redaction: see frame/image_checks.py
    if redaction is None:
        return operator.content
    if step.rounds is None:
        return redacted(operator.content, redaction, operator.tags)
    empty = pl.LazyFrame(schema=step.inputs[0].schema).select(operator.content.alias("content"))
    return redacted_texts(operator.content, empty.collect_schema()["content"], redaction, operator.tags)


def redacted(text: pl.Expr, redaction: Redaction, tags: tuple[str, ...] = ()) -> pl.Expr:
    """A text column with placeholders in place of what is to be replaced.

    Args:
        text: A row-wise String expression.
        redaction: What is replaced.
        tags: Names of blocks whose delimiters are left alone.

    Example:
        >>> frame = pl.DataFrame({"body": ["Write to ann@example.org", "Nothing here", None]})
        >>> frame.select(redacted(pl.col("body"), Redaction())).to_series().to_list()
        ['Write to [email]', 'Nothing here', None]
    """
    one = _of_text(redaction, tags)

    def column(values: pl.Series) -> pl.Series:
        if redaction.own:
            return pl.Series(values.name, [None if v is None else one(v) for v in values.to_list()], dtype=pl.String)
        # Most texts hold nothing that looks like it: Polars sees to those, a hundred times as fast.
        places = values.str.contains(SUSPICIOUS).fill_null(value=False).arg_true()
        return values if places.is_empty() else values.clone().scatter(places, [one(v) for v in values.gather(places)])

    return text.map_batches(column, return_dtype=pl.String, is_elementwise=True)


def redacted_texts(content: pl.Expr, dtype: pl.DataType, redaction: Redaction, tags: tuple[str, ...] = ()) -> pl.Expr:
    """Content of any type with placeholders in all its texts.

    Args:
        content: A row-wise expression.
        dtype: Its type: text, or lists and structs of it, however deep.
        redaction: What is replaced.
        tags: Names of blocks whose delimiters are left alone.

    Example:
        >>> frame = pl.DataFrame({"texts": [["Write to ann@example.org", None], None]})
        >>> frame.select(redacted_texts(pl.col("texts"), pl.List(pl.String()), Redaction())).to_series().to_list()
        [['Write to [email]', None], None]
    """
    if dtype == pl.String:
        return redacted(content, redaction, tags)
    one = _of_text(redaction, tags)

    def within(value: Any) -> Any:
        match value:
            case str():
                return one(value)
            case list():
                return [within(part) for part in value]
            case dict():
                return {name: within(part) for name, part in value.items()}
            case _:
                return value

    def column(values: pl.Series) -> pl.Series:
        return pl.Series(values.name, [within(value) for value in values.to_list()], dtype=dtype)

    return content.map_batches(column, return_dtype=dtype, is_elementwise=True)


def _of_text(redaction: Redaction, tags: tuple[str, ...]) -> Callable[[str], str]:
    """Redacts one text, whose delimiters are left alone."""
    delimiters = re.compile(rf"^(</?(?:{'|'.join(map(re.escape, tags))})>)$", re.MULTILINE) if tags else None

    def one(value: str) -> str:
        if (problem := problem_in(value)) is not None:
            return unrenderable(problem)  # It is not sent, and nothing may come between its marks.
        if delimiters is None:
            return redaction.apply(value)
        parts = delimiters.split(value)
        return "".join(part if place % 2 else redaction.apply(part) for place, part in enumerate(parts))

    return one
