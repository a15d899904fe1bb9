"""Pairs of rows of two frames, which a join by meaning asks about, and what becomes of them.

The pairs are made by a plain step, in the left frame's order and then the right one's, with the columns of a Polars
join: a name that both sides have gets ``_right`` on the right side. For an inner join that is all. The other kinds need
each left row, whether it is in a pair or not, and read the left frame once: there the pairs carry the left row's
number, a left row without a pair comes once with nulls beside it, and a column says which rows are pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl

from infergraph.errors import PlanError, UnknownColumn, did_you_mean
from infergraph.frame import plan as plans
from infergraph.frame.column_rules import ColumnRule, Flow, Reads, reads_of
from infergraph.frame.expressions import conjuncts, identity, roots, spelt_out, tree_of
from infergraph.frame.reading import Reading, Wanted
from infergraph.frame.row_ids import DOUBT, OTHER_PARENT, PARENT, ROW_ID, join_hidden
from infergraph.operators.subject import is_row_wise

SUFFIX = "_right"
ROW = "__join_row"
"""Number of the left row."""
LEFT_ID = "__join_left_id"
"""Its row id, where row ids travel."""
PAIR = "__join_pair"
"""Whether the row is a pair; the others are left rows without one."""
MATCH = "__join_match"
"""The answer; null: undecided."""
BATCH_ROWS = 512
TEMPORARY = (ROW, LEFT_ID, PAIR, MATCH)


@dataclass(frozen=True, kw_only=True)
class PairColumns:
    """The columns of the pairs."""

    left: pl.Schema
    right: pl.Schema
    """The right frame's columns, under the names that they have there."""
    names: dict[str, str]
    """Name in the right frame -> name in the pairs."""

    @classmethod
    def of(cls, left: pl.Schema, right: pl.Schema) -> PairColumns:
        """The names that a Polars join gives.

        Raises:
            PlanError: A column of the one side has the name that one of the other side gets.

        Example:
            >>> one = pl.Schema({"id": pl.Int64(), "city": pl.String()})
            >>> PairColumns.of(one, pl.Schema({"id": pl.Int64(), "area": pl.String()})).names
            {'id': 'id_right', 'area': 'area'}
        """
        names = {name: name + SUFFIX if name in left else name for name in right}
        for name, new in names.items():
            if new != name and (new in left or new in right):
                raise PlanError(
                    f".semantic.join: both frames have a column {name!r}, so the right one becomes {new!r}, and that "
                    f"name is taken. Write .rename({{{name!r}: ...}}) on one of them before."
                )
        for name in (*left, *names.values()):
            if name in TEMPORARY:
                raise PlanError(f".semantic.join: the column name {name!r} is reserved; rename the column before.")
        return cls(left=left, right=right, names=names)

    @property
    def schema(self) -> pl.Schema:
        """All columns of a pair."""
        return pl.Schema({**self.left, **{self.names[name]: dtype for name, dtype in self.right.items()}})

    def side(self, name: str) -> tuple[int, str]:
        """Where a pair's column comes from: 0 or 1 for left or right, and its name there."""
        if name in self.left:
            return 0, name
        return 1, next(old for old, new in self.names.items() if new == name)


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Which pairs are candidates at all, by a Polars condition over their columns."""

    whole: pl.Expr
    columns: PairColumns

    @classmethod
    def of(cls, given: pl.Expr, columns: PairColumns) -> Condition:
        """A checked condition.

        Raises:
            PlanError: It is no condition, or looks at more than its own pair.
            UnknownColumn: It reads what is no column of the pairs.
        """
        where = f".semantic.join(candidates={given})"
        schema = columns.schema
        (whole,) = spelt_out([given], schema)
        for name in sorted(roots(whole)):
            if name not in schema:
                raise UnknownColumn(
                    f"{where}: there is no column {name!r}. {did_you_mean(name, schema)} A column of the right frame "
                    f"whose name the left one has too is pl.col('name{SUFFIX}')."
                )
        (dtype,) = plans.schema_of(
            lambda: pl.LazyFrame(schema=schema).select(whole).collect_schema(), schema, where=where
        ).dtypes()
        if dtype != pl.Boolean:
            raise PlanError(
                f"{where} gives {dtype}, not Boolean: write a condition, such as pl.col('x') == pl.col('y')."
            )
        if not is_row_wise(whole):
            raise PlanError(
                f"{where} looks at more than one pair; compute that in a step before: .with_columns(...) on the frame."
            )
        # Values that cannot be compared are refused by Polars when it computes, not when it resolves.
        plans.schema_of(lambda: pl.DataFrame(schema=schema).select(whole).schema, schema, where=where)
        return cls(whole=whole, columns=columns)

    def equal_keys(self) -> tuple[list[str], list[str]]:
        """Columns of the left and of the right frame, by the names there, that the condition wants to be equal."""
        left: list[str] = []
        right: list[str] = []
        for part in conjuncts(self.whole):
            binary = (tree_of(part) or {}).get("BinaryExpr", {})
            sides = [binary.get(side, {}) for side in ("left", "right")]
            if binary.get("op") != "Eq" or not all(isinstance(one, dict) and set(one) == {"Column"} for one in sides):
                continue
            (place, one), (other_place, other) = sorted(self.columns.side(str(side["Column"])) for side in sides)
            if (place, other_place) == (0, 1) and self.columns.left[one] == self.columns.right[other]:
                left.append(one)
                right.append(other)
        return left, right

    def reads(self) -> Reads:
        """The columns of both sides that decide which pairs there are."""
        found = reads_of(self.whole)
        return Reads(columns=frozenset(self.columns.side(name) for _, name in found.columns), opaque=found.opaque)


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """How the pairs are made."""

    columns: PairColumns
    condition: Condition | None
    keeps_left: bool
    """Each left row comes, whether it is in a pair or not."""

    def step(self, left: plans.Node, right: plans.Node, text: str, guard: Guard | None) -> plans.Step:
        """The plain step that makes the pairs.

        Args:
            left: The left frame's plan.
            right: The right one's.
            text: What ``explain`` says of it.
            guard: Refuses too many pairs when it runs; ``None``: they are counted already.
        """

        def schema(inputs: Sequence[pl.Schema], hidden: tuple[str, ...]) -> pl.Schema:
            return self.applied([pl.LazyFrame(schema=one) for one in inputs], hidden).collect_schema()

        def read(inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...], wanted: Wanted) -> Iterator[pl.DataFrame]:
            pairs = self.applied(inputs, hidden)
            pairs = pairs if guard is None or DOUBT in hidden else guard.applied(pairs, keeps_left=self.keeps_left)
            if wanted.n_rows is not None:
                pairs = pairs.head(wanted.n_rows)
            elif wanted.predicate is not None:
                pairs = pairs.filter(wanted.predicate)
            # Polars crosses two frames in one piece: what is rendered of the pairs is rendered of a few at a time.
            batches = pairs.select(wanted.columns).collect_batches(
                chunk_size=BATCH_ROWS, maintain_order=True, engine="streaming"
            )
            for batch in batches:
                if wanted.stopped():
                    return
                yield batch

        facts = [self.keeps_left, None if self.condition is None else identity(self.condition.whole)]
        made = plans.step(
            "join",
            text,
            [left, right],
            Reading(label="pairs", schema=schema, read=read),
            identity=repr(["pairs", *facts]),
            row_ids="derived",
            blocks=True,
            how="cross" if self.condition is None else "inner",
            columns=self._rule(),
        )
        return replace(made, answers=self._answers(left, right))

    def applied(self, inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...]) -> pl.LazyFrame:
        """The pairs, hidden columns last."""
        carried = {name: f"{name}__other" for name in hidden}
        left, right = inputs[0], inputs[1].rename(carried)
        if not self.keeps_left:
            pairs = left.join(right, how="cross", suffix=SUFFIX, maintain_order="left_right")
            pairs = pairs if self.condition is None else pairs.filter(self.condition.whole)
            return join_hidden(pairs, hidden, carried) if hidden else pairs
        row_id = pl.col(ROW_ID) if ROW_ID in hidden else pl.lit(None, pl.String)
        left = left.with_columns(row_id.alias(LEFT_ID)).with_row_index(ROW)
        keys = ([], []) if self.condition is None else self.condition.equal_keys()
        pairs = self._by_keys(left, right, *keys) if keys[0] else self._crossed(left, right)
        if PARENT in hidden:
            # A left row that is in no pair is told from its own id.
            parents = [pl.when(PAIR).then(pl.col(name)).alias(name) for name in (PARENT, OTHER_PARENT)]
            pairs = pairs.with_columns(parents)
        pairs = join_hidden(pairs, hidden, carried) if hidden else pairs
        last = [OTHER_PARENT] if PARENT in hidden else []
        return pairs.select(*self.columns.schema, ROW, LEFT_ID, PAIR, *last, *hidden)

    def _crossed(self, left: pl.LazyFrame, right: pl.LazyFrame) -> pl.LazyFrame:
        """Each left row with one empty row and then with its right rows."""
        schema = right.collect_schema()
        empty = pl.LazyFrame({name: [None] for name in schema}, schema=schema)
        there = [
            empty.with_columns(pl.lit(False).alias(PAIR)),
            right.with_columns(pl.lit(True).alias(PAIR)),
        ]
        pairs = left.join(pl.concat(there), how="cross", suffix=SUFFIX, maintain_order="left_right")
        return pairs if self.condition is None else pairs.filter(~pl.col(PAIR) | self.condition.whole)

    def _by_keys(
        self, left: pl.LazyFrame, right: pl.LazyFrame, left_keys: list[str], right_keys: list[str]
    ) -> pl.LazyFrame:
        """The same by a join that looks keys up; a left row without a pair comes at least once."""
        assert self.condition is not None
        joined = left.join(
            right.with_columns(pl.lit(True).alias(PAIR)), left_on=left_keys, right_on=right_keys, how="left",
            suffix=SUFFIX, coalesce=False, maintain_order="left_right",
        )  # fmt: skip
        is_pair = (pl.col(PAIR) & self.condition.whole).fill_null(value=False)
        joined = joined.with_columns(is_pair.alias(PAIR))
        first = (pl.col(ROW) != pl.col(ROW).shift(1)).fill_null(value=True)
        return joined.filter(first | pl.col(PAIR))

    def _answers(self, left: plans.Node, right: plans.Node) -> frozenset[str]:
        names = {*left.answers, *(self.columns.names[name] for name in right.answers)}
        if self.keeps_left and self.condition is not None and names & roots(self.condition.whole):
            names.add(PAIR)
        return frozenset(names)

    def _rule(self) -> ColumnRule:
        columns, condition = self.columns, self.condition

        def rule(inputs: Sequence[pl.Schema], output: pl.Schema) -> Flow:
            decided = Reads() if condition is None else condition.reads()
            values = {name: Reads(columns=frozenset({columns.side(name)})) for name in columns.schema}
            if self.keeps_left:
                values |= {ROW: Reads(), LEFT_ID: Reads(), PAIR: decided}
            return Flow(values=values, rows=decided)

        return rule


@dataclass(frozen=True, kw_only=True)
class Guard:
    """Counts the pairs of a run before the first is asked, where that could not be done when the plan was built."""

    most: int
    most_rows: int | None
    """At most so many rows come that are no pairs; ``None``: not known."""

    def applied(self, pairs: pl.LazyFrame, keeps_left: bool) -> pl.LazyFrame:
        """The same pairs, handed on when all are counted.

        Raises, as it runs:
            PlanError: There are too many.
        """
        count = pl.col(PAIR).sum() if keeps_left else pl.len()
        if not keeps_left or self.most_rows is not None:
            # No more than is needed to see that there are too many.
            pairs = pairs.head(self.most + 1 + ((self.most_rows or 0) if keeps_left else 0))
        few = count.map_batches(self._few, return_dtype=pl.Boolean, returns_scalar=True)
        return pairs.filter(few)

    def _few(self, counted: pl.Series) -> pl.Series:
        if counted.max() is not None and int(str(counted.max())) > self.most:
            raise PlanError(
                f".semantic.join: there are more than max_pairs={self.most:,} pairs to ask about; none was asked. "
                "Write candidates= with a Polars condition or ig.Similar(...), or a larger max_pairs."
            )
        return pl.Series(counted.name, [True])
