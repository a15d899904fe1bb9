"""An engine over a fresh store and a scripted model called ``m``, and a short way to ask it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from infergraph.calls import Ask, Engine, Outcome, Policy, Scope
from infergraph.models.model import Message, Model, Request, Response
from infergraph.models.scripted import script
from infergraph.models.verdict import Accepted, Rejected, Repair, Verdict
from infergraph.store import Store, request_hash

SYSTEM = Message("system", "Answer with a number.")


def judge_number(response: Response) -> Verdict:
    """Numbers are answers, ``no`` is a refusal, the rest is to be repaired."""
    if response.finish == "length":
        return Repair(more_room=True)
    if response.text == "no":
        return Rejected("refused", "The model said no.")
    try:
        return Accepted(json.loads(response.text))
    except ValueError:
        return Repair(f"{response.text!r} is no number.")


class World:
    """One process's engine and store; ``reopened`` is the next process."""

    def __init__(self, folder: Path, models: dict[str, Model]) -> None:
        self.store = Store.open("sqlite:///state.db", root=folder)
        self.models = models
        self.engine = Engine(models, self.store, first_backoff_s=0.01)
        self.folder = folder

    def asks(
        self, texts: Sequence[str], model: str = "m", judge: Callable[[Response], Verdict] = judge_number
    ) -> list[Ask]:
        requests = [Request(messages=(SYSTEM, Message("user", text))) for text in texts]
        return [Ask(request_hash(self.models[model], request), request, judge) for request in requests]

    def submit(self, texts: Sequence[str], *, judge: Any = judge_number, model: str = "m", **how: Any) -> Future[Any]:
        scope = how.pop("scope", Scope(run_id="run", operator="extract"))
        return self.engine.submit(self.asks(texts, model, judge), model=model, scope=scope, **how)

    def run(self, *texts: str, timeout: float = 30, **how: Any) -> list[Outcome]:
        if policy := {name: how.pop(name) for name in list(how) if name in Policy.__dataclass_fields__}:
            how["policy"] = Policy(**policy)
        outcomes: list[Outcome] = self.submit(texts, **how).result(timeout)
        return outcomes

    def attempts(self, text: str, model: str = "m") -> list[Any]:
        self.store.writer.flush()
        return self.store.attempts_of(self.asks([text], model)[0].hash)

    def close(self) -> None:
        self.engine.close()
        self.store.close()


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    worlds: list[World] = []

    def make(**models: Model) -> World:
        world = World(tmp_path, models or {"m": Model("scripted:m")})
        worlds.append(world)
        return world

    yield make
    for world in worlds:
        world.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()


@pytest.fixture
def numbers() -> Iterator[Any]:
    """The model answers a text with its length, and counts how often it was asked what."""
    with script("m", lambda request: str(len(request.messages[-1].content))) as running:
        yield running
