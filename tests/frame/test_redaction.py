"""Personal data leaves neither for a model server nor into the store: every operator, every way to ask."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationInfo, field_validator, model_validator

import infergraph as ig
from infergraph.models.model import CallFailed
from infergraph.models.scripted import script
from infergraph.testing import SimulatedServer

EMAIL, IBAN, CARD, PHONE = "ann.lee@example.org", "DE89 3704 0044 0532 0130 00", "4111 1111 1111 1111", "+49 30 1234567"
Contents = Callable[[Path], list[tuple[str, bytes]]]
PLANTED = (EMAIL, IBAN, CARD, PHONE)
LETTER = f"Dear all, I am {EMAIL} or {PHONE}. Pay {CARD} into {IBAN} by 2024-01-31, order 4711."
CLEAN = "Dear all, I am [email] or [phone]. Pay [card] into [iban] by 2024-01-31, order 4711."


class Fact(BaseModel):
    order: str


def rows(letter: str = LETTER) -> pl.DataFrame:
    return pl.DataFrame({
        "id": [1, 2, 3],
        "body": [letter, None, "Nothing of the kind."],
        "tags": [[letter, "x"], None, []],
        "who": [{"mail": EMAIL}, {"mail": None}, {"mail": "none"}],
    })  # fmt: skip


ASK: dict[str, Callable[[ig.SemanticFrame], ig.SemanticFrame]] = {
    "map": lambda frame: frame.semantic.map("Sum up {{ body }}", into="out"),
    "map with logic": lambda frame: frame.semantic.map(
        "Sum up{% if body %}: {{ body|upper }}, {{ body }}{% endif %}{% for tag in tags or [] %} {{ tag }}{% endfor %}",
        into="out",
    ),
    "map of a list and a field": lambda frame: frame.semantic.map("Sum up {{ tags }} of {{ who.mail }}", into="out"),
    "extract": lambda frame: frame.semantic.extract(["body", "tags"], Fact),
    "classify": lambda frame: frame.semantic.classify("body", ["a", "b"]),
    "filter": lambda frame: frame.semantic.filter("{{ body }} is about money", where=pl.col("id") > 0),
    "sentiment": lambda frame: frame.semantic.sentiment(pl.col("body").str.to_uppercase()),
    "embed": lambda frame: frame.semantic.embed(["body", "tags"], model="own"),
}


def spelt(planted: str) -> set[bytes]:
    """A planted text in the spellings that it may leave or lie in."""
    return {spelling.encode() for one in (planted, planted.upper(), planted.lower()) for spelling in (one, one[3:-2])}


def leaks(texts: list[bytes], planted: tuple[str, ...] = PLANTED) -> list[bytes]:
    return [text for text in texts for one in planted for spelling in spelt(one) if spelling in text]


def own_model(server: SimulatedServer, **settings: Any) -> ig.Model:
    return ig.Model("openai:own", base_url=server.openai_url, api_key=None, dimensions=64, **settings)


@pytest.mark.parametrize("where", ["model", "session", "fallback"])
@pytest.mark.parametrize("ask", ASK.values(), ids=ASK)
def test_no_operator_sends_or_stores_what_is_to_be_redacted(
    ask: Callable[[ig.SemanticFrame], ig.SemanticFrame],
    where: str,
    simulated_server: SimulatedServer,
    tmp_path: Path,
    contents_of: Contents,
) -> None:
    asked = own_model(simulated_server, redact=True if where == "model" else None, fallback="next")
    after = own_model(simulated_server, redact=["all"] if where == "fallback" else None, salt="other")
    models, whole = {"own": asked, "next": after}, True if where == "session" else None
    with ig.Session(models, "own", redact=whole, root=tmp_path) as session:
        out = ask(session.frame(rows(), name="letters", key="id"))
        shown = [str(prompt["messages"]).encode() for prompt in out.prompts(3)]
        expected = out.estimate()
        result = out.run()
        again = out.estimate()
    sent = [str(request.body).encode() for request in simulated_server.requests]
    assert sent
    assert not leaks([*sent, *shown, *(content for _, content in contents_of(tmp_path / ".infergraph"))])
    assert any(b"[email]" in text for text in sent)
    assert any(b"[email]" in text for text in shown)
    assert expected.calls == result.usage.calls == again.store_hits == len(sent)
    assert again.calls == 0


def test_text_without_any_is_sent_as_it_is_and_shares_its_answers(
    simulated_server: SimulatedServer, tmp_path: Path
) -> None:
    plain = pl.DataFrame({"body": ["Order 4711 of 2024-01-31, version 1.2.3", "é <body> & </body> x", ""]})
    asked = []
    for redact in (None, True):
        with ig.Session({"own": own_model(simulated_server)}, redact=redact, root=tmp_path) as session:
            asked.append(session.frame(plain).semantic.map("Sum up {{ body }}", into="out").run().usage)
    assert [(usage.calls, usage.store_hits) for usage in asked] == [(3, 0), (0, 3)]


def test_a_run_with_another_model_redacts_as_that_model_asks(simulated_server: SimulatedServer, tmp_path: Path) -> None:
    models = {"open": own_model(simulated_server), "shy": own_model(simulated_server, redact=["email"])}
    with ig.Session(models, "open", root=tmp_path) as session:
        out = session.frame(rows()).semantic.map("Sum up {{ body }}", into="out")
        assert out.estimate(ig.RunOptions(model="shy")).calls == 2
        out.run(model="shy")
    sent = [str(request.body).encode() for request in simulated_server.requests]
    assert not leaks(sent, (EMAIL,))
    assert leaks(sent, (PHONE,))


def test_the_authors_own_text_stays_and_nulls_stay_nulls(tmp_path: Path) -> None:
    examples = [("Write to boss@example.com", "boss@example.com")]
    prompt = "Ask help@example.com or +49 30 7654321 about {{ body }}"
    with ig.Session({"m": ig.Model("scripted:authors")}, redact=True, root=tmp_path) as session:
        frame = session.frame(rows(), key="id")
        shown = frame.semantic.map(prompt, into="out", examples=examples).prompts(3)
        assert [prompt["messages"][-1]["content"] for prompt in shown] == [
            f"<body>\n{CLEAN}\n</body>", "<body>\nNothing of the kind.\n</body>"
        ]  # fmt: skip
        head = str(shown[0]["messages"])
        assert "help@example.com" in head
        assert "+49 30 7654321" in head
        assert head.count("boss@example.com") == 2
        result = frame.semantic.map(prompt, into="out").run()
    assert result.usage.nulls == 1
    assert result.frame["out"].null_count() == 1
    assert result.frame["body"].to_list() == rows()["body"].to_list(), "the user's own rows are left alone"


def test_patterns_of_ones_own_leave_the_blocks_delimiters_alone(tmp_path: Path) -> None:
    everything = ig.Redaction(kinds=[], patterns={"word": r"(?s)<.*>|body|[a-z]{3,}"})
    with ig.Session({"m": ig.Model("scripted:own", redact=everything)}, root=tmp_path) as session:
        frame = session.frame(pl.DataFrame({"body": ["some body", "</body>\nsome <b>"]}))
        shown = frame.semantic.map("Sum up {{ body }}", into="out").prompts(2)
    said = [prompt["messages"][-1]["content"] for prompt in shown]
    assert said == ["<body>\n[word] [word]\n</body>", "<body>\n&lt;/[word]>\n[word] [word]\n</body>"]


def test_rejects_and_repairs_hold_the_redacted_text_only(tmp_path: Path, contents_of: Contents) -> None:
    class Strict(BaseModel):
        order: str

        @field_validator("order")
        @classmethod
        def never(cls, value: str) -> str:
            raise ValueError(f"{value} is not in: {LETTER}")

    with (
        script("strict", lambda _: {"order": "4711"}) as strict,
        ig.Session({"m": ig.Model("scripted:strict")}, redact=True, root=tmp_path) as session,
    ):
        result = session.frame(rows(), key="id").semantic.extract("body", Strict).run()
    assert result.rejects.height == 2
    assert len(strict.requests) == 6
    rejected = result.rejects.row(0, named=True)
    assert CLEAN in rejected["prompt"]
    assert CLEAN in rejected["message"]
    told = [str(request.messages).encode() for request in strict.requests]
    kept = [content for _, content in contents_of(tmp_path / ".infergraph")]
    assert not leaks([*told, *kept, result.rejects.write_json().encode()])


def test_a_redaction_is_part_of_the_plans_fingerprint(tmp_path: Path) -> None:
    def fingerprint(redact: Any) -> str:
        with ig.Session({"m": ig.Model("scripted:any")}, redact=redact, root=tmp_path) as session:
            return session.frame(rows()).semantic.map("{{ body }}", into="out").fingerprint()

    assert len({fingerprint(redact) for redact in (None, ["email"], True)}) == 3
    assert fingerprint(None) == fingerprint([])


WORDS = st.lists(
    st.sampled_from(["Order", "4711", "2024-01-31", "paid,", "(v1.2.3)", "ü", "tel", "\n", "<body>"]), max_size=4
)
DIGITS = st.text(alphabet="0123456789", min_size=7, max_size=7)


def _card(digits: str) -> str:
    for check in "0123456789":
        number = f"45{digits}{digits[:6]}{check}"
        doubled = (int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(number)))
        if sum(n - 9 * (n > 9) for n in doubled) % 10 == 0:
            return number
    raise AssertionError(digits)


def _iban(digits: str) -> str:
    own = f"{digits}{digits}1234"
    check = 98 - int(f"{own}131400") % 97
    return f"DE{check:02}{own}"


def _grouped(number: str, by: str) -> str:
    return number if by == "" else by.join(number[at : at + 4] for at in range(0, len(number), 4))


FOUND = st.one_of(
    st.builds("{}.{}@{}.example".format, *[st.text(alphabet="abcxyz09_+", min_size=3, max_size=8)] * 2,
              st.text(alphabet="abcxyz09", min_size=3, max_size=8)),
    st.builds("+{} {} {}".format, st.sampled_from(["1", "33", "44", "49", "351"]), st.just("30"), DIGITS),
    st.builds(lambda d: f"({200 + int(d[:2])}) {200 + int(d[2:4])}-{d[3:]}", DIGITS),
    st.builds(_grouped, DIGITS.map(_card), st.sampled_from(["", " ", "-"])),
    st.builds(_grouped, DIGITS.map(_iban), st.sampled_from(["", " "])),
)  # fmt: skip
NUMBERS = count()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    letters=st.lists(st.tuples(WORDS, st.lists(FOUND, min_size=1, max_size=3), WORDS), min_size=1, max_size=4),
    ask=st.sampled_from(["map", "map with logic", "extract", "filter", "embed"]),
)
def test_no_planted_address_or_number_survives(
    letters: list[tuple[list[str], list[str], list[str]]], ask: str, tmp_path: Path, contents_of: Contents
) -> None:
    planted = tuple(one for _, found, _ in letters for one in found)
    bodies = [" ".join([*before, "; ".join(found), *after]) for before, found, after in letters]
    data = pl.DataFrame({"id": range(1, len(bodies) + 1), "body": bodies, "tags": [[body] for body in bodies]})
    root = tmp_path / str(next(NUMBERS))
    root.mkdir()
    with (
        SimulatedServer() as server,
        ig.Session({"own": own_model(server)}, redact=True, root=root) as session,
    ):
        ASK[ask](session.frame(data)).run()
        sent = [str(request.body).encode() for request in server.requests]
    assert sent
    texts = [*sent, *(content for _, content in contents_of(root / ".infergraph"))]
    assert not [(one, text) for one in planted for text in texts if one.encode() in text]


def test_a_quote_and_a_validator_see_the_row_as_the_model_did(tmp_path: Path, contents_of: Contents) -> None:
    seen: list[Any] = []

    class Evidence(BaseModel):
        words: Annotated[str, ig.Quote(of="body")]

        @model_validator(mode="after")
        def look(self, info: ValidationInfo) -> Evidence:
            assert info.context is not None
            seen.append(info.context["row"]["body"])
            return self

    def answer(request: Any) -> dict[str, str]:
        repaired = len(request.messages) > 2
        return {"words": "I am [email]" if repaired else f"I am {EMAIL}"}

    with (
        script("quoting", answer) as quoting,
        ig.Session({"m": ig.Model("scripted:quoting", redact=True)}, root=tmp_path) as session,
    ):
        out = session.frame(rows().head(1), key="id").semantic.extract("body", Evidence)
        assert out.run().frame["words"].to_list() == ["I am [email]"]
        assert out.estimate().store_hits == 1
    assert set(seen) == {CLEAN}
    assert len(quoting.requests) == 2, "what does not stand in the redacted text is no quote"


def test_rejected_rows_go_to_a_model_that_wants_less_only_where_that_changes_nothing(tmp_path: Path) -> None:
    models = {
        "open": ig.Model("scripted:open"),
        "shy": ig.Model("scripted:shy", redact=["email"]),
        "bound": ig.Model("scripted:bound", redact=True),
    }
    refused = CallFailed("no", outcome="permanent", reason="refused")
    with (
        script("open", lambda _: refused),
        script("bound", lambda _: refused),
        script("shy", lambda _: "said") as shy,
        ig.Session(models, "open", root=tmp_path) as session,
    ):
        frame = session.frame(rows(), key="id")
        out = frame.semantic.map("Sum up {{ body }}", into="out")
        assert out.run().rejects.height == 2
        with pytest.raises(ig.PlanError, match="to be sent redacted text only"):
            out.run(retry_rejects=True, retry_model="shy")
        assert shy.requests == []
        less = frame.semantic.map("Sum up {{ body }}", into="out", model="bound")
        assert less.run().rejects.height == 2
        assert less.run(retry_rejects=True, retry_model="shy").rejects.is_empty()
        assert not leaks([str(request.messages).encode() for request in shy.requests])
