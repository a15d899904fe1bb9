"""The trace of a row of one run: what is recorded, what is not, and what it shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import BaseModel

import infergraph as ig
from infergraph.frame.run import run_to_folder
from infergraph.lineage import Trace, TraceStep, plain
from infergraph.lineage_text import NOT_KEPT
from infergraph.models.model import CallFailed, Request
from infergraph.models.scripted import script
from infergraph.store.rows import StoredAttempt


class Facts(BaseModel):
    product: str


def edges(result: ig.RunResult) -> pl.DataFrame:
    return result.lineage.filter(pl.col("parent").is_not_null())


def first_trace(frame: ig.SemanticFrame, place: int = 0) -> Trace:
    result = frame.run(row_ids=True)
    return result.trace(result.frame["_row_id"][place])


def test_a_plain_row_is_traced_to_its_source(tickets: ig.SemanticFrame) -> None:
    trace = first_trace(tickets.filter(pl.col("id") == 4).select("body"))
    assert (trace.steps, trace.parents, trace.made_by, trace.ended) == ([], [], "", "")
    assert trace.source is not None
    assert (trace.source.source, trace.source.key) == ("tickets", {"id": 4})
    assert trace.source.values == {"id": 4, "lang": "en", "body": "broken"}


def test_without_a_key_the_columns_that_were_read_name_the_row(session: ig.Session) -> None:
    rows = pl.DataFrame({"a": [1, 1, 2], "b": ["x", "x", "y"], "unread": [7, 8, 9]})
    result = session.frame(rows, name="t").select("b", "a").run(row_ids=True)
    second = result.trace(result.frame["_row_id"][1])
    assert second.source is not None
    assert dict(second.source.key) == {"a": 1, "b": "x"}
    assert second.source.values["unread"] == 8


def test_ids_of_an_earlier_run_are_found_in_the_data(session: ig.Session, tickets: ig.SemanticFrame) -> None:
    earlier = tickets.run(row_ids=True).frame
    trace = first_trace(session.frame(earlier, name="again"), 2)
    assert trace.row_id == earlier["_row_id"][2]
    assert trace.source is not None
    assert (trace.source.source, trace.source.values["id"]) == ("again", 3)


def test_a_limited_run_has_the_same_rows(tickets: ig.SemanticFrame) -> None:
    result = tickets.run(row_ids=True, limit=2)
    source = result.trace(result.frame["_row_id"][1]).source
    assert source is not None
    assert source.values["id"] == 2


@pytest.mark.parametrize(("how", "parents"), [("inner", 2), ("left", 1), ("right", 2), ("full", 1)])
def test_a_join_records_the_sides_that_a_row_has(
    tickets: ig.SemanticFrame, session: ig.Session, how: Any, parents: int
) -> None:
    names = session.frame(pl.DataFrame({"lang": ["en", "de"], "name": ["English", "German"]}), name="names", key="lang")
    joined = tickets.join(names, on="lang", how=how)
    alone = joined.filter(pl.col("name").is_null()) if parents == 1 else joined
    trace = first_trace(alone)
    assert (trace.made_by, trace.parents_total, len(trace.parents)) == ("join", parents, parents)
    assert [parent.source.source for parent in trace.parents if parent.source] == ["tickets", "names"][:parents]


def test_a_join_that_only_chooses_rows_records_nothing(tickets: ig.SemanticFrame) -> None:
    names = pl.DataFrame({"lang": ["en"]})
    assert edges(tickets.join(names, on="lang", how="semi").run()).is_empty()
    assert edges(tickets.join(names, on="lang", how="anti").run()).is_empty()


def test_a_step_that_two_branches_read_is_recorded_once(tickets: ig.SemanticFrame) -> None:
    words = tickets.with_columns(words=pl.col("body").str.split("o")).explode("words")
    both = ig.concat([words.filter(pl.col("id") < 4), words.semantic.filter("{{ words }} is fine", on_reject="keep")])
    with script("fast", lambda _: {"answer": True}):
        found = edges(both.run())
    assert found.height == found.unique().height > 0


def test_a_large_group_shows_its_first_rows_and_counts_the_others(session: ig.Session) -> None:
    rows = pl.DataFrame({"id": range(1000), "g": [1] * 1000})
    trace = first_trace(session.frame(rows, name="t", key="id").group_by("g").agg(pl.len()))
    assert (trace.parents_total, len(trace.parents)) == (1000, 10)
    assert [parent.source.values["id"] for parent in trace.parents if parent.source] == list(range(10))
    assert "and 990 more" in str(trace)


def test_where_a_trace_ends_it_says_so(tickets: ig.SemanticFrame) -> None:
    trace = first_trace(tickets.map_frame(lambda rows: rows.reverse()))
    assert "map_frame(" in trace.ended
    assert trace.source is None
    trace = first_trace(tickets.select(pl.col("id").sum()))
    assert trace.ended.startswith("select(")
    assert "the trace ends here" in str(trace)


def test_an_answer_that_took_a_repair_or_a_fallback_says_so(tmp_path: Path) -> None:
    models = {"first": ig.Model("scripted:first", fallback="second"), "second": ig.Model("scripted:second")}
    asked: list[str] = []

    def answer(request: Request) -> str:
        text = request.messages[1].content
        asked.append(text)
        if "refused" in text:
            raise CallFailed("not this one", outcome="permanent", reason="refused")
        return "no JSON" if asked.count(text) == 1 else '{"product": "lamp"}'

    with (
        script("first", answer),
        script("second", lambda _: {"product": "kettle"}),
        ig.Session(models=models, default_model="first", store="sqlite:///s.db", root=tmp_path) as session,
    ):
        frame = session.frame(pl.DataFrame({"body": ["to repair", "refused"]}), name="t")
        result = frame.semantic.extract("body", Facts).run(row_ids=True)
        repaired, other = (result.trace(row_id) for row_id in result.frame["_row_id"])
    assert (repaired.steps[0].via, len(repaired.steps[0].attempts)) == ("repair", 2)
    assert other.steps[0].via == "fallback:second"
    assert other.steps[0].model == "scripted:second"
    assert "(repair)" in str(repaired)
    assert "(fallback:second)" in str(other)


def test_a_rejected_row_shows_why(tickets: ig.SemanticFrame) -> None:
    def refuse(_: Request) -> str:
        raise CallFailed("not allowed", outcome="permanent", reason="refused")

    with script("fast", refuse):
        result = tickets.semantic.filter("{{ body }} is fine").run()
    trace = result.trace(result.rejects["row_id"][0])
    assert (trace.steps[0].rejected, trace.steps[0].kept) == ("refused: not allowed", False)
    assert "rejected: refused: not allowed" in str(trace)


def test_a_prompt_that_was_not_kept_is_shown_as_that() -> None:
    attempt = StoredAttempt(
        id=1, row_hash=b"h", request_hash=b"h", run_id="r", asset=None, partition=None, operator="map", model="a:b",
        started_at=0.0, seconds=1.0, outcome="done", status=200, message="", via="direct", messages=(), embed_text=None,
        response=None, cost_nano_usd=None, prompt_kept=False,
    )  # fmt: skip
    step = TraceStep(operator="map", model="a:b", request_hash="b2:00", source="call", via="direct", attempts=[attempt])
    text = str(Trace(row_id="x", steps=[step]))
    assert NOT_KEPT in text
    assert "cost not known" in text


def test_explaining_and_estimating_record_nothing(tickets: ig.SemanticFrame, tmp_path: Path) -> None:
    words = (
        tickets.with_columns(words=pl.col("body").str.split("o"))
        .explode("words")
        .semantic.map("Say {{ words }}", into="y")
    )
    words.explain()
    words.estimate()
    assert not list(tmp_path.rglob("*.parquet"))
    result = words.run()
    assert edges(result).height == result.frame.height == 9


def test_a_folder_has_the_edges_and_what_named_the_rows(tickets: ig.SemanticFrame, tmp_path: Path) -> None:
    staged = run_to_folder(tickets.unpivot(["lang", "body"], index="id"), tmp_path / "out")
    assert pl.read_parquet(staged.lineage)["operator"].unique().to_list() == ["unpivot"]
    [source] = staged.sources
    assert (source.name, source.key, source.named_by) == ("tickets", ("id",), (("id",),))


def test_a_trace_is_plain_data_too(session: ig.Session) -> None:
    rows = pl.DataFrame(
        {"id": [1], "when": pl.Series(["2026-11-22"]).str.to_date(), "raw": [b"\xff"], "l": [[1, None]]}
    )
    said = first_trace(session.frame(rows, name="t", key="id").explode("l")).as_dict()
    assert json.loads(json.dumps(said)) == said
    assert said["parents"][0]["source"]["values"] == {"id": 1, "when": "2026-11-22", "raw": "ff", "l": [1, None]}
    assert plain(pl.Series([1, 2])) == [1, 2]


def test_reserved_names_are_refused(session: ig.Session) -> None:
    with pytest.raises(ig.PlanError, match="reserved"):
        session.frame(pl.DataFrame({"__parent": [1]}))
