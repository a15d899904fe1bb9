"""Infergraph at the same work: everything included, on a store that is new."""

from __future__ import annotations

import sys
import tempfile

import polars as pl
from tickets import IN_FLIGHT, MODEL, Ticket, measured, report

import infergraph as ig


def main(address: str, rows: int) -> None:
    """Extract from every ticket and report the cost."""
    model = ig.Model(
        f"openai:{MODEL}",
        base_url=f"{address}/v1",
        api_key="none",
        max_concurrency=IN_FLIGHT,
        price=ig.Price(input="0.4", output="1.6"),
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        ig.Session(models={"m": model}, default_model="m", store=f"sqlite:///{folder}/state.db") as session,
    ):

        def run(contents: list[str]) -> None:
            data = pl.DataFrame({"id": range(len(contents)), "body": contents})
            result = session.frame(data, name="tickets", key="id").semantic.extract("body", Ticket).run()
            assert result.usage.calls == len(contents), f"{result.usage.calls} calls for {len(contents)} rows"
            assert not result.frame["product"].null_count()

        report(measured(rows, run))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
