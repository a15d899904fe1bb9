"""``.semantic.join``: pairs by a plain step, a question about each, and plain steps that make rows of the answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import polars as pl

from infergraph.errors import PlanError
from infergraph.frame import plan as plans
from infergraph.frame.allowing import check_allowed
from infergraph.frame.embedding import check_count
from infergraph.frame.frame import SemanticFrame
from infergraph.frame.matched import Matched
from infergraph.frame.pair_count import PairCount, TooMany, count_nearest, count_pairs, refuse_too_many, rows_of
from infergraph.frame.pairs import MATCH, PAIR, SUFFIX, Condition, Guard, PairColumns, Pairing
from infergraph.frame.similar import Similar, counted, refuse_other
from infergraph.operators.examples import ExamplePairs
from infergraph.operators.join import JoinOperator

How = Literal["inner", "left", "semi", "anti"]
MAX_PAIRS = 100_000


@dataclass(frozen=True, kw_only=True)
class _Pairs:
    """The pairs of a join, and what is known of their number."""

    node: plans.Node
    many: TooMany | None


def semantic_join(
    frame: SemanticFrame,
    other: SemanticFrame | pl.LazyFrame | pl.DataFrame,
    predicate: str,
    *,
    how: How,
    candidates: pl.Expr | Similar | None,
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
    named = plans.new_operator_name(operator, name, frame.node, right.node)
    if isinstance(candidates, Similar):
        pairs = _nearest(candidates, frame, right, named, max_pairs, outer=outer)
    elif candidates is None or isinstance(candidates, pl.Expr):
        condition = None if candidates is None else Condition.of(candidates, columns)
        pairing = Pairing(columns=columns, condition=condition, keeps_left=outer)
        pairs = _crossed(pairing, frame.node, right.node, max_pairs)
    else:
        raise refuse_other(candidates)
    step = plans.operator_step(
        operator, name=named, model=chosen, where=None, keeps_undecided=False, before=pairs.node,
        rows_by=PAIR if outer else None,
    )  # fmt: skip
    check_allowed(session, step, chosen)
    if pairs.many is not None:
        refuse_too_many(session, step, (frame.node, right.node), pairs.many)
    return SemanticFrame(session, Matched(how=how, columns=columns).step(step) if how != "inner" else step)


def _crossed(pairing: Pairing, left: plans.Node, right: plans.Node, most: int) -> _Pairs:
    """Every pair, or those that a condition lets through."""
    found = count_pairs(pairing, left, right, most)
    which = "every pair" if pairing.condition is None else f"pairs where {pairing.condition.whole}"
    text = f"{which}: {'counted when it runs' if found is None else found.said}"
    node = pairing.step(left, right, text, _guard(left, found, most))
    if found is None:
        return _Pairs(node=node, many=None)
    crossed = f"{found.left:,} x {found.right:,}"
    if pairing.condition is None:
        one, other = _columns_to_compare(pairing.columns)
        there_are = f"{crossed} rows are {found.pairs:,} pairs"
        way = (
            f"Write candidates= to ask about fewer: a Polars condition, such as pl.col({one!r}) == pl.col({other!r}), "
            "or ig.Similar(left_on, right_on, k=10) for the nearest ones by embedding"
        )
    else:
        there_are = (
            f"the condition lets {'more than ' if found.capped else ''}{found.pairs:,} of {crossed} pairs through"
        )
        way = "Write a stricter condition, or candidates=ig.Similar(left_on, right_on, k=10)"
    return _Pairs(node=node, many=TooMany(counted=found, most=most, there_are=there_are, way=way))


def _nearest(
    similar: Similar, left: SemanticFrame, right: SemanticFrame, name: str, most: int, *, outer: bool
) -> _Pairs:
    """The pairs that are nearest by embedding."""
    check_count(similar.k, "join")
    found = count_nearest(left.node, right.node, similar.k, every=similar.min_similarity is None)
    text = f"{similar.describe()}: {'counted when it runs' if found is None else f'at most {found.pairs:,} pairs'}"
    pairs = similar.pairs(left, right, name=name, keeps_left=outer, text=text)
    guard = _guard(left.node, found, most)
    if guard is not None:
        pairs = counted(pairs, guard, keeps_left=outer)
    if found is None:
        return _Pairs(node=pairs.node, many=None)
    there_are = (
        f"the nearest {similar.k:,} of {found.right:,} rows for each of {found.left:,} are {found.pairs:,} pairs"
    )
    way = "Write a smaller k=, or min_similarity="
    return _Pairs(node=pairs.node, many=TooMany(counted=found, most=most, there_are=there_are, way=way))


def _guard(left: plans.Node, found: PairCount | None, most: int) -> Guard | None:
    """What counts the pairs in the run; ``None`` where they are counted, or are few in any case."""
    if found is not None and (found.exact or found.pairs <= most):
        return None
    known = rows_of(left)
    return Guard(most=most, most_rows=None if known is None else known.count())


def _columns_to_compare(columns: PairColumns) -> tuple[str, str]:
    """Two columns that a condition might compare."""
    shared = next((name for name in columns.left if name in columns.right), None)
    if shared is not None:
        return shared, shared + SUFFIX
    return next(iter(columns.left), "x"), next(iter(columns.right), "y")
