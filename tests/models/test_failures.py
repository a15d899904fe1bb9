"""What servers say when something fails, in all the shapes they say it in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.models.failures import Peer, failure_of, retry_after_s
from infergraph.models.model import Model

OWN = Peer.of(
    Model("openai:gpt-5-mini"), title="OpenAI", url="https://api.openai.com/v1", key_variable="OPENAI_API_KEY"
)
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "150", "retry-after": "1"}, 0.15),
        ({"retry-after": "Fri, 02 Jan 2026 03:04:35 GMT"}, 30.0),
        ({"retry-after": "Fri, 02 Jan 2026 03:04:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "inf"}, None),
        ({}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, now=NOW) == seconds


@given(st.text(max_size=30))
def test_no_header_breaks_it(text: str) -> None:
    seconds = retry_after_s({"retry-after": text, "retry-after-ms": text})
    assert seconds is None or seconds >= 0


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (400, "plain text", "permanent"),
        (400, {"detail": [{"loc": ["body"], "msg": "field required"}]}, "permanent"),
        (400, {"error": "Ollama says it this way"}, "permanent"),
        (400, {"error": {"code": 400, "type": "exceed_context_size_error", "message": "too big"}}, "permanent"),
        (400, {"error": {"param": "response_format", "message": "Invalid schema"}}, "fatal"),
        (400, {"error": {"param": "messages[0].content", "message": "Invalid"}}, "permanent"),
        (400, {"error": {"param": "model", "message": "no such model"}}, "fatal"),
        (402, {"error": {"message": "Insufficient Balance"}}, "fatal"),
        (429, {"error": {"type": "insufficient_quota", "code": None}}, "fatal"),
        (200, {"error": {"code": 502, "message": "upstream"}}, "transient"),
        (200, {"error": {"code": 401, "message": "no key"}}, "fatal"),
        (200, "<html>", "transient"),
        (500, None, "transient"),
        (529, [], "transient"),
    ],
)
def test_shapes_of_errors(status: int, body: Any, outcome: str) -> None:
    assert failure_of(OWN, status, body, {}).outcome == outcome


@pytest.mark.parametrize(
    ("status", "message", "outcome", "reason"),
    [
        (403, "Your input was flagged by moderation: violence", "permanent", "refused"),
        (403, "openai requires moderation. Your chosen prompt was flagged for 'sexual'", "permanent", "refused"),
        (403, "Your account was flagged", "fatal", "refused"),
        (403, "You may not use this model", "fatal", "bad_request"),
        (401, "Your input was flagged by moderation", "fatal", "bad_request"),
    ],
)
def test_a_request_that_was_flagged_is_refused_and_not_the_key(
    status: int, message: str, outcome: str, reason: str
) -> None:
    failed = failure_of(OWN, status, {"error": {"message": message}}, {})
    assert (failed.outcome, failed.reason) == (outcome, reason)


def test_a_wrong_key_names_the_variable_and_a_wrong_model_the_model() -> None:
    assert "Set OPENAI_API_KEY" in failure_of(OWN, 401, {"error": {"message": "Incorrect"}}, {}).message
    assert "'gpt-5-mini'" in failure_of(OWN, 404, {"error": {"message": "none"}}, {}).message


@given(
    st.integers(300, 599),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["error", "code", "type", "message", "param", "details"]), inner, max_size=4
            )
        ),
        max_leaves=6,
    ),
)
def test_no_body_breaks_it(status: int, body: Any) -> None:
    failed = failure_of(OWN, status, body, {})
    assert failed.message.startswith("Model('openai:gpt-5-mini'):")
    assert failed.outcome != "transient" or status not in (401, 403, 404)


def test_secrets_do_not_get_into_messages() -> None:
    said = failure_of(OWN, 401, {"error": {"message": "Incorrect API key provided: sk-proj-abcdefgh12345678"}}, {})
    assert "abcdefgh" not in said.message
