"""For all tests: signals as a terminal gives them, examples without a clock, a look into all that a folder holds."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, settings


def pytest_configure() -> None:
    # A test run that was started in the background ignores Ctrl-C and the closing of its terminal, and so would every
    # program that the tests start and then stop in these ways.
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)
    # How long an example takes is the machine's affair: a busy one makes no test fail.
    settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def contents_of() -> Callable[[Path], list[tuple[str, bytes]]]:
    """Gives name and content of every file below a folder; what databases and Parquet files pack is unpacked too."""
    return lambda folder: list(_contents(folder))


def _contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every file below a folder, packed things unpacked."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        yield str(path), path.read_bytes()
        if path.suffix == ".parquet":
            yield f"{path} (rows)", pl.read_parquet(path).write_json().encode()
        elif path.read_bytes()[:15] == b"SQLite format 3":
            yield from (((f"{path} (cells)", cell)) for cell in _cells(path))


def _cells(path: Path) -> Iterator[bytes]:
    with contextlib.closing(sqlite3.connect(path)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for row in database.execute(f'SELECT * FROM "{table}"'):
                for cell in row:
                    data = cell if isinstance(cell, bytes) else str(cell).encode("utf-8", "surrogatepass")
                    yield data
                    with contextlib.suppress(zlib.error):
                        yield zlib.decompress(data[1:] if data[:1] == b"z" else data)
