"""Every store test runs on a SQLite file, and on PostgreSQL where ``INFERGRAPH_TEST_POSTGRES`` names a server."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url

from infergraph.models.model import Message, Request, Response, Tokens
from infergraph.store import Answer, Attempt, Store

POSTGRES = os.environ.get("INFERGRAPH_TEST_POSTGRES")


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'state.db'}"
        return
    if POSTGRES is None:
        pytest.skip("INFERGRAPH_TEST_POSTGRES names no server")
    name = f"infergraph_{uuid.uuid4().hex}"
    admin = create_engine(make_url(POSTGRES), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield make_url(POSTGRES).set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    admin.dispose()


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with Store.open(store_url) as opened:
        yield opened


_TOKENS = Tokens(input=30, cached_input=10, output=20, reasoning=5)
_SYSTEM = Message("system", "Extract the facts. " * 30)


def _row_hash(number: int) -> bytes:
    return number.to_bytes(16, "big")


def _make_attempt(number: int, text: str = '{"a": 1}', **changes: Any) -> Attempt:
    values: dict[str, Any] = {
        "row_hash": _row_hash(number),
        "request_hash": _row_hash(number),
        "run_id": "run-1",
        "operator": "extract",
        "model": "scripted:x",
        "request": Request(messages=(_SYSTEM, Message("user", f"row {number}"))),
        "started_at": 1000.0 + number,
        "seconds": 0.5,
        "outcome": "done",
        "shared_messages": 1,
        "response": Response(
            text=text, tokens=Tokens(input=30, cached_input=10, output=20, reasoning=5), model_id="x-1"
        ),
        "cost_nano_usd": 7,
    }
    return Attempt(**{**values, **changes})


def _make_answer(number: int, text: str = '{"a": 1}', **changes: Any) -> Answer:
    values: dict[str, Any] = {
        "row_hash": _row_hash(number),
        "state": "done",
        "attempt": _make_attempt(number, text),
        "model": "scripted:x",
        "cost_nano_usd": 7,
    }
    return Answer(**{**values, **changes})


class Make:
    """Makes attempts and answers; numbers are rows."""

    attempt = staticmethod(_make_attempt)
    answer = staticmethod(_make_answer)
    row_hash = staticmethod(_row_hash)


@pytest.fixture
def make() -> Make:
    return Make()
