"""``infergraph rejects --row`` where the store keeps no prompts: rendered again from the row, or said to be gone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from infergraph.cli.rendered import NOTE
from infergraph.lineage_text import AGAIN, NOT_KEPT
from infergraph.models.model import CallFailed
from infergraph.models.scripted import script

CODE = """
import dagster as dg
import polars as pl
import infergraph as ig
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, StoreResource

@dg.asset
def tickets() -> pl.DataFrame:
    return pl.DataFrame({"id": [1, 2], "body": ["the lamp hums", "the kettle leaks"]}).ROWS

@ig.semantic_asset(key={"tickets": "id"}, max_reject_rate=1)
def facts(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
    return tickets.semantic.map("Sum up {{ body }}", into="OUT", name="OPERATOR")

defs = dg.Definitions(
    assets=[tickets, facts],
    resources={
        "models": ModelsResource(models={"shop": ModelSettings(name="scripted:shop")}),
        "store": StoreResource(store_prompts=False),
        "io_manager": PolarsStorage(),
    },
    executor=dg.in_process_executor,
)
"""


def written(folder: Path, *, rows: str = "head(2)", operator: str = "sum_up") -> None:
    code = CODE.replace("ROWS", rows).replace("OPERATOR", operator).replace("OUT", "out")
    (folder / "definitions.py").write_text(code)


Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def project(project: Path) -> Path:
    written(project)
    return project


def test_a_rejects_prompt_is_rendered_again_or_said_to_be_gone(typed: Typed, tmp_path: Path) -> None:
    refused = CallFailed("not this one", outcome="permanent", reason="refused")
    with script("shop", lambda _: refused):
        code, _, err = (
            typed("run", "tickets+", "--yes") if "--yes" in typed("run", "--help")[1] else typed("run", "tickets+")
        )
        assert code == 0, err
    code, out, _ = typed("rejects", "facts", "--json")
    assert code == 0
    first = json.loads(out)["rejects"][0]
    assert first["prompt"] is None

    _, out, _ = typed("rejects", "facts", "--row", first["row_id"])
    assert NOTE in " ".join(out.split())
    assert "the lamp hums" in out
    assert "Sum up <body>" in out

    written(tmp_path, operator="another")  # the operator is not in the plan any more
    code, out, _ = typed("rejects", "facts", "--row", first["row_id"])
    assert code == 0
    assert "(not kept)" in out
    assert "the lamp hums" not in out

    written(tmp_path, rows="tail(1)")
    assert typed("run", "tickets")[0] == 0  # the row is not there any more
    code, out, _ = typed("rejects", "facts", "--row", first["row_id"])
    assert code == 0
    assert "(not kept)" in out


def test_traces_render_prompts_again_where_they_are_the_very_ones(typed: Typed, tmp_path: Path) -> None:
    with script("shop", lambda _: "said"):
        assert typed("run", "tickets+", "--yes")[0] == 0
    _, out, _ = typed("trace", "facts", "--where", "id = 1")
    assert AGAIN in out
    assert "Sum up <body>" in out
    assert "the lamp hums" in out.partition(AGAIN)[2].partition("->")[0]
    _, out, _ = typed("trace", "tickets", "--where", "id = 2", "--forward", "--json")
    [step] = json.loads(out)["rows"][0]["downstream"][0]["steps"]
    assert step["attempts"][0]["prompt_kept"] is False
    assert "the kettle leaks" in step["attempts"][0]["messages"][-1]["content"]

    code = (tmp_path / "definitions.py").read_text()
    for changed in ("Summarise {{ body }}", "Sum up {{ nothing }}"):  # asks something else; is no plan any more
        (tmp_path / "definitions.py").write_text(code.replace("Sum up {{ body }}", changed))
        code_of, out, _ = typed("trace", "facts", "--where", "id = 1")
        assert code_of == 0
        assert NOT_KEPT in out
        assert "Summarise" not in out


def test_rows_without_a_key_are_rendered_again_too(typed: Typed, tmp_path: Path) -> None:
    code = (tmp_path / "definitions.py").read_text().replace('key={"tickets": "id"}, ', "")
    (tmp_path / "definitions.py").write_text(code)
    with script("shop", lambda _: "said"):
        assert typed("run", "tickets+", "--yes")[0] == 0
    _, out, _ = typed("trace", "facts", "--where", "id = 2")
    assert AGAIN in out
    assert "the kettle leaks" in out.partition(AGAIN)[2].partition("->")[0]


def test_a_function_that_fails_by_now_leaves_the_rest_to_be_shown(typed: Typed, tmp_path: Path) -> None:
    refused = CallFailed("not this one", outcome="permanent", reason="refused")
    with script("shop", lambda _: refused):
        assert typed("run", "tickets+", "--yes")[0] == 0
    code = (tmp_path / "definitions.py").read_text().replace("    return tickets.semantic", "    return {}[1].semantic")
    (tmp_path / "definitions.py").write_text(code)
    _, out, _ = typed("rejects", "facts", "--json")
    row_id = json.loads(out)["rejects"][0]["row_id"]
    for command in ("rejects", "trace"):
        code_of, out, err = typed(command, "facts", "--row", row_id)
        assert code_of == 0, err
        assert "refused" in out
        assert "not kept" in out
