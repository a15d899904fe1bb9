"""The examples in the docstrings of the user's rooms run."""

import doctest
import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import assets
import resources
import sensors


def modules() -> Iterator[str]:
    for room in (assets, resources, sensors):
        for found in pkgutil.walk_packages(room.__path__, prefix=f"{room.__name__}."):
            yield found.name


@pytest.mark.parametrize("name", sorted(modules()))
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0


def test_there_are_examples() -> None:
    found = doctest.DocTestFinder().find(importlib.import_module("assets.packages.reading"))
    assert sum(len(test.examples) for test in found) >= 5
