"""One operator's numbers of an estimate, added up row by row: for sure, expected, at most."""

from __future__ import annotations

from typing import Any

from infergraph.frame.estimate_rates import Error, Rates
from infergraph.frame.estimate_report import OperatorEstimate
from infergraph.models.model import Request
from infergraph.records import usd

_NAMES = ("rows", "calls", "store_hits", "input_tokens", "typical_tokens", "input_cost", "output_cost")


class Count:
    """Adds up one operator's rows: ``low`` for sure, ``expected``, ``high`` at most.

    Args:
        rates: What one of its requests takes.
        kind: The operator's kind.
    """

    def __init__(self, rates: Rates, kind: str) -> None:
        self._rates = rates
        self._kind = kind
        self._costs: dict[tuple[int, str], tuple[int, int] | None] = {}
        self._price_known = rates.price_known
        self._own = [0.0, 0.0]
        """Our count of the requests whose content is known, and how many they are."""
        self._dearest: dict[str, float] = {}
        self._sums = {name: [0.0, 0.0, 0.0] for name in _NAMES}
        self.assumed_rounds = False
        """Whether requests were counted that follow from answers which are only assumed."""

    def add(self, what: str, low: float, expected: float, high: float) -> None:
        """Add to one of the sums."""
        for place, value in enumerate((low, expected, high)):
            self._sums[what][place] += value

    def ask(
        self, request: Request, low: float, expected: float, high: float = 1, *, rates: Rates | None = None
    ) -> None:
        """Add a request, made at least, probably and at most so many times.

        Args:
            request: The request.
            low: Times that it is made for sure.
            expected: Times that it is probably made.
            high: Times that it is made at most.
            rates: Of the model that is paid; left out, the operator's own.
        """
        paid = rates or self._rates
        self._price_known = self._price_known and paid.price_known
        own = paid.own_count(request)
        self._own[0] += own * high
        self._own[1] += high
        self._ask(paid, paid.input_tokens(own), low, expected, high)

    def ask_typical(self, content: str | None, expected: float, high: float) -> None:
        """Add a request whose content is not known: it may not be made at all."""
        tokens, _ = self._rates.typical_tokens(content)
        self._ask(self._rates, tokens, 0, expected, high)
        self._add_times("typical_tokens", tokens, 0, expected, high)

    def _ask(self, rates: Rates, tokens: float, low: float, expected: float, high: float) -> None:
        whole = round(tokens)
        key = (whole, rates.model_name)
        if key not in self._costs:
            self._costs[key] = rates.cost(whole)
        given, answered = self._costs[key] or (0, 0)
        amounts = {"calls": 1, "input_tokens": tokens, "input_cost": given, "output_cost": answered}
        for what, amount in amounts.items():
            self._add_times(what, amount, low, expected, high)

    def _add_times(self, what: str, amount: float, low: float, expected: float, high: float) -> None:
        self._dearest[what] = max(self._dearest.get(what, 0), amount)
        self.add(what, low * amount, expected * amount, high * amount)

    def bound(self, most: int | None) -> None:
        """Take down what is more than so many rows can need; at no rows no number changes."""
        rows = self._sums["rows"]
        if most is None or rows[2] <= most:
            return
        for what, sums in self._sums.items():
            top = most * self._dearest.get(what, 1)
            self._sums[what] = [min(value, top) for value in sums]

    def bound_requests(self, expected: float, most: float) -> None:
        """Take down the requests, where rows share them: so many are probably made, and so many at most."""
        for what in ("calls", "input_tokens", "typical_tokens", "input_cost", "output_cost"):
            one = self._dearest.get(what, 1)
            low, probable, high = self._sums[what]
            self._sums[what] = [min(low, most * one), min(probable, expected * one), min(high, most * one)]

    @property
    def rows_at_most(self) -> float:
        """So many rows come at most."""
        return self._sums["rows"][2]

    def lower_to(self, other: Count) -> None:
        """Nothing is sure that another walk did not find."""
        for what, sums in self._sums.items():
            sums[0] = min(sums[0], other._sums[what][0])

    def expect(self, other: Count) -> None:
        """What another walk counted is what is probable."""
        for what, sums in self._sums.items():
            sums[1] = min(max(sums[0], other._sums[what][1]), sums[2])

    def forget_low(self) -> None:
        """Nothing is sure: a later step may stop this operator early."""
        for sums in self._sums.values():
            sums[0] = 0.0

    @property
    def may_ask(self) -> bool:
        """Whether a request may be made."""
        return self._sums["calls"][2] > 0

    def errors(self) -> tuple[Error, Error]:
        """How far off the input tokens and the output tokens may be, beyond how many requests there are."""
        calls = self._sums["calls"][2]
        own, known = self._own
        given = self._rates.input_error(own / known if known else 0.0, known)
        if self._sums["typical_tokens"][2] and self._sums["input_tokens"][2]:
            part = min(1.0, self._sums["typical_tokens"][2] / self._sums["input_tokens"][2])
            other = self._rates.content_error(calls)
            given = Error(
                (1 - part) * given.low + part * other.low, (1 - part) * given.high + part * other.high
            )  # fmt: skip
        return given, self._rates.output_error(calls)

    def finish(self) -> OperatorEstimate:
        """The operator's estimate."""
        given, answered = self.errors()
        calls = self._sums["calls"]
        tokens_out = [count * self._rates.output_tokens for count in calls]
        costs = [0.0, 0.0, 0.0]
        cached = self._rates.cache_error
        priced = Error(min(1.0, given.low + cached.low), given.high + cached.high)
        for what, error in (("input_cost", priced), ("output_cost", answered)):
            costs = [before + more for before, more in zip(costs, _widened(self._sums[what], error), strict=True)]
        spans: dict[str, list[Any]] = {
            **{name: [round(value) for value in self._sums[name]] for name in ("rows", "calls", "store_hits")},
            "input_tokens": [round(value) for value in _widened(self._sums["input_tokens"], given)],
            "output_tokens": [round(value) for value in _widened(tokens_out, answered)],
            "cost_usd": [usd(round(nano)) if self._price_known else None for nano in costs],
            "seconds": [self._seconds(calls[place], place) for place in range(3)],
        }
        named = {
            name + suffix: values[place]
            for name, values in spans.items()
            for place, suffix in enumerate(("_low", "", "_high"))
        }
        return OperatorEstimate(operator=self._rates.name, kind=self._kind, model=self._rates.model_name, **named)

    def _seconds(self, calls: float, place: int) -> float:
        model = self._rates.model
        at_once = model.max_concurrency or self._rates.facts.usual_concurrency
        given, answered = self._sums["input_tokens"][place], calls * self._rates.output_tokens
        limits = (
            (calls, model.requests_per_minute),
            (given + answered, model.tokens_per_minute),
            (given, model.input_tokens_per_minute),
            (answered, model.output_tokens_per_minute),
        )
        by_limits = [60 * amount / limit for amount, limit in limits if limit]
        return round(max([calls * self._rates.seconds / at_once, *by_limits]), 3)


def _widened(sums: list[float], error: Error) -> list[float]:
    low, expected, high = sums
    return [low * (1 - error.low), expected, high * (1 + error.high)]
