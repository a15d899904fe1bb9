"""Models and store as Dagster resources: settings become models, sessions are shared, secrets stay out."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster._serdes import serialize_value

import infergraph as ig
from infergraph.dagster.resources import (
    ModelSettings,
    ModelsResource,
    PriceSettings,
    StoreResource,
    close_sessions,
    shared_session,
)
from infergraph.errors import ConfigurationError, UnknownModel
from infergraph.models.model import UNSET, Model, Price
from infergraph.models.redact import Secret

SECRET = "sk-a-very-secret-key-1234567890"


@pytest.fixture
def store(tmp_path: Path) -> StoreResource:
    return StoreResource(url=f"sqlite:///{tmp_path / 'state.db'}")


def models(name: str = "scripted:any", **more: Any) -> ModelsResource:
    return ModelsResource(models={"m": ModelSettings(name=name, **more)})


def test_settings_are_those_of_the_model() -> None:
    fields = {name for name in Model.__dataclass_fields__ if name != "_"}
    # Of a redaction, Dagster takes the kinds and the patterns one by one.
    assert set(ModelSettings.model_fields) == {*fields, "redact_patterns"}
    assert set(PriceSettings.model_fields) == set(Price.__dataclass_fields__)
    made = ModelSettings(
        name="openai:gpt-5-mini", temperature=0.5, timeout_s=3, price=PriceSettings(input=1, output=2)
    ).as_model()
    assert made == Model("openai:gpt-5-mini", temperature=0.5, timeout_s=3, price=Price(input=1.0, output=2.0))


def test_a_timeout_is_chosen_only_where_it_is_written_down() -> None:
    usual, chosen = ModelSettings(name="local:smollm2-135m"), ModelSettings(name="local:smollm2-135m", timeout_s=120)
    assert [made.as_model().timeout_s for made in (usual, chosen)] == [120, 120]
    assert [made.as_model().timeout_is_chosen for made in (usual, chosen)] == [False, True]


def test_redact_is_written_as_for_a_model() -> None:
    kinds: Any = True  # what Dagster describes is a list
    every = ModelSettings(name="openai:x", redact=kinds)
    assert every.as_model().redact == ig.Model("openai:x", redact=True).redact
    assert ModelsResource(models={"m": every}, redact=kinds).redact == ["all"]
    kinds = False
    assert ModelSettings(name="openai:x", redact=kinds).as_model().redact is None


def test_a_key_is_sent_to_a_server_of_ones_own_only_when_given() -> None:
    assert ModelSettings(name="openai:x").as_model().api_key is UNSET
    assert ModelSettings(name="openai:x", base_url="http://gpu-box/v1").as_model().api_key is None
    own = ModelSettings(name="openai:x", base_url="http://gpu-box/v1", api_key=SECRET).as_model()
    assert own.api_key == Secret(SECRET)


def test_wrong_settings_are_said_as_for_a_model() -> None:
    with pytest.raises(ConfigurationError, match="temperature"):
        ModelSettings(name="openai:x", temperature=9).as_model()


def test_assets_with_the_same_values_share_a_session(store: StoreResource) -> None:
    with ThreadPoolExecutor(4) as pool:
        sessions = list(pool.map(lambda _: shared_session(models(), store), range(8)))
    assert len(set(map(id, sessions))) == 1
    assert shared_session(models(salt="other"), store) is not sessions[0]


def test_closed_sessions_are_opened_anew(store: StoreResource) -> None:
    first = shared_session(models(), store)
    close_sessions()
    assert shared_session(models(), store) is not first


def test_a_forked_child_has_sessions_of_its_own(store: StoreResource) -> None:
    parents = shared_session(models(), store)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, b"same" if shared_session(models(), store) is parents else b"own")
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    assert os.read(read, 8) == b"own"


def test_a_model_outside_the_deployment_may_be_named_in_full(store: StoreResource) -> None:
    session = shared_session(models(), store, extra_models=["scripted:other", None])
    assert session.models["scripted:other"] == Model("scripted:other")
    assert session.default_model == "m"
    assert set(shared_session(models(), store, extra_models=["m"]).models) == {"m"}


def test_several_models_need_a_default(store: StoreResource) -> None:
    two = ModelsResource(models={"a": ModelSettings(name="scripted:a"), "b": ModelSettings(name="scripted:b")})
    with pytest.raises(UnknownModel):
        shared_session(two, store).model_name(None)


def test_another_kind_of_resource_is_refused(store: StoreResource) -> None:
    with pytest.raises(ConfigurationError, match="ModelsResource"):
        shared_session({"m": "scripted:any"}, store)  # type: ignore[arg-type]  # the wrong type is the point


def test_a_key_from_the_environment_shows_nowhere(
    store: StoreResource, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_OF_TEST", SECRET)
    monkeypatch.setenv("STORE_OF_TEST", store.url)
    resources = {
        "models": models("openai:gpt-5-mini", api_key=dg.EnvVar("KEY_OF_TEST")),
        "store": StoreResource(url=dg.EnvVar("STORE_OF_TEST")),
    }
    seen = []

    @dg.asset(required_resource_keys={"models", "store"})
    def uses_them(context: dg.AssetExecutionContext) -> None:
        session = shared_session(context.resources.models, context.resources.store)
        seen.append(session.models["m"].api_key)
        context.log.info("%r %r", context.resources.models, session)

    result = dg.materialize([uses_them], resources=resources, instance=instance)
    assert seen == [Secret(SECRET)]
    logged = instance.all_logs(result.run_id)
    assert any("ModelsResource" in entry.user_message for entry in logged)
    assert not any(SECRET in str(entry) for entry in logged)
    definitions = dg.Definitions(assets=[uses_them], resources=resources)
    shown = serialize_value(RepositorySnap.from_def(definitions.get_repository_def()))
    assert "KEY_OF_TEST" in shown
    assert SECRET not in shown
    run = instance.get_run_by_id(result.run_id)
    assert SECRET not in str(run)
