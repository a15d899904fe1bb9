"""The scripted model: made-up answers, answers in a queue, answers by a function."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from infergraph.errors import ConfigurationError
from infergraph.models.model import AnswerSchema, CallFailed, Message, Model, Provider, Request, Response
from infergraph.models.prices import cost_nano_usd
from infergraph.models.registry import provider_for
from infergraph.models.scripted import script

SCHEMA = AnswerSchema.of("s", {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})


def question(text: str) -> Request:
    return Request(messages=(Message("user", text),), schema=SCHEMA)


def provider(name: str) -> Provider:
    return provider_for(Model(f"scripted:{name}"))


def ask(name: str, request: Request) -> Response:
    return asyncio.run(provider(name).send(request))


def test_a_made_up_answer_fits_and_repeats() -> None:
    first, second, other = (ask("any", question(text)) for text in ("a", "a", "b"))
    assert first == second != other
    assert isinstance(json.loads(first.text)["n"], int)
    assert first.tokens.input == 1
    assert provider("any").count_tokens(first.text) == (first.tokens.output, True)
    assert cost_nano_usd(Model("scripted:any"), first.tokens) == 0


def test_a_queue_is_used_in_order_and_its_end_is_told() -> None:
    with script("queue", ["text", {"n": 1}, Response(text="whole"), CallFailed("busy", outcome="transient")]) as made:
        assert [ask("queue", question("q")).text for _ in range(3)] == ["text", '{"n": 1}', "whole"]
        with pytest.raises(CallFailed, match="busy"):
            ask("queue", question("q"))
        with pytest.raises(CallFailed, match="no more answers for request 5") as caught:
            ask("queue", question("last"))
    assert caught.value.outcome == "fatal"
    assert made.requests == [question("q")] * 4 + [question("last")]
    assert "n" in json.loads(ask("queue", question("after")).text)


def test_a_function_may_wait() -> None:
    async def slow(request: Request) -> str:
        await asyncio.sleep(0.01)
        return request.messages[0].content.upper()

    with script("slow", slow):
        assert ask("slow", question("loud")).text == "LOUD"


def test_two_scripts_of_one_name_are_refused() -> None:
    with script("twice", []), pytest.raises(ConfigurationError, match="twice"), script("twice", []):
        pass


def test_threads_share_a_queue() -> None:
    numbers = [str(number) for number in range(200)]
    with script("shared", numbers) as made, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: ask("shared", question(n)).text, numbers))
    assert sorted(answers) == sorted(numbers)
    assert len(made.requests) == 200


def test_embeddings_have_64_dimensions_unless_the_model_says_more() -> None:
    vector = ask("any", Request(embed_text="hello")).embedding
    assert vector is not None
    assert len(vector) == provider("any").capabilities.dimensions == 64
    assert provider_for(Model("scripted:any", dimensions=8)).capabilities.dimensions == 8
