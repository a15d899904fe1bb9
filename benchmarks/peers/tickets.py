"""The work that every peer is given, and how it is measured; it imports none of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, Field

IN_FLIGHT = 512
MODEL = "gpt-4.1-mini"
_PRODUCTS = ("lamp", "kettle", "router", "bicycle", "printer", "tent", "camera")
_TROUBLES = ("does not switch on", "makes a noise at night", "came without its manual", "lost a screw on the way")


class Ticket(BaseModel):
    """What a support ticket is about."""

    product: str = Field(description="product the customer talks about")
    severity: Literal["low", "medium", "high"] = Field(description="how urgent it is")


def texts(rows: int, start: int = 0) -> list[str]:
    """So many tickets of about 300 characters, no two alike, the same ones for the same numbers."""
    return [_text(number) for number in range(start, start + rows)]


def _text(number: int) -> str:
    product = _PRODUCTS[number % len(_PRODUCTS)]
    return (
        f"Ticket {number:07}. Hello, I bought the {product} in your shop last month, and since yesterday it "
        f"{_TROUBLES[number % len(_TROUBLES)]}. I have read the instructions twice, tried another socket and asked a "
        f"neighbour, and nothing helped. My order number is {number * 7919 % 10_000_019:08}. Please tell me what I can "
        f"do, or send me another {product}."
    )


def measured(rows: int, run: Callable[[list[str]], None]) -> dict[str, float]:
    """Seconds and CPU seconds of a run, after one of ``IN_FLIGHT`` other rows that pays for imports and connections."""
    run(texts(IN_FLIGHT, start=5_000_000))
    contents = texts(rows)
    started, cpu = time.perf_counter(), time.process_time()
    run(contents)
    return {"seconds": time.perf_counter() - started, "cpu_s": time.process_time() - cpu}


def report(cost: dict[str, float]) -> None:
    """Hand the figures to the process that measures."""
    print(json.dumps(cost))
