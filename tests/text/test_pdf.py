"""PDF files, sound, scanned, broken and encrypted, as text, pages and metadata."""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import infergraph as ig
from infergraph.errors import PlanError
from infergraph.testing.pdf_files import pdf_file
from infergraph.text.pdf_pages import UnreadablePdf, pages_of
from infergraph.text.pdf_pictures import page_png, pixels_of
from infergraph.text.pdf_tables import page_markdowns

pdf = ig.text.pdf
LETTER = pdf_file(["Dear Ann (Lee),\nwe deliver 12 kettles.", "", "Yours, Zoë"], title="A letter")


def computed(expr: pl.Expr, *files: bytes | None) -> list[Any]:
    frame = pl.DataFrame({"f": pl.Series(files, dtype=pl.Binary)})
    return frame.lazy().select(expr).collect(engine="streaming").to_series().to_list()


def test_text_and_pages() -> None:
    assert computed(pdf.pages("f"), LETTER, None) == [
        [
            {"page": 1, "text": "Dear Ann (Lee),\nwe deliver 12 kettles."},
            {"page": 2, "text": ""},
            {"page": 3, "text": "Yours, Zoë"},
        ],
        None,
    ]
    assert computed(pdf.text("f", separator="\n--- {page} ---\n"), LETTER) == [
        "Dear Ann (Lee),\nwe deliver 12 kettles.\n--- 2 ---\n\n--- 3 ---\nYours, Zoë"
    ]


def test_what_a_document_says_of_itself() -> None:
    (said,) = computed(pdf.metadata("f"), LETTER)
    assert {name: said[name] for name in ("pages", "title", "author", "created", "encrypted", "error")} == {
        "pages": 3, "title": "A letter", "author": None, "created": datetime(2026, 1, 2, 2, 4, 5, tzinfo=UTC),
        "encrypted": False, "error": None,
    }  # fmt: skip


def test_pages_as_they_are_known_without_drawing_them() -> None:
    known = pages_of(pdf_file(["Tea", None, ""]))
    assert [(page.number, page.text, page.blank) for page in known] == [
        (1, "Tea", False),
        (2, "", False),
        (3, "", True),
    ]
    assert {(page.width, page.height) for page in known} == {(595.0, 842.0)}


def test_a_page_is_drawn_in_grey() -> None:
    file = pdf_file(["Tea", None])
    data = page_png(file, 2)
    width, height = pixels_of(595, 842)
    assert data[16:24] == width.to_bytes(4, "big") + height.to_bytes(4, "big")
    lines = zlib.decompress(data[data.index(b"IDAT") + 4 : -16])
    assert len(lines) == (width + 1) * height
    greys = set(lines)
    assert {0xFF, 0x20, 0xC0} <= greys  # paper, and both shades of the picture
    assert page_png(file, 2) == data != page_png(file, 1)
    with pytest.raises(UnreadablePdf, match="no PDF"):
        page_png(b"x", 1)


@pytest.mark.parametrize(("size", "longer"), [((595, 842), 1755), ((5000, 10), 2048), ((0, 0), 1), ((1, 9000), 2048)])
def test_pictures_are_bounded(size: tuple[int, int], longer: int) -> None:
    assert max(pixels_of(*size)) == longer
    assert min(pixels_of(*size)) >= 1


@pytest.mark.parametrize(
    ("content", "encrypted", "says"),
    [
        (b"", False, "the file is empty"),
        (b"just words", False, "the file is no PDF"),
        (LETTER[:120], False, "the file is broken and cannot be opened"),
        (pdf_file(["secret"], encrypted=True), True, "the file is encrypted and needs a password"),
    ],
)
def test_files_that_cannot_be_read_say_why_and_spoil_no_other(content: bytes, encrypted: bool, says: str) -> None:
    said, sound = computed(pdf.metadata("f"), content, LETTER)
    assert (said["encrypted"], said["error"], said["pages"]) == (encrypted, says, None)
    assert sound["error"] is None
    assert computed(pdf.text("f"), content, LETTER)[0] is None
    assert computed(pdf.pages("f"), LETTER, content)[1] is None


@given(st.integers(0, len(LETTER) - 1), st.binary(min_size=1, max_size=8))
@settings(max_examples=80, deadline=None)
def test_nothing_raises_on_a_damaged_file(place: int, damage: bytes) -> None:
    damaged = LETTER[:place] + damage + LETTER[place + len(damage) :]
    for made in (pdf.text("f"), pdf.pages("f"), pdf.metadata("f")):
        computed(made, damaged)


def test_many_threads_may_read_at_once() -> None:
    files = [pdf_file([f"page {number}"] * 3) for number in range(40)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda file: computed(pdf.text("f", separator=" "), file)[0], files))
    assert found == [" ".join([f"page {number}"] * 3) for number in range(40)]


def filled_in(label: str, value: str) -> bytes:
    """A form of one field, as programs write it that leave drawing what stands in it to the reader."""
    content = f"BT /F 11 Tf 50 700 Td ({label}) Tj ET" if label else "0 0 600 800 re f"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [6 0 R] /NeedAppearances true /DA (/F 11 Tf 0 g) "
        "/DR << /Font << /F 4 0 R >> >> >> >>",
        "<< /Type /Pages /Count 1 /Kids [3 0 R] >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 5 0 R /Annots [6 0 R] "
        "/Resources << /Font << /F 4 0 R >> >> >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
        f"<< /Type /Annot /Subtype /Widget /FT /Tx /T (n) /V ({value}) /Rect [150 690 400 715] /DA (/F 11 Tf 0 g) >>",
    ]
    body = "".join(f"{number} 0 obj\n{said}\nendobj\n" for number, said in enumerate(objects, 1))
    return f"%PDF-1.7\n{body}trailer\n<< /Root 1 0 R /Size 7 >>\n%%EOF\n".encode()


def test_what_stands_in_a_form_is_text() -> None:
    file = filled_in("Name:", "Ann Smith")
    [page] = pages_of(file)
    assert page.text.split() == ["Name:", "Ann", "Smith"]
    assert not page.to_be_looked_at
    assert page_markdowns(file, [page]) == [page.text]


def test_a_form_that_is_a_picture_is_looked_at_whatever_stands_in_it() -> None:
    [page] = pages_of(filled_in("", "Ann Smith"))
    assert (page.text.strip(), page.to_be_looked_at) == ("Ann Smith", True)


def test_long_documents_are_read_some_pages_at_a_time() -> None:
    texts = [f"page {number}" for number in range(1, 131)]
    found = pages_of(pdf_file(texts))
    assert [(page.number, page.text) for page in found] == list(enumerate(texts, 1))


def test_a_column_without_bytes_is_named() -> None:
    with pytest.raises((PlanError, pl.exceptions.ComputeError), match="is String, not Binary"):
        pl.DataFrame({"f": ["a.pdf"]}).select(pdf.text("f"))
    wrong: Any = 3
    with pytest.raises(PlanError, match="separator=3"):
        pdf.text("f", separator=wrong)
