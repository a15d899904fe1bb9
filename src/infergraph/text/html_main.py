"""Finds the part of a page that its readers come for.

A page that says itself what is its main part (``<main>``, ``role="main"``, a single ``<article>``) is believed. Else
the running text decides: paragraphs give their length to the elements around them, less what stands in links, and the
element that gathers most of it wins (the idea of Arc90's Readability).
"""

from __future__ import annotations

from typing import Any

_BESIDE = "script, style, noscript, template, nav, header, footer, aside, form, iframe, svg, dialog"
_SAID = "main, [role=main]"
_PARAGRAPHS = "p, pre, blockquote, li, td, dd"
_SHORT = 25
_SHARE_OF_GRANDPARENT = 0.5


def main_part(page: str) -> str:
    """The HTML of the page's main part; the page itself where nothing stands out.

    Example:
        >>> main_part("<div><a href=/>Home</a></div><div><p>Tea is made of leaves, and of hot water.</p></div>")
        '<div><p>Tea is made of leaves, and of hot water.</p></div>'
    """
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(page)
    said = tree.css_first(_SAID)
    if said is None:
        articles = tree.css("article")
        said = articles[0] if len(articles) == 1 else None
    for node in tree.css(_BESIDE):
        # A header within the main part is its title.
        own = said is not None and node.tag in ("header", "footer") and _holds(said, node)
        if said is None or not (own or _holds(node, said)):
            node.decompose()
    found = said if said is not None and said.text(deep=True).strip() else _densest(tree)
    return page if found is None else str(found.html)


def _densest(tree: Any) -> Any | None:
    scores: dict[int, float] = {}
    nodes: dict[int, Any] = {}
    for paragraph in tree.css(_PARAGRAPHS):
        words = paragraph.text(deep=True).strip()
        linked = sum(len(link.text(deep=True)) for link in paragraph.css("a"))
        value = len(words) - 2 * linked
        if len(words) < _SHORT or value <= 0:
            continue
        for node, share in zip(_around(paragraph), (1.0, _SHARE_OF_GRANDPARENT), strict=False):
            nodes[node.mem_id] = node
            scores[node.mem_id] = scores.get(node.mem_id, 0.0) + share * value
    return nodes[max(scores, key=lambda key: scores[key])] if scores else None


def _around(node: Any) -> list[Any]:
    """The parent and the grandparent, as far as they are within the body."""
    found: list[Any] = []
    parent = node.parent
    while parent is not None and parent.tag not in ("html", "-undef", "-document") and len(found) < 2:
        found.append(parent)
        parent = parent.parent
    return found


def _holds(outer: Any, inner: Any) -> bool:
    node = inner
    while node is not None:
        if node.mem_id == outer.mem_id:
            return True
        node = node.parent
    return False
