"""The marks that rows carry in ``_doubt`` while answers are missing, and what is known of a node's rows as a whole."""

from __future__ import annotations

from dataclasses import dataclass

UNKNOWN, MAYBE, FOG = 1, 2, 4
"""Marks of a row: an answer behind it is missing; it may not be there; nothing is known of its columns."""
OPEN, FIRST_DECIDER = 8, 16
"""Beside ``MAYBE``: a step other than a filter by meaning left that open; from 16 up, one bit for each such filter."""
PERHAPS = MAYBE | OPEN
GATHERED, RANKED = "top_k.gather", "top_k.rows"
"""The steps around ``top_k``: all rows in one, whatever is known of them, and the best rows out of it again; where its
answers are missing, that gives all of them, marked."""
NEAREST = "nearest"
"""``how`` of a step that finds rows by their vectors: among rows without one, any may be found."""


@dataclass(frozen=True)
class Standing:
    """What is not settled about a node's rows."""

    touched: bool = False
    """Some answer behind them is missing."""
    rows: bool = False
    """Such answers say which rows there are."""
    order: bool = False
    """Such answers say in which order the rows come."""
    fog: bool = False
    """There may be rows of which nothing is known."""
    most: int | None = None
    """At most so many rows come, where a step says so."""
