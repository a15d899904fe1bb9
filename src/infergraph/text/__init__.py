"""Text as Polars expressions: usable without any model.

``infergraph.text.markdown``, ``.similarity`` and so on are modules of functions that take a column and give an
expression; each is imported on first use, and so are the libraries behind it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infergraph.text import chunks, html, json, markdown, pdf, similarity, templates, tokens, transcripts

__all__ = ["chunks", "html", "json", "markdown", "pdf", "similarity", "templates", "tokens", "transcripts"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"infergraph.text has no {name!r}; it has {', '.join(__all__)}.")
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
