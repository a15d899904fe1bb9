"""Prices: the author's, the table's, or unknown; never a guess."""

from __future__ import annotations

import subprocess
import sys
import warnings
from decimal import Decimal

import pytest
from genai_prices import Usage, calc_price

from infergraph.models.model import Model, Price, Tokens
from infergraph.models.prices import UnknownPrice, context_tokens, cost_nano_usd, price_of

MILLION = 1_000_000


def test_a_known_model_and_its_cached_tokens() -> None:
    model = Model("openai:gpt-5-mini")
    assert price_of(model) == Price(input="0.25", output="2", cached_input="0.025")
    assert cost_nano_usd(model, Tokens(input=MILLION)) == 250_000_000
    assert cost_nano_usd(model, Tokens(input=MILLION, cached_input=MILLION)) == 25_000_000
    assert cost_nano_usd(model, Tokens(input=10, output=10, reasoning=8)) == 2_500 + 20_000


def test_tokens_written_into_a_prompt_cache() -> None:
    model = Model("anthropic:claude-haiku-4-5")
    assert price_of(model) == Price(input=1, output=5, cached_input="0.1", cache_write="1.25")
    tokens = Tokens(input=1000, cached_input=500, cache_write_input=300, output=10)
    assert cost_nano_usd(model, tokens) == 200 * 1000 + 500 * 100 + 300 * 1250 + 10 * 5000
    own = Model("anthropic:mine", price=Price(input=2, output=0))
    assert cost_nano_usd(own, tokens) == 1000 * 2000, "unless said otherwise, all input costs the same"


def test_an_embedding_has_no_output_price() -> None:
    assert cost_nano_usd(Model("openai:text-embedding-3-small"), Tokens(input=MILLION)) == 20_000_000


def test_long_prompts_cost_more_where_the_table_says_so() -> None:
    model = Model("anthropic:claude-sonnet-4-5")
    short, long = (cost_nano_usd(model, Tokens(input=n, output=1000)) for n in (200_000, 200_001))
    assert short == 200_000 * 3_000 + 1000 * 15_000
    assert long == pytest.approx(200_001 * 6_000 + 1000 * 22_500)
    assert price_of(model) == Price(input=3, output=15, cached_input="0.3", cache_write="3.75")


@pytest.mark.parametrize(
    "name", ["openai:gpt-4o", "openai:gpt-5.5", "openai:o3", "anthropic:claude-opus-4-6", "anthropic:claude-haiku-4-5"]
)
@pytest.mark.parametrize("read", [1, 199_999, 272_000, 272_001, 900_000])
def test_the_cost_is_what_the_tables_own_calculator_says(name: str, read: int) -> None:
    model = Model(name)
    written = read // 5 if model.provider == "anthropic" else 0
    tokens = Tokens(input=read, cached_input=read // 3, cache_write_input=written, output=777)
    usage = Usage(input_tokens=read, cache_read_tokens=read // 3, cache_write_tokens=written, output_tokens=777)
    expected = calc_price(usage, model.model_id, provider_id=model.provider).total_price
    assert cost_nano_usd(model, tokens) == int((expected * 10**9).to_integral_value())


def test_the_authors_price_wins() -> None:
    model = Model("openai:gpt-5-mini", price=Price(input=1, output=2))
    assert price_of(model) == Price(input=Decimal(1), output=Decimal(2))
    assert cost_nano_usd(model, Tokens(input=5, output=5)) == 15_000


@pytest.mark.parametrize("name", ["local:smollm2-135m", "scripted:any"])
def test_what_runs_here_is_free(name: str) -> None:
    assert cost_nano_usd(Model(name), Tokens(input=MILLION, output=MILLION)) == 0


def test_an_unknown_price_is_none_and_warned_of_once() -> None:
    model = Model("openai:no-such-model-at-all")
    with pytest.warns(UnknownPrice, match="price=Price"):
        assert cost_nano_usd(model, Tokens(input=1)) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert price_of(model) is None


def test_another_server_does_not_cost_what_openai_costs() -> None:
    model = Model("openai:gpt-5-mini", base_url="http://gpu-box/v1", api_key=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnknownPrice)
        assert price_of(model) is None
    assert context_tokens(model) is None


def test_context_windows() -> None:
    assert context_tokens(Model("openai:gpt-5-mini")) == 400_000
    assert context_tokens(Model("openai:no-such-model-at-all")) is None


def test_nothing_is_loaded_or_fetched_before_it_is_needed() -> None:
    code = (
        "import sys, socket\n"
        "def never(*_): raise SystemExit('network')\n"
        "socket.getaddrinfo = socket.socket.connect = never\n"
        "import infergraph.models.prices as prices, infergraph.text.encodings as tokens\n"
        "from infergraph.models.model import Model, Tokens\n"
        "import infergraph.models.openai, infergraph.models.anthropic\n"
        "mine = {'genai_prices', 'bpe_openai', 'openai', 'anthropic', 'aiohttp'} & set(sys.modules)\n"
        "assert not mine, mine\n"
        "assert prices.cost_nano_usd(Model('openai:gpt-5-mini'), Tokens(input=4)) == 1000\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
