"""Rows traced across assets of real runs: up to what came in, down to what it became."""

import json
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import dagster as dg
import polars as pl
import pytest
from pydantic import BaseModel

import infergraph as ig
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, PriceSettings, StoreResource
from infergraph.dagster.layout import Place
from infergraph.dagster.publish import current_version
from infergraph.dagster.resources import close_sessions
from infergraph.dagster.storage import ROW_IDS
from infergraph.models.model import CallFailed, Request
from infergraph.models.scripted import script


class Fact(BaseModel):
    product: str


days = dg.StaticPartitionsDefinition(["monday", "tuesday"])
BODIES: dict[str, dict[int, str | None]] = {
    "monday": {1: "a lamp", 2: "bad words", 3: "a kettle"},
    "tuesday": {4: "another lamp", 5: "unclear"},
}


@dg.asset(partitions_def=days)
def tickets(context: dg.AssetExecutionContext) -> pl.DataFrame:
    bodies = BODIES[context.partition_key]
    return pl.DataFrame({"id": list(bodies), "body": list(bodies.values())}, schema_overrides={"body": pl.String})


@dg.asset
def prices() -> pl.DataFrame:
    return pl.DataFrame({"product": ["kettle", "lamp"], "price": [20, 10]})


@ig.semantic_asset(partitions_def=days, key={"tickets": "id"}, max_reject_rate=1)
def facts(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
    return tickets.semantic.extract("body", Fact)


@ig.semantic_asset(ins={"facts": dg.AssetIn(partition_mapping=dg.AllPartitionMapping())}, max_reject_rate=1)
def lamps(facts: ig.SemanticFrame, prices: pl.LazyFrame) -> ig.SemanticFrame:
    chosen = facts.semantic.filter("{{ body }} is about a lamp", name="about_lamps")
    return chosen.join(prices, on="product", how="left")


@ig.semantic_asset
def totals(lamps: ig.SemanticFrame) -> ig.SemanticFrame:
    return lamps.group_by("product").agg(pl.col("price").sum(), pl.col("id").count().alias("tickets"))


@dg.asset
def report(totals: pl.LazyFrame) -> pl.LazyFrame:
    return totals.select(pl.len())


@dg.asset(ins={"lamps": dg.AssetIn(metadata={ROW_IDS: True})})
def short_lamps(lamps: pl.LazyFrame) -> pl.LazyFrame:
    """Plain code that keeps the ids of its rows."""
    return lamps.select("id", "_row_id")


@ig.semantic_asset(ins={"rejects": ig.rejects_of("facts", partition_mapping=dg.AllPartitionMapping())})
def apologies(rejects: ig.SemanticFrame) -> ig.SemanticFrame:
    return rejects.semantic.map("Say sorry for {{ reason }}", into="sorry")


ASSETS = [tickets, prices, facts, lamps, totals, report, short_lamps, apologies]


def answer(request: Request) -> str:
    said = re.findall(r"<body>\n(.*?)\n</body>", request.messages[-1].content, re.DOTALL)
    if not said:
        return "sorry"
    if "bad" in said[-1]:
        raise CallFailed("no such words here", outcome="permanent", reason="refused")
    if "is about" in request.messages[0].content:
        return "no JSON" if "unclear" in said[-1] else json.dumps({"answer": "lamp" in said[-1]})
    return json.dumps({"product": "lamp" if "lamp" in said[-1] else "kettle"})


class Deployment:
    """Published assets of one folder, on a scripted model."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        desk = ModelSettings(name="scripted:desk", price=PriceSettings(input=1_000, output=1), max_concurrency=1)
        self.storage = PolarsStorage(base_url=str(folder / "assets"))
        self._instance = instance
        self.resources = {
            "models": ModelsResource(models={"desk": desk}),
            "store": StoreResource(url=f"sqlite:///{folder / 'state.db'}"),
            "io_manager": self.storage,
        }
        self._definitions = dg.Definitions(ASSETS, resources=self.resources)

    def run(self, *names: str, partition: str | None = None) -> None:
        done = dg.materialize(
            ASSETS, selection=list(names), resources=self.resources, partition_key=partition, instance=self._instance
        )
        assert done.success

    def run_all(self) -> None:
        for day in BODIES:
            self.run("tickets", "facts", partition=day)
        self.run("prices", "lamps", "totals", "report", "short_lamps", "apologies")

    def trace(self, asset: str, where: str | pl.Expr | None = None, row_id: str | None = None, **more: Any) -> Any:
        return ig.trace(asset, where, row_id, definitions=self._definitions, **more)


@pytest.fixture(scope="module", autouse=True)
def desk() -> Iterator[None]:
    with script("desk", answer):
        yield
    close_sessions()


@pytest.fixture
def fresh(tmp_path: Path, instance: dg.DagsterInstance) -> Deployment:
    """A deployment of the test's own, with nothing published."""
    return Deployment(tmp_path, instance)


@pytest.fixture(scope="module")
def deployment(desk: None, tmp_path_factory: pytest.TempPathFactory, instance: dg.DagsterInstance) -> Deployment:
    """All assets published once; tests only look."""
    made = Deployment(tmp_path_factory.mktemp("deployment"), instance)
    made.run_all()
    return made


def back(found: Any) -> Sequence[ig.Trace]:
    return cast(Sequence[ig.Trace], list(found))


def ahead(found: Any) -> Sequence[ig.Became]:
    return cast(Sequence[ig.Became], list(found))


def sources_of(trace: ig.Trace) -> list[ig.Trace]:
    """The rows where a trace leaves its run, over parents only."""
    return [end for parent in trace.parents for end in sources_of(parent)] if trace.parents else [trace]


def test_a_cell_is_traced_over_three_assets_to_what_came_in(deployment: Deployment) -> None:
    [row] = back(deployment.trace("totals", "product = 'lamp'"))
    assert row.values == {"product": "lamp", "price": 20, "tickets": 2}
    assert (row.made_by, row.parents_total) == ("group_by.agg", 2)
    first, second = [parent.source for parent in row.parents]
    assert first is not None
    assert first.upstream is not None
    assert first.upstream.asset is not None
    assert first.upstream.asset.asset == "lamps"
    assert first.upstream.made_by == "join"
    ticket, price = sources_of(first.upstream)
    [asked] = ticket.steps
    assert (asked.operator, asked.kept, asked.source, asked.via) == ("about_lamps", True, "call", "direct")
    assert "a lamp" in asked.attempts[0].messages[-1].content
    assert ticket.source is not None
    assert ticket.source.upstream is not None
    fact = ticket.source.upstream
    assert fact.asset is not None
    assert (fact.asset.asset, fact.asset.partition) == ("facts", "monday")
    [extracted] = fact.steps
    assert extracted.cost_usd is not None
    assert extracted.cost_usd > 0
    assert extracted.attempts[0].asset == "facts"
    assert extracted.attempts[0].run_id == fact.asset.run_id
    assert fact.source is not None
    assert fact.source.asset is not None
    assert fact.source.values == {"id": 1, "body": "a lamp"}
    assert row.cost_usd == Decimal(sum(attempt.cost_nano_usd or 0 for attempt in row.attempts)) / 10**9
    assert len(row.attempts) == 4
    assert dict(fact.source.key) == {"id": 1}
    assert "plain code" in fact.source.note
    assert price.source is not None
    assert price.source.values == {"product": "lamp", "price": 10}
    assert price.source.asset is not None
    assert price.source.asset.asset == "prices"
    assert second is not None
    assert second.upstream is not None
    days_of = {end.source.asset.partition for end in sources_of(second.upstream) if end.source and end.source.asset}
    assert days_of == {"tuesday", None}


def test_the_tree_as_text_and_as_json(deployment: Deployment) -> None:
    found = deployment.trace("totals", "product = 'lamp'")
    text = str(found)
    for part in ("made by group_by.agg from 2 rows", "<body>", '{"product": "lamp"}', "tokens in", "USD", "in run"):
        assert part in text
    said = json.loads(json.dumps(found.as_dict()))
    assert said["matched"] == 1
    attempt = said["rows"][0]["parents"][0]["source"]["upstream"]["parents"][0]["steps"][0]["attempts"][0]
    assert attempt["messages"]
    assert attempt["input_tokens"] > 0
    assert attempt["seconds"] >= 0


def test_what_a_source_row_became(deployment: Deployment) -> None:
    [lamp] = ahead(deployment.trace("tickets", "id = 1", forward=True))
    [fact] = lamp.downstream
    assert (fact.state, fact.values) == ("published", {"id": 1, "body": "a lamp", "product": "lamp"})
    [in_lamps] = fact.downstream
    assert in_lamps.state == "became"
    [joined] = in_lamps.children
    assert joined.made_by == "join"
    assert joined.values is not None
    assert joined.values["price"] == 10
    below = {one.asset.asset: one for one in joined.downstream if one.asset}
    assert set(below) == {"totals", "short_lamps"}
    assert below["short_lamps"].values == {"id": 1}
    [group] = below["totals"].children
    assert (group.made_by, group.state) == ("group_by.agg", "published")
    [end] = group.downstream
    assert (end.state, end.asset is not None and end.asset.asset) == ("not followed", "report")


def test_dropped_rejected_and_gone_rows_say_so(deployment: Deployment) -> None:
    def fate(number: int) -> tuple[str, str, str, str]:
        [ticket] = ahead(deployment.trace("tickets", f"id = {number}", forward=True))
        [fact] = [one for one in ticket.downstream if one.asset and one.asset.asset == "facts"]
        [lamp] = [one for one in fact.downstream if one.asset and one.asset.asset == "lamps"]
        return fact.state, fact.why, lamp.state, lamp.why

    assert fate(3)[2:] == ("dropped", "dropped by the semantic filter 'about_lamps': its answer was no")
    state, why, after, and_then = fate(2)
    assert state == "published"
    assert "extract rejected it (refused: no such words here)" in why
    assert after == "rejected"
    assert "about_lamps could not decide (refused" in and_then
    assert fate(5)[2] == "rejected"
    [kettle] = ahead(deployment.trace("prices", "product = 'kettle'", forward=True))
    assert [one.state for one in kettle.downstream] == ["gone"]
    assert "left it out" in str(kettle)


def test_a_reject_is_traced_by_its_id_and_by_the_columns_of_rejects(deployment: Deployment) -> None:
    [dropped] = back(deployment.trace("lamps", "reason = 'refused'"))
    assert dropped.values is None
    assert dropped.steps[0].rejected == "refused: no such words here"
    assert dropped.source is not None
    assert dropped.source.values["id"] == 2
    [same] = back(deployment.trace("lamps", row_id=dropped.row_id[:12]))
    assert same.row_id == dropped.row_id
    [forward] = ahead(deployment.trace("lamps", row_id=dropped.row_id, forward=True))
    assert forward.state == "rejected"


def test_rejects_as_an_input_are_followed_both_ways(deployment: Deployment) -> None:
    [row] = back(deployment.trace("apologies", "true"))
    assert row.source is not None
    assert row.source.upstream is not None
    assert "a reject of 'facts'" in row.source.note
    assert row.source.upstream.steps[0].rejected is not None
    [ticket] = ahead(deployment.trace("tickets", "id = 2", forward=True))
    below = {one.asset.asset: one for one in ticket.downstream[0].downstream if one.asset}
    assert below["apologies"].state == "published"


def test_plain_code_ends_a_trace_unless_it_keeps_ids(deployment: Deployment) -> None:
    [plain] = back(deployment.trace("report", "true"))
    assert (plain.row_id, plain.values) == ("#0", {"len": 1})
    assert "plain code" in plain.ended
    assert back(deployment.trace("report", row_id="#0"))[0].values == plain.values
    [kept] = back(deployment.trace("short_lamps", "id = 4"))
    assert not kept.ended
    assert kept.source is not None
    assert kept.source.upstream is not None
    assert kept.source.upstream.made_by == "join"


def test_the_version_that_was_read_is_the_one_that_is_shown(fresh: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh.run_all()
    monkeypatch.setitem(BODIES, "monday", {1: "a lamp, changed", 3: "a kettle"})
    fresh.run("tickets", partition="monday")
    [fact] = back(fresh.trace("facts", "id = 1"))
    assert fact.source is not None
    assert fact.source.values["body"] == "a lamp"
    assert "no longer kept" not in fact.source.note
    fresh.run("facts", partition="monday")
    # `lamps` still holds what the earlier version of `facts` gave, and that version is kept.
    [lamp] = back(fresh.trace("lamps", "id = 1"))
    source = sources_of(lamp)[0].source
    assert source is not None
    assert source.upstream is not None
    assert source.upstream.source is not None
    assert source.upstream.source.values["body"] == "a lamp"
    [ticket] = ahead(fresh.trace("tickets", "id = 1", forward=True))
    [lamp_row] = [one for one in ticket.downstream[0].downstream if one.asset and one.asset.asset == "lamps"]
    assert "it was made from version" in lamp_row.why
    version = current_version(fresh.storage.base(), Place(asset=("facts",), partition="monday"))
    assert version is not None
    assert len(version.kept) == 2
    assert set(version.earlier) == {version.kept[1]}


def test_a_version_that_is_no_longer_kept_is_said_and_the_current_one_shown(
    fresh: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh.run_all()
    monkeypatch.setitem(BODIES, "monday", {1: "a lamp, changed", 3: "a kettle"})
    for _ in range(3):
        fresh.run("tickets", partition="monday")
    [fact] = back(fresh.trace("facts", "id = 1"))
    assert fact.source is not None
    assert "is no longer kept: this is the row as it is published now" in fact.source.note
    assert fact.source.values["body"] == "a lamp, changed"
    [gone] = back(fresh.trace("facts", "id = 2"))
    assert gone.source is None or gone.source.values == {}
    assert "no such row any more" in str(gone)


def test_several_rows_are_counted_and_the_first_shown(deployment: Deployment) -> None:
    found = deployment.trace("facts", "id > 0", most=2)
    assert (len(found), found.matched) == (2, 5)
    assert "2 of 5 rows are shown" in str(found)
    assert [
        row.values["id"] for row in back(deployment.trace("facts", "id > 0", partition="tuesday")) if row.values
    ] == [4, 5]
    [by_expression] = back(deployment.trace("facts", pl.col("id") == 4))
    assert by_expression.values is not None
    assert by_expression.values["body"] == "another lamp"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"asset": "factz", "where": "id = 1"}, "'facts'"),
        ({"asset": "facts", "where": "idd = 1"}, "unknown column 'idd'"),
        ({"asset": "facts", "where": "id ="}, "no SQL condition"),
        ({"asset": "facts", "where": "id = 17"}, "no row where id = 17"),
        ({"asset": "facts", "row_id": "zz"}, "begins with 'zz'"),
        ({"asset": "facts"}, "Say which row"),
        ({"asset": "facts", "where": "id = 1", "row_id": "zz"}, "Say which row"),
        ({"asset": "facts", "where": "id = 1", "most": 0}, "1 or more"),
        ({"asset": "facts", "where": "id = 'x'"}, "where="),
        ({"asset": "facts", "where": "id + 1"}, "no condition. Write for example: id = 17"),
        ({"asset": "facts", "row_id": ""}, "the beginning of every row id"),
    ],
)
def test_a_wrong_question_gets_a_message(deployment: Deployment, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ig.PlanError, match=re.escape(said)):
        deployment.trace(**arguments)


def test_what_lies_elsewhere_is_named(fresh: Deployment, instance: dg.DagsterInstance) -> None:
    @dg.asset(io_manager_key="memory")
    def letters() -> pl.DataFrame:
        return pl.DataFrame({"body": ["a lamp"]})

    @ig.semantic_asset
    def kinds(letters: ig.SemanticFrame) -> ig.SemanticFrame:
        made = letters.semantic.extract("body", Fact)
        return made.join(pl.DataFrame({"product": ["lamp"], "price": [1]}), on="product")

    @dg.asset(io_manager_key="memory")
    def copy(kinds: pl.LazyFrame) -> pl.DataFrame:
        return kinds.collect()

    given = {**fresh.resources, "memory": dg.mem_io_manager}
    assert dg.materialize([letters, kinds, copy], resources=given, instance=instance).success
    code = dg.Definitions([letters, kinds, copy], resources=given)
    [row] = ig.trace("kinds", "true", definitions=code)
    notes = {parent.source.note for parent in row.parents if parent.source}
    assert notes == {
        "'letters' came through another IO manager or 'other' was made inside the asset's function: "
        "its rows are not kept"
    }
    [became] = ig.trace("kinds", "true", forward=True, definitions=code)
    assert [one.why for one in became.downstream] == [
        "copy is kept by another IO manager, where rows cannot be looked up"
    ]
    with pytest.raises(ig.PlanError, match="another IO manager"):
        ig.trace("copy", "true", definitions=code)


def test_an_asset_of_another_code_location_is_traced_too(deployment: Deployment) -> None:
    outside = [dg.AssetSpec("facts", partitions_def=days), dg.AssetSpec("prices")]
    code = dg.Definitions([*outside, lamps], resources=deployment.resources)
    [row] = ig.trace("lamps", "id = 1", definitions=code)
    ticket = sources_of(row)[0]
    assert ticket.source is not None
    assert ticket.source.upstream is not None
    assert [step.operator for step in ticket.source.upstream.steps] == ["extract"]
    [fact] = ig.trace("facts", "id = 1", forward=True, definitions=code)
    assert [one.state for one in fact.downstream] == ["became"]


def test_a_row_that_nothing_was_asked_for_is_traced_though_its_source_is_gone(
    fresh: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BODIES, "monday", {1: None})
    fresh.run("tickets", "facts", partition="monday")
    monkeypatch.setitem(BODIES, "monday", {2: "a lamp"})
    for _ in range(3):
        fresh.run("tickets", partition="monday")
    [row] = back(fresh.trace("facts", "id = 1"))
    assert (row.steps, row.source) == ([], None)
    assert "no such row any more" in row.ended


def test_rows_that_share_an_id_are_both_followed(fresh: Deployment, instance: dg.DagsterInstance) -> None:
    @ig.semantic_asset(key={"prices": "product"})
    def doubled(prices: ig.SemanticFrame) -> ig.SemanticFrame:
        return ig.concat([prices, prices])

    @ig.semantic_asset
    def again(doubled: ig.SemanticFrame) -> ig.SemanticFrame:
        return doubled

    fresh.run("prices")
    assert dg.materialize(
        [prices, doubled, again], selection=["doubled", "again"], resources=fresh.resources, instance=instance
    ).success
    code = dg.Definitions([prices, doubled, again], resources=fresh.resources)
    rows = ig.trace("doubled", "product = 'lamp'", forward=True, definitions=code)
    assert [[one.state for one in row.downstream] for row in rows] == [["published"], ["published"]]


def test_versions_from_before_lineage_say_so(fresh: Deployment) -> None:
    fresh.run("tickets", "facts", partition="monday")
    path = fresh.storage.base() / "facts" / "monday" / "current.json"
    said = json.loads(path.read_text())
    del said["facts"]["inputs"], said["earlier"]
    path.write_text(json.dumps(said))
    [row] = back(fresh.trace("facts", "id = 1"))
    assert row.source is not None
    assert row.steps
    assert "published before runs kept what they read" in row.source.note
    [ticket] = ahead(fresh.trace("tickets", "id = 1", forward=True))
    assert [one.state for one in ticket.downstream] == ["not followed"]


def test_nothing_published_is_said(fresh: Deployment) -> None:
    with pytest.raises(ig.ConfigurationError, match="Nothing is published of 'lamps'"):
        fresh.trace("lamps", "id = 1")
    fresh.run("tickets", "facts", partition="monday")
    with pytest.raises(ig.ConfigurationError, match="tuesday"):
        fresh.trace("facts", "id = 1", partition="tuesday")
