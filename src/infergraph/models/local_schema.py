"""What the embedded server's grammar can hold an answer to, and the bounds that keep a tiny model from running on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_STRING, MAX_ITEMS = 300, 12


def problems(schema: Mapping[str, Any]) -> list[str]:
    """Why the grammar cannot hold an answer to this schema."""
    return []


def bounded(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, changed in place."""
    return schema
