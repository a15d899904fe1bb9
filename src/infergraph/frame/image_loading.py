"""Rows' images: from bytes, paths and addresses to what goes into a request.

Reading is the executor's business, not the operator's: some rows at a time, in threads, each source once among
neighbours, in pieces of a bounded number of bytes. A row with an image that cannot be sent is no request: it has no
bytes to hash, so nothing is remembered of it and the next run looks again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import polars as pl

from infergraph.frame.image_reading import SECONDS, Late, is_distant, read_image, shown_source, without_source
from infergraph.models.image import Image, UnusableImage
from infergraph.models.model import RejectReason
from infergraph.models.vision import Vision
from infergraph.operators.images import TEXT, Content, ImageColumns, Pictured
from infergraph.text.unrenderable import problem_in, without_problem

PIECE_BYTES = 32 * 1024 * 1024
"""Images that are read before the rows that have them are asked."""
_AT_ONCE = 8
_LOOK_S = 0.25


@dataclass(frozen=True, slots=True)
class Unusable:
    """The content of a row that cannot be sent, as an image or the template fails: a reject, and nobody is asked."""

    text: str
    message: str
    reason: RejectReason = "bad_request"
    without_row: str = ""
    """The message without the path or address, which are the row's; empty: it has none."""


@dataclass(frozen=True, slots=True)
class Distant:
    """The content of a row of whose images one was not fetched, as it is only an estimate."""

    text: str
    sources: tuple[str | bytes, ...]


Loaded = Content | Unusable | Distant | None
"""What becomes of a row's content; ``None``: the row needs no call."""
Source = str | bytes


def usable(text: str) -> str | Unusable:
    """The text of a row's content, unless the row's template failed for it."""
    problem = problem_in(text)
    return text if problem is None else Unusable(without_problem(text), problem)


def usable_texts(texts: Iterable[str | None]) -> list[Loaded]:
    """The same for each of them."""
    return [None if text is None else usable(text) for text in texts]


@dataclass(frozen=True)
class Piece:
    """Some rows with what was loaded of them."""

    rows: pl.DataFrame
    contents: list[Loaded]
    bytes: int
    """Of their images."""
    whole: bool
    """It ends where the rows end, and not because its images are many bytes."""


class ImageLoader:
    """Loads the images of one operator's rows; use it as a context manager.

    Args:
        columns: The operator's image columns.
        vision: Which images the model takes.
        root: Where relative paths start.
        fetch: Whether the network may be asked for them.
        keep: Whether images keep their bytes; ``False``: only what hashes and estimates need.
        stopped: Whether the run is over and nobody needs them.
    """

    def __init__(
        self,
        columns: ImageColumns,
        vision: Vision,
        root: Path,
        *,
        fetch: bool = True,
        keep: bool = True,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._columns = columns
        self._vision = vision
        self._root = root
        self._fetch = fetch
        self._keep = keep
        self._stopped = stopped
        self._threads: ThreadPoolExecutor | None = None

    def pieces(self, rows: pl.DataFrame, content: str) -> Iterator[Piece]:
        """The rows in pieces of a bounded number of bytes, without the column ``content``, which was read."""
        start, held, known = 0, list[Loaded](), dict[Source, Image | UnusableImage]()
        for place in range(0, rows.height, _AT_ONCE):
            held += self.contents(rows[content].slice(place, _AT_ONCE).to_list(), known)
            size = sum(one.size for one in known.values() if isinstance(one, Image))
            whole = place + _AT_ONCE >= rows.height
            if whole or size >= PIECE_BYTES:
                yield Piece(rows.slice(start, len(held)).drop(content), held, size, whole)
                start, held, known = start + len(held), [], {}

    def all_contents(self, values: pl.Series) -> Iterator[Loaded]:
        """What becomes of each of these contents, a few at a time."""
        for place in range(0, len(values), _AT_ONCE):
            yield from self.contents(values.slice(place, _AT_ONCE).to_list())

    def contents(
        self, values: Sequence[dict[str, Any] | None], known: dict[Source, Image | UnusableImage] | None = None
    ) -> list[Loaded]:
        """What becomes of each of these contents, in order.

        Args:
            values: As ``ImageColumns.with_text`` makes them.
            known: Images that were read before, to which those read now are added.
        """
        known = {} if known is None else known
        rows = [None if value is None else self._sources(value) for value in values]
        self._load(rows, known)
        return [
            None if value is None or sources is None else self._content(value[TEXT], sources, known)
            for value, sources in zip(values, rows, strict=True)
        ]

    def _sources(self, value: dict[str, Any]) -> list[Source | None]:
        return [value[f"image_{place}"] for place in range(len(self._columns.names))]

    def _load(self, rows: Sequence[list[Source | None] | None], known: dict[Source, Image | UnusableImage]) -> None:
        wanted = dict.fromkeys(source for row in rows for source in row or () if source is not None)
        new = [source for source in wanted if source not in known and not self._left_out(source)]
        read = [source for source in new if isinstance(source, str)]
        if len(read) < 2 and not any(map(is_distant, read)):
            known.update((source, self._loaded(source)) for source in new)
            return
        self._threads = self._threads or ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="infergraph-images")
        futures = [self._threads.submit(self._loaded, source) for source in new]
        known.update((source, self._waited(future)) for source, future in zip(new, futures, strict=True))

    def _waited(self, future: Future[Image | UnusableImage]) -> Image | UnusableImage:
        """What was loaded; a server that goes on forever, or a run that is over, is not waited for."""
        until = time.monotonic() + 2 * SECONDS
        while True:
            try:
                return future.result(timeout=_LOOK_S)
            except NotYet:
                if future.done():
                    raise
                if self._stopped() or time.monotonic() > until:
                    return Late("the server gave no answer in time")

    def _left_out(self, source: Source) -> bool:
        return not self._fetch and isinstance(source, str) and is_distant(source)

    def _loaded(self, source: Source) -> Image | UnusableImage:
        try:
            most = self._vision.most_bytes
            data = source if isinstance(source, bytes) else read_image(source, self._root, most, self._stopped)
            image = Image.of(data)
        except UnusableImage as problem:
            return problem
        problem_of = self._vision.problem([image])
        if problem_of is not None:
            return UnusableImage(problem_of)
        return image if self._keep else replace(image, data=None)

    def _content(self, given: str, sources: list[Source | None], known: dict[Source, Image | UnusableImage]) -> Loaded:
        text = usable(given)
        if isinstance(text, Unusable):
            return text
        images: list[Image] = []
        for name, source in zip(self._columns.names, sources, strict=True):
            if source is None:
                continue
            if self._left_out(source):
                return Distant(text, tuple(each for each in sources if each is not None))
            found = known[source]
            if isinstance(found, UnusableImage):
                reason: RejectReason = "timeout" if isinstance(found, Late) else "bad_request"
                plain = f"The image in {name!r} cannot be sent: "
                if isinstance(source, bytes):
                    return Unusable(text, f"{plain}{found}.", reason)
                hidden = f"{plain}{without_source(str(found), source, self._root)}."
                return Unusable(text, f"The image {shown_source(source)} cannot be sent: {found}.", reason, hidden)
            images.append(found)
        if (problem := self._vision.problem(images)) is not None:
            return Unusable(text, f"The images cannot be sent: {problem}.")
        return Pictured(text, tuple(images))

    def close(self) -> None:
        """Give back the threads; those that still wait for a server end by themselves."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
