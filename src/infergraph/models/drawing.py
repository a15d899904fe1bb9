"""Images that are drawn when they are sent: of a long document's pages only those on their way are in memory.

What an image is drawn from gives its digest, so that a stored answer is found without drawing anything.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from infergraph.models.image import Image, UnusableImage
from infergraph.models.model import CallFailed, Message, Request


async def with_drawn_images(request: Request) -> Request:
    """The request with the bytes of all its images.

    Raises:
        CallFailed: One of them cannot be drawn, and never will be.
    """
    if not any(image.draw is not None for image in request.images):
        return request
    try:
        # Drawing takes some 50 ms of one core: more than the event loop may stand still.
        messages = await asyncio.to_thread(lambda: tuple(map(_drawn, request.messages)))
    except UnusableImage as problem:
        raise CallFailed(f"The image cannot be sent: {problem}.", outcome="permanent") from problem
    return replace(request, messages=messages)


def _drawn(message: Message) -> Message:
    return replace(message, images=tuple(map(_with_bytes, message.images))) if message.images else message


def _with_bytes(image: Image) -> Image:
    if image.draw is None:
        return image
    data = image.draw()
    return replace(image, data=data, size=len(data))
