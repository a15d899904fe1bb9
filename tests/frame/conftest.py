from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

import infergraph as ig


@pytest.fixture
def session(tmp_path: Path) -> Iterator[ig.Session]:
    models = {"fast": ig.Model("scripted:fast"), "other": ig.Model("scripted:other")}
    with ig.Session(models=models, default_model="fast", store="sqlite:///state.db", root=tmp_path) as made:
        yield made


@pytest.fixture
def rows() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "id": [1, 2, 3, 4, 5, 6],
            "lang": ["en", "en", "de", "en", "fr", "en"],
            "body": ["broken", "slow", None, "broken", "merci", "thanks"],
        }
    )


@pytest.fixture
def tickets(session: ig.Session, rows: pl.DataFrame) -> ig.SemanticFrame:
    return session.frame(rows, name="tickets", key="id")
