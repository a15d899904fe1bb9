"""What happened to a store behind our back: damaged payloads, a deleted file, an address that is none."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infergraph.errors import ConfigurationError, StoreError, StoreLost
from infergraph.store import Store


def damage(path: Path, column: str, payload: bytes) -> None:
    with sqlite3.connect(path) as other:
        other.execute(f"UPDATE attempts SET {column} = ?", (payload,))
    other.close()


@pytest.mark.parametrize("payload", [b"z\x00\x01", b"t\xff\xfe", b"f\x00\x01", b""])
def test_a_damaged_response_names_the_store_the_attempt_and_the_way_out(
    tmp_path: Path, make: Any, payload: bytes
) -> None:
    path = tmp_path / "state.db"
    with Store.open(f"sqlite:///{path}") as store:
        store.record([], [make.answer(1)])
        damage(path, "response", payload)
        for read in (lambda: store.answers([make.row_hash(1)]), lambda: store.attempts_of(make.row_hash(1))):
            with pytest.raises(StoreError, match=r"state\.db is damaged: .* of attempt 1 .*DELETE FROM") as caught:
                read()
        with sqlite3.connect(path) as other:
            for statement in str(caught.value).partition("asked again: ")[2].removesuffix(".").split(";"):
                other.execute(statement)
        other.close()
        assert store.answers([make.row_hash(1)]) == {}
        store.record([], [make.answer(1)])
        assert list(store.answers([make.row_hash(1)])) == [make.row_hash(1)]


@pytest.mark.parametrize("payload", [b"z\x00", b"tno JSON", b"t[1, 2]", b't[["user"]]'])
def test_a_damaged_prompt(tmp_path: Path, make: Any, payload: bytes) -> None:
    path = tmp_path / "state.db"
    with Store.open(f"sqlite:///{path}") as store:
        store.record([], [make.answer(1)])
        damage(path, "prompt", payload)
        with pytest.raises(
            StoreError, match=r"state\.db is damaged: the prompt or response of attempt 1 cannot be read"
        ):
            store.attempts_of(make.row_hash(1))


@pytest.mark.parametrize("replaced", [True, False])
def test_a_store_that_is_deleted_while_open_says_so(tmp_path: Path, make: Any, replaced: bool) -> None:
    path = tmp_path / "state.db"
    with Store.open(f"sqlite:///{path}") as store:
        store.record([], [make.answer(1)])
        for rest in tmp_path.glob("state.db*"):
            rest.unlink()
        if replaced:
            Store.open(f"sqlite:///{path}").close()
        uses: list[Callable[[], object]] = [
            lambda: store.record([], [make.answer(2)]),
            lambda: store.answers([make.row_hash(1)]),
            lambda: store.record_usage([]),
        ]
        for use in uses:
            with pytest.raises(StoreError, match=r"state\.db was deleted or replaced while in use"):
                use()
        heard: list[object] = []
        store.writer.put(None, make.answer(3), heard.append)
        store.writer.flush()
        assert [type(failure) for failure in heard] == [StoreLost]


def test_a_file_that_goes_during_a_commit_is_noticed(tmp_path: Path, make: Any) -> None:
    from sqlalchemy import event

    path = tmp_path / "state.db"
    with Store.open(f"sqlite:///{path}") as store:

        @event.listens_for(store._open_engine(), "begin")
        def gone(_: object) -> None:
            path.rename(tmp_path / "elsewhere.db")

        with pytest.raises(StoreError, match="was deleted or replaced"):
            store.record([], [make.answer(1)])


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg//me:hunter22@host/db",
        "me:hunter22@host",
        "postgresql://me:hunter22@host:abc/db",
        "postgresql://me:hunt@hunter22@host:abc/db",
        "postgresql://host:abc/db?password=hunter22",
        "sqlite://me:hunter22@host",
    ],
)
def test_an_address_with_a_typo_keeps_its_password_to_itself(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"store='.*\*\*\*.*Write .*sqlite:///") as caught:
        Store.open(url)
    assert "hunter22" not in str(caught.value)


def test_a_password_in_the_query_is_not_shown() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(StoreError) as caught:
        Store.open("postgresql+psycopg://me@127.0.0.1:9/none?password=hunter22&connect_timeout=2")
    assert "127.0.0.1:9/none" in str(caught.value)
    assert "hunter22" not in str(caught.value)


def test_the_file_beside_the_store_may_be_deleted_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "state.db-coordination").write_bytes(b"no database at all" * 100)
    with Store.open(f"sqlite:///{tmp_path / 'state.db'}") as store:
        with pytest.raises(StoreError, match=r"state\.db-coordination is damaged.*delete it"):
            store.coordination()
        (tmp_path / "state.db-coordination").unlink()
        assert store.coordination().claim([bytes(16)]).held == set()


def test_an_option_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'timeot' is no option"):
        Store.open(f"sqlite:///{tmp_path / 'state.db'}?timeot=1")
