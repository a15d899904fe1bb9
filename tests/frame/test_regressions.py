"""Defects that a reviewer found by running plans; each stays fixed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

import infergraph as ig
from infergraph.models.model import CallFailed, Request
from infergraph.models.scripted import script


def first_label(request: Request) -> Any:
    if request.choices is None:
        return "text"
    value: Any = request.choices.values[len(request.choices.subject) % len(request.choices.values)]
    return {request.choices.field: value == "true" if request.choices.boolean else value}


@pytest.fixture
def words(session: ig.Session) -> ig.SemanticFrame:
    data = pl.DataFrame(
        {"id": range(20), "body": ["x" * (1 + i % 7) for i in range(20)], "x": [float(i) for i in range(20)]}
    )
    return session.frame(data, name="words", key="id")


def test_usage_counts_every_request_that_was_sent(tmp_path: Any) -> None:
    async def slowly(request: Request) -> Any:
        await asyncio.sleep(0.01)
        return first_label(request)

    models = {"m": ig.Model("scripted:slow", max_concurrency=16)}
    data = pl.DataFrame({"body": [f"{'x' * (i % 5)} {i}" for i in range(2000)]})
    with ig.Session(models=models, store="sqlite:///s.db", root=tmp_path) as session, script("slow", slowly) as asked:
        labelled = session.frame(data, name="t").semantic.classify("body", ["a", "b"])
        result = labelled.filter(pl.col("label") == "a").head(10).run()
        assert result.frame.height == 10
        assert result.usage.calls == len(asked.requests) < 100
        usage = result.usage
        assert usage.rows == usage.calls + usage.store_hits + usage.shared + usage.nulls


def test_infinite_numbers_in_conditions(words: ig.SemanticFrame) -> None:
    with script("fast", first_label):
        labelled = words.semantic.classify("body", ["a", "b"])
        assert labelled.filter(pl.col("x") < float("inf")).collect().height == 20
        assert labelled.filter((pl.col("x") < float("inf")) & (pl.col("label") == "a")).collect().height > 0
        assert labelled.filter(pl.col("x") < float("inf")).estimate().calls == 0


def test_group_ids_differ_between_frames_and_for_unusual_numbers(session: ig.Session) -> None:
    data = pl.DataFrame({"k": ["a", "b"], "v": [1, 2]})
    groups = [session.frame(data, name=name).group_by("k").agg(pl.len()) for name in ("one", "two")]
    assert ig.concat(groups).run(row_ids=True).frame["_row_id"].n_unique() == 4
    odd = session.frame(pl.DataFrame({"f": [float("nan"), float("inf"), None, float("-inf")]}), name="odd")
    assert odd.group_by("f").agg(pl.len()).run(row_ids=True).frame["_row_id"].n_unique() == 4


def test_a_filter_does_not_hand_an_id_to_another_row_of_the_same_key(session: ig.Session) -> None:
    data = pl.DataFrame({"id": [1, 1], "lang": ["de", "en"]})
    frame = session.frame(data, name="t", key="id")
    whole = frame.run(row_ids=True).frame
    part = frame.filter(pl.col("lang") == "en").run(row_ids=True).frame
    assert part["_row_id"].to_list() == whole.filter(pl.col("lang") == "en")["_row_id"].to_list()


def test_filling_missing_labels_feeds_the_next_operator(words: ig.SemanticFrame) -> None:
    def refuse_some(request: Request) -> Any:
        if request.choices is not None and len(request.choices.subject) % 3 == 0:
            raise CallFailed("no", outcome="permanent", reason="refused")
        return first_label(request)

    with script("fast", refuse_some):
        labelled = words.semantic.classify("body", ["a", "b"])
        assert labelled.fill_null("a").schema["label"] == pl.Enum(["a", "b"])
        out = labelled.fill_null("a").semantic.map("Say {{ label }}", into="said").run()
        assert out.frame["said"].null_count() == 0


def test_refresh_asks_each_question_once(session: ig.Session) -> None:
    frame = session.frame(pl.DataFrame({"body": ["same"] * 3000}), name="t").semantic.map("Say {{ body }}", into="t")
    with script("fast", lambda request: "answer") as asked:
        frame.run()
        frame.run(refresh=True)
    assert len(asked.requests) == 2


def test_nested_bytes_name_rows_and_objects_are_refused(session: ig.Session) -> None:
    data = pl.DataFrame({"b": [b"\x00", b"\xff"], "l": [[b"\x00"], [b"\xff"]], "s": [{"q": b"1"}, {"q": b"2"}]})
    frame = session.frame(data, name="t")
    assert frame.run(row_ids=True).frame["_row_id"].n_unique() == 2
    assert frame.group_by("b").agg(pl.len()).collect().height == 2
    with pytest.raises(ig.PlanError, match="Python objects"):
        session.frame(pl.DataFrame({"o": pl.Series([object()], dtype=pl.Object)}))


@pytest.mark.parametrize("name", ["row_id", "model", "reason"])
def test_keys_that_clash_with_the_rejects_are_refused(session: ig.Session, name: str) -> None:
    with pytest.raises(ig.PlanError, match="rename it"):
        session.frame(pl.DataFrame({name: [1]}), name="t", key=name)


@pytest.mark.parametrize("name", ["*", "^a.*$"])
def test_columns_named_like_patterns_are_refused(session: ig.Session, name: str) -> None:
    with pytest.raises(ig.PlanError, match="pattern"):
        session.frame(pl.DataFrame({name: [1]}))


def test_selectors_and_odd_arguments(words: ig.SemanticFrame) -> None:
    import polars.selectors as cs

    assert words.select(pl.last()).collect().columns == ["x"]
    assert words.group_by(cs.integer()).agg(pl.last()).columns == ["id", "x"]
    assert words.unique(cs.string()).collect().height == 7
    assert words.rename(str.upper).columns == ["ID", "BODY", "X"]
    arrays = words.select("id", a=pl.concat_list("x", "x").list.to_array(2))
    assert arrays.explode("a").collect().height == 40
    for wrong in (
        lambda: words.select(),
        lambda: words.explode("id"),
        lambda: words.tail(-1),
        lambda: words.map_frame(lambda lf: None),  # type: ignore[arg-type, return-value]
        lambda: words.semantic.sentiment("body", where="id"),  # type: ignore[arg-type]
        lambda: words.run(limit=1.5),  # type: ignore[arg-type]
        lambda: words.run(max_cost_usd=float("inf")),
        lambda: words.run(max_age="1d"),  # type: ignore[arg-type]
        lambda: ig.concat([pl.DataFrame()]),  # type: ignore[list-item]
    ):
        with pytest.raises(ig.PlanError):
            wrong()
    with pytest.raises(AttributeError, match="Did you mean 'sentiment'"):
        words.semantic.sentimant("body")
    with pytest.raises(ig.ConfigurationError, match=r"write ig\.Model"):
        ig.Session(models={"a": "openai:x"})  # type: ignore[dict-item]


def test_where_that_is_null_asks_nothing(words: ig.SemanticFrame) -> None:
    with script("fast", first_label) as asked:
        assert words.semantic.sentiment("body", where=pl.lit(None)).collect()["sentiment"].null_count() == 20
    assert asked.requests == []


def test_an_embedding_model_cannot_take_over_a_chat_operator(tmp_path: Any) -> None:
    models = {"m": ig.Model("scripted:m"), "e": ig.Model("local:minilm")}
    with ig.Session(models=models, default_model="m", store="sqlite:///s.db", root=tmp_path) as session:
        frame = session.frame(pl.DataFrame({"body": ["x"]})).semantic.map("Say {{ body }}", into="t")
        with pytest.raises(ig.PlanError, match="only embeds"):
            frame.run(model="e")


def test_sinks_refuse_what_they_cannot_write_before_paying(words: ig.SemanticFrame, tmp_path: Any) -> None:
    tagged = words.semantic.classify("body", ["a", "b"], multi=True, into="tags")
    with script("fast", first_label) as asked:
        with pytest.raises(ig.PlanError, match=r"nested column .tags."):
            tagged.sink_csv(tmp_path / "x.csv")
        with pytest.raises(ig.PlanError, match="is a folder"):
            tagged.sink_parquet(tmp_path)
    assert asked.requests == []


def test_fingerprints_differ_wherever_results_may(words: ig.SemanticFrame) -> None:
    other = pl.DataFrame({"a": [1], "b": [2]})
    plans = [
        words.map_frame(lambda lf: lf.head(3)),
        words.map_frame(lambda lf: lf.tail(3)),
        words.sort("id"),
        words.sort("id", nulls_last=True),
        words.unique("body"),
        words.unique("body", keep="last"),
        words.semantic.filter("{{ body }} is odd"),
        words.semantic.filter("{{ body }} is odd", on_reject="keep"),
        words.filter(pl.col("id").is_in(list(range(100)))),
        words.filter(pl.col("id").is_in([*range(99), 500])),
        words.join(other, left_on="id", right_on="a"),
        words.join(other, left_on="id", right_on="b"),
        words.group_by("id").agg("x"),
        words.group_by("id", "x").agg(pl.len()),
    ]
    assert len({plan.fingerprint() for plan in plans}) == len(plans)


def test_operators_of_joined_frames_have_names_of_their_own(words: ig.SemanticFrame) -> None:
    with script("fast", first_label):
        left = words.semantic.map("Say {{ body }}", into="one")
        right = words.semantic.map("Tell {{ body }}", into="two").select("id", "two")
        joined = left.join(right, on="id")
        assert joined.run().usage.by_operator["operator"].to_list() == ["map", "map_2"]


def test_a_frame_read_twice_lists_each_reject_once(words: ig.SemanticFrame) -> None:
    def refuse(request: Request) -> Any:
        raise CallFailed("no", outcome="permanent", reason="refused")

    with script("fast", refuse):
        said = words.semantic.map("Say {{ body }}", into="said")
        result = said.join(said, on="id").run()
    assert result.frame.height == 20
    assert result.rejects["id"].n_unique() == result.rejects.height == 20


def test_a_result_is_traced_after_its_session(tmp_path: Any) -> None:
    with ig.Session(models={"m": ig.Model("scripted:m")}, store="sqlite:///s.db", root=tmp_path) as session:
        frame = session.frame(pl.DataFrame({"body": ["x"]}), name="t").semantic.map("Say {{ body }}", into="t")
        result = frame.run(row_ids=True)
    assert result.trace(result.frame["_row_id"][0]).steps[0].operator == "map"
    session.close()


def test_a_failed_run_leaves_its_usage_in_the_store(words: ig.SemanticFrame, session: ig.Session) -> None:
    def answer(request: Request) -> Any:
        if request.choices is not None and len(request.choices.subject) > 20:
            raise CallFailed("wrong key", outcome="fatal", status=401)
        return first_label(request)

    with script("fast", answer), pytest.raises(ig.ProviderRefused):
        words.semantic.classify("body", ["a", "b"]).run()
    [row] = session.store.usage()
    assert row.operator == "classify"
    assert row.calls >= 1


def test_an_operator_read_by_two_branches_keeps_all_of_its_cost(tmp_path: Any) -> None:
    models = {"m": ig.Model("scripted:dear", price=ig.Price(input=1, output=1))}
    data = pl.DataFrame({"id": range(40), "body": [f"row {number}" for number in range(40)]})
    with ig.Session(models=models, store="sqlite:///s.db", root=tmp_path) as session, script("dear", first_label):
        said = session.frame(data, name="t", key="id").semantic.map("Say {{ body }}", into="said")
        one, other = said.filter(pl.col("id") < 20), said.filter(pl.col("id") >= 20)
        usage = ig.concat([one, other]).run().usage
        paid = [attempt for row in session.store.usage() for attempt in [row.cost_nano_usd]]
        again = ig.concat([one, other]).run().usage
    assert (usage.rows, usage.calls) == (40, 40)
    assert usage.cost_usd is not None
    assert paid == [int(usage.cost_usd * 1_000_000_000)]
    assert usage.cost_usd == again.saved_usd


COUNTED: dict[str, tuple[Callable[[ig.SemanticFrame], ig.SemanticFrame], int]] = {
    "a slice": (lambda rows: rows.slice(3, 9), 9),
    "the first after a number": (lambda rows: rows.with_row_index().head(5), 5),
    "the first": (lambda rows: rows.head(5), 5),
    "the first that pass": (lambda rows: rows.filter(pl.col("id") > 3).head(5), 5),
    "the last": (lambda rows: rows.tail(3), 3),
    "all": (lambda rows: rows, 20),
    "all, numbered": (lambda rows: rows.with_row_index(), 20),
    "a slice of two": (lambda rows: ig.concat([rows, rows]).slice(2, 30), 30),
}


@pytest.mark.parametrize("name", COUNTED)
def test_rows_are_counted_without_a_call_and_so_is_their_estimate(words: ig.SemanticFrame, name: str) -> None:
    """Polars asks for no column at all then, and a selection of no columns has no rows."""
    change, expected = COUNTED[name]
    counted = change(words.semantic.map("Sum up {{ body }}", into="said")).select(pl.len())
    estimate = counted.estimate()
    result = counted.run()
    assert result.frame.item() == expected
    assert (result.usage.calls, estimate.calls, estimate.calls_high) == (0, 0, 0)


def test_rows_that_a_filter_kept_are_counted(words: ig.SemanticFrame) -> None:
    kept = words.semantic.filter("{{ body }} is long")
    with script("fast", first_label):
        every = kept.collect().height
        firsts = kept.semantic.map("Sum up {{ body }}", into="said").head(3).select(pl.len())
        assert [kept.with_row_index().select(pl.len()).collect().item(), firsts.collect().item()] == [every, 3]
        assert firsts.estimate().operators[1].calls_high == 0
