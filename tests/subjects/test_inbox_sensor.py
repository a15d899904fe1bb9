"""The file-drop sensor, tick by tick, on a real folder."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from assets.support.messages import read_batch
from resources.inbox import Inbox
from sensors.inbox import REMEMBERED, Memory, inbox_files

OLD = 60.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "inbox"


@pytest.fixture
def inbox(folder: Path) -> Inbox:
    inbox = Inbox(folder=str(folder))
    inbox.names()
    return inbox


class Ticks:
    """Plays the daemon: keeps the cursor from tick to tick."""

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        self.cursor: str | None = None
        self.instance = dg.DagsterInstance.ephemeral()

    def __call__(self, times: int = 1) -> dg.SensorResult:
        for _ in range(times):
            with dg.build_sensor_context(instance=self.instance, cursor=self.cursor) as context:
                result = inbox_files(context, inbox=self.inbox)
            assert isinstance(result, dg.SensorResult)
            self.cursor, last = result.cursor, result
        return last


@pytest.fixture
def tick(inbox: Inbox) -> Ticks:
    return Ticks(inbox)


@pytest.fixture
def drop(folder: Path) -> Callable[..., Path]:
    def drop(name: str, text: str | bytes, *, age_s: float = OLD) -> Path:
        path = folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        then = time.time() - age_s
        os.utime(path, (then, then))
        return path

    return drop


def partitions(result: dg.SensorResult) -> list[str]:
    """The partitions asked for, after looking that there is exactly one new partition for each run."""
    runs = list(result.run_requests or [])
    keys = [str(run.partition_key) for run in runs]
    assert [run.run_key for run in runs] == keys
    added = [key for request in result.dynamic_partitions_requests or [] for key in request.partition_keys]
    assert added == keys
    return keys


def files(inbox: Inbox, partition: str) -> list[str]:
    return [file.name for file in inbox.batch(partition).files]


def said(result: dg.SensorResult) -> str:
    return (
        result.skip_reason.skip_message or ""
        if isinstance(result.skip_reason, dg.SkipReason)
        else str(result.skip_reason)
    )


def test_a_batch_is_one_partition_and_one_run(inbox: Inbox, tick: Ticks, drop: Callable[..., Path]) -> None:
    drop("a.txt", "one")
    drop("b.txt", "two")
    (partition,) = partitions(tick(2))
    assert files(inbox, partition) == ["a.txt", "b.txt"]
    assert partitions(tick(3)) == []


def test_files_dropped_later_are_a_batch_of_their_own(inbox: Inbox, tick: Ticks, drop: Callable[..., Path]) -> None:
    drop("a.txt", "one")
    (first,) = partitions(tick(2))
    drop("b.txt", "two")
    (second,) = partitions(tick(2))
    assert first != second
    assert files(inbox, second) == ["b.txt"]
    assert files(inbox, first) == ["a.txt"]


def test_an_empty_or_missing_folder_is_no_error(tick: Ticks, folder: Path) -> None:
    folder.rmdir()
    result = tick()
    assert partitions(result) == []
    assert "No new files" in said(result)
    assert folder.is_dir()


def test_a_half_written_file_waits_until_it_is_whole(inbox: Inbox, tick: Ticks, drop: Callable[..., Path]) -> None:
    drop("slow.txt", "first half")
    assert "slow.txt: may still be being written" in said(tick())
    drop("slow.txt", "first half, second half", age_s=OLD - 1)
    assert partitions(tick()) == []
    (partition,) = partitions(tick())
    assert inbox.batch(partition).files[0].size == len("first half, second half")


def test_a_file_touched_a_moment_ago_waits_though_two_ticks_saw_it(tick: Ticks, drop: Callable[..., Path]) -> None:
    drop("fresh.txt", "text", age_s=0)
    assert partitions(tick(2)) == []


def test_a_time_in_the_future_does_not_keep_a_file_waiting_forever(tick: Ticks, drop: Callable[..., Path]) -> None:
    drop("future.txt", "text", age_s=-3_600)
    assert len(partitions(tick(2))) == 1


def test_an_unfinished_download_or_hidden_file_is_left_alone(
    tick: Ticks, drop: Callable[..., Path], folder: Path
) -> None:
    for name in (".hidden.txt", "~lock.txt", "mail.eml.part", "mail.eml.crdownload", "x.TMP"):
        drop(name, "text")
    (folder / "subfolder").mkdir()
    assert partitions(tick(3)) == []


def test_a_file_gone_before_it_was_read_is_said(tick: Ticks, drop: Callable[..., Path]) -> None:
    drop("gone.txt", "text").with_name("other.txt").write_text("x")
    tick()
    drop("gone.txt", "text").unlink()
    assert "gone.txt: gone before it could be read" in said(tick())


def test_a_renamed_file_is_not_processed_twice(tick: Ticks, drop: Callable[..., Path]) -> None:
    path = drop("before.txt", "the same text")
    assert len(partitions(tick(2))) == 1
    path.rename(path.with_name("after.txt"))
    result = tick(2)
    assert partitions(result) == []
    assert "after.txt: same content as before.txt, not processed again" in said(result)
    assert "No new files" in said(tick())


def test_a_file_deleted_and_dropped_again_is_not_processed_twice(tick: Ticks, drop: Callable[..., Path]) -> None:
    drop("a.txt", "text").unlink()
    drop("a.txt", "text")
    assert len(partitions(tick(2))) == 1
    drop("a.txt", "text").unlink()
    tick()
    drop("a.txt", "text", age_s=OLD / 2)
    assert partitions(tick(2)) == []


def test_a_touched_file_is_not_processed_twice(tick: Ticks, drop: Callable[..., Path]) -> None:
    drop("a.txt", "text")
    assert len(partitions(tick(2))) == 1
    drop("a.txt", "text", age_s=OLD / 2)
    assert partitions(tick(2)) == []


def test_a_changed_file_is_a_new_batch(inbox: Inbox, tick: Ticks, drop: Callable[..., Path]) -> None:
    drop("a.txt", "first version")
    (first,) = partitions(tick(2))
    drop("a.txt", "second version", age_s=OLD / 2)
    (second,) = partitions(tick(2))
    assert inbox.batch(first).files[0].digest != inbox.batch(second).files[0].digest


def test_duplicates_in_one_batch_are_listed_beside_the_first(
    inbox: Inbox, tick: Ticks, drop: Callable[..., Path]
) -> None:
    for name in ("c.txt", "a.txt", "b.txt"):
        drop(name, "same text")
    (partition,) = partitions(tick(2))
    assert files(inbox, partition) == ["a.txt"]
    assert inbox.batch(partition).duplicates == {"b.txt": "a.txt", "c.txt": "a.txt"}


def test_a_huge_file_is_listed_without_reading_it_whole(inbox: Inbox, tick: Ticks, folder: Path) -> None:
    with (folder / "huge.txt").open("wb") as file:
        file.truncate(50_000_000)
    os.utime(folder / "huge.txt", (time.time() - OLD,) * 2)
    (partition,) = partitions(tick(2))
    assert inbox.batch(partition).files[0].size == 50_000_000
    assert len(inbox.read("huge.txt")) == inbox.max_bytes + 1


def test_many_files_come_in_several_batches(folder: Path, drop: Callable[..., Path]) -> None:
    tick = Ticks(Inbox(folder=str(folder), max_files=3))
    tick()
    for number in range(7):
        drop(f"{number}.txt", f"text {number}")
    tick()
    batches = [files(tick.inbox, key) for _ in range(4) for key in partitions(tick())]
    assert batches == [["0.txt", "1.txt", "2.txt"], ["3.txt", "4.txt", "5.txt"], ["6.txt"]]


def test_a_tick_repeated_after_a_crash_asks_for_the_same_partition(tick: Ticks, drop: Callable[..., Path]) -> None:
    """The cursor of a tick that died was never saved; Dagster knows the run key and starts no second run."""
    drop("a.txt", "one")
    tick()
    before = tick.cursor
    first = partitions(tick())
    tick.cursor = before
    assert partitions(tick()) == first


def test_the_cursor_forgets_files_that_are_gone_and_the_oldest_contents() -> None:
    memory = Memory(contents={f"{number:032x}": f"{number}.txt" for number in range(REMEMBERED + 10)})
    kept = json.loads(memory.dump())["contents"]
    assert len(kept) == REMEMBERED
    assert f"{0:032x}" not in kept
    assert f"{REMEMBERED + 9:032x}" in kept


def test_the_cursor_has_one_line_a_file_in_the_folder(tick: Ticks, drop: Callable[..., Path]) -> None:
    paths = [drop(f"{number}.txt", str(number)) for number in range(5)]
    tick(2)
    for path in paths[:4]:
        path.unlink()
    tick()
    assert list(Memory.load(tick.cursor).done) == ["4.txt"]


def test_a_partition_without_a_batch_is_explained(inbox: Inbox) -> None:
    with pytest.raises(dg.Failure, match="No batch 'made-up' was made of this inbox"):
        inbox.batch("made-up")


@pytest.mark.parametrize("partition", ["../secret", "/etc/passwd", "a/../../b"])
def test_a_partition_name_never_leaves_the_folder(inbox: Inbox, partition: str) -> None:
    with pytest.raises(dg.Failure):
        inbox.batch(partition)


def test_an_odd_name_or_link_is_left_alone_and_said_once(
    inbox: Inbox, tick: Ticks, drop: Callable[..., Path], folder: Path, tmp_path: Path
) -> None:
    drop("good.txt", "one")
    (Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.txt"))).write_text("latin")
    (tmp_path / "secret.txt").write_text("not in the inbox")
    (folder / "outside.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "loop.txt").symlink_to(folder / "loop.txt")
    (folder / "nowhere.txt").symlink_to(folder / "missing.txt")
    odd = inbox.listing().odd
    assert sorted(odd) == ["caf\\udce9.txt", "loop.txt", "nowhere.txt", "outside.txt"]
    assert odd["outside.txt"] == "a link out of the inbox, not followed"
    assert "loop.txt: a link that leads nowhere" in said(tick())
    (partition,) = partitions(tick())
    assert files(inbox, partition) == ["good.txt"]
    assert "loop.txt" not in said(tick())


def test_a_link_inside_the_inbox_is_a_file_like_any_other(
    inbox: Inbox, tick: Ticks, drop: Callable[..., Path], folder: Path
) -> None:
    drop("a.txt", "one")
    (folder / "b.txt").symlink_to("a.txt")
    (partition,) = partitions(tick(2))
    assert inbox.batch(partition).duplicates == {"b.txt": "a.txt"}


def test_a_file_replaced_by_a_link_before_its_batch_is_read_gives_no_message(
    inbox: Inbox, tick: Ticks, drop: Callable[..., Path], tmp_path: Path
) -> None:
    path = drop("a.txt", "one")
    (partition,) = partitions(tick(2))
    path.unlink()
    (tmp_path / "other.txt").write_text("one")
    path.symlink_to(tmp_path / "other.txt")
    messages, skipped = read_batch(inbox, inbox.batch(partition))
    assert messages.is_empty()
    assert skipped["reason"].to_list() == ["unreadable"]


def test_a_file_deleted_before_its_batch_was_read_may_be_dropped_again(
    inbox: Inbox, tick: Ticks, drop: Callable[..., Path]
) -> None:
    path = drop("a.txt", "My invoice is wrong")
    (first,) = partitions(tick(2))
    path.unlink()
    assert read_batch(inbox, inbox.batch(first))[1]["reason"].to_list() == ["deleted"]
    tick()
    drop("again.txt", "My invoice is wrong")
    drop("twice.txt", "My invoice is wrong")
    (second,) = partitions(tick(2))
    assert files(inbox, second) == ["again.txt"]
    assert inbox.batch(second).duplicates == {"twice.txt": "again.txt"}
    assert read_batch(inbox, inbox.batch(second))[0].height == 1
    drop("third.txt", "My invoice is wrong")
    assert partitions(tick(2)) == [], "it gave a message now"


@pytest.mark.parametrize("seconds", [-5_000_000_000, 253_402_300_800])
def test_a_time_that_cannot_be_does_not_stop_the_sensor(tick: Ticks, drop: Callable[..., Path], seconds: int) -> None:
    os.utime(drop("odd.txt", "text"), (seconds, seconds))
    assert len(partitions(tick(2))) == 1
