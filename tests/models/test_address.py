"""What a model's address may be, and what a refusal of it shows."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from infergraph.errors import ConfigurationError
from infergraph.models.model import Model
from infergraph.models.openai import OpenAIProvider
from infergraph.models.redact import redact_address


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("http://user:hunter2@box/v1", r"api_key='\.\.\.'"),
        ("http://user:hunt/er2@box:8000/v1", r"api_key='\.\.\.'"),
        ("http://hunter2@box/v1", r"api_key='\.\.\.'"),
        ("http://box/v1?api_key=hunter2", "no query"),
        ("http://box/v1?", "no query"),
        ("http://box/v1#hunter2", "no fragment"),
        ("http://box:99999/v1", "a port is 1 to 65535"),
        ("http://box:0/v1", "a port is 1 to 65535"),
        ("http://box:eighty/v1", "a port is 1 to 65535"),
        ("http://[box/v1", "host or port is wrong"),
        ("http://box/v1\n", "no address of a server"),
        (8000, "no address of a server"),
    ],
)
def test_what_is_no_plain_address_is_refused_when_the_model_is_made(url: Any, advice: str) -> None:
    with pytest.raises(ConfigurationError, match=advice) as caught:
        Model("openai:m", base_url=url, api_key=None)
    assert "Model('openai:m', base_url=" in str(caught.value)
    assert "hunt" not in str(caught.value)


@pytest.mark.parametrize("url", ["box:8000/v1", "ftp://box/v1", "http:///v1", "box", "grpc://box:50051"])
def test_what_is_no_http_address_is_refused_by_those_who_need_one(url: str) -> None:
    made = Model("openai:m", base_url=url, api_key=None)
    with pytest.raises(ConfigurationError, match="http://gpu-box:8000/v1"):
        OpenAIProvider(made).check_configuration()


@pytest.mark.parametrize("url", ["http://box/v1", "https://[::1]:8000/v1", "http://user-box.local:1/a@b/v1"])
def test_plain_addresses_are_taken(url: str) -> None:
    if "@" in url:
        assert redact_address(url) == "http://***@b/v1"
    made = Model("openai:m", base_url=url, api_key=None)
    OpenAIProvider(made).check_configuration()
    assert pickle.loads(pickle.dumps(made)) == made
