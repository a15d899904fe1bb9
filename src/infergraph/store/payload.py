"""How prompts and responses lie in the store: small texts as they are, longer ones compressed, vectors as float32.

The first byte of a payload says which: ``t`` text, ``z`` compressed text, ``f`` float32 numbers, little-endian.
"""

from __future__ import annotations

import json
import sys
import zlib
from array import array
from collections.abc import Sequence
from typing import Any

from infergraph.errors import StoreError
from infergraph.models.image import Image
from infergraph.models.model import Message, Request, Response, Role

_TEXT, _ZIPPED, _FLOATS = b"t", b"z", b"f"
# Made once: json.dumps with an option makes an encoder for each call.
_JSON = json.JSONEncoder(ensure_ascii=False).encode
UNREADABLE = (zlib.error, ValueError, TypeError)
"""What unpacking raises where a payload is damaged."""
NOT_KEPT = b""
"""In place of a prompt that the store was told not to keep."""
_SMALL = 200
_LARGE = 16_384


def pack_text(text: str) -> bytes:
    """A text as a payload.

    Example:
        >>> unpack_text(pack_text("word " * 100)) == "word " * 100
        True
    """
    data = text.encode("utf-8", "surrogatepass")
    if len(data) < _SMALL:
        return _TEXT + data
    # A small window makes compressing a short text five times faster: no 256 KiB to set up for each.
    window, memory = (15, 8) if len(data) > _LARGE else (12, 5)
    zipper = zlib.compressobj(1, zlib.DEFLATED, window, memory)
    zipped = zipper.compress(data) + zipper.flush()
    return _ZIPPED + zipped if len(zipped) < len(data) else _TEXT + data


def unpack_text(payload: bytes) -> str:
    """The text of a payload made by ``pack_text``."""
    kind, data = payload[:1], payload[1:]
    if kind == _ZIPPED:
        data = zlib.decompress(data)
    elif not payload:
        raise ValueError("an empty payload")
    elif kind != _TEXT:
        raise StoreError(f"The store holds a payload of unknown kind {kind!r}: it was written by a newer Infergraph.")
    return data.decode("utf-8", "surrogatepass")


def pack_floats(values: Sequence[float]) -> bytes:
    """A vector as a payload of 4 bytes a number.

    Example:
        >>> unpack_floats(pack_floats([0.5, -1.0]))
        (0.5, -1.0)
    """
    numbers = array("f", values)
    if sys.byteorder == "big":
        numbers.byteswap()
    return _FLOATS + numbers.tobytes()


def unpack_floats(payload: bytes) -> tuple[float, ...]:
    """The vector of a payload made by ``pack_floats``."""
    numbers = array("f")
    numbers.frombytes(payload[1:])
    if sys.byteorder == "big":
        numbers.byteswap()
    return tuple(numbers)


def pack_response(response: Response) -> bytes:
    """A response's text or vector as a payload."""
    return pack_text(response.text) if response.embedding is None else pack_floats(response.embedding)


def unpack_response(payload: bytes) -> tuple[str, tuple[float, ...] | None]:
    """Text and vector of a payload made by ``pack_response``."""
    return ("", unpack_floats(payload)) if payload[:1] == _FLOATS else (unpack_text(payload), None)


def pack_messages(messages: Sequence[Message]) -> bytes:
    """Messages as a payload: a JSON list of role and content, and of what is known of images but their bytes."""
    return pack_text(_JSON([_listed(message) for message in messages]))


def unpack_messages(payload: bytes) -> tuple[Message, ...]:
    """The messages of a payload made by ``pack_messages``."""
    kept: list[list[Any]] = json.loads(unpack_text(payload))
    return tuple(_message(*one) for one in kept)


def _message(role: Role, content: object, images: Sequence[Sequence[Any]] = ()) -> Message:
    return Message(role, str(content), tuple(map(_image, images)))


def _listed(message: Message) -> tuple[Any, ...]:
    if not message.images:
        return message.role, message.content
    kept = [[each.media_type, each.width, each.height, each.size, each.digest.hex()] for each in message.images]
    return message.role, message.content, kept


def _image(kept: Sequence[Any]) -> Image:
    media_type, width, height, size, digest = kept
    return Image(media_type=media_type, width=width, height=height, size=size, digest=bytes.fromhex(digest))


def pack_prompt(request: Request, shared: int) -> bytes:
    """What one row adds to a prompt: the messages after the ``shared`` ones, or the text to embed as JSON."""
    if request.embed_text is not None:
        return pack_text(_JSON(request.embed_text))
    return pack_messages(request.messages[shared:])


def unpack_prompt(payload: bytes, shared: Sequence[Message]) -> tuple[tuple[Message, ...], str | None]:
    """The messages and the text to embed that went out, given the shared messages; neither where they were not kept."""
    if payload == NOT_KEPT:
        return (), None
    text = unpack_text(payload)
    if text.startswith('"'):
        return (), str(json.loads(text))
    return (*shared, *unpack_messages(payload)), None
