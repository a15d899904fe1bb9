"""Key columns as they were in the source, carried hidden through a plan: rejects name their rows by them.

Whatever a plan renames, casts or drops, the hidden column keeps what the source had. Polars leaves it out
wherever no operator below reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

KEY_PREFIX = "__key:"


def hidden_key(name: str) -> str:
    """The hidden column for a key column of this name."""
    return KEY_PREFIX + name


def source_keys(own: Sequence[str], keys: Mapping[str, pl.DataType]) -> list[pl.Expr]:
    """A source's hidden keys; those that other sources of the plan have are null.

    Args:
        own: The source's key columns.
        keys: Key columns of all sources, with the types that they have in the rejects.
    """
    return [
        (pl.col(name).cast(dtype, strict=False) if name in own else pl.lit(None, dtype)).alias(hidden_key(name))
        for name, dtype in keys.items()
    ]


def group_key(name: str) -> pl.Expr:
    """A group's hidden key: its rows' own where they have one in common, else null."""
    return pl.when(pl.col(name).n_unique() == 1).then(pl.col(name).first()).alias(name)


def joined_keys(hidden: Sequence[str], carried: Mapping[str, str]) -> list[pl.Expr]:
    """A join's hidden keys: the left row's, and where it has none the right row's; ``carried`` names the right ones."""
    return [pl.coalesce(name, carried[name]) for name in hidden if name.startswith(KEY_PREFIX)]


def renumbered_keys(hidden: Sequence[str], before: pl.Schema, after: pl.Schema) -> list[pl.Expr]:
    """Hidden keys of rows that cannot be followed: the column of the key's name and type, where there is one."""
    made: list[pl.Expr] = []
    for name in hidden:
        if name.startswith(KEY_PREFIX):
            key = name.removeprefix(KEY_PREFIX)
            found = pl.col(key) if after.get(key) == before[name] else pl.lit(None, before[name])
            made.append(found.alias(name))
    return made
