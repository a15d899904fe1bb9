"""Columns that a plan makes for itself: whoever reads a plan is shown the columns that they are made of, or words."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

import infergraph as ig
from infergraph.frame import own_columns

Plan = Callable[[ig.SemanticFrame, ig.SemanticFrame], ig.SemanticFrame]
ROWS = pl.DataFrame({"id": [1, 2, 3], "body": ["a", "b", "c"], "team": ["x", "x", "y"]})
PAIR = "{{ left.body }} is {{ right.body }}"
GROUP = "{% for row in rows %}{{ row.body }} {{ loop.index }}{% endfor %}"
PLANS: dict[str, Plan] = {
    "reduce": lambda mails, other: mails.semantic.reduce(GROUP, by="team", into="r", order_by="id"),
    "reduce all": lambda mails, other: mails.semantic.reduce(GROUP, by=[], into="r"),
    "top_k": lambda mails, other: mails.semantic.top_k("{{ body }} is urgent", k=2),
    "join": lambda mails, other: mails.semantic.join(other, PAIR),
    "join left": lambda mails, other: mails.semantic.join(
        other, PAIR, how="left", candidates=pl.col("team") == pl.col("team_right")
    ),
    "join semi": lambda mails, other: mails.semantic.join(other, PAIR, how="semi"),
    "join anti": lambda mails, other: mails.semantic.join(other, PAIR, how="anti"),
    "join by meaning": lambda mails, other: mails.semantic.join(
        other, PAIR, candidates=ig.Similar("body", "body", k=2)
    ),
    "sim_join": lambda mails, other: mails.semantic.sim_join(other, "body", "body", k=1),
    "search": lambda mails, other: mails.semantic.search("body", "hello", k=2),
    "cluster": lambda mails, other: mails.semantic.cluster("body", label=True),
    "dedup": lambda mails, other: mails.semantic.dedup("body", min_similarity=0.9),
    "explode": lambda mails, other: (
        mails.with_columns(pl.col("body").str.split(" ")).explode("body").semantic.map("{{ body }}", into="x")
    ),
    "unpivot": lambda mails, other: mails.unpivot(on=["body", "team"], index="id").semantic.embed("value"),
    "slice": lambda mails, other: mails.slice(1, 1).semantic.summarize("body"),
}


@pytest.fixture
def frames(session: ig.Session) -> tuple[ig.SemanticFrame, ig.SemanticFrame]:
    return session.frame(ROWS, name="mails", key="id"), session.frame(ROWS, name="other", key="id")


@pytest.mark.parametrize("name", PLANS)
def test_no_plan_shows_a_column_that_nobody_typed(frames: tuple[ig.SemanticFrame, ig.SemanticFrame], name: str) -> None:
    out = PLANS[name](*frames)
    told = {"explain": out.explain(), "repr": repr(out), "lineage": str(out.column_lineage().as_dict())}
    assert {what: text for what, text in told.items() if "__" in text} == {}


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("reduce", "reads id, body; writes r: String"),
        ("top_k", "reads body; writes rank: UInt32"),
        ("join left", "reads body, body_right; decides which pairs match"),
        ("join", "reads body, body_right; keeps the rows for which it is true"),
        ("cluster", "reads body; writes cluster_label: String"),
        ("sim_join", "reads body; writes embedding of the left rows: Array(Float32, shape=(64,))"),
    ],
)
def test_explain_says_what_is_read_and_written(
    frames: tuple[ig.SemanticFrame, ig.SemanticFrame], name: str, line: str
) -> None:
    assert line in [one.strip() for one in PLANS[name](*frames).explain().splitlines()]


@pytest.mark.parametrize(
    ("name", "operator", "reads", "writes"),
    [
        ("reduce", "reduce", ("id", "body"), {"r": "String"}),
        ("reduce all", "reduce", ("body",), {"r": "String"}),
        ("top_k", "top_k", ("body",), {"rank": "UInt32"}),
        ("join anti", "join", ("body", "body_right"), {}),
        ("cluster", "cluster.label", ("body",), {"cluster_label": "String"}),
        ("cluster", "cluster", ("body",), {"embedding": "Array(Float32, shape=(64,))"}),
    ],
)
def test_column_lineage_says_what_is_read_and_written(
    frames: tuple[ig.SemanticFrame, ig.SemanticFrame],
    name: str,
    operator: str,
    reads: tuple[str, ...],
    writes: dict[str, str],
) -> None:
    facts = {one.name: one for one in PLANS[name](*frames).column_lineage().operators}[operator]
    assert (facts.reads, facts.writes) == (reads, writes)


def test_a_column_of_the_readers_keeps_its_name(session: ig.Session) -> None:
    """Also one that looks like the plan's own."""
    rows = session.frame(ROWS.rename({"body": "__clusters", "team": "my__key:"}), name="mails", key="id")
    told = rows.semantic.map("{{ __clusters }}", into="__join").explain()
    assert "reads __clusters; writes __join: String" in told
    assert own_columns.in_words("my__key: and __clusters") == "my__key: and __clusters"
