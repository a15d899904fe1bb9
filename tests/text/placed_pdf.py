"""Writes PDF pages with texts and lines at given places, by PDFium."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from io import BytesIO

import pypdfium2
from pypdfium2 import raw

Text = tuple[float, float, str]
"""From the left, from the top, in points; and the text, 10 points high."""
Line = tuple[float, float, float, float]
"""From one point to another, measured as texts are."""


def placed_pdf(
    texts: Sequence[Text],
    lines: Sequence[Line] = (),
    *,
    turned: int = 0,
    away: tuple[float, float] = (0, 0),
    font: str = "Helvetica",
) -> bytes:
    """A file of one page that looks the same whatever its own coordinates are.

    Args:
        texts: What is on it, in the order of the text layer.
        lines: Lines drawn on it.
        turned: By how many degrees the page is turned when it is shown: what is on it is turned back.
        font: One that every reader has.
        away: Where the lower left corner of the page is in its own coordinates.
    """
    document = pypdfium2.PdfDocument.new()
    width, height = 600, 800
    page = document.new_page(*((height, width) if turned in (90, 270) else (width, height)))
    for x, y, text in texts:
        thing = raw.FPDFPageObj_NewTextObj(document, font.encode(), 10)
        encoded = (text + "\0").encode("utf-16-le")
        raw.FPDFText_SetText(thing, ctypes.cast(ctypes.create_string_buffer(encoded), raw.FPDF_WIDESTRING))
        raw.FPDFPageObj_Transform(thing, 1, 0, 0, 1, x, height - y)
        _put(page, thing, turned, away)
    for x0, y0, x1, y1 in lines:
        thing = raw.FPDFPageObj_CreateNewPath(x0, height - y0)
        raw.FPDFPath_LineTo(thing, x1, height - y1)
        raw.FPDFPath_SetDrawMode(thing, 0, True)
        raw.FPDFPageObj_SetStrokeWidth(thing, 1)
        _put(page, thing, turned, away)
    left, bottom, right, top = page.get_mediabox()
    page.set_mediabox(left + away[0], bottom + away[1], right + away[0], top + away[1])
    page.set_rotation(turned)
    page.gen_content()
    written = BytesIO()
    document.save(written)
    document.close()
    return written.getvalue()


def _put(page: pypdfium2.PdfPage, thing: object, turned: int, away: tuple[float, float]) -> None:
    matrix = {
        0: (1, 0, 0, 1, 0, 0),
        90: (0, 1, -1, 0, 800, 0),
        180: (-1, 0, 0, -1, 600, 800),
        270: (0, -1, 1, 0, 0, 600),
    }
    a, b, c, d, e, f = matrix[turned]
    raw.FPDFPageObj_Transform(thing, a, b, c, d, e + away[0], f + away[1])
    raw.FPDFPage_InsertObject(page, thing)
