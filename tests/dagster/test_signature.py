"""What the decorator reads from a function, and what it says when the function does not fit."""

from typing import Any

import dagster as dg
import polars as pl
import pytest

import infergraph as ig
from infergraph.dagster import semantic_asset_of
from infergraph.dagster.asset import asset_code
from infergraph.dagster.code_version import code_version_of
from infergraph.dagster.signature import signature_of


class Window(dg.Config):
    days: int = 7


class Clock(dg.ConfigurableResource[Any]):
    zone: str = "UTC"


def test_parameters_are_sorted_by_what_they_are() -> None:
    def facts(  # type: ignore[no-untyped-def]  # a parameter without annotation is one of the cases
        context: dg.AssetExecutionContext,
        config: Window,
        clock: Clock,
        anything: dg.ResourceParam[object],
        tickets: ig.SemanticFrame,
        prices: pl.LazyFrame,
        rates: pl.DataFrame,
        plain,
    ) -> None: ...

    found = signature_of(facts)
    assert found.context == "context"
    assert found.config is Window
    assert found.resources == ("clock", "anything")
    assert found.frames == {"tickets": "semantic", "prices": "lazy", "rates": "eager", "plain": "semantic"}


def a_generator(tickets: ig.SemanticFrame) -> Any:
    yield tickets


async def an_async(tickets: ig.SemanticFrame) -> Any:
    return tickets


def a_number(tickets: int) -> None: ...


def several(*tickets: Any) -> None: ...


def only_by_name(*, tickets: Any) -> None: ...


def a_plain_config(config: dict[str, Any]) -> None: ...


def unknown_name(tickets: "NoSuchName") -> None: ...  # type: ignore[name-defined]  # noqa: F821 - the missing name is the point


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (a_generator, "plain function"),
        (an_async, "plain function"),
        (a_number, "'tickets' is annotated 'int'"),
        (several, "a parameter of its own"),
        (only_by_name, "a parameter of its own"),
        (a_plain_config, "dg.Config"),
        (unknown_name, "NoSuchName"),
    ],
)
def test_a_function_that_does_not_fit_is_said(function: Any, says: str) -> None:
    with pytest.raises(ig.PlanError, match=says):
        ig.semantic_asset(function)


def facts(tickets: ig.SemanticFrame, prices: pl.LazyFrame) -> ig.SemanticFrame:
    return tickets


class Limited(dg.Config):
    limit: int = 1


def own_limit(config: Limited, tickets: ig.SemanticFrame) -> ig.SemanticFrame:
    return tickets


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"key": {"tikets": "id"}}, "Did you mean 'tickets'"),
        ({"key": {"prices": "id"}}, "no SemanticFrame input"),
        ({"ins": {"tikets": dg.AssetIn()}}, "Did you mean 'tickets'"),
        ({"max_reject_rate": 2}, "0 to 1"),
        ({"max_cost_usd": -1}, "0 or more"),
        ({"keep_versions": 0}, "1 or more"),
        ({"group": "g"}, "Did you mean 'group_name'"),
        ({"key": "facts", "name": "other"}, "not both"),
        ({"config_schema": {"refresh": bool}}, "run option"),
    ],
)
def test_an_argument_that_does_not_fit_is_said(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ig.PlanError, match=says):
        ig.semantic_asset(**arguments)(facts)


def test_a_config_field_with_the_name_of_an_option_is_said() -> None:
    with pytest.raises(ig.PlanError, match="'limit', which is a run option"):
        ig.semantic_asset(own_limit)


def test_what_dagster_takes_is_passed_on() -> None:
    """Every argument ends up where ``dg.asset`` puts it."""
    partitions = dg.StaticPartitionsDefinition(["a", "b"])
    policy = dg.RetryPolicy(max_retries=2)
    mapping = dg.AllPartitionMapping()
    arguments: dict[str, Any] = {
        "key_prefix": ["crm"],
        "name": "ticket_facts",
        "ins": {"tickets": dg.AssetIn(key_prefix="raw"), "prices": dg.AssetIn(key=["erp", "prices"])},
        "deps": ["calendar", dg.AssetDep(dg.AssetKey(["erp", "prices"]), partition_mapping=mapping)],
        "metadata": {"team": "support"},
        "tags": {"domain": "crm"},
        "description": "What tickets say.",
        "group_name": "support",
        "partitions_def": partitions,
        "owners": ["team:support"],
        "kinds": {"openai"},
        "automation_condition": dg.AutomationCondition.on_missing(),
        "code_version": "7",
        "retry_policy": policy,
        "pool": "openai",
        "op_tags": {"size": "small"},
        "io_manager_key": "lake",
        "backfill_policy": dg.BackfillPolicy.multi_run(3),
        "hooks": {dg.success_hook(name="after")(lambda _: None)},
        "required_resource_keys": {"mail"},
    }
    made = ig.semantic_asset(**arguments)(facts)
    plain = dg.asset(**arguments)(facts)
    key = dg.AssetKey(["crm", "ticket_facts"])
    assert made.keys == plain.keys == {key}
    for name in (
        "metadata",
        "tags",
        "description",
        "group_name",
        "owners",
        "kinds",
        "automation_condition",
        "code_version",
    ):
        ours, theirs = getattr(made.specs_by_key[key], name), getattr(plain.specs_by_key[key], name)
        if name == "metadata":
            ours = {field: value for field, value in ours.items() if field in theirs}
        assert ours == theirs, name
    for name in ("partitions_def", "backfill_policy", "dependency_keys", "hook_defs"):
        assert getattr(made, name) == getattr(plain, name), name
    for name in ("retry_policy", "pool", "tags", "name"):
        assert getattr(made.op, name) == getattr(plain.op, name), name
    assert made.get_io_manager_key_for_asset_key(key) == "lake"
    assert made.get_partition_mapping(dg.AssetKey(["erp", "prices"])) == mapping
    assert {"models", "store", "lake", "mail"} <= made.required_resource_keys


def test_defaults_say_what_the_asset_is() -> None:
    @ig.semantic_asset
    def documented(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
        """What every ticket is about."""
        return tickets

    spec = documented.specs_by_key[dg.AssetKey("documented")]
    assert spec.description == "What every ticket is about."
    assert spec.kinds == {"polars", "infergraph"}
    found = semantic_asset_of(documented)
    assert found is not None
    assert spec.code_version == asset_code(found).version
    assert {check.name for check in documented.check_keys} == {"schema", "row_count", "reject_rate", "budget"}


def test_dagsters_own_asset_key_still_works() -> None:
    made = ig.semantic_asset(key=["crm", "facts"])(facts)
    assert made.key == dg.AssetKey(["crm", "facts"])
    assert made.op.name == "crm__facts"


def test_what_was_given_can_be_read_back() -> None:
    made = ig.semantic_asset(model="fast", key={"tickets": ["id", "lang"]}, max_cost_usd=1.5)(facts)
    found = semantic_asset_of(made)
    assert found is not None
    assert (found.model, found.key_columns, found.max_cost_usd) == ("fast", {"tickets": ["id", "lang"]}, 1.5)
    assert semantic_asset_of(dg.asset(facts)) is None
    assert semantic_asset_of(dg.AssetsDefinition(specs=[dg.AssetSpec("outside")])) is None


def test_the_code_version_follows_what_the_function_does() -> None:
    def first() -> Any:
        """One text."""
        return 1 + 2

    def moved() -> Any:
        """Another text."""
        # a comment
        return 1 + 2  # and one more

    def changed() -> Any:
        return 1 + 3

    assert code_version_of(first).version == code_version_of(moved).version
    assert code_version_of(first).version != code_version_of(changed).version


def test_two_inputs_of_one_asset_need_the_same_mapping() -> None:
    def both(ticket_facts: ig.SemanticFrame, rejects: pl.LazyFrame) -> ig.SemanticFrame:
        return ticket_facts

    rejects = ig.rejects_of("ticket_facts", partition_mapping=dg.AllPartitionMapping())
    with pytest.raises(ig.PlanError, match="the same metadata, partition_mapping"):
        ig.semantic_asset(ins={"rejects": rejects})(both)
