"""The columns that operators add: their names are new."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl

from infergraph.errors import PlanError

ROW_ID = "_row_id"


def check_name(into: Any, columns: pl.Schema, where: str) -> None:
    """Raise ``PlanError`` where ``into`` is no name for a new column."""
    if not isinstance(into, str) or not into:
        raise PlanError(f"{where}: into= is the new column's name, a text such as into='answer', not {into!r:.80}.")
    if into == ROW_ID:
        raise PlanError(f"{where}: {ROW_ID!r} is reserved for the rows' ids; choose another name with into=.")
    if into in columns:
        raise PlanError(
            f"{where}: the input already has a column {into!r}. Choose another name, for example "
            f"into={_free(into, columns)!r}, or drop or rename the old one first."
        )


def check_fields(fields: Iterable[str], columns: pl.Schema, where: str, *, into: str) -> None:
    """Raise ``PlanError`` where a schema's field, which becomes a column, is no name for a new one."""
    for name in fields:
        if name == ROW_ID:
            raise PlanError(f"{where}: the field {name!r} is reserved for the rows' ids; rename the field.")
        if name in columns:
            raise PlanError(
                f"{where}: the input already has a column {name!r}, and the schema has a field of that name. Write "
                f"into={_free(into, columns)!r} for one Struct column, or drop or rename the old one first."
            )


def _free(name: str, columns: pl.Schema) -> str:
    return next(free for free in (name, *(f"{name}_{n}" for n in range(2, len(columns) + 3))) if free not in columns)


def check_instruction(instruction: Any, where: str) -> None:
    """Raise ``PlanError`` where an instruction is no text; it has no variables, because the content is given anyway."""
    if instruction is None:
        return
    if not isinstance(instruction, str) or not instruction.strip():
        raise PlanError(f"{where}: instruction= is a sentence for the model, not {instruction!r:.80}.")
    if "{{" in instruction or "{%" in instruction:
        raise PlanError(
            f"{where}: instruction= is the same for every row and takes no {{{{ variables }}}}; name the columns in "
            "column=, or use .semantic.map with a prompt template."
        )
