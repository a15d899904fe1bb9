"""Pruning: what is old and not needed goes, in two steps, and everything else stays, also while others write."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infergraph.models.model import Message, Request
from infergraph.store import Attempt, Store
from infergraph.store.analytics import Span
from infergraph.store.pruning import Pruned

OLD, CUTOFF, YOUNG = 1_000.0, 5_000.0, 9_000.0
NEVER = float("inf")


def ending_text(store: Store, row_hash: bytes) -> str | None:
    """The text of what ended a question; ``None``: it is not there."""
    found = store.answers([row_hash]).get(row_hash)
    return None if found is None or found.response is None else found.response.text


@pytest.fixture
def fill(store: Store, make: Any) -> Callable[..., None]:
    def fill_it(numbers: range, when: float, **changes: Any) -> None:
        answers = []
        for number in numbers:
            attempt = make.attempt(number, f"answer {number}", started_at=when + number / 100, **changes)
            answers.append(make.answer(number, attempt=attempt, created_at=when + 1.0 + number / 100))
        store.record([], answers)

    return fill_it


def known(store: Store, make: Any, numbers: range) -> list[int]:
    found = store.answers([make.row_hash(number) for number in numbers])
    return [number for number in numbers if make.row_hash(number) in found]


def prune(store: Store, *keep: bytes, cutoff: float = CUTOFF, before: float = NEVER) -> Pruned:
    with store.pruning() as pruning:
        pruning.keep(keep)
        pruning.put_aside(cutoff)
        pruning.put_back()
        return pruning.remove(cutoff, set_aside_before=before)


def test_old_answers_go_with_their_attempts_and_kept_ones_stay_whole(
    store: Store, make: Any, fill: Callable[..., None]
) -> None:
    fill(range(10), OLD)
    fill(range(10, 15), YOUNG)
    store.record([make.attempt(3, "the first try", outcome="repair", started_at=OLD - 1)], [])
    done = prune(store, make.row_hash(3), make.row_hash(77))
    assert known(store, make, range(15)) == [3, *range(10, 15)]
    assert (done.answers, done.attempts, done.kept, done.waiting) == (9, 9, 1, 0)
    texts = [attempt.response.text for attempt in store.attempts_of(make.row_hash(3)) if attempt.response]
    assert texts == ["the first try", "answer 3"]
    assert store.attempts_of(make.row_hash(3))[0].messages[0].role == "system", "the shared beginning is still there"
    assert store.attempts_of(make.row_hash(4)) == []


def test_a_preview_says_what_will_go_and_changes_nothing(store: Store, make: Any, fill: Callable[..., None]) -> None:
    fill(range(10), OLD)
    fill(range(10, 15), YOUNG)
    store.record([make.attempt(50, outcome="transient", response=None, started_at=OLD)], [])
    with store.pruning() as pruning:
        pruning.keep([make.row_hash(1)])
        expected = pruning.preview(CUTOFF)
    assert known(store, make, range(15)) == list(range(15))
    done = prune(store, make.row_hash(1))
    assert (
        (expected.answers, expected.attempts, expected.kept) == (done.answers, done.attempts, done.kept) == (9, 10, 1)
    )
    assert expected.payload_bytes == done.payload_bytes > 0


def test_attempts_without_an_answer_go_when_they_are_old_and_nobody_refers_to_them(store: Store, make: Any) -> None:
    lost = {"outcome": "transient", "response": None, "cost_nano_usd": None}
    store.record([make.attempt(number, started_at=OLD, **lost) for number in range(5)], [])
    store.record([make.attempt(9, started_at=YOUNG, **lost)], [])
    assert prune(store, make.row_hash(2)).attempts == 4
    assert len(store.attempts_of(make.row_hash(2))) == len(store.attempts_of(make.row_hash(9))) == 1


def test_a_young_answer_keeps_its_old_attempts(store: Store, make: Any) -> None:
    store.record([make.attempt(1, "wrong", outcome="repair", started_at=OLD)], [])
    store.record([], [make.answer(1, created_at=YOUNG, attempt=make.attempt(1, "right", started_at=YOUNG))])
    assert prune(store).attempts == 0
    assert len(store.attempts_of(make.row_hash(1))) == 2


def test_what_was_spent_is_still_known(store: Store, make: Any, fill: Callable[..., None]) -> None:
    fill(range(6), OLD, asset="a", run_id="r")
    fill(range(6, 8), OLD, asset="a", run_id="r", cost_nano_usd=None)
    fill(range(8, 10), OLD, asset="b", run_id="r", cost_nano_usd=None)
    before = figures(store)
    prune(store, *(make.row_hash(number) for number in (0, 6)))
    prune(store)  # in two goes, so that sums are added to sums
    assert figures(store) == before
    assert sum(each.questions for each in store.questions(["r"], Span())) == 10
    assert store.contents().attempts == 0


def figures(store: Store) -> dict[str, tuple[int, int, int | None, int, float, float]]:
    """What the sums of each asset say, stored and removed attempts together."""
    found: dict[str, Any] = {}
    for each in store.attempt_sums(Span()):
        now = (
            each.attempts,
            each.output_tokens,
            each.cost_nano_usd,
            each.unknown_costs,
            each.started_at,
            each.ended_at,
        )
        if (other := found.get(each.asset)) is not None:
            cost = None if now[2] is other[2] is None else (now[2] or 0) + (other[2] or 0)
            now = (now[0] + other[0], now[1] + other[1], cost, now[3] + other[3], min(now[4], other[4]),
                   max(now[5], other[5]))  # fmt: skip
        found[each.asset] = now
    return found


def test_beginnings_of_prompts_go_when_nobody_shares_them_and_come_again(store: Store, make: Any) -> None:
    def attempt(number: int, system: str, when: float) -> Attempt:
        request = Request(messages=(Message("system", system), Message("user", "?")))
        made: Attempt = make.attempt(number, started_at=when, request=request)
        return made

    store.record([], [make.answer(1, created_at=OLD, attempt=attempt(1, "only in old ones", OLD))])
    store.record([], [make.answer(2, created_at=OLD, attempt=attempt(2, "in both", OLD))])
    store.record([], [make.answer(3, created_at=YOUNG, attempt=attempt(3, "in both", YOUNG))])
    prune(store)
    with store._connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM prefixes").scalar_one() == 1
    assert store.attempts_of(make.row_hash(3))[0].messages[0].content == "in both"
    store.record([], [make.answer(4, created_at=YOUNG, attempt=attempt(4, "only in old ones", YOUNG))])
    assert store.attempts_of(make.row_hash(4))[0].messages[0].content == "only in old ones"


class TestTwoSteps:
    def test_what_is_set_aside_is_not_found_and_comes_back_when_it_is_needed(
        self, store: Store, make: Any, fill: Callable[..., None]
    ) -> None:
        fill(range(4), OLD)
        with store.pruning() as pruning:
            pruning.put_aside(CUTOFF)
            assert known(store, make, range(4)) == []
            # A run that had found answer 2 before has published meanwhile.
            pruning.keep([make.row_hash(2)])
            pruning.put_back()
            assert known(store, make, range(4)) == [2]
            assert pruning.remove(CUTOFF, set_aside_before=NEVER).answers == 3
        assert ending_text(store, make.row_hash(2)) == "answer 2"

    def test_nothing_is_removed_that_a_run_going_on_may_have_found(
        self, store: Store, make: Any, fill: Callable[..., None]
    ) -> None:
        fill(range(4), OLD)
        waiting = prune(store, before=0.0)
        assert (waiting.answers, waiting.attempts, waiting.waiting) == (0, 0, 4)
        assert len(store.attempts_of(make.row_hash(1))) == 1
        assert known(store, make, range(4)) == [], "a run that begins now asks anew"
        assert store.contents().set_aside == 4
        later = prune(store, make.row_hash(3))
        assert (later.answers, later.attempts, later.waiting) == (3, 3, 0)
        assert known(store, make, range(4)) == [3]

    def test_a_prune_that_is_given_up_leaves_everything_as_it_was(
        self, store: Store, make: Any, fill: Callable[..., None]
    ) -> None:
        fill(range(5_000), OLD)
        with store.pruning() as pruning:
            pruning.put_aside(CUTOFF)
            assert known(store, make, range(5_000)) == []
            pruning.give_up()
        assert known(store, make, range(5_000)) == list(range(5_000))
        assert store.contents().set_aside == 0

    def test_who_asked_again_meanwhile_keeps_the_new_answer_and_the_whole_story(self, store: Store, make: Any) -> None:
        store.record([], [make.answer(1, "old", created_at=OLD, attempt=make.attempt(1, "old", started_at=OLD))])
        prune(store, before=0.0)
        store.record([], [make.answer(1, "new", created_at=YOUNG, attempt=make.attempt(1, "new", started_at=YOUNG))])
        done = prune(store)
        assert (done.answers, done.attempts) == (1, 0)
        assert ending_text(store, make.row_hash(1)) == "new"
        assert len(store.attempts_of(make.row_hash(1))) == 2
        # And an answer that comes back does not take the place of a newer one.
        store.record([], [make.answer(2, "old", created_at=OLD, attempt=make.attempt(2, "old", started_at=OLD))])
        prune(store, before=0.0)
        store.record([], [make.answer(2, "new", created_at=YOUNG, attempt=make.attempt(2, "new", started_at=YOUNG))])
        prune(store, make.row_hash(2))
        assert ending_text(store, make.row_hash(2)) == "new"
        assert store.contents().set_aside == 0

    def test_remembered_rejections_keep_their_reason_through_both_steps(self, store: Store, make: Any) -> None:
        gone = make.answer(1, state="rejected", reason="refused", message="It won't.", created_at=OLD)
        store.record([], [replace(gone, attempt=make.attempt(1, started_at=OLD))])
        prune(store, before=0.0)
        prune(store, make.row_hash(1))
        found = store.answers([make.row_hash(1)])[make.row_hash(1)]
        assert (found.state, found.reason, found.message, found.created_at) == ("rejected", "refused", "It won't.", OLD)


class TestSize:
    def test_the_oldest_hours_go_until_it_is_small_enough(
        self, store: Store, make: Any, fill: Callable[..., None]
    ) -> None:
        hour = 3_600.0
        for number in range(6):
            fill(range(100 * number, 100 * number + 100), hour * number)
        with store.pruning() as pruning:
            everything = store.size()
            assert pruning.cutoff_for_size(everything, 100 * hour) == 0.0
            assert pruning.cutoff_for_size(0, 100 * hour) == 6 * hour
            assert pruning.cutoff_for_size(0, 3 * hour) == 3 * hour, "nothing young goes"
            half = pruning.cutoff_for_size(everything // 2, 100 * hour)
            assert half in (3 * hour, 4 * hour)
            # What is to be kept frees no room, so more of the rest must go.
            pruning.keep(make.row_hash(number) for number in range(200))
            assert pruning.cutoff_for_size(everything // 2, 100 * hour) in (5 * hour, 6 * hour)

    def test_the_file_gets_smaller(self, tmp_path: Path, make: Any) -> None:
        file = tmp_path / "state.db"
        with Store.open(f"sqlite:///{file}") as store:
            texts = [random.Random(number).randbytes(2_000).hex() for number in range(400)]
            attempts = [make.attempt(number, text, started_at=OLD) for number, text in enumerate(texts)]
            store.record([], [make.answer(n, created_at=OLD, attempt=each) for n, each in enumerate(attempts)])
            before = store.size()
            prune(store, make.row_hash(5))
            assert store.shrink()
            assert store.size() < before / 4
            assert file.stat().st_size == store.size()
            assert ending_text(store, make.row_hash(5)) is not None

    def test_the_file_is_left_alone_while_another_process_asks(self, tmp_path: Path) -> None:
        with Store.open(f"sqlite:///{tmp_path / 'state.db'}") as store:
            other = store.coordination()
            other.beat()
            assert not store.shrink()
            other.leave()
            assert store.shrink()


def test_contents_count_what_is_there(store: Store, make: Any, fill: Callable[..., None]) -> None:
    assert store.contents().oldest is None
    fill(range(3), OLD, asset="a", model="big:m")
    fill(range(3, 5), YOUNG, model="small:m")
    there = store.contents()
    assert (there.attempts, there.answers, there.set_aside) == (5, 5, 0)
    assert (there.oldest, there.newest) == (OLD, YOUNG + 0.04)
    assert [(model, asset, count) for model, asset, count, _ in there.groups] == [("big:m", "a", 3), ("small:m", "", 2)]
    assert there.bytes >= sum(there.bytes_by_table.values()) > 0
    assert set(there.bytes_by_table) >= {"attempts", "answers", "usage"}


def test_others_write_and_read_meanwhile(store_url: str, store: Store, make: Any, fill: Callable[..., None]) -> None:
    """Answers that come in while old ones leave are all there afterwards, with their prompts."""
    fill(range(10_000), OLD)
    begun, stop, written, errors = threading.Event(), threading.Event(), 0, []

    def write() -> None:
        nonlocal written
        try:
            with Store.open(store_url) as other:
                while not stop.is_set():
                    number = 100_000 + written
                    attempt = make.attempt(number, "new", started_at=YOUNG)
                    other.record([], [make.answer(number, created_at=YOUNG, attempt=attempt)])
                    written += 1
                    begun.set()
        except BaseException as error:
            errors.append(error)
            begun.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert begun.wait(60)
        before = written
        done = prune(store)
        meanwhile = written - before
        prune(store)
    finally:
        stop.set()
        writer.join()
    assert errors == []
    assert done.answers == 10_000
    assert meanwhile > 0, "a prune leaves the lock to others now and then"
    assert known(store, make, range(100_000, 100_000 + written)) == list(range(100_000, 100_000 + written))
    for number in range(100_000, 100_000 + written):
        assert store.attempts_of(make.row_hash(number))[0].messages[0].role == "system"
