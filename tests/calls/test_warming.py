"""Prompt caches, on a simulated server that has one: the first request of a long prefix goes alone."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import infergraph as ig
from infergraph.testing import Fault, SimulatedServer

PROMPT = "Say it shorter. " + "Keep the names of things and people as they are written. " * 400 + "{{ body }}"
PRICE = ig.Price(input=10, cached_input=1, cache_write=12.5, output=0)


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_long_prefix_is_read_once(tmp_path: Path, provider: str) -> None:
    with SimulatedServer(prefix_cache=True, latency_s=0.05) as server:
        url = server.openai_url if provider == "openai" else server.anthropic_url
        name = "openai:any" if provider == "openai" else "anthropic:claude-haiku-4-5"
        model = ig.Model(name, base_url=url, api_key=None, max_concurrency=50, price=PRICE)
        with ig.Session(models={"m": model}, store="sqlite:///s.db", root=tmp_path, progress=False) as session:
            rows = pl.DataFrame({"body": [f"text {number}" for number in range(300)]})
            usage = session.frame(rows, name="rows").semantic.map(PROMPT, into="short").run().usage
        found = server.statistics()
        assert found["prefix_tokens_hit"] / found["prefix_tokens"] > 0.95
        assert server.max_in_flight > 10
    assert usage.cached_input_tokens > 0.9 * usage.input_tokens
    assert usage.cost_usd is not None
    assert float(usage.cost_usd) < 0.2 * usage.input_tokens * 10 / 1e6


def test_when_the_first_one_fails_another_goes_alone(tmp_path: Path) -> None:

    fails_once = Fault(500, first=1, when=lambda body: "text 0" in str(body))
    with SimulatedServer(prefix_cache=True, latency_s=0.02, faults=[fails_once]) as server:
        model = ig.Model("openai:any", base_url=server.openai_url, api_key=None, max_concurrency=50, price=PRICE)
        with ig.Session(models={"m": model}, store="sqlite:///s.db", root=tmp_path, progress=False) as session:
            rows = pl.DataFrame({"body": [f"text {number}" for number in range(100)]})
            result = session.frame(rows, name="rows").semantic.map(PROMPT, into="short").run()
        found = server.statistics()
    assert result.frame["short"].null_count() == 0
    assert found["prefix_tokens_hit"] / found["prefix_tokens"] > 0.95
