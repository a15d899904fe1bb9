"""Reads answers, attempts and usage; every function works on the caller's connection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select

from infergraph.errors import StoreError
from infergraph.models.model import Message, Response, Tokens
from infergraph.store.connect import shown
from infergraph.store.payload import NOT_KEPT, UNREADABLE, unpack_messages, unpack_prompt, unpack_response
from infergraph.store.rows import Learned, SpentBy, SpentRow, StoredAnswer, StoredAttempt, UsageRow
from infergraph.store.tables import attempts, prefixes, spending
from infergraph.store.tables import learned as learned_table
from infergraph.store.tables import usage as usage_table

_CHUNK = 1000
_TOKENS = ("input_tokens", "cached_input_tokens", "cache_write_input_tokens", "output_tokens", "reasoning_tokens")
# Written out rather than built: SQLAlchemy takes longer to expand a thousand placeholders than SQLite to look up.
_LOOK_UP = """
SELECT a.row_hash, a.state, a.reason, a.message, a.attempts, a.via, a.model, a.cost_nano_usd, a.created_at,
       a.attempt_id, t.response, t.finish, t.input_tokens, t.cached_input_tokens,
       t.cache_write_input_tokens, t.output_tokens, t.reasoning_tokens, t.answered_by
FROM answers a LEFT JOIN attempts t ON t.id = a.attempt_id
WHERE a.row_hash """


def answers(connection: Connection, hashes: Sequence[bytes], oldest: float | None) -> dict[bytes, StoredAnswer]:
    """The endings of these row hashes that are not older than ``oldest`` (seconds since 1970)."""
    found: dict[bytes, StoredAnswer] = {}
    where = shown(connection.engine.url)
    for start in range(0, len(hashes), _CHUNK):
        for row in _look_up(connection, hashes[start : start + _CHUNK], oldest):
            found[row[0]] = _stored_answer(row, where)
    return found


def spent_in(connection: Connection, period: str) -> int:
    """What was spent on a day (``2026-11-22``) or in a month (``2026-11``), in nano-dollars."""
    total = select(func.sum(spending.c.cost_nano_usd)).where(spending.c.day.startswith(period))
    return int(connection.scalar(total) or 0)


def _look_up(connection: Connection, hashes: Sequence[bytes], oldest: float | None) -> Iterator[Any]:
    if connection.dialect.name == "postgresql":
        sql = f"{_LOOK_UP} = ANY(%s)"
        given: tuple[object, ...] = (list(hashes),)
        sql, given = (sql, given) if oldest is None else (f"{sql} AND a.created_at >= %s", (*given, oldest))
    else:
        sql = _sqlite_look_up(len(hashes))
        given = tuple(hashes)
        sql, given = (sql, given) if oldest is None else (f"{sql} AND a.created_at >= ?", (*given, oldest))
    return iter(connection.exec_driver_sql(sql, given).cursor.fetchall())


@cache
def _sqlite_look_up(count: int) -> str:
    return f"{_LOOK_UP} IN ({','.join('?' * count)})"


def _damaged(where: str, part: str, attempt_id: int, error: Exception) -> StoreError:
    return StoreError(
        f"The store {where} is damaged: the {part} of attempt {attempt_id} cannot be read ({error}). "
        f"Bring back a copy, or have it asked again: DELETE FROM answers WHERE attempt_id = {attempt_id}; "
        f"DELETE FROM attempts WHERE id = {attempt_id}."
    )


def _stored_answer(row: Any, where: str) -> StoredAnswer:
    (row_hash, state, reason, message, tries, via, model, cost, created_at, attempt_id,
     payload, finish, tokens_in, cached, written, tokens_out, reasoning, answered_by) = row  # fmt: skip
    response = None
    if payload is not None:
        try:
            text, embedding = unpack_response(payload)
        except UNREADABLE as error:
            raise _damaged(where, "response", attempt_id, error) from error
        tokens = _counts(tokens_in, cached, written, tokens_out, reasoning)
        response = Response(text=text, embedding=embedding, finish=finish, tokens=tokens, model_id=answered_by)
    return StoredAnswer(
        row_hash=row_hash, state=state, reason=reason, message=message, attempts=tries, via=via, model=model,
        cost_nano_usd=cost, created_at=created_at, attempt_id=attempt_id, response=response,
    )  # fmt: skip


@lru_cache(maxsize=4096)
def _counts(tokens_in: int, cached: int, written: int, tokens_out: int, reasoning: int) -> Tokens:
    # Neighbouring answers often have the same counts, and finding them is five times faster than making them.
    return Tokens(
        input=tokens_in, cached_input=cached, cache_write_input=written, output=tokens_out, reasoning=reasoning
    )


def attempts_of(connection: Connection, row_hash: bytes) -> list[StoredAttempt]:
    """Every attempt of one row hash, oldest first."""
    query = (
        select(attempts, prefixes.c.messages.label("prefix"))
        .outerjoin(prefixes, prefixes.c.hash == attempts.c.prefix_hash)
        .where(attempts.c.row_hash == row_hash)
        .order_by(attempts.c.started_at, attempts.c.id)
    )
    where = shown(connection.engine.url)
    return [_stored_attempt(row, where) for row in connection.execute(query)]


def _stored_attempt(row: Row[Any], where: str) -> StoredAttempt:
    try:
        shared: tuple[Message, ...] = () if row.prefix is None else unpack_messages(row.prefix)
        messages, embed_text = unpack_prompt(row.prompt, shared)
        response = _response(row)
    except UNREADABLE as error:
        raise _damaged(where, "prompt or response", row.id, error) from error
    return StoredAttempt(
        id=row.id,
        row_hash=row.row_hash,
        request_hash=row.request_hash,
        run_id=row.run_id,
        asset=row.asset,
        partition=row.partition,
        operator=row.operator,
        model=row.model,
        started_at=row.started_at,
        seconds=row.seconds,
        outcome=row.outcome,
        status=row.status,
        message=row.message,
        via=row.via,
        messages=messages,
        embed_text=embed_text,
        prompt_kept=row.prompt != NOT_KEPT,
        response=response,
        cost_nano_usd=row.cost_nano_usd,
    )


def _response(row: Row[Any]) -> Response | None:
    if row.response is None:
        return None
    text, embedding = unpack_response(row.response)
    return Response(text=text, embedding=embedding, finish=row.finish, tokens=_tokens(row), model_id=row.answered_by)


def _tokens(row: Row[Any]) -> Tokens:
    return Tokens(
        input=row.input_tokens,
        cached_input=row.cached_input_tokens,
        cache_write_input=row.cache_write_input_tokens,
        output=row.output_tokens,
        reasoning=row.reasoning_tokens,
    )


def usage(
    connection: Connection, run_id: str | None, asset: str | None, partition: str | None, limit: int
) -> list[UsageRow]:
    """Usage rows, newest first."""
    query: Select[Any] = select(usage_table).order_by(usage_table.c.started_at.desc()).limit(limit)
    for name, wanted in (("run_id", run_id), ("asset", asset), ("partition", partition)):
        if wanted is not None:
            query = query.where(usage_table.c[name] == wanted)
    return [_usage_row(row) for row in connection.execute(query)]


def spent(connection: Connection, by: Sequence[SpentBy], run_id: str | None, since: float | None) -> list[SpentRow]:
    """Sums over the attempts, one row a group, in the groups' order."""
    columns = attempts.c
    groups = [columns[name] for name in by]
    query: Select[Any] = select(
        *groups,
        func.count().label("attempts"),
        *(func.coalesce(func.sum(columns[name]), 0).label(name) for name in _TOKENS),
        func.sum(columns.cost_nano_usd).label("cost"),
        (func.count() - func.count(columns.cost_nano_usd)).label("unknown"),
        func.coalesce(func.sum(columns.seconds), 0.0).label("seconds"),
    )
    if run_id is not None:
        query = query.where(columns.run_id == run_id)
    if since is not None:
        query = query.where(columns.started_at >= since)
    found = connection.execute(query.group_by(*groups).order_by(*groups))
    return [_spent_row(row, by) for row in found if row.attempts]


def _spent_row(row: Row[Any], by: Sequence[SpentBy]) -> SpentRow:
    # PostgreSQL adds whole numbers up to decimals.
    numbers = {name.removesuffix("_tokens"): int(getattr(row, name)) for name in _TOKENS}
    return SpentRow(
        **{name: getattr(row, name) for name in by},
        attempts=row.attempts,
        tokens=Tokens(**numbers),
        cost_nano_usd=None if row.cost is None else int(row.cost),
        unknown_costs=row.unknown,
        seconds=float(row.seconds),
    )


def _usage_row(row: Row[Any]) -> UsageRow:
    return UsageRow(
        run_id=row.run_id,
        operator=row.operator,
        model=row.model,
        asset=row.asset or None,
        partition=row.partition or None,
        rows=row.rows,
        calls=row.calls,
        store_hits=row.store_hits,
        shared=row.shared,
        rejected=row.rejected,
        rejected_before=row.rejected_before,
        nulls=row.nulls,
        pending=row.pending,
        tokens=_tokens(row),
        cost_nano_usd=row.cost_nano_usd,
        saved_nano_usd=row.saved_nano_usd,
        seconds=row.seconds,
        started_at=row.started_at,
    )


def learned(connection: Connection, model: str, operator: str | None, asset: str | None) -> Learned | None:
    """Means over the answers of a model, an operator, an asset."""
    columns = learned_table.c
    sums = (func.sum(columns[name]) for name in ("answers", "input_tokens", "output_tokens", "seconds"))
    query: Select[Any] = select(*sums).where(columns.model == model)
    if operator is not None:
        query = query.where(columns.operator == operator)
    if asset is not None:
        query = query.where(columns.asset == asset)
    count, tokens_in, tokens_out, seconds = connection.execute(query).one()
    if not count:
        return None
    count = int(count)
    return Learned(
        answers=count,
        input_tokens=float(tokens_in) / count,
        output_tokens=float(tokens_out) / count,
        seconds=float(seconds) / count,
    )
