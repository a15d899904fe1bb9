"""Worked examples: rendered like rows, and checked when the plan is built as a model's answer would be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl
from pydantic import ValidationError

from infergraph.errors import PlanError, did_you_mean
from infergraph.models.model import Response
from infergraph.models.verdict import Accepted, Repair, Verdict
from infergraph.operators.operator import Example
from infergraph.text.unrenderable import problem_in
from infergraph.validation.parsing import problems_of
from infergraph.validation.row import Row

ExamplePairs = Sequence[tuple[Any, Any]]
AnswerText = Callable[[Any, Row], str]
Judge = Callable[[Response, Row], Verdict]


def worked_examples(
    pairs: ExamplePairs,
    *,
    where: str,
    columns: pl.Schema,
    reads: Sequence[str],
    content: pl.Expr,
    answer_text: AnswerText,
    judge: Judge,
) -> tuple[Example, ...]:
    """Check and render examples.

    Args:
        pairs: Pairs of an input (a text for the one column, or a dict of column to value) and the right output.
        where: What errors call the step.
        columns: The input's columns and types.
        reads: The columns that the operator reads.
        content: The operator's content expression.
        answer_text: The text that a model should answer for an output in a row; raises ``ValueError`` when it cannot
            be.
        judge: The operator's judge, which must accept that text in that row.

    Raises:
        PlanError: An example is no pair, or its input or output does not fit; the message has its number, from 0.
    """
    if isinstance(pairs, (str, Mapping)) or not isinstance(pairs, Sequence):
        raise PlanError(f"{where}: examples is a list of pairs (input, output), not {pairs!r:.80}.")
    made = []
    for index, pair in enumerate(pairs):
        here = f"{where}: examples[{index}]"
        if not (isinstance(pair, (tuple, list)) and len(pair) == 2):
            raise PlanError(f"{here} is a pair (input, output), not {pair!r:.80}.")
        row = _row(pair[0], reads, columns, here)
        shown = _content(row, content, here)
        answer = _answer(pair[1], Row(row.row(0, named=True)), answer_text, judge, here)
        made.append(Example(content=shown, answer=answer))
    return tuple(made)


def _row(given: Any, reads: Sequence[str], columns: pl.Schema, here: str) -> pl.DataFrame:
    if not isinstance(given, Mapping):
        if len(reads) != 1:
            names = ", ".join(f"{name!r}: ..." for name in reads)
            raise PlanError(f"{here}: several columns are read, so its input is a dict {{{names}}}, not {given!r:.80}.")
        given = {reads[0]: given}
    for name in given:
        if name not in reads:
            raise PlanError(f"{here}: its input has {name!r}, which is not read. {did_you_mean(str(name), reads)}")
    return pl.DataFrame([_cell(name, given.get(name), columns[name], here) for name in reads])


def _cell(name: str, value: Any, dtype: pl.DataType, here: str) -> pl.Series:
    try:
        return pl.Series(name, [value], dtype=dtype)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        raise PlanError(f"{here}: {value!r:.80} does not fit column {name!r}, which is {dtype}.") from error


def _content(row: pl.DataFrame, content: pl.Expr, here: str) -> str:
    rendered = row.select(content).item()
    if rendered is None:
        raise PlanError(f"{here}: its input is null, and a null input makes no call; give every column read a value.")
    if (problem := problem_in(str(rendered))) is not None:
        raise PlanError(f"{here}: {problem}")
    return str(rendered)


def _answer(output: Any, row: Row, answer_text: AnswerText, judge: Judge, here: str) -> str:
    try:
        text = answer_text(output, row)
    except ValidationError as error:
        raise PlanError(f"{here}: its output does not fit: {'; '.join(problems_of(error))}.") from error
    except (ValueError, TypeError) as error:
        raise PlanError(f"{here}: its output {output!r:.80} does not fit: {error}.") from error
    verdict = judge(Response(text=text), row)
    if not isinstance(verdict, Accepted):
        why = verdict.message if isinstance(verdict, Repair) else f"{verdict.reason}: {verdict.message}"
        raise PlanError(f"{here}: its output {output!r:.80} would not be accepted as an answer. {why}")
    return text
