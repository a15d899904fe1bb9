"""DAGSTER_HOME under ``.infergraph``, and a root ``dagster.yaml`` that shows the same runs."""

from pathlib import Path

import dagster as dg
import pytest
from dagster._core.instance.ref import InstanceRef

from infergraph.dagster.home import ROOT_YAML, ensure_dagster_home
from infergraph.errors import ConfigurationError


def test_the_home_is_made_once_and_a_changed_file_is_kept(tmp_path: Path) -> None:
    home = ensure_dagster_home(tmp_path)
    assert home == tmp_path / ".infergraph" / "dagster"
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    ensure_dagster_home(tmp_path)
    assert (home / "dagster.yaml").read_text() == "telemetry: {enabled: false}\n"


def test_dagster_takes_the_settings(tmp_path: Path) -> None:
    with dg.DagsterInstance.from_config(str(ensure_dagster_home(tmp_path))) as instance:
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        assert queue.max_concurrent_runs == 2


def test_plain_dagster_dev_in_the_root_shows_the_same_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``dagster dev`` without DAGSTER_HOME makes its instance so: a folder that goes, settings of the current one."""

    @dg.asset
    def seen() -> None: ...

    monkeypatch.chdir(tmp_path)
    (tmp_path / "dagster.yaml").write_text(ROOT_YAML)
    with dg.DagsterInstance.from_config(str(ensure_dagster_home(tmp_path))) as instance:
        assert dg.materialize([seen], instance=instance).success
    (tmp_path / "temporary").mkdir()
    ref = InstanceRef.from_dir(str(tmp_path / "temporary"), config_dir=str(tmp_path))
    with dg.DagsterInstance.from_ref(ref) as instance:
        assert instance.get_latest_materialization_event(dg.AssetKey("seen")) is not None
        assert not instance.nux_enabled
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        assert queue.max_concurrent_runs == 2


def test_a_root_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / ".infergraph").write_text("a file in the way")
    with pytest.raises(ConfigurationError, match="DAGSTER_HOME"):
        ensure_dagster_home(tmp_path)
