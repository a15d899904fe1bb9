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

from infergraph.errors import PlanError, UnknownColumn, did_you_mean
from infergraph.frame import plan as plans
from infergraph.frame.row_ids import DOUBT, ROW_ID, blind, derived_id, keeps_rows_in_place

if TYPE_CHECKING:
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
            Several lines; nothing runs.
        """
        from infergraph.frame.run import polars_plans

        return f"{plans.explain(self._node)}\n\n{polars_plans(self)}"

    def fingerprint(self) -> str:
        """The plan's fingerprint: 32 hex digits, the same for plans that ask and compute the same."""
        return plans.fingerprint(self._node, self._session.answer_text)

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
            max_age=max_age,
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
        conditions = _expressions(predicates, {}) + [pl.col(name) == value for name, value in constraints.items()]
        fed_by_answers = any(
            self._node.answers.intersection(root) for root in (_roots(c, self.schema) for c in conditions)
        )

        def apply(inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...]) -> pl.LazyFrame:
            blinded = [blind(condition, hidden) for condition in conditions]
            if DOUBT not in hidden or not fed_by_answers:
                return inputs[0].filter(*blinded)
            # In an estimate a missing answer is null: such a row may stay or go.
            missing = (pl.col(DOUBT) & 1) > 0
            doubt = pl.when(missing).then(pl.col(DOUBT) | 2).otherwise(pl.col(DOUBT))
            return inputs[0].filter(missing | pl.all_horizontal(*blinded)).with_columns(doubt.alias(DOUBT))

        return self._step("filter", _text(conditions), apply)

    def sort(
        self,
        by: IntoExpr | Iterable[IntoExpr],
        *more_by: IntoExpr,
        descending: bool | Sequence[bool] = False,
        nulls_last: bool | Sequence[bool] = False,
        maintain_order: bool = True,
    ) -> SemanticFrame:
        """The rows in order, as ``pl.LazyFrame.sort``; equal rows keep their order."""
        keys = _expressions((by, *more_by), {})
        return self._step(
            "sort",
            _text(keys, descending=descending if descending else None),
            lambda inputs, hidden: inputs[0].sort(
                [blind(key, hidden) for key in keys],
                descending=descending,
                nulls_last=nulls_last,
                maintain_order=maintain_order,
            ),
            blocks=True,
        )

    def head(self, n: int = 5) -> SemanticFrame:
        """The first ``n`` rows."""
        return self._step("head", str(n), lambda inputs, hidden: inputs[0].head(n))

    def limit(self, n: int = 5) -> SemanticFrame:
        """The first ``n`` rows: the same as ``head``."""
        return self.head(n)

    def tail(self, n: int = 5) -> SemanticFrame:
        """The last ``n`` rows."""
        return self._step("tail", str(n), lambda inputs, hidden: inputs[0].tail(n), blocks=True)

    def slice(self, offset: int, length: int | None = None) -> SemanticFrame:
        """``length`` rows from ``offset``; a negative offset counts from the end."""
        return self._step(
            "slice", f"{offset}, {length}", lambda inputs, hidden: inputs[0].slice(offset, length), blocks=offset < 0
        )

    def unique(
        self,
        subset: str | Sequence[str] | None = None,
        *,
        keep: Literal["first", "last", "any", "none"] = "first",
        maintain_order: bool = True,
    ) -> SemanticFrame:
        """Rows with no equal row before them; row ids do not count, order is kept."""
        names = [subset] if isinstance(subset, str) else list(subset) if subset is not None else self.columns
        return self._step(
            "unique",
            "" if subset is None else ", ".join(names),
            lambda inputs, hidden: inputs[0].unique(names, keep=keep, maintain_order=maintain_order),
            blocks=True,
        )

    def drop_nulls(self, subset: str | Sequence[str] | None = None) -> SemanticFrame:
        """Rows without a null in the columns of ``subset`` (default: in any column)."""
        names = [subset] if isinstance(subset, str) else list(subset) if subset is not None else self.columns
        for name in names:
            if name not in self.schema:
                raise UnknownColumn(f".drop_nulls: unknown column {name!r}. {did_you_mean(name, self.columns)}")
        return self.filter(*[pl.col(name).is_not_null() for name in names])

    # -- columns -----------------------------------------------------------------------------------

    def select(self, *exprs: IntoExpr, **named: IntoExpr) -> SemanticFrame:
        """Only these columns, as ``pl.LazyFrame.select``.

        Where the expressions sort, drop or add up rows, the row trace ends and ``explain`` says so.
        """
        wanted = _expressions(exprs, named)
        # Checked before looking at rows, so that an unknown column gets its own message.
        checked = self._step(
            "select",
            _text(wanted),
            lambda inputs, hidden: inputs[0].select(wanted),
            reads=wanted,
            replaces_columns=True,
        )
        if not keeps_rows_in_place(wanted, self.schema):
            return self._renumbered("select", _text(wanted), lambda lf: lf.select(wanted), reads=wanted)

        def apply(inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...]) -> pl.LazyFrame:
            return inputs[0].select(*[blind(e, hidden) for e in wanted], *hidden)

        return self._step("select", _text(wanted), apply, reads=wanted, replaces_columns=True) if wanted else checked

    def with_columns(self, *exprs: IntoExpr, **named: IntoExpr) -> SemanticFrame:
        """These columns added or replaced, as ``pl.LazyFrame.with_columns``."""
        added = _expressions(exprs, named)

        def apply(inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...]) -> pl.LazyFrame:
            return inputs[0].with_columns([blind(e, hidden) for e in added])

        return self._step("with_columns", _text(added), apply, reads=added)

    def with_row_index(self, name: str = "index", offset: int = 0) -> SemanticFrame:
        """A first column that counts the rows from ``offset`` (UInt32)."""
        return self._step("with_row_index", repr(name), lambda inputs, hidden: inputs[0].with_row_index(name, offset))

    def drop(self, *columns: Any, strict: bool = True) -> SemanticFrame:
        """All columns but these."""
        dropped = [c for column in columns for c in ([column] if not isinstance(column, (list, tuple)) else column)]
        gone = (
            set(self._schema_after(lambda lf: lf.select(dropped) if strict else lf, "drop"))
            if strict
            else {name for name in dropped if name in self.schema}
        )
        kept = [name for name in self.schema if name not in gone]
        return self._step("drop", ", ".join(sorted(gone)), lambda inputs, hidden: inputs[0].select(*kept, *hidden))

    def rename(self, mapping: Mapping[str, str], *, strict: bool = True) -> SemanticFrame:
        """Columns under new names: ``{"old": "new"}``."""
        names = dict(mapping)
        return self._step(
            "rename", repr(names), lambda inputs, hidden: inputs[0].rename(names, strict=strict), renames=names
        )

    def cast(self, dtypes: Any, *, strict: bool = True) -> SemanticFrame:
        """Columns in other types: one type for all, or ``{"column": type}``."""
        target = dict(dtypes) if isinstance(dtypes, Mapping) else dict.fromkeys(self.columns, dtypes)
        return self._step("cast", repr(target), lambda inputs, hidden: inputs[0].cast(target, strict=strict))

    def fill_null(
        self, value: Any | None = None, strategy: Any | None = None, limit: int | None = None
    ) -> SemanticFrame:
        """Nulls replaced by a value or by a strategy, as ``pl.LazyFrame.fill_null``."""
        if strategy is not None:
            filled = [pl.col(name).fill_null(strategy=strategy, limit=limit) for name in self.columns]
            text = f"strategy={strategy!r}"
            return self._step("fill_null", text, lambda inputs, hidden: inputs[0].with_columns(filled), blocks=True)
        schema = self._schema_after(lambda lf: lf.fill_null(value), "fill_null")
        changed = [
            pl.col(name).fill_null(value).cast(schema[name])
            for name, dtype in self.schema.items()
            if _takes(dtype, value)
        ]
        return self._step("fill_null", repr(value), lambda inputs, hidden: inputs[0].with_columns(changed))

    def unnest(self, *columns: str | Sequence[str]) -> SemanticFrame:
        """Struct columns replaced by their fields."""
        names = [c for column in columns for c in ([column] if isinstance(column, str) else column)]
        return self._step("unnest", ", ".join(names), lambda inputs, hidden: inputs[0].unnest(names))

    def cache(self) -> SemanticFrame:
        """The rows so far computed once where several branches of the plan read them."""
        return self._step("cache", "", lambda inputs, hidden: inputs[0].cache())

    # -- more or fewer rows ------------------------------------------------------------------------

    def explode(self, *columns: str | Sequence[str]) -> SemanticFrame:
        """One row for each element of the list columns; an id of its own follows from the parent's and the index."""
        names = [c for column in columns for c in ([column] if isinstance(column, str) else column)]

        def apply(inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...]) -> pl.LazyFrame:
            if ROW_ID not in hidden:
                return inputs[0].explode(names)
            length = pl.col(names[0]).list.len()
            return (
                inputs[0]
                .with_columns(pl.int_ranges(0, length).alias("__content"))
                .explode([*names, "__content"])
                .with_columns(derived_id(pl.col(ROW_ID), pl.col("__content")).alias(ROW_ID))
                .drop("__content")
            )

        return self._step("explode", ", ".join(names), apply, row_ids="derived")

    def unpivot(
        self,
        on: str | Sequence[str] | None = None,
        *,
        index: str | Sequence[str] | None = None,
        variable_name: str = "variable",
        value_name: str = "value",
    ) -> SemanticFrame:
        """Columns turned into rows, as ``pl.LazyFrame.unpivot``."""
        kept = [index] if isinstance(index, str) else list(index or ())
        turned = (
            [on] if isinstance(on, str) else list(on) if on is not None else [c for c in self.columns if c not in kept]
        )

        def apply(inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...]) -> pl.LazyFrame:
            long = inputs[0].unpivot(turned, index=[*kept, *hidden], variable_name=variable_name, value_name=value_name)
            if ROW_ID not in hidden:
                return long
            ids = derived_id(pl.col(ROW_ID), pl.col(variable_name)).alias(ROW_ID)
            return long.with_columns(ids).select(*kept, variable_name, value_name, *hidden)

        return self._step("unpivot", ", ".join(turned), apply, row_ids="derived", blocks=True)

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

        def apply(inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...]) -> pl.LazyFrame:
            left_frame, right_frame = inputs
            carried = {name: f"{name}__other" for name in hidden}
            joined = left_frame.join(
                right_frame.rename(carried),
                on=on, how=how, left_on=left_on, right_on=right_on, suffix=suffix, validate=validate,
                nulls_equal=nulls_equal, coalesce=coalesce, maintain_order="left_right",
            )  # fmt: skip
            if not hidden or how in ("semi", "anti"):
                return joined
            return _join_hidden(joined, hidden, carried)

        kept = how in ("semi", "anti")
        text = f"{'other' if on is None else on!r}, how={how!r}"
        return self._step("join", text, apply, other=right, row_ids="kept" if kept else "derived", blocks=True)

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
        options: dict[str, Any] = {"on": on, "left_on": left_on, "right_on": right_on, "by": by, "strategy": strategy}

        def apply(inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...]) -> pl.LazyFrame:
            carried = {name: f"{name}__other" for name in hidden}
            joined = inputs[0].join_asof(
                inputs[1].rename(carried),
                suffix=suffix,
                tolerance=tolerance,
                **{name: value for name, value in options.items() if value is not None},
            )
            return _join_hidden(joined, hidden, carried) if hidden else joined

        return self._step("join_asof", repr(on or left_on), apply, other=right, row_ids="derived", blocks=True)

    def group_by(self, *by: IntoExpr, **named: IntoExpr) -> GroupBy:
        """Groups of rows with equal keys; continue with ``.agg(...)``. Groups come in order of their first row."""
        return GroupBy(self, _expressions(by, named))

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
        return self._renumbered("map_frame", name, function)

    # -- building ----------------------------------------------------------------------------------

    def _other(self, other: SemanticFrame | pl.LazyFrame | pl.DataFrame) -> SemanticFrame:
        if isinstance(other, SemanticFrame):
            if other._session is not self._session:
                raise PlanError("The two frames belong to different sessions; make both with the same session.frame().")
            return other
        if isinstance(other, (pl.LazyFrame, pl.DataFrame)):
            return self._session.frame(other, name="other")
        raise PlanError(f"Give a SemanticFrame, pl.LazyFrame or pl.DataFrame, not {type(other).__name__}.")

    def _schema_after(self, change: Callable[[pl.LazyFrame], pl.LazyFrame], method: str) -> pl.Schema:
        return plans.step(method, "", [self._node], lambda inputs, hidden: change(inputs[0])).schema

    def _step(
        self,
        method: str,
        text: str,
        apply: plans.Apply,
        *,
        other: SemanticFrame | None = None,
        **facts: Any,
    ) -> SemanticFrame:
        inputs = [self._node] if other is None else [self._node, other._node]
        return SemanticFrame(self._session, plans.step(method, text, inputs, apply, **facts))

    def _renumbered(
        self, method: str, text: str, change: Callable[[pl.LazyFrame], pl.LazyFrame], **facts: Any
    ) -> SemanticFrame:
        """A step that rows cannot be followed through: what comes out is numbered anew."""
        from infergraph.frame.compiling import renumbered

        names, doubt = self.columns, 3 if self._node.answers else 0

        def apply(inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...]) -> pl.LazyFrame:
            if not hidden:
                return change(inputs[0])
            changed = change(inputs[0].select(names))
            changed = renumbered(changed, f"{method}({text})") if ROW_ID in hidden else changed
            # What the step makes of missing answers cannot be known: each row may differ or go.
            return changed.with_columns(pl.lit(doubt, pl.Int8).alias(DOUBT)) if DOUBT in hidden else changed

        return self._step(method, text, apply, row_ids="new", replaces_columns=True, blocks=True, **facts)


class GroupBy:
    """Groups of a frame's rows, waiting for their aggregation."""

    def __init__(self, frame: SemanticFrame, keys: list[pl.Expr]) -> None:
        self._frame = frame
        self._keys = keys

    def agg(self, *aggs: IntoExpr, **named: IntoExpr) -> SemanticFrame:
        """One row a group: the keys, then these columns, as ``pl.LazyFrame.group_by(...).agg``.

        The group's row id follows from its keys.
        """
        keys, wanted = self._keys, _expressions(aggs, named)

        def apply(inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...]) -> pl.LazyFrame:
            doubt = [pl.col(DOUBT).max()] if DOUBT in hidden else []
            grouped = (
                inputs[0]
                .group_by([blind(key, hidden) for key in keys], maintain_order=True)
                .agg(*[blind(e, hidden) for e in wanted], *doubt)
            )
            if ROW_ID not in hidden:
                return grouped
            names = [key.meta.output_name() for key in keys]
            return grouped.with_columns(
                derived_id(pl.lit("group"), pl.struct(names).struct.json_encode()).alias(ROW_ID)
            ).select(pl.exclude(*hidden), *hidden)

        return self._frame._step(
            "group_by.agg", _text([*keys, *wanted]), apply, reads=[*keys, *wanted], replaces_columns=True,
            row_ids="derived", blocks=True,
        )  # fmt: skip


def concat(
    frames: Iterable[SemanticFrame], *, how: Literal["vertical", "vertical_relaxed", "diagonal"] = "vertical"
) -> SemanticFrame:
    """Frames under one another, as ``pl.concat``; rows keep their ids and the frames' order.

    Args:
        frames: One frame or more, of the same session.
        how: ``vertical``: the same columns; ``vertical_relaxed``: types may be widened; ``diagonal``: missing
            columns become null.

    Returns:
        The rows of all frames, first frame first.

    Raises:
        PlanError: No frame, frames of different sessions, or columns that do not fit.

    Example:
        >>> import infergraph as ig, polars as pl
        >>> with ig.Session(models={"m": ig.Model("scripted:doc")}, default_model="m", store="sqlite://") as session:
        ...     a = session.frame(pl.DataFrame({"x": [1]}), name="a")
        ...     b = session.frame(pl.DataFrame({"x": [2]}), name="b")
        ...     ig.concat([a, b]).collect()["x"].to_list()
        [1, 2]
    """
    parts = list(frames)
    if not parts:
        raise PlanError("ig.concat([]): give at least one frame.")
    first = parts[0]
    checked = [first, *(first._other(part) for part in parts[1:])]
    node = plans.step("concat", how, [part.node for part in checked], lambda inputs, hidden: pl.concat(inputs, how=how))
    return SemanticFrame(first.session, node)


def _join_hidden(joined: pl.LazyFrame, hidden: tuple[str, ...], carried: dict[str, str]) -> pl.LazyFrame:
    columns: list[pl.Expr] = []
    if ROW_ID in hidden:
        columns.append(derived_id(pl.col(ROW_ID), pl.col(carried[ROW_ID])).alias(ROW_ID))
    if DOUBT in hidden:
        columns.append((pl.col(DOUBT).fill_null(0) | pl.col(carried[DOUBT]).fill_null(0)).alias(DOUBT))
    return joined.with_columns(columns).select(pl.exclude(*hidden, *carried.values()), *hidden)


def _expressions(exprs: Sequence[Any], named: Mapping[str, Any]) -> list[pl.Expr]:
    flat: list[Any] = []
    for item in exprs:
        flat.extend(item if isinstance(item, (list, tuple)) else [item])
    wanted = [_expression(item) for item in flat]
    return [*wanted, *(_expression(item).alias(name) for name, item in named.items())]


def _expression(item: Any) -> pl.Expr:
    if isinstance(item, pl.Expr):
        return item
    if isinstance(item, str):
        return pl.col(item)
    if isinstance(item, pl.Series):
        raise PlanError("A Series has no place in a lazy plan: join it as a frame, or use pl.lit for one value.")
    return pl.lit(item)


def _roots(expression: pl.Expr, schema: pl.Schema) -> set[str]:
    if expression.meta.has_multiple_outputs():
        return set(schema)
    return set(expression.meta.root_names())


def _text(expressions: Sequence[pl.Expr], **options: Any) -> str:
    parts = [str(expression) for expression in expressions]
    return ", ".join([*parts, *(f"{name}={value!r}" for name, value in options.items() if value is not None)])


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
