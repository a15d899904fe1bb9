"""Providers of other packages, as they are found when an installed package is broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infergraph.errors import UnknownModel
from infergraph.models import registry
from infergraph.models.model import Model


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A package on the path with one provider that works and several that cannot be loaded."""
    (tmp_path / "third_provider.py").write_text("from infergraph.models.scripted import ScriptedProvider\nNUMBER = 7\n")
    (tmp_path / "third_wrong.py").write_text("def (:\n")
    about = tmp_path / "third_party-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    points = {
        "third": "third_provider:ScriptedProvider",
        "renamed": "third_provider:Gone",
        "missing": "third_gone:Provider",
        "wrong": "third_wrong:Provider",
        "number": "third_provider:NUMBER",
    }
    lines = [f"{name} = {value}" for name, value in points.items()]
    (about / "entry_points.txt").write_text("\n".join([f"[{registry.ENTRY_POINT_GROUP}]", *lines]))
    monkeypatch.syspath_prepend(str(tmp_path))
    registry._entry_points.cache_clear()
    yield
    registry._entry_points.cache_clear()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("renamed", "AttributeError: .*Gone"),
        ("missing", "No module named 'third_gone'"),
        ("wrong", "SyntaxError"),
        ("number", "is no class"),
    ],
)
def test_a_provider_that_does_not_load_names_its_package(third_party: None, name: str, why: str) -> None:
    with pytest.raises(UnknownModel, match=rf"Model\('{name}:a'\): .*package 'third-party' .*{why}"):
        registry.provider_for(Model(f"{name}:a"))


def test_the_others_of_that_package_work(third_party: None) -> None:
    assert registry.provider_for(Model("third:a")).capabilities.chat
