"""Servers that turn a request away: for a while, for this row, or for good."""

from __future__ import annotations

from typing import Any

import pytest

from infergraph.errors import ProviderDown, ProviderRefused
from infergraph.models.failures import Peer, failure_of, no_answer
from infergraph.models.model import CallFailed, Model, Request, Response
from infergraph.models.scripted import script

SLOW_DOWN = CallFailed("busy (429)", outcome="transient", status=429, retry_after_s=3600)


def question(request: Request) -> str:
    return request.messages[1].content


def refused(status: int, reason: Any = "bad_request") -> CallFailed:
    return CallFailed(f"not for you ({status})", outcome="fatal", status=status, reason=reason)


# -- please wait ----------------------------------------------------------------------------------------------


def test_a_server_that_wants_more_patience_than_there_is_ends_the_run_at_once(make_world: Any) -> None:
    world = make_world(m=Model("scripted:m", max_concurrency=20))
    with (
        script("m", lambda request: SLOW_DOWN),
        pytest.raises(ProviderDown, match=r"'m' \(scripted:m\) asks to wait 3600 seconds, and a run waits 900 at most"),
    ):
        world.run(*(str(number) for number in range(12)), timeout=60)


def test_the_fallback_takes_over_at_once_from_a_server_that_wants_an_hour(make_world: Any) -> None:
    world = make_world(main=Model("scripted:main", fallback="spare"), spare=Model("scripted:spare"))
    with script("main", lambda request: SLOW_DOWN) as main, script("spare", lambda request: "2"):
        outcomes = world.run("a", "b", model="main", timeout=60)
    assert [outcome.via for outcome in outcomes] == ["fallback:spare"] * 2
    assert len(main.requests) <= 2  # not asked again while it may be waited for


def test_another_failure_with_a_long_retry_after_is_tried_again_within_our_patience(world: Any) -> None:
    """Not a limit of ours, but an outage: somebody has to find out whether it is over."""
    down = CallFailed("down (503)", outcome="transient", status=503, retry_after_s=3600)
    with script("m", [down, "1"]):
        (outcome,) = world.run("a", max_outage_s=0.5, timeout=60)
    assert outcome.value == 1


# -- not allowed, not found -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [403, 404])
def test_one_row_that_is_turned_away_after_others_succeeded_costs_only_itself(world: Any, status: int) -> None:
    def answer(request: Request) -> Any:
        return refused(status) if question(request) == "bad" else "1"

    with script("m", answer) as asked:
        world.run("first")
        outcomes = world.run("a", "bad", "b")
        assert [outcome.value for outcome in outcomes] == [1, None, 1]
        assert (outcomes[1].rejected, outcomes[1].message) == ("bad_request", f"not for you ({status})")
        assert [attempt.outcome for attempt in world.attempts("bad")] == ["permanent"]
        known = len(asked.requests)
        assert world.run("bad")[0].source == "rejected_before"
        assert len(asked.requests) == known


def test_a_flagged_row_is_refused(world: Any) -> None:
    with script("m", ["1", refused(403, "refused")]):
        world.run("first")
        assert world.run("bad")[0].rejected == "refused"


@pytest.mark.parametrize("status", [401, 402])
def test_a_key_that_stops_working_stops_the_run(world: Any, status: int) -> None:
    with script("m", ["1", refused(status)]):
        world.run("first")
        with pytest.raises(ProviderRefused, match="not for you"):
            world.run("a")


@pytest.mark.parametrize("status", [403, 404])
def test_before_any_success_it_stops_the_run(world: Any, status: int) -> None:
    with script("m", lambda request: refused(status)) as asked, pytest.raises(ProviderRefused, match="not for you"):
        world.run(*map(str, range(500)))
    assert len(asked.requests) < 200


def test_when_all_rows_are_turned_away_from_some_moment_on_it_is_not_the_rows(make_world: Any) -> None:
    world = make_world(m=Model("scripted:m", max_concurrency=4))
    with script("m", lambda request: "1" if question(request) == "first" else refused(403)) as asked:
        world.run("first")
        with pytest.raises(ProviderRefused, match="not for you"):
            world.run(*map(str, range(500)))
    assert len(asked.requests) < 30


def is_canary(request: Request) -> bool:
    return len(request.messages) == 1


def test_a_first_row_that_is_not_allowed_costs_only_itself_where_the_model_answers_others(world: Any) -> None:
    def answer(request: Request) -> Any:
        return refused(403) if not is_canary(request) and question(request) == "bad" else "1"

    with script("m", answer) as asked:
        outcomes = world.run("bad")
        assert (outcomes[0].rejected, outcomes[0].message) == ("bad_request", "not for you (403)")
        assert [attempt.outcome for attempt in world.attempts("bad")] == ["fatal", "permanent"]
        assert sum(map(is_canary, asked.requests)) == 1
        assert world.run("good")[0].value == 1


@pytest.mark.parametrize("status", [401, 404])
def test_a_canary_that_finds_no_model_ends_the_wait_for_one(make_world: Any, status: int) -> None:
    """An outage from which another server comes back: with another key, or without this model."""
    world = make_world(m=Model("scripted:m", max_concurrency=20, api_key="hunter22pass"))
    down = CallFailed("down (503)", outcome="transient", status=503)
    gone = CallFailed("hunter22pass is not for you", outcome="fatal", status=status)
    with (
        script("m", lambda request: gone if is_canary(request) else down) as asked,
        pytest.raises(ProviderRefused, match=r"^\*\*\* is not for you"),
    ):
        world.run(*map(str, range(20)), timeout=60)
    assert sum(map(is_canary, asked.requests)) == 1


# -- something else than a model ------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 30])
def test_a_server_that_never_gives_an_answer_is_not_waited_for(make_world: Any, rows: int) -> None:
    world = make_world(m=Model("scripted:m", max_concurrency=4))
    with (
        script("m", lambda request: no_answer({})) as asked,
        pytest.raises(ProviderRefused, match=r"answered 10 times in a row with something that is no answer.*base_url"),
    ):
        world.run(*map(str, range(rows)), timeout=60)
    assert len(asked.requests) < 20


def test_a_website_is_no_model_either(make_world: Any) -> None:
    model = Model("openai:m", base_url="http://127.0.0.1:9/v1", api_key=None)
    peer = Peer.of(model, title="OpenAI", url="http://127.0.0.1:9/v1", key_variable="OPENAI_API_KEY")
    page = failure_of(peer, 200, "<html>Log in</html>", {})
    world = make_world(m=Model("scripted:m", max_concurrency=4))
    with (
        script("m", lambda request: page) as asked,
        pytest.raises(ProviderRefused, match=r"answered 10 times in a row with something that is no answer.*Log in"),
    ):
        world.run(*map(str, range(30)), timeout=60)
    assert len(asked.requests) < 20
    assert not failure_of(peer, 200, {"error": {"message": "overloaded"}}, {}).no_answer


def test_a_server_that_gives_no_answer_for_a_while_is_waited_for(make_world: Any) -> None:
    world = make_world(m=Model("scripted:m", max_concurrency=4))
    with script("m", lambda request: no_answer({}) if len(asked.requests) in range(2, 15) else "1") as asked:
        world.run("first")
        assert [outcome.value for outcome in world.run("a", "b", timeout=60)] == [1, 1]


# -- what is said about it ------------------------------------------------------------------------------------


def test_an_error_of_a_providers_own_code_is_shown_without_the_key(make_world: Any) -> None:
    world = make_world(m=Model("scripted:m", api_key="hunter22pass"))

    def broken(request: Request) -> str:
        raise RuntimeError("no luck with hunter22pass and sk-abcdefgh12345678")

    with script("m", broken), pytest.raises(RuntimeError, match=r"^no luck with \*\*\* and \*\*\*$"):
        world.run("a")
    assert "hunter22pass" not in world.attempts("a")[0].message


def test_halves_of_characters_in_errors_and_answers_do_not_get_into_columns(world: Any) -> None:
    bad = CallFailed("it says \ud800", outcome="permanent", status=400)
    with script("m", [bad, *(Response(text="\udfff no number") for _ in range(3))]):
        (first,) = world.run("a")
        (second,) = world.run("b")
    assert first.message == "it says ?"
    assert second.response_text == "? no number"
    (first.message + second.message + second.response_text).encode()
