"""Operators that ask in rounds, run as any operator: order, nothing lost, rejects, budgets, replay, traces."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import infergraph as ig
from infergraph.frame.again import rendered_again
from infergraph.frame.estimate import estimate
from infergraph.frame.redacting import redacted_texts
from infergraph.frame.replay import replay
from infergraph.frame.room import room_of
from infergraph.frame.run import RunOptions, run_to_folder
from infergraph.models.model import AnswerSchema, CallFailed, Message, Request, Response
from infergraph.models.redaction import Redaction
from infergraph.models.scripted import script
from infergraph.models.verdict import Verdict
from infergraph.operators.rounds import Question, Reply, Room, Rounds
from infergraph.validation.answers import judge_text

HEAD = "Join the two texts."


@dataclass(frozen=True, kw_only=True)
class Halve:
    """Each pair of texts is a question; a text without a partner goes on as it is; a rejected pair ends the row."""

    kind: ClassVar[str] = "halve"
    column: str = "texts"
    into: str = "joined"
    fails_at: str = ""
    """A text that the generator fails over."""

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def tags(self) -> tuple[str, ...]:
        return ()

    @property
    def writes(self) -> pl.Schema:
        return pl.Schema({self.into: pl.String()})

    @property
    def content(self) -> pl.Expr:
        return pl.col(self.column).list.drop_nulls()

    @property
    def answer_schema(self) -> AnswerSchema | None:
        return None

    def rounds(self, content: Any, room: Room) -> Rounds:
        texts: list[str] = list(content)
        level = 0
        while len(texts) > 1:
            if self.fails_at and self.fails_at in texts:
                raise ValueError(self.fails_at)
            level += 1
            pairs = list(zip(texts[::2], texts[1::2], strict=False))
            replies: Sequence[Reply] = yield [
                self._question(pair, f"level {level}, part {number} of {len(pairs)}")
                for number, pair in enumerate(pairs, 1)
            ]
            if any(reply.rejected is not None for reply in replies):
                return None
            texts = [reply.value for reply in replies] + texts[2 * len(pairs) :]
        return texts[0] if texts else None

    def _question(self, pair: tuple[str, str], part: str) -> Question:
        messages = (Message("system", HEAD), Message("user", "+".join(pair)))
        return Question(request=Request(messages=messages), judge=self._judge, part=part)

    @staticmethod
    def _judge(response: Response) -> Verdict:
        return judge_text(response)

    def assumed(self, question: Question, tokens: int, *, most: bool) -> Any:
        return "x" * (4 * tokens)

    def sample(self) -> Request:
        return self._question(("x", "x"), "").request

    def columns(self, values: Sequence[Any | None]) -> list[pl.Series]:
        return [pl.Series(self.into, values, dtype=pl.String)]

    def describe(self) -> str:
        return f"{self.column} -> {self.into}"

    def fingerprint(self) -> str:
        return HEAD


def halved(
    frame: ig.SemanticFrame, *, model: str | None = None, where: pl.Expr | None = None, operator: Halve | None = None
) -> ig.SemanticFrame:
    """The frame with its lists of texts joined."""
    return frame.semantic._add(operator or Halve(), model, None, where)


def joins(request: Request) -> str:
    """What a model that does its work answers."""
    return request.messages[-1].content.replace("+", "")


LISTS = [["a", "b", "c", "d"], None, ["e"], [], ["f", "g", "h"], ["a", "b"], ["i", "j", "k", "l", "m"]]
JOINED = ["abcd", None, "e", None, "fgh", "ab", "ijklm"]
QUESTIONS = 3 + 2 + 1 + 4


def framed(session: ig.Session, lists: list[list[str] | None] = LISTS) -> ig.SemanticFrame:
    data = pl.DataFrame({"id": range(len(lists)), "texts": lists}, schema_overrides={"texts": pl.List(pl.String)})
    return session.frame(data, name="lists", key="id")


def refusing(*bad: str) -> Any:
    def answer(request: Request) -> Any:
        if request.messages[-1].content in bad:
            raise CallFailed("no", outcome="permanent", reason="refused")
        return joins(request)

    return answer


def adds_up(usage: ig.Usage) -> bool:
    parts = (usage.calls, usage.store_hits, usage.shared, usage.rejected_before, usage.nulls, usage.pending)
    return usage.rows == sum(parts)


def test_rows_in_order_and_every_question_asked_once(session: ig.Session) -> None:
    with script("fast", joins) as asked:
        result = halved(framed(session)).run()
        assert result.frame["joined"].to_list() == JOINED
        usage = result.usage
        # "a+b" of two rows is one request; a null, and rows that need no question, count as null.
        assert len(asked.requests) == usage.calls == QUESTIONS - 1
        assert (usage.shared, usage.nulls, usage.rows) == (1, 3, QUESTIONS + 3)
        assert adds_up(usage)
        assert result.rejects.is_empty()
        again = halved(framed(session)).run()
        assert len(asked.requests) == QUESTIONS - 1
    assert again.frame.equals(result.frame)
    assert (again.usage.calls, again.usage.store_hits) == (0, QUESTIONS)
    assert adds_up(again.usage)
    assert not [one for one in threading.enumerate() if one.name.startswith("infergraph-rounds")]


@pytest.mark.parametrize(
    ("bad", "part", "rows"),
    [
        ("a+b", "level 1, part 1 of 2", [0, 5]),
        ("c+d", "level 1, part 2 of 2", [0]),
        ("ab+cd", "level 2, part 1 of 1", [0]),
        ("f+g", "level 1, part 1 of 1", [4]),
        ("k+l", "level 1, part 2 of 2", [6]),
        ("ijkl+m", "level 3, part 1 of 1", [6]),
    ],
)
def test_a_rejected_question_is_listed_under_its_row_and_the_others_go_on(
    session: ig.Session, bad: str, part: str, rows: list[int]
) -> None:
    with script("fast", refusing(bad)) as asked:
        result = halved(framed(session)).run(row_ids=True)
        rejects = result.rejects
        assert rejects["id"].to_list() == rows
        assert rejects["row_id"].to_list() == [result.frame["_row_id"][row] for row in rows]
        assert rejects["message"][0].startswith(f"{part}: ")
        assert (rejects["reason"][0], rejects["operator"][0]) == ("refused", "halve")
        assert rejects["prompt"][0] == f"[system]\n{HEAD}\n\n[user]\n{bad}"
        assert result.frame["joined"].to_list() == [None if at in rows else text for at, text in enumerate(JOINED)]
        assert result.usage.rejected == len(rows)
        assert adds_up(result.usage)
        before = len(asked.requests)
        again = halved(framed(session)).run(row_ids=True)
        assert len(asked.requests) == before
        assert again.frame.equals(result.frame)
        assert again.usage.rejected_before == len(rows)
        told = ["row_id", "operator", "reason", "message", "prompt"]
        assert again.rejects.select(told).equals(result.rejects.select(told))


def test_several_rejects_of_one_row_are_listed_each(session: ig.Session) -> None:
    with script("fast", refusing("a+b", "c+d")):
        frame = halved(framed(session))
        rejects = frame.run().rejects
        assert [(row["id"], row["message"].partition(": ")[0]) for row in rejects.iter_rows(named=True)] == [
            (0, "level 1, part 1 of 2"),
            (0, "level 1, part 2 of 2"),
            (5, "level 1, part 1 of 1"),
        ]
        # Two branches of a plan read each row twice; what was rejected is listed once.
        both = ig.concat([frame, frame]).run()
        assert both.rejects["message"].to_list() == rejects["message"].to_list()
        assert both.rejects.columns == rejects.columns
        assert both.lineage.filter(pl.col("row_id") == rejects["row_id"][0])["part"].to_list() == [
            "level 1, part 1 of 2",
            "level 1, part 2 of 2",
        ]
        assert adds_up(both.usage)


def test_retry_asks_the_rejected_questions_again_and_what_follows_from_them(session: ig.Session) -> None:
    frame = halved(framed(session))
    with script("fast", refusing("c+d", "ij+kl")):
        assert frame.run().rejects.height == 2
    expected = estimate(frame, RunOptions(retry_rejects=True))
    assert expected.operators[0].calls_low == 2
    with script("fast", joins) as asked:
        result = frame.run(retry_rejects=True)
    assert sorted(one.messages[-1].content for one in asked.requests) == ["ab+cd", "c+d", "ij+kl", "ijkl+m"]
    assert expected.operators[0].calls_low <= 4 <= expected.operators[0].calls_high
    assert result.frame["joined"].to_list() == JOINED
    assert result.rejects.is_empty()


def test_another_model_may_be_asked_for_what_was_rejected(session: ig.Session) -> None:
    frame = halved(framed(session))
    with script("fast", refusing("c+d")):
        frame.run()
    with script("fast", joins) as own, script("other", joins) as other:
        result = frame.run(retry_rejects=True, retry_model="other")
    assert [one.messages[-1].content for one in other.requests] == ["c+d"]
    assert [one.messages[-1].content for one in own.requests] == ["ab+cd"]
    assert result.frame["joined"].to_list() == JOINED


def test_a_budget_that_ends_leaves_rows_pending_and_keeps_their_answers(tmp_path: Path) -> None:
    price = ig.Price(input=1_000_000, output=1_000_000)
    models = {"m": ig.Model("scripted:dear", price=price, max_concurrency=1, max_output_tokens=4)}
    lists: list[list[str] | None] = [[f"{row}{letter}" for letter in "abcd"] for row in range(12)]
    with ig.Session(models=models, store="sqlite:///s.db", root=tmp_path) as session, script("dear", joins) as asked:
        frame = halved(framed(session, lists))
        with pytest.warns(UserWarning, match="pending"):
            part = frame.run(max_cost_usd=120.0)
        done = len(asked.requests)
        assert 0 < done < 36
        assert part.usage.calls == done
        assert part.usage.pending > 0
        assert adds_up(part.usage)
        assert part.rejects.is_empty()
        right = ["".join(texts or []) for texts in lists]
        joined = part.frame["joined"].to_list()
        assert all(one in (None, text) for one, text in zip(joined, right, strict=True))
        pending = part.lineage.filter(pl.col("source") == "pending")["row_id"].n_unique()
        assert joined.count(None) == pending
        whole = frame.run()
        assert len(asked.requests) == 36
        assert whole.usage.calls == 36 - done
        assert whole.frame["joined"].to_list() == right


def test_a_generator_that_fails_fails_the_run(session: ig.Session) -> None:
    with script("fast", joins), pytest.raises(ig.InternalError, match=r"semantic\.halve 'halve' failed.*ValueError"):
        halved(framed(session), operator=Halve(fails_at="fg")).run()
    assert not [one for one in threading.enumerate() if one.name.startswith("infergraph-rounds")]
    with script("fast", joins) as asked:
        assert halved(framed(session)).run().frame["joined"].to_list() == JOINED
    assert len(asked.requests) < QUESTIONS - 1  # what was asked is kept


def test_a_run_that_stops_early_leaves_no_thread_and_asks_few(session: ig.Session) -> None:
    lists: list[list[str] | None] = [[f"{row}{letter}" for letter in "abcd"] for row in range(500)]
    with script("fast", joins) as asked:
        result = halved(framed(session, lists)).head(3).run()
        assert result.frame["joined"].to_list() == ["".join(texts or []) for texts in lists[:3]]
        assert len(asked.requests) == result.usage.calls == 9
        kept = halved(framed(session, lists)).filter(pl.col("joined").str.ends_with("1d")).head(2).run()
        assert kept.frame["id"].to_list() == [1, 11]
        assert len(asked.requests) < 3 * 400
    assert not [one for one in threading.enumerate() if one.name.startswith("infergraph-rounds")]


def test_a_cancelled_run_goes_on_where_it_stopped(session: ig.Session, tmp_path: Path) -> None:
    reached = threading.Event()

    async def slow_later(request: Request) -> Any:
        if request.messages[-1].content == "ijkl+m":
            reached.set()
            await asyncio.sleep(30)
        return joins(request)

    def stop() -> None:
        reached.wait(20)
        session.engine.close()

    stopper = threading.Thread(target=stop)
    stopper.start()
    with script("fast", slow_later), pytest.raises(ig.RunCancelled):
        halved(framed(session)).run()
    stopper.join()
    assert not [one for one in threading.enumerate() if one.name.startswith("infergraph-rounds")]
    with ig.Session(models=session.models, default_model="fast", store="sqlite:///state.db", root=tmp_path) as later:
        with script("fast", joins) as asked:
            assert halved(framed(later)).run().frame["joined"].to_list() == JOINED
        assert [one.messages[-1].content for one in asked.requests] == ["ijkl+m"]


LIFE = f"""
import importlib.util, os, signal, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("lived", {__file__!r})
module = importlib.util.module_from_spec(spec)
sys.modules["lived"] = module
spec.loader.exec_module(module)
asked = []
def answer(request):
    asked.append(request)
    if request.messages[-1].content == "ij+kl":
        print(len(asked), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    return module.joins(request)
models = {{"fast": module.ig.Model("scripted:fast")}}
with module.ig.Session(models=models, store="sqlite:///state.db", root=Path(sys.argv[1]), progress=False) as session:
    with module.script("fast", answer):
        module.halved(module.framed(session)).run()
"""


def test_a_killed_run_goes_on_in_the_round_where_it_died(session: ig.Session, tmp_path: Path) -> None:
    life = subprocess.run([sys.executable, "-c", LIFE, str(tmp_path)], capture_output=True, text=True, check=False)
    assert life.returncode == -signal.SIGKILL, life.stderr
    with script("fast", joins) as asked:
        assert halved(framed(session)).run().frame["joined"].to_list() == JOINED
    # The first round was committed before the second was asked.
    first = {"a+b", "c+d", "f+g", "i+j", "k+l"}
    assert first.isdisjoint(one.messages[-1].content for one in asked.requests)


def test_two_operators_behind_one_another_and_projections(session: ig.Session) -> None:
    def answer(request: Request) -> Any:
        return joins(request).upper()

    with script("fast", answer) as asked:
        twice = halved(
            halved(framed(session)).with_columns(two=pl.concat_list("joined", pl.lit("z"))),
            operator=Halve(column="two", into="again"),
        )
        assert twice.drop("joined", "two", "again").collect().height == len(LISTS)
        assert twice.filter(pl.col("id") == 4).select("id", "joined").collect().rows() == [(4, "FGH")]
        assert [one.messages[-1].content for one in asked.requests] == ["f+g", "FG+h"]
        whole = twice.run()
        assert whole.frame["again"].to_list()[0] == "ABCDZ"
        assert twice.run().usage.calls == 0
    assert whole.usage.by_operator["operator"].to_list() == ["halve", "halve_2"]
    assert adds_up(whole.usage)


def test_many_morsels_in_different_rounds_keep_their_order(tmp_path: Path) -> None:
    lists: list[list[str] | None] = [[f"{row}.{part}" for part in range(row % 7)] for row in range(400)]

    async def unevenly(request: Request) -> Any:
        await asyncio.sleep(0.01 if "9." in request.messages[-1].content else 0)
        return joins(request)

    models = {"m": ig.Model("scripted:narrow", max_concurrency=16)}
    with ig.Session(models, root=tmp_path, progress=False) as session, script("narrow", unevenly) as asked:
        result = halved(framed(session, lists)).run()
    assert result.frame["joined"].to_list() == ["".join(texts or []) or None for texts in lists]
    assert len(asked.requests) == result.usage.calls == sum(max(0, len(texts or []) - 1) for texts in lists)
    assert adds_up(result.usage)


def test_a_refresh_asks_every_question_once_more(session: ig.Session) -> None:
    frame = halved(framed(session))
    with script("fast", joins):
        frame.run()
    with script("fast", lambda request: joins(request).upper()) as asked:
        result = frame.run(refresh=True)
        # "ab+cd" is asked as "AB+CD" now, as it follows from the new answers.
        assert result.frame["joined"].to_list() == ["ABCD", None, "e", None, "FGH", "AB", "IJKLM"]
        assert len(asked.requests) == result.usage.calls == QUESTIONS - 1
        assert frame.run().usage.calls == 0


def test_data_goes_to_allowed_models_only(session: ig.Session) -> None:
    data = pl.DataFrame({"texts": [["a", "b"]]})
    frame = session.frame(data, name="secret", allowed_models=["other"])
    with pytest.raises(ig.PlanError, match="secret"):
        halved(frame)
    with script("other", joins):
        assert halved(frame, model="other").run().frame["joined"].to_list() == ["ab"]


def test_where_leaves_rows_unasked(session: ig.Session) -> None:
    with script("fast", joins) as asked:
        result = halved(framed(session), where=pl.col("id") > 4).run()
    assert result.frame["joined"].to_list() == [None] * 5 + JOINED[5:]
    assert len(asked.requests) == 5


def test_explain_fingerprint_and_column_lineage(session: ig.Session) -> None:
    frame = halved(framed(session))
    assert "semantic.halve 'halve' [model fast]: texts -> joined" in frame.explain()
    assert frame.fingerprint() != framed(session).fingerprint()
    lineage = frame.column_lineage()
    assert [(one.source, one.column) for one in lineage.columns["joined"].sources] == [("lists", "texts")]
    assert lineage.operators[0].prompt == HEAD


# -- without asking ----------------------------------------------------------------------------------------------


def calls(expected: ig.Estimate) -> tuple[int, int, int]:
    (one,) = expected.operators
    return one.calls_low, one.calls, one.calls_high


def test_an_estimate_with_nothing_part_and_everything_stored(session: ig.Session) -> None:
    frame = halved(framed(session))
    nothing = frame.estimate()
    # The first round is known: a+b (shared), c+d, f+g, i+j, k+l; what follows is likely.
    assert calls(nothing) == (5, QUESTIONS - 1, QUESTIONS - 1)
    assert any("later rounds" in said for said in nothing.assumptions)
    with script("fast", joins) as asked:
        halved(framed(session, LISTS[4:])).run()
        part = frame.estimate()
        before = len(asked.requests)
        assert before == 2 + 1 + 4
        assert calls(part) == (1, 2, 2)
        result = frame.run()
        assert len(asked.requests) - before == result.usage.calls == 2
        whole = frame.estimate()
        assert calls(whole) == (0, 0, 0)
        assert whole.operators[0].store_hits == QUESTIONS
        assert whole.operators[0].rows == result.usage.rows
        assert not any("later rounds" in said for said in whole.assumptions)
        refreshed = estimate(frame, RunOptions(refresh=True))
        assert calls(refreshed) == (5, QUESTIONS - 1, QUESTIONS - 1)
        assert calls(estimate(frame, RunOptions(model="other"))) == calls(nothing)
        assert len(asked.requests) == before + 2


def test_an_estimate_with_rejects_is_exact(session: ig.Session) -> None:
    frame = halved(framed(session))
    with script("fast", refusing("c+d", "ij+kl")):
        frame.run()
        assert calls(frame.estimate()) == (0, 0, 0)
        assert frame.run().usage.calls == 0


def test_an_estimate_of_texts_that_are_answers_themselves(session: ig.Session) -> None:
    data = pl.DataFrame({"id": range(4), "group": ["x", "x", "y", "x"], "body": ["a", "b", "c", "d"]})
    answers = session.frame(data, name="bodies", key="id").semantic.map("Shout {{ body }}", into="said")
    frame = halved(answers.group_by("group").agg(texts=pl.col("said")))
    with script("fast", lambda request: f"{request.messages[-1].content!r}".strip("'")[-2:]):
        nothing = frame.estimate()
        low, expected, high = (
            sum(getattr(one, name) for one in nothing.operators) for name in ("calls_low", "calls", "calls_high")
        )
        result = frame.run()
        assert low <= result.usage.calls <= high
        assert low <= expected <= high
        assert frame.estimate().calls == 0
        assert frame.run().usage.calls == 0


texts = st.one_of(st.none(), st.lists(st.sampled_from("abcdefgh"), max_size=9))


@settings(max_examples=20, deadline=None)
@given(st.lists(texts, max_size=6), st.lists(st.sampled_from(["a+b", "c+d", "ab+cd", "e+f"]), max_size=2), st.data())
def test_a_run_lies_within_its_estimate_and_asks_nothing_twice(
    lists: list[list[str] | None], bad: list[str], data: st.DataObject
) -> None:
    models = {"fast": ig.Model("scripted:law")}
    with ig.Session(models, store="sqlite://", progress=False) as session, script("law", refusing(*bad)) as asked:
        stored = data.draw(st.lists(st.sampled_from(lists), max_size=2)) if lists else []
        halved(framed(session, stored)).run()
        before = len(asked.requests)
        frame = halved(framed(session, lists))
        low, _, high = calls(frame.estimate())
        result = frame.run()
        assert low <= len(asked.requests) - before == result.usage.calls <= high
        assert adds_up(result.usage)
        assert len({one.messages[-1].content for one in asked.requests}) == len(asked.requests)
        if not bad:
            assert result.frame["joined"].to_list() == ["".join(one) or None if one else None for one in lists]
        again = frame.estimate()
        assert calls(again) == (0, 0, 0)
        assert again.operators[0].rows == frame.run().usage.rows


def test_prompts_are_those_of_the_first_round(session: ig.Session) -> None:
    shown = halved(framed(session)).prompts(3)
    assert [(one["part"], one["messages"][-1]["content"]) for one in shown] == [
        ("level 1, part 1 of 2", "a+b"),
        ("level 1, part 2 of 2", "c+d"),
    ]
    with script("fast", joins):
        lineage = halved(framed(session)).run().lineage
    assert {one["request_hash"] for one in shown} <= set(lineage["request_hash"])


def test_replay_gives_what_the_run_gave_and_nulls_for_what_is_missing(session: ig.Session, tmp_path: Path) -> None:
    frame, path = halved(framed(session)), tmp_path / "replay.parquet"
    with script("fast", refusing("ij+kl")):
        halved(framed(session, LISTS[2:])).run()
        assert replay(frame, path, RunOptions()) == 1
        # Row 0 lacks one answer of two, and row 6 was rejected.
        assert pl.read_parquet(path)["joined"].to_list() == [None, None, "e", None, "fgh", "ab", None]
        made = run_to_folder(frame, tmp_path / "made")
        assert replay(frame, path, RunOptions()) == 0
    assert pl.read_parquet(path).equals(pl.read_parquet(made.data))


def test_a_trace_shows_the_parts_in_order(session: ig.Session) -> None:
    with script("fast", refusing("c+d", "ij+kl")):
        result = halved(framed(session)).run(row_ids=True)
    ids = result.frame["_row_id"].to_list()
    trace = result.trace(ids[6])
    assert [(step.part, step.rejected) for step in trace.steps] == [
        ("level 1, part 1 of 2", None),
        ("level 1, part 2 of 2", None),
        ("level 2, part 1 of 1", "refused: level 2, part 1 of 1: no"),
    ]
    assert "halve, level 2, part 1 of 1 [scripted:fast] from call (direct)" in str(trace)
    assert trace.as_dict()["steps"][0]["part"] == "level 1, part 1 of 2"
    assert [step.rejected for step in result.trace(ids[0]).steps] == [None, "refused: level 1, part 2 of 2: no"]
    assert [len(step.attempts) for step in result.trace(ids[4]).steps] == [1, 1]


def test_prompts_that_are_not_kept_are_rendered_again_in_every_round(tmp_path: Path) -> None:
    models = {"m": ig.Model("scripted:fast")}
    with ig.Session(models, root=tmp_path, store_prompts=False) as session:
        frame = halved(framed(session))
        with script("fast", refusing("ij+kl")):
            result = frame.run(row_ids=True)
        row = result.frame["_row_id"][6]
        asked = result.lineage.filter(pl.col("row_id") == row)
        shown = [rendered_again(frame, "halve", row, request_hash=one) for one in asked["request_hash"]]
        assert [one.messages[-1].content for one in shown if one is not None] == ["i+j", "k+l", "ij+kl"]
        assert result.rejects["prompt"].to_list() == [None]
        told = rendered_again(frame, "halve", row, message=result.rejects["message"][0])
        assert told is not None
        assert told.messages[-1].content == "ij+kl"
        first = rendered_again(frame, "halve", row)
        assert first is not None
        assert first.messages[-1].content == "i+j"


def test_personal_data_leaves_in_no_round(tmp_path: Path) -> None:
    mail = "ann.lee@example.org"
    lists: list[list[str] | None] = [[f"from {mail}", "b", "c", "d"], ["x", "y", "z"]]

    def answer(request: Request) -> Any:
        return joins(request) + (f" {mail}" if request.messages[-1].content == "x+y" else "")

    models = {"m": ig.Model("scripted:shy")}
    with ig.Session(models, root=tmp_path, redact=True) as session, script("shy", answer) as asked:
        frame = halved(framed(session, lists))
        shown = str(frame.prompts(2))
        expected = frame.estimate()
        assert calls(expected)[0] == 3
        result = frame.run()
        assert frame.estimate().calls == 0
    sent = "".join(one.messages[-1].content for one in asked.requests)
    assert mail not in shown + sent
    assert "from [email]" in shown
    # What a model made up itself goes into later rounds redacted.
    assert "xy [email]+z" in sent
    assert result.frame["joined"].to_list()[0] == "from [email]bcd"


def test_lists_and_structs_are_redacted_with_their_delimiters_left_alone() -> None:
    mail = "ann.lee@example.org"
    value = [{"at": 1, "body": f"<row>\n{mail}\n</row>"}, {"at": None, "body": None}]
    dtype = pl.List(pl.Struct({"at": pl.Int64, "body": pl.String}))
    frame = pl.DataFrame({"texts": pl.Series([value, None, []], dtype=dtype)})
    clean = frame.select(redacted_texts(pl.col("texts"), dtype, Redaction(), ("row",))).to_series()
    assert clean.dtype == dtype
    assert clean.to_list() == [[{"at": 1, "body": "<row>\n[email]\n</row>"}, {"at": None, "body": None}], None, []]
    kept = Redaction(patterns={"tag": "row"})
    again = frame.select(redacted_texts(pl.col("texts"), dtype, kept, ("row",))).to_series().to_list()
    assert again[0][0]["body"].startswith("<row>\n")


def test_progress_counts_rows_and_grows(session: ig.Session) -> None:
    seen: list[ig.Progress] = []
    with script("fast", joins):
        result = halved(framed(session)).run(on_progress=seen.append)
    assert (seen[-1].rows, seen[-1].rows_total) == (len(LISTS), len(LISTS))
    assert [one.calls for one in seen] == sorted(one.calls for one in seen)
    assert seen[-1].calls == result.usage.calls


def test_room_is_what_a_model_and_its_fallback_take(tmp_path: Path) -> None:
    models = {
        "big": ig.Model("openai:gpt-5-mini", api_key="k", fallback="small"),
        "small": ig.Model("scripted:small"),
        "claude": ig.Model("anthropic:claude-haiku-4-5", api_key="k", max_output_tokens=1_000),
    }
    with ig.Session(models, "big", root=tmp_path) as session:
        assert room_of(session, "big").tokens == room_of(session, "small").tokens < 8_192
        assert room_of(session, "claude").tokens == 189_000
        # An estimate is counted with something to spare.
        (exact,), (unsure,) = (room_of(session, name).count(["a few words of text"]) for name in ("big", "claude"))
        assert unsure > exact
