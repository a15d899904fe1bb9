"""Quotes as field types, and validators that are given the row."""

from __future__ import annotations

from typing import Annotated, Any, Optional

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, Field, ValidationError, ValidationInfo, field_validator, model_validator

import infergraph as ig
from infergraph.errors import PlanError, SchemaError
from infergraph.models.model import Response
from infergraph.models.verdict import Accepted, Repair, Verdict
from infergraph.text.delimiters import escape_expr
from infergraph.validation.quote import Quote, quotes_of
from infergraph.validation.row import Row
from infergraph.validation.schema import AnswerModel


class Passage(BaseModel):
    words: Annotated[str, ig.Quote(of="body")]


# What a class says whose author does not check types: the quote itself as the type.
BARE: Any = ig.Quote(of="body")


class Every(BaseModel):
    bare: BARE
    annotated: Annotated[str, ig.Quote(of="body"), Field(description="The proof.")]
    optional: BARE | None = None
    spelt: Optional[BARE] = None  # noqa: UP045  the older spelling is as common
    inside: Annotated[str | None, ig.Quote(of="body")] = None
    listed: list[Annotated[str, ig.Quote(of="body")]] = []
    nested: list[Passage] = []
    titled: Annotated[str, ig.Quote(of="title")] | None = None


EVERY = AnswerModel.of(Every)
GOOD = {"bare": "hums", "annotated": "lamp"}


def judged(answer: dict[str, Any], body: str | None = "The lamp hums.", model: AnswerModel = EVERY) -> Verdict:
    text = model.model.model_construct(**answer).model_dump_json(warnings=False)
    return model.judge(Response(text=text), Row(body=body, title="Lamp"))


def test_a_quote_is_text_wherever_it_stands() -> None:
    assert EVERY.fields == pl.Schema(
        {
            "bare": pl.String(),
            "annotated": pl.String(),
            "optional": pl.String(),
            "spelt": pl.String(),
            "inside": pl.String(),
            "listed": pl.List(pl.String()),
            "nested": pl.List(pl.Struct({"words": pl.String()})),
            "titled": pl.String(),
        }
    )
    assert EVERY.quotes == (Quote(of="body"), Quote(of="title"))
    assert EVERY.reads_row


@pytest.mark.parametrize(
    ("answer", "place"),
    [
        ({"bare": "sings"}, "bare"),
        ({"annotated": "sings"}, "annotated"),
        ({"optional": "sings"}, "optional"),
        ({"spelt": "sings"}, "spelt"),
        ({"inside": "sings"}, "inside"),
        ({"listed": ["lamp", "sings"]}, "listed.1"),
        ({"nested": [{"words": "lamp"}, {"words": "sings"}]}, "nested.1.words"),
    ],
)
def test_what_is_not_there_is_told_to_the_model(answer: dict[str, Any], place: str) -> None:
    assert isinstance(judged(GOOD), Accepted)
    verdict = judged({**GOOD, **answer})
    assert isinstance(verdict, Repair)
    assert f"- {place}: does not occur in body: copy the words from body exactly" in verdict.message
    assert '"sings"' in verdict.message


@pytest.mark.parametrize("words", ["the lamp", "lamp  hums", "The lamp\nhums."])
def test_verbatim_is_letter_by_letter(words: str) -> None:
    verdict = judged({**GOOD, "bare": words})
    assert isinstance(verdict, Repair)
    assert "does not occur in body with this letter case and white space" in verdict.message


@pytest.mark.parametrize("words", ["", "  "])
def test_a_quote_of_nothing_is_none(words: str) -> None:
    verdict = judged({**GOOD, "bare": words}, body="a  b")
    assert isinstance(verdict, Repair)
    assert "bare: a quote has words" in verdict.message


def test_nothing_can_be_quoted_from_what_is_empty() -> None:
    verdict = judged(GOOD, body=None)
    assert isinstance(verdict, Repair)
    assert "body is empty" in verdict.message


PASSAGE = AnswerModel.of(Passage)


@given(st.text(), st.text().filter(str.strip), st.text())
def test_any_part_of_a_text_is_a_quote(before: str, words: str, after: str) -> None:
    assert isinstance(judged({"words": words}, body=before + words + after, model=PASSAGE), Accepted)


@given(st.text(alphabet="ab \n"), st.text(alphabet="ab \n"))
def test_a_quote_passes_exactly_when_it_occurs(body: str, words: str) -> None:
    accepted = isinstance(judged({"words": words}, body=body, model=PASSAGE), Accepted)
    assert accepted == (bool(words.strip()) and words in body)


@given(st.lists(st.sampled_from(["</body>", "<body>", "&lt;", "<", "a", " "])).map("".join).filter(str.strip))
def test_what_the_model_was_shown_escaped_it_may_copy_so(body: str) -> None:
    """Its own delimiters are escaped in the content; the quote is what stands in the column."""
    shown = pl.select(escape_expr(pl.lit(body), ["body"])).item()
    verdict = judged({"words": shown}, body=body, model=PASSAGE)
    assert isinstance(verdict, Accepted)
    assert verdict.value["words"] in body


def test_by_hand_any_text_passes_and_with_a_context_it_must_occur() -> None:
    assert Passage(words="anything").words == "anything"
    assert Passage.model_validate({"words": "anything"}, context={"other": 1}).words == "anything"
    with pytest.raises(ValidationError, match="does not occur in body"):
        Passage.model_validate({"words": "anything"}, context={"row": {"body": "The lamp hums."}})


def test_the_model_is_told_what_to_copy() -> None:
    fields = EVERY.answer_schema.parsed["properties"]
    assert fields["bare"] == {"type": "string", "description": "copied word for word from body"}
    assert fields["annotated"]["description"] == "The proof. (copied word for word from body)"
    assert fields["listed"]["description"] == "copied word for word from body"
    assert fields["nested"]["items"]["properties"]["words"]["description"] == "copied word for word from body"
    assert "infergraph" not in EVERY.answer_schema.text


def test_what_is_no_quote_is_refused() -> None:
    class Number(BaseModel):
        count: Annotated[int, ig.Quote(of="body")]

    class Several(BaseModel):
        words: Annotated[list[str], ig.Quote(of="body")]

    for model in (Number, Several):
        with pytest.raises(SchemaError, match=r"a quote is a text, not .*: write Annotated\[str, Quote"):
            AnswerModel.of(model)
    nothing: Any
    for nothing in ("", 3):
        with pytest.raises(SchemaError, match="name the column that is quoted"):
            Quote(of=nothing)


def _known(value: str, info: ValidationInfo[dict[str, Any]]) -> str:
    if value not in info.context["row"]["body"]:
        raise ValueError("no such product in the text")
    return value


class Plain(BaseModel):
    product: str

    @field_validator("product")
    @classmethod
    def _lower(cls, product: str) -> str:
        return product.lower()


class ByField(BaseModel):
    product: str

    @field_validator("product")
    @classmethod
    def _occurs(cls, product: str, info: ValidationInfo[dict[str, Any]]) -> str:
        return _known(product, info)


class ByModel(BaseModel):
    product: str

    @model_validator(mode="after")
    def _occurs(self, info: ValidationInfo[dict[str, Any]]) -> ByModel:
        _known(self.product, info)
        return self


class ByType(BaseModel):
    product: Annotated[str, AfterValidator(_known)]


class ByNested(BaseModel):
    parts: list[ByType] = []
    product: str = "lamp"


def test_only_validators_that_look_at_the_row_make_rows_be_read() -> None:
    assert not AnswerModel.of(Plain).reads_row
    assert all(AnswerModel.of(model).reads_row for model in (ByField, ByModel, ByType, ByNested, Passage))
    assert quotes_of(ByField) == ()


@pytest.mark.parametrize("model", [ByField, ByModel, ByType])
def test_validators_of_every_kind_are_given_the_row(model: type[BaseModel]) -> None:
    answer = AnswerModel.of(model)
    assert judged({"product": "lamp"}, model=answer) == Accepted({"product": "lamp"})
    verdict = judged({"product": "desk"}, model=answer)
    assert isinstance(verdict, Repair)
    assert "no such product in the text" in verdict.message


def test_an_object_inside_a_sentence_is_judged_in_the_row_too() -> None:
    said = Response(text='Here: {"words": "sings"}')
    assert isinstance(PASSAGE.judge(said, Row(body="The lamp hums.")), Repair)


def test_a_column_that_the_request_does_not_read_stops_with_its_name() -> None:
    class Elsewhere(BaseModel):
        product: str

        @field_validator("product")
        @classmethod
        def _occurs(cls, product: str, info: ValidationInfo[dict[str, Any]]) -> str:
            return product if product in info.context["row"]["bdoy"] else ""

    answer = AnswerModel.of(Elsewhere)
    with pytest.raises(PlanError, match=r"row\['bdoy'\], which the request does not read. Did you mean 'body'"):
        judged({"product": "lamp"}, model=answer)


def test_a_column_that_is_not_read_has_no_default_either() -> None:
    row = Row(body="The lamp hums.", lang=None)
    assert row.get("body", "?") == "The lamp hums."
    assert row.get("lang", "?") is None
    with pytest.raises(PlanError, match=r"row\['country'\], which the request does not read"):
        row.get("country", "de")
