"""What a user is told when the database cannot be used, and what survives when a process is killed."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, inspect, select
from sqlalchemy.exc import DBAPIError

from infergraph.errors import ConfigurationError, MissingExtra, StoreError
from infergraph.store import Store, connect, tables
from infergraph.store.migrations import MIGRATIONS, NEWEST


def _python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_migrations_are_numbered_without_gaps() -> None:
    assert [step.number for step in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))
    assert all(step.purpose.endswith(".") for step in MIGRATIONS)


def test_migrations_end_with_the_tables_that_queries_are_built_on(store: Store) -> None:
    engine = store._open_engine()
    made = inspect(engine)
    shared = set() if made.dialect.name == "sqlite" else {"processes", "joins", "claims", "quotas", "leases"}
    assert set(made.get_table_names()) == set(tables.metadata.tables) | shared
    for table in tables.metadata.sorted_tables:
        columns = {column["name"]: column["nullable"] for column in made.get_columns(table.name)}
        assert columns == {column.name: column.nullable for column in table.columns}
        keys = made.get_pk_constraint(table.name)["constrained_columns"]
        assert keys == [column.name for column in table.primary_key]


def test_processes_that_open_one_new_store_at_once_all_succeed(store_url: str) -> None:
    code = "import sys; from infergraph.store import Store; Store.open(sys.argv[1]).answers([bytes(16)]); print('fine')"
    processes = [_python(code, store_url) for _ in range(4)]
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert out == "fine\n", err
    with Store.open(store_url) as store, store._open_engine().connect() as connection:
        numbers = connection.scalars(select(tables.schema_version.c.number)).all()
    assert numbers == list(range(1, NEWEST + 1))


def test_a_store_of_a_newer_version_is_left_alone(store: Store, store_url: str) -> None:
    with connect.writing(store._open_engine()) as connection:
        connection.execute(tables.schema_version.insert().values(number=NEWEST + 1, purpose="later", applied_at=0.0))
    with pytest.raises(StoreError, match=f"newer Infergraph.*schema {NEWEST + 1}.*pip install -U"):
        Store.open(store_url)


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE invoices (id INTEGER)")
    other.close()
    with pytest.raises(StoreError, match=r"another program.*invoices"):
        Store.open(f"sqlite:///{path}")
    assert sqlite3.connect(path).execute("SELECT name FROM sqlite_master").fetchall() == [("invoices",)]


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_text("just some text, long enough to be looked at as a header " * 40)
    with pytest.raises(StoreError, match=r"state\.db is not a store"):
        Store.open(f"sqlite:///{path}")


def test_a_damaged_file(tmp_path: Path, make: Any) -> None:
    path = tmp_path / "state.db"
    with Store.open(f"sqlite:///{path}") as store:
        store.record([], [make.answer(number) for number in range(2000)])
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(os.urandom(path.stat().st_size - 8192))
    with pytest.raises(StoreError, match=r"damaged.*recover"), Store.open(f"sqlite:///{path}") as store:
        store.answers([make.row_hash(number) for number in range(2000)])


def test_a_folder_in_the_files_place(tmp_path: Path) -> None:
    (tmp_path / "state.db").mkdir()
    with pytest.raises(StoreError, match="cannot be opened"):
        Store.open("sqlite:///state.db", root=tmp_path)


def test_a_file_in_the_folders_place(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(StoreError, match="folder of the store"):
        Store.open("sqlite:///state/state.db", root=tmp_path)


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="needs user ids")
def test_a_folder_where_the_user_may_not_write(tmp_path: Path) -> None:
    """Root may write everywhere, so a child gives up its rights first."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and folder != Path(folder.anchor):
            folder.chmod(folder.stat().st_mode | 0o055)
    tmp_path.chmod(0o555)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        message = "no error"
        try:
            if os.getuid() == 0:
                os.setuid(65534)
            Store.open("sqlite:///state.db", root=tmp_path)
        except StoreError as error:
            message = str(error)
        finally:
            os.write(write, message.encode())
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as answer:
        text = answer.read()
    assert "no right to write" in text
    assert str(tmp_path / "state.db") in text


def test_a_full_disk(tmp_path: Path, make: Any) -> None:
    with Store.open("sqlite:///state.db", root=tmp_path) as store:

        @event.listens_for(store._open_engine(), "checkout")
        def no_more_pages(connection: Any, *_: object) -> None:
            connection.execute("PRAGMA max_page_count=1")

        with pytest.raises(StoreError, match=r"disk of the store .*state\.db is full"):
            store.record([], [make.answer(number, os.urandom(3000).hex()) for number in range(50)])


def test_a_locked_database(tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "BUSY_TIMEOUT_S", 0.1)
    with Store.open("sqlite:///state.db", root=tmp_path) as store:
        other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked by another program"):
            store.record([], [make.answer(1)])
        other.execute("ROLLBACK")
        store.record([], [make.answer(1)])
        other.close()


def test_a_server_that_is_not_there() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(StoreError, match="cannot be used") as caught:
        Store.open("postgresql+psycopg://me:hunter22@127.0.0.1:9/none")
    assert "hunter22" not in str(caught.value)
    assert isinstance(caught.value.__cause__, DBAPIError)


def test_a_missing_driver_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)  # what Python itself sees of a package that is not there
    with pytest.raises(MissingExtra, match=r"'psycopg'.*infergraph\[postgres\]"):
        Store.open("postgresql+psycopg://me:hunter22@host/none")


def test_the_address_of_another_kind_keeps_its_password_to_itself() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Store.open("mysql://me:hunter22@host/db")
    assert "hunter22" not in str(caught.value)


WRITE_UNTIL_KILLED = """
import sys
from infergraph.models.model import Message, Request, Response
from infergraph.store import Answer, Attempt, Store

store = Store.open(sys.argv[1])
for number in range(1_000_000):
    row = number.to_bytes(16, "big")
    attempt = Attempt(row_hash=row, request_hash=row, run_id="r", operator="o", model="m:m", started_at=0.0,
                      seconds=0.0, outcome="done", request=Request(messages=(Message("user", "x" * 500),)),
                      response=Response(text="y"))
    answer = Answer(row_hash=row, state="done", attempt=attempt)
    def acknowledge(failure, number=number):
        assert failure is None
        print(number, flush=True)
    store.writer.put(None, answer, acknowledge)
"""


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path: Path, make: Any) -> None:
    url = f"sqlite:///{tmp_path / 'state.db'}"
    process = _python(WRITE_UNTIL_KILLED, url)
    assert process.stdout is not None
    acknowledged = [int(process.stdout.readline()) for _ in range(1500)]
    process.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in process.stdout.read().splitlines()[:-1]]
    assert process.wait(timeout=30) == -signal.SIGKILL
    with Store.open(url) as store:
        found = store.answers([make.row_hash(number) for number in acknowledged])
        assert len(found) == len(acknowledged)
        assert all(answer.response is not None and answer.response.text == "y" for answer in found.values())
        with store._open_engine().connect() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"


def test_a_forked_child_uses_connections_of_its_own(store: Store, make: Any) -> None:
    store.record([], [make.answer(1)])
    child = os.fork()
    if child == 0:
        status = 1
        try:
            written = threading.Event()
            store.writer.put(None, make.answer(2), lambda _: written.set())
            if written.wait(20) and len(store.answers([make.row_hash(1), make.row_hash(2)])) == 2:
                status = 0
        finally:
            os._exit(status)
    store.record([], [make.answer(3)])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(store.answers([make.row_hash(number) for number in (1, 2, 3)])) == 3


def test_what_was_queued_is_committed_when_the_interpreter_ends(tmp_path: Path, make: Any) -> None:
    code = WRITE_UNTIL_KILLED.replace("1_000_000", "300").replace("print(number, flush=True)", "pass")
    url = f"sqlite:///{tmp_path / 'state.db'}"
    process = _python(code, url)
    assert process.wait(timeout=30) == 0, process.communicate()[1]
    with Store.open(url) as store:
        assert len(store.answers([make.row_hash(number) for number in range(300)])) == 300
