"""Publishing: folder first, ``current.json`` last, old versions forgotten, any key and any URL."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from infergraph.dagster import publish as room
from infergraph.dagster.layout import Place, folder_names, key_of, local_path
from infergraph.dagster.publish import Staged, current_version, new_stage, publish, scan
from infergraph.errors import ConfigurationError

PLACE = Place(asset=("support", "facts"), partition="2026-11-21")


@pytest.fixture(params=["local", "memory"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> UPath:
    return UPath(tmp_path / "base") if request.param == "local" else UPath(f"memory://{uuid4().hex}")


def stage(base: UPath, value: int, *, keep_versions: int | None = None) -> Staged:
    folder = new_stage(base)
    frame = pl.DataFrame({"v": [value], "_row_id": ["r"]})
    frame.write_parquet(folder / "data.parquet")
    pl.DataFrame({"row_id": ["r"]}).write_parquet(folder / "rejects.parquet")
    return Staged(folder=folder, rows=1, schema=pl.Schema({"v": pl.Int64()}), rejects=1, keep_versions=keep_versions)


def value(base: UPath, place: Place = PLACE) -> int:
    version = current_version(base, place)
    assert version is not None
    return int(scan(version.path()).collect()["v"].item())


def test_what_was_published_last_counts(base: UPath) -> None:
    assert current_version(base, PLACE) is None
    for number in (1, 2):
        version = publish(stage(base, number), base, PLACE, run_id=f"run-{number}")
        assert version.name == f"run-{number}"
        assert value(base) == number
    assert version.rows == 1
    assert version.rejects == 1
    assert version.schema == {"v": "Int64"}
    assert scan(version.path("rejects")).collect().to_dicts() == [{"row_id": "r"}]


def test_the_layout_is_the_documented_one(tmp_path: Path) -> None:
    publish(stage(UPath(tmp_path), 1), UPath(tmp_path), PLACE, run_id="run-1")
    folder = tmp_path / "support" / "facts" / "2026-11-21"
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        "current.json",
        "run-1/data.parquet",
        "run-1/rejects.parquet",
    ]


def test_only_so_many_versions_are_kept(base: UPath) -> None:
    for number in range(6):
        version = publish(stage(base, number), base, PLACE, run_id=f"run-{number}", keep_versions=3)
    assert version.kept == ("run-5", "run-4", "run-3")
    folders = {child.name for child in base.joinpath(*PLACE.segments()).iterdir() if child.is_dir()}
    assert folders == set(version.kept)


def test_the_assets_own_number_of_versions_goes_first(base: UPath) -> None:
    for number in range(3):
        version = publish(stage(base, number, keep_versions=1), base, PLACE, run_id=f"run-{number}")
    assert version.kept == ("run-2",)


def test_publishing_a_run_again_leaves_open_readers_alone(base: UPath) -> None:
    first = publish(stage(base, 1), base, PLACE, run_id="run")
    reader = scan(first.path())
    second = publish(stage(base, 2), base, PLACE, run_id="run")
    assert second.name != first.name
    assert reader.collect()["v"].item() == 1
    assert value(base) == 2


def test_a_crash_before_current_json_leaves_the_old_rows(base: UPath) -> None:
    publish(stage(base, 1), base, PLACE, run_id="run-1")
    left_behind = stage(base, 2)
    room._put_files(left_behind.folder, base.joinpath(*PLACE.segments()), "run-2")
    assert value(base) == 1
    again = publish(stage(base, 3), base, PLACE, run_id="run-2")
    assert again.name != "run-2"
    assert value(base) == 3


def test_what_a_crash_left_is_removed_after_a_week_and_not_before(tmp_path: Path) -> None:
    base = UPath(tmp_path)
    folder = base.joinpath(*PLACE.segments())
    for name, days in (("old", 8), ("new", 1)):
        room._put_files(stage(base, 0).folder, folder, name)
        moment = time.time() - days * 86_400
        os.utime(tmp_path.joinpath(*PLACE.segments(), name, "data.parquet"), (moment, moment))
    publish(stage(base, 1), base, PLACE, run_id="run")
    assert {child.name for child in folder.iterdir()} == {"new", "run", "current.json"}


def test_stages_of_killed_processes_are_removed_after_a_week_and_not_before(tmp_path: Path) -> None:
    base = UPath(tmp_path)
    old, new = new_stage(base), new_stage(base)
    (old / "data.parquet").write_bytes(b"half")
    moment = time.time() - 8 * 86_400
    for path in (old / "data.parquet", old):
        os.utime(path, (moment, moment))
    latest = new_stage(base)
    assert set((tmp_path / ".stage").iterdir()) == {new, latest}


def test_a_reader_never_sees_half_of_current_json(tmp_path: Path) -> None:
    base = UPath(tmp_path)
    publish(stage(base, 0), base, PLACE, run_id="run-0")
    seen = set()

    def read() -> None:
        for _ in range(150):
            version = current_version(base, PLACE)
            assert version is not None
            seen.add(version.rows)

    with ThreadPoolExecutor(2) as pool:
        reading = pool.submit(read)
        for number in range(1, 25):
            publish(stage(base, number), base, PLACE, run_id=f"run-{number}", keep_versions=30)
        reading.result()
    assert seen == {1}


def test_partitions_published_at_once_do_not_meet(base: UPath) -> None:
    places = [Place(asset=("facts",), partition=f"p{number}") for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda place: publish(stage(base, int(place.partition[1:])), base, place, run_id="run"), places))
    assert [value(base, place) for place in places] == list(range(6))


def test_a_folder_of_another_asset_is_refused(base: UPath) -> None:
    publish(stage(base, 1), base, Place(asset=("a",), partition="b"), run_id="run")
    with pytest.raises(ConfigurationError, match="partition 'b' of 'a'"):
        publish(stage(base, 2), base, Place(asset=("a", "b")), run_id="run")


@pytest.mark.parametrize("text", ["", "{}", '{"format": 99}', "[1]"])
def test_a_damaged_current_json_says_what_to_do(tmp_path: Path, text: str) -> None:
    folder = tmp_path.joinpath(*PLACE.segments())
    folder.mkdir(parents=True)
    (folder / "current.json").write_text(text)
    with pytest.raises(ConfigurationError, match=r"materialize|Upgrade"):
        current_version(UPath(tmp_path), PLACE)


def test_current_json_is_readable_json(tmp_path: Path) -> None:
    publish(stage(UPath(tmp_path), 1), UPath(tmp_path), PLACE, run_id="run-1")
    said = json.loads(tmp_path.joinpath(*PLACE.segments(), "current.json").read_text())
    assert said["version"] == "run-1"
    assert said["rows"] == 1
    assert said["schema"] == {"v": "Int64"}
    assert said["asset"] == ["support", "facts"]


def test_a_base_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="base_url"):
        new_stage(UPath(tmp_path / "file" / "base"))


def test_what_else_a_run_left_in_its_stage_is_not_published(base: UPath) -> None:
    staged = stage(base, 1)
    (staged.folder / "spill").mkdir()
    (staged.folder / "spill" / "1.ipc").write_bytes(b"x")
    version = publish(staged, base, PLACE, run_id="run")
    assert sorted(child.name for child in version.folder.iterdir()) == ["data.parquet", "rejects.parquet"]


@given(st.text(max_size=300))
def test_every_key_has_safe_folder_names_and_comes_back(key: str) -> None:
    names = folder_names(key)
    assert key_of(names) == key
    for name in names:
        assert 0 < len(name) <= 200
        assert name.isascii()
        assert not name.startswith(".")
        assert not set(name) & set('/\\:*?"<>|[]= ')


@given(st.text(max_size=12), st.text(max_size=12))
def test_two_keys_never_share_folder_names(one: str, other: str) -> None:
    assert (folder_names(one) == folder_names(other)) == (one == other)


@pytest.mark.parametrize("key", ["a/b", "..", ".", "", "a:b|c", "Zürich", "日本" * 60, "current.json", "%2E", "x~y"])
def test_odd_partition_keys_are_published_apart(base: UPath, key: str) -> None:
    odd, plain = Place(asset=("facts",), partition=key), Place(asset=("facts",), partition="plain")
    publish(stage(base, 1), base, plain, run_id="run")
    publish(stage(base, 2), base, odd, run_id="run")
    assert (value(base, plain), value(base, odd)) == (1, 2)
    local = local_path(base)
    if local is not None:
        assert all(path.is_relative_to(local) for path in local.rglob("*"))
