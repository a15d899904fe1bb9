"""Requests that run into their time, where asking again is no use, or where the provider minds the time itself."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from infergraph.calls import Ask, Engine, Scope
from infergraph.models.model import Capabilities, Message, Model, Request
from infergraph.models.scripted import ScriptedProvider, script
from infergraph.models.verdict import Accepted
from infergraph.store import Store, request_hash


def question(request: Request) -> str:
    return request.messages[0].content


class Machine(ScriptedProvider):
    """A provider of this machine: nobody else has to be waited for, and it does not get faster."""

    minds_time = False

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, minds_time=self.minds_time, tries_after_timeout=1)


class PatientMachine(Machine):
    minds_time = True


def asked_of(provider: type[ScriptedProvider], store: Store, *texts: str) -> list[Any]:
    models = {"m": Model("scripted:m", timeout_s=0.1)}
    engine = Engine(models, store, first_backoff_s=0.01, providers=provider)
    requests = [Request(messages=(Message("user", text),)) for text in texts]
    asks = [Ask(request_hash(models["m"], one), one, lambda response: Accepted(int(response.text))) for one in requests]
    try:
        outcomes: list[Any] = engine.submit(asks, model="m", scope=Scope(run_id="run", operator="map")).result(30)
        return outcomes
    finally:
        engine.close()


@pytest.mark.parametrize("others", [(), ("b", "c")])
def test_a_timeout_of_a_model_that_is_as_slow_again_is_tried_twice_more_at_most(
    world: Any, others: tuple[str, ...]
) -> None:
    async def slow(request: Request) -> str:
        if question(request) == "a":
            await asyncio.sleep(60)
        return "1"

    with script("m", slow) as asked:
        first, *rest = asked_of(Machine, world.store, "a", *others)
    assert first.rejected == "timeout"
    assert [outcome.value for outcome in rest] == [1] * len(others)
    assert [question(request) for request in asked.requests].count("a") <= 3


def test_a_provider_that_minds_the_time_itself_is_set_none(world: Any) -> None:
    async def slow(request: Request) -> str:
        await asyncio.sleep(0.3)
        return "1"

    with script("m", slow):
        [outcome] = asked_of(PatientMachine, world.store, "a")
    assert (outcome.value, outcome.attempts) == (1, 1)
