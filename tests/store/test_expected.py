"""What a run was expected to use is kept under the keys of its usage; past attempts come back as they were."""

from __future__ import annotations

from typing import Any

from infergraph.models.model import Message
from infergraph.store import EstimateRow, Store


def row(**given: Any) -> EstimateRow:
    return EstimateRow(**{"run_id": "r1", "operator": "map", "model": "x:1", "calls": 3, "made_at": 1.0, **given})


def test_estimates_come_back_newest_first_by_run_asset_and_partition(store: Store) -> None:
    first = row(asset="a", partition="p", cost_nano_usd=5, cost_nano_usd_high=None)
    second = row(run_id="r2", asset="b", made_at=2.0)
    store.record_estimates([first, second])
    assert store.estimates() == [second, first]
    assert store.estimates(run_id="r1") == store.estimates(asset="a") == store.estimates(partition="p") == [first]
    assert store.estimates(asset="nobody") == []
    assert len(store.estimates(limit=1)) == 1


def test_a_run_that_is_tried_again_has_its_newest_estimate(store: Store) -> None:
    store.record_estimates([row(calls=3)])
    store.record_estimates([row(calls=2, made_at=5.0)])
    store.record_estimates([])
    assert store.estimates() == [row(calls=2, made_at=5.0)]


def test_past_attempts_are_the_latest_of_the_operator_with_a_response(store: Store, make: Any) -> None:
    answers = [make.answer(number, f"answer {number}") for number in range(1, 6)]
    failed = make.attempt(9, outcome="transient", response=None)
    store.record([failed], answers)
    model, operator = failed.model, failed.operator
    found = store.past_attempts(model, operator=operator, limit=3)
    assert [attempt.response.text for attempt in found] == ["answer 3", "answer 4", "answer 5"]
    assert found[0].messages[-1] == Message("user", "row 3")
    assert (found[0].done, found[0].via, found[0].response.tokens.input) == (True, "direct", 30)
    assert len(store.past_attempts(model)) == 5
    assert store.past_attempts(model, operator="another") == []
    assert store.past_attempts(model, operator=operator, asset="another") == []


def test_they_are_found_without_reading_the_other_attempts(store: Store, make: Any) -> None:
    store.record([], [make.answer(1)])
    with store._open_engine().connect() as connection:
        if connection.dialect.name == "sqlite":
            plan = connection.exec_driver_sql(
                "EXPLAIN QUERY PLAN SELECT prompt FROM attempts WHERE operator = 'a' AND model = 'b' "
                "ORDER BY id DESC LIMIT 3"
            ).all()
            assert "attempts_of_operator" in str(plan)
            assert "TEMP B-TREE" not in str(plan)
