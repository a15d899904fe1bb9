"""HTML pages as Markdown and as words: the library html-to-markdown, and what is done before and after it.

Before: cells over several rows or columns are set apart (``html_spans.py``), and what is nested deeper than the library
goes loses its markup, not its words (``html_depth.py``). After: the library's escaping of text that Markdown would read
as markup is complete, but makes ``well\\-known`` of well-known; what Markdown does not need is taken away again.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from infergraph.text.html_depth import flattened
from infergraph.text.html_spans import without_spans

_NO_LIMIT = 2**40
_MANY_TAGS = 4_000
_DANGEROUS = 2_000
"""Some pages with elements 9,000 levels deep end the library's process."""
_FENCE = re.compile(r"[\s>]*(?:(?:[-*+]|\d{1,9}[.)])\s+)*(?P<fence>`{3,}|~{3,})[^`]*$")
_LETTER = re.compile(r"[^\W\d_]")
_PIPE = re.compile(r"(?:^|[^\\])\|")
_ESCAPE = re.compile(
    # Only from the first one of a run of backticks, which may stand behind one that is escaped.
    r"(?P<code>(?<!(?<!\\)`)(`+)(?!`).*?(?<!`)\2(?!`))"
    # Within a word, underscores are letters to Markdown.
    r"|(?<=[^\W_])(?P<word>(?:\\_)+)(?=[^\W_])"
    r"|\\(?P<sign>.)"
)
_REFERENCE = re.compile(r"(?:\\?#)?\w{1,32};")
"""What stands behind the ``&`` of a character reference such as ``&amp;``."""
_CAPTION = re.compile(r"(?:(?<=\n\n)|\A)\*(?:[^\n]|\n(?!\n))+\*(?=\n\n\|)")
_HYPHEN = re.compile(r"\\\\(-?)")


def converted(page: str, output: Literal["markdown", "plain"]) -> str:
    """The page as Markdown or as words, without empty lines around.

    Example:
        >>> converted("<p>So 5 * 3 = <b>15</b>, [sic] well-known", "markdown")
        'So 5 \\\\* 3 = **15**, \\\\[sic\\\\] well-known'
    """
    if page.count("<") > _MANY_TAGS:
        page = flattened(page, from_level=_DANGEROUS)
    result = _convert(page, output)
    for strict in (False, True):
        if _is_cut_short(result):
            result = _convert(flattened(page, strict=strict), output)
    made = str(result.content or "").strip("\n")
    return _lighter(made) if output == "markdown" else made


def _convert(page: str, output: str) -> Any:
    from html_to_markdown import ConversionOptions, PreprocessingOptions, convert

    # What is beside the main part goes only where ``main_content`` is asked for it.
    everything = PreprocessingOptions(enabled=False, remove_navigation=False, remove_forms=False)
    escaped = output == "markdown"
    return convert(
        without_spans(page) if escaped else page,
        ConversionOptions(
            output_format=output,
            extract_metadata=False,
            max_input_size=_NO_LIMIT,
            preprocessing=everything,
            escape_asterisks=escaped,
            escape_underscores=escaped,
            escape_misc=escaped,
        ),
    )


def _is_cut_short(result: Any) -> bool:
    return any(str(warning.kind) == "depth_limit_exceeded" for warning in result.warnings)


def _lighter(markdown: str) -> str:
    """The same Markdown without the backslashes that it does not need."""
    if "\\" not in markdown:
        return markdown
    if "\\\\-" in markdown:
        # In captions the library escapes hyphens once more, which would show.
        markdown = _CAPTION.sub(lambda caption: _HYPHEN.sub(_plain_hyphen, caption[0]), markdown)
    lines = markdown.split("\n")
    fence = ""
    for number, line in enumerate(lines):
        found = _FENCE.match(line)
        if fence:
            closes = found is not None and found["fence"].startswith(fence) and line.endswith(found["fence"])
            fence = "" if closes else fence
        elif found is not None:
            fence = found["fence"]
        elif "\\" in line:
            lines[number] = _lighter_line(line)
    return "\n".join(lines)


def _plain_hyphen(pair: re.Match[str]) -> str:
    return "\\-" if pair[1] else pair[0]


def _lighter_line(line: str) -> str:
    first = _LETTER.search(line)
    words = len(line) if first is None else first.start()
    row = _PIPE.search(line) is not None

    def needed(found: re.Match[str]) -> str:
        if found["code"]:
            return found["code"]
        if found["word"]:
            return found["word"].replace("\\", "")
        needless = _is_needless(found["sign"], line, found.end(), within=found.start() > words, row=row)
        return found["sign"] if needless else found[0]

    return _ESCAPE.sub(needed, line)


def _is_needless(sign: str, line: str, after: int, *, within: bool, row: bool) -> bool:
    """Whether a sign means itself to Markdown where it stands, also without a backslash in front.

    Args:
        sign: The sign.
        line: The line as it was.
        after: Where it goes on behind the sign.
        within: Whether words stand in front, so that the sign cannot make the line a heading, a list or a quotation.
        row: Whether the line is a row of a table.
    """
    following = line[after : after + 1]
    match sign:
        case "-" | "+" | "=" | ">":
            return within
        case ".":
            return within or not (following.isspace() or not following)
        case "#":
            return within and (not line[after - 3].isspace() or following.isalnum())
        case "&":
            return _REFERENCE.match(line, after) is None
        case "<":
            return not (following.isascii() and following.isalpha()) and following not in ("/", "!", "?")
        case "|":
            return not row
        case _:
            return False
