"""A Pydantic model as the schema of an answer: Polars types, JSON schema, judge and columns in one object."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
from pydantic import BaseModel, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import to_jsonable_python

from infergraph.errors import PlanError, SchemaError
from infergraph.models.model import AnswerSchema, Response
from infergraph.models.verdict import Accepted, Repair, Verdict
from infergraph.validation.json_schema import provider_schema
from infergraph.validation.parsing import ANSWER_AGAIN, embedded_object, encodable, ended_early, repair_message
from infergraph.validation.quote import Quote, quotes_of
from infergraph.validation.row import context_of, contextual_validators
from infergraph.validation.types import ModelField, encoded_model, model_fields, plain_model, struct_type


@dataclass(frozen=True)
class AnswerModel:
    """An answer's schema, made from the author's Pydantic model.

    Example:
        >>> class Ticket(BaseModel):
        ...     product: str
        ...     days: int | None = None
        >>> answer = AnswerModel.of(Ticket)
        >>> dict(answer.fields)
        {'product': String, 'days': Int64}
        >>> answer.judge(Response(text='{"product": "lamp", "days": 3}'))
        Accepted(value={'product': 'lamp', 'days': 3})
        >>> [column.to_list() for column in answer.columns([{"product": "lamp", "days": 3}, None])]
        [['lamp', None], [3, None]]
    """

    model: type[BaseModel]
    answer_schema: AnswerSchema
    """The JSON schema for providers: without references, every object closed, every key required."""
    types: tuple[ModelField, ...] = field(repr=False, compare=False)
    reads_row: bool = field(default=False, repr=False, compare=False)
    """Whether a validator looks at the row that the answer is about."""
    quotes: tuple[Quote, ...] = field(default=(), repr=False, compare=False)
    """What must be quoted from the row."""
    required: tuple[str, ...] = field(default=(), repr=False, compare=False)
    """The fields that are never null: their type knows no null, and their author gave none as the default."""

    @classmethod
    def of(cls, model: type[BaseModel]) -> AnswerModel:
        """The answer schema of a model.

        Args:
            model: A class that derives from ``pydantic.BaseModel``.

        Returns:
            The schema; its fields are in the order of the class.

        Raises:
            SchemaError: It is no such class, or a field cannot be mapped to a Polars type.
        """
        if not (isinstance(model, type) and issubclass(model, BaseModel)) or model is BaseModel:
            raise SchemaError(
                f"A schema is a class that derives from pydantic.BaseModel, not {model!r:.80}. "
                "Write `class Facts(BaseModel): product: str` and give the class itself."
            )
        try:
            model.model_rebuild()
        except (PydanticUserError, NameError) as error:
            raise SchemaError(f"{model.__name__}: {error}") from error
        types = model_fields(model)
        schema = AnswerSchema.of(_schema_name(model), provider_schema(model))
        keys = schema.parsed.get("properties", {})
        required = tuple(
            one.name
            for one in types
            if not may_be_null(keys.get(one.key, {"type": "null"})) and model.model_fields[one.name].default is not None
        )
        return cls(model, schema, types, bool(contextual_validators(model)), quotes_of(model), required)

    @property
    def fields(self) -> pl.Schema:
        """The fields and their Polars types, in the order of the class."""
        return pl.Schema({one.name: one.type.dtype for one in self.types})

    @property
    def struct(self) -> pl.Struct:
        """The fields as one Struct type."""
        return struct_type(self.types)

    def judge(self, response: Response, row: Mapping[str, Any] | None = None) -> Verdict:
        """What a response means: the JSON object in it, validated by the model, its own validators included.

        Args:
            response: What came back.
            row: What validators find under ``info.context["row"]``; ``None``: they have no context.

        Returns:
            ``Accepted`` with a dict ready for ``columns``; ``Repair`` with what is wrong, told to the model;
            ``Rejected`` when the model refused or the provider filtered.

        Raises:
            PlanError: A validator asks for a column that the request does not read.
        """
        early = ended_early(response)
        return early if early is not None else self._judge_text(encodable(response.text), row)

    def _judge_text(self, text: str, row: Mapping[str, Any] | None) -> Verdict:
        try:
            return Accepted(self._parse(text, row))
        except ValidationError as error:
            if error.errors(include_input=False)[0]["type"] != "json_invalid":
                return Repair(repair_message(error))
        except ValueError as error:
            return Repair(f"The answer is not valid:\n- {error}\n{ANSWER_AGAIN}")
        except PlanError:
            raise
        except Exception as error:
            # The model's validators are the author's code: what crashes on one answer must not end the run for all.
            return Repair(f"The answer is not valid: {type(error).__name__}: {error}\n{ANSWER_AGAIN}")
        inner = embedded_object(text)
        if inner is None or inner == text:
            return Repair("The answer is not one JSON object. Answer with one JSON object and nothing else.")
        return self._judge_text(inner, row)

    def _parse(self, text: str, row: Mapping[str, Any] | None) -> dict[str, Any]:
        plain = plain_model(self.types, self.model.model_validate_json(text, context=context_of(row)))
        # Pydantic does not look at what the author's validators give.
        lost = [one.key for one in self.types if one.name in self.required and plain[one.name] is None]
        if lost:
            raise ValueError(f"{', '.join(lost)}: a validator gave nothing for it, and its type knows no null")
        return plain

    def columns(self, values: Sequence[Mapping[str, Any] | None]) -> list[pl.Series]:
        """One exactly typed column a field.

        Args:
            values: Values that ``judge`` accepted; ``None`` becomes null in every column.

        Returns:
            As many columns as fields, as long as ``values``.
        """
        return [
            pl.Series(one.name, [None if row is None else row[one.name] for row in values], dtype=one.type.dtype)
            for one in self.types
        ]

    def column(self, name: str, values: Sequence[Mapping[str, Any] | None]) -> pl.Series:
        """All fields as one Struct column; ``None`` becomes a null Struct."""
        return pl.Series(name, values, dtype=self.struct)

    def answer_text(self, answer: BaseModel | Mapping[str, Any], row: Mapping[str, Any] | None = None) -> str:
        """The JSON text that a model should give for this answer: what examples show.

        Args:
            answer: An instance of the model, or a mapping by field names or aliases.
            row: As for ``judge``.

        Raises:
            ValueError: The mapping does not fit the model (pydantic's ``ValidationError``), or a value is out of range.

        Example:
            >>> class Price(BaseModel):
            ...     usd: float
            >>> AnswerModel.of(Price).answer_text({"usd": "2.5"})
            '{"usd": 2.5}'
        """
        given = answer if isinstance(answer, self.model) else dict(answer)
        instance = self.model.model_validate(given, by_alias=True, by_name=True, context=context_of(row))
        return self.value_text(plain_model(self.types, instance))

    def value_text(self, value: Mapping[str, Any]) -> str:
        """The JSON text of a value that ``judge`` accepted."""
        return json.dumps(encoded_model(self.types, dict(value)), ensure_ascii=False, default=to_jsonable_python)


def may_be_null(schema: Mapping[str, Any]) -> bool:
    """Whether null is a value of a JSON schema.

    Example:
        >>> may_be_null({"anyOf": [{"type": "string"}, {"type": "null"}]}), may_be_null({"type": "string"})
        (True, False)
    """
    kind = schema.get("type")
    if kind == "null" or (isinstance(kind, list) and "null" in kind) or None in schema.get("enum", ()):
        return True
    return any(may_be_null(option) for word in ("anyOf", "oneOf") for option in schema.get(word, ()))


def _schema_name(model: type[BaseModel]) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", model.__name__).strip("_")[:64] or "answer"
