"""Rows that are finished before their turn, kept on disk until it comes.

Only a place to put them: when it is full, or the disk is, the rows stay in memory and the run waits instead.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Lock

import polars as pl

from infergraph.errors import ConfigurationError

SPILL_BYTES = 4 * 1024**3
"""So much of what rows take in memory may be on disk at once, and no more than half of what was free there."""


@dataclass(frozen=True, slots=True)
class Spilled:
    """Rows on disk."""

    path: Path
    bytes: int
    """What they take in memory."""


class Spill:
    """A folder of a run's finished rows; safe from several threads.

    Args:
        folder: Where it is made at the first use; it is this spill's alone.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._most = SPILL_BYTES
        self._bytes = 0
        self._numbers = count()
        self._lock = Lock()

    def keep(self, rows: pl.DataFrame) -> Spilled | None:
        """Put rows on disk; ``None``: there is no room, and they must stay in memory."""
        size = int(rows.estimated_size())
        kept = Spilled(self._folder / f"{next(self._numbers):06}.arrow", size)
        try:
            with self._lock:
                self._open()
                if self._bytes + size > self._most:
                    return None
                self._bytes += size
            rows.write_ipc(kept.path, compression="lz4")
        except OSError:
            # A disk that takes no more is no reason to stop: what would have gone there stays and is waited for.
            with self._lock:
                self._most = 0
            with suppress(OSError):
                kept.path.unlink()
            return None
        return kept

    def take(self, kept: Spilled) -> pl.DataFrame:
        """The rows back, once; their file is gone afterwards.

        Raises:
            ConfigurationError: The file cannot be read: somebody removed it, or the disk fails.
        """
        try:
            rows = pl.read_ipc(kept.path)
            kept.path.unlink()
        except OSError as error:
            raise ConfigurationError(
                f"Finished rows of this run cannot be read back from {self._folder}: {error}. Nothing was lost: "
                "run again, and the answers are taken from the store."
            ) from error
        with self._lock:
            self._bytes -= kept.bytes
        return rows

    def _open(self) -> None:
        if not self._folder.exists():
            self._folder.mkdir()
            self._most = min(self._most, shutil.disk_usage(self._folder).free // 2)

    def close(self) -> None:
        """Remove what nobody took."""
        shutil.rmtree(self._folder, ignore_errors=True)
