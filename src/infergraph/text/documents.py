"""Folders of documents as lazy frames: one row a file, read as the rows are wanted.

Polars asks for columns, conditions and a number of rows; a file's content is read only where its text or bytes are
wanted, so that listing a folder, or the first ten files of it, costs just that.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import takewhile
from os import PathLike
from pathlib import Path, PurePath
from stat import S_ISBLK, S_ISCHR, S_ISDIR, S_ISFIFO, S_ISSOCK
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import polars as pl
from polars.io.plugins import register_io_source

from infergraph.errors import PlanError

if TYPE_CHECKING:
    from upath import UPath

DOCUMENTS = pl.Schema(
    {
        "path": pl.String(), "name": pl.String(), "kind": pl.String(), "text": pl.String(), "bytes": pl.Binary(),
        "modified": pl.Datetime("us", "UTC"), "size": pl.Int64(), "error": pl.String(),
    }
)  # fmt: skip
_KINDS: dict[str, tuple[str, ...]] = {
    "text": ("txt", "text", "log", "rst", "org", "tex"),
    "markdown": ("md", "markdown", "mdown", "mkd"),
    "html": ("html", "htm", "xhtml"),
    "json": ("json", "jsonl", "ndjson", "geojson"),
    "transcript": ("srt", "vtt"),
    "table": ("csv", "tsv"),
    "xml": ("xml", "svg", "rss", "atom"),
    "email": ("eml",),
    "config": ("yaml", "yml", "toml", "ini", "cfg"),
    "code": ("py", "js", "ts", "java", "c", "h", "cpp", "rs", "go", "sql", "sh", "r", "rb", "css"),
    "pdf": ("pdf",),
    "image": ("png", "jpg", "jpeg", "gif", "webp", "tif", "tiff", "bmp"),
    "audio": ("mp3", "wav", "m4a", "flac", "ogg"),
    "video": ("mp4", "mov", "mkv", "webm"),
    "office": ("docx", "xlsx", "pptx", "odt", "ods", "odp", "doc", "xls", "ppt"),
    "archive": ("zip", "gz", "tar", "7z", "bz2", "xz", "zst"),
}
KIND_OF_SUFFIX = {suffix: kind for kind, suffixes in _KINDS.items() for suffix in suffixes}
_ALL = "**/*"
_BINARY = {"pdf", "image", "audio", "video", "office", "archive"}
_TRIES = 5
_BATCH_FILES, _BATCH_BYTES = 256, 32 * 2**20
# The mark of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip


def read_documents(
    path_or_url: str | Path | UPath,
    *,
    pattern: str = _ALL,
    encoding: str = "utf-8",
    max_bytes: int = 256 * 2**20,
    storage_options: Mapping[str, Any] | None = None,
) -> pl.LazyFrame:
    """The files of a folder as rows, read as they are wanted.

    Args:
        path_or_url: A folder or a single file, ``~`` for the home folder; any universal-pathlib URL (``s3://``,
            ``gs://``, ``zip://``...; in ``file://`` ``%20`` is a space). Of ``https://`` a single file: websites do not
            list theirs.
        pattern: Which files of the folder, as ``Path.glob`` reads it: ``**`` does not go into linked folders, and
            hidden files (``.name``) count only where the pattern names them.
        encoding: Of text files without a byte order mark.
        max_bytes: Larger files are not read, 1 or more.
        storage_options: What fsspec needs for that URL (endpoint, region, ``anon=True``...).

    Returns:
        A lazy frame (``DOCUMENTS``), one row a file, in the order of their paths: ``path``, ``name``, ``kind`` (by the
        ending: ``text markdown html json transcript table xml email config code pdf image audio video office archive``;
        ``other`` where there is none of these), ``text`` (of kinds that are text, and of others that hold UTF-8; else
        null), ``bytes`` (of those that are not), ``modified`` (UTC; null where the storage does not say; of ZIP files,
        which name no time zone, as if it were UTC), ``size`` in bytes, and ``error``: why a file could not be read,
        else null. A folder that may not be listed is a row with an error too. The folder is listed each time the frame
        is collected.

    Raises:
        PlanError: There is no such folder or file, a pattern or an option that cannot be.

    Example:
        >>> import tempfile, pathlib, infergraph as ig
        >>> folder = tempfile.TemporaryDirectory()
        >>> _ = pathlib.Path(folder.name, "tea.md").write_text("# Tea")
        >>> files = ig.read_documents(folder.name, pattern="*.md")
        >>> files.select("name", "kind", "text", "size", "error").collect().rows()
        [('tea.md', 'markdown', '# Tea', 5, None)]
        >>> folder.cleanup()
    """
    _check(pattern, encoding, max_bytes)
    if not isinstance(storage_options, Mapping | None):
        raise PlanError(
            f"{_WHERE}: storage_options={storage_options!r:.80}: write a dict, for example {{'anon': True}}."
        )
    base = _reached(path_or_url, dict(storage_options or {}), pattern)

    def read(
        wanted: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        columns = list(DOCUMENTS) if wanted is None else wanted
        conditions = set() if predicate is None else set(predicate.meta.root_names())
        content = not {"text", "bytes", "error"}.isdisjoint({*columns, *conditions})
        for rows in _batches(base, pattern, n_rows, encoding=encoding, max_bytes=max_bytes if content else 0):
            frame = pl.DataFrame(rows, schema=DOCUMENTS, orient="row")
            yield (frame if predicate is None else frame.filter(predicate)).select(columns)

    return register_io_source(read, schema=DOCUMENTS, explain_name=f"documents {base}")


_WHERE = "ig.read_documents"


def _check(pattern: str, encoding: str, max_bytes: int) -> None:
    if not isinstance(pattern, str) or not pattern or pattern.startswith("/"):
        raise PlanError(f"{_WHERE}: pattern={pattern!r}: write for example '*.md' or '**/*.pdf'.")
    if not PurePath(pattern).parts:
        raise PlanError(f"{_WHERE}: pattern={pattern!r} names no file; write for example '*.md' or '**/*.pdf'.")
    if any("**" in part and part != "**" for part in pattern.split("/")):
        raise PlanError(f"{_WHERE}: pattern={pattern!r}: '**' stands alone between slashes, as in '**/*.pdf'.")
    if type(max_bytes) is not int or max_bytes < 1:
        raise PlanError(f"{_WHERE}: max_bytes={max_bytes!r}: give a number of bytes, 1 or more.")
    try:
        b"x".decode(encoding)
    except UnicodeError:
        pass  # It needs more than a byte.
    except (LookupError, TypeError, ValueError):
        raise PlanError(
            f"{_WHERE}: encoding={encoding!r}: no text is written in one of that name; write for example 'latin-1'."
        ) from None


def _reached(path_or_url: str | Path | UPath, storage_options: dict[str, Any], pattern: str) -> UPath:
    """The folder or file, which is there."""
    from upath import UPath

    if not isinstance(path_or_url, (str, PathLike, UPath)) or not str(path_or_url):
        raise PlanError(f"{_WHERE}: a folder, a file or a URL is a text or a path, not {path_or_url!r:.80}.")
    try:
        base: UPath = UPath(_spelt_out(path_or_url), **storage_options)
        found = base.exists()
    except (OSError, ImportError, TypeError, ValueError, RuntimeError) as error:
        raise PlanError(f"{_WHERE}: {str(path_or_url)!r} cannot be reached: {error}") from error
    if not found:
        reached = "" if isinstance(base, PathLike) else ", or it cannot be reached"
        raise PlanError(f"{_WHERE}: there is no folder or file {str(base)!r}{reached}.")
    if base.protocol in ("http", "https") and pattern != _ALL:
        raise PlanError(
            f"{_WHERE}: pattern={pattern!r}: websites do not list their files, and {str(base)!r} is read as one. Leave "
            "the pattern out, and put the frames of several files together with pl.concat([...])."
        )
    return base


def _spelt_out(path_or_url: Any) -> Any:
    """``~`` as the home folder, and a ``file:`` URL's ``%20`` as the letter that it stands for."""
    if isinstance(path_or_url, str) and path_or_url.startswith("file:"):
        return unquote(path_or_url, errors="surrogateescape")
    return Path(path_or_url).expanduser() if str(path_or_url).startswith("~") else path_or_url


def _batches(
    base: UPath, pattern: str, n_rows: int | None, *, encoding: str, max_bytes: int
) -> Iterator[list[tuple[Any, ...]]]:
    """Rows, some at a time: so many files, or so many bytes, whatever comes first."""
    rows: list[tuple[Any, ...]] = []
    size = 0
    for number, path in enumerate(_files(base, pattern)):
        if n_rows is not None and number >= n_rows:
            break
        row = _row(path, encoding, max_bytes)
        rows.append(row)
        size += row[6] or 0
        if len(rows) >= _BATCH_FILES or size >= _BATCH_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def _files(base: UPath, pattern: str) -> list[UPath]:
    if base.is_file() or not base.is_dir():
        return [base]
    hidden = any(part.startswith(".") for part in pattern.split("/"))
    found = (path for path in _matching(base, pattern) if hidden or not _is_hidden(path, base))
    # A link to nowhere is no folder either, and has to be told of.
    files = (path for path in found if not path.is_dir())
    return sorted((*files, *_unlisted(base, pattern, hidden=hidden)), key=str)


def _matching(base: UPath, pattern: str) -> list[UPath]:
    for _ in range(_TRIES):
        try:
            return list(base.glob(pattern))
        except FileNotFoundError as error:  # A folder went away between its folder's listing and its own.
            gone = error
    raise PlanError(f"{_WHERE}: folders of {str(base)!r} go away while they are listed: {gone}. Try again.")


def _unlisted(base: UPath, pattern: str, *, hidden: bool) -> Iterator[UPath]:
    """The folders that ``glob`` leaves out without a word, because this user may not list them."""
    if not isinstance(base, PathLike):
        return
    fixed = takewhile(lambda part: not any(sign in part for sign in "*?["), pattern.split("/")[:-1])
    root: str = os.fspath(base)
    failed: list[OSError] = []
    for _, folders, _ in os.walk(Path(root, *fixed), onerror=failed.append):
        folders[:] = [name for name in folders if "**" in pattern and (hidden or not name.startswith("."))]
    denied = (error.filename for error in failed if isinstance(error, PermissionError))
    yield from (base / os.path.relpath(folder, root) for folder in denied)


def _is_hidden(path: UPath, base: UPath) -> bool:
    below = str(path)[len(str(base)) :]
    return any(part.startswith(".") for part in below.replace("\\", "/").split("/"))


def _row(path: UPath, encoding: str, max_bytes: int) -> tuple[Any, ...]:
    """One file as a row; ``max_bytes`` of 0: its content is not wanted."""
    kind = KIND_OF_SUFFIX.get(path.suffix.lower().removeprefix("."), "other")
    size, modified, error = _stat(path)
    text: str | None = None
    content: bytes | None = None
    if max_bytes and error is None:
        if size is not None and size > max_bytes:
            error = f"too large: {size:,} bytes, at most {max_bytes:,} are read (max_bytes=)"
        else:
            text, content, error = _content(path, kind, encoding)
            size = size if size is not None or content is None else len(content)
    return _shown(str(path)), _shown(path.name), kind, text, content, modified, size, error


def _shown(name: str) -> str:
    r"""A name as text: bytes that are no UTF-8, which Linux lets stand in it, as ``\xff``."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _stat(path: UPath) -> tuple[int | None, datetime | None, str | None]:
    try:
        said = path.stat()
    except OSError as error:
        return None, None, _why(error)
    if any(special(getattr(said, "st_mode", 0)) for special in (S_ISFIFO, S_ISSOCK, S_ISCHR, S_ISBLK)):
        # Reading a pipe waits for somebody who writes.
        return None, None, "cannot be read: a pipe, socket or device, no file"
    if S_ISDIR(getattr(said, "st_mode", 0)):
        return None, None, "cannot be listed: a folder without permission"
    return said.st_size, _modified(path, said), None


def _modified(path: UPath, said: Any) -> datetime | None:
    """When a file was changed, also where the storage says so in words of its own."""
    if modified := getattr(said, "st_mtime", 0):
        return datetime.fromtimestamp(modified, UTC)
    if path.protocol == "memory":
        changed: datetime = path.fs.modified(path.path)
        return changed
    written = said.as_info().get("date_time") if hasattr(said, "as_info") else None
    try:
        return None if written is None else datetime(*written).replace(tzinfo=UTC)
    except (TypeError, ValueError):  # ZIP files can hold a month 0.
        return None


def _content(path: UPath, kind: str, encoding: str) -> tuple[str | None, bytes | None, str | None]:
    """Text or bytes of a file, and why there is none."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return None, None, _why(error)
    if kind in _BINARY:
        return None, data, None
    named = next((name for mark, name in _MARKS if data.startswith(mark)), encoding)
    try:
        text = data.decode(named)
        if not text.isascii() and not named.startswith("utf-8"):
            text.encode()  # Halves of surrogate pairs, which some encodings can write, are no text.
    except UnicodeError as error:
        if kind == "other":
            return None, data, None
        where = f": byte {error.start:,} cannot be read" if isinstance(error, UnicodeDecodeError) else ""
        return None, data, f"not {named}{where} (encoding=)"
    return text, None, None


def _why(error: OSError) -> str:
    return f"cannot be read: {error.strerror or error.__class__.__name__}"
