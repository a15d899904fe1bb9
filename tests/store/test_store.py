"""What any store does, on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infergraph.errors import ConfigurationError, PlanError, StoreError
from infergraph.models.model import Message, Request, Response, Tokens
from infergraph.store import SpentRow, Store, UsageRow

SYSTEM = Message("system", "Extract the facts. " * 30)


def test_an_answer_comes_back_with_its_response(store: Store, make: Any) -> None:
    store.record([], [make.answer(1, "the answer", via="repair", attempts=3)])
    found = store.answers([make.row_hash(1), make.row_hash(2)])
    assert list(found) == [make.row_hash(1)]
    answer = found[make.row_hash(1)]
    assert (answer.state, answer.via, answer.attempts, answer.cost_nano_usd) == ("done", "repair", 3, 7)
    tokens = Tokens(input=30, cached_input=10, output=20, reasoning=5)
    assert answer.response == Response(text="the answer", tokens=tokens, model_id="x-1")


def test_a_rejection_is_remembered_with_reason_and_response(store: Store, make: Any) -> None:
    attempt = make.attempt(1, "I won't", outcome="rejected")
    store.record([], [make.answer(1, state="rejected", reason="refused", message="It won't.", attempt=attempt)])
    answer = store.answers([make.row_hash(1)])[make.row_hash(1)]
    assert (answer.state, answer.reason, answer.message) == ("rejected", "refused", "It won't.")
    assert answer.response is not None
    assert answer.response.text == "I won't"


def test_a_later_ending_replaces_an_earlier_one_and_keeps_its_attempts(store: Store, make: Any) -> None:
    store.record([], [make.answer(1, "old", state="rejected", reason="timeout")])
    store.record([], [make.answer(1, "new")])
    answer = store.answers([make.row_hash(1)])[make.row_hash(1)]
    assert (answer.state, answer.reason) == ("done", None)
    texts = [attempt.response.text for attempt in store.attempts_of(make.row_hash(1)) if attempt.response]
    assert texts == ["old", "new"]


def test_an_answer_may_point_to_an_attempt_stored_before(store: Store, make: Any) -> None:
    store.record([make.attempt(1, "first")], [])
    number = store.attempts_of(make.row_hash(1))[0].id
    store.record([], [make.answer(1, attempt=number), make.answer(2, attempt=None)])
    found = store.answers([make.row_hash(1), make.row_hash(2)])
    assert found[make.row_hash(1)].response == Response(
        text="first", tokens=Tokens(input=30, cached_input=10, output=20, reasoning=5), model_id="x-1"
    )
    assert found[make.row_hash(2)].response is None


def test_attempts_come_back_in_order_with_the_whole_prompt(store: Store, make: Any) -> None:
    repair = Request(messages=(SYSTEM, Message("user", "row 1"), Message("assistant", "?"), Message("user", "JSON!")))
    failed = make.attempt(
        1,
        outcome="transient",
        response=None,
        status=503,
        message="bad \udcff gateway\0",
        cost_nano_usd=None,
        started_at=1.0,
    )
    later = make.attempt(1, request=repair, via="repair", started_at=2.0, asset="tickets", partition="2024-01-01")
    store.record([later, failed, make.attempt(2)], [])
    first, second = store.attempts_of(make.row_hash(1))
    assert (first.outcome, first.status, first.message) == ("transient", 503, "bad ? gateway\ufffd")
    assert first.messages == (SYSTEM, Message("user", "row 1"))
    assert first.response is None
    assert first.cost_nano_usd is None
    assert second.messages == repair.messages
    assert (second.via, second.asset, second.partition) == ("repair", "tickets", "2024-01-01")


def test_embeddings_come_back_as_vectors(store: Store, make: Any) -> None:
    request = Request(embed_text="hello")
    attempt = make.attempt(1, request=request, response=Response(embedding=(0.5, -0.25)), shared_messages=0)
    store.record([], [make.answer(1, attempt=attempt)])
    found = store.answers([make.row_hash(1)])[make.row_hash(1)].response
    assert found is not None
    assert found.embedding == (0.5, -0.25)
    assert store.attempts_of(make.row_hash(1))[0].embed_text == "hello"


def test_many_look_ups_at_once_repeats_included(store: Store, make: Any) -> None:
    store.record([], [make.answer(number) for number in range(2500)])
    found = store.answers([make.row_hash(number) for number in range(3000)] * 2)
    assert set(found) == {make.row_hash(number) for number in range(2500)}
    assert store.answers([]) == {}


def test_older_answers_are_missing_where_an_age_is_given(store: Store, make: Any) -> None:
    store.record([], [make.answer(1, created_at=time.time() - 100), make.answer(2)])
    both = [make.row_hash(1), make.row_hash(2)]
    assert set(store.answers(both, max_age_s=50)) == {make.row_hash(2)}
    assert set(store.answers(both, max_age_s=150)) == set(both)


def test_a_transaction_is_all_or_nothing(store: Store, make: Any) -> None:
    broken = make.answer(2, attempts=None)
    with pytest.raises(StoreError):
        store.record([make.attempt(3)], [make.answer(1), broken])
    assert store.answers([make.row_hash(1), make.row_hash(2)]) == {}
    assert store.attempts_of(make.row_hash(3)) == []


def test_usage_rows_are_found_newest_first(store: Store) -> None:
    first = UsageRow(run_id="a", operator="extract", model="m", rows=1, started_at=1.0, cost_nano_usd=None)
    second = UsageRow(run_id="b", operator="extract", model="m", asset="t", partition="p", rows=5, started_at=2.0)
    store.record_usage([first, second])
    assert store.usage() == [second, first]
    assert store.usage(run_id="a") == [first]
    assert store.usage(asset="t", partition="p") == [second]
    assert store.usage(asset="t", partition="q") == []
    assert store.usage(limit=1) == [second]


def test_another_try_of_a_run_adds_to_its_usage(store: Store) -> None:
    one = UsageRow(
        run_id="b", operator="extract", model="m", asset="t", partition="p", rows=5, calls=2, store_hits=1, shared=1,
        rejected=2, rejected_before=1, nulls=3, pending=4,
        tokens=Tokens(input=5, cached_input=1, output=3, reasoning=2), cost_nano_usd=10, saved_nano_usd=4, seconds=1.5,
        started_at=2.0,
    )  # fmt: skip
    store.record_usage([one])
    store.record_usage([replace(one, started_at=9.0), replace(one, operator="other")])
    assert store.usage(run_id="b") == [
        UsageRow(
            run_id="b", operator="extract", model="m", asset="t", partition="p", rows=10, calls=4, store_hits=2,
            shared=2, rejected=4, rejected_before=2, nulls=6, pending=8,
            tokens=Tokens(input=10, cached_input=2, output=6, reasoning=4), cost_nano_usd=20, saved_nano_usd=8,
            seconds=3.0, started_at=2.0,
        ),
        replace(one, operator="other"),
    ]  # fmt: skip
    store.record_usage([replace(one, cost_nano_usd=None)])
    assert [row.cost_nano_usd for row in store.usage() if row.operator == "extract"] == [None]


def test_what_was_spent_is_summed_over_attempts(store: Store, make: Any) -> None:
    failed = {"outcome": "transient", "response": None}
    store.record(
        [
            make.attempt(1, outcome="repair", asset="t", partition="p", run_id="a", started_at=1.0),
            make.attempt(2, **failed, cost_nano_usd=0, asset="t", run_id="a", started_at=2.0),
            make.attempt(3, **failed, cost_nano_usd=None, run_id="b", started_at=3.0),
        ],
        [make.answer(4, attempt=make.attempt(4, run_id="b", model="other", started_at=4.0, cost_nano_usd=5))],
    )
    tokens = Tokens(input=30, cached_input=10, output=20, reasoning=5)
    assert store.spent() == [
        SpentRow(run_id="a", attempts=2, tokens=tokens, cost_nano_usd=7, unknown_costs=0, seconds=1.0),
        SpentRow(run_id="b", attempts=2, tokens=tokens, cost_nano_usd=5, unknown_costs=1, seconds=1.0),
    ]
    assert store.spent([]) == [
        SpentRow(attempts=4, tokens=tokens + tokens, cost_nano_usd=12, unknown_costs=1, seconds=2.0)
    ]
    by_model = store.spent(["model", "run_id"], run_id="b")
    assert [(row.model, row.run_id, row.cost_nano_usd) for row in by_model] == [
        ("other", "b", 5), ("scripted:x", "b", None),
    ]  # fmt: skip
    assert [(row.asset, row.partition, row.attempts) for row in store.spent(["asset", "partition"], run_id="a")] in (
        [("t", None, 1), ("t", "p", 1)],
        [("t", "p", 1), ("t", None, 1)],
    )
    assert [row.attempts for row in store.spent(["operator"], since=3.0)] == [2]
    assert store.spent([], since=5.0) == []
    with pytest.raises(PlanError, match="run_id, asset, partition"):
        store.spent(["day"])  # type: ignore[list-item]


def test_what_answers_are_like_is_learned(store: Store, make: Any) -> None:
    assert store.learned("scripted:x") is None
    assert store.mean_output_tokens("scripted:x") is None
    failed = make.attempt(9, outcome="transient", response=None)
    longer = make.attempt(2, operator="classify", asset="t", response=Response(tokens=Tokens(output=80)), seconds=1.5)
    store.record([failed], [make.answer(1), make.answer(2, attempt=longer)])
    store.record([], [make.answer(3)])
    known = store.learned("scripted:x")
    assert known is not None
    assert (known.answers, known.output_tokens, known.input_tokens) == (3, 40.0, 20.0)
    assert known.seconds == pytest.approx(2.5 / 3)
    assert store.mean_output_tokens("scripted:x", "classify") == 80.0
    assert store.learned("scripted:x", asset="t", operator="extract") is None


def test_threads_share_a_store(store: Store, make: Any) -> None:
    failures: list[BaseException] = []

    def work(start: int) -> None:
        try:
            for number in range(start, start + 200, 20):
                store.record([], [make.answer(each) for each in range(number, number + 20)])
                assert len(store.answers([make.row_hash(each) for each in range(number, number + 20)])) == 20
        except BaseException as failure:
            failures.append(failure)
            raise

    threads = [threading.Thread(target=work, args=(number * 100,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(store.answers([make.row_hash(number) for number in range(500)])) == 500


def test_two_open_stores_see_each_other(store: Store, store_url: str, make: Any) -> None:
    with Store.open(store_url) as other:
        other.record([], [make.answer(1)])
        assert make.row_hash(1) in store.answers([make.row_hash(1)])


def test_a_closed_store_says_so(store: Store, make: Any) -> None:
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.answers([make.row_hash(1)])


def test_a_relative_path_starts_at_the_root(tmp_path: Path) -> None:
    with Store.open("sqlite:///.infergraph/state.db", root=tmp_path) as store:
        assert store.where == str(tmp_path / ".infergraph" / "state.db")
        assert repr(store) == f"Store({store.where!r})"
    assert (tmp_path / ".infergraph" / "state.db").exists()


@pytest.mark.parametrize(
    "url", ["state.db", "mysql://host/db", "sqlite://", "sqlite:///:memory:", "", "sqlite:///file:x"]
)
def test_other_addresses_are_refused_with_the_right_ones(url: str) -> None:
    with pytest.raises(ConfigurationError, match="sqlite:///"):
        Store.open(url)
