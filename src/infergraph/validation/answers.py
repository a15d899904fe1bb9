"""Judges of answers without a model class: a text, one or several of a few values, a vector."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infergraph.models.model import AnswerSchema, Response
from infergraph.models.verdict import Accepted, Rejected, Repair, Verdict
from infergraph.validation.parsing import embedded_object, encodable, ended_early, shown_json, without_thoughts


def judge_text(response: Response) -> Verdict:
    """A text is an answer when there is any; a leading ``<think>`` block is no part of it.

    Example:
        >>> judge_text(Response(text=" A title "))
        Accepted(value='A title')
    """
    early = ended_early(response)
    if early is not None:
        return early
    text = without_thoughts(encodable(response.text))
    return Accepted(text) if text else Repair("The answer is empty. Answer with the text.")


@dataclass(frozen=True)
class ChoiceAnswer:
    """An answer that is one of a few values, as a JSON object with one key.

    Args:
        field: The object's key.
        values: The allowed values, different from each other.
        boolean: The values are ``"true"`` and ``"false"``, written as JSON booleans; accepted as ``bool``.
        several: Any number of the values, as a JSON list; accepted as a list in the order of ``values``.

    Example:
        >>> kind = ChoiceAnswer("kind", ("bug", "billing"))
        >>> kind.judge(Response(text='{"kind": "Bug"}'))
        Accepted(value='bug')
        >>> kind.answer_text("bug")
        '{"kind": "bug"}'
    """

    field: str
    values: tuple[str, ...]
    boolean: bool = False
    several: bool = False

    @property
    def answer_schema(self) -> AnswerSchema:
        """The JSON schema for providers."""
        one: dict[str, Any] = {"type": "boolean"} if self.boolean else {"type": "string", "enum": list(self.values)}
        node = {"type": "array", "items": one} if self.several else one
        return AnswerSchema.of(
            self.field,
            {
                "type": "object",
                "properties": {self.field: node},
                "required": [self.field],
                "additionalProperties": False,
            },
        )

    def judge(self, response: Response) -> Verdict:
        """What a response means; a bare value without the JSON around it counts, other spelling of case too."""
        early = ended_early(response)
        if early is not None:
            return early
        given = self._given(response.text)
        if self.several:
            return self._judge_several(given)
        value = self._known(given)
        if value is None:
            return self._not_allowed(given)
        return Accepted(value == "true" if self.boolean else value)

    def answer_text(self, answer: Any) -> str:
        """The JSON text for an accepted value: what examples show."""
        return json.dumps({self.field: answer}, ensure_ascii=False)

    def _given(self, text: str) -> Any:
        try:
            parsed = json.loads(text)
        except (ValueError, RecursionError):
            inner = embedded_object(text)
            parsed = without_thoughts(text).strip("`'\"*. \n") if inner is None else json.loads(inner)
        return parsed.get(self.field) if isinstance(parsed, dict) else parsed

    def _known(self, given: Any) -> str | None:
        if isinstance(given, bool):
            given = "true" if given else "false"
        if not isinstance(given, str):
            return None
        if given in self.values:
            return given
        alike = [value for value in self.values if value.casefold().strip() == given.casefold().strip()]
        return alike[0] if len(alike) == 1 else None

    def _judge_several(self, given: Any) -> Verdict:
        items = given if isinstance(given, list) else [given]
        known = [self._known(item) for item in items]
        for item, value in zip(items, known, strict=True):
            if value is None:
                return self._not_allowed(item)
        return Accepted([value for value in self.values if value in known])

    def _not_allowed(self, given: Any) -> Repair:
        shown = shown_json(given, 120)
        allowed = ", ".join(value if self.boolean else json.dumps(value, ensure_ascii=False) for value in self.values)
        form = f'{{"{self.field}": [...]}}' if self.several else f'{{"{self.field}": ...}}'
        return Repair(f"{shown} is not allowed. Answer with JSON {form}; allowed: {allowed}.")


@dataclass(frozen=True)
class VectorAnswer:
    """An embedding of a known length.

    Args:
        dimensions: Numbers in the vector, 1 or more.

    Example:
        >>> VectorAnswer(2).judge(Response(embedding=(0.5, 0.5)))
        Accepted(value=(0.5, 0.5))
    """

    dimensions: int

    def judge(self, response: Response) -> Verdict:
        """``Accepted`` with the tuple of numbers; ``Rejected`` when the length or a number is wrong."""
        vector: Sequence[float] | None = response.embedding
        if vector is None:
            return Rejected("invalid_output", "The model gave no embedding. Name a model that embeds.")
        if len(vector) != self.dimensions:
            return Rejected(
                "invalid_output",
                f"The model gave {len(vector)} numbers where the plan says {self.dimensions}; "
                f"write dimensions={len(vector)}.",
            )
        if not all(map(math.isfinite, vector)):
            return Rejected("invalid_output", "The embedding holds numbers that are not finite.")
        return Accepted(vector)
