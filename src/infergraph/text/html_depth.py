"""Pages whose elements are nested thousands of levels deep: by mistake, such as tags that nobody closes, or by intent.

Converters give up on them, leave out what lies deeper than they go, or crash. Browsers stop to nest at some 500 levels;
here an element that lies too deep loses its tags and keeps its words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_LEVELS = 250
"""Of elements that have to be closed: with the items, rows and cells between them no more than 1,024 in all."""
_TAG = re.compile(
    r"<!--.*?(?:-->|\Z)"
    r"|<(?P<raw>script|style|textarea|title|xmp|iframe)\b.*?(?:</(?P=raw)\s*>|\Z)"
    r"|<(?P<end>/?)(?P<name>[a-z][^\s/>]*)[^>]*(?:>|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_ALONE = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_ENDED_BY_OTHERS = frozenset({
    "html", "head", "body", "p", "li", "dt", "dd", "td", "th", "tr", "thead", "tbody", "tfoot", "colgroup", "option",
    "optgroup", "rt", "rp", "a", "nobr",
})  # fmt: skip


def flattened(page: str, *, from_level: int = 0, strict: bool = False) -> str:
    """The page without the tags of elements that lie too deep; their words stay where they are.

    Args:
        page: HTML.
        from_level: A page stays as it is where no element lies so many levels deep, 0 or more.
        strict: Elements that another one ends, such as paragraphs and items, count as levels too.

    Example:
        >>> flattened("<div>" * 300 + "tea" + "</div>" * 300).count("<div>")
        250
    """
    parts: list[str] = []
    deepest = 0
    for part, level in _parts(page, frozenset() if strict else _ENDED_BY_OTHERS):
        parts.append(part)
        deepest = max(deepest, level)
    return "".join(parts) if deepest >= from_level else page


def _parts(page: str, excused: frozenset[str]) -> Iterator[tuple[str, int]]:
    """The page in pieces, a space in place of a tag that lies too deep, each with the level that it lies on."""
    # By name, of each element that is still open, whether its tags were left out.
    opened: dict[str, list[bool]] = {}
    level = at = 0
    for found in _TAG.finditer(page):
        yield page[at : found.start()], level
        at = found.end()
        name = (found["name"] or "").lower()
        kept = not name or name in _ALONE
        if not kept and name in excused:
            kept = level <= _LEVELS
        elif not kept and not found["end"]:
            level += 1
            kept = level <= _LEVELS
            opened.setdefault(name, []).append(not kept)
        elif not kept:
            outer = opened.get(name)
            level -= bool(outer)
            kept = not (outer and outer.pop())
        yield found[0] if kept else " ", level
    yield page[at:], level
