"""Every function of ``ig.text`` as a part of a plan: the same laws hold for all of them."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import polars as pl
import pytest

import infergraph as ig
from infergraph.frame.expressions import keeps_rows_in_place, tree_of
from infergraph.text import chunks, html, json, markdown, pdf, similarity, templates, tokens, transcripts
from infergraph.text.chunks import CHUNK
from infergraph.text.transcripts import TURNS

Use = Callable[[Any], pl.Expr]
OF_TEXTS: dict[str, tuple[Use, ...]] = {
    "chunks.characters": (
        lambda c: chunks.characters(c, 5),
        lambda c: chunks.characters(c, 6),
        lambda c: chunks.characters(c, 5, overlap=1),
    ),
    "chunks.words": (
        lambda c: chunks.words(c, 5),
        lambda c: chunks.words(c, 6),
        lambda c: chunks.words(c, 5, overlap=1),
    ),
    "chunks.tokens": (
        lambda c: chunks.tokens(c, 5),
        lambda c: chunks.tokens(c, 6),
        lambda c: chunks.tokens(c, 5, overlap=1),
        lambda c: chunks.tokens(c, 5, model="cl100k_base"),
    ),
    "chunks.recursive": (
        lambda c: chunks.recursive(c, 50),
        lambda c: chunks.recursive(c, 60),
        lambda c: chunks.recursive(c, 50, overlap=1),
        lambda c: chunks.recursive(c, 50, unit="words"),
        lambda c: chunks.recursive(c, 50, unit="tokens"),
        lambda c: chunks.recursive(c, 50, unit="tokens", model="cl100k_base"),
    ),
    "chunks.markdown": (
        lambda c: chunks.markdown(c, 50),
        lambda c: chunks.markdown(c, 60),
        lambda c: chunks.markdown(c, 50, overlap=1),
        lambda c: chunks.markdown(c, 50, unit="words"),
        lambda c: chunks.markdown(c, 50, unit="tokens"),
        lambda c: chunks.markdown(c, 50, unit="tokens", model="cl100k_base"),
        lambda c: chunks.markdown(c, 50, keep=None),
    ),
    "html.to_markdown": (html.to_markdown,),
    "html.to_text": (html.to_text,),
    "html.main_content": (html.main_content,),
    "html.links": (html.links, lambda c: html.links(c, base_url="https://example.org/")),
    "html.tables": (html.tables,),
    "html.select": (lambda c: html.select(c, "p"), lambda c: html.select(c, "a")),
    "json.jq": (
        lambda c: json.jq(c, ".a"),
        lambda c: json.jq(c, ".b"),
        lambda c: json.jq(c, ".a", dtype=pl.Int64),
        lambda c: json.jq(c, ".a", dtype=pl.Int32),
        lambda c: json.jq(c, ".b", dtype=pl.Int32),
        lambda c: json.jq(c, ".a", dtype=pl.Struct({"x": pl.Enum(["s"])})),
        lambda c: json.jq(c, ".a", dtype=pl.Struct({"x": pl.Enum(["t"])})),
    ),
    "json.type": (json.type,),
    "json.contains": (lambda c: json.contains(c, {"a": 1}), lambda c: json.contains(c, {"a": 2})),
    "json.is_valid": (json.is_valid,),
    "json.repair": (json.repair,),
    "markdown.to_struct": (markdown.to_struct,),
    "markdown.sections": (markdown.sections, lambda c: markdown.sections(c, level=2)),
    "markdown.toc": (markdown.toc, lambda c: markdown.toc(c, max_level=2)),
    "markdown.code_blocks": (
        markdown.code_blocks,
        lambda c: markdown.code_blocks(c, language="sql"),
        lambda c: markdown.code_blocks(c, language="python"),
    ),
    "markdown.tables": (markdown.tables,),
    "markdown.links": (markdown.links,),
    "markdown.to_text": (markdown.to_text,),
    "similarity.fuzzy": (
        lambda c: similarity.fuzzy(c, "doc"),
        lambda c: similarity.fuzzy(c, "other"),
        lambda c: similarity.fuzzy(c, "doc", method="jaro"),
        lambda c: similarity.fuzzy(c, "doc", ignore_case=True),
    ),
    "tokens.count": (tokens.count, lambda c: tokens.count(c, model="cl100k_base")),
    "tokens.truncate": (
        lambda c: tokens.truncate(c, 3),
        lambda c: tokens.truncate(c, 4),
        lambda c: tokens.truncate(c, 3, side="start"),
        lambda c: tokens.truncate(c, 3, model="cl100k_base"),
    ),
    "transcripts.parse": (
        transcripts.parse,
        lambda c: transcripts.parse(c, format="srt"),
        lambda c: transcripts.parse(c, format="teams"),
    ),
    "transcripts.detect": (transcripts.detect,),
}
OF_OTHERS: dict[str, tuple[str, tuple[Use, ...]]] = {
    "chunks.window": (
        "chunks",
        (chunks.window, lambda c: chunks.window(c, before=2), lambda c: chunks.window(c, after=2)),
    ),
    "pdf.text": ("file", (pdf.text, lambda c: pdf.text(c, separator="\n"))),
    "pdf.pages": ("file", (pdf.pages,)),
    "pdf.metadata": ("file", (pdf.metadata,)),
    "similarity.cosine": ("vector", (lambda c: similarity.cosine(c, [1, 2]), lambda c: similarity.cosine(c, [1, 3]))),
    "similarity.dot": ("vector", (lambda c: similarity.dot(c, [1, 2]), lambda c: similarity.dot(c, "vector"))),
    "similarity.normalize": ("vector", (similarity.normalize,)),
    "templates.render": (
        "doc",
        (
            lambda c: templates.render("{{ x }} {% for one in vector %}{{ one }}{% endfor %}", x=c),
            lambda c: templates.render("{{ x }} {% for one in vector %}+{{ one }}{% endfor %}", x=c),
            lambda c: templates.render("{{ x }} {{ vector }}", x=c),
        ),
    ),
    "transcripts.to_text": ("turns", (transcripts.to_text,)),
    "transcripts.merge_speakers": ("turns", (transcripts.merge_speakers,)),
}
USES = {name: ("doc", uses) for name, uses in OF_TEXTS.items()} | OF_OTHERS
MODULES = {name: getattr(ig.text, name) for name in ig.text.__all__}
SCHEMA = pl.Schema(
    {
        "id": pl.Int64(), "doc": pl.String(), "other": pl.String(), "n": pl.Decimal(5, 2), "file": pl.Binary(),
        "vector": pl.List(pl.Float32()), "chunks": pl.List(CHUNK), "turns": TURNS,
    }
)  # fmt: skip
ROWS: dict[str, list[Any]] = {
    "id": [1, 2], "doc": ["# One\n\nAnn: two <p>three", '{"a": 1}'], "other": ["one", "two"], "n": ["1", "2"],
    "file": [b"one", b"two"], "vector": [[1.0, 2.0], [3.0, 4.0]],
    "chunks": [[{"index": 0, "text": "a", "start": 0, "end": 1}], []],
    "turns": [[{"index": 0, "speaker": "Ann", "start": None, "end": None, "text": "a"}], []],
}  # fmt: skip


@pytest.fixture
def docs(session: ig.Session) -> ig.SemanticFrame:
    rows = pl.DataFrame({name: pl.Series(name, ROWS[name], dtype=dtype) for name, dtype in SCHEMA.items()})
    return session.frame(rows, name="docs", key="id")


def test_every_function_is_tried_here() -> None:
    functions = {
        f"{module}.{name}"
        for module, there in MODULES.items()
        for name, value in vars(there).items()
        if isinstance(value, FunctionType) and value.__module__ == there.__name__ and not name.startswith("_")
    }
    assert functions - set(USES) == {"tokens.is_exact", "tokens.check_model"}
    assert set(USES) <= functions


@pytest.mark.parametrize("name", USES)
def test_the_expression_can_be_kept_and_keeps_rows_in_place(name: str) -> None:
    column, uses = USES[name]
    for use in uses:
        assert tree_of(use(column)) is not None
        assert keeps_rows_in_place([use(column)])


@pytest.mark.parametrize("name", USES)
def test_each_argument_counts_and_nothing_else_does(docs: ig.SemanticFrame, name: str) -> None:
    column, uses = USES[name]
    made = [docs.with_columns(k=use(column)) for use in uses]
    fingerprints = [frame.fingerprint() for frame in made]
    assert len(set(fingerprints)) == len(uses)
    for frame in made:
        frame.run()
    assert [frame.fingerprint() for frame in made] == fingerprints
    assert [docs.with_columns(k=use(column)).fingerprint() for use in uses] == fingerprints


@pytest.mark.parametrize("name", USES)
def test_rows_lead_to_their_source(docs: ig.SemanticFrame, name: str) -> None:
    column, uses = USES[name]
    result = docs.select("id", k=uses[0](column)).run(row_ids=True)
    for number, row_id in result.frame.select("id", "_row_id").iter_rows():
        source = result.trace(row_id).source
        assert source is not None
        assert source.key == {"id": number}


@pytest.mark.parametrize("name", USES)
def test_a_wrong_type_is_refused_when_the_step_is_written(docs: ig.SemanticFrame, name: str) -> None:
    _, uses = USES[name]
    wrong = "file" if name == "templates.render" else "n"
    steps: tuple[Callable[[pl.Expr], object], ...] = (
        lambda wanted: docs.select(k=wanted),
        lambda wanted: docs.with_columns(k=wanted),
        lambda wanted: docs.filter(wanted.is_not_null()),
        lambda wanted: docs.sort(wanted.is_not_null()),
        lambda wanted: docs.group_by("id").agg(wanted.is_not_null().sum()),
    )
    for use in uses:
        for step in steps:
            with pytest.raises(ig.PlanError, match=rf"ig\.text\.{name}: .*'[nx]' is (Decimal|decimal|Binary)"):
                step(use(wrong))


@pytest.mark.parametrize("name", USES)
def test_lineage_and_explain_know_the_function(docs: ig.SemanticFrame, name: str) -> None:
    column, uses = USES[name]
    read = {column} | {"templates.render": {"vector"}, "similarity.fuzzy": {"doc"}}.get(name, set())
    made = docs.with_columns(k=uses[0](column)).filter(uses[0](column).is_not_null())
    lineage = made.column_lineage()
    for origin in (lineage.columns["k"], lineage.rows):
        assert {source.column for source in origin.sources} == read
        assert origin.opaque == ()
    # Behind the steps stands the plan of Polars, in its own words.
    assert made.explain().count(f"ig.text.{name}(") == 2


def test_functions_of_others_beside_ours_stay_opaque(docs: ig.SemanticFrame) -> None:
    both = tokens.count(pl.col("doc").map_elements(str.upper, return_dtype=pl.String))
    said = 'ig.text.tokens.count(col("doc").python_udf())'
    assert docs.select(k=both).column_lineage().columns["k"].opaque == (f'select: {said}.alias("k")',)
    asked = docs.semantic.sentiment([tokens.truncate("doc", 3), both.cast(pl.String).alias("n_doc")])
    assert asked.column_lineage().columns["sentiment"].opaque == (
        f'semantic.sentiment: {said}.strict_cast(String).alias("n_doc")',
    )
