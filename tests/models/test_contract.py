"""What every provider promises, tried on each one that is installed: a new one joins by its entry point alone."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable

import pytest

from infergraph.models.model import AnswerSchema, CallFailed, Message, Model, Request, Response
from infergraph.models.registry import provider_for, provider_names
from infergraph.testing import SimulatedServer

pytestmark = pytest.mark.usefixtures("no_paid_requests")

SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["bug", "billing"]}, "note": {"type": "string", "maxLength": 20}},
    "required": ["kind", "note"],
    "additionalProperties": False,
}
EXTRACT = Request(
    messages=(Message("system", "Read the message."), Message("user", "My lamp is broken.")),
    schema=AnswerSchema.of("facts", SCHEMA),
    max_output_tokens=200,
)
# The model that stands for a provider; a third party's is asked for any name.
MODEL_IDS = {"openai": "gpt-5-mini", "anthropic": "claude-haiku-4-5", "local": "smollm2-135m"}
# Providers that answer without leaving this process, or can be pointed at the simulated server.
REACHABLE: dict[str, Callable[[SimulatedServer], Model]] = {
    "openai": lambda server: Model("openai:m", base_url=server.openai_url, api_key=None),
    "anthropic": lambda server: Model("anthropic:claude-haiku-4-5", base_url=server.anthropic_url, api_key=None),
    "scripted": lambda _: Model("scripted:any"),
}


@pytest.mark.parametrize("name", provider_names())
def test_what_works_without_a_key_or_connection(name: str) -> None:
    provider = provider_for(Model(f"{name}:{MODEL_IDS.get(name, 'any')}"))
    known = provider.capabilities
    assert known.chat or known.embeds
    assert known.usual_concurrency >= 1
    assert known.context_tokens is None or known.context_tokens >= 128
    assert provider.schema_problems(SCHEMA) == []
    short, exact = provider.count_tokens("The lamp is broken.")
    long, _ = provider.count_tokens("The lamp is broken. " * 20)
    assert isinstance(exact, bool)
    assert 1 <= short < long
    assert provider.count_tokens("")[0] <= 1


@pytest.fixture(params=sorted(REACHABLE))
def reachable(request: pytest.FixtureRequest, simulated_server: SimulatedServer) -> Model:
    make = REACHABLE[request.param]
    return make(simulated_server)


def gathered(model: Model, *requests: Request) -> list[Response]:
    async def run() -> list[Response]:
        provider = provider_for(model)
        try:
            return await asyncio.gather(*map(provider.send, requests))
        finally:
            await provider.close()

    return asyncio.run(run())


def test_an_answer_fits_its_schema_and_says_what_it_used(reachable: Model) -> None:
    (response,) = gathered(reachable, EXTRACT)
    answer = json.loads(response.text)
    assert answer.keys() == {"kind", "note"}
    assert answer["kind"] in ("bug", "billing")
    assert response.finish == "stop"
    assert response.tokens.input > 0
    assert response.tokens.output > 0
    assert response.embedding is None
    assert response.model_id


def test_free_text_is_text(reachable: Model) -> None:
    (response,) = gathered(reachable, Request(messages=EXTRACT.messages))
    assert response.text


def test_an_embedding_is_a_unit_vector_or_a_clear_refusal(reachable: Model) -> None:
    embed = Request(embed_text="a red car")
    if not provider_for(reachable).capabilities.embeds:
        with pytest.raises(CallFailed) as caught:
            gathered(reachable, embed)
        assert caught.value.outcome == "fatal"
        return
    (response,) = gathered(reachable, embed)
    assert response.embedding is not None
    assert math.hypot(*response.embedding) == pytest.approx(1, rel=1e-5)
    assert response.tokens.output == 0


def test_many_at_once_keep_their_own_answers(reachable: Model) -> None:
    asked = [Request(messages=(Message("user", f"{n}"),), schema=EXTRACT.schema) for n in range(40)]
    together = gathered(reachable, *asked)
    assert [answer.text for answer in together] == [gathered(reachable, one)[0].text for one in asked]
    assert len({answer.text for answer in together}) > 10


def test_closing_twice_and_sending_again_are_both_fine(reachable: Model) -> None:
    async def run() -> list[str]:
        provider = provider_for(reachable)
        texts = []
        for _ in range(2):
            texts.append((await provider.send(EXTRACT)).text)
            await provider.close()
            await provider.close()
        return texts

    first, second = asyncio.run(run())
    assert first == second
