"""HTML to Markdown without a loss: words that look like markup, spans of tables, pages nested out of all measure."""

from __future__ import annotations

import html as entities
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import infergraph as ig

html, markdown = ig.text.html, ig.text.markdown
SIGNS = (
    "*", "_", "[", "]", "(", ")", "`", "#", "-", "+", "1.", "2)", ">", "<", "&", "~", "=", "|", "!", "\\", "a", " ",
    "c d", "word", "://", "x.y", "http://e.org", "^", "$", ":", "<b>", "{", "==", "~~", "---", "***", "```", ".", "1",
    "a@b.c", "&amp;", "é", "-->", "]:", "](",
)  # fmt: skip
WORDS = st.lists(st.sampled_from(SIGNS), min_size=1, max_size=8).map("".join).filter(str.strip)
AROUND = {
    "paragraph": "<p>{}</p>",
    "nothing": "{}",
    "item": "<ul><li>{}</li></ul>",
    "numbered item": "<ol><li>{}</li></ol>",
    "quotation": "<blockquote>{}</blockquote>",
    "heading": "<h2>{}</h2>",
    "cell": "<table><tr><td>{}</td></tr></table>",
    "bold": "<p><b>{}</b></p>",
    "link": "<p><a href='/u'>{}</a></p>",
    "line": "<p>first<br>{}</p>",
    "caption": "<table><caption>{}</caption><tr><td>cell</td></tr></table>",
}


def computed(expr: pl.Expr, page: str) -> Any:
    return pl.DataFrame({"t": [page]}).select(expr).item()


@pytest.mark.parametrize("name", AROUND)
@given(words=WORDS)
@settings(max_examples=30, deadline=None)
def test_words_that_look_like_markup_are_read_as_words(name: str, words: str) -> None:
    page = AROUND[name].format(entities.escape(words, quote=False))
    read = computed(markdown.to_text(html.to_markdown("t")), page)
    expected = {"line": "first {}", "caption": "{} cell"}.get(name, "{}").format(words)
    assert read.split() == expected.split()


@pytest.mark.parametrize(
    ("page", "made"),
    [
        ("<p>*x* _x_ [a](b)", r"\*x\* \_x\_ \[a\](b)"),
        ("<p># no heading", r"\# no heading"),
        ("<p>- no item<br>1. no item<br>&gt; no quotation", "\\- no item  \n1\\. no item  \n\\> no quotation"),
        ("<p>A well-known snake_case_name costs 1.50 = cheap, C# | 3 < 4 > 2", None),
        ("<p>Cups & saucers by AT&T, at http://a.b/c?d=1&e=2", None),
        ("<p>&lt;b&gt; is a tag", r"\<b> is a tag"),
        ("<p>use <code>*x_y* \\- [z]</code> and `this`", r"use `*x_y* \- [z]` and \`this\`"),
        ("<p>`<code>a \\- b</code> c - d`", r"\``a \- b` c - d\`"),
        ("<pre><code>a \\- b\n# c\n</code></pre><p>d - e", "```\na \\- b\n# c\n```\n\nd - e"),
        ("<ul><li><pre>a \\- b</pre><li>c - d</ul>", None),
        ("<table><tr><td>a|b - *c*<td>d_e", "| a\\|b - \\*c\\* | d_e |\n| ------------- | ---- |"),
        ("<table><caption>\n Table 1 - all\n</caption><tr><td>x</table>", "*Table 1 - all*\n\n| x |\n| --- |"),
        ("<table><caption>a\\-b</caption><tr><td>x</table>", "*a\\\\-b*\n\n| x |\n| --- |"),
    ],
)
def test_only_what_markdown_needs_is_escaped(page: str, made: str | None) -> None:
    found = computed(html.to_markdown("t"), page)
    if made is not None:
        assert found == made
    elif page.startswith("<p>"):
        assert found == page[3:]
    else:
        assert "a \\- b" in found
        assert "- c - d" in found


SPANS = st.integers(1, 3)
ROWS = st.lists(st.lists(st.tuples(SPANS, SPANS), min_size=1, max_size=3), min_size=1, max_size=4)


@given(ROWS)
@settings(max_examples=100, deadline=None)
def test_a_cell_over_several_rows_and_columns_stands_once_and_moves_no_other(
    spans: list[list[tuple[int, int]]],
) -> None:
    numbered = iter(range(100))
    cells = [[(f"c{next(numbered)}", down, wide) for down, wide in row] for row in spans]
    page = "".join(
        "<tr>" + "".join(f"<td rowspan={down} colspan={wide}>{text}" for text, down, wide in row) for row in cells
    )
    table = computed(markdown.tables(html.to_markdown("t")), f"<table>{page}</table>")[0]
    assert [list(table["header"]), *map(list, table["rows"])] == _as_browsers_place_them(cells)


def _as_browsers_place_them(cells: list[list[tuple[str, int, int]]]) -> list[list[str]]:
    taken: dict[tuple[int, int], str] = {}
    for y, row in enumerate(cells):
        x = 0
        for text, down, wide in row:
            while (y, x) in taken:
                x += 1
            for place in ((y + dy, x + dx) for dy in range(down) for dx in range(wide)):
                taken.setdefault(place, "")
            taken[y, x] = text
            x += wide
    columns = sorted({x for (_, x), text in taken.items() if text})
    return [[taken.get((y, x), "") for x in columns] for y in range(len(cells))]


def test_spans_end_with_their_group_of_rows() -> None:
    page = (
        "<table><thead><tr><th rowspan=5>a<th>b</thead>"
        "<tbody><tr><td rowspan=0>1<td>2<tr><td>3</tbody><tbody><tr><td>4<td>5</tbody></table>"
    )
    (table,) = computed(html.tables("t"), page)
    assert table["header"] == ["a", "b"]
    assert table["rows"] == [["1", "2"], ["1", "3"], ["4", "5"]]
    rows = computed(markdown.tables(html.to_markdown("t")), page)[0]["rows"]
    assert rows == [["1", "2"], ["", "3"], ["4", "5"]]


def test_a_cell_over_all_columns_makes_none() -> None:
    page = "<table><tr><td colspan=99>All<tr><td>a<td>b</table>"
    assert computed(html.to_markdown("t"), page).splitlines()[0] == "| All |   |"


@pytest.mark.parametrize("tags", ["<div>", "<b>", "<ul><li>", "<table><tr><td>", "<font color=red><i>", "<p>"])
@pytest.mark.parametrize("levels", [1_100, 20_000])
def test_what_is_nested_too_deep_loses_its_markup_not_its_words(tags: str, levels: int) -> None:
    page = f"first {tags * levels}deep &lt;b&gt; words<script>no()</script>{'</div>' * levels} last"
    text = computed(html.to_text("t"), page)
    assert "deep <b> words" in text
    assert "no()" not in text
    assert text.startswith("first")
    assert text.endswith("last")
    assert "deep \\<b> words" in computed(html.to_markdown("t"), page)


def test_a_page_that_would_end_the_process_is_read() -> None:
    page = "<ul><li>" * 9_000 + "deep" + "</ul><li>" * 9_000 + "last"
    assert computed(html.to_text("t"), page).endswith("last")


def test_long_pages_without_end_tags_are_not_deep() -> None:
    page = "".join(f"<p>word <b>{number}</b>" for number in range(3_000))
    found = computed(html.to_markdown("t"), page)
    assert found.count("\n\n") == 2_999
    assert found.endswith("word **2999**")


@pytest.mark.parametrize(
    "page",
    [
        "<b>" * 5_000 + "<a " + '"' * 20_000,
        "<b>" * 5_000 + "<a" * 20_000,
        "<b>" * 5_000 + "<!-- " * 5_000,
        f"<p>*x*<img src=x alt='{'`' * 20_000}'>",
        "<p>" + "`" * 20_000 + "*x*<code>y</code>",
    ],
    ids=["quotes", "open tags", "comments", "backticks in an image", "backticks"],
)
def test_hostile_pages_take_no_longer_than_others(page: str) -> None:
    assert computed(html.to_markdown("t"), page) is not None
