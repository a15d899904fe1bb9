"""PDF files become Markdown: text layers as they are, other pages by a model that sees, and nothing lost on the way."""

from __future__ import annotations

import base64
import ctypes
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import pypdfium2
import pytest
from pypdfium2 import raw

import infergraph as ig
from infergraph.errors import PlanError, UnknownColumn
from infergraph.frame.again import rendered_again
from infergraph.frame.execution import bounded
from infergraph.frame.image_loading import PIECE_BYTES
from infergraph.models.image import Image
from infergraph.models.model import CallFailed, Request, Response
from infergraph.models.scripted import script
from infergraph.models.verdict import Accepted, Repair
from infergraph.operators.parse_pdf import judge_page
from infergraph.operators.rounds import UNKNOWN_FILE
from infergraph.testing import SimulatedServer
from infergraph.testing.pdf_files import pdf_file
from infergraph.text import pdf_pictures
from infergraph.text.pdf_pages import UnreadablePdf

SCAN = None
MIXED = pdf_file(["First page", SCAN, "", "Fourth\npage", SCAN])
TEXT = pdf_file(["Only text", "", "and more"])
SCANNED = pdf_file([SCAN])
ENCRYPTED = pdf_file(["secret"], encrypted=True)
FILES = [TEXT, MIXED, None, SCANNED, ENCRYPTED, b"no PDF", b"", MIXED]
MIXED_PAGES = [
    "First page",
    "<!-- page 2 -->\n\n# Page 2 of 5",
    "<!-- page 3 -->\n\n",
    "<!-- page 4 -->\n\nFourth\npage",
    "<!-- page 5 -->\n\n# Page 5 of 5",
]
READ = [
    "Only text\n\n<!-- page 2 -->\n\n\n\n<!-- page 3 -->\n\nand more",
    "\n\n".join(MIXED_PAGES),
    None,
    "# Page 1 of 1",
    None,
    None,
    None,
    "\n\n".join(MIXED_PAGES),
]


def files(session: ig.Session, content: list[bytes | None] = FILES) -> ig.SemanticFrame:
    data = pl.DataFrame({"id": range(len(content)), "file": content}, schema={"id": pl.Int64, "file": pl.Binary})
    return session.frame(data, name="files", key="id")


def transcribed(request: Request) -> str:
    """A heading that says which page it is; a picture came with it."""
    [image] = request.images
    assert image.data is not None
    assert Image.of(image.data).media_type == "image/png"
    return f"# {request.messages[-1].content.rstrip('.')}"


def adds_up(usage: ig.Usage) -> bool:
    parts = (usage.calls, usage.store_hits, usage.shared, usage.rejected_before, usage.nulls, usage.pending)
    return usage.rows == sum(parts)


def test_pages_without_text_are_asked_and_stand_in_their_place(session: ig.Session) -> None:
    frame = files(session).semantic.parse_pdf("file")
    expected = frame.estimate()
    with script("fast", transcribed) as asked:
        result = frame.run()
        assert result.frame["markdown"].to_list() == READ
        assert result.frame.schema == {"id": pl.Int64, "file": pl.Binary, "markdown": pl.String}
        # The pages of both copies of a file are asked once.
        assert len(asked.requests) == result.usage.calls == 3
        assert (result.usage.shared, result.usage.nulls, result.usage.rejected_before) == (2, 2, 3)
        assert adds_up(result.usage)
        again = frame.run()
        assert len(asked.requests) == 3
    assert (expected.calls_low, expected.calls, expected.calls_high) == (3, 3, 3)
    assert any("image" in one for one in expected.assumptions)
    assert frame.estimate().calls == 0
    assert again.frame.equals(result.frame)
    assert (again.usage.calls, again.usage.store_hits) == (0, 5)
    assert adds_up(again.usage)


def test_files_that_cannot_be_read_are_rejects_with_a_reason(session: ig.Session) -> None:
    frame = files(session).semantic.parse_pdf("file", name="read")
    with script("fast", transcribed):
        result = frame.run(row_ids=True)
        again = frame.run(row_ids=True, retry_rejects=True)
    rejects = result.rejects
    assert rejects["id"].to_list() == [4, 5, 6]
    assert rejects["row_id"].to_list() == result.frame["_row_id"][4:7].to_list()
    assert rejects["reason"].unique().to_list() == ["bad_request"]
    assert rejects["message"].to_list() == [
        "document: the file is encrypted and needs a password.",
        "document: the file is no PDF.",
        "document: the file is empty.",
    ]
    assert rejects["operator"].unique().to_list() == ["read"]
    assert rejects["attempts"].to_list() == rejects["cost_usd"].to_list() == [0, 0, 0]
    assert again.rejects.equals(rejects)
    assert again.usage.calls == 0
    lineage = result.lineage.filter(pl.col("row_id") == rejects["row_id"][0])
    assert lineage.select("source", "request_hash", "part").rows() == [("rejected_before", None, "document")]
    trace = result.trace(rejects["row_id"][0])
    assert "document" in str(trace)


@pytest.mark.parametrize("bad", [2, 5])
def test_a_document_is_never_handed_on_with_a_page_missing(session: ig.Session, bad: int) -> None:
    def refusing(request: Request) -> Any:
        if request.messages[-1].content.startswith(f"Page {bad} "):
            raise CallFailed("no", outcome="permanent", reason="refused")
        return transcribed(request)

    frame = files(session, [MIXED, SCANNED]).semantic.parse_pdf("file")
    with script("fast", refusing):
        result = frame.run(row_ids=True)
    assert result.frame["markdown"].to_list() == [None, "# Page 1 of 1"]
    [reject] = result.rejects.iter_rows(named=True)
    assert (reject["id"], reject["reason"]) == (0, "refused")
    assert reject["message"].startswith(f"page {bad} of 5: ")
    assert "[image: image/png, 1240x1755 pixels, b2:" in reject["prompt"]
    again = rendered_again(frame, "parse_pdf", reject["row_id"], message=reject["message"])
    assert again is not None
    assert again.messages[-1].content == f"Page {bad} of 5."
    with script("fast", transcribed) as asked:
        retried = frame.run(retry_rejects=True)
    assert [one.messages[-1].content for one in asked.requests] == [f"Page {bad} of 5."]
    assert retried.frame["markdown"].to_list() == [READ[1], READ[3]]


def test_models_that_cannot_see_read_documents_with_text(tmp_path: Path) -> None:
    models = {
        "blind": ig.Model("openai:gpt-3.5-turbo", api_key="none"),
        "careful": ig.Model("scripted:careful", redact=True),
        "behind": ig.Model("scripted:behind", fallback="blind"),
        "eye": ig.Model("scripted:eye"),
    }
    with ig.Session(models, default_model="blind", store="sqlite://", root=tmp_path) as session:
        for model in ("blind", "careful", "behind"):
            parsed = files(session, [TEXT, MIXED]).semantic.parse_pdf("file", model=model)
            assert parsed.estimate().calls_high == 0
            result = parsed.run()
            assert result.frame["markdown"].to_list() == [READ[0], None]
            assert result.usage.calls == 0
            assert result.rejects["message"][0].startswith("page 2 of 5: the page has no text layer, and ")
            assert result.rejects["reason"].to_list() == ["bad_request"] * 2
            [two, _] = parsed.prompts(2)
            assert "[not sent: the page has no text layer" in two["messages"][-1]["content"]
            assert two["request_hash"] is None
        assert "'eye'." in files(session, [SCANNED]).semantic.parse_pdf("file").run().rejects["message"][0]
        # A model that sees takes over by name: what the store has of rejects that nobody was asked about is nothing.
        with script("eye", transcribed):
            seen = files(session, [TEXT, MIXED]).semantic.parse_pdf("file").run(model="eye")
        assert seen.frame["markdown"].to_list() == READ[:2]


def stamped(*lines: str) -> bytes:
    """A scan on which a text layer was put."""
    document = pypdfium2.PdfDocument(SCANNED)
    page = document[0]
    for number, line in enumerate(lines):
        thing = raw.FPDFPageObj_NewTextObj(document, b"Helvetica", 10)
        encoded = ctypes.create_string_buffer((line + "\0").encode("utf-16-le"))
        raw.FPDFText_SetText(thing, ctypes.cast(encoded, raw.FPDF_WIDESTRING))
        raw.FPDFPageObj_Transform(thing, 1, 0, 0, 1, 50, 700 - 12 * number)
        raw.FPDFPage_InsertObject(page, thing)
    page.gen_content()
    written = BytesIO()
    document.save(written)
    return written.getvalue()


def test_a_scan_with_a_stamp_is_looked_at_and_a_scan_with_its_text_is_not(session: ig.Session) -> None:
    body = [
        "What the scanner recognised on this page is its text layer,",
        "so that nobody has to look at it a second time:",
    ] * 2
    frame = files(session, [stamped("Received 3 May"), stamped(*body)]).semantic.parse_pdf("file")
    with script("fast", transcribed) as asked:
        assert frame.run().frame["markdown"].to_list() == ["# Page 1 of 1", "\n".join(body)]
        assert len(asked.requests) == 1


def test_every_page_is_looked_at_or_none(session: ig.Session) -> None:
    content = pdf_file(["Tea", SCAN, ""])
    with script("fast", transcribed) as asked:
        read = files(session, [content]).semantic.parse_pdf("file", vision="always", separator="|")
        assert read.estimate().calls == 2
        assert read.run().frame["markdown"].to_list() == ["# Page 1 of 3|# Page 2 of 3|"]
        assert len(asked.requests) == 2
        unread = files(session, [content, stamped("Received")]).semantic.parse_pdf(
            "file", vision="never", separator="|"
        )
        assert unread.estimate().calls == 0
        assert unread.run().frame["markdown"].to_list() == ["Tea||", "Received"]
        assert files(session, [UNKNOWN_FILE]).semantic.parse_pdf("file", vision="never").estimate().calls == 0
        assert len(asked.requests) == 2


def test_why_a_page_would_have_to_be_looked_at(tmp_path: Path) -> None:
    models = {"blind": ig.Model("openai:gpt-3.5-turbo", api_key="none")}
    with ig.Session(models, default_model="blind", store="sqlite://", root=tmp_path) as session:
        [said] = files(session, [stamped("Received 3 May")]).semantic.parse_pdf("file").run().rejects["message"]
        assert said.startswith("page 1 of 1: the page is a picture with a text layer of only 3 words (that text alone")
        [said] = files(session, [TEXT]).semantic.parse_pdf("file", vision="always").run().rejects["message"][:1]
        assert said.startswith('page 1 of 3: vision="always" has a model look at every page, and ')


def test_tables_of_a_text_layer_are_markdown(session: ig.Session) -> None:
    content = (Path(__file__).parent.parent / "text" / "pdf" / "ruled.pdf").read_bytes()
    [text] = files(session, [content]).semantic.parse_pdf("file").run().frame["markdown"]
    assert "Between the tables.\n\n| Code | Country |\n| --- | --- |\n| DE | Germany |\n\nThe end." in text


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
def test_pictures_reach_the_server(wire: str, tmp_path: Path) -> None:
    with SimulatedServer(answer=lambda body: "```markdown\n| a | b |\n| - | - |\n```") as server:
        name, url = ("openai:m", server.openai_url) if wire == "openai" else ("anthropic:m", server.anthropic_url)
        models = {"m": ig.Model(name, base_url=url, api_key=None, price=ig.Price(input=1, output=1))}
        with ig.Session(models, default_model="m", store="sqlite:///s.db", root=tmp_path) as session:
            parsed = files(session, [MIXED]).semantic.parse_pdf("file", into="text", separator="\n--{page}--\n")
            result = parsed.run()
            table = "| a | b |\n| - | - |"
            assert result.frame["text"].to_list() == [
                f"First page\n--2--\n{table}\n--3--\n\n--4--\nFourth\npage\n--5--\n{table}"
            ]
            [part] = [p for p in server.requests[-1].body["messages"][-1]["content"] if p["type"] != "text"]
            data = part["image_url"]["url"].partition(",")[2] if wire == "openai" else part["source"]["data"]
            shown = Image.of(base64.b64decode(data))
            assert (shown.width, shown.height) == (1240, 1755)
            assert result.usage.input_tokens > 500
            assert parsed.run().usage.calls == 0


def test_prompts_explain_and_lineage(session: ig.Session) -> None:
    frame = files(session, [MIXED]).semantic.parse_pdf(pl.col("file"), into="text")
    assert "semantic.parse_pdf 'parse_pdf' [model fast]: file -> text" in frame.explain()
    shown = frame.prompts(1)
    assert [one["part"] for one in shown] == ["page 2 of 5", "page 5 of 5"]
    assert shown[0]["messages"][-1]["content"].startswith("[image: image/png, 1240x1755 pixels, b2:")
    with script("fast", transcribed):
        result = frame.run()
    assert result.lineage["request_hash"].to_list() == [one["request_hash"] for one in shown]
    assert result.lineage["part"].to_list() == ["page 2 of 5", "page 5 of 5"]
    lineage = str(frame.column_lineage())
    assert "file" in lineage
    assert "text" in lineage


def test_where_nulls_and_no_rows(session: ig.Session) -> None:
    parsed = files(session, [SCANNED, SCANNED, None]).semantic.parse_pdf("file", where=pl.col("id") > 0)
    with script("fast", transcribed):
        result = parsed.run()
    assert result.frame["markdown"].to_list() == [None, "# Page 1 of 1", None]
    assert (result.usage.calls, result.usage.nulls) == (1, 2)
    empty = files(session, []).semantic.parse_pdf("file").run()
    assert empty.frame.schema["markdown"] == pl.String
    assert empty.usage.rows == 0
    nulls = session.frame(pl.DataFrame({"f": [None, None]}), name="n").semantic.parse_pdf("f").run()
    assert nulls.frame["markdown"].to_list() == [None, None]


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda f: f.semantic.parse_pdf("fil"), UnknownColumn, "no column 'fil'.*'file'"),
        (lambda f: f.semantic.parse_pdf("id"), PlanError, "'id' is Int64, not Binary.*read_documents"),
        (lambda f: f.semantic.parse_pdf(["file", "file"]), PlanError, "name one column"),
        (lambda f: f.semantic.parse_pdf("file", into="id"), PlanError, "already has a column 'id'"),
        (lambda f: f.semantic.parse_pdf("file", separator=1), PlanError, "separator=1: write a text"),
        (lambda f: f.semantic.parse_pdf("file", vision="scans"), PlanError, 'vision=\'scans\': write "auto" .*"never"'),
    ],
)
def test_mistakes_are_told_when_the_plan_is_built(session: ig.Session, build: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        build(files(session))


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("# Tea", "# Tea"),
        ("```markdown\n# Tea\n```", "# Tea"),
        ("```md\n# Tea\n\n```py\n1\n```\n```", "# Tea\n\n```py\n1\n```"),
        ("```py\n1\n```", "```py\n1\n```"),
        ("<!-- blank page -->", ""),
        ("```markdown\n<!-- blank page -->\n```", ""),
    ],
)
def test_what_a_page_is(said: str, text: str) -> None:
    assert judge_page(Response(text=said)) == Accepted(text)
    assert isinstance(judge_page(Response(text=" ")), Repair)


def test_a_file_that_is_not_known_is_expected_to_ask(session: ig.Session) -> None:
    assert files(session, [UNKNOWN_FILE]).semantic.parse_pdf("file").estimate().calls == 1


def test_a_page_that_cannot_be_drawn_is_a_reject(session: ig.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(content: bytes, number: int) -> bytes:
        raise UnreadablePdf(f"page {number} is broken and cannot be drawn")

    # PDFium draws something of whatever it opened; what it may refuse has to be made up.
    monkeypatch.setattr(pdf_pictures, "page_png", broken)
    with script("fast", transcribed):
        result = files(session, [SCANNED, TEXT]).semantic.parse_pdf("file").run()
    assert result.frame["markdown"].to_list() == [None, READ[0]]
    assert result.rejects["message"].to_list() == [
        "page 1 of 1: The image cannot be sent: page 1 is broken and cannot be drawn."
    ]


def test_large_files_are_read_some_at_a_time() -> None:
    third = bytes(PIECE_BYTES // 3 + 1)
    rows = pl.DataFrame({"c": [third, None, third, third, b"x", third]})
    assert [piece["c"].len() for piece in bounded(rows, "c")] == [4, 2]
    assert pl.concat(bounded(rows, "c")).equals(rows)
    assert [piece.height for piece in bounded(rows.clear(), "c")] == [0]
    texts = pl.DataFrame({"c": ["a", "b"]})
    assert [piece.height for piece in bounded(texts, "c")] == [2]
