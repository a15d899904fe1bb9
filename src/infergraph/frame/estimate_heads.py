"""What a run asks below a ``head`` whose rows come out of stored answers: nothing more.

A run reads the operators below a ``head`` window by window (see ``pulling.py``). Where every window that the ``head``
needs is answered already, a run probably asks nothing: only its windows may be larger than those assumed here, so that
more is possible, and the upper end stays.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from infergraph.frame import plan as plans
from infergraph.frame.compiling import Batches, io_source, wanted_rows
from infergraph.frame.estimate_walk import Exact, TookTooLong
from infergraph.frame.pulling import Growing, Passes, in_windows, pulled_heads
from infergraph.frame.row_ids import DOUBT, DOUBT_TYPE, ROW_ID
from infergraph.frame.window import MORSEL_ROWS


class Pulled(Exact):
    """The walk over the rows that a ``head`` needs; it ends where an answer is missing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._rows = 0
        self._looking = False
        self._ended = False
        """An answer is missing: what comes behind its row is not read."""

    def all_answered(self, head: plans.Step, until: float | None) -> bool:
        """Read what the head needs; whether all of it is answered.

        Args:
            head: A step of ``pulled_heads``.
            until: When to give up, on the clock ``time.monotonic``; ``None``: never.
        """
        try:
            self.read(self.frame(head), until=until)
        except TookTooLong:
            return False
        return not self._ended or self._rows >= (head.most_rows or 0)

    def _read(self, rows: pl.LazyFrame, keep: Path | None) -> None:
        for batch in rows.collect_batches(chunk_size=MORSEL_ROWS, maintain_order=True, engine="streaming"):
            self._rows += batch.height

    def frame(self, node: plans.Node) -> pl.LazyFrame:
        """The head as a lazy frame."""
        assert isinstance(node, plans.Step)
        operators = pulled_heads(node)[id(node)]
        chain: list[Passes] = []

        def operator(step: plans.OperatorStep, before: pl.LazyFrame) -> pl.LazyFrame:
            if id(step) not in operators:
                return self._operator_frame(step, before)
            schema = {**step.schema, ROW_ID: pl.String()}
            below = chain[-1] if chain else None

            def read(wanted: list[str] | None, predicate: pl.Expr | None) -> Batches:
                window = Growing(lambda: 2 * MORSEL_ROWS, node.most_rows or 1)
                columns = list(schema) if wanted is None else wanted
                for rows in self._batches(step, before, columns, predicate, None, window, below):
                    yield rows
                    if self._ended:
                        return
                    window.handed_on()

            chain.append(Passes(read))
            return io_source(schema, chain[-1].next_window, self.activity, f"estimate {step.name}")

        rows = self._lazy(node.inputs[0], operator, self.options.limit).select(*node.schema, ROW_ID)

        def first(wanted: list[str] | None, predicate: pl.Expr | None, n_rows: int | None) -> Batches:
            windows = in_windows(rows, chain[-1], lambda: self.activity.stopped)
            return wanted_rows(windows, None, node.most_rows, self.activity)

        return io_source({**node.schema, ROW_ID: pl.String()}, first, self.activity, "estimate head")

    def counting(self, step: plans.OperatorStep) -> bool:
        """Not while it is only found out which rows are answered."""
        return not self._looking

    def _answered(self, step: plans.OperatorStep, batch: pl.DataFrame) -> pl.DataFrame:
        """The rows before the first one whose answer is missing: behind that, nothing is known."""
        self._looking = True
        _, open_rows = self.look_up(step, batch.with_columns(pl.lit(0, DOUBT_TYPE).alias(DOUBT)), 1, 1)
        self._looking = False
        first = open_rows.arg_max() if open_rows.any() else None
        self._ended = self._ended or first is not None
        return super()._answered(step, batch if first is None else batch.head(first))
