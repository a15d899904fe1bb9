"""What a simulated server does wrong on purpose, and when."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from hashlib import blake2b
from typing import Any, Literal, get_args

FaultKind = Literal[
    "reset", "hang", "slow_drip", "not_json", "empty", "truncated", "wrong_schema", "refusal", "content_filter"
]
FAULT_STATUSES = (400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529)


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Args:
        kind: An HTTP status (400 to 529), or ``reset`` (the socket is closed), ``hang`` (no answer for
            ``seconds``), ``slow_drip`` (the answer is spread over ``seconds``), ``not_json`` (a 200 with HTML),
            ``empty`` (an answer without text), ``truncated`` (cut off at the token limit), ``wrong_schema``
            (JSON that does not fit), ``refusal``, ``content_filter``.
        rate: Share of the requests that meet it, 0 to 1; which ones follows from their content and number of tries.
        first: Only the first so many tries of each different request meet it.
        when: Only requests for whose JSON body this says true.
        retry_after_s: Seconds in the ``retry-after`` header.
        code: The error's code, where the kind is a status.
        message: The error's message, where the kind is a status.
        seconds: For ``hang`` and ``slow_drip``.

    Example:
        >>> Fault(429, first=2, retry_after_s=0.1).kind
        429
    """

    kind: int | FaultKind
    _: KW_ONLY
    rate: float | None = None
    first: int | None = None
    when: Callable[[Mapping[str, Any]], bool] | None = None
    retry_after_s: float | None = None
    code: str | None = None
    message: str | None = None
    seconds: float = 3600.0

    def __post_init__(self) -> None:
        if self.kind not in FAULT_STATUSES and self.kind not in get_args(FaultKind):
            allowed = ", ".join(map(str, (*FAULT_STATUSES, *get_args(FaultKind))))
            raise ValueError(f"Fault({self.kind!r}): there is no such fault. There are: {allowed}.")

    def strikes(self, body: Mapping[str, Any], raw: bytes, tries: int) -> bool:
        """Whether this try of this request meets the fault.

        Args:
            body: The request's JSON.
            raw: The same as bytes.
            tries: How often this very request came before.

        Returns:
            True when the fault is to happen; always the same for the same arguments.
        """
        if self.first is not None and tries >= self.first:
            return False
        if self.rate is not None and _share(raw, tries, str(self.kind)) >= self.rate:
            return False
        return self.when is None or self.when(body)


def _share(raw: bytes, tries: int, kind: str) -> float:
    digest = blake2b(raw, digest_size=6, key=f"{kind} {tries}".encode()).digest()
    return int.from_bytes(digest, "big") / 2**48
