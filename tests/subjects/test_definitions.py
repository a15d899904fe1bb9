"""The code location loads anywhere, and everything in it is described."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from definitions import defs
from sensors.schedules import daily_support_report

ROOT = Path(__file__).resolve().parents[2]
GRAPH = defs.resolve_asset_graph()
SPECS = [GRAPH.get(key) for key in sorted(GRAPH.get_all_asset_keys(), key=str)]
EXPECTED = {
    "logs": {"error_lines", "error_clusters", "incidents"},
    "meetings": {"meeting_turns", "promises", "action_items", "minutes"},
    "packages": {"installed_packages", "package_facts", "package_licence", "package_report"},
    "platform": {"model_usage"},
    "support": {
        "support_messages",
        "skipped_files",
        "message_facts",
        "message_topics",
        "escalations",
        "support_report",
    },
}


def test_the_assets_of_each_group() -> None:
    groups: dict[str, set[str]] = {}
    for node in SPECS:
        groups.setdefault(node.group_name, set()).add(node.key.to_user_string())
    assert groups == EXPECTED


@pytest.mark.parametrize("node", SPECS, ids=lambda node: node.key.to_user_string())
def test_every_asset_is_described_and_owned(node: dg.AssetSpec) -> None:
    assert len(node.description or "") > 30
    assert node.owners
    assert node.kinds >= {"polars"}


@pytest.mark.parametrize("node", SPECS, ids=lambda node: node.key.to_user_string())
def test_only_assets_with_something_above_run_by_themselves(node: dg.AssetSpec) -> None:
    name = node.key.to_user_string()
    not_by_data = {"installed_packages", "support_messages", "skipped_files", "support_report", "model_usage"}
    not_by_data |= {"error_lines", "meeting_turns"}
    by_itself = name not in not_by_data
    assert (node.automation_condition is not None) == by_itself


def test_sensors_schedules_and_checks_say_what_they_do() -> None:
    assert any(key.name == "licence_agreement" for key in GRAPH.asset_check_keys)
    for started in [*(defs.sensors or []), *(defs.schedules or [])]:
        assert started.description
        assert started.default_status.value == "RUNNING"


def test_the_code_versions_see_all_that_the_assets_reach() -> None:
    semantic = [node for node in SPECS if "infergraph" in node.kinds]
    assert len({node.code_version for node in semantic}) == len(semantic) > 3
    assert not [node.key for node in semantic if "infergraph/code_not_reached" in node.metadata]


@pytest.mark.parametrize("folder", [ROOT, ROOT / "tests", Path("/")], ids=["root", "below", "elsewhere"])
def test_the_definitions_load_with_an_empty_environment(folder: Path) -> None:
    """As Dagster's code server loads them: file and working directory from ``workspace.yaml``, nothing else."""
    load = (
        "from dagster._core.workspace.load import location_origins_from_yaml_paths as origins\n"
        "from dagster._core.code_pointer import CodePointer\n"
        f"origin = origins([{str(ROOT / 'workspace.yaml')!r}])[0].loadable_target_origin\n"
        "module = CodePointer.from_python_file(origin.python_file, 'defs', origin.working_directory)\n"
        "print(len(module.load_target().resolve_asset_graph().get_all_asset_keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", load], env={}, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == str(len(SPECS))


def test_loading_makes_no_file_and_reads_no_environment(tmp_path: Path) -> None:
    trap = (
        "import os, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "before = set(os.listdir('.'))\n"
        "import definitions\n"
        "assert set(os.listdir('.')) == before, os.listdir('.')\n"
        "heavy = {'openai', 'anthropic', 'great_expectations', 'xllamacpp', 'onnxruntime'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", trap], env={}, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


class TestSchedule:
    @pytest.fixture
    def instance(self, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
        with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
            yield instance

    def test_the_report_waits_for_a_first_batch(self, instance: dg.DagsterInstance) -> None:
        with dg.build_schedule_context(instance=instance) as context:
            assert isinstance(daily_support_report(context), dg.SkipReason)

    def test_one_run_a_day(self, instance: dg.DagsterInstance) -> None:
        instance.add_dynamic_partitions("inbox_batches", ["b"])
        moment = datetime(2026, 11, 22, 6, tzinfo=UTC)
        with dg.build_schedule_context(instance=instance, scheduled_execution_time=moment) as context:
            request = daily_support_report(context)
        assert isinstance(request, dg.RunRequest)
        assert request.run_key == "2026-11-22"


def test_the_environment_of_this_test_is_not_needed() -> None:
    """The subprocesses above really start without variables: a guard against a test that proves nothing."""
    done = subprocess.run(
        [sys.executable, "-c", "import os; print(sorted(os.environ))"],
        env={},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "PATH" not in done.stdout
    assert "PATH" in os.environ
