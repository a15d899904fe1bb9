"""The inbox: the folder that people and other systems drop files into, and the batches made of them.

A batch is a list of files that is written down once, under ``.batches`` in the same folder, before anything
is run on it: a partition named after the batch can be materialised again next year and still knows its files.
The files stay where they were dropped; nothing here moves, changes or deletes one.
"""

from __future__ import annotations

import errno
import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

HIDDEN = (".", "~")
UNFINISHED = (".part", ".tmp", ".crdownload", ".partial")
PROJECT = Path(__file__).resolve().parents[1]
LAST_NS = 253_402_300_799 * 10**9
"""The last second of the year 9999, after which Python has no dates."""


@dataclass(frozen=True, kw_only=True)
class InboxFile:
    """One file as it was when the inbox was looked at.

    Args:
        name: File name in the inbox.
        size: Bytes.
        modified_ns: Time of the last change, nanoseconds since 1970 (UTC).
        digest: 128-bit BLAKE2b of size and content as hex; of the first ``max_bytes`` where the file is larger.
    """

    name: str
    size: int
    modified_ns: int
    digest: str

    @property
    def modified(self) -> datetime:
        """Time of the last change, UTC; a time that cannot be (before 1970, after 9999) is moved to the nearest one."""
        return datetime.fromtimestamp(min(max(self.modified_ns, 0), LAST_NS) / 1e9, UTC)


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What lies in the inbox.

    Args:
        names: Files that can be read, sorted.
        odd: Name, as it can be shown -> why it is left alone.
    """

    names: list[str]
    odd: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Files that belong together: one partition, one run.

    Args:
        files: New files, by name.
        duplicates: File name -> name of the file with the same content; listed to be reported, not read.
    """

    files: tuple[InboxFile, ...]
    duplicates: dict[str, str]

    @property
    def partition(self) -> str:
        """The partition's name: when the newest file was changed, and a hash of the files.

        The same files give the same name, so that a tick that is repeated after a crash makes no second batch.
        """
        newest = max(file.modified for file in self.files)
        names = "\n".join(f"{file.name}\0{file.digest}" for file in self.files)
        return f"{newest:%Y-%m-%dT%H%M%SZ}-{hashlib.blake2b(names.encode(), digest_size=4).hexdigest()}"


class Inbox(dg.ConfigurableResource):
    """The folder that messages are dropped into.

    Args:
        folder: A path; relative ones start at the project's folder.
        max_bytes: Files larger than this are listed and reported, not read.
        settle_s: Seconds that size and time of a file must stay the same before it counts as written.
        max_files: Files of one batch at most; the rest comes with the next one.
    """

    folder: str = ".infergraph/inbox"
    max_bytes: int = 1_000_000
    settle_s: float = 2.0
    max_files: int = 500

    @property
    def path(self) -> Path:
        """The folder as an absolute path."""
        return PROJECT / Path(self.folder).expanduser()

    def names(self) -> list[str]:
        """Names of the files that lie in the inbox, sorted; hidden, unfinished, nested and odd ones are left out."""
        return self.listing().names

    def listing(self) -> Listing:
        """What lies in the inbox, and what is left alone for its name or because it is a link to somewhere else."""
        self.path.mkdir(parents=True, exist_ok=True)
        names, odd = [], {}
        for path in sorted(self.path.iterdir()):
            if _is_ignored(path.name):
                continue
            try:
                if why := self._oddity(path):
                    odd[_shown(path.name)] = why
                elif path.is_file():
                    names.append(path.name)
            except OSError as error:
                odd[_shown(path.name)] = f"cannot be looked at ({error.strerror}), left alone"
        return Listing(names=names, odd=odd)

    def _oddity(self, path: Path) -> str | None:
        """Why a name or a link in the folder is left alone; None where nothing is odd about it."""
        if _shown(path.name) != path.name:
            return "its name is no valid text, left alone; rename it"
        if not path.is_symlink():
            return None
        try:
            target = path.resolve(strict=True)
        except (OSError, RuntimeError) as error:  # Python 3.11 and 3.12 say RuntimeError of a loop of links
            return f"a link that leads nowhere, left alone ({getattr(error, 'strerror', None) or error})"
        return None if target.parent == self.path.resolve() else "a link out of the inbox, not followed"

    def stat(self, name: str) -> tuple[int, int] | None:
        """Size in bytes and time of the last change in nanoseconds; None when the file is gone or out of reach."""
        try:
            found = (self.path / name).stat()
        except OSError:
            return None
        return found.st_size, found.st_mtime_ns

    def look(self, name: str) -> InboxFile | None:
        """A file with the digest of its content; None when it is gone or may not be read."""
        before = self.stat(name)
        try:
            content = self.read(name)
        except OSError:
            return None
        if before is None:
            return None
        return InboxFile(name=name, size=before[0], modified_ns=before[1], digest=self.digest(before[0], content))

    def read(self, name: str) -> bytes:
        """The content, one byte more than ``max_bytes`` at most.

        Raises:
            OSError: The file is gone, may not be read, or has become a link to somewhere else.
        """
        if (why := self._oddity(self.path / name)) and (self.path / name).is_symlink():
            raise OSError(errno.ELOOP, why)
        with (self.path / name).open("rb") as file:
            return file.read(self.max_bytes + 1)

    def renamed(self, file: InboxFile) -> str | None:
        """The name under which the same content lies in the inbox now; None when it is gone."""
        same_size = (name for name in self.names() if (found := self.stat(name)) and found[0] == file.size)
        return next((name for name in same_size if (now := self.look(name)) and now.digest == file.digest), None)

    def digest(self, size: int, content: bytes) -> str:
        """What identifies a content, whatever its file is called."""
        hashed = hashlib.blake2b(f"{size}:".encode(), digest_size=16)
        hashed.update(content[: self.max_bytes])
        return hashed.hexdigest()

    def save(self, batch: Batch) -> str:
        """Write a batch down for good, all or nothing; returns its partition."""
        target = self._manifest(batch.partition)
        target.parent.mkdir(parents=True, exist_ok=True)
        written = target.with_suffix(".tmp")
        written.write_text(json.dumps(asdict(batch), indent=1, ensure_ascii=False), encoding="utf-8")
        written.replace(target)
        return batch.partition

    def batch(self, partition: str) -> Batch:
        """The batch of a partition.

        Raises:
            dagster.Failure: There is no such batch; the message says where it was looked for.
        """
        manifest = self._manifest(partition)
        try:
            saved = json.loads(manifest.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise dg.Failure(
                f"No batch {partition!r} was made of this inbox: there is no {manifest}. Drop files into {self.path} "
                "and let the sensor 'inbox_files' make one; a partition added by hand has no files.",
                allow_retries=False,
            ) from None
        return Batch(files=tuple(InboxFile(**file) for file in saved["files"]), duplicates=saved["duplicates"])

    def remember_missed(self, digest: str, *, missed: bool) -> None:
        """Note whether the batch of a content could read it; what was missed may be dropped again."""
        mark = self._missed(digest)
        if missed:
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
        else:
            mark.unlink(missing_ok=True)

    def was_missed(self, digest: str) -> bool:
        """Whether the last batch with this content was read after the content was gone."""
        return self._missed(digest).exists()

    def _missed(self, digest: str) -> Path:
        return self.path / ".batches" / "missed" / digest

    def _manifest(self, partition: str) -> Path:
        return self.path / ".batches" / f"{Path(partition).name}.json"


def _is_ignored(name: str) -> bool:
    return name.startswith(HIDDEN) or name.lower().endswith(UNFINISHED)


def _shown(name: str) -> str:
    """A file name as text that can be stored and shown: bytes that are no UTF-8 are escaped."""
    return name.encode("utf-8", "backslashreplace").decode()
