"""What a simulated server cannot answer: requests whose body is not shaped as the protocols want it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def problem_of(body: Mapping[str, Any], *, embeds: bool) -> str | None:
    """What is wrong with a request's body; the real servers look at far more.

    Args:
        body: The JSON of a request.
        embeds: It asks for embeddings.

    Returns:
        One sentence; ``None``: it can be answered.
    """
    if body.get("stream"):
        return "stream: this simulated server does not stream. Leave it out."
    for name in ("response_format", "output_config", "tool_choice"):
        if not isinstance(body.get(name) or {}, Mapping):
            return f"{name}: must be an object."
    for name in ("max_tokens", "max_completion_tokens"):
        if not isinstance(body.get(name), (int, type(None))):
            return f"{name}: must be a whole number."
    if embeds:
        return None if isinstance(body.get("input", ""), (str, list)) else "input: must be a string or an array."
    messages = body.get("messages", [])
    if not isinstance(messages, list):
        return "messages: must be an array."
    if not all(isinstance(message, Mapping) and _is_content(message.get("content")) for message in messages):
        return "messages: each is an object with a role and a content, which is a string or an array of parts."
    return None


def _is_content(content: object) -> bool:
    parts = content if isinstance(content, list) else []
    return isinstance(content, (str, list, type(None))) and all(isinstance(part, Mapping) for part in parts)
