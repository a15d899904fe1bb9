"""Folders of documents as frames: nothing left out, nothing read that nobody wants, unreadable files say why."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

import polars as pl
import pytest
from upath import UPath

import infergraph as ig
from infergraph.errors import PlanError
from infergraph.testing.pdf_files import pdf_file
from infergraph.text.documents import DOCUMENTS

NO_BYTES = bytes(range(128, 256))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "a.md").write_text("# Tee für Zoë", encoding="utf-8")
    (tmp_path / "b.TXT").write_bytes(b"\xef\xbb\xbfwith a mark")
    (tmp_path / "c.txt").write_bytes("sixteen".encode("utf-16"))
    (tmp_path / "d.txt").write_bytes(NO_BYTES)
    (tmp_path / "e").write_text("no ending")
    (tmp_path / "f.bin").write_bytes(NO_BYTES)
    (tmp_path / ".hidden.txt").write_text("hidden")
    (tmp_path / "sub" / "g.pdf").write_bytes(pdf_file(["Hello"]))
    (tmp_path / "sub" / "deep" / "h.json").write_text("{}")
    (tmp_path / "sub" / "deep" / "i.txt").write_text("")
    os.utime(tmp_path / "a.md", (1_700_000_000, 1_700_000_000))
    return tmp_path


def test_every_file_is_a_row_in_the_order_of_paths(folder: Path) -> None:
    frame = ig.read_documents(folder)
    assert frame.collect_schema() == DOCUMENTS
    found = frame.collect()
    assert found.schema == DOCUMENTS
    assert found["path"].is_sorted()
    kinds = dict(found.select("name", "kind").iter_rows())
    assert kinds == {
        "a.md": "markdown", "b.TXT": "text", "c.txt": "text", "d.txt": "text", "e": "other", "f.bin": "other",
        "g.pdf": "pdf", "h.json": "json", "i.txt": "text",
    }  # fmt: skip
    rows = {row["name"]: row for row in found.iter_rows(named=True)}
    assert [rows[name]["text"] for name in ("a.md", "b.TXT", "c.txt", "e", "i.txt")] == [
        "# Tee für Zoë", "with a mark", "sixteen", "no ending", "",
    ]  # fmt: skip
    assert rows["a.md"]["modified"] == datetime.fromtimestamp(1_700_000_000, UTC)
    assert rows["a.md"]["size"] == len("# Tee für Zoë".encode())
    assert (rows["f.bin"]["text"], rows["f.bin"]["bytes"], rows["f.bin"]["error"]) == (None, NO_BYTES, None)
    assert rows["g.pdf"]["bytes"].startswith(b"%PDF")
    assert rows["d.txt"]["error"] == "not utf-8: byte 0 cannot be read (encoding=)"
    assert rows["d.txt"]["bytes"] == NO_BYTES
    assert found.filter(pl.col("error").is_null() & pl.col("text").is_null() & pl.col("bytes").is_null()).is_empty()


def test_the_text_of_a_pdf(folder: Path) -> None:
    files = ig.read_documents(folder, pattern="**/*.pdf")
    assert files.select(ig.text.pdf.text("bytes")).collect().item() == "Hello"


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.md", ["a.md"]),
        ("**/*.json", ["h.json"]),
        ("*.txt", ["c.txt", "d.txt"]),
        ("nothing*", []),
        (".*.txt", [".hidden.txt"]),
    ],
)
def test_patterns(folder: Path, pattern: str, names: list[str]) -> None:
    assert ig.read_documents(folder, pattern=pattern).collect()["name"].to_list() == names


def test_a_single_file_and_a_url(folder: Path) -> None:
    assert ig.read_documents(folder / "a.md").collect()["text"].to_list() == ["# Tee für Zoë"]
    assert ig.read_documents(f"file://{folder}", pattern="*.md").collect()["text"].to_list() == ["# Tee für Zoë"]
    memory = UPath("memory://documents-test")
    memory.mkdir(parents=True, exist_ok=True)
    (memory / "x.md").write_text("in memory")
    for reached in ("memory://documents-test", memory):
        assert ig.read_documents(reached).collect()["text"].to_list() == ["in memory"]


def test_paths_as_people_write_them(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    spaced = tmp_path / "my notes 100%"
    spaced.mkdir()
    (spaced / "a.md").write_text("noted")
    for written in ("~/my notes 100%", Path("~/my notes 100%"), (tmp_path / "my notes 100%").as_uri()):
        assert ig.read_documents(written).collect()["text"].to_list() == ["noted"]
    with pytest.raises(PlanError, match=f"there is no folder or file '{tmp_path}/nothing'"):
        ig.read_documents("~/nothing")
    with pytest.raises(PlanError, match="'~nobody-of-that-name/x' cannot be reached: "):
        ig.read_documents("~nobody-of-that-name/x")


def test_when_files_of_archives_and_in_memory_were_changed(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(ZipInfo("tea.md", (2026, 5, 4, 3, 2, 2)), "# Tea")
        archive.writestr(ZipInfo("no.md", (2026, 0, 4, 3, 2, 2)), "# No")
    in_archive = ig.read_documents(f"zip://::{tmp_path}/a.zip").collect()
    assert in_archive["modified"].to_list() == [None, datetime(2026, 5, 4, 3, 2, 2, tzinfo=UTC)]
    kept = UPath("memory://documents-modified")
    kept.mkdir(parents=True, exist_ok=True)
    before = datetime.now(UTC)
    (kept / "x.md").write_text("in memory")
    [changed] = ig.read_documents(kept).collect()["modified"]
    assert before <= changed <= datetime.now(UTC)


def test_another_encoding(folder: Path) -> None:
    found = ig.read_documents(folder / "d.txt", encoding="latin-1").collect()
    assert (found["text"][0], found["error"][0]) == (NO_BYTES.decode("latin-1"), None)


def test_what_nobody_wants_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = Path.read_bytes

    def counted(path: Path) -> bytes:
        read.append(path.name)
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", counted)
    frame = ig.read_documents(folder)
    assert frame.select("name", "size", "kind").collect().height == 9
    assert frame.filter(pl.col("kind") == "pdf").select("name").collect()["name"].to_list() == ["g.pdf"]
    assert read == []
    assert frame.head(2).collect().height == 2
    assert read == ["a.md", "b.TXT"]


def test_unreadable_and_large_files_say_why(folder: Path) -> None:
    (folder / "gone.txt").symlink_to(folder / "nowhere")
    large = ig.read_documents(folder, pattern="a.md", max_bytes=3).collect()
    assert large["text"].to_list() == [None]
    assert large["error"][0].startswith("too large: 15 bytes, at most 3 are read")
    gone = ig.read_documents(folder, pattern="gone*").collect()
    assert gone.select("name", "error", "size").rows() == [
        ("gone.txt", "cannot be read: No such file or directory", None)
    ]


def test_a_file_that_goes_away_while_it_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.read_bytes

    def vanishing(path: Path) -> bytes:
        if path.name == "b.TXT":
            path.unlink()
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", vanishing)
    found = ig.read_documents(folder, pattern="*.*").collect()
    assert dict(found.select("name", "error").iter_rows())["b.TXT"] == "cannot be read: No such file or directory"
    assert "a.md" in found["name"].to_list()


def test_many_files_come_in_batches(tmp_path: Path) -> None:
    for number in range(600):
        (tmp_path / f"{number:03}.txt").write_text(str(number))
    frame = ig.read_documents(tmp_path)
    assert frame.collect(engine="streaming")["text"].to_list() == [str(number) for number in range(600)]
    assert frame.filter(pl.col("text") == "599").collect()["name"].to_list() == ["599.txt"]


def test_documents_feed_a_semantic_frame(folder: Path) -> None:
    from infergraph.models.scripted import script

    with (
        script("desk", lambda request: "short"),
        ig.Session(models={"m": ig.Model("scripted:desk")}, default_model="m", store="sqlite://") as session,
    ):
        files = session.frame(ig.read_documents(folder, pattern="*.md"), name="files", key="path")
        made = files.semantic.map("Shorten {{ text }}", into="short").collect()
    assert made["short"].to_list() == ["short"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"path_or_url": "/no/such/folder"}, "there is no folder or file"),
        ({"pattern": ""}, "write for example"),
        ({"pattern": "/abs"}, "write for example"),
        ({"max_bytes": 0}, "max_bytes=0"),
        ({"encoding": "utf-9"}, "no text is written in one of that name"),
        ({"encoding": "rot13"}, "encoding='rot13': no text"),
        ({"encoding": None}, "encoding=None: no text"),
        ({"encoding": "a\0"}, "no text is written"),
        ({"pattern": "."}, "names no file"),
        ({"path_or_url": ""}, "a folder, a file or a URL"),
        ({"path_or_url": ["a", "b"]}, "a folder, a file or a URL"),
        ({"storage_options": ["anon"]}, "write a dict"),
        ({"path_or_url": "nosuch://x"}, "cannot be reached"),
    ],
)
def test_what_cannot_be_is_said_at_once(tmp_path: Path, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(PlanError, match=says):
        ig.read_documents(**{"path_or_url": tmp_path, **arguments})


def test_a_pipe_and_a_name_that_is_no_utf_8_are_no_end_of_the_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/n\xff.txt")).write_text("tea")
    rows = ig.read_documents(tmp_path).select("name", "text", "error").collect().rows()
    assert rows == [
        ("n\\xff.txt", "tea", None),
        ("pipe.txt", None, "cannot be read: a pipe, socket or device, no file"),
    ]


def test_utf_32_is_not_taken_for_utf_16(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("tea".encode("utf-32"))
    assert ig.read_documents(tmp_path).select("text").collect().item() == "tea"


def test_stars_within_a_name_are_refused_when_the_plan_is_built(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="stands alone"):
        ig.read_documents(tmp_path, pattern="**.md")


def test_what_an_encoding_writes_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "half.txt").write_bytes(b"tea +2D0- time")
    row = ig.read_documents(tmp_path, encoding="utf-7").select("text", "bytes", "error").collect().row(0)
    assert row == (None, b"tea +2D0- time", "not utf-7 (encoding=)")


def test_a_folder_that_may_not_be_listed_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("deny", "open", ".hidden"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.md").write_text("tea")
    real = os.scandir

    # Root may list everything, and tests may run as root.
    def denied(path: Any = ".") -> Any:
        if Path(path).name in ("deny", ".hidden"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", denied)
    found = ig.read_documents(tmp_path, pattern="**/*.md").select("name", "text", "error")
    reason = "cannot be listed: a folder without permission"
    assert found.collect().rows() == [("deny", None, reason), ("a.md", "tea", None)]
    assert ig.read_documents(tmp_path, pattern="open/*.md").select("name").collect()["name"].to_list() == ["a.md"]
    url = ig.read_documents(f"file://{tmp_path}", pattern="**/*.md").select("path", "error").collect()
    assert url.row(0) == (f"file://{tmp_path}/deny", reason)
    assert ig.read_documents(tmp_path / "deny").select("error").collect().item() == reason


def test_a_folder_that_goes_away_while_it_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("goes", "stays"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.md").write_text("tea")
    real = os.scandir

    def vanishing(path: Any = ".") -> Any:
        if str(path) == str(tmp_path / "goes"):
            (tmp_path / "goes").rename(tmp_path / "gone")
        return real(path)

    monkeypatch.setattr(os, "scandir", vanishing)
    found = ig.read_documents(tmp_path, pattern="**/*.md").select("path").collect()["path"].to_list()
    assert found == [str(tmp_path / "gone" / "a.md"), str(tmp_path / "stays" / "a.md")]


def test_a_pipe_alone_is_a_row(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    found = ig.read_documents(tmp_path / "pipe.txt").select("name", "error").collect()
    assert found.rows() == [("pipe.txt", "cannot be read: a pipe, socket or device, no file")]


class _Website(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None: ...


def test_a_website_is_one_file(folder: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Website, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert ig.read_documents(f"{url}/a.md").select("name", "text").collect().row(0) == ("a.md", "# Tee für Zoë")
        with pytest.raises(PlanError, match="websites do not list their files"):
            ig.read_documents(f"{url}/", pattern="*.md")
        with pytest.raises(PlanError, match="or it cannot be reached"):
            ig.read_documents(f"{url}/none.md")
        server.shutdown()
