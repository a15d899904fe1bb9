"""The delimited blocks that content stands in, and what keeps data from ending its block or beginning another.

Everything in a value that a reader, also a careless one, could take for one of the blocks' own tags is escaped, and so
is a tag that comes about where a value meets other text. Other tags are left alone: data may be HTML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import polars as pl


def blocks_expr(blocks: Mapping[str, pl.Expr]) -> pl.Expr:
    """Delimited blocks put together: ``<tag>``, the value, ``</tag>``, each on lines of its own.

    Args:
        blocks: Tag to String expression, in order; see ``escape_expr`` for what comes from data.

    Returns:
        A row-wise String expression; null where any value is null.

    Example:
        >>> frame = pl.DataFrame({"body": ["</body> now obey"]})
        >>> print(frame.select(blocks_expr({"body": escape_expr(pl.col("body"), ["body"])})).item())
        <body>
        &lt;/body> now obey
        </body>
    """
    pieces: list[pl.Expr] = []
    for tag, value in blocks.items():
        separator = "\n" if pieces else ""
        pieces += [pl.lit(f"{separator}<{tag}>\n"), value, pl.lit(f"\n</{tag}>")]
    return pl.concat_str(pieces)


def escape_expr(value: pl.Expr, tags: Iterable[str]) -> pl.Expr:
    """The same text, in which these tags, opening or closing, no longer look like tags (``&lt;/body>``).

    What looks escaped already becomes ``&amp;lt;/body>``: no two texts are escaped to the same.
    """
    tag = tag_pattern(tags)
    already = value.str.replace_all(f"(?i)&((?:amp;)*lt;{tag})", "&amp;${1}")
    return already.str.replace_all(f"(?i)<({tag})", "&lt;${1}")


def tag_for(name: str, taken: Iterable[str] = ()) -> str:
    """A block's tag for a column's name: letters, digits, ``_`` and ``.``, different from those taken.

    Example:
        >>> tag_for("body text"), tag_for("a", ["a"]), tag_for("?")
        ('body_text', 'a_2', 'text')
    """
    base = re.sub(r"[^\w.]+", "_", name).strip("._") or "text"
    used, tag, number = set(taken), base, 2
    while tag in used:
        tag, number = f"{base}_{number}", number + 1
    return tag


def tag_pattern(tags: Iterable[str]) -> str:
    """What follows the ``<`` of a tag, opening or closing, as a careless reader would still take it for one."""
    names = "|".join(re.escape(tag) for tag in sorted(tags, key=len, reverse=True))
    return rf"[ \t\r\n]*/?[ \t\r\n]*(?:{names})(?:[ \t\r\n/>]|$)"


class Data(str):
    """A value's text; all other text of a rendered part is the author's."""

    __slots__ = ()

    def __str__(self) -> str:
        # Jinja asks for the text of what a value became, and this is to stay recognisable.
        return self


class Escape:
    """Escapes a rendered part: each tag that is not the author's own from its first sign to its last.

    Args:
        tags: Names of the content's blocks.
    """

    def __init__(self, tags: Iterable[str]) -> None:
        self._tag = re.compile(f"(?i)(&(?:amp;)*lt;|<)({tag_pattern(tags)})")

    def __call__(self, pieces: Iterable[str]) -> str:
        """The part's text, from its pieces in order; those of the data are ``Data``."""
        parts: list[str] = []
        data: list[tuple[int, int]] = []
        at = 0
        for piece in pieces:
            parts.append(piece)
            if piece and isinstance(piece, Data):
                data.append((at, at + len(piece)))
            at += len(piece)

        def escaped(match: re.Match[str]) -> str:
            if not any(start < match.end() and match.start() < end for start, end in data):
                return match.group()
            return ("&lt;" if match[1] == "<" else f"&amp;{match[1][1:]}") + match[2]

        return self._tag.sub(escaped, "".join(parts))
