"""Which part of a README or licence a model is given to read: plain functions on texts."""

from __future__ import annotations

import re
from typing import Final

import polars as pl

from infergraph.text import markdown
from infergraph.text.tokens import truncate

COUNTED_BY: Final = "local:smollm2-135m"
"""The model with the smallest room; others have rather fewer tokens for the same text."""

_MARKDOWN = re.compile(r"^#{1,6}\s|^(?:```|~~~)|\]\(|<(?:[a-z]\w*[\s>]|!--)", re.MULTILINE)
_DIRECTIVE = re.compile(r"^\.\. [\w|_]", re.MULTILINE)
_FENCE = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.MULTILINE | re.DOTALL)
_BADGE = re.compile(r"(?<!\S)\|[\w .:/-]{1,40}\|(?!\S)")
_LINK = re.compile(r"`([^`<]+?)\s*<[^>]*>`__?")
_REFERENCE = re.compile(r"^\s*(?:\[[^\]]+\]:\s|\.\. \S+).*$(?:\n^ {2,}\S.*$)*", re.MULTILINE)
_COPYRIGHT = re.compile(
    r"^[ \t]*(?:portions )?copyright\b.*$|^[ \t]*all rights reserved\.?[ \t]*$|^[ \t]*https?://\S+$", re.I | re.M
)
_RULE = re.compile(r"^\s*([=\-~^*#_+.])\1{2,}\s*$", re.MULTILINE)
_ELSEWHERE = re.compile(r"install|contents|licen[cs]e|copying|develop|contribut|changelog|release|build|test", re.I)
_UNDERLINED = re.compile(r"^(\S[^\n]*)\n([=\-~^])\2{2,}\s*$", re.MULTILINE)


def sections(readme: str) -> list[tuple[str, str]]:
    """The headings of a README and the text below each, up to the next heading.

    Args:
        readme: Markdown or reStructuredText, whichever it looks like.

    Returns:
        Pairs of heading (``""`` for what comes before the first one) and text, in order, without badges, pictures,
        addresses, HTML and code blocks; at most one empty line in a row.

    Example:
        >>> sections("Hi\\n# A\\nSee [docs](http://x).\\n## B\\ny"), sections("Hi\\n\\nA\\n===\\n`docs <http://x>`_")
        ([('', 'Hi'), ('A', 'See docs.'), ('B', 'y')], [('', 'Hi'), ('A', 'docs')])
    """
    text = readme.replace("\r\n", "\n")
    is_markdown = _MARKDOWN.search(text) is not None and _DIRECTIVE.search(_FENCE.sub("", text)) is None
    found = _of_markdown(text) if is_markdown else _of_restructured_text(text)
    return [(title.strip(), re.sub(r"\n\s*\n\s*", "\n\n", _RULE.sub("", part)).strip()) for title, part in found]


def _of_markdown(text: str) -> list[tuple[str, str]]:
    cut_up = pl.DataFrame({"readme": [_FENCE.sub("", text)]}).select(section=markdown.sections("readme"))
    rows = cut_up.explode("section").unnest("section").select("title", said=markdown.to_text("text"))
    # A section's text begins with its heading.
    return [(title or "", (said or "") if title is None else said.partition("\n\n")[2]) for title, said in rows.rows()]


def _of_restructured_text(text: str) -> list[tuple[str, str]]:
    plain = _REFERENCE.sub("", _BADGE.sub("", _LINK.sub(r"\1", text)))
    heads = list(_UNDERLINED.finditer(plain))
    ends = [head.start() for head in heads] + [len(plain)]
    below = [(head[1], plain[head.end() : end]) for head, end in zip(heads, ends[1:], strict=True)]
    return [("", plain[: ends[0]]), *below]


def opening(readme: str | None, *, tokens: int) -> str | None:
    """The first section of a README that says something in sentences, cut to so many tokens.

    Args:
        readme: A README; None gives None.
        tokens: At most so many tokens, more than 0.

    Returns:
        The prose of that section, without badges, menus and tables; None when there is none.

    Example:
        >>> opening("# Tool\\n\\n|CI|\\n\\n## About\\nTool turns plain text files into printed books.", tokens=5)
        'Tool turns plain text files…'
    """
    parts = [part for title, part in sections(readme or "") if not _ELSEWHERE.search(title)]
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


def licence_section(readme: str | None) -> str | None:
    """What a README says under a heading about its licence; None when there is no such heading.

    Example:
        >>> licence_section("# Tool\\nx\\n## License\\nMIT, see LICENSE.")
        'MIT, see LICENSE.'
    """
    found = [part for title, part in sections(readme or "") if part and re.search(r"licen[cs]e|copying", title, re.I)]
    return found[0] if found else None


def licence_words(field: str | None, file: str | None, readme: str | None) -> str | None:
    """What a package itself says about its licence, for a model to read: never what it declares by identifier.

    Args:
        field: The free text of the old ``License`` field.
        file: The opening of the licence file.
        readme: The README, of which the section about the licence is taken.

    Returns:
        The three where they exist, each cut, 180 tokens together and their names; None when the package says nothing.

    Example:
        >>> print(licence_words("MIT", "MIT License\\n\\nCopyright (c) 2020 A. B.\\n\\nPermission is granted...", None))
        License field: MIT
        License file: MIT License
        Permission is granted...
    """
    parts = {"License field": (field, 24), "License file": (file, 110), "README": (licence_section(readme), 46)}
    said = [
        f"{name}: {cut(_COPYRIGHT.sub('', text).strip(), tokens=tokens)}"
        for name, (text, tokens) in parts.items()
        if text and _COPYRIGHT.sub("", text).strip()
    ]
    return re.sub(r"\n\s*\n\s*|[ \t]{2,}", lambda found: "\n" if "\n" in found[0] else " ", "\n".join(said)) or None


def cut(text: str, *, tokens: int) -> str:
    """The beginning of a text, whole words, of at most so many tokens.

    Args:
        text: Any text.
        tokens: At most so many tokens, as the embedded model counts them, more than 0; the ellipsis is not counted.

    Returns:
        The text itself where it fits, else its beginning and an ellipsis.

    Example:
        >>> cut("one two three four", tokens=2), cut("one two", tokens=2)
        ('one two…', 'one two')
    """
    kept: str = pl.select(truncate(pl.lit(text), tokens, model=COUNTED_BY)).item()
    if kept == text:
        return text
    words = kept.rsplit(maxsplit=1)
    whole = words[0] if len(words) > 1 and not text[len(kept)].isspace() else kept
    return whole.rstrip() + "…"
