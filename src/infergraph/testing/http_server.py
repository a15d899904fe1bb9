"""A small HTTP/1.1 server in a thread of its own: just what a simulated model server needs, and fast.

It speaks keep-alive HTTP with bodies of a stated length. What no well-behaved server does is possible
on purpose: closing the socket instead of an answer, or letting an answer drip.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, cast

MOST_BYTES = 64 * 1024 * 1024
_LENGTH = re.compile(rb"^content-length:\s*(\d+)", re.IGNORECASE | re.MULTILINE)


@dataclass(slots=True)
class HttpRequest:
    """One request as it came in."""

    method: str
    path: str
    lines: bytes
    """The header's lines."""
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        """The headers; names are lower-case."""
        pairs = (line.partition(":") for line in self.lines.decode("latin-1").split("\r\n"))
        return {name.strip().lower(): value.strip() for name, _, value in pairs}

    def json_object(self) -> dict[str, Any] | None:
        """The body as JSON; ``None``: it is no JSON object."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None


@dataclass(frozen=True, slots=True)
class Reply:
    """What is sent back.

    Args:
        status: The HTTP status.
        body: The body's bytes.
        headers: More headers than content type and length.
        content_type: The content type.
        drip_s: Seconds over which the body is spread; 0: at once.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    drip_s: float = 0.0


def json_reply(status: int, payload: Any, headers: Mapping[str, str] | None = None, drip_s: float = 0.0) -> Reply:
    """A reply whose body is JSON."""
    return Reply(status, json.dumps(payload).encode(), headers or {}, drip_s=drip_s)


class CutConnection(Exception):
    """Raised by a handler that wants the socket closed without any answer."""


Handler = Callable[[HttpRequest], Awaitable[Reply]]


class HttpServer:
    """Serves a handler on a free port of 127.0.0.1, in a thread with an event loop of its own.

    Args:
        handler: Called on the server's own event loop for every request.
        port: The port; 0: any free one.
    """

    def __init__(self, handler: Handler, *, port: int = 0) -> None:
        self._handler = handler
        self._connections: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="simulated-server", daemon=True)
        self._listening = asyncio.run_coroutine_threadsafe(self._listen(port), self._loop)
        self._thread.start()
        try:
            self.port = self._listening.result(timeout=10)
        except OSError:
            self.stop()
            raise

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    async def _listen(self, port: int) -> int:
        self._server = await self._loop.create_server(self._connection, "127.0.0.1", port, backlog=4096)
        return cast(int, self._server.sockets[0].getsockname()[1])

    def _connection(self) -> _Connection:
        return _Connection(self._handler, self._connections)

    def stop(self) -> None:
        """Close every socket and end the thread; a second call does nothing."""
        if not self._thread.is_alive():
            return
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(timeout=10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)

    def call(self, do: Callable[..., Any], *given: Any) -> Any:
        """Do something between two requests, and wait for it."""
        if threading.current_thread() is self._thread:
            return do(*given)

        async def done() -> Any:
            return do(*given)

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(timeout=10)

    async def _close(self) -> None:
        if hasattr(self, "_server"):
            self._server.close()
        for connection in list(self._connections):
            connection.cut()
        own = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not own]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Connection(asyncio.Protocol):
    def __init__(self, handler: Handler, open_ones: set[_Connection]) -> None:
        self._handler = handler
        self._open_ones = open_ones
        self._buffer = bytearray()
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._open_ones.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open_ones.discard(self)
        if self._task is not None:
            self._task.cancel()

    def cut(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > MOST_BYTES:
            self.cut()
        elif self._task is None:
            self._next_request()

    def _next_request(self) -> None:
        request = self._parsed()
        if request is not None:
            self._task = asyncio.get_running_loop().create_task(self._answer(request))

    def _parsed(self) -> HttpRequest | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        first, _, lines = bytes(self._buffer[:end]).partition(b"\r\n")
        stated = _LENGTH.search(lines)
        size = int(stated[1]) if stated else 0
        if len(self._buffer) < end + 4 + size:
            return None
        body = bytes(self._buffer[end + 4 : end + 4 + size])
        del self._buffer[: end + 4 + size]
        method, target, _ = first.decode("latin-1").split(" ", 2)
        return HttpRequest(method, target.partition("?")[0], lines, body)

    async def _answer(self, request: HttpRequest) -> None:
        try:
            reply = await self._handler(request)
        except CutConnection:
            self.cut()
            return
        head = [f"HTTP/1.1 {reply.status} {_phrase(reply.status)}", f"content-type: {reply.content_type}"]
        head += [f"content-length: {len(reply.body)}", *(f"{name}: {text}" for name, text in reply.headers.items())]
        top = ("\r\n".join(head) + "\r\n\r\n").encode("latin-1")
        if reply.drip_s:
            self._transport.write(top)
            await self._drip(reply)
        else:
            self._transport.write(top + reply.body)
        self._task = None
        if self._buffer:
            self._next_request()

    async def _drip(self, reply: Reply) -> None:
        pieces = 20
        size = max(1, -(-len(reply.body) // pieces))
        for start in range(0, len(reply.body), size):
            self._transport.write(reply.body[start : start + size])
            await asyncio.sleep(reply.drip_s / pieces)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Overloaded" if status == 529 else "Unknown"
