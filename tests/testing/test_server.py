"""The simulated server speaks the real protocols: the official clients are the judges."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import anthropic
import jsonschema
import openai
import pytest

from infergraph.testing import Fault, Limits, SimulatedServer

SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["bug", "billing"]}, "day": {"type": "string", "format": "date"}},
    "required": ["kind", "day"],
    "additionalProperties": False,
}
ASKED: list[Any] = [{"role": "user", "content": "My lamp is broken"}]


def of_openai(server: SimulatedServer, key: str = "k") -> openai.OpenAI:
    return openai.OpenAI(api_key=key, base_url=server.openai_url, max_retries=0, timeout=5)


def of_anthropic(server: SimulatedServer) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key="k", base_url=server.anthropic_url, max_retries=0, timeout=5)


def post(server: SimulatedServer, body: Any = None, path: str = "/v1/chat/completions") -> tuple[int, Any, Any]:
    data = json.dumps({"model": "m", "messages": ASKED} if body is None else body).encode()
    try:
        with urlopen(Request(server.url + path, data), timeout=5) as reply:
            return reply.status, json.load(reply), reply.headers
    except HTTPError as error:
        return error.code, json.load(error), error.headers


def test_openai_chat(simulated_server: SimulatedServer) -> None:
    client = of_openai(simulated_server)
    form: Any = {"type": "json_schema", "json_schema": {"name": "s", "strict": True, "schema": SCHEMA}}
    answer = client.chat.completions.create(model="gpt-5-mini", messages=ASKED, response_format=form)
    again = client.chat.completions.create(model="gpt-5-mini", messages=ASKED, response_format=form)
    text = answer.choices[0].message.content
    assert text is not None
    jsonschema.validate(json.loads(text), SCHEMA)
    assert again.choices[0].message.content == text
    assert again.id != answer.id
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert simulated_server.requests[0].headers["authorization"] == "Bearer k"


def test_openai_embeddings_in_both_encodings(simulated_server: SimulatedServer) -> None:
    client = of_openai(simulated_server)
    packed = client.embeddings.create(model="e", input=["a", "b"], dimensions=8)
    plain = client.embeddings.create(model="e", input=["a", "b"], dimensions=8, encoding_format="float")
    assert [len(item.embedding) for item in packed.data] == [8, 8]
    assert packed.data[1].embedding == pytest.approx(plain.data[1].embedding, rel=1e-6)
    assert len(client.embeddings.create(model="e", input="a").data[0].embedding) == 64


def test_anthropic_messages_with_a_schema_and_with_a_tool(simulated_server: SimulatedServer) -> None:
    client = of_anthropic(simulated_server)
    form: Any = {"format": {"type": "json_schema", "schema": SCHEMA}}
    direct = client.messages.create(model="claude-haiku-4-5", max_tokens=99, messages=ASKED, output_config=form)
    assert direct.content[0].type == "text"
    jsonschema.validate(json.loads(direct.content[0].text), SCHEMA)
    assert direct.stop_reason == "end_turn"
    tool: Any = {"name": "t", "input_schema": SCHEMA}
    called = client.messages.create(
        model="m", max_tokens=99, messages=ASKED, tools=[tool], tool_choice={"type": "tool", "name": "t"}
    )
    assert called.content[0].type == "tool_use"
    jsonschema.validate(called.content[0].input, SCHEMA)
    assert called.stop_reason == "tool_use"


@pytest.mark.parametrize(
    ("status", "ours", "theirs"),
    [
        (400, openai.BadRequestError, anthropic.BadRequestError),
        (401, openai.AuthenticationError, anthropic.AuthenticationError),
        (404, openai.NotFoundError, anthropic.NotFoundError),
        (429, openai.RateLimitError, anthropic.RateLimitError),
        (500, openai.InternalServerError, anthropic.InternalServerError),
        (529, openai.InternalServerError, anthropic.APIStatusError),
    ],
)
def test_errors_are_the_official_clients_errors(status: int, ours: Any, theirs: Any) -> None:
    with SimulatedServer(faults=[Fault(status)]) as server:
        with pytest.raises(ours):
            of_openai(server).chat.completions.create(model="m", messages=ASKED)
        with pytest.raises(theirs):
            of_anthropic(server).messages.create(model="m", max_tokens=9, messages=ASKED)


def test_keys_and_models_are_checked() -> None:
    with SimulatedServer(api_key="right", models=["known"]) as server:
        with pytest.raises(openai.AuthenticationError):
            of_openai(server, "wrong").chat.completions.create(model="known", messages=ASKED)
        client = of_openai(server, "right")
        with pytest.raises(openai.NotFoundError, match="unknown"):
            client.chat.completions.create(model="unknown", messages=ASKED)
        assert client.chat.completions.create(model="known", messages=ASKED).choices
        assert [entry.id for entry in client.models.list()] == ["known"]


def test_an_answer_of_ones_own() -> None:
    with SimulatedServer(answer=lambda body: {"echo": body["messages"][0]["content"]}) as server:
        text = of_openai(server).chat.completions.create(model="m", messages=ASKED).choices[0].message.content
    assert text == '{"echo": "My lamp is broken"}'


def test_the_first_tries_of_each_request_fail() -> None:
    with SimulatedServer(faults=[Fault(500, first=2), Fault(429, first=3, retry_after_s=0.5)]) as server:
        tries = [post(server) for _ in range(5)]
        other, *_ = post(server, {"model": "m", "messages": []})
    assert [status for status, *_ in tries] == [500, 500, 429, 200, 200]
    assert tries[2][2]["retry-after"] == "0.5"
    assert other == 500


def test_a_rate_of_faults_is_kept_and_repeats() -> None:
    def struck() -> list[int]:
        with SimulatedServer(faults=[Fault(500, rate=0.3)]) as server:
            return [post(server, {"model": "m", "messages": [{"content": str(n)}]})[0] for n in range(300)]

    first = struck()
    assert 60 <= first.count(500) <= 120
    assert struck() == first


def test_a_predicate_chooses_who_meets_a_fault() -> None:
    fault = Fault(400, when=lambda body: "lamp" in str(body["messages"]))
    with SimulatedServer(faults=[fault]) as server:
        assert post(server)[0] == 400
        assert post(server, {"model": "m", "messages": []})[0] == 200


def test_an_unknown_fault_is_refused() -> None:
    with pytest.raises(ValueError, match="hang"):
        Fault("hnag")  # type: ignore[arg-type]


def test_requests_a_minute_are_spread_evenly() -> None:
    with SimulatedServer(limits=Limits(requests_per_minute=600, burst_s=0.2), keep_requests=False) as server:
        begun = time.monotonic()
        while server.statuses[200] < 12:
            status, _, headers = post(server)
            if status == 429:
                time.sleep(float(headers["retry-after"]))
        seconds = time.monotonic() - begun
        assert server.requests == []
    assert 0.9 <= seconds <= 2.0, "2 at once, then one each 0.1 s"


def test_tokens_a_minute_count_the_room_too() -> None:
    with SimulatedServer(limits=Limits(tokens_per_minute=6000)) as server:
        spacious = {"model": "m", "messages": ASKED, "max_tokens": 95}
        assert post(server, spacious)[0] == 200
        status, body, headers = post(server, spacious)
    assert status == 429
    assert body["error"]["code"] == "rate_limit_exceeded"
    assert headers["x-ratelimit-limit-tokens"] == "6000"


def test_slots_and_latency() -> None:
    with SimulatedServer(limits=Limits(slots=2), latency_s=0.3) as server, ThreadPoolExecutor(6) as pool:
        statuses = [status for status, *_ in pool.map(lambda _: post(server), range(6))]
        assert sorted(statuses) == [200, 200, 429, 429, 429, 429]
        assert server.max_in_flight >= 3


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [("/v1/nothing", {}, 404), ("/v1/chat/completions", [1], 400), ("/v1/messages", "text", 400)],
)
def test_nonsense_is_answered(simulated_server: SimulatedServer, path: str, body: Any, status: int) -> None:
    assert post(simulated_server, body, path)[0] == status


def test_it_runs_as_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "infergraph.testing", "--fault", "500=1", "--latency", "0.01"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with pytest.raises(HTTPError, match="500"):
            urlopen(Request(url + "/v1/chat/completions", b"{}"), timeout=5)
        process.terminate()
        assert process.wait(timeout=10) == 0


def test_it_stops_with_requests_open_and_starts_again_at_the_same_address() -> None:
    server = SimulatedServer(faults=[Fault("hang", first=1)])
    with server, ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(post, server)
        while not server.requests:
            time.sleep(0.01)
        url = server.url
        server.stop()
        with pytest.raises(OSError, match=r"closed|reset|refused"):
            hanging.result(timeout=5)
        server.start()
        assert server.url == url
        assert post(server)[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/v1/chat/completions", {"model": "m", "messages": "x"}, "messages: must be an array"),
        ("/v1/chat/completions", {"model": "m", "messages": ["x"]}, "messages: each is an object"),
        ("/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": 7}]}, "messages: each is"),
        ("/v1/chat/completions", {"model": "m", "messages": ASKED, "stream": True}, "does not stream"),
        ("/v1/chat/completions", {"model": "m", "messages": ASKED, "response_format": "json"}, "response_format"),
        ("/v1/chat/completions", {"model": "m", "messages": ASKED, "max_completion_tokens": "9"}, "a whole number"),
        ("/v1/messages", {"model": "m", "messages": "x"}, "messages: must be an array"),
        ("/v1/messages", {"model": "m", "messages": ASKED, "stream": True}, "does not stream"),
        ("/v1/embeddings", {"model": "m", "input": {}}, "input: must be"),
    ],
)
def test_a_body_that_the_real_servers_refuse(
    simulated_server: SimulatedServer, path: str, body: Any, said: str
) -> None:
    status, reply, _ = post(simulated_server, body, path)
    assert status == 400
    assert said in reply["error"]["message"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("bogus=1", "there is no such fault"),
        ("429=abc", "a number from 0 to 1"),
        ("429=2", "a number from 0 to 1"),
        ("7=1", "no such fault"),
    ],
)
def test_a_fault_on_the_command_line_that_is_none(fault: str, said: str) -> None:
    command = [sys.executable, "-m", "infergraph.testing", "--fault", fault]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "error: argument --fault:" in ended.stderr
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
