"""``infergraph lineage`` on a small project, as it is typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

CODE = """
import dagster as dg
import polars as pl
from pydantic import BaseModel, Field
import infergraph as ig
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, StoreResource

class Fact(BaseModel):
    product: str = Field(description="what it is about")

@dg.asset
def tickets() -> pl.DataFrame:
    return pl.DataFrame({"id": [1, 2], "body": ["the lamp hums", "the kettle leaks"]})

@ig.semantic_asset(key_prefix="crm", key={"tickets": "id"})
def facts(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
    return tickets.filter(pl.col("id") > 0).semantic.extract("body", Fact, instruction="Name the \\x1b[2J thing.")

@ig.semantic_asset(ins={"facts": dg.AssetIn(["crm", "facts"])})
def sizes(facts: ig.SemanticFrame) -> ig.SemanticFrame:
    return facts.with_columns(**{"product.size": pl.col("product").map_elements(len, return_dtype=pl.Int64)},
                              one=pl.lit(1))

defs = dg.Definitions(
    assets=[tickets, facts, sizes],
    resources={
        "models": ModelsResource(models={"shop": ModelSettings(name="scripted:columns")}),
        "store": StoreResource(),
        "io_manager": PolarsStorage(),
    },
    executor=dg.in_process_executor,
)
"""
Run = Callable[..., tuple[int, str, str]]


def test_a_column_is_followed_to_the_sources_with_prompt_schema_and_model(typed: Run) -> None:
    assert typed("run", "tickets")[0] == 0
    code, out, _ = typed("lineage", "sizes.product.size")
    assert code == 0
    tree, _, rest = out.partition("\n\n")
    assert [line.strip("│├└─ ") for line in tree.splitlines()] == [
        "sizes.product.size: Int64",
        'opaque: with_columns: col("product").python_udf().alias("product.size"); any column below may have been used',
        "crm/facts.product: String",
        "answered by extract 'extract' [shop: scripted:columns]",
        "tickets.body: a plain asset: its own code tells nothing of its columns",
    ]
    assert 'is decided by filter([(col("id")) > (dyn int: 0)])' in rest
    assert "from tickets.id" in rest
    assert "crm/facts: extract 'extract' asks shop (scripted:columns)" in rest
    assert "Name the \\x1b[2J thing." in rest
    assert '"description": "what it is about"' in rest


def test_an_asset_shows_all_its_columns(typed: Run) -> None:
    assert typed("run", "tickets")[0] == 0
    _, out, _ = typed("lineage", "sizes")
    heads = [line for line in out.splitlines() if line.startswith("sizes.")]
    assert [line.partition(":")[0] for line in heads] == [
        "sizes.id", "sizes.body", "sizes.product", "sizes.product.size", "sizes.one",
    ]  # fmt: skip
    assert "from no column: a constant, a count or a number of the row" in out
    assert "crm/facts.product: String (see above)" in out


def test_below_opaque_code_only_the_first_columns_are_shown(typed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = CODE.replace(
        "return facts.with_columns(", "return facts.with_columns(a=pl.lit(2)).map_frame(lambda lf: lf).with_columns("
    )
    Path("definitions.py").write_text(wide)
    monkeypatch.setattr("infergraph.cli.column_lineage.MOST_BELOW_OPAQUE", 1)
    assert typed("run", "tickets")[0] == 0
    _, out, _ = typed("lineage", "sizes.id")
    assert out.splitlines()[1].startswith("├── opaque: map_frame(")
    assert "└── and 2 columns more; --json has them all" in out


def test_json_for_programs(typed: Run) -> None:
    assert typed("run", "tickets")[0] == 0
    code, out, _ = typed("lineage", "sizes.product", "--json")
    told = json.loads(out)
    assert code == 0
    assert told["columns"] == [{"asset": "sizes", "column": "product", "part": "data", "frame": ""}]
    nodes = {(node["asset"], node["column"]): node for node in told["nodes"]}
    assert list(nodes) == [("sizes", "product"), ("crm/facts", "product"), ("tickets", "body")]
    assert nodes["crm/facts", "product"]["operators"] == ["extract"]
    assert nodes["tickets", "body"]["end"] == "a plain asset: its own code tells nothing of its columns"
    assert told["assets"]["crm/facts"]["rows_decided_by"]["columns"][0]["column"] == "id"
    assert told["assets"]["crm/facts"]["operators"][0]["model_id"] == "scripted:columns"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("sizes", "nothing is published of 'tickets' yet. Type: infergraph run tickets"),
        ("size.product", "There is no asset 'size'. Did you mean 'sizes'?"),
        ("tickets.body", "is not known: a plain asset: its own code tells nothing of its columns"),
    ],
)
def test_what_is_not_known_is_one_message(typed: Run, given: str, said: str) -> None:
    code, out, err = typed("lineage", given)
    assert (code, out) == (2, "")
    assert said in err


def test_an_unknown_column_has_the_nearest_names(typed: Run) -> None:
    assert typed("run", "tickets")[0] == 0
    code, _, err = typed("lineage", "sizes.produc")
    assert code == 2
    assert "'sizes' has no column 'produc'. Did you mean 'product'" in err
