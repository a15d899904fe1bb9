"""Long texts in pieces: nothing is lost, no piece is too long, and the cuts are where a reader would cut."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.text.encodings import count_many
from infergraph.text.splitting import split_text


def characters(texts: Sequence[str]) -> list[int]:
    return [len(text) for text in texts]


def tokens(texts: Sequence[str]) -> list[int]:
    return count_many("gpt-5-mini", texts)[0]


PROSE = st.text(st.sampled_from("ab .!?\n\t\"')。é"), max_size=400)


@given(PROSE, st.integers(1, 60))
def test_joined_the_pieces_are_the_text_and_none_is_too_long(text: str, limit: int) -> None:
    pieces = split_text(text, limit, characters)
    assert "".join(pieces) == text
    assert max(characters(pieces)) <= limit
    assert all(pieces) or pieces == [""]


@given(st.text(max_size=300), st.integers(4, 40))
def test_so_it_is_by_a_real_tokenizer(text: str, limit: int) -> None:
    pieces = split_text(text, limit, tokens)
    assert "".join(pieces) == text
    assert max(tokens(pieces)) <= limit


def test_estimates_that_are_rounded_for_each_word_keep_to_the_limit() -> None:
    def estimate(texts: Sequence[str]) -> list[int]:
        return count_many("claude-opus-4-6", texts)[0]

    text = "one word " * 3_000
    pieces = split_text(text, 500, estimate)
    assert "".join(pieces) == text
    assert 480 <= max(estimate(pieces)) <= 500


def test_a_text_that_fits_is_one_piece() -> None:
    assert split_text("One. Two.", 9, characters) == ["One. Two."]
    assert split_text("", 1, characters) == [""]


@pytest.mark.parametrize(
    ("text", "limit", "pieces"),
    [
        ("One two. Three four.\n\nFive six. Seven.", 25, ["One two. Three four.", "\n\nFive six. Seven."]),
        ("One two three.\nFour. Five six.", 25, ["One two three.", "\nFour. Five six."]),
        ('He said "stop!" And so on and on.', 20, ['He said "stop!"', " And so on and on."]),
        ("Dr. Smith came. He had no 5.5 left.", 24, ["Dr. Smith came.", " He had no 5.5 left."]),
        ("one two three four", 10, ["one two", " three", " four"]),
        ("abcdefghij", 4, ["ab", "cde", "fg", "hij"]),
        ("甲乙。丙丁。", 4, ["甲乙。", "丙丁。"]),
    ],
)
def test_where_it_cuts(text: str, limit: int, pieces: list[str]) -> None:
    assert split_text(text, limit, characters) == pieces


def test_no_sentence_is_cut_that_fits() -> None:
    sentences = [f"Sentence No. {number} of Dr. Who says {'very ' * (number % 7)}little." for number in range(300)]
    for limit in (80, 120, 333):
        for piece in split_text(" ".join(sentences), limit, characters):
            assert piece.strip().startswith("Sentence")
            assert piece.endswith("little.")


def test_the_last_two_pieces_are_about_equally_long() -> None:
    *_, one, two = split_text("A few words. " * 200, 400, characters)
    assert 0.7 < len(one) / len(two) < 1.4


def test_a_character_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match="has 3 tokens, and 2 fit"):
        split_text("xy", 2, lambda texts: [3 * len(text) for text in texts])
