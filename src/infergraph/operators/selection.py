"""The best of many by comparing two at a time, in few rounds: quickselect that goes on as quicksort among the winners.

A *part* is a set of items of which it is known between which others it comes. Every round compares, in all parts that
may hold winners, each item with the part's pivot; what beat it comes before it, the rest after it. Parts that begin
behind the last winner are left alone. A pivot is not any item: a sample of the part is searched for the one that few
more than the winners should beat (Floyd and Rivest, "Expected time bounds for selection", 1975), so that nearly every
loser is compared once. All parts go on at the same time, and so do all comparisons with one pivot.

No comparison is asked twice and none that was answered is overruled: whoever comes before the pivot has beaten it
directly, or, where those two could not be compared, somebody who has. So this ends also where answers contradict each
other, and each winner has beaten the next one directly, or nobody could say which of them is better.

Who could not be compared with the pivot is compared with those right before it: with the pivots that lead from the
winners down to it, which all others are compared with anyway. Whoever beats one of them comes before the pivot,
whoever beats none comes behind it. A pivot that most others cannot be compared with gives way to another one.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from math import ceil, exp, sqrt

Pair = tuple[int, int]
Comparisons = Generator[list[Pair], Sequence[int], list[int]]
"""Yields the pairs of a round; gets for each 1 (the first is better), -1 (the second is) or 0 (undecided)."""
_Part = list[int]
_Split = tuple[_Part, int, _Part]
"""What beats the pivot, the pivot, and what does not."""
_Asked = Generator[list[Pair], Sequence[int], None]

_SMALL_PART = 20
"""Below so many items any pivot will do."""
_SORTING_SAMPLE = 5
"""Items whose middle one is the pivot of a part that is to be put in order as a whole."""
_TRIES = 6
"""Pivots of a part that may turn out to be of no use."""
_PROBES = 8
"""Items that a pivot is compared with before all others are, where the one before it was of no use."""
_BLIND = 8
"""Where at least one in so many can be compared with a pivot, it is they who are of no use, and not the pivot."""
_MISSES = 2
"""Comparisons of an item that may stay undecided, beside the one with the pivot, while its side is looked for."""
_DEEP = 12
"""So many times the search for an item's side may have to search for another item's side first."""


def best(weights: Sequence[int], k: int, marks: Sequence[bytes]) -> Comparisons:
    """The best items in order, asked round by round.

    Args:
        weights: How many rows each item stands for, 1 or more.
        k: Rows wanted, 1 or more.
        marks: A text of each item's own that decides which pivots are tried: the same items are compared in the same
            way in whatever order they come.

    Yields:
        Pairs of items, none empty, no pair twice.

    Returns:
        The items for the first ``k`` rows, best first: all of them where there are no more. Who cannot be compared
        comes behind those who can, and such are in no particular order.

    Example:
        >>> asked, round_ = best([1] * 5, 2, [b"c", b"a", b"e", b"d", b"b"]), []
        >>> try:
        ...     while True:
        ...         round_ = asked.send([1 if one > other else -1 for one, other in round_] if round_ else None)
        ... except StopIteration as done:
        ...     done.value
        [4, 3]
    """
    return _Selection(weights, marks).ranked(list(range(len(weights))), k)


@dataclass(slots=True)
class _Job:
    """One part that is being split."""

    offset: int
    """Rows before it."""
    split: Generator[list[Pair], Sequence[int], _Split]
    pairs: list[Pair]


class _Selection:
    def __init__(self, weights: Sequence[int], marks: Sequence[bytes]) -> None:
        self._weights = weights
        self._marks = marks
        self._results: dict[Pair, int] = {}
        """Pair in order of items -> what was answered."""
        self._undecided: dict[int, list[int]] = {}
        self._mute: set[int] = set()
        """Items that could not be compared with most of the others: no pivots."""
        self._led: list[int] = []
        """Pivots by which a side was looked for: their parts are split by them."""

    def ranked(self, items: _Part, k: int) -> Comparisons:
        placed: list[tuple[int, int]] = []
        jobs: list[_Job] = []
        waiting: list[tuple[int, _Part]] = [(0, items)]
        while waiting or jobs:
            while waiting:
                offset, part = waiting.pop()
                if not part or offset >= k:
                    continue
                if len(part) == 1:
                    placed.append((offset, part[0]))
                    continue
                self._go_on(_Job(offset, self._split(part, k - offset), []), None, jobs, placed, waiting)
            if jobs:
                replies = iter((yield [pair for job in jobs for pair in job.pairs]))
                told = [(job, [next(replies) for _ in job.pairs]) for job in jobs]
                jobs.clear()
                for job, answers in told:
                    self._go_on(job, answers, jobs, placed, waiting)
        return [item for offset, item in sorted(placed) if offset < k]

    def _go_on(
        self,
        job: _Job,
        answers: list[int] | None,
        jobs: list[_Job],
        placed: list[tuple[int, int]],
        waiting: list[tuple[int, _Part]],
    ) -> None:
        """Hand a part its answers; it asks on, or has become a pivot and the parts on both sides."""
        try:
            job.pairs = next(job.split) if answers is None else job.split.send(answers)
            jobs.append(job)
        except StopIteration as done:
            above, pivot, below = done.value
            at = job.offset + self._weight(above)
            placed.append((at, pivot))
            waiting += [(job.offset, above), (at + self._weights[pivot], below)]

    def _split(self, part: _Part, k: int, deep: int = 0) -> Generator[list[Pair], Sequence[int], _Split]:
        """A pivot, what beats it and what does not; chosen so that about ``k`` rows do."""
        above, pivot, below = yield from self._parted(part, k)
        doubtful = [item for item in below if not self._result(item, pivot)]
        if above and deep < _DEEP and 2 * len(doubtful) <= len(part) - 1:
            better = yield from self._better(doubtful, above, k, deep)
            above, below = [*above, *better], [item for item in below if item not in better]
        return above, pivot, below

    def _better(
        self, doubtful: _Part, above: _Part, k: int, deep: int
    ) -> Generator[list[Pair], Sequence[int], list[int]]:
        """Those who could not be compared with a pivot, but have beaten somebody who has beaten it."""
        better: list[int] = []
        misses = dict.fromkeys(doubtful, 0)
        between = above
        while between and misses and k > 0:
            ahead, pivot, between = yield from self._split(between, k, deep + 1)
            self._led.append(pivot)
            yield from self._compare(pivot, [*misses])
            for item in [*misses]:
                result = self._result(item, pivot)
                misses[item] += not result
                if result > 0:
                    better.append(item)
                if result > 0 or misses[item] > _MISSES:
                    del misses[item]
            # Behind the last winner nothing is put in order, and who has lost to it is none.
            k -= self._weight(ahead) + self._weights[pivot]
        return better

    def _parted(self, part: _Part, k: int) -> Generator[list[Pair], Sequence[int], _Split]:
        """A pivot, what has beaten it, and all others."""
        for attempt in range(_TRIES):
            able = [item for item in part if item not in self._mute] or part
            led = self._leading(part)
            pivot = (yield from self._pivot(able, k)) if led is None else led
            others = [item for item in part if item != pivot]
            probes = self._first(able, pivot) if attempt else []
            yield from self._compare(pivot, probes)
            if self._told_of(pivot, probes):
                yield from self._compare(pivot, others)
                if self._told_of(pivot, others):
                    results = [self._result(item, pivot) for item in others]
                    break
            if len(part) == 2:
                results = [self._guess(others[0], pivot)]
                break
            self._mute.add(pivot)
        else:
            # Hardly any can be compared: then any order will do that takes few comparisons.
            results = [self._result(item, pivot) or (1 if item < pivot else -1) for item in others]
        above = [item for item, result in zip(others, results, strict=True) if result > 0]
        below = [item for item, result in zip(others, results, strict=True) if result <= 0]
        return above, pivot, below

    def _first(self, able: _Part, pivot: int) -> _Part:
        """A few of those that can be compared."""
        return sorted((item for item in able if item != pivot), key=self._marks.__getitem__)[:_PROBES]

    def _told_of(self, pivot: int, others: _Part) -> bool:
        """Whether enough can be compared with the pivot: most, or in a large part those that can be compared at all."""
        undecided = sum(not self._result(item, pivot) for item in others)
        return 2 * undecided <= len(others) or (
            len(others) >= _SMALL_PART and _BLIND * (len(others) - undecided) >= len(others)
        )

    def _leading(self, part: _Part) -> int | None:
        """A pivot that all others of the part have been compared with on the way to somebody's side."""
        if not self._led:
            return None
        items = set(part)
        for pivot in self._led:
            if pivot in items - self._mute and all(
                _pair(item, pivot) in self._results for item in part if item != pivot
            ):
                return pivot
        return None

    def _compare(self, pivot: int, others: _Part) -> _Asked:
        open_pairs = [pair for pair in (_pair(item, pivot) for item in others) if pair not in self._results]
        if open_pairs:
            answers = yield open_pairs
            self._results.update(zip(open_pairs, answers, strict=True))
            for (one, other), answer in zip(open_pairs, answers, strict=True):
                if not answer:
                    self._undecided.setdefault(one, []).append(other)
                    self._undecided.setdefault(other, []).append(one)

    def _result(self, one: int, other: int) -> int:
        """1 where the one is better, -1 where the other is, 0 where nobody knows."""
        return self._results.get((one, other), 0) if one < other else -self._results.get((other, one), 0)

    def _guess(self, one: int, other: int) -> int:
        """Whoever could be compared with others more often, and then whoever comes first."""
        return 1 if (self._failures(one), one) < (self._failures(other), other) else -1

    def _failures(self, item: int) -> int:
        return sum(other not in self._mute for other in self._undecided.get(item, ()))

    def _pivot(self, part: _Part, k: int) -> Generator[list[Pair], Sequence[int], int]:
        by_mark = sorted(part, key=self._marks.__getitem__)
        if len(part) < _SMALL_PART:
            return by_mark[0]
        total = self._weight(part)
        sample = by_mark[: _SORTING_SAMPLE if 2 * k >= total else ceil(sqrt(len(part)))]
        weight, middle = self._weight(sample), ceil(len(sample) / 2)
        aim = middle if 2 * k >= total else min(middle, _aim(len(sample), (k - 1) / total))
        return (yield from self._nth(sample, max(1, ceil(weight * aim / len(sample)))))

    def _nth(self, part: _Part, n: int) -> Generator[list[Pair], Sequence[int], int]:
        """The item of the ``n``-th row."""
        while len(part) > 1:
            above, pivot, below = yield from self._parted(part, n)
            before = self._weight(above)
            if before < n <= before + self._weights[pivot]:
                return pivot
            part, n = (above, n) if n <= before else (below, n - before - self._weights[pivot])
        return part[0]

    def _weight(self, part: _Part) -> int:
        return sum(self._weights[item] for item in part)


def _pair(one: int, other: int) -> Pair:
    return (one, other) if one < other else (other, one)


def _aim(sample: int, share: float) -> int:
    """Which of a sample, from the best on, few more than a share of all should beat.

    One place further costs a further comparison for as many items as a sample of that size stands for one; a place too
    near costs one for all. So a place is near enough where that happens once in as many times as the sample has items.
    """
    expected = sample * share
    place, chance = 0, exp(-expected)
    left = 1 - chance
    while left > 1 / sample:
        place += 1
        chance *= expected / place
        left -= chance
    return place + 1
