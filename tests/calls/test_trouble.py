"""What the engine does when answers are wrong, late or missing."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from infergraph.calls import Budget, CancelToken, Ledger, Outcome, Scope
from infergraph.errors import ConfigurationError, ProviderDown, ProviderRefused, RunCancelled, StoreError
from infergraph.models.model import CallFailed, Message, Model, Price, Request, Response, Tokens
from infergraph.models.scripted import script
from infergraph.models.verdict import Verdict
from infergraph.store import request_hash


def of(outcomes: Sequence[Outcome], field: str) -> list[Any]:
    return [getattr(outcome, field) for outcome in outcomes]


def passing(message: str = "busy", status: int | None = 503, **more: Any) -> CallFailed:
    return CallFailed(message, outcome="transient", status=status, **more)


def question(request: Request) -> str:
    return request.messages[min(1, len(request.messages) - 1)].content


# -- repair ---------------------------------------------------------------------------------------------------


def test_a_wrong_answer_is_sent_back_with_its_error(world: Any) -> None:
    with script("m", ["seven", "7"]) as asked:
        (outcome,) = world.run("a")
    assert (outcome.value, outcome.via, outcome.attempts) == (7, "repair", 2)
    repair = asked.requests[1].messages
    assert [(message.role, message.content) for message in repair[2:]] == [
        ("assistant", "seven"),
        ("user", "'seven' is no number."),
    ]
    first, second = world.attempts("a")
    assert (first.outcome, first.message) == ("repair", "'seven' is no number.")
    assert (second.outcome, second.via) == ("done", "repair")
    assert second.messages == repair
    assert second.request_hash != first.request_hash == second.row_hash


def test_repairs_are_bounded_and_the_rejection_is_remembered(world: Any) -> None:
    with script("m", ["x", "y", "z", "1"]) as asked:
        (outcome,) = world.run("a")
        assert (outcome.rejected, outcome.attempts, outcome.response_text) == ("invalid_output", 3, "z")
        assert outcome.message == "'z' is no number."
        assert world.run("a")[0].source == "rejected_before"
    assert len(asked.requests) == 3


def test_a_truncated_answer_gets_more_room(make_world: Any) -> None:
    world = make_world(m=Model("scripted:m", max_output_tokens=100))
    cut = Response(text="1", finish="length", tokens=Tokens(output=100))
    cut_again = Response(text="12", finish="length", tokens=Tokens(output=200))
    with script("m", [cut, cut_again, "123"]) as asked:
        (outcome,) = world.run("a")
    assert (outcome.value, outcome.via) == (123, "more_room")
    assert [request.max_output_tokens for request in asked.requests] == [None, 200, 400]
    assert len({request.messages for request in asked.requests}) == 1


def test_an_answer_that_stays_truncated_is_rejected_as_such(world: Any) -> None:
    with script("m", lambda request: Response(text="1", finish="length", tokens=Tokens(output=50))):
        assert of(world.run("a"), "rejected") == ["truncated"]


# -- failures that may pass -----------------------------------------------------------------------------------


def test_a_failure_that_passes_costs_nobody_anything(world: Any) -> None:
    with script("m", [passing(), passing("reset", None), "1"]):
        (outcome,) = world.run("a")
    assert (outcome.value, outcome.attempts, outcome.via, outcome.spent.cost_nano_usd) == (1, 3, "direct", 0)
    assert [attempt.outcome for attempt in world.attempts("a")] == ["transient", "transient", "done"]


def test_retry_after_is_obeyed_by_all(world: Any) -> None:
    times: list[float] = []

    def answer(request: Request) -> Any:
        times.append(time.monotonic())
        if len(times) == 1:
            return passing("slow down", 429, retry_after_s=0.4)
        return "1"

    with script("m", answer):
        first = world.submit(["a"])
        while not times:
            time.sleep(0.001)
        time.sleep(0.05)
        second = world.submit(["b"])
        assert of(first.result(10) + second.result(10), "value") == [1, 1]
    assert times[1] - times[0] >= 0.4
    assert times[2] - times[0] >= 0.4


def test_attempts_are_bounded_and_giving_up_is_not_remembered(world: Any) -> None:
    with script("m", lambda request: passing() if question(request) == "a" else "yes") as asked:
        (outcome,) = world.run("a", max_attempts=3)
    # Nothing else had succeeded, so before it is given up the model is asked whether it is there.
    assert [question(request) for request in asked.requests] == ["a", "a", "a", "Say yes.", "a"]
    assert (outcome.rejected, outcome.attempts) == ("timeout", 4)
    assert "after 4 attempts" in outcome.message
    assert "busy" in outcome.message
    with script("m", ["1"]):
        (again,) = world.run("a")
    assert (again.value, again.source) == (1, "call")


def test_a_hanging_request_is_given_up(make_world: Any) -> None:
    world = make_world(m=Model("scripted:m", timeout_s=0.05))

    async def hang(request: Request) -> str:
        if question(request) == "a":
            await asyncio.sleep(60)
        return "1"

    with script("m", hang):
        (outcome,) = world.run("a", max_attempts=2)
    assert outcome.rejected == "timeout"
    assert "0.05 seconds" in outcome.message
    assert {attempt.cost_nano_usd for attempt in world.attempts("a")} == {None}


@pytest.mark.parametrize("bad_first", [True, False])
def test_many_rows_that_always_fail_are_no_outage(make_world: Any, bad_first: bool) -> None:
    world = make_world(m=Model("scripted:m", max_concurrency=8))
    bad, good = [f"bad {number}" for number in range(12)], [str(number) for number in range(30)]
    with script("m", lambda request: passing() if question(request).startswith("bad") else "1"):
        outcomes = world.run(*(bad + good if bad_first else good + bad), max_outage_s=20)
        assert sum(outcome.value == 1 for outcome in outcomes) == 30
        assert sum(outcome.rejected == "timeout" for outcome in outcomes) == 12
        again = world.run(*bad, max_outage_s=20)
    assert of(again, "rejected") == ["timeout"] * 12
    world.store.writer.flush()
    spent = {row.model: row.attempts for row in world.store.spent(["model"])}
    assert spent == {"scripted:m": sum(outcome.attempts for outcome in (*outcomes, *again)) + probes(world)}


def test_rows_that_always_fail_are_tried_no_more_often_for_being_many(make_world: Any) -> None:
    world = make_world(m=Model("scripted:m", max_concurrency=100))
    with script("m", lambda request: "yes" if question(request) == "Say yes." else passing()):
        outcomes = world.run(*(f"bad {number}" for number in range(100)), max_attempts=3, max_outage_s=60)
    assert of(outcomes, "rejected") == ["timeout"] * 100
    assert max(outcome.attempts for outcome in outcomes) <= 3 + 2


def test_a_run_that_is_cancelled_while_the_model_is_out_ends_at_once(make_world: Any) -> None:
    world = make_world(m=Model("scripted:m", max_concurrency=20))
    probing, token, ledger = threading.Event(), CancelToken(), Ledger()

    async def answer(request: Request) -> str:
        if question(request) == "Say yes.":
            probing.set()
            await asyncio.sleep(60)
        raise passing()

    with script("m", answer):
        running = world.submit([str(number) for number in range(20)], cancel=token, ledger=ledger)
        assert probing.wait(20)
        token.cancel()
        assert isinstance(running.exception(5), RunCancelled)
        assert ledger.settled(timeout_s=1)


def probes(world: Any) -> int:
    """Attempts that only asked whether the model is there."""
    model = world.models["m"]
    asked = Request(messages=(Message("user", "Say yes."),), max_output_tokens=16)
    return len(world.store.attempts_of(request_hash(model, asked)))


def test_bad_rows_never_cost_others(world: Any) -> None:
    def answer(request: Request) -> Any:
        text = question(request)
        bad = {"bad": CallFailed("no", outcome="permanent"), "busy": passing(), "wrong": "x", "refused": "no"}
        return bad.get(text, str(len(text)))

    texts = ["bad", "aa", "busy", "aaa", "wrong", "aaaa", "refused", "aaaaa"]
    with script("m", answer):
        outcomes = world.run(*texts, max_attempts=2)
    assert of(outcomes, "value") == [None, 2, None, 3, None, 4, None, 5]
    assert of(outcomes, "rejected")[::2] == ["bad_request", "timeout", "invalid_output", "refused"]


def test_many_rows_survive_a_tight_limit(make_world: Any) -> None:
    """A server that takes two at a time refuses most of the first wave; nobody is given up for that."""
    world = make_world(m=Model("scripted:m", max_concurrency=50))
    in_flight = 0

    async def answer(request: Request) -> Any:
        nonlocal in_flight
        if in_flight >= 2:
            return passing("too many requests", 429)
        in_flight += 1
        await asyncio.sleep(0.002)
        in_flight -= 1
        return "1"

    with script("m", answer):
        outcomes = world.run(*(str(number) for number in range(150)), timeout=60)
    assert of(outcomes, "value") == [1] * 150


def test_rows_wait_out_an_outage_without_using_up_their_tries(make_world: Any) -> None:
    world = make_world(m=Model("scripted:m", max_concurrency=20))
    back_at = time.monotonic() + 1.0

    def answer(request: Request) -> Any:
        return "1" if time.monotonic() > back_at else passing()

    with script("m", answer) as asked:
        outcomes = world.run(*(str(number) for number in range(40)), max_attempts=2)
    assert of(outcomes, "value") == [1] * 40
    assert len(asked.requests) < 40 + 60  # while it is out, one request at a time finds out


def test_rows_in_flight_when_an_outage_begins_wait_it_out_too(make_world: Any) -> None:
    world = make_world(m=Model("scripted:m", max_concurrency=20))
    back_at = time.monotonic() + 1.5

    async def answer(request: Request) -> Any:
        early = question(request).isdigit() and int(question(request)) < 14
        await asyncio.sleep(0.1 if early else 0.2)
        return "1" if early or time.monotonic() > back_at else passing()

    with script("m", answer):
        outcomes = world.run(*(str(number) for number in range(20)), max_attempts=2)
    assert of(outcomes, "value") == [1] * 20


def test_an_outage_that_lasts_stops_the_run(make_world: Any) -> None:
    world = make_world(m=Model("scripted:m", max_concurrency=20))
    with script("m", lambda request: "1" if question(request) == "fine" else passing("overloaded")):
        world.run("fine")
        with pytest.raises(ProviderDown, match=r"'m' \(scripted:m\) has been down.*overloaded"):
            world.run(*(str(number) for number in range(40)), max_outage_s=0.5, timeout=60)
    assert world.run("fine")[0].source == "store"


# -- failures that stop a run ---------------------------------------------------------------------------------


def test_a_wrong_key_stops_at_once_and_what_came_back_is_kept(make_world: Any) -> None:
    world = make_world(m=Model("scripted:m", max_concurrency=4, api_key="sk-very-secret-key"))
    cancelled: list[str] = []

    async def answer(request: Request) -> Any:
        text = question(request)
        if text == "0":
            return "1"
        if text == "3":
            await asyncio.sleep(0.1)
            return CallFailed("401: the key sk-very-secret-key is wrong.", outcome="fatal", status=401)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(text)
            raise
        return "1"

    with script("m", answer) as asked:
        with pytest.raises(ProviderRefused) as caught:
            world.run(*(str(number) for number in range(100)), timeout=50)  # the other answers take 60 seconds
        assert str(caught.value) == "401: the key *** is wrong."
        assert len(asked.requests) < 10
        assert world.run("0")[0].source == "store"
    assert sorted(cancelled) == sorted(["1", "2", "4"])
    assert [attempt.outcome for attempt in world.attempts("1")] == ["cancelled"]
    assert [attempt.message for attempt in world.attempts("3")] == ["401: the key *** is wrong."]


def test_a_host_that_is_not_there_stops_within_seconds(make_world: Any) -> None:
    world = make_world(m=Model("scripted:m", max_concurrency=20))
    nobody = passing("connection refused: http://gpu-box:8000", None, unreachable=True)
    with (
        script("m", lambda request: nobody) as asked,
        pytest.raises(ProviderRefused, match=r"'m' \(scripted:m\) cannot be reached: connection refused"),
    ):
        world.run(*(str(number) for number in range(100)), timeout=60)
    assert len(asked.requests) <= 20 + 10


def test_a_host_that_was_there_before_is_waited_for(world: Any) -> None:
    nobody = passing("connection refused", None, unreachable=True)
    with script("m", ["1", nobody, nobody, nobody, nobody, "2"]):
        world.run("a")
        assert of(world.run("b"), "value") == [2]


def test_a_bug_in_a_judge_is_shown_as_it_is(world: Any, numbers: Any) -> None:
    def broken(response: Response) -> Verdict:
        raise ZeroDivisionError("a bug in a validator")

    with pytest.raises(ZeroDivisionError, match="a bug in a validator"):
        world.run("a", judge=broken)
    assert [attempt.response.text for attempt in world.attempts("a")] == ["1"]
    assert of(world.run("a"), "value") == [1]
    with pytest.raises(ZeroDivisionError):
        world.run("a", judge=broken)


def test_a_store_that_fails_fails_the_run(world: Any, numbers: Any) -> None:
    world.run("a")
    world.store._open_engine().dispose()
    (world.folder / "state.db").write_bytes(b"not a database any more " * 500)
    for rest in world.folder.glob("state.db-*"):
        rest.unlink()
    with pytest.raises(StoreError, match=r"state\.db"):
        world.run("a", "b")


# -- cancelling -----------------------------------------------------------------------------------------------


def test_cancelling_stops_sending_and_keeps_what_came_back(make_world: Any) -> None:
    world = make_world(m=Model("scripted:m", max_concurrency=2))
    waiting = threading.Event()

    async def answer(request: Request) -> str:
        if question(request) != "first":
            waiting.set()
            await asyncio.sleep(60)
        return "1"

    token = CancelToken()
    with script("m", answer) as asked:
        future = world.submit(["first", *map(str, range(50))], cancel=token)
        other = world.submit(["7"], model="m")
        assert waiting.wait(10)
        token.cancel()
        with pytest.raises(RunCancelled):
            future.result(5)
        with pytest.raises(RunCancelled):
            world.submit(["later"], cancel=token).result(5)
        assert not other.done()
        assert len(asked.requests) < 10
        assert "later" not in [question(request) for request in asked.requests]
    world.store.writer.flush()
    assert world.run("first")[0].source == "store"


def test_cancelling_one_run_leaves_what_another_waits_for(world: Any) -> None:
    release = threading.Event()

    async def answer(request: Request) -> str:
        while not release.is_set():
            await asyncio.sleep(0.005)
        return "1"

    token = CancelToken()
    with script("m", answer) as asked:
        first = world.submit(["a"], cancel=token)
        second = world.submit(["a"], scope=Scope(run_id="second", operator="extract"))
        while not asked.requests:
            time.sleep(0.001)
        token.cancel()
        with pytest.raises(RunCancelled):
            first.result(5)
        release.set()
        (outcome,) = second.result(10)
    assert (outcome.value, outcome.source, len(asked.requests)) == (1, "call", 1)


def test_closing_ends_everything_that_waits(world: Any) -> None:
    hanging = threading.Event()
    given_up: list[str] = []

    async def hang(request: Request) -> str:
        hanging.set()
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            given_up.append(question(request))
            raise
        return "1"

    with script("m", hang):
        future = world.submit(["a"])
        assert hanging.wait(60)
        world.engine.close()
        assert given_up == ["a"]
    assert future.done()
    with pytest.raises(RunCancelled):
        future.result()


# -- budgets --------------------------------------------------------------------------------------------------


def test_a_budget_ends_and_the_rest_is_pending(make_world: Any) -> None:
    world = make_world(m=Model("scripted:m", max_concurrency=4, price=Price(input=0, output=1), max_output_tokens=10))
    answer = Response(text="1", tokens=Tokens(output=10))  # 10,000 nano-dollars each
    budget = Budget(55_000)
    texts = [str(number) for number in range(20)]
    with script("m", lambda request: answer) as asked:
        outcomes = world.run(*texts, budget=budget)
    assert Counter(of(outcomes, "source")) == {"call": 5, "pending": 15}
    assert len(asked.requests) == 5
    assert (budget.spent_nano_usd, budget.used_up) == (50_000, True)
    with script("m", lambda request: answer) as asked:
        rest = world.run(*texts)
    assert Counter(of(rest, "source")) == {"store": 5, "call": 15}


def test_a_budget_covers_only_those_who_share_it(make_world: Any) -> None:
    world = make_world(m=Model("scripted:m", price=Price(input=0, output=1), max_output_tokens=10))
    with script("m", lambda request: Response(text="1", tokens=Tokens(output=10))):
        poor = world.submit(["a"], budget=Budget(0))
        rich = world.submit(["a"])
        assert of(poor.result(10), "source") == ["pending"]
        assert of(rich.result(10), "value") == [1]


# -- fallbacks ------------------------------------------------------------------------------------------------


def test_a_fallback_takes_over_when_a_model_refuses(make_world: Any) -> None:
    world = make_world(main=Model("scripted:main", fallback="spare"), spare=Model("scripted:spare"))
    refused = CallFailed("the quota is gone", outcome="fatal", status=429)
    with script("main", lambda request: refused) as main, script("spare", lambda request: "2"):
        outcomes = world.run("a", "b", "c", model="main")
        assert of(outcomes, "value") == [2, 2, 2]
        assert of(outcomes, "via") == ["fallback:spare"] * 3
        assert of(outcomes, "model") == ["scripted:spare"] * 3
        asked = len(main.requests)
        world.run("d", model="main")
        assert len(main.requests) == asked  # for a while it is not even tried
        assert of(world.run("a", model="main"), "source") == ["store"]
    assert world.attempts("a", "main")[-1].model == "scripted:spare"


def test_when_the_fallback_refuses_too_the_run_stops(make_world: Any) -> None:
    world = make_world(main=Model("scripted:main", fallback="spare"), spare=Model("scripted:spare"))
    refused = CallFailed("wrong key for spare", outcome="fatal")
    with (
        script("main", lambda request: CallFailed("quota", outcome="fatal")),
        script("spare", lambda request: refused),
        pytest.raises(ProviderRefused, match="wrong key for spare"),
    ):
        world.run("a", model="main")


def test_a_fallback_takes_over_when_a_model_is_down(make_world: Any) -> None:
    world = make_world(main=Model("scripted:main", fallback="spare"), spare=Model("scripted:spare"))
    with script("main", lambda request: passing()), script("spare", lambda request: "2"):
        outcomes = world.run(*map(str, range(20)), model="main", max_outage_s=0.2)
    assert of(outcomes, "via") == ["fallback:spare"] * 20


@pytest.mark.filterwarnings("ignore:.*price")
def test_a_budget_covers_the_price_of_the_fallback_too(make_world: Any) -> None:
    own = Model("openai:own", base_url="http://own-box/v1", api_key=None)
    world = make_world(m=Model("scripted:m", fallback="own"), own=own)
    with pytest.raises(ConfigurationError, match=r"'own' .* no known price"):
        world.run("a", budget=Budget(1))


# -- limits ---------------------------------------------------------------------------------------------------


def test_no_more_are_in_flight_than_the_model_allows(make_world: Any) -> None:
    world = make_world(m=Model("scripted:m", max_concurrency=3))
    now = most = 0

    async def answer(request: Request) -> str:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.005)
        now -= 1
        return "1"

    with script("m", answer):
        world.run(*(str(number) for number in range(30)))
    assert most == 3


def test_requests_a_minute_are_spread(make_world: Any) -> None:
    world = make_world(m=Model("scripted:m", requests_per_minute=1200))
    times: list[float] = []

    def answer(request: Request) -> str:
        times.append(time.monotonic())
        return "1"

    with script("m", answer):
        world.run(*(str(number) for number in range(40)))
    assert times[-1] - times[0] >= 0.9  # 20 at once, the other 20 in a second
    assert times[-1] - times[0] < 20  # ten times as long as it should take
