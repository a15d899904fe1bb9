"""The asset ``model_usage``: its rows, its figures and its picture."""

from __future__ import annotations

import base64
import re
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import dagster as dg
import polars as pl
import pytest

import infergraph as ig
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, PriceSettings, StoreResource
from infergraph.dagster.model_usage import model_usage_asset
from infergraph.dagster.resources import close_sessions
from infergraph.dagster.usage_chart import MOST_ASSETS, NO_ASSET, OTHERS, chart_svg, daily_spending
from infergraph.models.scripted import script

SVG = "{http://www.w3.org/2000/svg}"


def materialize(tmp_path: Path, instance: dg.DagsterInstance, price: float | None) -> dg.ExecuteInProcessResult:
    @dg.asset
    def tickets() -> pl.DataFrame:
        return pl.DataFrame({"id": [1, 2], "body": ["one", "two"]})

    @ig.semantic_asset(key={"tickets": "id"})
    def short(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
        twice = tickets.semantic.map("Shorten {{ body }}", into="short")
        return twice.semantic.map("Shorten again {{ short }}", into="shorter")

    usage = model_usage_asset(group_name="platform", key_prefix="ops", deps=[short])
    settings = None if price is None else PriceSettings(input=price, output=price)
    resources: dict[str, Any] = {
        "models": ModelsResource(models={"m": ModelSettings(name="scripted:usage", price=settings)}),
        "store": StoreResource(url=f"sqlite:///{tmp_path / 'state.db'}"),
        "io_manager": PolarsStorage(base_url=str(tmp_path / "assets")),
    }
    with script("usage", lambda _: "a short text"):
        result = dg.materialize([tickets, short, usage], resources=resources, instance=instance)
    close_sessions()
    return result


def test_one_row_a_run_asset_partition_operator_and_model(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    first = materialize(tmp_path, instance, 1000.0)
    second = materialize(tmp_path, instance, 1000.0)
    rows = PolarsStorage(base_url=str(tmp_path / "assets")).load(["ops", "model_usage"]).collect()
    keys = ["run_id", "asset", "partition", "operator", "model"]
    assert rows.columns[:5] == keys
    assert not rows.select(keys).is_duplicated().any()
    assert {(row["run_id"], row["operator"], row["calls"], row["store_hits"]) for row in rows.to_dicts()} == {
        (first.run_id, "map", 2, 0),
        (first.run_id, "map_2", 1, 0),
        (second.run_id, "map", 0, 2),
        (second.run_id, "map_2", 0, 2),
    }
    assert set(rows["asset"]) == {"short"}
    assert rows["partition"].null_count() == 4
    made = rows.filter(pl.col("calls") > 0)
    assert (made["cost_usd"] > 0).all()
    assert (
        made.select(pl.col("p50_s", "p95_s", "p99_s", "rows_per_s", "started_at").is_not_null().all()).row(0)
        == (True,) * 5
    )
    assert (rows.filter(pl.col("calls") == 0)["saved_usd"] > 0).all()


def test_its_metadata_has_totals_that_are_not_its_own_and_a_picture(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    result = materialize(tmp_path, instance, 1000.0)
    metadata = result.asset_materializations_for_node("ops__model_usage")[0].metadata
    assert metadata["dagster/row_count"].value == 2
    assert metadata["infergraph/total_calls"].value == 3
    assert metadata["infergraph/total_unknown_costs"].value == 0
    assert float(str(metadata["infergraph/total_cost_usd"].value)) > 0
    assert not {"infergraph/calls", "infergraph/cost_usd"} & set(metadata)
    picture = metadata["infergraph/spending"]
    assert isinstance(picture, dg.MarkdownMetadataValue)
    drawn = drawing(str(picture.value))
    assert [text for text in texts(drawn) if "short" in text]
    assert "Spending by asset and day, USD" in texts(drawn)


def test_where_nothing_costs_money_the_picture_is_of_tokens(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    result = materialize(tmp_path, instance, None)
    metadata = result.asset_materializations_for_node("ops__model_usage")[0].metadata
    assert "Output tokens by asset and day (free models)" in texts(drawing(str(metadata["infergraph/spending"].value)))


def test_a_store_of_another_kind_is_refused(instance: dg.DagsterInstance) -> None:
    resources = {"store": dg.ResourceDefinition.hardcoded_resource("a text"), "io_manager": dg.mem_io_manager}
    result = dg.materialize([model_usage_asset()], resources=resources, instance=instance, raise_on_error=False)
    failure = result.failure_data_for_node("model_usage")
    assert failure is not None
    assert "reads a StoreResource" in str(failure.error)


def drawing(markdown: str) -> ElementTree.Element:
    found = re.fullmatch(r"!\[[^\]]+\]\(data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)(?:\n\n.*)?", markdown)
    assert found is not None
    assert len(markdown) < 60_000, "it lies in Dagster's database once a run"
    return ElementTree.fromstring(base64.b64decode(found[1]))


def texts(drawn: ElementTree.Element) -> list[str]:
    return [each.text or "" for each in drawn.iter(f"{SVG}text")]


class TestChart:
    def test_bars_are_as_high_as_what_was_spent(self) -> None:
        days = [date(2026, 11, 1), date(2026, 11, 3)]
        usage = pl.DataFrame({"day": days, "asset": ["a", "b"], "cost_usd": [1.0, 4.0]})
        drawn = ElementTree.fromstring(chart_svg(daily_spending(usage, "cost_usd"), title="t & <u>", unit="$"))
        titled = [(bar, bar.find(f"{SVG}title")) for bar in drawn.iter(f"{SVG}rect")]
        heights = {title.text: float(bar.attrib["height"]) for bar, title in titled if title is not None}
        assert set(heights) == {"a, 2026-11-01: 1", "b, 2026-11-03: 4"}
        assert heights["b, 2026-11-03: 4"] == pytest.approx(4 * heights["a, 2026-11-01: 1"], abs=0.2)
        assert {"t & <u>", "$0", "$4", "11-02", "a", "b"} <= set(texts(drawn))

    def test_small_assets_are_put_together_and_old_days_left_out(self) -> None:
        first = date(2026, 1, 1)
        usage = pl.DataFrame(
            {
                "day": [first + timedelta(days=number) for number in range(40)],
                "asset": [f"asset {number % 12}" if number % 12 else None for number in range(40)],
                "cost_usd": [float(number) for number in range(40)],
            }
        )
        found = daily_spending(usage, "cost_usd")
        assert len(found.days) == 31
        assert found.days[-1] == first + timedelta(days=39)
        assert len(found.amounts) == MOST_ASSETS + 1
        assert list(found.amounts)[-1] == OTHERS
        assert sum(map(sum, found.amounts.values())) == sum(range(9, 40))
        assert NO_ASSET in found.amounts

    @pytest.mark.parametrize("amounts", [[], [0.0, None]])
    def test_without_spending_it_says_so(self, amounts: list[float | None]) -> None:
        usage = pl.DataFrame(
            {"day": [date(2026, 1, 1)] * len(amounts), "asset": ["a"] * len(amounts), "cost_usd": amounts},
            schema={"day": pl.Date, "asset": pl.String, "cost_usd": pl.Float64},
        )
        assert "Nothing was spent." in chart_svg(daily_spending(usage, "cost_usd"), title="t", unit="$")

    @pytest.mark.parametrize("highest", [3e-9, 0.0123, 0.99, 1.0, 7.3, 1234.5, 9.9e8])
    def test_the_axis_fits_any_amount(self, highest: float) -> None:
        usage = pl.DataFrame({"day": [date(2026, 1, 1)], "asset": ["a"], "cost_usd": [highest]})
        drawn = ElementTree.fromstring(chart_svg(daily_spending(usage, "cost_usd"), title="t", unit="$"))
        lines = list(drawn.iter(f"{SVG}line"))
        assert 2 <= len(lines) <= 7
        labels = [text for text in texts(drawn) if text.startswith("$")]
        assert len(set(labels)) == len(lines), "no two lines of one name"
        [bar] = [each for each in drawn.iter(f"{SVG}rect") if each.find(f"{SVG}title") is not None]
        assert 44 <= float(bar.attrib["y"]) <= 276
