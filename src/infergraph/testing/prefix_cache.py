"""The prompt cache of a simulated server: which prefixes of prompts it has read before.

An entry can be read only after an answer to it was made: requests that come together find nothing. Where a
protocol has requests mark what to keep, only what ends at a mark is kept; else every whole block of a long prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

_MOST_ENTRIES = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefixes:
    """What of a prompt may be kept.

    Args:
        seed: What comes before the text and must be the same too: model, tools, the answer's schema.
        text: The prompt's text.
        ends: Where prefixes end that may be kept, in characters, ascending.
        shared: Where the last of them ends that many requests could have in common: before the last message.
    """

    seed: str
    text: str
    ends: Sequence[int]
    shared: int


@dataclass(frozen=True, slots=True)
class Found:
    """What the cache holds of one prompt.

    Args:
        hashes: One for each prefix that may be kept.
        read: Characters read from the cache.
        shared: Characters that many requests could have in common.
        kept: Characters that are in the cache once this prompt was answered.
    """

    hashes: Sequence[bytes]
    read: int
    shared: int
    kept: int


class PrefixCache:
    """Remembers prefixes, and counts how much of what could be shared was found.

    Example:
        >>> cache = PrefixCache()
        >>> prompt = Prefixes(seed="m", text="You are terse. Hi", ends=[14], shared=14)
        >>> cache.remember(cache.look_up(prompt))
        >>> cache.look_up(prompt).read
        14
    """

    def __init__(self) -> None:
        self._known: dict[bytes, None] = {}
        self.reset()

    def reset(self) -> None:
        """Begin the statistics anew; what is known stays."""
        self.shared = 0
        """Characters of answered prompts that many requests could have in common."""
        self.hit = 0
        """The part of them that was found."""

    def look_up(self, prompt: Prefixes) -> Found:
        """The longest prefix that is known."""
        state, start, hashes, read = blake2b(prompt.seed.encode(), digest_size=16), 0, [], 0
        for end in prompt.ends:
            state.update(prompt.text[start:end].encode("utf-8", "replace"))
            start = end
            hashes.append(state.digest())
            if hashes[-1] in self._known:
                read = end
        return Found(hashes, read, prompt.shared, start)

    def remember(self, found: Found) -> None:
        """An answer to this prompt was made: its prefixes can be read from now on."""
        self.shared += found.shared
        self.hit += min(found.read, found.shared)
        for prefix in found.hashes:
            self._known[prefix] = None
        while len(self._known) > _MOST_ENTRIES:
            del self._known[next(iter(self._known))]
