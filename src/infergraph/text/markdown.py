"""Markdown: its blocks, sections, code, tables and links as data, and its words without markup.

CommonMark with tables, task lists, footnotes, strike-through and front matter (YAML between ``---``, TOML between
``+++``, at the beginning of the document). All offsets are characters of the source.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from infergraph.errors import PlanError
from infergraph.text import markdown_blocks as blocks
from infergraph.text.headings import headings_of
from infergraph.text.markdown_blocks import Block
from infergraph.text.row_wise import Column, of_each_text

BLOCK = pl.Struct(
    {
        "index": pl.Int64(), "parent": pl.Int64(), "kind": pl.String(), "level": pl.Int64(), "language": pl.String(),
        "ordered": pl.Boolean(), "checked": pl.Boolean(), "text": pl.String(), "start": pl.Int64(), "end": pl.Int64(),
    }
)  # fmt: skip
SECTION = pl.Struct(
    {
        "path": pl.List(pl.String()), "title": pl.String(), "level": pl.Int64(), "text": pl.String(),
        "start": pl.Int64(), "end": pl.Int64(),
    }
)  # fmt: skip
CODE_BLOCK = pl.Struct({"language": pl.String(), "code": pl.String(), "start": pl.Int64(), "end": pl.Int64()})
TABLE = pl.Struct(
    {
        "header": pl.List(pl.String()), "rows": pl.List(pl.List(pl.String())), "alignments": pl.List(pl.String()),
        "start": pl.Int64(), "end": pl.Int64(),
    }
)  # fmt: skip
LINK = pl.Struct(
    {
        "text": pl.String(), "url": pl.String(), "title": pl.String(), "image": pl.Boolean(), "start": pl.Int64(),
        "end": pl.Int64(),
    }
)  # fmt: skip


def to_struct(column: Column) -> pl.Expr:
    r"""The blocks of each document, as a tree.

    Args:
        column: A String column of Markdown.

    Returns:
        A row-wise expression: a list of structs (``BLOCK``) in the order of the source. ``index`` counts from 0 and
        ``parent`` is the index of the block around (null: none), which makes the list a tree. ``kind`` is ``heading``
        (with ``level``), ``paragraph``, ``list`` (``ordered``), ``item`` (``checked``, in task lists), ``code``
        (``language``), ``quote``, ``table``, ``row`` (the first one of a table is its header), ``cell``, ``html``,
        ``rule``, ``footnote`` or ``metadata``. ``text`` is the block's own words without markup, ``start`` and ``end``
        its place in the source. Null for null.

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"doc": ["# Tea\n\n- [x] green\n"]})
        >>> for block in frame.select(ig.text.markdown.to_struct("doc")).to_series()[0].to_list():
        ...     print(block["index"], block["parent"], block["kind"], block["level"], block["checked"], block["text"])
        0 None heading 1 None Tea
        1 None list None None
        2 1 item None True green
    """
    return of_each_text(column, _block_structs, pl.List(BLOCK), where="ig.text.markdown.to_struct")


def sections(column: Column, *, level: int = 6) -> pl.Expr:
    r"""The sections of each document; joined, their texts are the document again.

    Args:
        column: A String column of Markdown.
        level: Headings up to this level begin a section, 1 to 6; deeper ones stay within.

    Returns:
        A row-wise expression: a list of structs ``path`` (titles of the sections around, its own last), ``title``,
        ``level``, ``text`` (as it stands in the source, the heading's line first), ``start`` and ``end``. What comes
        before the first heading is a section of level 0 with an empty path and no title. Empty for an empty text.

    Raises:
        PlanError: A level that is none.

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"doc": ["Hello\n# Tea\n## Green\nSteam it.\n## Black\n"]})
        >>> for section in frame.select(ig.text.markdown.sections("doc", level=2)).to_series()[0].to_list():
        ...     print(section["path"], repr(section["text"]))
        [] 'Hello\n'
        ['Tea'] '# Tea\n'
        ['Tea', 'Green'] '## Green\nSteam it.\n'
        ['Tea', 'Black'] '## Black\n'
    """
    where = "ig.text.markdown.sections"
    _check_level(level, where, "level")

    def cut(text: str) -> list[dict[str, Any]]:
        found = [one for one in headings_of(text) if one.level <= level]
        # A heading in a document that begins with a mark, such as a byte order mark, has nothing before it either.
        starts = [one.start for one in found]
        ends = [*starts[1:], len(text)] if starts else []
        first = starts[0] if starts else len(text)
        made = [_section([], None, 0, text, 0, first)] if first else []
        made += [
            _section(list(one.path), one.title, one.level, text, one.start, end)
            for one, end in zip(found, ends, strict=True)
        ]
        return made

    return of_each_text(column, cut, pl.List(SECTION), where=where)


def toc(column: Column, *, max_level: int = 6) -> pl.Expr:
    r"""The table of contents of each document.

    Args:
        column: A String column of Markdown.
        max_level: Headings up to this level, 1 to 6.

    Returns:
        A row-wise String expression: a Markdown list, nested as the headings are; empty where there is none.

    Raises:
        PlanError: A level that is none.

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"doc": ["# Tea\n## Green\n### Sencha\n# Coffee"]})
        >>> print(frame.select(ig.text.markdown.toc("doc", max_level=2)).item())
        - Tea
          - Green
        - Coffee
    """
    where = "ig.text.markdown.toc"
    _check_level(max_level, where, "max_level")

    def listed(text: str) -> str:
        shown = [one for one in headings_of(text) if one.level <= max_level]
        return "\n".join(f"{'  ' * (len(one.path) - 1)}- {one.title}" for one in shown)

    return of_each_text(column, listed, pl.String(), where=where)


def code_blocks(column: Column, *, language: str | None = None) -> pl.Expr:
    r"""The code of each document.

    Args:
        column: A String column of Markdown.
        language: Only blocks in this language, by the word behind the fence, upper or lower case; ``None``: all.

    Returns:
        A row-wise expression: a list of structs ``language`` (null: not said, or code that is indented), ``code``,
        ``start`` and ``end`` of the block with its fences.

    Raises:
        PlanError: ``language`` is no text.

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"doc": ["```py\nx = 1\n```\n\n    indented\n"]})
        >>> [code["code"] for code in frame.select(ig.text.markdown.code_blocks("doc", language="Py")).item().to_list()]
        ['x = 1\n']
    """
    where = "ig.text.markdown.code_blocks"
    if language is not None and (not isinstance(language, str) or not language):
        raise PlanError(f"{where}: language={language!r}: write a name such as 'python', or leave it out.")
    wanted = None if language is None else language.lower()

    def found(text: str) -> list[dict[str, Any]]:
        if "```" not in text and "~~~" not in text and "    " not in text and "\t" not in text:
            return []
        return [
            {"language": block.language, "code": block.text, "start": block.start, "end": block.end}
            for block in blocks.parse(text).blocks
            if block.kind == "code" and (wanted is None or (block.language or "").lower() == wanted)
        ]

    return of_each_text(column, found, pl.List(CODE_BLOCK), where=where)


def tables(column: Column) -> pl.Expr:
    r"""The tables of each document.

    Args:
        column: A String column of Markdown.

    Returns:
        A row-wise expression: a list of structs ``header`` (a text for each column), ``rows`` (a list of as many texts
        for each row), ``alignments`` (``left``, ``center``, ``right`` or null), ``start`` and ``end``.

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"doc": ["| tea | minutes |\n|---|--:|\n| green | 2 |\n"]})
        >>> table = frame.select(ig.text.markdown.tables("doc")).item()[0]
        >>> table["header"], table["rows"], table["alignments"]
        (['tea', 'minutes'], [['green', '2']], [None, 'right'])
    """

    def found(text: str) -> list[dict[str, Any]]:
        if "|" not in text:
            return []
        every = blocks.parse(text).blocks
        return [_table(every, place) for place, block in enumerate(every) if block.kind == "table"]

    return of_each_text(column, found, pl.List(TABLE), where="ig.text.markdown.tables")


def links(column: Column) -> pl.Expr:
    r"""The links and images of each document.

    Args:
        column: A String column of Markdown.

    Returns:
        A row-wise expression: a list of structs ``text``, ``url``, ``title`` (null: none), ``image`` (whether it is
        one), ``start`` and ``end``, in the order of the source. References are resolved; those to nothing are no links.

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"doc": ["See [the *tea*][1].\n\n[1]: https://example.org 'All'\n"]})
        >>> link = frame.select(ig.text.markdown.links("doc")).item()[0]
        >>> link["text"], link["url"], link["title"], link["image"]
        ('the tea', 'https://example.org', 'All', False)
    """

    def found(text: str) -> list[dict[str, Any]]:
        return [
            {
                "text": "".join(link.words), "url": link.url, "title": link.title or None, "image": link.image,
                "start": link.start, "end": link.end,
            }
            for link in blocks.parse(text).links
        ]  # fmt: skip

    return of_each_text(column, found, pl.List(LINK), where="ig.text.markdown.links")


def to_text(column: Column) -> pl.Expr:
    r"""The words of each document, without markup.

    Args:
        column: A String column of Markdown.

    Returns:
        A row-wise String expression: blocks with an empty line between, items of lists and rows of tables a line each
        (cells with a tab between), code as it is, links and images as their texts; no HTML, no front matter.

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"doc": ["# Tea\n\nIt *is* [good](x).\n\n- green\n- black\n"]})
        >>> print(frame.select(ig.text.markdown.to_text("doc")).item())
        Tea
        <BLANKLINE>
        It is good.
        <BLANKLINE>
        green
        black
    """
    return of_each_text(column, _plain, pl.String(), where="ig.text.markdown.to_text")


def _check_level(level: int, where: str, name: str) -> None:
    if type(level) is not int or not 1 <= level <= 6:
        raise PlanError(f"{where}: {name}={level!r}: a heading's level is a number from 1 to 6.")


def _block_structs(text: str) -> list[dict[str, Any]]:
    return [
        {
            "index": index, "parent": block.parent, "kind": block.kind, "level": block.level,
            "language": block.language, "ordered": block.ordered, "checked": block.checked, "text": block.text,
            "start": block.start, "end": block.end,
        }
        for index, block in enumerate(blocks.parse(text).blocks)
    ]  # fmt: skip


def _section(path: list[str], title: str | None, level: int, text: str, start: int, end: int) -> dict[str, Any]:
    return {"path": path, "title": title, "level": level, "text": text[start:end], "start": start, "end": end}


def _table(every: list[Block], place: int) -> dict[str, Any]:
    table = every[place]
    rows: dict[int, list[str]] = {}
    for index in range(place + 1, len(every)):
        block = every[index]
        if block.start >= table.end and block.kind not in ("row", "cell"):
            break
        if block.kind == "row" and block.parent == place:
            rows[index] = []
        elif block.kind == "cell" and block.parent in rows:
            rows[block.parent].append(block.text)
    header, *others = rows.values() or [[]]
    return {
        "header": header, "rows": others, "alignments": list(table.alignments), "start": table.start, "end": table.end,
    }  # fmt: skip


def _plain(text: str) -> str:
    parts: list[tuple[str, str]] = []
    for block, words in _spoken(blocks.parse(text).blocks):
        close = parts and parts[-1][0] == block.kind and block.kind in ("item", "row")
        parts.append((block.kind, ("\n" if close else "\n\n" if parts else "") + words))
    return "".join(words for _, words in parts)


def _spoken(every: list[Block]) -> Iterator[tuple[Block, str]]:
    """The blocks that say something, in order, with what they say."""
    cells: dict[int, list[str]] = {}
    for block in every:
        if block.kind == "cell" and block.parent is not None:
            cells.setdefault(block.parent, []).append(block.text)
    for index, block in enumerate(every):
        if block.kind == "row":
            yield block, "\t".join(cells.get(index, []))
        elif block.kind not in ("cell", "html", "metadata") and block.text.strip():
            yield block, block.text.rstrip("\n")
