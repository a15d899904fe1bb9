"""What makes two requests the same question.

A request hash covers exactly what determines an answer: provider, model id, the parameters that
change answers, the messages with the bytes of their images (or the text to embed), the schema and the
choices. It leaves out who asks, when, and over which address, so that two assets, two runs or two servers
share an answer.
Every part goes in with its length before it: no two different requests spell the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence

from infergraph.errors import ConfigurationError
from infergraph.models.image import Image
from infergraph.models.model import Choices, Model, Request
from infergraph.models.text_revisions import is_free_text, text_revision

HASH_BYTES = 16
PREFIX = "b2:"
# Raising the number makes every stored answer unreachable: do it only when the bytes below change.
_VERSION = b"infergraph-hash-1"


def request_hash(model: Model, request: Request) -> bytes:
    """The 16-byte BLAKE2b hash of everything that determines this answer.

    Args:
        model: The model that is asked; its address, key and limits do not count.
        request: The request.

    Returns:
        16 bytes; show them with ``hash_text``.

    Example:
        >>> from infergraph.models.model import Message
        >>> one = Request(messages=(Message("user", "Hello"),))
        >>> two = Request(messages=(Message("user", "Hello!"),))
        >>> request_hash(Model("openai:gpt-5-mini"), one) == request_hash(Model("openai:gpt-5-mini"), two)
        False
    """
    return RequestHasher(model).hash(request)


def hash_text(value: bytes) -> str:
    """A hash as text, tagged with its algorithm.

    Example:
        >>> hash_text(bytes(16))
        'b2:00000000000000000000000000000000'
    """
    return PREFIX + value.hex()


def hash_from_text(text: str) -> bytes:
    """The bytes of a hash written by ``hash_text``; the tag may be left out.

    Args:
        text: ``b2:`` and 32 hexadecimal digits.

    Raises:
        ConfigurationError: The text is no such hash.

    Example:
        >>> hash_from_text("b2:" + "00" * 16) == bytes(16)
        True
    """
    digits = text.removeprefix(PREFIX)
    try:
        value = bytes.fromhex(digits)
    except ValueError:
        value = b""
    if len(value) != HASH_BYTES:
        raise ConfigurationError(f"{text!r} is no request hash: one looks like 'b2:' and 32 digits 0-9a-f.")
    return value


class RequestHasher:
    """Hashes many requests of one model; what neighbouring requests share is hashed once.

    An object belongs to one thread. ``hash`` gives the same bytes as ``request_hash``.

    Args:
        model: The model that is asked.

    Example:
        >>> hasher = RequestHasher(Model("scripted:x"))
        >>> hashes = hasher.hash_all(Request(embed_text=text) for text in ["a", "b", "a"])
        >>> hashes[0] == hashes[2], hashes[0] == hashes[1]
        (True, False)
    """

    def __init__(self, model: Model) -> None:
        self._start = hashlib.blake2b(digest_size=HASH_BYTES, person=b"infergraph")
        parameters = json.dumps(model.answer_parameters(), sort_keys=True, default=str)
        self._start.update(_VERSION)
        for part in (model.provider, model.model_id, parameters):
            self._start.update(_sized(part))
        self._text_revision = text_revision(model)
        self._shared: tuple[object, ...] | None = None
        self._state = self._start

    def hash(self, request: Request) -> bytes:
        """The 16-byte hash of one request."""
        messages, choices = request.messages, request.choices
        role = messages[-1].role if messages else None
        fixed = None if choices is None else _fixed(choices)
        shared = (role, messages[:-1], request.schema, request.max_output_tokens, fixed)
        # Comparing is cheap where the shared parts are the same objects, which operators see to.
        if shared != self._shared:
            self._state = self._after_shared(request)
            self._shared = shared
        state = self._state.copy()
        if messages:
            state.update(_sized(messages[-1].content))
            if messages[-1].images:
                state.update(_images_bytes(messages[-1].images))
        if choices is not None:
            state.update(_sized(choices.subject))
            for candidate in choices.candidates:
                state.update(b"k" + _sized(candidate))
        if request.embed_text is not None:
            state.update(b"e" + _sized(request.embed_text))
        return state.digest()

    def hash_all(self, requests: Iterable[Request]) -> list[bytes]:
        """The hashes of many requests, in their order."""
        return [self.hash(request) for request in requests]

    def _after_shared(self, request: Request) -> hashlib.blake2b:
        state = self._start.copy()
        if self._text_revision > 1 and is_free_text(request):
            state.update(b"t%d;" % self._text_revision)
        state.update(_sized("" if request.max_output_tokens is None else str(request.max_output_tokens)))
        schema, choices = request.schema, request.choices
        state.update(b"-" if schema is None else b"s" + _sized(schema.name) + _sized(schema.text))
        state.update(b"-" if choices is None else _choices_bytes(choices))
        state.update(b"%d;" % len(request.messages))
        for message in request.messages[:-1]:
            state.update(_sized(message.role) + _sized(message.content) + _images_bytes(message.images))
        if request.messages:
            state.update(_sized(request.messages[-1].role))
        return state


def _sized(text: str) -> bytes:
    # Lone surrogates occur in names of files and in broken text: they must hash, not fail.
    data = text.encode("utf-8", "surrogatepass")
    return b"%d:%b" % (len(data), data)


def _images_bytes(images: Sequence[Image]) -> bytes:
    """The images' types and the digests of their bytes; nothing where there are none."""
    return b"".join(b"i" + _sized(image.media_type) + image.digest for image in images)


def _fixed(choices: Choices) -> tuple[object, ...]:
    return (choices.field, choices.values, choices.descriptions, choices.question, choices.boolean)


def _choices_bytes(choices: Choices) -> bytes:
    values = [choices.field, *choices.values, "\n", *choices.descriptions, choices.question]
    sizes = b"c%d,%d,%d;" % (len(choices.values), len(choices.descriptions), choices.boolean)
    return sizes + b"".join(_sized(value) for value in values)
