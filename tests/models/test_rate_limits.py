"""What servers state in their headers, in their own spellings; nonsense is left out."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from infergraph.models.rate_limits import StatedLimit, stated_limits
from infergraph.testing.anthropic_wire import AnthropicWire
from infergraph.testing.limits import Limits, Meters
from infergraph.testing.openai_wire import OpenAIWire

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def of_openai(limit: str, remaining: str | None = None, reset: str | None = None) -> StatedLimit | None:
    said = {"limit": limit, "remaining": remaining, "reset": reset}
    headers = {f"x-ratelimit-{word}-requests": text for word, text in said.items() if text is not None}
    found = stated_limits(headers)
    return found[0] if found else None


def of_anthropic(limit: str, remaining: str, reset: str, kind: str = "requests") -> StatedLimit | None:
    said = {"limit": limit, "remaining": remaining, "reset": reset}
    found = stated_limits({f"anthropic-ratelimit-{kind}-{word}": text for word, text in said.items()}, now=NOON)
    return found[0] if found else None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("6m0s", 360),
        ("12ms", 0.012),
        ("1h2m3s", 3723),
        ("1m0.5s", 60.5),
        ("1d1h", 90_000),
        ("7.66s", 7.66),
        ("0s", 0),
        ("30", 30),
        ("", None),
        ("soon", None),
        ("-1s", None),
        ("5 s", None),
        ("s5", None),
        ("9" * 400 + "s", None),
    ],
)
def test_openais_durations(text: str, seconds: float | None) -> None:
    found = of_openai("1000000000", "0", text)
    assert found is not None
    assert found.reset_s == pytest.approx(seconds)


def test_both_of_openais_limits_in_one_answer() -> None:
    headers = {
        "x-ratelimit-limit-requests": "5000",
        "x-ratelimit-limit-tokens": "2000000",
        "x-ratelimit-remaining-requests": "4999",
        "x-ratelimit-remaining-tokens": "1999000",
        "x-ratelimit-reset-requests": "12ms",
        "x-ratelimit-reset-tokens": "30ms",
    }
    assert stated_limits(headers) == (
        StatedLimit("requests", 5000, 4999, 0.012),
        StatedLimit("tokens", 2_000_000, 1_999_000, 0.03),
    )


def test_all_of_anthropics_limits_in_one_answer() -> None:
    headers = {}
    for number, kind in enumerate(("requests", "tokens", "input-tokens", "output-tokens"), 1):
        headers[f"anthropic-ratelimit-{kind}-limit"] = str(1000 * number)
        headers[f"anthropic-ratelimit-{kind}-remaining"] = str(number)
        headers[f"anthropic-ratelimit-{kind}-reset"] = f"2026-11-22T12:00:0{number}Z"
    assert stated_limits(headers, now=NOON) == (
        StatedLimit("requests", 1000, 1, 1),
        StatedLimit("tokens", 2000, 2, 2),
        StatedLimit("input_tokens", 3000, 3, 3),
        StatedLimit("output_tokens", 4000, 4, 4),
    )


@pytest.mark.parametrize(
    ("limit", "remaining", "reset", "per_minute"),
    [
        ("1200", "1199", "50ms", 1200),
        # Rounded up to a second, one request of many says nothing.
        ("1200", "1199", "1s", 1200),
        ("60", "59", "1s", 60),
        ("60", "0", "1m0s", 60),
        # 200 and 10,000 a day.
        ("200", "199", "7m12s", 200 / 1440),
        ("10000", "9999", "8.64s", 10_000 / 1440),
        ("14400", "14370", "2m59.56s", 30 / 179.56 * 60),
        ("10000", "0", "24h", 10_000 / 1440),
        # Nothing is used, or nothing is said: it is what the name says.
        ("10000", "10000", "24h", 10_000),
        ("10000", None, "24h", 10_000),
        ("10000", "5000", None, 10_000),
    ],
)
def test_limits_by_the_day_are_told_from_those_by_the_minute(
    limit: str, remaining: str | None, reset: str | None, per_minute: float
) -> None:
    found = of_openai(limit, remaining, reset)
    assert found is not None
    assert found.per_minute == pytest.approx(per_minute)


@pytest.mark.parametrize("limit", ["0", "-5", "many", "nan", "inf", "", "1e999"])
def test_a_limit_that_is_none_is_left_out(limit: str) -> None:
    assert of_openai(limit, "1", "1s") is None
    assert of_anthropic(limit, "1", "2026-11-22T12:00:01Z") is None


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("2026-11-22T12:00:30Z", 30),
        ("2026-11-22T13:00:30+01:00", 30),
        ("2026-11-22T12:00:30", 30),
        ("2026-11-22T11:00:00Z", 0),
        ("tomorrow", None),
        ("", None),
        ("0001-01-01T00:00:00+23:59", 0),
    ],
)
def test_anthropics_points_in_time(reset: str, seconds: float | None) -> None:
    found = of_anthropic("1000", "10", reset)
    assert found is not None
    assert found.reset_s == seconds


def test_no_headers_and_other_headers() -> None:
    assert stated_limits({}) == ()
    assert stated_limits({"retry-after": "1"}) == ()


WORDS = st.one_of(
    st.text(max_size=12),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["6m0s", "12ms", "1s", "2026-11-22T12:00:30Z", "9999-12-31T23:59:59-23:59", "5e-324", "1e308"]),
)
NAMES = [
    *(f"x-ratelimit-{word}-{kind}" for word in ("limit", "remaining", "reset") for kind in ("requests", "tokens")),
    *(
        f"anthropic-ratelimit-{kind}-{word}"
        for word in ("limit", "remaining", "reset")
        for kind in ("requests", "tokens", "input-tokens", "output-tokens")
    ),
]


@given(st.dictionaries(st.sampled_from(NAMES), WORDS, max_size=12))
@example(
    {"x-ratelimit-limit-requests": "5e-324", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1d"}
)
@example(
    {"x-ratelimit-limit-requests": "1e308", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "9m"}
)
def test_any_text_gives_sound_limits_or_none(headers: dict[str, str]) -> None:
    for limit in stated_limits(headers):
        assert limit.per_minute > 0
        assert math.isfinite(limit.per_minute)
        assert limit.remaining is None or (limit.remaining >= 0 and math.isfinite(limit.remaining))
        assert limit.reset_s is None or (limit.reset_s >= 0 and math.isfinite(limit.reset_s))


@given(
    st.integers(60, 10**7),
    st.floats(0, 2),
    st.sampled_from(["openai", "anthropic"]),
)
def test_what_the_simulated_servers_state_is_understood(rate: int, burst: float, protocol: str) -> None:
    meters = Meters(Limits(requests_per_minute=rate, tokens_per_minute=rate, burst_s=burst))
    meters.charge(7, 9)
    wire: Any = {"openai": OpenAIWire, "anthropic": AnthropicWire}[protocol]()
    found = stated_limits(wire.limit_headers(meters.by_kind))
    assert [limit.kind for limit in found] == ["requests", "tokens"]
    assert [limit.per_minute for limit in found] == [rate, rate]
