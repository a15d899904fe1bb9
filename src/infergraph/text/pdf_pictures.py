"""Pages of PDF documents as pictures, for models that look at them.

Grey, as sharp as small print needs: colours would make a picture three times as large and no easier to read.
"""

from __future__ import annotations

import math
import struct
import zlib

from infergraph.text.pdf_pages import UnreadablePdf, opened

_DOTS_AN_INCH = 150
_LONGEST_SIDE = 2_048
"""Pixels; models scale larger pictures down."""


def scale_of(width: float, height: float) -> float:
    """Pixels a point: 150 dots an inch, and 2,048 pixels on the longer side at most.

    Args:
        width: Of the page, in points.
        height: Of the page, in points.
    """
    return min(_DOTS_AN_INCH / 72, _LONGEST_SIDE / max(width, height, 1))


def pixels_of(width: float, height: float) -> tuple[int, int]:
    """Width and height of a page's picture.

    Args:
        width: Of the page, in points.
        height: Of the page, in points.

    Example:
        >>> pixels_of(595, 842), pixels_of(3000, 1000)
        ((1240, 1755), (2048, 683))
    """
    scale = scale_of(width, height)
    return max(1, math.ceil(width * scale)), max(1, math.ceil(height * scale))


def page_png(content: bytes, number: int) -> bytes:
    """A page as a PNG of greys.

    Args:
        content: The file's bytes.
        number: The page's, from 1.

    Raises:
        UnreadablePdf: The document or the page cannot be read.
    """
    import pypdfium2

    with opened(content) as document:
        try:
            document.init_forms()
            page = document[number - 1]
            drawn = page.render(scale=scale_of(*page.get_size()), grayscale=True)
            width, height, stride, pixels = drawn.width, drawn.height, drawn.stride, bytes(drawn.buffer)
            drawn.close()
            page.close()
        except (pypdfium2.PdfiumError, ValueError) as error:
            raise UnreadablePdf(f"page {number} is broken and cannot be drawn") from error
    # Each line of a PNG begins with how it is written: 0, as it is.
    lines = b"".join(b"\0" + pixels[start : start + width] for start in range(0, height * stride, stride))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(lines)), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
