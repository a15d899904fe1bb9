"""Everything at once: whatever happens, everybody hears of their asks and nothing is left behind."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import Any

import pytest

from infergraph.calls import Budget, CancelToken, Policy, Scope
from infergraph.errors import ProviderDown, ProviderRefused, RunCancelled
from infergraph.models.model import CallFailed, Model, Price, Request, Response, Tokens
from infergraph.models.scripted import script


async def unreliable(request: Request, dice: random.Random) -> Any:
    await asyncio.sleep(dice.random() * 0.005)
    draw = dice.random()
    if draw < 0.1:
        return CallFailed("busy", outcome="transient", status=dice.choice([429, 503, None]))
    if draw < 0.105:
        return CallFailed("the key is wrong", outcome="fatal")
    if draw < 0.15:
        return CallFailed("bad request", outcome="permanent")
    if draw < 0.25:
        return "wrong"
    return Response(text="1", finish="length" if draw < 0.3 else "stop", tokens=Tokens(input=1, output=2))


@pytest.mark.parametrize("seed", [1, 2])
def test_nobody_waits_forever_and_nothing_is_left_behind(make_world: Any, seed: int) -> None:
    dice, price = random.Random(seed), Price(input=0, output=1)
    world = make_world(
        m=Model("scripted:m", max_concurrency=20, fallback="spare", price=price),
        spare=Model("scripted:spare", max_concurrency=10, price=price),
    )
    heard: list[bool] = []
    failed: list[str] = []

    def user(number: int) -> None:
        mine = random.Random(seed * 100 + number)
        for _ in range(15):
            texts = [str(mine.randrange(300)) for _ in range(mine.randrange(1, 50))]
            token = CancelToken()
            future = world.submit(
                texts,
                model=mine.choice(["m", "spare"]),
                scope=Scope(run_id=str(number), operator="extract"),
                policy=Policy(refresh=mine.random() < 0.2, retry_rejects=mine.random() < 0.3, max_outage_s=0.5),
                budget=Budget(mine.randrange(200_000)) if mine.random() < 0.3 else None,
                cancel=token,
            )
            if mine.random() < 0.3:
                threading.Timer(mine.random() * 0.03, token.cancel).start()
            try:
                heard.append(len(future.result(30)) == len(texts))
            except (RunCancelled, ProviderRefused, ProviderDown) as error:
                failed.append(type(error).__name__)

    def answer(request: Request) -> Any:
        return unreliable(request, dice)

    with script("m", answer), script("spare", answer):
        users = [threading.Thread(target=user, args=(number,)) for number in range(4)]
        for each in users:
            each.start()
        for each in users:
            each.join()
        desk = world.engine._running().desk
        world.store.writer.flush()
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.05), world.engine._running().loop).result(5)
        assert (desk._questions, desk._batches) == ({}, set())
        assert [lane.questions() for lane in desk._lanes.values()] == [[], []]
        assert [lane._limits.in_flight for lane in desk._lanes.values()] == [0, 0]
    assert all(heard)
    assert len(heard) + len(failed) == 60
    assert len(heard) > 10
