"""What the two wire protocols have in common: how a request is read, and what an answer or an error is made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from infergraph.models.image import Image
from infergraph.testing.limits import Bucket, Kind
from infergraph.testing.prefix_cache import Prefixes

Stop = Literal["stop", "length", "refusal", "content_filter"]
Json = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Token counts of one simulated answer."""

    input: int
    cached: int
    written: int
    output: int
    reasoning: int


def rough_tokens(text: str) -> int:
    """How many tokens a simulated server counts for a text: one for every four characters, rounded up."""
    return -(-len(text) // CHARS_PER_TOKEN)


CHARS_PER_TOKEN = 4


class Wire(ABC):
    """How one protocol asks, answers and complains."""

    @abstractmethod
    def schema(self, body: Json) -> Json | None:
        """The JSON schema that the request wants its answer to fit."""

    @abstractmethod
    def prompt(self, body: Json) -> str:
        """All text of the request."""

    @abstractmethod
    def prefixes(self, body: Json, prompt: str) -> Prefixes:
        """What of the request's text a prompt cache may keep."""

    @abstractmethod
    def images(self, body: Json) -> list[bytes]:
        """The bytes of the request's images, in order; raises ``ValueError`` where a part holds none."""

    @abstractmethod
    def image_tokens(self, body: Json, image: Image) -> int:
        """Tokens that are counted for an image."""

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
    def limit_headers(self, limits: Mapping[Kind, Bucket]) -> dict[str, str]:
        """The headers that state the limits and what is left of them."""

    @abstractmethod
    def key_of(self, headers: Mapping[str, str]) -> str | None:
        """The API key that the request carries."""


def parts_of(content: Any) -> list[Json]:
    """The parts of a message's content."""
    return content if isinstance(content, list) else [{"text": content or ""}]


def texts_of(messages: Sequence[Json]) -> list[str]:
    """The texts of messages, one for each part."""
    return [str(part.get("text", "")) for message in messages for part in parts_of(message.get("content"))]


def image_parts(messages: Sequence[Json], kind: str) -> list[Json]:
    """The parts of this type in messages."""
    parts = [part for message in messages for part in parts_of(message.get("content"))]
    return [part for part in parts if part.get("type") == kind]


def bearer(headers: Mapping[str, str]) -> str | None:
    """The key in an authorization header."""
    kind, _, key = headers.get("authorization", "").partition(" ")
    return key if kind.lower() == "bearer" and key else None


def seconds_to_full(bucket: Bucket) -> float:
    """Seconds until a limit that is used no more is whole again."""
    return (bucket.per_minute - bucket.remaining) * 60 / bucket.per_minute
