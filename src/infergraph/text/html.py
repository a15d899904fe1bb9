"""HTML, also malformed: as Markdown and text, its main part, links and tables, and what a CSS selector finds.

Pages are parsed as browsers do (the libraries selectolax, with the engine Lexbor, and html-to-markdown), so that
missing ends, stray tags and broken attributes raise nothing.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin, urlsplit

import polars as pl

from infergraph.errors import PlanError
from infergraph.text.html_conversion import converted
from infergraph.text.html_main import main_part
from infergraph.text.html_spans import cells_of, columns_of, groups_of_rows, rows_of
from infergraph.text.row_wise import Column, of_each_text

LINK = pl.Struct({"text": pl.String(), "url": pl.String(), "title": pl.String()})
TABLE = pl.Struct({"caption": pl.String(), "header": pl.List(pl.String()), "rows": pl.List(pl.List(pl.String()))})
ELEMENT = pl.Struct(
    {
        "tag": pl.String(), "text": pl.String(), "html": pl.String(),
        "attributes": pl.List(pl.Struct({"name": pl.String(), "value": pl.String()})),
    }
)  # fmt: skip


def to_markdown(column: Column) -> pl.Expr:
    """Each page as Markdown.

    Args:
        column: A String column of HTML.

    Returns:
        A row-wise String expression: headings, lists, tables, code, links and images as Markdown; scripts, styles,
        comments and what a browser does not show (``hidden``, ``display:none``, ``<template>``, ``<noscript>``) are
        gone. What Markdown would read as markup in the page's words has a backslash in front (``2 \\* 3``). A cell over
        several columns or rows stands in the first of them, and the others are empty. Null for null.

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"page": ["<h1>Tea</h1><p>It is <b>good</b>.<ul><li>green<li>black"]})
        >>> print(frame.select(ig.text.html.to_markdown("page")).item())
        # Tea
        <BLANKLINE>
        It is **good**.
        <BLANKLINE>
        - green
        - black
    """
    return of_each_text(column, lambda page: converted(page, "markdown"), pl.String(), where="ig.text.html.to_markdown")


def to_text(column: Column) -> pl.Expr:
    """The words of each page.

    Args:
        column: A String column of HTML.

    Returns:
        A row-wise String expression: blocks with an empty line between, items with a dash, cells with a tab between;
        no scripts, styles, comments, addresses, and nothing that a browser does not show. Null for null.

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"page": ["<p>Tea &amp; <a href='/c'>coffee</a><script>x()</script><p>Milk"]})
        >>> frame.select(ig.text.html.to_text("page")).item()
        'Tea & coffee\\n\\nMilk'
    """
    return of_each_text(column, lambda page: converted(page, "plain"), pl.String(), where="ig.text.html.to_text")


def main_content(column: Column) -> pl.Expr:
    """The part of each page that its readers come for: without menus, headers, footers, sidebars and forms.

    Args:
        column: A String column of HTML.

    Returns:
        A row-wise String expression of HTML, for ``to_markdown`` or ``to_text``: ``<main>`` or the only ``<article>``
        where there is one, else the element with the most running text outside of links. A page in which nothing stands
        out comes whole. Null for null.

    Example:
        >>> import infergraph as ig
        >>> page = "<nav><a href='/'>Home</a></nav><main><p>Tea is made of leaves.</p></main><footer>2026</footer>"
        >>> frame = pl.DataFrame({"page": [page]})
        >>> frame.select(ig.text.html.to_text(ig.text.html.main_content("page"))).item()
        'Tea is made of leaves.'
    """
    return of_each_text(column, main_part, pl.String(), where="ig.text.html.main_content")


def links(column: Column, *, base_url: str | None = None) -> pl.Expr:
    """The links of each page.

    Args:
        column: A String column of HTML.
        base_url: The page's own address, which relative addresses are relative to, unless the page says otherwise
            (``<base href>``). ``None``: without such a ``<base>``, they stay as they are.

    Returns:
        A row-wise expression: a list of structs ``text``, ``url`` and ``title`` (null: none), in the order of the page;
        anchors without an address are left out.

    Raises:
        PlanError: ``base_url`` is no text.

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"page": ["<a href='/tea' title=All>the <b>tea</b></a> <a name=x>here</a>"]})
        >>> frame.select(ig.text.html.links("page", base_url="https://example.org/x/")).item().to_list()
        [{'text': 'the tea', 'url': 'https://example.org/tea', 'title': 'All'}]
    """
    where = "ig.text.html.links"
    if base_url is not None and not isinstance(base_url, str):
        raise PlanError(f"{where}: base_url={base_url!r}: write an address such as 'https://example.org/'.")

    def found(page: str) -> list[dict[str, Any]]:
        tree = _parsed(page)
        base = _base(tree, base_url)
        return [
            {
                "text": _words(node),
                "url": _absolute(base, node.attributes["href"]),
                "title": node.attributes.get("title"),
            }
            for node in tree.css("a[href], area[href]")
            if node.attributes.get("href")
        ]

    return of_each_text(column, found, pl.List(LINK), where=where)


def tables(column: Column) -> pl.Expr:
    """The tables of each page.

    Args:
        column: A String column of HTML.

    Returns:
        A row-wise expression: a list of structs ``caption`` (null: none), ``header`` (a text for each column; empty
        where the table has none) and ``rows`` (a list of texts for each row). A cell over several columns or rows
        stands in each of them (``to_markdown`` shows it once). Tables within a cell are tables of their own.

    Example:
        >>> import infergraph as ig
        >>> page = "<table><tr><th>tea<th>minutes<tr><td rowspan=2>green<td>2<tr><td>3</table>"
        >>> table = pl.DataFrame({"page": [page]}).select(ig.text.html.tables("page")).item()[0]
        >>> table["header"], table["rows"]
        (['tea', 'minutes'], [['green', '2'], ['green', '3']])
    """
    return of_each_text(
        column,
        lambda page: [_table(node) for node in _parsed(page).css("table")],
        pl.List(TABLE),
        where="ig.text.html.tables",
    )


def select(column: Column, css: str) -> pl.Expr:
    """What a CSS selector finds in each page.

    Args:
        column: A String column of HTML.
        css: A selector, such as ``"div.price > b"``.

    Returns:
        A row-wise expression: a list of structs ``tag``, ``text``, ``html`` (the element itself) and ``attributes`` (a
        list of ``name`` and ``value``), in the order of the page.

    Raises:
        PlanError: The selector cannot be read.

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"page": ["<p class=price>5 <b>EUR</b></p><p>more</p>"]})
        >>> frame.select(ig.text.html.select("page", "p.price")).item()[0]["text"]
        '5 EUR'
    """
    from selectolax.lexbor import SelectolaxError

    where = "ig.text.html.select"
    if not isinstance(css, str):
        raise PlanError(f"{where}: css={css!r}: write a selector such as 'div.price > b'.")
    try:
        _parsed("").css(css)
    except SelectolaxError as error:
        raise PlanError(
            f"{where}: css={css!r} is no selector that can be read; write for example 'a.title'."
        ) from error
    return of_each_text(
        column, lambda page: [_element(node) for node in _parsed(page).css(css)], pl.List(ELEMENT), where=where
    )


def _parsed(page: str) -> Any:
    from selectolax.lexbor import LexborHTMLParser

    return LexborHTMLParser(page)


def _words(node: Any) -> str:
    return " ".join(node.text(deep=True).split())


def _base(tree: Any, base_url: str | None) -> str | None:
    """What the page's addresses are relative to: as in browsers, a ``<base>`` that is no place counts for nothing."""
    said = tree.css_first("base[href]")
    address = "" if said is None else (said.attributes["href"] or "").strip()
    try:
        scheme, host, *_ = urlsplit(address)
        placed = host or scheme in ("", "file")
        return (urljoin(base_url or "", address) if placed else "") or base_url
    except ValueError:  # such as http://[
        return base_url


def _absolute(base: str | None, address: str) -> str:
    if base is None:
        return address
    try:
        return urljoin(base, address.strip())
    except ValueError:  # such as http://[ : no address, but what the page says
        return address


def _element(node: Any) -> dict[str, Any]:
    attributes = [{"name": name, "value": value} for name, value in node.attributes.items()]
    return {"tag": node.tag, "text": _words(node), "html": node.html, "attributes": attributes}


def _table(node: Any) -> dict[str, Any]:
    rows: list[list[str]] = []
    headings: list[bool] = []
    for group in groups_of_rows(node):
        waiting: dict[int, tuple[int, str]] = {}
        for row in group:
            cells = cells_of(row)
            rows.append(_spread(cells, waiting))
            headings.append(bool(cells) and (row.parent.tag == "thead" or all(cell.tag == "th" for cell in cells)))
    first = 1 if headings and headings[0] else 0
    caption = node.css_first("caption")
    return {
        "caption": None if caption is None else _words(caption),
        "header": rows[0] if first else [],
        "rows": rows[first:],
    }


def _spread(cells: list[Any], waiting: dict[int, tuple[int, str]]) -> list[str]:
    """One row's texts; ``waiting`` holds, by column, cells from above that reach down into this row."""
    texts: list[str] = []

    def take_waiting() -> None:
        while len(texts) in waiting:
            left, text = waiting.pop(len(texts))
            if left > 1:
                kept[len(texts)] = (left - 1, text)
            texts.append(text)

    kept: dict[int, tuple[int, str]] = {}
    for cell in cells:
        take_waiting()
        words, down = _words(cell), rows_of(cell)
        for _ in range(columns_of(cell)):
            if down > 1:
                kept[len(texts)] = (down - 1, words)
            texts.append(words)
    take_waiting()
    waiting.update(kept)
    return texts
