"""How sure a share of a sample is: the Wilson score interval, which also holds for small samples and shares near 1."""

from __future__ import annotations

import math
from statistics import NormalDist

from infergraph.errors import PlanError


def wilson_interval(passed: int, graded: int, confidence: float = 0.95) -> tuple[float, float]:
    """The range in which the true share lies, when ``passed`` of ``graded`` drawn at random passed.

    After E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", Journal of the American
    Statistical Association 22 (158), 1927, pages 209-212; without a correction for continuity.

    Args:
        passed: How many passed, 0 to ``graded``.
        graded: How many were looked at, 0 or more.
        confidence: How often such a range holds the true share, between 0 and 1, both excluded.

    Returns:
        The lowest and the highest share, each 0 to 1; ``(0.0, 1.0)`` where nothing was looked at.

    Raises:
        PlanError: A number out of range.

    Example:
        >>> low, high = wilson_interval(190, 200)
        >>> round(low, 3), round(high, 3)
        (0.91, 0.973)
    """
    if not 0 <= passed <= graded or not 0 < confidence < 1:
        raise PlanError(
            f"wilson_interval({passed!r}, {graded!r}, {confidence!r}): of 0 or more at most all passed, and the "
            "confidence lies between 0 and 1."
        )
    if graded == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = passed / graded
    spread = z * math.sqrt(share * (1 - share) / graded + (z / (2 * graded)) ** 2)
    middle = share + z * z / (2 * graded)
    whole = 1 + z * z / graded
    low, high = (middle - spread) / whole, (middle + spread) / whole
    # At the ends the formula gives 0 and 1 but for the last bit of a float.
    return 0.0 if passed == 0 else max(0.0, low), 1.0 if passed == graded else min(1.0, high)
