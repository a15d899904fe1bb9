"""The bodies of the two wire protocols as the real servers send them: answers, vectors, errors, limit headers."""

from __future__ import annotations

import base64
import json
import math
import struct
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from infergraph.models.sample import sample_embedding
from infergraph.testing.faults import Bucket

Stop = Literal["stop", "length", "refusal", "content_filter"]
Json = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Token counts of one simulated answer."""

    input: int
    cached: int
    output: int
    reasoning: int


def rough_tokens(text: str) -> int:
    """How many tokens a simulated server counts for a text: one for every four characters, rounded up."""
    return -(-len(text) // 4)


class Wire(ABC):
    """How one protocol asks, answers and complains."""

    @abstractmethod
    def schema(self, body: Json) -> Json | None:
        """The JSON schema that the request wants its answer to fit."""

    @abstractmethod
    def prompt(self, body: Json) -> str:
        """All text of the request."""

    @abstractmethod
    def room(self, body: Json) -> int | None:
        """Tokens that the answer may have."""

    @abstractmethod
    def answer(self, body: Json, number: int, text: str, stop: Stop, counts: Counts) -> dict[str, Any]:
        """The body of an answer."""

    @abstractmethod
    def error(self, status: int, code: str | None, message: str) -> dict[str, Any]:
        """The body of an error."""

    @abstractmethod
    def limit_headers(self, requests: Bucket | None, tokens: Bucket | None) -> dict[str, str]:
        """The headers that state the limits and what is left of them."""

    @abstractmethod
    def key_of(self, headers: Mapping[str, str]) -> str | None:
        """The API key that the request carries."""


def _texts(messages: Sequence[Json]) -> list[str]:
    texts = []
    for message in messages:
        content = message.get("content") or ""
        parts = content if isinstance(content, list) else [{"text": content}]
        texts += [str(part.get("text", "")) for part in parts]
    return texts


def _bearer(headers: Mapping[str, str]) -> str | None:
    kind, _, key = headers.get("authorization", "").partition(" ")
    return key if kind.lower() == "bearer" and key else None


_OPENAI_ERRORS = {
    400: ("invalid_request_error", None, "Invalid request."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    403: ("invalid_request_error", "permission_denied", "You are not allowed to use this."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached."),
}


class OpenAIWire(Wire):
    """Chat completions and embeddings."""

    def schema(self, body: Json) -> Json | None:
        """See ``Wire``."""
        wanted = body.get("response_format") or {}
        found: Json | None = (wanted.get("json_schema") or {}).get("schema")
        return found or ({"type": "object"} if wanted.get("type") == "json_object" else None)

    def prompt(self, body: Json) -> str:
        """See ``Wire``."""
        given = body.get("input", [])
        inputs = [given] if isinstance(given, str) else [str(one) for one in given]
        return "\n".join([*_texts(body.get("messages", [])), *inputs])

    def room(self, body: Json) -> int | None:
        """See ``Wire``."""
        given: int | None = body.get("max_completion_tokens") or body.get("max_tokens")
        return given

    def answer(self, body: Json, number: int, text: str, stop: Stop, counts: Counts) -> dict[str, Any]:
        """See ``Wire``."""
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
        if stop == "refusal":
            message |= {"content": None, "refusal": text}
        reason = "stop" if stop == "refusal" else stop
        return {
            "id": f"chatcmpl-{number:012}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": body.get("model"),
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
            "usage": {
                "prompt_tokens": counts.input,
                "completion_tokens": counts.output,
                "total_tokens": counts.input + counts.output,
                "prompt_tokens_details": {"cached_tokens": counts.cached, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": counts.reasoning, "audio_tokens": 0},
            },
            "service_tier": "default",
            "system_fingerprint": "fp_simulated",
        }

    def vectors(self, body: Json, dimensions: int) -> dict[str, Any]:
        """The body of an embedding answer; ``base64`` where the request asks for it."""
        given = body.get("input", [])
        texts = [given] if isinstance(given, str) else given
        size = body.get("dimensions") or dimensions
        tokens = sum(rough_tokens(str(text)) for text in texts)
        return {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": _vector(body, str(text), size)}
                for index, text in enumerate(texts)
            ],
            "model": body.get("model"),
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }

    def error(self, status: int, code: str | None, message: str) -> dict[str, Any]:
        """See ``Wire``."""
        kind, usual_code, usual = _OPENAI_ERRORS.get(status, ("server_error", None, "The server had an error."))
        return {"error": {"message": message or usual, "type": kind, "param": None, "code": code or usual_code}}

    def limit_headers(self, requests: Bucket | None, tokens: Bucket | None) -> dict[str, str]:
        """See ``Wire``."""
        headers = {}
        for name, bucket in (("requests", requests), ("tokens", tokens)):
            if bucket is not None:
                missing = (bucket.per_minute - bucket.remaining) * 60 / bucket.per_minute
                headers[f"x-ratelimit-limit-{name}"] = str(int(bucket.per_minute))
                headers[f"x-ratelimit-remaining-{name}"] = str(bucket.remaining)
                headers[f"x-ratelimit-reset-{name}"] = f"{missing:.3f}s"
        return headers

    def key_of(self, headers: Mapping[str, str]) -> str | None:
        """See ``Wire``."""
        return _bearer(headers)


def _vector(body: Json, text: str, size: int) -> list[float] | str:
    vector = sample_embedding(text, size)
    if body.get("encoding_format") == "base64":
        return base64.b64encode(struct.pack(f"<{size}f", *vector)).decode()
    return list(vector)


_ANTHROPIC_ERRORS = {
    400: ("invalid_request_error", "Invalid request."),
    401: ("authentication_error", "invalid x-api-key"),
    403: ("permission_error", "Your API key does not have permission to use the specified resource."),
    404: ("not_found_error", "model: not found"),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: ("rate_limit_error", "This request would exceed your organization's rate limit."),
    529: ("overloaded_error", "Overloaded"),
}
_STOPS = {"stop": "end_turn", "length": "max_tokens", "refusal": "refusal", "content_filter": "refusal"}


class AnthropicWire(Wire):
    """Messages."""

    def schema(self, body: Json) -> Json | None:
        """See ``Wire``."""
        wanted = ((body.get("output_config") or {}).get("format") or {}).get("schema")
        tool = self._forced_tool(body)
        found: Json | None = wanted or (tool["input_schema"] if tool else None)
        return found

    def _forced_tool(self, body: Json) -> Json | None:
        choice = body.get("tool_choice") or {}
        tools = body.get("tools") or []
        if choice.get("type") == "tool":
            return next((tool for tool in tools if tool["name"] == choice["name"]), None)
        return tools[0] if choice.get("type") == "any" and tools else None

    def prompt(self, body: Json) -> str:
        """See ``Wire``."""
        system = body.get("system") or ""
        return "\n".join(_texts([{"content": system}, *body.get("messages", [])]))

    def room(self, body: Json) -> int | None:
        """See ``Wire``."""
        given: int | None = body.get("max_tokens")
        return given

    def answer(self, body: Json, number: int, text: str, stop: Stop, counts: Counts) -> dict[str, Any]:
        """See ``Wire``."""
        refused = stop in ("refusal", "content_filter")
        tool = None if refused else self._forced_tool(body)
        content: list[dict[str, Any]] = [] if refused else [{"type": "text", "text": text}]
        reason = _STOPS[stop]
        if tool is not None and text:
            content = [{"type": "tool_use", "id": f"toolu_{number}", "name": tool["name"], "input": _as_input(text)}]
            reason = "tool_use" if stop == "stop" else reason
        return {
            "id": f"msg_{number:012}",
            "type": "message",
            "role": "assistant",
            "model": body.get("model"),
            "content": content,
            "stop_reason": reason,
            "stop_sequence": None,
            "stop_details": {"type": "refusal", "category": None, "explanation": text} if refused else None,
            "usage": {
                "input_tokens": counts.input - counts.cached,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": counts.cached,
                "output_tokens": counts.output,
                "output_tokens_details": {"thinking_tokens": counts.reasoning},
                "service_tier": "standard",
            },
        }

    def error(self, status: int, code: str | None, message: str) -> dict[str, Any]:
        """See ``Wire``."""
        kind, usual = _ANTHROPIC_ERRORS.get(status, ("api_error", "Internal server error"))
        error = {"type": code or kind, "message": message or usual}
        return {"type": "error", "error": error, "request_id": "req_simulated"}

    def limit_headers(self, requests: Bucket | None, tokens: Bucket | None) -> dict[str, str]:
        """See ``Wire``."""
        headers = {}
        for name, bucket in (("requests", requests), ("tokens", tokens)):
            if bucket is not None:
                missing = (bucket.per_minute - bucket.remaining) * 60 / bucket.per_minute
                full_at = datetime.now(UTC) + timedelta(seconds=math.ceil(missing))
                headers[f"anthropic-ratelimit-{name}-limit"] = str(int(bucket.per_minute))
                headers[f"anthropic-ratelimit-{name}-remaining"] = str(bucket.remaining)
                headers[f"anthropic-ratelimit-{name}-reset"] = full_at.strftime("%Y-%m-%dT%H:%M:%SZ")
        return headers

    def key_of(self, headers: Mapping[str, str]) -> str | None:
        """See ``Wire``."""
        return headers.get("x-api-key") or _bearer(headers)


def _as_input(text: str) -> Any:
    """A tool's input is an object whatever the model wrote; text that is no JSON object becomes a field."""
    try:
        parsed = json.loads(text)
    except ValueError:
        return {"text": text}
    return parsed if isinstance(parsed, dict) else {"value": parsed}
