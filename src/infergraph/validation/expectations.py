"""Great Expectations on Polars rows: an expectation sees the columns that it needs, as pandas, and nothing else.

Great Expectations (imported when the first expectation is evaluated: that takes seconds) knows pandas and no Polars.
Its context is ephemeral, draws no progress bars and is put away again, so that a context of the user's own stays the
current one. It sends nothing: the installed versions have no analytics, and the switch for them is off all the same.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from infergraph.errors import PlanError, did_you_mean

_COLUMN_KEYS = ("column", "column_A", "column_B", "column_list")
_NAMES_ALONE = (
    "expect_column_to_exist", "expect_table_columns_to_match_ordered_list", "expect_table_columns_to_match_set",
    "expect_table_column_count_to_be_between", "expect_table_column_count_to_equal",
)  # fmt: skip
_ROWS_ALONE = ("expect_table_row_count_to_be_between", "expect_table_row_count_to_equal")
_COMPARE_VALUES = (
    "expect_column_values_to_be_between", "expect_column_min_to_be_between", "expect_column_max_to_be_between",
)  # fmt: skip
_NO_KWARGS = ("meta", "notes", "result_format", "catch_exceptions", "description", "severity", "rendered_content", "id")
_EXACT_IN_FLOAT = 2**53
_context = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """One expectation of a suite.

    Example:
        >>> given = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "id"}, "severity": "warning"}
        >>> one = Expectation.of(given)
        >>> one.columns, one.blocking
        (('id',), False)
        >>> str(one)
        "expect_column_values_to_not_be_null(column='id')"
    """

    type: str
    kwargs: Mapping[str, Any]
    severity: str
    """``critical``, ``warning`` or ``info``, as in Great Expectations."""
    description: str | None
    name: str | None
    """From ``meta={"name": ...}``."""
    given: Any = field(repr=False, compare=False)

    @classmethod
    def of(cls, given: Any) -> Expectation:
        """Read what a user wrote.

        Args:
            given: An object of ``great_expectations.expectations``, or its JSON form: a dict with ``type``, ``kwargs``
                and perhaps ``severity``, ``description``, ``meta``.

        Raises:
            PlanError: It is neither.
        """
        if isinstance(given, Mapping):
            return cls._of_dict(given)
        described = getattr(given, "configuration", None)
        if described is None or not hasattr(described, "kwargs") or not hasattr(described, "type"):
            raise PlanError(
                f"expectations=[{given!r:.80}]: give objects such as gxe.ExpectColumnValuesToNotBeNull(column='id'), "
                'or dicts: {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "id"}}.'
            )
        kwargs = {key: value for key, value in described.kwargs.items() if key not in _NO_KWARGS}
        severity = str(getattr(given.severity, "value", given.severity))
        return cls._made(described.type, kwargs, severity, given.description, given.meta, given)

    @classmethod
    def _of_dict(cls, given: Mapping[str, Any]) -> Expectation:
        known = ("type", "kwargs", "severity", "description", "meta", "notes", "id")
        for key in given:
            if key not in known:
                raise PlanError(f"expectations=[{dict(given)!r:.200}]: there is no {key!r}. {did_you_mean(key, known)}")
        kind, kwargs = given.get("type"), given.get("kwargs", {})
        if not isinstance(kind, str) or not isinstance(kwargs, Mapping):
            raise PlanError(f"expectations=[{dict(given)!r:.200}]: write 'type', a name, and 'kwargs', a dict.")
        return cls._made(
            kind, kwargs, given.get("severity", "critical"), given.get("description"), given.get("meta"), given
        )

    @classmethod
    def _made(
        cls, kind: str, kwargs: Mapping[str, Any], severity: Any, description: Any, meta: Any, given: Any
    ) -> Expectation:
        if severity not in ("critical", "warning", "info"):
            raise PlanError(f"{kind}: severity={severity!r}: write 'critical', 'warning' or 'info'.")
        name = (meta or {}).get("name")
        return cls(type=kind, kwargs=kwargs, severity=severity, description=description, name=name, given=given)

    @property
    def blocking(self) -> bool:
        """Whether a failure is critical."""
        return self.severity == "critical"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it names."""
        named: list[str] = []
        for key in _COLUMN_KEYS:
            value = self.kwargs.get(key)
            named += [value] if isinstance(value, str) else list(value or ())
        return tuple(dict.fromkeys(named))

    def needs(self, columns: Iterable[str]) -> tuple[str, ...]:
        """The columns whose values it looks at.

        Args:
            columns: Those that there are.
        """
        if self.type in (*_NAMES_ALONE, *_ROWS_ALONE):
            return ()
        there = list(columns)
        condition = self.kwargs.get("row_condition")
        asked = set(self.columns) | _columns_in(condition, there)
        # One that names no column and is not known here may look at any of them.
        return tuple(name for name in there if name in asked or not self.columns)

    def __str__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.kwargs.items() if value is not None)
        return f"{self.type}({arguments})"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of one expectation."""

    success: bool
    error: str
    """Why it could not be evaluated; empty: it was."""
    figures: Mapping[str, int | float]
    """Counts, percentages and an observed number: never a value of the rows."""
    failing: Sequence[int]
    """Places of the first rows that fail, where the expectation is about rows."""


def check_expectation(expectation: Expectation, columns: pl.Schema, where: str) -> None:
    """Raise ``PlanError`` where an expectation cannot be evaluated on rows with these columns.

    Args:
        expectation: Whichever; its arguments are checked by Great Expectations, which is imported for that. Bounds are
            tried on made-up values of the columns' types.
        columns: The columns and their types.
        where: What the error calls it.
    """
    made = _made(expectation, where)
    if expectation.type not in _NAMES_ALONE:
        for name in expectation.columns:
            if name not in columns:
                raise PlanError(f"{where}: there is no column {name!r}. {did_you_mean(name, columns)}")
    if any(word in expectation.type for word in ("query_results", "unexpected_rows", "other_table")):
        raise PlanError(f"{where}: {type(made).__name__} asks a database; these rows are in none.")
    _try_bounds(expectation, columns, where)


def _try_bounds(expectation: Expectation, columns: pl.Schema, where: str) -> None:
    """Only where they meet the values would bounds of another type be found, when all is spent."""
    given = {key: bound for key in ("min_value", "max_value") if (bound := expectation.kwargs.get(key)) is not None}
    needed = expectation.needs(columns)
    if not given or not expectation.columns or not needed:
        return
    types = [columns[name] for name in expectation.columns]
    if expectation.type in _COMPARE_VALUES and not all(_fits(one, bound) for one in types for bound in given.values()):
        error = "it is of another type"  # Great Expectations says of some that they fail, as if it were the rows' fault
    else:
        rows = pl.DataFrame([_typical(name, columns[name]) for name in needed])
        error = validate(expectation, rows.lazy(), sample=1).error
    if error:
        those = ", ".join(f"{name!r} ({columns[name]})" for name in expectation.columns)
        said = ", ".join(f"{key}={bound!r}" for key, bound in given.items())
        raise PlanError(f"{where}: {said} cannot be compared with values of {those}: {error}. Give it in their type.")


def _fits(dtype: pl.DataType, bound: Any) -> bool:
    """Whether values of a type can be compared with a bound; numbers may be given as text, and parameters by name."""
    if isinstance(bound, (str, Mapping)):
        return True
    if dtype in (pl.String, pl.Enum, pl.Categorical):
        return False
    number = isinstance(bound, (int, float, Decimal))
    return not number if dtype.is_temporal() else number if dtype.is_numeric() else True


def _typical(name: str, dtype: pl.DataType) -> pl.Series:
    """Two values of a type; nulls where none is known that would do."""
    if dtype == pl.String:
        return pl.Series(name, ["a", "b"])
    if isinstance(dtype, pl.Enum) and len(dtype.categories):
        return pl.Series(name, [dtype.categories[0]] * 2, dtype=dtype)
    known = dtype.is_numeric() or dtype.is_temporal() or dtype == pl.Boolean
    return pl.Series(name, [0, 1]).cast(dtype) if known else pl.Series(name, [None, None], dtype=dtype)


def validate(expectation: Expectation, rows: pl.LazyFrame, *, sample: int) -> Verdict:
    """Evaluate one expectation.

    Args:
        expectation: Checked by ``check_expectation``.
        rows: The rows; the columns that it needs are held in memory while it runs.
        sample: Places of failing rows to give at most.

    Returns:
        Whether it holds, and figures.
    """
    columns = rows.collect_schema().names()
    batch = _as_pandas(expectation, rows, columns)
    with _ephemeral_context() as context:
        source = context.data_sources.add_pandas("rows").add_dataframe_asset("rows")
        whole = source.add_batch_definition_whole_dataframe("rows").get_batch({"dataframe": batch})
        asked = {"result_format": "COMPLETE", "include_unexpected_rows": False}
        found = whole.validate(_made(expectation, expectation.type), result_format=asked)
    return _verdict(found, sample)


def _made(expectation: Expectation, where: str) -> Any:
    if not isinstance(expectation.given, Mapping):
        return expectation.given
    from great_expectations.exceptions.exceptions import ExpectationNotFoundError, GreatExpectationsError
    from great_expectations.expectations.registry import (
        get_expectation_impl,
        list_registered_expectation_implementations,
    )

    try:
        kind = get_expectation_impl(expectation.type)
    except ExpectationNotFoundError:
        known = list_registered_expectation_implementations()
        raise PlanError(
            f"{where}: there is no expectation {expectation.type!r}. {did_you_mean(expectation.type, known)}"
        ) from None
    try:
        return kind(**expectation.kwargs)
    except (ValueError, TypeError, GreatExpectationsError) as error:
        raise PlanError(f"{where}: {expectation}: {error}") from error


@contextmanager
def _ephemeral_context() -> Iterator[Any]:
    """A context of our own; the process's current one, of which there is only one, is put back afterwards."""
    import great_expectations as gx
    from great_expectations.data_context.data_context.context_factory import project_manager
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from great_expectations.exceptions.exceptions import DataContextRequiredError
    from tqdm import tqdm

    with _context:
        # Even a bar that is not drawn starts a thread that watches over bars.
        interval, tqdm.monitor_interval = tqdm.monitor_interval, 0
        try:
            before = project_manager.get_current_project()
        except DataContextRequiredError:
            before = None
        context = gx.get_context(mode="ephemeral")
        try:
            context.enable_analytics(False)
            context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
            yield context
        finally:
            project_manager.set_project(before)
            tqdm.monitor_interval = interval


def _verdict(found: Any, sample: int) -> Verdict:
    result = dict(found.result or {})
    plain = {key: value.item() if isinstance(value, np.generic) else value for key, value in result.items()}
    figures = {
        key: value
        for key, value in plain.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
    }
    error = next(iter(_exceptions(found.exception_info)), "")
    failing = [place for place in result.get("unexpected_index_list") or () if isinstance(place, int)]
    return Verdict(success=bool(found.success), error=error, figures=figures, failing=failing[:sample])


def _exceptions(info: Any) -> Iterator[str]:
    """The messages of what went wrong while metrics were computed, however they are nested."""
    if isinstance(info, Mapping):
        if info.get("raised_exception") is True:
            yield without_values(str(info.get("exception_message") or "an error without a message"))
        for inner in info.values():
            yield from _exceptions(inner)


def without_values(message: str) -> str:
    """The beginning of an error message, up to what may be quoted from the rows: they may be personal data.

    Example:
        >>> without_values("invalid literal for int() with base 10: 'Jane Doe'")
        'invalid literal for int() with base 10'
    """
    return re.split(r"['\"\[\n]", message, maxsplit=1)[0].rstrip(" :,(")[:200]


def _columns_in(condition: Any, columns: Sequence[str]) -> set[str]:
    """The columns that a row condition names: in a text any name that occurs in it, else its ``Column``s."""
    if condition is None:
        return set()
    if isinstance(condition, str):
        return {name for name in columns if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", condition)}
    plain = condition if isinstance(condition, (Mapping, list)) else condition.dict()
    return set(_named(plain)) & set(columns)


def _named(condition: Any) -> Iterator[str]:
    if isinstance(condition, Mapping):
        column = condition.get("column")
        if isinstance(column, Mapping):
            yield str(column.get("name"))
        for inner in condition.values():
            yield from _named(inner)
    elif isinstance(condition, (list, tuple)):
        for inner in condition:
            yield from _named(inner)


def _as_pandas(expectation: Expectation, rows: pl.LazyFrame, columns: Sequence[str]) -> Any:
    """The part of the rows that an expectation needs."""
    import pandas as pd

    if expectation.type in _NAMES_ALONE:
        return pd.DataFrame(columns=list(columns))
    if expectation.type in _ROWS_ALONE:
        return pd.DataFrame(index=range(rows.select(pl.len()).collect().item()))
    held = rows.select(expectation.needs(columns)).collect()
    return pd.DataFrame({name: _pandas_values(held.get_column(name)) for name in held.columns})


def _pandas_values(values: pl.Series) -> Any:
    """A column as pandas holds it, without pyarrow: numbers and times as arrays, the rest as Python objects."""
    import pandas as pd

    kind = values.dtype
    if kind in (pl.Enum, pl.Categorical):
        values = values.cast(pl.String)
    elif kind.is_integer() and values.null_count() and not _exact_in_float(values):
        return pd.Series(values.to_list(), dtype=object)
    elif kind.is_integer() or kind.is_float():
        return pd.Series(values.to_numpy())
    elif isinstance(kind, pl.Datetime) and kind.time_zone is not None:
        plain = values.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return pd.Series(plain.to_numpy()).dt.tz_localize("UTC")
    elif isinstance(kind, (pl.Datetime, pl.Duration)) or (kind == pl.Boolean and not values.null_count()):
        return pd.Series(values.to_numpy())
    return pd.Series(values.to_list(), dtype=object)


def _exact_in_float(values: pl.Series) -> bool:
    """Whether whole numbers stay what they are where pandas, which knows no null in them, holds them as floats."""
    return bool((values.cast(pl.Int128).abs() <= _EXACT_IN_FLOAT).all())
