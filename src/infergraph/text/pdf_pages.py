"""Opens PDF documents and reads their pages (the library pypdfium2, which is Chromium's PDFium).

PDFium keeps one state for the whole process and may be used by one thread at a time, so that everything here holds one
lock.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from infergraph.text.pdf_letters import HYPHEN, letters_of

_LOCK = threading.Lock()
_WRONG_PASSWORD, _UNKNOWN_SECURITY = 4, 5
_AT_ONCE = 64
"""Pages; other threads get at PDFium in between."""
_STAMP = 100
"""Characters: a page of fewer under a picture may be a scan that got a stamp, a number or a watermark."""
_DATE = re.compile(r"^(?:D:)?(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:([+\-Zz])(\d\d)?'?(\d\d)?)?")


class UnreadablePdf(Exception):
    """A document that cannot be opened; the message says why."""

    def __init__(self, message: str, *, encrypted: bool = False) -> None:
        super().__init__(message)
        self.encrypted = encrypted


@contextmanager
def opened(content: bytes) -> Iterator[Any]:
    """The document, for as long as the block runs; no other thread reads a PDF meanwhile.

    Args:
        content: The file's bytes.

    Raises:
        UnreadablePdf: It is broken, encrypted with a password, or no PDF.
    """
    import pypdfium2

    with _LOCK:
        if not content:
            raise UnreadablePdf("the file is empty")
        try:
            document = pypdfium2.PdfDocument(content)
        except pypdfium2.PdfiumError as error:
            code = getattr(error, "err_code", None)
            if code in (_WRONG_PASSWORD, _UNKNOWN_SECURITY):
                raise UnreadablePdf("the file is encrypted and needs a password", encrypted=True) from error
            said = "the file is no PDF" if b"%PDF" not in content[:1024] else "the file is broken and cannot be opened"
            raise UnreadablePdf(said) from error
        try:
            yield document
        finally:
            document.close()


@dataclass(frozen=True, slots=True)
class Page:
    """What is known of a page without drawing it."""

    number: int
    """From 1."""
    text: str
    """Its text layer, ``""`` where it has none (a scan)."""
    width: float
    """Points (1/72 inch), as it is looked at."""
    height: float
    blank: bool
    """Nothing at all is on it: no text, picture, line or annotation."""
    picture: bool = False
    """Pictures cover most of it, and its text layer has next to nothing: a scan with a stamp or a number on it."""
    filled_in: bool = False
    """Some of its text stands in fields of a form, in notes or in stamps."""

    @property
    def to_be_looked_at(self) -> bool:
        """Its text layer does not say what is on it."""
        return self.picture or not (self.blank or self.text.strip())


def page_texts(content: bytes) -> list[str]:
    """The text layer of each page, ``""`` for a page without one (a scan).

    Args:
        content: The file's bytes.

    Raises:
        UnreadablePdf: It cannot be opened, or one of its pages cannot be read.
    """
    return [page.text for page in pages_of(content)]


def pages_of(content: bytes) -> list[Page]:
    """All pages of a document.

    Args:
        content: The file's bytes.

    Raises:
        UnreadablePdf: It cannot be opened, or one of its pages cannot be read.
    """
    pages: list[Page] = []
    while True:
        with opened(content) as document:
            count = len(document)
            pages += [_page(document, number) for number in range(len(pages) + 1, count + 1)[:_AT_ONCE]]
        if len(pages) == count:
            return pages


@contextmanager
def sheet(document: Any, number: int, *, filled_in: bool = False) -> Iterator[tuple[Any, Any]]:
    """A page and its text layer, for as long as the block runs.

    Args:
        document: As ``opened`` gives it.
        number: The page's, from 1.
        filled_in: Whether what stands in the fields of forms, in notes and in stamps is to be in the text layer: it is
            to be seen on the page, but no part of it.
    """
    from pypdfium2 import raw

    if filled_in:
        document.init_forms()  # it draws the fields that have no picture of what stands in them
        page = document[number - 1]
        raw.FPDFPage_Flatten(page, raw.FLAT_NORMALDISPLAY)
        page.close()
    page = document[number - 1]
    try:
        layer = page.get_textpage()
        try:
            yield page, layer
        finally:
            layer.close()
    finally:
        page.close()


def _page(document: Any, number: int) -> Page:
    import pypdfium2

    try:
        with sheet(document, number) as (page, layer):
            text = printed = _text_of(page, layer)
            width, height = page.get_size()
            blank = not text.strip() and _is_blank(page)
            picture, filled_in = _is_picture(page, text), _is_filled_in(page)
        if filled_in:
            with sheet(document, number, filled_in=True) as (page, layer):
                text = _text_of(page, layer)
                # What was written into a form that is a picture does not say what the form asks.
                picture = picture or bool(text.strip() and not printed.strip())
    except pypdfium2.PdfiumError as error:
        raise UnreadablePdf(f"page {number} is broken and cannot be read") from error
    return Page(number, text, width, height, blank, picture, filled_in)


def _text_of(page: Any, layer: Any) -> str:
    """What PDFium has within a page, if it is the same as it has of all; it glues words of different columns there.

    Otherwise, and where something stands outside of the page, character by character, which takes ten times as long.
    """
    within, whole = layer.get_text_bounded(), layer.get_text_range()
    if within.count("\x02") == whole.count("\ufffe"):
        within = within.replace("\x02", "\ufffe")  # it has two names for a hyphen at the end of a line
    if within.split() == whole.split():
        return cleaned(within)
    return cleaned("".join(letter.char for letter in letters_of(page, layer)))


def _is_blank(page: Any) -> bool:
    from pypdfium2 import raw

    return not raw.FPDFPage_CountObjects(page) and not raw.FPDFPage_GetAnnotCount(page)


def _is_filled_in(page: Any) -> bool:
    from pypdfium2 import raw

    kinds = {raw.FPDF_ANNOT_WIDGET, raw.FPDF_ANNOT_FREETEXT, raw.FPDF_ANNOT_STAMP}
    for at in range(raw.FPDFPage_GetAnnotCount(page)):
        note = raw.FPDFPage_GetAnnot(page, at)
        kind = raw.FPDFAnnot_GetSubtype(note)
        raw.FPDFPage_CloseAnnot(note)
        if kind in kinds:
            return True
    return False


def _is_picture(page: Any, text: str) -> bool:
    letters = sum(len(word) for word in text.split())
    if not letters or letters >= _STAMP:
        return False
    from pypdfium2 import raw

    left, bottom, right, top = page.get_bbox()
    found = page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=2)
    # Inside a form, places are the form's own.
    boxes = {(picture.container or picture).get_bounds() for picture in found}
    covered = sum(
        max(min(x1, right) - max(x0, left), 0) * max(min(y1, top) - max(y0, bottom), 0) for x0, y0, x1, y1 in boxes
    )
    return bool(covered > abs((right - left) * (top - bottom)) / 2)


def facts(content: bytes) -> dict[str, Any]:
    """What a document says of itself; see ``pdf.METADATA``.

    Args:
        content: The file's bytes.

    Raises:
        UnreadablePdf: It cannot be opened.
    """
    with opened(content) as document:
        said = {name.lower(): cleaned(value) or None for name, value in document.get_metadata_dict().items()}
        names = ("title", "author", "subject", "keywords", "creator", "producer")
        return {
            "pages": len(document),
            **{name: said.get(name) for name in names},
            "created": date_of(said.get("creationdate")),
            "modified": date_of(said.get("moddate")),
        }


def date_of(text: str | None) -> datetime | None:
    """A date as PDF writes it (``D:20261122101537+01'00'``) in UTC; ``None`` where it is none.

    Example:
        >>> date_of("D:20261122101537+01'00'").isoformat(), date_of("yesterday")
        ('2026-11-22T09:15:37+00:00', None)
    """
    found = _DATE.match(text or "")
    if found is None:
        return None
    year, month, day, hour, minute, second, sign, hours, minutes = found.groups()
    try:
        away = timedelta(hours=int(hours or 0), minutes=int(minutes or 0)) * (-1 if sign == "-" else 1)
        local = datetime(
            int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0),
            tzinfo=timezone(away),
        )  # fmt: skip
        return local.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def cleaned(text: str) -> str:
    """Lines end as everywhere; what is no character (a broken font gives such) goes."""
    plain = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")
    return plain.encode("utf-8", "ignore").decode().replace("\ufffe", HYPHEN)
