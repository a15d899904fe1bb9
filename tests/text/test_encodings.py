"""Token counts: known ones for OpenAI's encodings, honest estimates for the rest."""

from __future__ import annotations

import pytest

from infergraph.text.encodings import count_many, count_tokens, encoding_of


@pytest.mark.parametrize(
    ("model_id", "text", "tokens"),
    [
        ("gpt-4o", "hello world", 2),
        ("gpt-5-mini-2025-08-07", "antidisestablishmentarianism", 6),
        ("gpt-4", "antidisestablishmentarianism", 6),
        ("text-embedding-3-large", "hello  world!!!", 4),
        ("o3-mini", "", 0),
        ("gpt-4.1", "<|endoftext|>", 7),
        ("cl100k_base", "today\n ", 3),
        ("cl100k_base", "today\n \n", 2),
        ("cl100k_base", " \x850", 4),
        ("cl100k_base", "0" * 17, 6),
        ("gpt-4o", "お誕生日おめでとう", 8),
        ("gpt-4", "お誕生日おめでとう", 9),
    ],
)
def test_known_counts(model_id: str, text: str, tokens: int) -> None:
    assert count_tokens(model_id, text) == (tokens, True)


@pytest.mark.parametrize(
    ("model_id", "encoding", "exact"),
    [
        ("gpt-5", "o200k_base", True),
        ("o1", "o200k_base", True),
        ("o4-mini", "o200k_base", True),
        ("gpt-3.5-turbo", "cl100k_base", True),
        ("gpt-4-turbo", "cl100k_base", True),
        ("gpt-35-turbo", "cl100k_base", True),
        ("davinci-002", "cl100k_base", True),
        ("o200k_harmony", "o200k_base", True),
        ("r50k_base", "o200k_base", False),
        ("ft:gpt-4o-mini:acme::1", "o200k_base", True),
        ("ft:gpt-4:acme", "cl100k_base", True),
        ("gpt-9-future", "o200k_base", False),
        ("qwen3-8b", "o200k_base", False),
        ("claude-opus-4-6", "o200k_base", False),
        ("anthropic/claude-3-haiku", "o200k_base", False),
    ],
)
def test_what_is_exact_and_what_is_not(model_id: str, encoding: str, exact: bool) -> None:
    found, _, is_exact = encoding_of(model_id)
    assert (found, is_exact) == (encoding, exact)


def test_claude_is_estimated_higher() -> None:
    text = "The quick brown fox jumps over the lazy dog. " * 10
    base, _ = count_tokens("o200k_base", text)
    assert count_tokens("claude-opus-4-6", text) == (round(base * 1.3), False)


def test_many_are_counted_as_one_by_one_whatever_they_hold() -> None:
    texts = ["", "a b c", "half a pair \ud83d", "x" * 1_000_000, "ünïcödé 🎉"]
    counts, exact = count_many("gpt-5-mini", texts)
    assert exact
    assert counts == [count_tokens("gpt-5-mini", text)[0] for text in texts]
    assert counts[3] > 100_000
