"""The plan: immutable nodes, each checked against its input's schema when it is built.

A node knows its visible schema and how to apply itself to Polars lazy frames. It runs nothing: ``run``,
``explain`` and ``estimate`` walk the same nodes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Literal

import polars as pl
from polars.exceptions import ColumnNotFoundError, PanicException, PolarsError, SchemaFieldNotFoundError

from infergraph.errors import PlanError, UnknownColumn, did_you_mean
from infergraph.frame.column_rules import ColumnRule
from infergraph.frame.expressions import identity as expression_identity
from infergraph.frame.expressions import roots
from infergraph.frame.keys import KEY_PREFIX
from infergraph.frame.row_ids import RESERVED
from infergraph.frame.true_types import Apply, truthful
from infergraph.models.model import Request
from infergraph.operators.naming import shown
from infergraph.operators.operator import RowOperator
from infergraph.operators.portable import portable
from infergraph.operators.rounds import RoundsOperator
from infergraph.operators.trying import check_text_functions
from infergraph.records import REJECT_COLUMNS

RowIds = Literal["kept", "derived", "new", "merged"]
"""``merged``: rows keep their ids, and those that were merged into one become its parents."""


@dataclass(frozen=True, kw_only=True)
class OpenRows:
    """In an estimate only: what is not known of a source's rows, since another plan's answers are missing.

    The source's data then has the column ``_doubt`` (see ``frame/doubt.py``).
    """

    answers: frozenset[str]
    """Columns that follow from those answers."""
    rows: bool
    """Those answers say which rows there are."""
    order: bool
    """Those answers say in which order the rows come."""
    fog: bool
    """There may be rows of which nothing is known."""
    most: int | None
    """At most so many rows come, where that is known."""
    times: int
    """How many rows each row may stand for."""
    usual_times: float
    """How many it probably stands for."""
    share: float
    """Share, 0 to 1, of the rows that may not come that is expected to come."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """Rows that come from outside: where every trace ends."""

    name: str
    data: pl.LazyFrame = field(repr=False)
    key: tuple[str, ...]
    schema: pl.Schema
    """Visible columns."""
    carries_ids: bool
    """The data has a ``_row_id`` column of an earlier run, which is used as it is."""
    open: OpenRows | None = field(default=None, repr=False)
    """What is not known of its rows; ``None``: they are there."""
    allowed_models: tuple[str, ...] | None = None
    """The only models that may see the rows; ``None``: all. See ``frame/allowing.py``."""

    @property
    def inputs(self) -> tuple[Node, ...]:
        """None: a source reads no other node."""
        return ()

    @property
    def answers(self) -> frozenset[str]:
        """Columns that follow from a model's answer: none, where the rows are there."""
        return frozenset() if self.open is None else self.open.answers

    def describe(self) -> str:
        """One line for ``explain``."""
        key = f", key={', '.join(self.key)}" if self.key else ""
        return f"source {self.name!r} ({len(self.schema)} columns{key})"


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """A plain Polars step: no model."""

    method: str
    text: str
    """The arguments, as a reader would type them."""
    identity: str = field(repr=False)
    """All arguments in full, for the fingerprint."""
    inputs: tuple[Node, ...]
    apply: Apply = field(repr=False)
    schema: pl.Schema
    answers: frozenset[str]
    row_ids: RowIds
    blocks: bool
    row_wise: bool
    """Each row that comes out follows from one row alone, with no look at other rows."""
    most_rows: int | None
    """At most so many rows come out, where the step says so (``head``, ``tail``, ``slice``)."""
    most_each: int
    """At most so many rows come out for each row of the first input, where the step says so (``sim_join``)."""
    how: str
    """A join's kind; empty for other steps."""
    right_keys: tuple[str, ...]
    """Names of the right frame's key columns, where a join has its keys by name."""
    columns: ColumnRule | None = field(repr=False)
    """How its columns follow from its inputs'; ``None``: it cannot be looked into."""
    order_by: tuple[pl.Expr, ...] = field(default=(), repr=False)
    """The expressions by which it orders the rows of each group (``reduce``), for messages."""
    finds_all: bool = False
    """Each row of the first input finds ``most_each`` rows where there are so many, however far they are."""

    def describe(self) -> str:
        """One line for ``explain``."""
        marks = [
            mark
            for mark, here in (
                ("waits for all rows", self.blocks),
                ("row ids derived", self.row_ids == "derived"),
                ("merged rows are traced", self.row_ids == "merged"),
                ("row trace ends here", self.row_ids == "new"),
            )
            if here
        ]
        return f"{self.method}({self.text})" + (f"  -- {', '.join(marks)}" if marks else "")


@dataclass(frozen=True, kw_only=True, eq=False)
class OperatorStep:
    """An operator: a step that needs a model."""

    operator: RowOperator | RoundsOperator = field(repr=False)
    name: str
    model: str
    """The deployment's name of the model."""
    where: pl.Expr | None = field(repr=False)
    keeps_undecided: bool
    """Only for ``filter``: a rejected row stays in the frame."""
    rows_by: str | None = None
    """A Boolean column of the input: a row where it is false is none of the operator's, unasked and uncounted."""
    inputs: tuple[Node]
    schema: pl.Schema
    answers: frozenset[str]

    @property
    def decides(self) -> bool:
        """Whether the answers say which rows stay, instead of adding columns."""
        return self.operator.kind in ("filter", "join") and not self.operator.writes

    @property
    def by_row(self) -> RowOperator:
        """The operator, which asks at most one request a row; not to be asked where there are ``rounds``."""
        assert not isinstance(self.operator, RoundsOperator), self.name
        return self.operator

    @property
    def rounds(self) -> RoundsOperator | None:
        """The operator, where it asks a row's requests in rounds."""
        return self.operator if isinstance(self.operator, RoundsOperator) else None

    @property
    def judges_by(self) -> tuple[str, ...]:
        """Input columns that answers are judged by, beside the responses."""
        return () if isinstance(self.operator, RoundsOperator) else self.operator.judges_by

    def sample_request(self, content: str = "x") -> Request:
        """A request that shows what all its (first) requests share.

        Args:
            content: What it is about, where the operator asks one request a row.
        """
        operator = self.operator
        return operator.sample() if isinstance(operator, RoundsOperator) else operator.request(content)

    def describe(self) -> str:
        """One line for ``explain``."""
        where = f" where {shown(self.where)}" if self.where is not None else ""
        return f"semantic.{self.operator.kind} {self.name!r} [model {self.model}]: {self.operator.describe()}{where}"


Node = Source | Step | OperatorStep


def source(
    data: pl.DataFrame | pl.LazyFrame,
    name: str,
    key: str | Sequence[str] | None,
    row_id: str,
    *,
    allowed_models: tuple[str, ...] | None = None,
) -> Source:
    """A checked source node."""
    lazy = data.lazy()
    schema = schema_of(lambda: lazy.collect_schema(), pl.Schema())
    keys = (key,) if isinstance(key, str) else tuple(key or ())
    for column in keys:
        if column not in schema:
            raise UnknownColumn(f"frame {name!r}: the key {column!r} is no column. {did_you_mean(column, schema)}")
    carries_ids = row_id in schema
    if carries_ids and schema[row_id] != pl.String:
        raise PlanError(f"frame {name!r}: the column name {row_id!r} is taken by row ids; rename yours first.")
    visible = pl.Schema({column: dtype for column, dtype in schema.items() if column != row_id})
    _refuse_reserved(f"frame {name!r}", visible)
    _refuse_unusable(name, visible, keys)
    return Source(
        name=name, data=lazy, key=keys, schema=visible, carries_ids=carries_ids, allowed_models=allowed_models
    )


def step(
    method: str,
    text: str,
    inputs: Sequence[Node],
    apply: Apply,
    *,
    identity: str,
    reads: Sequence[pl.Expr] = (),
    replaces_columns: bool = False,
    row_ids: RowIds = "kept",
    blocks: bool = False,
    renames: dict[str, str] | None = None,
    row_wise: bool = False,
    most_rows: int | None = None,
    most_each: int = 1,
    finds_all: bool = False,
    how: str = "",
    right_keys: Sequence[str] = (),
    columns: ColumnRule | None = None,
    answers: Callable[[frozenset[str]], frozenset[str]] | None = None,
) -> Step:
    """A checked plain step.

    Args:
        method: The frame method's name.
        text: Its arguments for ``explain``.
        identity: All its arguments in full, for the fingerprint.
        inputs: The nodes it reads, at least one.
        apply: Makes the lazy frame.
        reads: The step's expressions, where its columns come from expressions.
        replaces_columns: The output has only what ``reads`` gives (``select``, ``agg``).
        row_ids: What happens to row ids.
        blocks: It needs all rows before it gives the first.
        renames: Old name to new name.
        row_wise: Each row that comes out follows from one row alone.
        most_rows: At most so many rows come out.
        most_each: At most so many for each row of the first input, where the step is one that finds by vectors.
        finds_all: So many come for each row, where there are so many.
        how: A join's kind.
        right_keys: Names of a join's keys in the right frame.
        columns: How its columns follow from its inputs', for column lineage; ``None``: it cannot be looked into.
        answers: Changes which of its columns follow from a model's answers, where what is found by them does so too.

    Raises:
        UnknownColumn: An expression names a column that is not there.
        PlanError: Polars refuses the step for another reason.
    """
    empty = [pl.LazyFrame(schema=node.schema) for node in inputs]
    known = pl.Schema({name: dtype for node in inputs for name, dtype in node.schema.items()})
    schema = schema_of(lambda: apply(empty, ()).collect_schema(), known, where=f".{method}({text})")
    apply, schema = truthful(apply, empty, schema, reads, f".{method}({text})")
    _refuse_reserved(f".{method}({text})", schema)
    following = _answers_after(inputs, schema, reads, replaces_columns, renames or {})
    return Step(
        method=method, text=text, identity=identity, inputs=tuple(inputs), apply=apply, schema=schema,
        answers=following if answers is None else answers(following), row_ids=row_ids, blocks=blocks,
        row_wise=row_wise, most_rows=most_rows, most_each=most_each, how=how,
        right_keys=tuple(right_keys), columns=columns, finds_all=finds_all,
    )  # fmt: skip


def operator_step(
    operator: RowOperator | RoundsOperator,
    *,
    name: str,
    model: str,
    where: pl.Expr | None,
    keeps_undecided: bool,
    before: Node,
    rows_by: str | None = None,
) -> OperatorStep:
    """A checked operator node; the operator itself was checked when it was built."""
    if where is not None:
        check_text_functions(where, before.schema)
        empty = pl.LazyFrame(schema=before.schema).select(where.alias("where"))
        dtype = schema_of(lambda: empty.collect_schema(), before.schema, where=f"where={where}")["where"]
        where = where.cast(pl.Boolean) if dtype == pl.Null else where
        if dtype not in (pl.Boolean, pl.Null):
            raise PlanError(f"where={where} gives {dtype}, not Boolean: write a condition, such as pl.col('x') > 0.")
    schema = pl.Schema({**before.schema, **operator.writes})
    return OperatorStep(
        operator=operator, name=name, model=model, where=where, keeps_undecided=keeps_undecided, rows_by=rows_by,
        inputs=(before,), schema=schema, answers=before.answers | frozenset(operator.writes),
    )  # fmt: skip


def new_operator_name(operator: RowOperator | RoundsOperator, given: str | None, *before: Node) -> str:
    """The given name, or one after the operator's kind, that no other operator of the plan has.

    Raises:
        PlanError: The given name is empty or taken.
    """
    taken = {step.name for node in before for step in operator_steps(node)}
    if given is not None:
        if not isinstance(given, str) or not given or given in taken:
            raise PlanError(f"name={given!r}: give each operator a name of its own; taken: {sorted(taken)}.")
        return given
    number = 1
    while (name := operator.kind if number == 1 else f"{operator.kind}_{number}") in taken:
        number += 1
    return name


def walk(node: Node) -> Iterator[Node]:
    """Every node of the plan once, inputs before the nodes that read them."""
    seen: set[int] = set()

    def visit(current: Node) -> Iterator[Node]:
        if id(current) in seen:
            return
        seen.add(id(current))
        for before in current.inputs:
            yield from visit(before)
        yield current

    yield from visit(node)


def operator_steps(node: Node) -> list[OperatorStep]:
    """The plan's operators in the order they run."""
    return [current for current in walk(node) if isinstance(current, OperatorStep)]


def fingerprint(node: Node, model_text: Callable[[str], str]) -> str:
    """A text of 32 hex digits: another one wherever a step, a prompt, a schema or a model differs.

    A function of the user's counts by its name and its own code; what that code calls is not looked at.

    Args:
        node: The last node.
        model_text: What determines the answers of a deployment's model, by its name.
    """
    digest = blake2b(digest_size=16)
    places: dict[int, int] = {}
    for current in walk(node):
        if isinstance(current, OperatorStep):
            where = "" if current.where is None else expression_identity(current.where)
            writes = [f"{name}:{dtype}" for name, dtype in current.operator.writes.items()]
            parts = [current.operator.kind, current.operator.fingerprint(), model_text(current.model), where, *writes]
            parts.append(str(current.keeps_undecided))
        elif isinstance(current, Step):
            parts = [current.method, current.identity]
        else:
            parts = [current.name, *current.key, *(f"{name}:{dtype}" for name, dtype in current.schema.items())]
        places[id(current)] = len(places)
        digest.update(portable(repr([parts, [places[id(before)] for before in current.inputs]])).encode())
    return digest.hexdigest()


def reads_twice(node: Node) -> bool:
    """Whether two branches of the plan read the same operator."""
    readers = Counter(id(before) for current in walk(node) for before in current.inputs)
    return any(readers[id(current)] > 1 for current in walk(node) if operator_steps(current))


def operator_names(node: Node) -> dict[int, str]:
    """Names by ``id(step)``, unique in the plan: frames that are joined may bring the same name twice."""
    names: dict[int, str] = {}
    for current in operator_steps(node):
        name, number = current.name, 1
        while name in names.values():
            number += 1
            name = f"{current.name}_{number}"
        names[id(current)] = name
    return names


def explain(node: Node) -> str:
    """The plan as a tree, the last step first, with what each operator reads and writes."""
    from infergraph.frame.own_columns import in_words, read_columns, written_columns

    lines: list[str] = []
    seen: set[int] = set()
    same = _asking_the_same(node)

    def visit(current: Node, depth: int) -> None:
        if id(current) in seen and operator_steps(current):
            lines.append("  " * depth + current.describe() + "  -- as above, its rows are asked once")
            return
        seen.add(id(current))
        lines.append("  " * depth + current.describe())
        if id(current) in same:
            lines.append("  " * depth + f"    asks the same as {same[id(current)]!r}: equal rows are asked once")
        if isinstance(current, OperatorStep):
            writes = ", ".join(f"{name}: {dtype}" for name, dtype in written_columns(current).items())
            decides = "keeps the rows for which it is true" if current.decides else "decides which pairs match"
            effect = f"writes {writes}" if writes else decides
            lines.append("  " * depth + f"    reads {', '.join(read_columns(current))}; {effect}")
        for before in current.inputs:
            visit(before, depth + 1)

    visit(node, 0)
    return in_words("\n".join(lines))


def _asking_the_same(node: Node) -> dict[int, str]:
    """The name of the first operator with the same question to the same model, by ``id`` of the later step."""
    names, first, same = operator_names(node), dict[tuple[str, str], str](), dict[int, str]()
    for current in operator_steps(node):
        question = (current.model, current.operator.fingerprint())
        if question in first:
            same[id(current)] = first[question]
        else:
            first[question] = names[id(current)]
    return same


def schema_of(resolve: Callable[[], pl.Schema], known: pl.Schema, where: str = "frame") -> pl.Schema:
    """What Polars says of a step's columns, or why there are none.

    Args:
        resolve: Asks Polars.
        known: The columns that could have been named.
        where: What errors call the step.

    Raises:
        UnknownColumn: The step names a column that is not there.
        PlanError: Polars refuses the step for another reason.
    """
    try:
        return resolve()
    except (ColumnNotFoundError, SchemaFieldNotFoundError) as error:
        missing = re.search(r'"([^"]*)"', str(error))
        name = missing.group(1) if missing else str(error).splitlines()[0]
        raise UnknownColumn(f"{where}: unknown column {name!r}. {did_you_mean(name, known)}") from None
    except (PolarsError, PanicException, TypeError, ValueError) as error:
        raise PlanError(f"{where}: {str(error).split('Resolved plan')[0].strip()}") from None


def _refuse_unusable(name: str, schema: pl.Schema, keys: Sequence[str]) -> None:
    for column, dtype in schema.items():
        if column == "*" or (column.startswith("^") and column.endswith("$")):
            raise PlanError(
                f"frame {name!r}: Polars reads the column name {column!r} as a pattern; rename the column before "
                "session.frame()."
            )
        if dtype == pl.Object:
            raise PlanError(
                f"frame {name!r}: the column {column!r} holds Python objects, which cannot be stored; cast or drop it."
            )
    for column in keys:
        if column == "row_id" or column in REJECT_COLUMNS:
            raise PlanError(
                f"frame {name!r}: the key {column!r} has the name of a column of the rejects; rename it, for example "
                f"to {column + '_key'!r}."
            )


def _refuse_reserved(where: str, schema: pl.Schema) -> None:
    for name in schema:
        if name in RESERVED or name.startswith(KEY_PREFIX):
            raise PlanError(f"{where}: the column name {name!r} is reserved; choose another name.")


def _answers_after(
    inputs: Sequence[Node],
    schema: pl.Schema,
    reads: Sequence[pl.Expr],
    replaces_columns: bool,
    renames: dict[str, str],
) -> frozenset[str]:
    before = frozenset(name for node in inputs for name in node.answers)
    if not before:
        return before
    known = {name for node in inputs for name in node.schema}
    after = {renames.get(name, name) for name in before}
    for expression in reads:
        read, by_all = roots(expression), set(expression.meta.root_names())
        outputs = pl.LazyFrame(schema=inputs[0].schema).select(expression).collect_schema().names()
        for output in outputs:
            if len(outputs) > 1 and output in known and not before & by_all:
                continue  # one of several columns under its own name: it keeps what it had
            if before & read:
                after.add(output)
            elif replaces_columns or output in known:
                after.discard(output)
    if not reads and not renames:
        after |= {name for name in schema if name not in known}
    return frozenset(after.intersection(schema))
