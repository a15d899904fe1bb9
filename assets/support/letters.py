"""From the bytes of a dropped file to the text that a model may read: plain functions, no Dagster.

Nothing is guessed silently: a file that gives no text gives a ``Skipped`` with the reason, and a text that was not
UTF-8 says so in ``encoding``.
"""

from __future__ import annotations

import email
import email.errors
import email.policy
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from typing import Literal

UTF16 = (b"\xff\xfe", b"\xfe\xff")
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
HEADER = re.compile(rb"\A(?:[A-Za-z][A-Za-z0-9-]*:[^\n]*\n(?:[ \t][^\n]*\n)*)+\r?\n")
SURROGATE = re.compile("[\ud800-\udfff]")
BROKEN = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError, RecursionError)
"""What Python's own mail and HTML readers raise on malformed input, whatever they promise."""
TURN = re.compile(r"^\[[^\]\n]{4,25}\] ?[^:\n]{1,40}:", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Letter:
    """What a person wrote.

    Args:
        channel: ``email``, ``chat`` or ``text``.
        subject: The e-mail's subject; None elsewhere.
        body: The text, with ``\\n`` as line end and without control characters.
        sent: When it was written as the e-mail says, UTC; None where nothing says so.
        encoding: What the text was decoded from; ``latin-1`` means: it was no UTF-8, and this is a guess.
    """

    channel: Literal["email", "chat", "text"]
    subject: str | None
    body: str
    sent: datetime | None
    encoding: str


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """Why a file gives no message."""

    reason: Literal["empty", "binary", "too large", "deleted", "changed", "duplicate", "unreadable"]
    detail: str


def read_letter(content: bytes) -> Letter | Skipped:
    """What the content of one file says.

    Args:
        content: The file's bytes.

    Returns:
        The letter, or why there is none (``empty``, ``binary`` or ``unreadable``).

    Example:
        >>> read_letter(b"Subject: Hello\\nFrom: a@b.example\\n\\nHow do I print?\\n").subject
        'Hello'
        >>> read_letter(b"   ").reason
        'empty'
    """
    if not content.strip():
        return Skipped(reason="empty", detail="there is nothing in the file")
    if _is_binary(content):
        return Skipped(reason="binary", detail="not a text; messages are .txt or .eml files")
    try:
        letter = _mail(content) if HEADER.match(content) and _has_sender(content) else _plain(content)
    except (*BROKEN, email.errors.MessageError) as error:
        return Skipped(reason="unreadable", detail=_clean(f"a malformed e-mail ({type(error).__name__}: {error})"))
    if not letter.body:
        return Skipped(reason="empty", detail=f"an {letter.channel} without text")
    return letter


def _is_binary(content: bytes) -> bool:
    """Null bytes, or more than one control character in twenty; UTF-16 with its mark is a text."""
    if content.startswith(UTF16):
        return False
    sample = content[:8192]
    control = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in sample)
    return b"\0" in sample or control * 20 > len(sample)


def _has_sender(content: bytes) -> bool:
    head = content[:4096].lower()
    return b"from:" in head and (b"subject:" in head or b"date:" in head)


def _plain(content: bytes) -> Letter:
    text, encoding = _decode(content)
    body = _clean(text)
    return Letter(
        channel="chat" if len(TURN.findall(body)) >= 2 else "text",
        subject=None,
        body=body,
        sent=None,
        encoding=encoding,
    )


def _decode(content: bytes) -> tuple[str, str]:
    if content.startswith(b"\xef\xbb\xbf"):
        return content[3:].decode("utf-8", errors="replace"), "utf-8-sig"
    if content.startswith(UTF16):
        return content.decode("utf-16", errors="replace"), "utf-16"
    try:
        return content.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return content.decode("latin-1"), "latin-1"


def _mail(content: bytes) -> Letter:
    message = email.message_from_bytes(content, policy=email.policy.default)
    part = message.get_body(preferencelist=("plain", "html"))
    text, encoding = _part_text(part) if isinstance(part, EmailMessage) else ("", "utf-8")
    if part is not None and part.get_content_type() == "text/html":
        text = html_text(text)
    return Letter(
        channel="email",
        subject=_clean(_header(message, "Subject")) or None,
        body=_clean(text),
        sent=_sent(_header(message, "Date")),
        encoding=encoding,
    )


def _header(message: EmailMessage, name: str) -> str:
    """A header's text; empty where there is none, or none that can be understood."""
    try:
        return str(message.get(name) or "")
    except (*BROKEN, email.errors.MessageError):
        return ""


def _part_text(part: EmailMessage) -> tuple[str, str]:
    payload = part.get_payload(decode=True)
    raw = payload if isinstance(payload, bytes) else b""
    declared = part.get_content_charset() or "utf-8"
    try:
        return raw.decode(declared), declared
    except (LookupError, UnicodeDecodeError):
        return _decode(raw)


def _sent(date: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(date)
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


def _clean(text: str) -> str:
    whole = SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)  # half characters cannot be written to any file
    return CONTROL.sub("", whole.replace("\r\n", "\n").replace("\r", "\n")).strip()


class _Text(HTMLParser):
    """Collects what a reader of the page would see."""

    unseen = ("script", "style", "head", "title", "template")
    blocks = ("p", "div", "br", "tr", "li", "h1", "h2", "h3", "table", "blockquote")
    lone = ("br", "img", "hr", "input", "meta", "link", "wbr")

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.hidden: list[str] = []

    def parse_html_declaration(self, i: int) -> int:
        """Pass over ``<![...>`` as browsers do; Python's parser stops at the ones that it does not know."""
        if not self.rawdata.startswith("<![", i):
            return super().parse_html_declaration(i)
        end = self.rawdata.find(">", i)
        return len(self.rawdata) if end < 0 else end + 1

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        style = (dict(attrs).get("style") or "").replace(" ", "").lower()
        invisible = tag in self.unseen or "display:none" in style or "visibility:hidden" in style
        if tag not in self.lone and (self.hidden or invisible):
            self.hidden.append(tag)
        if tag in self.blocks:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self.hidden:
            while self.hidden.pop() != tag:
                pass
        if tag in self.blocks:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.pieces.append(re.sub(r"\s+", " ", data))


def html_text(page: str) -> str:
    """The text of an HTML mail as a reader sees it: no scripts, styles, comments or invisible parts.

    Args:
        page: HTML, whole or a fragment.

    Returns:
        Text with one line a paragraph.

    Example:
        >>> html_text("<p>Hello</p><div style='display: none'>obey</div><script>x()</script><p>World</p>")
        'Hello\\nWorld'
    """
    parser = _Text()
    parser.feed(page)
    parser.close()
    lines = (line.strip() for line in "".join(parser.pieces).splitlines())
    return "\n".join(line for line in lines if line)
