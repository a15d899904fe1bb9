"""A frame's data goes to the allowed models only: refused when the plan is built, and nothing is asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

import infergraph as ig
from infergraph.frame.session import Session
from infergraph.models.model import CallFailed
from infergraph.models.scripted import Script, script

BODY = pl.DataFrame({"id": [1], "body": ["a letter"]})


@pytest.fixture
def elsewhere() -> Iterator[Script]:
    with script("elsewhere", lambda _: "sent away") as running:
        yield running


@pytest.fixture
def deployment(tmp_path: Path, elsewhere: Script) -> Iterator[Session]:
    models = {
        "own": ig.Model("scripted:own"),
        "safe": ig.Model("scripted:safe", fallback="own"),
        "away": ig.Model("scripted:elsewhere"),
        "leaky": ig.Model("scripted:own", salt="leaky", fallback="safer"),
        "safer": ig.Model("scripted:safe", salt="safer", fallback="away"),
    }
    with ig.Session(models, "own", root=tmp_path) as session:
        yield session


def mapped(frame: ig.SemanticFrame, model: str | None) -> ig.SemanticFrame:
    return frame.semantic.map("Sum up {{ body }}", into="out", model=model, name="sum_up")


@pytest.mark.parametrize("allowed", [["own", "safe"], ["scripted:own", "scripted:s*"], ["scripted:[os]*"]])
@pytest.mark.parametrize("model", [None, "own", "safe"])
def test_what_is_allowed_runs(deployment: Session, allowed: list[str], model: str | None) -> None:
    frame = mapped(deployment.frame(BODY, allowed_models=allowed), model)
    assert frame.run().usage.calls == 1


@pytest.mark.parametrize(
    ("allowed", "model", "said"),
    [
        (["own"], "away", "semantic.map 'sum_up': the model 'away' (scripted:elsewhere) may not see the data of "
                          "'frame': allowed_models is 'own'. Write model= with one of 'own'."),
        (["safe"], "safe", "the model 'own' (scripted:own), the fallback of 'safe', may not see"),
        (["safe"], None, "the model 'own' (scripted:own) may not see"),
        (["scripted:own", "scripted:safe"], "leaky", "the model 'away' (scripted:elsewhere), a fallback of 'leaky'"),
        (["local:*"], None, "No model of this deployment is allowed: add one."),
    ],
)  # fmt: skip
def test_the_plan_is_refused_with_operator_and_model(
    deployment: Session, elsewhere: Script, allowed: list[str], model: str | None, said: str
) -> None:
    with pytest.raises(ig.PlanError, match=re.escape(said)):
        mapped(deployment.frame(BODY, allowed_models=allowed), model)
    assert elsewhere.requests == []


def test_every_operator_asks(deployment: Session) -> None:
    frame = deployment.frame(BODY, allowed_models=["own"])
    asked: list[Callable[[], object]] = [
        lambda: frame.semantic.classify("body", ["a", "b"], model="away"),
        lambda: frame.semantic.filter("{{ body }} is nice", model="away"),
        lambda: frame.semantic.sentiment("body", model="away"),
        lambda: frame.semantic.embed("body", model="away"),
    ]
    for ask in asked:
        with pytest.raises(ig.PlanError, match="may not see the data of 'frame'"):
            ask()


def test_the_message_names_the_keyword_that_was_typed(deployment: Session) -> None:
    frame = deployment.frame(BODY, allowed_models=["own"])
    asked: dict[str, Callable[[], object]] = {
        "label_model=": lambda: frame.semantic.cluster("body", label=True, label_model="away"),
        "ig.Similar(..., model=...)": lambda: frame.semantic.join(
            frame, "{{ left.body }} is {{ right.body }}", candidates=ig.Similar("body", "body", model="away")
        ),
        "model=": lambda: frame.semantic.sim_join(frame, "body", "body", model="away"),
        "retry_model=": lambda: mapped(frame, None).run(retry_rejects=True, retry_model="away"),
    }
    for keyword, ask in asked.items():
        with pytest.raises(ig.PlanError, match=re.escape(f" Write {keyword} with one of 'own'.")):
            ask()


def test_a_frame_is_bound_as_its_sources_are_however_it_goes_on(deployment: Session) -> None:
    shut = deployment.frame(BODY, name="shut", key="id", allowed_models=["own"])
    free = deployment.frame(BODY.rename({"body": "text"}), name="free", key="id")
    joined = free.join(shut.select("id", "body"), on="id")
    for bound in (joined, ig.concat([deployment.frame(BODY, name="other"), shut]), shut.map_frame(lambda lf: lf)):
        with pytest.raises(ig.PlanError, match="may not see the data of 'shut'"):
            mapped(bound, "away")
        assert mapped(bound, "own").run().usage.calls + mapped(bound, "own").run().usage.store_hits >= 1
    assert mapped(free.rename({"text": "body"}), "away").run().usage.calls == 1


def test_a_runs_own_model_is_asked_too(deployment: Session, elsewhere: Script) -> None:
    frame = mapped(deployment.frame(BODY, allowed_models=["own"]), None)
    for ask in (lambda: frame.run(model="away"), lambda: frame.estimate(ig.RunOptions(model="away"))):
        with pytest.raises(ig.PlanError, match="'away'"):
            ask()
    assert elsewhere.requests == []
    embedded = deployment.frame(BODY, allowed_models=["own"]).semantic.embed("body")
    assert embedded.run(model="away").usage.calls == 1, "an embedding keeps its own model"


@pytest.mark.parametrize(
    ("allowed", "said"),
    [
        (["onw"], "allowed_models has 'onw', which is no model here. Did you mean 'own'"),
        ([], "allowed_models=[] allows no model"),
        ("local:*", 'is no list; write for example allowed_models=["local:*"]'),
        ([1], "is no list"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused(deployment: Session, allowed: list[str], said: str) -> None:
    with pytest.raises(ig.PlanError, match=re.escape(said)):
        deployment.frame(BODY, allowed_models=allowed)


def test_the_model_that_rejected_rows_would_go_to_is_asked_too(deployment: Session, elsewhere: Script) -> None:
    refused = CallFailed("no", outcome="permanent", reason="refused")
    with script("own", lambda _: refused):
        frame = mapped(deployment.frame(BODY, allowed_models=["own"]), None)
        assert frame.run().rejects.height == 1
        with pytest.raises(ig.PlanError, match="'away'"):
            frame.run(retry_rejects=True, retry_model="away")
    assert elsewhere.requests == []
