"""How many pairs a join may ask about: counted when the plan is built, or in the run before the first is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.io.plugins import register_io_source
from pydantic import BaseModel

import infergraph as ig
from infergraph.frame.joining import How
from infergraph.models.model import Request
from infergraph.models.scripted import Answer, Script, script

HOWS: tuple[How, ...] = ("inner", "left", "semi", "anti")
SENTENCE = "{{ left.x }} fits {{ right.y }}"
_FIRST = re.compile(r"<\w+>\n(\d+)\n")


class Third(BaseModel):
    third: int


def answer(request: Request) -> Answer:
    """Each number's rest by three; ``true`` for even numbers and for pairs whose sum is a multiple of three."""
    values = [int(found) for found in _FIRST.findall(request.messages[-1].content)]
    if request.schema is not None and "third" in request.schema.text:
        return {"third": values[0] % 3}
    return {"answer": values[0] % 2 == 0 if len(values) == 1 else sum(values) % 3 == 0}


@pytest.fixture
def asked() -> Iterator[Script]:
    with script("numbers", answer) as made:
        yield made


@pytest.fixture
def session(tmp_path: Path, asked: Script) -> Iterator[ig.Session]:
    models = {
        "numbers": ig.Model("scripted:numbers", price=ig.Price(input=1000, output=2000)),
        "unpriced": ig.Model("openai:some-model", base_url="http://127.0.0.1:9/v1", api_key=None),
    }
    with ig.Session(models=models, default_model="numbers", store="sqlite:///state.db", root=tmp_path) as made:
        yield made


def numbered(session: ig.Session, rows: int, name: str = "x") -> ig.SemanticFrame:
    data = pl.DataFrame({"id": range(rows), name: range(rows), "g": [at % 10 for at in range(rows)]})
    return session.frame(data, name=name, key="id")


def test_too_many_pairs_are_refused_with_their_number_and_price(session: ig.Session, asked: Script) -> None:
    with pytest.raises(ig.PlanError) as refused:
        numbered(session, 400).semantic.join(numbered(session, 300, "y"), SENTENCE)
    said = str(refused.value)
    assert "400 x 300 rows are 120,000 pairs, more than max_pairs=100,000: a request each, about $" in said
    assert "with model 'numbers'" in said
    assert "candidates=" in said
    assert "ig.Similar(" in said
    assert "max_pairs=120_000" in said
    assert "ask 700 times" in said
    price = re.search(r"\$([\d,]+\.\d\d)", said)
    assert price is not None
    whole = numbered(session, 400).semantic.join(numbered(session, 300, "y"), SENTENCE, max_pairs=120_000)
    cost = whole.estimate().cost_usd
    assert cost is not None
    assert float(price[1].replace(",", "")) == pytest.approx(float(cost), rel=0.05)
    assert not asked.requests


def test_exactly_max_pairs_are_allowed(session: ig.Session) -> None:
    one, other = numbered(session, 7), numbered(session, 3, "y")
    for how in HOWS:
        assert one.semantic.join(other, SENTENCE, how=how, max_pairs=21).estimate().rows == 21
        with pytest.raises(ig.PlanError, match=r"7 x 3 rows are 21 pairs, more than max_pairs=20"):
            one.semantic.join(other, SENTENCE, how=how, max_pairs=20)


def test_an_unknown_price_is_said_to_be_unknown(session: ig.Session) -> None:
    with (
        pytest.warns(UserWarning, match="price"),
        pytest.raises(ig.PlanError, match=r"price unknown \(model 'unpriced', openai:some-model\)"),
    ):
        numbered(session, 7).semantic.join(numbered(session, 3, "y"), SENTENCE, max_pairs=20, model="unpriced")


def test_with_a_condition_its_pairs_count(session: ig.Session) -> None:
    one, other = numbered(session, 2000), numbered(session, 100, "y")
    equal = pl.col("g") == pl.col("g_right")
    assert "20,000 of 2,000 x 100 pairs" in one.semantic.join(other, SENTENCE, candidates=equal).explain()
    with pytest.raises(ig.PlanError, match=r"the condition lets 20,000 of 2,000 x 100 pairs through, more than"):
        one.semantic.join(other, SENTENCE, candidates=equal, max_pairs=19_999)


def test_pairs_beyond_counting_are_looked_at_until_there_are_too_many(session: ig.Session) -> None:
    one, other = numbered(session, 20_000), numbered(session, 10_000, "y")
    few = one.semantic.join(other, SENTENCE, candidates=pl.col("x") == pl.col("y") + 1)
    assert "10,000 of 20,000 x 10,000 pairs" in few.explain()
    with pytest.raises(ig.PlanError, match=r"lets more than 100,000 of 20,000 x 10,000 pairs.*more than about \$"):
        one.semantic.join(other, SENTENCE, candidates=pl.col("x") != pl.col("y"))


def test_counting_reads_no_column_that_it_does_not_need_and_each_source_once(session: ig.Session) -> None:
    readings: list[list[str] | None] = []

    def read(wanted: list[str] | None, predicate: Any, n_rows: Any, size: Any) -> Iterator[pl.DataFrame]:
        readings.append(wanted)
        rows = pl.DataFrame({"x": range(30), "g": [1] * 30, "wide": ["w" * 1000] * 30})
        yield rows if wanted is None else rows.select(wanted)

    schema = {"x": pl.Int64(), "g": pl.Int64(), "wide": pl.String()}
    one = session.frame(register_io_source(read, schema=schema), name="one")
    other = numbered(session, 5, "y")
    one.semantic.join(other, SENTENCE)
    assert readings == [["x"]], "one column, as a source of this kind cannot give rows without any"
    one.semantic.join(other, "{{ left.x }} is {{ right.y }}", how="anti")
    assert len(readings) == 1
    one.semantic.join(other, SENTENCE, candidates=pl.col("g") == pl.col("g_right"))
    assert readings[1:] == [["g"]]


def test_plain_steps_of_a_side_are_counted(session: ig.Session) -> None:
    one = numbered(session, 40).filter(pl.col("g") < 5).head(11).with_columns(z=pl.col("x") + 1)
    other = numbered(session, 6, "y").select("y").unique()
    assert "11 x 6 = 66 pairs" in one.semantic.join(other, SENTENCE).explain()
    grouped = numbered(session, 40).group_by("g").agg(pl.col("x").first())
    assert "10 x 6 = 60 pairs" in grouped.semantic.join(other, SENTENCE).explain()


def test_an_operator_that_adds_columns_leaves_the_rows_countable(session: ig.Session, asked: Script) -> None:
    one = numbered(session, 40).semantic.extract("x", Third).filter(pl.col("g") < 5)
    assert "20 x 6 = 120 pairs" in one.semantic.join(numbered(session, 6, "y"), SENTENCE).explain()
    with pytest.raises(ig.PlanError, match="20 x 6 rows are 120 pairs"):
        one.semantic.join(numbered(session, 6, "y"), SENTENCE, max_pairs=119)
    assert not asked.requests


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_where_answers_decide_the_run_counts_before_it_asks(
    session: ig.Session, asked: Script, how: How, side: str
) -> None:
    one, other = numbered(session, 40), numbered(session, 30, "y")
    if side == "left":
        one = one.semantic.filter("{{ x }} is even")
    else:
        other = other.semantic.filter("{{ y }} is even")
    enough = one.semantic.join(other, SENTENCE, how=how, max_pairs=600)
    assert "at most 1,200 pairs" in enough.explain()
    few = one.semantic.join(other, SENTENCE, how=how, max_pairs=599)
    with pytest.raises(ig.PlanError, match=r"more than max_pairs=599 pairs to ask about; none was asked"):
        few.run()
    assert all("fits" not in request.messages[0].content for request in asked.requests)
    assert enough.run().usage.by_operator.filter(operator="join")["rows"].item() == 600


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("condition", ["third == g", "third < g"])
def test_where_an_answer_is_in_the_condition_the_run_counts(
    session: ig.Session, asked: Script, how: How, condition: str
) -> None:
    one = numbered(session, 30).semantic.extract("x", Third)
    other = numbered(session, 5, "y").rename({"g": "h"})
    candidates = pl.col("third") == pl.col("h") if "==" in condition else pl.col("third") < pl.col("h")
    pairs = 30 if "==" in condition else sum(rest < h for rest in [0, 1, 2] * 10 for h in range(5))
    with pytest.raises(ig.PlanError, match="more than max_pairs"):
        one.semantic.join(other, SENTENCE, how=how, candidates=candidates, max_pairs=pairs - 1).run()
    assert all("fits" not in request.messages[0].content for request in asked.requests)
    joined = one.semantic.join(other, SENTENCE, how=how, candidates=candidates, max_pairs=pairs)
    assert joined.run().usage.by_operator.filter(operator="join")["rows"].item() == pairs


def test_pairs_below_a_step_that_makes_rows_of_answers_are_counted_in_the_run(session: ig.Session) -> None:
    one = numbered(session, 30).semantic.extract("x", Third).group_by("third").agg(pl.col("x").max())
    joined = one.semantic.join(numbered(session, 5, "y"), SENTENCE, how="left", max_pairs=15)
    assert "every pair: counted when it runs" in joined.explain()
    assert joined.run().usage.by_operator.filter(operator="join")["rows"].item() == 15
    with pytest.raises(ig.PlanError, match="more than max_pairs=14"):
        one.semantic.join(numbered(session, 5, "y"), SENTENCE, max_pairs=14).run()


KINDS = ["plain", "extracted", "filtered left", "filtered right", "decided by an answer", "joined before"]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stored", [False, True], ids=["nothing stored", "sides stored"])
def test_a_run_stays_within_its_estimate(session: ig.Session, how: How, kind: str, stored: bool) -> None:
    one, other = numbered(session, 12), numbered(session, 8, "y").rename({"g": "h"})
    candidates = None
    if kind in ("extracted", "decided by an answer"):
        one = one.semantic.extract("x", Third)
        candidates = pl.col("third") == pl.col("h") if kind == "decided by an answer" else None
    elif kind == "filtered left":
        one = one.semantic.filter("{{ x }} is even")
    elif kind == "filtered right":
        other = other.semantic.filter("{{ y }} is even")
    elif kind == "joined before":
        one = one.semantic.join(numbered(session, 3, "z"), "{{ left.x }} is like {{ right.z }}", how="semi")
    if stored:
        one.run()
        other.run()
    joined = one.semantic.join(other, SENTENCE, how=how, candidates=candidates)
    reads = "{{ x }} and {{ y }}" if how in ("inner", "left") else "{{ x }}"
    whole = joined.semantic.filter(f"What of {reads}?", name="after")
    foretold = {one.operator: one for one in whole.estimate().operators}
    used = whole.run().usage.by_operator
    for row in used.iter_rows(named=True):
        told = foretold[row["operator"]]
        assert told.rows_low <= row["rows"] <= told.rows_high, row["operator"]
        assert told.calls_low <= row["calls"] <= told.calls_high, row["operator"]
        if stored and row["operator"] == "join" and kind != "joined before":
            assert told.calls_low == told.calls_high == row["calls"]
    again = whole.estimate()
    assert (again.calls_low, again.calls, again.calls_high) == (0, 0, 0)
