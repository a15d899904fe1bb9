"""Writes a PDF page with a tagged table: by hand, so that its tags may be as odd as those of real files."""

from __future__ import annotations

from collections.abc import Sequence

Cell = tuple[float, float, str, int]
"""From the left, from the top, in points; the text in Latin-1; and over how many columns it goes."""


def tagged_pdf(
    rows: Sequence[Sequence[Cell]],
    *,
    above: Sequence[Cell] = (),
    circular: bool = False,
    sized: bool = True,
    twice: bool = False,
) -> bytes:
    """A file of one page with one table, without an index of its objects: readers must look for them.

    Args:
        rows: The cells that have tags, in the order of the tags.
        above: Texts without tags, in front of the others.
        circular: Whether each row has its table among its children.
        twice: Whether the last cell says that its content is that of the first.
        sized: Whether it says how large the page is.
    """
    objects = {
        1: "<< /Type /Catalog /Pages 2 0 R /StructTreeRoot 6 0 R /MarkInfo << /Marked true >> >>",
        2: "<< /Type /Pages /Count 1 /Kids [3 0 R] >>",
        3: "<< /Type /Page /Parent 2 0 R /Resources << /Font << /F 4 0 R >> >> /Contents 5 0 R /StructParents 0"
        f"{' /MediaBox [0 0 600 800]' if sized else ''} >>",
        4: "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        6: "<< /Type /StructTreeRoot /K [8 0 R] /ParentTree 7 0 R >>",
    }
    content = "".join(f"BT /F 10 Tf {x} {800 - y} Td ({text}) Tj ET\n" for x, y, text, _ in above)
    parents, tops, mark, free = [], [], 0, 9
    for row in rows:
        top, cells = free, []
        free += 1
        for x, y, text, columns in row:
            content += f"/TD << /MCID {mark} >> BDC BT /F 10 Tf {x} {800 - y} Td ({text}) Tj ET EMC\n"
            span = f" /A << /O /Table /ColSpan {columns} >>" if columns > 1 else ""
            own = 0 if twice and row is rows[-1] else mark
            objects[free] = f"<< /Type /StructElem /S /TD /P {top} 0 R /Pg 3 0 R /K {own}{span} >>"
            cells.append(f"{free} 0 R")
            mark, free = mark + 1, free + 1
        back = " 8 0 R" if circular else ""
        objects[top] = f"<< /Type /StructElem /S /TR /P 8 0 R /K [{' '.join(cells)}{back}] >>"
        tops.append(f"{top} 0 R")
        parents += cells
    objects[5] = f"<< /Length {len(content)} >>\nstream\n{content}endstream"
    objects[7] = f"<< /Nums [0 [{' '.join(parents)}]] >>"
    objects[8] = f"<< /Type /StructElem /S /Table /P 6 0 R /K [{' '.join(tops)}] >>"
    body = "".join(f"{number} 0 obj\n{said}\nendobj\n" for number, said in objects.items())
    return f"%PDF-1.7\n{body}trailer\n<< /Root 1 0 R /Size {free} >>\n%%EOF\n".encode("latin-1")
