"""``infergraph init`` as it is typed, and the project that it makes: its own tests, runs, types and code location."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from infergraph.cli.app import run_command
from infergraph.cli.init import check_name, compatible, project_files
from infergraph.errors import ConfigurationError, PlanError

ROOT = Path(__file__).parents[2]
NEW = ROOT / "src" / "infergraph" / "cli" / "new_project"


def typed(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Type a command in a folder, with the library of this tree."""
    left_out = ("UV", "DAGSTER_HOME", "COLUMNS", "INFERGRAPH_DEBUG", "PYTEST_ADDOPTS")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    environment["PYTHONPATH"] = str(ROOT / "src")
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A new project and what was said of it."""
    folder = tmp_path_factory.mktemp("init")
    ran = typed(folder, "infergraph.cli", "init", "my-notes")
    assert ran.returncode == 0, ran.stderr
    return folder / "my-notes", ran.stdout


@pytest.fixture
def project(made: tuple[Path, str]) -> Path:
    return made[0]


def test_it_says_what_it_made_and_what_to_type_next(made: tuple[Path, str]) -> None:
    project, said = made
    listed = {path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file()}
    assert {"definitions.py", "workspace.yaml", "pyproject.toml", ".gitignore", "dagster.yaml", "README.md"} <= listed
    for room in ("assets", "resources", "sensors", "tests"):
        assert any(path.startswith(f"{room}/") for path in listed)
    for path in listed:
        assert f"\n  {path}\n" in said
    after = said.partition("Next:\n")[2]
    assert after.splitlines()[0] == "  cd my-notes"
    for command in ("infergraph run +note_facts", "infergraph plan note_facts", "pytest", "infergraph dev"):
        assert f"\n  {command} " in after


def test_the_library_it_asks_for_is_this_one(project: Path) -> None:
    told = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    ours = metadata.metadata("infergraph")
    assert told["name"] == "my-notes"
    assert told["requires-python"] == ours["Requires-Python"]
    assert told["dependencies"] == [f"infergraph[local]{compatible(ours['Version'])}"]


def test_from_a_checkout_uv_finds_the_library_there(project: Path) -> None:
    installed = json.loads(metadata.distribution("infergraph").read_text("direct_url.json") or "{}")
    if not installed.get("dir_info", {}).get("editable"):
        pytest.skip("Infergraph is not installed from a checkout here")
    found = tomllib.loads((project / "pyproject.toml").read_text())["tool"]["uv"]["sources"]["infergraph"]
    assert found["editable"] is True
    assert (Path(found["path"]) / "pyproject.toml").is_file()
    assert installed["url"] == Path(found["path"]).as_uri()


@pytest.mark.parametrize("by_uv", [True, False])
def test_who_came_with_uv_is_told_to_go_on_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], by_uv: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UV", "/somewhere/uv") if by_uv else monkeypatch.delenv("UV", raising=False)
    assert run_command(["init", "my-notes"]) == 0
    assert ("\n  uv run infergraph dev " in capsys.readouterr().out) is by_uv


@pytest.mark.timeout(240)
def test_its_own_tests_pass(project: Path) -> None:
    ran = typed(project, "pytest", "-q", "-p", "no:cacheprovider")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "4 passed" in ran.stdout


@pytest.mark.timeout(240)
def test_the_commands_that_it_names_work_in_it(project: Path) -> None:
    model = ("--model", "scripted:any", "--json")
    first = typed(project, "infergraph.cli", "run", "+note_facts", *model)
    assert first.returncode == 0, first.stdout + first.stderr
    notes, facts = sorted(json.loads(first.stdout)["assets"], key=lambda asset: asset["asset"])
    assert (notes["rows"], facts["rows"]) == (8, 8)
    assert facts["usage"]["calls"] == 16
    assert {check["name"]: check["passed"] for check in facts["checks"]}["every_note_is_there"] is True

    plan = typed(project, "infergraph.cli", "plan", "note_facts", *model)
    assert plan.returncode == 0, plan.stdout + plan.stderr
    [asset] = json.loads(plan.stdout)["assets"]
    assert (asset["estimate"]["calls"], asset["estimate"]["store_hits"]) == (0, 16)


@pytest.mark.timeout(240)
def test_the_models_that_it_names_work_once_uncommented(project: Path, tmp_path: Path) -> None:
    lines = (project / "resources" / "__init__.py").read_text(encoding="utf-8").splitlines()
    named = [line.strip().removeprefix("# ") for line in lines if line.strip().startswith('# "')]
    assert len(named) == 4
    imports = [line.partition("  # ")[2] for line in named if "  # from " in line]
    (tmp_path / "models.py").write_text(
        "\n".join(["from infergraph.dagster import ModelSettings", *imports, "MODELS = {", *named, "}"])
    )
    ran = typed(tmp_path, "models")
    assert ran.returncode == 0, ran.stderr


def test_it_runs_on_the_embedded_model_as_it_stands(project: Path) -> None:
    pytest.importorskip("xllamacpp", reason="the extra that brings the embedded model is not installed")
    ran = typed(project, "infergraph.cli", "run", "+note_facts", "--json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    usage = {asset["asset"]: asset["usage"] for asset in json.loads(ran.stdout)["assets"]}["note_facts"]
    assert (usage["calls"], usage["rejected"]) == (16, 0)


def test_dagster_finds_its_code_location(project: Path) -> None:
    ran = typed(project, "dagster", "definitions", "validate", "-w", "workspace.yaml")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "my-notes" in ran.stdout + ran.stderr


@pytest.mark.parametrize("check", [("ruff", "check"), ("ruff", "format", "--check"), ("mypy",)], ids=" ".join)
@pytest.mark.timeout(240)
def test_it_is_clean(project: Path, check: tuple[str, ...]) -> None:
    ran = typed(project, *check)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_an_empty_folder_will_do_and_a_full_one_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fresh").mkdir()
    monkeypatch.chdir(tmp_path / "fresh")
    assert run_command(["init", "."]) == 0
    assert "  cd " not in capsys.readouterr().out
    files = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert set(map(Path.as_posix, files)) == set(project_files("fresh"))

    assert run_command(["init", "."]) == ConfigurationError.exit_code
    told = capsys.readouterr().err
    assert "is a project already; nothing was written" in told
    assert "To work in it: cd " in told
    assert "infergraph init" in told
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("keep me")
    assert run_command(["init", "full"]) == ConfigurationError.exit_code
    assert "it holds 'letter.txt'; nothing was written" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["letter.txt"]
    assert run_command(["init", "full/letter.txt"]) == ConfigurationError.exit_code
    assert "is a file" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["two words", "-x", "x-", "é", "a/..b ", "x" * 65, "_"])
def test_what_is_no_name_is_refused_with_a_better_one(name: str) -> None:
    with pytest.raises(PlanError, match=r"is no name for a project.* Type: infergraph init [a-zA-Z0-9][\w-]*$"):
        check_name(name)


def test_the_name_of_an_installed_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(["init", "polars"]) == PlanError.exit_code
    assert not list(tmp_path.iterdir())


def test_a_place_that_takes_no_files_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    assert run_command(["init", "file/notes"]) == ConfigurationError.exit_code


def test_every_template_is_a_file_of_the_project() -> None:
    templates = [path for path in NEW.rglob("*") if path.is_file()]
    assert all(path.name.endswith(".template") for path in templates)
    assert len(templates) + len(["dagster.yaml"]) == len(project_files("any"))


def test_another_temperature_is_another_code_version(project: Path) -> None:
    shown = "import definitions as d; print(*[s.code_version for s in d.defs.resolve_all_asset_specs()])"
    resources = project / "resources" / "__init__.py"
    before = resources.read_text()
    versions = []
    try:
        for settings in ('"local:smollm2-135m"', '"local:smollm2-135m", temperature=0.5'):
            resources.write_text(
                before.replace('ModelSettings(name="local:smollm2-135m"', f"ModelSettings(name={settings}")
            )
            environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
            ran = subprocess.run(
                [sys.executable, "-c", shown], cwd=project, env=environment, capture_output=True, text=True, check=True
            )
            versions.append(ran.stdout)
    finally:
        resources.write_text(before)
    assert versions[0] != versions[1]
