"""How many pairs a join by meaning would ask about, counted when the plan is built, and what they would cost.

Rows are counted by Polars, without the columns that nobody needs for that. What answers decide is not known yet: below
a semantic filter all rows count, and below a step that makes other rows of answers nothing is said before the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from weakref import WeakKeyDictionary

import polars as pl

from infergraph.errors import PlanError, StoreError
from infergraph.frame import plan as plans
from infergraph.frame.compiling import Activity, source_frame
from infergraph.frame.estimate_rates import Rates
from infergraph.frame.expressions import roots
from infergraph.frame.pairs import SUFFIX, Pairing
from infergraph.frame.probes import columns_read
from infergraph.frame.session import Session
from infergraph.operators.join import JoinOperator
from infergraph.records import usd

# Up to here every pair is looked at to count those that a condition lets through: some tenths of a second.
_LOOKED_AT = 10**8
_SAMPLE_ROWS = 8
_CENT = Decimal("0.01")
_counted: WeakKeyDictionary[plans.Node, int] = WeakKeyDictionary()


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of a plan as far as they are known without an answer."""

    node: plans.Node
    frame: pl.LazyFrame
    """What answers give is null in it."""
    exact: bool
    """These are the rows; else there are at most so many."""

    def count(self) -> int:
        """How many; read once, however many joins ask."""
        if self.node not in _counted:
            _counted[self.node] = int(self.frame.select(pl.len()).collect(engine="streaming").item())
        return _counted[self.node]


@dataclass(frozen=True, kw_only=True)
class PairCount:
    """How many pairs there are."""

    left: int
    right: int
    pairs: int
    exact: bool
    """These are the pairs; else there are at most so many."""
    capped: bool = False
    """There are more than so many."""

    @property
    def said(self) -> str:
        """For ``explain``."""
        crossed = f"{self.left:,} x {self.right:,}"
        if not self.exact:
            return f"at most {self.pairs:,} pairs"
        if self.pairs == self.left * self.right:
            return f"{crossed} = {self.pairs:,} pairs"
        return f"{'more than ' if self.capped else ''}{self.pairs:,} of {crossed} pairs"


def rows_of(node: plans.Node) -> Rows | None:
    """The rows of a plan; ``None`` where nothing can be said of their number without an answer."""
    if isinstance(node, plans.Source):
        if node.open is not None:
            return None
        return Rows(node=node, frame=source_frame(node, (), Activity()), exact=True)
    before = [rows_of(each) for each in node.inputs]
    known = [one for one in before if one is not None]
    if len(known) < len(before):
        return None
    exact = all(one.exact for one in known)
    if isinstance(node, plans.OperatorStep):
        nulls = [pl.lit(None, dtype).alias(name) for name, dtype in node.operator.writes.items()]
        return Rows(node=node, frame=known[0].frame.with_columns(nulls), exact=exact and not node.decides)
    if _decided_by_answers(node):
        return Rows(node=node, frame=known[0].frame, exact=False) if node.method in ("filter", "unique") else None
    if not exact and (node.how == "anti" or node.row_ids == "new" or node.method == "matched"):
        return None  # fewer rows may come in than are known, and more go out
    return Rows(node=node, frame=node.apply([one.frame for one in known], ()), exact=exact)


def _decided_by_answers(step: plans.Step) -> bool:
    """Whether a model's answer decides which rows come out of a plain step."""
    if step.row_ids == "new":
        return bool(step.inputs[0].answers)
    return any(
        each.answers and columns_read(step, place, only_rows=True) & each.answers
        for place, each in enumerate(step.inputs)
    )


def count_pairs(pairing: Pairing, left: plans.Node, right: plans.Node, most: int) -> PairCount | None:
    """How many pairs a join would ask about; ``None`` where that is not known before the run.

    Args:
        pairing: The join's columns and condition.
        left: The left frame's plan.
        right: The right one's.
        most: Beyond so many pairs the exact number does not matter, where it would take long to find.
    """
    one, other = rows_of(left), rows_of(right)
    if one is None or other is None:
        return None
    rows, exact = (one.count(), other.count()), one.exact and other.exact
    product = rows[0] * rows[1]
    condition = pairing.condition
    reads = set() if condition is None else roots(condition.whole)
    answers = {*left.answers, *(pairing.columns.names[name] for name in right.answers)}
    if condition is None or reads & answers:
        return PairCount(left=rows[0], right=rows[1], pairs=product, exact=exact and condition is None)
    names = {name: new for name, new in pairing.columns.names.items() if new in reads}
    sides = [
        one.frame.select([name for name in left.schema if name in reads] or list(left.schema)[:1]),
        other.frame.select([pl.col(name).alias(new) for name, new in names.items()] or [_first(right, reads)]),
    ]
    candidates = sides[0].join(sides[1], how="cross", suffix=SUFFIX).filter(condition.whole)
    capped = product > _LOOKED_AT
    found = candidates.head(most + 1) if capped else candidates
    pairs = int(found.select(pl.len()).collect(engine="streaming").item())
    return PairCount(
        left=rows[0], right=rows[1], pairs=min(pairs, most) if capped else pairs, exact=exact,
        capped=capped and pairs > most,
    )  # fmt: skip


def _first(right: plans.Node, reads: set[str]) -> pl.Expr:
    """A column that stands for the right rows, where the condition reads none of them."""
    return pl.col(next(iter(right.schema))).alias(next(name for name in ("_", "__", "___") if name not in reads))


def count_nearest(left: plans.Node, right: plans.Node, k: int, *, every: bool) -> PairCount | None:
    """How many pairs there are where each left row has its nearest right rows; ``None`` where that is not known.

    Args:
        left: The left frame's plan.
        right: The right one's.
        k: So many right rows for each left one, where there are as many.
        every: They need not be similar, so that each left row has as many.
    """
    one, other = rows_of(left), rows_of(right)
    if one is None or other is None:
        return None
    rows = one.count(), other.count()
    return PairCount(
        left=rows[0], right=rows[1], pairs=rows[0] * min(k, rows[1]), exact=every and one.exact and other.exact
    )


@dataclass(frozen=True, kw_only=True)
class TooMany:
    """What is said of too many pairs."""

    counted: PairCount
    most: int
    there_are: str
    way: str
    """What to write instead."""

    @property
    def sure(self) -> bool:
        """Whether there are too many, for sure."""
        return self.counted.exact and (self.counted.pairs > self.most or self.counted.capped)


def refuse_too_many(session: Session, step: plans.OperatorStep, sides: Sequence[plans.Node], many: TooMany) -> None:
    """Refuse a join that would ask about too many pairs.

    Args:
        session: Knows the model and its price.
        step: The join's operator.
        sides: The plans of the left and of the right frame.
        many: What is said.

    Raises:
        PlanError: There are more than are allowed, for sure; the message has their number, their price and what to
            write.
    """
    if not many.sure:
        return
    counted = many.counted
    least = "more than " if counted.capped else ""
    larger = "" if counted.capped else f", or max_pairs={counted.pairs:_} if you mean it"
    raise PlanError(
        f".semantic.join: {many.there_are}, more than max_pairs={many.most:,}: a request each, "
        f"{least}{_price(session, step, sides, counted.pairs)}. {many.way}{larger}. Where one attribute of each side "
        f"decides, .semantic.extract on both sides and a plain .join ask {counted.left + counted.right:,} times."
    )


def _price(session: Session, step: plans.OperatorStep, sides: Sequence[plans.Node], pairs: int) -> str:
    """What the pairs cost, from the first rows of both sides."""
    each = None
    with suppress(StoreError):  # what was learned is nice to have; the refusal is the message
        each = _price_of_one(session, step, sides)
    if each is None:
        return f"price unknown (model {step.model!r}, {session.models[step.model].name})"
    cost = usd(round(each * pairs)) or Decimal(0)
    amount = f"about ${cost:,.2f}" if cost >= _CENT else "less than $0.01" if cost else "at no charge"
    return f"{amount} with model {step.model!r}"


def _price_of_one(session: Session, step: plans.OperatorStep, sides: Sequence[plans.Node]) -> float | None:
    """Nano-dollars of a typical pair; ``None``: its price is not known."""
    rates = Rates(session, step, step.name, step.model, None)
    tokens = [rates.input_tokens(rates.own_count(step.by_row.request(one))) for one in _contents(step, sides)]
    typical = sum(tokens) / len(tokens) if tokens else rates.typical_tokens(None)[0]
    cost = rates.cost(typical)
    return None if cost is None else float(sum(cost))


def _contents(step: plans.OperatorStep, sides: Sequence[plans.Node]) -> Sequence[str]:
    """What some pairs would be asked with, as far as that is known without an answer."""
    assert isinstance(step.operator, JoinOperator)
    known = [rows_of(side) for side in sides]
    first = [one.frame.head(_SAMPLE_ROWS) for one in known if one is not None]
    if len(first) < len(sides):
        return []
    crossed = first[0].join(first[1], how="cross", suffix=SUFFIX)
    found = crossed.select(step.operator.template.content.alias("content")).collect()["content"]
    return found.drop_nulls().to_list()
