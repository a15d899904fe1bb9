"""Images made on the spot, for tests of pipelines that look at some."""

from __future__ import annotations

import struct
import zlib


def sample_image(width: int = 64, height: int = 32, shade: int = 128) -> bytes:
    """A PNG of one grey; another shade makes other bytes.

    Args:
        width: Pixels, 1 or more.
        height: Pixels, 1 or more.
        shade: 0 (black) to 255 (white).

    Example:
        >>> sample_image(640, 480).startswith(b"\\x89PNG"), sample_image(shade=1) == sample_image(shade=2)
        (True, False)
    """
    row = b"\0" + bytes([shade]) * width
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(row * height)), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
