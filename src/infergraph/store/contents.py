"""What lies in a store: how many attempts and answers, of which models and assets, and how much room they take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, func, select

from infergraph.store.tables import answers, attempts, set_aside


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What lies in a store.

    Args:
        attempts: Requests that were sent and are still here.
        answers: Endings that look-ups find.
        set_aside: Endings on their way out.
        bytes_by_table: Bytes on disk by table, indexes included.
        bytes: Bytes of the database; with SQLite the files with all they hold, room that can be used again included.
        oldest: When the first of these attempts was sent, in seconds since 1970; ``None``: there is none.
        newest: When the last one was.
        groups: Attempts and bytes of prompts and responses by model and asset (``""``: none), the largest first.
    """

    attempts: int
    answers: int
    set_aside: int
    bytes_by_table: dict[str, int]
    bytes: int
    oldest: float | None
    newest: float | None
    groups: list[tuple[str, str, int, int]]


def contents(connection: Connection) -> Contents:
    """Count what lies in a store; reads all of it."""
    columns = attempts.c
    payload = func.sum(func.length(columns.prompt) + func.coalesce(func.length(columns.response), 0))
    asset = func.coalesce(columns.asset, "")
    grouped: Select[Any] = select(
        columns.model, asset, func.count(), payload, func.min(columns.started_at), func.max(columns.started_at)
    )
    rows = connection.execute(grouped.group_by(columns.model, asset).order_by(payload.desc())).all()
    sizes = _sizes(connection)
    return Contents(
        attempts=sum(int(row[2]) for row in rows),
        answers=int(connection.scalar(select(func.count()).select_from(answers)) or 0),
        set_aside=int(connection.scalar(select(func.count()).select_from(set_aside)) or 0),
        bytes_by_table=sizes,
        bytes=total_bytes(connection),
        oldest=min((float(row[4]) for row in rows), default=None),
        newest=max((float(row[5]) for row in rows), default=None),
        groups=[(row[0], row[1], int(row[2]), int(row[3])) for row in rows],
    )


def _sizes(connection: Connection) -> dict[str, int]:
    if connection.dialect.name == "postgresql":
        sql = (
            "SELECT relname, pg_total_relation_size(relid) FROM pg_stat_user_tables WHERE schemaname = current_schema()"
        )
    elif _has_dbstat(connection):
        sql = "SELECT m.tbl_name, sum(s.pgsize) FROM dbstat s JOIN sqlite_schema m ON m.name = s.name GROUP BY 1"
    else:
        return {}
    found = connection.exec_driver_sql(sql)
    return dict(sorted(((str(name), int(size)) for name, size in found), key=lambda item: -item[1]))


def _has_dbstat(connection: Connection) -> bool:
    # Not every build of SQLite can say what a table takes.
    options = connection.exec_driver_sql("PRAGMA compile_options").scalars()
    return "ENABLE_DBSTAT_VTAB" in set(options)


def total_bytes(connection: Connection) -> int:
    """Bytes of the database, room that holds nothing at the moment included."""
    if connection.dialect.name == "postgresql":
        return int(connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one())
    return _pages(connection, "page_count")


def reusable_bytes(connection: Connection) -> int:
    """Bytes of a SQLite file that hold nothing at the moment."""
    if connection.dialect.name != "sqlite":
        return 0
    pages, size = (
        connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("freelist_count", "page_size")
    )
    return int(pages) * int(size)


def _pages(connection: Connection, counted: str) -> int:
    pages, size = (connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in (counted, "page_size"))
    return int(pages) * int(size)
