"""A bar chart as a picture inside a materialization's metadata: what each day cost, by asset.

Dagster's UI draws pictures that stand in Markdown as data. The picture is an SVG of a few kilobytes, drawn here since a
drawing library would be a hundred times as long; it brings its own light ground, so it reads the same in the UI's light
and dark theme.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from html import escape
from math import ceil, floor, log10

import polars as pl

MOST_ASSETS = 7
MOST_DAYS = 31
WIDTH, HEIGHT = 860, 360
_LEFT, _TOP, _RIGHT, _BOTTOM = 74, 44, 16, 84
# Told apart by people who see no red or green, and on a light ground.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#7f7f7f", "#bdbdbd")
OTHERS = "all others"
NO_ASSET = "(no asset)"


@dataclass(frozen=True, kw_only=True)
class DailySpending:
    """Amounts by asset and day.

    Args:
        days: Every day of the chart, in order, those without spending too.
        amounts: Asset -> one amount a day; the largest asset first, what has no place of its own last.
    """

    days: Sequence[date]
    amounts: Mapping[str, Sequence[float]]


def daily_spending(usage: pl.DataFrame, value: str) -> DailySpending:
    """The last days of a usage report, ready to be drawn.

    Args:
        usage: A report by ``day`` and ``asset``.
        value: The column to add up: ``cost_usd``, or a count.

    Returns:
        At most 31 days, up to the last one that is in the report, and at most 8 assets.

    Example:
        >>> days = [date(2026, 1, 1), date(2026, 1, 3)]
        >>> usage = pl.DataFrame({"day": days, "asset": ["a", None], "cost_usd": [1.0, 2.0]})
        >>> found = daily_spending(usage, "cost_usd")
        >>> len(found.days), found.amounts
        (3, {'(no asset)': [0.0, 0.0, 2.0], 'a': [1.0, 0.0, 0.0]})
    """
    if usage.is_empty():
        return DailySpending(days=[], amounts={})
    there: list[date] = usage["day"].to_list()
    last = max(there)
    first = max(min(there), last - timedelta(days=MOST_DAYS - 1))
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    rows = usage.filter(pl.col("day") >= first).select(
        "day", pl.col("asset").fill_null(NO_ASSET), pl.col(value).cast(pl.Float64).fill_null(0.0).alias("amount")
    )
    largest = rows.group_by("asset").agg(pl.col("amount").sum()).sort("amount", "asset", descending=[True, False])
    own = largest["asset"].head(MOST_ASSETS).to_list()
    named = rows.with_columns(pl.when(pl.col("asset").is_in(own)).then("asset").otherwise(pl.lit(OTHERS)))
    amounts: dict[str, list[float]] = {}
    for asset in [*own, *([OTHERS] if largest.height > MOST_ASSETS else [])]:
        by_day = dict(named.filter(pl.col("asset") == asset).group_by("day").agg(pl.col("amount").sum()).iter_rows())
        amounts[asset] = [by_day.get(day, 0.0) for day in days]
    return DailySpending(days=days, amounts=amounts)


def chart_svg(spending: DailySpending, *, title: str, unit: str) -> str:
    """The picture: one bar a day, one part of it an asset.

    Args:
        spending: What to draw; without days the picture says so.
        title: A line above it.
        unit: What stands before the numbers of the axis, such as ``$``; empty for counts.

    Returns:
        An SVG document of 860 x 360.
    """
    totals = [sum(parts) for parts in zip(*spending.amounts.values(), strict=True)] if spending.amounts else []
    top, step = _axis(max(totals, default=0.0))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="12" fill="#1f2328">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#ffffff" stroke="#d0d7de"/>',
        f'<text x="{_LEFT}" y="26" font-size="15" font-weight="600">{escape(title)}</text>',
    ]
    if not spending.days or top == 0:
        parts.append(f'<text x="{_LEFT}" y="80">Nothing was spent.</text>')
        return "".join([*parts, "</svg>"])
    parts += _grid(top, step, unit)
    parts += _bars(spending, top)
    parts += _legend(list(spending.amounts))
    return "".join([*parts, "</svg>"])


def chart_markdown(svg: str, alt: str) -> str:
    """A picture as Markdown that holds it.

    Args:
        svg: The document.
        alt: What it shows, for those who do not see it.
    """
    data = base64.b64encode(svg.encode()).decode()
    return f"![{alt}](data:image/svg+xml;base64,{data})"


def _axis(highest: float) -> tuple[float, float]:
    """Where the axis ends, and how far its lines are apart: 1, 2 or 5 times a power of ten."""
    if highest <= 0:
        return 0.0, 1.0
    rough = highest / 4
    power = 10.0 ** floor(log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return ceil(highest / step - 1e-9) * step, step


def _grid(top: float, step: float, unit: str) -> list[str]:
    lines: list[str] = []
    places = max(0, -floor(log10(step)))
    for number in range(round(top / step) + 1):
        y = _y(number * step, top)
        lines.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{WIDTH - _RIGHT}" y2="{y:.1f}" stroke="#e4e7eb"/>')
        label = f"{unit}{number * step:,.{places}f}"
        lines.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#57606a">{label}</text>')
    return lines


def _bars(spending: DailySpending, top: float) -> list[str]:
    parts: list[str] = []
    room = (WIDTH - _LEFT - _RIGHT) / len(spending.days)
    width = min(room * 0.78, 64.0)
    every = ceil(len(spending.days) / 12)
    for number, day in enumerate(spending.days):
        x = _LEFT + room * number + (room - width) / 2
        below = 0.0
        for colour, (asset, amounts) in zip(_COLOURS, spending.amounts.items(), strict=False):
            amount = amounts[number]
            if amount <= 0:
                continue
            y, foot = _y(below + amount, top), _y(below, top)
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{foot - y:.1f}" fill="{colour}">'
                f"<title>{escape(asset)}, {day}: {amount:g}</title></rect>"
            )
            below += amount
        if number % every == 0:
            middle, y = x + width / 2, HEIGHT - _BOTTOM + 18
            parts.append(f'<text x="{middle:.1f}" y="{y}" text-anchor="middle" fill="#57606a">{day:%m-%d}</text>')
    return parts


def _legend(assets: Sequence[str]) -> list[str]:
    parts: list[str] = []
    for number, (colour, asset) in enumerate(zip(_COLOURS, assets, strict=False)):
        x, y = _LEFT + (number % 4) * 190, HEIGHT - 44 + (number // 4) * 20
        shown = asset if len(asset) <= 24 else f"{asset[:23]}…"
        parts.append(f'<rect x="{x}" y="{y}" width="11" height="11" fill="{colour}"/>')
        parts.append(f'<text x="{x + 17}" y="{y + 10}">{escape(shown)}</text>')
    return parts


def _y(amount: float, top: float) -> float:
    return HEIGHT - _BOTTOM - amount / top * (HEIGHT - _TOP - _BOTTOM)
