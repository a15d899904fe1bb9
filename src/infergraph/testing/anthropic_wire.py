"""Anthropic's protocol as its servers speak it: messages, errors, limit headers."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from infergraph.models.image import Image
from infergraph.models.prompt_cache import least_cached_tokens
from infergraph.models.vision import vision_of_claude
from infergraph.testing.limits import Bucket, Kind
from infergraph.testing.prefix_cache import Prefixes
from infergraph.testing.wires import (
    CHARS_PER_TOKEN,
    Counts,
    Json,
    Stop,
    Wire,
    bearer,
    image_parts,
    parts_of,
    seconds_to_full,
    texts_of,
)

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
        return "\n".join(texts_of(self._messages(body)))

    def _messages(self, body: Json) -> list[Json]:
        return [{"content": body.get("system")}, *body.get("messages", [])]

    def prefixes(self, body: Json, prompt: str) -> Prefixes:
        """See ``Wire``: what ends at a mark and is long enough for the model."""
        least = least_cached_tokens(str(body.get("model"))) * CHARS_PER_TOKEN
        marks, end = [], -1
        for message in self._messages(body):
            for part in parts_of(message.get("content")):
                end += 1 + len(str(part.get("text", "")))
                if part.get("cache_control") and end >= least:
                    marks.append(end)
        before = [body.get(name) for name in ("model", "tools", "tool_choice", "output_config")]
        return Prefixes(seed=json.dumps(before), text=prompt, ends=marks, shared=marks[-1] if marks else 0)

    def images(self, body: Json) -> list[bytes]:
        """See ``Wire``: base64 only; nothing is fetched."""
        found = []
        for part in image_parts(body.get("messages", []), "image"):
            source = part.get("source")
            if not isinstance(source, Mapping) or source.get("type") != "base64":
                raise ValueError("image.source: must be an object of type base64.")
            data = base64.b64decode(str(source.get("data")), validate=True)
            if data and Image.of(data).media_type != source.get("media_type"):
                raise ValueError("image.source.media_type: is not what the image is.")
            found.append(data)
        return found

    def image_tokens(self, body: Json, image: Image) -> int:
        """See ``Wire``."""
        return vision_of_claude(str(body.get("model"))).tokens(image)

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
                "input_tokens": counts.input - counts.cached - counts.written,
                "cache_creation_input_tokens": counts.written,
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

    def limit_headers(self, limits: Mapping[Kind, Bucket]) -> dict[str, str]:
        """See ``Wire``."""
        headers = {}
        for kind, bucket in limits.items():
            full_at = datetime.now(UTC) + timedelta(seconds=math.ceil(seconds_to_full(bucket)))
            name = f"anthropic-ratelimit-{kind.replace('_', '-')}"
            headers[f"{name}-limit"] = str(int(bucket.per_minute))
            headers[f"{name}-remaining"] = str(bucket.remaining)
            headers[f"{name}-reset"] = full_at.strftime("%Y-%m-%dT%H:%M:%SZ")
        return headers

    def key_of(self, headers: Mapping[str, str]) -> str | None:
        """See ``Wire``."""
        return headers.get("x-api-key") or bearer(headers)


def _as_input(text: str) -> Any:
    """A tool's input is an object whatever the model wrote; text that is no JSON object becomes a field."""
    try:
        parsed = json.loads(text)
    except ValueError:
        return {"text": text}
    return parsed if isinstance(parsed, dict) else {"value": parsed}
