"""Secrets: what copies, pickles and errors keep of them."""

from __future__ import annotations

import asyncio
import base64
import copy
import dataclasses
import inspect
import pickle
import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.errors import ConfigurationError, ProviderError
from infergraph.models.anthropic import AnthropicProvider
from infergraph.models.model import UNSET, CallFailed, Message, Model, Request
from infergraph.models.openai import OpenAIProvider
from infergraph.models.redact import Secret, redact, redact_address, redact_error
from infergraph.testing import SimulatedServer

KEY = "k-right-1234"
PROVIDERS: list[Any] = [("openai", OpenAIProvider, "/v1"), ("anthropic", AnthropicProvider, "")]


def sent(provider: Any) -> None:
    async def run() -> None:
        try:
            await provider.send(Request(messages=(Message("user", "Hello"),)))
        finally:
            await provider.close()

    asyncio.run(run())


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, dataclasses.replace])
def test_a_copy_keeps_the_key_and_a_pickle_drops_it(copied: Any) -> None:
    made = Model("openai:m", base_url="http://box/v1", api_key=KEY)
    assert copied(made).api_key == Secret(KEY)
    assert KEY.encode() not in pickle.dumps(copied(made))


@pytest.mark.parametrize(("name", "make", "path"), PROVIDERS)
def test_a_pickled_model_of_a_compatible_server_wants_its_key_again(
    name: str, make: Any, path: str, simulated_server: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(variable, "sk-of-the-environment")
    made = Model(f"{name}:m", base_url=simulated_server.url + path, api_key=KEY)
    emptied = pickle.loads(pickle.dumps(made))
    with pytest.raises(ConfigurationError, match=r"Give it anew .*api_key='...'"):
        make(emptied).check_configuration()
    with pytest.raises(CallFailed, match="Give it anew") as caught:
        sent(make(emptied))
    assert caught.value.outcome == "fatal"
    assert simulated_server.requests == []
    with pytest.raises(ConfigurationError, match="which key"):
        dataclasses.replace(emptied)
    sent(make(dataclasses.replace(emptied, api_key=KEY)))
    assert KEY in str(simulated_server.requests[0].headers)


@pytest.mark.parametrize(
    ("name", "make", "variable"),
    [("openai:gpt-5-mini", OpenAIProvider, "OPENAI_API_KEY"),
     ("anthropic:claude-haiku-4-5", AnthropicProvider, "ANTHROPIC_API_KEY")],
)  # fmt: skip
@pytest.mark.parametrize("emptied", [True, False])
def test_an_empty_key_for_the_own_host_is_as_if_not_given(
    name: str, make: Any, variable: str, emptied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = pickle.loads(pickle.dumps(Model(name, api_key=KEY))) if emptied else Model(name, api_key=" ")
    assert emptied or made.api_key is UNSET
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ConfigurationError, match=f"there is no key. Set the environment variable {variable}"):
        make(made).check_configuration()
    monkeypatch.setenv(variable, "sk-of-the-environment")
    assert "sk-of-the-environment" in str(make(made)._envelope().headers)


@pytest.mark.parametrize("key", ["", "  ", Secret("")])
def test_an_empty_key_for_a_compatible_server_is_refused(key: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"api_key=None to send none"):
        Model("openai:m", base_url="http://box/v1", api_key=key)


@given(st.text(max_size=9), st.text(alphabet="abc:/@?#", max_size=9))
def test_no_password_is_left_of_an_address(user: str, noise: str) -> None:
    shown = redact_address(f"postgresql://{user}:{noise}hunter2@host/db?password=hunter2")
    assert "hunter2" not in shown


def test_a_password_with_an_at_sign_is_masked_in_texts() -> None:
    assert redact("see http://me:hunter@2@box/v1 and http://you@box") == "see http://***@box/v1 and http://you@box"


class Talkative(Exception):
    def __str__(self) -> str:
        return f"the key is {KEY}"


def test_errors_of_others_lose_the_secret_and_keep_their_type() -> None:
    header = "the header was Bearer abcdefgh1234"
    try:
        try:
            raise ValueError(header)
        except ValueError as first:
            raise RuntimeError(f"no access with {KEY}", 7) from first
    except RuntimeError as error:
        cleaned = redact_error(error, Secret(KEY))
    assert type(cleaned) is RuntimeError
    assert cleaned.args == ("no access with ***", 7)
    assert "".join(traceback.format_exception(cleaned)).count("***") == 2
    assert "Bearer" not in "".join(traceback.format_exception(cleaned))
    replaced = redact_error(Talkative(), Secret(KEY))
    assert isinstance(replaced, ProviderError)
    assert str(replaced) == "Talkative: the key is ***"


@pytest.mark.parametrize(
    "spelt",
    [
        "a+key/of=signs & more", "a%2Bkey%2Fof%3Dsigns%20%26%20more", "a%2bkey%2fof%3dsigns%20%26%20more",
        "a%2Bkey/of%3Dsigns%20%26%20more", "a%2Bkey%2Fof%3Dsigns+%26+more",
    ],
)  # fmt: skip
def test_a_known_secret_is_found_as_addresses_spell_it(spelt: str) -> None:
    assert redact(f"no such thing: /v1?key={spelt}.", Secret("a+key/of=signs & more")) == "no such thing: /v1?key=***."


@given(st.text(alphabet="abc:/ ", max_size=5), st.text(alphabet="abc:/ ", max_size=5), st.booleans())
def test_a_known_secret_is_found_in_base64(before: str, after: str, urlsafe: bool) -> None:
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    given = f"Basic {encode(f'{before}{KEY}-{KEY}{after}'.encode()).decode()}"
    told = redact(given, Secret(f"{KEY}-{KEY}"))
    assert "***" in told
    # What is left are the signs that also spell what stands around it, at most six of the secret's on each side.
    assert len(told) <= len("Basic ***") + 2 * 4 + 4 * (2 + (len(before) + len(after)) // 3)


def test_what_refuses_a_model_shows_none_of_its_values() -> None:
    with pytest.raises(ConfigurationError, match="temperature is a number, 0 to 2") as raised:
        Model("openai:m", base_url="http://box/v1", api_key=KEY, temperature=7)
    shown = traceback.TracebackException.from_exception(raised.value, capture_locals=True)
    own = [frame for frame in shown.stack if frame.filename != __file__]
    assert own
    assert KEY not in str([frame.locals for frame in own])
    assert raised.value.__context__ is raised.value.__cause__ is None
    assert "api_key" in inspect.signature(Model).parameters
