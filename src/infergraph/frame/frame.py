"""``SemanticFrame``: a lazy plan over Polars, with the methods of a lazy frame and those that need a model.

The methods are listed, typed and checked when they are called; nothing runs before ``run``, ``collect``
or a ``sink_*``. Order is kept and results do not depend on threads: ``unique``, ``group_by`` and ``join``
keep the order of their rows, unlike their Polars namesakes' defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Literal, NoReturn, ParamSpec, TypeVar

import polars as pl

from infergraph.errors import PlanError, did_you_mean
from infergraph.frame import column_rules as rules
from infergraph.frame import plan as plans
from infergraph.frame.expressions import (
    column_names,
    expressions,
    function_identity,
    identity,
    keeps_rows_in_place,
    roots,
    spelt_out,
    text_of,
)
from infergraph.frame.keys import renumbered_keys
from infergraph.frame.row_ids import DOUBT, DOUBT_TYPE, ROW_ID, derived_id, join_hidden
from infergraph.frame.true_types import Apply
from infergraph.operators.subject import is_row_wise

if TYPE_CHECKING:
    from infergraph.column_lineage import ColumnLineage
    from infergraph.frame.combining import GroupBy
    from infergraph.frame.estimate import Estimate
    from infergraph.frame.run import Progress, RunOptions, RunResult, SinkResult
    from infergraph.frame.semantic import SemanticNamespace
    from infergraph.frame.session import Session

P = ParamSpec("P")
T = TypeVar("T")
IntoExpr = Any
"""What Polars takes where it takes an expression: an ``Expr``, a column's name, a value."""


class SemanticFrame:
    """A lazy plan over Polars, made by ``Session.frame`` and by the methods of another frame.

    Example:
        >>> import infergraph as ig, polars as pl
        >>> with ig.Session(models={"m": ig.Model("scripted:doc")}, default_model="m", store="sqlite://") as session:
        ...     frame = session.frame(pl.DataFrame({"id": [1, 2], "n": [3, 4]}), name="numbers", key="id")
        ...     frame.filter(pl.col("n") > 3).select("id").collect()["id"].to_list()
        [2]
    """

    def __init__(self, session: Session, node: plans.Node) -> None:
        self._session = session
        self._node = node

    # -- looking at it -----------------------------------------------------------------------------

    @property
    def session(self) -> Session:
        """The session that runs the plan."""
        return self._session

    @property
    def node(self) -> plans.Node:
        """The plan's last node."""
        return self._node

    @property
    def schema(self) -> pl.Schema:
        """Column names and types; nothing runs."""
        return self._node.schema

    @property
    def columns(self) -> list[str]:
        """Column names; nothing runs."""
        return list(self._node.schema)

    def collect_schema(self) -> pl.Schema:
        """Column names and types; nothing runs."""
        return self._node.schema

    def __repr__(self) -> str:
        columns = ", ".join(f"{name}: {dtype}" for name, dtype in self.schema.items())
        return f"SemanticFrame({columns})\n{plans.explain(self._node)}"

    def __getattr__(self, name: str) -> NoReturn:
        if not name.startswith("_") and hasattr(pl.LazyFrame, name):
            raise AttributeError(
                f"SemanticFrame has no method {name!r}: row ids could not travel through it. Write "
                f".map_frame(lambda lf: lf.{name}(...)), which ends the row trace, or do it before session.frame()."
            )
        public = [method for method in dir(type(self)) if not method.startswith("_")]
        raise AttributeError(f"SemanticFrame has no attribute {name!r}. {did_you_mean(name, public)}")

    @property
    def semantic(self) -> SemanticNamespace:
        """The operators: steps that need a model."""
        from infergraph.frame.semantic import SemanticNamespace

        return SemanticNamespace(self)

    def explain(self) -> str:
        """The plan as text: steps, operators with model, what waits for all rows, and what Polars makes of it.

        Returns:
            Several lines: the plan as a tree, the last step first; of each operator which rows reach it, whether
            anybody reads its answers, and whether another one asks the same; Polars' own plans. No data is read.
        """
        from infergraph.frame.economy import told
        from infergraph.frame.own_columns import in_words
        from infergraph.frame.run import polars_plans

        parts = [plans.explain(self._node), in_words(told(self._node)), in_words(polars_plans(self))]
        return "\n\n".join(part for part in parts if part)

    def fingerprint(self) -> str:
        """The plan's fingerprint: 32 hex digits, the same for plans that ask and compute the same."""
        return plans.fingerprint(self._node, self._session.answer_text)

    def column_lineage(self) -> ColumnLineage:
        """Where each column comes from: source columns, operators with prompt and model; nothing runs.

        Returns:
            ``.columns`` (by name: sources, operators, code that cannot be looked into), ``.rows`` (what decides which
            rows there are) and ``.operators``.
        """
        from infergraph.frame.column_fold import column_lineage

        return column_lineage(self._node, lambda name: self._session.models[name].name)

    def prompts(self, n: int = 3) -> list[dict[str, Any]]:
        """The exact messages of the first rows of each operator, unsent.

        Args:
            n: Rows of each operator, 1 or more.

        Returns:
            One dict a row and operator: ``operator``, ``model``, ``row_id``, ``messages`` (list of ``role`` and
            ``content``), ``schema`` (JSON schema or ``None``), ``request_hash``. Below an operator whose answers
            are not in the store, the rows that need them are left out.
        """
        from infergraph.frame.estimate import prompts

        return prompts(self, n)

    def estimate(self, options: RunOptions | None = None) -> Estimate:
        """What ``run`` would call, cost and take; no model is called.

        Args:
            options: The options that the run would get.
        """
        from infergraph.frame.estimate import estimate

        return estimate(self, options)

    # -- running it --------------------------------------------------------------------------------

    def run(
        self,
        *,
        row_ids: bool = False,
        limit: int | None = None,
        refresh: bool = False,
        retry_rejects: bool = False,
        model: str | None = None,
        max_cost_usd: float | None = None,
        max_age: timedelta | float | None = None,
        retry_model: str | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> RunResult:
        """Run the plan and hold the result in memory.

        Args:
            row_ids: Give the frame its row ids as last column ``_row_id``.
            limit: Read only the first so many rows of the plan's (leftmost) source.
            refresh: Ask again where the store has an answer, and replace it.
            retry_rejects: Ask again where the store remembers a rejection.
            model: A model of the session that takes the place of every chat operator's own.
            max_cost_usd: Money for this run; when it ends, rows not asked are pending.
            max_age: Treat answers older than this (a timedelta, or seconds) as missing.
            retry_model: With ``retry_rejects``, the model of the session that is asked there; all other rows keep
                theirs.
            on_progress: Called some times a second from the run's threads.

        Returns:
            ``.frame``, ``.rejects``, ``.usage``, ``.trace(row_id)``.

        Raises:
            ProviderRefused: Wrong key, unknown model or host: stops within seconds.
            ProviderDown: The provider was out of reach for too long; what was done is stored.
            StoreError: The store cannot be read or written.
        """
        from infergraph.frame.run import RunOptions, run

        options = RunOptions(
            limit=limit, refresh=refresh, retry_rejects=retry_rejects, model=model, max_cost_usd=max_cost_usd,
            max_age=max_age, retry_model=retry_model,
        )  # fmt: skip
        return run(self, options, row_ids=row_ids, on_progress=on_progress)

    def collect(self, **options: Any) -> pl.DataFrame:
        """The result's rows: the same as ``run(...).frame``, with the same options."""
        return self.run(**options).frame

    def sink_parquet(self, path: str | Path, **options: Any) -> SinkResult:
        """Stream the result to a Parquet file, which appears whole at the end.

        Args:
            path: The file; one beside it is written and renamed.
            options: As for ``run``, ``row_ids`` included.
        """
        return self._sink("parquet", path, options)

    def sink_csv(self, path: str | Path, **options: Any) -> SinkResult:
        """Stream the result to a CSV file, which appears whole at the end; options as for ``run``."""
        return self._sink("csv", path, options)

    def sink_ndjson(self, path: str | Path, **options: Any) -> SinkResult:
        """Stream the result to a file of JSON lines, which appears whole at the end; options as for ``run``."""
        return self._sink("ndjson", path, options)

    def _sink(self, kind: Literal["parquet", "csv", "ndjson"], path: str | Path, options: dict[str, Any]) -> SinkResult:
        from infergraph.frame.run import RunOptions, sink

        row_ids = options.pop("row_ids", False)
        on_progress = options.pop("on_progress", None)
        return sink(self, Path(path), kind, RunOptions.of(**options), row_ids=row_ids, on_progress=on_progress)

    # -- rows: filters, order, slices --------------------------------------------------------------

    def filter(self, *predicates: IntoExpr, **constraints: Any) -> SemanticFrame:
        """The rows for which all conditions are true, as ``pl.LazyFrame.filter``."""
        equal = [pl.col(name) == value for name, value in constraints.items()]
        conditions = spelt_out([*expressions(predicates, {}), *equal], self.schema)
        fed_by_answers = any(self._node.answers.intersection(roots(condition)) for condition in conditions)

        def apply(inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...]) -> pl.LazyFrame:
            if DOUBT not in hidden or not fed_by_answers:
                return inputs[0].filter(*conditions)
            # In an estimate a missing answer is null: such a row may stay or go.
            missing = (pl.col(DOUBT) & 1) > 0
            doubt = pl.when(missing).then(pl.col(DOUBT) | 2 | 8).otherwise(pl.col(DOUBT))
            return inputs[0].filter(missing | pl.all_horizontal(*conditions)).with_columns(doubt.alias(DOUBT))

        return self._step(
            "filter",
            text_of(conditions),
            apply,
            identity=[identity(c) for c in conditions],
            row_wise=all(is_row_wise(c) for c in conditions),
            columns=rules.kept(decided_by=conditions),
        )

    def sort(
        self,
        by: IntoExpr | Iterable[IntoExpr],
        *more_by: IntoExpr,
        descending: bool | Sequence[bool] = False,
        nulls_last: bool | Sequence[bool] = False,
        maintain_order: bool = True,
    ) -> SemanticFrame:
        """The rows in order, as ``pl.LazyFrame.sort``; equal rows keep their order."""
        keys = spelt_out(expressions((by, *more_by), {}), self.schema)
        options: dict[str, Any] = {
            "descending": descending,
            "nulls_last": nulls_last,
            "maintain_order": maintain_order,
        }
        return self._step(
            "sort",
            text_of(keys, descending=descending or None),
            lambda inputs, hidden: inputs[0].sort(keys, **options),
            identity=[[identity(key) for key in keys], options],
            blocks=True,
            columns=rules.kept(decided_by=keys),
        )

    def head(self, n: int = 5) -> SemanticFrame:
        """The first ``n`` rows."""
        _check_rows("head", n)
        return self._step("head", str(n), lambda inputs, hidden: inputs[0].head(n), most_rows=n, columns=rules.kept())

    def limit(self, n: int = 5) -> SemanticFrame:
        """The first ``n`` rows: the same as ``head``."""
        return self.head(n)

    def tail(self, n: int = 5) -> SemanticFrame:
        """The last ``n`` rows."""
        _check_rows("tail", n)
        return self._step(
            "tail",
            str(n),
            lambda inputs, hidden: inputs[0].tail(n),
            blocks=True,
            most_rows=n,
            columns=rules.kept(),
        )

    def slice(self, offset: int, length: int | None = None) -> SemanticFrame:
        """``length`` rows from ``offset``; a negative offset counts from the end."""
        return self._step(
            "slice",
            f"{offset}, {length}",
            lambda inputs, hidden: _sliced(inputs[0], offset, length),
            blocks=offset < 0,
            most_rows=length,
            columns=rules.kept(),
        )

    def unique(
        self,
        subset: Any = None,
        *,
        keep: Literal["first", "last", "any", "none"] = "first",
        maintain_order: bool = True,
    ) -> SemanticFrame:
        """Rows with no equal row before them; row ids do not count, order is kept."""
        names = self.columns if subset is None else self._names("unique", [subset])
        return self._step(
            "unique",
            "" if subset is None else ", ".join(names),
            lambda inputs, hidden: inputs[0].unique(names, keep=keep, maintain_order=maintain_order),
            identity=[names, keep, maintain_order],
            blocks=True,
            columns=rules.kept(names=names),
        )

    def drop_nulls(self, subset: Any = None) -> SemanticFrame:
        """Rows without a null in the columns of ``subset`` (default: in any column)."""
        names = self.columns if subset is None else self._names("drop_nulls", [subset])
        return self.filter(*[pl.col(name).is_not_null() for name in names])

    # -- columns -----------------------------------------------------------------------------------

    def select(self, *exprs: IntoExpr, **named: IntoExpr) -> SemanticFrame:
        """Only these columns, as ``pl.LazyFrame.select``.

        Where the expressions sort, drop or add up rows, the row trace ends and ``explain`` says so.
        """
        wanted = spelt_out(expressions(exprs, named), self.schema)
        if not wanted:
            raise PlanError("select() without a column: name at least one.")
        if not keeps_rows_in_place(wanted):
            return self._renumbered(
                "select",
                text_of(wanted),
                lambda lf: lf.select(wanted),
                [identity(e) for e in wanted],
                reads=wanted,
                columns=rules.by_expressions(wanted, keeps_others=False),
            )
        return self._step(
            "select",
            text_of(wanted),
            lambda inputs, hidden: inputs[0].select(*wanted, *hidden),
            identity=[identity(e) for e in wanted],
            reads=wanted,
            replaces_columns=True,
            row_wise=all(is_row_wise(e) for e in wanted),
            columns=rules.by_expressions(wanted, keeps_others=False),
        )

    def with_columns(self, *exprs: IntoExpr, **named: IntoExpr) -> SemanticFrame:
        """These columns added or replaced, as ``pl.LazyFrame.with_columns``."""
        added = spelt_out(expressions(exprs, named), self.schema)
        return self._step(
            "with_columns",
            text_of(added),
            lambda inputs, hidden: inputs[0].with_columns(added),
            identity=[identity(e) for e in added],
            reads=added,
            row_wise=all(is_row_wise(e) for e in added),
            columns=rules.by_expressions(added, keeps_others=True),
        )

    def with_row_index(self, name: str = "index", offset: int = 0) -> SemanticFrame:
        """A first column that counts the rows from ``offset`` (UInt32)."""
        return self._step(
            "with_row_index",
            f"{name!r}, {offset}",
            lambda inputs, hidden: inputs[0].with_row_index(name, offset),
            columns=rules.counted(name),
        )

    def drop(self, *columns: Any, strict: bool = True) -> SemanticFrame:
        """All columns but these."""
        given = [column for column in columns if strict or not isinstance(column, str) or column in self.schema]
        gone = self._names("drop", given)
        kept = [name for name in self.schema if name not in gone]
        return self._step(
            "drop", ", ".join(gone), lambda inputs, hidden: inputs[0].select(*kept, *hidden), columns=rules.kept()
        )

    def rename(self, mapping: Mapping[str, str] | Callable[[str], str], *, strict: bool = True) -> SemanticFrame:
        """Columns under new names: ``{"old": "new"}``, or a function from old to new name."""
        names = {name: mapping(name) for name in self.columns} if callable(mapping) else dict(mapping)
        return self._step(
            "rename",
            repr(names),
            lambda inputs, hidden: inputs[0].rename(names, strict=strict),
            renames=names,
            columns=rules.renamed(names),
        )

    def cast(self, dtypes: Any, *, strict: bool = True) -> SemanticFrame:
        """Columns in other types: one type for all, or ``{"column": type}``."""
        target = dict(dtypes) if isinstance(dtypes, Mapping) else dict.fromkeys(self.columns, dtypes)
        names = self.columns

        def apply(inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...]) -> pl.LazyFrame:
            # Types and selectors may stand for columns, and do not mean the hidden ones.
            after = inputs[0].select(names).cast(target).collect_schema()
            return inputs[0].cast(after, strict=strict)

        return self._step("cast", repr(target), apply, columns=rules.kept())

    def fill_null(
        self, value: Any | None = None, strategy: Any | None = None, limit: int | None = None
    ) -> SemanticFrame:
        """Nulls replaced by a value or by a strategy, as ``pl.LazyFrame.fill_null``."""
        if strategy is not None:
            filled = [pl.col(name).fill_null(strategy=strategy, limit=limit) for name in self.columns]
            text = f"strategy={strategy!r}, limit={limit}"
            return self._step(
                "fill_null",
                text,
                lambda inputs, hidden: inputs[0].with_columns(filled),
                blocks=True,
                columns=rules.kept(),
            )
        # Polars says that a filled Enum is text, and then gives an Enum: the cast makes both true.
        changed = [
            pl.col(name).fill_null(value).cast(dtype) for name, dtype in self.schema.items() if _takes(dtype, value)
        ]
        return self._step(
            "fill_null",
            repr(value),
            lambda inputs, hidden: inputs[0].with_columns(changed),
            identity=[identity(e) for e in changed],
            row_wise=True,
            columns=rules.by_expressions(changed, keeps_others=True),
        )

    def unnest(self, *columns: Any) -> SemanticFrame:
        """Struct columns replaced by their fields."""
        names = self._names("unnest", columns)
        return self._step(
            "unnest", ", ".join(names), lambda inputs, hidden: inputs[0].unnest(names), columns=rules.unnested(names)
        )

    def cache(self) -> SemanticFrame:
        """The rows so far computed once where several branches of the plan read them."""
        return self._step("cache", "", lambda inputs, hidden: inputs[0].cache(), columns=rules.kept())

    # -- more or fewer rows ------------------------------------------------------------------------

    def explode(self, *columns: Any) -> SemanticFrame:
        """One row for each element of the list columns; an id of its own follows from the parent's and the index."""
        names = self._names("explode", columns)
        for name in names:
            if not isinstance(self.schema[name], (pl.List, pl.Array)):
                raise PlanError(f".explode: {name!r} is {self.schema[name]}, not a List or an Array.")

        def apply(inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...]) -> pl.LazyFrame:
            if ROW_ID not in hidden:
                return inputs[0].explode(names)
            first = pl.col(names[0])
            length = (first if isinstance(self.schema[names[0]], pl.List) else first.arr.to_list()).list.len()
            return (
                inputs[0]
                .with_columns(pl.int_ranges(0, length).alias("__content"))
                .explode([*names, "__content"])
                .with_columns(derived_id(pl.col(ROW_ID), pl.col("__content")).alias(ROW_ID))
                .drop("__content")
            )

        return self._step("explode", ", ".join(names), apply, row_ids="derived", columns=rules.kept(names=names))

    def unpivot(
        self,
        on: Any = None,
        *,
        index: Any = None,
        variable_name: str = "variable",
        value_name: str = "value",
    ) -> SemanticFrame:
        """Columns turned into rows, as ``pl.LazyFrame.unpivot``."""
        kept = [] if index is None else self._names("unpivot", [index])
        turned = [c for c in self.columns if c not in kept] if on is None else self._names("unpivot", [on])

        def apply(inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...]) -> pl.LazyFrame:
            long = inputs[0].unpivot(turned, index=[*kept, *hidden], variable_name=variable_name, value_name=value_name)
            if ROW_ID not in hidden:
                return long
            ids = derived_id(pl.col(ROW_ID), pl.col(variable_name)).alias(ROW_ID)
            return long.with_columns(ids).select(*kept, variable_name, value_name, *hidden)

        facts = [turned, kept, variable_name, value_name]
        return self._step(
            "unpivot",
            ", ".join(turned),
            apply,
            identity=facts,
            row_ids="derived",
            blocks=True,
            columns=rules.unpivoted(turned, kept, variable_name, value_name),
        )

    def join(
        self,
        other: SemanticFrame | pl.LazyFrame | pl.DataFrame,
        on: Any = None,
        how: Literal["inner", "left", "right", "full", "semi", "anti", "cross"] = "inner",
        *,
        left_on: Any = None,
        right_on: Any = None,
        suffix: str = "_right",
        validate: Literal["m:m", "m:1", "1:m", "1:1"] = "m:m",
        nulls_equal: bool = False,
        coalesce: bool | None = None,
    ) -> SemanticFrame:
        """Rows put together by equal keys, as ``pl.LazyFrame.join``, in the left frame's order.

        ``other`` may be a semantic frame or a plain Polars frame.
        """
        right = self._other(other)
        options: dict[str, Any] = {
            "on": on, "how": how, "left_on": left_on, "right_on": right_on, "suffix": suffix, "validate": validate,
            "nulls_equal": nulls_equal, "coalesce": coalesce,
        }  # fmt: skip

        def apply(inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...]) -> pl.LazyFrame:
            carried = {name: f"{name}__other" for name in hidden}
            joined = inputs[0].join(inputs[1].rename(carried), maintain_order="left_right", **options)
            if not hidden or how in ("semi", "anti"):
                return joined
            return join_hidden(joined, hidden, carried)

        text = f"{left_on if on is None else on!r}, how={how!r}"
        facts = {name: _identities(value) for name, value in options.items()}
        ids: plans.RowIds = "kept" if how in ("semi", "anti") else "derived"
        return self._step(
            "join",
            text,
            apply,
            identity=facts,
            other=right,
            row_ids=ids,
            blocks=True,
            how=how,
            right_keys=_key_names(right_on if on is None else on),
            columns=rules.JoinRule(
                how=how,
                left=rules.join_keys(left_on if on is None else on),
                right=rules.join_keys(right_on if on is None else on),
                suffix=suffix,
                coalesce=coalesce,
            ),
        )

    def join_asof(
        self,
        other: SemanticFrame | pl.LazyFrame | pl.DataFrame,
        *,
        on: str | None = None,
        left_on: str | None = None,
        right_on: str | None = None,
        by: str | Sequence[str] | None = None,
        strategy: Literal["backward", "forward", "nearest"] = "backward",
        suffix: str = "_right",
        tolerance: Any = None,
    ) -> SemanticFrame:
        """Each row with the nearest row of ``other`` by a sorted key, as ``pl.LazyFrame.join_asof``."""
        right = self._other(other)
        given: dict[str, Any] = {
            "on": on, "left_on": left_on, "right_on": right_on, "by": by, "strategy": strategy, "suffix": suffix,
            "tolerance": tolerance,
        }  # fmt: skip
        options = {name: value for name, value in given.items() if value is not None}

        def apply(inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...]) -> pl.LazyFrame:
            carried = {name: f"{name}__other" for name in hidden}
            joined = inputs[0].join_asof(inputs[1].rename(carried), **options)
            return join_hidden(joined, hidden, carried) if hidden else joined

        facts = {name: _identities(value) for name, value in options.items()}
        return self._step(
            "join_asof",
            repr(on or left_on),
            apply,
            identity=facts,
            other=right,
            row_ids="derived",
            blocks=True,
            columns=rules.asof(on, left_on, right_on, by, suffix),
        )

    def group_by(self, *by: IntoExpr, **named: IntoExpr) -> GroupBy:
        """Groups of rows with equal keys; continue with ``.agg(...)``. Groups come in order of their first row."""
        from infergraph.frame.combining import GroupBy

        return GroupBy(self, spelt_out(expressions(by, named), self.schema))

    # -- other steps -------------------------------------------------------------------------------

    def pipe(self, function: Callable[Concatenate[SemanticFrame, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """``function(frame, *args, **kwargs)``, for chains."""
        return function(self, *args, **kwargs)

    def map_frame(self, function: Callable[[pl.LazyFrame], pl.LazyFrame]) -> SemanticFrame:
        """Any other step: a function from a Polars lazy frame to a lazy frame; ends the row trace.

        Args:
            function: Sees the visible columns; it is called once to learn the schema and once to run.
        """
        name = getattr(function, "__qualname__", repr(function))

        def checked(data: pl.LazyFrame) -> pl.LazyFrame:
            changed = function(data)
            if not isinstance(changed, pl.LazyFrame):
                raise PlanError(f".map_frame({name}): the function gave {type(changed).__name__}, not a pl.LazyFrame.")
            return changed

        return self._renumbered("map_frame", name, checked, function_identity(function))

    # -- building ----------------------------------------------------------------------------------

    def _other(self, other: SemanticFrame | pl.LazyFrame | pl.DataFrame) -> SemanticFrame:
        if isinstance(other, SemanticFrame):
            if other._session is not self._session:
                raise PlanError("The two frames belong to different sessions; make both with the same session.frame().")
            return other
        if isinstance(other, (pl.LazyFrame, pl.DataFrame)):
            return self._session.frame(other, name="other")
        raise PlanError(f"Give a SemanticFrame, pl.LazyFrame or pl.DataFrame, not {type(other).__name__}.")

    def _names(self, method: str, columns: Sequence[Any]) -> list[str]:
        return column_names(columns, self.schema, method)

    def _step(
        self,
        method: str,
        text: str,
        apply: Apply,
        *,
        identity: Any = None,
        other: SemanticFrame | None = None,
        **facts: Any,
    ) -> SemanticFrame:
        inputs = [self._node] if other is None else [self._node, other._node]
        whole = text if identity is None else repr(identity)
        return SemanticFrame(self._session, plans.step(method, text, inputs, apply, identity=whole, **facts))

    def _renumbered(
        self, method: str, text: str, change: Callable[[pl.LazyFrame], pl.LazyFrame], identity: Any, **facts: Any
    ) -> SemanticFrame:
        """A step that rows cannot be followed through: what comes out is numbered anew."""
        from infergraph.frame.compiling import renumbered

        names, doubt = self.columns, 3 if self._node.answers else 0

        def apply(inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...]) -> pl.LazyFrame:
            if not hidden:
                return change(inputs[0])
            changed = change(inputs[0].select(names))
            if ROW_ID in hidden:
                changed = renumbered(changed, f"{method}({text})")
                changed = changed.with_columns(
                    renumbered_keys(hidden, inputs[0].collect_schema(), changed.collect_schema())
                )
            # What the step makes of missing answers cannot be known: each row may differ or go.
            return changed.with_columns(pl.lit(doubt, DOUBT_TYPE).alias(DOUBT)) if DOUBT in hidden else changed

        return self._step(
            method, text, apply, identity=identity, row_ids="new", replaces_columns=True, blocks=True, **facts
        )


def _sliced(rows: pl.LazyFrame, offset: int, length: int | None) -> pl.LazyFrame:
    """The rows of ``slice``, of which no operator below is asked for those behind them."""
    if offset < 1 or length is None:
        return rows.slice(offset, length)
    # Polars hands down the limit of a head, not of a slice, and makes one slice of both if nothing stands between them.
    place = "__slice_place"
    return rows.head(offset + length).with_row_index(place).slice(offset, length).drop(place)


def _check_rows(method: str, n: int) -> None:
    if isinstance(n, bool) or not isinstance(n, int) or n < 0:
        raise PlanError(f".{method}({n!r}): give a number of rows, 0 or more.")


def _key_names(keys: Any) -> list[str]:
    """A join's keys as names; none where one of them is an expression."""
    given = keys if isinstance(keys, (list, tuple)) else [keys]
    return list(given) if all(isinstance(key, str) for key in given) else []


def _identities(value: Any) -> Any:
    """An argument of a join for the fingerprint: expressions in full."""
    if isinstance(value, (list, tuple)):
        return [_identities(item) for item in value]
    return identity(value) if isinstance(value, pl.Expr) else value


def _takes(dtype: pl.DataType, value: Any) -> bool:
    """Whether ``fill_null(value)`` of a whole frame would fill a column of this type."""
    if isinstance(value, pl.Expr):
        return True
    if isinstance(value, bool):
        return dtype == pl.Boolean
    if isinstance(value, (int, float)):
        return dtype.is_numeric() if isinstance(value, int) else dtype.is_float()
    if isinstance(value, str):
        return dtype in (pl.String, pl.Categorical, pl.Enum)
    return bool(dtype == pl.Series([value]).dtype)
