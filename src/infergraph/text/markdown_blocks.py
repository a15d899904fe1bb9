"""A Markdown document as its blocks, each with its place in the source (CommonMark with tables, task lists, footnotes,
strike-through and front matter in YAML or TOML).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Offsets = Callable[[int], int]


@dataclass(slots=True)
class Block:
    """One block; ``start`` and ``end`` are characters of the source."""

    kind: str
    start: int
    end: int
    parent: int | None
    level: int | None = None
    """Of a heading: 1 to 6."""
    language: str | None = None
    """Of code in fences: the first word behind the fence, if there is one."""
    ordered: bool | None = None
    """Of a list: whether it is numbered."""
    checked: bool | None = None
    """Of an item of a task list."""
    alignments: tuple[str | None, ...] = ()
    """Of a table: ``left``, ``center``, ``right`` or ``None`` for each column."""
    words: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The block's own words, without markup and without those of the blocks in it."""
        return "".join(self.words)


@dataclass(slots=True)
class Link:
    """A link or an image."""

    url: str
    title: str
    image: bool
    start: int
    end: int
    words: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Document:
    """A parsed document."""

    blocks: list[Block]
    """In the order of the source; ``parent`` is a place in this list."""
    links: list[Link]


_FRONT_MATTER = re.compile(
    r"(?:---[ \t]*\r?\n(?:[^\n]*\n)+?(?:---|\.\.\.)|\+\+\+[ \t]*\r?\n(?:[^\n]*\n)+?\+\+\+)[ \t]*(?=\r?\n|\Z)"
)
_KINDS = {
    "Paragraph": "paragraph", "Heading": "heading", "BlockQuote": "quote", "CodeBlock": "code", "HtmlBlock": "html",
    "List": "list", "Item": "item", "Table": "table", "TableHead": "row", "TableRow": "row", "TableCell": "cell",
    "FootnoteDefinition": "footnote", "MetadataBlock": "metadata",
}  # fmt: skip


def parse(text: str) -> Document:
    r"""The blocks and links of a Markdown document.

    Example:
        >>> [(block.kind, block.text) for block in parse("# Tea\n\n- *green*\n").blocks]
        [('heading', 'Tea'), ('list', ''), ('item', 'green')]
    """
    import pyromark

    options = pyromark.Options
    chosen = (
        options.ENABLE_TABLES | options.ENABLE_TASKLISTS | options.ENABLE_FOOTNOTES | options.ENABLE_STRIKETHROUGH
    )  # fmt: skip
    reader = _Reader(offsets_of(text))
    # A byte order mark would make the first line's heading, or the front matter, a paragraph.
    start = 1 if text.startswith("\ufeff") else 0
    front = _FRONT_MATTER.match(text, start)
    if front is not None:
        # The parser takes such a block for one anywhere; further down it is a heading between two rules.
        kinds = options.ENABLE_YAML_STYLE_METADATA_BLOCKS | options.ENABLE_PLUSES_DELIMITED_METADATA_BLOCKS
        events = list(pyromark.events_with_range(front[0], options=kinds))
        if "MetadataBlock" in str(events[0]):
            reader.take_all(events, after=text[:start])
            start = front.end()
    reader.take_all(pyromark.events_with_range(text[start:], options=chosen), after=text[:start])
    return Document(reader.blocks, reader.links)


def offsets_of(text: str) -> Offsets:
    """From bytes of the text's UTF-8 to its characters."""
    if text.isascii():
        return lambda place: place
    data = np.frombuffer(text.encode(), dtype=np.uint8)
    before = np.concatenate(([0], np.cumsum((data & 0xC0) != 0x80)))
    return lambda place: int(before[place])


class _Reader:
    def __init__(self, offset: Offsets) -> None:
        self.blocks: list[Block] = []
        self.links: list[Link] = []
        self._offset = self._place = offset
        self._open: list[int] = []
        self._open_links: list[Link] = []

    def take_all(self, events: Iterable[Any], *, after: str) -> None:
        """Events of a part of the source, and what is in front of that part."""
        self._place = self._offset
        if after:
            first = len(after.encode())
            self._place = lambda byte: self._offset(byte + first)
        for event, span in events:
            self._take(event, span)

    def _take(self, event: Any, span: Any) -> None:
        if isinstance(event, str):
            self._alone(event, span)
            return
        ((name, value),) = event.items()
        match name:
            case "Start":
                self._begin(value, span)
            case "End":
                self._end(value)
            case "TaskListMarker":
                self.blocks[self._open[-1]].checked = bool(value)
            case "Text" | "Code" | "InlineMath" | "DisplayMath" | "Html":
                self._say(value)
            case "FootnoteReference":
                self._say(f"[{value}]")

    def _alone(self, event: str, span: Any) -> None:
        if event == "Rule":
            self.blocks.append(self._block("rule", span))
        elif event in ("SoftBreak", "HardBreak"):
            self._say("\n")

    def _begin(self, tag: Any, span: Any) -> None:
        name: str
        facts: Any
        name, facts = (tag, None) if isinstance(tag, str) else next(iter(tag.items()))
        if name in ("Link", "Image"):
            start, end = self._place(span["start"]), self._place(span["end"])
            link = Link(facts["dest_url"], facts["title"], name == "Image", start, end)
            self.links.append(link)
            self._open_links.append(link)
        if name not in _KINDS:
            return
        block = self._block(_KINDS[name], span)
        match name:
            case "Heading":
                block.level = int(facts["level"][1:])
            case "CodeBlock":
                words = facts["Fenced"].split() if isinstance(facts, dict) else []
                block.language = words[0] if words else None
            case "List":
                block.ordered = facts is not None
            case "Table":
                block.alignments = tuple(None if one == "None" else one.lower() for one in facts)
        self._open.append(len(self.blocks))
        self.blocks.append(block)

    def _end(self, tag: Any) -> None:
        name = tag if isinstance(tag, str) else next(iter(tag))
        if name in ("Link", "Image"):
            self._open_links.pop()
        elif name in _KINDS:
            self._open.pop()

    def _say(self, words: str) -> None:
        if self._open:
            self.blocks[self._open[-1]].words.append(words)
        for link in self._open_links:
            link.words.append(words)

    def _block(self, kind: str, span: Any) -> Block:
        parent = self._open[-1] if self._open else None
        return Block(kind, self._place(span["start"]), self._place(span["end"]), parent)


def headings(document: Document) -> Iterator[Block]:
    """The headings that are no part of another block, in order."""
    return (block for block in document.blocks if block.kind == "heading" and block.parent is None)
