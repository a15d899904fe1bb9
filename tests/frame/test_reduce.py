"""``reduce`` in runs: groups, order, levels, rejects, replay, estimates, traces, lineage, an asset."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from typing import Annotated, Any

import dagster as dg
import polars as pl
import pytest
from pydantic import BaseModel, ValidationInfo, field_validator

import infergraph as ig
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, StoreResource
from infergraph.dagster.resources import close_sessions
from infergraph.errors import PlanError
from infergraph.models.model import CallFailed, Request, Response
from infergraph.models.scripted import script

PROMPT = "Faults of {{ product }}: {% for row in rows %}{{ row.body }}{% endfor %}"
LONG = "A sentence of some words that fills the page. " * 60


class Faults(BaseModel):
    worst: str
    rows: int


def blocks(request: Request, tag: str = "row") -> list[str]:
    content = request.messages[-1].content
    return re.findall(rf"<{tag}(?: [^>]*)?>\n(.*?)\n</{tag}>", content, re.DOTALL)


def told(request: Request) -> str:
    """What a model says that names the beginnings of what it was shown."""
    return "+".join(block.split(maxsplit=1)[0] for tag in ("row", "answer") for block in blocks(request, tag))


def adds_up(usage: ig.Usage) -> bool:
    parts = (usage.calls, usage.store_hits, usage.shared, usage.rejected_before, usage.nulls, usage.pending)
    return usage.rows == sum(parts)


@pytest.fixture
def letters(session: ig.Session) -> ig.SemanticFrame:
    rows = pl.DataFrame(
        {
            "id": [1, 2, 3, 4, 5, 6],
            "product": ["lamp", "kettle", "lamp", None, "kettle", "desk"],
            "day": [3, 1, None, 1, 2, 1],
            "body": ["dark", "leaks", "hums", "lost", "leaks", None],
        }
    )
    return session.frame(rows, name="letters", key="id")


def long_letters(session: ig.Session, n: int = 9) -> ig.SemanticFrame:
    """One group that needs three levels in 8,192 tokens, and a short one."""
    rows = pl.DataFrame(
        {"id": range(n + 1), "product": ["lamp"] * n + ["desk"], "body": [f"r{i} {LONG * 4}" for i in range(n)] + ["x"]}
    )
    return session.frame(rows, name="letters", key="id")


def test_one_row_a_group_in_order_of_their_first_rows(letters: ig.SemanticFrame) -> None:
    with script("fast", told) as asked:
        result = letters.semantic.reduce(PROMPT, by="product", into="faults").run()
    assert result.frame.schema == {"product": pl.String, "faults": pl.String}
    assert result.frame["product"].to_list() == ["lamp", "kettle", None, "desk"]
    # A null key that the prompt names, and a group of nulls, make no call.
    assert result.frame["faults"].to_list() == ["dark+hums", "leaks+leaks", None, None]
    assert (len(asked.requests), result.usage.calls, result.usage.nulls) == (2, 2, 2)
    assert adds_up(result.usage)
    assert result.rejects.is_empty()


def test_a_null_key_is_a_group_of_its_own_where_the_prompt_does_not_need_it(letters: ig.SemanticFrame) -> None:
    prompt = "Faults{% if product %} of {{ product }}{% endif %}: {% for row in rows %}{{ row.body }}{% endfor %}"
    with script("fast", told):
        frame = letters.semantic.reduce(prompt, by="product", into="faults").collect()
    assert frame["faults"].to_list() == ["dark+hums", "leaks+leaks", "lost", None]


@pytest.mark.parametrize(
    ("order_by", "lamp"),
    [("day", "dark+hums"), (-pl.col("id"), "hums+dark"), (["day", "id"], "dark+hums"), ([], "dark+hums")],
)
def test_rows_come_in_the_order_asked_for_nulls_last(letters: ig.SemanticFrame, order_by: Any, lamp: str) -> None:
    with script("fast", told):
        frame = letters.semantic.reduce(PROMPT, by="product", into="faults", order_by=order_by).collect()
    assert frame["faults"][0] == lamp


def test_several_keys_expressions_and_one_group_of_all(letters: ig.SemanticFrame) -> None:
    prompt = "Sum up: {% for row in rows %}{{ row.body }} {{ row.product }}{% endfor %}"
    upper = pl.col("product").str.to_uppercase().alias("what")
    with script("fast", told):
        both = letters.semantic.reduce(prompt, by=[upper, "day"], into="said").collect()
        every = letters.semantic.reduce(prompt, by=[], into="said", order_by="body").collect()
        none = letters.filter(pl.col("id") > 9).semantic.reduce(prompt, by=[], into="said").collect()
    assert both.columns == ["what", "day", "said"]
    assert both["what"].to_list() == ["LAMP", "KETTLE", "LAMP", None, "KETTLE", "DESK"]
    assert both["said"].to_list() == ["dark", "leaks", "hums", "lost", "leaks", "desk"]
    assert every.to_dicts() == [{"said": "dark+hums+leaks+leaks+lost+desk"}]
    assert none.is_empty()
    assert none.schema == {"said": pl.String}


def test_an_empty_frame_and_one_row(letters: ig.SemanticFrame) -> None:
    with script("fast", told) as asked:
        empty = letters.filter(pl.col("id") > 9).semantic.reduce(PROMPT, by="product", into="faults").run()
        one = letters.filter(pl.col("id") == 5).semantic.reduce(PROMPT, by="product", into="faults").run()
    assert empty.frame.is_empty()
    assert empty.frame.schema == {"product": pl.String, "faults": pl.String}
    assert one.frame.to_dicts() == [{"product": "kettle", "faults": "leaks"}]
    assert len(asked.requests) == 1


def test_equal_groups_share_a_request(session: ig.Session) -> None:
    rows = session.frame(pl.DataFrame({"k": [1, 2], "body": ["same", "same"]}), name="rows")
    with script("fast", told) as asked:
        result = rows.semantic.reduce("{% for row in rows %}{{ row.body }}{% endfor %}", by="k", into="said").run()
    assert result.frame["said"].to_list() == ["same", "same"]
    assert (len(asked.requests), result.usage.shared + result.usage.store_hits) == (1, 1)


def test_a_long_group_is_asked_in_levels_and_replayed_without_a_call(session: ig.Session) -> None:
    frame = long_letters(session).semantic.reduce(PROMPT, by="product", into="faults")
    estimate = frame.estimate().operators[0]
    with script("fast", told) as asked:
        result = frame.run(row_ids=True)
        calls = len(asked.requests)
        again = frame.run(row_ids=True)
        assert len(asked.requests) == calls
    assert result.frame["faults"][0].startswith("r0+r")
    assert result.frame["faults"][1] == "x"
    first = [request for request in asked.requests if blocks(request) and blocks(request) != ["x"]]
    assert sum(len(blocks(request)) for request in first) == 9
    assert calls == len(first) + 2 == result.usage.calls
    assert estimate.calls_low <= calls <= estimate.calls_high
    assert adds_up(result.usage)
    assert again.frame.equals(result.frame)
    assert (again.usage.calls, again.usage.store_hits) == (0, calls)
    stored = frame.estimate().operators[0]
    assert (stored.calls_low, stored.calls, stored.calls_high, stored.store_hits) == (0, 0, 0, calls)


def test_short_groups_cost_what_was_estimated(letters: ig.SemanticFrame) -> None:
    frame = letters.semantic.reduce(PROMPT, by="product", into="faults")
    before = frame.estimate().operators[0]
    with script("fast", told):
        usage = frame.run().usage
    after = frame.estimate().operators[0]
    assert (before.calls, before.rows, before.store_hits) == (usage.calls, usage.rows, 0)
    assert (after.calls, after.rows, after.store_hits) == (0, usage.rows, usage.calls)


def test_one_row_more_asks_only_about_what_it_changed(session: ig.Session) -> None:
    with script("fast", told) as asked:
        long_letters(session, 12).semantic.reduce(PROMPT, by="product", into="faults").run()
        before = len(asked.requests)
        long_letters(session, 13).semantic.reduce(PROMPT, by="product", into="faults").run()
    changed = asked.requests[before:]
    assert before > 5
    assert len(changed) < before - 2


def test_the_levels_are_in_the_trace_and_it_goes_to_the_sources_and_back(session: ig.Session) -> None:
    with script("fast", told):
        frame = long_letters(session).semantic.reduce(PROMPT, by="product", into="faults")
        result = frame.run(row_ids=True)
    trace = result.trace(result.frame["_row_id"][0])
    said = str(trace)
    levels = re.findall(r"reduce, (level \d+, part \d+ of \d+)", said)
    assert levels[0].startswith("level 1, part 1 of ")
    assert levels[-1] == "level 2, part 1 of 1"
    assert len(levels) == len(set(levels)) == result.usage.calls - 1
    assert (trace.made_by, trace.parents_total) == ("group_by.agg", 9)
    sources = [parent.source for parent in trace.parents]
    assert [source.key for source in sources if source] == [{"id": number} for number in range(len(sources))]
    parents = result.lineage.filter(pl.col("parent").is_not_null())
    child = parents.filter(pl.col("parent") == trace.parents[0].row_id)["row_id"].to_list()
    assert child == [trace.row_id]


@pytest.mark.parametrize("place", [1, 2, 3])
@pytest.mark.parametrize("level", [1, 2])
def test_a_rejected_part_leaves_its_group_null_and_is_listed(session: ig.Session, level: int, place: int) -> None:
    tag = "row" if level == 1 else "answer"

    def answer(request: Request) -> str:
        first = blocks(request, tag)[:1]
        if first and first[0].startswith("r0" if place == 1 or level == 2 else f"r{2 * place - 2}"):
            raise CallFailed("no", outcome="permanent", reason="refused")
        return told(request)

    frame = long_letters(session).semantic.reduce(PROMPT, by="product", into="faults")
    with script("fast", answer) as asked:
        result = frame.run()
        calls = len(asked.requests)
        again = frame.run()
        assert len(asked.requests) == calls
    assert result.frame["faults"].to_list() == [None, "x"]
    assert again.frame.equals(result.frame)
    (reject,) = result.rejects.to_dicts()
    assert (reject["operator"], reject["reason"]) == ("reduce", "refused")
    assert "r" in reject["prompt"]
    assert len(again.rejects) == 1
    assert adds_up(result.usage)
    assert result.usage.rejected == 1


def test_a_rejected_group_leaves_the_others_alone(letters: ig.SemanticFrame) -> None:
    frame = letters.filter(pl.col("body").is_not_null(), pl.col("product").is_not_null())
    for place, bad in enumerate(["dark", "leaks"]):

        def answer(request: Request, bad: str = bad) -> str:
            if bad in blocks(request):
                raise CallFailed("no", outcome="permanent", reason="content_filtered")
            return told(request)

        with script("fast", answer):
            result = frame.semantic.reduce(PROMPT, by="product", into="faults").run(refresh=True)
        assert result.frame["faults"].null_count() == 1
        assert result.frame["faults"][place] is None
        assert result.rejects["reason"].to_list() == ["content_filtered"]


def test_a_schema_makes_fields_or_one_struct(letters: ig.SemanticFrame) -> None:
    with script("fast", lambda request: {"worst": blocks(request)[0], "rows": len(blocks(request))}):
        fields = letters.semantic.reduce(PROMPT, by="product", into=None, schema=Faults).collect()
        struct = letters.semantic.reduce(PROMPT, by="product", into="all", schema=Faults).collect()
    assert fields.columns == ["product", "worst", "rows"]
    assert fields.row(0) == ("lamp", "dark", 2)
    assert struct.schema["all"] == pl.Struct({"worst": pl.String, "rows": pl.Int64})
    assert struct["all"].to_list()[0] == {"worst": "dark", "rows": 2}


def test_combine_and_examples_are_what_is_asked(session: ig.Session) -> None:
    combine = "Merge for {{ product }}: {% for answer in answers %}{{ answer }}{% endfor %}"
    example = ({"product": "cup", "rows": [{"body": "cracked"}, {"body": "chipped"}]}, "It breaks.")
    frame = long_letters(session).semantic.reduce(
        PROMPT, by="product", into="faults", combine=combine, examples=[example]
    )
    with script("fast", told) as asked:
        frame.run()
    first, last = asked.requests[0], next(one for one in asked.requests if blocks(one, "answer"))
    assert [message.role for message in first.messages] == ["system", "user", "assistant", "user"]
    shown = "<product>\ncup\n</product>\n<rows>\n<row>\ncracked\n</row>\n<row>\nchipped\n</row>\n</rows>"
    assert [message.content for message in first.messages[1:3]] == [shown, "It breaks."]
    assert [message.role for message in last.messages] == ["system", "user"]
    assert last.messages[0].content.startswith("Merge for <product>: <answers>")


def test_prompts_show_the_first_level_and_explain_says_how_it_is_asked(session: ig.Session) -> None:
    frame = long_letters(session).semantic.reduce(PROMPT, by="product", into="faults", order_by="id")
    prompts = frame.prompts(2)
    assert [prompt["part"] for prompt in prompts][:2] == [f"level 1, part {n} of {len(prompts) - 1}" for n in (1, 2)]
    assert "<row>\nr0 A sentence" in prompts[0]["messages"][-1]["content"]
    said = frame.explain()
    assert "'Faults of <product>: <rows>' -> faults, in levels, packed by tokens" in said
    assert 'group_by.agg(by col("product"): body of its rows in the order of col("id"))  -- waits for all rows' in said
    assert dict(frame.schema) == {"product": pl.String, "faults": pl.String}


def test_column_lineage_goes_through_the_group(letters: ig.SemanticFrame) -> None:
    lineage = letters.semantic.reduce(PROMPT, by="product", into="faults", order_by="day").column_lineage()
    faults = lineage.columns["faults"]
    assert {source.column for source in faults.sources} == {"product", "body", "day"}
    assert (faults.operators, faults.opaque) == (("reduce",), ())
    assert [operator.prompt.splitlines()[0] for operator in lineage.operators] == ["Faults of <product>: <rows>"]
    assert lineage.columns["product"].operators == ()


def test_redaction_reaches_rows_and_keys(tmp_path: Path) -> None:
    rows = pl.DataFrame({"who": ["ann@example.org"] * 2, "body": ["from bob@example.org", "plain"]})
    with (
        ig.Session({"m": ig.Model("scripted:shy")}, redact=True, store="sqlite://", root=tmp_path) as session,
        script("shy", told) as asked,
    ):
        prompt = "What does {{ who }} say? {% for row in rows %}{{ row.body }}{% endfor %}"
        session.frame(rows, name="rows").semantic.reduce(prompt, by="who", into="said").run()
    content = asked.requests[0].messages[-1].content
    assert content == "<who>\n[email]\n</who>\n<rows>\n<row>\nfrom [email]\n</row>\n<row>\nplain\n</row>\n</rows>"


def test_reduce_follows_and_is_followed_by_operators(letters: ig.SemanticFrame) -> None:
    """What is not known yet is estimated as open, and a run knows it."""
    moods = letters.semantic.sentiment("body", into="mood")
    prompt = "{{ mood }}: {% for row in rows %}{{ row.body }}{% endfor %}"
    frame = moods.semantic.reduce(prompt, by="mood", into="said").semantic.map("Title of {{ said }}", into="title")
    low, high = (getattr(frame.estimate().operators[1], name) for name in ("calls_low", "calls_high"))
    with script("fast", lambda request: {"sentiment": "neutral"} if request.schema else "fine"):
        result = frame.run()
    assert result.frame["title"].to_list() == ["fine", None]
    reduced = result.usage.by_operator.filter(pl.col("operator") == "reduce")["calls"].item()
    assert low <= reduced <= high
    assert frame.estimate().calls == 0


class Nosy(BaseModel):
    said: str

    @field_validator("said")
    @classmethod
    def seen(cls, value: str, info: ValidationInfo) -> str:
        assert info.context is not None
        return str(info.context["row"]["body"])


class Quoted(BaseModel):
    said: Annotated[str, ig.Quote(of="body")]


def test_an_answer_about_a_group_has_no_row_to_look_at(letters: ig.SemanticFrame) -> None:
    with pytest.raises(ig.PlanError, match=r"Quote\(of='body'\), and an answer about a group has no one row to quote"):
        letters.semantic.reduce(PROMPT, by="product", into="said", schema=Quoted)
    frame = letters.semantic.reduce(PROMPT, by="product", into="said", schema=Nosy)
    with pytest.raises(ig.PlanError, match=r"A validator asks for row\['body'\], which the request does not read"):
        frame.run()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"by": "prodct"}, r"reduce\(by=\): there is no column 'prodct'. Did you mean 'product'"),
        ({"by": ["product", "day", "product"]}, "the key 'product' comes twice"),
        ({"by": 3}, r"reduce\(by=\): give a column's name"),
        ({"order_by": "dya"}, r"reduce\(order_by=\): there is no column 'dya'. Did you mean 'day'"),
        ({"into": "product"}, "already has a column 'product'"),
        ({"into": None}, "name the new column: into='answer'"),
        ({"prompt": "Faults of {{ product }}"}, "no loop of its own over the rows"),
        ({"prompt": 3}, "prompt= is a template such as"),
        ({"combine": " "}, "combine= is a template such as"),
        ({"combine": "{{ body }}"}, "no column 'body'"),
        ({"examples": [({"product": "x", "rows": [{"bdy": "y"}]}, "z")]}, "a row has 'bdy'.*Did you mean 'body'"),
        ({"examples": [({"product": "x", "rows": []}, "z")]}, "its input is null"),
        ({"examples": [({"product": "x", "rows": [{"body": "y"}]}, 7)]}, "without a schema the answer is a text"),
        ({"model": "slow"}, "slow"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_asked(
    letters: ig.SemanticFrame, arguments: dict[str, Any], said: str
) -> None:
    given = {"prompt": PROMPT, "by": "product", "into": "faults", **arguments}
    with pytest.raises(ig.InfergraphError, match=said):
        letters.semantic.reduce(given.pop("prompt"), **given)


def test_a_prompt_that_leaves_no_room_stops_before_a_call(letters: ig.SemanticFrame) -> None:
    frame = letters.semantic.reduce("Please. " * 5_000 + PROMPT, by="product", into="faults")
    with script("fast", told) as asked:
        for look in (frame.run, frame.estimate, frame.prompts):
            with pytest.raises(ig.PlanError, match=r"leaves no room for the rows\. Shorten the prompt"):
                look()
    assert not asked.requests


def test_in_an_asset(tmp_path: Path) -> None:
    @dg.asset
    def letters() -> pl.DataFrame:
        return pl.DataFrame({"id": [1, 2, 3], "product": ["lamp", "desk", "lamp"], "body": ["dark", "wet", "hums"]})

    @ig.semantic_asset(key={"letters": "id"})
    def faults(letters: ig.SemanticFrame) -> ig.SemanticFrame:
        return letters.semantic.reduce(PROMPT, by="product", into="faults")

    storage = PolarsStorage(base_url=str(tmp_path / "assets"))
    resources = {
        "models": ModelsResource(models={"desk": ModelSettings(name="scripted:reducing")}, default_model="desk"),
        "store": StoreResource(url=f"sqlite:///{tmp_path / 'state.db'}"),
        "io_manager": storage,
    }
    with script("reducing", told) as asked:
        for _ in range(2):
            result = dg.materialize([letters, faults], resources=resources)
            assert result.success
    close_sessions()
    assert len(asked.requests) == 2
    published = storage.load("faults", None).collect()
    assert published.to_dicts() == [
        {"product": "lamp", "faults": "dark+hums"},
        {"product": "desk", "faults": "wet"},
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"by": "product", "into": "__reduce_rows"}, "rename '__reduce_rows'"),
        ({"by": [], "into": "__reduce_all"}, "rename '__reduce_all'"),
        ({"by": pl.col("product").alias("__reduce_rows"), "into": "said"}, "rename '__reduce_rows'"),
        ({"by": "product", "into": "said", "name": 3}, "name=3: give each operator a name of its own"),
    ],
)
def test_names_of_its_own_steps_and_what_is_no_name_are_refused(
    letters: ig.SemanticFrame, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(PlanError) as raised:
        letters.semantic.reduce("Faults: {% for row in rows %}{{ row.body }}{% endfor %}", **arguments)
    assert said in str(raised.value)


def test_a_trace_tells_an_empty_answer_from_a_vector(letters: ig.SemanticFrame) -> None:
    prompt = "Faults: {% for row in rows %}{{ row.body }}{% endfor %}"
    with script("fast", lambda request: Response(text="", finish="refusal")):
        result = letters.semantic.reduce(prompt, by="product", into="said").run(row_ids=True)
    told = str(result.trace(result.frame["_row_id"][0]))
    assert "-> nothing" in told
    assert "a vector" not in told


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (pl.col("body").cast(pl.Int64), "conversion from `str` to `i64` failed in column 'body' for 5 out of 6 values"),
        (pl.col("body").cast(pl.Int64) * -1, "conversion from `str` to `i64` failed in column 'body' for 5 out of 6"),
        (pl.col("body").str.to_integer(), "strict integer parsing failed for 5 value(s)"),
    ],
    ids=["cast", "within", "parse"],
)
def test_an_order_that_fails_is_told_without_the_values(letters: ig.SemanticFrame, key: pl.Expr, said: str) -> None:
    prompt = "{% for row in rows %}{{ row.body }}{% endfor %}"
    out = letters.semantic.reduce(prompt, by=[], into="faults", order_by=[pl.col("day"), key])
    for ask in (out.run, out.estimate, out.prompts):
        with pytest.raises(PlanError, match=r"\.semantic\.reduce\(order_by=.*strict=False") as raised:
            ask()
        assert said in str(raised.value)
        shown = "".join(traceback.format_exception(raised.value))
        assert not any(body in shown for body in ("dark", "leaks", "hums"))


def test_an_error_of_a_plain_step_stays_polars_own(letters: ig.SemanticFrame) -> None:
    worked = letters.with_columns(day=pl.col("body").cast(pl.Int64))
    with pytest.raises(pl.exceptions.InvalidOperationError, match="conversion from `str`"):
        worked.semantic.reduce(PROMPT, by="product", into="faults", order_by="day").run()
