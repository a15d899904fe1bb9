"""Holds the embedded model to a schema: the grammar that its server gets, and what no grammar can hold.

A very small model repeats itself: a text without an end would fill its room. So texts and lists that the author
left unbounded get a bound here; bounds that the grammar does not know are left to the validation that every
answer meets anyway.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

MAX_CHARACTERS, MAX_ITEMS = 300, 12

# Compact JSON costs a third fewer tokens than what the model would write by itself.
_LAYOUT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_COMPOSED = ("anyOf", "allOf")
_KNOWN = frozenset(
    {"type", "properties", "required", "additionalProperties", "items", "prefixItems", "minItems", "maxItems"}
    | {"enum", "const", "$ref", "$defs", "definitions", "anyOf", "allOf", "minLength", "maxLength", "pattern", "format"}
    | {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
)
_FORMATS = frozenset({"date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
_TYPES = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
_BEYOND_REGULAR = ("(?=", "(?!", "(?<", "\\1", "\\b", "\\B")
_RANGES = (("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems"))


def grammar(schema: Mapping[str, Any]) -> str:
    """The grammar, in the words of llguidance, that an answer to this schema follows.

    Args:
        schema: A JSON schema without ``problems``.

    Example:
        >>> print(grammar({"type": "object", "properties": {"a": {"type": "integer", "title": "A"}}}).splitlines()[0])
        %llguidance {}
    """
    bound = {**_bounded(schema), "x-guidance": _LAYOUT}
    return f"%llguidance {{}}\nstart: %json {json.dumps(bound, ensure_ascii=False)}"


def problems(schema: Mapping[str, Any]) -> list[str]:
    """Why no answer can be held to this schema, one sentence each; empty: it can.

    Example:
        >>> problems({"type": "object", "properties": {"age": {"type": "integer", "minimum": 9, "maximum": 1}}})
        ["'age': minimum 9 is above maximum 1."]
    """
    return [problem for path, node in _nodes(schema, "") for problem in _problems_of(path, node, schema)]


def _nodes(node: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every schema inside a schema, with the path of keys to it."""
    yield path, node
    for name, inner in node.get("properties", {}).items():
        yield from _nodes(inner, f"{path}.{name}".lstrip("."))
    for key in ("$defs", "definitions"):
        for name, inner in node.get(key, {}).items():
            yield from _nodes(inner, name)
    for inner in (node.get("items"), node.get("additionalProperties")):
        if isinstance(inner, Mapping):
            yield from _nodes(inner, f"{path}[]")
    for key in (*_COMPOSED, "oneOf", "prefixItems"):
        for inner in node.get(key, ()):
            yield from _nodes(inner, path)


def _problems_of(path: str, node: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[str]:
    where = f"{path!r}" if path else "The schema"
    reference = node.get("$ref")
    if reference is not None and not _resolves(str(reference), root):
        yield f"{where}: $ref {reference!r} points to nothing in the schema."
    kinds = node.get("type", [])
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        if kind not in _TYPES:
            yield f"{where}: {kind!r} is no JSON type."
    for low, high in _RANGES:
        if low in node and high in node and node[low] > node[high]:
            yield f"{where}: {low} {node[low]} is above {high} {node[high]}."
    if node.get("enum") == []:
        yield f"{where}: enum has no value."


def _resolves(reference: str, root: Mapping[str, Any]) -> bool:
    if not reference.startswith("#"):
        return False
    node: Any = root
    for part in reference.lstrip("#/").split("/"):
        if not isinstance(node, Mapping):
            return False
        node = node.get(part.replace("~1", "/").replace("~0", "~")) if part else node
    return isinstance(node, Mapping)


def _bounded(node: Mapping[str, Any]) -> dict[str, Any]:
    """The same schema in the keywords that the grammar knows, with an end to every text and list."""
    kept = {key: value for key, value in node.items() if key in _KNOWN}
    if "oneOf" in node:
        kept["anyOf"] = [*kept.get("anyOf", ()), *node["oneOf"]]
    for key in ("properties", "$defs", "definitions"):
        if key in kept:
            kept[key] = {name: _bounded(inner) for name, inner in kept[key].items()}
    for key in ("anyOf", "allOf", "prefixItems"):
        if key in kept:
            kept[key] = [_bounded(inner) for inner in kept[key]]
    for key in ("items", "additionalProperties"):
        if isinstance(kept.get(key), Mapping):
            kept[key] = _bounded(kept[key])
    _drop_unknown(kept)
    _add_bounds(kept)
    return kept


def _drop_unknown(node: dict[str, Any]) -> None:
    if node.get("format") not in _FORMATS:
        node.pop("format", None)
    if any(part in str(node.get("pattern", "")) for part in _BEYOND_REGULAR):
        del node["pattern"]


def _add_bounds(node: dict[str, Any]) -> None:
    kinds = node.get("type", ())
    if "string" in kinds and not node.keys() & {"enum", "const", "maxLength", "pattern", "format"}:
        node["maxLength"] = max(MAX_CHARACTERS, node.get("minLength", 0))
    if "array" in kinds and "maxItems" not in node:
        node["maxItems"] = max(MAX_ITEMS, node.get("minItems", 0))
