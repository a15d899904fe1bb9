from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from infergraph.cli.project import find_root, open_project
from infergraph.cli.selection import one_asset, select_assets
from infergraph.errors import ConfigurationError, PlanError

CODE = """
import dagster as dg

@dg.asset
def numbers(): ...

defs = dg.Definitions(assets=[numbers])
"""


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    folder, path, modules = Path.cwd(), list(sys.path), set(sys.modules)
    yield
    os.chdir(folder)
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name in ("definitions", "place", "place.code"):
            del sys.modules[name]


def project(folder: Path, code: str = CODE, workspace: str | None = None, file: str = "definitions.py") -> Path:
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(code)
    if workspace is not None:
        (folder / "workspace.yaml").write_text(workspace)
    return folder


def test_a_project_is_found_from_below(tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    below = root / "assets" / "deep"
    below.mkdir(parents=True)
    assert find_root(below) == root.resolve()


def test_outside_of_a_project_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"not inside an Infergraph project.*cd my-project"):
        find_root(tmp_path)


@pytest.mark.parametrize(
    ("workspace", "file"),
    [
        (None, "definitions.py"),
        ("load_from:\n  - python_file: definitions.py\n", "definitions.py"),
        ("load_from:\n  - python_file: {relative_path: code/defs.py, working_directory: .}\n", "code/defs.py"),
        ("load_from:\n  - python_module: place.code\n", "place/code.py"),
        ("load_from:\n  - python_module: {module_name: place.code, working_directory: .}\n", "place/code.py"),
    ],
)
def test_the_code_location_is_loaded_as_the_workspace_says(tmp_path: Path, workspace: str | None, file: str) -> None:
    root = project(tmp_path, workspace=workspace, file=file)
    opened = open_project(root)
    assert opened.root == root.resolve()
    assert Path.cwd() == root.resolve()
    assert one_asset(opened.definitions, "numbers") == dg.AssetKey("numbers")


@pytest.mark.parametrize(
    ("code", "workspace", "message"),
    [
        ("x = 1", None, "exactly one dagster.Definitions"),
        (CODE, "load_from: []\n", "names no code location"),
        (CODE, "load_from: [\n", "not valid YAML"),
        (CODE, "load_from:\n  - python_file: other.py\n", "is no Python file"),
        (CODE, "load_from:\n  - grpc_server: {host: x, port: 1}\n", "python_file or a python_module"),
    ],
)
def test_a_wrong_project_says_what_is_wrong(tmp_path: Path, code: str, workspace: str | None, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        open_project(project(tmp_path, code, workspace))


@pytest.fixture(scope="module")
def three_assets() -> dg.Definitions:
    @dg.asset(group_name="packages")
    def raw() -> None: ...

    @dg.asset(group_name="packages", deps=[raw])
    def facts() -> None: ...

    @dg.asset(key=dg.AssetKey(["support", "report"]), deps=[facts])
    def report() -> None: ...

    return dg.Definitions(assets=[report, facts, raw], asset_checks=[])


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        (["facts"], ["facts"]),
        (["raw+"], ["raw", "facts"]),
        (["facts", "raw"], ["raw", "facts"]),
        (["++support/report"], ["raw", "facts", "support/report"]),
        (["group:packages"], ["raw", "facts"]),
        (['key:"support/report"'], ["support/report"]),
        (["group:packages and not key:raw"], ["facts"]),
        (["*"], ["raw", "facts", "support/report"]),
    ],
)
def test_selections_give_assets_upstream_first(
    three_assets: dg.Definitions, typed: list[str], names: list[str]
) -> None:
    assert [key.to_user_string() for key in select_assets(three_assets, typed)] == names


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("fatcs", "There is no asset 'fatcs'. Did you mean 'facts'?"),
        ("fatcs+", "There is no asset 'fatcs'. Did you mean 'facts'?"),
        ("group:package", "There is no group 'package'. Did you mean 'packages'?"),
        ("kind:snowflake", "matches no asset"),
        ("facts and", "is no asset selection"),
    ],
)
def test_a_wrong_selection_names_the_nearest(three_assets: dg.Definitions, typed: str, message: str) -> None:
    with pytest.raises(PlanError) as caught:
        select_assets(three_assets, [typed])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_asset_is_named_exactly(three_assets: dg.Definitions) -> None:
    with pytest.raises(PlanError, match=r"Did you mean 'support/report'"):
        one_asset(three_assets, "support/reports")
