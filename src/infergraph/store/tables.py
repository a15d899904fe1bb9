"""The tables as the newest migration leaves them, for building queries; ``migrations`` is what makes them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Integer, LargeBinary, MetaData, Table, Text

metadata = MetaData()

schema_version = Table(
    "infergraph_schema",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("purpose", Text, nullable=False),
    Column("applied_at", Double, nullable=False),
)

prefixes = Table(
    "prefixes",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("messages", LargeBinary, nullable=False),
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("row_hash", LargeBinary, nullable=False),
    Column("request_hash", LargeBinary, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("status", Integer),
    Column("finish", Text),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_input_tokens", BigInteger, nullable=False),
    Column("cache_write_input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("cost_nano_usd", BigInteger),
    Column("model", Text, nullable=False),
    Column("answered_by", Text, nullable=False),
    Column("via", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("asset", Text),
    Column("partition", Text),
    Column("operator", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("response", LargeBinary),
    Column("prefix_hash", LargeBinary),
    Column("prompt", LargeBinary, nullable=False),
)

answers = Table(
    "answers",
    metadata,
    Column("row_hash", LargeBinary, primary_key=True),
    Column("state", Text, nullable=False),
    Column("attempt_id", BigInteger),
    Column("reason", Text),
    Column("message", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("via", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("cost_nano_usd", BigInteger),
    Column("created_at", Double, nullable=False),
)

usage = Table(
    "usage",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("asset", Text, primary_key=True),
    Column("partition", Text, primary_key=True),
    Column("operator", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("rows", BigInteger, nullable=False),
    Column("calls", BigInteger, nullable=False),
    Column("store_hits", BigInteger, nullable=False),
    Column("shared", BigInteger, nullable=False),
    Column("rejected", BigInteger, nullable=False),
    Column("rejected_before", BigInteger, nullable=False),
    Column("nulls", BigInteger, nullable=False),
    Column("pending", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_input_tokens", BigInteger, nullable=False),
    Column("cache_write_input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("cost_nano_usd", BigInteger),
    Column("saved_nano_usd", BigInteger),
    Column("seconds", Double, nullable=False),
    Column("started_at", Double, nullable=False),
)

estimates = Table(
    "estimates",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("asset", Text, primary_key=True),
    Column("partition", Text, primary_key=True),
    Column("operator", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("rows", BigInteger, nullable=False),
    Column("store_hits", BigInteger, nullable=False),
    Column("calls", BigInteger, nullable=False),
    Column("calls_low", BigInteger, nullable=False),
    Column("calls_high", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("input_tokens_low", BigInteger, nullable=False),
    Column("input_tokens_high", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("output_tokens_low", BigInteger, nullable=False),
    Column("output_tokens_high", BigInteger, nullable=False),
    Column("cost_nano_usd", BigInteger),
    Column("cost_nano_usd_low", BigInteger),
    Column("cost_nano_usd_high", BigInteger),
    Column("seconds", Double, nullable=False),
    Column("made_at", Double, nullable=False),
)
"""What a run was expected to do and use, keyed like ``usage``."""

learned = Table(
    "learned",
    metadata,
    Column("model", Text, primary_key=True),
    Column("asset", Text, primary_key=True),
    Column("operator", Text, primary_key=True),
    Column("answers", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("seconds", Double, nullable=False),
)

spending = Table(
    "spending",
    metadata,
    Column("day", Text, primary_key=True),
    Column("cost_nano_usd", BigInteger, nullable=False),
)
"""What the attempts that began on a day (UTC) cost together; known costs only."""

removed_attempts = Table(
    "removed_attempts",
    metadata,
    Column("day", BigInteger, primary_key=True, autoincrement=False),
    Column("run_id", Text, primary_key=True),
    Column("asset", Text, primary_key=True),
    Column("partition", Text, primary_key=True),
    Column("operator", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("attempts", BigInteger, nullable=False),
    Column("questions", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cost_nano_usd", BigInteger),
    Column("unknown_costs", BigInteger, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("ended_at", Double, nullable=False),
)
"""What attempts that were pruned used, by day (days since 1970, UTC) and the facts that usage is reported by."""

set_aside = Table(
    "set_aside",
    metadata,
    Column("row_hash", LargeBinary, primary_key=True),
    Column("state", Text, nullable=False),
    Column("attempt_id", BigInteger),
    Column("reason", Text),
    Column("message", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("via", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("cost_nano_usd", BigInteger),
    Column("created_at", Double, nullable=False),
    Column("set_aside_at", Double, nullable=False),
)
"""Answers on their way out: no look-up finds them; see ``pruning``."""
