"""After 100 rows of history, the estimate of 1,000 more: on the simulated server, whose counting differs from ours."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import polars as pl
import pytest
from pydantic import BaseModel, Field

import infergraph as ig
from infergraph.testing import SimulatedServer

MIXED = (
    "the invoice was charged twice and nobody answers since yesterday internationalisation refund naïve über "
    "Überweisungsbestätigung ありがとう https://example.com/a?b=c {'key': [1,2,3]} def f(x): return x**2 0x7f3a9c"
)
OLD, NEW = 100, 1_000


class Ticket(BaseModel):
    product: str = Field(description="product the customer talks about")
    summary: str
    urgent: bool


def texts() -> list[str]:
    """Some of a line, some of pages."""
    chance, words = random.Random(11), MIXED.split()
    sizes = [int(min(1_500, chance.lognormvariate(3.5, 1))) + 3 for _ in range(OLD + NEW)]
    return [" ".join(chance.choice(words) for _ in range(size)) for size in sizes]


@contextmanager
def session_with(wire: str, **server: Any) -> Iterator[ig.Session]:
    with SimulatedServer(keep_requests=False, **server) as running:
        models = {
            "openai": ig.Model(
                "openai:gpt-5-mini", base_url=running.openai_url, api_key=None,
                price=ig.Price(input="0.25", cached_input="0.025", output=2),
            ),
            "anthropic": ig.Model(
                "anthropic:claude-sonnet-4-5", base_url=running.anthropic_url, api_key=None,
                price=ig.Price(input=3, cached_input="0.3", cache_write="3.75", output=15),
            ),
        }  # fmt: skip
        with ig.Session(models=models, default_model=wire, store="sqlite://", progress=False) as session:
            yield session


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
@pytest.mark.parametrize(
    ("server", "instruction"),
    [({}, None), ({"cached_share": 0.6}, None), ({"prefix_cache": True}, "Read with care. " * 700)],
    ids=["plain", "part cached", "long prefix cached"],
)
def test_a_thousand_rows_after_a_hundred(wire: str, server: dict[str, Any], instruction: str | None) -> None:
    rows = pl.DataFrame({"id": range(OLD + NEW), "body": texts()})

    def plan(part: pl.DataFrame) -> ig.SemanticFrame:
        return session.frame(part, name="tickets", key="id").semantic.extract("body", Ticket, instruction=instruction)

    with session_with(wire, **server) as session:
        plan(rows.head(OLD)).run()
        told = plan(rows.tail(NEW)).estimate()
        used = plan(rows.tail(NEW)).run().usage
    assert (told.calls_low, told.calls, told.calls_high) == (NEW, NEW, NEW) == (used.calls,) * 3
    assert told.input_tokens == pytest.approx(used.input_tokens, rel=0.10)
    assert told.cost_usd is not None
    assert used.cost_usd is not None
    assert float(told.cost_usd) == pytest.approx(float(used.cost_usd), rel=0.25)
    assert told.input_tokens_low <= used.input_tokens <= told.input_tokens_high
    assert any("calibrated on 100 past requests" in text for text in told.assumptions)


def test_another_operator_of_the_model_is_a_first_guide() -> None:
    rows = pl.DataFrame({"id": range(OLD + NEW), "body": texts()})
    with session_with("anthropic") as session:
        new = session.frame(rows.tail(NEW), name="tickets", key="id").semantic.map("Shorten {{ body }}", into="short")
        blind = new.estimate().input_tokens
        session.frame(rows.head(OLD), name="tickets", key="id").semantic.extract("body", Ticket).run()
        told = new.estimate()
        used = new.run().usage.input_tokens
    assert abs(told.input_tokens - used) < abs(blind - used) / 2
    assert told.input_tokens_low <= used <= told.input_tokens_high
