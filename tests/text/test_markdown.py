"""Markdown as data: sections re-join to the document, offsets are true, and ugly documents lose nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import infergraph as ig
from infergraph.errors import PlanError

markdown = ig.text.markdown
BITS = (
    "# Title\n", "## Sub *b*\n", "###### deep\n", "Setext\n===\n", "Other\n---\n", "words ", "Zoë 日本 \U0001f600\n",
    "\n", "\r\n", "- item\n", "  - nested\n", "1. one\n", "- [x] done\n", "> quoted\n", "> # in a quote\n",
    "```py\n# code\n```\n", "~~~\n", "    indented\n", "| a | b |\n|---|:-:|\n| 1 | `2` |\n", "[l](http://x 't') ",
    "![i](y.png) ", "<https://z> ", "[r]\n\n[r]: /r\n", "<div>\nhtml\n</div>\n", "***\n", "---\nkey: v\n---\n",
    "+++\nkey = 1\n+++\n",
    "[^1]\n\n[^1]: note\n", "\ufeff", "`", "\t", "\\",
)  # fmt: skip
DOCUMENTS = st.lists(st.sampled_from(BITS), max_size=30).map("".join) | st.text(max_size=200)
FUNCTIONS: dict[str, Callable[[str], pl.Expr]] = {
    "to_struct": markdown.to_struct,
    "sections": markdown.sections,
    "toc": markdown.toc,
    "code_blocks": markdown.code_blocks,
    "tables": markdown.tables,
    "links": markdown.links,
    "to_text": markdown.to_text,
}
UGLY = """\ufeffIntro before any heading: Zoë.

# Guide

Text with a [link](https://example.org "Ex") and `code`.

1. Install:

   ```sh
   # not a heading
   pip install x
   ```

   | step | minutes |
   |------|--------:|
   | one  | 5       |

## Setup | with a bar

> ### quoted heading
> words

Term
----

<div>raw</div>

```
unclosed fence
# still code
"""


def computed(expr: pl.Expr, text: str | None) -> Any:
    frame = pl.DataFrame({"t": pl.Series([text], dtype=pl.String)})
    return frame.lazy().select(expr).collect(engine="streaming").to_series().to_list()[0]


@given(text=DOCUMENTS, level=st.integers(1, 6))
@settings(max_examples=200, deadline=None)
def test_sections_joined_are_the_document(text: str, level: int) -> None:
    found = computed(markdown.sections("t", level=level), text)
    assert "".join(section["text"] for section in found) == text
    for section in found:
        assert section["text"] == text[section["start"] : section["end"]]
        assert section["level"] <= level
        assert (section["level"] == 0) == (section["title"] is None) == (section["path"] == [])
        assert section["level"] == 0 or section["path"][-1] == section["title"]


@given(DOCUMENTS)
@settings(max_examples=200, deadline=None)
def test_blocks_are_a_tree_with_true_offsets(text: str) -> None:
    found = computed(markdown.to_struct("t"), text)
    for number, block in enumerate(found):
        assert block["index"] == number
        assert 0 <= block["start"] <= block["end"] <= len(text)
        if block["parent"] is not None:
            assert block["parent"] < number
            parent = found[block["parent"]]
            assert parent["start"] <= block["start"]
            assert block["end"] <= parent["end"]


@pytest.mark.parametrize("name", FUNCTIONS)
@given(text=DOCUMENTS)
@settings(max_examples=60, deadline=None)
def test_nothing_raises_on_any_text(name: str, text: str) -> None:
    computed(FUNCTIONS[name]("t"), text)


@given(DOCUMENTS)
def test_places_of_links_tables_and_code_are_true(text: str) -> None:
    for made in (markdown.links("t"), markdown.tables("t"), markdown.code_blocks("t")):
        for one in computed(made, text):
            assert 0 <= one["start"] < one["end"] <= len(text)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_null_stays_null_and_the_declared_type_holds(name: str) -> None:
    made = pl.LazyFrame({"t": ["# a\n\n[l](u)\n\n```py\nx\n```", None]}).select(FUNCTIONS[name]("t"))
    found = made.collect()
    assert found.schema == made.collect_schema()
    assert found.to_series()[1] is None


def test_an_ugly_document() -> None:
    found = computed(markdown.sections("t"), UGLY)
    assert [section["path"] for section in found] == [
        [], ["Guide"], ["Guide", "Setup | with a bar"], ["Guide", "Term"],
    ]  # fmt: skip
    assert "# not a heading" in found[1]["text"]
    assert computed(markdown.toc("t"), UGLY) == "- Guide\n  - Setup | with a bar\n  - Term"
    (table,) = computed(markdown.tables("t"), UGLY)
    assert (table["header"], table["rows"], table["alignments"]) == (
        ["step", "minutes"], [["one", "5"]], [None, "right"],
    )  # fmt: skip
    assert [(code["language"], code["code"]) for code in computed(markdown.code_blocks("t"), UGLY)] == [
        ("sh", "# not a heading\npip install x\n"), (None, "unclosed fence\n# still code\n"),
    ]  # fmt: skip
    assert [code["language"] for code in computed(markdown.code_blocks("t", language="SH"), UGLY)] == ["sh"]
    (link,) = computed(markdown.links("t"), UGLY)
    assert (link["text"], link["url"], link["title"]) == ("link", "https://example.org", "Ex")
    assert UGLY[link["start"] : link["end"]] == '[link](https://example.org "Ex")'
    text = computed(markdown.to_text("t"), UGLY)
    assert "step\tminutes\none\t5" in text
    assert not any(mark in text for mark in ("```", "<div>", "](", "##"))
    assert "# not a heading" in text


def test_deeper_headings_stay_within_a_section() -> None:
    found = computed(markdown.sections("t", level=1), "# A\n## B\ntext\n# C\n")
    assert [section["text"] for section in found] == ["# A\n## B\ntext\n", "# C\n"]


def test_a_line_of_ten_megabytes() -> None:
    text = "# Title\n\n" + "word " * 2_000_000
    assert [section["title"] for section in computed(markdown.sections("t"), text)] == ["Title"]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: markdown.sections("t", level=7), "level=7"),
        (lambda: markdown.toc("t", max_level=0), "max_level=0"),
        (lambda: markdown.code_blocks("t", language=""), "write a name such as 'python'"),
    ],
)
def test_what_cannot_be_is_said_when_the_expression_is_built(call: Callable[[], pl.Expr], says: str) -> None:
    with pytest.raises(PlanError, match=says):
        call()


def test_a_byte_order_mark_hides_no_heading() -> None:
    text = "\ufeff# Tée\n\nHot.\n\n## Green\n"
    frame = pl.DataFrame({"doc": [text]}).select(
        toc=ig.text.markdown.toc("doc"),
        sections=ig.text.markdown.sections("doc"),
        to_struct=ig.text.markdown.to_struct("doc"),
    )
    toc, sections, blocks = (frame[name].to_list()[0] for name in frame.columns)
    assert toc == "- Tée\n  - Green"
    assert "".join(one["text"] for one in sections) == text
    assert [one["path"] for one in sections][-1] == ["Tée", "Green"]
    assert text[blocks[0]["start"] : blocks[0]["end"]] == "# Tée\n"


@pytest.mark.parametrize("line", ["=", "-", "   ="])
def test_one_sign_below_a_line_makes_it_a_heading(line: str) -> None:
    frame = pl.DataFrame({"doc": [f"Tea\n{line}\nHot."]})
    assert frame.select(ig.text.markdown.toc("doc")).item().strip("- ") == "Tea"


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "front", ["---\ntitle: Zoë\n\ntags: []\n---", "+++\ntitle = 'Zoë'\n\n[p]\n+++", "---\na: 1\n..."]
)
def test_front_matter_is_metadata_in_yaml_and_in_toml(mark: str, ending: str, front: str) -> None:
    front = front.replace("\n", ending)
    text = f"{mark}{front}{ending}# Tea{ending}words"
    found = [
        (block["kind"], text[block["start"] : block["end"]].strip())
        for block in computed(markdown.to_struct("t"), text)
    ]
    assert found == [("metadata", front), ("heading", "# Tea"), ("paragraph", "words")]
    assert [section["path"] for section in computed(markdown.sections("t"), text)] == [[], ["Tea"]]
    assert computed(markdown.to_text("t"), text) == "Tea\n\nwords"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("first\n\n---\nkey: value\n---\nlast", "first\n\nkey: value\n\nlast"),
        ("first\n\n+++\nkey = 1\n+++\nlast", "first\n\n+++\nkey = 1\n+++\nlast"),
        ("---\na: 1\n---\n\n---\nb: 2\n---\n", "b: 2"),
        ("+++\nno end", "+++\nno end"),
        ("---\n\nfirst\n\n---\n", "first"),
    ],
)
def test_front_matter_stands_at_the_beginning(text: str, words: str) -> None:
    assert computed(markdown.to_text("t"), text) == words
