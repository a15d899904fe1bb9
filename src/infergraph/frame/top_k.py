"""``top_k`` as steps: all rows into one, the operator's comparisons, and the best rows out of it again.

Every column becomes a list, and is a column of rows again afterwards, so that the rows before are read once and what
nobody reads later is not computed. The rows' own ids, keys and marks travel in lists of their own. A row that comes out
is made from its row before and from the group that it was compared in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from infergraph.frame import plan as plans
from infergraph.frame.column_rules import Flow, Reads
from infergraph.frame.doubt_marks import GATHERED, PERHAPS, RANKED, UNKNOWN
from infergraph.frame.execution import key_columns
from infergraph.frame.frame import SemanticFrame
from infergraph.frame.keys import KEY_PREFIX, group_key, hidden_key
from infergraph.frame.row_ids import DOUBT, DOUBT_TYPE, PARENT, ROW_ID, derived_id
from infergraph.operators.top_k import CONTENTS, ID, ORDER, RANK, RESERVED, TEXT, TopKOperator

_OF_ROWS = f"{RESERVED}:"
"""Begins the names of the lists of the rows' hidden columns."""
_HEIGHT = f"{RESERVED}_height"


def taking_part(frame: SemanticFrame, operator: TopKOperator, where: pl.Expr | None) -> SemanticFrame:
    """The rows that are compared: those of ``where`` that have a value for each variable that the sentence needs."""
    rows = frame if where is None else frame.filter(where)
    required = operator.template.required
    return rows.drop_nulls([*required]) if required else rows


def gathered(frame: SemanticFrame, operator: TopKOperator) -> plans.Node:
    """All rows as one: each column a list, and a list of the rendered contents; no row where there is none."""
    columns, carried = frame.columns, _carried(frame)
    text = operator.template.content.alias(TEXT)

    def apply(inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...]) -> pl.LazyFrame:
        row_id = pl.col(ROW_ID) if ROW_ID in hidden else pl.lit(None, pl.String)
        contents = pl.struct(text, row_id.cast(pl.Binary).alias(ID)).alias(CONTENTS)
        own = [
            (pl.col(name) if name in hidden else pl.lit(None)).cast(dtype, strict=False).alias(_OF_ROWS + name)
            for name, dtype in carried.items()
        ]
        lists = [*columns, CONTENTS, *(_OF_ROWS + name for name in carried)]
        one_row = [pl.col(name).implode() for name in lists] + [_of_group(name) for name in hidden]
        together = inputs[0].with_columns(contents, *own).select(*one_row, pl.len().alias(_HEIGHT))
        return together.filter(pl.col(_HEIGHT) > 0).drop(_HEIGHT)

    def flow(inputs: Sequence[pl.Schema], output: pl.Schema) -> Flow:
        values = {name: Reads(columns=frozenset({(0, name)})) for name in columns}
        read = Reads(columns=frozenset((0, name) for name in operator.template.variables))
        return Flow(values={**dict.fromkeys(output, Reads()), **values, CONTENTS: read})

    return plans.step(
        GATHERED,
        "all rows in one, to be compared with each other",
        [frame.node],
        apply,
        identity=f"top_k {operator.template.source!r}",
        reads=[*(pl.col(name) for name in columns), text.alias(CONTENTS)],
        replaces_columns=True,
        row_ids="derived",
        blocks=True,
        columns=flow,
    )


def ranked(frame: SemanticFrame, operator: TopKOperator, node: plans.Node) -> SemanticFrame:
    """The best rows, best first, with their ranks.

    Args:
        frame: The rows before they were gathered.
        operator: What compared them.
        node: Its node.
    """
    columns, schema, carried = frame.columns, frame.schema, _carried(frame)

    def apply(inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...]) -> pl.LazyFrame:
        estimating = DOUBT in hidden
        # Without an answer in a run (its budget ended), there is no order and no row.
        order = (_possible_order() if estimating else pl.col(ORDER)).fill_null(pl.lit([], pl.List(pl.UInt32)))
        lists = {name: pl.col(name) for name in columns}
        lists |= {_OF_ROWS + name: pl.col(_OF_ROWS + name) for name in hidden if name in carried}
        if estimating:
            lists = {name: one.fill_null([None]) for name, one in lists.items()}
        many = pl.col(ORDER).list.len()
        count = pl.int_ranges(1, many + 1, dtype=pl.UInt32)
        group = [pl.col(name).repeat_by(many).explode() for name in hidden if name in (DOUBT, PARENT)]
        rows = inputs[0].with_columns(order.alias(ORDER)).select(
            *(one.list.gather(pl.col(ORDER)).explode().alias(name) for name, one in lists.items()),
            *group,
            count.explode().alias(RANK),
            # Polars keeps the last column that nobody reads, to know how many rows there are: none that costs calls.
            count.explode().alias(_HEIGHT),
        )  # fmt: skip
        types = inputs[0].collect_schema()
        return rows.with_columns(_hidden_of_rows(hidden, operator, types)).select(*columns, _rank(hidden), *hidden)

    def flow(inputs: Sequence[pl.Schema], output: pl.Schema) -> Flow:
        order = Reads(columns=frozenset({(0, ORDER)}))
        return Flow(
            values={**{name: Reads(columns=frozenset({(0, name)})) for name in columns}, RANK: order}, rows=order
        )

    last = plans.step(
        RANKED,
        f"the {operator.k} best, as rows with their {RANK}",
        [node],
        apply,
        identity=str(operator.k),
        reads=[*(pl.col(name) for name in schema), pl.col(ORDER).alias(RANK)],
        replaces_columns=True,
        row_ids="derived",
        blocks=True,
        most_rows=operator.k,
        columns=flow,
    )
    return SemanticFrame(frame.session, last)


def _carried(frame: SemanticFrame) -> Mapping[str, pl.DataType]:
    """The hidden columns that a plan's rows may have, with their types."""
    keys = {hidden_key(name): dtype for name, dtype in key_columns(frame.node).items()}
    return {ROW_ID: pl.String(), DOUBT: DOUBT_TYPE, **keys}


def _of_group(name: str) -> pl.Expr:
    """A hidden column of the one row."""
    if name == ROW_ID:
        return derived_id(pl.lit("top_k"), pl.col(ROW_ID).min()).alias(ROW_ID)
    if name == DOUBT:
        return pl.col(DOUBT).bitwise_or().cast(DOUBT_TYPE)
    return group_key(name) if name.startswith(KEY_PREFIX) else pl.col(name).implode()


def _possible_order() -> pl.Expr:
    """In an estimate: all rows where an answer is missing, as each may be among the best."""
    every = pl.int_ranges(0, pl.col(CONTENTS).list.len().fill_null(1), dtype=pl.UInt32)
    return pl.when(_open()).then(every).otherwise(pl.col(ORDER))


def _open() -> pl.Expr:
    return (pl.col(DOUBT) & UNKNOWN) > 0


def _hidden_of_rows(hidden: Sequence[str], operator: TopKOperator, types: pl.Schema) -> list[pl.Expr]:
    """The hidden columns of the rows that come out."""
    made: list[pl.Expr] = []
    for name in hidden:
        own = pl.col(_OF_ROWS + name)
        if name == ROW_ID:
            one = derived_id(pl.lit("top_k"), pl.lit(operator.template.source), own)
        elif name == DOUBT:
            one = pl.when(_open()).then(own.fill_null(UNKNOWN) | UNKNOWN | PERHAPS).otherwise(own).cast(DOUBT_TYPE)
        elif name == PARENT:
            one = pl.concat_list(_OF_ROWS + ROW_ID, PARENT)
        elif _OF_ROWS + name in types:
            one = own.cast(types[name], strict=False)
        else:
            one = pl.lit(None, types[name])  # a key of a source that is joined later
        made.append(one.alias(name))
    return made


def _rank(hidden: Sequence[str]) -> pl.Expr:
    """In an estimate, null where it follows from a missing answer."""
    return pl.when(~_open()).then(pl.col(RANK)).alias(RANK) if DOUBT in hidden else pl.col(RANK)
