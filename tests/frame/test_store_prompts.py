"""``store_prompts=False``: hashes and answers only, and everything else goes on working."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, field_validator

import infergraph as ig
from infergraph.frame.again import rendered_again
from infergraph.models.model import CallFailed, Message, Request
from infergraph.models.scripted import script
from infergraph.store.echoes import without_echoes
from infergraph.store.hashes import hash_from_text

Contents = Callable[[Path], list[tuple[str, bytes]]]
SECRETIVE = "Quentin is away until the ninth of March"
ROWS = pl.DataFrame({"id": [1, 2, 3], "body": [SECRETIVE, "Broken lamp in the hall", None]})


class Fact(BaseModel):
    who: str


def opened(root: Path, *, keep: bool = False, **models: ig.Model) -> ig.Session:
    return ig.Session(models or {"m": ig.Model("scripted:desk")}, root=root, store_prompts=keep)


def words(contents: list[tuple[str, bytes]]) -> list[str]:
    """Passages of the rows or of the prompt in what was kept."""
    told = [SECRETIVE[:20], SECRETIVE[-20:], "Broken lamp", "Sum up what"]
    return [passage for _, content in contents for passage in told if passage.encode() in content]


@pytest.mark.parametrize("operator", ["map", "embed"])
def test_neither_rows_nor_prompts_are_in_the_store_and_answers_are(
    operator: str, tmp_path: Path, contents_of: Contents
) -> None:
    def out(session: ig.Session) -> ig.SemanticFrame:
        frame = session.frame(ROWS, key="id")
        return (
            frame.semantic.embed("body")
            if operator == "embed"
            else frame.semantic.map("Sum up what {{ body }} says", into="out")
        )

    with script("desk", lambda _: "an answer to keep") as desk, opened(tmp_path) as session:
        if operator == "map":
            first = out(session).run(row_ids=True)
            assert b"an answer to keep" in b"".join(content for _, content in contents_of(tmp_path))
            assert len(desk.requests) == 2
    if operator == "embed":
        with opened(tmp_path) as session:
            first = out(session).run(row_ids=True)
    assert words(contents_of(tmp_path)) == []
    with opened(tmp_path) as session:
        again = out(session).run(row_ids=True)
    assert again.usage.store_hits == 2
    assert again.usage.calls == 0
    assert again.frame.equals(first.frame)
    with opened(tmp_path / "kept", keep=True) as session:
        assert out(session).run().usage.calls == 2
    assert words(contents_of(tmp_path / "kept")), "what is looked for is found where it was kept"


def test_a_trace_says_that_the_prompt_was_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "letters.parquet"
    ROWS.write_parquet(file)
    with opened(tmp_path) as session:
        letters = session.frame(pl.scan_parquet(file), name="letters", key="id")
        result = letters.semantic.map("Sum up {{ body }}", into="out").run(row_ids=True)
        ROWS.with_columns(body=pl.lit("something else")).write_parquet(file)
        trace = result.trace(result.frame["_row_id"][0])
        (attempt,) = trace.steps[0].attempts
        assert not attempt.prompt_kept
        assert attempt.messages == ()
        assert attempt.embed_text is None
        assert attempt.response is not None
        assert "prompt not kept" in str(trace)
        assert trace.as_dict()["steps"][0]["attempts"][0]["prompt_kept"] is False


@pytest.mark.parametrize("key", ["id", None])
def test_a_trace_shows_it_where_the_row_is_still_there(tmp_path: Path, key: str | None) -> None:
    def broken(rows: pl.LazyFrame) -> pl.LazyFrame:
        assert not over, "a function that works once"
        return rows

    over: list[bool] = []
    with opened(tmp_path) as session:
        letters = session.frame(ROWS, name="letters", key=key)
        result = letters.semantic.map("Sum up {{ body }}", into="out").run(row_ids=True)
        (attempt,) = result.trace(result.frame["_row_id"][0]).steps[0].attempts
        assert not attempt.prompt_kept
        assert attempt.messages[-1].content == f"<body>\n{SECRETIVE}\n</body>"
        result = letters.map_frame(broken).semantic.map("Sum up {{ body }}", into="out").run(row_ids=True)
        over.append(True)
        (attempt,) = result.trace(result.frame["_row_id"][0]).steps[0].attempts
        assert attempt.messages == ()


def test_the_prompt_is_rendered_again_from_the_row_where_it_is_the_very_one(tmp_path: Path) -> None:
    def frame(session: ig.Session, rows: pl.DataFrame, prompt: str = "Sum up {{ body }}") -> ig.SemanticFrame:
        return session.frame(rows, name="letters", key="id").semantic.map(prompt, into="out")

    models = {"m": ig.Model("scripted:desk"), "other": ig.Model("scripted:other", redact=["email"])}
    with ig.Session(models, "m", root=tmp_path, store_prompts=False) as session:
        result = frame(session, ROWS).run(row_ids=True)
        row_id, hashed = result.frame["_row_id"][0], result.lineage["request_hash"][0]
        assert session.store.attempts_of(hash_from_text(hashed))[0].messages == ()
        request = rendered_again(frame(session, ROWS), "map", row_id, request_hash=hashed)
        assert request is not None
        assert request.messages[-1].content == f"<body>\n{SECRETIVE}\n</body>"
        # It is the very one, or none at all.
        assert rendered_again(frame(session, ROWS.tail(2)), "map", row_id) is None, "the row is gone"
        changed = ROWS.with_columns(body=pl.lit("something else"))
        assert rendered_again(frame(session, changed), "map", row_id, request_hash=hashed) is None
        assert rendered_again(frame(session, ROWS, "Shorten {{ body }}"), "map", row_id, request_hash=hashed) is None
        asked_now = rendered_again(frame(session, changed), "map", row_id)
        assert asked_now is not None
        assert "something else" in asked_now.messages[-1].content
        assert rendered_again(frame(session, ROWS), "map", result.frame["_row_id"][2]) is None, "a null asks nothing"
        with pytest.raises(ig.PlanError, match=r"no operator 'mop'\. Did you mean 'map'"):
            rendered_again(frame(session, ROWS), "mop", row_id)
        mail = ROWS.with_columns(body=pl.lit("ann@example.org"))
        other = frame(session, mail).run(model="other")
        found = rendered_again(frame(session, mail), "map", row_id, request_hash=other.lineage["request_hash"][0])
        assert found is not None
        assert found.messages[-1].content == "<body>\n[email]\n</body>", "as the model of that run was to see it"


def test_an_operator_behind_an_answer_is_rendered_again_from_the_stored_answer(tmp_path: Path) -> None:
    with script("desk", ["first answer", "second answer"] * 2), opened(tmp_path) as session:
        first = session.frame(ROWS.head(1), key="id").semantic.map("Sum up {{ body }}", into="one")
        both = first.semantic.map("Translate {{ one }}", into="two")
        result = both.run(row_ids=True)
        request = rendered_again(both, "map_2", result.frame["_row_id"][0])
    assert request is not None
    assert request.messages[-1].content == "<one>\nfirst answer\n</one>"


def test_a_stored_answer_is_repaired_and_a_killed_run_goes_on_without_prompts(tmp_path: Path) -> None:
    class Strict(BaseModel):
        who: str

        @field_validator("who")
        @classmethod
        def not_lower(cls, value: str) -> str:
            if value.islower():
                raise ValueError("begin a name with a capital")
            return value

    with script("desk", lambda _: {"who": "quentin"}), opened(tmp_path) as session:
        assert session.frame(ROWS, key="id").semantic.extract("body", Fact).head(1).run().usage.calls == 1
    with script("desk", lambda _: {"who": "Quentin"}) as desk, opened(tmp_path) as session:
        # The same question, asked by a schema of the same shape whose validator wants more: it goes on at the repair.
        Strict.__name__ = "Fact"
        Strict.__doc__ = Fact.__doc__
        result = session.frame(ROWS, key="id").semantic.extract("body", Strict).run()
        assert result.frame["who"].to_list() == ["Quentin", "Quentin", None]
        said = [[message.role for message in request.messages][-3:] for request in desk.requests]
        assert sorted(said, key=len) == [["system", "user"], ["user", "assistant", "user"]]
        via = result.lineage["via"].to_list()
        assert sorted(via) == ["direct", "repair"]


@pytest.mark.parametrize("outcome", ["permanent", "transient"])
def test_what_a_provider_quotes_of_the_prompt_is_not_kept_either(
    outcome: Any, tmp_path: Path, contents_of: Contents
) -> None:
    failures = [0]

    def answer(request: Request) -> str:
        subject = request.messages[-1].content
        failures[0] += 1
        if failures[0] == 1 or outcome == "permanent":
            raise CallFailed(f"400: cannot take {subject!r} at all", outcome=outcome)
        return "an answer"

    with script("desk", answer), opened(tmp_path) as session:
        out = session.frame(ROWS.head(1), key="id").semantic.map("Sum up what {{ body }} says", into="out")
        result = out.run()
        hashed = hash_from_text(result.lineage["request_hash"][0])
        message = session.store.attempts_of(hashed)[0].message
        again = out.run()
    assert words(contents_of(tmp_path)) == []
    assert message == "400: cannot take '[...]' at all"
    if outcome == "permanent":
        for one in (result, again):
            assert one.rejects["prompt"].to_list() == [None]
            assert SECRETIVE not in one.rejects["message"][0]
            assert "cannot take" in one.rejects["message"][0]


def test_estimates_still_learn_from_past_answers(tmp_path: Path) -> None:
    rows = pl.DataFrame({"id": range(20), "body": [f"letter {number}" for number in range(20)]})
    with script("desk", lambda _: "x" * 400), opened(tmp_path) as session:
        out = session.frame(rows, key="id").semantic.map("Sum up {{ body }}", into="out")
        assert out.head(10).run().usage.output_tokens == 1000
        assert out.estimate().calls == 10
        assert out.estimate().output_tokens == 1000


def test_a_passage_that_is_quoted_as_json_or_as_python_writes_it_is_cut_out() -> None:
    content = 'Ann said "I am ill":\n\tsince Mönday\nand I leave'
    request = Request(messages=(Message("system", "Sum up"), Message("user", content)))
    for quoted in (json.dumps(content), json.dumps(content, ensure_ascii=False), repr(content)):
        told = without_echoes(f"400: cannot take {quoted}", request)
        assert "Ann" not in told
        assert "ill" not in told
        assert "leave" not in told


TEXTS = st.text(alphabet="abcdefgh ", min_size=0, max_size=60)


@given(TEXTS, TEXTS, TEXTS)
def test_no_passage_of_the_prompt_is_left_in_a_message(before: str, content: str, after: str) -> None:
    request = Request(messages=(Message("system", "the author's own words"), Message("user", content)))
    told = without_echoes(f"{before}{content}{after}; the author's own words", request)
    assert not any(told[at : at + 12] in content for at in range(max(0, len(told) - 11)))
    assert told.endswith("the author's own words")
