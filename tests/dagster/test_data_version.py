"""Laws of the data version: it follows the rows, and nothing but the rows."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import infergraph as ig
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, StoreResource
from infergraph.dagster.data_version import rows_digest
from infergraph.dagster.resources import close_sessions
from infergraph.errors import PlanError

SCHEMA: dict[str, Any] = {
    "whole": pl.Int64(),
    "small": pl.UInt8(),
    "real": pl.Float64(),
    "text": pl.String(),
    "raw": pl.Binary(),
    "yes": pl.Boolean(),
    "day": pl.Date(),
    "at": pl.Datetime("us", "UTC"),
    "clock": pl.Time(),
    "took": pl.Duration("ms"),
    "money": pl.Decimal(12, 2),
    "label": pl.Enum(["a", "b", "c"]),
    "many": pl.List(pl.String()),
    "vector": pl.Array(pl.Float32(), 2),
    "deep": pl.List(pl.Struct({"x": pl.Int32(), "y": pl.List(pl.Boolean())})),
    "record": pl.Struct({"n": pl.Int64(), "t": pl.String()}),
}


def optional(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


ROWS = st.fixed_dictionaries(
    {
        "whole": optional(st.integers(-(2**63), 2**63 - 1)),
        "small": optional(st.integers(0, 255)),
        "real": optional(st.floats(allow_nan=True, allow_infinity=True)),
        "text": optional(st.text(max_size=6)),
        "raw": optional(st.binary(max_size=6)),
        "yes": optional(st.booleans()),
        "day": optional(st.dates(dt.date(1600, 1, 1), dt.date(2400, 1, 1))),
        "at": optional(st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1), timezones=st.just(dt.UTC))),
        "clock": optional(st.times()),
        "took": optional(st.integers(0, 10**9).map(lambda ms: dt.timedelta(milliseconds=ms))),
        "money": optional(st.integers(-(10**9), 10**9).map(lambda cents: Decimal(cents) / 100)),
        "label": optional(st.sampled_from("abc")),
        "many": optional(st.lists(optional(st.text(max_size=3)), max_size=3)),
        "vector": optional(st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=2)),
        "deep": optional(
            st.lists(
                optional(
                    st.fixed_dictionaries(
                        {
                            "x": optional(st.integers(-5, 5)),
                            "y": optional(st.lists(optional(st.booleans()), max_size=2)),
                        }
                    )
                ),
                max_size=2,
            )
        ),
        "record": optional(
            st.fixed_dictionaries({"n": optional(st.integers(-5, 5)), "t": optional(st.text(max_size=2))})
        ),
    }
)
FRAMES = st.lists(ROWS, max_size=9).map(lambda rows: pl.DataFrame(rows, schema=SCHEMA, orient="row"))


@settings(max_examples=60, deadline=None)
@given(frame=FRAMES, row_group=st.integers(1, 9), compression=st.sampled_from(["zstd", "snappy", "uncompressed"]))
def test_how_a_file_holds_the_rows_does_not_show(
    tmp_path_factory: pytest.TempPathFactory, frame: pl.DataFrame, row_group: int, compression: Any
) -> None:
    path = tmp_path_factory.mktemp("rows") / "data.parquet"
    frame.write_parquet(path, row_group_size=row_group, compression=compression)
    assert rows_digest(path) == rows_digest(frame)


@settings(max_examples=60, deadline=None)
@given(frame=FRAMES, cut=st.integers(0, 9))
def test_how_rows_are_cut_into_chunks_does_not_show(frame: pl.DataFrame, cut: int) -> None:
    chunked = pl.concat([frame.head(cut), frame.slice(cut)], rechunk=False)
    assert rows_digest(chunked) == rows_digest(frame)


@settings(max_examples=80, deadline=None)
@given(one=FRAMES, other=FRAMES)
def test_two_frames_have_one_version_exactly_when_they_are_equal(one: pl.DataFrame, other: pl.DataFrame) -> None:
    assert (rows_digest(one) == rows_digest(other)) == one.equals(other, null_equal=True)


@settings(max_examples=60, deadline=None)
@given(frame=FRAMES.filter(lambda frame: frame.height > 0), data=st.data())
def test_changing_one_cell_changes_the_version(frame: pl.DataFrame, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, frame.height - 1))
    text = frame["text"].to_list()
    text[row] = (text[row] or "") + "x"
    assert rows_digest(frame.with_columns(text=pl.Series(text, dtype=pl.String))) != rows_digest(frame)


@settings(max_examples=30, deadline=None)
@given(frame=FRAMES)
def test_row_ids_do_not_show(frame: pl.DataFrame) -> None:
    with_ids = frame.with_columns(_row_id=pl.int_range(pl.len()).cast(pl.String))
    assert rows_digest(with_ids) == rows_digest(frame)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["ab", "c"], ["a", "bc"]),
        (["", None], [None, ""]),
        ([["a"], ["b", "c"]], [["a", "b"], ["c"]]),
        ([[], None], [None, []]),
        ([{"x": None}, None], [None, {"x": None}]),
        ([[None], []], [[], [None]]),
        ([1, None], [1, 0]),
        ([True, None], [True, False]),
    ],
)
def test_values_that_are_easily_mixed_up(one: list[Any], other: list[Any]) -> None:
    assert rows_digest(pl.DataFrame({"v": one})) != rows_digest(pl.DataFrame({"v": other}))


def test_names_kinds_order_and_count_show() -> None:
    base = pl.DataFrame({"a": [1, 2], "b": [3, 4]})
    others = [
        base.rename({"a": "c"}),
        base.cast({"a": pl.Int32}),
        base.select("b", "a"),
        base.reverse(),
        base.head(1),
        base.clear(),
        base.clear().cast({"a": pl.Int32}),
    ]
    versions = [rows_digest(frame) for frame in (base, *others)]
    assert len(set(versions)) == len(versions)


def test_zero_and_nan_have_one_form() -> None:
    assert rows_digest(pl.DataFrame({"f": [0.0, float("nan")]})) == rows_digest(
        pl.DataFrame({"f": [-0.0, -float("nan")]})
    )


def test_a_pinned_version_stays_as_it_is() -> None:
    frame = pl.DataFrame({"id": [1, 2, None], "kind": ["bug", None, "ü"], "tags": [["a"], [], None]})
    assert rows_digest(frame) == "79346ac7c887f6232ca7985fcc4f4f32"


def test_the_same_in_one_batch_and_in_many(tmp_path: Path) -> None:
    frame = pl.DataFrame({"n": range(200_000)}).with_columns(t=pl.format("row {}", "n"))
    frame.write_parquet(tmp_path / "many.parquet", row_group_size=1_000)
    assert rows_digest(tmp_path / "many.parquet") == rows_digest(frame)


def test_an_asset_over_differently_written_files_has_one_version_and_so_has_what_follows(tmp_path: Path) -> None:
    """Row groups of 3 rows or of 1,000, compressed one way or another: nothing downstream is out of date."""
    rows = pl.DataFrame({"id": range(50)}).with_columns(body=pl.format("ticket {}", "id"))
    resources = {
        "models": ModelsResource(models={"m": ModelSettings(name="scripted:versions")}),
        "store": StoreResource(url=f"sqlite:///{tmp_path / 'state.db'}"),
        "io_manager": PolarsStorage(base_url=str(tmp_path / "assets")),
    }
    path = tmp_path / "rows.parquet"

    @dg.asset
    def tickets() -> pl.LazyFrame:
        return pl.scan_parquet(path)

    @ig.semantic_asset(key={"tickets": "id"})
    def moods(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
        return tickets.semantic.sentiment("body")

    found = []
    with dg.DagsterInstance.ephemeral() as instance:
        for size, compression in ((3, "zstd"), (1_000, "snappy"), (7, "uncompressed")):
            rows.write_parquet(path, row_group_size=size, compression=compression)  # type: ignore[arg-type]  # a text
            assert dg.materialize([tickets, moods], resources=resources, instance=instance).success
            keys = [dg.AssetKey("tickets"), dg.AssetKey("moods")]
            events = [instance.get_latest_materialization_event(key) for key in keys]
            told = [event.asset_materialization for event in events if event is not None]
            found.append([(each.tags or {})["dagster/data_version"] for each in told if each is not None])
    close_sessions()
    assert len(found[0]) == 2
    assert found[0] == found[1] == found[2]


def test_python_objects_are_refused_with_the_columns_name() -> None:
    with pytest.raises(PlanError, match="'thing'"):
        rows_digest(pl.DataFrame({"thing": pl.Series([object()], dtype=pl.Object)}))
