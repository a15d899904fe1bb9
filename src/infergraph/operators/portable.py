"""Python functions in expressions as texts: the same on every machine, others where a function does something else."""

from __future__ import annotations

import pickletools
import re
from hashlib import blake2b
from pathlib import PurePath

import polars as pl
from polars.exceptions import PolarsError

_PICKLED = re.compile(r'"function":\[([0-9,]+)\]')
_PICKLE = b"\x80\x05"


def portable(text: str) -> str:
    """An identity with each Python function in it by what it does, wherever its code lies.

    Polars keeps functions as pickles, in which the paths of their modules stand, and marks of which texts were one
    object in this process: the same plan would be another one on the next machine.
    """
    return _PICKLED.sub(lambda found: f'"function":"{_digest(bytes(map(int, found[1].split(","))))}"', text)


def _digest(function: bytes) -> str:
    digest = blake2b(digest_size=16)
    start = max(function.find(_PICKLE), 0)
    digest.update(function[:start])
    seen: list[str | bytes | None] = []
    last: str | bytes | None = None
    for code, argument, _ in pickletools.genops(function[start:]):
        if code.name == "MEMOIZE":
            seen.append(last)
            continue
        again = code.name in ("BINGET", "LONG_BINGET")
        value = seen[int(argument)] if again and argument is not None else argument
        last = value if isinstance(value, (str, bytes)) else None
        if isinstance(last, str) and last.endswith(".py") and PurePath(last).is_absolute():
            continue
        if code.name != "FRAME":
            digest.update(repr(last if last is not None else (code.name, None if again else value)).encode())
    return digest.hexdigest()


def function_text(expr: pl.Expr) -> str:
    """What tells the Python functions of an expression from others; empty where it has none, or they cannot be read.

    Example:
        >>> def counted(least):
        ...     return pl.col("x").map_elements(lambda text: len(text) > least, return_dtype=pl.Boolean)
        >>> function_text(pl.col("x")), function_text(counted(1)) == function_text(counted(2))
        ('', False)
    """
    if "python_udf" not in str(expr):
        return ""
    try:
        text = expr.meta.serialize(format="json")
    except (PolarsError, TypeError, ValueError, AttributeError):
        return ""
    return blake2b(portable(text).encode(), digest_size=8).hexdigest()
