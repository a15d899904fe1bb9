"""The commands on a small project with a scripted model, as they are typed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infergraph.cli.app import run_command
from infergraph.cli.models import Entry, listed
from infergraph.errors import ConfigurationError, PlanError, ProviderError, RunCancelled
from infergraph.models.model import Model, Request
from infergraph.models.scripted import Script, script

CODE = '''
import dagster as dg
import polars as pl
from pydantic import BaseModel
import infergraph as ig
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, StoreResource
from infergraph.dagster.resources import PriceSettings

class Fact(BaseModel):
    product: str

@dg.asset(group_name="support")
def tickets() -> pl.DataFrame:
    return pl.DataFrame({"id": [1, 2, 3], "body": ["the lamp hums", "the kettle leaks", "[red]broken[/] \\x1b[2J"]})

@ig.semantic_asset(group_name="support", key={"tickets": "id"}, max_reject_rate=0.5)
def facts(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
    """What each ticket is about."""
    return tickets.semantic.extract("body", Fact)

@dg.asset(group_name="support")
def products(facts: pl.LazyFrame) -> pl.LazyFrame:
    return facts.group_by("product").len()

days = dg.StaticPartitionsDefinition(["monday", "tuesday"])

@dg.asset(partitions_def=days)
def letters(context: dg.AssetExecutionContext) -> pl.DataFrame:
    return pl.DataFrame({"body": [context.partition_key]})

@ig.semantic_asset(partitions_def=days)
def letter_facts(letters: ig.SemanticFrame) -> ig.SemanticFrame:
    return letters.semantic.extract("body", Fact)

defs = dg.Definitions(
    assets=[tickets, facts, products, letters, letter_facts],
    resources={
        "models": ModelsResource(
            models={
                "shop": ModelSettings(name="scripted:shop", price=PriceSettings(input=1, output=2)),
                "team": ModelSettings(name="openai:gpt-5-mini", api_key=dg.EnvVar("H7_TEAM_KEY"), fallback="shop",
                                      requests_per_minute=500),
            },
            default_model="shop",
        ),
        "store": StoreResource(),
        "io_manager": PolarsStorage(),
    },
    executor=dg.in_process_executor,
)
'''

Run = Callable[..., tuple[int, str, str]]
Parsed = Callable[[tuple[int, str, str]], Any]


def answer(request: Request) -> str:
    """Two good answers; what is broken stays unanswered."""
    text = " ".join(message.content for message in request.messages)
    if "broken" in text:
        return "no JSON at all"
    return json.dumps({"product": "lamp" if "lamp" in text else "kettle"})


@pytest.fixture
def project(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    below = project / "assets"
    below.mkdir()
    monkeypatch.chdir(below)
    monkeypatch.setenv("H7_TEAM_KEY", "sk-secret-secret-secret")
    return project


@pytest.fixture
def shop() -> Iterator[Script]:
    with script("shop", answer) as running:
        yield running


def test_run_materialises_and_a_second_run_makes_no_call(typed: Run, shop: Script) -> None:
    code, out, err = typed("run", "group:support")
    assert code == 0, err
    assert "facts extract: 3 of 3 rows" in err
    assert "products: done" in err
    assert "\x1b" not in out + err, "no colour and no cursor movement in a pipe"
    asked = len(shop.requests)
    assert asked >= 3
    code, out, _ = typed("run", "facts+")
    assert code == 0
    assert "No call was made: 2 answers from the store, 1 row rejected as before." in " ".join(out.split())
    assert len(shop.requests) == asked


def test_run_as_json_is_one_object_and_nothing_else(typed: Run, shop: Script, parsed: Parsed) -> None:
    result = parsed(typed("run", "group:support", "--json"))
    assert result["success"] is True
    facts = next(asset for asset in result["assets"] if asset["asset"] == "facts")
    assert (facts["state"], facts["rows"]) == ("made", 3)
    assert facts["usage"]["calls"] == 3
    assert facts["usage"]["rejected"] == 1
    assert facts["usage"]["cost_usd"] > 0
    assert {check["name"] for check in facts["checks"]} == {"schema", "row_count", "reject_rate", "budget"}
    assert Path(facts["uri"]).exists()


def test_limit_refresh_and_retry_reach_the_model(typed: Run, shop: Script, parsed: Parsed) -> None:
    parsed(typed("run", "tickets", "--json"))
    assert parsed(typed("run", "facts", "--limit", "1", "--json"))["assets"][0]["usage"]["calls"] == 1
    assert parsed(typed("run", "facts", "--json"))["assets"][0]["usage"]["calls"] == 2
    assert parsed(typed("run", "facts", "--refresh", "--json"))["assets"][0]["usage"]["calls"] == 3
    assert parsed(typed("run", "facts", "--json"))["assets"][0]["usage"]["calls"] == 0
    assert parsed(typed("run", "facts", "--retry-rejects", "--json"))["assets"][0]["usage"]["calls"] == 1


def test_a_budget_that_ends_has_its_own_exit_code(typed: Run, shop: Script, parsed: Parsed) -> None:
    parsed(typed("run", "tickets", "--json"))
    code, _, err = typed("run", "facts", "--max-cost-usd", "0")
    assert code == 5
    assert "Error: facts:" in err
    assert "every answer is kept" in err
    assert "Traceback" not in err


def test_a_failing_asset_is_one_message(typed: Run) -> None:
    code, out, err = typed("run", "facts")
    assert code == ConfigurationError.exit_code
    assert err.count("Error:") == 1
    assert "Nothing is published" in err
    assert "Traceback" not in out + err


def test_partitions(typed: Run, shop: Script, parsed: Parsed) -> None:
    assert typed("run", "letters+", "--partition", "monday")[0] == 0
    code, _, err = typed("run", "letters")
    assert code == PlanError.exit_code
    assert "--partition KEY" in err
    found = parsed(typed("rejects", "letter_facts", "--partition", "monday", "--json"))
    assert found["partition"] == "monday"
    assert found["rejects"] == []


def test_plan_estimates_without_a_call(typed: Run, shop: Script, parsed: Parsed) -> None:
    parsed(typed("run", "tickets", "--json"))
    estimate = parsed(typed("plan", "group:support", "--json"))["assets"][0]["estimate"]
    assert estimate["calls"] == 3
    assert estimate["cost_usd"] > 0
    assert shop.requests == []
    code, out, _ = typed("plan", "facts")
    assert code == 0
    assert "extract (shop)" in out


def test_plan_says_when_an_upstream_has_no_data(typed: Run) -> None:
    code, out, _ = typed("plan", "facts")
    assert code == ConfigurationError.exit_code
    assert "facts: cannot be estimated." in out
    assert "'tickets'" in out


def test_plan_of_plain_assets_is_refused(typed: Run) -> None:
    code, _, err = typed("plan", "tickets")
    assert code == PlanError.exit_code
    assert "nothing to estimate" in err


def test_rejects_in_short_and_in_full(typed: Run, shop: Script, parsed: Parsed) -> None:
    parsed(typed("run", "tickets+", "--json"))
    code, out, _ = typed("rejects", "facts")
    assert code == 0
    assert "facts: 1 reject (1 invalid_output)" in out
    (reject,) = parsed(typed("rejects", "facts", "--json"))["rejects"]
    assert reject["id"] == 3
    _, out, _ = typed("rejects", "facts", "--row", reject["row_id"][:6])
    assert "no JSON at all" in out
    assert "\x1b" not in out
    code, _, err = typed("rejects", "facts", "--reason", "refused")
    assert code == PlanError.exit_code
    assert "'invalid_output'" in err


def test_rejects_of_what_was_never_made(typed: Run) -> None:
    code, _, err = typed("rejects", "facts")
    assert code == ConfigurationError.exit_code
    assert "materialize that first, in Dagster or, for example, with: infergraph run " in " ".join(err.split())


def test_models_never_shows_a_key(typed: Run, monkeypatch: pytest.MonkeyPatch, parsed: Parsed) -> None:
    monkeypatch.delenv("H7_TEAM_KEY")
    listed = {model["name"]: model for model in parsed(typed("models", "--json"))["models"]}
    assert listed["shop"]["default"] is True
    assert listed["shop"]["ready"] is True
    assert listed["shop"]["input_usd_per_million"] == 1.0
    assert listed["team"]["ready"] is False
    assert "export H7_TEAM_KEY=" in listed["team"]["problem"]
    assert listed["team"]["limits"] == {"requests_per_minute": 500}
    assert listed["team"]["input_usd_per_million"] == 0.25
    monkeypatch.setenv("H7_TEAM_KEY", "sk-secret-secret-secret")
    code, out, err = typed("models")
    assert code == 0
    assert "team" in out
    assert "secret" not in out + err
    listed = {model["name"]: model for model in parsed(typed("models", "--json"))["models"]}
    assert listed["team"]["ready"] is True


def test_a_variable_that_is_not_set_is_named(typed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("H7_TEAM_KEY")
    code, _, err = typed("run", "tickets+")
    assert code == ConfigurationError.exit_code
    assert err.endswith("is not set. Type: export H7_TEAM_KEY=...\n")


def test_models_check_makes_one_call(typed: Run, shop: Script, monkeypatch: pytest.MonkeyPatch, parsed: Parsed) -> None:
    monkeypatch.delenv("H7_TEAM_KEY")
    assert parsed(typed("models", "--check", "shop", "--json"))["model"] == "scripted:shop"
    assert len(shop.requests) == 1
    code, _, err = typed("models", "--check", "team")
    assert code == ConfigurationError.exit_code
    assert "H7_TEAM_KEY" in err
    code, _, err = typed("models", "--check", "shopp")
    assert code == ConfigurationError.exit_code
    assert "Did you mean 'shop'?" in err


def test_models_check_says_why_a_model_does_not_answer(typed: Run) -> None:
    with script("shop", []):
        code, _, err = typed("models", "--check", "shop")
    assert code == ProviderError.exit_code
    assert "shop (scripted:shop) does not answer" in err


def test_an_own_bug_is_one_line_unless_debugging(typed: Run, project: Path) -> None:
    (project / "definitions.py").write_text("1/0")
    code, _, err = typed("models")
    assert code == 70
    assert err == "Error: ZeroDivisionError: division by zero To see where, add --debug.\n"
    code, _, err = typed("models", "--debug")
    assert code == 70
    assert "Traceback" in err
    assert "definitions.py" in err


def test_ctrl_c_says_that_answers_are_kept(typed: Run, project: Path) -> None:
    (project / "definitions.py").write_text("raise KeyboardInterrupt")
    code, _, err = typed("models")
    assert code == RunCancelled.exit_code
    assert "Every answer that came back is kept" in err


@pytest.mark.parametrize("command", ["demo", "dev", "run", "plan", "rejects", "retry", "models"])
def test_every_command_has_help_with_an_example(typed: Run, command: str) -> None:
    code, out, _ = typed(command, "--help")
    assert code == 0
    assert f"Example: infergraph {command}" in out


@pytest.mark.parametrize("command", ["demo", "dev", "run x", "plan x", "rejects x", "retry x", "models"])
def test_outside_of_a_project_every_command_says_so(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert run_command(command.split()) == ConfigurationError.exit_code
    assert "not inside an Infergraph project" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["run"], ["plan", "x", "--limit", "0"], ["demo", "--packages", "none"], ["nope"]]
)
def test_a_wrong_command_line_is_exit_code_2(typed: Run, arguments: list[str]) -> None:
    code, _, err = typed(*arguments)
    assert code == 2
    assert "Traceback" not in err


def test_the_demo_belongs_to_its_own_project(typed: Run) -> None:
    code, _, err = typed("demo")
    assert code == ConfigurationError.exit_code
    assert "no asset group 'packages'" in err


def nothing(request: Request) -> str:
    """No answer to anything."""
    return "no JSON at all"


def test_what_a_failed_run_rejected_asked_and_cost_is_shown(typed: Run, project: Path, parsed: Parsed) -> None:
    with script("shop", answer):
        parsed(typed("run", "tickets+", "--json"))
    with script("shop", nothing):
        code, out, err = typed("run", "facts", "--refresh", "--json")
    assert code == 1, err
    (facts,) = json.loads(out)["assets"]
    assert (facts["state"], facts["usage"]["rejected"]) == ("failed", 3)
    assert facts["usage"]["calls"] >= 3
    assert facts["usage"]["cost_usd"] > 0
    (rate,) = [check for check in facts["checks"] if check["name"] == "reject_rate"]
    assert rate["metadata"]["reasons"] == {"invalid_output": 3}
    assert len(rate["metadata"]["rejects_sample"]) == 3

    code, out, _ = typed("rejects", "facts")
    assert code == 0
    assert "was not published: reject_rate: 3 rows of 'extract' were rejected" in out
    assert "facts: 3 rejects (3 invalid_output)" in out
    found = parsed(typed("rejects", "facts", "--json"))
    assert found["failed_run"]
    assert len(found["rejects"]) == 3
    found = parsed(typed("rejects", "facts", "--published", "--json"))
    assert (found["failed_run"], len(found["rejects"])) == (None, 1)

    with script("shop", answer):
        parsed(typed("run", "facts", "--refresh", "--json"))
    assert "1 reject (" in typed("rejects", "facts")[1], "what was published since counts"
    assert not list(project.rglob(".failed"))


def test_rejects_of_a_first_run_that_failed_are_shown(typed: Run) -> None:
    with script("shop", nothing):
        assert typed("run", "tickets+")[0] == 1
    code, out, err = typed("rejects", "facts")
    assert code == 0, err
    assert "facts: 3 rejects" in out


def test_a_failed_asset_has_its_calls_in_the_table(typed: Run) -> None:
    with script("shop", nothing):
        _, out, _ = typed("run", "tickets+")
    (line,) = [line for line in out.splitlines() if line.strip().startswith("facts")]
    assert "$0.0" in line
    assert line.split()[:2] == ["facts", "failed"]
    assert int(line.split()[2]) >= 3, line


def test_one_asset_that_cannot_be_planned_is_named_and_the_others_are_estimated(
    typed: Run, project: Path, parsed: Parsed
) -> None:
    worse = CODE.replace('@dg.asset(group_name="support")\ndef products', WORSE + "@dg.asset()\ndef products")
    (project / "definitions.py").write_text(worse.replace("assets=[", "assets=[worse, broken, "))
    with script("shop", answer):
        parsed(typed("run", "tickets", "--json"))
    code, out, err = typed("plan", "worse", "broken", "facts", "--json")
    assert code == PlanError.exit_code, err
    found = {part["asset"]: part for part in json.loads(out)["assets"]}
    assert found["facts"]["estimate"]["calls"] == 3
    assert found["worse"]["estimate"] is None
    assert "'bdoy'" in found["worse"]["problem"]
    code, out, err = typed("plan", "worse", "facts")
    assert code == PlanError.exit_code
    assert "worse: cannot be estimated." in out
    assert "extract (shop)" in out


WORSE = """
@ig.semantic_asset()
def worse(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
    return tickets.semantic.extract("bdoy", Fact)

@ig.semantic_asset()
def broken(tickets: pl.DataFrame, facts: ig.SemanticFrame) -> ig.SemanticFrame:
    tickets.select("nothing of this name")
    return facts

"""


def test_a_limit_does_not_replace_a_whole_result_unasked(typed: Run, shop: Script, parsed: Parsed) -> None:
    parsed(typed("run", "tickets+", "--json"))
    code, _, err = typed("run", "facts", "--limit", "1")
    assert code == PlanError.exit_code
    assert "--limit 1 replaces 3 rows of facts, published without a limit: add --yes" in err
    code, _, err = typed("run", "facts", "--limit", "1", "--yes")
    assert code == 0
    assert "--limit 1 replaces 3 rows of facts, published without a limit, by what is made of the first 1 row." in err
    code, _, err = typed("run", "facts", "--limit", "2")
    assert code == 0, "a part replaces a part"
    assert "replaces" not in err
    parsed(typed("run", "facts", "--json"))
    assert typed("run", "facts", "--limit", "2")[0] == PlanError.exit_code


def test_a_bug_in_the_users_code_has_its_class_and_a_way_to_see_where(
    typed: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)  # a project without models has no cost to ask about
    (project / "definitions.py").write_text(
        "import dagster as dg\n@dg.asset\ndef boom():\n    raise KeyError('user bug')\n"
        "@dg.asset\ndef meant():\n    raise dg.Failure('not today')\ndefs = dg.Definitions(assets=[boom, meant])\n"
    )
    code, _, err = typed("run", "boom")
    assert code == 1
    assert err.endswith("Error: boom: KeyError: 'user bug' To see where, add --debug.\n")
    _, _, err = typed("run", "meant")
    assert err.endswith("Error: meant: not today\n")


def test_an_unknown_price_is_one_plain_line(typed: Run, project: Path) -> None:
    (project / "definitions.py").write_text(CODE.replace("openai:gpt-5-mini", "openai:nobody-knows-this"))
    code, _, err = typed("models")
    assert code == 0
    assert err.startswith("Warning: The price of 'openai:nobody-knows-this' is unknown")
    assert len(err.splitlines()) == 1
    assert "UnknownPrice" not in err


def test_an_address_is_shown_without_what_could_be_a_secret() -> None:
    model = Model("scripted:any", base_url="http://box/sk-abcdefgh12345678/v1", api_key=None)
    assert listed("own", Entry(model=model), default=False).base_url == "http://box/***/v1"
