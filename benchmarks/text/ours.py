"""Infergraph's text functions, each at its work: ``python ours.py FUNCTION FOLDER DOCUMENTS SECONDS``."""

from __future__ import annotations

import sys
from textwrap import wrap

import polars as pl
from measured import Run, measure

import infergraph as ig
from infergraph.testing.pdf_files import pdf_file

text = ig.text
_CHUNKS = text.chunks.recursive("doc", 1_000, overlap=100)

FUNCTIONS: dict[str, tuple[str, pl.Expr]] = {
    "markdown.to_struct": ("markdown", text.markdown.to_struct("doc")),
    "markdown.sections": ("markdown", text.markdown.sections("doc", level=2)),
    "markdown.toc": ("markdown", text.markdown.toc("doc")),
    "markdown.code_blocks": ("markdown", text.markdown.code_blocks("doc")),
    "markdown.tables": ("markdown", text.markdown.tables("doc")),
    "markdown.links": ("markdown", text.markdown.links("doc")),
    "markdown.to_text": ("markdown", text.markdown.to_text("doc")),
    "html.to_markdown": ("html", text.html.to_markdown("doc")),
    "html.to_text": ("html", text.html.to_text("doc")),
    "html.main_content": ("html", text.html.main_content("doc")),
    "html.links": ("html", text.html.links("doc")),
    "html.tables": ("html", text.html.tables("doc")),
    "html.select": ("html", text.html.select("doc", "article p.text")),
    "json.jq": ("json", text.json.jq("doc", ".items[] | select(.n > 3) | .sku")),
    "json.type": ("json", text.json.type("doc")),
    "json.contains": ("json", text.json.contains("doc", {"customer": {"vip": True}})),
    "json.is_valid": ("json", text.json.is_valid("doc")),
    "json.repair": ("broken json", text.json.repair("doc")),
    "transcripts.parse (srt)": ("srt", text.transcripts.parse("doc", format="srt")),
    "transcripts.parse (generic)": ("generic", text.transcripts.parse("doc", format="generic")),
    "transcripts.detect": ("srt", text.transcripts.detect("doc")),
    "chunks.characters": ("prose", text.chunks.characters("doc", 1_000, overlap=100)),
    "chunks.words": ("prose", text.chunks.words("doc", 200, overlap=20)),
    "chunks.tokens": ("prose", text.chunks.tokens("doc", 250, overlap=25)),
    "chunks.recursive (characters)": ("prose", _CHUNKS),
    "chunks.recursive (words)": ("prose", text.chunks.recursive("doc", 200, overlap=20, unit="words")),
    "chunks.recursive (tokens)": ("prose", text.chunks.recursive("doc", 250, overlap=25, unit="tokens")),
    "chunks.markdown": ("markdown", text.chunks.markdown("doc", 1_000)),
    "chunks.window": ("prose", text.chunks.window(_CHUNKS)),
    "tokens.count": ("prose", text.tokens.count("doc")),
    "tokens.truncate": ("prose", text.tokens.truncate("doc", 100)),
    "templates.render": ("pairs", text.templates.render("Compare {{ left }} with {{ right }}, please.")),
    "templates.render (logic)": (
        "pairs",
        text.templates.render("{% if left %}{{ left }} is not {{ right }}{% endif %}"),
    ),
    "similarity.fuzzy": ("pairs", text.similarity.fuzzy("left", "right")),
    "similarity.fuzzy (token_set)": ("pairs", text.similarity.fuzzy("left", "right", method="token_set_ratio")),
    "similarity.cosine": ("vectors", text.similarity.cosine("left", "right")),
    "similarity.dot": ("vectors", text.similarity.dot("left", "right")),
    "similarity.normalize": ("vector", text.similarity.normalize("left")),
    "pdf.text": ("prose", text.pdf.text("file")),
    "pdf.metadata": ("prose", text.pdf.metadata("file")),
}


def ready(name: str, expr: pl.Expr, documents: pl.DataFrame) -> Run:
    """What is timed: one expression over documents in memory."""
    if name.startswith("pdf."):
        pages = [body.encode("cp1252", "replace").decode("cp1252").split("\n\n") for body in documents["doc"]]
        # Lines that end on the page, as those of documents do.
        documents = pl.DataFrame({"file": [pdf_file(["\n".join(wrap(page, 90)) for page in each]) for each in pages]})
    return documents.lazy().select(expr).collect


if __name__ == "__main__":
    function = sys.argv[1]
    kind, expression = FUNCTIONS[function]
    measure(kind, lambda documents: ready(function, expression, documents))
