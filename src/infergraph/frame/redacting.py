"""An operator's content as the models that may see it are to see it: personal data replaced by placeholders.

One place for the run, ``estimate`` and ``prompts``: what is hashed, sent, stored and shown is the redacted text. The
instruction, examples and the blocks' delimiters are the author's and stay as they are.
"""

from __future__ import annotations

import re

import polars as pl

from infergraph.frame import plan as plans
from infergraph.frame.session import Session
from infergraph.models.personal_data import SUSPICIOUS
from infergraph.models.redaction import Redaction


def redacted_content(session: Session, step: plans.OperatorStep, model: str) -> pl.Expr:
    """The row's part of an operator's request, redacted as the model and its fallbacks ask.

    Args:
        session: Knows the models.
        step: The operator's node.
        model: The deployment's name of the model that is asked.

    Returns:
        A row-wise String expression; null where the operator's content is null.
    """
    redaction = session.redaction_of(model)
    content = step.operator.content
    return content if redaction is None else redacted(content, redaction, step.operator.tags)


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
    delimiters = re.compile(rf"^(</?(?:{'|'.join(map(re.escape, tags))})>)$", re.MULTILINE) if tags else None

    def one(value: str) -> str:
        if delimiters is None:
            return redaction.apply(value)
        parts = delimiters.split(value)
        return "".join(part if place % 2 else redaction.apply(part) for place, part in enumerate(parts))

    def column(values: pl.Series) -> pl.Series:
        if redaction.own:
            return pl.Series(values.name, [None if v is None else one(v) for v in values.to_list()], dtype=pl.String)
        # Most texts hold nothing that looks like it: Polars sees to those, a hundred times as fast.
        places = values.str.contains(SUSPICIOUS).fill_null(value=False).arg_true()
        return values if places.is_empty() else values.clone().scatter(places, [one(v) for v in values.gather(places)])

    return text.map_batches(column, return_dtype=pl.String, is_elementwise=True)
