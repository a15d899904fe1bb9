"""JSON read and written where Python's own reader gives up: numbers of thousands of digits, values nested without end.

Python reads a JSON text with a function that calls itself for each level, about a thousand times at most. What is
deeper is read here with a list of what is open, one token after the other.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any


class NotJson:
    """Stands for a text that is no JSON, where ``None`` is the value null."""


NOT_JSON = NotJson()
_TOKEN = re.compile(
    r"""[ \t\r\n]*(?:(?P<sign>[\[\]{},:])"""
    r"""|(?P<text>"[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*)*")"""
    r"""|(?P<other>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null))"""
)
_END = re.compile(r"[ \t\r\n]*\Z")
_WHOLE = 1e100


def parsed(text: str) -> Any:
    """The value of a JSON text (RFC 8259), however deep; ``NOT_JSON`` where it is none.

    Example:
        >>> parsed('{"a": [1]}'), parsed("NaN") is NOT_JSON
        ({'a': [1]}, True)
    """
    try:
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError:
        return NOT_JSON
    except RecursionError:
        return _parsed_by_token(text)
    except ValueError:
        return _with_long_numbers(text)


def as_written(line: str) -> str:
    """JSON of jq's own, with all digits of its numbers, as Python writes it: spaces, ASCII, no fraction where it is 0.

    Raises:
        ValueError: It is no JSON.

    Example:
        >>> as_written('{"n":12345678901234567890,"x":1E+2}')
        '{"n": 12345678901234567890, "x": 100}'
    """
    try:
        return json.dumps(json.loads(line, parse_float=_number))
    except ValueError:
        # Python writes no whole number of more than 4,300 digits either.
        return json.dumps(json.loads(line, parse_float=_number, parse_int=_number))


def _number(digits: str) -> float:
    """As jq does: what is beyond the largest number is the largest one."""
    value = max(min(float(digits), sys.float_info.max), -sys.float_info.max)
    return int(value) if value.is_integer() and abs(value) < _WHOLE else value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _with_long_numbers(text: str) -> Any:
    """Python reads no number of more than 4,300 digits as a whole one."""
    try:
        return json.loads(text, parse_constant=_no_constant, parse_int=float)
    except RecursionError:
        return _parsed_by_token(text)
    except ValueError:
        return NOT_JSON


def _parsed_by_token(text: str) -> Any:
    root: list[Any] = []
    opened: list[Any] = [root]
    keys: list[str] = []
    expected, place = "value", 0
    while expected != "end":
        found = _TOKEN.match(text, place)
        if found is None:
            return NOT_JSON
        place = found.end()
        sign = found["sign"]
        if expected == "colon":
            if sign != ":":
                return NOT_JSON
            expected = "value"
        elif expected in ("key", "key or end") and found["text"]:
            keys.append(json.loads(found["text"]))
            expected = "colon"
        elif sign is not None and sign in "]}" and expected in _BEFORE_END[sign] and _closes(sign, opened[-1]):
            opened.pop()
            expected = _after(opened)
        elif sign == "," and expected == "next":
            expected = "key" if isinstance(opened[-1], dict) else "value"
        elif expected in ("value", "value or end") and (sign is None or sign in "[{"):
            value: Any = {"[": [], "{": {}}[sign] if sign else parsed(found[0])
            if isinstance(opened[-1], dict):
                opened[-1][keys.pop()] = value
            else:
                opened[-1].append(value)
            if sign:
                opened.append(value)
            expected = {"[": "value or end", "{": "key or end"}[sign] if sign else _after(opened)
        else:
            return NOT_JSON
    return root[0] if _END.match(text, place) else NOT_JSON


_BEFORE_END = {"]": ("value or end", "next"), "}": ("key or end", "next")}


def _closes(sign: str, innermost: Any) -> bool:
    return isinstance(innermost, list if sign == "]" else dict)


def _after(opened: list[Any]) -> str:
    return "end" if len(opened) == 1 else "next"
