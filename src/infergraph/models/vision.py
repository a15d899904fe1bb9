"""Which images a model takes, and how many tokens it counts for one.

Providers scale an image down and count squares of it. Their formulas are public for some models and change with new
ones, so a count is an estimate everywhere but in a simulated server; estimates say so, and are calibrated on what
past responses counted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from infergraph.models.image import Image

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Vision:
    """What a model takes as an image, and what it counts for one.

    Args:
        most_bytes: Bytes of one image at most.
        most_pixels: Pixels of an image's longer side at most; ``None``: no limit is known.
        most_images: Images of one request at most; ``None``: no limit is known.
        most_together: Bytes of a request's images at most; ``None``: no limit is known.
        square: Side in pixels of the squares that are counted.
        per_square: Tokens of a square.
        base: Tokens of every image beside its squares.
        longest: An image is scaled down to this longer side first, in pixels; 0: it is not.
        shortest: Then to this shorter side; 0: it is not.
        most_squares: Then to this many squares; 0: it is not.

    Example:
        >>> tall = Image(media_type="image/png", width=1024, height=2048, size=9, digest=b"")
        >>> vision_of_openai("gpt-4o").tokens(tall), vision_of_claude("claude-sonnet-4-5").tokens(tall)
        (1105, 1568)
    """

    most_bytes: int
    most_pixels: int | None = None
    most_images: int | None = None
    most_together: int | None = None
    square: int
    per_square: float
    base: int = 0
    longest: int = 0
    shortest: int = 0
    most_squares: int = 0

    def problem(self, images: Sequence[Image]) -> str | None:
        """Why a request with these images would be refused; ``None``: nothing is known to be wrong."""
        if self.most_images is not None and len(images) > self.most_images:
            return f"the model takes {self.most_images} images in one request, and these are {len(images)}"
        together = sum(image.size for image in images)
        if self.most_together is not None and len(images) > 1 and together > self.most_together:
            return f"together they have {together:,} bytes, and the model takes {self.most_together:,} in one request"
        for image in images:
            if image.size > self.most_bytes:
                return f"it has {image.size:,} bytes, and the model takes {self.most_bytes:,}"
            if self.most_pixels is not None and max(image.width, image.height) > self.most_pixels:
                return (
                    f"it has {image.width}x{image.height} pixels, and the model takes {self.most_pixels} on the "
                    "longer side"
                )
        return None

    def tokens(self, image: Image) -> int:
        """Tokens that the model counts for an image."""
        width, height = float(image.width), float(image.height)
        if self.longest:
            width, height = _scaled(width, height, self.longest / max(width, height))
        if self.shortest:
            width, height = _scaled(width, height, self.shortest / min(width, height))
        squares = self._squares(width, height)
        if self.most_squares:
            squares = min(squares, self.most_squares)
        return self.base + math.ceil(squares * self.per_square)

    def _squares(self, width: float, height: float) -> int:
        return math.ceil(width / self.square) * math.ceil(height / self.square)


def _scaled(width: float, height: float, factor: float) -> tuple[float, float]:
    """Smaller by the factor, where it makes it smaller."""
    return (max(1.0, width * factor), max(1.0, height * factor)) if factor < 1 else (width, height)


# Anthropic counts the bytes of an image on its base64, 5 or 10 MiB of it, depending on the platform: refused here is
# only what no platform takes; what lies between, the server judges.
_CLAUDE_BYTES = 10 * MEBIBYTE * 3 // 4
_CLAUDE_TOGETHER = 32_000_000 * 3 // 4
_CLAUDE_SHARPER = re.compile(r"claude-(opus-4-([7-9]|\d\d)(?!\d)|[a-z]+-([5-9]|\d\d)(?!\d))")


def vision_of_claude(model_id: str) -> Vision:
    """Claude's limits and counts: squares of 28 pixels.

    Source: "Vision" in Anthropic's documentation as of 2026 (8,000 pixels a side, 100 images and 32 MB a request, 1,568
    pixels and 1,568 tokens an image; 2,576 and 4,784 from Opus 4.7 on).
    """
    sharper = bool(_CLAUDE_SHARPER.match(model_id))
    longest, most = (2576, 4784) if sharper else (1568, 1568)
    return Vision(
        most_bytes=_CLAUDE_BYTES, most_pixels=8000, most_images=100, most_together=_CLAUDE_TOGETHER, square=28,
        per_square=1.0, longest=longest, most_squares=most,
    )  # fmt: skip


_OPENAI = Vision(
    most_bytes=20 * MEBIBYTE, most_images=500, most_together=50_000_000, square=512, per_square=170
)  # fmt: skip
# Source: "Images and vision" in OpenAI's documentation as of 2026: squares of 32 pixels, 1,536 at most, times a factor
_PATCHES = (
    (re.compile(r"gpt-(5(\.\d)?|4\.1)-nano"), 2.46),
    (re.compile(r"gpt-(5(\.\d)?|4\.1)-mini"), 1.62),
    (re.compile(r"o4-mini"), 1.72),
    (re.compile(r"gpt-5\.[2-9]"), 1.2),
)
# or tiles of 512 pixels and a base.
_TILES = (
    (re.compile(r"gpt-4o-mini"), 2833, 5667),
    (re.compile(r"gpt-5"), 70, 140),
    (re.compile(r"o[13]"), 75, 150),
)


def vision_of_openai(model_id: str) -> Vision:
    """OpenAI's limits and counts; a model that is not known, such as a compatible server's, counts like gpt-4o."""
    name = model_id.removeprefix("ft:")
    for names, factor in _PATCHES:
        if names.match(name):
            return replace(_OPENAI, square=32, per_square=factor, most_squares=1536)
    base, tile = next(((base, tile) for names, base, tile in _TILES if names.match(name)), (85, 170))
    return replace(_OPENAI, per_square=tile, base=base, longest=2048, shortest=768)


_BLIND = re.compile(
    r"(ft:)?(gpt-3\.5|gpt-4(-0\d{3}|-32k.*)?$|gpt-oss|o1-mini|o1-preview|o3-mini|davinci|babbage|text-)"
)
_BLIND_CLAUDE = re.compile(r"claude-(v?[12]\b|instant)")


def sees(model_id: str, *, own_host: bool) -> bool | None:
    """Whether a model of OpenAI or Anthropic takes images; ``None``: nobody knows.

    Args:
        model_id: The provider's name of the model.
        own_host: It is asked at the provider's own host; a compatible server's model may be anything.

    Example:
        >>> sees("gpt-5-mini", own_host=True), sees("gpt-3.5-turbo", own_host=True), sees("qwen3-vl-8b", own_host=False)
        (True, False, None)
    """
    if not own_host:
        return None
    return not (_BLIND.match(model_id) or _BLIND_CLAUDE.match(model_id))
