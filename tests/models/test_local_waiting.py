"""Waiting for the embedded model's server: as long as it works, no longer; and it stops when nobody waits."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from infergraph.models.local import LocalProvider
from infergraph.models.local_process import DIR_VARIABLE, IDLE_VARIABLE, ServerPlan, server_url, stop_server
from infergraph.models.local_server import work_done
from infergraph.models.local_waiting import BrokenOff, NothingDone, while_at_work, whole_answer
from infergraph.models.model import AnswerSchema, CallFailed, Message, Model, Request, UsualSeconds

MODEL = Model("local:smollm2-135m")
SHORT = Request(messages=(Message("user", "Say hello."),), max_output_tokens=4)


def numbers(many: int) -> Request:
    """A request whose answer has two tokens for each number."""
    schema = {"type": "array", "items": {"type": "integer", "maximum": 9}, "minItems": many, "maxItems": many}
    return Request(
        messages=(Message("user", "Count."),), schema=AnswerSchema.of("numbers", schema), max_output_tokens=1600
    )


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerPlan]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(DIR_VARIABLE, str(tmp_path_factory.mktemp("servers")))
        patch.setenv(IDLE_VARIABLE, "60")
        plan = LocalProvider(MODEL).server_plan()
        yield plan
        stop_server(plan)


class Server:
    """One that computes so many times that it is looked at."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.left = False

    async def is_at_work(self) -> bool:
        self.times -= 1
        return self.times >= 0

    async def answer(self) -> str:
        try:
            while self.times > 0:
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.left = True
            raise
        return "at last"

    async def silence(self) -> str:
        try:
            return await asyncio.Future()
        except asyncio.CancelledError:
            self.left = True
            raise


def test_an_answer_is_waited_for_as_long_as_the_server_works() -> None:
    server = Server(50)
    asked = while_at_work(server.answer(), server.is_at_work, patience_s=0.002, look_every_s=0.001)
    assert asyncio.run(asked) == "at last"


def test_a_server_that_does_nothing_is_given_up_and_told() -> None:
    server = Server(2)
    asked = while_at_work(server.silence(), server.is_at_work, patience_s=0.01, look_every_s=0.001)
    with pytest.raises(NothingDone):
        asyncio.run(asked)
    assert server.left


def test_what_goes_wrong_while_asking_is_not_kept_back() -> None:
    async def broken() -> str:
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        asyncio.run(while_at_work(broken(), Server(5).is_at_work, patience_s=1))


def read(*events: object) -> dict[str, object]:
    async def lines() -> AsyncIterator[bytes]:
        for event in events:
            yield event if isinstance(event, bytes) else b"data: " + json.dumps(event).encode()
            yield b"\n"

    return asyncio.run(whole_answer(lines()))


def part(content: str | None, finish: str | None = None) -> dict[str, object]:
    return {"model": "m", "choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish}]}


USAGE = {"model": "m", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}


def test_an_answer_in_parts_is_put_together() -> None:
    whole = read(part(None), part("Good "), b": ping", part("day"), part(None, "length"), USAGE, b"data: [DONE]")
    assert whole == {**USAGE, "choices": [{"message": {"content": "Good day"}, "finish_reason": "length"}]}


@pytest.mark.parametrize("events", [(), (part("Go"),), (part("Good"), part(None, "stop")), (part("Good"), USAGE)])
def test_an_answer_without_its_end_is_none(events: tuple[object, ...]) -> None:
    with pytest.raises(BrokenOff):
        read(*events)


@pytest.mark.parametrize("event", [{"error": {"message": "full"}}, b'error: {"message": "full"}'])
def test_an_error_in_the_middle_is_told(event: object) -> None:
    assert read(part("Go"), event) == {"error": {"message": "full"}}


def test_the_server_stops_computing_for_who_has_left(plan: ServerPlan) -> None:
    provider, url = LocalProvider(MODEL), server_url(plan)
    before, _ = work_done(url)

    async def ask_and_leave() -> None:
        asked = asyncio.ensure_future(provider.send(numbers(400)))
        while not (await asyncio.to_thread(work_done, url))[1]:
            await asyncio.sleep(0.01)
        asked.cancel()
        await asyncio.wait({asked})
        while (await asyncio.to_thread(work_done, url))[1]:
            await asyncio.sleep(0.01)
        await provider.close()

    asyncio.run(ask_and_leave())
    # Computed to its end, it would have 800 tokens at the least.
    assert work_done(url)[0] - before < 600


def test_waiting_for_others_does_not_end_a_request(plan: ServerPlan) -> None:
    provider = LocalProvider(replace(MODEL, timeout_s=UsualSeconds(1)))

    async def ask() -> list[object]:
        try:
            return list(await asyncio.gather(*map(provider.send, [numbers(40)] * 5), return_exceptions=True))
        finally:
            await provider.close()

    # The fifth waits for one of the four slots, and each of them takes a second, as a rule.
    assert [getattr(answer, "finish", answer) for answer in asyncio.run(ask())] == ["stop"] * 5


def asked_of_a_stopped_server(plan: ServerPlan, model: Model) -> CallFailed:
    server_url(plan)
    pid = int(json.loads(plan.base().with_suffix(".json").read_text())["pid"])
    provider = LocalProvider(model)

    async def ask() -> None:
        try:
            await provider.send(SHORT)
        finally:
            await provider.close()

    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(CallFailed) as failed:
            asyncio.run(ask())
    finally:
        os.kill(pid, signal.SIGCONT)
    return failed.value


@pytest.mark.parametrize(
    ("seconds", "says"), [(UsualSeconds(1), "did nothing for 1 s"), (0.2, "did not answer within 0.2 s")]
)
def test_a_server_that_stands_still_is_given_up(plan: ServerPlan, seconds: float, says: str) -> None:
    failed = asked_of_a_stopped_server(plan, replace(MODEL, timeout_s=seconds))
    assert (failed.outcome, failed.reason) == ("transient", "timeout")
    assert says in failed.message


def test_only_a_timeout_that_somebody_chose_is_kept_by_the_clock() -> None:
    copies = [MODEL, replace(MODEL, temperature=0), pickle.loads(pickle.dumps(MODEL))]
    assert [(model.timeout_s, model.timeout_is_chosen) for model in copies] == [(120, False)] * 3
    assert [LocalProvider(model).capabilities.minds_time for model in copies] == [True] * 3
    chosen = replace(MODEL, timeout_s=120)
    assert chosen == MODEL
    assert chosen.timeout_is_chosen
    assert not LocalProvider(chosen).capabilities.minds_time
