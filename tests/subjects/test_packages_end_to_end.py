"""The packages group through Dagster: facts, licence, report and its warning check."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.packages.facts import KIND_OF_FAMILY
from definitions import defs
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, StoreResource
from infergraph.dagster.resources import close_sessions
from infergraph.models.model import Request
from infergraph.models.scripted import Script, script
from resources.inbox import Inbox

GROUP = dg.AssetSelection.groups("packages")
PARTS = [asset for asset in defs.assets or [] if isinstance(asset, dg.AssetsDefinition)]


class Auditor:
    """Answers like a model that knows licence texts, or like one that says MIT to everything."""

    def __init__(self) -> None:
        self.always: str | None = None

    def __call__(self, request: Request) -> Mapping[str, Any]:
        if request.choices is None:
            return {"purpose": "does something useful for somebody"}
        if "Apache" not in request.choices.values:
            return {request.choices.field: request.choices.values[0]}
        words = request.choices.subject.lower()
        known = {
            "apache": "Apache",
            "redistribution and use": "BSD",
            "permission is hereby": "MIT",
            "a. history": "PSF",
        }
        read = next((family for opening, family in known.items() if opening in words), "not stated")
        return {request.choices.field: self.always or read}


@pytest.fixture
def auditor() -> Auditor:
    return Auditor()


@pytest.fixture
def model(auditor: Auditor) -> Iterator[Script]:
    with script("auditor", auditor) as running:
        yield running
    close_sessions()


@pytest.fixture
def storage(tmp_path: Path) -> PolarsStorage:
    return PolarsStorage(base_url=str(tmp_path / "assets"))


def audit(storage: PolarsStorage, *, packages: int = 12) -> dg.ExecuteInProcessResult:
    folder = Path(storage.base_url).parent
    return dg.materialize(
        [*PARTS, *(defs.asset_checks or [])],
        selection=GROUP,
        run_config={"ops": {"installed_packages": {"config": {"packages": packages}}}},
        resources={
            "models": ModelsResource(models={"one": ModelSettings(name="scripted:auditor")}),
            "store": StoreResource(url=f"sqlite:///{folder}/state.db"),
            "io_manager": storage,
            "inbox": Inbox(folder=str(folder / "inbox")),
        },
        instance=dg.DagsterInstance.ephemeral(),
    )


def agreement(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    return next(check for check in result.get_asset_check_evaluations() if check.check_name == "licence_agreement")


def figures(check: dg.AssetCheckEvaluation) -> dict[str, Any]:
    return {name: entry.value for name, entry in check.metadata.items()}


def test_one_row_a_package_with_everything_in_it(model: Script, storage: PolarsStorage) -> None:
    assert audit(storage).success
    report = storage.load("package_report").collect()
    installed = storage.load("installed_packages").collect()
    assert report["package"].to_list() == installed["package"].to_list()
    assert report.height == 12
    assert report["purpose"].drop_nulls().unique().to_list() == ["does something useful for somebody"]
    assert set(report["licence"].drop_nulls()) <= set(KIND_OF_FAMILY.values())


def test_what_is_declared_is_never_asked(model: Script, storage: PolarsStorage) -> None:
    audit(storage)
    asked = "\n".join(message.content for request in model.requests for message in request.messages)
    assert "OSI Approved" not in asked
    assert "License-Expression" not in asked


def test_the_second_audit_asks_nothing(model: Script, storage: PolarsStorage) -> None:
    audit(storage)
    asked = len(model.requests)
    audit(storage)
    assert asked > 12
    assert len(model.requests) == asked


def test_a_larger_audit_asks_only_for_what_is_new(model: Script, storage: PolarsStorage) -> None:
    audit(storage, packages=5)
    asked = len(model.requests)
    audit(storage, packages=6)
    assert 1 <= len(model.requests) - asked <= 3


def test_a_model_that_reads_passes_the_check(model: Script, storage: PolarsStorage) -> None:
    check = agreement(audit(storage, packages=60))
    found = figures(check)
    assert check.passed
    assert found["family_accuracy"] >= 0.8
    assert found["family_compared"] >= 40
    assert found["most_frequent"] > 0.9


def test_a_model_that_says_mit_to_everything_is_found_out(
    model: Script, auditor: Auditor, storage: PolarsStorage
) -> None:
    auditor.always = "MIT"
    result = audit(storage, packages=60)
    check = agreement(result)
    found = figures(check)
    assert result.success
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert found["accuracy"] > 0.9
    assert found["family_accuracy"] < 0.7
    (row,) = found["disagreeing"]
    assert row["family"] == "MIT"
    assert "MIT" not in row["declared_families"]
