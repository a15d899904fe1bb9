"""The Anthropic adapter against the simulated server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from infergraph.errors import ConfigurationError
from infergraph.models.anthropic import AnthropicProvider, _response
from infergraph.models.model import AnswerSchema, CallFailed, Message, Model, Request, Response, Tokens
from infergraph.testing import Fault, Limits, SimulatedServer

pytestmark = pytest.mark.usefixtures("no_paid_requests")

SCHEMA = {
    "type": "object",
    "properties": {"product": {"type": "string", "maxLength": 9}, "count": {"type": "integer", "minimum": 1}},
    "required": ["product", "count"],
}
EXTRACT = Request(
    messages=(
        Message("system", "Extract."),
        Message("user", "Two lamps"),
        Message("assistant", "{}"),
        Message("user", "No"),
    ),
    schema=AnswerSchema.of("facts", SCHEMA),
)
HELLO = Request(messages=(Message("user", "Hello"),))


def model(server: SimulatedServer, name: str = "claude-haiku-4-5", **more: Any) -> Model:
    return Model(f"anthropic:{name}", **{"base_url": server.anthropic_url, "api_key": None, "timeout_s": 5, **more})


def ask(asked: Model, request: Request) -> Response:
    async def run() -> Response:
        provider = AnthropicProvider(asked)
        try:
            return await provider.send(request)
        finally:
            await provider.close()

    return asyncio.run(run())


def failure(asked: Model, request: Request = HELLO) -> CallFailed:
    with pytest.raises(CallFailed) as caught:
        ask(asked, request)
    return caught.value


def test_an_answer_fits_the_schema_and_its_usage_is_counted() -> None:
    with SimulatedServer(cached_share=0.5, reasoning_tokens=3) as server:
        response = ask(model(server), EXTRACT)
    assert set(json.loads(response.text)) == {"product", "count"}
    assert response.finish == "stop"
    # Anthropic counts cached input beside input_tokens; ours is part of the whole.
    assert response.tokens.input == -(-len("Extract.\nTwo lamps\n{}\nNo") // 4)
    assert response.tokens.cached_input == response.tokens.input // 2
    assert response.tokens.reasoning == 3


def test_the_body_of_a_model_with_structured_outputs(simulated_server: SimulatedServer) -> None:
    ask(model(simulated_server, reasoning_effort="low"), EXTRACT)
    (request,) = simulated_server.requests
    assert request.path == "/v1/messages"
    assert request.headers["anthropic-version"] >= "2023-06-01"
    assert request.body == {
        "model": "claude-haiku-4-5",
        "max_tokens": 4096,
        "system": "Extract.",
        "messages": [
            {"role": "user", "content": "Two lamps"},
            {"role": "assistant", "content": "{}"},
            {"role": "user", "content": "No"},
        ],
        "output_config": {
            "effort": "low",
            "format": {
                "type": "json_schema",
                "schema": {
                    "type": "object",
                    "properties": {
                        "product": {"type": "string", "description": "(maxLength: 9)"},
                        "count": {"type": "integer", "description": "(minimum: 1)"},
                    },
                    "required": ["product", "count"],
                    "additionalProperties": False,
                },
            },
        },
    }


@pytest.mark.parametrize("name", ["claude-3-5-haiku-latest", "claude-sonnet-4-20250514", "claude-opus-4-0", "smollm"])
def test_a_model_without_structured_outputs_calls_a_tool(simulated_server: SimulatedServer, name: str) -> None:
    response = ask(model(simulated_server, name), EXTRACT)
    body = simulated_server.requests[0].body
    assert body["tool_choice"] == {"type": "tool", "name": "facts"}
    assert body["tools"][0]["input_schema"] == SCHEMA
    assert "output_config" not in body
    # Servers that are not Anthropic's may ignore tools, so that their models read the schema as well.
    assert ('"product"' in body["system"]) == (name == "smollm")
    assert set(json.loads(response.text)) == {"product", "count"}
    assert response.finish == "stop"


@pytest.mark.parametrize(
    "name", ["claude-opus-4-1", "claude-sonnet-4-5-20250929", "claude-opus-4-6", "claude-sonnet-5"]
)
def test_newer_models_take_a_schema(simulated_server: SimulatedServer, name: str) -> None:
    ask(model(simulated_server, name), EXTRACT)
    assert "format" in simulated_server.requests[0].body["output_config"]


def test_a_temperature_goes_with_the_version_that_takes_it(simulated_server: SimulatedServer) -> None:
    ask(model(simulated_server, temperature=0.5), HELLO)
    ask(model(simulated_server), HELLO)
    warm, plain = simulated_server.requests
    assert warm.body["temperature"] == 0.5
    assert warm.headers["anthropic-version"] == "2023-06-01"
    assert "temperature" not in plain.body


def test_a_key_of_the_environment_stays_at_home(
    simulated_server: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret-key")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "secret-token")
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "x-api-key: secret-custom")
    ask(model(simulated_server), HELLO)
    ask(model(simulated_server, api_key="given"), HELLO)
    without, with_key = (request.headers for request in simulated_server.requests)
    assert not {"authorization", "x-api-key"} & without.keys()
    assert with_key["x-api-key"] == "given"
    assert with_key["authorization"] == "Bearer given"
    assert "secret" not in f"{without}{with_key}"


def test_the_environment_cannot_redirect_the_key(
    simulated_server: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret-key")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", simulated_server.anthropic_url)
    with pytest.raises(RuntimeError, match=r"api\.anthropic\.com"):
        ask(Model("anthropic:claude-haiku-4-5"), HELLO)
    assert simulated_server.requests == []


def test_a_missing_key_is_said() -> None:
    with pytest.raises(ConfigurationError, match="ANTHROPIC_API_KEY"):
        AnthropicProvider(Model("anthropic:claude-haiku-4-5")).check_configuration()


@pytest.mark.parametrize(
    ("fault", "outcome", "reason"),
    [
        (Fault(400), "permanent", "bad_request"),
        (Fault(400, message="prompt is too long: 210000 tokens > 200000 maximum"), "permanent", "too_long"),
        (Fault(400, message="Your credit balance is too low to access the Anthropic API."), "fatal", "bad_request"),
        (Fault(401), "fatal", "bad_request"),
        (Fault(403), "fatal", "bad_request"),
        (Fault(404), "fatal", "bad_request"),
        (Fault(413), "permanent", "too_long"),
        (Fault(429), "transient", "bad_request"),
        (Fault(500), "transient", "bad_request"),
        (Fault(529), "transient", "bad_request"),
        (Fault("not_json"), "transient", "bad_request"),
        (Fault("reset"), "transient", "bad_request"),
    ],
    ids=lambda value: str(value.kind) if isinstance(value, Fault) else None,
)
def test_each_failure_says_whose_turn_it_is(fault: Fault, outcome: str, reason: str) -> None:
    with SimulatedServer(faults=[fault]) as server:
        failed = failure(model(server))
    assert (failed.outcome, failed.reason) == (outcome, reason)


def test_limit_headers_and_the_wait_are_passed_on() -> None:
    with SimulatedServer(limits=Limits(requests_per_minute=30)) as server:
        ask(model(server), HELLO)
        failed = failure(model(server))
    assert failed.headers["anthropic-ratelimit-requests-limit"] == "30"
    assert failed.retry_after_s == pytest.approx(2, abs=1)


@pytest.mark.parametrize(
    ("kind", "finish"), [("truncated", "length"), ("refusal", "refusal"), ("empty", "stop"), ("wrong_schema", "stop")]
)
@pytest.mark.parametrize("name", ["claude-haiku-4-5", "claude-3-5-haiku-latest"])
def test_endings(kind: Any, finish: str, name: str) -> None:
    with SimulatedServer(faults=[Fault(kind)]) as server:
        response = ask(model(server, name), EXTRACT)
    assert response.finish == finish
    if kind == "refusal":
        assert "cannot" in response.text


def test_an_embedding_is_refused_with_a_way_out(simulated_server: SimulatedServer) -> None:
    failed = failure(model(simulated_server), Request(embed_text="x"))
    assert failed.outcome == "fatal"
    assert "'local:'" in failed.message
    assert simulated_server.requests == []


def test_what_is_known_without_asking() -> None:
    provider = AnthropicProvider(Model("anthropic:claude-haiku-4-5"))
    assert provider.capabilities.embeds is False
    assert provider.capabilities.context_tokens == 200_000
    assert provider.count_tokens("hello world") == (3, False)
    free = {"type": "object", "properties": {"tags": {"type": "object", "additionalProperties": {"type": "string"}}}}
    assert provider.schema_problems(free) != []
    assert AnthropicProvider(Model("anthropic:claude-3-haiku")).schema_problems(free) == []


@pytest.mark.parametrize(
    "odd",
    [{"usage": []}, {"usage": {"input_tokens": "x", "output_tokens": 10**400, "output_tokens_details": 7}},
     {"stop_reason": "refusal", "stop_details": "because"}],
)  # fmt: skip
def test_a_server_that_counts_or_explains_strangely_is_read_all_the_same(odd: Any) -> None:
    response = _response({"content": [{"type": "text", "text": "Hi"}], **odd}, {})
    assert (response.text, response.tokens) == ("Hi", Tokens())
