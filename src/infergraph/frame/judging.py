"""Judges of rows: what a response means may depend on the row that it is for.

Rows with the same request share one answer. Where the judge looks at the row as well, each row judges that answer for
itself; two rows that are alike judge alike, and are judged once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import repeat
from typing import Any

import polars as pl

from infergraph.models.model import Response
from infergraph.models.redaction import Redaction
from infergraph.models.verdict import Accepted, Verdict
from infergraph.operators.operator import RowOperator
from infergraph.validation.row import Row

Judge = Callable[[Response], Verdict]


class RowJudge:
    """An operator's judge for one row; equal to another one exactly when both judge alike.

    Args:
        operator: Whose answers are judged.
        row: The row's values, as the model was shown them.
        redaction: What is taken out of what is said of a wrong answer: that is sent back and stored.
    """

    __slots__ = ("_operator", "_redaction", "_row")

    def __init__(self, operator: RowOperator, row: Row | None, redaction: Redaction | None) -> None:
        self._operator = operator
        self._row = row
        self._redaction = redaction

    def __call__(self, response: Response) -> Verdict:
        """What a response means in this row."""
        verdict = self._operator.judge(response, self._row)
        if self._redaction is None or isinstance(verdict, Accepted):
            return verdict
        return replace(verdict, message=self._redaction.apply(verdict.message))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RowJudge) and self._operator is other._operator and self._row == other._row


def judges(operator: RowOperator, rows: pl.DataFrame, redaction: Redaction | None = None) -> Iterator[Judge]:
    """A judge for each row, in order.

    Args:
        operator: Whose answers are judged.
        rows: The operator's ``judges_by`` are among their columns.
        redaction: What rows are redacted by before the model sees them; ``None``: nothing.
    """
    names = operator.judges_by
    if not names:
        judge = operator.judge if redaction is None else RowJudge(operator, None, redaction)
        return repeat(judge, rows.height)
    values = (zip(names, row, strict=True) for row in rows.select(names).iter_rows())
    return (
        RowJudge(operator, Row((name, shown(value, redaction)) for name, value in row), redaction) for row in values
    )


class RedactedJudge:
    """A judge of whose words what is to be redacted is taken out; equal to another one where the judges are.

    Args:
        judge: What a response means.
        redaction: What is taken out of what is said of a wrong answer: that is sent back and stored.
    """

    __slots__ = ("_judge", "_redaction")

    def __init__(self, judge: Judge, redaction: Redaction) -> None:
        self._judge = judge
        self._redaction = redaction

    def __call__(self, response: Response) -> Verdict:
        """What a response means."""
        verdict = self._judge(response)
        if isinstance(verdict, Accepted):
            return verdict
        return replace(verdict, message=self._redaction.apply(verdict.message))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RedactedJudge) and self._judge == other._judge


def shown(value: Any, redaction: Redaction | None) -> Any:
    """A value as the model was shown it: the texts in it redacted."""
    if redaction is None:
        return value
    match value:
        case str():
            return redaction.apply(value)
        case list():
            return [shown(one, redaction) for one in value]
        case dict():
            return {name: shown(one, redaction) for name, one in value.items()}
        case _:
            return value
