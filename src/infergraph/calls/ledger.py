"""What one operator of a run sent: every attempt once, also those that nobody waited for in the end."""

from __future__ import annotations

import threading

from infergraph.models.model import Tokens


class Ledger:
    """Adds up attempts from the moment they are sent; handed to any number of ``submit`` calls.

    Example:
        >>> ledger = Ledger()
        >>> ledger.sent(first=True)
        >>> ledger.landed(Tokens(input=3, output=1), 250)
        >>> ledger.settled(timeout_s=1), ledger.asked, ledger.tokens.input, ledger.cost_nano_usd
        (True, 1, 3, 250)
    """

    def __init__(self) -> None:
        self.asked = 0
        """Questions of which at least one attempt was sent."""
        self.tokens = Tokens()
        """Tokens of all attempts that came back."""
        self.cost_nano_usd: int | None = 0
        """Their cost; ``None``: a price is not known. A timeout, whose cost nobody learns, counts 0."""
        self._on_their_way = 0
        self._changed = threading.Condition()

    def sent(self, *, first: bool) -> None:
        """An attempt goes out; ``first``: it is its question's first one in this run."""
        with self._changed:
            self._on_their_way += 1
            self.asked += first

    def landed(self, tokens: Tokens, cost_nano_usd: int | None) -> None:
        """An attempt is over, whatever came of it."""
        with self._changed:
            self._on_their_way -= 1
            self.tokens = self.tokens + tokens
            known = self.cost_nano_usd is not None and cost_nano_usd is not None
            self.cost_nano_usd = (self.cost_nano_usd or 0) + (cost_nano_usd or 0) if known else None
            if not self._on_their_way:
                self._changed.notify_all()

    def settled(self, timeout_s: float) -> bool:
        """Wait until nothing is on its way; whether that came true in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._on_their_way == 0, timeout_s)
