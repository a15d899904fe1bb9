"""The OpenAI adapter against the simulated server: what goes on the wire, and what each answer means."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from infergraph.errors import ConfigurationError
from infergraph.models.model import AnswerSchema, CallFailed, Message, Model, Price, Request, Response, Tokens
from infergraph.models.openai import OpenAIProvider, _chat_response
from infergraph.testing import Fault, Limits, SimulatedServer

pytestmark = pytest.mark.usefixtures("no_paid_requests")

SCHEMA = {
    "type": "object",
    "properties": {"product": {"type": "string"}, "urgent": {"type": "boolean", "default": False}},
    "required": ["product"],
}
EXTRACT = Request(
    messages=(Message("system", "Extract the facts."), Message("user", "My lamp is broken — ärgerlich.")),
    schema=AnswerSchema.of("facts", SCHEMA),
    max_output_tokens=300,
)
HELLO = Request(messages=(Message("user", "Hello"),))


def model(server: SimulatedServer, name: str = "qwen3-8b", **more: Any) -> Model:
    return Model(f"openai:{name}", **{"base_url": server.openai_url, "api_key": None, "timeout_s": 5, **more})


def ask(asked: Model, *requests: Request) -> list[Response]:
    async def run() -> list[Response]:
        provider = OpenAIProvider(asked)
        try:
            return [await provider.send(request) for request in requests]
        finally:
            await provider.close()

    return asyncio.run(run())


def failure(asked: Model, request: Request = HELLO) -> CallFailed:
    with pytest.raises(CallFailed) as caught:
        ask(asked, request)
    return caught.value


def test_an_answer_fits_the_schema_and_its_usage_is_counted() -> None:
    with SimulatedServer(cached_share=0.5, reasoning_tokens=7) as server:
        (response,) = ask(model(server), EXTRACT)
    answer = json.loads(response.text)
    assert set(answer) == {"product", "urgent"}
    assert response.finish == "stop"
    assert response.model_id == "qwen3-8b"
    assert response.tokens.input > 0
    assert response.tokens.cached_input == response.tokens.input // 2
    assert response.tokens.reasoning == 7
    assert response.tokens.output == 7 + -(-len(response.text) // 4)


def test_the_body_is_what_a_compatible_server_expects(simulated_server: SimulatedServer) -> None:
    ask(model(simulated_server, temperature=0, reasoning_effort="low"), EXTRACT)
    (request,) = simulated_server.requests
    assert request.path == "/v1/chat/completions"
    body = dict(request.body)
    sent = body.pop("response_format")
    assert body == {
        "model": "qwen3-8b",
        "messages": [
            {"role": "system", "content": "Extract the facts."},
            {"role": "user", "content": "My lamp is broken — ärgerlich."},
        ],
        "max_tokens": 300,
        "temperature": 0,
        "reasoning_effort": "low",
    }
    assert sent["type"] == "json_schema"
    assert sent["json_schema"]["strict"] is True
    assert sent["json_schema"]["schema"]["required"] == ["product", "urgent"]
    assert sent["json_schema"]["schema"]["additionalProperties"] is False


def test_a_schema_with_free_keys_is_sent_as_it_is_to_a_compatible_server(simulated_server: SimulatedServer) -> None:
    free = {"type": "object", "properties": {"tags": {"type": "object", "additionalProperties": {"type": "string"}}}}
    asked = model(simulated_server)
    assert OpenAIProvider(asked).schema_problems(free) == []
    ask(asked, Request(messages=HELLO.messages, schema=AnswerSchema.of("free", free)))
    sent = simulated_server.requests[0].body["response_format"]["json_schema"]
    assert sent["strict"] is False
    assert sent["schema"] == free


def test_a_key_of_the_environment_stays_at_home(
    simulated_server: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, f"secret-of-{name.lower()}")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer secret-custom\nX-Gateway: secret-gateway")
    ask(model(simulated_server), HELLO)
    ask(model(simulated_server, api_key="given-key"), HELLO)
    without, with_key = (request.headers for request in simulated_server.requests)
    assert "authorization" not in without
    assert with_key["authorization"] == "Bearer given-key"
    for headers in (without, with_key):
        assert "secret" not in str(headers)


def test_the_environment_cannot_redirect_the_key(
    simulated_server: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    monkeypatch.setenv("OPENAI_BASE_URL", simulated_server.openai_url)
    with pytest.raises(RuntimeError, match=r"api\.openai\.com"):
        ask(Model("openai:gpt-5-mini"), HELLO)
    assert simulated_server.requests == []


def test_a_redirect_is_not_followed_with_the_key() -> None:
    async def run() -> tuple[CallFailed, bytes]:
        seen = b""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal seen
            seen += await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 307 Moved\r\nLocation: http://elsewhere.invalid/v1\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            asked = Model("openai:m", base_url=f"http://127.0.0.1:{port}/v1", api_key="k", timeout_s=5)
            provider = OpenAIProvider(asked)
            with pytest.raises(CallFailed) as caught:
                await provider.send(HELLO)
            await provider.close()
        return caught.value, seen

    failed, seen = asyncio.run(run())
    assert failed.outcome == "fatal"
    assert "http://elsewhere.invalid/v1" in failed.message
    assert b"Bearer k" in seen


def test_netrc_is_not_sent(simulated_server: SimulatedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password hunter2\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    ask(model(simulated_server), HELLO)
    assert "authorization" not in simulated_server.requests[0].headers


def test_a_proxy_of_the_environment_is_used_but_not_for_this_machine(
    simulated_server: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", simulated_server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    far = Model("openai:m", base_url="http://no-such-host.invalid/v1", api_key=None, timeout_s=5)
    assert "http://no-such-host.invalid/v1/chat/completions" in failure(far).message
    monkeypatch.setenv("no_proxy", "no-such-host.invalid")
    assert failure(far).unreachable
    assert ask(model(simulated_server), HELLO)[0].text


def test_a_proxy_that_only_passes_on_does_not_see_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[bytes] = []

    def listen() -> None:
        connection, _ = proxy.accept()
        with connection:
            heard.append(connection.recv(65_536))

    with socket.create_server(("127.0.0.1", 0)) as proxy:
        listener = Thread(target=listen)
        listener.start()
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        failure(Model("openai:m", base_url="https://no-such-host.invalid/v1", api_key="hunter22", timeout_s=5))
        listener.join(5)
    assert heard[0].startswith(b"CONNECT no-such-host.invalid:443")
    assert b"hunter22" not in heard[0]


def test_a_forked_process_opens_its_own_connections(simulated_server: SimulatedServer) -> None:
    code = (
        "import asyncio, os, sys\n"
        "from infergraph.models.openai import OpenAIProvider\n"
        "from infergraph.models.model import Message, Model, Request\n"
        "provider = OpenAIProvider(Model('openai:m', base_url=sys.argv[1], api_key=None, timeout_s=5))\n"
        "hello = Request(messages=(Message('user', 'Hello'),))\n"
        "loop = asyncio.new_event_loop()\n"
        "loop.run_until_complete(provider.send(hello))\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    asyncio.run(provider.send(hello))\n"
        "    os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "loop.run_until_complete(provider.send(hello))\n"
        "loop.run_until_complete(provider.close())\n"
    )
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code, simulated_server.openai_url]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert len(simulated_server.requests) == 3


def test_a_missing_key_is_said_before_anything_is_sent() -> None:
    provider = OpenAIProvider(Model("openai:gpt-5-mini"))
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        provider.check_configuration()
    failed = failure(Model("openai:gpt-5-mini"))
    assert failed.outcome == "fatal"
    assert "OPENAI_API_KEY" in failed.message


@pytest.mark.parametrize("url", ["gpu-box:8000/v1", "ftp://gpu-box/v1", "http://"])
def test_an_address_that_is_none_is_said(url: str) -> None:
    with pytest.raises(ConfigurationError, match="no address"):
        OpenAIProvider(Model("openai:m", base_url=url, api_key=None)).check_configuration()


@pytest.mark.parametrize(
    ("fault", "outcome", "reason"),
    [
        (Fault(400), "permanent", "bad_request"),
        (Fault(400, code="context_length_exceeded", message="Too long."), "permanent", "too_long"),
        (Fault(400, message="This model's maximum context length is 4096 tokens"), "permanent", "too_long"),
        (Fault(400, code="content_filter", message="Filtered."), "permanent", "content_filtered"),
        (Fault(400, code="unsupported_parameter", message="No temperature."), "fatal", "bad_request"),
        (Fault(401), "fatal", "bad_request"),
        (Fault(403), "fatal", "bad_request"),
        (Fault(404), "fatal", "bad_request"),
        (Fault(408), "transient", "timeout"),
        (Fault(409), "transient", "bad_request"),
        (Fault(413), "permanent", "too_long"),
        (Fault(422), "permanent", "bad_request"),
        (Fault(429), "transient", "bad_request"),
        (Fault(429, code="insufficient_quota"), "fatal", "bad_request"),
        (Fault(500), "transient", "bad_request"),
        (Fault(503), "transient", "bad_request"),
        (Fault(529), "transient", "bad_request"),
        (Fault("reset"), "transient", "bad_request"),
        (Fault("not_json"), "transient", "bad_request"),
    ],
    ids=lambda value: f"{value.kind}-{value.code}" if isinstance(value, Fault) else None,
)
def test_each_failure_says_whose_turn_it_is(fault: Fault, outcome: str, reason: str) -> None:
    with SimulatedServer(faults=[fault]) as server:
        failed = failure(model(server))
        assert len(server.requests) == 1, "the adapter itself never asks twice"
    assert (failed.outcome, failed.reason) == (outcome, reason)
    assert failed.status == (fault.kind if isinstance(fault.kind, int) else 200 if fault.kind == "not_json" else None)
    assert not failed.unreachable
    assert "openai:qwen3-8b" in failed.message


@pytest.mark.parametrize(
    ("more", "said"),
    [({"api_key": "given-key"}, "does not take the api_key"), ({}, "api_key=None sends none")],
)
def test_a_wrong_key_is_told_without_showing_it(more: Mapping[str, Any], said: str) -> None:
    with SimulatedServer(api_key="right") as server:
        failed = failure(model(server, **more))
    assert failed.outcome == "fatal"
    assert said in failed.message
    assert "given-key" not in failed.message


def test_a_server_that_repeats_the_key_does_not_get_it_into_the_message() -> None:
    with SimulatedServer(faults=[Fault(401, message="Incorrect API key: hunter2hunter2")]) as server:
        failed = failure(model(server, api_key="hunter2hunter2"))
    assert "hunter2" not in failed.message


def test_an_unknown_model_is_named() -> None:
    with SimulatedServer(models=["other"]) as server:
        failed = failure(model(server))
        assert ask(model(server, "other"), HELLO)[0].text
    assert failed.outcome == "fatal"
    assert "'qwen3-8b'" in failed.message


def test_a_wrong_path_is_explained(simulated_server: SimulatedServer) -> None:
    failed = failure(model(simulated_server, base_url=simulated_server.url))
    assert failed.outcome == "fatal"
    assert "'/v1'" in failed.message


def test_limit_headers_and_the_wait_are_passed_on() -> None:
    with SimulatedServer(limits=Limits(requests_per_minute=60), faults=[]) as server:
        (response,) = ask(model(server), HELLO)
        failed = failure(model(server))
    assert response.headers["x-ratelimit-limit-requests"] == "60"
    assert set(response.headers) == {f"x-ratelimit-{part}-requests" for part in ("limit", "remaining", "reset")}
    assert failed.status == 429
    assert failed.outcome == "transient"
    assert failed.retry_after_s == pytest.approx(1, abs=0.5)
    assert failed.headers["x-ratelimit-remaining-requests"] == "0"


def test_a_hanging_server_times_out() -> None:
    with SimulatedServer(faults=[Fault("hang")]) as server:
        failed = failure(model(server, timeout_s=0.2))
    assert (failed.outcome, failed.reason) == ("transient", "timeout")
    assert "0.2 seconds" in failed.message


def test_a_dripping_answer_times_out_too() -> None:
    with SimulatedServer(faults=[Fault("slow_drip", seconds=5)]) as server:
        failed = failure(model(server, timeout_s=0.3))
    assert failed.reason == "timeout"


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    failed = failure(Model("openai:m", base_url=url, api_key=None, timeout_s=5))
    assert failed.outcome == "transient"
    assert failed.unreachable
    assert url in failed.message


def test_no_such_host() -> None:
    failed = failure(Model("openai:m", base_url="http://no-such-host.invalid/v1", api_key=None, timeout_s=20))
    assert failed.outcome == "transient"
    assert failed.unreachable
    assert "no-such-host.invalid" in failed.message


@pytest.mark.parametrize(
    ("kind", "finish", "check"),
    [
        ("truncated", "length", lambda text: text),
        ("refusal", "refusal", lambda text: "cannot" in text),
        ("content_filter", "content_filter", lambda text: text == ""),
        ("empty", "stop", lambda text: text == ""),
        ("wrong_schema", "stop", lambda text: "unexpected" in text),
    ],
)
def test_endings(kind: Any, finish: str, check: Callable[[str], bool]) -> None:
    with SimulatedServer(faults=[Fault(kind)]) as server:
        (response,) = ask(model(server), EXTRACT)
    assert response.finish == finish
    assert check(response.text)
    assert response.tokens.input > 0


def test_too_little_room_cuts_the_answer() -> None:
    with SimulatedServer(answer=lambda _: "word " * 100) as server:
        (response,) = ask(model(server, max_output_tokens=5), HELLO)
    assert response.finish == "length"
    assert response.tokens.output == 5


def test_embeddings_are_unit_vectors_of_the_wanted_length(simulated_server: SimulatedServer) -> None:
    (response,) = ask(model(simulated_server, "nomic-embed", dimensions=16), Request(embed_text="a red car"))
    assert response.embedding is not None
    assert len(response.embedding) == 16
    assert math.hypot(*response.embedding) == pytest.approx(1)
    assert response.tokens == Tokens(input=3)
    assert simulated_server.requests[0].body == {
        "model": "nomic-embed",
        "input": "a red car",
        "encoding_format": "float",
        "dimensions": 16,
    }


def test_base64_vectors_are_read() -> None:
    from infergraph.models.openai import _vector

    assert _vector("AACAPwAAAMA=") == struct.unpack("<2f", bytes.fromhex("0000803f000000c0")) == (1.0, -2.0)


def test_surrogates_in_a_text_do_not_break_the_request(simulated_server: SimulatedServer) -> None:
    ask(model(simulated_server), Request(messages=(Message("user", "half a pair: \ud83d"),)))
    assert simulated_server.requests[0].body["messages"][0]["content"].startswith("half a pair")


def test_one_provider_serves_several_event_loops(simulated_server: SimulatedServer) -> None:
    provider = OpenAIProvider(model(simulated_server))
    for _ in range(2):

        async def once() -> None:
            await provider.send(HELLO)
            await provider.close()

        asyncio.run(once())
    assert len(simulated_server.requests) == 2


def test_many_at_once_share_connections() -> None:
    async def run(server: SimulatedServer) -> list[Response]:
        provider = OpenAIProvider(model(server))
        try:
            asked = [Request(messages=(Message("user", str(number)),)) for number in range(100)]
            return await asyncio.gather(*map(provider.send, asked))
        finally:
            await provider.close()

    with SimulatedServer(answer=lambda body: body["messages"][0]["content"], latency_s=0.05) as server:
        answers = asyncio.run(run(server))
        assert server.max_in_flight > 50
    assert [answer.text for answer in answers] == [str(number) for number in range(100)]


def test_what_is_known_without_asking() -> None:
    chat = OpenAIProvider(Model("openai:gpt-5-mini")).capabilities
    assert (chat.chat, chat.embeds, chat.context_tokens) == (True, False, 400_000)
    vectors = OpenAIProvider(Model("openai:text-embedding-3-small")).capabilities
    assert (vectors.chat, vectors.embeds, vectors.dimensions) == (False, True, 1536)
    own = OpenAIProvider(Model("openai:gpt-5-mini", base_url="http://box/v1", api_key=None)).capabilities
    assert (own.chat, own.embeds, own.context_tokens) == (True, True, None)
    assert OpenAIProvider(Model("openai:gpt-4o")).count_tokens("hello world") == (2, True)
    assert OpenAIProvider(Model("openai:gpt-4o", base_url="http://b/v1", api_key=None)).count_tokens("hi")[1] is False


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("https://acme.openai.azure.com/openai/v1", "max_completion_tokens"),
        ("https://eu.api.openai.com/v1", "max_completion_tokens"),
        ("https://api.openai.com.evil.example/v1", "max_tokens"),
        ("https://evilapi.openai.com.example/v1", "max_tokens"),
    ],
)
def test_only_openais_own_kind_of_host_gets_its_dialect(url: str, word: str) -> None:
    provider = OpenAIProvider(Model("openai:gpt-5-mini", base_url=url, api_key="k", price=Price(input=1, output=1)))
    assert provider._chat_body(EXTRACT)[word] == 300


@pytest.mark.parametrize(
    "usage",
    [None, [], "many", {"prompt_tokens": "x", "completion_tokens": 1e400}, {"prompt_tokens": 10**400},
     {"prompt_tokens": -5, "prompt_tokens_details": [], "completion_tokens_details": "none"}],
)  # fmt: skip
def test_a_server_that_counts_strangely_counts_nothing(usage: Any) -> None:
    said = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}], "usage": usage}
    assert _chat_response(said, {}) == Response(text="Hi")


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"choices": ' + b"1" * 5000 + b"}"])
def test_json_that_python_does_not_read_may_pass(body: bytes) -> None:
    with pytest.raises(CallFailed) as caught:
        OpenAIProvider(Model("openai:m", api_key="k"))._line._judged(200, body, {})
    assert caught.value.outcome == "transient"
