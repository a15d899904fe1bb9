"""PDF documents in columns of bytes: their text layer, whole or page by page, and what they say of themselves.

A page that is a picture (a scan) has no text layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from infergraph.errors import PlanError
from infergraph.text import pdf_pages
from infergraph.text.pdf_pages import UnreadablePdf
from infergraph.text.row_wise import Column, column_of

PAGE = pl.Struct({"page": pl.Int64(), "text": pl.String()})
METADATA = pl.Struct(
    {
        "pages": pl.Int64(), "title": pl.String(), "author": pl.String(), "subject": pl.String(),
        "keywords": pl.String(), "creator": pl.String(), "producer": pl.String(), "created": pl.Datetime("us", "UTC"),
        "modified": pl.Datetime("us", "UTC"), "encrypted": pl.Boolean(), "error": pl.String(),
    }
)  # fmt: skip


def text(column: Column, *, separator: str = "\n\n") -> pl.Expr:
    r"""The text layer of each document.

    Args:
        column: A Binary column of PDF files, such as ``ig.read_documents(...)`` gives in ``bytes``.
        separator: What stands between pages; ``{page}`` in it is the number of the page that follows.

    Returns:
        A row-wise String expression; null where the file cannot be read (``metadata`` says why), and for null.

    Raises:
        PlanError: ``separator`` is no text; at run time, where the column holds no bytes.

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"file": [b"no PDF"]})
        >>> frame.select(ig.text.pdf.text("file")).item() is None
        True
    """
    where = "ig.text.pdf.text"
    if not isinstance(separator, str):
        raise PlanError(f"{where}: separator={separator!r}: write a text such as '\\n\\n' or '\\n--- {{page}} ---\\n'.")

    def joined(content: bytes) -> str:
        first, *others = pdf_pages.page_texts(content) or [""]
        return first + "".join(separator.replace("{page}", str(number)) + page for number, page in enumerate(others, 2))

    return _of_each_file(column, joined, pl.String(), where)


def pages(column: Column) -> pl.Expr:
    """The text layer of each document, page by page.

    Args:
        column: A Binary column of PDF files.

    Returns:
        A row-wise expression: a list of structs ``page`` (from 1) and ``text`` (empty for a page without text layer);
        null where the file cannot be read (``metadata`` says why), and for null.

    Raises:
        PlanError: At run time, where the column holds no bytes.

    Example:
        >>> import infergraph as ig
        >>> pl.DataFrame({"file": [None]}, schema={"file": pl.Binary}).select(ig.text.pdf.pages("file")).item() is None
        True
    """

    def listed(content: bytes) -> list[dict[str, Any]]:
        return [{"page": number, "text": page} for number, page in enumerate(pdf_pages.page_texts(content), 1)]

    return _of_each_file(column, listed, pl.List(PAGE), "ig.text.pdf.pages")


def metadata(column: Column) -> pl.Expr:
    """What each document says of itself, or why it cannot be read.

    Args:
        column: A Binary column of PDF files.

    Returns:
        A row-wise expression of structs (``METADATA``): ``pages``, ``title``, ``author``, ``subject``, ``keywords``,
        ``creator``, ``producer``, ``created`` and ``modified`` (UTC), ``encrypted`` (needs a password) and ``error``
        (null where the file can be read). What a document does not say is null. Null for null.

    Raises:
        PlanError: At run time, where the column holds no bytes.

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"file": [b"no PDF"]})
        >>> frame.select(ig.text.pdf.metadata("file").struct.field("error")).item()
        'the file is no PDF'
    """

    def said(content: bytes) -> dict[str, Any]:
        try:
            return {**pdf_pages.facts(content), "encrypted": False, "error": None}
        except UnreadablePdf as error:
            return {"encrypted": error.encrypted, "error": str(error)}

    return _of_each_file(column, said, METADATA, "ig.text.pdf.metadata")


def _of_each_file(column: Column, function: Callable[[bytes], Any], returns: pl.DataType, where: str) -> pl.Expr:
    def one(content: bytes | None) -> Any:
        try:
            return None if content is None else function(content)
        except UnreadablePdf:
            return None

    def batch(values: pl.Series) -> pl.Series:
        if values.dtype not in (pl.Binary, pl.Null):
            raise PlanError(
                f"{where}: the column {values.name!r} is {values.dtype}, not Binary: give the files' bytes, such as "
                "ig.read_documents(...) reads them."
            )
        return pl.Series(values.name, [one(content) for content in values], dtype=returns)

    return column_of(column, where).map_batches(batch, return_dtype=returns, is_elementwise=True)
