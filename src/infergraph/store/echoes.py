"""Where prompts are not kept, what others say about them must not bring them back in.

Providers quote a request in their errors, and so do authors' validators: the passages are cut out.
"""

from __future__ import annotations

import json
import re

from infergraph.models.model import Request

QUOTED = "[...]"
_SHORTEST = 12
"""A passage of fewer characters is no quotation: words and names of parameters are in prompts too."""

# A piece of an image's bytes, as they went out.
_ENCODED = re.compile(r"[A-Za-z0-9+/]{40,}={0,2}")


def without_echoes(message: str, request: Request) -> str:
    """A message without the passages that it quotes from what the request has beyond the shared prompt.

    Args:
        message: What a provider or a validator said.
        request: What was sent.

    Returns:
        The message with ``[...]`` in place of every passage of 12 or more characters that stands in the request.

    Example:
        >>> from infergraph.models.model import Message
        >>> asked = Request(messages=(Message("system", "Sum up"), Message("user", "Ann is ill since Monday")))
        >>> without_echoes("400: cannot take 'Ann is ill since Monday'", asked)
        "400: cannot take '[...]'"
    """
    if request.images:
        message = _ENCODED.sub(QUOTED, message)
    own = [sent.content for sent in request.messages[len(request.prefix) :]]
    texts = [*own, *([request.embed_text] if request.embed_text is not None else [])]
    # A quotation may be written as JSON or as Python writes a text.
    texts = list(dict.fromkeys(form for text in texts for form in (text, *_quoted(text))))
    parts: list[str] = []
    at = 0
    while at < len(message):
        end = max((_common(message, at, text) for text in texts), default=at)
        if end > at:
            parts.append(QUOTED)
            at = end
        else:
            parts.append(message[at])
            at += 1
    return "".join(parts)


def _quoted(text: str) -> list[str]:
    return [json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1]]


def _common(message: str, at: int, text: str) -> int:
    """The end of the longest passage from here on that stands in the text too; the beginning where it is too short."""
    end = at + _SHORTEST
    if end > len(message) or message[at:end] not in text:
        return at
    while end < len(message) and message[at : end + 1] in text:
        end += 1
    return end
