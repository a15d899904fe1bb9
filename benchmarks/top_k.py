"""How many calls and rounds does ``top_k`` take, against the number of rows and of winners, and against a full sort?

Comparisons are counted over many orders of the rows, with judges that need no model: one of one mind, one who errs in a
tenth of the pairs (the same way whenever he is asked), and one who tosses a coin. "Found" is the share of the true best
among those that the judge who errs picks. One run of each size is real: a scripted model in the same process, a new
SQLite store, everything written down; the very comparisons of that order must come by.

Nobody can do with less than ``n - 1``: whoever is not the best has lost once. An ideal sort of all rows takes about
``n log2 n - 1.3 n`` comparisons, nearly all of them one after the other. Rounds matter where rows are few: the calls of
a round go out together, rounds wait for each other. The estimate is told as low, usual and high.

    python benchmarks/top_k.py                      # 100, 1,000 and 10,000 rows: two minutes
    python benchmarks/top_k.py --rows 100 1000
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from hashlib import blake2b
from math import log2
from statistics import fmean
from typing import Any

import polars as pl
from measuring import Clock, scratch_folder, show, sizes

import infergraph as ig
from infergraph.models.model import Request
from infergraph.models.scripted import script
from infergraph.operators.selection import best

_WINNERS = (1, 10, 100)
_ALL_BELOW = 1_000
_ERRS = 0.1

Judge = Callable[[int, int], bool]


def main() -> None:
    """Measure every size, and print one table."""
    rows = sizes([100, 1_000, 10_000], __doc__.splitlines()[0])
    table = [_line(n, k) for n in rows for k in _winners(n)]
    show("top_k", "Comparisons and rounds of top_k, by rows and winners", table)


def _winners(n: int) -> list[int]:
    """Few, many, and where it does not take minutes all."""
    return sorted({*(k for k in _WINNERS if k <= n), *([n] if n <= _ALL_BELOW else [])})


def _line(n: int, k: int) -> dict[str, Any]:
    games = range(max(3, 20_000 // n))
    counted = [_played(n, k, seed, lambda one, other: one < other) for seed in games]
    calls = [sum(rounds) for _, rounds in counted]
    erring = [_played(n, k, seed, _erring(seed)) for seed in games]
    tossed = [_played(n, k, seed, _tossing(seed)) for seed in games]
    return {
        "rows": n,
        "k": k,
        "calls": fmean(calls),
        "most": max(calls),
        "of n + k log2 k": fmean(calls) / (n + k * log2(k)),
        "of an ideal sort": fmean(calls) / (n * log2(n) - 1.3 * n),
        "rounds": fmean(len(rounds) for _, rounds in counted),
        "calls, judge errs": fmean(sum(rounds) for _, rounds in erring),
        "found %": 100 * fmean(len(set(found) & set(range(k))) / k for found, _ in erring),
        "calls, coin": fmean(sum(rounds) for _, rounds in tossed),
        **_real(n, k),
    }


def _played(n: int, k: int, seed: int, better: Judge) -> tuple[list[int], list[int]]:
    """The best of ``n`` in one order (0 is the very best), and the comparisons of each round."""
    marks = [blake2b(b"%d %d" % (seed, item), digest_size=16).digest() for item in range(n)]
    asked, rounds = best([1] * n, k, marks), []
    try:
        pairs = next(asked)
        while True:
            rounds.append(len(pairs))
            pairs = asked.send([1 if better(one, other) else -1 for one, other in pairs])
    except StopIteration as done:
        return done.value, rounds


def _erring(seed: int) -> Judge:
    return lambda one, other: (one < other) ^ (random.Random(f"{seed} {one} {other}").random() < _ERRS)


def _tossing(seed: int) -> Judge:
    return lambda one, other: random.Random(f"{seed} {one} {other}").random() < 0.5


def _judged(request: Request) -> dict[str, str]:
    assert request.choices is not None
    a, b = (int(re.findall(r"\d+", one)[0]) for one in request.choices.candidates)
    return {"better": "a" if a < b else "b"}


def _real(n: int, k: int) -> dict[str, Any]:
    rows = pl.DataFrame({"id": range(n), "body": [f"mail {number}" for number in range(n)]})
    with scratch_folder() as folder, script("judge", _judged) as asked:
        models = {"judge": ig.Model("scripted:judge", max_concurrency=256)}
        with ig.Session(models, store="sqlite:///state.db", root=folder) as session:
            frame = session.frame(rows, name="mails", key="id").semantic.top_k("{{ body }} is urgent", k=k)
            estimated = frame.estimate()
            with Clock() as clock:
                result = frame.run()
            again = frame.run()
    if result.frame["id"].to_list() != list(range(k)) or again.usage.calls:
        raise SystemExit(f"top_k of {n} rows, k={k}: wrong rows, or a replay that asks.")
    return {
        "one run": len(asked.requests),
        "estimated": f"{estimated.calls_low:,}-{estimated.calls:,}-{estimated.calls_high:,}",
        "CPU ms a call": 1000 * clock.cost.cpu_s / max(1, len(asked.requests)),
    }


if __name__ == "__main__":
    main()
