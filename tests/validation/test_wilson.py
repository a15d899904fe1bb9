"""Wilson's interval: against published values, and its laws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.errors import PlanError
from infergraph.validation.wilson import wilson_interval


@pytest.mark.parametrize(
    ("passed", "graded", "low", "high"),
    [
        # R. G. Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17 (1998).
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_published_examples(passed: int, graded: int, low: float, high: float) -> None:
    found = wilson_interval(passed, graded)
    assert [round(value, 4) for value in found] == [low, high]


@given(st.integers(1, 5_000), st.floats(0, 1), st.floats(0.5, 0.999))
def test_it_holds_the_share_and_mirrors(graded: int, share: float, confidence: float) -> None:
    passed = round(share * graded)
    low, high = wilson_interval(passed, graded, confidence)
    assert 0 <= low <= passed / graded <= high <= 1
    other_low, other_high = wilson_interval(graded - passed, graded, confidence)
    assert (other_low, other_high) == pytest.approx((1 - high, 1 - low))
    more_low, more_high = wilson_interval(4 * passed, 4 * graded, confidence)
    assert more_high - more_low < high - low


def test_nothing_graded_says_nothing() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("arguments", [(2, 1, 0.95), (-1, 1, 0.95), (1, 1, 1.0), (1, 1, 0)])
def test_numbers_out_of_range_are_refused(arguments: tuple[int, int, float]) -> None:
    with pytest.raises(PlanError):
        wilson_interval(*arguments)
