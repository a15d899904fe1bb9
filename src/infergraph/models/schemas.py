"""JSON schemas as the providers take them: each accepts a subset, and says 400 to the rest.

What a provider cannot enforce is moved into the description, where the model can read it; our own validation
checks it afterwards in any case. What changes the meaning (free keys, tuples) cannot be moved: it is a problem,
told when the plan is built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]

_STRUCTURE = frozenset({"$ref", "$defs", "type", "properties", "required", "items", "enum", "const", "anyOf"})
_WORDS = frozenset({"description", "title"})
_SILENT = frozenset({"default", "examples", "discriminator", "additionalProperties", "oneOf", "allOf", "deprecated"})


@dataclass(frozen=True)
class Dialect:
    """What one provider's structured output takes.

    Args:
        title: The provider's name in messages.
        keeps: Says whether a constraint (a keyword and its value) is enforced and so may be sent.
        recursive: Whether a schema may refer to itself.
        most_depth: Levels of nested objects; ``None``: not limited.
        most_properties: Properties in all; ``None``: not limited.
        most_enum_values: Enum values in all; ``None``: not limited.
    """

    title: str
    keeps: Callable[[str, Any], bool]
    recursive: bool = True
    most_depth: int | None = None
    most_properties: int | None = None
    most_enum_values: int | None = None


_OPENAI_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
_OPENAI_NUMBERS = frozenset(
    {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minItems", "maxItems"}
)
_ANTHROPIC_FORMATS = _OPENAI_FORMATS | {"uri"}


def _openai_keeps(word: str, value: Any) -> bool:
    if word == "pattern":
        # Look-arounds and back-references are refused with 400; Pydantic's own decimal pattern has one.
        return "(?" not in value and "\\1" not in value
    return word in _OPENAI_NUMBERS or (word == "format" and value in _OPENAI_FORMATS)


def _anthropic_keeps(word: str, value: Any) -> bool:
    if word == "minItems":
        return value in (0, 1)
    return word == "format" and value in _ANTHROPIC_FORMATS


OPENAI = Dialect("OpenAI", _openai_keeps, most_depth=10, most_properties=5000, most_enum_values=1000)
ANTHROPIC = Dialect("Anthropic", _anthropic_keeps, recursive=False)
COMPATIBLE = Dialect("The server", lambda word, value: True)


def strict_schema(schema: Schema, dialect: Dialect) -> dict[str, Any]:
    """The schema in the provider's strict form: every property required, no other keys, only what it takes.

    Args:
        schema: A JSON schema without problems (see ``schema_problems``).
        dialect: What the provider takes.

    Returns:
        A new schema; answers that fit it fit the given one, but for constraints moved into descriptions.

    Example:
        >>> strict_schema({"type": "object", "properties": {"a": {"type": "string", "minLength": 2}}}, OPENAI)
        {'type': 'object', 'properties': {'a': {'type': 'string', 'description': '(minLength: 2)'}},
        'required': ['a'], 'additionalProperties': False}
    """
    root = {**resolved(schema, schema["$ref"]), "$defs": schema.get("$defs", {})} if "$ref" in schema else schema
    return _Translation(schema, dialect).translated(root)


class _Translation:
    def __init__(self, root: Schema, dialect: Dialect) -> None:
        self._root = root
        self._dialect = dialect

    def translated(self, schema: Schema) -> dict[str, Any]:
        schema = self._flattened(schema)
        result: dict[str, Any] = {}
        moved: list[str] = []
        for word, value in schema.items():
            if word in _STRUCTURE:
                result[word] = self._structure(word, value)
            elif word in _WORDS or (word not in _SILENT and self._dialect.keeps(word, value)):
                result[word] = value
            elif word not in _SILENT:
                moved.append(f"{word}: {value}")
        if "oneOf" in schema:
            result["anyOf"] = [self.translated(variant) for variant in schema["oneOf"]]
        if schema.get("type") == "object" or "properties" in schema:
            result.setdefault("properties", {})
            result["required"] = list(result["properties"])
            result["additionalProperties"] = False
        if moved:
            result["description"] = " ".join([*filter(None, [schema.get("description")]), f"({', '.join(moved)})"])
        return result

    def _structure(self, word: str, value: Any) -> Any:
        if word in ("properties", "$defs"):
            return {name: self.translated(part) for name, part in value.items()}
        if word == "items":
            return self.translated(value)
        return [self.translated(variant) for variant in value] if word == "anyOf" else value

    def _flattened(self, schema: Schema) -> Schema:
        """Join ``allOf`` and references with siblings: neither provider takes them as they are."""
        parts = list(schema.get("allOf", ()))
        if "$ref" in schema and len(schema) > 1 and "$defs" not in schema:
            target = schema["$ref"]
            if _refers_to_itself(self._root, target):
                return {"$ref": target}
            parts.append(resolved(self._root, target))
        merged = dict(schema)
        if parts:
            merged.pop("$ref", None)
            merged.pop("allOf", None)
        for part in parts:
            merged = {**self._flattened(part), **merged}
        return merged


def resolved(root: Schema, reference: str) -> Schema:
    """The part of a schema that a ``$ref`` within it points to.

    Example:
        >>> resolved({"$defs": {"A": {"type": "string"}}}, "#/$defs/A")
        {'type': 'string'}
    """
    found: Any = root
    for step in filter(None, reference.removeprefix("#").split("/")):
        found = found[step.replace("~1", "/").replace("~0", "~")]
    target: Schema = found
    return target


def schema_problems(schema: Schema, dialect: Dialect) -> list[str]:
    """Why a provider's strict output cannot take this schema.

    Args:
        schema: A JSON schema.
        dialect: What the provider takes.

    Returns:
        One sentence for each problem, each naming the field; empty: it can.

    Example:
        >>> schema_problems({"type": "string"}, OPENAI)
        ['The schema is not an object: put the value into a field of a model.']
    """
    root = resolved(schema, schema["$ref"]) if "$ref" in schema else schema
    problems = []
    if root.get("type") != "object" or "anyOf" in root or "oneOf" in root:
        problems.append("The schema is not an object: put the value into a field of a model.")
    parts = list(_parts(schema, schema, "", 0, ()))
    for where, part, _ in parts:
        problems += [f"{where or 'The schema'}: {problem}" for problem in _part_problems(schema, part, dialect)]
    return problems + _size_problems(parts, dialect)


def _part_problems(root: Schema, part: Schema, dialect: Dialect) -> Iterator[str]:
    extra = part.get("additionalProperties", False)
    is_object = part.get("type") == "object"
    if (is_object and extra is not False) or part.get("patternProperties"):
        yield f"{dialect.title} takes no object with free keys; use a list of objects with a key and a value."
    elif is_object and not part.get("properties") and "allOf" not in part:
        yield f"{dialect.title} takes no object without fields; name its fields in a model."
    if "prefixItems" in part:
        yield f"{dialect.title} takes no tuple; use a model with one field for each place."
    elif part.get("type") == "array" and not isinstance(part.get("items"), Mapping):
        yield f"{dialect.title} needs to know what is in the list; give its items a type."
    if not dialect.recursive and "$ref" in part and _refers_to_itself(root, part["$ref"]):
        yield f"{dialect.title} takes no schema that contains itself."
    if not part.keys() & {"type", "$ref", "enum", "const", "anyOf", "oneOf", "allOf", "properties"}:
        yield "any value is allowed here; give it a type."
    for word in ("not", "if", "dependentRequired", "dependentSchemas"):
        if word in part:
            yield f"{dialect.title} does not take {word!r}."


def _size_problems(parts: list[tuple[str, Schema, int]], dialect: Dialect) -> list[str]:
    figures = (
        ("levels of nested objects", max((depth for _, _, depth in parts), default=0), dialect.most_depth),
        ("fields", sum(len(part.get("properties", ())) for _, part, _ in parts), dialect.most_properties),
        ("enum values", sum(len(part.get("enum", ())) for _, part, _ in parts), dialect.most_enum_values),
    )
    return [
        f"The schema has {count} {what}; {dialect.title} takes {most}."
        for what, count, most in figures
        if most is not None and count > most
    ]


def _parts(
    root: Schema, part: Schema, where: str, depth: int, inside: tuple[str, ...]
) -> Iterator[tuple[str, Schema, int]]:
    """Every part of a schema with the path of its field and its depth; a reference is followed once on each path."""
    yield where, part, depth
    if "$ref" in part and part["$ref"] not in inside:
        yield from _parts(root, resolved(root, part["$ref"]), where, depth, (*inside, part["$ref"]))
    for name, child in part.get("properties", {}).items():
        yield from _parts(root, child, f"{where}.{name}" if where else name, depth + 1, inside)
    if isinstance(part.get("items"), Mapping):
        yield from _parts(root, part["items"], f"{where}[]", depth, inside)
    for word in ("anyOf", "oneOf", "allOf"):
        for variant in part.get(word, ()):
            yield from _parts(root, variant, where, depth, inside)


def _refers_to_itself(root: Schema, reference: str) -> bool:
    seen, waiting = set(), list(_references(resolved(root, reference)))
    while waiting:
        name = waiting.pop()
        if name == reference:
            return True
        if name not in seen:
            seen.add(name)
            waiting += _references(resolved(root, name))
    return False


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, Mapping):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for word, value in part.items():
            if word != "$defs":
                yield from _references(value)
    elif isinstance(part, list):
        for item in part:
            yield from _references(item)
