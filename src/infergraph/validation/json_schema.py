"""A model's JSON schema in the form that providers take.

Pydantic's own schema, with references written out, every object closed and every key required (an optional field is
nullable, so the model says null), and without what only humans read (titles, defaults). Constraints stay: a
provider's file drops what its service refuses, and the answer is validated here again in any case.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from infergraph.validation.quote import quotes_said

_DROPPED = ("title", "default", "examples", "deprecated", "readOnly", "writeOnly", "discriminator")


def provider_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a model that has no recursion.

    Example:
        >>> class Ticket(BaseModel):
        ...     kind: str = "other"
        >>> provider_schema(Ticket)
        {'type': 'object', 'properties': {'kind': {'type': 'string'}}, 'required': ['kind'],
         'additionalProperties': False}
    """
    by_alias = model.model_config.get("validate_by_alias", True) is not False
    schema = model.model_json_schema(by_alias=by_alias, mode="validation")
    return _object(schema, schema.get("$defs", {}))


def _rewritten(node: Any, definitions: Mapping[str, Any]) -> Any:
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = definitions[node["$ref"].removeprefix("#/$defs/")]
        beside = {key: value for key, value in node.items() if key != "$ref"}
        return _rewritten({**target, **beside}, definitions)
    if "properties" in node:
        return _object(node, definitions)
    if "prefixItems" in node:
        # Tuples that map to a List have one type throughout; services know ``items`` only.
        items = node["prefixItems"][0]
        node = {key: value for key, value in node.items() if key != "prefixItems"} | {"items": items}
    return {key: _value(key, value, definitions) for key, value in node.items() if key not in _DROPPED}


def _value(key: str, value: Any, definitions: Mapping[str, Any]) -> Any:
    match key:
        case "items":
            return _rewritten(value, definitions)
        case "anyOf" | "oneOf" | "allOf":
            return [_rewritten(option, definitions) for option in _without_text_numbers(value)]
        case _:
            return value


def _without_text_numbers(options: list[Any]) -> list[Any]:
    """A Decimal is a number or a numeric text for Pydantic; asking for the number alone keeps its limits."""
    if any(isinstance(option, dict) and option.get("type") == "number" for option in options):
        return [option for option in options if option.get("type") != "string"]
    return options


def _object(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    properties = {
        name: quotes_said(_flat(_rewritten(value, definitions))) for name, value in node["properties"].items()
    }
    described = {"description": node["description"]} if "description" in node else {}
    return {
        "type": "object",
        **described,
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _flat(node: Any) -> Any:
    """``anyOf`` with one option is that option."""
    match node:
        case {"anyOf": [option], **beside}:
            return {**option, **beside}
        case _:
            return node
