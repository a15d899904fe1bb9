"""What counts as personal data and what does not: found however it is written, and nothing else is touched."""

from __future__ import annotations

import pickle
import re
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.errors import ConfigurationError
from infergraph.models.model import Model
from infergraph.models.personal_data import SUSPICIOUS
from infergraph.models.redaction import KINDS, Redaction

ALL = Redaction()

EMAILS = [
    "ann@example.org", "Ann.O'Neil+x@mail.example.co.uk", "jürgen@müller.de", "a_b-c@x-y.io", '"john doe"@example.com',
    "bounce=ann=example.com@lists.example.org", "ann@xn--mller-kva.de", "ann@[192.168.0.1]",
    "ann\uff20example.org", "ann\uff20example\uff0eorg", "山田\ufe6bexample.jp",
]  # fmt: skip
IBANS = [
    "DE89370400440532013000", "DE89 3704 0044 0532 0130 00", "de89-3704-0044-0532-0130-00", "NO93 8601 1117 947",
    "GB29 NWBK 6016 1331 9268 19", "FR14 2004 1010 0505 0001 3M02 606", "MT84MALT011000012345MTLCAST001S",
]  # fmt: skip
CARDS = [
    "4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111", "5555 5555 5555 4444", "2223 0031 2200 3222",
    "3782 822463 10005", "378282246310005", "6011111111111117", "3056 930902 5904", "3530111333300000",
]  # fmt: skip
PHONES = [
    "+49 30 1234567", "+49 (0)30 123-4567", "+4917112345678", "0049 30 1234567", "00491711234567", "030 1234567",
    "(030) 1234567", "0171/1234567", "020 7946 0958", "01 23 45 67 89", "01.23.45.67.89", "(212) 555-0123",
    "212-555-0123", "1-800-555-0123", "1(800)555-0123", "212.555.0123", "+1 212 555 0123", "713/853-7107",
]  # fmt: skip
NONE_OF_THEM = [
    "2024-01-31", "31.01.2024", "31.01.2024 10:30", "09/12/2001 02:53 PM", "12/31/01", "2024-01-31T10:00:00+01:00",
    "Tue, 20 Nov 2001 11:42:11 -0800 (PST)", "1.2.3.4", "v2024.01.02", "192.168.100.200", "10.0.0.1:8080",
    "order 2024-000123", "4711-0815-2024", "ORD-212-555-1234", "2125550123", "0123456789", "0000123456",
    "1234567890123456", "4111111111111112", "550e8400-e29b-41d4-a716-446655440000", "1Z999AA10123456784",
    "1 234 567,89", "1.234.567,89", "$1,234,567", "0.4532015112830366", "48.137154, 11.576124", "3.14159265358979",
    "978-3-16-148410-0", "123-45-6789", "12345-6789", "1700000000", "1700000000000", "2147483648",
    "<12345.1075855378110.JavaMail.evans@thyme>", "@someone", "x@y", "DE89370400440532013001", "AB12 3456 7890 1234",
    "10:30-12:45", "1000-2000", "call 2024-01-31", "call 10,000 people", "fax 12/31/2001 10:30", "GDPR2016", "[email]",
    "sha 0a1b2c3d4e5f60718293a4b5c6d7e8f901234567", "Ünïcödé ¾ ٣ <body> </body> & {{ x }} \\n \x00",
]  # fmt: skip
BYTES: Any = re.compile(b"x")
SEVEN: Any = 7
FOUND = [(kind, one) for kind, all_ in zip(KINDS, (EMAILS, IBANS, CARDS, PHONES), strict=True) for one in all_]
AROUND = ["{}", "Write to {}.", "({})", "x:{},y", "«{}»", "a\n{}\nb", '["{}", 1]', "\\n{}\\n", "<td>{}</td>", "{} 2024"]


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize(("kind", "one"), FOUND)
def test_each_kind_is_found_however_it_is_written(kind: str, one: str, around: str) -> None:
    if one.startswith("+") and around.endswith("2024"):
        around = "{}; 2024"  # a number of up to 15 digits may end like this
    if kind == "email" and around.startswith("\\"):
        around = "\\{}\\n"  # the letter may as well be the address' own first one
    assert ALL.apply(around.format(one)) == around.format(f"[{kind}]")


def test_frames_look_into_every_text_that_holds_one() -> None:
    texts = pl.Series([around.format(one) for _, one in FOUND for around in AROUND])
    assert texts.filter(~texts.str.contains(SUSPICIOUS)).to_list() == []


@pytest.mark.parametrize("text", NONE_OF_THEM)
def test_what_only_looks_like_it_is_left_alone(text: str) -> None:
    for around in ("{}", "It is {}.", "a\n{}\nb"):
        assert ALL.apply(around.format(text)) == around.format(text)


@pytest.mark.parametrize(
    ("given", "then"),
    [
        ("tel 5550123", "tel [phone]"),
        ("Handy: 01711234567, thanks", "Handy: [phone], thanks"),
        ("call me at 555 0123 today", "call me at [phone] today"),
        ("Fax: 713-853-7107Fax", "Fax: [phone]Fax"),
        ("(212) 555-0123 ext. 45", "[phone]"),
        ("713-853-7107x12, x37107", "[phone], x37107"),
        ("text order 12345678", "text order 12345678"),
        ("12 4111 1111 1111 1111 12 26", "12 [card] 12 26"),
        ("030 1234567 20240131", "[phone] 20240131"),
        ("DE89 3704 0044 0532 0130 00 and more", "[iban] and more"),
        ("x@y.zz,ann@example.org;<bob@example.org>", "[email],[email];<[email]>"),
        ("ann@example.org@example.com", "[email]@example.com"),
    ],
)
def test_the_words_and_numbers_around_count(given: str, then: str) -> None:
    assert ALL.apply(given) == then


def test_only_the_kinds_that_were_asked_for() -> None:
    text = "ann@example.org 4111111111111111 +49 30 1234567"
    assert Redaction(kinds=["card"]).apply(text) == "ann@example.org [card] +49 30 1234567"
    assert Redaction.of(["phone", "email"]) == Redaction(kinds=("email", "phone"))
    assert Redaction.of("email") == Redaction(kinds=["email"])
    assert Redaction.of(True) == Redaction(kinds=["all"]) == ALL
    assert Redaction.of(False) is Redaction.of(None) is Redaction.of([]) is Redaction.of(Redaction(kinds=[])) is None


def test_patterns_of_ones_own_come_first_and_add_up() -> None:
    one = Redaction(kinds=["email"], patterns={"ticket": r"TCK-\d+"})
    other = Redaction(kinds=["phone"], patterns={"customer": re.compile("c-[0-9]{10}", re.IGNORECASE)})
    both = one | other
    assert both.kinds == ("email", "phone")
    assert both.apply("TCK-1 C-2125550123 a@b.de 212-555-0123") == "[ticket] [customer] [email] [phone]"
    assert (one | None) == (one | one) == one
    assert one.identity != both.identity
    assert pickle.loads(pickle.dumps(both)) == both
    assert len({one, both, Redaction(kinds=["email"], patterns={"ticket": r"TCK-\d+"})}) == 2


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Redaction(kinds=["emails"]), "there is no kind 'emails'. Did you mean 'email'"),
        (lambda: Redaction.of(SEVEN), "redact=7: write True, a list of"),
        (lambda: Redaction(patterns={"a1": "x"}), "letters, '_' and '-' only"),
        (lambda: Redaction(patterns={"card": "x"}), "is a built-in kind"),
        (lambda: Redaction(patterns={"a": "("}), "is no regular expression"),
        (lambda: Redaction(patterns={"a": "x*"}), "fits an empty text too"),
        (lambda: Redaction(patterns={"a": BYTES}), "over bytes"),
        (lambda: Model("scripted:x", redact=["name"]), "there is no kind 'name'"),
    ],
)
def test_a_wrong_redact_says_what_to_write(make: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        make()


PIECES = st.one_of(
    st.text(max_size=12), st.sampled_from([one for _, one in FOUND] + NONE_OF_THEM), st.sampled_from(" \n\t.,-+()/@0")
)


@given(st.lists(PIECES, max_size=12).map("".join))
def test_what_was_redacted_stays_as_it_is(text: str) -> None:
    once = ALL.apply(text)
    assert ALL.apply(once) == once
    # Nothing is lost but what a placeholder stands for: the pieces between them are in the text, in order.
    at = 0
    for piece in re.split(r"\[(?:email|iban|card|phone)\]", once):
        at = text.index(piece, at) + len(piece)


@given(st.text(alphabet=st.characters(exclude_characters="@", exclude_categories=["Nd"])))
def test_a_text_without_digits_or_at_signs_is_unchanged(text: str) -> None:
    assert ALL.apply(text) == text


@given(st.text(alphabet="0123456789 -", min_size=2000, max_size=2000) | st.just("a.b-" * 5000) | st.just("1" * 20000))
def test_long_rows_of_digits_take_no_time_to_speak_of(text: str) -> None:
    assert len(ALL.apply(text + "@")) <= len(text) + 2
