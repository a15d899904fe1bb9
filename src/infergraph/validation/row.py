"""The row that an answer is about, for validators that need it: ``info.context["row"]``.

A validator sees the columns that the request reads, as the model was shown them, and no others: an answer that depends
on what the model never saw could not be repaired, and two rows with the same request would not share it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from infergraph.errors import PlanError, did_you_mean

ROW = "row"
"""The key of the validation context."""


class Row(dict[str, Any]):
    """One row's values by column; asking for a column that the request does not read stops the run.

    Example:
        >>> Row(body="It broke.")["boddy"]
        Traceback (most recent call last):
        infergraph.errors.PlanError: A validator asks for row['boddy'], which the request does not read. Did you mean...
    """

    def get(self, name: str, default: Any = None) -> Any:
        """The value; of a column that is not there no default, which would pass for the row's own."""
        return self[name]

    def __missing__(self, name: str) -> Any:
        raise PlanError(
            f"A validator asks for row[{name!r}], which the request does not read. {did_you_mean(str(name), self)} To "
            "use another column, name it at the step, so that the model is shown it too."
        )


def context_of(row: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The validation context of a row: what validators get as ``info.context``."""
    return None if row is None else {ROW: row}


def contextual_validators(model: type[BaseModel]) -> list[Callable[..., Any]]:
    """The validators of a model, of its fields' types and of nested models that are handed ``info``.

    Args:
        model: A model that is completely built.

    Example:
        >>> from pydantic import ValidationInfo, field_validator
        >>> class Fact(BaseModel):
        ...     product: str
        ...     @field_validator("product")
        ...     @classmethod
        ...     def named(cls, value: str, info: ValidationInfo) -> str:
        ...         return value
        >>> [validator.__name__ for validator in contextual_validators(Fact)]
        ['named']
    """
    return list(_with_info(model.__pydantic_core_schema__))


def _with_info(node: Any) -> Iterator[Callable[..., Any]]:
    if isinstance(node, Mapping):
        function = node.get("function")
        if node.get("type") == "with-info" and callable(function):
            yield function
        for inner in node.values():
            yield from _with_info(inner)
    elif isinstance(node, (list, tuple)):
        for inner in node:
            yield from _with_info(inner)
