"""Long texts in pieces that fit a model: each chunk with its place in the source, none of the source left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal, get_args

import polars as pl

from infergraph.errors import PlanError
from infergraph.text import spans
from infergraph.text.encodings import count_tokens, encoding_and_limit
from infergraph.text.headings import heading_paths
from infergraph.text.row_wise import Column, column_of, of_each_text
from infergraph.text.spans import Span
from infergraph.text.tokens import check_model

Unit = Literal["characters", "words", "tokens"]
MODEL = "o200k_base"

CHUNK = pl.Struct({"index": pl.Int64(), "text": pl.String(), "start": pl.Int64(), "end": pl.Int64()})
"""One chunk: its number from 0, and the source's characters from ``start`` (included) to ``end`` (not included)."""
CHUNK_WITH_HEADINGS = pl.Struct([*CHUNK.fields, pl.Field("headings", pl.List(pl.String()))])


def characters(column: Column, size: int, *, overlap: int = 0) -> pl.Expr:
    """Chunks of so many characters, cut anywhere.

    Args:
        column: A String column.
        size: Characters of a chunk, 1 or more.
        overlap: Characters that a chunk repeats of the one before it, 0 or more and less than ``size``.

    Returns:
        A row-wise expression: a list of structs ``index``, ``text``, ``start``, ``end`` (``CHUNK``), in order; ``text``
        is the source from ``start`` to ``end``, as ``pl.col(column).str.slice(start, end - start)`` gives it. Empty for
        an empty text, null for null.

    Raises:
        PlanError: A size or an overlap that cannot be.

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"doc": ["abcdefg"]})
        >>> frame.select(ig.text.chunks.characters("doc", 4, overlap=1)).to_series()[0].struct.unnest().rows()
        [(0, 'abcd', 0, 4), (1, 'defg', 3, 7)]
    """
    where = _checked("characters", size, overlap)

    def cut(text: str) -> Iterable[Span]:
        last = max(len(text) - overlap, 1) if text else 0
        return ((start, min(start + size, len(text))) for start in range(0, last, size - overlap))

    return _chunks(column, cut, where)


def words(column: Column, size: int, *, overlap: int = 0) -> pl.Expr:
    """Chunks of so many words, with the white space behind them.

    Args:
        column: A String column.
        size: Words of a chunk, 1 or more; a word is what stands between white space.
        overlap: Words that a chunk repeats of the one before it, 0 or more and less than ``size``.

    Returns:
        As ``characters``.

    Raises:
        PlanError: A size or an overlap that cannot be.

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"doc": ["one two  three"]})
        >>> frame.select(ig.text.chunks.words("doc", 2)).to_series()[0].struct.field("text").to_list()
        ['one two  ', 'three']
    """
    where = _checked("words", size, overlap)
    return _chunks(column, lambda text: spans.chunks_of_words(text, size, overlap), where)


def tokens(column: Column, size: int, *, overlap: int = 0, model: str = MODEL) -> pl.Expr:
    """Chunks of so many tokens, cut between words where that is possible.

    Args:
        column: A String column.
        size: Most tokens of a chunk, 1 or more; only a single character of more tokens is longer.
        overlap: Most tokens that a chunk repeats of the one before it, 0 or more and less than ``size``.
        model: A model id, or an encoding (``o200k_base``, ``cl100k_base``); see ``ig.text.tokens`` for exactness.

    Returns:
        As ``characters``.

    Raises:
        PlanError: A size, an overlap or a model that cannot be.

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"doc": ["Grüße aus Köln. Bis bald!"]})
        >>> frame.select(ig.text.chunks.tokens("doc", 6)).to_series()[0].struct.field("text").to_list()
        ['Grüße aus Köln.', ' Bis bald!']
    """
    where = _checked("tokens", size, overlap, "tokens", model)
    encoding, most, repeated = _in_encoding(size, overlap, model)
    return _chunks(column, lambda text: spans.chunks_of_tokens(text, encoding, most, repeated), where)


def recursive(column: Column, size: int, *, overlap: int = 0, unit: Unit = "characters", model: str = MODEL) -> pl.Expr:
    """Chunks cut where the text has its strongest breaks: empty lines, then lines, sentences, words, letters.

    Args:
        column: A String column.
        size: Most characters, words or tokens of a chunk, 1 or more.
        overlap: Most of them that a chunk repeats of the one before it, 0 or more and less than ``size``.
        unit: What sizes are measured in.
        model: For tokens, as in ``tokens``.

    Returns:
        As ``characters``.

    Raises:
        PlanError: A size, an overlap or a unit that cannot be, or a model where nothing is counted in tokens.

    The breaks are those of the library semantic-text-splitter (Unicode sentence, word and grapheme boundaries).

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"doc": ["A first part.\\n\\nA second one. It is longer."]})
        >>> frame.select(ig.text.chunks.recursive("doc", 30)).to_series()[0].struct.field("text").to_list()
        ['A first part.\\n\\n', 'A second one. It is longer.']
    """
    where = _checked("recursive", size, overlap, unit, model)
    return _chunks(column, partial(_split, kind="TextSplitter", measure=_measure(size, overlap, unit, model)), where)


def markdown(
    column: Column,
    size: int,
    *,
    overlap: int = 0,
    unit: Unit = "characters",
    model: str = MODEL,
    keep: Literal["headings"] | None = "headings",
) -> pl.Expr:
    """Chunks cut where a Markdown document has its strongest breaks: headings, then blocks, items, sentences, words.

    Args:
        column: A String column of Markdown.
        size: Most characters, words or tokens of a chunk, 1 or more.
        overlap: Most of them that a chunk repeats of the one before it, 0 or more and less than ``size``.
        unit: What sizes are measured in.
        model: For tokens, as in ``tokens``.
        keep: ``"headings"``: each chunk has the titles of the sections that it begins in, outermost first; ``None``:
            it has not.

    Returns:
        As ``characters``, with a list ``headings`` in each struct where ``keep`` asks for it (``CHUNK_WITH_HEADINGS``).
        The headings are not part of ``text`` nor of the size.

    Raises:
        PlanError: A size, an overlap, a unit or ``keep`` that cannot be, or a model where nothing is counted in tokens.

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"doc": ["# Tea\\n\\n## Green\\n\\nSteam it.\\n\\n## Black\\n\\nDry it.\\n"]})
        >>> for chunk in frame.select(ig.text.chunks.markdown("doc", 24)).to_series()[0].to_list():
        ...     print(chunk["headings"], repr(chunk["text"]))
        ['Tea'] '# Tea\\n\\n'
        ['Tea', 'Green'] '## Green\\n\\nSteam it.\\n\\n'
        ['Tea', 'Black'] '## Black\\n\\nDry it.\\n'
    """
    where = _checked("markdown", size, overlap, unit, model)
    if keep not in ("headings", None):
        raise PlanError(f"{where}: keep={keep!r}: write 'headings' or None.")
    cut = partial(_split, kind="MarkdownSplitter", measure=_measure(size, overlap, unit, model))
    return _chunks(column, cut, where) if keep is None else _chunks(column, cut, where, heading_paths)


def window(column: Column, *, before: int = 1, after: int = 1) -> pl.Expr:
    """Each chunk with the text around it, so that a model sees what it goes on from.

    Args:
        column: A column of chunks, as the other functions of this module give them.
        before: Chunks in front whose text is added, 0 or more.
        after: Chunks behind whose text is added, 0 or more.

    Returns:
        A row-wise expression: the chunks with all their fields (``headings`` too) and, behind them, ``before`` and
        ``after``; ``before + text + after`` is one piece of the source, overlaps once.

    Raises:
        PlanError: A number that cannot be; in a frame of a session, a column that holds no chunks (in a frame of
            Polars alone, Polars says so in its own words).

    Example:
        >>> import infergraph as ig
        >>> frame = pl.DataFrame({"doc": ["abcdefg"]}).select(chunks=ig.text.chunks.characters("doc", 3, overlap=1))
        >>> around = frame.select(ig.text.chunks.window("chunks")).to_series()[0].struct
        >>> list(zip(around.field("before"), around.field("text"), around.field("after")))
        [('', 'abc', 'de'), ('ab', 'cde', 'fg'), ('cd', 'efg', '')]
    """
    where = "ig.text.chunks.window"
    for name, value in (("before", before), ("after", after)):
        if type(value) is not int or value < 0:
            raise PlanError(f"{where}: {name}={value!r}: give a number of chunks, 0 or more.")
    chunks = column_of(column, where)
    # Only Polars' own expressions give a type that follows from the column's. The check is asked about the type alone:
    # with the column in it, Polars would cut the chunks twice.
    check = partial(_check_chunks, name=chunks.meta.output_name(raise_if_undetermined=False), where=where)
    is_list = pl.dtype_of(chunks).display().map_batches(check, return_dtype=pl.Boolean, is_elementwise=True)
    return pl.when(is_list).then(chunks.list.eval(_with_neighbours(before, after)))


def _check_chunks(types: pl.Series, *, name: str | None, where: str) -> pl.Series:
    """That the type is one of lists of structs; a plan tries it on no rows, and so says in our words what is not."""
    for dtype in types:
        if not dtype.startswith("list[struct["):
            raise PlanError(
                f"{where}: the column {name!r} is {dtype}, not a list of chunks. Write for example "
                f"ig.text.chunks.recursive({name!r}, 2_000) first."
            )
    return pl.Series(types.name, [True] * len(types))


def _with_neighbours(before: int, after: int) -> pl.Expr:
    """One list's chunks, each with what stands before and behind it.

    All chunks without what the next (the last) one repeats are joined once, and cut where the neighbours begin and end;
    in bytes, since a place in characters has to be counted from the text's beginning.
    """
    text, start, end = (pl.element().struct.field(name) for name in ("text", "start", "end"))
    up_to_next = text.str.slice(0, start.shift(-1) - start)
    from_last = text.str.slice((end.shift(1) - start).clip(0))
    first = up_to_next.fill_null(text)
    last = from_last.fill_null(text)
    own_start = _sizes(first).cum_sum() - _sizes(first)
    own_end = _sizes(last).cum_sum()
    front = own_start.shift(min(before, _MOST_CHUNKS)).fill_null(0)
    back = own_end.shift(-min(after, _MOST_CHUNKS)).fill_null(_sizes(last).sum())
    return pl.element().struct.with_fields(
        before=_between_places(first, front, own_start), after=_between_places(last, own_end, back)
    )


_MOST_CHUNKS = 2**32
"""No list has more, and Polars takes numbers of 64 bits."""


def _sizes(texts: pl.Expr) -> pl.Expr:
    return texts.str.len_bytes().cast(pl.Int64)


def _between_places(texts: pl.Expr, start: pl.Expr, end: pl.Expr) -> pl.Expr:
    return texts.str.join("").cast(pl.Binary).bin.slice(start, end - start).cast(pl.String)


def _checked(function: str, size: int, overlap: int, unit: str = "characters", model: str = MODEL) -> str:
    where = f"ig.text.chunks.{function}"
    if type(size) is not int or size < 1:
        raise PlanError(f"{where}: size={size!r}: give a number, 1 or more.")
    if type(overlap) is not int or not 0 <= overlap < size:
        raise PlanError(f"{where}: overlap={overlap!r}: give a number from 0 to less than size={size}.")
    if unit not in get_args(Unit):
        raise PlanError(f"{where}: unit={unit!r}: write 'characters', 'words' or 'tokens'.")
    if unit == "tokens":
        check_model(model, where, callers=3)
    elif model != MODEL:
        raise PlanError(f"{where}: model={model!r} counts nothing where unit={unit!r}; write unit='tokens'.")
    return where


def _chunks(
    column: Column,
    cut: Callable[[str], Iterable[Span]],
    where: str,
    headings: Callable[[str, list[int]], list[list[str]]] | None = None,
) -> pl.Expr:
    def chunks(text: str) -> list[dict[str, Any]]:
        found = list(cut(text))
        made: list[dict[str, Any]] = [
            {"index": number, "text": text[start:end], "start": start, "end": end}
            for number, (start, end) in enumerate(found)
        ]
        if headings is not None:
            for chunk, path in zip(made, headings(text, [start for start, _ in found]), strict=True):
                chunk["headings"] = path
        return made

    return of_each_text(column, chunks, pl.List(CHUNK if headings is None else CHUNK_WITH_HEADINGS), where=where)


Measure = tuple[int, int, Callable[[str], int] | None]
_WINDOW = 65_536
"""Characters that are looked at together: of texts without breaks the work grows with the square of that."""
_CHUNKS_A_WINDOW, _CHARACTERS_A_UNIT = 4, 8
_LONGEST_TEXT = 2**53
"""No text has as many characters, and the splitter takes numbers of 64 bits."""


def _measure(size: int, overlap: int, unit: Unit, model: str) -> Measure:
    size, overlap = min(size, _LONGEST_TEXT), min(overlap, _LONGEST_TEXT - 1)
    if unit == "characters":
        return size, overlap, None
    if unit == "words":
        return size, overlap, lambda text: len(text.split())
    encoding, most, repeated = _in_encoding(size, overlap, model)
    return most, repeated, lambda text: count_tokens(encoding, text)[0]


def _in_encoding(size: int, overlap: int, model: str) -> tuple[str, int, int]:
    # The splitter takes for granted that a text has no more tokens than bytes, which estimates may have.
    encoding, most = encoding_and_limit(model, size)
    return encoding, most, min(encoding_and_limit(model, overlap)[1], most - 1)


def _split(text: str, *, kind: Literal["TextSplitter", "MarkdownSplitter"], measure: Measure) -> list[Span]:
    import semantic_text_splitter

    size, overlap, count = measure
    splitter = getattr(semantic_text_splitter, kind)
    made = (
        splitter(size, overlap, trim=False)
        if count is None
        else splitter.from_callback(count, size, overlap, trim=False)
    )
    longest = max(_WINDOW, _CHUNKS_A_WINDOW * size * (1 if count is None else _CHARACTERS_A_UNIT))
    spans: list[Span] = []
    begin = 0
    while True:
        found = [
            (begin + at, begin + at + len(chunk)) for at, chunk in made.chunk_indices(text[begin : begin + longest])
        ]
        if begin + longest >= len(text):
            return spans + found
        # The last chunk of a window may go on behind it: the next window begins with it.
        goes_on = found.pop() if len(found) > 1 else None
        spans += found
        begin = spans[-1][1] if goes_on is None else goes_on[0]
