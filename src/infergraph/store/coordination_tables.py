"""The tables of ``coordination``; SQL as in ``migrations``."""

from __future__ import annotations

TABLES = (
    """CREATE TABLE processes (
        id TEXT NOT NULL PRIMARY KEY, beat {bigint} NOT NULL, machine TEXT NOT NULL, pid {bigint} NOT NULL,
        born TEXT NOT NULL)""",
    "CREATE TABLE joins (one INTEGER NOT NULL PRIMARY KEY, number {bigint} NOT NULL)",
    "INSERT INTO joins VALUES (1, 0)",
    "CREATE TABLE claims (hash {blob} NOT NULL PRIMARY KEY, process TEXT NOT NULL) {clustered}",
    """CREATE TABLE quotas (
        name TEXT NOT NULL, kind TEXT NOT NULL, next_at {real} NOT NULL, seen_at {real} NOT NULL,
        PRIMARY KEY (name, kind))""",
    """CREATE TABLE leases (
        name TEXT NOT NULL, kind TEXT NOT NULL, process TEXT NOT NULL, amount {bigint} NOT NULL,
        wanted {bigint} NOT NULL, PRIMARY KEY (name, kind, process))""",
)
"""What makes the tables; in a SQLite file of their own, or in the store's PostgreSQL database."""
