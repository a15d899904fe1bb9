"""Judges of rows: what a response means may depend on the row that it is for.

Rows with the same request share one answer. Where the judge looks at the row as well, each row judges that answer for
itself; two rows that are alike judge alike, and are judged once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat

import polars as pl

from infergraph.models.model import Response
from infergraph.models.verdict import Verdict
from infergraph.operators.operator import RowOperator
from infergraph.validation.row import Row

Judge = Callable[[Response], Verdict]


class RowJudge:
    """An operator's judge for one row; equal to another one exactly when both judge alike."""

    __slots__ = ("_operator", "_row")

    def __init__(self, operator: RowOperator, row: Row) -> None:
        self._operator = operator
        self._row = row

    def __call__(self, response: Response) -> Verdict:
        """What a response means in this row."""
        return self._operator.judge(response, self._row)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RowJudge) and self._operator is other._operator and self._row == other._row


def judges(operator: RowOperator, rows: pl.DataFrame) -> Iterator[Judge]:
    """A judge for each row, in order.

    Args:
        operator: Whose answers are judged.
        rows: The operator's ``judges_by`` are among their columns.
    """
    names = operator.judges_by
    if not names:
        return repeat(operator.judge, rows.height)
    return (RowJudge(operator, Row(zip(names, row, strict=True))) for row in rows.select(names).iter_rows())
