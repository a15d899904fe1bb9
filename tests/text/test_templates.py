"""Texts out of templates: the same table as prompts, nothing escaped, nothing but data reachable."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import infergraph as ig
from infergraph.errors import TemplateError
from infergraph.text.rendering import render_value_expr
from infergraph.text.sides import one_name_a_column

render = ig.text.templates.render
FRAME = pl.DataFrame(
    {
        "name": ["Ann", "<name>", None],
        "day": [date(2026, 1, 2), None, date(2026, 3, 4)],
        "price": [0.1, 2.0, 3.5],
        "tags": [["a"], [], None],
        "at": [{"city": "Bonn"}, {"city": None}, {"city": "Ulm"}],
    }
)


def texts(template: str, **columns: Any) -> list[str | None]:
    return FRAME.lazy().select(render(template, **columns)).collect(engine="streaming").to_series().to_list()


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("Dear {{ name }}!", ["Dear Ann!", "Dear <name>!", None]),
        ("{{ price }} on {{ day }}", ["0.1 on 2026-01-02", None, "3.5 on 2026-03-04"]),
        ("{{ at.city }}", ["Bonn", "", "Ulm"]),
        ("{% if day %}{{ day }}{% else %}-{% endif %} {{ price }}", ["2026-01-02 0.1", "- 2.0", "2026-03-04 3.5"]),
        ("{{ name|upper }} {{ name }}", ["ANN Ann", "<NAME> <name>", None]),
        ("{{ name|default('nobody') }}", ["Ann", "<name>", "nobody"]),
        ("  {{ price }}\n    {{ price }}\n", ["0.1\n  0.1", "2.0\n  2.0", "3.5\n  3.5"]),
    ],
)
def test_values_are_written_as_in_prompts(template: str, expected: list[str | None]) -> None:
    found = texts(template)
    assert [None if one is None else one.strip("\n") for one in found] == expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ xs|sort }}", ["[1, 2, null]", "[null]", "[]"]),
        ("{{ xs|sort(reverse=true)|join('-') }}", ["2-1-", "", ""]),
        ("{{ xs|unique|sort|join('-') }}", ["1-2-", "", ""]),
        ("{{ xs|max }} {{ xs|min }} {{ xs|sum }}", ["2 1 3", "  0", "  0"]),
        ("{% for x in xs|sort %}{{ x|default('?') }}{% endfor %}", ["12?", "?", ""]),
    ],
)
def test_a_null_in_a_list_ends_no_run(template: str, expected: list[str]) -> None:
    frame = pl.DataFrame({"xs": [[2, None, 1], [None], []]}, schema={"xs": pl.List(pl.Int64)})
    assert frame.select(render(template)).to_series().to_list() == expected


def test_a_name_may_stand_for_any_expression() -> None:
    assert texts("{{ who }}", who=pl.col("name").fill_null("x")) == ["Ann", "<name>", "x"]
    assert FRAME.with_columns(text=render("{{ price }}")).columns == [*FRAME.columns, "text"]


@given(st.lists(st.text(max_size=20) | st.none(), max_size=6))
def test_logic_and_plain_substitution_write_the_same(values: list[str | None]) -> None:
    frame = pl.DataFrame({"x": pl.Series(values, dtype=pl.String)})
    plain, logic = frame.select(a=render("[{{ x }}]"), b=render("[{{ x }}]{% if false %}{% endif %}"))
    assert plain.to_list() == logic.to_list() == [None if value is None else f"[{value}]" for value in values]


@pytest.mark.parametrize("dtype", [pl.Int8, pl.Float32, pl.Decimal(10, 2), pl.Boolean, pl.List(pl.Int64)], ids=str)
def test_the_table_is_that_of_prompts(dtype: Any) -> None:
    values = pl.Series("x", [[1, 0]] if dtype == pl.List(pl.Int64) else [1]).cast(dtype)
    frame = values.to_frame()
    assert (
        frame.select(render("{{ x }}")).item() == frame.select(render_value_expr(pl.col("x"), frame.schema["x"])).item()
    )


@pytest.mark.parametrize(
    ("template", "columns", "says"),
    [
        ("{{ name", {}, "line 1"),
        ("no name", {}, "names no column"),
        ("{{ name }}", {"nmae": "name"}, "nmae= is no name in the template"),
        (3, {}, "a template is a text"),
        ("{{ name|uper }}", {}, "there is no filter 'uper'. Did you mean 'upper'"),
        ("{% for n in names %}{{ n|uper }}{% endfor %}", {}, "no filter 'uper'"),
        ("{% if name is nul %}{{ name }}{% endif %}", {}, "there is no test 'nul'"),
        ("{{ name.upper() }}", {}, "functions cannot be called"),
        ("{% set n = name %}{{ n }}", {}, "{% set %} is not available"),
        ("{{ name + 1 }}", {}, "arithmetic is not done"),
    ],
)
def test_what_is_wrong_is_said_when_the_expression_is_built(template: Any, columns: Any, says: str) -> None:
    with pytest.raises(TemplateError, match=says):
        render(template, **columns)


@pytest.mark.parametrize(
    "template",
    ["{{ name.__class__ }}", "{{ name.upper() }}", "{% import 'os' as os %}{{ name }}", "{{ ''.__class__ }}{{ name }}"],
)
def test_nothing_but_data_is_reachable(template: str) -> None:
    with pytest.raises((TemplateError, pl.exceptions.ComputeError)):
        texts(template)


@pytest.mark.parametrize(
    "text",
    [
        "{{ name }}{{ 'x' * 10**10 }}",
        "{{ name }}{{ 9**9**9 }}",
        "{{ name }}{{ '%1000000000d' % 1 }}",
        "{{ name * 9999999 }}",
    ],
)
def test_arithmetic_is_refused_and_not_worked_out_before(text: str) -> None:
    with pytest.raises(TemplateError, match="arithmetic"):
        pl.DataFrame({"name": ["x"]}).select(ig.text.templates.render(text))


def test_nor_is_that_of_a_template_over_two_frames() -> None:
    sides = {side: pl.Schema({"a": pl.String()}) for side in ("left", "right")}
    source = "{{ left.a }}{{ right.a }}{{ 'x' * 10**11 }}"
    assert "10**11" in one_name_a_column(source, sides, where="join").source
