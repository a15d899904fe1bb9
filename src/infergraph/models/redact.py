"""Secrets stay out of everything that is printed, stored or pickled.

``Secret`` holds a key: its text appears only where ``reveal`` is called, which is one place in each
provider's file. ``redact`` cleans text that came from outside (error bodies, headers) before it is
shown or stored.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from functools import wraps
from typing import Self, TypeVar
from urllib.parse import quote, quote_plus

from infergraph.errors import InfergraphError, ProviderError

T = TypeVar("T")

MASK = "***"
_LONG_ENOUGH = 12

_KEY_SHAPES = re.compile(
    r"(?:sk|pk|rk|key|xai|gsk)-[A-Za-z0-9_\-]{8,}"
    r"|(?i:bearer)\s+[A-Za-z0-9._\-~+/]{8,}=*"
    r"|(?<=://)[^/\s:@]*:[^/\s]+(?=@)"
)


class Secret:
    """A text that never shows itself.

    Args:
        value: The secret's text.

    Example:
        >>> Secret("sk-very-secret")
        Secret(***)
        >>> Secret("sk-very-secret").reveal()
        'sk-very-secret'
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    @classmethod
    def of(cls, value: str | Secret) -> Secret:
        """A secret of a text, or the secret itself."""
        return value if isinstance(value, Secret) else cls(value)

    def __bool__(self) -> bool:
        """Whether there is anything to keep; a secret that came out of a pickle is empty."""
        return bool(self._value.strip())

    def reveal(self) -> str:
        """The text itself; call it only where it goes on the wire."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(("Secret", self._value))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        # A copy stays in this process; only a pickle leaves it.
        return self

    def __reduce__(self) -> str | tuple[object, ...]:
        # A pickle travels to other processes and onto disks: the receiver reads its own environment.
        return (Secret, ("",))


def made_without_traces(cls: type[T]) -> type[T]:
    """A class whose arguments may be secrets: what refuses them is raised without the frames that hold them.

    A traceback that shows variables (pytest's, rich's, an error tracker's) would print them.

    Args:
        cls: The class; its signature stays as it is.
    """
    make: Callable[..., None] = cls.__dict__["__init__"]

    @wraps(make)
    def __init__(self: T, *args: object, **settings: object) -> None:
        try:
            make(self, *args, **settings)
        except InfergraphError as error:
            problem = error.with_traceback(None)
        else:
            return
        problem.__cause__ = problem.__context__ = None
        del self, args, settings
        raise problem

    type.__setattr__(cls, "__init__", __init__)
    return cls


def redact(text: str, *secrets: Secret | str | None) -> str:
    """The text without the given secrets, however they are spelt, and without anything shaped like a key.

    Args:
        text: What is about to be shown or stored.
        secrets: Secrets known to the caller; empty ones and ``None`` are passed over.

    Returns:
        The same text with ``***`` in their place.

    Example:
        >>> redact("bad key hunter22 (Bearer abcdefgh12345)", Secret("hunter22"))
        'bad key *** (***)'
    """
    for secret in secrets:
        value = secret.reveal() if isinstance(secret, Secret) else secret
        for spelling in _spellings(value) if value else ():
            text = re.sub(re.escape(spelling), MASK, text, flags=re.IGNORECASE if "%" in spelling else 0)
    return _KEY_SHAPES.sub(MASK, text)


def _spellings(value: str) -> list[str]:
    """A secret as it is, as addresses, JSON and Python spell it, and in base64; the longest first."""
    plain = value.encode("utf-8", "surrogatepass")
    found = {value, quote(value, safe=""), quote(value), quote_plus(value), json.dumps(value)[1:-1], repr(value)[1:-1]}
    if len(plain) >= _LONG_ENOUGH:
        # In base64 its first and last signs depend on what stands around it.
        inner = {base64.b64encode(bytes(skip) + plain)[4:-4].decode() for skip in range(3)}
        found |= inner | {one.replace("+", "-").replace("/", "_") for one in inner}
    return sorted(found, key=len, reverse=True)


def redact_address(address: str) -> str:
    """An address without what may be secret in it, also where it is written wrongly: user, password, query.

    Args:
        address: What is about to be shown; anything up to its last ``@`` may be a password.

    Returns:
        The same with ``***`` in their place.

    Example:
        >>> redact_address("postgresql://me:p@ss/word@host/db?password=x")
        'postgresql://***@host/db?***'
        >>> redact_address("postgresql//me:secret@host/db")
        '***@host/db'
    """
    before, at, rest = address.rpartition("@")
    scheme, slashes, _ = before.partition("://")
    shown = f"{scheme if slashes else ''}{slashes}{MASK}@{rest}" if at else address
    plain = re.match(r"[^?#]*[?#]?", shown)
    assert plain is not None
    return shown if plain.end() == len(shown) else f"{plain.group()}{MASK}"


def redact_error(error: BaseException, *secrets: Secret | str | None) -> BaseException:
    """An error of code that is not ours, with the secrets taken out of its texts and of those that it came from.

    Args:
        error: The error; its arguments are replaced where they hold a secret.
        secrets: Secrets known to the caller.

    Returns:
        The same error; a ``ProviderError`` in its place where it shows a secret that cannot be taken out.

    Example:
        >>> redact_error(RuntimeError("bad key sk-abcdefgh12345"))
        RuntimeError('bad key ***')
    """
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        cleaned = tuple(redact(part, *secrets) if isinstance(part, str) else part for part in link.args)
        if cleaned != link.args:
            link.args = cleaned
        if redact(str(link), *secrets) != str(link):
            return ProviderError(f"{type(error).__name__}: {redact(str(error), *secrets)}")
        link = link.__cause__ or link.__context__
    return error
