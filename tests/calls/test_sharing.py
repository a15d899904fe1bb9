"""Two engines on one store, as two processes have them: they share limits, money and the work itself."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infergraph.calls import Budget, CancelToken, Engine, Outcome, Policy
from infergraph.calls.budget import Spending
from infergraph.models.model import CallFailed, Model, Price, Request, Response, Tokens
from infergraph.models.scripted import script

TEXTS = [str(number) for number in range(40)]
Twins = Callable[..., list[Any]]


@pytest.fixture
def twins(make_world: Any) -> Twins:
    """Two worlds with a store each, both on one file."""
    made: list[Any] = []

    def make(spending: Spending | None = None, **models: Model) -> list[Any]:
        for _ in range(2):
            world = make_world(**models)
            if spending is not None:
                world.engine.close()
                world.engine = Engine(world.models, world.store, first_backoff_s=0.01, spending=spending)
            made.append(world)
        return made

    return make


class SlowModel:
    """Answers after a while, and notes what was asked, when, and how many at once."""

    def __init__(self, seconds: float = 0.02, tokens: int = 0) -> None:
        self.seconds, self.tokens = seconds, tokens
        self.asked: Counter[str] = Counter()
        self.at: list[float] = []
        self.now = self.most = 0

    async def __call__(self, request: Request) -> Response:
        self.asked[request.messages[-1].content] += 1
        self.at.append(time.monotonic())
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.now -= 1
        return Response(text="1", tokens=Tokens(output=self.tokens))


def both(worlds: list[Any], *, timeout: float = 30, **how: Any) -> list[list[Outcome]]:
    futures = [world.submit(TEXTS, **how) for world in worlds]
    return [future.result(timeout) for future in futures]


def sources(outcomes: list[Outcome]) -> Counter[str]:
    return Counter(outcome.source for outcome in outcomes)


# -- the same question ----------------------------------------------------------------------------------------


def test_what_both_ask_at_once_is_paid_once(twins: Twins) -> None:
    worlds, model = twins(), SlowModel(seconds=0.2)
    with script("m", model):
        one, other = both(worlds)
    assert set(model.asked.values()) == {1}
    assert sources(one) + sources(other) == Counter(call=40, store=40)
    assert [outcome.value for outcome in one] == [outcome.value for outcome in other] == [1] * 40


def test_who_asks_for_a_fresh_answer_takes_the_one_that_another_just_got(twins: Twins) -> None:
    worlds, model = twins(), SlowModel(seconds=0.2)
    with script("m", model):
        worlds[0].run(*TEXTS)
        since = time.time()
        both(worlds, policy=Policy(refresh=True, since=since))
    assert set(model.asked.values()) == {2}


def test_when_the_other_gives_up_the_question_is_asked(twins: Twins) -> None:
    worlds, model = twins(), SlowModel(seconds=30)
    with script("m", model):
        token = CancelToken()
        given_up = worlds[0].submit(TEXTS, cancel=token)
        while len(model.asked) < 40:
            time.sleep(0.01)
        waiting = worlds[1].submit(TEXTS)
        time.sleep(0.5)
        assert sum(model.asked.values()) == 40
        model.seconds = 0
        token.cancel()
        assert given_up.exception(5) is not None
        assert sources(waiting.result(10)) == {"call": 40}


KILLED = """
import sys
from pathlib import Path
from infergraph.calls import Ask, Engine, Scope
from infergraph.models.model import Message, Model, Request
from infergraph.models.scripted import script
from infergraph.models.verdict import Accepted
from infergraph.store import Store, request_hash
import asyncio

async def hang(request):
    print("sent", flush=True)
    await asyncio.sleep(600)

store = Store.open("sqlite:///state.db", root=Path(sys.argv[1]))
model = Model("scripted:m", max_concurrency=4)
engine = Engine({"m": model}, store)
requests = [Request(messages=(Message("system", "Answer with a number."), Message("user", str(n)))) for n in range(40)]
asks = [Ask(request_hash(model, each), each, lambda response: Accepted(1)) for each in requests]
with script("m", hang):
    engine.submit(asks, model="m", scope=Scope(run_id="r", operator="o")).result()
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="a dead process is seen at once only where /proc is")
def test_what_a_killed_process_was_asking_and_its_slots_are_soon_free(tmp_path: Path, make_world: Any) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(4):
        assert process.stdout.readline() == "sent\n"
    world = make_world(m=Model("scripted:m", max_concurrency=4))
    with script("m", SlowModel(seconds=0)):
        waiting = world.submit(TEXTS)
        time.sleep(1.5)
        assert not waiting.done()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert sources(waiting.result(10)) == {"call": 40}


# -- limits ---------------------------------------------------------------------------------------------------


def test_slots_are_shared_and_both_get_some(twins: Twins) -> None:
    worlds, model = twins(m=Model("scripted:m", max_concurrency=6)), SlowModel(seconds=0.1)
    first = [str(number) for number in range(100)]
    second = [str(number) for number in range(100, 200)]
    with script("m", model):
        futures = [world.submit(texts) for world, texts in zip(worlds, (first, second), strict=True)]
        while not all(future.done() for future in futures):
            time.sleep(0.01)
    assert model.most == 6
    half = list(model.asked)[:130]
    assert min(sum(text in texts for text in half) for texts in (first, second)) >= 20


def test_a_rate_is_shared(twins: Twins) -> None:
    worlds, model = twins(m=Model("scripted:m", requests_per_minute=1200)), SlowModel(seconds=0)
    with script("m", model):
        one = worlds[0].submit([f"a{number}" for number in range(20)])
        other = worlds[1].submit([f"b{number}" for number in range(20)])
        one.result(20)
        other.result(20)
    model.at.sort()
    for start in range(40):
        within = sum(model.at[start] <= at < model.at[start] + 1 for at in model.at)
        assert within <= 20 + 20
    assert model.at[-1] - model.at[0] >= 40 / 20 - 1


def test_a_429_of_one_slows_the_other(twins: Twins) -> None:
    worlds = twins(m=Model("scripted:m", max_concurrency=2, requests_per_minute=6000))
    refused_at: list[float] = []
    at: list[tuple[str, float]] = []

    async def answer(request: Request) -> str:
        text = request.messages[-1].content
        at.append((text[0], time.monotonic()))
        if text == "a0" and not refused_at:
            refused_at.append(time.monotonic())
            raise CallFailed("slow down", outcome="transient", status=429, retry_after_s=1.5)
        await asyncio.sleep(0.01)
        return "1"

    with script("m", answer):
        slow = worlds[1].submit([f"b{number}" for number in range(400)])
        while len(at) < 20:
            time.sleep(0.01)
        assert sources(worlds[0].run("a0")) == {"call": 1}
        slow.result(30)
    paused = [when for who, when in at if who == "b" and refused_at[0] + 0.7 < when < refused_at[0] + 1.45]
    assert paused == []


def test_limits_that_a_server_states_are_learned(make_world: Any) -> None:
    world, model = make_world(), SlowModel(seconds=0)

    async def answer(request: Request) -> Response:
        reply = await model(request)
        headers = {"x-ratelimit-limit-requests": "600", "x-ratelimit-remaining-requests": "599"}
        return Response(text=reply.text, headers={**headers, "x-ratelimit-reset-requests": "100ms"})

    with script("m", answer):
        world.run("first")
        begun = time.monotonic()
        world.run(*TEXTS)
    assert time.monotonic() - begun > 40 / 10 - 1


# -- money ----------------------------------------------------------------------------------------------------

ONE = 1_000_000_000
PRICED = Model("scripted:m", max_concurrency=8, max_output_tokens=1000, price=Price(input=0, output=1_000_000))


def test_processes_never_spend_more_than_the_deployments_day(twins: Twins) -> None:
    """Every answer costs a thousand dollars, and the day has ten thousand."""
    worlds, model = twins(Spending(per_day=10_500 * ONE), m=PRICED), SlowModel(tokens=1000)
    with script("m", model):
        first = worlds[0].submit([f"a{number}" for number in range(20)])
        other = worlds[1].submit([f"b{number}" for number in range(20)])
        together = sources(first.result(30)) + sources(other.result(30))
    assert together == {"call": 10, "pending": 30}
    assert sum(model.asked.values()) == 10
    today = time.strftime("%Y-%m-%d", time.gmtime())
    assert worlds[0].store.spent_in(today) == 10_000 * ONE


def test_a_cheap_answer_leaves_money_for_others(twins: Twins) -> None:
    worlds, model = twins(Spending(per_month=3_500 * ONE), m=PRICED), SlowModel(tokens=100)
    with script("m", model):
        assert sources(worlds[0].run(*TEXTS)) in ({"call": count, "pending": 40 - count} for count in range(25, 27))
        assert sources(worlds[1].run("another")) == {"pending": 1}


def test_the_runs_own_budget_ends_only_that_run(twins: Twins) -> None:
    worlds, model = twins(Spending(per_day=100_000 * ONE), m=PRICED), SlowModel(tokens=1000)
    with script("m", model):
        assert sources(worlds[0].run(*TEXTS, budget=Budget(3_000 * ONE))) == {"call": 3, "pending": 37}
        assert sources(worlds[0].run(*TEXTS)) == {"store": 3, "call": 37}


def test_a_new_day_goes_on_from_there(twins: Twins) -> None:
    worlds, model = twins(Spending(per_day=2_000 * ONE), m=PRICED), SlowModel(tokens=1000)
    with script("m", model):
        assert sources(worlds[0].run(*TEXTS[:5])) == {"call": 2, "pending": 3}
        assert sources(worlds[1].run(*TEXTS[:5])) == {"store": 2, "pending": 3}
        with sqlite3.connect(worlds[0].folder / "state.db") as raw:
            raw.execute("UPDATE spending SET day = '2001-01-01'")
        raw.close()
        time.sleep(5)  # so long nobody looks again
        assert sources(worlds[1].run(*TEXTS[:5])) == {"store": 2, "call": 2, "pending": 1}


# -- refusals -------------------------------------------------------------------------------------------------


def test_a_refusal_goes_to_the_fallback_and_is_remembered_as_its_answer(make_world: Any) -> None:
    world = make_world(main=Model("scripted:main", fallback="spare"), spare=Model("scripted:spare"))
    with script("main", lambda request: "no" if request.messages[-1].content == "b" else "1"), script("spare", ["2"]):
        outcomes = world.run("a", "b", "c", model="main")
        assert [(outcome.value, outcome.via) for outcome in outcomes] == [
            (1, "direct"), (2, "fallback:spare"), (1, "direct"),
        ]  # fmt: skip
        assert [outcome.source for outcome in world.run("a", "b", model="main")] == ["store", "store"]
    assert [(each.model, each.outcome) for each in world.attempts("b", "main")] == [
        ("scripted:main", "rejected"), ("scripted:spare", "done"),
    ]  # fmt: skip


def test_when_all_refuse_the_row_is_rejected(make_world: Any) -> None:
    world = make_world(main=Model("scripted:main", fallback="spare"), spare=Model("scripted:spare"))
    refused = CallFailed("filtered", outcome="permanent", reason="content_filtered", status=400)
    with script("main", [refused]), script("spare", ["no"]):
        outcome = world.run("a", model="main")[0]
    assert (outcome.rejected, outcome.via, outcome.attempts) == ("refused", "fallback:spare", 2)
    assert outcome.spent.attempts == 2
