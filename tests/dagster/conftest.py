"""One Dagster instance in memory for all tests of this room, and a storage of each test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from infergraph.dagster.storage import PolarsStorage


@pytest.fixture(scope="session")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def storage(tmp_path: Path) -> PolarsStorage:
    return PolarsStorage(base_url=str(tmp_path / "assets"))
