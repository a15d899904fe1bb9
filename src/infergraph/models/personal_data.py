"""How e-mail addresses, IBANs, card numbers and phone numbers are found in a text: pure functions, no dictionary.

Account and card numbers carry their own proof (mod 97, Luhn), so a date or an order number is hardly ever taken for
one. Phone numbers have none: one is found by how it is written (``+49...``, ``0049...``, ``(212) 555-0123``,
``030 1234567``) or by the word before it (``tel``, ``call``, ``fax``...). A bare row of digits is none, and neither are
dates, versions, addresses of machines and amounts. No finding spans a line break or contains ``<`` or ``>``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

Span = tuple[int, int]

# In JSON a line break before a value is spelt \n: the letter belongs to the escape, not to what follows.
_START = r"(?:(?<![^\W_])|(?<=\\[nrtbf])|(?<=\\u[0-9a-fA-F]{4}))"
_END = r"(?![^\W_])"
# Spaces, dots and every hyphen that word processors write.
_GAP = r"[ \t\u00a0\u2007\u2009\u202f.\-\u2010-\u2015]"

_LOCAL = r"[\w.!#$%&'*+/=?^`{|}~\-]"
# Chinese and Japanese keyboards write them as wide as their letters.
_AT, _DOT = "[@\uff20\ufe6b]", "[.\uff0e]"
_HAS_AT = re.compile(_AT)
_EMAIL = re.compile(
    rf'(?:(?<!{_LOCAL})(?P<local>{_LOCAL}++)|"[^"\r\n<>]{{1,64}}"){_AT}'
    rf"(?:(?:[^\W_](?:[\w\-]*[^\W_])?{_DOT})+(?:[^\W\d_]{{2,}}|xn--[\w\-]+)|\[[0-9a-fA-F.:]{{3,45}}\])"
)


def emails(text: str) -> Iterator[Span]:
    """E-mail addresses.

    Example:
        >>> [text[a:b] for text in ["to: Ann.O'Neil+x@mail.example.org."] for a, b in emails(text)]
        ["Ann.O'Neil+x@mail.example.org"]
    """
    if "@" not in text and not _HAS_AT.search(text):
        return
    for match in _EMAIL.finditer(text):
        local = match["local"]
        # Marks around an address ('ann@example.org') are no part of it.
        skipped = 0 if local is None else len(local) - len(local.lstrip("!#$%&'*/=?^`{|}~.-"))
        if local is None or skipped < len(local):
            yield match.start() + skipped, match.end()


_IBAN = re.compile(rf"{_START}(?P<country>[A-Za-z]{{2}})\d{{2}}(?:[ \t\u00a0\-]?[A-Za-z0-9]){{11,30}}", re.ASCII)
# fmt: off
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29,
    "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29,
    "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
    "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28,
    "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20,
    "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29, "PT": 25,
    "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27,
    "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}
# fmt: on


def ibans(text: str) -> Iterator[Span]:
    """International bank account numbers whose check digits are right.

    Example:
        >>> [text[a:b] for text in ["to DE89 3704 0044 0532 0130 00 now"] for a, b in ibans(text)]
        ['DE89 3704 0044 0532 0130 00']
    """
    at = 0
    while match := _IBAN.search(text, at):
        end = _iban_end(text, match)
        if end is not None:
            yield match.start(), end
        at = match.start() + 2 if end is None else end


def _iban_end(text: str, match: re.Match[str]) -> int | None:
    length = _IBAN_LENGTHS.get(match["country"].upper())
    signs = [place for place in range(match.start(), match.end()) if text[place].isalnum()]
    if length is None or len(signs) < length:
        return None
    end = signs[length - 1] + 1
    if end < len(text) and text[end].isalnum():
        return None
    number = "".join(text[place] for place in signs[:length]).upper()
    return end if int("".join(str(int(sign, 36)) for sign in number[4:] + number[:4])) % 97 == 1 else None


_CARD = re.compile(rf"(?<!\d)\d+(?:{_GAP}{{1,2}}\d+)*")
_GROUP = re.compile(r"\d+")
_GROUPINGS = {(4, 6, 5), (4, 6, 4), (8, 8)}


def cards(text: str) -> Iterator[Span]:
    """Numbers of payment cards: 13 to 19 digits of a known network with the right check digit.

    Example:
        >>> [text[a:b] for text in ["4111-1111-1111-1111, id 4111111111111112"] for a, b in cards(text)]
        ['4111-1111-1111-1111']
    """
    for match in _CARD.finditer(text):
        if match.end() - match.start() < 13:
            continue
        groups = [group.span() for group in _GROUP.finditer(text, *match.span())]
        first = 0
        while first < len(groups):
            last = None if _decimals(text, groups[first][0]) else _card_from(text, groups, first)
            if last is not None:
                yield groups[first][0], groups[last][1]
            first = first + 1 if last is None else last + 1


def _decimals(text: str, start: int) -> bool:
    """Whether these are the digits after a decimal point."""
    return start >= 2 and text[start - 1] in ".," and text[start - 2].isdigit()


def _card_from(text: str, groups: Sequence[Span], first: int) -> int | None:
    """The last group of a card number that begins with this group."""
    sizes = [end - start for start, end in groups[first : first + 5]]
    ends = [last for last, digits in enumerate(accumulate(sizes)) if 13 <= digits <= 19]
    for last in reversed(ends):
        written = tuple(sizes[: last + 1])
        in_fours = all(size == 4 for size in written[:-1]) and written[-1] <= 4
        if last and not in_fours and written not in _GROUPINGS:
            continue
        digits = "".join(text[start:end] for start, end in groups[first : first + last + 1])
        if _of_a_network(digits) and _luhn(digits):
            return first + last
    return None


def _luhn(digits: str) -> bool:
    doubled = (int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits)))
    return sum(number - 9 * (number > 9) for number in doubled) % 10 == 0


def _of_a_network(digits: str) -> bool:
    two, four = int(digits[:2]), int(digits[:4])
    match len(digits):
        case 13:
            return digits[0] == "4"
        case 14:
            return two in (36, 38, 39) or 300 <= four // 10 <= 305
        case 15:
            return two in (34, 37)
        case 16:
            return two in (30, 35, 36, 38, 39) or digits[0] in "456" or 2221 <= four <= 2720
        case _:
            return digits[0] == "4" or two in (35, 50, 56, 57, 58) or digits[0] == "6"


# fmt: off
_CUES = (
    "tel", "telephone", "telefon", "telefono", "teléfono", "téléphone", "phone", "ph", "mobile", "mobil", "móvil",
    "mob", "cell", "cellular", "cellphone", "handy", "portable", "fax", "telefax", "facsimile", "pager", "call", "dial",
    "text", "sms", "whatsapp", "rufnummer", "telefonnummer", "handynummer", "mobilnummer", "anrufen", "hotline",
)
# fmt: on
_IN_PHONE = rf"(?:{_GAP}|[()/]){{0,3}}"
# Not inside a number, an identifier (AB-212-555-0123), a date or a version.
_ALONE = rf"{_START}(?<!\d[.,/:])(?<![^\W_]-)"
_RUN = re.compile(rf"\d(?:{_IN_PHONE}\d){{5,}}")
_GROUP_START = re.compile(r"\d+")
_WRITTEN = re.compile(
    rf"""
    (?P<plus>(?<![\d+])\+[ \t]?[(]?[1-9](?:{_IN_PHONE}\d){{6,14}})
    | {_ALONE} (?:
        (?P<abroad>00{_GAP}?[1-9](?:{_IN_PHONE}\d){{9,13}})
        | (?P<american>(?:1{_GAP}|1(?=[(]))?(?:[(][2-9]\d\d[)]{_GAP}{{0,2}}|[2-9]\d\d(?:{_GAP}{{1,3}}|/))
            [2-9]\d\d{_GAP}{{1,3}}\d{{4}})
        | (?P<national>(?:[(]0\d{{1,5}}[)](?:{_GAP}|/){{0,2}}|0\d{{1,5}}(?:{_GAP}|[ \t]?/[ \t]?))
            \d{{2,9}}(?:{_GAP}\d{{2,8}}){{0,4}})
    )
    | (?P<cued>[(]?\d(?:{_IN_PHONE}\d){{5,14}})
    """,
    re.VERBOSE,
)
_CUE = re.compile(
    rf"\b(?:{'|'.join(_CUES)})\b"
    r"(?:[ \t]*(?:[.:#=|\-(+]|\b(?:no|nr|num|number|is|us|me|at|on|him|her|ist|unter)\b))*[ \t]*$",
    re.IGNORECASE,
)
_CUE_WITHIN = 60
_EXTENSION = re.compile(r"(?:[ \t]*(?:x|ext\.?|extension|#)[ \t]*\d{1,6}(?!\d))?", re.IGNORECASE)
_GOES_ON = re.compile(r"\d|[.,:/\-]\d|%")
_DATE = re.compile(
    r"(?:(?:19|20)\d\d(?P<a>[./\- ])(?:0?[1-9]|1[0-2])(?P=a)(?:0?[1-9]|[12]\d|3[01])(?!\d|(?P=a)\d)"
    r"|(?:0?[1-9]|[12]\d|3[01])(?P<b>[./\- ])(?:0?[1-9]|[12]\d|3[01])(?P=b)(?:(?:19|20)\d\d|\d\d)(?!\d|(?P=b)\d))"
)
_DIGITS = {"plus": (7, 15), "abroad": (12, 16), "american": (10, 11), "national": (9, 12), "cued": (6, 15)}
"""Fewest and most digits of each way to write a phone number."""


def phones(text: str) -> Iterator[Span]:
    """Phone numbers, an extension included; one of digits alone only after a word such as ``tel``.

    Example:
        >>> [text[a:b] for text in ["(212) 555-0123 ext. 4, order 2125550123, tel: 5550123"] for a, b in phones(text)]
        ['(212) 555-0123 ext. 4', '5550123']
    """
    done = 0
    for run in _RUN.finditer(text):
        for group in _GROUP_START.finditer(text, *run.span()):
            if group.start() < done:
                continue
            found = _phone_from(text, group.start(), done)
            if found is not None:
                yield found
                done = found[1]


def _phone_from(text: str, digits: int, done: int) -> Span | None:
    """The phone number whose first digits stand here, with the signs before them that are part of it."""
    for before in ("+ (", "+(", "+ ", "+", "(", ""):
        start = digits - len(before)
        match = _WRITTEN.match(text, start) if start >= done and text.startswith(before, start) else None
        if match is None or (match.lastgroup == "cued" and not _CUE.search(text, max(0, start - _CUE_WITHIN), start)):
            continue
        end = _phone_end(text, match.lastgroup or "", start, match.end())
        if end is not None:
            return start, end
    return None


def _phone_end(text: str, kind: str, start: int, end: int) -> int | None:
    """Where the number ends: before digits that are too many, behind an extension."""
    if _DATE.match(text, start):
        return None
    fewest, most = _DIGITS[kind]
    for stop in reversed([group.end() for group in _GROUP.finditer(text, start, end)]):
        digits = sum(map(str.isdigit, text[start:stop]))
        if digits < fewest:
            return None
        extension = _EXTENSION.match(text, stop)
        behind = stop if extension is None else extension.end()
        part_of_a_word = kind == "national" and text[behind : behind + 1].isalnum()
        if digits <= most and not part_of_a_word and not _GOES_ON.match(text, behind):
            return behind
    return None


FINDERS: dict[str, Callable[[str], Iterator[Span]]] = {
    "email": emails,
    "iban": ibans,
    "card": cards,
    "phone": phones,
}
"""How each kind is found, in the order in which they are replaced."""
SUSPICIOUS = r"[@\x{ff20}\x{fe6b}]|\d(?:[^\w\r\n]{0,4}\d){5}|[A-Za-z]{2}\d{2}[ \t\x{a0}-]?[A-Za-z0-9]"
"""A pattern of Polars' kind: a text in which it finds nothing holds none of these kinds."""
