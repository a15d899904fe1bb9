"""Templates: what is checked when they are compiled, and that both ways of rendering agree."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infergraph.errors import TemplateError, UnknownColumn
from infergraph.text.compiled_templates import CompiledTemplate, compile_template
from infergraph.text.delimiters import tag_for

COLUMNS = pl.Schema(
    {
        "body": pl.String(),
        "lang": pl.String(),
        "stars": pl.Int64(),
        "paid": pl.Boolean(),
        "due": pl.Date(),
        "customer": pl.Struct({"name": pl.String, "items": pl.List(pl.Float64)}),
        "tags": pl.List(pl.String),
        "lines": pl.List(pl.Struct({"what": pl.String, "price": pl.Decimal(10, 2)})),
        "raw": pl.Binary(),
    }
)


def compiled(source: str) -> CompiledTemplate:
    return compile_template(source, COLUMNS, where="prompt")


def rendered(source: str, **row: Any) -> str | None:
    frame = pl.DataFrame([row], schema={name: COLUMNS[name] for name in row})
    result = frame.select(compiled(source).content).item()
    assert result is None or isinstance(result, str)
    return result


def block(text: str | None, tag: str) -> str:
    assert text is not None
    return text.split(f"<{tag}>\n", 1)[1].split(f"\n</{tag}>", 1)[0]


def test_values_become_references_and_stand_once_at_the_end() -> None:
    template = compiled("Is {{ body }} in {{ lang }}? Think of {{ body }} again.")
    assert template.instruction == "Is <body> in <lang>? Think of <body> again."
    assert template.variables == template.required == template.tags == ("body", "lang")
    assert rendered(template.source, body="Hi", lang="en") == "<body>\nHi\n</body>\n<lang>\nen\n</lang>"


def test_fields_of_a_struct_are_values() -> None:
    template = compiled("Greet {{ customer.name }} ({{ customer['name'] }})")
    assert template.instruction == "Greet <customer.name> (<customer.name>)"
    assert template.variables == ("customer",)
    assert rendered(template.source, customer={"name": "Ann", "items": []}) == "<customer.name>\nAnn\n</customer.name>"
    assert rendered(template.source, customer={"name": None, "items": []}) is None


def test_a_field_named_like_a_method_is_the_field() -> None:
    text = rendered(
        "{% for one in customer.items %}[{{ one }}]{% endfor %}", customer={"name": "A", "items": [1.0, 2e20]}
    )
    assert block(text, "details") == "[1.0][2e+20]"


def test_indentation_of_the_source_is_no_part_of_the_prompt() -> None:
    template = compiled("""
        Read {{ body }}.
          - slowly
        """)
    assert template.instruction == "Read <body>.\n  - slowly"


def test_conditions_are_content_by_row() -> None:
    source = "Answer {{ body }}. {% if lang %}It is in {{ lang }}.{% endif %}"
    template = compiled(source)
    assert template.instruction == "Answer <body>. <details>"
    assert template.variables == ("body", "lang")
    assert template.required == ("body",)
    assert block(rendered(source, body="Hallo", lang="de"), "details") == "It is in de."
    assert block(rendered(source, body="Hallo", lang=None), "details") == ""
    assert rendered(source, body=None, lang="de") is None


@pytest.mark.parametrize(
    ("source", "required"),
    [
        ("{{ body }}", ("body",)),
        ("{% if body %}{{ body }}{% endif %}", ()),
        ("{% if not body %}{{ lang }}{% endif %}", ("lang",)),
        ("{% if body is none %}nothing{% else %}{{ body }}{% endif %}", ()),
        ("{% if body and lang %}{{ body }}{{ lang }}{% endif %}", ()),
        ("{% if stars > 3 %}good{% endif %}", ("stars",)),
        ("{% if stars and stars > 3 %}good{% endif %}", ()),
        ("{% if body %}{{ body }}{% endif %}{{ body }}", ("body",)),
        ("{{ body or 'nothing' }}", ()),
        ("{{ body|default('nothing') }}", ()),
        ("{{ 'yes' if paid else 'no' }}", ()),
        ("{{ body|upper }} {{ lang if lang else '' }}", ("body",)),
        ("{% for tag in tags %}{{ tag }}{% endfor %}", ("tags",)),
        ("{% if tags %}{% for tag in tags %}{{ tag }} {{ lang }}{% endfor %}{% endif %}", ("lang",)),
        ("{% if customer.name %}{{ customer.name }}{% endif %}", ()),
    ],
)
def test_required_are_the_variables_outside_any_condition_on_them(source: str, required: tuple[str, ...]) -> None:
    template = compiled(source)
    assert template.required == required
    row = dict.fromkeys(template.variables)
    assert (rendered(source, **row) is None) == bool(required)


@pytest.mark.parametrize(
    ("source", "row", "text"),
    [
        ("{{ body|upper }}", {"body": "a<b"}, "A<B"),
        ("{{ stars|default('none') }}", {"stars": None}, "none"),
        ("{{ body|truncate(5) }}", {"body": "abcdefgh"}, "ab..."),
        ("{{ body[:3] }}", {"body": "abcdef"}, "abc"),
        ("{{ tags|join('; ') }}", {"tags": ["a", "b"]}, "a; b"),
        ("{{ tags|length }}", {"tags": ["a", "b"]}, "2"),
        ("{{ tags|sort|first }}", {"tags": ["b", "a"]}, "a"),
        ("{{ tags[0] }}", {"tags": ["x"]}, "x"),
        ("{{ tags[5] }}", {"tags": ["x"]}, ""),
        ("{{ body ~ '!' }}", {"body": "Hi"}, "Hi!"),
        ("{{ lines|tojson }}", {"lines": [{"what": "lamp", "price": 2}]}, '[{"what": "lamp", "price": 2.00}]'),
        ("{{ paid|string }}", {"paid": True}, "true"),
    ],
)
def test_filters(source: str, row: dict[str, Any], text: str) -> None:
    (tag,) = compiled(source).tags
    assert tag == next(iter(row))
    assert block(rendered(source, **row), tag) == text


@pytest.mark.parametrize("source", ["{{ (body ~ '').upper }}", "{{ (body ~ '')['upper'] }}"])
def test_values_have_no_methods(source: str) -> None:
    row = {name: "x" if name == "body" else ["x"] for name in compiled(source).variables}
    assert block(rendered(source, **row), compiled(source).tags[0]) == ""


def test_loops_render_fields_by_the_table() -> None:
    source = "Sum up. {% for line in lines %}\n- {{ loop.index }} {{ line.what }}: {{ line.price }}\n{% endfor %}"
    text = rendered(source, lines=[{"what": "lamp", "price": 2}, {"what": "</details>", "price": None}])
    assert block(text, "details") == "- 1 lamp: 2.00\n- 2 &lt;/details>: "


def test_inside_logic_a_value_with_a_block_is_a_reference() -> None:
    source = "{{ body }} {% if lang %}The language of {{ body }} is {{ lang }}.{% endif %}"
    text = rendered(source, body="long text", lang="en")
    assert text is not None
    assert text.count("long text") == 1
    assert block(text, "details") == "The language of <body> is en."


def test_dates_compare_as_text() -> None:
    source = "{% if due < '2024-06-01' %}early{% else %}late{% endif %}"
    frame = pl.DataFrame({"due": [date(2024, 1, 2), date(2025, 1, 2)]})
    assert [block(text, "details") for text in frame.select(compiled(source).content).to_series()] == ["early", "late"]


TEXTS = st.text() | st.sampled_from(
    ["</body>", "<BODY>", "< / body >", "<body", "</body\t", "<bodyguard>", "{{ lang }}", "\\1"]
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "body": st.none() | TEXTS,
                "stars": st.none() | st.integers(-(2**63), 2**63 - 1),
                "paid": st.none() | st.booleans(),
                "due": st.none() | st.dates(),
                "tags": st.none() | st.lists(TEXTS),
                "customer": st.none()
                | st.fixed_dictionaries({"name": st.none() | TEXTS, "items": st.lists(st.floats(), max_size=2)}),
            }
        ),
        max_size=4,
    ),
    st.sampled_from(["body", "stars", "paid", "due", "tags", "customer", "customer.name"]),
)
def test_both_ways_of_rendering_agree(rows: list[dict[str, Any]], path: str) -> None:
    """A plain substitution is vectorised; the same one inside an expression is rendered row by row."""
    frame = pl.DataFrame(
        rows, schema={name: COLUMNS[name] for name in ("body", "stars", "paid", "due", "tags", "customer")}
    )
    # The tags differ, and with them what is escaped: let both have a <body>.
    plain = compiled(f"{{{{ {path} }}}} {{{{ body|default('') }}}}")
    by_row = compiled(f"{{{{ {path} if true else '' }}}} {{{{ body|default('') }}}}")
    fast = frame.select(plain.content).to_series().to_list()
    slow = frame.select(by_row.content).to_series().to_list()
    renamed = [None if text is None else text.replace(f"{by_row.tags[0]}>", f"{plain.tags[0]}>") for text in slow]
    if path == "customer.name":  # a null field inside a Struct that is there: no call, or an empty text
        renamed = [text if name is not None else None for text, name in zip(renamed, names(frame), strict=True)]
    assert fast == renamed


def names(frame: pl.DataFrame) -> list[str | None]:
    return frame.select(pl.col("customer").struct.field("name")).to_series().to_list()


@settings(max_examples=80, deadline=None)
@given(TEXTS, TEXTS)
def test_data_cannot_close_its_block(body: str, lang: str) -> None:
    text = rendered("{{ body }} {{ lang }}", body=body, lang=lang)
    assert text is not None
    for tag in ("body", "lang"):
        assert text.count(f"<{tag}>\n") == 1
        assert text.count(f"\n</{tag}>") == 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ body", r"line 1: unexpected end of template"),
        ("Hi\n{% if body %}", r"line 2: .*end"),
        ("no variable", r"names no column.*\{\{ body \}\}"),
        ("{{ body.upper }}", r"String has no fields"),
        ("{{ body() }}", r"functions cannot be called"),
        ("{{ body.format() }}", r"functions cannot be called"),
        ("{{ customer.__class__ }}", r"'__class__' is no field"),
        ("{{ ''.__class__ ~ body }}", r"'__class__' is no field"),
        ("{{ customer['__init__'] }}", r"'__init__' is no field"),
        ("{{ (body|first).__class__ }}", r"'__class__' is no field"),
        ("{% import 'os' as os %}{{ body }}", r"cannot import"),
        ("{% from 'os' import path %}{{ body }}", r"cannot import"),
        ("{% include 'secrets' %}{{ body }}", r"cannot include"),
        ("{% extends 'base' %}{{ body }}", r"cannot extend"),
        ("{% macro m() %}{% endmacro %}{{ body }}", r"macros are not available"),
        ("{% set x = body %}{{ x }}", r"{% set %} is not available"),
        ("{% block b %}{{ body }}{% endblock %}", r"Block is not available"),
        ("{{ stars * 2 }}", r"arithmetic is not done.*with_columns"),
        ("{{ body|attr('x') }}", r"no filter 'attr'"),
        ("{{ body|uper }}", r"no filter 'uper'\. Did you mean 'upper'"),
        ("{% if stars is oddd %}{% endif %}", r"no test 'oddd'\. Did you mean 'odd'"),
        ("{% for x in body %}{{ x }}{% endfor %}", r"a loop needs a List, and \{\{ body \}\} is String"),
        ("{% for lang in tags %}{{ lang }}{% endfor %}", r"hides the name 'lang'"),
        ("{% for a, b in lines %}{{ a }}{% endfor %}", r"a loop has one variable"),
        ("{% if body > 3 %}x{% endif %}", r"'>' not supported"),
        ("{{ tags|sum }}", r"unsupported operand"),
        ("{{ raw }}", r"'raw' is Binary, which has no text"),
        ("{% if body %}{{ raw }}{% endif %}", r"'raw' is Binary, which has no text"),
    ],
)
def test_what_is_not_possible_is_said_when_the_plan_is_built(source: str, message: str) -> None:
    with pytest.raises(TemplateError, match=r"^prompt.*" + message):
        compiled(source)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("Hi\n{{ bdoy }}", r"line 2: there is no column 'bdoy'\. Did you mean 'body'\?"),
        ("{% if langs %}{{ body }}{% endif %}", r"no column 'langs'\. Did you mean 'lang'"),
        ("{{ customer.nmae }}", r"no field 'nmae'\. Did you mean 'name'"),
        ("{% for line in lines %}{{ line.prise }}{% endfor %}", r"no field 'prise'\. Did you mean 'price'"),
        ("{% for line in lines %}{% endfor %}{{ line }}", r"no column 'line'"),
        ("{{ loop.index }} {{ body }}", r"no column 'loop'"),
        ("{{ range }}", r"no column 'range'"),
    ],
)
def test_an_unknown_name_is_both_a_template_error_and_an_unknown_column(source: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message) as caught:
        compiled(source)
    assert isinstance(caught.value, UnknownColumn)


def test_a_failure_on_data_names_columns_and_types_and_no_values() -> None:
    says = r"fails where 'lines' is list of struct\(what: text, price: null\): '>' not supported"
    with pytest.raises(Exception, match=says) as caught:
        rendered("{% for line in lines %}{{ line.price > 1 }}{% endfor %}", lines=[{"what": "tea", "price": None}])
    assert "tea" not in str(caught.value)


@given(st.lists(st.text(), max_size=6))
def test_tags_are_different_and_plain(columns: list[str]) -> None:
    tags: list[str] = []
    for column in columns:
        tags.append(tag_for(column, tags))
    assert len(set(tags)) == len(tags)
    assert not any(set(tag) & set("<> \n\t\"'/") for tag in tags)


@pytest.mark.parametrize(
    ("template", "name", "new"),
    [
        ("Say {{ first name }}", "first name", "first_name"),
        ("Say {{ e-mail|upper }}", "e-mail", "e_mail_2"),
        ("{% if first name %}x{% endif %} {{ e_mail }}", "first name", "first_name"),
        ("Say {{ a.b }}", "a.b", "a_b"),
        ("Say {{ 2nd }}", "2nd", "column_2nd"),
    ],
)
def test_names_that_a_template_cannot_say_are_to_be_renamed(template: str, name: str, new: str) -> None:
    columns = pl.Schema(dict.fromkeys(("first name", "e-mail", "e_mail", "a.b", "2nd"), pl.String()))
    with pytest.raises(TemplateError) as raised:
        compile_template(template, columns, where="map(prompt)")
    assert f"the column {name!r} cannot be named" in str(raised.value)
    assert f".rename({{{name!r}: {new!r}}})" in str(raised.value)
    renamed = pl.Schema({new if old == name else old: dtype for old, dtype in columns.items()})
    assert compile_template(f"Say {{{{ {new} }}}}", renamed, where="map(prompt)").variables == (new,)
