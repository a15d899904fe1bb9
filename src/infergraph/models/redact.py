"""Secrets stay out of everything that is printed, stored or pickled.

``Secret`` holds a key: its text appears only where ``reveal`` is called, which is one place in each
provider's file. ``redact`` cleans text that came from outside (error bodies, headers) before it is
shown or stored.
"""

from __future__ import annotations

import re

MASK = "***"

_KEY_SHAPES = re.compile(
    r"(?:sk|pk|rk|key|xai|gsk)-[A-Za-z0-9_\-]{8,}"
    r"|(?i:bearer)\s+[A-Za-z0-9._\-~+/]{8,}=*"
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
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

    def __reduce__(self) -> str | tuple[object, ...]:
        # A pickle travels to other processes and onto disks: the receiver reads its own environment.
        return (Secret, ("",))


def redact(text: str, *secrets: Secret | str | None) -> str:
    """The text without the given secrets and without anything shaped like a key.

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
        if value:
            text = text.replace(value, MASK)
    return _KEY_SHAPES.sub(MASK, text)
