"""``infergraph usage`` on a project with runs that ended, failed and were killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infergraph.cli.usage import duration, moment
from infergraph.errors import PlanError
from infergraph.models.model import Message, Request, Response, Tokens
from infergraph.models.scripted import script
from infergraph.store import Attempt, Store

CODE = """
import dagster as dg
import polars as pl
import infergraph as ig
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, StoreResource, model_usage_asset
from infergraph.dagster.resources import PriceSettings

@dg.asset
def tickets() -> pl.DataFrame:
    return pl.DataFrame({"id": [1, 2, 3], "body": ["one", "two", "one"]})

@ig.semantic_asset(key={"tickets": "id"})
def short(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
    return tickets.semantic.map("Shorten {{ body }}", into="short")

MODEL = ModelSettings(name="scripted:shop", price=PriceSettings(input=1000, output=2))

defs = dg.Definitions(
    assets=[tickets, short, model_usage_asset(group_name="platform")],
    resources={
        "models": ModelsResource(models={"shop": MODEL}),
        "store": StoreResource(),
        "io_manager": PolarsStorage(),
    },
    executor=dg.in_process_executor,
)
"""

Run = Callable[..., tuple[int, str, str]]
Parsed = Callable[[tuple[int, str, str]], Any]


@pytest.fixture
def typed(typed: Run) -> Iterator[Run]:
    with script("shop", lambda request: "short"):
        yield typed


def leave_attempts(days_ago: float, number: int, cost: int | None = 1_000_000_000) -> None:
    """What a killed run leaves: attempts, and no usage."""
    attempts = [
        Attempt(row_hash=each.to_bytes(16, "big"), request_hash=bytes(16), run_id="killed", asset="letters",
                operator="extract", model="big:model", request=Request(messages=(Message("user", "?"),)),
                started_at=time.time() - days_ago * 86_400, seconds=each + 1.0, outcome="done", cost_nano_usd=cost,
                response=Response(text="!", tokens=Tokens(input=10, output=5)))
        for each in range(number)
    ]  # fmt: skip
    with Store.open("sqlite:///.infergraph/state.db") as store:
        store.record(attempts, [])


def test_what_runs_spent_by_asset_and_model(typed: Run, parsed: Parsed) -> None:
    assert "Nothing was asked" in typed("usage")[1]
    assert typed("run", "tickets+", "-y")[0] == 0
    assert typed("run", "short", "-y")[0] == 0
    leave_attempts(3, 4)
    said = parsed(typed("usage", "--by", "asset", "--by", "model", "--json"))
    groups = {(group["asset"], group["model"]): group for group in said["groups"]}
    short = groups["short", "scripted:shop"]
    assert (short["rows"], short["calls"], short["shared"], short["store_hits"]) == (6, 2, 1, 3)
    assert short["attempts"] == 2
    assert 0 < short["cost_usd"] < short["saved_usd"], "one row shared and three hits against two calls"
    killed = groups["letters", "big:model"]
    assert (killed["attempts"], killed["calls"], killed["cost_usd"], killed["unfinished"]) == (4, 4, 4.0, 1)
    assert (killed["p50_s"], killed["p99_s"]) == (2.0, 4.0)
    assert said["total"]["cost_usd"] == pytest.approx(4 + short["cost_usd"])
    assert said["total"]["calls"] == 6


def test_a_narrow_terminal_breaks_no_figure_and_names_what_is_left_out(
    typed: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed("usage")
    leave_attempts(3, 4)
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = typed("usage")
    assert max(map(len, out.splitlines())) <= 80
    headings = next(line for line in out.splitlines() if "asset" in line).split()
    assert headings == [
        "asset",
        "rows",
        "calls",
        "hits",
        "rejects",
        "tokens",
        "in",
        "tokens",
        "out",
        "cost",
        "p95",
        "s",
    ]
    assert "Left out for want of width: cached, saved, p50 s, p99 s, rows/s" in " ".join(out.split())
    monkeypatch.setenv("COLUMNS", "110")
    _, out, _ = typed("usage")
    assert "p99 s" in out
    assert "Left out" not in out


def test_since_until_and_asset(typed: Run, parsed: Parsed) -> None:
    leave_attempts(3, 4)
    leave_attempts(30, 2)

    def count(*arguments: str) -> int:
        return int(parsed(typed("usage", "--json", *arguments))["total"]["attempts"])

    assert count() == 6
    assert count("--since", "7d") == 4
    assert count("--until", "7d") == 2
    assert count("--since", f"{datetime.now(UTC) - timedelta(days=31):%Y-%m-%d}", "--until", "1w") == 2
    assert count("--asset", "other") == 0
    days = parsed(typed("usage", "--by", "day", "--json"))["groups"]
    assert [group["attempts"] for group in days] == [2, 4]
    assert days[0]["day"] == f"{datetime.now(UTC) - timedelta(days=30):%Y-%m-%d}"


def test_an_unknown_cost_is_said_and_never_taken_for_nothing(typed: Run, parsed: Parsed) -> None:
    leave_attempts(1, 3, cost=None)
    said = parsed(typed("usage", "--by", "run,operator", "--json"))
    assert said["groups"][0]["cost_usd"] is None
    assert said["groups"][0]["unknown_costs"] == 3
    code, out, _ = typed("usage", "--by", "run")
    assert code == 0
    assert "unknown" in out
    assert "The cost of 3 attempts is not known" in out
    assert "1 run left no usage" in out
    leave_attempts(1, 1)
    assert "≥ $1.00" in typed("usage")[1]


def test_model_usage_runs_and_is_not_taken_for_spending(typed: Run, parsed: Parsed) -> None:
    assert typed("run", "tickets+", "-y")[0] == 0
    made = parsed(typed("run", "model_usage", "-y", "--json"))["assets"][0]
    assert (made["state"], made["rows"]) == ("made", 1)
    assert made["usage"] is None or not made["usage"].get("calls")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--by", "assets"], "Did you mean 'asset'?"),
        (["--by", "asset,asset"], "each once"),
        (["--since", "yesterday"], "write how long ago"),
        (["--since", "1d", "--until", "2d"], "nothing between"),
    ],
)
def test_wrong_arguments_are_explained(typed: Run, arguments: list[str], said: str) -> None:
    code, _, err = typed("usage", *arguments)
    assert code == PlanError.exit_code
    assert said in err


def test_moments_and_durations_as_they_are_typed() -> None:
    assert duration("1.5h") == timedelta(minutes=90)
    assert duration("5") is None
    assert moment("--since", None) is None
    assert moment("--since", "2026-11-01T12:00+02:00") == datetime(2026, 11, 1, 10, tzinfo=UTC)
    assert moment("--since", "2026-11-01T12:00") == datetime(2026, 11, 1, 12, tzinfo=UTC)
    ago = moment("--since", "2w")
    assert ago is not None
    assert abs((datetime.now(UTC) - ago) - timedelta(weeks=2)) < timedelta(minutes=1)
