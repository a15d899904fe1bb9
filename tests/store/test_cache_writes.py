"""Tokens written into prompt caches are kept with the others; stores from before they were have none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import create_engine

from infergraph.models.model import Response, Tokens
from infergraph.store import Store, UsageRow
from infergraph.store.migrations import MIGRATIONS, _apply
from infergraph.store.tables import schema_version

TOKENS = Tokens(input=5000, cached_input=1000, cache_write_input=3000, output=20, reasoning=5)


def test_they_come_back(store: Store, make: Any) -> None:
    attempt = make.attempt(1, response=Response(text="{}", tokens=TOKENS, model_id="x-1"))
    store.record([attempt], [make.answer(2, attempt=attempt)])
    (stored,) = store.answers([make.row_hash(2)]).values()
    assert stored.response is not None
    assert stored.response.tokens == TOKENS
    assert [each.response.tokens for each in store.attempts_of(make.row_hash(1)) if each.response] == [TOKENS, TOKENS]
    assert store.spent()[0].tokens == TOKENS + TOKENS
    row = UsageRow(run_id="a", operator="extract", model="m", tokens=TOKENS)
    store.record_usage([row])
    store.record_usage([row])
    assert store.usage()[0].tokens == TOKENS + TOKENS


def test_an_older_store_is_brought_up_to_date(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    engine = create_engine(url)
    with engine.begin() as connection:
        schema_version.create(connection)
        for step in MIGRATIONS[:2]:
            _apply(connection, step)
        connection.exec_driver_sql(
            """INSERT INTO usage (run_id, asset, "partition", operator, model, "rows", calls, store_hits, shared,
                   rejected, rejected_before, nulls, pending, input_tokens, cached_input_tokens, output_tokens,
                   reasoning_tokens, cost_nano_usd, saved_nano_usd, seconds, started_at)
               VALUES ('a', '', '', 'extract', 'm', 1, 1, 0, 0, 0, 0, 0, 0, 5000, 1000, 20, 5, 7, 0, 1.0, 1.0)"""
        )
    engine.dispose()
    with Store.open(url) as store:
        assert store.usage()[0].tokens == Tokens(input=5000, cached_input=1000, output=20, reasoning=5)
