"""Joins by meaning: laws against the filtered cross product, and what a user sees of them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import infergraph as ig
from infergraph.frame.joining import How
from infergraph.models.model import Request, Response
from infergraph.models.scripted import Answer, script

HOWS: tuple[How, ...] = ("inner", "left", "semi", "anti")
Verdicts = dict[tuple[int, int], bool | None]
CONDITIONS: dict[str, tuple[pl.Expr | None, Callable[[Any, Any], bool]]] = {
    "every pair": (None, lambda left, right: True),
    "equal": (pl.col("g") == pl.col("g_right"), lambda left, right: None is not left["g"] == right["g"]),
    "equal and less": (
        (pl.col("g_right") == pl.col("g")) & (pl.col("n") <= pl.col("m")),
        lambda left, right: None is not left["g"] == right["g"] and left["n"] <= right["m"],
    ),
    "less": (pl.col("n") < pl.col("m"), lambda left, right: left["n"] < right["m"]),
    "of one side": (pl.col("m") > 1, lambda left, right: right["m"] > 1),
}
_SAID = re.compile(r"<left_x>\n(.*)\n</left_x>\n<right_y>\n(.*)\n</right_y>", re.DOTALL)
numbers = itertools.count()


def pair_of(request: Request) -> tuple[int, int]:
    found = _SAID.search(request.messages[-1].content)
    assert found is not None
    return int(found[1]), int(found[2])


class Judge:
    """Decides pairs by a table; a pair that is not in it is undecided."""

    def __init__(self) -> None:
        self.says: Verdicts = {}
        self.asked: list[tuple[int, int]] = []

    def __call__(self, request: Request) -> Answer:
        pair = pair_of(request)
        self.asked.append(pair)
        says = self.says.get(pair)
        return Response(text="I will not say.", finish="refusal") if says is None else {"answer": says}


@pytest.fixture(scope="module")
def judged() -> Iterator[tuple[ig.Session, Judge]]:
    judge = Judge()
    models = {"judge": ig.Model("scripted:judge-of-pairs", price=ig.Price(input=1, output=10))}
    with (
        script("judge-of-pairs", judge),
        ig.Session(models=models, store="sqlite://", progress=False) as session,
    ):
        yield session, judge


LEFT = {"k": pl.Int64, "x": pl.Int64, "g": pl.String, "n": pl.Int64}
RIGHT = {"k": pl.Int64, "y": pl.Int64, "g": pl.String, "m": pl.Int64}
value = st.one_of(st.none(), st.integers(0, 3))
group = st.sampled_from(["a", "b", None])
side = st.lists(st.tuples(value, group, st.integers(0, 3)), max_size=6)


def frame_of(rows: list[tuple[int | None, str | None, int]], schema: Any) -> pl.DataFrame:
    return pl.DataFrame([(at, *row) for at, row in enumerate(rows)], schema=schema, orient="row")


def expected(left: pl.DataFrame, right: pl.DataFrame, how: str, candidate: Any, says: Verdicts) -> pl.DataFrame:
    """The filtered cross product, in plain Python."""
    renamed = right.rename({"k": "k_right", "g": "g_right"})
    rows: list[dict[str, Any]] = []
    for one in left.iter_rows(named=True):
        matches = [
            {**one, **shown}
            for other, shown in zip(right.iter_rows(named=True), renamed.iter_rows(named=True), strict=True)
            if candidate(one, other) and None not in (one["x"], other["y"]) and says.get((one["x"], other["y"])) is True
        ]
        if how == "inner":
            rows += matches
        elif how == "left":
            rows += matches or [{**one, **dict.fromkeys(renamed.columns)}]
        elif bool(matches) == (how == "semi"):
            rows.append(one)
    schema = left.schema if how in ("semi", "anti") else {**left.schema, **renamed.schema}
    return pl.DataFrame(rows, schema=schema)


@settings(max_examples=60, deadline=None)
@given(
    left=side,
    right=side,
    says=st.dictionaries(st.tuples(st.integers(0, 3), st.integers(0, 3)), st.booleans()),
    how=st.sampled_from(HOWS),
    condition=st.sampled_from(sorted(CONDITIONS)),
    keyed=st.booleans(),
)
def test_a_join_is_the_filtered_cross_product(
    judged: tuple[ig.Session, Judge],
    left: list[Any],
    right: list[Any],
    says: Verdicts,
    how: How,
    condition: str,
    keyed: bool,
) -> None:
    session, judge = judged
    judge.says, judge.asked = says, []
    one, other = frame_of(left, LEFT), frame_of(right, RIGHT)
    candidates, candidate = CONDITIONS[condition]
    key = "k" if keyed else None
    joined = session.frame(one, name="left", key=key).semantic.join(
        session.frame(other, name="right", key=key),
        f"Case {next(numbers)}: {{{{ left.x }}}} fits {{{{ right.y }}}}",
        how=how,
        candidates=candidates,
    )
    before = joined.estimate()
    result = joined.run(row_ids=True)
    assert_frame_equal(result.frame.drop("_row_id"), expected(one, other, how, candidate, says))
    assert joined.schema == result.frame.drop("_row_id").schema
    if keyed:
        assert result.frame["_row_id"].n_unique() == result.frame.height
    pairs = [
        (a["x"], b["y"]) for a in one.iter_rows(named=True) for b in other.iter_rows(named=True) if candidate(a, b)
    ]
    asked = {(x, y) for x, y in pairs if x is not None and y is not None}
    usage = result.usage
    assert sorted(judge.asked) == sorted(asked), "each different pair is asked once, in all kinds of join"
    assert (usage.rows, usage.calls) == (len(pairs), len(asked))
    assert usage.nulls == sum(None in pair for pair in pairs)
    assert usage.rows == usage.calls + usage.store_hits + usage.shared + usage.rejected_before + usage.nulls
    undecided = [pair for pair in pairs if None not in pair and pair not in says]
    assert result.rejects.height == usage.rejected == len(undecided)
    assert (before.calls, before.calls_low, before.calls_high) == (len(asked),) * 3
    assert before.rows == len(pairs)
    again = joined.run()
    assert again.usage.calls == joined.estimate().calls == 0
    assert_frame_equal(again.frame, result.frame.drop("_row_id"))
    for row_id in result.frame["_row_id"]:
        assert sources(result.trace(row_id)) >= {"left"}


def sources(trace: ig.Trace) -> set[str]:
    own = set() if trace.source is None else {trace.source.source}
    return own.union(*(sources(parent) for parent in trace.parents))


# -- what is said, kept and shown ------------------------------------------------------------------------


@pytest.fixture
def judge() -> Iterator[Judge]:
    made = Judge()
    with script("pairs", made):
        yield made


@pytest.fixture
def session(tmp_path: Path, judge: Judge) -> Iterator[ig.Session]:
    models = {"pairs": ig.Model("scripted:pairs"), "free": ig.Model("scripted:free")}
    with ig.Session(models=models, default_model="pairs", store="sqlite:///state.db", root=tmp_path) as made:
        yield made


@pytest.fixture
def left(session: ig.Session) -> ig.SemanticFrame:
    return session.frame(pl.DataFrame({"id": ["a", "b", "c"], "x": [1, 2, 3]}), name="left", key="id")


@pytest.fixture
def right(session: ig.Session) -> ig.SemanticFrame:
    return session.frame(pl.DataFrame({"code": [10, 20], "y": [7, 8]}), name="right", key="code")


SENTENCE = "{{ left.x }} fits {{ right.y }}"


@pytest.mark.parametrize("place", range(3))
def test_an_undecided_pair_is_no_match_and_its_left_row_is_kept_and_listed(
    left: ig.SemanticFrame, right: ig.SemanticFrame, judge: Judge, place: int
) -> None:
    judge.says = {(x, y): False for x in (1, 2, 3) for y in (7, 8) if (x, y) != (place + 1, 8)}
    kept = {how: left.semantic.join(right, SENTENCE, how=how).run() for how in HOWS}
    ids = {how: result.frame["id"].to_list() for how, result in kept.items()}
    assert ids == {"inner": [], "left": ["a", "b", "c"], "semi": [], "anti": ["a", "b", "c"]}
    for result in kept.values():
        reject = result.rejects.row(0, named=True)
        assert (reject["id"], reject["code"]) == ("abc"[place], 20)
        assert (reject["operator"], reject["reason"], result.rejects.height) == ("join", "refused", 1)
        assert sources(result.trace(reject["row_id"])) == {"left", "right"}


def test_an_undecided_pair_takes_no_other_match_away(
    left: ig.SemanticFrame, right: ig.SemanticFrame, judge: Judge
) -> None:
    judge.says = {(1, 8): True, (2, 7): False, (2, 8): False, (3, 7): True, (3, 8): True}
    rows = left.semantic.join(right, SENTENCE, how="left").collect()
    assert rows.rows() == [("a", 1, 20, 8), ("b", 2, None, None), ("c", 3, 10, 7), ("c", 3, 20, 8)]


def test_rejected_pairs_are_asked_again_and_nothing_else(
    left: ig.SemanticFrame, right: ig.SemanticFrame, judge: Judge
) -> None:
    judge.says = {(x, y): False for x in (1, 2, 3) for y in (7, 8)} | {(2, 7): None}
    joined = left.semantic.join(right, SENTENCE, how="semi")
    assert joined.run().frame.is_empty()
    judge.says[2, 7] = True
    assert joined.run().usage.rejected_before == 1
    again = joined.run(retry_rejects=True)
    assert (again.usage.calls, again.frame["id"].to_list(), again.rejects.height) == (1, ["b"], 0)


def test_the_left_side_is_read_once(session: ig.Session, right: ig.SemanticFrame, judge: Judge) -> None:
    judge.says = {(x, y): x == y for x in range(5) for y in (7, 8)}
    rows = session.frame(pl.DataFrame({"x": range(5)}), name="left").semantic.map("{{ x }}", into="t", model="free")
    for how in HOWS:
        usage = rows.semantic.join(right, SENTENCE, how=how).run().usage.by_operator
        assert usage.filter(operator="map")["rows"].item() in (5, 0), how


def test_sides_with_operators_of_their_own(session: ig.Session, judge: Judge) -> None:
    judge.says = {(x, y): x == y - 5 for x in range(3) for y in (5, 6)}
    one = session.frame(pl.DataFrame({"x": [0, 1, 2]}), name="one").semantic.map("A {{ x }}", into="t", model="free")
    other = session.frame(pl.DataFrame({"y": [5, 6]}), name="two").semantic.map("A {{ y }}", into="t", model="free")
    result = one.semantic.join(other, SENTENCE).semantic.map("{{ t }} {{ t_right }}", into="u", model="free").run()
    assert result.frame.columns == ["x", "t", "y", "t_right", "u"]
    assert result.usage.by_operator["operator"].to_list() == ["map", "map_2", "join", "map_2_2"]
    assert result.frame["x"].to_list() == [0, 1]


def test_a_frame_is_joined_with_itself_and_with_plain_frames(
    session: ig.Session, left: ig.SemanticFrame, judge: Judge
) -> None:
    judge.says = {(x, y): x < y for x in (1, 2, 3) for y in (1, 2, 3)}
    itself = left.semantic.join(left.select("id", y="x"), SENTENCE).collect()
    assert itself.select("id", "id_right").rows() == [("a", "b"), ("a", "c"), ("b", "c")]
    plain = pl.DataFrame({"y": [3]})
    assert left.semantic.join(plain, SENTENCE).collect()["id"].to_list() == ["a", "b"]
    assert left.semantic.join(plain.lazy(), SENTENCE, how="anti").collect()["id"].to_list() == ["c"]


def test_order_over_many_windows(session: ig.Session, judge: Judge) -> None:
    judge.says = {(x, y): (x + y) % 7 == 0 for x in range(90) for y in range(60)}
    one = session.frame(pl.DataFrame({"x": range(90)}), name="one")
    for how in ("inner", "left"):
        rows = one.semantic.join(pl.DataFrame({"y": range(60)}), SENTENCE, how=how).collect()
        assert rows.rows() == [(x, y) for x in range(90) for y in range(60) if (x + y) % 7 == 0]
    few = one.semantic.join(pl.DataFrame({"y": range(60)}), SENTENCE, how="anti").collect()
    assert few.is_empty()


def test_a_condition_behind_an_inner_join_reaches_the_pairs(session: ig.Session, judge: Judge) -> None:
    judge.says = {(x, y): True for x in range(20) for y in range(5)}
    one, other = session.frame(pl.DataFrame({"x": range(20)}), name="one"), pl.DataFrame({"y": range(5)})
    result = one.semantic.join(other, SENTENCE).filter(pl.col("x") < 2, pl.col("y") > 3).run()
    assert (result.frame.rows(), result.usage.calls) == ([(0, 4), (1, 4)], 2)


@pytest.mark.parametrize("how", ["left", "semi", "anti"])
def test_a_condition_on_the_left_row_reaches_the_pairs_of_other_joins(
    session: ig.Session, judge: Judge, how: How
) -> None:
    judge.says = {(x, y): x % 2 == 0 for x in range(20) for y in range(5)}
    one, other = session.frame(pl.DataFrame({"x": range(20)}), name="one"), pl.DataFrame({"y": range(5)})
    result = one.semantic.join(other, SENTENCE, how=how).filter(pl.col("x") < 3).run()
    assert result.usage.calls == 15
    assert result.frame["x"].unique().to_list() == {"left": [0, 1, 2], "semi": [0, 2], "anti": [1]}[how]


def test_a_condition_on_a_matched_row_does_not_take_the_match_away(session: ig.Session, judge: Judge) -> None:
    judge.says = {(x, y): y == 3 for x in range(4) for y in range(5)}
    one, other = session.frame(pl.DataFrame({"x": range(4)}), name="one"), pl.DataFrame({"y": range(5)})
    joined = one.semantic.join(other, SENTENCE, how="left")
    assert joined.filter(pl.col("y").is_null()).collect().is_empty()
    assert joined.filter(pl.col("y") == 3, pl.col("x") > 1).collect().rows() == [(2, 3), (3, 3)]


@pytest.mark.parametrize("how", HOWS)
def test_columns_that_nobody_wants_are_left_out(session: ig.Session, judge: Judge, how: How) -> None:
    judge.says = {(x, y): (x + y) % 2 == 0 for x in range(6) for y in range(5)}
    one = session.frame(pl.DataFrame({"x": range(6), "a": list("abcdef")}), name="one")
    other = pl.DataFrame({"y": range(5), "b": list("vwxyz")})
    joined = one.semantic.join(other, SENTENCE, how=how)
    whole = joined.collect()
    for names in (["a"], ["x", "a"], ["b"], ["y", "a"]):
        if set(names) <= set(whole.columns):
            assert_frame_equal(joined.select(names).collect(), whole.select(names))
    assert joined.select(pl.len()).collect().item() == whole.height


@pytest.mark.parametrize("how", ["left", "semi"])
def test_head_of_other_joins_does_not_wait_for_all_pairs(session: ig.Session, judge: Judge, how: How) -> None:
    judge.says = {(x, y): True for x in range(600) for y in range(50)}
    one, other = session.frame(pl.DataFrame({"x": range(600)}), name="one"), pl.DataFrame({"y": range(50)})
    result = one.semantic.join(other, SENTENCE, how=how).head(2).run()
    assert result.frame.height == 2
    assert result.usage.calls < 15_000


def test_head_of_an_inner_join_asks_for_few_pairs(session: ig.Session, judge: Judge) -> None:
    judge.says = {(x, y): True for x in range(40) for y in range(50)}
    one, other = session.frame(pl.DataFrame({"x": range(40)}), name="one"), pl.DataFrame({"y": range(50)})
    result = one.semantic.join(other, SENTENCE).head(3).run()
    assert result.frame.rows() == [(0, 0), (0, 1), (0, 2)]
    assert result.usage.calls < 50


def test_examples_of_both_sides_are_shown(left: ig.SemanticFrame, right: ig.SemanticFrame) -> None:
    examples = [({"left": {"x": 5}, "right": {"y": 6}}, True)]
    shown = left.semantic.join(right, SENTENCE, examples=examples).prompts(1)
    roles = [(message["role"], message["content"]) for message in shown[0]["messages"]]
    assert roles[1:3] == [
        ("user", "<left_x>\n5\n</left_x>\n<right_y>\n6\n</right_y>"),
        ("assistant", '{"answer": true}'),
    ]
    assert roles[3] == ("user", "<left_x>\n1\n</left_x>\n<right_y>\n7\n</right_y>")


@pytest.mark.parametrize(
    ("example", "said"),
    [
        (({"left": {"z": 5}, "right": {"y": 6}}, True), "its 'left' has 'z', which the sentence does not read"),
        (({"x": 5, "y": 6}, True), "its input is a dict of both sides' columns, such as .'left': .'x'"),
        (({"left": 5, "right": {"y": 6}}, True), "'left' is a dict of columns"),
        (({"left": {"x": 5}, "right": {"y": 6}}, "yes"), "True or False"),
        (({"left": {"x": 5}}, True), "its input is null"),
        ("no pair", r"is a pair \(input, output\)"),
    ],
)
def test_examples_that_do_not_fit_are_refused(
    left: ig.SemanticFrame, right: ig.SemanticFrame, example: Any, said: str
) -> None:
    with pytest.raises(ig.PlanError, match=said):
        left.semantic.join(right, SENTENCE, examples=[example])


def test_names_of_columns_nobody_can_write_and_struct_fields(session: ig.Session, judge: Judge) -> None:
    one = session.frame(pl.DataFrame({"the x": [1], "x": [2]}), name="one")
    other = pl.DataFrame({"deep": [{"y": 7}], "x": [3]})
    joined = one.semantic.join(other, "{{ left['the x'] }} {% if left.x > 1 %}big{% endif %} {{ right.deep.y }}")
    content = joined.prompts(1)[0]["messages"][-1]["content"]
    assert "<left_the_x>\n1\n</left_the_x>" in content
    assert "<right_deep.y>\n7\n</right_deep.y>" in content
    assert "big" in content
    both = one.semantic.join(other, "{{ left.x }} {{ right.x }}")
    assert "<left_x>\n2\n</left_x>\n<right_x>\n3\n</right_x>" in both.prompts(1)[0]["messages"][-1]["content"]


def test_an_optional_variable_is_asked_without_its_value(session: ig.Session, judge: Judge) -> None:
    one = session.frame(pl.DataFrame({"x": [1], "note": pl.Series([None], dtype=pl.String)}), name="one")
    optional = one.semantic.join(
        pl.DataFrame({"y": [2]}), "{{ left.x }} {{ right.y }}{% if left.note %} note: {{ left.note }}{% endif %}"
    )
    assert optional.estimate().calls == 1
    needed = one.semantic.join(pl.DataFrame({"y": [2]}), "{{ left.x }} {{ right.y }} {{ left.note|upper }}")
    assert needed.estimate().calls == 0


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("{{ left.xx }} {{ right.y }}", "the left frame has no column 'xx'. Did you mean 'x'"),
        ("{{ left.x }} {{ right.x }}", "the right frame has no column 'x'"),
        ("{{ x }} {{ right.y }}", "'x' stands without its side. Write {{ left.x }}"),
        ("{{ z }} {{ left.x }} {{ right.y }}", "'z' stands without its side"),
        ("{{ left }} {{ right.y }}", "'left' is a whole row; name a column of it, as in {{ left.id }}"),
        ("{{ left.x }} alone", "names no column of the right frame"),
        ("{{ right.y }} alone", "names no column of the left frame"),
        ("{{ left.x {{ right.y }}", "line 1"),
        ("{{ left.x.deep }} {{ right.y }}", "{{ left.x.deep }}: Int64 has no fields, so there is no 'deep'"),
        (
            "{% for one in left.x %}{{ one }}{% endfor %} {{ right.y }}",
            "a loop needs a List, and {{ left.x }} is Int64",
        ),
        (7, "a predicate is a sentence such as"),
    ],
)
def test_sentences_that_say_nothing_of_pairs_are_refused(
    left: ig.SemanticFrame, right: ig.SemanticFrame, sentence: Any, said: str
) -> None:
    with pytest.raises(ig.PlanError, match=re.escape(said)):
        left.semantic.join(right, sentence)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"how": "outer"}, "write 'inner', 'left', 'semi' or 'anti'"),
        ({"max_pairs": 0}, "give a number of pairs, 1 or more"),
        ({"candidates": "x"}, r"give a Polars condition over both sides' columns"),
        ({"candidates": pl.col("x") + 1}, "gives Int64, not Boolean"),
        ({"candidates": pl.col("q") == pl.col("y")}, "there is no column 'q'"),
        ({"candidates": pl.col("x") == pl.col("x").max()}, "looks at more than one pair"),
        ({"candidates": pl.col("x") == pl.col("y").cast(pl.String)}, "candidates=.*cannot compare"),
        ({"name": ""}, "give each operator a name of its own"),
        ({"model": "none"}, "model='none' is no model of this session"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    left: ig.SemanticFrame, right: ig.SemanticFrame, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(ig.InfergraphError, match=said):
        left.semantic.join(right, SENTENCE, **arguments)


def test_a_name_that_is_taken_is_refused(session: ig.Session, right: ig.SemanticFrame) -> None:
    rows = session.frame(pl.DataFrame({"x": [1], "y": [1], "y_right": [1]}), name="left")
    with pytest.raises(ig.PlanError, match="the right one becomes 'y_right', and that name is taken"):
        rows.semantic.join(right, SENTENCE)
    reserved = session.frame(pl.DataFrame({"x": [1], "__join_pair": [True]}), name="left")
    with pytest.raises(ig.PlanError, match="'__join_pair' is reserved"):
        reserved.semantic.join(right, SENTENCE)


def test_explain_shows_pairs_candidates_and_how(left: ig.SemanticFrame, right: ig.SemanticFrame) -> None:
    text = left.semantic.join(right, SENTENCE, how="semi", candidates=pl.col("x") * 3 > pl.col("y")).explain()
    assert "matched(left rows with a match)  -- row ids derived" in text
    assert "semantic.join 'join' [model pairs]: '<left_x> fits <right_y>'" in text
    assert 'pairs where [([(col("x")) * (dyn int: 3)]) > (col("y"))]: 2 of 3 x 2 pairs' in text
    assert "join(every pair: 3 x 2 = 6 pairs)" in left.semantic.join(right, SENTENCE).explain()


@pytest.mark.parametrize("how", HOWS)
def test_columns_are_followed_through_a_join(session: ig.Session, left: ig.SemanticFrame, how: How) -> None:
    other = session.frame(pl.DataFrame({"id": ["a"], "y": [1]}), name="right")
    lineage = left.semantic.join(other, SENTENCE, how=how, candidates=pl.col("id") == pl.col("id_right"))
    told = lineage.column_lineage()
    assert [f"{source.source}.{source.column}" for source in told.columns["x"].sources] == ["left.x"]
    assert not told.columns["x"].operators
    if how in ("inner", "left"):
        assert [f"{source.source}.{source.column}" for source in told.columns["id_right"].sources] == ["right.id"]
    assert {f"{source.source}.{source.column}" for source in told.rows.sources} == {
        "left.x",
        "right.y",
        "left.id",
        "right.id",
    }
    assert told.rows.operators == ("join",)
    assert told.operators[0].reads == ("x", "y")
    assert not told.rows.opaque


def test_a_row_is_followed_forwards_and_back(left: ig.SemanticFrame, right: ig.SemanticFrame, judge: Judge) -> None:
    judge.says = {(x, y): (x, y) == (2, 8) for x in (1, 2, 3) for y in (7, 8)}
    expected: dict[How, tuple[str, int]] = {"inner": ("b", 1), "left": ("b", 1), "semi": ("b", 1), "anti": ("a", 2)}
    for how, (key, asked) in expected.items():
        result = left.semantic.join(right, SENTENCE, how=how).run(row_ids=True)
        (row_id,) = result.frame.filter(pl.col("id") == key)["_row_id"]
        trace = result.trace(row_id)
        assert {"left", "right"} <= sources(trace)
        assert len(trace.attempts) == asked, how
        assert all(attempt.messages for attempt in trace.attempts)


def test_the_models_that_may_see_a_side_are_asked_of_both(session: ig.Session, left: ig.SemanticFrame) -> None:
    secret = session.frame(pl.DataFrame({"y": [1]}), name="secret", allowed_models=["free"])
    with pytest.raises(ig.PlanError, match=r"semantic.join 'join'.*may not see the data of 'secret'"):
        left.semantic.join(secret, SENTENCE)
    left.semantic.join(secret, SENTENCE, model="free")


def test_what_is_personal_is_replaced_on_both_sides(tmp_path: Path) -> None:
    models = {"m": ig.Model("scripted:any")}
    with ig.Session(models=models, store="sqlite:///state.db", root=tmp_path, redact=True) as session:
        one = session.frame(pl.DataFrame({"x": ["ann@example.org"]}), name="one")
        other = pl.DataFrame({"y": ["bob@example.org"]})
        shown = one.semantic.join(other, SENTENCE, how="left").prompts(1)[0]["messages"][-1]["content"]
    assert "@example.org" not in shown
    assert shown.count("[email]") == 2


def test_a_kind_of_join_is_another_plan_and_the_same_requests(
    left: ig.SemanticFrame, right: ig.SemanticFrame, judge: Judge
) -> None:
    judge.says = {(x, y): True for x in (1, 2, 3) for y in (7, 8)}
    plans = [left.semantic.join(right, SENTENCE, how=how) for how in HOWS]
    assert len({plan.fingerprint() for plan in plans}) == 4
    assert [plan.run().usage.calls for plan in plans] == [6, 0, 0, 0]
    again = left.semantic.join(right, SENTENCE, max_pairs=7)
    assert again.fingerprint() == plans[0].fingerprint()
