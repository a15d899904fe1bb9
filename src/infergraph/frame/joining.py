"""``.semantic.join``: pairs by a plain step, a question about each, and plain steps that make rows of the answers."""

from __future__ import annotations

from typing import Any, Literal, get_args

import polars as pl

from infergraph.errors import PlanError
from infergraph.frame import plan as plans
from infergraph.frame.allowing import check_allowed
from infergraph.frame.frame import SemanticFrame
from infergraph.frame.matched import Matched
from infergraph.frame.pair_count import PairCount, count_pairs, refuse_too_many, rows_of
from infergraph.frame.pairs import MATCH, PAIR, Condition, Guard, PairColumns, Pairing
from infergraph.operators.examples import ExamplePairs
from infergraph.operators.join import JoinOperator

How = Literal["inner", "left", "semi", "anti"]
MAX_PAIRS = 100_000


def semantic_join(
    frame: SemanticFrame,
    other: SemanticFrame | pl.LazyFrame | pl.DataFrame,
    predicate: str,
    *,
    how: How,
    candidates: pl.Expr | None,
    max_pairs: int,
    model: str | None,
    name: str | None,
    examples: ExamplePairs,
) -> SemanticFrame:
    """The plan of a join by meaning; see ``SemanticNamespace.join``."""
    if how not in get_args(How):
        raise PlanError(f".semantic.join(how={how!r}): write 'inner', 'left', 'semi' or 'anti'.")
    if isinstance(max_pairs, bool) or not isinstance(max_pairs, int) or max_pairs < 1:
        raise PlanError(f".semantic.join(max_pairs={max_pairs!r}): give a number of pairs, 1 or more.")
    session, right = frame.session, frame._other(other)
    columns = PairColumns.of(frame.schema, right.schema)
    condition = None if candidates is None else Condition.of(_checked(candidates), columns)
    outer = how != "inner"
    operator = JoinOperator.build(
        frame.schema,
        {each: (columns.names[each], dtype) for each, dtype in right.schema.items()},
        predicate,
        into=MATCH if outer else None,
        asked=PAIR if outer else None,
        examples=examples,
    )
    chosen = session.model_name(model)
    session.check_chat(chosen, operator)
    pairing = Pairing(columns=columns, condition=condition, keeps_left=outer)
    counted = count_pairs(pairing, frame.node, right.node, max_pairs)
    pairs = pairing.step(
        frame.node, right.node, _said(condition, counted), _guard(frame.node, counted, max_pairs)
    )  # fmt: skip
    step = plans.operator_step(
        operator,
        name=plans.new_operator_name(operator, name, pairs),
        model=chosen,
        where=None,
        keeps_undecided=False,
        before=pairs,
        rows_by=PAIR if outer else None,
    )
    check_allowed(session, step, chosen)
    if counted is not None:
        refuse_too_many(session, step, pairing, counted, max_pairs)
    return SemanticFrame(session, Matched(how=how, columns=columns).step(step) if how != "inner" else step)


def _checked(candidates: Any) -> pl.Expr:
    if isinstance(candidates, pl.Expr):
        return candidates
    raise PlanError(
        f".semantic.join(candidates={candidates!r:.80}): give a Polars condition over both sides' columns, such as "
        "pl.col('city') == pl.col('city_right'), or ig.Similar(left_on, right_on, k=10)."
    )


def _said(condition: Condition | None, counted: PairCount | None) -> str:
    """The pairs for ``explain``."""
    which = "every pair" if condition is None else f"pairs where {condition.whole}"
    return f"{which}: {'counted when it runs' if counted is None else counted.said}"


def _guard(left: plans.Node, counted: PairCount | None, most: int) -> Guard | None:
    """What counts the pairs in the run; ``None`` where they are counted, or are few in any case."""
    if counted is not None and (counted.exact or counted.pairs <= most):
        return None
    known = rows_of(left)
    return Guard(most=most, most_rows=None if known is None else known.count())
