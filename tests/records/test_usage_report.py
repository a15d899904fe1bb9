"""A usage report adds up to what is in the store, by whatever it is grouped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import infergraph as ig
from infergraph.errors import PlanError
from infergraph.models.model import Message, Request, Response, Tokens
from infergraph.models.scripted import script
from infergraph.store import Attempt, Store, UsageRow
from infergraph.usage_report import FACTS, FIGURES, Fact, usage_report

DAY_S = 86_400.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path / 'state.db'}") as opened:
        yield opened


def sent(number: int, *, day: float = 0.0, run: str = "r", asset: str | None = "a", cost: int | None = 10**9,
         model: str = "m", via: str = "direct") -> Attempt:  # fmt: skip
    return Attempt(
        row_hash=number.to_bytes(16, "big"), request_hash=bytes(16), run_id=run, asset=asset, operator="o", model=model,
        request=Request(messages=(Message("user", "?"),)), started_at=day * DAY_S, seconds=0.5, outcome="done", via=via,
        cost_nano_usd=cost, response=Response(text="!", tokens=Tokens(input=10, cached_input=4, output=5)),
    )  # fmt: skip


def ended(run: str, *, day: float = 0.0, rows: int = 1, hits: int = 0, saved: int | None = 0, asset: str | None = "a",
          model: str = "m", seconds: float = 1.0) -> UsageRow:  # fmt: skip
    return UsageRow(
        run_id=run, asset=asset, operator="o", model=model, rows=rows, calls=rows - hits, store_hits=hits,
        saved_nano_usd=saved, seconds=seconds, started_at=day * DAY_S,
    )  # fmt: skip


def test_rows_come_from_usage_and_money_from_attempts(store: Store) -> None:
    store.record([sent(1), sent(1, via="repair"), sent(2, cost=None)], [])
    store.record_usage([ended("r", rows=5, hits=3, saved=3 * 10**9, seconds=2.0)])
    [row] = usage_report(store, ["asset"]).frame.to_dicts()
    assert (row["rows"], row["calls"], row["store_hits"], row["attempts"]) == (5, 2, 3, 3)
    assert (row["cost_usd"], row["unknown_costs"], row["saved_usd"], row["unknown_savings"]) == (2.0, 1, 3.0, 0)
    assert (row["input_tokens"], row["cached_input_tokens"], row["output_tokens"]) == (30, 12, 15)
    assert (row["p50_s"], row["rows_per_s"], row["unfinished"]) == (0.5, 2.5, 0)


def test_a_fallback_costs_under_its_own_name_and_its_rows_stay_with_the_operators_model(store: Store) -> None:
    store.record([sent(1), sent(1, model="other", via="fallback:other", cost=2 * 10**9)], [])
    store.record_usage([ended("r")])
    rows = {row["model"]: row for row in usage_report(store, ["model"]).frame.to_dicts()}
    assert (rows["m"]["rows"], rows["m"]["cost_usd"]) == (1, 1.0)
    assert (rows["other"]["rows"], rows["other"]["cost_usd"], rows["other"]["unfinished"]) == (0, 2.0, 0)


def test_a_run_without_usage_counts_with_what_it_asked(store: Store) -> None:
    store.record([sent(1, run="killed"), sent(1, run="killed", via="repair"), sent(2, run="killed"), sent(3)], [])
    store.record_usage([ended("r")])
    report = usage_report(store, ["run"])
    rows = {row["run_id"]: row for row in report.frame.to_dicts()}
    assert (rows["killed"]["rows"], rows["killed"]["calls"], rows["killed"]["attempts"]) == (2, 2, 3)
    assert [rows[run]["unfinished"] for run in ("killed", "r")] == [1, 0]
    assert report.total["unfinished"] == 1


def test_a_run_whose_usage_came_after_the_span_is_not_unfinished(store: Store) -> None:
    store.record([sent(1, day=3.2), sent(2, day=4.1)], [])
    store.record_usage([ended("r", day=4.2, rows=2)])
    report = usage_report(
        store, ["run"], since=datetime(1970, 1, 4, tzinfo=UTC), until=datetime(1970, 1, 5, tzinfo=UTC)
    )
    assert (report.total["attempts"], report.total["rows"], report.total["unfinished"]) == (1, 0, 0)


def test_unknown_is_null_and_nothing_is_nought(store: Store) -> None:
    store.record([sent(1, asset="priceless", cost=None, run="p")], [])
    store.record_usage([ended("p", asset="priceless", rows=2, hits=1, saved=None), ended("s", asset="stored", hits=1)])
    rows = {row["asset"]: row for row in usage_report(store, ["asset"]).frame.to_dicts()}
    assert (rows["priceless"]["cost_usd"], rows["priceless"]["saved_usd"]) == (None, None)
    assert (rows["priceless"]["unknown_costs"], rows["priceless"]["unknown_savings"]) == (1, 1)
    assert (rows["stored"]["cost_usd"], rows["stored"]["saved_usd"], rows["stored"]["p50_s"]) == (0.0, 0.0, None)


def test_days_are_dates_in_order_and_what_has_no_asset_is_null(store: Store) -> None:
    store.record([sent(1, day=2.9, asset=None), sent(2, day=0.5), sent(3, day=3.0)], [])
    frame = usage_report(store, ["day", "asset"]).frame
    assert frame["day"].to_list() == [date(1970, 1, 1), date(1970, 1, 3), date(1970, 1, 4)]
    assert frame["asset"].to_list() == ["a", None, "a"]
    assert frame.schema == {"day": pl.Date(), "asset": pl.String(), **FIGURES}


def test_an_empty_store_gives_an_empty_report_of_the_same_columns(store: Store) -> None:
    report = usage_report(store, list(FACTS))
    assert report.frame.is_empty()
    assert {name: report.frame.schema[name] for name in FIGURES} == FIGURES
    assert report.total["cost_usd"] == 0
    assert report.total["p99_s"] is None


@settings(max_examples=25, deadline=None)
@given(
    attempts=st.lists(
        st.tuples(st.integers(0, 30), st.sampled_from(["r", "s", "t"]), st.sampled_from(["a", "b", None]),
                  st.one_of(st.none(), st.integers(0, 10**12)), st.floats(0, 5)),
        max_size=40,
    ),
    by=st.lists(st.sampled_from(list(FACTS)), min_size=1, unique=True),
)  # fmt: skip
def test_groups_add_up_to_the_total_whatever_they_are(
    tmp_path_factory: pytest.TempPathFactory,
    attempts: list[tuple[int, str, str | None, int | None, float]],
    by: list[Fact],
) -> None:
    folder = tmp_path_factory.mktemp("law")
    with Store.open(f"sqlite:///{folder / 'state.db'}") as store:
        store.record([sent(n, run=run, asset=asset, cost=cost, day=day) for n, run, asset, cost, day in attempts], [])
        report = usage_report(store, by)
    frame, total = report.frame, report.total
    assert total["attempts"] == len(attempts) == frame["attempts"].sum()
    assert total["cost_usd"] == pytest.approx(sum(cost or 0 for *_, cost, _ in attempts) / 1e9) or (
        total["cost_usd"] is None and attempts and all(cost is None for *_, cost, _ in attempts)
    )
    assert frame["cost_usd"].sum() == pytest.approx(total["cost_usd"] or 0)
    assert total["unknown_costs"] == sum(cost is None for *_, cost, _ in attempts) == frame["unknown_costs"].sum()
    assert frame.select(by if "run" not in by else [FACTS[fact] for fact in by]).is_duplicated().sum() == 0
    if "asset" in by:
        counted = Counter(asset for _, _, asset, _, _ in attempts)
        assert dict(frame.group_by("asset").agg(pl.col("attempts").sum()).iter_rows()) == counted


def test_a_session_reports_its_store(tmp_path: Path) -> None:
    models = {"m": ig.Model("scripted:demo", price=ig.Price(input=1000, output=1000))}
    with ig.Session(models=models, store=f"sqlite:///{tmp_path / 's.db'}") as session, script("demo", lambda _: "x"):
        plan = session.frame(pl.DataFrame({"body": ["one", "two", "one"]})).semantic.map("Shorten {{ body }}", into="s")
        first, second = plan.run(), plan.run()
        used = session.usage("run")
        cost = first.usage.cost_usd
        assert cost is not None
        assert dict(zip(used["run_id"], used["cost_usd"], strict=True)) == pytest.approx(
            {first.run_id: float(cost), second.run_id: 0.0}
        )
        both = session.usage(["operator", "model"], since=timedelta(hours=1))
        assert both.select("operator", "model", "rows", "calls", "store_hits", "shared").rows() == [
            ("map", "scripted:demo", 6, 2, 3, 1)
        ]
        assert session.usage(until=timedelta(hours=1)).is_empty()


def test_wrong_questions_are_explained(store: Store) -> None:
    with pytest.raises(PlanError, match="Did you mean 'asset'"):
        usage_report(store, ["assets"])  # type: ignore[list-item]
    with pytest.raises(PlanError, match="each once"):
        usage_report(store, [])
    with pytest.raises(PlanError, match="in which zone"):
        usage_report(store, ["day"], since=datetime(2026, 11, 1))
