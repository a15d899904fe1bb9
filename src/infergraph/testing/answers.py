"""The text of a simulated answer: the author's own, or made up to fit; and what a fault makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from infergraph.models.sample import sample_answer, sample_text
from infergraph.testing.faults import Fault
from infergraph.testing.http_server import HttpRequest
from infergraph.testing.prefix_cache import Found
from infergraph.testing.wires import CHARS_PER_TOKEN, Stop, Wire, rough_tokens


@dataclass(frozen=True, slots=True)
class Work:
    """One request that is being answered."""

    wire: Wire
    request: HttpRequest
    body: Mapping[str, Any]
    tokens: int
    """Input tokens, those of images included."""
    fault: Fault | None
    found: Found | None
    """What the prompt cache held of it; ``None``: there is no such cache."""

    def text(self, answer: Callable[[Mapping[str, Any]], Any] | None) -> tuple[str, Stop]:
        """What is answered, and why it ends there.

        Args:
            answer: Makes the answer from the request's JSON; ``None``: it is made up.
        """
        text, stop = _spoiled(self._meant(answer), self.fault)
        room = self.wire.room(self.body)
        if stop == "stop" and room is not None and rough_tokens(text) > room:
            return text[: room * CHARS_PER_TOKEN], "length"
        return text, stop

    def _meant(self, answer: Callable[[Mapping[str, Any]], Any] | None) -> str:
        if answer is not None:
            made = answer(self.body)
            return made if isinstance(made, str) else json.dumps(made, ensure_ascii=False)
        key = self.request.body.decode("utf-8", "replace")
        schema = self.wire.schema(self.body)
        return sample_text(key) if schema is None else json.dumps(sample_answer(schema, key))


def _spoiled(text: str, fault: Fault | None) -> tuple[str, Stop]:
    match fault.kind if fault else None:
        case "truncated":
            return text[: len(text) // 2], "length"
        case "empty":
            return "", "stop"
        case "wrong_schema":
            return '{"unexpected": [true]}', "stop"
        case "refusal":
            return "I cannot help with that.", "refusal"
        case "content_filter":
            return "", "content_filter"
        case _:
            return text, "stop"
