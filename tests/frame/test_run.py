"""Running plans: accounting, the store, rejects, limits, laziness and stopping."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
import pytest
from pydantic import BaseModel, Field

import infergraph as ig
from infergraph.models.model import CallFailed, Request
from infergraph.models.scripted import script


class Facts(BaseModel):
    product: str
    severity: Literal["low", "high"]
    stars: Annotated[int, Field(ge=1, le=5)]


def answer_facts(request: Request) -> dict[str, Any]:
    text = request.messages[-1].content
    return {"product": text.split("\n")[1], "severity": "high" if "broken" in text else "low", "stars": 3}


def identity(usage: ig.Usage) -> bool:
    rows = usage.calls + usage.store_hits + usage.shared + usage.rejected_before + usage.nulls + usage.pending
    return usage.rows == rows


def test_extract_adds_columns_and_accounts_for_every_row(tickets: ig.SemanticFrame) -> None:
    with script("fast", answer_facts) as asked:
        result = tickets.semantic.extract("body", Facts).run()
    assert result.frame.columns == ["id", "lang", "body", "product", "severity", "stars"]
    assert result.frame["product"].to_list() == ["broken", "slow", None, "broken", "merci", "thanks"]
    assert result.frame["severity"].dtype == pl.Enum(["low", "high"])
    assert len(asked.requests) == 4
    usage = result.usage
    assert (usage.rows, usage.calls, usage.shared, usage.nulls, usage.rejected) == (6, 4, 1, 1, 0)
    assert identity(usage)
    assert usage.by_operator["operator"].to_list() == ["extract"]
    assert usage.by_model["model"].to_list() == ["fast"]
    assert result.rejects.is_empty()
    assert result.rejects.columns[:3] == ["row_id", "id", "operator"]


def test_an_unchanged_rerun_makes_no_call_and_a_changed_row_makes_one(session: ig.Session, rows: pl.DataFrame) -> None:
    with script("fast", answer_facts) as asked:
        first = session.frame(rows, name="t", key="id").semantic.extract("body", Facts).run()
        again = session.frame(rows, name="t", key="id").semantic.extract("body", Facts).run()
        assert again.frame.equals(first.frame)
        assert (again.usage.calls, again.usage.store_hits) == (0, 5)
        assert len(asked.requests) == 4
        changed = rows.with_columns(body=pl.when(pl.col("id") == 6).then(pl.lit("new")).otherwise("body"))
        third = session.frame(changed, name="t", key="id").semantic.extract("body", Facts).run()
        assert third.usage.calls == 1
        assert len(asked.requests) == 5


def test_editing_the_schema_asks_anew_and_keeps_the_old_answers(tickets: ig.SemanticFrame) -> None:
    class Other(BaseModel):
        product: str

    with script("fast", answer_facts) as asked:
        tickets.semantic.extract("body", Facts).run()
        tickets.semantic.extract("body", Other).run()
        assert len(asked.requests) == 8
        assert tickets.semantic.extract("body", Facts).run().usage.calls == 0


def test_one_bad_row_is_a_reject_and_costs_no_other(tickets: ig.SemanticFrame) -> None:
    def answer(request: Request) -> Any:
        if "slow" in request.messages[-1].content:
            raise CallFailed("the server says 400", outcome="permanent", reason="bad_request", status=400)
        return answer_facts(request)

    with script("fast", answer) as asked:
        result = tickets.semantic.extract("body", Facts).run(row_ids=True)
        assert result.frame["product"].to_list() == ["broken", None, None, "broken", "merci", "thanks"]
        reject = result.rejects.row(0, named=True)
        assert (reject["id"], reject["operator"], reject["reason"]) == (2, "extract", "bad_request")
        assert "slow" in reject["prompt"]
        assert reject["row_id"] == result.frame["_row_id"][1]
        assert result.usage.rejected == 1
        before = len(asked.requests)
        again = tickets.semantic.extract("body", Facts).run()
        assert len(asked.requests) == before
        assert (again.usage.rejected_before, again.usage.rejected, again.rejects.height) == (1, 1, 1)
        assert identity(again.usage)
        tickets.semantic.extract("body", Facts).run(retry_rejects=True)
        assert len(asked.requests) == before + 1


def test_wrong_answers_are_sent_back_with_the_error(tickets: ig.SemanticFrame) -> None:
    good = {"product": "p", "severity": "low", "stars": 2}
    with script("fast", [{**good, "stars": 9}, good]) as asked:
        result = tickets.head(1).semantic.extract("body", Facts).run()
    assert result.frame["stars"].to_list() == [2]
    assert "stars" in asked.requests[1].messages[-1].content
    assert result.usage.calls == 1


def test_filter_keeps_true_rows_and_drops_undecided_ones(tickets: ig.SemanticFrame) -> None:
    def answer(request: Request) -> Any:
        text = request.messages[-1].content
        if "merci" in text:
            raise CallFailed("refused", outcome="permanent", reason="refused")
        assert request.choices is not None
        return {request.choices.field: "broken" in text}

    with script("fast", answer):
        dropped = tickets.semantic.filter("{{ body }} reports a defect").run()
        kept = tickets.semantic.filter("{{ body }} reports a defect", on_reject="keep").run()
    assert dropped.frame["id"].to_list() == [1, 4]
    assert kept.frame["id"].to_list() == [1, 4, 5]
    assert dropped.rejects["id"].to_list() == [5]
    assert dropped.frame.columns == ["id", "lang", "body"]


def test_where_leaves_other_rows_null_without_a_call(tickets: ig.SemanticFrame) -> None:
    with script("fast", answer_facts) as asked:
        result = tickets.semantic.extract("body", Facts, where=pl.col("lang") == "fr").run()
    assert len(asked.requests) == 1
    assert result.frame["product"].to_list() == [None, None, None, None, "merci", None]
    assert result.usage.nulls == 5


def test_where_and_content_may_look_at_all_rows(tickets: ig.SemanticFrame) -> None:
    with script("fast", answer_facts) as asked:
        frame = tickets.semantic.extract("body", Facts, where=pl.col("id") == pl.col("id").max()).collect()
    assert len(asked.requests) == 1
    assert frame["product"].to_list()[-1] == "thanks"


def test_embed(tickets: ig.SemanticFrame) -> None:
    result = tickets.semantic.embed("body").run()
    assert result.frame["embedding"].dtype == pl.Array(pl.Float32, 64)
    assert result.frame["embedding"][0].to_list() == result.frame["embedding"][3].to_list()
    assert result.frame["embedding"][2] is None


def test_plain_predicates_spare_calls(tickets: ig.SemanticFrame) -> None:
    with script("fast", answer_facts) as asked:
        frame = tickets.semantic.extract("body", Facts).filter(pl.col("lang") == "fr").collect()
        assert frame["id"].to_list() == [5]
        assert len(asked.requests) == 1
    with script("fast", answer_facts) as asked:
        mixed = tickets.semantic.extract("body", Facts).filter((pl.col("severity") == "high") & (pl.col("id") < 4))
        assert mixed.collect()["id"].to_list() == [1]
        assert len(asked.requests) == 2


def test_predicates_that_look_separable_and_are_not(tickets: ig.SemanticFrame) -> None:
    frame = tickets.semantic.extract("body", Facts)
    with script("fast", answer_facts):
        assert frame.filter(pl.col("id") == pl.col("id").max()).collect()["id"].to_list() == [6]
        assert frame.filter(pl.col("id").shift() == 1).collect()["id"].to_list() == [2]
        assert frame.filter(pl.len() > 100).collect().height == 0
        top = frame.filter(pl.col("id") == pl.col("id").max().over("severity")).collect()
        assert top["id"].to_list() == [3, 4, 6]


def test_columns_nobody_reads_are_not_asked_for(tickets: ig.SemanticFrame) -> None:
    with script("fast", answer_facts) as asked:
        assert tickets.semantic.extract("body", Facts).select("id").collect().height == 6
        assert tickets.semantic.extract("body", Facts).select(pl.len()).collect().item() == 6
    assert asked.requests == []


def test_head_asks_for_no_more_than_its_rows(session: ig.Session) -> None:
    many = session.frame(pl.DataFrame({"id": range(20_000), "body": [f"row {i}" for i in range(20_000)]}), name="many")
    chain = (
        many.semantic.extract("body", Facts)
        .semantic.classify("body", ["a", "b"], into="one")
        .semantic.sentiment("body")
        .head(10)
    )
    with script("fast", lambda request: _fit(request)) as asked:
        assert chain.collect().height == 10
        assert len(asked.requests) == 30
        time.sleep(0.2)
        assert len(asked.requests) == 30


def _fit(request: Request) -> dict[str, Any]:
    if request.choices is None:
        return answer_facts(request)
    return {request.choices.field: request.choices.values[0]}


def test_filter_then_head_stops_soon(session: ig.Session) -> None:
    many = session.frame(pl.DataFrame({"body": [f"row {i}" for i in range(20_000)]}), name="many")
    chain = many.semantic.filter("{{ body }} is even")
    for _ in range(2):
        chain = chain.semantic.filter("{{ body }} is even, really")

    def answer(request: Request) -> dict[str, Any]:
        assert request.choices is not None
        return {request.choices.field: int(request.choices.subject.split()[2]) % 2 == 0}

    with script("fast", answer) as asked:
        assert chain.head(10).collect().height == 10
        count = len(asked.requests)
        time.sleep(0.2)
        assert len(asked.requests) == count
    assert count < 2_000


def test_order_is_kept_whatever_the_latency(session: ig.Session) -> None:
    import asyncio

    async def answer(request: Request) -> dict[str, Any]:
        number = int(request.messages[-1].content.split("\n")[1].split()[1])
        await asyncio.sleep(((number * 7919) % 50) / 2000)
        return {"product": f"p{number}", "severity": "low", "stars": 1}

    data = pl.DataFrame({"body": [f"row {i}" for i in range(3_000)]})
    with script("fast", answer):
        frame = session.frame(data, name="t").semantic.extract("body", Facts).collect()
    assert frame["product"].to_list() == [f"p{i}" for i in range(3_000)]


def test_limit_reads_the_first_rows_of_the_source(tickets: ig.SemanticFrame) -> None:
    with script("fast", answer_facts) as asked:
        assert tickets.semantic.extract("body", Facts).run(limit=2).frame["id"].to_list() == [1, 2]
    assert len(asked.requests) == 2
    with pytest.raises(ig.PlanError, match="1 or more"):
        tickets.run(limit=0)


def test_another_model_for_one_run(tickets: ig.SemanticFrame) -> None:
    with script("fast", answer_facts) as fast, script("other", answer_facts) as other:
        result = tickets.semantic.extract("body", Facts).run(model="other")
    assert (len(fast.requests), len(other.requests)) == (0, 4)
    assert result.usage.by_operator["model"].to_list() == ["other"]


def test_refresh_and_max_age(tickets: ig.SemanticFrame) -> None:
    frame = tickets.head(1).semantic.extract("body", Facts)
    with script("fast", answer_facts) as asked:
        frame.run()
        frame.run(refresh=True)
        assert len(asked.requests) == 2
        frame.run(max_age=3600)
        assert len(asked.requests) == 2
        frame.run(max_age=0)
        assert len(asked.requests) == 3


def test_trace_tells_prompt_and_response(tickets: ig.SemanticFrame) -> None:
    with script("fast", answer_facts):
        result = tickets.semantic.extract("body", Facts).run(row_ids=True)
    trace = result.trace(result.frame["_row_id"][1])
    [step] = trace.steps
    assert step.operator == "extract"
    assert "slow" in step.attempts[0].messages[-1].content
    assert json.loads(step.attempts[0].response.text)["product"] == "slow"  # type: ignore[union-attr]
    assert "slow" in str(trace)
    assert json.dumps(trace.as_dict())
    with pytest.raises(ig.PlanError, match="_row_id"):
        result.trace("nothing")


def test_sinks_write_whole_files(tickets: ig.SemanticFrame, tmp_path: Path) -> None:
    frame = tickets.semantic.extract("body", Facts)
    with script("fast", answer_facts):
        result = frame.sink_parquet(tmp_path / "out.parquet")
        frame.sink_csv(tmp_path / "out.csv")
        frame.sink_ndjson(tmp_path / "out.ndjson")
        assert pl.read_parquet(result.path).equals(frame.collect())
    assert result.usage.rows == 6
    assert result.rejects.collect().is_empty()
    assert pl.read_csv(tmp_path / "out.csv").height == 6
    assert pl.read_ndjson(tmp_path / "out.ndjson").height == 6
    assert not list(tmp_path.glob("*.part"))
    with pytest.raises(ig.PlanError, match="does not exist"):
        frame.sink_parquet(tmp_path / "no" / "out.parquet")


def test_a_failed_sink_leaves_the_old_file(tickets: ig.SemanticFrame, tmp_path: Path) -> None:
    def refuse(request: Request) -> Any:
        raise CallFailed("wrong key", outcome="fatal", status=401)

    target = tmp_path / "out.parquet"
    target.write_bytes(b"old")
    with script("fast", refuse), pytest.raises(ig.ProviderRefused, match="wrong key"):
        tickets.semantic.extract("body", Facts).sink_parquet(target)
    assert target.read_bytes() == b"old"
    assert not list(tmp_path.glob("*.part"))


def test_a_budget_over_an_unknown_price_is_an_error_before_any_call(tmp_path: Path) -> None:
    model = ig.Model("openai:mystery", base_url="http://127.0.0.1:9/v1", api_key=None)
    with ig.Session(models={"m": model}, store="sqlite://", root=tmp_path) as session:
        frame = session.frame(pl.DataFrame({"body": ["x"]})).semantic.sentiment("body")
        with pytest.raises(ig.PlanError, match="price="):
            frame.run(max_cost_usd=1)


def test_empty_frames_keep_their_schema(session: ig.Session, rows: pl.DataFrame) -> None:
    empty = session.frame(rows.clear(), name="t", key="id").semantic.extract("body", Facts)
    result = empty.semantic.filter("{{ body }} is angry").run()
    assert result.frame.schema == empty.schema
    assert result.usage.rows == 0


def test_progress_is_told(tickets: ig.SemanticFrame) -> None:
    told: list[ig.Progress] = []
    with script("fast", answer_facts):
        tickets.semantic.extract("body", Facts).run(on_progress=told.append)
    assert (told[0].rows, told[0].rows_total) == (0, 6)
    assert (told[-1].rows, told[-1].calls) == (6, 4)


def test_two_runs_at_once_share_one_session(session: ig.Session) -> None:
    data = pl.DataFrame({"body": [f"row {i}" for i in range(500)]})
    frames: list[pl.DataFrame] = []
    with script("fast", answer_facts) as asked:
        frame = session.frame(data, name="t").semantic.extract("body", Facts)
        threads = [threading.Thread(target=lambda: frames.append(frame.collect())) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(asked.requests) == 500
    assert frames[0].equals(frames[1])
    assert frames[0].equals(frames[2])


def test_a_process_that_stopped_early_exits_cleanly(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import polars as pl, infergraph as ig
        session = ig.Session(models={"m": ig.Model("scripted:m")}, store="sqlite:///state.db", root=".")
        frame = session.frame(pl.DataFrame({"body": [f"row {i}" for i in range(100_000)]}), name="t")
        chain = frame.semantic.sentiment("body", into="a").semantic.sentiment("body", into="b")
        print(chain.semantic.classify("body", ["x", "y"]).head(10).collect().height)
    """)
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "10"), done.stderr
