"""Where the headings of a Markdown document stand, and under which of them a place lies."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise

_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading, in characters of the source: ``start`` is the beginning of its line."""

    level: int
    title: str
    start: int
    end: int
    """The beginning of the line after it."""


def headings_of(text: str) -> list[Heading]:
    """The headings of a Markdown document that are no part of a list or a quotation, in order (CommonMark).

    Example:
        >>> headings_of("Tea\\n===\\n\\n```\\n# no heading\\n```\\n## Green *tea*\\n")
        [Heading(level=1, title='Tea', start=0, end=8), Heading(level=2, title='Green tea', start=30, end=45)]
    """
    from markdown_it import MarkdownIt

    if "#" not in text and "==" not in text and "--" not in text:
        return []
    starts = [0, *(line.end() for line in _LINE_END.finditer(text)), len(text)]
    found = []
    for token, inline in pairwise(MarkdownIt("commonmark").parse(text)):
        if token.type == "heading_open" and token.level == 0 and token.map is not None:
            title = "".join(one.content for one in inline.children or () if one.type in ("text", "code_inline"))
            first, after = token.map
            found.append(Heading(int(token.tag[1:]), title, starts[first], starts[min(after, len(starts) - 1)]))
    return found


def heading_paths(text: str, places: list[int]) -> list[list[str]]:
    """For each place, the titles of the sections that it lies in, outermost first.

    A place in the white space in front of a heading counts as the heading's own.

    Args:
        text: A Markdown document.
        places: Offsets in characters.
    """
    paths: list[list[str]] = []
    starts: list[int] = []
    open_ones: list[Heading] = []
    for heading in headings_of(text):
        open_ones = [*(one for one in open_ones if one.level < heading.level), heading]
        starts.append(len(text[: heading.start].rstrip()))
        paths.append([one.title for one in open_ones])
    found = (bisect_right(starts, place) - 1 for place in places)
    return [paths[at] if at >= 0 else [] for at in found]
