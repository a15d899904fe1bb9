"""Names of the folders that assets and partitions lie in: any key becomes a safe name, and comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from upath import UPath

_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.")
_SEGMENT = 180


@dataclass(frozen=True, kw_only=True)
class Place:
    """One asset, or one partition of it.

    Args:
        asset: The parts of the asset key.
        partition: The partition key; ``None`` for an unpartitioned asset.

    Example:
        >>> Place(asset=("support", "facts"), partition="2026-11-21").segments()
        ('support', 'facts', '2026-11-21')
    """

    asset: tuple[str, ...]
    partition: str | None = None

    def segments(self) -> tuple[str, ...]:
        """The names of the folders below the base, outermost first."""
        keys = self.asset if self.partition is None else (*self.asset, self.partition)
        return tuple(segment for key in keys for segment in folder_names(key))

    def __str__(self) -> str:
        asset = "/".join(self.asset)
        return repr(asset) if self.partition is None else f"partition {self.partition!r} of {asset!r}"


def folder_names(key: str) -> tuple[str, ...]:
    """A key as names of folders that any file system and object store takes, and that ``key_of`` undoes.

    Letters, digits, ``_``, ``-`` and ``.`` stay; everything else becomes ``%XX`` of its UTF-8 bytes. A long
    key becomes several folders, all but the last ending in ``~``.

    Args:
        key: A part of an asset key, or a partition key.

    Returns:
        One name, or several for a key of more than 180 encoded characters.

    Example:
        >>> folder_names("2026-11-21|en")
        ('2026-11-21%7Cen',)
        >>> folder_names("..")
        ('%2E%2E',)
    """
    if not key:
        return ("%",)
    encoded = "".join(c if c in _SAFE else "".join(f"%{byte:02X}" for byte in c.encode()) for c in key)
    if encoded.startswith("."):
        # '.', '..' and hidden names mean something else to a file system.
        encoded = "%2E" * (len(encoded) - len(encoded.lstrip("."))) + encoded.lstrip(".")
    pieces = [encoded[at : at + _SEGMENT] for at in range(0, len(encoded), _SEGMENT)]
    return (*(f"{piece}~" for piece in pieces[:-1]), pieces[-1])


def key_of(names: Sequence[str]) -> str:
    """The key that ``folder_names`` turned into these names.

    Example:
        >>> key_of(folder_names("Zürich/a:b"))
        'Zürich/a:b'
    """
    text = "".join(name.removesuffix("~") for name in names)
    if text == "%":
        return ""
    raw, at = bytearray(), 0
    while at < len(text):
        if text[at] == "%":
            raw.append(int(text[at + 1 : at + 3], 16))
            at += 3
        else:
            raw += text[at].encode()
            at += 1
    return raw.decode()


def local_path(path: UPath) -> Path | None:
    """The plain path behind a URL of the local disk, else ``None``.

    Example:
        >>> local_path(UPath("memory://bucket/x")) is None
        True
    """
    return Path(path.path) if path.protocol in ("", "file", "local") else None
