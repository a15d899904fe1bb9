"""Prompt caches: what is marked, what is kept, and what that costs, on the simulated servers."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from infergraph.models.anthropic import AnthropicProvider
from infergraph.models.model import AnswerSchema, Message, Model, Request, Tokens
from infergraph.models.openai import OpenAIProvider
from infergraph.models.prices import cost_nano_usd
from infergraph.models.prompt_cache import cacheable_prefix_tokens, least_cached_tokens
from infergraph.testing import SimulatedServer

pytestmark = pytest.mark.usefixtures("no_paid_requests")

RULES = Message("system", "Extract the facts that a reader would look for, and nothing else. " * 160)
EXAMPLE = (Message("user", "An example of a text."), Message("assistant", '{"fact": "an example"}'))
SCHEMA = AnswerSchema.of("facts", {"type": "object", "properties": {"fact": {"type": "string"}}, "required": ["fact"]})
MARK = {"type": "ephemeral"}


def request(row: str, *shared: Message) -> Request:
    return Request(messages=(*(shared or (RULES,)), Message("user", row)), schema=SCHEMA)


def of_anthropic(server: SimulatedServer, name: str = "claude-sonnet-4-5", **more: Any) -> Model:
    return Model(f"anthropic:{name}", base_url=server.anthropic_url, api_key=None, **more)


def ask(model: Model, *requests: Request) -> list[Tokens]:
    """Asked one after the other."""

    async def run() -> list[Tokens]:
        provider = (AnthropicProvider if model.provider == "anthropic" else OpenAIProvider)(model)
        try:
            return [(await provider.send(each)).tokens for each in requests]
        finally:
            await provider.close()

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("claude-3-opus-20240229", 1024),
        ("claude-3-5-sonnet-latest", 1024),
        ("claude-3-7-sonnet-20250219", 1024),
        ("claude-sonnet-4-20250514", 1024),
        ("claude-opus-4-1-20250805", 1024),
        ("claude-opus-4-0", 1024),
        ("claude-sonnet-4-5-20250929", 1024),
        ("claude-3-haiku-20240307", 2048),
        ("claude-3-5-haiku-latest", 2048),
        ("claude-sonnet-4-6", 2048),
        ("claude-opus-4-5", 4096),
        ("claude-opus-4-6", 4096),
        ("claude-haiku-4-5-20251001", 4096),
        ("claude-of-next-year", 4096),
    ],
)
def test_the_least_that_anthropic_keeps(name: str, least: int) -> None:
    assert least_cached_tokens(name) == least


def test_what_is_long_enough() -> None:
    long, short = request("A text"), request("A text", Message("system", "Short."))
    assert 1024 < cacheable_prefix_tokens(Model("openai:gpt-5-mini"), long) < 2500
    assert cacheable_prefix_tokens(Model("openai:gpt-5-mini"), short) == 0
    # Claude's tokenizers are not published, and count more than OpenAI's.
    openai, claude = (Model(name) for name in ("openai:gpt-5-mini", "anthropic:claude-sonnet-4-5"))
    assert cacheable_prefix_tokens(claude, long) > cacheable_prefix_tokens(openai, long)
    assert cacheable_prefix_tokens(Model("anthropic:claude-haiku-4-5"), long) == 0
    for other in ("scripted:m", "local:smollm2-135m", "anthropic:smollm"):
        assert cacheable_prefix_tokens(Model(other), long) == 0
    # The row is no part of it, however long.
    assert cacheable_prefix_tokens(openai, request("word " * 5000, Message("system", "Short."))) == 0
    assert cacheable_prefix_tokens(openai, Request(embed_text="word " * 5000)) == 0


def test_the_system_message_is_marked(simulated_server: SimulatedServer) -> None:
    ask(of_anthropic(simulated_server), request("A text"))
    body = simulated_server.requests[0].body
    assert body["system"] == [{"type": "text", "text": RULES.content, "cache_control": MARK}]
    assert body["messages"] == [{"role": "user", "content": "A text"}]


def test_the_last_shared_message_is_marked_and_nothing_else(simulated_server: SimulatedServer) -> None:
    ask(of_anthropic(simulated_server), request("A text", RULES, *EXAMPLE))
    body = simulated_server.requests[0].body
    marked = [{"type": "text", "text": EXAMPLE[1].content, "cache_control": MARK}]
    assert [message["content"] for message in body["messages"]] == [EXAMPLE[0].content, marked, "A text"]
    assert body["system"] == RULES.content


def test_a_repair_marks_what_the_first_request_marked(simulated_server: SimulatedServer) -> None:
    first = request("A text")
    more = (Message("assistant", "Wrong."), Message("user", "Again."))
    repair = replace(first, messages=(*first.messages, *more), shared_messages=1)
    assert repair.prefix == first.prefix == (RULES,)
    ask(of_anthropic(simulated_server), first, repair)
    one, two = (each.body for each in simulated_server.requests)
    assert one["system"] == two["system"]
    assert "cache_control" not in str(two["messages"])


@pytest.mark.parametrize(
    ("name", "shared"),
    [
        ("claude-haiku-4-5", [RULES]),
        ("smollm", [RULES]),
        ("claude-sonnet-4-5", [Message("system", "Short.")]),
    ],
)
def test_nothing_is_marked_in_vain(simulated_server: SimulatedServer, name: str, shared: list[Message]) -> None:
    ask(of_anthropic(simulated_server, name), request("A text", *shared))
    assert "cache_control" not in str(simulated_server.requests[0].body)


def test_rows_in_a_system_message_are_not_marked(simulated_server: SimulatedServer) -> None:
    asked = Request(messages=(RULES, Message("system", "A text"), Message("user", "Go on.")), shared_messages=1)
    ask(of_anthropic(simulated_server), asked)
    assert "cache_control" not in str(simulated_server.requests[0].body)


def test_anthropic_writes_once_and_reads_from_then_on() -> None:
    with SimulatedServer(prefix_cache=True) as server:
        model = of_anthropic(server)
        first, second, other = ask(model, request("One"), request("Two, longer"), request("One", RULES, *EXAMPLE))
        told = server.statistics()
    prefix = len(RULES.content) // 4
    assert (first.cached_input, first.cache_write_input) == (0, prefix)
    assert (second.cached_input, second.cache_write_input) == (prefix, 0)
    assert second.input > first.input > prefix
    # Another prefix is another entry, even where it begins the same: what is kept ends at a mark.
    assert (other.cached_input, other.cache_write_input > prefix) == (0, True)
    assert told["prefix_tokens"] == first.cache_write_input + second.cached_input + other.cache_write_input
    assert told["prefix_tokens_hit"] == prefix
    paid = [cost_nano_usd(Model("anthropic:claude-sonnet-4-5"), each) for each in (first, second)]
    assert paid[0] == prefix * 3750 + (first.input - prefix) * 3000 + first.output * 15_000
    assert paid[1] == prefix * 300 + (second.input - prefix) * 3000 + second.output * 15_000


def test_another_schema_is_another_prefix() -> None:
    other = AnswerSchema.of("other", {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})
    with SimulatedServer(prefix_cache=True) as server:
        for model in (of_anthropic(server), Model("openai:m", base_url=server.openai_url, api_key=None)):
            _, changed, again = ask(model, request("One"), replace(request("One"), schema=other), request("Two"))
            assert changed.cached_input == 0
            assert again.cached_input > 1024


@pytest.mark.parametrize("name", ["openai:m", "anthropic:claude-sonnet-4-5"])
def test_rows_differ_in_nothing_but_the_row(simulated_server: SimulatedServer, name: str) -> None:
    url = simulated_server.openai_url if name == "openai:m" else simulated_server.anthropic_url
    ask(Model(name, base_url=url, api_key=None), request("One row", RULES, *EXAMPLE), request("Two", RULES, *EXAMPLE))
    one, two = (json.dumps(each.body) for each in simulated_server.requests)
    assert one.replace("One row", "Two") == two


def test_openai_keeps_long_prefixes_by_itself_in_whole_blocks() -> None:
    with SimulatedServer(prefix_cache=True) as server:
        model = Model("openai:m", base_url=server.openai_url, api_key=None)
        first, second = ask(model, request("One"), request("Two"))
        short = ask(model, *[request("One", Message("system", "Short."))] * 2)
        told = server.statistics()
    blocks = len(RULES.content) // 4 // 128 * 128
    assert (first.cached_input, second.cached_input) == (0, blocks)
    assert first.cache_write_input == second.cache_write_input == 0
    assert [tokens.cached_input for tokens in short] == [0, 0]
    assert (told["prefix_tokens"], told["prefix_tokens_hit"]) == (2 * blocks, blocks)


def test_what_is_asked_at_once_finds_nothing() -> None:
    with SimulatedServer(prefix_cache=True, latency_s=0.2) as server:
        model = of_anthropic(server)

        async def run() -> list[Tokens]:
            provider = AnthropicProvider(model)
            try:
                sent = await asyncio.gather(*(provider.send(request(row)) for row in ("One", "Two", "Three")))
                return [*(answer.tokens for answer in sent), (await provider.send(request("Four"))).tokens]
            finally:
                await provider.close()

        *together, after = asyncio.run(run())
    assert all(tokens.cache_write_input and not tokens.cached_input for tokens in together)
    assert after.cached_input
    assert not after.cache_write_input
