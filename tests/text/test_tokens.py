"""Tokens counted and cut: exact where the tokenizer is known, an estimate that says so elsewhere."""

from __future__ import annotations

import warnings
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import infergraph as ig
from infergraph.errors import PlanError
from infergraph.text.encodings import count_tokens

tokens = ig.text.tokens
EXACT = ["o200k_base", "cl100k_base", "openai:gpt-5-mini", "local:smollm2-135m"]
TEXTS = st.text(max_size=60) | st.lists(
    st.sampled_from(["word", " ", "Zoë", "日本", "\n\n", "12345", "don't", "x" * 30, "<|im_end|>"]), max_size=20
).map("".join)


def computed(expr: pl.Expr, *texts: str | None) -> list[Any]:
    return pl.DataFrame({"t": pl.Series(texts, dtype=pl.String)}).lazy().select(expr).collect().to_series().to_list()


@pytest.mark.parametrize("model", EXACT)
def test_counts_are_exact_and_nothing_warns(model: str) -> None:
    assert tokens.is_exact(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # bpe_openai's, when it loads
        assert computed(tokens.count("t", model=model), "hello world", "", None) == [2, 0, None]


def test_the_embedded_model_counts_as_its_server_does() -> None:
    from infergraph.models.local import LocalProvider
    from infergraph.models.model import Model

    text = "Grüße, 1234 words and <|im_end|> marks\n\n  indented"
    counted = LocalProvider(Model("local:smollm2-135m")).count_tokens(text)
    assert (computed(tokens.count("t", model="local:smollm2-135m"), text)[0], True) == counted


def test_an_estimate_says_so_once() -> None:
    with pytest.warns(UserWarning, match=r"'claude-test-1' is not at hand; tokens are estimated as 1\.3 x o200k_base"):
        tokens.count("t", model="claude-test-1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tokens.count("t", model="claude-test-1")
    assert not tokens.is_exact("claude-test-1")


@pytest.mark.parametrize("model", EXACT)
@given(text=TEXTS, n=st.integers(0, 12), side=st.sampled_from(["start", "end"]))
@settings(max_examples=60, deadline=None)
def test_what_is_cut_fits_and_is_an_end_of_the_text(model: str, text: str, n: int, side: Any) -> None:
    kept = computed(tokens.truncate("t", n, side=side, model=model), text)[0]
    assert text.startswith(kept) if side == "end" else text.endswith(kept)
    assert count_tokens(model, kept)[0] <= n
    assert (kept == text) == (count_tokens(model, text)[0] <= n)


def test_a_long_word_is_cut_within() -> None:
    text = "a" * 5_000
    for side in ("start", "end"):
        kept = computed(tokens.truncate("t", 10, side=side), text)[0]
        assert 8 <= count_tokens("o200k_base", kept)[0] <= 10


@pytest.mark.filterwarnings("ignore:.*are estimated:UserWarning")
def test_estimated_tokens_are_used_up() -> None:
    model = "anthropic:claude-opus-4-6"
    for side in ("start", "end"):
        kept = computed(tokens.truncate("t", 100, side=side, model=model), "word " * 500)[0]
        assert 98 <= count_tokens(model, kept)[0] <= 100


@pytest.mark.filterwarnings("ignore:.*are estimated:UserWarning")
def test_more_tokens_than_any_text_has() -> None:
    for model in [*EXACT, "claude-opus-4-6"]:
        assert computed(tokens.truncate("t", 10**400, model=model), "one two") == ["one two"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"n": -1}, "n=-1"),
        ({"n": 1.5}, r"n=1\.5"),
        ({"n": 1, "side": "left"}, "the side that goes"),
        ({"n": 1, "model": ""}, "write a model id"),
    ],
)
def test_what_cannot_be_is_said_when_the_expression_is_built(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(PlanError, match=says):
        tokens.truncate("t", **arguments)


def test_a_model_that_is_no_name() -> None:
    nothing: Any = None
    with pytest.raises(PlanError, match="is_exact: model=None: write a model id"):
        tokens.is_exact(nothing)
