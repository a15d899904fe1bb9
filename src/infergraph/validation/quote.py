"""``ig.Quote``: a text that stands word for word in a column of the row that the answer is about."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from infergraph.errors import SchemaError
from infergraph.validation.row import ROW, contextual_validators

QUOTE_MARK = "infergraph_quote"
"""The key under which a JSON schema says whose quote a text is, until it is written out for the provider."""


_ESCAPED = re.compile("&(?:amp;)*lt;")


@dataclass(frozen=True, kw_only=True)
class Quote:
    """A field's type: a text that occurs verbatim in a column of the row.

    An answer with a text that does not occur there is sent back to the model; where that does not help either, the row
    is a reject. Without a row (an instance made by hand) any text passes.

    Args:
        of: The column, one of those that the request reads; it holds text.

    Raises:
        SchemaError: ``of`` is no column's name.

    Example:
        >>> class Complaint(BaseModel):
        ...     product: str
        ...     evidence: Annotated[str, Quote(of="body")]
        >>> row = {"body": "The lamp hums."}
        >>> Complaint.model_validate({"product": "lamp", "evidence": "hums"}, context={"row": row}).evidence
        'hums'
        >>> Complaint.model_validate({"product": "lamp", "evidence": "it hums"}, context={"row": row})
        Traceback (most recent call last):
        pydantic_core._pydantic_core.ValidationError: 1 validation error for Complaint
        ...
    """

    of: str

    def __post_init__(self) -> None:
        if not isinstance(self.of, str) or not self.of:
            raise SchemaError(f"Quote(of={self.of!r}): name the column that is quoted, for example Quote(of='body').")

    def check(self, value: Any, info: ValidationInfo) -> Any:
        """Raise ``ValueError`` where the validation context has a row and the value is no quote from it."""
        if not isinstance(value, str) or not isinstance(info.context, Mapping) or ROW not in info.context:
            return value
        text = info.context[ROW][self.of]
        if text is None:
            raise ValueError(f"{self.of} is empty, so nothing can be quoted from it")
        if not value.strip():
            raise ValueError(f"a quote has words: copy the words from {self.of}")
        if value in text:
            return value
        # What looks like a tag of the prompt's own is escaped in it, and a model copies what it was shown.
        between = _ESCAPED.split(value)
        shown = "(?:&(?:amp;)*lt;|<)".join(map(re.escape, between))
        if len(between) > 1 and (found := re.search(shown, text)):
            return found.group()
        raise ValueError(f"does not occur in {self.of}{_hint(value, text)}: copy the words from {self.of} exactly")

    def __or__(self, other: Any) -> Any:
        """``Quote(of="body") | None``: an optional quote."""
        return Annotated[str, self] | other

    def __ror__(self, other: Any) -> Any:
        """``None | Quote(of="body")``."""
        return other | Annotated[str, self]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """How Pydantic validates it, written as the type itself or beside one in ``Annotated``."""
        return core_schema.with_info_after_validator_function(self.check, handler(str if source is self else source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The text's JSON schema, marked with the column."""
        return {**handler(core), QUOTE_MARK: self.of}


def quotes_of(model: type[BaseModel]) -> tuple[Quote, ...]:
    """The different quotes in a model, those of nested models included."""
    owners = (getattr(validator, "__self__", None) for validator in contextual_validators(model))
    return tuple(dict.fromkeys(owner for owner in owners if isinstance(owner, Quote)))


def quotes_said(node: dict[str, Any]) -> dict[str, Any]:
    """A field's JSON schema in which its description says in words what is quoted.

    Example:
        >>> quotes_said({"type": "array", "items": {"type": "string", QUOTE_MARK: "body"}, "description": "Proof."})
        {'type': 'array', 'items': {'type': 'string'}, 'description': 'Proof. (copied word for word from body)'}
    """
    quoted: list[str] = []
    plain = _unmarked(node, quoted)
    if not quoted:
        return node
    told = f"copied word for word from {' or '.join(dict.fromkeys(quoted))}"
    given = plain.get("description")
    return {**plain, "description": f"{given} ({told})" if given else told}


def _unmarked(node: Any, quoted: list[str]) -> Any:
    if isinstance(node, list):
        return [_unmarked(inner, quoted) for inner in node]
    if not isinstance(node, dict):
        return node
    if QUOTE_MARK in node:
        quoted.append(node[QUOTE_MARK])
    return {key: _unmarked(value, quoted) for key, value in node.items() if key != QUOTE_MARK}


def _hint(value: str, text: str) -> str:
    """What is nearly right: a model that is told so mends it more often."""
    if _folded(value) in _folded(text):
        return " with this letter case and white space"
    return ""


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
