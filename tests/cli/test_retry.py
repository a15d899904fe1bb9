"""``infergraph rejects`` and ``infergraph retry`` as they are typed, on a small project with scripted models."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from rich.console import Console

from infergraph.cli.materialize import materialize
from infergraph.cli.progress import board_for
from infergraph.cli.project import open_project
from infergraph.errors import ConfigurationError, PlanError
from infergraph.models.model import Request
from infergraph.models.scripted import Script, script

CODE = """
import dagster as dg
import polars as pl
from pydantic import BaseModel
import infergraph as ig
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, StoreResource
from infergraph.dagster.resources import PriceSettings

class Fact(BaseModel):
    product: str

BODIES = ["the lamp", "bad chair", "the desk", "bad stool", "bad chair"]
days = dg.StaticPartitionsDefinition(["monday", "tuesday"])

@dg.asset
def tickets() -> pl.DataFrame:
    return pl.DataFrame({"id": range(len(BODIES)), "body": BODIES})

@ig.semantic_asset(key={"tickets": "id"}, max_reject_rate=0.7)
def facts(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
    return tickets.semantic.extract("body", Fact)

@ig.semantic_asset(key={"tickets": "id"}, partitions_def=days)
def daily(context, tickets: ig.SemanticFrame) -> ig.SemanticFrame:
    return tickets.filter(pl.col("id") < (3 if context.partition_key == "monday" else 2)).semantic.extract("body", Fact)

@ig.semantic_asset(key={"tickets": "id"}, max_reject_rate=0.1)
def strict(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
    return tickets.semantic.extract("body", Fact)

class First(dg.Config):
    most: int = 3

@ig.semantic_asset(key={"tickets": "id"}, max_reject_rate=0.7)
def first(config: First, tickets: ig.SemanticFrame) -> ig.SemanticFrame:
    return tickets.filter(pl.col("id") < config.most).semantic.extract("body", Fact)

price = PriceSettings(input=1, output=2)
defs = dg.Definitions(
    assets=[tickets, facts, daily, strict, first],
    resources={
        "models": ModelsResource(
            models={
                "shop": ModelSettings(name="scripted:shop", price=price),
                "smart": ModelSettings(name="scripted:smart", price=price),
            },
            default_model="shop",
        ),
        "store": StoreResource(),
        "io_manager": PolarsStorage(),
    },
    executor=dg.in_process_executor,
)
"""

Run = Callable[..., tuple[int, str, str]]
Parsed = Callable[[tuple[int, str, str]], Any]


def subject(request: Request) -> str:
    return request.messages[1].content.split("\n")[1]


def picky(request: Request) -> Any:
    """No answer to what is bad."""
    text = subject(request)
    return "no idea" if "bad" in text else {"product": text}


def clever(request: Request) -> Any:
    """An answer to all but stools."""
    text = subject(request)
    return "no idea" if "stool" in text else {"product": text.upper()}


@pytest.fixture
def shop() -> Iterator[Script]:
    with script("shop", picky) as running:
        yield running


@pytest.fixture
def made(typed: Run, shop: Script, parsed: Parsed) -> Script:
    """The assets without partitions are made."""
    parsed(typed("run", "tickets", "facts", "--json"))
    return shop


def first_attempts(asked: Script) -> list[str]:
    return sorted(subject(request) for request in asked.requests if len(request.messages) == 2)


def rows_of(project: Path, asset: str) -> pl.DataFrame:
    (current,) = (project / ".infergraph" / "assets" / asset).glob("**/current.json")
    version = json.loads(current.read_text())["version"]
    return pl.read_parquet(current.parent / version / "data.parquet")


def test_a_retry_with_another_model_asks_it_for_the_rejects_alone(
    typed: Run, project: Path, made: Script, parsed: Parsed
) -> None:
    before, asked = rows_of(project, "facts"), len(made.requests)
    with script("smart", clever) as smart:
        result = parsed(typed("retry", "facts", "--model", "smart", "--json"))
    assert result["retry"] == {"rejects": 3, "requests": 2, "calls": 2, "left": 1}
    assert first_attempts(smart) == ["bad chair", "bad stool"]
    assert len(made.requests) == asked
    after = rows_of(project, "facts")
    assert after["product"].to_list() == ["the lamp", "BAD CHAIR", "the desk", None, "BAD CHAIR"]
    others = ~pl.col("id").is_in([1, 4])
    assert_frame_equal(after.filter(others), before.filter(others))
    assert after["_row_id"].to_list() == before["_row_id"].to_list()

    code, out, err = typed("run", "facts")
    assert code == 0, err
    assert "No call was made" in out


def test_a_retry_says_what_came_of_it_and_what_is_left(typed: Run, made: Script) -> None:
    with script("smart", clever):
        code, out, err = typed("retry", "facts", "--model", "smart")
    assert code == 0, err
    assert "3 rejects asked again with 2 calls; 1 left: infergraph rejects facts" in out
    with script("smart", lambda request: {"product": "x"}):
        code, out, _ = typed("retry", "facts", "--model", "smart")
    assert code == 0
    assert "1 reject asked again with 1 call; none left" in out


def test_without_rejects_there_is_no_run(typed: Run, project: Path, made: Script, parsed: Parsed) -> None:
    with script("smart", lambda request: {"product": "x"}):
        parsed(typed("retry", "facts", "--model", "smart", "--json"))
    versions = len(list(project.rglob("data.parquet")))
    code, out, err = typed("retry", "facts")
    assert (code, err) == (0, "")
    assert out == "facts: no rejects, so there is nothing to ask again.\n"
    assert parsed(typed("retry", "facts", "--json"))["run_id"] is None
    assert len(list(project.rglob("data.parquet"))) == versions


def test_a_retry_asks_the_models_own_again(typed: Run, made: Script, parsed: Parsed) -> None:
    before = len(first_attempts(made))
    result = parsed(typed("retry", "facts", "--json"))
    assert result["retry"] == {"rejects": 3, "requests": 2, "calls": 2, "left": 3}
    assert len(first_attempts(made)) == before + 2


def test_a_partition_is_retried_by_itself(typed: Run, project: Path, shop: Script, parsed: Parsed) -> None:
    parsed(typed("run", "tickets", "--json"))
    for day in ("monday", "tuesday"):
        parsed(typed("run", "daily", "--partition", day, "--json"))
    code, _, err = typed("retry", "daily")
    assert code == PlanError.exit_code
    assert "add --partition KEY" in err
    with script("smart", clever) as smart:
        result = parsed(typed("retry", "daily", "--partition", "monday", "--model", "smart", "--json"))
    assert result["partition"] == "monday"
    assert result["retry"] == {"rejects": 1, "requests": 1, "calls": 1, "left": 0}
    assert first_attempts(smart) == ["bad chair"]
    assert len(parsed(typed("rejects", "daily", "--partition", "tuesday", "--json"))["rejects"]) == 1
    # The answer is in the store by now, under the request that both days have: the other day needs no call.
    code, out, err = typed("retry", "daily", "--partition", "tuesday")
    assert code == 0, err
    assert out.splitlines()[-1] == "1 reject, and no call was made: 1 had an answer in the store by now; none left"
    assert "every answer" not in out


IMAGES = """
@ig.semantic_asset(key={"tickets": "id"}, max_reject_rate=1.0)
def seen(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
    shown = tickets.with_columns(photo=pl.lit("no-such-file.png"))
    return shown.semantic.extract("photo", Fact, images="photo")

price = """


def test_rejects_that_cannot_be_sent_are_told_as_such(typed: Run, project: Path, shop: Script, parsed: Parsed) -> None:
    (project / "definitions.py").write_text(
        CODE.replace("price = ", IMAGES, 1).replace("strict, first]", "strict, first, seen]")
    )
    parsed(typed("run", "tickets", "seen", "--json"))
    code, out, err = typed("retry", "seen")
    assert code == 0, err
    assert out.splitlines()[-1] == (
        "5 rejects, and no call was made: none can be sent; 5 left: infergraph rejects seen"
    )
    assert "every answer" not in out
    out = typed("run", "seen")[1]
    assert out.splitlines()[-1] == "No call was made: 0 answers from the store, 5 rows rejected as before."
    assert shop.requests == []


def test_a_run_that_asks_nothing_says_why(typed: Run, made: Script) -> None:
    out = typed("run", "facts")[1]
    assert out.splitlines()[-1] == "No call was made: 2 answers from the store, 3 rows rejected as before."


def test_where_more_than_the_rejects_would_be_asked_nothing_is(
    typed: Run, project: Path, made: Script, parsed: Parsed
) -> None:
    asked = len(made.requests)
    (project / "definitions.py").write_text(CODE.replace('"the desk", ', '"the desk", "the door", '))
    parsed(typed("run", "tickets", "--json"))
    code, _, err = typed("retry", "facts", "--model", "smart")
    assert code == PlanError.exit_code
    assert "1 request beside the rejects would be made" in err
    assert err.endswith("type: infergraph run facts --retry-rejects\n")
    assert len(made.requests) == asked
    parsed(typed("run", "facts", "--retry-rejects", "--json"))
    assert parsed(typed("retry", "facts", "--json"))["retry"]["calls"] == 2


def test_a_run_that_was_not_published_is_retried_too(typed: Run, project: Path, made: Script, parsed: Parsed) -> None:
    assert typed("run", "strict")[0] == 1
    with script("smart", lambda request: {"product": "x"}) as smart:
        result = parsed(typed("retry", "strict", "--model", "smart", "--json"))
    assert result["retry"] == {"rejects": 3, "requests": 2, "calls": 2, "left": 0}
    assert first_attempts(smart) == ["bad chair", "bad stool"]
    assert rows_of(project, "strict")["product"].to_list() == ["the lamp", "x", "the desk", "x", "x"]
    assert not list(project.rglob(".failed"))


def test_a_retry_has_the_config_that_the_asset_was_made_with(
    typed: Run, project: Path, made: Script, parsed: Parsed
) -> None:
    opened = open_project()
    with opened.instance() as instance:
        keys = [dg.AssetKey("first")]
        board = board_for(Console(), silent=True)
        config = {"first": {"most": 5}}
        assert materialize(opened.definitions, keys, instance=instance, board=board, op_config=config).success
    before = rows_of(project, "first")
    assert before.height == 5
    with script("smart", clever):
        result = parsed(typed("retry", "first", "--model", "smart", "--json"))
    assert result["retry"] == {"rejects": 3, "requests": 2, "calls": 2, "left": 1}
    assert rows_of(project, "first")["id"].to_list() == before["id"].to_list()


def test_what_cannot_be_retried_is_said(typed: Run, made: Script) -> None:
    for arguments, code, says in (
        (("tickets",), PlanError.exit_code, "'tickets' calls no model"),
        (("strict",), ConfigurationError.exit_code, "Nothing was made of 'strict' yet"),
        (("facts", "--model", "smrt"), ConfigurationError.exit_code, "Did you mean 'smart'?"),
        (("fcts",), PlanError.exit_code, "Did you mean 'facts' or"),
    ):
        found, _, err = typed("retry", *arguments)
        assert (found, says in err) == (code, True), err


# -- looking at them -----------------------------------------------------------------------------------------------


def ids(run: tuple[int, str, str]) -> list[int]:
    code, out, err = run
    assert code == 0, err
    return [reject["id"] for reject in json.loads(out)["rejects"]]


def test_rejects_are_filtered_by_a_condition_over_all_their_columns(typed: Run, made: Script) -> None:
    assert ids(typed("rejects", "facts", "--json")) == [1, 3, 4]
    assert ids(typed("rejects", "facts", "--where", "id > 1 AND attempts = 3", "--json")) == [3, 4]
    assert ids(typed("rejects", "facts", "--where", "prompt LIKE '%stool%'", "--json")) == [3]
    assert ids(typed("rejects", "facts", "--reason", "invalid_output", "--where", "id = 9", "--json")) == []
    code, out, _ = typed("rejects", "facts", "--where", "id = 3")
    assert code == 0
    assert "facts: 1 reject (1 invalid_output)" in out
    assert "Ask again: infergraph retry facts" in out


@pytest.mark.parametrize("where", ["idd = 3", "id = ", "attempts", "count(id) > 1 OR", "SELECT 1", "id = 'x' AND 1"])
def test_a_condition_that_is_none_is_said_with_the_columns(typed: Run, made: Script, where: str) -> None:
    code, _, err = typed("rejects", "facts", "--where", where)
    assert code == PlanError.exit_code, err
    assert "row_id, id, operator, reason, message, attempts, model, prompt, response, cost_usd" in err
    assert "Traceback" not in err


def test_the_beginning_of_no_row_id_in_particular_opens_nothing(typed: Run, made: Script) -> None:
    code, out, err = typed("rejects", "facts", "--row", "")
    assert (code, out) == (PlanError.exit_code, "")
    assert "give the first characters of one" in err


def test_opening_them_needs_a_terminal(typed: Run, made: Script) -> None:
    code, _, err = typed("rejects", "facts", "--open")
    assert code == PlanError.exit_code
    assert "--row ID" in err


@pytest.mark.timeout(120)
def test_they_are_opened_one_by_one_on_a_terminal(typed: Run, project: Path, made: Script) -> None:
    with _terminal(project, "rejects", "facts", "--open", "--where", "id > 1") as terminal:
        terminal.wait_for("q: quit")
        assert "reject 1 of 2" in terminal.said
        assert "bad stool" in terminal.said
        assert "no idea" in terminal.said
        terminal.type("n\n")
        terminal.wait_for("reject 2 of 2")
        terminal.type("p\n")
        terminal.wait_for("reject 1 of 2", times=2)
        terminal.type("q\n")
        assert terminal.end() == 0


@pytest.mark.timeout(120)
def test_money_for_a_retry_is_asked_about(typed: Run, project: Path, made: Script) -> None:
    (project / "pyproject.toml").write_text("[tool.infergraph]\nask_above_usd = 0\n")
    with _terminal(project, "retry", "facts", "--model", "smart") as terminal:
        terminal.wait_for("Go on?")
        assert "may cost up to $0.0" in terminal.said
        terminal.type("n\n")
        assert terminal.end() == 130
        assert "nothing was spent" in terminal.said
    assert ids(typed("rejects", "facts", "--json")) == [1, 3, 4]


@contextmanager
def _terminal(folder: Path, *arguments: str) -> Iterator[_Terminal]:
    """A command on a terminal of its own."""
    screen, inner = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in ("DAGSTER_HOME", "CI")}
    process = subprocess.Popen(
        [sys.executable, "-c", "from infergraph.cli import main; main()", *arguments],
        cwd=folder, env={**environment, "TERM": "xterm", "COLUMNS": "200"}, stdin=inner, stdout=inner, stderr=inner,
        start_new_session=True,
    )  # fmt: skip
    os.close(inner)
    try:
        yield _Terminal(screen, process)
    finally:
        process.kill()
        process.wait(timeout=10)
        os.close(screen)


class _Terminal:
    def __init__(self, screen: int, process: subprocess.Popen[bytes]) -> None:
        self._screen = screen
        self._process = process
        self.said = ""

    def type(self, text: str) -> None:
        os.write(self._screen, text.encode())

    def wait_for(self, text: str, times: int = 1) -> None:
        until = time.monotonic() + 60
        while self.said.count(text) < times:
            assert time.monotonic() < until, self.said
            assert self._read(), f"ended without {text!r}: {self.said}"

    def end(self) -> int:
        until = time.monotonic() + 60
        while self._read():
            assert time.monotonic() < until, self.said
        return self._process.wait(timeout=60)

    def _read(self) -> bool:
        if not select.select([self._screen], [], [], 0.5)[0]:
            return True
        try:
            part = os.read(self._screen, 65536)
        except OSError:
            return False
        self.said += part.decode(errors="replace")
        return bool(part)
