"""``anthropic:``: messages with JSON-schema answers; Anthropic's own host or a compatible one.

Wire format only, as in ``openai.py``. Models that know ``output_config.format`` get the schema there; older ones,
and compatible servers' own models, are made to call a tool whose input has that schema. Some compatible servers
ignore tools without a word (llama.cpp, for a model whose chat template has none), so their models also read it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any

from infergraph.models.address import check_server_address
from infergraph.models.bodies import Bodies
from infergraph.models.failures import Peer, no_answer
from infergraph.models.http import Envelope, Line, counted, key_of, own_headers
from infergraph.models.image import Image
from infergraph.models.model import (
    AnswerSchema,
    CallFailed,
    Capabilities,
    Finish,
    Message,
    Model,
    Request,
    Response,
    Tokens,
)
from infergraph.models.prices import context_tokens
from infergraph.models.prompt_cache import cacheable_prefix_tokens
from infergraph.models.schemas import ANTHROPIC, schema_problems, strict_schema
from infergraph.models.tokens import count_tokens
from infergraph.models.vision import sees, vision_of_claude

_OWN_URL = "https://api.anthropic.com"
_KEY = "ANTHROPIC_API_KEY"
_DEFAULT_ROOM = 4096
_WITHOUT_SCHEMAS = re.compile(r"^claude-(v?[12]\b|instant|3-|4-|(opus|sonnet)-4(-0)?(-20\d{6})?$)")
_FINISHES: Mapping[str, Finish] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refusal",
}
# The API version that the official client speaks refuses sampling parameters; the one before takes them.
_VERSION_WITH_TEMPERATURE = {"anthropic-version": "2023-06-01"}


class AnthropicProvider:
    """Serves one model over Anthropic's messages protocol.

    Args:
        model: With ``base_url`` it is a compatible server, which gets the model's ``api_key`` and nothing from the
            environment; the address is given without ``/v1``.

    Example:
        >>> AnthropicProvider(Model("anthropic:claude-haiku-4-5")).capabilities.embeds
        False
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._is_claude = model.model_id.startswith("claude")
        self._by_tool = not self._is_claude or bool(_WITHOUT_SCHEMAS.match(model.model_id))
        peer = Peer.of(model, title="Anthropic", url=_OWN_URL, key_variable=_KEY)
        self._line = Line(peer, timeout_s=model.timeout_s, envelope=self._envelope)
        self._bodies = Bodies(self._body)

    @cached_property
    def capabilities(self) -> Capabilities:
        """What is known about the model."""
        name = self._model.model_id
        return Capabilities(
            context_tokens=context_tokens(self._model),
            images=sees(name, own_host=self._is_claude),
            vision=vision_of_claude(name),
        )

    def schema_problems(self, schema: Mapping[str, Any]) -> list[str]:
        """Why the model cannot take this schema; a tool's input may be any object."""
        problems = schema_problems(schema, ANTHROPIC)
        return [problem for problem in problems if not self._by_tool or problem.startswith("The schema is not")]

    def count_tokens(self, text: str) -> tuple[int, bool]:
        """Tokens of a text: an estimate, Anthropic publishes no tokenizer."""
        return count_tokens(self._model.model_id, text)

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
            raise CallFailed(
                f"Model({self._model.name!r}): Anthropic has no embeddings. Use a model of 'openai:' or 'local:'.",
                outcome="fatal",
            )
        older = _VERSION_WITH_TEMPERATURE if self._model.temperature is not None else None
        body, headers = await self._line.post("/v1/messages", self._bodies.encoded(request), older)
        return _response(body, headers)

    async def close(self) -> None:
        """Give back connections."""
        await self._line.close()

    def _envelope(self) -> Envelope:
        from anthropic import AsyncAnthropic

        self.check_configuration()
        key = key_of(self._model, _KEY)
        foreign = self._model.base_url is not None
        # Address and key are stated, so that neither the environment nor a profile on disk can replace them.
        client = AsyncAnthropic(
            api_key="none" if key is None else key.reveal(), base_url=self._model.base_url or _OWN_URL, max_retries=0
        )
        found = {**client.default_headers, **client.auth_headers}
        headers = own_headers(found, custom_variable="ANTHROPIC_CUSTOM_HEADERS", foreign=foreign)
        if key is None:
            headers = {name: text for name, text in headers.items() if name not in ("authorization", "x-api-key")}
        elif foreign:
            # Compatible servers read the key where older clients wrote it, or where the newest does.
            headers |= {"authorization": f"Bearer {key.reveal()}", "x-api-key": key.reveal()}
        return Envelope(str(client.base_url).rstrip("/"), headers, key)

    def _body(self, request: Request) -> dict[str, Any]:
        model = self._model
        body: dict[str, Any] = {
            "model": model.model_id,
            "max_tokens": request.max_output_tokens or model.max_output_tokens or _DEFAULT_ROOM,
            "messages": [
                {"role": message.role, "content": _content(message)}
                for message in request.messages
                if message.role != "system"
            ],
        }
        system = [message.content for message in request.messages if message.role == "system"]
        if request.schema is not None and not self._is_claude:
            system.append(f"The answer is one JSON object that fits this JSON schema: {request.schema.text}")
        if system:
            body["system"] = "\n\n".join(system)
        if model.temperature is not None:
            body["temperature"] = model.temperature
        if model.reasoning_effort is not None:
            body["output_config"] = {"effort": model.reasoning_effort}
        if request.schema is not None and self._by_tool:
            body |= _tool(request.schema)
        elif request.schema is not None:
            body["output_config"] = {**body.get("output_config", {}), "format": _format(request.schema)}
        if cacheable_prefix_tokens(model, request):
            _mark_prefix(body, request)
        return body


def _mark_prefix(body: dict[str, Any], request: Request) -> None:
    """Have Anthropic keep everything up to the last message that all rows share; tools and schema come before it."""
    if any(message.role == "system" for message in request.messages[len(request.prefix) :]):
        return
    last = sum(message.role != "system" for message in request.prefix) - 1
    place, name = (body, "system") if last < 0 else (body["messages"][last], "content")
    parts = place[name] if isinstance(place[name], list) else [{"type": "text", "text": place[name]}]
    place[name] = [*parts[:-1], {**parts[-1], "cache_control": {"type": "ephemeral"}}]


def _content(message: Message) -> str | list[dict[str, Any]]:
    if not message.images:
        return message.content
    return [*map(_image_part, message.images), {"type": "text", "text": message.content}]


def _image_part(image: Image) -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": image.media_type, "data": image.base64()}}


@lru_cache(maxsize=256)
def _format(schema: AnswerSchema) -> dict[str, Any]:
    return {"type": "json_schema", "schema": strict_schema(schema.parsed, ANTHROPIC)}


@lru_cache(maxsize=256)
def _tool(schema: AnswerSchema) -> dict[str, Any]:
    tool = {"name": schema.name, "description": "Gives the answer.", "input_schema": schema.parsed}
    return {"tools": [tool], "tool_choice": {"type": "tool", "name": schema.name}}


def _response(body: Mapping[str, Any], headers: Mapping[str, str]) -> Response:
    blocks = body.get("content")
    if not isinstance(blocks, list) or not all(isinstance(block, Mapping) for block in blocks):
        raise no_answer(body)
    finish = _FINISHES.get(str(body.get("stop_reason")), "stop")
    text = _text(blocks)
    if finish == "refusal":
        details = body.get("stop_details")
        text = str((details.get("explanation") if isinstance(details, Mapping) else "") or text)
    return Response(
        text=text,
        finish=finish,
        tokens=_tokens(body.get("usage")),
        model_id=str(body.get("model", "")),
        headers=headers,
    )


def _text(blocks: list[Mapping[str, Any]]) -> str:
    """A tool's input where one was called, else what was written; thinking is no part of an answer."""
    for block in blocks:
        if block.get("type") == "tool_use":
            return json.dumps(block.get("input"), ensure_ascii=False)
    return "".join(str(block.get("text", "")) for block in blocks if block.get("type") == "text")


def _tokens(usage: Any) -> Tokens:
    cached, written = counted(usage, "cache_read_input_tokens"), counted(usage, "cache_creation_input_tokens")
    return Tokens(
        input=counted(usage, "input_tokens") + cached + written,
        cached_input=cached,
        cache_write_input=written,
        output=counted(usage, "output_tokens"),
        reasoning=counted(usage, "output_tokens_details", "thinking_tokens"),
    )
