"""What past responses tell an estimate: how the provider counts, how long answers are, and what a filter keeps.

Only the latest few hundred requests are looked at. What a row cost is the sum of its attempts, so that repairs are
part of it. A provider counts more than the texts (roles, schemas, templates of its own), and its tokenizer may be
another one than ours: a straight line through our counts and its counts corrects both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from infergraph.frame import plan as plans
from infergraph.models.model import Request, Tokens
from infergraph.models.verdict import Accepted
from infergraph.store.rows import PastAttempt
from infergraph.store.store import Store

LEAST_ROWS = 8
"""Fewer past requests say too little."""
_LATEST = 400
_WIDTH = 2.5
"""Errors are stated as so many standard errors: some 19 of 20 cases lie within, as rows are rarely normal."""
_SHARE_WIDTH = 2.0
_SLOPES = (-1e-6, 5.0)
_LEAST_ERROR = 0.01
"""New rows are never quite like old ones."""
_OTHER_OPERATORS_ERROR = 0.15
_SPREAD_UNKNOWN = 0.5


@dataclass(frozen=True, kw_only=True)
class PastRow:
    """One row that was asked in the past: its first request, and what all its attempts used."""

    request: Request
    tokens: Tokens
    kept: bool | None
    """What a filter decided; ``None``: undecided, or no filter."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """The provider's count as ``start + slope * our count``, with what is needed to say how sure that is."""

    start: float
    slope: float
    rows: int
    spread: float
    """Standard deviation of a row around the line, in tokens."""
    middle: float
    """Our mean count of the past rows."""
    width: float
    """Sum of the squared distances of our counts from their mean."""
    pulls: Sequence[tuple[float, float]]
    """Of each past row: the distance of our count from the mean, and how far the row lies off a line without it."""
    least_error: float = _LEAST_ERROR
    """The error that is stated at least, as a share."""
    sloped: bool = False
    """The slope was found apart from the start, as our counts differed enough."""

    def at(self, count: float) -> float:
        """The provider's count where ours is ``count``."""
        return max(0.0, self.start + self.slope * count)

    def error(self, mean: float, rows: float) -> float:
        """How far off the sum over so many rows with this mean count of ours may be, as a share."""
        expected = self.at(mean)
        if expected <= 0 or rows <= 0:
            return self.least_error
        # Long rows lie further off than short ones, and pull more (the estimator HC3 of the line's own error).
        lever = (mean - self.middle) / self.width if self.width else 0.0
        line = sum(((1 / self.rows + lever * far) * off) ** 2 for far, off in self.pulls)
        return max(self.least_error, _WIDTH * math.sqrt(line + self.spread**2 / rows) / expected)

    def agrees(self) -> bool:
        """Whether the provider counts as we do, but for rounding."""
        return abs(self.at(self.middle) - self.middle) <= max(1.0, 0.005 * self.middle) and self.spread <= 1


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean over past rows."""

    value: float
    rows: int
    spread: float | None
    """Standard deviation of a row; ``None``: only the mean is left, or the rows were asked in other words."""

    def error(self, rows: float) -> float:
        """How far off the sum over so many new rows may be, as a share."""
        if self.value <= 0 or rows <= 0:
            return 0.0
        if self.spread is None:
            return _SPREAD_UNKNOWN
        return _WIDTH * self.spread * math.sqrt(1 / self.rows + 1 / rows) / self.value


@dataclass(frozen=True, kw_only=True)
class Share:
    """What a filter kept of past rows, with the range that its true share probably lies in (Wilson)."""

    value: float
    low: float
    high: float
    rows: int


class History:
    """The latest requests of one operator on one model.

    Args:
        store: Where they are.
        model: ``provider:model-id``.
        step: The operator's node; what was asked with another head (instruction, examples) counts less.
        name: Its name in the plan.
        asset: The asset that it belongs to; where that has too little history, any asset's counts.
    """

    def __init__(self, store: Store, model: str, step: plans.OperatorStep, name: str, asset: str | None) -> None:
        self._store = store
        self._model = model
        self._step = step
        self.head = step.sample_request().prefix
        """The messages that all rows share now."""
        rows = self._rows(name, asset) if asset is not None else []
        if len(rows) < LEAST_ROWS:
            rows = self._rows(name, None)
        same = [row for row in rows if row.request.prefix == self.head]
        self.same = same
        """Rows that were asked with the head of now."""
        self.alike = len(same) >= LEAST_ROWS
        """Whether enough rows were asked with the head of now to look at no others."""
        self.rows = same if self.alike else rows

    def line(self, count: Callable[[Request], int], *, others: bool) -> Line | None:
        """How the provider's count follows from ours; ``None``: nothing is known.

        Args:
            count: Our count of a request.
            others: Other operators' requests count where there are too few of this one. They tell nothing new where
                the tokenizer is the provider's own, and nothing where the operator has images.
        """
        if len(self.rows) >= LEAST_ROWS:
            return fitted(_pairs(self.rows, count), _LEAST_ERROR if self.alike else _OTHER_OPERATORS_ERROR)
        if not others:
            return None
        # What every request of another operator has more than its texts is that operator's schema: only how the
        # provider's count grows with ours says something of this one.
        rows = [row for row in self._rows(None, None) if not row.request.images]
        found = fitted(_pairs(rows, count), _OTHER_OPERATORS_ERROR)
        return None if found is None or not found.sloped else replace(found, start=0.0)

    def output(self) -> Mean | None:
        """Output tokens of a row, all its attempts together; ``None``: too little is known."""
        return self._mean([float(row.tokens.output) for row in self.rows])

    def input(self) -> Mean | None:
        """Input tokens of a row, for rows whose content is not known yet."""
        return self._mean([float(row.tokens.input) for row in self.rows])

    def cached(self) -> tuple[float, float]:
        """Shares of the input tokens that were read from, and written into, the provider's prompt cache."""
        total = sum(row.tokens.input for row in self.rows)
        if not total:
            return 0.0, 0.0
        read = sum(row.tokens.cached_input for row in self.rows)
        return read / total, sum(row.tokens.cache_write_input for row in self.rows) / total

    def kept(self) -> Share | None:
        """What the filter kept of the rows that it was asked about in the words of now; ``None``: too few."""
        decided = [row.kept for row in self.same if row.kept is not None]
        return None if len(decided) < LEAST_ROWS else wilson(sum(decided), len(decided))

    def _mean(self, values: Sequence[float]) -> Mean | None:
        if len(values) < LEAST_ROWS:
            return None
        # Answers to other words may be as long, or not.
        return Mean(value=fmean(values), rows=len(values), spread=stdev(values) if self.alike else None)

    def _rows(self, name: str | None, asset: str | None) -> list[PastRow]:
        attempts = self._store.past_attempts(self._model, operator=name, asset=asset, limit=_LATEST)
        by_row: dict[tuple[str, bytes], list[PastAttempt]] = {}
        for attempt in attempts:
            by_row.setdefault((attempt.run_id, attempt.row_hash), []).append(attempt)
        # Where the row's first attempt lies further back, its repairs alone would look like cheap rows.
        return [self._row(tries, named=name is not None) for tries in by_row.values() if tries[0].via == "direct"]

    def _row(self, tries: Sequence[PastAttempt], *, named: bool) -> PastRow:
        tokens = Tokens()
        for attempt in tries:
            tokens = tokens + attempt.response.tokens
        first, last = tries[0], tries[-1]
        kept = None
        if self._step.decides and last.done:
            verdict = self._step.by_row.judge(last.response)
            kept = verdict.value is True if isinstance(verdict, Accepted) else None
        # The schema is not kept with the prompt; other operators' requests are compared without theirs.
        known = named and first.embed_text is None
        schema = self._step.operator.answer_schema if known else None
        request = Request(messages=first.messages, embed_text=first.embed_text, schema=schema)
        return PastRow(request=request, tokens=tokens, kept=kept)


def _pairs(rows: Sequence[PastRow], count: Callable[[Request], int]) -> list[tuple[float, float]]:
    """Our count and the provider's of the rows whose requests are known."""
    told = [row for row in rows if row.request.messages or row.request.embed_text is not None]
    pairs = [(float(count(row.request)), float(row.tokens.input)) for row in told]
    return [(ours, theirs) for ours, theirs in pairs if ours > 0 and theirs > 0]


def fitted(pairs: Sequence[tuple[float, float]], least_error: float = _LEAST_ERROR) -> Line | None:
    """The straight line through pairs of our count and the provider's, in tokens.

    Args:
        pairs: Our count and the provider's, of one request each.
        least_error: The error that the line states at least, as a share.

    Returns:
        The line; ``None`` for fewer than 8 pairs. Where our counts hardly differ from each other, or the line would
        be absurd, it goes through zero.

    Example:
        >>> line = fitted([(n, 1.2 * n + 7) for n in range(10, 30)])
        >>> round(line.at(100)), line.error(100, 50)
        (127, 0.01)
    """
    rows = len(pairs)
    if rows < LEAST_ROWS:
        return None
    middle, theirs = fmean(ours for ours, _ in pairs), fmean(counted for _, counted in pairs)
    width = sum((ours - middle) ** 2 for ours, _ in pairs)
    slope, start, sloped = theirs / middle, 0.0, False
    if math.sqrt(width / rows) > 0.02 * middle:
        steep = sum((ours - middle) * (counted - theirs) for ours, counted in pairs) / width
        if _SLOPES[0] <= steep <= _SLOPES[1]:
            slope, start, sloped = steep, theirs - steep * middle, True
    off = [counted - start - slope * ours for ours, counted in pairs]
    far = [ours - middle for ours, _ in pairs]
    spread = math.sqrt(sum(each**2 for each in off) / (rows - 2))
    pulls = [(x, e / max(0.1, 1 - 1 / rows - (x * x / width if width else 0))) for x, e in zip(far, off, strict=True)]
    return Line(
        start=start, slope=slope, rows=rows, spread=spread, middle=middle, width=width, pulls=pulls,
        least_error=least_error, sloped=sloped,
    )  # fmt: skip


def wilson(yes: int, rows: int) -> Share:
    """A share with its Wilson interval at two standard errors.

    Example:
        >>> share = wilson(30, 100)
        >>> round(share.low, 2), share.value, round(share.high, 2)
        (0.22, 0.3, 0.4)
    """
    share, z2 = yes / rows, _SHARE_WIDTH**2
    middle = (share + z2 / (2 * rows)) / (1 + z2 / rows)
    half = _SHARE_WIDTH * math.sqrt(share * (1 - share) / rows + z2 / (4 * rows**2)) / (1 + z2 / rows)
    return Share(value=share, low=max(0.0, middle - half), high=min(1.0, middle + half), rows=rows)
