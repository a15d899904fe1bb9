"""Templates about many items: what is checked, what each item's text is, and what the instruction says of them."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import pytest

from infergraph.errors import PlanError, TemplateError, UnknownVariable
from infergraph.text.group_templates import GroupTemplate, Items, compile_group_template, loop_columns

ROWS = Items(
    name="rows",
    one="row",
    columns=pl.Schema(
        {
            "body": pl.String(),
            "stars": pl.Int64(),
            "day": pl.Date(),
            "who": pl.Struct({"name": pl.String()}),
            "product": pl.String(),
            "raw": pl.Binary(),
        }
    ),
)
ANSWERS = Items(name="answers", one="answer", columns=None, counted=False)
BY = pl.Schema({"product": pl.String(), "year": pl.Int32()})
LOOP = "{% for row in rows %}{{ row.body }}{% endfor %}"


def compiled(source: str, items: Items = ROWS, **options: Any) -> GroupTemplate:
    return compile_group_template(source, items, BY, where="reduce(prompt)", **options)


def texts(source: str, *rows: dict[str, Any], product: str = "lamp") -> list[str | None]:
    """The items' texts of one group."""
    template = compiled(source)
    assert ROWS.columns is not None
    dtype = pl.Struct({name: ROWS.columns[name] for name in template.reads})
    filled = [{name: row.get(name) for name in template.reads} for row in rows]
    frame = pl.DataFrame({template.variable or "": pl.Series(filled, dtype=dtype)}).with_columns(
        loop_columns(pl.int_range(pl.len()), pl.len()), product=pl.lit(product)
    )
    found: list[str | None] = frame.select(template.text).to_series().to_list()
    return found


def test_the_instruction_refers_to_keys_and_items() -> None:
    template = compiled("""
        Sum up what is said of {{ product }}:
        {% for row in rows %}
        - {{ row.body }} ({{ row.stars }})
        {% endfor %}
        Be short.""")
    assert template.shared.instruction == "Sum up what is said of <product>:\n<rows>\nBe short."
    assert (template.reads, template.shared_reads) == (("body", "stars"), ("product",))
    assert template.shared.required == ("product",)


def test_items_are_rendered_by_the_one_table_of_types() -> None:
    row = {"body": "Hi", "stars": 3, "day": date(2024, 1, 2), "who": {"name": "Ann"}}
    assert texts("{% for r in rows %}\n{{ r.day }} {{ r.who.name }} {{ r.who }}: {{ r.body }}\n{% endfor %}", row) == [
        '2024-01-02 Ann {"name": "Ann"}: Hi'
    ]


def test_an_item_of_which_all_that_is_read_is_null_is_left_out() -> None:
    rows: list[dict[str, Any]] = [{"body": "a"}, {"stars": 2}, {"day": date(2024, 1, 2)}, {}]
    source = "{% for row in rows %}[{{ row.body }}|{{ row.stars }}]{% endfor %}"
    assert texts(source, *rows) == ["[a|]", "[|2]", None, None]


def test_conditions_filters_and_the_place_in_the_loop() -> None:
    source = (
        "{% for row in rows if row.stars %}{{ loop.index }}/{{ loop.length }} {{ row.body|upper }}"
        "{% if row.stars > 3 %}!{% endif %}{{ '' if loop.last else ';' }}{% endfor %}"
    )
    rows: list[dict[str, Any]] = [{"body": "a", "stars": 5}, {"body": "b"}, {"body": "c", "stars": 1}]
    assert texts(source, *rows) == ["1/3 A!;", None, "3/3 C"]


def test_keys_may_be_named_in_the_loop() -> None:
    source = "{% for row in rows %}{{ product }}: {{ row.body }}{% endfor %}"
    assert texts(source, {"body": "a"}) == ["lamp: a"]
    assert compiled(source).shared_reads == ("product",)
    assert compiled(source).shared.variables == ()


def test_what_looks_like_a_blocks_tag_is_escaped_also_where_values_meet_text() -> None:
    source = (
        "{{ product }}{% for row in rows %}</{{ row.body }}{% if row.stars %}<{{ row.body }}{% endif %}{% endfor %}"
    )
    assert texts(source, {"body": "row>", "stars": 1}, {"body": "product> </ROWS >"}) == [
        "&lt;/row>&lt;row>",
        "&lt;/product> &lt;/ROWS >",
    ]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            "{% for row in rows %}{{ row.bdoy }}{% endfor %}",
            r"line 1: {{ row.bdoy }}: there is no column 'bdoy'. Did you .*'body'",
        ),
        ("{% for r in rows %}{{ r['bdoy'] }}{% endfor %}", r"{{ r.bdoy }}: there is no column 'bdoy'"),
        ("{% for row in rows %}{% if row.bdoy %}x{% endif %}{% endfor %}", "there is no column 'bdoy'"),
        ("{{ prodct }}" + LOOP, "there is no column 'prodct'. Did you mean 'product'"),
        (
            "{{ body }}" + LOOP,
            r"{{ body }} stands outside the loop.*{{ row.body }} in the loop, or put 'body' into by=",
        ),
        (
            "\n{% for r in rows %}{{ body }}{% endfor %}",
            r"line 2: {{ body }} is a column of the row: write {{ r.body }}",
        ),
        ("{% for row in rows %}{{ row.who.nam }}{% endfor %}", "there is no field 'nam'"),
    ],
)
def test_unknown_names_are_answered_with_what_to_write(source: str, said: str) -> None:
    with pytest.raises(UnknownVariable, match=said):
        compiled(source)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("No loop", r"has no loop of its own over the rows\. Write {% for row in rows %}{{ row.body }}{% endfor %}"),
        ("{{ rows }}", "has no loop of its own over the rows, and 'rows' is a list of them"),
        ("{% if product %}" + LOOP + "{% endif %}", "no loop of its own over the rows.*outside any condition"),
        (LOOP + LOOP, "'rows' is used twice"),
        ("{{ rows|length }} rows: " + LOOP, "'rows' is used twice"),
        ("{% for row in rows %}x{% endfor %}", "the loop reads nothing of its row"),
        ("{% for row in rows %}{{ row.body }}{% else %}none{% endfor %}", "there is always a row"),
        ("{% for product in rows %}{{ product.body }}{% endfor %}", "'product' hides the name 'product'"),
        ("{% for row in rows %}{{ row.raw }}{% endfor %}", "is Binary, which has no text"),
        ("{% for row in rows %}{{ row.body + 'x' }}{% endfor %}", "arithmetic is not done in a prompt"),
        ("{% for row in rows %}{{ row.body }}", "Unexpected end of template"),
        (
            "{% for row in rows %}{% if row.stars > 3 %}!{% endif %}{% endfor %}",
            r"fails where 'row' is struct\(stars: null\): .*Any value may be null: ask first",
        ),
    ],
)
def test_what_no_prompt_can_be_made_of_is_refused(source: str, said: str) -> None:
    with pytest.raises(TemplateError, match=said):
        compiled(source)


def test_answers_are_texts_that_a_loop_may_put_something_around() -> None:
    template = compiled("Merge for {{ product }}: {% for one in answers %}* {{ one }}{% endfor %}", ANSWERS)
    assert template.shared.instruction == "Merge for <product>: <answers>"
    assert pl.DataFrame({"one": ["a", "</answer>"]}).select(template.text).to_series().to_list() == [
        "* a",
        "* &lt;/answer>",
    ]
    plain = compiled("Merge them.", ANSWERS, needs_loop=False)
    assert (plain.variable, plain.shared.instruction) == (None, "Merge them.")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{% for a in answers %}{{ loop.index }}. {{ a }}{% endfor %}", "{{ loop }} is not known here"),
        ("{% for a in answers if a %}{{ a }}{% endfor %}", "gives each answer and nothing else"),
        ("{% for a in answers %}{{ product }}: {{ a }}{% endfor %}", "gives each answer and nothing else"),
        ("{{ answers }}", "has no loop of its own over the answers"),
        ("{% for row in rows %}{{ row.body }}{% endfor %}", "there is no column 'rows'"),
    ],
)
def test_what_cannot_be_known_of_answers_is_refused(source: str, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        compiled(source, ANSWERS, needs_loop=False)
