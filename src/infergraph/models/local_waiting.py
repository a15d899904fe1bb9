"""Waits for the embedded model's server, for as long as it is at work.

The server works on a few requests at a time, and others of this machine may come first; how long that takes says
nothing about whether an answer comes. So no clock ends a request. While nothing comes, the server is asked whether it
computes: where it does not, or does not answer, for a while, the request is given up.

An answer is read as it is written, though nobody looks at its parts: the server notices only when it writes that
nobody reads any more. An answer in one piece would be computed to its end for a request that was given up long ago.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

_T = TypeVar("_T")
LOOK_EVERY_S = 5.0
LOOK_TAKES_S = 30.0
"""A server that computes says so between two batches, which may take so long on a machine with much else to do."""
STREAMED: Mapping[str, Any] = {"stream": True, "stream_options": {"include_usage": True}, "return_progress": True}
"""What a request says so that its answer is written as it comes, and reading the prompt is reported."""


class NothingDone(TimeoutError):
    """The server did nothing for as long as one waits for it."""


class BrokenOff(ConnectionError):
    """The answer stopped before its end."""


async def while_at_work(
    asking: Coroutine[Any, Any, _T],
    is_at_work: Callable[[], Awaitable[bool]],
    *,
    patience_s: float,
    look_every_s: float = LOOK_EVERY_S,
) -> _T:
    """The answer, however long it takes, as long as the server is at work.

    Args:
        asking: Asks and gives the answer; it is cancelled when it is given up.
        is_at_work: Whether the server computes just now; asked again and again while no answer comes.
        patience_s: Seconds that it may do nothing, more than 0.
        look_every_s: Seconds between two looks, more than 0.

    Raises:
        NothingDone: It did nothing for ``patience_s`` seconds.
    """
    task = asyncio.ensure_future(asking)
    idle = asyncio.ensure_future(_until_idle(is_at_work, patience_s, look_every_s))
    try:
        await asyncio.wait({task, idle}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        idle.result()
        raise NothingDone
    finally:
        task.cancel()
        idle.cancel()
        # The connection is closed when the task has ended: only then does the server hear of it.
        await asyncio.wait({task, idle})


async def _until_idle(is_at_work: Callable[[], Awaitable[bool]], patience_s: float, look_every_s: float) -> None:
    last_work = time.monotonic()
    while time.monotonic() - last_work < patience_s:
        await asyncio.sleep(min(look_every_s, patience_s))
        if await is_at_work():
            last_work = time.monotonic()


async def whole_answer(lines: AsyncIterable[bytes]) -> dict[str, Any]:
    """A chat's answer as if it had come in one piece.

    Args:
        lines: The lines of the server's event stream.

    Returns:
        The answer as the protocol gives it in one piece; or ``{"error": ...}`` where the server says that it failed.

    Raises:
        BrokenOff: The stream ended before the answer.
    """
    text: list[str] = []
    last: dict[str, Any] = {}
    finish: str | None = None
    async for line in lines:
        kind, _, content = line.partition(b":")
        if kind == b"error":
            return {"error": json.loads(content)}
        if kind != b"data" or content.strip() == b"[DONE]":
            continue
        part = json.loads(content)
        if "error" in part:
            return {"error": part["error"]}
        for choice in part["choices"]:
            text.append(choice["delta"].get("content") or "")
            finish = choice["finish_reason"] or finish
        last = part
    if finish is None or "usage" not in last:
        raise BrokenOff("its answer broke off")
    return {**last, "choices": [{"message": {"content": "".join(text)}, "finish_reason": finish}]}
