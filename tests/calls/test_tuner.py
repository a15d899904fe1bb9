"""How many requests to keep in flight: found at simulated servers, in simulated time."""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.calls.tuner import Tuner

START, MOST = 8, 512
SEEDS = range(6)
Service = Callable[[random.Random], float]


def about(seconds: float) -> Service:
    """Answers of nearly the same length."""
    return lambda dice: seconds * dice.uniform(0.9, 1.1)


def exactly(seconds: float) -> Service:
    """Answers of the same length."""
    return lambda _: seconds


def varied(seconds: float) -> Service:
    """Answers of very different length: the longest tenth takes five times as long as the shortest."""
    return lambda dice: seconds * dice.lognormvariate(-0.18, 0.6)


@dataclass(frozen=True)
class Seen:
    """Means over a stretch of time."""

    throughput: float
    """Answers a second."""
    queue: float
    """Requests that waited in the server."""
    refused: float
    """Refusals for each answer."""


class World:
    """One server, and clients that always have work.

    Args:
        service: Seconds of work of an answer.
        slots: Requests worked on at once.
        batch: The server works on all of them together, and so many make it half as fast; ``None``: it does not.
        refuses: Whether requests beyond the slots are refused; else they wait.
        clients: Each with a tuner of its own.
        seed: For the lengths of answers.
    """

    def __init__(
        self,
        service: Service,
        slots: int,
        *,
        batch: float = math.inf,
        refuses: bool = False,
        clients: int = 1,
        seed: int = 0,
    ) -> None:
        self.service, self.slots, self.batch, self.refuses = service, slots, batch, refuses
        self.tuners = [Tuner(START, MOST, 0.0) for _ in range(clients)]
        self.now = 0.0
        self._dice = random.Random(seed)
        self._in_flight = [0] * clients
        self._queue: deque[tuple[int, float]] = deque()
        self._working: dict[int, tuple[int, float]] = {}
        self._ends: list[tuple[float, int]] = []
        self._worked = 0.0  # seconds of work done for each request that was there all the time
        self._number = self._answers = self._refusals = 0
        self._queued_s = 0.0
        self._not_before = 0.0

    def seen_until(self, end: float) -> Seen:
        """Go on until then; what happened meanwhile."""
        start, self._answers, self._refusals, self._queued_s = self.now, 0, 0, 0.0
        self._send()
        while True:
            speed = 1 / (1 + len(self._working) / self.batch)
            next_end = self.now + (self._ends[0][0] - self._worked) / speed if self._ends else math.inf
            resumes = self._not_before if self._not_before > self.now else math.inf
            at = min(end, next_end, resumes)
            self._queued_s += len(self._queue) * (at - self.now)
            self._worked += (at - self.now) * speed
            self.now = at
            if at == next_end:
                self._answer()
            elif at == end:
                break
            self._send()
        return Seen(
            self._answers / (end - start), self._queued_s / (end - start), self._refusals / max(1, self._answers)
        )

    def _send(self) -> None:
        for client, tuner in enumerate(self.tuners):
            while self.now >= self._not_before and self._in_flight[client] < tuner.level:
                if self.refuses and len(self._working) >= self.slots:
                    self._refusals += 1
                    self._not_before = self.now + 0.25  # as the lane pauses
                    tuner.slow_down(self.now)
                else:
                    self._in_flight[client] += 1
                    self._queue.append((client, self.now))
                    self._work()

    def _work(self) -> None:
        while self._queue and len(self._working) < self.slots:
            self._number += 1
            self._working[self._number] = self._queue.popleft()
            heapq.heappush(self._ends, (self._worked + self.service(self._dice), self._number))

    def _answer(self) -> None:
        _, number = heapq.heappop(self._ends)
        client, sent = self._working.pop(number)
        self._work()
        self._answers += 1
        self.tuners[client].came_back(self.now - sent, self._in_flight[client], self.now)
        self._in_flight[client] -= 1


def means(worlds: list[World], start: float, end: float) -> Seen:
    """What all of them show from start to end, as a mean."""
    for world in worlds:
        if world.now < start:
            world.seen_until(start)
    each = [world.seen_until(end) for world in worlds]
    return Seen(*(mean(getattr(seen, name) for seen in each) for name in ("throughput", "queue", "refused")))


def worlds_of(service: Service, slots: int, **how: float) -> list[World]:
    return [World(service, slots, seed=seed, **how) for seed in SEEDS]  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [exactly, about, varied])
@pytest.mark.parametrize(
    ("slots", "seconds", "found_after"),
    [
        (1, 0.2, 10),
        (4, 0.1, 10),
        (8, 0.1, 10),
        (8, 0.5, 10),
        (20, 0.3, 10),
        (64, 0.1, 10),
        (64, 2.0, 24),  # twelve answers one after the other: from 8 to 64 takes three doublings and a look beyond
        (256, 0.5, 10),
    ],
)
def test_slots_are_found(kind: Callable[[float], Service], slots: int, seconds: float, found_after: float) -> None:
    worlds = worlds_of(kind(seconds), slots)
    seen = means(worlds, found_after, found_after + max(10, 10 * seconds))
    assert seen.throughput >= 0.9 * slots / seconds
    later = means(worlds, 4 * found_after, 8 * found_after)
    assert later.throughput >= 0.9 * slots / seconds
    assert later.queue <= max(3, 0.3 * slots)


@pytest.mark.parametrize("kind", [exactly, about, varied])
@pytest.mark.parametrize(("before", "after"), [(8, 4), (4, 8), (64, 8), (8, 64), (8, 2)])
def test_a_server_that_changes_is_followed_within_ten_seconds(
    kind: Callable[[float], Service], before: int, after: int
) -> None:
    worlds = worlds_of(kind(0.1), before)
    means(worlds, 20, 30)
    for world in worlds:
        world.slots = after
    seen = means(worlds, 40, 60)
    assert seen.throughput >= 0.9 * after / 0.1
    assert seen.queue <= max(3, 0.45 * after)


@pytest.mark.parametrize("kind", [about, varied])
def test_a_server_that_works_on_all_at_once_gets_many(kind: Callable[[float], Service]) -> None:
    """Continuous batching: each answer takes longer with every request more, and still more come out."""
    worlds = worlds_of(kind(1.0), 256, batch=140)
    seen = means(worlds, 40, 180)
    assert seen.throughput >= 0.85 * 256 / (1 + 256 / 140)


@pytest.mark.parametrize("kind", [exactly, about, varied])
def test_clients_of_one_server_use_it_fully_and_do_not_outbid_each_other_for_ever(
    kind: Callable[[float], Service],
) -> None:
    for clients in (2, 4):
        worlds = worlds_of(kind(0.1), 16, clients=clients)
        seen = means(worlds, 10, 60)
        assert seen.throughput >= 0.9 * 16 / 0.1
        # Each gains by pushing more than the others; what ends that is that answers take several times as long.
        assert seen.queue <= 2 * 16 * clients


@pytest.mark.parametrize("kind", [about, varied])
@pytest.mark.parametrize("slots", [4, 8, 32])
def test_a_server_that_refuses_is_rarely_asked_for_too_much(kind: Callable[[float], Service], slots: int) -> None:
    worlds = worlds_of(kind(0.2), slots, refuses=True)
    seen = means(worlds, 10, 60)
    assert seen.throughput >= 0.75 * slots / 0.2
    assert seen.refused <= 0.01


def test_longer_answers_are_not_taken_for_fewer_slots() -> None:
    worlds = worlds_of(about(0.1), 16)
    means(worlds, 20, 30)
    for world in worlds:
        world.service = about(0.5)
    seen = means(worlds, 40, 60)
    assert seen.throughput >= 0.9 * 16 / 0.5


def test_answers_tell_nothing_while_the_level_is_not_used() -> None:
    tuner = Tuner(start=8, most=MOST, now=0.0)
    for number in range(1000):
        tuner.came_back(0.1 + number, in_flight=3, now=number * 0.03)
    assert tuner.level == 8


def test_many_refusals_of_one_moment_count_once() -> None:
    tuner = Tuner(start=64, most=MOST, now=0.0)
    for _ in range(56):
        tuner.slow_down(now=1.0)
    once = tuner.level
    assert 32 <= once < 64
    tuner.slow_down(now=3.0)
    assert tuner.level < once


def test_a_refused_trial_costs_nothing_but_the_trial_and_is_not_repeated_at_once() -> None:
    world = World(about(0.1), 8)
    world.seen_until(0.9)
    tuner = world.tuners[0]
    while tuner.level <= 8:
        world.seen_until(world.now + 0.05)
    tuner.slow_down(world.now)
    assert tuner.level == 8
    refused_at, world.slots = world.now, 64
    while world.now < refused_at + 9:
        world.seen_until(world.now + 0.05)
        assert tuner.level <= 8
    world.seen_until(refused_at + 30)
    assert tuner.level > 32


events = st.one_of(
    st.tuples(st.just("back"), st.floats(0, 100), st.integers(0, 40)),
    st.tuples(st.just("refused"), st.floats(0, 100), st.just(0)),
)


@given(st.integers(-1, 40), st.integers(-1, 30), st.lists(events, max_size=300), st.floats(0, 10))
def test_the_level_stays_within_its_bounds(
    start: int, most: int, happening: list[tuple[str, float, int]], step: float
) -> None:
    tuner, now = Tuner(start, most, 0.0), 0.0
    for what, seconds, in_flight in happening:
        now += step
        if what == "back":
            tuner.came_back(seconds, in_flight or tuner.level, now)
        else:
            tuner.slow_down(now)
        assert 1 <= tuner.level <= max(1, most)
