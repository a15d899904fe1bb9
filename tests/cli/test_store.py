"""``infergraph store`` and its prune, on a project whose answers have grown old."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster._core.utils import make_new_run_id

from infergraph.models.model import Request
from infergraph.models.scripted import Script, script
from infergraph.store import Store, hash_from_text

CODE = """
import dagster as dg
import polars as pl
from pydantic import BaseModel
import infergraph as ig
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, StoreResource
from infergraph.dagster.resources import PriceSettings

class Fact(BaseModel):
    product: str

@dg.asset
def tickets() -> pl.DataFrame:
    return pl.DataFrame({"id": [1, 2, 3], "body": ["the lamp hums", "the kettle leaks", "broken"]})

@ig.semantic_asset(key={"tickets": "id"}, max_reject_rate=0.5, keep_versions=1)
def facts(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
    return tickets.semantic.extract("body", Fact, instruction="INSTRUCTION")

MODEL = ModelSettings(name="scripted:shop", price=PriceSettings(input=1, output=2))

defs = dg.Definitions(
    assets=[tickets, facts],
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


def answer(request: Request) -> str:
    text = " ".join(message.content for message in request.messages)
    return "no JSON at all" if "broken" in text else json.dumps({"product": "lamp" if "lamp" in text else "kettle"})


@pytest.fixture
def project(project: Path) -> Path:
    write(project, "first")
    return project


def write(project: Path, instruction: str) -> None:
    (project / "definitions.py").write_text(CODE.replace("INSTRUCTION", instruction))


@pytest.fixture
def shop() -> Iterator[Script]:
    with script("shop", answer) as running:
        yield running


@pytest.fixture
def old(project: Path, typed: Run, shop: Script) -> list[str]:
    """A project that published twice, long ago; the hashes of the first version's answers, which nothing refers to."""
    assert typed("run", "tickets+", "-y")[0] == 0
    gone = hashes(project)
    write(project, "second")
    assert typed("run", "facts", "-y")[0] == 0
    assert not set(gone) & set(hashes(project))
    grow_old(project, days=100)
    return gone


def hashes(project: Path) -> list[str]:
    [lineage] = project.glob(".infergraph/assets/facts/*/lineage.parquet")
    return pl.read_parquet(lineage)["request_hash"].to_list()


def grow_old(project: Path, days: int) -> None:
    database = sqlite3.connect(project / ".infergraph" / "state.db")
    with database:
        database.execute("UPDATE attempts SET started_at = started_at - ?", [days * 86_400])
        database.execute("UPDATE answers SET created_at = created_at - ?", [days * 86_400])
    database.close()


def stored(project: Path, texts: list[str]) -> list[bool]:
    """Whether the store has an answer, with prompt and response, to each of these hashes."""
    with Store.open("sqlite:///.infergraph/state.db", root=project) as store:
        found = store.answers([hash_from_text(text) for text in texts])
        there = [hash_from_text(text) in found for text in texts]
        for text, is_there in zip(texts, there, strict=True):
            attempts = store.attempts_of(hash_from_text(text))
            assert bool(attempts) == is_there
            assert all(attempt.messages and attempt.response is not None for attempt in attempts)
        return there


def test_the_store_says_what_lies_in_it(typed: Run, shop: Script, parsed: Parsed) -> None:
    typed("run", "tickets+", "-y")
    said = parsed(typed("store", "--json"))
    assert said["answers"] == said["referred_answers"] == 3
    assert said["attempts"] == len(shop.requests)
    assert said["groups"] == [{"model": "scripted:shop", "asset": "facts", "attempts": len(shop.requests),
                               "bytes": said["groups"][0]["bytes"]}]  # fmt: skip
    assert said["bytes_by_table"]["attempts"] > 0
    assert said["oldest"] <= said["newest"]
    code, out, _ = typed("store")
    assert code == 0
    assert "3 of them are referred to by published rows" in out
    assert "facts" in out


def test_what_judges_answered_is_said_and_stays_with_the_rows_that_they_graded(
    project: Path, typed: Run, shop: Script, parsed: Parsed
) -> None:
    judged = "max_reject_rate=0.5, checks=[ig.judge('{{ product }} is a thing', model='grader', target=0.1)],"
    code = CODE.replace("max_reject_rate=0.5,", judged).replace('{"shop": MODEL}', '{"shop": MODEL, "grader": GRADER}')
    grader = "GRADER = MODEL.model_copy(update={'name': 'scripted:grader'})\n\ndefs ="
    code = code.replace("\ndefs =", f"\n{grader}").replace("ModelsResource(", "ModelsResource(default_model='shop', ")
    (project / "definitions.py").write_text(code)
    with script("grader", lambda request: {request.choices.field: True} if request.choices else "") as asked:
        code_first, first, _ = typed("run", "tickets+", "-y")
        assert (code_first, len(asked.requests)) == (0, 2)
        assert "facts: its checks made 2 calls more, $" in first
        grow_old(project, days=100)
        done = parsed(typed("store", "prune", "--older-than", "90d", "--yes", "--json"))
        assert (done["answers"], done["kept"]) == (0, 5)
        code_again, again, _ = typed("run", "facts", "-y")
        assert (code_again, len(asked.requests)) == (0, 2)
        assert "No call was made" in again
        (project / "definitions.py").write_text(code.replace("is a thing", "is something"))
        code_last, last, _ = typed("run", "facts", "-y")
        assert (code_last, len(asked.requests)) == (0, 4)
        assert "No call was made" not in last


def test_a_prune_removes_what_nothing_refers_to_and_an_unchanged_run_makes_no_call(
    project: Path, typed: Run, shop: Script, old: list[str], parsed: Parsed
) -> None:
    asked = len(shop.requests)
    spent = parsed(typed("usage", "--json"))["total"]
    done = parsed(typed("store", "prune", "--older-than", "90d", "--yes", "--json"))
    assert (done["removed"], done["answers"], done["kept"], done["waiting"]) == (True, 3, 3, 0)
    assert stored(project, old) == [False] * 3
    # Answers and remembered rejections of the published rows are there, prompt and response of every attempt included.
    assert stored(project, hashes(project)) == [True] * 3
    again = parsed(typed("run", "facts", "-y", "--json"))
    assert again["assets"][0]["usage"]["calls"] == 0
    assert len(shop.requests) == asked
    total = parsed(typed("usage", "--json"))["total"]
    same = ("attempts", "calls", "input_tokens", "output_tokens", "cost_usd", "unknown_costs")
    assert {name: total[name] for name in same} == {name: spent[name] for name in same}
    # What is gone is asked anew.
    write(project, "first")
    assert parsed(typed("run", "facts", "-y", "--json"))["assets"][0]["usage"]["calls"] == 3


def test_a_dry_run_changes_nothing_and_nobody_to_ask_is_an_error(
    project: Path, typed: Run, shop: Script, old: list[str], parsed: Parsed
) -> None:
    said = parsed(typed("store", "prune", "--older-than", "90d", "--dry-run", "--json"))
    assert (said["removed"], said["answers"], said["kept"]) == (False, 3, 3)
    code, out, _ = typed("store", "prune", "--older-than", "90d", "--dry-run")
    assert code == 0
    assert "Would remove 3 answers" in out
    assert "3 older answers stay" in out
    code, _, err = typed("store", "prune", "--older-than", "90d")
    assert code == 2
    assert "--yes" in err
    assert stored(project, old) == [True] * 3
    assert "Nothing older than" in typed("store", "prune", "--older-than", "200d", "--yes")[1]


def test_a_size_takes_the_oldest_first(project: Path, typed: Run, shop: Script, old: list[str], parsed: Parsed) -> None:
    done = parsed(typed("store", "prune", "--max-size", "1kB", "--yes", "--json"))
    assert (done["answers"], done["kept"]) == (3, 3), "published rows keep their answers, however small it is to be"
    assert parsed(typed("store", "prune", "--max-size", "1GB", "--yes", "--json"))["answers"] == 0


def test_a_run_that_goes_on_may_have_found_what_is_old(
    project: Path, typed: Run, shop: Script, old: list[str], parsed: Parsed
) -> None:
    home = project / ".infergraph" / "dagster"
    run = dg.DagsterRun(job_name="by_hand", run_id=make_new_run_id(), status=dg.DagsterRunStatus.STARTED)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.add_run(run)
    code, out, err = typed("store", "prune", "--older-than", "90d", "--yes")
    assert code == 0, err
    assert "Removed 0 answers" in out
    assert "3 answers set aside" in out
    assert "set aside, to be removed" in typed("store")[1]
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.report_run_canceled(run)
    assert parsed(typed("store", "prune", "--older-than", "90d", "--yes", "--json"))["answers"] == 3
    assert stored(project, old) == [False] * 3


@pytest.mark.parametrize("broken", ["storage", "version", "lineage", "current"])
def test_nothing_is_removed_when_a_storage_cannot_be_read(
    project: Path, typed: Run, shop: Script, old: list[str], broken: str, parsed: Parsed
) -> None:
    assets = project / ".infergraph" / "assets"
    [lineage] = assets.glob("facts/*/lineage.parquet")
    if broken == "storage":
        assets.rename(project / "elsewhere")
    elif broken == "version":
        shutil.rmtree(lineage.parent)
    elif broken == "lineage":
        lineage.write_bytes(b"PAR1 and nonsense")
    else:
        (assets / "facts" / "current.json").write_text("{")
    code, _, err = typed("store", "prune", "--older-than", "90d", "--yes")
    assert code == 3
    assert "Nothing was removed" in err
    named = {"storage": str(assets), "lineage": str(lineage)}.get(broken, "current.json")
    assert named in err
    said = typed("store", "--json")
    assert parsed(said)["referred_answers"] is None
    assert named in said[2]
    with Store.open("sqlite:///.infergraph/state.db", root=project) as store:
        assert store.contents().answers == 6
        assert store.contents().set_aside == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--older-than 90d, or --max-size"),
        (["--older-than", "90d", "--max-size", "1GB"], "--older-than 90d, or --max-size"),
        (["--older-than", "soon"], "write a number and s, m, h, d or w"),
        (["--older-than", "1h"], "6h or more"),
        (["--max-size", "big"], "kB, MB, GB or TB"),
    ],
)
def test_wrong_arguments_are_explained(typed: Run, arguments: list[str], said: str) -> None:
    code, _, err = typed("store", "prune", *arguments)
    assert code == 2
    assert said in err
