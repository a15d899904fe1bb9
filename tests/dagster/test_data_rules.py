"""What an asset's data may be sent to, and what a deployment replaces and keeps, in real Dagster runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

import infergraph as ig
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, StoreResource
from infergraph.dagster.planning import planned
from infergraph.dagster.resources import close_sessions
from infergraph.models.scripted import Script, script

GRADED_AWAY = ig.judge("{{ out }} sums up {{ body }}", model="away", name="faithful")
LETTER = "I am ann.lee@example.org, ticket TCK-17"


@pytest.fixture
def desk() -> Iterator[Script]:
    with script("desk", lambda _: "done") as running:
        yield running
    close_sessions()


@dg.asset
def letters() -> pl.DataFrame:
    return pl.DataFrame({"id": [1], "body": [LETTER]})


def resources(storage: PolarsStorage, tmp_path: Path, **settings: Any) -> dict[str, Any]:
    models = {
        "own": ModelSettings(name="scripted:desk", **settings),
        "next": ModelSettings(name="scripted:desk", salt="next", fallback="away"),
        "away": ModelSettings(name="scripted:elsewhere"),
    }
    store = StoreResource(url=f"sqlite:///{tmp_path / 'store' / 'state.db'}", store_prompts=False)
    return {"models": ModelsResource(models=models, default_model="own"), "store": store, "io_manager": storage}


def summed(model: str | None = None, **arguments: Any) -> dg.AssetsDefinition:
    def summed(letters: ig.SemanticFrame) -> ig.SemanticFrame:
        return letters.semantic.map("Sum up {{ body }}", into="out", model=model)

    made: dg.AssetsDefinition = ig.semantic_asset(key={"letters": "id"}, **arguments)(summed)
    return made


@pytest.mark.parametrize(
    ("made", "config", "who"),
    [
        (lambda: summed("away", allowed_models=["own"]), {}, "the model 'away'"),
        (lambda: summed(model="away", allowed_models=["scripted:desk"]), {}, "the model 'away'"),
        (lambda: summed("next", allowed_models=["scripted:d*"]), {}, "'away' (scripted:elsewhere), the fallback"),
        (lambda: summed(allowed_models=["own"]), {"model": "away"}, "the model 'away'"),
        (lambda: summed(allowed_models=["own"]), {"model": "scripted:outside"}, "the model 'scripted:outside'"),
        (lambda: summed(allowed_models=["own"], checks=[GRADED_AWAY]), {}, "the model 'away'"),
        (lambda: summed(allowed_models=["onw"]), {}, "'onw', which is no model here"),
        (lambda: summed(allowed_models=["local:*"]), {}, "the model 'own'"),
    ],
)  # fmt: skip
def test_an_assets_data_is_not_sent_elsewhere(
    made: Callable[[], dg.AssetsDefinition], config: dict[str, Any], who: str,
    desk: Script, storage: PolarsStorage, instance: dg.DagsterInstance, tmp_path: Path,
) -> None:  # fmt: skip
    given = resources(storage, tmp_path)
    dg.materialize([letters], resources=given, instance=instance)
    run_config = {"ops": {"summed": {"config": config}}}
    with pytest.raises(ig.PlanError) as refused:
        dg.materialize(
            [letters, made()], selection=["summed"], resources=given, run_config=run_config, instance=instance
        )
    assert who in str(refused.value)
    definitions = dg.Definitions(assets=[letters, made()], resources=given)
    with (
        pytest.raises(ig.PlanError),
        planned(definitions, "summed", instance=instance, config=config) as (plan, options),
    ):
        plan.estimate(options)
    assert desk.requests == []


def test_an_asset_with_allowed_models_runs_on_them_and_binds_no_other_asset(
    desk: Script, storage: PolarsStorage, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    @ig.semantic_asset(model="away")
    def again(summed: ig.SemanticFrame) -> ig.SemanticFrame:
        return summed.semantic.map("Translate {{ out }}", into="translated")

    ran = dg.materialize(
        [letters, summed(allowed_models=["scripted:desk"]), again],
        resources=resources(storage, tmp_path), instance=instance,
    )  # fmt: skip
    assert ran.success
    assert len(desk.requests) == 1


def test_a_definition_with_a_list_that_is_none_is_refused() -> None:
    lists: list[Any] = ["local:*", []]
    for wrong in lists:
        with pytest.raises(ig.PlanError, match="allowed_models"):
            summed(allowed_models=wrong)


@pytest.mark.parametrize("place", ["model", "deployment"])
def test_resources_redact_and_keep_no_prompts(
    place: str, desk: Script, storage: PolarsStorage, instance: dg.DagsterInstance, tmp_path: Path,
    contents_of: Callable[[Path], list[tuple[str, bytes]]],
) -> None:  # fmt: skip
    rule: dict[str, Any] = {"redact": ["email"], "redact_patterns": {"ticket": r"TCK-\d+"}}
    given = resources(storage, tmp_path, **(rule if place == "model" else {}))
    if place == "deployment":
        given["models"] = ModelsResource(models=given["models"].models, default_model="own", **rule)
    # With a model of the asset's own the plan runs in a session derived from the shared one.
    assert dg.materialize([letters, summed(model="own")], resources=given, instance=instance).success
    assert "<body>\nI am [email], ticket [ticket]\n</body>" in str(desk.requests[0].messages[-1].content)
    close_sessions()
    kept = [content for _, content in contents_of(tmp_path / "store")]
    assert kept
    assert not [content for content in kept if b"[ticket]" in content or b"Sum up" in content]


def test_a_judge_is_sent_redacted_rows_too(
    storage: PolarsStorage, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    given = resources(storage, tmp_path, redact=["email"])
    given["models"] = ModelsResource(models=given["models"].models, default_model="own", redact=["email"])
    with script("elsewhere", lambda _: {"answer": True}) as grader, script("desk", lambda _: "a summary"):
        dg.materialize(
            [letters, summed(checks=[GRADED_AWAY])], resources=given, instance=instance, raise_on_error=False
        )
        close_sessions()
    assert grader.requests
    assert "I am [email], ticket" in grader.requests[0].messages[-1].content


def test_a_wrong_kind_in_the_settings_says_what_there_is(
    storage: PolarsStorage, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    given = resources(storage, tmp_path, redact=["mail"])
    with pytest.raises(ig.ConfigurationError, match="there is no kind 'mail'"):
        dg.materialize([letters, summed()], resources=given, instance=instance)
