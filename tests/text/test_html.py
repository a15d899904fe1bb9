"""HTML as it is found: Markdown, text, main part, links, tables and selectors, on malformed pages too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import infergraph as ig
from infergraph.errors import PlanError

html = ig.text.html
BITS = (
    "<p>", "</p>", "words ", "Zoë &amp; \U0001f600", "<table>", "<tr>", "<td rowspan=3>", "<td colspan='2'>", "<th>",
    "</table>", "<ul>", "<li>", "<a href='", "'>", "<a href=x>", "</a>", "<script>x()</script>", "<!--", "-->",
    "<main>",
    "</main>", "<article>", "<div class=p>", "</div>", "<", "&#0;", "\x0b", "<td rowspan=0>", "<td colspan=99999999>",
    "<caption>c", "<![CDATA[", "<svg>", "<pre>",
)  # fmt: skip
PAGES = st.lists(st.sampled_from(BITS), max_size=30).map("".join) | st.text(max_size=200)
FUNCTIONS: dict[str, Callable[[str], pl.Expr]] = {
    "to_markdown": html.to_markdown,
    "to_text": html.to_text,
    "main_content": html.main_content,
    "links": lambda column: html.links(column, base_url="https://example.org/a/"),
    "tables": html.tables,
    "select": lambda column: html.select(column, "td, a"),
}
PAGE = """<!DOCTYPE html><html><head><title>Shop</title><style>p{}</style></head><body>
<header><a href="/">Home</a> <a href="/tea">Tea</a></header>
<div id=menu><ul><li><a href="/a">All our teas from all over the world</a><li><a href="/b">Help</a></ul></div>
<div id=text><h1>How to make tea</h1>
<p>Boil the water, and let it <b>stand</b> for a minute before you pour it.
<p>Green tea wants <a href="b.html">less heat</a> than black tea does, and less time.
<table><caption>Times</caption><thead><tr><th>tea<th>minutes</thead><tr><td>green<td>2<tr><td>black<td>4</table>
<pre><code class="language-sh">kettle --on</code></pre></div>
<script>track("me")</script><footer>Imprint</footer></body></html>"""


def computed(expr: pl.Expr, page: str | None) -> Any:
    frame = pl.DataFrame({"t": pl.Series([page], dtype=pl.String)})
    return frame.lazy().select(expr).collect(engine="streaming").to_series().to_list()[0]


@pytest.mark.parametrize("name", FUNCTIONS)
@given(page=PAGES)
@settings(max_examples=100, deadline=None)
def test_nothing_raises_on_any_page(name: str, page: str) -> None:
    computed(FUNCTIONS[name]("t"), page)


@given(PAGES)
@settings(max_examples=100, deadline=None)
def test_the_rows_of_a_table_say_all_its_words(page: str) -> None:
    for table in computed(html.tables("t"), page):
        assert all(isinstance(text, str) for row in [table["header"], *table["rows"]] for text in row)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_null_stays_null_and_the_declared_type_holds(name: str) -> None:
    made = pl.LazyFrame({"t": [PAGE, None, ""]}).select(FUNCTIONS[name]("t"))
    found = made.collect()
    assert found.schema == made.collect_schema()
    assert found.to_series()[1] is None


def test_a_page_as_markdown_and_text() -> None:
    markdown, text = (computed(made("t"), PAGE) for made in (html.to_markdown, html.to_text))
    assert "# How to make tea" in markdown
    assert "| green | 2       |" in markdown
    assert "[Home](/)" in markdown
    assert "```sh\nkettle --on\n```" in markdown
    assert "[less heat](b.html)" in markdown
    assert "less heat than black tea" in " ".join(text.split())
    assert not any(gone in both for both in (markdown, text) for gone in ("track", "p{}", "<p>"))


def test_the_main_part_is_what_readers_come_for() -> None:
    text = computed(html.to_text(html.main_content("t")), PAGE)
    assert text.startswith("How to make tea")
    assert not any(gone in text for gone in ("Home", "Imprint", "Help", "track"))


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<nav>menu</nav><main><header>Title</header>Body</main>", "Title Body"),
        ("<article>only one</article><div><p>Here is a longer paragraph of other words.</p></div>", "only one"),
        ("<div role=main>said</div><p>Here is a longer paragraph of other words.</p>", "said"),
        ("just words", "just words"),
        ("<main></main><p>The main part is empty, so that this paragraph counts.</p>", "The main part is empty"),
    ],
)
def test_what_a_page_says_of_itself_is_believed(page: str, text: str) -> None:
    assert " ".join(computed(html.to_text(html.main_content("t")), page).split()).startswith(text)


def test_links_are_made_absolute_where_that_is_asked_for() -> None:
    page = (
        "<a href='../x?a=1#b'>up</a><a href='https://o.example/'>other</a><a href='http://['>broken</a><a name=q>no</a>"
    )
    base = "https://example.org/a/b/"
    assert [link["url"] for link in computed(html.links("t", base_url=base), page)] == [
        "https://example.org/a/x?a=1#b", "https://o.example/", "http://[",
    ]  # fmt: skip
    assert computed(html.links("t"), page)[0]["url"] == "../x?a=1#b"


LINKS = "<a href=x.html>1</a><a href=/y>2</a><a href=https://o.example/>3</a>"


@pytest.mark.parametrize(
    ("base", "alone", "on_a_page"),
    [
        ("<base href=https://b.example/d/>", "https://b.example/d/x.html", "https://b.example/d/x.html"),
        ("<base href=/d/>", "/d/x.html", "https://p.example/d/x.html"),
        ("<base href=' d/ '>", "d/x.html", "https://p.example/q/d/x.html"),
        ("<base href=//c.example>", "//c.example/x.html", "https://c.example/x.html"),
        ("<base target=t><base href=/1/><base href=/2/>", "/1/x.html", "https://p.example/1/x.html"),
        ("<base target=t>", "x.html", "https://p.example/q/x.html"),
        ("<base href>", "x.html", "https://p.example/q/x.html"),
        ("<base href='http://['>", "x.html", "https://p.example/q/x.html"),
        ("<base href=javascript:x>", "x.html", "https://p.example/q/x.html"),
        ("<base href=data:,x>", "x.html", "https://p.example/q/x.html"),
    ],
)
def test_links_are_relative_to_what_the_page_says(base: str, alone: str, on_a_page: str) -> None:
    page = f"<head>{base}</head>{LINKS}"
    for expected, address in ((alone, None), (on_a_page, "https://p.example/q/r.html")):
        found = [link["url"] for link in computed(html.links("t", base_url=address), page)]
        assert found[0] == expected
        assert found[2] == "https://o.example/"


def test_cells_over_several_rows_and_columns_stand_in_each() -> None:
    page = (
        "<table><tr><th>a<th>b<th>c<tr><td rowspan=2>1<td colspan=2>2<tr><td>3<td>4"
        "<tr><td><table><tr><td>in</table><td>5<td rowspan=9>6</table>"
    )
    outer, inner = computed(html.tables("t"), page)
    assert outer["header"] == ["a", "b", "c"]
    assert outer["rows"] == [["1", "2", "2"], ["1", "3", "4"], ["in", "5", "6"]]
    assert (inner["header"], inner["rows"]) == ([], [["in"]])


def test_the_caption_and_a_table_without_a_header() -> None:
    assert computed(html.tables("t"), PAGE)[0]["caption"] == "Times"
    plain = computed(html.tables("t"), "<table><tr><td>1<td>2</table>")[0]
    assert (plain["caption"], plain["header"], plain["rows"]) == (None, [], [["1", "2"]])


def test_a_selector_finds_elements_with_their_attributes() -> None:
    (found,) = computed(html.select("t", "code[class]"), PAGE)
    assert (found["tag"], found["text"], found["attributes"]) == (
        "code", "kettle --on", [{"name": "class", "value": "language-sh"}],
    )  # fmt: skip


@pytest.mark.parametrize("css", ["p >>", "[", "", "..x", 3])
def test_a_bad_selector_is_named_when_the_expression_is_built(css: Any) -> None:
    with pytest.raises(PlanError, match="selector"):
        html.select("t", css)


def test_a_page_of_ten_megabytes() -> None:
    page = "<p>" + "word " * 2_000_000
    assert len(computed(html.to_text("t"), page)) >= 9_999_999
