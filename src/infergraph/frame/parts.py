"""A Parquet file that grows while a run goes on: parts first, one file at the end, which may outlive the run."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock

import polars as pl
from polars.io.plugins import register_io_source

_PART_ROWS = 50_000
# Polars holds a row group in memory until it is whole, then as columns and packed: of documents of some kilobytes its
# own size would be hundreds of megabytes.
ROW_GROUP_ROWS = 16_384
_LEVEL = 1
"""Of ids and hashes zstd's lowest level makes files as small as its usual one, in half the time."""


class PartsFile:
    """Collects small frames in bounded memory.

    Args:
        folder: Where the parts and the file go; it exists.
        name: The file's name without ``.parquet``.
        schema: The file's columns; frames may lack some, which become null.
        once_by: Columns that name a row: of rows with the same name the first is kept; empty: all are.
        hidden: Columns that frames may have beside the file's, of which some are in ``once_by``.
        part_rows: Rows that are held in memory before they become a part.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        schema: pl.Schema,
        once_by: Sequence[str] = (),
        *,
        hidden: Mapping[str, pl.DataType] | None = None,
        part_rows: int = _PART_ROWS,
    ) -> None:
        self._once_by = list(once_by)
        self._part_rows = part_rows
        self._folder = folder
        self._name = name
        self.schema = schema
        """The file's columns."""
        named = {column: dtype for column, dtype in (hidden or {}).items() if column in once_by}
        self._kept = pl.Schema({**schema, **named})
        self._lock = Lock()
        self._waiting: list[pl.DataFrame] = []
        self._waiting_rows = 0
        self._parts: list[Path] = []

    def add(self, rows: pl.DataFrame) -> None:
        """Take in more rows; safe from several threads."""
        with self._lock:
            self._waiting.append(rows)
            self._waiting_rows += rows.height
            if self._waiting_rows >= self._part_rows:
                self._write_part()

    def finish(self) -> Path:
        """Put the parts and what is left together and return the file."""
        with self._lock:
            path = self._folder / f"{self._name}.parquet"
            rows = self._rows()
            if self._once_by:
                rows = rows.unique(self._once_by, keep="first", maintain_order=True).select(self.schema.names())
            rows.sink_parquet(path, compression_level=_LEVEL, row_group_size=ROW_GROUP_ROWS, statistics=False)
            for part in self._parts:
                part.unlink()
            self._parts.clear()
            self._waiting.clear()
            self._waiting_rows = 0
            return path

    def _rows(self) -> pl.LazyFrame:
        """All rows, those of the parts first."""
        frames = [pl.scan_ipc(self._parts, glob=False)] if self._parts else []
        return pl.concat([*frames, self._together().lazy()])

    def _together(self) -> pl.DataFrame:
        """The waiting rows with all of the file's columns, and those that name a row."""
        rows = pl.concat([pl.DataFrame(schema=self._kept), *self._waiting], how="diagonal")
        return rows.select(self._kept.names())

    def _write_part(self) -> None:
        # Packed once, at the end: a part is read once, soon, and from the page cache.
        part = self._folder / f"{self._name}-{len(self._parts):05}.part"
        self._together().write_ipc(part)
        self._parts.append(part)
        self._waiting.clear()
        self._waiting_rows = 0


def kept_while_read(file: PartsFile) -> pl.LazyFrame:
    """The finished file as a lazy frame that owns it.

    The file lies in a temporary folder that is removed when neither the frame nor any frame made of it is left, or
    when the process ends.

    Args:
        file: All its rows are in.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = PartsFile(Path(folder), "rejects", pl.Schema({"row_id": pl.String()}))
        ...     file.add(pl.DataFrame({"row_id": ["a", "b"]}))
        ...     rejects = kept_while_read(file)
        >>> rejects.filter(pl.col("row_id") == "b").collect().height
        1
    """
    written = file.finish()
    folder = tempfile.TemporaryDirectory(prefix="infergraph-rejects-", ignore_cleanup_errors=True)
    shutil.move(written, folder.name)

    def read(
        wanted: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        # The lazy frame holds this function, and with it the folder.
        rows = pl.scan_parquet(Path(folder.name) / written.name, glob=False)
        rows = rows if n_rows is None else rows.head(n_rows)
        rows = rows if predicate is None else rows.filter(predicate)
        rows = rows if wanted is None else rows.select(wanted)
        yield from rows.collect_batches(chunk_size=batch_size, maintain_order=True, engine="streaming")

    return register_io_source(read, schema=file.schema, explain_name=f"{written.stem} of a run")
