"""Which models are asked for free text otherwise than they once were, by our own doing.

A request hash covers what determines an answer. How a provider's file puts a request is a part of that, and the same
for ever, except where it must be mended: then the model stands here with a number, which goes into the hashes of its
free texts, and what was stored before (texts, and rejections of texts) is asked anew. All other hashes stay.
"""

from __future__ import annotations

from infergraph.models.model import Model, Request

_REVISIONS = {"local:smollm2-135m": 2}
"""2: its texts come to an end by a grammar, and repeat themselves less (``local_text.py``)."""


def text_revision(model: Model) -> int:
    """How often the way of asking this model for free text has changed, plus 1.

    Example:
        >>> text_revision(Model("local:smollm2-135m")), text_revision(Model("openai:gpt-5-mini"))
        (2, 1)
    """
    return _REVISIONS.get(model.name, 1)


def is_free_text(request: Request) -> bool:
    """Whether the answer is a text that nothing holds to a form."""
    return bool(request.messages) and request.schema is None and request.choices is None
