"""OpenAI's protocol as its servers speak it: chat completions, embeddings, errors, limit headers."""

from __future__ import annotations

import base64
import json
import struct
import time
from collections.abc import Mapping
from typing import Any

from infergraph.models.image import Image
from infergraph.models.sample import sample_embedding
from infergraph.models.vision import vision_of_openai
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
    rough_tokens,
    seconds_to_full,
    texts_of,
)

_BLOCK = 128 * CHARS_PER_TOKEN
_LEAST_CACHED = 1024 * CHARS_PER_TOKEN

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
        return "\n".join([*texts_of(body.get("messages", [])), *inputs])

    def prefixes(self, body: Json, prompt: str) -> Prefixes:
        """See ``Wire``: long prompts by themselves, in whole blocks."""
        before_last = len("\n".join(texts_of(body.get("messages", [])[:-1])))
        return Prefixes(
            seed=json.dumps([body.get("model"), body.get("response_format")]),
            text=prompt,
            ends=range(_LEAST_CACHED, len(prompt) + 1, _BLOCK),
            shared=before_last // _BLOCK * _BLOCK if before_last >= _LEAST_CACHED else 0,
        )

    def images(self, body: Json) -> list[bytes]:
        """See ``Wire``: addresses that hold the bytes themselves; nothing is fetched."""
        found = []
        for part in image_parts(body.get("messages", []), "image_url"):
            given = part.get("image_url")
            address = given.get("url") if isinstance(given, Mapping) else None
            head, comma, data = str(address).partition(";base64,")
            if not comma or not head.startswith("data:image/"):
                raise ValueError("image_url: must have a url such as data:image/png;base64,...")
            found.append(base64.b64decode(data, validate=True))
        return found

    def image_tokens(self, body: Json, image: Image) -> int:
        """See ``Wire``."""
        return vision_of_openai(str(body.get("model"))).tokens(image)

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

    def limit_headers(self, limits: Mapping[Kind, Bucket]) -> dict[str, str]:
        """See ``Wire``; OpenAI knows no limits for input or output alone."""
        headers = {}
        for kind, bucket in limits.items():
            if kind in ("requests", "tokens"):
                headers[f"x-ratelimit-limit-{kind}"] = str(int(bucket.per_minute))
                headers[f"x-ratelimit-remaining-{kind}"] = str(bucket.remaining)
                headers[f"x-ratelimit-reset-{kind}"] = f"{seconds_to_full(bucket):.3f}s"
        return headers

    def key_of(self, headers: Mapping[str, str]) -> str | None:
        """See ``Wire``."""
        return bearer(headers)


def _vector(body: Json, text: str, size: int) -> list[float] | str:
    vector = sample_embedding(text, size)
    if body.get("encoding_format") == "base64":
        return base64.b64encode(struct.pack(f"<{size}f", *vector)).decode()
    return list(vector)
