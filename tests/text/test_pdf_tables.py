"""Tables in text layers: tagged, ruled or shown by their columns alone; and texts that look like some but are none."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import infergraph as ig
from infergraph.testing.pdf_files import pdf_file
from infergraph.text.pdf_columns import tables_of
from infergraph.text.pdf_letters import Segment
from infergraph.text.pdf_pages import pages_of
from infergraph.text.pdf_tables import page_markdowns
from infergraph.text.pdf_tags import columns_of
from tests.text.placed_pdf import Line, Text, placed_pdf
from tests.text.tagged_pdf import Cell, tagged_pdf

FILES = Path(__file__).parent / "pdf"
"""Printed by Chromium from the pages beside them; only ``tagged`` has tags."""
Table = list[list[str]]


def markdown(content: bytes) -> str:
    [text] = page_markdowns(content, pages_of(content))
    return text


def tables(text: str) -> list[Table]:
    [found] = pl.DataFrame({"t": [text]}).select(ig.text.markdown.tables("t")).to_series().to_list()
    return [[table["header"], *table["rows"]] for table in found]


def visible(text: str) -> Counter[str]:
    return Counter(text.replace("\\|", "|")) - Counter({" ": len(text), "\n": len(text)})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "tagged",
            [
                [
                    ["Order", "Goods", "Shop", "Pieces"],
                    ["A-1", "tea kettles", "North", "12"],
                    ["A-2", "", "South", "7"],
                    ["A-3", "cups | saucers", "", "140"],
                ]
            ],
        ),
        (
            "ruled",
            [
                [
                    ["Goods", "Price", "Remark"],
                    ["kettle", "34.50", "as long as they last, and not in the north"],
                    ["cup", "2.10", "blue"],
                    ["", "1.90", "white, seconds"],
                ],
                [["Code", "Country"], ["DE", "Germany"]],
            ],
        ),
        (
            "columns",
            [
                [
                    ["Goods", "Pieces", "Value (EUR)", "Where they are"],
                    ["Kettles", "1,200", "34,500.00", "north"],
                    ["Cups and saucers", "800", "2,100.50", "in the cellar of the old house by the river"],
                    ["Spoons", "15", "", "unknown"],
                    ["Tea", "3", "1.00", "kitchen"],
                ]
            ],
        ),
        ("prose", []),
    ],
)
def test_what_a_browser_prints(name: str, expected: list[Table]) -> None:
    text = markdown((FILES / f"{name}.pdf").read_bytes())
    assert tables(text) == expected


def test_text_around_a_table_stays_in_its_place() -> None:
    parts = markdown((FILES / "ruled.pdf").read_bytes()).split("\n\n")
    assert [part for part in parts if not part.startswith("|")] == [
        "Prices\nLines are drawn around all cells.",
        "Between the tables.",
        "The end.",
    ]
    assert [part.startswith("|") for part in parts] == [False, True, False, True, False]


def test_a_page_without_table_is_its_text_layer() -> None:
    content = (FILES / "prose.pdf").read_bytes()
    assert markdown(content) == pages_of(content)[0].text


def placed(table: Table, *, lefts: list[float], top: float = 100, step: float = 20) -> list[Text]:
    return [
        (left, top + step * number, text)
        for number, row in enumerate(table)
        for left, text in zip(lefts, row, strict=True)
        if text
    ]


def frame(lefts: list[float], rows: int, *, top: float = 100, step: float = 20) -> list[Line]:
    edges = [left - 5 for left in lefts] + [590.0]
    tops = [top - 14 + step * number for number in range(rows + 1)]
    return [(edge, tops[0], edge, tops[-1]) for edge in edges] + [(edges[0], y, edges[-1], y) for y in tops]


def drawn_pdf(page: str, form: str) -> bytes:
    """A page of these operators, and a form of those, whose coordinates are turned over and back."""
    page, form = f"{page}q 1 0 0 -1 0 400 cm /X Do Q\n", f"2 0 0 2 0 0 cm\n{form}"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Count 1 /Kids [3 0 R] >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 5 0 R "
        "/Resources << /Font << /F 4 0 R >> /XObject << /X 6 0 R >> >> >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        f"<< /Length {len(page)} >>\nstream\n{page}endstream",
        "<< /Type /XObject /Subtype /Form /BBox [0 0 9999 9999] /Matrix [0.5 0 0 -0.5 0 400] "
        f"/Length {len(form)} >>\nstream\n{form}endstream",
    ]
    body = "".join(f"{number} 0 obj\n{said}\nendobj\n" for number, said in enumerate(objects, 1))
    return f"%PDF-1.7\n{body}trailer\n<< /Root 1 0 R /Size 7 >>\n%%EOF\n".encode("latin-1")


WORDS = st.text(alphabet="abcdefgXYZ019", min_size=1, max_size=9)


@st.composite
def a_table(draw: st.DrawFn) -> Table:
    width = draw(st.integers(2, 4))
    return draw(st.lists(st.lists(WORDS, min_size=width, max_size=width), min_size=3, max_size=6))


TURNED = st.sampled_from([0, 90, 180, 270])
AWAY = st.sampled_from([(0, 0), (100, -50), (-300, 700)])


@settings(deadline=None)  # the first example imports a library
@given(table=a_table(), turned=TURNED, away=AWAY, ruled=st.booleans())
def test_a_table_is_found_however_the_page_is_turned(
    table: Table, turned: int, away: tuple[float, float], ruled: bool
) -> None:
    lefts = [40.0, 180, 320, 460][: len(table[0])]
    lines = frame(lefts, len(table)) if ruled else []
    texts = [(40.0, 50.0, "A line above it"), *placed(table, lefts=lefts), (40.0, 300.0, "and one below.")]
    text = markdown(placed_pdf(texts, lines, turned=turned, away=away))
    assert tables(text) == [table]
    assert text.startswith("A line above it\n\n|")
    assert text.endswith("|\n\nand one below.")


@settings(deadline=None)  # the first example imports a library
@given(
    texts=st.lists(
        st.tuples(st.integers(-40, 620).map(float), st.integers(-20, 830).map(float), WORDS), min_size=1, max_size=40
    ),
    lines=st.lists(st.tuples(*[st.integers(0, 600).map(float)] * 4), max_size=12),
)
def test_nothing_is_lost_and_nothing_doubled(texts: list[Text], lines: list[Line]) -> None:
    content = placed_pdf(texts, lines)
    [page] = pages_of(content)
    text = markdown(content)
    marks = Counter(text.replace("\\|", ""))
    assert visible(text) - Counter({"|": marks["|"], "-": marks["-"]}) == visible(page.text)


def turned_text(x: float, y: float, degrees: int, text: str) -> str:
    a, b = {0: (1, 0), 45: (0.7, 0.7), 90: (0, 1)}[degrees]
    return f"BT /F 10 Tf {a} {b} {-b} {a} {x} {y} Tm ({text}) Tj ET\n"


@pytest.mark.parametrize("ruled", [True, False])
def test_a_table_that_stands_sideways_on_its_page(ruled: bool) -> None:
    table = [["Goods", "Shop"], ["tea", "North"], ["cups", "South"]]
    cells = [(row, at, text) for row, texts in enumerate(table) for at, text in enumerate(texts)]
    page = "".join(turned_text(100 + 20 * row, 100 + 90 * at, 90, text) for row, at, text in cells)
    lines = "".join(f"{86 + 20 * row} 95 m {86 + 20 * row} 275 l S\n" for row in range(4))
    lines += "".join(f"86 {95 + 90 * at} m 146 {95 + 90 * at} l S\n" for at in range(3))
    assert tables(markdown(drawn_pdf(page, lines if ruled else ""))) == [table]


def test_headings_that_stand_sideways_and_a_stamp_across() -> None:
    body = [["10", "20", "30"], ["40", "50", "60"]]
    cells = [(row, at, text) for row, texts in enumerate(body) for at, text in enumerate(texts)]
    page = "".join(turned_text(60 + 30 * at, 620, 90, f"Heading {at}") for at in range(3))
    page += "".join(turned_text(50 + 30 * at, 596 - 20 * row, 0, text) for row, at, text in cells)
    page += turned_text(60, 560, 45, "DRAFT") + turned_text(40, 500, 0, "Most of the page is text that is upright.")
    lines = "".join(f"{45 + 30 * at} 690 m {45 + 30 * at} 570 l S\n" for at in range(4))
    lines += "".join(f"45 {y} m 135 {y} l S\n" for y in (690, 610, 590, 570))
    text = markdown(drawn_pdf(page, lines))
    assert tables(text) == [[["Heading 0", "Heading 1", "Heading 2"], *body]]
    assert text.endswith("|\n\nDRAFT\nMost of the page is text that is upright.")


def test_rows_that_no_line_parts() -> None:
    table = [["Goods", "Pieces"], ["tea", "3"], ["cups", "14"], ["spoons", "150"]]
    lefts = [40.0, 180]
    texts = placed(table, lefts=lefts)
    rows = [86.0, 106, 166]
    lines: list[Line] = [(35, y, 300, y) for y in rows] + [(x, 86, x, 166) for x in (35.0, 175, 300)]
    assert tables(markdown(placed_pdf(texts, lines))) == [table]


def test_cells_of_several_lines() -> None:
    texts = [
        (40.0, 100.0, "Name"), (180.0, 100.0, "What it is"),
        (40.0, 120.0, "A kettle"), (40.0, 131.0, "for tea"), (180.0, 120.0, "big"),
        (40.0, 160.0, "A cup"), (180.0, 154.0, "small and"), (180.0, 165.0, "blue"),
        (40.0, 185.0, "A spoon"), (180.0, 185.0, "smaller"),
    ]  # fmt: skip
    assert tables(markdown(placed_pdf(texts))) == [
        [["Name", "What it is"], ["A kettle for tea", "big"], ["A cup", "small and blue"], ["A spoon", "smaller"]]
    ]


def test_numbers_below_one_another_are_rows_of_their_own() -> None:
    table = [["Goods", "Pieces"], ["tea", "3"], ["cups", "14"], ["", "17"], ["more", "2"]]
    assert tables(markdown(placed_pdf(placed(table, lefts=[40, 180], step=11)))) == [table]


def test_sections_below_a_centred_heading_are_rows() -> None:
    body = [["Assets", ""], ["Cash and other things", "1,234"], ["Goods", "(12)"], ["Debts", ""], ["Loans", "5"]]
    texts = [(80.0, 100.0, "(EUR)"), (200.0, 100.0, "2024"), *placed(body, lefts=[40, 200], top=120)]
    assert tables(markdown(placed_pdf(texts))) == [[["(EUR)", "2024"], *body]]


def test_cells_of_several_lines_in_the_first_rows() -> None:
    """What is in the middle of a row's height stands between the lines of the others."""
    texts = [
        (40.0, 100.0, "Item"), (100.0, 100.0, "What"), (300.0, 94.0, "Unit"), (300.0, 106.0, "price"),
        (40.0, 130.0, "1"), (100.0, 124.0, "Kettles of a size"), (100.0, 136.0, "that is large"),
        (300.0, 130.0, "34.50"), (40.0, 154.0, "2"), (100.0, 154.0, "Cups"), (300.0, 154.0, "2.10"),
    ]  # fmt: skip
    rows = [["Item", "What", "Unit price"], ["1", "Kettles of a size that is large", "34.50"], ["2", "Cups", "2.10"]]
    assert tables(markdown(placed_pdf(texts))) == [rows]


def test_totals_below_a_table_have_columns_of_their_own() -> None:
    table = [["Item", "Each", "Sum"], ["tea", "3.00", "6.00"], ["cups", "5.00", "5.00"], ["pots", "1.00", "9.00"]]
    totals = [["All goods", "20.00"], ["and the tax", "3.80"], ["to be paid", "23.80"]]
    texts = [*placed(table, lefts=[40, 300, 400]), *placed(totals, lefts=[265, 400], top=180)]
    assert tables(markdown(placed_pdf(texts))) == [table, totals]


def test_heads_over_several_columns() -> None:
    body = [["Shop", "Cups", "Pots", "Cups", "Pots"], ["North", "1", "2", "3", "4"], ["South", "5", "6", "7", "8"]]
    texts = [
        (145.0, 80.0, "The year 2024"),
        (325.0, 80.0, "The year 2025"),
        *placed(body, lefts=[40, 140, 200, 320, 380]),
    ]
    text = markdown(
        placed_pdf([(40.0, 60.0, "Sold in two years in all of the shops, by kind of goods and by year"), *texts])
    )
    assert tables(text) == [[["", "The year 2024", "", "The year 2025", ""], *body]]


def test_a_table_in_a_column_of_an_article() -> None:
    prose = [(310.0, 100.0 + 12 * line, "words of prose in a line") for line in range(24)]
    table = [["City", "Rain"], ["Oslo", "763"], ["Rome", "799"], ["Lima", "16"]]
    left = [(40.0, 100.0 + 12 * line, "other words in the first column") for line in range(8)]
    texts = [*left, *placed(table, lefts=[40, 120], top=210), *prose]
    text = markdown(placed_pdf(texts))
    assert tables(text) == [table]
    assert text.endswith("|\n\n" + "\n".join(text for *_, text in prose))


def test_columns_of_figures_that_stand_close() -> None:
    table = [[str((7 * row + 31 * column) % 90 + 10) for column in range(8)] for row in range(5)]
    assert tables(markdown(placed_pdf(placed(table, lefts=[40 + 18.0 * at for at in range(8)])))) == [table]


def test_options_with_hyphens_are_no_list() -> None:
    table = [["-c, --check", "looks at the syntax only"], ["-h, --help", "shows this"], ["-o, --out", "where to"]]
    assert tables(markdown(placed_pdf(placed(table, lefts=[40, 180])))) == [table]


def test_a_hyphen_at_the_end_of_a_line_stays_one() -> None:
    [page] = pages_of(placed_pdf([(40, 100, "a long manip-"), (40, 112, "ulation of it")]))
    assert page.text == "a long manip-\nulation of it"
    head = placed([["Goods", "Shop"], ["tea", "North"]], lefts=[40, 180])
    last = [(40.0, 140.0, "cups"), (180.0, 140.0, "South-"), (180.0, 152.0, "west"), (40.0, 172.0, "pots")]
    [rows] = tables(markdown(placed_pdf([*head, *last, (180.0, 172.0, "East")])))
    assert rows[2:] == [["cups", "South-west"], ["pots", "East"]]


def test_words_of_two_columns_are_two() -> None:
    [page] = pages_of((FILES / "wide.pdf").read_bytes())
    assert page.text.split() == ["Tea", "7", "Kettles", "12", "Cups", "3", "m2"]


NO_TABLES: dict[str, list[Text]] = {
    "two lines of two words": placed([["From", "Ann"], ["To", "Zoe"]], lefts=[40, 180]),
    "a list": placed([["1.", "kettles"], ["2.", "cups"], ["3.", "tea"]], lefts=[40, 80]),
    "columns of prose, a column at a time": [
        (left, 100.0 + 12 * line, "words " * 7) for left in (40.0, 310.0) for line in range(9)
    ],
    "columns of prose, line by line": [
        (left, 100.0 + 12 * line, "words of prose in a line " * 2) for line in range(9) for left in (40.0, 310.0)
    ],
    "gaps anywhere": [(40.0 + 37 * (line % 3), 100.0 + 12 * line, "a") for line in range(9)]
    + [(300.0 + 41 * (line % 4), 100.0 + 12 * line, "b") for line in range(9)],
    "a table of contents": placed(
        [[f"{number}.1", "Heading . . . . . . . . . . . 7"] for number in range(5)], lefts=[40, 80]
    ),
    "a table of contents without dots": placed(
        [[f"{number} A chapter", str(7 * number)] for number in range(1, 6)], lefts=[40, 400]
    ),
    "equations with numbers": placed([[f"x = {at} y", f"({at})"] for at in range(3, 8)], lefts=[40, 400]),
    "a list in two columns": placed([[f"- item {at} of it", f"- thing {at}"] for at in range(5)], lefts=[40, 300]),
    "notes beside paragraphs": [
        text
        for at in range(4)
        for text in [
            (40.0, 100.0 + 80 * at, f"Note {at}"),
            *[(140.0, 100.0 + 80 * at + 12 * line, "words of prose in a line of it") for line in range(5)],
        ]
    ],
    "headings in spaced type": placed([[*"CHAPTER"], [*"ANOTHER"]], lefts=[40 + 11.0 * at for at in range(7)]),
}


@pytest.mark.parametrize("name", NO_TABLES)
def test_what_is_no_table(name: str) -> None:
    content = placed_pdf(NO_TABLES[name])
    assert markdown(content) == pages_of(content)[0].text


def test_a_program_is_no_table() -> None:
    lines = [["x", "= 1", "# first"], ["yyy", "= 22", "# second"], ["return", "0", ""], ["z", "= 333", ""]]
    content = placed_pdf(placed(lines, lefts=[40, 80, 140], step=12), font="Courier")
    assert markdown(content) == pages_of(content)[0].text


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([(20, 20, 580, 20), (580, 20, 580, 400), (580, 400, 20, 400), (20, 400, 20, 20)], id="a frame"),
        pytest.param(frame([40, 180, 320, 460], 8, top=200), id="a chart with nothing in its squares"),
    ],
)
def test_lines_that_are_no_table(lines: list[Line]) -> None:
    content = placed_pdf([(40, 50, "A heading"), (40, 70, "and some text below it.")], lines)
    assert markdown(content) == pages_of(content)[0].text


def test_a_pdf_without_any_page_text_has_none() -> None:
    assert page_markdowns(pdf_file([None, ""]), pages_of(pdf_file([None, ""]))) == ["", ""]


def test_cells_go_to_the_column_they_stand_in() -> None:
    def box(left: float, top: float) -> tuple[float, float, float, float]:
        return left, top, left + 30, top + 10

    full: list[Any] = [(box(0, 0), 1), (box(50, 0), 1), (box(100, 0), 1)]
    over_two: list[Any] = [(box(0, 60), 1), (box(77, 60), 2)]
    empty: list[Any] = [(None, 1), (box(90, 80), 1), (None, 1)]
    some: list[Any] = [[(box(52, 20), 1)], [(box(0, 40), 1), (box(97, 40), 1)]]
    assert columns_of([full, *some, over_two, empty, []]) == [[0, 1, 2], [1], [0, 2], [0, 1], [0, 1, 2], []]


def tagged(table: Table, *, lefts: list[float]) -> list[list[Cell]]:
    return [
        [(left, 100.0 + 20 * row, text, 1) for left, text in zip(lefts, texts, strict=True) if text]
        for row, texts in enumerate(table)
    ]


ODD = [["a", "b", "c"], ["d", "", "e"], ["f", "g", "h"]]


@pytest.mark.parametrize("how", [{}, {"circular": True}, {"sized": False}], ids=str)
def test_tags_of_odd_files(how: dict[str, Any]) -> None:
    """Other readers go in circles, or raise; one such file must not end a run, or stop it for ever."""
    assert tables(markdown(tagged_pdf(tagged(ODD, lefts=[40, 100, 160]), **how))) == [ODD]


def test_headings_that_are_repeated_on_each_page_have_no_tags() -> None:
    above: list[Cell] = [(40, 40, "A report", 1), (40, 80, "X", 1), (100, 80, "Y", 1), (160, 80, "Z", 1)]
    text = markdown(tagged_pdf(tagged(ODD, lefts=[40, 100, 160]), above=above))
    assert tables(text) == [[["X", "Y", "Z"], *ODD]]
    assert text.startswith("A report\n\n|")


def test_content_of_two_cells_stands_in_one() -> None:
    rows: list[list[Cell]] = [*tagged(ODD, lefts=[40, 100, 160]), [(40, 160, "last", 1)]]
    text = markdown(tagged_pdf(rows, twice=True))
    assert tables(text) == [ODD]
    assert text.endswith("|\n\nlast")


def test_no_width_is_no_trouble() -> None:
    """Fonts of broken files give characters no width."""
    rows = [
        [Segment((at, at + 1), "a", 0, 0, x, top, x, top + 10) for at, x in ((top, 40), (top + 5, 90))]
        for top in (0, 20, 40)
    ]
    assert tables_of([segment for row in rows for segment in row]) == []


def test_tags_from_right_to_left() -> None:
    """Arabic and Hebrew tables have their first cell at the right; the Markdown has it as it is looked at."""
    rows = tagged(ODD, lefts=[160, 100, 40])
    assert tables(markdown(tagged_pdf(rows))) == [[row[::-1] for row in ODD]]


def test_tagged_cells_over_several_columns_begin_in_the_first() -> None:
    rows: list[list[Cell]] = [
        [(40, 100, "Shop", 1), (120, 100, "Two years", 2)],
        [(100, 120, "2024", 1), (160, 120, "2025", 1)],
        [(40, 140, "North", 1), (100, 140, "1", 1), (160, 140, "2", 1)],
    ]
    table = [["Shop", "Two years", ""], ["", "2024", "2025"], ["North", "1", "2"]]
    assert tables(markdown(tagged_pdf(rows))) == [table]


def test_characters_that_utf_16_has_in_halves() -> None:
    content = (FILES / "planes.pdf").read_bytes()
    assert tables(markdown(content)) == [[["Name", "Sign"], ["smile", "\U0001f600"], ["x", "\U0001d4b3"]]]
    assert markdown(content).endswith("prose \U0001f600")


def test_a_page_of_very_many_lines_is_no_table() -> None:
    squared: list[Line] = [(10 + 7 * at, 10, 10 + 7 * at, 790) for at in range(80)]
    squared += [(10, 10 + 7 * at, 563, 10 + 7 * at) for at in range(112)]
    content = placed_pdf([(40, 50, "A plot"), (40, 70, "on squared paper"), (90, 300, "7"), (200, 350, "8")], squared)
    assert markdown(content) == pages_of(content)[0].text


def test_lines_inside_of_forms_and_of_clips() -> None:
    """A form has coordinates of its own; a path that only bounds what is drawn is no line."""
    rows = "".join(f"BT /F 10 Tf {40 + 90 * (at % 2)} {700 - 20 * (at // 2)} Td (c{at}) Tj ET\n" for at in range(4))
    ruled = "".join(
        f"{35 + 90 * at} 714 m {35 + 90 * at} 674 l S {35} {714 - 20 * at} m 215 {714 - 20 * at} l S\n"
        for at in range(3)
    )
    table = [["c0", "c1"], ["c2", "c3"]]
    assert tables(markdown(drawn_pdf(rows, ruled))) == [table]
    clips = "".join(f"q {35 + 90 * (at % 2)} {694 - 20 * (at // 2)} 90 20 re W n Q\n" for at in range(4))
    assert tables(markdown(drawn_pdf(rows + clips, ""))) == []
