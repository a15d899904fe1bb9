"""Numbered steps that bring a database up to date, applied when a store is opened.

Append only: a step that was released is never edited. Steps run in one transaction under a lock, so
that processes opening the same new database at once apply each step once.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import Connection, inspect, select
from sqlalchemy import insert as insert_into

from infergraph.errors import StoreError
from infergraph.store.tables import schema_version

# Any number that other users of the same PostgreSQL server are unlikely to lock.
_POSTGRES_LOCK = 4_815_162_342


@dataclass(frozen=True, kw_only=True)
class Migration:
    """One step.

    Args:
        number: Its place, counted from 1.
        purpose: One sentence for whoever reads the table ``infergraph_schema``.
        statements: SQL; ``{blob} {real} {bigint} {clustered}`` stand for what databases spell differently.
        postgres: Statements for PostgreSQL only.
    """

    number: int
    purpose: str
    statements: tuple[str, ...]
    postgres: tuple[str, ...] = ()


MIGRATIONS = (
    Migration(
        number=1,
        purpose="Attempts and the answers they led to, what runs used, and what answers are like.",
        statements=(
            "CREATE TABLE prefixes (hash {blob} NOT NULL PRIMARY KEY, messages {blob} NOT NULL) {clustered}",
            # The response comes before the prompt: reading it does not page through a long prompt.
            """CREATE TABLE attempts (
                id {bigint} NOT NULL PRIMARY KEY, row_hash {blob} NOT NULL, request_hash {blob} NOT NULL,
                started_at {real} NOT NULL, seconds {real} NOT NULL, outcome TEXT NOT NULL, status INTEGER, finish TEXT,
                input_tokens {bigint} NOT NULL, cached_input_tokens {bigint} NOT NULL,
                output_tokens {bigint} NOT NULL, reasoning_tokens {bigint} NOT NULL, cost_nano_usd {bigint},
                model TEXT NOT NULL, answered_by TEXT NOT NULL, via TEXT NOT NULL,
                run_id TEXT NOT NULL, asset TEXT, "partition" TEXT, operator TEXT NOT NULL,
                message TEXT NOT NULL, response {blob}, prefix_hash {blob}, prompt {blob} NOT NULL)""",
            "CREATE INDEX attempts_of_row ON attempts (row_hash)",
            """CREATE TABLE answers (
                row_hash {blob} NOT NULL PRIMARY KEY, state TEXT NOT NULL, attempt_id {bigint}, reason TEXT,
                message TEXT NOT NULL, attempts INTEGER NOT NULL, via TEXT NOT NULL, model TEXT NOT NULL,
                cost_nano_usd {bigint}, created_at {real} NOT NULL) {clustered}""",
            """CREATE TABLE usage (
                run_id TEXT NOT NULL, asset TEXT NOT NULL, "partition" TEXT NOT NULL,
                operator TEXT NOT NULL, model TEXT NOT NULL, "rows" {bigint} NOT NULL, calls {bigint} NOT NULL,
                store_hits {bigint} NOT NULL, shared {bigint} NOT NULL, rejected {bigint} NOT NULL,
                rejected_before {bigint} NOT NULL, nulls {bigint} NOT NULL, pending {bigint} NOT NULL,
                input_tokens {bigint} NOT NULL, cached_input_tokens {bigint} NOT NULL,
                output_tokens {bigint} NOT NULL, reasoning_tokens {bigint} NOT NULL,
                cost_nano_usd {bigint}, saved_nano_usd {bigint}, seconds {real} NOT NULL, started_at {real} NOT NULL,
                PRIMARY KEY (run_id, asset, "partition", operator, model))""",
            """CREATE TABLE learned (
                model TEXT NOT NULL, asset TEXT NOT NULL, operator TEXT NOT NULL, answers {bigint} NOT NULL,
                input_tokens {bigint} NOT NULL, output_tokens {bigint} NOT NULL, seconds {real} NOT NULL,
                PRIMARY KEY (model, asset, operator))""",
        ),
        postgres=("CREATE SEQUENCE attempt_ids",),
    ),
)
NEWEST = MIGRATIONS[-1].number

_SPELLINGS = {
    "sqlite": {"blob": "BLOB", "real": "DOUBLE", "bigint": "INTEGER", "clustered": "WITHOUT ROWID"},
    "postgresql": {"blob": "BYTEA", "real": "DOUBLE PRECISION", "bigint": "BIGINT", "clustered": ""},
}


def migrate(connection: Connection, where: str) -> None:
    """Bring the database up to date; the connection is inside a write transaction.

    Args:
        connection: A connection that holds SQLite's write lock, or any PostgreSQL one.
        where: The database's name for messages.

    Raises:
        StoreError: The database is of a newer Infergraph, or is not a store at all.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_POSTGRES_LOCK})")
    done = _applied(connection, where)
    if done > NEWEST:
        raise StoreError(
            f"{where} was written by a newer Infergraph (schema {done}; this one knows {NEWEST}). "
            "Upgrade with 'pip install -U infergraph', or open another store."
        )
    for step in MIGRATIONS[done:]:
        _apply(connection, step)


def _applied(connection: Connection, where: str) -> int:
    tables = set(inspect(connection).get_table_names())
    if schema_version.name in tables:
        return connection.scalar(select(schema_version.c.number).order_by(schema_version.c.number.desc()).limit(1)) or 0
    if tables and connection.dialect.name == "sqlite":
        raise StoreError(
            f"{where} is a database of another program (its tables: {', '.join(sorted(tables)[:5])}). "
            "Name a file of its own for the store, for example store='sqlite:///.infergraph/state.db'."
        )
    schema_version.create(connection)
    return 0


def _apply(connection: Connection, step: Migration) -> None:
    spelling = _SPELLINGS[connection.dialect.name]
    extra = step.postgres if connection.dialect.name == "postgresql" else ()
    for statement in (*step.statements, *extra):
        connection.exec_driver_sql(statement.format(**spelling))
    connection.execute(
        insert_into(schema_version).values(number=step.number, purpose=step.purpose, applied_at=time.time())
    )
