"""Figures as a person reads them: money, durations, rates and counts, the same in every command."""

from __future__ import annotations

from decimal import Decimal

UNKNOWN = "unknown"


def usd(amount: Decimal | float | None) -> str:
    """An amount of US dollars, with as many places as it needs to say something.

    Args:
        amount: US dollars; ``None``: not known, which is not the same as nothing.

    Returns:
        A text such as ``$1.20`` or ``$0.00034``.

    Example:
        >>> usd(0), usd(1234.5), usd(0.000341), usd(None)
        ('$0', '$1,234.50', '$0.00034', 'unknown')
    """
    if amount is None:
        return UNKNOWN
    exact = Decimal(str(amount))
    if exact == 0:
        return "$0"
    if abs(exact) >= Decimal("0.1"):
        return f"${exact:,.2f}"
    two_digits = -exact.adjusted() + 1
    return f"${exact:.{two_digits}f}"


def seconds(duration: float | None) -> str:
    """A duration, coarser the longer it is.

    Args:
        duration: Seconds, 0 or more; ``None``: not known.

    Returns:
        A text such as ``0.4 s``, ``12 s`` or ``3 min 20 s``.

    Example:
        >>> seconds(0.42), seconds(12.3), seconds(200), seconds(7265)
        ('0.4 s', '12 s', '3 min 20 s', '2 h 1 min')
    """
    if duration is None:
        return UNKNOWN
    if duration < 9.95:
        return f"{duration:.1f} s"
    whole = round(duration)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def count(number: float | None) -> str:
    """A whole number with its thousands apart.

    Example:
        >>> count(1234567), count(None)
        ('1,234,567', 'unknown')
    """
    return UNKNOWN if number is None else f"{number:,.0f}"


def rate(rows: float, duration: float) -> str:
    """Rows a second; empty while there is nothing to say.

    Args:
        rows: Rows done.
        duration: Seconds that they took.

    Returns:
        A text such as ``4.1 rows/s``.

    Example:
        >>> rate(41, 10), rate(5000, 2), rate(0, 1)
        ('4.1 rows/s', '2,500 rows/s', '')
    """
    if not rows or duration <= 0:
        return ""
    speed = rows / duration
    return f"{speed:,.0f} rows/s" if speed >= 100 else f"{speed:.1f} rows/s"


def span(low: str, high: str) -> str:
    """A range of two figures, or one figure where both are the same.

    Example:
        >>> span("1", "3"), span("2", "2")
        ('1 to 3', '2')
    """
    return low if low == high else f"{low} to {high}"


def plural(number: int, noun: str) -> str:
    """A counted noun.

    Example:
        >>> plural(1, "row"), plural(1200, "call")
        ('1 row', '1,200 calls')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
