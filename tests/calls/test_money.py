"""What a budget lets through before anybody knows how long answers are."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.calls import Budget, Outcome, Scope
from infergraph.calls.lengths import Lengths
from infergraph.errors import ConfigurationError
from infergraph.models.model import Model, Price, Request, Response, Tokens
from infergraph.models.scripted import script

ONE = 5_000_000  # nano-dollars for an answer of 5,000 tokens at one dollar per million
PRICE = Price(input=0, output=1)
TEXTS = [str(number) for number in range(100)]


class Writer:
    """Answers with so many tokens, and notes how many it wrote at once."""

    def __init__(self, tokens: int = 5000) -> None:
        self.tokens = tokens
        self.now = self.asked = 0
        self.together: list[int] = []

    async def __call__(self, request: Request) -> Response:
        self.asked += 1
        self.now += 1
        self.together.append(self.now)
        await asyncio.sleep(0.005)
        self.now -= 1
        return Response(text="1", tokens=Tokens(output=self.tokens))


def sources(outcomes: Sequence[Outcome]) -> Counter[str]:
    return Counter(outcome.source for outcome in outcomes)


def test_the_first_wave_does_not_overspend_a_budget(make_world: Any) -> None:
    """Sixty-four requests at once, each thought to be cheap, once spent sixteen times the budget."""
    world, writer = make_world(m=Model("scripted:m", max_concurrency=64, price=PRICE)), Writer()
    budget = Budget(4 * ONE)
    with script("m", writer):
        outcomes = world.run(*TEXTS, budget=budget)
    assert writer.together[0] == 1
    assert 3 * ONE <= budget.spent_nano_usd <= 4 * ONE
    assert sources(outcomes)["pending"] == 100 - writer.asked


def test_answers_without_a_count_of_tokens_cost_an_unknown_amount_and_use_up_the_budget(make_world: Any) -> None:
    model = Model("scripted:m", max_concurrency=4, max_output_tokens=5000, price=PRICE)
    world, writer = make_world(m=model), Writer(tokens=0)
    with script("m", writer):
        outcomes = world.run(*TEXTS, budget=Budget(10 * ONE))
    assert writer.asked == 10
    assert sources(outcomes) == {"call": 10, "pending": 90}
    assert {outcome.spent.cost_nano_usd for outcome in outcomes if outcome.source == "call"} == {None}


def test_a_known_length_opens_the_gate(make_world: Any) -> None:
    world, writer = make_world(m=Model("scripted:m", max_concurrency=64, price=PRICE)), Writer()
    with script("m", writer):
        outcomes = world.run(*TEXTS, budget=Budget(1000 * ONE))
    assert sources(outcomes) == {"call": 100}
    assert max(writer.together) > 16  # it doubles with every round
    assert writer.together[0] == 1


def test_what_the_store_learned_holds_for_the_next_session(make_world: Any) -> None:
    world, writer = make_world(m=Model("scripted:m", max_concurrency=64, price=PRICE)), Writer()
    with script("m", writer):
        world.run("before")
        world.store.writer.flush()
        budget = Budget(4 * ONE)
        later = make_world(m=Model("scripted:m", max_concurrency=64, price=PRICE))
        writer.together.clear()
        outcomes = later.run(*TEXTS, budget=budget)
    assert writer.together[:3] == [1, 2, 3]
    assert 3 * ONE <= budget.spent_nano_usd <= 4 * ONE
    assert sources(outcomes) == {"call": 3, "pending": 97}


def test_what_another_operator_got_says_nothing_about_this_one(make_world: Any) -> None:
    world = make_world(m=Model("scripted:m", max_concurrency=64, price=PRICE))
    with script("m", Writer(tokens=5)):
        world.run(*TEXTS[:20], scope=Scope(run_id="r", operator="classify"), budget=Budget(ONE))
    writer, budget = Writer(), Budget(4 * ONE)
    with script("m", writer):
        world.run(*TEXTS[20:], scope=Scope(run_id="r", operator="map"), budget=budget)
    assert budget.spent_nano_usd <= 4 * ONE


@pytest.mark.parametrize("where", ["model", "request"])
def test_a_stated_bound_is_what_is_set_aside(make_world: Any, where: str) -> None:
    room = 5000
    world = make_world(
        m=Model("scripted:m", max_concurrency=64, price=PRICE, max_output_tokens=room if where == "model" else None)
    )
    asks = world.asks(TEXTS)
    if where == "request":
        asks = [type(ask)(ask.hash, Request(messages=ask.request.messages, max_output_tokens=room), ask.judge)
                for ask in asks]  # fmt: skip
    writer, budget = Writer(), Budget(10 * ONE)
    with script("m", writer):
        future = world.engine.submit(asks, model="m", scope=Scope(run_id="r", operator="map"), budget=budget)
        outcomes = future.result(30)
    assert sources(outcomes) == {"call": 10, "pending": 90}
    assert max(writer.together) == 10
    assert budget.spent_nano_usd == 10 * ONE


def test_more_room_that_is_not_affordable_leaves_the_row_pending(make_world: Any) -> None:
    world = make_world(m=Model("scripted:m", price=PRICE, max_output_tokens=100))
    cut = Response(text="1", finish="length", tokens=Tokens(output=100))
    budget = Budget(150_000)  # 100 tokens are 100,000
    with script("m", [cut]) as asked:
        (outcome,) = world.run("a", budget=budget)
    assert (outcome.source, outcome.rejected, outcome.spent.cost_nano_usd) == ("pending", None, 100_000)
    assert len(asked.requests) == 1
    with script("m", ["7"]):
        assert world.run("a")[0].value == 7


def test_answers_that_cost_nothing_are_not_held_back(make_world: Any) -> None:
    world, writer = make_world(m=Model("scripted:m", max_concurrency=64)), Writer()
    with script("m", writer):
        world.run(*TEXTS, budget=Budget(0))
    assert max(writer.together) == 64


def test_a_server_that_counts_no_tokens_holds_nobody_back(make_world: Any) -> None:
    world = make_world(m=Model("scripted:m", max_concurrency=64, price=PRICE))
    most = now = 0

    async def answer(request: Request) -> Response:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.005)
        now -= 1
        return Response(text="1234567890")

    with script("m", answer):
        assert sources(world.run(*TEXTS, budget=Budget(ONE))) == {"call": 100}
    assert most > 16


@pytest.mark.parametrize("amount", [-1, 1.5, float("nan"), float("inf"), "5", None, True])
def test_a_budget_is_a_whole_number_of_nano_dollars(amount: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Budget\(.*\): .*a dollar is 1_000_000_000"):
        Budget(amount)


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=60), st.none() | st.floats(1, 10_000))
def test_what_is_in_flight_is_bounded_by_what_was_seen(lengths: list[int], seed: float | None) -> None:
    known, asker, flying = Lengths(), ("asset", "map"), 0
    if seed is not None:
        known.seed(asker, seed)
    dice = random.Random(0)
    for seen, tokens in enumerate(lengths):
        while known.may_go(asker):
            known.enter(asker)
            flying += 1
        assert flying == seen + (1 if seed is None else 8)
        known.leave(asker)
        flying -= 1
        known.learn(asker, tokens)
        mean = known.usual(asker)
        assert mean is not None
        assert min(lengths) - 1e-6 <= mean <= max(lengths) + 1e-6  # a first guess is forgotten at once
        assert (known.reserve(asker) or 0) >= mean
        known.seed(asker, dice.random())  # comes too late to count
        assert known.usual(asker) == mean
