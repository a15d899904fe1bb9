"""What an error of a model server means: whose turn is it now, and what does a person read.

OpenAI, Anthropic and the many servers that are compatible with them use the same statuses and nearly the
same bodies, so their errors are judged in one place. A failure is *transient* (ask again), *permanent*
(this request never works) or *fatal* (no request of this model works).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from infergraph.models.model import CallFailed, Model, RejectReason
from infergraph.models.redact import Secret, redact

Outcome = Literal["transient", "permanent", "fatal"]

_TRANSIENT = frozenset({408, 409, 425, 429, 499, *range(500, 600)})
_NO_MONEY = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "billing_error"})
_WRONG_PARAMETER = frozenset({"unsupported_parameter", "unsupported_value", "unknown_parameter"})
_TOO_LONG = re.compile(
    r"context[ _](?:length|size|window)|maximum context|prompt is too long|input is too long|exceed_context"
    r"|request_too_large|maximum (?:input|prompt) length|too many (?:input )?tokens|exceeds the available context",
    re.IGNORECASE,
)
_FLAGGED = re.compile(r"moderation|flagged", re.IGNORECASE)
_FLAGGED_INPUT = re.compile(
    r"\b(?:input|prompt|content|message|request|text)s?\b[^.]{0,60}\b(?:moderation|flagged)"
    r"|\b(?:moderation|flagged)\b[^.]{0,60}\b(?:input|prompt|content|message|request|text)s?\b",
    re.IGNORECASE,
)
_FILTERED = re.compile(r"content_filter|content management policy|content_policy_violation", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Who is at the other end of a line, in the words that an error message needs.

    Args:
        model: ``provider:model-id``.
        title: The provider's name, or the address of a compatible server.
        address: The address that is connected to.
        key_variable: The environment variable with the key for the provider's own host.
        own_host: The provider's own host, not a compatible server.
        key_given: The model states a key.
        key: The key, to be kept out of messages.
    """

    model: str
    title: str
    address: str
    key_variable: str
    own_host: bool
    key_given: bool
    key: Secret | None = field(default=None, repr=False)

    @classmethod
    def of(cls, model: Model, *, title: str, url: str, key_variable: str) -> Peer:
        """The peer of a model: the provider's own host, or the compatible server that ``base_url`` names.

        Args:
            model: The model.
            title: The provider's name.
            url: The address of the provider's own host.
            key_variable: The environment variable with the key for it.

        Returns:
            The peer, without a key.
        """
        own_host = model.base_url is None
        return cls(
            model=model.name,
            title=title if own_host else f"the server at {redact(model.base_url or '')}",
            address=redact(model.base_url or url),
            key_variable=key_variable,
            own_host=own_host,
            key_given=isinstance(model.api_key, Secret) and bool(model.api_key),
        )

    @property
    def model_id(self) -> str:
        """What the server calls the model."""
        return self.model.partition(":")[2]


def rate_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The rate-limit headers among a response's headers, by lower-case name.

    Example:
        >>> rate_headers({"X-RateLimit-Limit-Requests": "500", "Set-Cookie": "a=b"})
        {'x-ratelimit-limit-requests': '500'}
    """
    found = {}
    for name, text in headers.items():
        lower = name.lower()
        if "ratelimit-" in lower or lower.startswith("retry-after"):
            found[lower] = text
    return found


def retry_after_s(headers: Mapping[str, str], *, now: datetime | None = None) -> float | None:
    """How long the server asks to wait.

    Args:
        headers: By lower-case name: ``retry-after-ms``, or ``retry-after`` in seconds or as an HTTP date.
        now: The time now, with a time zone; ``None``: the clock's.

    Returns:
        Seconds, 0 or more; ``None`` where the server says nothing that makes sense.

    Example:
        >>> retry_after_s({"retry-after": "1.5"})
        1.5
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    seconds = _number(text)
    if seconds is not None or text is None:
        return seconds
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - (now or datetime.now(UTC))).total_seconds())


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


@dataclass(frozen=True)
class _Complaint:
    """What an error body says."""

    message: str
    code: str
    parameter: str

    @property
    def words(self) -> str:
        return f"{self.code} {self.message}"


def _complaint(body: Any) -> _Complaint:
    error = body.get("error", body) if isinstance(body, Mapping) else body
    if not isinstance(error, Mapping):
        return _Complaint(" ".join(str(error or "no message").split())[:500], "", "")
    nested = error.get("details")
    codes = [error.get("code"), error.get("type"), nested.get("error_code") if isinstance(nested, Mapping) else None]
    message = error.get("message") or error.get("detail") or error
    return _Complaint(str(message)[:1000], " ".join(str(code) for code in codes if code), str(error.get("param") or ""))


def failure_of(peer: Peer, status: int, body: Any, headers: Mapping[str, str]) -> CallFailed:
    """Judge an answer that is no success.

    Args:
        peer: Who answered.
        status: The HTTP status; with 200 the body is an error or no JSON.
        body: The parsed JSON, or the text where it is none.
        headers: The response's headers.

    Returns:
        The failure to be raised, its message free of secrets.

    Example:
        >>> peer = Peer(model="openai:gpt-5-mini", title="OpenAI", address="https://api.openai.com/v1",
        ...             key_variable="OPENAI_API_KEY", own_host=True, key_given=False)
        >>> failure_of(peer, 429, {"error": {"code": "insufficient_quota", "message": "No credit"}}, {}).outcome
        'fatal'
    """
    said = _complaint(body)
    if status < 400 and isinstance(body, Mapping) and _error_status(body) is not None:
        # Routers in front of several providers answer 200 and put the true status into the body.
        status = _error_status(body) or status
    limits = rate_headers(headers)
    outcome, reason, message = _judged(peer, status, said, headers)
    return CallFailed(
        redact(f"Model({peer.model!r}): {message}", peer.key),
        outcome=outcome,
        reason=reason,
        status=status,
        retry_after_s=retry_after_s(limits),
        headers=limits,
        # A website or a proxy's login page, as behind a wrong base_url.
        no_answer=status < 300 and not isinstance(body, Mapping),
    )


def no_answer(body: Mapping[str, Any]) -> CallFailed:
    """The failure of a success whose JSON holds no answer.

    Args:
        body: The parsed JSON.
    """
    message = f"The server's JSON holds no answer: {str(body)[:300]}"
    return CallFailed(message, outcome="transient", status=200, no_answer=True)


def _error_status(body: Mapping[str, Any]) -> int | None:
    error = body.get("error")
    code = error.get("code") if isinstance(error, Mapping) else None
    return code if isinstance(code, int) and 400 <= code < 600 else None


def _judged(peer: Peer, status: int, said: _Complaint, headers: Mapping[str, str]) -> tuple[Outcome, RejectReason, str]:
    quoted = f"({status}: {said.message})"
    if 300 <= status < 400:
        target = headers.get("Location") or headers.get("location") or "another address"
        return "fatal", "bad_request", f"{peer.title} sends requests on to {target}. Give that as the base_url."
    if status == 402 or _NO_MONEY & set(said.code.split()) or "credit balance is too low" in said.message:
        return "fatal", "bad_request", f"the account at {peer.title} has no credit or quota left {quoted}."
    if status == 403 and _FLAGGED_INPUT.search(said.words):
        return "permanent", "refused", f"{peer.title} refused the request {quoted}."
    if status == 403 and _FLAGGED.search(said.words):
        return "fatal", "refused", _about_key(peer, quoted)
    if status in (401, 403):
        return "fatal", "bad_request", _about_key(peer, quoted)
    if status == 404:
        return "fatal", "bad_request", _about_name(peer, quoted)
    if status in _TRANSIENT:
        return "transient", "timeout" if status in (408, 504) else "bad_request", f"{peer.title} is busy {quoted}."
    if status < 400:
        return "transient", "bad_request", f"{peer.title} answered something that is no answer {quoted}."
    return _about_request(peer, status, said, quoted)


def _about_request(peer: Peer, status: int, said: _Complaint, quoted: str) -> tuple[Outcome, RejectReason, str]:
    if status == 413 or _TOO_LONG.search(said.words):
        return "permanent", "too_long", f"the request is longer than the model takes {quoted}."
    if _FILTERED.search(said.words):
        return "permanent", "content_filtered", f"{peer.title} filtered the request {quoted}."
    first = said.parameter.partition(".")[0].partition("[")[0]
    if first == "model" or "model_not_found" in said.code:
        return "fatal", "bad_request", _about_name(peer, quoted)
    if _WRONG_PARAMETER & set(said.code.split()) or first in ("response_format", "output_config", "tools"):
        return (
            "fatal",
            "bad_request",
            f"{peer.title} does not take {said.parameter or 'a parameter'} for this model {quoted}. "
            "Change that parameter of the Model, or the schema.",
        )
    return "permanent", "bad_request", f"{peer.title} does not take the request {quoted}."


def _about_key(peer: Peer, quoted: str) -> str:
    if peer.own_host and not peer.key_given:
        return (
            f"{peer.title} does not take the key in {peer.key_variable} {quoted}. Set {peer.key_variable} to a key "
            f"that may use {peer.model_id!r}, or give Model({peer.model!r}, api_key='...')."
        )
    if peer.key_given:
        return f"{peer.title} does not take the api_key of this model {quoted}. Give one that may use it."
    return f"{peer.title} wants a key, and api_key=None sends none {quoted}. Give Model(..., api_key='...')."


def _about_name(peer: Peer, quoted: str) -> str:
    if peer.own_host:
        return f"{peer.title} has no model {peer.model_id!r} for this key {quoted}. Check the name after the colon."
    return (
        f"{peer.title} does not know the model {peer.model_id!r} or the address {quoted}. Check the name after the "
        "colon, and how the base_url ends: most OpenAI-compatible servers want '/v1'."
    )
