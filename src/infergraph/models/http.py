"""The way to a model server: the official client says how to address and sign, we carry the JSON.

An official client spends 0.4 to 1.5 ms of CPU on each request; most of it goes into building the same address
and headers anew. They are asked of it once, and every request is then one POST on aiohttp at 0.1 ms. What
comes back is either JSON or a ``CallFailed`` that says whose turn it is.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from infergraph.errors import ConfigurationError
from infergraph.models.failures import Peer, failure_of, rate_headers
from infergraph.models.model import CallFailed, Model
from infergraph.models.redact import Secret, redact

if TYPE_CHECKING:
    import aiohttp

_CONNECT_S = 15.0


@dataclass(frozen=True)
class Envelope:
    """Where requests go and what is written on the outside."""

    base_url: str
    headers: Mapping[str, str] = field(repr=False)
    key: Secret | None = None


def key_of(model: Model, variable: str) -> Secret | None:
    """The key that this model's requests carry.

    Args:
        model: Its ``api_key`` where given; with a ``base_url`` nothing else counts.
        variable: The environment variable that holds the key for the provider's own host.

    Returns:
        The key; ``None``: none is sent.

    Raises:
        ConfigurationError: The provider's own host needs a key and there is none, the key is no key, or it was lost
            with a pickle.
    """
    key = model.api_key if isinstance(model.api_key, Secret) else None
    if key is not None and not key and model.base_url is not None:
        raise ConfigurationError(
            f"Model({model.name!r}, base_url={model.base_url!r}): its key stayed in the process that pickled it. "
            "Give it anew where the model is used: Model(..., api_key='...')."
        )
    if model.base_url is None and not key:
        key = Secret(os.environ.get(variable, "").strip())
        if model.api_key is None or not key:
            raise ConfigurationError(
                f"Model({model.name!r}): there is no key. Set the environment variable {variable}, or give "
                f"Model({model.name!r}, api_key='...')."
            )
    if key is not None and not (key.reveal().isascii() and key.reveal().isprintable()):
        raise ConfigurationError(f"Model({model.name!r}): the key holds a line break or a character no key has.")
    return key


def own_headers(found: Mapping[str, object], *, custom_variable: str, foreign: bool) -> dict[str, str]:
    """The official client's headers, without those that must not travel.

    Args:
        found: Its default headers; values that are no text mark a header left out.
        custom_variable: The environment variable that adds headers to every request of that client.
        foreign: The server is not the provider's own: what the environment adds stays here.

    Returns:
        Headers by lower-case name, without any key.

    Example:
        >>> own_headers({"Accept": "application/json", "Authorization": "Bearer x"}, custom_variable="X", foreign=True)
        {'accept': 'application/json'}
    """
    headers = {name.lower(): text for name, text in found.items() if isinstance(text, str)}
    if foreign:
        added = os.environ.get(custom_variable, "").split("\n")
        for name in [*(line.partition(":")[0].strip().lower() for line in added), *_PRIVATE]:
            headers.pop(name, None)
    return headers


def counted(usage: object, *keys: str) -> int:
    """A count of tokens in what a server says it used; 0 where there is none that makes sense.

    Example:
        >>> counted({"prompt_tokens_details": {"cached_tokens": 7}}, "prompt_tokens_details", "cached_tokens")
        7
        >>> counted({"prompt_tokens": "many"}, "prompt_tokens")
        0
    """
    for key in keys:
        usage = usage.get(key) if isinstance(usage, dict) else None
    return usage if isinstance(usage, int) and 0 < usage < _MOST_TOKENS else 0


_MOST_TOKENS = 2**40
_PRIVATE = ("authorization", "x-api-key", "openai-organization", "openai-project")


class Line:
    """Carries JSON to one server and back; connections are kept and belong to the event loop that opened them.

    Args:
        peer: Who is at the other end, for error messages.
        timeout_s: Seconds until a request is given up.
        envelope: Makes the address and headers, once, in a worker thread: official clients take seconds to import.
    """

    def __init__(self, peer: Peer, *, timeout_s: float, envelope: Callable[[], Envelope]) -> None:
        self._peer = peer
        self._timeout_s = timeout_s
        self._make_envelope = envelope
        self._envelope: Envelope | None = None
        self._session: aiohttp.ClientSession | None = None
        self._opening: asyncio.Lock | None = None
        self._home: tuple[int, asyncio.AbstractEventLoop] | None = None

    async def post(
        self, path: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Send one JSON document.

        Args:
            path: Appended to the base address, beginning with a slash.
            body: The JSON, see ``models.bodies``.
            headers: More headers, lower-case names.

        Returns:
            The answer's JSON object and its rate-limit headers.

        Raises:
            CallFailed: Anything else came back, or nothing did.
        """
        session, envelope = await self._opened()
        # Not as the session's own headers: those go to a proxy too, the key among them.
        outside = {**envelope.headers, **headers} if headers else envelope.headers
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                session.post(envelope.base_url + path, data=body, headers=outside, allow_redirects=False) as reply,
            ):
                status, raw, back = reply.status, await reply.read(), reply.headers
        except TimeoutError as error:
            raise self._timed_out() from error
        except _transport_errors() as error:
            raise self._broken(error) from error
        return self._judged(status, raw, back)

    def _judged(self, status: int, raw: bytes, back: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            body = None
        if status == 200 and isinstance(body, dict) and not body.get("error"):
            return body, rate_headers(back)
        text = raw[:2000].decode("utf-8", "replace") if body is None else body
        raise failure_of(self._peer, status, text, back)

    def _timed_out(self) -> CallFailed:
        return CallFailed(
            f"{self._peer.title} gave no answer within {self._timeout_s:g} seconds.",
            outcome="transient",
            reason="timeout",
        )

    def _broken(self, error: Exception) -> CallFailed:
        import aiohttp

        where = self._peer.address
        cause = getattr(error, "os_error", None)
        if isinstance(error, aiohttp.ClientConnectorDNSError) or isinstance(cause, socket.gaierror):
            message, unreachable = f"There is no host {urlsplit(where).hostname!r} to be found ({where}).", True
        elif isinstance(error, aiohttp.ClientSSLError):
            message, unreachable = f"The certificate of {where} is not accepted: {error}", True
        elif isinstance(error, aiohttp.ClientConnectorError):
            message, unreachable = f"Nothing listens at {where} ({cause or error}).", True
        else:
            message, unreachable = f"The connection to {where} broke off: {type(error).__name__} {error}", False
        return CallFailed(
            f"Model({self._peer.model!r}): {redact(message, self._peer.key)}",
            outcome="transient",
            unreachable=unreachable,
        )

    async def open(self) -> None:
        """Make the address, the headers and the pool of connections ready; connects to nothing yet."""
        await self._opened()

    async def _opened(self) -> tuple[aiohttp.ClientSession, Envelope]:
        home = (os.getpid(), asyncio.get_running_loop())
        if self._home != home:
            if self._session is not None:
                _LEFT_ALONE.append(self._session)
            self._home, self._session, self._opening = home, None, asyncio.Lock()
        if self._session is None or self._envelope is None:
            assert self._opening is not None
            async with self._opening:
                if self._envelope is None:
                    self._envelope = await asyncio.to_thread(self._checked_envelope)
                if self._session is None:
                    self._session = await self._new_session(self._envelope)
        return self._session, self._envelope

    def _checked_envelope(self) -> Envelope:
        try:
            envelope = self._make_envelope()
        except ConfigurationError as error:
            raise CallFailed(str(error), outcome="fatal") from error
        self._peer = replace(self._peer, key=envelope.key)
        return envelope

    async def _new_session(self, envelope: Envelope) -> aiohttp.ClientSession:
        import aiohttp

        secure = envelope.base_url.startswith("https")
        trust = await asyncio.to_thread(_trusted) if secure else True
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=trust, keepalive_timeout=30, ttl_dns_cache=300),
            # A request's time as a whole is bounded in post: aiohttp's own bound costs a tenth of a request.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=min(_CONNECT_S, self._timeout_s)),
            cookie_jar=aiohttp.DummyCookieJar(),
            # Not trust_env: it would also send what ~/.netrc holds for the host.
            proxy=_proxy_for(envelope.base_url),
        )

    async def close(self) -> None:
        """Give back the connections; the next ``post`` opens new ones."""
        session, self._session = self._session, None
        if session is not None and self._home == (os.getpid(), asyncio.get_running_loop()):
            await session.close()


_LEFT_ALONE: list[object] = []
"""Sessions of a parent process or of another event loop: closing, or even forgetting them here would touch
sockets that are somebody else's."""


def _proxy_for(url: str) -> str | None:
    """The proxy that the environment names for an address; none for this machine's own."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in ("localhost", "127.0.0.1", "::1") or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    named = getproxies()
    return named.get(parts.scheme) or named.get("all")


def _trusted() -> ssl.SSLContext:
    """The certificates that the official clients trust, where the environment names no others."""
    import certifi

    named = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")
    return ssl.create_default_context(cafile=None if named else certifi.where())


def _transport_errors() -> tuple[type[Exception], ...]:
    import aiohttp

    return (aiohttp.ClientError, OSError)
