"""Estimates of a selection, and the question before money is spent, as they are typed."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infergraph.errors import ConfigurationError, PlanError
from infergraph.models.model import Request
from infergraph.models.scripted import Script, script

CODE = '''
import dagster as dg
import polars as pl
import infergraph as ig
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, StoreResource
from infergraph.dagster.resources import PriceSettings

@dg.asset(group_name="desk")
def tickets() -> pl.DataFrame:
    return pl.DataFrame({"id": range(40), "body": [f"ticket number {n}" for n in range(40)]})

@ig.semantic_asset(group_name="desk", key={"tickets": "id"})
def kinds(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
    """The kind of every ticket."""
    return tickets.semantic.classify("body", ["bug", "praise"], into="kind")

@ig.semantic_asset(group_name="desk")
def bugs(kinds: ig.SemanticFrame) -> ig.SemanticFrame:
    """Those that are urgent, in short."""
    urgent = kinds.semantic.filter("{{ body }} is urgent")
    return urgent.semantic.map("Shorten {{ body }} ({{ kind }})", into="short")

@dg.asset(group_name="desk")
def counts(bugs: pl.LazyFrame) -> pl.LazyFrame:
    return bugs.group_by("kind").agg(pl.col("short").first())

@ig.semantic_asset(group_name="desk")
def report(counts: ig.SemanticFrame) -> ig.SemanticFrame:
    """One sentence a kind."""
    return counts.semantic.map("Sum up {{ short }}", into="sentence")

defs = dg.Definitions(
    assets=[tickets, kinds, bugs, counts, report],
    resources={
        "models": ModelsResource(models={"desk": ModelSettings(name="scripted:desk", PRICE)}, default_model="desk"),
        "store": StoreResource(),
        "io_manager": PolarsStorage(),
    },
    executor=dg.in_process_executor,
)
'''
DEAR = "price=PriceSettings(input=1_000, output=2_000)"
FREE = "price=None"
UNKNOWN = 'base_url="http://127.0.0.1:9/v1"'
Run = Callable[..., tuple[int, str, str]]


def answer(request: Request) -> dict[str, Any] | str:
    """Even tickets are urgent bugs."""
    body = request.messages[-1].content
    even = int("".join(letter for letter in body if letter.isdigit()) or "0") % 2 == 0
    if request.choices is None:
        return "in short"
    return {request.choices.field: even if request.choices.boolean else request.choices.values[0 if even else 1]}


@pytest.fixture
def project(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (project / "definitions.py").write_text(CODE.replace("PRICE", DEAR))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    monkeypatch.setenv("COLUMNS", "120")  # a wide terminal: tables that fold are looked at in test_terminal.py
    return project


@pytest.fixture
def desk() -> Iterator[Script]:
    with script("desk", answer) as running:
        yield running


def planned(typed: Run, *arguments: str) -> tuple[int, dict[str, Any], Any]:
    code, out, err = typed("plan", *arguments, "--json")
    assert out, err
    found = json.loads(out)
    return code, {part["asset"]: part for part in found["assets"]}, found["total"]


def test_a_selection_is_planned_on_the_plans_above_and_reports_each_step_once(typed: Run, desk: Script) -> None:
    assert typed("run", "tickets")[0] == 0
    code, assets, total = planned(typed, "kinds", "bugs")
    assert code == 0
    kinds, bugs = (assets[name]["estimate"] for name in ("kinds", "bugs"))
    assert [(step["operator"], step["calls_low"], step["calls_high"]) for step in kinds["operators"]] == [
        ("classify", 40, 40)
    ]
    assert [(step["operator"], step["calls_low"], step["calls_high"]) for step in bugs["operators"]] == [
        ("filter", 40, 40),
        ("map", 0, 40),
    ]
    assert (total["calls_low"], total["calls"], total["calls_high"]) == (80, 100, 120)
    assert "bugs: Where a filter has not decided yet, 50% of the rows are assumed to pass." in total["assumptions"]
    assert desk.requests == []
    _, out, _ = typed("plan", "kinds", "bugs")
    assert "all" in out


def test_what_is_below_an_asset_without_a_model_cannot_be_known_and_says_why(typed: Run, desk: Script) -> None:
    code, assets, total = planned(typed, "group:desk")
    assert code == ConfigurationError.exit_code
    assert "It reads 'tickets', which is not made yet; it calls no model" in assets["kinds"]["problem"]
    assert total is None

    assert typed("run", "tickets")[0] == 0
    code, assets, total = planned(typed, "kinds", "bugs", "counts", "report")
    assert code == ConfigurationError.exit_code
    assert "It reads 'counts', which is not made yet; it calls no model" in assets["report"]["problem"]
    assert assets["report"]["problem"].endswith("make that first: infergraph run counts")
    assert (total["calls_low"], total["calls_high"]) == (80, 120)

    assert typed("run", "group:desk", "--yes")[0] == 0
    code, assets, _ = planned(typed, "group:desk")
    assert code == 0
    assert all(part["estimate"]["calls_high"] == 0 for part in assets.values())
    said = assets["report"]["estimate"]["assumptions"]
    assert said == ["It reads 'counts' as it is published now; the run makes that anew first."]


def test_a_filters_share_comes_from_history(typed: Run, desk: Script, project: Path) -> None:
    assert typed("run", "tickets", "kinds", "bugs", "--yes")[0] == 0
    file = project / "definitions.py"
    file.write_text(file.read_text().replace("range(40)", "range(100, 180)"))
    assert typed("run", "tickets")[0] == 0
    _, assets, _ = planned(typed, "kinds", "bugs")
    bugs = assets["bugs"]["estimate"]
    assert [step["calls"] for step in bugs["operators"]] == [80, 40]
    assert "filter: kept 50% of 40 past rows (35% to 65%)" in " ".join(bugs["assumptions"])


def test_above_the_amount_a_run_without_a_terminal_is_refused_before_anything_is_sent(typed: Run, desk: Script) -> None:
    assert typed("run", "tickets")[0] == 0
    code, out, err = typed("run", "kinds", "bugs")
    assert code == PlanError.exit_code
    assert "Estimate: 80 to 120 calls" in err
    assert "This may cost up to $" in err
    assert "more than $1.00" in err
    assert "Add --yes if that is meant" in err
    assert (out, desk.requests) == ("", [])

    code, out, err = typed("run", "kinds", "bugs", "--json")
    assert code == PlanError.exit_code
    assert "Estimate" not in out + err
    assert (out, desk.requests) == ("", [])

    code, out, err = typed("run", "kinds", "bugs", "--yes", "--json")
    assert code == 0, err
    assert json.loads(out)["success"] is True
    assert len(desk.requests) == 100


def test_below_the_amount_the_estimate_is_only_shown(typed: Run, desk: Script) -> None:
    assert typed("run", "tickets")[0] == 0
    code, _, err = typed("run", "kinds", "--ask-above", "1000")
    assert code == 0
    assert "Estimate: 40 calls, " in err
    assert "Go on?" not in err
    code, _, err = typed("run", "kinds", "--ask-above", "0")
    assert code == 0, "what is in the store costs nothing"
    assert "Estimate: no call: every answer that is needed is in the store." in err


def test_the_project_sets_the_amount(typed: Run, desk: Script, project: Path) -> None:
    assert typed("run", "tickets")[0] == 0
    settings = project / "pyproject.toml"
    settings.write_text("[tool.infergraph]\nask_above_usd = 2.5\n")
    code, _, err = typed("run", "kinds")
    assert code == PlanError.exit_code
    assert "more than $2.50" in err
    settings.write_text("[tool.infergraph]\nask_above_usd = 'much'\n")
    code, _, err = typed("run", "kinds")
    assert code == ConfigurationError.exit_code
    assert "ask_above_usd = 'much'" in err
    settings.write_text("[tool.infergraph]\nask_above_usd = 1000\n")
    assert typed("run", "kinds")[0] == 0


def test_the_help_says_where_the_project_sets_it(typed: Run) -> None:
    told = " ".join(typed("run", "--help")[1].replace("│", " ").split())
    assert "else ask_above_usd of [tool.infergraph], else 1" in told


def test_a_budget_bounds_what_is_asked_about(typed: Run, desk: Script) -> None:
    assert typed("run", "tickets")[0] == 0
    code, _, err = typed("run", "kinds", "--max-cost-usd", "0.5")
    assert "Go on?" not in err
    assert "is not known" not in err
    assert code == 5, "the budget ends on the way"


def test_an_unknown_price_is_asked_about(typed: Run, project: Path) -> None:
    code_of = CODE.replace("scripted:desk", "openai:nobody-knows").replace("PRICE", UNKNOWN)
    (project / "definitions.py").write_text(code_of)
    assert typed("run", "tickets")[0] == 0
    code, out, err = typed("run", "kinds")
    assert code == PlanError.exit_code
    assert "The price of a model that kinds may ask is not known" in err
    assert out == ""


def test_prices_of_models_that_are_not_asked_do_not_matter(typed: Run, desk: Script, project: Path) -> None:
    other = f'ModelsResource(models={{"other": ModelSettings(name="openai:nobody-asks", {UNKNOWN}), '
    code_of = CODE.replace("ModelsResource(models={", other).replace("PRICE", DEAR)
    (project / "definitions.py").write_text(code_of)
    assert typed("run", "tickets")[0] == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        code, _, err = typed("run", "kinds", "--ask-above", "100")
    assert code == 0, err
    assert "nobody-asks" not in err


def test_what_cannot_be_known_before_the_run_is_said(typed: Run, desk: Script) -> None:
    code, _, err = typed("run", "tickets", "kinds", "--max-cost-usd", "100")
    assert code == 0, err
    assert "Not estimated: kinds, before this run makes what it reads" in err
    assert len(desk.requests) == 40


def test_free_models_are_never_asked_about(typed: Run, desk: Script, project: Path) -> None:
    (project / "definitions.py").write_text(CODE.replace("PRICE", FREE))
    code, _, err = typed("run", "group:desk", "--ask-above", "0")
    assert code == 0, err
    assert "Go on?" not in err


BROKEN = '''
@ig.semantic_asset(key={"tickets": "id"})
def broken(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
    """Raises what has nothing to do with us."""
    return {}["missing"]

defs ='''


def test_a_function_that_raises_is_named_and_the_others_are_estimated(typed: Run, desk: Script, project: Path) -> None:
    code_of = CODE.replace("\ndefs =", BROKEN).replace("[tickets,", "[tickets, broken,").replace("PRICE", DEAR)
    (project / "definitions.py").write_text(code_of)
    assert typed("run", "tickets")[0] == 0
    code, out, err = typed("plan", "broken", "kinds")
    assert code == PlanError.exit_code, err
    assert "broken: cannot be estimated. KeyError: 'missing'" in " ".join(out.split())
    assert "classify (desk)" in out
    code, _, err = typed("run", "broken")
    assert code == 1
    assert "broken: KeyError: 'missing'" in err


def test_what_a_judge_asks_is_asked_about_and_told(typed: Run, desk: Script, project: Path) -> None:
    assert typed("run", "tickets", "kinds", "--yes")[0] == 0
    judge = 'checks=[ig.judge("{{ kind }} fits {{ body }}", sample=10, target=0.1)])'
    judged = CODE.replace('key={"tickets": "id"})\ndef kinds(', f'key={{"tickets": "id"}}, {judge}\ndef kinds(')
    (project / "definitions.py").write_text(judged.replace("PRICE", DEAR))
    code, out, err = typed("run", "kinds", "--ask-above", "0.001")
    assert code == PlanError.exit_code, "all rows are in the store, and no grade is"
    assert "Estimate: 10 calls, " in err
    assert "This may cost up to $" in err
    assert (out, len(desk.requests)) == ("", 40)
    code, out, err = typed("run", "kinds", "--yes")
    assert code == 0, err
    assert "kinds: its checks made 10 calls more, $" in out
    assert "No call was made" not in out
    assert "No call was made" in typed("run", "kinds")[1]
