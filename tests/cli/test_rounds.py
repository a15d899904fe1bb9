"""An asset whose operator asks in rounds, as it is typed: run, plan, trace, rejects and retry."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from infergraph.frame.lineage_rows import LINEAGE_SCHEMA
from infergraph.lineage_text import AGAIN
from infergraph.models.model import CallFailed, Request
from infergraph.models.scripted import script

OPERATOR = Path(__file__).parents[1] / "frame" / "test_rounds.py"
CODE = f"""
import importlib.util, sys
import dagster as dg
import polars as pl
import infergraph as ig
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, StoreResource
from infergraph.dagster.resources import PriceSettings

spec = importlib.util.spec_from_file_location("halving", {str(OPERATOR)!r})
halving = importlib.util.module_from_spec(spec)
sys.modules["halving"] = halving
spec.loader.exec_module(halving)

@dg.asset
def lists() -> pl.DataFrame:
    return pl.DataFrame({{"id": [1, 2, 3], "texts": [["a", "b", "c", "d"], ["e", "f"], None]}})

@ig.semantic_asset(key={{"lists": "id"}}, max_reject_rate=1)
def joined(lists: ig.SemanticFrame) -> ig.SemanticFrame:
    return halving.halved(lists)

price = PriceSettings(input=1, output=2)
models = {{name: ModelSettings(name="scripted:" + name, price=price) for name in ("shop", "smart")}}
defs = dg.Definitions(
    assets=[lists, joined],
    resources={{
        "models": ModelsResource(models=models, default_model="shop"),
        "store": StoreResource(store_prompts=KEPT),
        "io_manager": PolarsStorage(),
    }},
    executor=dg.in_process_executor,
)
"""
Typed = Callable[..., tuple[int, str, str]]
Parsed = Callable[[tuple[int, str, str]], Any]


def joins(request: Request) -> str:
    return request.messages[-1].content.replace("+", "")


def picky(request: Request) -> Any:
    if request.messages[-1].content == "c+d":
        raise CallFailed("no", outcome="permanent", reason="refused")
    return joins(request)


@pytest.fixture(params=[True, False], ids=["prompts kept", "prompts not kept"])
def project(project: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    (project / "definitions.py").write_text(CODE.replace("KEPT", str(request.param)))
    yield project
    sys.modules.pop("halving", None)


def test_run_trace_rejects_and_retry(typed: Typed, tmp_path: Path, parsed: Parsed) -> None:
    with script("shop", picky) as shop:
        parsed(typed("run", "lists", "joined", "--json", "--yes"))
        assert sorted(one.messages[-1].content for one in shop.requests) == ["a+b", "c+d", "e+f"]
        # Nothing is asked again: the plan finds every answer, and the rejection.
        (planned,) = parsed(typed("plan", "joined", "--json"))["assets"]
        assert planned["estimate"]["calls"] == 0

        code, out, err = typed("trace", "joined", "--where", "id = 1")
        assert code == 0, err
        first, second = out.index("halve, level 1, part 1 of 2 ["), out.index("halve, level 1, part 2 of 2 [")
        assert first < second
        assert "rejected: refused: level 1, part 2 of 2: no" in out
        kept = "store_prompts=True" in (tmp_path / "definitions.py").read_text()
        assert (AGAIN in out) is not kept
        assert "user: a+b" in out

        (reject,) = parsed(typed("rejects", "joined", "--json"))["rejects"]
        code, out, err = typed("rejects", "joined", "--row", reject["row_id"])
        assert code == 0, err
        assert "c+d" in out

        with script("smart", joins) as smart:
            result = parsed(typed("retry", "joined", "--model", "smart", "--json", "--yes"))
        assert result["retry"]["left"] == 0
        assert [one.messages[-1].content for one in smart.requests] == ["c+d"]
        # What follows from the new answer is asked of the model's own.
        assert [one.messages[-1].content for one in shop.requests][3:] == ["ab+cd"]

    (current,) = (tmp_path / ".infergraph" / "assets" / "joined").glob("**/current.json")
    folder = current.parent / json.loads(current.read_text())["version"]
    assert pl.read_parquet(folder / "data.parquet")["joined"].to_list() == ["abcd", "ef", None]
    lineage = pl.read_parquet(folder / "lineage.parquet")
    assert lineage.schema == LINEAGE_SCHEMA
    assert lineage["part"].to_list() == [
        "level 1, part 1 of 2", "level 1, part 2 of 2", "level 2, part 1 of 1", "level 1, part 1 of 1",
    ]  # fmt: skip

    # Lineage of before parts were written is read as before.
    lineage.drop("part").write_parquet(folder / "lineage.parquet")
    code, out, err = typed("trace", "joined", "--where", "id = 2")
    assert code == 0, err
    assert "halve [scripted:shop] from store" in out
