"""What goes on the wire is the same bytes, however little of it was encoded anew."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.models.anthropic import AnthropicProvider
from infergraph.models.bodies import Bodies, encoded
from infergraph.models.model import AnswerSchema, Message, Model, Provider, Request
from infergraph.models.openai import OpenAIProvider
from infergraph.testing import SimulatedServer

SCHEMA = AnswerSchema.of("facts", {"type": "object", "properties": {"a": {"type": "string"}}})
TEXT = st.text(st.characters(), max_size=8)
MESSAGE = st.builds(Message, st.sampled_from(["system", "user", "assistant"]), TEXT)
REQUEST = st.builds(
    Request,
    messages=st.lists(MESSAGE, max_size=3).map(tuple),
    schema=st.sampled_from([None, SCHEMA]),
    max_output_tokens=st.sampled_from([None, 5]),
    shared_messages=st.sampled_from([None, 0, 1]),
)


def whole(request: Request) -> dict[str, Any]:
    """A body that shows all that a provider may put into one."""
    return {
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        "room": request.max_output_tokens,
        "prefix": len(request.prefix),
        "schema": None if request.schema is None else request.schema.as_dict(),
    }


@given(st.lists(REQUEST, max_size=6))
def test_bodies_are_those_that_are_encoded_whole(requests: list[Request]) -> None:
    bodies = Bodies(whole)
    assert [bodies.encoded(request) for request in requests] == [encoded(whole(request)) for request in requests]


def test_what_rows_share_is_built_once() -> None:
    built = 0

    def build(request: Request) -> Mapping[str, Any]:
        nonlocal built
        built += 1
        return whole(request)

    bodies = Bodies(build)
    for number in range(100):
        bodies.encoded(Request(messages=(Message("system", "Read."), Message("user", f"Row {number}"))))
    assert built == 1


@pytest.mark.parametrize(
    "build",
    [
        lambda request: {"prompt": " ".join(message.content for message in request.messages)},
        lambda request: {"prompt": request.messages[-1].content, "again": request.messages[-1].content},
        lambda request: {"tokens": [ord(letter) for letter in request.messages[-1].content]},
    ],
    ids=["joined", "twice", "otherwise"],
)
def test_a_body_that_holds_the_content_in_another_way_is_encoded_whole(build: Any) -> None:
    bodies = Bodies(build)
    for text in ("a", "b"):
        request = Request(messages=(Message("system", "Read."), Message("user", text)))
        assert bodies.encoded(request) == encoded(build(request))


def test_halves_of_characters_become_question_marks() -> None:
    request = Request(messages=(Message("user", "cut \ud83d off"),))
    assert json.loads(Bodies(whole).encoded(request))["messages"][0]["content"] == "cut ? off"


@pytest.mark.parametrize(
    "make",
    [
        lambda server: OpenAIProvider(Model("openai:m", base_url=server.openai_url, api_key=None)),
        lambda server: AnthropicProvider(Model("anthropic:claude-m", base_url=server.anthropic_url, api_key=None)),
    ],
    ids=["openai", "anthropic"],
)
def test_each_row_is_asked_its_own_question(make: Callable[[SimulatedServer], Provider]) -> None:
    with SimulatedServer(answer=lambda body: body["messages"][-1]["content"]) as server:
        provider = make(server)
        contents = [f'{number} \N{SNOWMAN} "quoted" \n' for number in range(20)]
        head = Message("system", "Repeat.")

        async def ask() -> list[str]:
            asked = [provider.send(Request(messages=(head, Message("user", text)))) for text in contents]
            answers = [response.text for response in await asyncio.gather(*asked)]
            await provider.close()
            return answers

        assert asyncio.run(ask()) == contents
