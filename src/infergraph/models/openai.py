"""``openai:``: chat completions with JSON-schema answers, and embeddings; OpenAI's own host or a compatible one.

Wire format only: a ``Request`` becomes a body, what comes back becomes a ``Response`` or a ``CallFailed``. Which
address, headers and key go on the wire is the official client's business; ours is that a key of the
environment never leaves for a host that is not OpenAI's.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any
from urllib.parse import urlsplit

from infergraph.models.address import check_server_address
from infergraph.models.bodies import Bodies, encoded
from infergraph.models.failures import Peer, no_answer
from infergraph.models.http import Envelope, Line, counted, key_of, own_headers
from infergraph.models.image import Image
from infergraph.models.model import (
    AnswerSchema,
    Capabilities,
    Finish,
    Message,
    Model,
    Request,
    Response,
    Tokens,
)
from infergraph.models.prices import context_tokens
from infergraph.models.schemas import COMPATIBLE, OPENAI, Dialect, schema_problems, strict_schema
from infergraph.models.tokens import count_tokens
from infergraph.models.vision import sees, vision_of_openai

_OWN_URL = "https://api.openai.com/v1"
_OWN_HOSTS = ("api.openai.com", ".api.openai.com", ".openai.azure.com")
_KEY = "OPENAI_API_KEY"
_FINISHES: Mapping[str, Finish] = {"length": "length", "content_filter": "content_filter"}
_DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}


class OpenAIProvider:
    """Serves one model over OpenAI's protocol.

    Args:
        model: With ``base_url`` it is a compatible server (vLLM, llama.cpp, Ollama, a gateway), which gets the
            model's ``api_key`` and nothing from the environment.

    Example:
        >>> OpenAIProvider(Model("openai:gpt-5-mini")).capabilities.context_tokens
        400000
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        # Servers of OpenAI's own kind take max_completion_tokens and the strict subset of JSON schema.
        self._own_kind = model.base_url is None or _is_own_host(model.base_url)
        peer = Peer.of(model, title="OpenAI", url=_OWN_URL, key_variable=_KEY)
        self._line = Line(peer, timeout_s=model.timeout_s, envelope=self._envelope)
        self._bodies = Bodies(self._chat_body)

    @cached_property
    def capabilities(self) -> Capabilities:
        """What is known about the model."""
        name = self._model.model_id
        embeds_only = "embed" in name.lower()
        return Capabilities(
            chat=not embeds_only,
            embeds=embeds_only or self._model.base_url is not None,
            context_tokens=context_tokens(self._model),
            dimensions=self._model.dimensions or (None if self._model.base_url else _DIMENSIONS.get(name)),
            images=False if embeds_only else sees(name, own_host=self._own_kind),
            vision=vision_of_openai(name),
        )

    @property
    def _dialect(self) -> Dialect:
        return OPENAI if self._own_kind else COMPATIBLE

    def schema_problems(self, schema: Mapping[str, Any]) -> list[str]:
        """Why the model cannot take this schema; compatible servers are handed what they are given."""
        return schema_problems(schema, OPENAI) if self._own_kind else []

    def count_tokens(self, text: str) -> tuple[int, bool]:
        """Tokens of a text; exact for OpenAI's models on OpenAI's kind of host."""
        count, exact = count_tokens(self._model.model_id, text)
        return count, exact and self._own_kind

    def check_configuration(self) -> None:
        """Raise ``ConfigurationError`` where the key is missing or the address is none."""
        check_server_address(self._model.name, self._model.base_url)
        key_of(self._model, _KEY)

    async def open(self) -> None:
        """Import the official client and ask it for address and headers."""
        await self._line.open()

    async def send(self, request: Request) -> Response:
        """Send one request; raises ``CallFailed``."""
        if request.embed_text is not None:
            return await self._embed(request.embed_text)
        body, headers = await self._line.post("/chat/completions", self._bodies.encoded(request))
        return _chat_response(body, headers)

    async def close(self) -> None:
        """Give back connections."""
        await self._line.close()

    def _envelope(self) -> Envelope:
        from openai import AsyncOpenAI

        self.check_configuration()
        key = key_of(self._model, _KEY)
        foreign = self._model.base_url is not None
        # The address is stated, so that OPENAI_BASE_URL cannot send the key elsewhere.
        client = AsyncOpenAI(
            api_key="none" if key is None else key.reveal(), base_url=self._model.base_url or _OWN_URL, max_retries=0
        )
        found = {**client.default_headers, **client.auth_headers}
        headers = own_headers(found, custom_variable="OPENAI_CUSTOM_HEADERS", foreign=foreign)
        if key is None:
            headers.pop("authorization", None)
        elif foreign:
            headers["authorization"] = f"Bearer {key.reveal()}"
        return Envelope(str(client.base_url).rstrip("/"), headers, key)

    def _chat_body(self, request: Request) -> dict[str, Any]:
        model = self._model
        room = request.max_output_tokens or model.max_output_tokens
        body: dict[str, Any] = {
            "model": model.model_id,
            "messages": [{"role": message.role, "content": _content(message)} for message in request.messages],
        }
        if room is not None:
            body["max_completion_tokens" if self._own_kind else "max_tokens"] = room
        if model.temperature is not None:
            body["temperature"] = model.temperature
        if model.reasoning_effort is not None:
            body["reasoning_effort"] = model.reasoning_effort
        if request.schema is not None:
            body["response_format"] = _response_format(request.schema, self._dialect)
        return body

    async def _embed(self, text: str) -> Response:
        body: dict[str, Any] = {"model": self._model.model_id, "input": text}
        # Base64 is a third of the bytes and of the parsing; not every compatible server knows it.
        body["encoding_format"] = "base64" if self._own_kind else "float"
        if self._model.dimensions is not None:
            body["dimensions"] = self._model.dimensions
        answer, headers = await self._line.post("/embeddings", encoded(body))
        try:
            vector = _vector(answer["data"][0]["embedding"])
        except (KeyError, IndexError, TypeError, ValueError, OverflowError, struct.error) as error:
            raise no_answer(answer) from error
        return Response(
            embedding=vector,
            tokens=_tokens(answer.get("usage")),
            model_id=str(answer.get("model", "")),
            headers=headers,
        )


def _content(message: Message) -> str | list[dict[str, Any]]:
    if not message.images:
        return message.content
    return [*map(_image_part, message.images), {"type": "text", "text": message.content}]


def _image_part(image: Image) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:{image.media_type};base64,{image.base64()}"}}


def _is_own_host(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return any(host == own or (own.startswith(".") and host.endswith(own)) for own in _OWN_HOSTS)


@lru_cache(maxsize=256)
def _response_format(schema: AnswerSchema, dialect: Dialect) -> dict[str, Any]:
    given = schema.parsed
    strict = not schema_problems(given, dialect)
    sent = strict_schema(given, dialect) if strict else given
    return {"type": "json_schema", "json_schema": {"name": schema.name, "strict": strict, "schema": sent}}


def _chat_response(body: Mapping[str, Any], headers: Mapping[str, str]) -> Response:
    try:
        choice = body["choices"][0]
        message = choice["message"]
        content, refusal = message.get("content"), message.get("refusal")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise no_answer(body) from error
    finish: Finish = "refusal" if refusal else _FINISHES.get(str(choice.get("finish_reason")), "stop")
    return Response(
        text=_text(refusal) or _text(content),
        finish=finish,
        tokens=_tokens(body.get("usage")),
        model_id=str(body.get("model", "")),
        headers=headers,
    )


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return content if isinstance(content, str) else ""


def _tokens(usage: Any) -> Tokens:
    return Tokens(
        input=counted(usage, "prompt_tokens"),
        cached_input=counted(usage, "prompt_tokens_details", "cached_tokens"),
        output=counted(usage, "completion_tokens"),
        reasoning=counted(usage, "completion_tokens_details", "reasoning_tokens"),
    )


def _vector(given: Any) -> tuple[float, ...]:
    if isinstance(given, str):
        raw = base64.b64decode(given)
        return struct.unpack(f"<{len(raw) // 4}f", raw)
    return tuple(float(number) for number in given)
