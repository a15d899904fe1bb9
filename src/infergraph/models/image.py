"""An image that goes to a model: its bytes, and what its header says of them.

The type and the size in pixels are read from the first bytes, so that what no provider takes is found before anything
is sent. Nothing is decoded: whether the pixels are whole, only the provider sees.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from dataclasses import dataclass, field
from hashlib import blake2b

MEDIA_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp")
"""What all providers with vision take."""
_DIGEST_BYTES = 16


class UnusableImage(ValueError):
    """These bytes cannot go to a model as an image; the message says why, without showing them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image of one of the types that models take.

    Two images with the same bytes are equal, wherever they came from.

    Args:
        media_type: ``image/png``, ``image/jpeg``, ``image/gif`` or ``image/webp``.
        width: Pixels.
        height: Pixels.
        size: Bytes.
        digest: BLAKE2b of the bytes, 16 bytes long: what request hashes cover.
        data: The bytes; ``None`` in a prompt that was read from the store, which keeps no bytes of images.

    Example:
        >>> header = b"GIF89a" + (2).to_bytes(2, "little") + (1).to_bytes(2, "little")
        >>> Image.of(header).shown
        '[image: image/gif, 2x1 pixels, 10 bytes, b2:d0e10e040a2e7f51162746ac312c13e7]'
    """

    media_type: str
    width: int
    height: int
    size: int
    digest: bytes
    data: bytes | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, data: bytes) -> Image:
        """The image that these bytes are.

        Raises:
            UnusableImage: They are of another type, or their header is damaged.
        """
        media_type, width, height = _header(data)
        digest = blake2b(data, digest_size=_DIGEST_BYTES).digest()
        return cls(media_type=media_type, width=width, height=height, size=len(data), digest=digest, data=data)

    @property
    def shown(self) -> str:
        """The image in one line, in the place of its bytes."""
        size = f"{self.width}x{self.height} pixels, {self.size:,} bytes"
        return f"[image: {self.media_type}, {size}, b2:{self.digest.hex()}]"

    def base64(self) -> str:
        """The bytes as they go into JSON."""
        assert self.data is not None, "an image that was read from the store is not sent"
        return b64encode(self.data).decode("ascii")


def _header(data: bytes) -> tuple[str, int, int]:
    """Media type, width and height."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            found = "image/png", *_png(data)
        elif data.startswith(b"\xff\xd8\xff"):
            found = "image/jpeg", *_jpeg(data)
        elif data.startswith((b"GIF87a", b"GIF89a")):
            found = "image/gif", *struct.unpack_from("<HH", data, 6)
        elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            found = "image/webp", *_webp(data)
        else:
            raise UnusableImage("it is no PNG, JPEG, GIF or WebP image" if data else "it is empty")
    except (struct.error, IndexError) as error:
        raise UnusableImage("its header is cut off") from error
    if not (found[1] and found[2]):
        raise UnusableImage(f"its header says {found[1]}x{found[2]} pixels")
    return found


def _png(data: bytes) -> tuple[int, int]:
    if data[12:16] != b"IHDR":
        raise UnusableImage("its header is damaged: a PNG begins with IHDR")
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


# Frame headers with the size, of all ways to encode; C4, C8 and CC are other segments.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def _jpeg(data: bytes) -> tuple[int, int]:
    place = 2
    while True:
        if data[place] != 0xFF:
            raise UnusableImage("its header is damaged: a JPEG's segments follow each other")
        marker = data[place + 1]
        if marker == 0xFF:  # filling
            place += 1
        elif marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, place + 5)
            return width, height
        else:
            (length,) = struct.unpack_from(">H", data, place + 2)
            if length < 2:
                raise UnusableImage("its header is damaged: a JPEG's segment has no length")
            place += 2 + length


def _webp(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise UnusableImage("its header is damaged: a WebP begins with VP8, VP8L or VP8X")
