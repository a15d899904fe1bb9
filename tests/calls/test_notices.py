"""What whoever waits is told: once, in time, and what to do."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from infergraph.calls import notices
from infergraph.calls.limits import Beyond, Limits
from infergraph.errors import ConfigurationError, ProviderDown
from infergraph.models.model import CallFailed, Model, Request
from infergraph.models.scripted import script

CLOCK = r"\d\d:\d\d:\d\d"


def down(message: str = "overloaded (503)") -> CallFailed:
    return CallFailed(message, outcome="transient", status=503)


def wait_for(told: list[str]) -> None:
    until = time.monotonic() + 60
    while not told and time.monotonic() < until:
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infergraph.calls.lane.TELL_AFTER_S", 0.2)


@pytest.mark.parametrize("rows", [1, 3, 40])
def test_a_model_that_answers_nobody_is_said_once(make_world: Any, rows: int) -> None:
    """A short run, whose rows wear out one by one, and a long one, whose model is found to be out."""
    world = make_world(m=Model("scripted:m", max_concurrency=20))
    told: list[str] = []
    with script("m", lambda request: down()), pytest.raises(ProviderDown):
        world.run(*map(str, range(rows)), max_outage_s=1.5, notify=told.append)
    [said] = told
    assert re.fullmatch(
        rf"Model 'm' \(scripted:m\) has answered nothing since {CLOCK}: overloaded \(503\)\. It is asked again until "
        rf"{CLOCK}, then the run stops \(max_outage_s of the model\)\. Ctrl-C stops the run now; every answer so "
        r"far is kept\.",
        said,
    )


def test_each_outage_is_said_and_what_passes_soon_is_not(world: Any) -> None:
    told: list[str] = []
    out_until = 0.0

    def answer(request: Request) -> Any:
        return "1" if time.monotonic() > out_until else down()

    with script("m", answer):
        assert world.run("quick", notify=told.append)[0].value == 1
        assert told == []
        for row in ("a", "b"):
            out_until = time.monotonic() + 0.8
            assert world.run(row, notify=told.append)[0].value == 1
    assert len(told) == 2


def test_a_row_that_fails_while_others_succeed_says_nothing(world: Any) -> None:
    told: list[str] = []

    def answer(request: Request) -> Any:
        return down() if request.messages[-1].content == "bad" else "1"

    with script("m", answer):
        outcomes = world.run("bad", *map(str, range(30)), notify=told.append, max_attempts=2)
    assert outcomes[0].rejected == "timeout"
    assert told == []


def test_everybody_who_waits_is_told_once_and_nobody_else(world: Any) -> None:
    first: list[str] = []
    second: list[str] = []
    later: list[str] = []
    with script("m", lambda request: "1" if request.messages[-1].content == "done" else down()):
        world.run("done", notify=second.append)
        hear, hear_too = first.append, later.append
        waiting = [world.submit([text], notify=hear) for text in ("a", "b")]
        wait_for(first)
        waiting.append(world.submit(["c"], notify=hear_too))
        wait_for(later)
        world.engine.close()
    assert (len(first), len(second), len(later)) == (1, 0, 1)
    assert all(future.done() for future in waiting)


def test_the_fallback_is_named(make_world: Any) -> None:
    world = make_world(main=Model("scripted:main", fallback="spare", max_outage_s=1), spare=Model("scripted:spare"))
    told: list[str] = []
    with script("main", lambda request: down()), script("spare", lambda request: "2"):
        [outcome] = world.run("a", model="main", notify=told.append)
    assert outcome.via == "fallback:spare"
    [said] = told
    assert "then 'spare' takes over" in said


def test_the_models_own_patience_counts_where_the_run_says_nothing(make_world: Any) -> None:
    world = make_world(m=Model("scripted:m", max_outage_s=0.5))
    with script("m", lambda request: down()), pytest.raises(ProviderDown, match="has been down"):
        world.run("a", timeout=60)


@pytest.mark.parametrize("wrong", [-1, "soon", True])
def test_a_patience_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"max_outage_s is a number, 0 or more"):
        Model("scripted:m", max_outage_s=wrong)


# -- limits that are smaller than a request -------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["tokens_per_minute", "input_tokens_per_minute"])
def test_a_request_that_can_never_fit_is_an_error_at_once(make_world: Any, limit: str) -> None:
    stated: dict[str, Any] = {limit: 500}
    world = make_world(m=Model("scripted:m", **stated))
    with (
        script("m", lambda request: "1") as asked,
        pytest.raises(
            ConfigurationError,
            match=rf"A request of 'extract' has about 1,\d\d\d input tokens, and {limit}=500 of model 'm' "
            rf"\(scripted:m\) lets through 500 a minute, so it could never be sent\. Raise {limit}= to what",
        ),
    ):
        world.run("x" * 5_000, timeout=20)
    assert asked.requests == []


def test_requests_that_wait_for_minutes_are_said_once(make_world: Any) -> None:
    world = make_world(m=Model("scripted:m", tokens_per_minute=500))
    told: list[str] = []
    with script("m", lambda request: "1"):
        waiting = world.submit(["x" * 1_200, "y" * 1_200], notify=told.append)
        wait_for(told)
        world.engine.close()
    assert waiting.done()
    [said] = told
    assert said.startswith("A request of 'extract' may use about 5")
    assert "tokens, answer included, and tokens_per_minute=500 of model 'm' (scripted:m)" in said
    assert "each waits 1.1 minutes for its turn" in said


def test_what_is_beyond_a_limit() -> None:
    limits = Limits(Model("scripted:m", tokens_per_minute=1_000, output_tokens_per_minute=200), 8, None)
    assert limits.beyond(700, 150) is None
    assert limits.beyond(900, 150) == Beyond("tokens", 1_000, 1_050, never=False)
    assert limits.beyond(100, 250) == Beyond("output_tokens", 200, 250, never=False)
    assert limits.beyond(1_001, 0) == Beyond("tokens", 1_000, 1_001, never=True)
    limits.learn("input_tokens", 300)
    assert limits.beyond(400, 0) == Beyond("input_tokens", 300, 400, never=True)


def test_a_limit_that_the_server_stated_is_not_called_yours() -> None:
    model = Model("openai:m", input_tokens_per_minute=5_000)
    said = str(notices.never_fits("m", model, "map", Beyond("input_tokens", 300, 400, never=True)))
    assert "the limit that the server states of model 'm'" in said
    assert "input_tokens_per_minute=5000" not in said
