"""The embedded models: no key, no network, no cost; the answers of a very small model.

``local:smollm2-135m`` (chat) and ``local:minilm`` (embeddings) come with the extra ``local``;
``local:/path/to/model.gguf`` is any other GGUF file. Chat goes over HTTP to one llama.cpp server that all
processes of the user share (see ``local_process``); embeddings are computed in this process by MiniLM,
for every ``local:`` model. Where the answer is one of a few values, the values are scored (see ``meaning``
and ``local_sentiment``): a model this small cannot be trusted to write the right one down. Another GGUF file
may be large enough to be trusted, and writes its answers itself.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infergraph.errors import ConfigurationError, InternalError, UnknownModel, did_you_mean
from infergraph.models import local_schema, local_sentiment, local_text, local_waiting, meaning, minilm
from infergraph.models.local_process import ServerPlan, server_url
from infergraph.models.local_server import work_in
from infergraph.models.model import CallFailed, Capabilities, Choices, Message, Model, Request, Response, Tokens
from infergraph.text import gguf
from infergraph.text.packaged import CHAT_MODEL as CHAT
from infergraph.text.packaged import chat_model_file, package_folder

if TYPE_CHECKING:
    import aiohttp

SLOTS = 4
SLOT_TOKENS = 2048
MAX_OUTPUT_TOKENS = 512
TRIES_AFTER_TIMEOUT = 1
"""The same machine is as slow a second time."""
EMBEDDINGS = "minilm"


def local_server_url(model: str = f"local:{CHAT}") -> str:
    """The address of the embedded model's server, which is started where none runs.

    It speaks OpenAI's protocol under ``/v1`` and Anthropic's under ``/v1/messages``, and ends by itself when
    nothing was asked for two minutes (``INFERGRAPH_LOCAL_IDLE_S``).

    Args:
        model: The name of a ``local:`` model that chats.

    Returns:
        A URL without a path, on 127.0.0.1.

    Raises:
        MissingExtra: The extra ``local`` is not installed.
        UnknownModel: There is no such local model.
        ConfigurationError: The server did not start.
    """
    provider = LocalProvider(Model(model))
    provider.check_configuration()
    return server_url(provider.server_plan())


class LocalProvider:
    """Serves one embedded model.

    Args:
        model: ``local:smollm2-135m``, ``local:minilm`` or ``local:<path of a GGUF file>``.

    Raises:
        UnknownModel: There is no such local model.
        ConfigurationError: A ``base_url`` was given.
    """

    def __init__(self, model: Model) -> None:
        if model.base_url is not None:
            raise ConfigurationError(
                f"Model({model.name!r}, base_url=...): an embedded model has no address. For a server that you run "
                "yourself write Model('openai:...', base_url=..., api_key=None)."
            )
        if not _is_file(model.model_id) and model.model_id not in (CHAT, EMBEDDINGS):
            raise UnknownModel(
                f"Model({model.name!r}): there is no such embedded model. "
                f"{did_you_mean(model.model_id, (CHAT, EMBEDDINGS))} "
                "Or name a GGUF file: 'local:/path/to/model.gguf'."
            )
        self._model = model
        self._session: aiohttp.ClientSession | None = None
        self._url: str | None = None

    @property
    def capabilities(self) -> Capabilities:
        """Chat, scored choices and embeddings; ``local:minilm`` does not chat."""
        chats = self._model.model_id != EMBEDDINGS
        return Capabilities(
            chat=chats,
            embeds=True,
            scores_choices=self._model.model_id == CHAT,
            context_tokens=SLOT_TOKENS if chats else None,
            dimensions=minilm.DIMENSIONS,
            images=False,
            default_concurrency=SLOTS,
            minds_time=not self._model.timeout_is_chosen,
            tries_after_timeout=TRIES_AFTER_TIMEOUT,
        )

    def schema_problems(self, schema: Mapping[str, Any]) -> list[str]:
        """Why the server cannot hold an answer to this schema, one sentence each; empty: it can."""
        return local_schema.problems(schema)

    def count_tokens(self, text: str) -> tuple[int, bool]:
        """Tokens of a text; exact for the two models of the extra, an estimate for most other files."""
        if self._model.model_id == EMBEDDINGS:
            return minilm.minilm().count_tokens(text), True
        tokenizer = gguf.tokenizer_in(self.model_file())
        if tokenizer is None:
            return max(1, len(text.encode()) // 4), False
        return len(tokenizer.encode(text, add_special_tokens=False).ids), True

    def check_configuration(self) -> None:
        """Raise ``ConfigurationError`` when a package of the extra or the model's file is missing."""
        if self._model.model_id != EMBEDDINGS:
            self.model_file()
            package_folder("xllamacpp")
        if not _is_file(self._model.model_id):
            for package in minilm.PACKAGES:
                package_folder(package)

    def model_file(self) -> Path:
        """The GGUF file that answers."""
        if self._model.model_id == CHAT:
            return chat_model_file()
        path = Path(self._model.model_id).expanduser()
        if not path.is_file():
            raise UnknownModel(f"Model({self._model.name!r}): there is no file {str(path)!r}.")
        return path

    def without_marks(self, text: str) -> str:
        """The text with a gap in each mark of the model's own conversations: the server would take it for its own.

        Args:
            text: The content of one message, which may say ``<|im_end|>`` to end that message and begin another.
        """
        marks = _marks(self.model_file())
        return text if marks is None else marks.sub(lambda mark: f"{mark.group()[0]} {mark.group()[1:]}", text)

    def server_plan(self) -> ServerPlan:
        """Which server this model needs."""
        file = self.model_file()
        alias = CHAT if self._model.model_id == CHAT else file.stem
        return ServerPlan(model=file, alias=alias, slots=SLOTS, slot_tokens=SLOT_TOKENS)

    async def open(self) -> None:
        """Nothing: the server starts with the first request, which waits for it without a timeout of its own."""

    async def send(self, request: Request) -> Response:
        """Answer one request; raises ``CallFailed``."""
        if request.embed_text is not None:
            return await asyncio.to_thread(_embed, request.embed_text)
        if self._model.model_id == EMBEDDINGS:
            raise CallFailed(
                f"{self._model.name!r} embeds texts and does not chat; use 'local:{CHAT}'.", outcome="fatal"
            )
        if request.choices is None or not self.capabilities.scores_choices:
            return await self._chat(request)
        if local_sentiment.asks_sentiment(request.choices):
            return await self._sentiment(request.choices)
        return await asyncio.to_thread(_chosen, request.choices, request.messages)

    async def close(self) -> None:
        """Give back connections; the server goes on for others and ends by itself when idle."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _chat(self, request: Request) -> Response:
        stated = request.max_output_tokens or self._model.max_output_tokens
        free_text = request.schema is None and self._model.model_id == CHAT
        room = stated or (local_text.USUAL_ROOM if free_text else MAX_OUTPUT_TOKENS)
        body: dict[str, Any] = {
            "messages": [
                {"role": message.role, "content": self.without_marks(message.content)} for message in request.messages
            ],
            "max_tokens": room,
            **self._sampling(),
            **local_waiting.STREAMED,
        }
        if request.schema is not None:
            body["grammar"] = local_schema.grammar(request.schema.as_dict())
        elif free_text:
            words = request.words or (None if stated else local_text.USUAL_WORDS)
            body |= local_text.parameters(words, room)
            last = body["messages"][-1]
            last["content"] += local_text.reminder(words, last["content"])
        return _response(await self._post("/v1/chat/completions", body))

    async def _sentiment(self, choices: Choices) -> Response:
        parts = local_sentiment.sentences(meaning.plain(choices.subject))
        prompts = [local_sentiment.prompt(self.without_marks(part)) for part in parts]
        answers = [await self._next_words(prompt, _sentiment_words()) for prompt in prompts]
        value = await asyncio.to_thread(local_sentiment.decide, parts, [scores for scores, _ in answers])
        tokens = sum((used for _, used in answers), Tokens())
        return Response(text=_answer_text(choices, value), tokens=tokens, model_id=CHAT)

    async def _next_words(self, prompt: str, candidates: tuple[int, ...]) -> tuple[list[float], Tokens]:
        """How likely each of a few tokens is to come next, as log-probabilities among them."""
        body = {
            "prompt": prompt,
            "n_predict": 1,
            "n_probs": len(candidates),
            "post_sampling_probs": True,
            "samplers": ["temperature"],
            "temperature": 1,
            # An equal, overwhelming bias leaves only the candidates, at the odds that the model gives them.
            "logit_bias": [[token, 100] for token in candidates],
            "cache_prompt": True,
            "seed": 0,
        }
        answer = await self._post("/completion", body)
        found = {one["id"]: one["prob"] for one in answer["completion_probabilities"][0]["top_probs"]}
        used = Tokens(
            input=answer["tokens_evaluated"],
            cached_input=answer["timings"]["cache_n"],
            output=answer["tokens_predicted"],
        )
        return [math.log(max(found.get(token, 0.0), 1e-30)) for token in candidates], used

    def _sampling(self) -> dict[str, Any]:
        return {"temperature": self._model.temperature or 0, "seed": 0, "cache_prompt": True}

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        import aiohttp

        try:
            try:
                return await self._post_once(path, body)
            except aiohttp.ClientConnectorError:
                # Nothing was asked yet: the server ended since we last looked, because it was idle.
                self._url = None
                return await self._post_once(path, body)
        except TimeoutError as error:
            seconds = f"{self._model.timeout_s:g} s"
            chosen = self._model.timeout_is_chosen
            message = f"did not answer within {seconds}" if chosen else f"did nothing for {seconds}"
            raise CallFailed(f"The embedded model {message}.", outcome="transient", reason="timeout") from error
        except (aiohttp.ClientError, OSError) as error:
            self._url = None
            raise CallFailed(f"The embedded model's server went away: {error}", outcome="transient") from error

    async def _post_once(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        import aiohttp

        if self._url is None:
            self._url = await asyncio.to_thread(server_url, self.server_plan())
        if self._session is None or self._session.closed:
            # More would only wait inside the server, where each holds one of its threads. Kept open, a connection holds
            # one as well, and now and then the server closes it just when the next request sets out.
            connector = aiohttp.TCPConnector(limit=2 * SLOTS, force_close=True)
            self._session = aiohttp.ClientSession(connector=connector)
        asking = self._answer(self._session, self._url + path, body)
        if self._model.timeout_is_chosen:
            return await asyncio.wait_for(asking, self._model.timeout_s)
        at_work = partial(_is_at_work, self._url, min(local_waiting.LOOK_TAKES_S, self._model.timeout_s))
        return await local_waiting.while_at_work(asking, at_work, patience_s=self._model.timeout_s)

    async def _answer(self, session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> dict[str, Any]:
        import aiohttp

        async with session.post(url, json=body, timeout=aiohttp.ClientTimeout(total=None)) as answer:
            parsed: dict[str, Any]
            if answer.status >= 400:
                raise _failure(answer.status, await answer.json())
            if "stream" not in body:
                parsed = await answer.json()
                return parsed
            parsed = await local_waiting.whole_answer(answer.content)
            if "error" in parsed:
                raise _failure(500, parsed)
            return parsed


async def _is_at_work(url: str, timeout_s: float) -> bool:
    """Whether the server computes just now; one that does not say so is asked again later."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=timeout_s)
    try:
        # Not the session of the requests: all its connections may be in use.
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{url}/metrics") as answer:
            return work_in(await answer.text())[1]
    except (aiohttp.ClientError, OSError):
        return False


def _is_file(model_id: str) -> bool:
    return model_id.endswith(".gguf") or "/" in model_id or "\\" in model_id


@cache
def _marks(file: Path) -> re.Pattern[str] | None:
    marks = sorted((mark for mark in gguf.control_marks(gguf.read_metadata(file)) if len(mark) > 1), key=len)
    return re.compile("|".join(map(re.escape, reversed(marks)))) if marks else None


@cache
def _sentiment_words() -> tuple[int, ...]:
    tokenizer = gguf.tokenizer_in(chat_model_file())
    if tokenizer is None:
        raise InternalError("The embedded model's vocabulary cannot be read; was another version of it installed?")
    return tuple(tokenizer.token_to_id(f"\u0120{value}") for value in local_sentiment.VALUES)


def _chosen(choices: Choices, messages: Sequence[Message]) -> Response:
    value, tokens = meaning.choose(choices, list(_examples(choices.field, messages)))
    return Response(text=_answer_text(choices, value), tokens=Tokens(input=tokens), model_id=EMBEDDINGS)


def _examples(field: str, messages: Sequence[Message]) -> Iterator[meaning.Worked]:
    """The author's examples: a user's message, and the assistant's message after it with the right answer."""
    for asked, answered in pairwise(messages):
        if asked.role == "user" and answered.role == "assistant":
            value = json.loads(answered.content)[field]
            yield meaning.Worked(asked.content, json.dumps(value) if isinstance(value, bool) else str(value))


def _answer_text(choices: Choices, value: str) -> str:
    return json.dumps({choices.field: value == "true" if choices.boolean else value}, ensure_ascii=False)


def _embed(text: str) -> Response:
    vector, tokens = minilm.minilm().embed(text)
    return Response(
        embedding=tuple(float(number) for number in vector), tokens=Tokens(input=tokens), model_id=EMBEDDINGS
    )


def _response(parsed: Mapping[str, Any]) -> Response:
    choice, usage = parsed["choices"][0], parsed["usage"]
    return Response(
        text=choice["message"]["content"] or "",
        finish="length" if choice["finish_reason"] == "length" else "stop",
        tokens=Tokens(
            input=usage["prompt_tokens"],
            cached_input=usage.get("prompt_tokens_details", {}).get("cached_tokens", 0),
            output=usage["completion_tokens"],
        ),
        model_id=str(parsed["model"]),
    )


def _failure(status: int, parsed: Mapping[str, Any]) -> CallFailed:
    error = parsed.get("error", {})
    message = f"The embedded model's server says: {error.get('message', parsed)}"
    if error.get("type") == "exceed_context_size_error":
        return CallFailed(message, outcome="permanent", reason="too_long", status=status)
    return CallFailed(message, outcome="permanent" if status < 500 else "transient", status=status)
