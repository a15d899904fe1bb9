"""``scripted:``: a model without a network, for tests: answers from a list or a function, or made up to fit.

Unless a script of its name runs, a scripted model answers every request with a made-up value that fits the
request's schema, the same one every time. ``script`` puts answers under a name and keeps what was asked.
"""

from __future__ import annotations

import inspect
import json
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from infergraph.errors import ConfigurationError
from infergraph.models.model import CallFailed, Capabilities, Model, Request, Response, Tokens
from infergraph.models.sample import sample_answer, sample_embedding, sample_text
from infergraph.models.vision import vision_of_openai

Answer = str | Mapping[str, Any] | list[Any] | Response | Exception
Answers = Iterable[Answer] | Callable[[Request], Answer | Awaitable[Answer]]

_running: dict[str, Script] = {}
_lock = threading.Lock()


class Script:
    """Answers under a name, and the requests that came; made by ``script``.

    Args:
        name: The model id.
        answers: A list that is used up in order, or a function of the request.
    """

    def __init__(self, name: str, answers: Answers) -> None:
        self.name = name
        self.requests: list[Request] = []
        self._function = answers if callable(answers) else None
        self._queue: deque[Answer] = deque() if callable(answers) else deque(answers)
        self._lock = threading.Lock()

    def next_answer(self, request: Request) -> Answer | Awaitable[Answer]:
        """The answer to the next request, which is noted down."""
        with self._lock:
            self.requests.append(request)
            if self._function is None:
                if not self._queue:
                    raise CallFailed(
                        f"The script of 'scripted:{self.name}' has no more answers for request "
                        f"{len(self.requests)}. Give it more, or a function.",
                        outcome="fatal",
                    )
                return self._queue.popleft()
        return self._function(request)


@contextmanager
def script(name: str, answers: Answers) -> Iterator[Script]:
    """While it runs, ``scripted:<name>`` answers with these.

    Args:
        name: The model id: what stands after ``scripted:``.
        answers: Answers in order, or a function (also ``async``) from the request to one. An answer is text, a
            dict or list that becomes JSON, a ``Response``, or an exception that is raised.

    Yields:
        The script; its ``requests`` are what was asked so far.

    Raises:
        ConfigurationError: A script of that name runs already.

    Example:
        >>> import asyncio
        >>> with script("parrot", [{"a": 1}]) as parrot:
        ...     asyncio.run(ScriptedProvider(Model("scripted:parrot")).send(Request())).text
        '{"a": 1}'
        >>> len(parrot.requests)
        1
    """
    made = Script(name, answers)
    with _lock:
        if name in _running:
            raise ConfigurationError(f"script({name!r}): a script of that name runs already. Choose another name.")
        _running[name] = made
    try:
        yield made
    finally:
        with _lock:
            del _running[name]


class ScriptedProvider:
    """Serves one scripted model; needs no key and costs nothing.

    Args:
        model: ``scripted:<name>``; ``dimensions`` is the length of its embeddings (64 unless given).

    Example:
        >>> import asyncio
        >>> provider = ScriptedProvider(Model("scripted:any", dimensions=2))
        >>> len(asyncio.run(provider.send(Request(embed_text="hello"))).embedding)
        2
    """

    def __init__(self, model: Model) -> None:
        self._model = model

    @property
    def capabilities(self) -> Capabilities:
        """It chats, embeds and takes images."""
        return Capabilities(
            embeds=True,
            images=True,
            vision=vision_of_openai(""),
            dimensions=self._model.dimensions or 64,
            default_concurrency=64,
        )

    def schema_problems(self, schema: Mapping[str, Any]) -> list[str]:
        """None: any schema will do."""
        return []

    def count_tokens(self, text: str) -> tuple[int, bool]:
        """One token for every four characters, rounded up; exact, as it is what responses say."""
        return _count(text), True

    def check_configuration(self) -> None:
        """Nothing can be missing."""

    async def open(self) -> None:
        """Nothing to do."""

    async def send(self, request: Request) -> Response:
        """Answer one request; raises what the script says."""
        running = _running.get(self._model.model_id)
        if running is None:
            return self._made_up(request)
        answer = running.next_answer(request)
        if inspect.isawaitable(answer):
            answer = await answer
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Response):
            return answer
        return self._response(request, answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False))

    async def close(self) -> None:
        """Nothing is held."""

    def _made_up(self, request: Request) -> Response:
        if request.embed_text is not None:
            vector = sample_embedding(request.embed_text, self._model.dimensions or 64)
            return Response(
                embedding=vector, tokens=Tokens(input=_count(request.embed_text)), model_id=self._model.model_id
            )
        key = "\n".join([str(self._model.salt), *(message.shown for message in request.messages)])
        if request.schema is None:
            return self._response(request, sample_text(key))
        return self._response(request, json.dumps(sample_answer(request.schema.parsed, key)))

    def _response(self, request: Request, text: str) -> Response:
        asked = sum(_count(message.content) for message in request.messages)
        asked += sum(map(self.capabilities.vision.tokens, request.images))
        return Response(text=text, tokens=Tokens(input=asked, output=_count(text)), model_id=self._model.model_id)


def _count(text: str) -> int:
    return -(-len(text) // 4)
