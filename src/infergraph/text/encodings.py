"""How many tokens a text has, without asking anyone and without downloads.

For OpenAI's models and the embedded one the tokenizer is at hand and the count is exact. For all others it is an
estimate, and says so: for Claude 1.3 times the ``o200k_base`` count (its tokenizers are not published; English prose
lies at 1.1 to 1.35 times, rather more for code and other languages), for unknown models that count itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any, Protocol, cast

from infergraph.text.packaged import CHAT_MODEL

_O200K = re.compile(r"^(gpt-4o|gpt-4\.[15]|gpt-5|gpt-oss|chatgpt-4o|o[134](-|$)|o200k_(base|harmony)$|ft:gpt-4(o|\.1))")
_CL100K = re.compile(
    r"^(gpt-4(-|$)|gpt-3\.?5|text-embedding-(3-|ada-002)|(davinci|babbage)-002$|cl100k_base$|ft:gpt-(3\.5|4[-:]))"
)
_CLAUDE = re.compile(r"(^|[./])claude")
_CLAUDE_FACTOR = 1.3
_NO_LIMIT = 2**53
"""More tokens than any text has, and still exact as a float."""
_WORDS_KEPT = 50_000
_LONGEST_KEPT = 40
"""Characters of a word whose count is kept."""
_PROVIDERS = ("openai", "anthropic", "local")


class _Tokenizer(Protocol):
    def count(self, text: str) -> int: ...

    def pretokenize(self, text: str) -> list[str]: ...


def encoding_of(model_id: str) -> tuple[str, float, bool]:
    """How the tokens of a model are counted.

    Args:
        model_id: A model id, with or without its provider, or the name of an encoding (``o200k_base``,
            ``cl100k_base``; ``o200k_harmony`` counts ordinary text as ``o200k_base`` does).

    Returns:
        The encoding, a factor on its count, and whether that is exact.

    Example:
        >>> encoding_of("gpt-5-mini"), encoding_of("claude-opus-4-6")
        (('o200k_base', 1.0, True), ('o200k_base', 1.3, False))
    """
    name = model_id.lower()
    provider, _, rest = name.partition(":")
    if provider in _PROVIDERS:
        name = rest
    if name == CHAT_MODEL:
        return CHAT_MODEL, 1.0, True
    if _O200K.match(name):
        return "o200k_base", 1.0, True
    if _CL100K.match(name):
        return "cl100k_base", 1.0, True
    return "o200k_base", _CLAUDE_FACTOR if _CLAUDE.search(name) else 1.0, False


def count_tokens(model_id: str, text: str) -> tuple[int, bool]:
    """Tokens of one text.

    Args:
        model_id: A model id, or the name of an encoding.
        text: Any text; special tokens of OpenAI's encodings in it count as ordinary text.

    Returns:
        The number of tokens, and whether it is exact rather than an estimate.

    Example:
        >>> count_tokens("gpt-5-mini", "hello world")
        (2, True)
    """
    counts, exact = count_many(model_id, (text,))
    return counts[0], exact


def count_many(model_id: str, texts: Sequence[str]) -> tuple[list[int], bool]:
    """Tokens of many texts, some tens of millions of characters a second.

    Args:
        model_id: A model id, or the name of an encoding.
        texts: Any texts.

    Returns:
        One number for each text in the same order, and whether they are exact.

    Example:
        >>> count_many("text-embedding-3-small", ["hello world", ""])
        ([2, 0], True)
    """
    encoding, factor, exact = encoding_of(model_id)
    count = _tokenizer(encoding).count
    counts = [count(_clean(text)) for text in texts]
    return counts if factor == 1 else [round(number * factor) for number in counts], exact


def _clean(text: str) -> str:
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode()


class _Embedded:
    """The embedded chat model's own tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def count(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def pretokenize(self, text: str) -> list[str]:
        pieces = self._tokenizer.pre_tokenizer.pre_tokenize_str(text)
        return [text[start:end] for _, (start, end) in pieces]


@cache
def _tokenizer(encoding: str) -> _Tokenizer:
    if encoding == CHAT_MODEL:
        from infergraph.text import gguf
        from infergraph.text.packaged import chat_model_file

        return _Embedded(gguf.tokenizer_in(chat_model_file()))
    # The package's public face refuses texts of over 200,000 tokens; the tokenizer underneath does not.
    from bpe_openai._bindings import tokenizer_for_encoding

    return cast(_Tokenizer, tokenizer_for_encoding(encoding))


def encoding_and_limit(model_id: str, tokens: int) -> tuple[str, int]:
    """What a limit in tokens of a model is in its encoding, of which estimates are a multiple.

    Args:
        model_id: A model id, or the name of an encoding.
        tokens: Most tokens of the model, 0 or more.

    Returns:
        The encoding, and the most of its tokens that count as at most so many of the model's.

    Example:
        >>> encoding_and_limit("gpt-5-mini", 1_000), encoding_and_limit("claude-opus-4-6", 1_000)
        (('o200k_base', 1000), ('o200k_base', 769))
    """
    encoding, factor, _ = encoding_of(model_id)
    limit = min(tokens, _NO_LIMIT)
    if factor != 1:
        limit = int((limit + 1) / factor)
        while round(limit * factor) > tokens:
            limit -= 1
    return encoding, limit


def pieces_of(encoding: str, text: str) -> list[tuple[str, int]]:
    """A text as its tokenizer takes it apart before it looks for tokens, with the tokens of each piece.

    Args:
        encoding: As ``encoding_of`` names it.
        text: Any text.

    Returns:
        Pieces that make up the text exactly, and how many tokens each has; a lone surrogate counts as one character.

    Example:
        >>> pieces_of("o200k_base", "hello world")
        [('hello', 1), (' world', 1)]
    """
    count, clean = _count_of_pieces(encoding), _clean(text)
    pieces, place = [], 0
    for piece in _tokenizer(encoding).pretokenize(clean):
        length = count(piece)
        end = place + len(piece)
        pieces.append((piece if clean is text else text[place:end], length))
        place = end
    return pieces


@cache
def _count_of_pieces(encoding: str) -> Callable[[str], int]:
    """Tokens of words, of which most texts have the same ones over and over."""
    count = _tokenizer(encoding).count
    known = lru_cache(maxsize=_WORDS_KEPT)(count)
    return lambda piece: known(piece) if len(piece) <= _LONGEST_KEPT else count(piece)
