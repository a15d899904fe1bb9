"""Numbered steps that bring a database up to date, applied when a store is opened.

Append only: a step that was released is never edited. Steps run in one transaction under a lock, so
that processes opening the same new database at once apply each step once.
"""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass

from sqlalchemy import Connection, inspect, select
from sqlalchemy import insert as insert_into

from infergraph.errors import StoreError
from infergraph.store.coordination_tables import TABLES
from infergraph.store.tables import schema_version

# Any number that other users of the same PostgreSQL server are unlikely to lock.
_POSTGRES_LOCK = 4_815_162_342


@dataclass(frozen=True, kw_only=True)
class Migration:
    """One step.

    Args:
        number: Its place, counted from 1.
        purpose: One sentence for whoever reads the table ``infergraph_schema``.
        statements: SQL; ``{blob} {real} {bigint} {clustered} {day}`` stand for what databases spell differently.
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
    Migration(
        number=2,
        purpose="What was spent on each day, for budgets; and what processes tell each other.",
        statements=(
            "CREATE TABLE spending (day TEXT NOT NULL PRIMARY KEY, cost_nano_usd {bigint} NOT NULL)",
            "INSERT INTO spending SELECT {day}, sum(cost_nano_usd) FROM attempts WHERE cost_nano_usd > 0 GROUP BY 1",
        ),
        postgres=TABLES,
    ),
    Migration(
        number=3,
        purpose="Tokens that providers wrote into their prompt caches, which cost more than others.",
        statements=tuple(
            f"ALTER TABLE {table} ADD COLUMN cache_write_input_tokens {{bigint}} NOT NULL DEFAULT 0"
            for table in ("attempts", "usage")
        ),
    ),
    Migration(
        number=4,
        purpose="Pruning: answers that are set aside before they are removed, and what removed attempts had used.",
        statements=(
            """CREATE TABLE set_aside (
                row_hash {blob} NOT NULL PRIMARY KEY, state TEXT NOT NULL, attempt_id {bigint}, reason TEXT,
                message TEXT NOT NULL, attempts INTEGER NOT NULL, via TEXT NOT NULL, model TEXT NOT NULL,
                cost_nano_usd {bigint}, created_at {real} NOT NULL, set_aside_at {real} NOT NULL) {clustered}""",
            """CREATE TABLE removed_attempts (
                day {bigint} NOT NULL, run_id TEXT NOT NULL, asset TEXT NOT NULL, "partition" TEXT NOT NULL,
                operator TEXT NOT NULL, model TEXT NOT NULL, attempts {bigint} NOT NULL, questions {bigint} NOT NULL,
                input_tokens {bigint} NOT NULL, cached_input_tokens {bigint} NOT NULL, output_tokens {bigint} NOT NULL,
                cost_nano_usd {bigint}, unknown_costs {bigint} NOT NULL, started_at {real} NOT NULL,
                ended_at {real} NOT NULL, PRIMARY KEY (day, run_id, asset, "partition", operator, model))""",
        ),
    ),
    Migration(
        number=5,
        purpose="What runs were expected to use, beside what they used; and a way to an operator's latest attempts.",
        statements=(
            """CREATE TABLE estimates (
                run_id TEXT NOT NULL, asset TEXT NOT NULL, "partition" TEXT NOT NULL,
                operator TEXT NOT NULL, model TEXT NOT NULL, "rows" {bigint} NOT NULL, store_hits {bigint} NOT NULL,
                calls {bigint} NOT NULL, calls_low {bigint} NOT NULL, calls_high {bigint} NOT NULL,
                input_tokens {bigint} NOT NULL, input_tokens_low {bigint} NOT NULL, input_tokens_high {bigint} NOT NULL,
                output_tokens {bigint} NOT NULL, output_tokens_low {bigint} NOT NULL,
                output_tokens_high {bigint} NOT NULL, cost_nano_usd {bigint}, cost_nano_usd_low {bigint},
                cost_nano_usd_high {bigint}, seconds {real} NOT NULL, made_at {real} NOT NULL,
                PRIMARY KEY (run_id, asset, "partition", operator, model))""",
            "CREATE INDEX attempts_of_operator ON attempts (operator, model, id)",
        ),
    ),
)
NEWEST = MIGRATIONS[-1].number

_SPELLINGS = {
    "sqlite": {
        "blob": "BLOB",
        "real": "DOUBLE",
        "bigint": "INTEGER",
        "clustered": "WITHOUT ROWID",
        "day": "strftime('%Y-%m-%d', started_at, 'unixepoch')",
    },
    "postgresql": {
        "blob": "BYTEA",
        "real": "DOUBLE PRECISION",
        "bigint": "BIGINT",
        "clustered": "",
        "day": "to_char(to_timestamp(started_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
    },
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


def make_coordination_tables(connection: Connection) -> None:
    """Make the tables of a SQLite store's coordination file where they are not there yet.

    Nothing in that file is worth keeping for longer than its processes live, so another version's tables give way.

    Args:
        connection: A connection that holds the write lock.
    """
    version = zlib.crc32("\n".join(TABLES).encode()) & 0x7FFFFFFF
    if connection.exec_driver_sql("PRAGMA user_version").scalar_one() == version:
        return
    for name in inspect(connection).get_table_names():
        connection.exec_driver_sql(f'DROP TABLE "{name}"')
    for statement in TABLES:
        connection.exec_driver_sql(spelled(statement, connection))
    connection.exec_driver_sql(f"PRAGMA user_version = {version}")


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


def spelled(statement: str, connection: Connection) -> str:
    """SQL in the words of the connection's database."""
    return statement.format(**_SPELLINGS[connection.dialect.name])


def _apply(connection: Connection, step: Migration) -> None:
    extra = step.postgres if connection.dialect.name == "postgresql" else ()
    for statement in (*step.statements, *extra):
        connection.exec_driver_sql(spelled(statement, connection))
    connection.execute(
        insert_into(schema_version).values(number=step.number, purpose=step.purpose, applied_at=time.time())
    )
