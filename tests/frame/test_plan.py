"""Plans are checked when they are built, and the errors say what to type next."""

from __future__ import annotations

import polars as pl
import pytest
from pydantic import BaseModel

import infergraph as ig


class Ticket(BaseModel):
    product: str
    urgent: bool


def test_unknown_column_names_the_nearest(tickets: ig.SemanticFrame) -> None:
    with pytest.raises(ig.UnknownColumn, match=r"'bdoy'.*Did you mean 'body'"):
        tickets.filter(pl.col("bdoy") == "x")
    with pytest.raises(ig.UnknownColumn, match="Did you mean 'body'"):
        tickets.semantic.extract("bdoy", Ticket)
    with pytest.raises(ig.UnknownColumn, match="Did you mean 'body'"):
        tickets.select("bdoy")


def test_template_variable_that_is_no_column(tickets: ig.SemanticFrame) -> None:
    with pytest.raises(ig.PlanError, match="Did you mean 'body'"):
        tickets.semantic.filter("{{ bodi }} is angry")


def test_name_clash_names_into(tickets: ig.SemanticFrame) -> None:
    with pytest.raises(ig.PlanError, match="into"):
        tickets.semantic.classify("body", ["a", "b"], into="lang")


def test_unknown_model(tickets: ig.SemanticFrame) -> None:
    with pytest.raises(ig.UnknownModel, match="Did you mean 'fast'"):
        tickets.semantic.extract("body", Ticket, model="fats")


def test_several_models_without_a_default() -> None:
    models = {"a": ig.Model("scripted:a"), "b": ig.Model("scripted:b")}
    with ig.Session(models=models, store="sqlite://") as session:
        frame = session.frame(pl.DataFrame({"body": ["x"]}))
        with pytest.raises(ig.UnknownModel, match="default_model="):
            frame.semantic.sentiment("body")
        assert frame.semantic.sentiment("body", model="b").columns == ["body", "sentiment"]


def test_where_must_be_a_condition(tickets: ig.SemanticFrame) -> None:
    with pytest.raises(ig.PlanError, match="not Boolean"):
        tickets.semantic.sentiment("body", where=pl.col("lang"))


def test_operator_names_are_numbered_and_unique(tickets: ig.SemanticFrame) -> None:
    twice = tickets.semantic.sentiment("body", into="a").semantic.sentiment("body", into="b")
    assert "'sentiment'" in twice.explain()
    assert "'sentiment_2'" in twice.explain()
    with pytest.raises(ig.PlanError, match="name of its own"):
        twice.semantic.sentiment("body", into="c", name="sentiment")


def test_unlisted_method_is_named(tickets: ig.SemanticFrame) -> None:
    with pytest.raises(AttributeError, match="map_frame"):
        tickets.gather_every(2)
    with pytest.raises(AttributeError, match="Did you mean 'filter'"):
        tickets.filtr(True)


def test_reserved_column_names() -> None:
    with ig.Session(models={"m": ig.Model("scripted:m")}, store="sqlite://") as session:
        with pytest.raises(ig.PlanError, match="_row_id"):
            session.frame(pl.DataFrame({"_row_id": [1]}))
        with pytest.raises(ig.PlanError, match="reserved"):
            session.frame(pl.DataFrame({"a": [1]})).with_columns(_row_id=pl.lit("x"))


def test_unknown_key() -> None:
    session = ig.Session(models={"m": ig.Model("scripted:m")}, store="sqlite://")
    with pytest.raises(ig.UnknownColumn, match="Did you mean 'id'"):
        session.frame(pl.DataFrame({"id": [1]}), name="t", key="idd")


def test_schema_is_known_without_running(tickets: ig.SemanticFrame) -> None:
    out = tickets.semantic.extract("body", Ticket).semantic.classify("body", ["bug", "billing"], into="kind")
    assert out.schema["product"] == pl.String
    assert out.schema["urgent"] == pl.Boolean
    assert out.schema["kind"] == pl.Enum(["bug", "billing"])
    assert out.columns == ["id", "lang", "body", "product", "urgent", "kind"]


def test_fingerprint_follows_what_is_asked(tickets: ig.SemanticFrame) -> None:
    one = tickets.semantic.filter("{{ body }} is angry")
    same = tickets.semantic.filter("{{ body }} is angry")
    other = tickets.semantic.filter("{{ body }} is happy")
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()
    assert len(one.fingerprint()) == 32
    moods = [tickets.semantic.sentiment("body", into=name).fingerprint() for name in ("a", "b")]
    assert moods[0] != moods[1]


def test_explain_shows_models_and_blocking_steps(tickets: ig.SemanticFrame) -> None:
    text = tickets.sort("id").semantic.sentiment("body").map_frame(lambda lf: lf.reverse()).explain()
    assert "model fast" in text
    assert "waits for all rows" in text
    assert "row trace ends here" in text
