"""Where the headings of a Markdown document stand, and under which of them a place lies."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from infergraph.text.markdown_blocks import headings, parse


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading, with the titles of the sections that it stands in, its own last."""

    level: int
    title: str
    path: tuple[str, ...]
    start: int
    """The beginning of its line, in characters of the source."""


def headings_of(text: str) -> list[Heading]:
    r"""The headings of a Markdown document that are no part of a list or a quotation, in order.

    Example:
        >>> for heading in headings_of("Tea\n===\n\n```\n# no heading\n```\n## Green *tea*\n"):
        ...     print(heading.level, heading.path, heading.start)
        1 ('Tea',) 0
        2 ('Tea', 'Green tea') 30
    """
    if "#" not in text and "=" not in text and "-" not in text:
        return []
    found: list[Heading] = []
    above: list[Heading] = []
    for block in headings(parse(text)):
        level, title = block.level or 1, " ".join(block.text.split())
        above = [one for one in above if one.level < level]
        start = max(text.rfind("\n", 0, block.start), text.rfind("\r", 0, block.start)) + 1
        heading = Heading(level, title, (*(one.title for one in above), title), start)
        above.append(heading)
        found.append(heading)
    return found


def heading_paths(text: str, places: list[int]) -> list[list[str]]:
    """For each place, the titles of the sections that it lies in, outermost first.

    A place in the white space in front of a heading counts as the heading's own.

    Args:
        text: A Markdown document.
        places: Offsets in characters.
    """
    found = headings_of(text)
    starts = [len(text[: heading.start].rstrip()) for heading in found]
    return [list(found[at].path) if (at := bisect_right(starts, place) - 1) >= 0 else [] for place in places]
