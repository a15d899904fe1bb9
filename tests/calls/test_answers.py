"""What is asked, what is not asked again, and in what order it comes back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infergraph.calls import Ask, Budget, Engine, Outcome, Policy, Scope
from infergraph.errors import ConfigurationError, UnknownModel
from infergraph.models.model import CallFailed, Capabilities, Message, Model, Price, Request, Response, Tokens
from infergraph.models.scripted import script
from infergraph.models.verdict import Accepted, Rejected, Repair, Verdict
from infergraph.store import Store, request_hash


def of(outcomes: Sequence[Outcome], field: str) -> list[Any]:
    return [getattr(outcome, field) for outcome in outcomes]


def test_every_ask_gets_its_answer(world: Any, numbers: Any) -> None:
    outcomes = world.run("a", "bbb", "cc")
    assert of(outcomes, "value") == [1, 3, 2]
    assert of(outcomes, "source") == ["call"] * 3
    assert of(outcomes, "via") == ["direct"] * 3
    assert of(outcomes, "model") == ["scripted:m"] * 3
    assert of(outcomes, "attempts") == [1, 1, 1]
    assert world.run() == []


def test_a_second_run_makes_no_call(world: Any, make_world: Any, numbers: Any) -> None:
    first = world.run("a", "bbb")
    world.close()
    again = make_world()
    second = again.run("bbb", "a", "new")
    assert len(numbers.requests) == 3
    assert of(second, "value") == [3, 1, 3]
    assert of(second, "source") == ["store", "store", "call"]
    assert second[0].spent.attempts == 0
    assert second[0].attempts == first[1].attempts


def test_what_it_cost_and_what_it_saves(make_world: Any) -> None:
    world = make_world(m=Model("scripted:m", price=Price(input=1, output=2)))
    answer = Response(text="7", tokens=Tokens(input=100, output=10))
    with script("m", [answer]):
        called, shared = world.run("a", "a")
    (stored,) = world.run("a")
    assert (called.spent.cost_nano_usd, called.saved_nano_usd) == (120_000, 0)
    assert called.spent.tokens == Tokens(input=100, output=10)
    assert (shared.source, shared.spent.attempts, shared.spent.cost_nano_usd) == ("shared", 0, 0)
    assert shared.saved_nano_usd == stored.saved_nano_usd == 120_000
    assert (stored.spent.attempts, stored.spent.cost_nano_usd) == (0, 0)


class Fixed:
    """A provider as a third party would write it: always the same answer."""

    def __init__(self, model: Model) -> None:
        self.capabilities = Capabilities()

    def schema_problems(self, schema: Mapping[str, Any]) -> list[str]:
        return []

    def count_tokens(self, text: str) -> tuple[int, bool]:
        return len(text), False

    def check_configuration(self) -> None: ...

    async def open(self) -> None: ...

    async def send(self, request: Request) -> Response:
        return Response(text="1", tokens=Tokens(input=1, output=1))

    async def close(self) -> None: ...


@pytest.mark.filterwarnings("ignore:.*price")
def test_an_unknown_price_is_not_zero(make_world: Any) -> None:
    world = make_world(m=Model("openai:some-model", base_url="http://own-box/v1", api_key=None))
    scope = Scope(run_id="r", operator="o")
    with Engine(world.models, world.store, providers=Fixed) as engine:
        (outcome,) = engine.submit(world.asks(["a"]), model="m", scope=scope).result(10)
        with pytest.raises(ConfigurationError, match="no known price"):
            engine.submit(world.asks(["b"]), model="m", scope=scope, budget=Budget(10**9))
    assert outcome.spent.cost_nano_usd is None


def test_a_remembered_rejection_makes_no_call_until_asked_to(world: Any) -> None:
    with script("m", ["no"]):
        (rejected,) = world.run("a")
        assert (rejected.rejected, rejected.source, rejected.response_text) == ("refused", "call", "no")
        (before,) = world.run("a")
    assert (before.rejected, before.source, before.response_text) == ("refused", "rejected_before", "no")
    assert before.message == rejected.message
    assert before.spent.attempts == 0
    with script("m", ["5"]) as asked:
        (retried,) = world.run("a", retry_rejects=True)
    assert (retried.value, retried.attempts, len(asked.requests)) == (5, 2, 1)
    assert world.run("a")[0].source == "store"


def test_permanent_failures_are_remembered(world: Any) -> None:
    too_long = CallFailed("The text is too long.", outcome="permanent", reason="too_long", status=400)
    with script("m", [too_long, "1"]):
        first = world.run("a")
        second = world.run("a")
    assert of(first + second, "rejected") == ["too_long", "too_long"]
    assert of(first + second, "source") == ["call", "rejected_before"]
    assert first[0].message == "The text is too long."
    (attempt,) = world.attempts("a")
    assert (attempt.outcome, attempt.status, attempt.cost_nano_usd) == ("permanent", 400, 0)


def test_refresh_asks_again_and_replaces(world: Any) -> None:
    with script("m", ["1", "2"]):
        world.run("a")
        assert of(world.run("a", refresh=True), "value") == [2]
    assert of(world.run("a"), "value") == [2]
    assert len(world.attempts("a")) == 2


def test_a_refresh_beside_a_plain_run_still_asks(world: Any) -> None:
    with script("m", ["1"]):
        world.run("a")
    with script("m", ["2"]):
        plain = world.submit(["a"])
        fresh = world.submit(["a"], policy=Policy(refresh=True))
        assert of(plain.result(10), "value") == [1]
        assert of(fresh.result(10), "value") == [2]


def test_too_old_answers_are_asked_again(world: Any) -> None:
    with script("m", ["1", "2"]):
        world.run("a")
        assert of(world.run("a", max_age_s=100), "value") == [1]
        assert of(world.run("a", max_age_s=0), "value") == [2]


def test_duplicates_are_asked_once(world: Any) -> None:
    release = asyncio.Event()

    async def slow(request: Request) -> str:
        await release.wait()
        return "1"

    with script("m", slow) as asked:
        one = world.submit(["a", "a", "b"])
        other = world.submit(["b", "a"], scope=Scope(run_id="another run", operator="extract"))
        while len(asked.requests) < 2:
            pass
        world.engine._running().loop.call_soon_threadsafe(release.set)
        assert of(one.result(10), "source") == ["call", "shared", "call"]
        assert of(other.result(10), "source") == ["shared", "shared"]
        assert len(asked.requests) == 2
    assert [attempt.run_id for attempt in world.attempts("a")] == ["run"]


def test_a_shared_answer_is_judged_by_each_asker(world: Any, numbers: Any) -> None:
    def strict(response: Response) -> Verdict:
        return Accepted("strict") if len(response.text) > 1 else Repair("too short, say more")

    lenient, sceptical = world.asks(["a"]), world.asks(["a"], judge=strict)
    scope = Scope(run_id="run", operator="extract")
    outcomes = world.engine.submit([*lenient, *sceptical], model="m", scope=scope).result(10)
    assert of(outcomes, "value") == [1, "strict"]
    assert outcomes[1].via == "repair"


def test_a_stored_answer_that_fails_now_goes_on_at_the_repair_step(world: Any) -> None:
    with script("m", ["3"]):
        world.run("a")

    def even(response: Response) -> Verdict:
        number = int(response.text)
        return Repair("The number must be even.") if number % 2 else Accepted(number)

    with script("m", ["4"]) as asked:
        (outcome,) = world.run("a", judge=even)
    assert (outcome.value, outcome.via, outcome.attempts, outcome.spent.attempts) == (4, "repair", 2, 1)
    (request,) = asked.requests
    assert [message.content for message in request.messages[2:]] == ["3", "The number must be even."]
    assert world.run("a", judge=even)[0].source == "store"


def test_a_remembered_rejection_that_is_fine_now_is_an_answer(world: Any) -> None:
    with script("m", ["seven"]):
        assert of(world.run("a", max_repairs=0), "rejected") == ["invalid_output"]
    (outcome,) = world.run("a", judge=lambda response: Accepted(response.text))
    assert (outcome.value, outcome.source) == ("seven", "store")
    world.store.writer.flush()
    assert world.store.answers([outcome.hash])[outcome.hash].state == "done"


def test_embeddings_are_kept_as_vectors(world: Any) -> None:
    request = Request(embed_text="hello")
    ask = Ask(request_hash(world.models["m"], request), request, lambda response: Accepted(response.embedding))
    scope = Scope(run_id="run", operator="embed")
    with script("m", [Response(embedding=(0.5, 0.25))]):
        (called,) = world.engine.submit([ask], model="m", scope=scope).result(10)
    (stored,) = world.engine.submit([ask], model="m", scope=scope).result(10)
    assert called.value == stored.value == (0.5, 0.25)
    assert stored.source == "store"


@settings(max_examples=25, deadline=None)
@given(batches=st.lists(st.lists(st.integers(0, 30), max_size=12), min_size=1, max_size=5), data=st.data())
def test_order_is_kept_and_the_books_add_up(
    batches: list[list[int]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever repeats, fails or is slow: outcome i belongs to ask i, and every row is counted once."""
    bad = data.draw(st.sets(st.integers(0, 30)))
    model = Model("scripted:order", max_concurrency=data.draw(st.integers(1, 8)))

    async def answer(request: Request) -> str:
        number = int(request.messages[-1].content)
        await asyncio.sleep((number * 7 % 5) / 2000)
        return "no" if number in bad else str(number)

    def judge(response: Response) -> Verdict:
        return Rejected("refused", "no") if response.text == "no" else Accepted(int(response.text))

    requests = [[Request(messages=(Message("user", str(number)),)) for number in batch] for batch in batches]
    folder: Path = tmp_path_factory.mktemp("order")
    with (
        Store.open("sqlite:///s.db", root=folder) as store,
        Engine({"m": model}, store) as engine,
        script("order", answer) as asked,
    ):
        futures = [
            engine.submit(
                [Ask(request_hash(model, request), request, judge) for request in batch],
                model="m",
                scope=Scope(run_id="r", operator="o"),
            )
            for batch in requests
        ]
        outcomes = [future.result(30) for future in futures]
    for batch, ended in zip(batches, outcomes, strict=True):
        assert of(ended, "value") == [None if number in bad else number for number in batch]
        assert of(ended, "rejected") == ["refused" if number in bad else None for number in batch]
    distinct = {number for batch in batches for number in batch}
    assert len(asked.requests) == len(distinct)
    sources = [source for ended in outcomes for source in of(ended, "source")]
    assert sources.count("call") == len(distinct)


def test_models_and_fallbacks_are_checked(tmp_path: Path, world: Any) -> None:
    with pytest.raises(UnknownModel, match="Did you mean 'm'"):
        world.engine.submit([], model="M", scope=Scope(run_id="r", operator="o"))
    with pytest.raises(UnknownModel, match="fallback='zzz'"):
        Engine({"m": Model("scripted:m", fallback="zzz")}, world.store)
    circle = {"a": Model("scripted:a", fallback="b"), "b": Model("scripted:b", fallback="a")}
    with pytest.raises(ConfigurationError, match="a -> b -> a"):
        Engine(circle, world.store)


def test_a_missing_key_is_said_before_anything_is_sent(make_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    world = make_world(m=Model("openai:gpt-5-mini"))
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        world.run("a")


def test_many_threads_use_one_engine(world: Any, numbers: Any) -> None:
    results: dict[int, list[Outcome]] = {}

    def work(start: int) -> None:
        results[start] = world.run(*("x" * length for length in range(start, start + 50)))

    threads = [threading.Thread(target=work, args=(start,)) for start in range(1, 100, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for start in range(1, 100, 20):
        assert of(results[start], "value") == list(range(start, start + 50))
    assert len(numbers.requests) == 130


def test_outcomes_are_in_the_store_when_they_are_told(world: Any, make_world: Callable[..., Any], numbers: Any) -> None:
    hashes = [outcome.hash for outcome in world.run(*("x" * length for length in range(1, 300)))]
    assert len(make_world().store.answers(hashes)) == 299


class Unopenable(Fixed):
    async def open(self) -> None:
        raise AttributeError("a bug of the provider")


def test_a_provider_that_cannot_be_opened_leaves_nobody_waiting(make_world: Any) -> None:
    world = make_world(m=Model("scripted:m"))
    with Engine(world.models, world.store, providers=Unopenable) as engine:
        for _ in range(2):
            asked = engine.submit(world.asks(["a"]), model="m", scope=Scope(run_id="r", operator="o"))
            assert isinstance(asked.exception(10), AttributeError)
