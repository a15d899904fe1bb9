"""A simulated model server: real protocols over real HTTP, answers made to fit, limits and faults as ordered.

It speaks OpenAI chat completions and embeddings, and Anthropic messages. Point a model's ``base_url`` at
it and a pipeline is tested with everything but the model: official clients, retries, limits, broken answers.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from infergraph.models.sample import sample_answer, sample_text
from infergraph.testing.faults import Bucket, Fault, Limits
from infergraph.testing.http_server import CutConnection, HttpRequest, HttpServer, Reply
from infergraph.testing.wires import AnthropicWire, Counts, OpenAIWire, Stop, Wire, rough_tokens

_CHAT, _EMBED, _MESSAGES = "/v1/chat/completions", "/v1/embeddings", "/v1/messages"
_OPENAI, _ANTHROPIC = OpenAIWire(), AnthropicWire()
_WIRES: Mapping[str, Wire] = {_CHAT: _OPENAI, _EMBED: _OPENAI, _MESSAGES: _ANTHROPIC}


@dataclass(frozen=True, slots=True)
class SimulatedRequest:
    """One request that the server received."""

    path: str
    headers: Mapping[str, str]
    """Header names are lower-case."""
    body: Mapping[str, Any]
    at: float
    """Seconds of ``time.monotonic``."""


class SimulatedServer:
    """A model server on 127.0.0.1 that runs in a thread of this process while it is used as a context manager.

    Args:
        answer: Makes the answer from the request's JSON body: text, or a dict or list that becomes JSON;
            ``None``: made up, fitting the request's JSON schema, the same for the same request.
        latency_s: Seconds before each answer, or a function of the request's JSON body.
        limits: What it enforces with 429.
        faults: What goes wrong; the first that strikes wins.
        api_key: The only key it takes; ``None``: any key or none.
        models: The only model ids it knows; ``None``: any.
        dimensions: Length of its embeddings where a request asks for none.
        cached_share: Share of the input tokens said to be read from a prompt cache, 0 to 1.
        reasoning_tokens: Reasoning tokens said to be part of every answer.
        keep_requests: Whether ``requests`` is filled; switch it off for long runs.
        port: The port; 0: any free one.

    Example:
        >>> from urllib.request import Request, urlopen
        >>> with SimulatedServer(answer=lambda body: "Hello") as server:
        ...     question = b'{"model": "m", "messages": [{"role": "user", "content": "Hi"}]}'
        ...     reply = json.load(urlopen(Request(server.openai_url + "/chat/completions", question)))
        >>> reply["choices"][0]["message"]["content"]
        'Hello'
        >>> len(server.requests)
        1
    """

    def __init__(
        self,
        *,
        answer: Callable[[Mapping[str, Any]], Any] | None = None,
        latency_s: float | Callable[[Mapping[str, Any]], float] = 0.0,
        limits: Limits | None = None,
        faults: Sequence[Fault] = (),
        api_key: str | None = None,
        models: Sequence[str] | None = None,
        dimensions: int = 64,
        cached_share: float = 0.0,
        reasoning_tokens: int = 0,
        keep_requests: bool = True,
        port: int = 0,
    ) -> None:
        self.answer = answer
        self.latency_s = latency_s
        self.faults = faults
        self.api_key = api_key
        self.models = models
        self.requests: list[SimulatedRequest] = []
        self.statuses: Counter[int] = Counter()
        self.max_in_flight = 0
        self._limits = limits or Limits()
        self._dimensions = dimensions
        self._cached_share = cached_share
        self._reasoning_tokens = reasoning_tokens
        self._keep_requests = keep_requests
        self._wanted_port = port
        self._in_flight = 0
        self._number = 0
        self._tries: Counter[bytes] = Counter()
        self._buckets = tuple(
            None if per_minute is None else Bucket(per_minute, self._limits.burst_s)
            for per_minute in (self._limits.requests_per_minute, self._limits.tokens_per_minute)
        )
        self._http: HttpServer | None = None

    def __enter__(self) -> SimulatedServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to listen; a second call does nothing."""
        if self._http is None:
            self._http = HttpServer(self._handle, port=self._wanted_port)
            self._wanted_port = self._http.port

    def stop(self) -> None:
        """Close every connection and the port; it may be started again and then has the same address."""
        if self._http is not None:
            self._http.stop()
            self._http = None

    @property
    def url(self) -> str:
        """``http://127.0.0.1:<port>``."""
        return f"http://127.0.0.1:{self._wanted_port}"

    @property
    def openai_url(self) -> str:
        """What an OpenAI client takes as its ``base_url``: with ``/v1`` at the end."""
        return f"{self.url}/v1"

    @property
    def anthropic_url(self) -> str:
        """What an Anthropic client takes as its ``base_url``: without ``/v1``."""
        return self.url

    async def _handle(self, request: HttpRequest) -> Reply:
        self._in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self._in_flight)
        try:
            reply = await self._reply(request)
        finally:
            self._in_flight -= 1
        self.statuses[reply.status] += 1
        return reply

    async def _reply(self, request: HttpRequest) -> Reply:
        if request.method == "GET" and request.path == "/v1/models":
            return _json(200, {"object": "list", "data": [{"id": m, "object": "model"} for m in self.models or ()]})
        wire = _WIRES.get(request.path)
        try:
            body = json.loads(request.body)
        except (ValueError, RecursionError):
            body = None
        if wire is None or request.method != "POST":
            return _json(404, _OPENAI.error(404, "unknown_url", f"Unknown URL {request.method} {request.path}"))
        if not isinstance(body, dict):
            return _json(400, wire.error(400, None, "The body is not a JSON object."))
        if (problem := _problem(body, embeds=request.path == _EMBED)) is not None:
            return _json(400, wire.error(400, None, problem))
        if self._keep_requests:
            self.requests.append(SimulatedRequest(request.path, request.headers, body, time.monotonic()))
        return self._refused(wire, request, body) or await self._worked_on(wire, request, body)

    def _refused(self, wire: Wire, request: HttpRequest, body: Mapping[str, Any]) -> Reply | None:
        if self.api_key is not None and wire.key_of(request.headers) != self.api_key:
            return _json(401, wire.error(401, None, ""))
        if self.models is not None and body.get("model") not in self.models:
            return _json(404, wire.error(404, None, f"The model '{body.get('model')}' does not exist."))
        wait = self._over_limit(wire, body)
        if wait > 0:
            headers = {"retry-after": f"{wait:.3f}", **wire.limit_headers(*self._buckets)}
            return _json(429, wire.error(429, None, ""), headers)
        return None

    def _over_limit(self, wire: Wire, body: Mapping[str, Any]) -> float:
        requests, tokens = self._buckets
        if self._limits.slots is not None and self._in_flight > self._limits.slots:
            return 0.05
        wait = requests.take(1) if requests else 0.0
        if wait or tokens is None:
            return wait
        wait = tokens.take(rough_tokens(wire.prompt(body)) + (wire.room(body) or 16))
        if wait and requests:
            requests.give_back(1)
        return wait

    async def _worked_on(self, wire: Wire, request: HttpRequest, body: Mapping[str, Any]) -> Reply:
        fault = self._fault(body, request.body)
        if fault is not None and fault.kind == "reset":
            raise CutConnection
        if fault is not None and fault.kind == "hang":
            await asyncio.sleep(fault.seconds)
        latency = self.latency_s(body) if callable(self.latency_s) else self.latency_s
        if latency > 0:
            await asyncio.sleep(latency)
        headers = wire.limit_headers(*self._buckets)
        if fault is not None and isinstance(fault.kind, int):
            if fault.retry_after_s is not None:
                headers["retry-after"] = f"{fault.retry_after_s:g}"
            return _json(fault.kind, wire.error(fault.kind, fault.code, fault.message or ""), headers)
        if fault is not None and fault.kind == "not_json":
            return Reply(200, b"<html><body>Bad gateway</body></html>", headers, "text/html")
        payload = (
            _OPENAI.vectors(body, self._dimensions)
            if request.path == _EMBED
            else self._chat(wire, body, request.body, fault)
        )
        return _json(200, payload, headers, fault.seconds if fault and fault.kind == "slow_drip" else 0.0)

    def _fault(self, body: Mapping[str, Any], raw: bytes) -> Fault | None:
        if not self.faults:
            return None
        key = blake2b(raw, digest_size=12).digest()
        tries = self._tries[key]
        self._tries[key] += 1
        return next((fault for fault in self.faults if fault.strikes(body, raw, tries)), None)

    def _chat(self, wire: Wire, body: Mapping[str, Any], raw: bytes, fault: Fault | None) -> dict[str, Any]:
        prompt = wire.prompt(body)
        text, stop = _spoiled(self._text(wire, body, raw), fault)
        room = wire.room(body)
        if stop == "stop" and room is not None and rough_tokens(text) > room:
            text, stop = text[: room * 4], "length"
        count = rough_tokens(prompt)
        counts = Counts(
            input=count,
            cached=int(count * self._cached_share),
            output=rough_tokens(text) + self._reasoning_tokens,
            reasoning=self._reasoning_tokens,
        )
        self._number += 1
        return wire.answer(body, self._number, text, stop, counts)

    def _text(self, wire: Wire, body: Mapping[str, Any], raw: bytes) -> str:
        if self.answer is not None:
            made = self.answer(body)
            return made if isinstance(made, str) else json.dumps(made, ensure_ascii=False)
        key = raw.decode("utf-8", "replace")
        schema = wire.schema(body)
        return sample_text(key) if schema is None else json.dumps(sample_answer(schema, key))


def _problem(body: Mapping[str, Any], *, embeds: bool) -> str | None:
    """What is wrong with a request's body: only what could not be answered; the real servers look at far more."""
    if body.get("stream"):
        return "stream: this simulated server does not stream. Leave it out."
    for name in ("response_format", "output_config", "tool_choice"):
        if not isinstance(body.get(name) or {}, Mapping):
            return f"{name}: must be an object."
    if embeds:
        return None if isinstance(body.get("input", ""), (str, list)) else "input: must be a string or an array."
    messages = body.get("messages", [])
    if not isinstance(messages, list):
        return "messages: must be an array."
    if not all(isinstance(message, Mapping) and _is_content(message.get("content")) for message in messages):
        return "messages: each is an object with a role and a content, which is a string or an array of parts."
    return None


def _is_content(content: object) -> bool:
    parts = content if isinstance(content, list) else []
    return isinstance(content, (str, list, type(None))) and all(isinstance(part, Mapping) for part in parts)


def _spoiled(text: str, fault: Fault | None) -> tuple[str, Stop]:
    match fault.kind if fault else None:
        case "truncated":
            return text[: len(text) // 2], "length"
        case "empty":
            return "", "stop"
        case "wrong_schema":
            return '{"unexpected": [true]}', "stop"
        case "refusal":
            return "I cannot help with that.", "refusal"
        case "content_filter":
            return "", "content_filter"
        case _:
            return text, "stop"


def _json(status: int, payload: Any, headers: Mapping[str, str] | None = None, drip_s: float = 0.0) -> Reply:
    return Reply(status, json.dumps(payload).encode(), headers or {}, drip_s=drip_s)
