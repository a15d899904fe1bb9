"""Made-up answers that fit a JSON schema, the same every time: what tests and dry runs are answered with.

An answer follows from the schema and a key (usually the request's text) alone, so that a run can be
repeated without a model. It makes no sense, but it has the right shape.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

WORDS = (
    *("amber", "basin", "cedar", "delta", "ember", "field", "grove", "harbor", "inlet", "juniper", "kettle"),
    *("lantern", "meadow", "north", "orchard", "pebble", "quarry", "river", "signal", "timber", "upland"),
    *("valley", "willow", "yonder", "zephyr", "anchor", "bridge", "copper", "dune"),
)
_MOST_DEPTH = 8

Schema = Mapping[str, Any]


def sample_answer(schema: Schema, key: str) -> Any:
    """A JSON value that fits the schema, chosen by the key.

    Args:
        schema: A JSON schema as Pydantic writes it (``$ref``, ``anyOf``, ``enum``, ``const``, nested objects,
            arrays, bounds and the common string formats).
        key: Any text; the same key gives the same value.

    Returns:
        A value made of dict, list, str, int, float, bool and None.

    Example:
        >>> sample_answer({"type": "object", "properties": {"n": {"type": "integer", "minimum": 3, "maximum": 3}}}, "x")
        {'n': 3}
    """
    return _Sampler(schema, key).value(schema, 0)


def sample_text(key: str, *, words: int = 6) -> str:
    """A short made-up sentence chosen by the key.

    Example:
        >>> sample_text("x") == sample_text("x")
        True
    """
    chance = _chance(key)
    return " ".join(chance.choice(WORDS) for _ in range(words)).capitalize() + "."


def sample_embedding(text: str, dimensions: int = 64) -> tuple[float, ...]:
    """A unit vector for a text: texts that share words lie near each other.

    Args:
        text: Any text.
        dimensions: Length of the vector, 1 or more.

    Returns:
        ``dimensions`` numbers whose squares add up to 1.

    Example:
        >>> red, pink, blue = (sample_embedding(t) for t in ("a red car", "a red bus", "the blue sky"))
        >>> sum(x * y for x, y in zip(red, pink)) > sum(x * y for x, y in zip(red, blue))
        True
    """
    words = re.findall(r"\w+", text.lower()) or [text]
    total = [sum(column) for column in zip(*(_word_vector(word, dimensions) for word in words), strict=True)]
    length = math.sqrt(sum(x * x for x in total)) or 1.0
    return tuple(x / length for x in total)


@lru_cache(maxsize=4096)
def _word_vector(word: str, dimensions: int) -> tuple[float, ...]:
    chance = _chance(word)
    return tuple(chance.gauss(0, 1) for _ in range(dimensions))


def _chance(key: str) -> random.Random:
    seed = blake2b(key.encode("utf-8", "replace"), digest_size=8).digest()
    return random.Random(int.from_bytes(seed, "big"))


class _Sampler:
    def __init__(self, root: Schema, key: str) -> None:
        self._root = root
        self._chance = _chance(key)
        self._makers = self._all_makers()

    def value(self, schema: Schema | bool, depth: int) -> Any:
        if isinstance(schema, bool):
            return {}
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._chance.choice(schema["enum"])
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return self.value(self._variant(schema[word], depth), depth)
        maker = self._makers.get(self._type(schema, depth))
        return maker(schema, depth) if maker else {}

    def _all_makers(self) -> dict[str, Callable[[Schema, int], Any]]:
        return {
            "object": self._object,
            "array": self._array,
            "string": lambda schema, _: self._string(schema),
            "integer": lambda schema, _: int(self._number(schema, whole=True)),
            "number": lambda schema, _: self._number(schema, whole=False),
            "boolean": lambda _, __: self._chance.random() < 0.5,
            "null": lambda _, __: None,
        }

    def _resolved(self, schema: Schema) -> Schema:
        while "$ref" in schema or "allOf" in schema:
            merged = {word: value for word, value in schema.items() if word not in ("$ref", "allOf")}
            parts = [self._at(schema["$ref"])] if "$ref" in schema else []
            for part in [*parts, *schema.get("allOf", [])]:
                merged = {**part, **merged}
            schema = merged
        return schema

    def _at(self, reference: str) -> Schema:
        found: Any = self._root
        for step in reference.removeprefix("#").strip("/").split("/"):
            found = found[step.replace("~1", "/").replace("~0", "~")] if step else found
        schema: Schema = found
        return schema

    def _variant(self, variants: Sequence[Schema], depth: int) -> Schema:
        nulls = [variant for variant in variants if variant.get("type") == "null"]
        others = [variant for variant in variants if variant.get("type") != "null"]
        if nulls and (depth >= _MOST_DEPTH or not others or self._chance.random() < 0.15):
            return nulls[0]
        # Pydantic lets a decimal be a number or any text; made-up text would be no decimal.
        if any(variant.get("type") in ("integer", "number") for variant in others):
            others = [variant for variant in others if variant.get("type") != "string"]
        if depth >= _MOST_DEPTH:
            return min(others, key=lambda variant: "$ref" in variant or "properties" in variant)
        return self._chance.choice(others)

    def _type(self, schema: Schema, depth: int) -> str:
        kind = schema.get("type")
        if isinstance(kind, list):
            kinds = [{"type": name} for name in kind]
            return str(self._variant(kinds, depth)["type"])
        return str(kind or ("object" if "properties" in schema else ""))

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        required = schema.get("required", ())
        return {
            name: self.value(part, depth + 1)
            for name, part in schema.get("properties", {}).items()
            if depth < _MOST_DEPTH or name in required
        }

    def _array(self, schema: Schema, depth: int) -> list[Any]:
        first = [self.value(part, depth + 1) for part in schema.get("prefixItems", ())]
        if "items" not in schema or schema["items"] is False:
            return first
        least = max(schema.get("minItems", 0), 0 if depth >= _MOST_DEPTH else 1)
        most = min(schema.get("maxItems", least + 2), least + 2)
        target = self._chance.randint(min(least, most), most)
        found = list(first)
        for _ in range(target * 20):
            if len(found) >= target:
                break
            item = self.value(schema["items"], depth + 1)
            if not (schema.get("uniqueItems") and item in found):
                found.append(item)
        return found

    def _string(self, schema: Schema) -> str:
        chance = self._chance
        if "pattern" in schema:
            return self._matching(schema)
        made = self._formatted(str(schema.get("format", "")))
        if made is not None:
            return made
        text = " ".join(chance.choice(WORDS) for _ in range(chance.randint(1, 4)))
        while len(text) < schema.get("minLength", 0):
            text += " " + chance.choice(WORDS)
        text = text[: schema.get("maxLength", len(text))]
        return text.rstrip().ljust(schema.get("minLength", 0), "x")

    def _formatted(self, form: str) -> str | None:
        chance = self._chance
        day = f"20{chance.randint(20, 25)}-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}"
        time = f"{chance.randint(0, 23):02}:{chance.randint(0, 59):02}:00"
        match form:
            case "date":
                return day
            case "date-time":
                return f"{day}T{time}Z"
            case "time":
                return f"{time}Z"
            case "duration":
                return f"PT{chance.randint(1, 59)}M"
            case "email":
                return f"{chance.choice(WORDS)}@example.com"
            case "uri":
                return f"https://example.com/{chance.choice(WORDS)}"
            case "ipv4":
                return f"192.0.2.{chance.randint(1, 254)}"
            case "uuid":
                return str(_uuid(chance))
            case _:
                return None

    def _matching(self, schema: Schema) -> str:
        low, high = schema.get("minLength", 0), schema.get("maxLength", 40)
        digits = str(self._chance.randint(1, 9))
        letters = self._chance.choice(WORDS)
        tries = [digits, letters, f"{digits}.5", letters.upper(), letters.capitalize(), f"{letters}-{digits}"]
        kinds = (letters, digits, letters.upper())
        tries += [kind[:size].ljust(size, kind[-1]) for size in range(1, 33) for kind in kinds]
        for text in tries:
            if re.search(schema["pattern"], text) and low <= len(text) <= high:
                return text
        return letters

    def _number(self, schema: Schema, *, whole: bool) -> float:
        step: float = schema.get("multipleOf", 1 if whole else 0.5)
        low, high = _bounds(schema, step)
        first, last = math.ceil(low / step), math.floor(high / step)
        if last < first:
            return (low + high) / 2
        return self._chance.randint(first, last) * step


def _bounds(schema: Schema, step: float) -> tuple[float, float]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if "exclusiveMinimum" in schema:
        low = max(schema["exclusiveMinimum"] + _inside(schema, step), -math.inf if low is None else low)
    if "exclusiveMaximum" in schema:
        high = min(schema["exclusiveMaximum"] - _inside(schema, step), math.inf if high is None else high)
    if low is None:
        low = min(0, high - 100 * step) if high is not None else 0
    return low, low + 100 * step if high is None else high


def _inside(schema: Schema, step: float) -> float:
    """How far inside an exclusive bound a value must lie: a step, or less where the bounds leave less room."""
    ends = [schema.get(name) for name in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")]
    known = [float(end) for end in ends if end is not None]
    room = max(known) - min(known) if len(known) > 1 else step * 4
    return step if schema.get("type") == "integer" or room > 2 * step else room / 4


def _uuid(chance: random.Random) -> str:
    digits = f"{chance.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"
