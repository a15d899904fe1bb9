"""What history tells an estimate: how a provider counts, how long answers are, and what a filter keeps."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import infergraph as ig
from infergraph.frame.estimate_history import History, fitted, wilson
from infergraph.frame.plan import operator_steps as plan_steps
from infergraph.models.model import Request, Response, Tokens
from infergraph.models.prices import UnknownPrice
from infergraph.models.scripted import script

Answer = Callable[[Request], Response]


@pytest.fixture
def session() -> Iterator[ig.Session]:
    models = {"m": ig.Model("scripted:counted", price=ig.Price(input=1, output=4))}
    with ig.Session(models=models, store="sqlite://", progress=False) as made:
        yield made


def docs(session: ig.Session, start: int, stop: int) -> ig.SemanticFrame:
    chance = random.Random(1)
    bodies = [f"{n} " + "word " * chance.randint(1, 60) for n in range(stop)][start:]
    return session.frame(pl.DataFrame({"id": range(start, stop), "body": bodies}), name="docs", key="id")


def counted(slope: float, start: int, output: int = 10) -> Answer:
    """A model that counts tokens in its own way: by characters, and with a preamble of its own."""

    def reply(request: Request) -> Response:
        size = sum(len(message.content) for message in request.messages)
        tokens = Tokens(input=round(slope * size) + start, output=output)
        return Response(text="a word", tokens=tokens)

    return reply


@pytest.mark.parametrize(("slope", "start"), [(0.25, 0), (0.4, 0), (0.2, 300), (0.31, -3)])
def test_another_way_of_counting_is_learned(session: ig.Session, slope: float, start: int) -> None:
    with script("counted", counted(slope, start)):
        docs(session, 0, 100).semantic.map("Shorten {{ body }}", into="t").run()
        new = docs(session, 100, 400).semantic.map("Shorten {{ body }}", into="t")
        told = new.estimate()
        used = new.run().usage
    assert told.input_tokens == pytest.approx(used.input_tokens, rel=0.01)
    assert told.input_tokens_low <= used.input_tokens <= told.input_tokens_high
    assert told.output_tokens == used.output_tokens
    assert told.cost_usd is not None
    assert float(told.cost_usd) == pytest.approx(float(used.cost_usd or 0), rel=0.01)
    assert any("calibrated on 100 past requests" in text for text in told.assumptions)
    assert any("the mean of 100 past answers (10)" in text for text in told.assumptions)


def test_another_operators_schema_is_no_part_of_how_the_provider_counts(session: ig.Session) -> None:
    def with_schema(request: Request) -> Response:
        size = sum(len(message.content) for message in request.messages)
        return Response(text='{"label": "a"}', tokens=Tokens(input=round(0.4 * size) + 400, output=5))

    plan = docs(session, 100, 200).semantic.map("Shorten {{ body }}", into="t")
    nothing_known = plan.estimate()
    with script("counted", with_schema):
        docs(session, 0, 40).semantic.classify("body", ["a", "b"]).run()
    assert plan.estimate().input_tokens == nothing_known.input_tokens, "the tokenizer is public"
    (step,) = plan_steps(plan.node)
    history = History(session.store, "scripted:counted", step, "map", None)
    line = history.line(lambda request: sum(len(message.content) for message in request.messages), others=True)
    assert line is not None
    assert (line.start, round(line.slope, 2)) == (0.0, 0.4)
    assert history.line(lambda request: 100, others=True) is None, "what hardly differs shows no slope"


def test_without_history_it_says_what_is_assumed(session: ig.Session) -> None:
    said = " ".join(docs(session, 0, 5).semantic.map("Shorten {{ body }}", into="t").estimate().assumptions)
    assert "counted with the public tokenizer of 'm'" in said
    assert "assumed 120 output tokens an answer, a third to three times that" in said
    models = {"c": ig.Model("anthropic:claude-haiku-4-5", api_key="none")}
    with ig.Session(models=models, store="sqlite://") as other:
        told = docs(other, 0, 5).semantic.map("Shorten {{ body }}", into="t").estimate()
    assert any("is not at hand; its input tokens are estimated, -15% to +40%" in text for text in told.assumptions)
    assert told.input_tokens_low < told.input_tokens < told.input_tokens_high


def test_a_public_tokenizer_is_exact() -> None:
    with ig.Session(models={"o": ig.Model("openai:gpt-5-mini", api_key="none")}, store="sqlite://") as session:
        told = docs(session, 0, 5).semantic.map("Shorten {{ body }}", into="t").estimate()
    assert told.input_tokens_low == told.input_tokens == told.input_tokens_high


def test_what_was_repaired_costs_more(session: ig.Session) -> None:
    def second_try(request: Request) -> Response:
        wrong = len(request.messages) == 2
        return Response(text="?" if wrong else '{"label": "a"}', tokens=Tokens(input=100 if wrong else 150, output=5))

    with script("counted", second_try):
        docs(session, 0, 20).semantic.classify("body", ["a", "b"]).run()
        told = docs(session, 20, 30).semantic.classify("body", ["a", "b"]).estimate()
    assert (told.calls, told.input_tokens, told.output_tokens) == (10, 2_500, 100)


def even(request: Request) -> Response:
    number = int(request.messages[-1].content.split()[1])
    return Response(text=f'{{"answer": {"true" if number % 4 == 0 else "false"}}}', tokens=Tokens(input=9, output=3))


def test_what_a_filter_keeps_is_learned_from_the_same_sentence(session: ig.Session) -> None:
    def plan(start: int, stop: int, sentence: str) -> ig.SemanticFrame:
        kept = docs(session, start, stop).semantic.filter(sentence)
        return kept.semantic.map("Shorten {{ body }}", into="t")

    with script("counted", even):
        docs(session, 0, 40).semantic.filter("{{ body }} is odd").run()
        below = plan(100, 200, "{{ body }} is odd").estimate().operators[1]
        assert (below.calls_low, below.calls, below.calls_high) == (0, 25, 100)
        told = plan(100, 200, "{{ body }} is late")
        assert told.estimate().operators[1].calls == 50
        assert any("50% of the rows are assumed to pass" in text for text in told.estimate().assumptions)
        twice = (
            plan(100, 200, "{{ body }} is odd").semantic.filter("{{ body }} is late").semantic.map("{{ t }}", into="u")
        )
        assert twice.estimate().operators[3].calls == 12


def test_what_a_cache_read_is_priced_as_such() -> None:
    def cached(request: Request) -> Response:
        return Response(text="a word", tokens=Tokens(input=1_000, cached_input=800, output=10))

    price = ig.Price(input=10, cached_input=1, output=10)
    models = {"m": ig.Model("scripted:counted", price=price)}
    with ig.Session(models=models, store="sqlite://") as session, script("counted", cached):
        docs(session, 0, 20).semantic.map("Shorten {{ body }}", into="t").run()
        new = docs(session, 20, 120).semantic.map("Shorten {{ body }}", into="t")
        told, used = new.estimate(), new.run().usage
    assert told.cost_usd is not None
    assert float(told.cost_usd) == pytest.approx(float(used.cost_usd or 0), rel=0.01)
    assert any("80% of past input tokens came from the provider's cache" in text for text in told.assumptions)


def test_rates_bound_the_time(session: ig.Session) -> None:
    models = {"m": ig.Model("scripted:counted", input_tokens_per_minute=600)}
    with ig.Session(models=models, store="sqlite://") as slow:
        told = docs(slow, 0, 50).semantic.map("Shorten {{ body }}", into="t").estimate()
    assert told.seconds == pytest.approx(told.input_tokens / 10, rel=0.01)


def test_an_unknown_price_names_the_line_that_asked() -> None:
    models = {"m": ig.Model("openai:a-price-nobody-knows", base_url="http://127.0.0.1:9/v1", api_key=None)}
    with ig.Session(models=models, store="sqlite://") as session, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        told = docs(session, 0, 5).semantic.map("Shorten {{ body }}", into="t").estimate()
    (one,) = [warning for warning in caught if warning.category is UnknownPrice]
    assert one.filename == __file__
    assert (told.cost_usd, told.cost_usd_high) == (None, None)
    assert any("the price of openai:a-price-nobody-knows is not known" in text for text in told.assumptions)


@given(
    st.lists(st.integers(1, 5_000), min_size=8, max_size=60),
    st.floats(0.3, 4.0),
    st.floats(-0.5, 800),
    st.integers(1, 5_000),
)
def test_a_straight_line_is_found_again(counts: list[int], slope: float, start: float, new: int) -> None:
    line = fitted([(float(count), slope * count + start) for count in counts])
    assert line is not None
    assert line.at(sum(counts) / len(counts)) == pytest.approx(slope * sum(counts) / len(counts) + start, rel=1e-6)
    if max(counts) > 1.5 * min(counts):
        assert line.at(new) == pytest.approx(max(0.0, slope * new + start), rel=1e-3, abs=1e-3)


@given(st.integers(1, 500), st.data())
def test_a_share_lies_in_its_interval(rows: int, data: st.DataObject) -> None:
    share = wilson(data.draw(st.integers(0, rows)), rows)
    assert 0 <= share.low <= share.value + 1e-9
    assert share.value - 1e-9 <= share.high <= 1


def test_few_past_requests_say_nothing() -> None:
    assert fitted([(1.0, 2.0)] * 7) is None
