"""Writes attempts, answers and usage; every function works inside the caller's transaction."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Table, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from infergraph.models.model import Message, Tokens
from infergraph.store import tables
from infergraph.store.echoes import without_echoes
from infergraph.store.payload import NOT_KEPT, pack_messages, pack_prompt, pack_response
from infergraph.store.rows import Answer, Attempt, UsageRow

Row = dict[str, Any]
Insert = sqlite.Insert | postgresql.Insert
_DAY_S = 86_400


def record(
    connection: Connection, attempts: Sequence[Attempt], answers: Sequence[Answer], *, keep_prompts: bool = True
) -> None:
    """Write attempts, and answers with the attempts that ended them; without prompts only hashes and answers."""
    written = [*attempts, *(answer.attempt for answer in answers if isinstance(answer.attempt, Attempt))]
    ids = _next_ids(connection, len(written))
    if written:
        _insert_attempts(connection, written, ids, keep_prompts)
        _learn(connection, written)
        _spend(connection, written)
    if answers:
        fresh = iter(ids[len(attempts) :])
        rows = []
        for answer in answers:
            number = next(fresh) if isinstance(answer.attempt, Attempt) else answer.attempt
            rows.append(_answer_row(answer, number, keep_prompts))
        # One order for all processes: two transactions never wait for each other in a circle.
        rows.sort(key=lambda row: row["row_hash"])
        _insert_many(connection, tables.answers, rows, replacing=True)


def record_usage(connection: Connection, rows: Iterable[UsageRow]) -> None:
    """Write usage rows, adding them to those of the same run, asset, partition, operator and model."""
    values = [_usage_row(row) for row in rows]
    if values:
        table, adding = tables.usage, _new(connection, tables.usage)
        keys = list(table.primary_key)
        counted = [column for column in table.c if column not in keys and column is not table.c.started_at]
        # An unknown cost (NULL) makes the sum unknown.
        sums = {column.name: column + adding.excluded[column.name] for column in counted}
        connection.execute(adding.on_conflict_do_update(index_elements=keys, set_=sums), values)


def _next_ids(connection: Connection, count: int) -> Sequence[int]:
    if connection.dialect.name == "postgresql":
        numbers = select(func.nextval("attempt_ids")).select_from(func.generate_series(1, count))
        return list(connection.scalars(numbers)) if count else []
    # Nobody else adds attempts meanwhile: the transaction holds SQLite's write lock.
    newest = connection.scalar(select(func.max(tables.attempts.c.id))) or 0
    return range(newest + 1, newest + 1 + count)


def _insert_attempts(
    connection: Connection, attempts: Sequence[Attempt], ids: Sequence[int], keep_prompts: bool
) -> None:
    known: dict[tuple[Message, ...], tuple[bytes, bytes]] = {}
    rows: list[Row] = []
    for number, attempt in zip(ids, attempts, strict=True):
        prefix = attempt.request.messages[: attempt.shared_messages] if keep_prompts else ()
        if prefix and prefix not in known:
            packed = pack_messages(prefix)
            known[prefix] = (hashlib.blake2b(packed, digest_size=16).digest(), packed)
        rows.append(_attempt_row(number, attempt, known[prefix][0] if prefix else None, keep_prompts))
    if known:
        prefixes = [{"hash": digest, "messages": packed} for digest, packed in sorted(known.values())]
        connection.execute(_new(connection, tables.prefixes).on_conflict_do_nothing(), prefixes)
    _insert_many(connection, tables.attempts, rows)


def _attempt_row(number: int, attempt: Attempt, prefix_hash: bytes | None, keep_prompts: bool) -> Row:
    response = attempt.response
    tokens = Tokens() if response is None else response.tokens
    return {
        "id": number,
        "row_hash": attempt.row_hash,
        "request_hash": attempt.request_hash,
        "started_at": attempt.started_at,
        "seconds": attempt.seconds,
        "outcome": attempt.outcome,
        "status": attempt.status,
        "finish": None if response is None else response.finish,
        "input_tokens": tokens.input,
        "cached_input_tokens": tokens.cached_input,
        "cache_write_input_tokens": tokens.cache_write_input,
        "output_tokens": tokens.output,
        "reasoning_tokens": tokens.reasoning,
        "cost_nano_usd": attempt.cost_nano_usd,
        "model": attempt.model,
        "answered_by": "" if response is None else response.model_id,
        "via": attempt.via,
        "run_id": attempt.run_id,
        "asset": attempt.asset,
        "partition": attempt.partition,
        "operator": attempt.operator,
        "message": _said(attempt.message, attempt, keep_prompts),
        "response": None if response is None else pack_response(response),
        "prefix_hash": prefix_hash,
        "prompt": pack_prompt(attempt.request, attempt.shared_messages) if keep_prompts else NOT_KEPT,
    }


def _said(message: str, attempt: Attempt | int | None, keep_prompts: bool) -> str:
    if message and not keep_prompts and isinstance(attempt, Attempt):
        message = without_echoes(message, attempt.request)
    return _storable(message)


def _answer_row(answer: Answer, attempt_id: int | None, keep_prompts: bool) -> Row:
    return {
        "row_hash": answer.row_hash,
        "state": answer.state,
        "attempt_id": attempt_id,
        "reason": answer.reason,
        "message": _said(answer.message, answer.attempt, keep_prompts),
        "attempts": answer.attempts,
        "via": answer.via,
        "model": answer.model,
        "cost_nano_usd": answer.cost_nano_usd,
        "created_at": answer.created_at,
    }


def _usage_row(row: UsageRow) -> Row:
    tokens = row.tokens
    return {
        "run_id": row.run_id,
        "asset": row.asset or "",
        "partition": row.partition or "",
        "operator": row.operator,
        "model": row.model,
        "rows": row.rows,
        "calls": row.calls,
        "store_hits": row.store_hits,
        "shared": row.shared,
        "rejected": row.rejected,
        "rejected_before": row.rejected_before,
        "nulls": row.nulls,
        "pending": row.pending,
        "input_tokens": tokens.input,
        "cached_input_tokens": tokens.cached_input,
        "cache_write_input_tokens": tokens.cache_write_input,
        "output_tokens": tokens.output,
        "reasoning_tokens": tokens.reasoning,
        "cost_nano_usd": row.cost_nano_usd,
        "saved_nano_usd": row.saved_nano_usd,
        "seconds": row.seconds,
        "started_at": row.started_at,
    }


def _learn(connection: Connection, attempts: Iterable[Attempt]) -> None:
    groups: defaultdict[tuple[str, str, str], list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        if attempt.outcome == "done" and attempt.response is not None:
            groups[attempt.model, attempt.asset or "", attempt.operator].append(attempt)
    rows = [_learned_row(key, group) for key, group in sorted(groups.items())]
    if not rows:
        return
    table, adding = tables.learned, _new(connection, tables.learned)
    counted = ("answers", "input_tokens", "output_tokens", "seconds")
    sums = {name: table.c[name] + adding.excluded[name] for name in counted}
    keys = list(table.primary_key)
    connection.execute(adding.on_conflict_do_update(index_elements=keys, set_=sums), rows)


def _spend(connection: Connection, attempts: Iterable[Attempt]) -> None:
    days: defaultdict[int, int] = defaultdict(int)
    for attempt in attempts:
        if attempt.cost_nano_usd:
            days[int(attempt.started_at // _DAY_S)] += attempt.cost_nano_usd
    if days:
        table, adding = tables.spending, _new(connection, tables.spending)
        total = {"cost_nano_usd": table.c.cost_nano_usd + adding.excluded.cost_nano_usd}
        names = {day: f"{datetime.fromtimestamp(day * _DAY_S, UTC):%Y-%m-%d}" for day in sorted(days)}
        rows = [{"day": name, "cost_nano_usd": days[day]} for day, name in names.items()]
        connection.execute(adding.on_conflict_do_update(index_elements=[table.c.day], set_=total), rows)


def _learned_row(key: tuple[str, str, str], attempts: Sequence[Attempt]) -> Row:
    tokens = [attempt.response.tokens for attempt in attempts if attempt.response is not None]
    return {
        "model": key[0],
        "asset": key[1],
        "operator": key[2],
        "answers": len(attempts),
        "input_tokens": sum(each.input for each in tokens),
        "output_tokens": sum(each.output for each in tokens),
        "seconds": sum(attempt.seconds for attempt in attempts),
    }


def _insert_many(connection: Connection, table: Table, rows: Sequence[Row], *, replacing: bool = False) -> None:
    """Insert whole rows; on SQLite, which takes every value as it is, without SQLAlchemy's work on each of them."""
    if connection.dialect.name != "sqlite":
        connection.execute(_upsert(postgresql.insert(table), table) if replacing else insert(table), rows)
        return
    sql, ordered = _sqlite_insert(table, replacing)
    connection.exec_driver_sql(sql, [ordered(row) for row in rows])


@cache
def _sqlite_insert(table: Table, replacing: bool) -> tuple[str, Callable[[Row], tuple[Any, ...]]]:
    """The statement's text, made once, and what brings a row's values into its order."""
    statement = _upsert(sqlite.insert(table), table) if replacing else insert(table)
    compiled = statement.compile(dialect=sqlite.dialect(), column_keys=table.columns.keys())
    return str(compiled), itemgetter(*(compiled.positiontup or ()))


def _storable(text: str) -> str:
    if not text:
        return text
    # Neither database takes lone surrogates in a text, and PostgreSQL no zero bytes; server errors may hold both.
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def _new(connection: Connection, table: Table) -> Insert:
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def _upsert(adding: Insert, table: Table) -> Insert:
    keys = list(table.primary_key)
    others = {column.name: adding.excluded[column.name] for column in table.c if column not in keys}
    return adding.on_conflict_do_update(index_elements=keys, set_=others)
