"""fenic's text functions at the same work; runs in an environment of its own, where Infergraph is not installed."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
from measured import Run, measure

_CHUNKS = {"chunk_size": 1_000, "chunk_overlap_percentage": 10}
_WORDS = {"chunk_size": 200, "chunk_overlap_percentage": 10}
_TOKENS = {"chunk_size": 250, "chunk_overlap_percentage": 10}


def functions(fc: Any) -> dict[str, tuple[str, Any]]:
    """By the name of ours: the kind of documents, and the column that fenic computes."""
    doc, left, right = fc.col("doc"), fc.col("left"), fc.col("right")
    markdown, json = doc.cast(fc.MarkdownType), doc.cast(fc.JsonType)
    vector = fc.EmbeddingType(384, "made-up")
    logic = "{% if left %}{{ left }} is not {{ right }}{% endif %}"
    return {
        "markdown.to_struct": ("markdown", fc.markdown.to_json(markdown)),
        "markdown.sections": ("markdown", fc.markdown.extract_header_chunks(markdown, 2)),
        "markdown.toc": ("markdown", fc.markdown.generate_toc(markdown)),
        "markdown.code_blocks": ("markdown", fc.markdown.get_code_blocks(markdown)),
        "json.jq": ("json", fc.json.jq(json, ".items[] | select(.n > 3) | .sku")),
        "json.type": ("json", fc.json.get_type(json)),
        "json.contains": ("json", fc.json.contains(json, '{"customer": {"vip": true}}')),
        "transcripts.parse (srt)": ("srt", fc.text.parse_transcript(doc, "srt")),
        "transcripts.parse (generic)": ("generic", fc.text.parse_transcript(doc, "generic")),
        "chunks.characters": ("prose", fc.text.character_chunk(doc, **_CHUNKS)),
        "chunks.words": ("prose", fc.text.word_chunk(doc, **_WORDS)),
        "chunks.tokens": ("prose", fc.text.token_chunk(doc, **_TOKENS)),
        "chunks.recursive (characters)": ("prose", fc.text.recursive_character_chunk(doc, **_CHUNKS)),
        "chunks.recursive (words)": ("prose", fc.text.recursive_word_chunk(doc, **_WORDS)),
        "chunks.recursive (tokens)": ("prose", fc.text.recursive_token_chunk(doc, **_TOKENS)),
        "tokens.count": ("prose", fc.text.count_tokens(doc)),
        "templates.render": (
            "pairs", fc.text.jinja("Compare {{ left }} with {{ right }}, please.", left=left, right=right),
        ),
        "templates.render (logic)": ("pairs", fc.text.jinja(logic, left=left, right=right)),
        "similarity.fuzzy": ("pairs", fc.text.compute_fuzzy_ratio(left, right)),
        "similarity.fuzzy (token_set)": ("pairs", fc.text.compute_fuzzy_token_set_ratio(left, right)),
        "similarity.cosine": ("vectors", fc.embedding.compute_similarity(left.cast(vector), right.cast(vector))),
        "similarity.dot": (
            "vectors", fc.embedding.compute_similarity(left.cast(vector), right.cast(vector), metric="dot"),
        ),
        "similarity.normalize": ("vector", fc.embedding.normalize(left.cast(vector))),
    }  # fmt: skip


def main(function: str) -> None:
    """Measure one function."""
    sys.path.append(str(Path(__file__).parent.parent / "peers"))
    from fenic_extract import prepare

    prepare()
    import fenic

    known = functions(fenic)
    kind, column = known[function]
    session = fenic.Session.get_or_create(fenic.SessionConfig(app_name="benchmark"))

    def ready(documents: pl.DataFrame) -> Run:
        frame = session.create_dataframe(documents)
        run: Callable[[], object] = frame.select(column.alias("made")).to_polars
        return run

    measure(kind, ready)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        there = Path.cwd()
        os.chdir(folder)  # it writes a database where it is started
        main(sys.argv[1])
        os.chdir(there)
