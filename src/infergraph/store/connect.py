"""Opens a database and says in one sentence what to do when that, or anything after it, fails."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from infergraph.errors import ConfigurationError, MissingExtra, StoreError, StoreLost
from infergraph.models.redact import Secret, redact_address
from infergraph.store.migrations import make_coordination_tables, migrate

BUSY_TIMEOUT_S = 30.0
"""How long a lock of another program is waited for, where the address does not say ``?timeout=SECONDS``."""
_HOPELESS_S = 5.0
_SHORT_WAIT_S = 0.1
_FORMS = "sqlite:///path/to/state.db (a file) or postgresql+psycopg://user@host/database (a shared server)"


_COORDINATION = "-coordination"


def resolve(url: str | Secret, root: Path | None = None) -> URL:
    """The database's full address: relative SQLite paths are taken from ``root``.

    Args:
        url: ``sqlite:///...`` or ``postgresql+psycopg://...``.
        root: Folder that relative paths start from; ``None``: the current one.

    Returns:
        The address with driver and absolute path.

    Raises:
        ConfigurationError: Another kind of database, or none.

    Example:
        >>> str(resolve("sqlite:///state.db", Path("/data")))
        'sqlite:////data/state.db'
    """
    # A traceback that shows variables shows no text of a Secret, and of an address all but the password.
    secret, url = Secret.of(url), ""
    try:
        parsed = make_url(secret.reveal())
    except (ArgumentError, ValueError):  # a ValueError where the port is no number
        given = redact_address(secret.reveal())
        raise ConfigurationError(f"store={given!r} is no address of a store. Write {_FORMS}.") from None
    problem = _refused(parsed, secret)
    if problem is not None:
        del parsed
        raise ConfigurationError(problem)
    if parsed.get_backend_name() == "postgresql":
        return _password_in_its_place(parsed.set(drivername="postgresql+psycopg"))
    path = Path(str(parsed.database)).expanduser()
    return parsed.set(drivername="sqlite", database=str((root or Path.cwd()) / path))


def _refused(parsed: URL, given: Secret) -> str | None:
    """Why an address is none of a store; ``None``: it is one."""
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        return None
    if backend != "sqlite":
        return f"store: {parsed.drivername!r} is not supported. Write {_FORMS}."
    if not parsed.database or parsed.database == ":memory:" or parsed.database.startswith("file:"):
        return (
            f"store={redact_address(given.reveal())!r}: the store is a file, since answers must outlive the process. "
            "Write for example store='sqlite:///.infergraph/state.db'."
        )
    if unknown := set(parsed.query) - {"timeout"}:
        return (
            f"store: {sorted(unknown)[0]!r} is no option of a SQLite store. The only one is timeout, in seconds: "
            "sqlite:///state.db?timeout=60."
        )
    return None


def _password_in_its_place(url: URL) -> URL:
    """A password of the query as the address' own, which SQLAlchemy never shows."""
    password = url.query.get("password")
    if password is None:
        return url
    own = password if isinstance(password, str) else password[-1]
    return url.set(password=own).difference_update_query(["password"])


def shown(url: URL) -> str:
    """The database's name for messages: a path, or an address without its password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    # A password may stand in the query as well.
    return url.set(query={}).render_as_string(hide_password=True)


def open_engine(url: URL) -> Engine:
    """A pool of connections to a database that is there, reachable and up to date.

    Args:
        url: As ``resolve`` gives it.

    Raises:
        MissingExtra: PostgreSQL without its driver.
        StoreError: Not reachable, not writable, damaged, another program's or too new.
    """
    where = shown(url)
    if url.get_backend_name() == "sqlite":
        _make_folder(Path(str(url.database)), where)
    engine = _engine(url)
    try:
        with explained(where):
            if engine.dialect.name == "sqlite":
                _use_wal(engine)
            with writing(engine) as connection:
                migrate(connection, where)
    except BaseException:
        engine.dispose()
        raise
    return engine


def open_coordination(url: URL, engine: Engine) -> Engine:
    """A pool of connections to the tables that processes coordinate by: see ``coordination``.

    Args:
        url: The store's address, as ``resolve`` gives it.
        engine: The store's own pool, which serves PostgreSQL.

    Raises:
        StoreError: The file beside a SQLite store cannot be opened, written or understood.
    """
    if url.get_backend_name() != "sqlite":
        return engine
    beside = url.set(database=f"{url.database}{_COORDINATION}")
    made = _engine(beside, synchronous="OFF")
    try:
        with explained(shown(beside)):
            _use_wal(made)
            with writing(made) as connection:
                make_coordination_tables(connection)
    except BaseException:
        made.dispose()
        raise
    return made


def file_of(url: URL) -> tuple[int, int] | None:
    """Which file a SQLite address means now, whatever its name; ``None``: none, or another kind of database."""
    if url.get_backend_name() != "sqlite":
        return None
    try:
        found = Path(str(url.database)).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that holds SQLite's write lock from its start, so that it never has to be repeated."""
    with engine.connect().execution_options(write=True) as connection, connection.begin():
        yield connection


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Turns a database's failure into a ``StoreError`` that names the database and the next step."""
    try:
        yield
    except DBAPIError as failure:
        kind = StoreLost if _sqlite_name(failure).startswith(_LOST) else StoreError
        raise kind(_explanation(failure, where)) from _without_frames(failure)


def _without_frames(failure: DBAPIError) -> DBAPIError:
    """The failure and what it came from without their frames: the password is a variable in those of the driver."""
    link: BaseException | None = failure
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return failure


def _make_folder(path: Path, where: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as failure:
        raise StoreError(
            f"The folder of the store {where} cannot be made: {failure.strerror}. "
            "Choose another place with store='sqlite:///path/to/state.db'."
        ) from failure


def _engine(url: URL, synchronous: str = "FULL") -> Engine:
    # FULL: an answer that was paid for survives a power cut too; commits are grouped, so it costs little.
    if url.get_backend_name() == "sqlite":
        patience_s = _patience_s(url)
        engine = create_engine(url, connect_args={"timeout": patience_s}, pool_size=8, max_overflow=-1)
        event.listen(engine, "connect", partial(_set_up_sqlite, synchronous=synchronous))
        event.listen(engine, "begin", _Beginning(patience_s))
        return engine
    try:
        return create_engine(url, pool_pre_ping=True, pool_size=8, max_overflow=8)
    except ModuleNotFoundError as missing:
        raise MissingExtra(
            f"The store {shown(url)} needs the package {missing.name!r}: pip install 'infergraph[postgres]'."
        ) from missing


def _set_up_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry, *, synchronous: str) -> None:
    # Python's sqlite3 would begin transactions by itself, and as readers that cannot always become writers.
    connection.isolation_level = None
    connection.execute(f"PRAGMA synchronous={synchronous}")


class _Beginning:
    """Begins transactions; who has just waited for the write lock in vain does not wait as long a second time."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._hopeless_until = float("-inf")

    def __call__(self, connection: Connection) -> None:
        if not connection.get_execution_options().get("write"):
            connection.exec_driver_sql("BEGIN")
            return
        hopeless = time.monotonic() < self._hopeless_until
        wait_s = min(_SHORT_WAIT_S, self._patience_s) if hopeless else self._patience_s
        connection.exec_driver_sql(f"PRAGMA busy_timeout={int(wait_s * 1000)}")
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        except DBAPIError as failure:
            if _sqlite_name(failure).startswith("SQLITE_BUSY"):
                self._hopeless_until = time.monotonic() + _HOPELESS_S
            raise


def _patience_s(url: URL) -> float:
    """Seconds that a lock of another program is waited for."""
    given = url.query.get("timeout", str(BUSY_TIMEOUT_S))
    try:
        return max(0.0, float(str(given)))
    except ValueError:
        raise ConfigurationError(
            f"store: timeout={given!r} is no number of seconds. Write for example sqlite:///state.db?timeout=60."
        ) from None


def _use_wal(engine: Engine) -> None:
    """Switch to the write-ahead log; SQLite does not wait for the lock here, so we do."""
    give_up = time.monotonic() + _patience_s(engine.url)
    while True:
        try:
            with engine.connect() as connection:
                raw = connection.connection.cursor()
                raw.execute("PRAGMA journal_mode=WAL")
                raw.close()
            return
        except sqlite3.OperationalError as failure:
            if failure.sqlite_errorname not in _LOCKED or time.monotonic() > give_up:
                raise DBAPIError.instance("PRAGMA journal_mode=WAL", None, failure, sqlite3.Error) from failure
            time.sleep(0.05)


_LOCKED = ("SQLITE_BUSY", "SQLITE_BUSY_SNAPSHOT", "SQLITE_BUSY_RECOVERY", "SQLITE_LOCKED")


_LOST = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


def _sqlite_name(failure: DBAPIError) -> str:
    """SQLite's name of an error, such as ``SQLITE_BUSY``; empty with another database."""
    return getattr(failure.orig, "sqlite_errorname", None) or ""


def _explanation(failure: DBAPIError, where: str) -> str:
    cause, name = failure.orig, _sqlite_name(failure)
    if name.startswith(_LOST) and where.endswith(_COORDINATION):
        return f"The file {where} is damaged. Nothing in it is worth keeping: stop what uses the store, and delete it."
    first_line = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    for start, sentence in _SQLITE_SENTENCES.items():
        if name.startswith(start):
            return sentence.format(where=where)
    if name:
        return f"The store {where} failed: {first_line} ({name})."
    return f"The store {where} cannot be used: {first_line}. Check the server, the address and the user's rights."


_SQLITE_SENTENCES = {
    "SQLITE_BUSY": "The store {where} is locked by another program, and stayed so while this one waited. "
    "Close what has it open (a database browser, a stuck run), then run again.",
    "SQLITE_FULL": "The disk of the store {where} is full. Make room, then run again.",
    "SQLITE_CORRUPT": "The store {where} is damaged. Bring back a copy, or save what can be read with "
    "'sqlite3 FILE .recover'; or move the file away: answers are then asked again.",
    "SQLITE_NOTADB": "{where} is not a store: it is no SQLite database. Name another file, or move this one away.",
    "SQLITE_READONLY": "The store {where} cannot be written: its file or folder is read-only. "
    "Change the rights, or choose another place with store='sqlite:///path/to/state.db'.",
    "SQLITE_PERM": "The store {where} cannot be opened: this user has no right to.",
    "SQLITE_CANTOPEN": "The store {where} cannot be opened: is it a folder, or has this user no right to write there? "
    "Choose another place with store='sqlite:///path/to/state.db'.",
    "SQLITE_IOERR": "The disk of the store {where} failed to read or write. On a network folder use PostgreSQL, "
    "or a folder of this machine.",
    "SQLITE_PROTOCOL": "The store {where} cannot be locked. On a network folder use PostgreSQL, "
    "or a folder of this machine.",
}
