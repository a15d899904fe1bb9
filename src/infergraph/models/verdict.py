"""What a response is worth: an answer, one more try, or a reject."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from infergraph.models.model import RejectReason


@dataclass(frozen=True, slots=True)
class Accepted:
    """The response is an answer; ``value`` is what it says, ready to become a row's columns."""

    value: Any


@dataclass(frozen=True, slots=True)
class Repair:
    """The response is no answer yet, but asking again may give one.

    Args:
        message: What is wrong, told to the model in a message after its answer.
        more_room: The answer was cut off: repeat the same request with more room instead.
    """

    message: str = ""
    more_room: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """The response will never become an answer."""

    reason: RejectReason
    message: str


Verdict = Accepted | Repair | Rejected
