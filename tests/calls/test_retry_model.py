"""Remembered rejections that go to another model, under the hash that they have."""

from __future__ import annotations

from typing import Any

import pytest

from infergraph.errors import UnknownModel
from infergraph.models.model import Model, Request
from infergraph.models.scripted import script


def length(request: Request) -> str:
    return str(len(request.messages[-1].content))


def no_to_bad(request: Request) -> str:
    return "no" if "bad" in request.messages[-1].content else length(request)


MODELS = {"m": Model("scripted:m"), "smart": Model("scripted:smart", salt="another"), "last": Model("scripted:last")}


def test_only_remembered_rejections_go_to_it_and_are_hits_afterwards(make_world: Any) -> None:
    world = make_world(**MODELS)
    with script("m", no_to_bad) as first, script("smart", length) as second:
        assert [outcome.rejected for outcome in world.run("good", "bad one")] == [None, "refused"]
        outcomes = world.run("good", "bad one", "new", retry_rejects=True, retry_model="smart")
        assert [outcome.value for outcome in outcomes] == [4, 7, 3]
        assert [outcome.source for outcome in outcomes] == ["store", "call", "call"]
        assert [outcome.via for outcome in outcomes] == ["direct", "fallback:smart", "direct"]
        assert outcomes[1].model == "scripted:smart"
        assert (len(first.requests), len(second.requests)) == (3, 1)
        plain = world.run("good", "bad one")
        assert [(outcome.source, outcome.value) for outcome in plain] == [("store", 4), ("store", 7)]
    tries = world.attempts("bad one")
    assert [(attempt.model, attempt.via) for attempt in tries] == [
        ("scripted:m", "direct"),
        ("scripted:smart", "fallback:smart"),
    ]
    assert tries[1].request_hash != tries[1].row_hash, "another model's request is another request"


def test_what_it_rejects_too_stays_rejected(make_world: Any) -> None:
    world = make_world(**MODELS)
    with script("m", no_to_bad), script("smart", no_to_bad) as asked:
        world.run("bad one")
        (outcome,) = world.run("bad one", retry_rejects=True, retry_model="smart")
        assert (outcome.rejected, outcome.via, outcome.attempts) == ("refused", "fallback:smart", 2)
        (again,) = world.run("bad one")
        assert again.source == "rejected_before"
        assert len(asked.requests) == 1


def test_a_model_that_needs_repairs_and_has_a_fallback_of_its_own(make_world: Any) -> None:
    models = {**MODELS, "smart": Model("scripted:smart", fallback="last")}
    world = make_world(**models)
    with script("m", no_to_bad), script("smart", ["no"]), script("last", ["seven", "7"]):
        world.run("bad one")
        (outcome,) = world.run("bad one", retry_rejects=True, retry_model="smart")
        assert (outcome.value, outcome.via) == (7, "fallback:last")


def test_without_retry_rejects_nothing_is_asked_again(make_world: Any) -> None:
    world = make_world(**MODELS)
    with script("m", no_to_bad), script("smart", []):
        world.run("bad one")
        (outcome,) = world.run("bad one", retry_model="smart")
        assert outcome.source == "rejected_before"


def test_an_unknown_model_is_named_before_anything_is_asked(make_world: Any) -> None:
    world = make_world(**MODELS)
    with script("m", []), pytest.raises(UnknownModel, match="Did you mean 'smart'"):
        world.run("a", retry_rejects=True, retry_model="smarrt")
