"""Turns PDF documents into Markdown: a page's text layer, or what a model reads off its picture where it has none.

Each page that a model looks at is a question, all of a document in one round. A page is drawn when its request is sent;
its hash covers the file's bytes and the page's number, so that a document that was read is not drawn again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from typing import Any, ClassVar, Literal, get_args

import polars as pl

from infergraph.errors import PlanError
from infergraph.models.image import Image, UnusableImage
from infergraph.models.model import AnswerSchema, Message, Request, Response
from infergraph.models.verdict import Accepted, Verdict
from infergraph.operators.images import IMAGE_NOTE
from infergraph.operators.outputs import check_name
from infergraph.operators.prompt import fingerprint_of
from infergraph.operators.rounds import UNKNOWN_FILE, Question, Reply, Room, Rounds
from infergraph.operators.subject import ColumnArgument, resolved_columns, type_of_column
from infergraph.text import pdf_pages, pdf_pictures, pdf_tables
from infergraph.text.pdf_pages import Page, UnreadablePdf
from infergraph.validation.answers import judge_text

SEPARATOR = "\n\n<!-- page {page} -->\n\n"
_BLANK = "<!-- blank page -->"
TASK = f"""\
Transcribe the page of a document that the image shows as Markdown: all of its text, in the order in which one reads \
it, in the page's language.
Keep headings, lists and emphasis. Write tables as Markdown tables, formulas as LaTeX between dollar signs, and what a \
figure shows as one sentence in square brackets.
Add nothing, leave nothing out, sum nothing up, and write no code fence around the whole.
For a page on which nothing is, answer with {_BLANK}"""
HEAD = (Message("system", f"{TASK}\n{IMAGE_NOTE}"),)
_DRAWN_AS = b"grey, 150 dots an inch"
"""Goes into the digests of pages: to be changed where pages are drawn otherwise."""
_FENCED = re.compile(r"```(?:markdown|md)[ \t]*\n(.*?)\n?```", re.DOTALL | re.IGNORECASE)
Vision = Literal["auto", "always", "never"]
_USUAL_PAGE = Page(1, "", 595.0, 842.0, blank=False)


@dataclass(frozen=True, kw_only=True)
class ParsePdfOperator:
    """The Markdown of a column of PDF files."""

    kind: ClassVar[str] = "parse_pdf"
    tags: ClassVar[tuple[str, ...]] = ()
    into: str
    separator: str
    vision: Vision
    reads: tuple[str, ...]
    identity: str
    content: pl.Expr = field(repr=False, compare=False)

    @classmethod
    def build(
        cls,
        columns: pl.Schema,
        column: ColumnArgument,
        *,
        into: str = "markdown",
        separator: str = SEPARATOR,
        vision: Vision = "auto",
    ) -> ParsePdfOperator:
        """Check everything against the input's columns.

        Args:
            columns: The input's columns and types.
            column: The files' bytes: a name or an expression.
            into: The new column.
            separator: What stands between pages; ``{page}`` in it is the number of the page that follows.
            vision: Which pages a model looks at: those whose text layer does not say what is on them, all, or none.

        Raises:
            PlanError: The column or a name does not fit; the message says what to write.

        Example:
            >>> ParsePdfOperator.build(pl.Schema({"bytes": pl.Binary}), "bytes").describe()
            'bytes -> markdown'
        """
        where = f".semantic.{cls.kind}"
        check_name(into, columns, where)
        if not isinstance(separator, str):
            raise PlanError(
                f"{where}: separator={separator!r:.80}: write a text such as '\\n\\n--- {{page}} ---\\n\\n'."
            )
        if vision not in get_args(Vision):
            raise PlanError(
                f'{where}: vision={vision!r:.80}: write "auto" (a model looks at pages without text layer), "always" '
                '(at every page) or "never" (at none: a page without text layer becomes empty).'
            )
        exprs = resolved_columns(column, columns, where)
        if len(exprs) > 1:
            raise PlanError(f"{where}: a row has one document; name one column, and parse others in a step of its own.")
        [expr] = exprs
        dtype = type_of_column(expr, columns, where)
        if dtype not in (pl.Binary, pl.Null):
            raise PlanError(
                f"{where}: {expr.meta.output_name()!r} is {dtype}, not Binary: give the files' bytes. "
                'ig.read_documents("folder", pattern="**/*.pdf") reads them into the column "bytes".'
            )
        return cls(
            into=into, separator=separator, vision=vision, reads=tuple(dict.fromkeys(expr.meta.root_names())),
            identity=f"{expr} -> {dtype}", content=expr.cast(pl.Binary),
        )  # fmt: skip

    @property
    def writes(self) -> pl.Schema:
        """The column of Markdown."""
        return pl.Schema({self.into: pl.String()})

    @property
    def answer_schema(self) -> AnswerSchema | None:
        """None: a page is text."""
        return None

    def rounds(self, content: Any, room: Room) -> Rounds:
        """One round: a question for each page that is to be looked at."""
        try:
            pages = [_USUAL_PAGE] if content == UNKNOWN_FILE else pdf_pages.pages_of(content)
            seen = [page for page in pages if self._is_looked_at(page)]
            read = self._read(content, [page for page in pages if not self._is_looked_at(page)])
        except UnreadablePdf as problem:
            yield [Question(request=Request(messages=HEAD), judge=judge_page, part="document", refused=f"{problem}.")]
            return None
        if not seen:
            return self._joined(pages, read)
        digest = blake2b(content, digest_size=32).digest()
        replies: Sequence[Reply] = yield [
            Question(
                request=_request(page, len(pages), _picture(content, digest, page)),
                judge=judge_page,
                part=f"page {page.number} of {len(pages)}",
                refused=room.refuses_images and self._why(page) + room.refuses_images,
            )
            for page in seen
        ]
        if any(reply.rejected is not None for reply in replies):
            return None
        return self._joined(pages, {**read, **{page: reply.value for page, reply in zip(seen, replies, strict=True)}})

    def _is_looked_at(self, page: Page) -> bool:
        if self.vision == "auto":
            return page.to_be_looked_at
        return self.vision == "always" and not page.blank

    def _why(self, page: Page) -> str:
        if self.vision == "always":
            return 'vision="always" has a model look at every page, and '
        if page.picture:
            return (
                f"the page is a picture with a text layer of only {len(page.text.split())} words (that text alone is "
                'taken with vision="never"), and '
            )
        return "the page has no text layer, and "

    def _read(self, content: bytes, pages: Sequence[Page]) -> dict[Page, str]:
        return dict(zip(pages, pdf_tables.page_markdowns(content, pages), strict=True)) if pages else {}

    def _joined(self, pages: Sequence[Page], texts: Mapping[Page, str]) -> str:
        first, *others = (texts[page].strip() for page in pages) if pages else [""]
        return first + "".join(
            self.separator.replace("{page}", str(number)) + text for number, text in enumerate(others, 2)
        )

    def assumed(self, question: Question, tokens: int, *, most: bool) -> Any:
        """A text: no question follows from it."""
        return "x" * (4 * tokens)

    def sample(self) -> Request:
        """A page of usual size."""
        return _request(_USUAL_PAGE, 1, _picture(b"", b"", _USUAL_PAGE))

    def columns(self, values: Sequence[Any | None]) -> list[pl.Series]:
        """The column of Markdown."""
        return [pl.Series(self.into, values, dtype=pl.String)]

    def describe(self) -> str:
        """The document's column and the new one."""
        return f"{', '.join(self.reads)} -> {self.into}"

    def fingerprint(self) -> str:
        """The prompt, the column, the separator and which pages are looked at."""
        return fingerprint_of(self.kind, HEAD, None, self.identity, self.separator, self.vision)


def judge_page(response: Response) -> Verdict:
    """The page's Markdown, without a code fence around it; a page on which nothing is gives no text.

    Example:
        >>> judge_page(Response(text="```markdown\\n# Tea\\n```")), judge_page(Response(text="<!-- blank page -->"))
        (Accepted(value='# Tea'), Accepted(value=''))
    """
    verdict = judge_text(response)
    if not isinstance(verdict, Accepted):
        return verdict
    fenced = _FENCED.fullmatch(verdict.value)
    text = verdict.value if fenced is None else fenced[1].strip()
    return Accepted("" if text == _BLANK else text)


def _request(page: Page, pages: int, picture: Image) -> Request:
    return Request(messages=(*HEAD, Message("user", f"Page {page.number} of {pages}.", (picture,))))


def _picture(content: bytes, digest: bytes, page: Page) -> Image:
    width, height = pdf_pictures.pixels_of(page.width, page.height)
    own = blake2b(_DRAWN_AS + b"%d,%d,%d;" % (page.number, width, height) + digest, digest_size=16).digest()
    draw = partial(_drawn, content, page.number)
    return Image(media_type="image/png", width=width, height=height, size=0, digest=own, draw=draw)


def _drawn(content: bytes, number: int) -> bytes:
    try:
        return pdf_pictures.page_png(content, number)
    except UnreadablePdf as problem:
        raise UnusableImage(str(problem)) from problem
