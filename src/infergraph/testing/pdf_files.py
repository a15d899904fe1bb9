"""Makes small PDF files: users and our own tests try pipelines on them without a file at hand."""

from __future__ import annotations

from collections.abc import Sequence

_PICTURE = b"q 495 0 0 742 50 50 cm BI /W 2 /H 2 /CS /G /BPC 8 /F /AHx ID 20C0C020> EI Q"
"""Four squares, dark and light."""


def pdf_file(pages: Sequence[str | None], *, title: str | None = None, encrypted: bool = False) -> bytes:
    r"""A PDF file with a text layer.

    Args:
        pages: The text of each page in Latin-1, a line each ``\n``; ``""`` is an empty page, and ``None`` one with a
            picture and no text layer, such as a scanner makes.
        title: The document's title.
        encrypted: Whether it needs a password (which nobody knows).

    Returns:
        The file's bytes.

    Example:
        >>> pdf_file(["Hello"])[:8]
        b'%PDF-1.4'
    """
    first_page = 4
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count %d /Kids [%s] >>"
        % (len(pages), b" ".join(b"%d 0 R" % (first_page + 2 * number) for number in range(len(pages)))),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, text in enumerate(pages):
        lines = b"".join(b"(%s) Tj T* " % _escaped(line) for line in text.split("\n")) if text else b""
        stream = _PICTURE if text is None else b"BT /F1 11 Tf 14 TL 50 780 Td %sET" % lines
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 3 0 R >> >> "
            b"/Contents %d 0 R >>" % (first_page + 2 * number + 1)
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
    trailer = b"/Root 1 0 R"
    if title is not None:
        objects.append(b"<< /Title (%s) /CreationDate (D:20260102030405+01'00') >>" % _escaped(title))
        trailer += b" /Info %d 0 R" % len(objects)
    if encrypted:
        key = b"<" + b"5a" * 32 + b">"
        objects.append(b"<< /Filter /Standard /V 1 /R 2 /P -4 /O %s /U %s >>" % (key, key))
        trailer += b" /Encrypt %d 0 R /ID [<00> <00>]" % len(objects)
    return _file(objects, trailer)


def _escaped(text: str) -> bytes:
    data = text.encode("cp1252")
    return data.replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")


def _file(objects: Sequence[bytes], trailer: bytes) -> bytes:
    made = bytearray(b"%PDF-1.4\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(made))
        made += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    begin = len(made)
    made += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    made += b"".join(b"%010d 00000 n \n" % place for place in places)
    made += b"trailer\n<< /Size %d %s >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, trailer, begin)
    return bytes(made)
