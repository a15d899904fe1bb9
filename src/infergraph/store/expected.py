"""What runs were expected to use, and the latest attempts, from which expectations are made.

Every function works on the caller's connection.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import Connection, Select, func, select
from sqlalchemy.dialects import postgresql, sqlite

from infergraph.models.model import Message, Response, Tokens
from infergraph.store.payload import UNREADABLE, unpack_messages, unpack_prompt, unpack_response
from infergraph.store.rows import EstimateRow, PastAttempt
from infergraph.store.tables import attempts, estimates, prefixes

_LATEST = 5_000
_WITH_RESPONSE = ("done", "repair", "rejected")


def record_estimates(connection: Connection, rows: Iterable[EstimateRow]) -> None:
    """Write what a run is expected to use; what was expected of the same run, asset, operator and model gives way."""
    values = [{**asdict(row), "asset": row.asset or "", "partition": row.partition or ""} for row in rows]
    if not values:
        return
    build = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    adding = build(estimates)
    keys = list(estimates.primary_key)
    others = {column.name: adding.excluded[column.name] for column in estimates.c if column not in keys}
    connection.execute(adding.on_conflict_do_update(index_elements=keys, set_=others), values)


def estimates_of(
    connection: Connection, run_id: str | None, asset: str | None, partition: str | None, limit: int
) -> list[EstimateRow]:
    """What runs were expected to use, newest first."""
    query: Select[Any] = select(estimates).order_by(estimates.c.made_at.desc(), estimates.c.operator).limit(limit)
    for name, wanted in (("run_id", run_id), ("asset", asset), ("partition", partition)):
        if wanted is not None:
            query = query.where(estimates.c[name] == wanted)
    names = [each.name for each in fields(EstimateRow)]
    found = ({name: getattr(row, name) for name in names} for row in connection.execute(query))
    return [
        EstimateRow(**{**row, "asset": row["asset"] or None, "partition": row["partition"] or None}) for row in found
    ]


def past_attempts(
    connection: Connection, model: str, operator: str | None, asset: str | None, limit: int
) -> list[PastAttempt]:
    """The latest attempts of a model with a response, oldest first; without an operator only the store's latest."""
    columns = attempts.c
    query: Select[Any] = (
        select(
            *(columns[name] for name in ("row_hash", "run_id", "via", "outcome", "finish", "prompt", "response")),
            *(columns[name] for name in ("input_tokens", "cached_input_tokens", "cache_write_input_tokens")),
            columns.output_tokens, columns.reasoning_tokens, prefixes.c.messages.label("prefix"),
        )
        .outerjoin(prefixes, prefixes.c.hash == columns.prefix_hash)
        .where(columns.model == model, columns.response.is_not(None), columns.outcome.in_(_WITH_RESPONSE))
        .order_by(columns.id.desc())
        .limit(limit)
    )  # fmt: skip
    if operator is not None:
        query = query.where(columns.operator == operator)
    else:
        newest = connection.scalar(select(func.max(columns.id))) or 0
        query = query.where(columns.id > newest - _LATEST)
    if asset is not None:
        query = query.where(columns.asset == asset)
    found = [_past_attempt(row) for row in connection.execute(query)]
    return [attempt for attempt in reversed(found) if attempt is not None]


def _past_attempt(row: Any) -> PastAttempt | None:
    """One attempt; ``None`` where it cannot be read: an estimate can do without it, and who needs it will say so."""
    try:
        shared: tuple[Message, ...] = () if row.prefix is None else unpack_messages(row.prefix)
        messages, embed_text = unpack_prompt(row.prompt, shared)
        text, embedding = unpack_response(row.response)
    except UNREADABLE:
        return None
    tokens = Tokens(
        input=row.input_tokens, cached_input=row.cached_input_tokens, cache_write_input=row.cache_write_input_tokens,
        output=row.output_tokens, reasoning=row.reasoning_tokens,
    )  # fmt: skip
    return PastAttempt(
        row_hash=row.row_hash, run_id=row.run_id, via=row.via, messages=messages, embed_text=embed_text,
        response=Response(text=text, embedding=embedding, finish=row.finish, tokens=tokens), done=row.outcome == "done",
    )  # fmt: skip
