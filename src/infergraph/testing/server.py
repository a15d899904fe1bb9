"""A simulated model server: real protocols over real HTTP, answers made to fit, limits and faults as ordered.

It speaks OpenAI chat completions and embeddings, and Anthropic messages. Point a model's ``base_url`` at
it and a pipeline is tested with everything but the model: official clients, retries, limits, broken answers.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, cast

from infergraph.models.image import Image
from infergraph.testing.answers import Work
from infergraph.testing.anthropic_wire import AnthropicWire
from infergraph.testing.faults import Fault
from infergraph.testing.http_server import CutConnection, HttpRequest, HttpServer, Reply, json_reply
from infergraph.testing.limits import Limits, Meters
from infergraph.testing.openai_wire import OpenAIWire
from infergraph.testing.prefix_cache import PrefixCache
from infergraph.testing.problems import problem_of
from infergraph.testing.slots import Slots
from infergraph.testing.wires import CHARS_PER_TOKEN, Counts, Wire, rough_tokens

_CHAT, _EMBED, _MESSAGES = "/v1/chat/completions", "/v1/embeddings", "/v1/messages"
_OPENAI, _ANTHROPIC = OpenAIWire(), AnthropicWire()
_STATISTICS, _CONTROL = "/_stats", "/_control"
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

    @property
    def images(self) -> list[bytes]:
        """The bytes of its images, in order."""
        return _WIRES[self.path].images(self.body)


class SimulatedServer:
    """A model server on 127.0.0.1 that runs in a thread of this process while it is used as a context manager.

    Args:
        answer: Makes the answer from the request's JSON body: text, or a dict or list that becomes JSON;
            ``None``: made up, fitting the request's JSON schema, the same for the same request.
        latency_s: Seconds before each answer, or a function of the request's JSON body.
        limits: What it enforces, with 429 or by letting requests wait.
        faults: What goes wrong; the first that strikes wins.
        api_key: The only key it takes; ``None``: any key or none.
        models: The only model ids it knows; ``None``: any.
        dimensions: Length of its embeddings where a request asks for none.
        cached_share: Share of the input tokens said to be read from a prompt cache, 0 to 1.
        prefix_cache: Remember long prefixes of prompts as the real servers do, and say what was read from there.
        reasoning_tokens: Reasoning tokens said to be part of every answer.
        keep_requests: Whether ``requests`` is filled; switch it off for long runs.
        port: The port; 0: any free one.

    Example:
        >>> import json
        >>> from urllib.request import Request, urlopen
        >>> with SimulatedServer(answer=lambda body: "Hello") as server:
        ...     question = b'{"model": "m", "messages": [{"role": "user", "content": "Hi"}]}'
        ...     reply = json.load(urlopen(Request(server.openai_url + "/chat/completions", question)))
        >>> reply["choices"][0]["message"]["content"], len(server.requests)
        ('Hello', 1)
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
        prefix_cache: bool = False,
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
        limits = limits or Limits()
        self._meters = Meters(limits)
        self._slots = Slots(limits.slots, queue=limits.queue)
        self._prefixes = PrefixCache() if prefix_cache else None
        self._dimensions = dimensions
        self._cached_share = cached_share
        self._reasoning_tokens = reasoning_tokens
        self._keep_requests = keep_requests
        self._wanted_port = port
        self._in_flight = 0
        self._number = 0
        self._tries: Counter[bytes] = Counter()
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

    def set_slots(self, slots: int | None) -> None:
        """Change the number of slots (``None``: any) while it runs; what is being worked on goes on."""
        self._on_its_loop(self._slots.resize, slots)

    def statistics(self) -> dict[str, Any]:
        """What happened since the start or the last ``reset_statistics``; ``GET /_stats`` gives the same as JSON.

        Returns:
            ``statuses`` (status -> answers), ``requests`` (answered), ``slots``, ``in_flight`` and ``max_in_flight``
            (those that wait included), ``queued``, ``max_queued``, ``mean_queued`` (over time), ``mean_wait_s`` (in
            the queue), ``prefix_tokens`` (that requests could have in common, where prompts are long enough for a
            prompt cache) and ``prefix_tokens_hit``.
        """
        return cast(dict[str, Any], self._on_its_loop(self._statistics))

    def reset_statistics(self) -> None:
        """Begin all of ``statistics`` anew, now."""
        self._on_its_loop(self._reset)

    def _on_its_loop(self, do: Callable[..., Any], *given: Any) -> Any:
        return do(*given) if self._http is None else self._http.call(do, *given)

    def _statistics(self) -> dict[str, Any]:
        prefixes = self._prefixes or PrefixCache()
        return {
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "requests": self.statuses.total(),
            "slots": self._slots.number,
            "in_flight": self._in_flight,
            "max_in_flight": self.max_in_flight,
            "queued": self._slots.queued,
            "max_queued": self._slots.max_queued,
            "mean_queued": self._slots.mean_queued,
            "mean_wait_s": self._slots.mean_wait_s,
            "prefix_tokens": prefixes.shared // CHARS_PER_TOKEN,
            "prefix_tokens_hit": prefixes.hit // CHARS_PER_TOKEN,
        }

    def _reset(self) -> None:
        self.statuses.clear()
        self.max_in_flight = self._in_flight
        self._slots.reset()
        if self._prefixes is not None:
            self._prefixes.reset()

    async def _handle(self, request: HttpRequest) -> Reply:
        if request.path in (_STATISTICS, _CONTROL):
            return self._controlled(request)
        self._in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self._in_flight)
        try:
            reply = await self._reply(request)
        finally:
            self._in_flight -= 1
        self.statuses[reply.status] += 1
        return reply

    def _controlled(self, request: HttpRequest) -> Reply:
        """For benchmarks in other processes: ``POST /_control`` with ``{"slots": 4}`` or ``{"reset": true}``."""
        given = request.json_object() if request.path == _CONTROL else {}
        slots = given.get("slots", 1) if given is not None else 0
        if given is None or not (slots is None or (isinstance(slots, int) and slots > 0)):
            return json_reply(400, _OPENAI.error(400, None, 'What can be set: {"slots": 4} or null, {"reset": true}.'))
        if "slots" in given:
            self._slots.resize(slots)
        if given.get("reset"):
            self._reset()
        return json_reply(200, self._statistics())

    async def _reply(self, request: HttpRequest) -> Reply:
        if request.method == "GET" and request.path == "/v1/models":
            return json_reply(
                200, {"object": "list", "data": [{"id": m, "object": "model"} for m in self.models or ()]}
            )
        wire = _WIRES.get(request.path)
        if wire is None or request.method != "POST":
            return json_reply(404, _OPENAI.error(404, "unknown_url", f"Unknown URL {request.method} {request.path}"))
        body = request.json_object()
        if body is None:
            return json_reply(400, wire.error(400, None, "The body is not a JSON object."))
        if (problem := problem_of(body, embeds=request.path == _EMBED)) is not None:
            return json_reply(400, wire.error(400, None, problem))
        try:
            seen = [Image.of(data) for data in wire.images(body)]
        except ValueError as error:
            return json_reply(400, wire.error(400, None, f"Invalid image: {error}"))
        if self._keep_requests:
            self.requests.append(SimulatedRequest(request.path, request.headers, body, time.monotonic()))
        prompt = wire.prompt(body)
        tokens = rough_tokens(prompt) + sum(wire.image_tokens(body, image) for image in seen)
        refused = self._refused(wire, request, body, tokens)
        if refused is not None:
            return refused
        await self._slots.enter()
        try:
            fault = self._fault(body, request.body)
            found = None if self._prefixes is None else self._prefixes.look_up(wire.prefixes(body, prompt))
            return await self._worked_on(Work(wire, request, body, tokens, fault, found))
        finally:
            self._slots.leave()

    def _refused(self, wire: Wire, request: HttpRequest, body: Mapping[str, Any], tokens: int) -> Reply | None:
        if self.api_key is not None and wire.key_of(request.headers) != self.api_key:
            return json_reply(401, wire.error(401, None, ""))
        if self.models is not None and body.get("model") not in self.models:
            return json_reply(404, wire.error(404, None, f"The model '{body.get('model')}' does not exist."))
        wait = 0.05 if self._slots.turns_away else self._meters.charge(tokens, wire.room(body))
        if wait > 0:
            headers = {"retry-after": f"{wait:.3f}", **wire.limit_headers(self._meters.by_kind)}
            return json_reply(429, wire.error(429, None, ""), headers)
        return None

    async def _worked_on(self, work: Work) -> Reply:
        fault, wire = work.fault, work.wire
        if fault is not None and fault.kind == "reset":
            raise CutConnection
        if fault is not None and fault.kind == "hang":
            await asyncio.sleep(fault.seconds)
        latency = self.latency_s(work.body) if callable(self.latency_s) else self.latency_s
        if latency > 0:
            await asyncio.sleep(latency)
        headers = wire.limit_headers(self._meters.by_kind)
        if fault is not None and isinstance(fault.kind, int):
            if fault.retry_after_s is not None:
                headers["retry-after"] = f"{fault.retry_after_s:g}"
            return json_reply(fault.kind, wire.error(fault.kind, fault.code, fault.message or ""), headers)
        if fault is not None and fault.kind == "not_json":
            return Reply(200, b"<html><body>Bad gateway</body></html>", headers, "text/html")
        payload = self._vectors(work) if work.request.path == _EMBED else self._chat(work)
        headers = wire.limit_headers(self._meters.by_kind)
        return json_reply(200, payload, headers, fault.seconds if fault and fault.kind == "slow_drip" else 0.0)

    def _fault(self, body: Mapping[str, Any], raw: bytes) -> Fault | None:
        if not self.faults:
            return None
        key = blake2b(raw, digest_size=12).digest()
        tries = self._tries[key]
        self._tries[key] += 1
        return next((fault for fault in self.faults if fault.strikes(body, raw, tries)), None)

    def _vectors(self, work: Work) -> dict[str, Any]:
        self._meters.settle(0, 0, None)
        return _OPENAI.vectors(work.body, self._dimensions)

    def _chat(self, work: Work) -> dict[str, Any]:
        text, stop = work.text(self.answer)
        count = work.tokens
        cached, written = int(count * self._cached_share), 0
        if work.found is not None and self._prefixes is not None:
            self._prefixes.remember(work.found)
            cached = work.found.read // CHARS_PER_TOKEN
            written = work.found.kept // CHARS_PER_TOKEN - cached
        output = rough_tokens(text) + self._reasoning_tokens
        self._meters.settle(output, cached, work.wire.room(work.body))
        self._number += 1
        counts = Counts(input=count, cached=cached, written=written, output=output, reasoning=self._reasoning_tokens)
        return work.wire.answer(work.body, self._number, text, stop, counts)
