"""From a batch to messages and skipped files: every kind of file that can go wrong is said."""

from pathlib import Path

import polars as pl
import pytest

from assets.support.messages import MESSAGES, READ_CHARACTERS, SKIPPED, read_batch
from resources.inbox import Batch, Inbox


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    inbox = Inbox(folder=str(tmp_path / "inbox"))
    inbox.names()
    return inbox


def batch_of(inbox: Inbox, **contents: bytes) -> Batch:
    for name, content in contents.items():
        (inbox.path / f"{name}.txt").write_bytes(content)
    listed = [inbox.look(name) for name in inbox.names()]
    return Batch(files=tuple(file for file in listed if file), duplicates={})


def reasons(skipped: pl.DataFrame) -> dict[str, str]:
    return dict(skipped.select("file", "reason").iter_rows())


def test_messages_have_the_promised_columns(inbox: Inbox) -> None:
    messages, skipped = read_batch(inbox, batch_of(inbox, a=b"Where is my invoice?"))
    assert messages.schema == MESSAGES
    assert skipped.schema == SKIPPED
    assert messages["body"].to_list() == ["Where is my invoice?"]
    assert messages["received"].null_count() == 0


def test_each_bad_file_is_said_and_costs_no_other(inbox: Inbox) -> None:
    batch = batch_of(
        inbox,
        good=b"Hello",
        empty=b"",
        blank=b" \n ",
        binary=b"\x89PNG\x00\x00",
        huge=b"x" * (inbox.max_bytes + 1),
        deleted=b"soon gone",
        changed=b"first",
        grown=b"half of the",
    )
    (inbox.path / "deleted.txt").unlink()
    (inbox.path / "changed.txt").write_bytes(b"other")
    (inbox.path / "grown.txt").write_bytes(b"half of the text, and the rest")
    messages, skipped = read_batch(inbox, batch)
    assert messages["file"].to_list() == ["good.txt"]
    assert reasons(skipped) == {
        "empty.txt": "empty",
        "blank.txt": "empty",
        "binary.txt": "binary",
        "huge.txt": "too large",
        "deleted.txt": "deleted",
        "changed.txt": "changed",
        "grown.txt": "changed",
    }
    assert skipped["detail"].null_count() == 0


def test_a_file_renamed_after_its_batch_was_made_is_still_read(inbox: Inbox) -> None:
    """Under the name of the batch, so that reading the batch again gives the same data."""
    batch = batch_of(inbox, a=b"text", b=b"more")
    before, _ = read_batch(inbox, batch)
    (inbox.path / "a.txt").rename(inbox.path / "z.txt")
    messages, skipped = read_batch(inbox, batch)
    assert messages.equals(before)
    assert skipped.is_empty()


def test_a_file_of_just_the_largest_size_is_read(inbox: Inbox) -> None:
    messages, skipped = read_batch(inbox, batch_of(inbox, full=b"x" * inbox.max_bytes))
    assert (messages.height, skipped.height) == (1, 0)
    assert messages["text"].str.len_chars().item() == READ_CHARACTERS
    assert messages["body"].str.len_bytes().item() == inbox.max_bytes


def test_a_folder_in_the_place_of_a_file_is_said(inbox: Inbox) -> None:
    batch = batch_of(inbox, a=b"text")
    (inbox.path / "a.txt").unlink()
    (inbox.path / "a.txt").mkdir()
    _, skipped = read_batch(inbox, batch)
    assert reasons(skipped) == {"a.txt": "unreadable"}


def test_duplicates_are_reported_with_the_file_they_repeat(inbox: Inbox) -> None:
    batch = batch_of(inbox, a=b"text")
    _, skipped = read_batch(inbox, Batch(files=batch.files, duplicates={"b.txt": "a.txt"}))
    assert skipped.select("file", "reason", "detail").rows() == [("b.txt", "duplicate", "same content as a.txt")]


def test_the_id_is_the_content_whatever_the_file_is_called(inbox: Inbox) -> None:
    first, _ = read_batch(inbox, batch_of(inbox, a=b"text"))
    (inbox.path / "a.txt").rename(inbox.path / "z.txt")
    second, _ = read_batch(inbox, batch_of(inbox))
    assert first["message_id"].to_list() == second["message_id"].to_list()


def test_an_empty_batch_gives_empty_frames_of_the_right_shape(inbox: Inbox) -> None:
    messages, skipped = read_batch(inbox, Batch(files=(), duplicates={}))
    assert (messages.schema, skipped.schema) == (MESSAGES, SKIPPED)


def test_a_batch_survives_being_written_down(inbox: Inbox) -> None:
    batch = Batch(files=batch_of(inbox, a="Grüße".encode()).files, duplicates={"ü.txt": "a.txt"})
    assert inbox.batch(inbox.save(batch)) == batch
