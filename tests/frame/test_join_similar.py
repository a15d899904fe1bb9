"""Joins by meaning whose candidates are the nearest rows by embedding."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
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
from infergraph.models.scripted import Answer, Script, script

HOWS: tuple[How, ...] = ("inner", "left", "semi", "anti")
DIRECTIONS = {"east": (1.0, 0.0), "north": (0.0, 1.0), "north-east": (1.0, 1.0), "west": (-1.0, 0.1)}
_PAIR = re.compile(r"<left_x>\n(.*)\n</left_x>\n<right_y>\n(.*)\n</right_y>")
numbers = itertools.count()


def answer(request: Request) -> Answer:
    """A direction's vector; two directions fit when they have letters of their own in common, or it is not clear."""
    if request.embed_text is not None:
        return Response(embedding=DIRECTIONS[request.embed_text])
    found = _PAIR.search(request.messages[-1].content)
    assert found is not None
    if set(found.groups()) == {"north", "east"}:
        return Response(text="no", finish="refusal")
    return {"answer": fits(*found.groups()) is True}


def fits(one: str, other: str) -> bool | None:
    return None if {one, other} == {"north", "east"} else one in other or other in one


@pytest.fixture(scope="module")
def asked() -> Iterator[Script]:
    with script("directions", answer) as made:
        yield made


@pytest.fixture(scope="module")
def session(asked: Script) -> Iterator[ig.Session]:
    models = {
        "all": ig.Model("scripted:directions", dimensions=2),
        "chat": ig.Model("anthropic:none", base_url="http://127.0.0.1:9/v1", api_key=None),
    }
    with ig.Session(models=models, default_model="all", store="sqlite://", progress=False) as made:
        yield made


direction = st.sampled_from([*DIRECTIONS, None])


def similarity(one: str, other: str) -> float:
    (a, b), (c, d) = DIRECTIONS[one], DIRECTIONS[other]
    return float((a * c + b * d) / ((a * a + b * b) ** 0.5 * (c * c + d * d) ** 0.5))


def expected(left: list[Any], right: list[Any], how: How, k: int, least: float | None) -> list[tuple[Any, ...]]:
    """What comes out, in plain Python: the nearest first, equal ones in the right frame's order."""
    rows: list[tuple[Any, ...]] = []
    for at, one in enumerate(left):
        known = [(place, other) for place, other in enumerate(right) if one is not None and other is not None]
        near = sorted(known, key=lambda each: -round(similarity(one, each[1]), 5))[:k]
        near = [each for each in near if least is None or similarity(one, each[1]) >= least]
        matches: list[tuple[Any, ...]] = [(at, one, place, other) for place, other in near if fits(one, other)]
        if how == "inner":
            rows += matches
        elif how == "left":
            rows += matches or [(at, one, None, None)]
        elif bool(matches) == (how == "semi"):
            rows.append((at, one))
    return rows


@settings(max_examples=40, deadline=None)
@given(
    left=st.lists(direction, max_size=5),
    right=st.lists(direction, max_size=5),
    how=st.sampled_from(HOWS),
    k=st.integers(1, 3),
    least=st.sampled_from([None, 0.5]),
)
def test_it_asks_about_the_nearest_and_joins_what_fits(
    session: ig.Session, left: list[Any], right: list[Any], how: How, k: int, least: float | None
) -> None:
    one = session.frame(pl.DataFrame({"i": range(len(left)), "x": pl.Series(left, dtype=pl.String)}), name="one")
    other = pl.DataFrame({"j": range(len(right)), "y": pl.Series(right, dtype=pl.String)})
    joined = one.semantic.join(
        other,
        f"Case {next(numbers)}: {{{{ left.x }}}} fits {{{{ right.y }}}}",
        how=how,
        candidates=ig.Similar("x", "y", k=k, min_similarity=least),
    )
    foretold = {each.operator: each for each in joined.estimate().operators}
    result = joined.run()
    made = expected(left, right, how, k, least)
    assert_frame_equal(result.frame, pl.DataFrame(made, schema=joined.schema, orient="row"))
    for row in result.usage.by_operator.iter_rows(named=True):
        told = foretold[row["operator"]]
        assert told.rows_low <= row["rows"] <= told.rows_high, row
        assert told.calls_low <= row["calls"] <= told.calls_high, row
    again = joined.estimate()
    assert (again.calls_low, again.calls_high, joined.run().usage.calls) == (0, 0, 0)


def test_the_embeddings_are_counted_by_themselves_and_kept(session: ig.Session, asked: Script) -> None:
    one = session.frame(pl.DataFrame({"x": ["east", "west", None]}), name="one")
    other = session.frame(pl.DataFrame({"y": ["north", "north-east"]}), name="two")
    near = ig.Similar("x", "y", k=1)
    for how in HOWS:
        result = one.semantic.join(other, f"{how}: {{{{ left.x }}}} {{{{ right.y }}}}", how=how, candidates=near).run()
        usage = result.usage.by_operator.select("operator", "rows", "nulls")
        assert usage.rows() == [("join.left", 3, 1), ("join.right", 2, 0), ("join", 2, 0)], how
    embedded = [request.embed_text for request in asked.requests if request.embed_text is not None]
    assert len(embedded) == len(set(embedded)), "each text is embedded once, whatever the kind of join"


def test_explain_says_which_candidates_there_are(session: ig.Session) -> None:
    one = session.frame(pl.DataFrame({"x": ["east", "west", None]}), name="one")
    joined = one.semantic.join(
        pl.DataFrame({"y": ["north"]}),
        "{{ left.x }} {{ right.y }}",
        how="anti",
        candidates=ig.Similar("x", "y", k=4, min_similarity=0.2),
        name="near",
    )
    text = joined.explain()
    assert "join(the 4 nearest for each left row by x, y, similarity 0.2 or more: at most 3 pairs)" in text
    assert "semantic.embed 'near.left'" in text
    assert "semantic.join 'near'" in text


def test_columns_of_vectors_are_not_embedded_again(session: ig.Session) -> None:
    one = session.frame(pl.DataFrame({"x": ["east", "west"]}), name="one").semantic.embed("x", into="v")
    other = session.frame(pl.DataFrame({"y": ["north", "east"]}), name="two").semantic.embed("y", into="w")
    joined = one.semantic.join(other, "{{ left.x }} is {{ right.y }}", how="semi", candidates=ig.Similar("v", "w", k=1))
    result = joined.run()
    assert result.usage.by_operator["operator"].to_list() == ["embed", "embed_2", "join"]
    assert result.frame["x"].to_list() == ["east"]


def test_a_row_is_traced_to_both_sides(session: ig.Session) -> None:
    one = session.frame(pl.DataFrame({"id": [1, 2], "x": ["east", None]}), name="one", key="id")
    other = session.frame(pl.DataFrame({"y": ["north-east"]}), name="two")
    near = ig.Similar("x", "y", k=1)
    result = one.semantic.join(other, "{{ left.x }} is in {{ right.y }}", how="left", candidates=near).run(row_ids=True)
    paired, alone = (result.trace(row_id) for row_id in result.frame["_row_id"])
    assert [parent.source.source for parent in paired.parents if parent.source] == ["one", "two"]
    assert [parent.source.key for parent in alone.parents if parent.source] == [{"id": 2}]


@pytest.mark.parametrize(
    ("similar", "said"),
    [
        (ig.Similar("x", "y", k=0), "k=0: give a number of rows, 1 or more"),
        (ig.Similar("x", "y", min_similarity=2), "min_similarity=2: give a cosine from -1 to 1"),
        (ig.Similar("xx", "y"), "there is no column 'xx'. Did you mean 'x'"),
        (ig.Similar("x", "q"), "there is no column 'q'"),
        (ig.Similar("x", "y", model="chat"), "'chat'.*does not embed. Name one that does with model=: 'all'"),
    ],
)
def test_candidates_that_do_not_fit_are_refused(session: ig.Session, similar: ig.Similar, said: str) -> None:
    one = session.frame(pl.DataFrame({"x": ["east"]}), name="one")
    for how in HOWS:
        with pytest.raises(ig.PlanError, match=f"semantic.join.*{said}"):
            one.semantic.join(pl.DataFrame({"y": ["east"]}), "{{ left.x }} {{ right.y }}", how=how, candidates=similar)


def test_too_many_nearest_pairs_are_refused(session: ig.Session, tmp_path: Path) -> None:
    one = session.frame(pl.DataFrame({"x": ["east", "west", "north"]}), name="one")
    other = pl.DataFrame({"y": ["east", "north"]})
    sentence = "Too many: {{ left.x }} {{ right.y }}"
    with pytest.raises(ig.PlanError, match="the nearest 5 of 2 rows for each of 3 are 6 pairs, more than max_pairs=5"):
        one.semantic.join(other, sentence, candidates=ig.Similar("x", "y", k=5), max_pairs=5)
    near = ig.Similar("x", "y", k=5, min_similarity=0.9)
    for how in HOWS:
        with pytest.raises(ig.PlanError, match="more than max_pairs=1 pairs to ask about; none was asked"):
            one.semantic.join(other, sentence, how=how, candidates=near, max_pairs=1).run()
        allowed = one.semantic.join(other, sentence, how=how, candidates=near, max_pairs=2).run()
        assert allowed.usage.by_operator.filter(operator="join")["rows"].item() == 2
