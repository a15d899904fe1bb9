"""Limits as the real servers keep them: queues before slots, tokens charged at arrival, statistics, control."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.testing import Limits, SimulatedServer
from infergraph.testing.limits import Meters
from infergraph.testing.slots import Slots

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"


def post(url: str, path: str = CHAT, **more: Any) -> tuple[int, Any, Any]:
    body = {"model": "m", "messages": [{"role": "user", "content": "x" * 40}], **more}
    return send(url + path, body)


def send(url: str, body: Any = None) -> tuple[int, Any, Any]:
    try:
        with urlopen(Request(url, None if body is None else json.dumps(body).encode()), timeout=10) as reply:
            return reply.status, json.load(reply), reply.headers
    except HTTPError as error:
        return error.code, json.load(error), error.headers


def test_requests_beyond_the_slots_wait_in_order() -> None:
    begun: list[str] = []

    def latency(body: Any) -> float:
        begun.append(body["messages"][0]["content"])
        return 0.1

    with (
        SimulatedServer(limits=Limits(slots=2, queue=True), latency_s=latency) as server,
        ThreadPoolExecutor(6) as pool,
    ):
        started = time.monotonic()
        asked = []
        for name in "abcdef":
            asked.append(pool.submit(post, server.url, messages=[{"role": "user", "content": name}]))
            while server.statistics()["in_flight"] < len(asked):
                time.sleep(0.001)
        assert [each.result()[0] for each in asked] == [200] * 6
        seconds = time.monotonic() - started
        told = server.statistics()
    assert begun == list("abcdef")
    assert 0.28 <= seconds < 1.0, "three rounds of 0.1 s"
    assert told["statuses"] == {"200": 6}
    assert told["max_queued"] == 4
    assert told["max_in_flight"] == 6
    assert told["queued"] == told["in_flight"] == 0
    # Two wait one round and two wait two: six rounds of 0.1 s for six requests.
    assert told["mean_wait_s"] == pytest.approx(0.1, abs=0.06)
    assert 0 < told["mean_queued"] < 4


def test_slots_change_while_it_runs() -> None:
    with SimulatedServer(limits=Limits(slots=1, queue=True), latency_s=0.2) as server, ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(post, server.url) for _ in range(8)]
        while server.statistics()["queued"] < 7:
            time.sleep(0.001)
        started = time.monotonic()
        server.set_slots(8)
        assert server.statistics()["queued"] == 0
        assert {each.result()[0] for each in asked} == {200}
        assert time.monotonic() - started < 0.7, "eight at once, not one after the other"
        server.reset_statistics()
        assert server.statistics()["requests"] == server.statistics()["max_queued"] == 0


def test_slots_without_a_queue_change_too() -> None:
    with SimulatedServer(limits=Limits(slots=8), latency_s=0.2) as server, ThreadPoolExecutor(4) as pool:
        server.set_slots(1)
        statuses = sorted(status for status, *_ in pool.map(lambda _: post(server.url), range(4)))
        assert statuses == [200, 429, 429, 429]


def test_a_client_that_hangs_up_leaves_its_place() -> None:
    with SimulatedServer(limits=Limits(slots=1, queue=True), latency_s=0.3) as server, ThreadPoolExecutor(2) as pool:
        first = pool.submit(post, server.url)
        while server.statistics()["in_flight"] < 1:
            time.sleep(0.001)
        gone = socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])))
        gone.sendall(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}")
        while server.statistics()["queued"] < 1:
            time.sleep(0.001)
        gone.close()
        assert first.result()[0] == 200
        assert post(server.url)[0] == 200
        assert server.statistics()["queued"] == server.statistics()["in_flight"] == 0


@given(st.lists(st.tuples(st.sampled_from(["come", "cancel", "leave", "resize"]), st.integers(0, 9)), max_size=60))
def test_slots_are_never_overdrawn_or_lost(moves: list[tuple[str, int]]) -> None:
    async def play() -> None:
        slots = Slots(3)
        tasks: list[asyncio.Task[None]] = []
        inside: list[asyncio.Task[None]] = []
        for move, number in moves:
            if move == "come":
                tasks.append(asyncio.create_task(slots.enter()))
            elif move == "cancel" and tasks:
                tasks[number % len(tasks)].cancel()
            elif move == "leave" and inside:
                inside.pop()
                slots.leave()
            elif move == "resize":
                slots.resize(number + 1)
            # An odd number lets several moves happen before anyone is told.
            if number % 2:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            entered = [task for task in tasks if task.done() and not task.cancelled()]
            inside += entered
            tasks = [task for task in tasks if not task.done()]
        for _ in range(3):
            await asyncio.sleep(0)
        inside += [task for task in tasks if task.done() and not task.cancelled()]
        assert slots.busy == len(inside)
        assert slots.queued == sum(not task.done() for task in tasks)
        assert slots.number is not None
        assert not slots.queued or slots.busy >= slots.number, "nobody waits before a free slot"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(play())


def test_room_that_was_stated_is_not_given_back() -> None:
    with SimulatedServer(answer=lambda _: "short", limits=Limits(tokens_per_minute=6000)) as server:
        status, _, headers = post(server.url, max_tokens=80)
        assert (status, headers["x-ratelimit-remaining-tokens"]) == (200, "10")
        assert post(server.url, max_tokens=80)[0] == 429


def test_an_answer_longer_than_guessed_is_charged_when_it_is_made() -> None:
    with SimulatedServer(answer=lambda _: "y" * 2000, limits=Limits(tokens_per_minute=6000)) as server:
        assert post(server.url)[2]["x-ratelimit-remaining-tokens"] == "0"
        status, _, headers = post(server.url)
        assert status == 429
        # 100 less 10 and 500 is 410 below zero; 26 are wanted, and 100 come in a second.
        assert float(headers["retry-after"]) == pytest.approx(4.36, abs=0.3)


def test_an_answer_shorter_than_guessed_is_given_back() -> None:
    with SimulatedServer(answer=lambda _: "", limits=Limits(tokens_per_minute=6000)) as server:
        assert post(server.url)[2]["x-ratelimit-remaining-tokens"] == "90"


def test_input_and_output_have_limits_of_their_own() -> None:
    limits = Limits(requests_per_minute=6000, input_tokens_per_minute=6000, output_tokens_per_minute=12000, burst_s=1)
    with SimulatedServer(answer=lambda _: "y" * 40, limits=limits) as server:
        _, _, headers = post(server.url, MESSAGES, max_tokens=5000)
        stated = {
            kind: (headers[f"anthropic-ratelimit-{kind}-limit"], headers[f"anthropic-ratelimit-{kind}-remaining"])
            for kind in ("requests", "input-tokens", "output-tokens")
        }
        assert stated == {"requests": ("6000", "99"), "input-tokens": ("6000", "89"), "output-tokens": ("12000", "190")}
        assert headers["anthropic-ratelimit-output-tokens-reset"].endswith("Z")
        assert headers["anthropic-ratelimit-tokens-limit"] is None
        long: Any = [{"role": "user", "content": "x" * 396}]
        assert post(server.url, MESSAGES, max_tokens=5000, messages=long)[0] == 429


def test_a_burst_of_ones_own() -> None:
    with SimulatedServer(limits=Limits(requests_per_minute=60, burst_s=3)) as server:
        assert [post(server.url)[0] for _ in range(4)] == [200, 200, 200, 429]


@given(st.lists(st.tuples(st.integers(0, 300), st.none() | st.integers(0, 300), st.integers(0, 300)), max_size=40))
def test_a_request_is_charged_for_everything_or_nothing(requests: list[tuple[int, int | None, int]]) -> None:
    meters = Meters(
        Limits(requests_per_minute=60, tokens_per_minute=600, input_tokens_per_minute=600, output_tokens_per_minute=600)
    )
    for prompt, room, output in requests:
        before = {kind: bucket.remaining for kind, bucket in meters.by_kind.items()}
        if meters.charge(prompt, room) > 0:
            after = {kind: bucket.remaining for kind, bucket in meters.by_kind.items()}
            assert all(after[kind] >= before[kind] for kind in before)
        else:
            meters.settle(output, 0, room)


@contextmanager
def process(*options: str) -> Iterator[str]:
    command = [sys.executable, "-m", "infergraph.testing", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            yield running.stdout.readline().strip()
        finally:
            running.terminate()


def test_a_process_is_asked_and_told_over_http() -> None:
    options = ("--slots", "2", "--queue", "--latency", "0.05", "--prefix-cache", "--slow", "0=60", "--burst", "2")
    with process(*options, "--input-tokens-per-minute", "1000000", "--output-tokens-per-minute", "1000000") as url:
        rounds, told = 0, dict[str, Any](max_queued=0)
        # How many of four requests meet is up to the machine: they come again until one had to wait.
        with ThreadPoolExecutor(4) as pool:
            while not told["max_queued"]:
                assert {status for status, *_ in pool.map(lambda _: post(url), range(4))} == {200}
                rounds, told = rounds + 1, send(url + "/_stats")[1]
        assert told["statuses"] == {"200": 4 * rounds}, "asking for statistics is not counted"
        assert (told["slots"], told["requests"]) == (2, 4 * rounds)
        assert send(url + "/_control", {"slots": 7, "reset": True})[1]["slots"] == 7
        assert send(url + "/_stats")[1]["requests"] == 0
        assert send(url + "/_control", {"slots": None})[1]["slots"] is None
        for nonsense in ({"slots": 0}, {"slots": "many"}, [1]):
            assert send(url + "/_control", nonsense)[0] == 400


def test_a_share_of_slow_requests() -> None:
    with process("--slow", "1=0.4") as url:
        started = time.monotonic()
        assert post(url)[0] == 200
        assert time.monotonic() - started >= 0.4


@pytest.mark.parametrize("slow", ["2=1", "0.1", "x=1", "0.1=-1"])
def test_a_slow_share_that_is_none(slow: str) -> None:
    command = [sys.executable, "-m", "infergraph.testing", "--slow", slow]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "a share from 0 to 1 and seconds" in ended.stderr
