"""Which part of a README or licence a model is given to read: plain functions on texts."""

from __future__ import annotations

import re
from typing import Final

CHARACTERS_A_TOKEN: Final = 3.0
"""Fewer than English prose has (about 4), as READMEs are full of names and addresses."""

_FENCE = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_IMAGE = re.compile(r"\[?!\[[^\]]*\]\([^)]*\)(?:\]\([^)]*\))?|\[?!\[[^\]]*\]\[[^\]]*\](?:\]\[[^\]]*\])?")
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,20000}>")
_BADGE = re.compile(r"(?<!\S)\|[\w .:/-]{1,40}\|(?!\S)")
_LEFTOVER = re.compile(r"!?\]\((?:https?:|/|\.)[^)\s]*\)")
_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)|`([^`<]+?)\s*<[^>]*>`__?")
_REFERENCE = re.compile(r"^\s*(?:\[[^\]]+\]:\s|\.\. \S+).*$(?:\n^ {2,}\S.*$)*", re.MULTILINE)
_COPYRIGHT = re.compile(
    r"^[ \t]*(?:portions )?copyright\b.*$|^[ \t]*all rights reserved\.?[ \t]*$|^[ \t]*https?://\S+$", re.I | re.M
)
_RULE = re.compile(r"^\s*([=\-~^*#_+.])\1{2,}\s*$", re.MULTILINE)
_ELSEWHERE = re.compile(r"install|contents|licen[cs]e|copying|develop|contribut|changelog|release|build|test", re.I)
_HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$|^(\S[^\n]*)\n([=\-~^])\3{2,}\s*$", re.MULTILINE)


def plain(markdown: str) -> str:
    """Markdown or reStructuredText without badges, images, addresses, HTML and code blocks; headings stay.

    Args:
        markdown: A README.

    Returns:
        The text, at most one empty line in a row.

    Example:
        >>> plain("[![ci](a.svg)](b)\\n# Tool\\n\\nSee [docs](http://x).\\n```\\nx = 1\\n```")
        '# Tool\\n\\nSee docs.'
    """
    text = _FENCE.sub("", _COMMENT.sub("", markdown.replace("\r\n", "\n")))
    text = _TAG.sub("", _LINK.sub(lambda found: found[1] or found[2], _IMAGE.sub("", text)))
    text = _REFERENCE.sub("", _BADGE.sub("", _LEFTOVER.sub("", text)))
    return re.sub(r"\n\s*\n\s*", "\n\n", text).strip()


def sections(markdown: str) -> list[tuple[str, str]]:
    """The headings of a README and the text below each, up to the next heading.

    Args:
        markdown: A README in Markdown or reStructuredText.

    Returns:
        Pairs of heading (``""`` for what comes before the first one) and text, in order.

    Example:
        >>> sections("Hi\\n# A\\nx\\n## B\\ny")
        [('', 'Hi'), ('A', 'x'), ('B', 'y')]
    """
    text = plain(markdown)
    heads = list(_HEADING.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    first = text[: heads[0].start()] if heads else text
    below = (
        [(head[1] or head[2] or "", text[head.end() : end]) for head, end in zip(heads, ends, strict=True)]
        if heads
        else []
    )
    return [(title.strip(), _RULE.sub("", part).strip()) for title, part in [("", first), *below]]


def opening(markdown: str | None, *, tokens: int) -> str | None:
    """The first section of a README that says something in sentences, cut to so many tokens.

    Args:
        markdown: A README; None gives None.
        tokens: At most so many tokens, more than 0.

    Returns:
        The prose of that section, without badges, menus and tables; None when there is none.

    Example:
        >>> opening("# Tool\\n\\n|CI|\\n\\n## About\\nTool turns plain text files into printed books.", tokens=9)
        'Tool turns plain text files…'
    """
    parts = [part for title, part in sections(markdown or "") if not _ELSEWHERE.search(title)]
    found = next((prose for part in parts if (prose := _prose(part))), None)
    return cut(found, tokens=tokens) if found else None


def _prose(part: str) -> str:
    return "\n\n".join(paragraph for paragraph in part.split("\n\n") if _is_prose(paragraph))


def _is_prose(paragraph: str) -> bool:
    """At least five words, three a line, and more letters than anything else: no menu, badge, table or command."""
    words = re.findall(r"(?<!\S)[\"'(*`_]*([^\W\d_]+(?:['-][^\W\d_]+)*)[\"')*`_.,;:!?]*(?!\S)", paragraph)
    lines = paragraph.count("\n") + 1
    letters = sum(map(len, words))
    return len(words) >= max(5, 3 * lines) and letters * 10 >= 6 * len(re.sub(r"\s", "", paragraph))


def licence_section(markdown: str | None) -> str | None:
    """What a README says under a heading about its licence; None when there is no such heading.

    Example:
        >>> licence_section("# Tool\\nx\\n## License\\nMIT, see LICENSE.")
        'MIT, see LICENSE.'
    """
    found = [part for title, part in sections(markdown or "") if part and re.search(r"licen[cs]e|copying", title, re.I)]
    return found[0] if found else None


def licence_words(field: str | None, file: str | None, readme: str | None) -> str | None:
    """What a package itself says about its licence, for a model to read: never what it declares by identifier.

    Args:
        field: The free text of the old ``License`` field.
        file: The opening of the licence file.
        readme: The README, of which the section about the licence is taken.

    Returns:
        The three where they exist, each cut, about 230 tokens together; None when the package says nothing.

    Example:
        >>> print(licence_words("MIT", "MIT License\\n\\nCopyright (c) 2020 A. B.\\n\\nPermission is granted...", None))
        License field: MIT
        License file: MIT License
        Permission is granted...
    """
    parts = {"License field": (field, 30), "License file": (file, 140), "README": (licence_section(readme), 60)}
    said = [
        f"{name}: {cut(_COPYRIGHT.sub('', text).strip(), tokens=tokens)}"
        for name, (text, tokens) in parts.items()
        if text and _COPYRIGHT.sub("", text).strip()
    ]
    return re.sub(r"\n\s*\n\s*|[ \t]{2,}", lambda found: "\n" if "\n" in found[0] else " ", "\n".join(said)) or None


def cut(text: str, *, tokens: int) -> str:
    """The beginning of a text, whole words, of at most about so many tokens.

    Args:
        text: Any text.
        tokens: At most so many tokens, more than 0; one token is taken as three bytes of UTF-8.

    Returns:
        The text itself where it fits, else its beginning and an ellipsis.

    Example:
        >>> cut("one two three", tokens=3)
        'one two…'
    """
    room = int(tokens * CHARACTERS_A_TOKEN)
    raw = text.encode()
    if len(raw) <= room:
        return text
    kept = raw[:room].decode("utf-8", errors="ignore")
    words = kept.rsplit(maxsplit=1)
    whole = words[0] if len(words) > 1 and not text[len(kept) : len(kept) + 1].isspace() else kept
    return whole.rstrip() + "…"
