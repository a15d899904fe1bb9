"""From the bytes of a dropped file to text."""

import json
from email.message import EmailMessage
from pathlib import Path

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from assets.support import letters
from assets.support.letters import Letter, Skipped, html_text, read_letter

SUPPORT = Path(letters.__file__).parent
EXAMPLES = SUPPORT / "inbox_examples"
LABELS = [json.loads(line) for line in (SUPPORT / "labels.jsonl").read_text(encoding="utf-8").splitlines()]


def letter(content: bytes) -> Letter:
    found = read_letter(content)
    assert isinstance(found, Letter)
    return found


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        ("Grüße aus Köln".encode(), "utf-8"),
        (b"\xef\xbb\xbf" + "Grüße aus Köln".encode(), "utf-8-sig"),
        ("Grüße aus Köln".encode("latin-1"), "latin-1"),
        ("Grüße aus Köln".encode("utf-16"), "utf-16"),
    ],
)
def test_encodings_are_read_and_named(content: bytes, encoding: str) -> None:
    found = letter(content)
    assert (found.body, found.encoding) == ("Grüße aus Köln", encoding)


@pytest.mark.parametrize(
    "content", [b"", b" \n\t\r\n ", b"From: a@b.example\nSubject: Hi\n\n", b"\xef\xbb\xbf", b"\x07"]
)
def test_nothing_to_read(content: bytes) -> None:
    found = read_letter(content)
    assert isinstance(found, Skipped)
    assert found.reason in ("empty", "binary")


@pytest.mark.parametrize(
    "content",
    [b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", b"PK\x03\x04\x14\x00\x08", b"%PDF-1.7\n" + bytes(range(1, 32)) * 9],
)
def test_a_binary_file_is_said(content: bytes) -> None:
    found = read_letter(content)
    assert isinstance(found, Skipped)
    assert found.reason == "binary"


def test_an_email_in_parts() -> None:
    message = EmailMessage()
    message["From"], message["Subject"] = "Ann <ann@x.example>", "Rückfrage: größer"
    message["Date"] = "Thu, 05 Nov 2026 10:44:10 +0300"
    message.set_content("Der Text mit € und ß")
    message.add_alternative("<p>HTML</p>", subtype="html")
    message.add_attachment(b"\x00\x01", maintype="application", subtype="pdf", filename="a.pdf")
    found = letter(message.as_bytes())
    assert (found.channel, found.subject, found.body) == ("email", "Rückfrage: größer", "Der Text mit € und ß")
    assert found.sent is not None
    assert found.sent.isoformat() == "2026-11-05T07:44:10+00:00"


@pytest.mark.parametrize(
    "date", ["", "yesterday", "Mon, 99 Foo 2026 99:99:99 +0000", "Fri, 31 Dec 9999 23:59:59 -1400"]
)
def test_a_date_that_is_none(date: str) -> None:
    assert letter(f"From: a@b.example\nSubject: Hi\nDate: {date}\n\nText\n".encode()).sent is None


def test_an_unknown_charset_is_read_anyway() -> None:
    content = b"From: a@b.example\nSubject: Hi\nContent-Type: text/plain; charset=klingon\n\nText \xe4\n"
    assert letter(content).body == "Text ä"


def test_a_text_that_talks_about_a_header_is_no_email() -> None:
    assert letter(b"Subject: is what I wrote, but where?\nNo idea.\n").channel == "text"


def test_a_chat_is_told_by_its_turns() -> None:
    assert letter(b"[2026-11-02 10:02] visitor: hi\n[2026-11-02 10:03] Priya (Brightleaf): Hello!\n").channel == "chat"


def test_what_nobody_sees_is_not_read() -> None:
    page = (
        "<style>p{}</style><p>Hello<br>there</p><!-- obey --><div style='display: none'>obey <b>now</b><br></div>"
        "<template>obey</template><p>&Uuml;ber &lt;uns&gt;</p><script>obey()"
    )
    assert html_text(page) == "Hello\nthere\nÜber <uns>"


def test_control_characters_do_not_pass() -> None:
    assert letter(b"one\x1b[31m two\x08\r\nthree").body == "one[31m two\nthree"


@given(st.binary(max_size=400))
def test_any_bytes_give_a_letter_or_a_reason(content: bytes) -> None:
    found = read_letter(content)
    assert isinstance(found, Skipped) or (found.body and "\x00" not in found.body)


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_header_gives_a_letter_or_a_reason(header: str, body: str) -> None:
    read_letter(
        f"From: {header}\nSubject: {header}\nDate: {header}\nContent-Type: {header}\n\n{body}".encode(
            "utf-8", "replace"
        )
    )


class TestExamples:
    def test_every_file_has_a_label_and_every_label_a_file(self) -> None:
        assert sorted(label["file"] for label in LABELS) == sorted(path.name for path in EXAMPLES.iterdir())
        assert len(LABELS) >= 40

    @pytest.mark.parametrize("label", LABELS, ids=lambda label: label["file"])
    def test_it_reads(self, label: dict[str, object]) -> None:
        found = letter((EXAMPLES / str(label["file"])).read_bytes())
        assert len(found.body) > 60
        assert found.channel == "email" if str(label["file"]).endswith(".eml") else found.channel in ("chat", "text")

    def test_languages_hostile_ones_and_encodings_are_there(self) -> None:
        assert {label["language"] for label in LABELS} >= {"en", "de", "fr", "es", "ja"}
        assert sum(label["hostile"] for label in LABELS) >= 5
        found = {letter(path.read_bytes()).encoding for path in EXAMPLES.iterdir()}
        assert found >= {"utf-8", "utf-8-sig", "latin-1", "iso-8859-1"}

    def test_hidden_orders_in_html_are_gone(self) -> None:
        body = letter((EXAMPLES / "0029-hostile-html.eml").read_bytes()).body
        assert "SYSTEM" not in body
        assert "assistant" not in body
        assert "gatehouse" in body


HEAD = b"From: a@b.example\nSubject: hi\nDate: Mon, 1 Jan 2026 10:00:00 +0000\n"


@pytest.mark.parametrize(
    "content",
    [
        HEAD + b"Content-Type: text/html\n\n<p>Hello</p><![foo[ bar ]]><p>World</p>\n",
        HEAD + b"Content-Type: text/plain; charset=utf-7\n\nHello +2AA-\n",
        HEAD + b"Content-Type: text/plain; charset=unicode_escape\n\n\\ud800 Hello\n",
        b"From: a@b\nSubject: =?unicode_escape?q?=5Cud800?=\nDate: x\n\nHello\n",
        b"From: a@b\nSubject: x\nDate: Mon, 1 Jan 99999999999999999999 10:00:00\n\nHello\n",
    ],
)
def test_a_malformed_mail_still_says_what_it_says(content: bytes) -> None:
    found = letter(content)
    assert "Hello" in found.body
    assert f"{found.subject}{found.body}".encode()


def test_html_after_a_marked_section_is_kept() -> None:
    page = "<!--[if mso]>office<![endif]--><![foo[ bar ]]><p>World</p><![ open"
    assert html_text(page) == "World"


DEEP = b"From: a@b\nSubject: x\n" + b"Content-Type: multipart/mixed; boundary=x\n\n--x\n" * 1_000
PIECES = st.sampled_from(
    [
        b"From: a@b\n",
        b"Subject: ",
        b"Date: ",
        b"=?utf-8?q?",
        b"=?unicode_escape?b?",
        b"?=",
        b"\n",
        b"\n\n",
        b"--x\n",
        b"<![",
        b"<!DOCTYPE [",
        b"]]>",
        b"&#xD800;",
        b"&#99999999999;",
        b"Content-Type: text/html; charset=",
        b"utf-7",
        b"idna",
        b"+2AA-",
        b"Content-Type: multipart/mixed; boundary=x\n",
        b"Content-Transfer-Encoding: base64\n",
        b"charset*0*=",
        b";",
        b"<",
        b">",
        b"Mon, 1 Jan 9999999999999999999 ",
        b"+9999",
        b"Content-Type: message/rfc822\n",
        b'"',
        b"\xff",
        b"\xff\xfe\x00\xd8",
    ]
)


@given(st.one_of(st.binary(max_size=300), st.lists(PIECES | st.binary(max_size=4), max_size=30).map(b"".join)))
@settings(deadline=None)
@example(DEEP)
def test_any_bytes_are_a_letter_that_can_be_stored_or_a_reason(content: bytes) -> None:
    for each in (content, HEAD + content):
        found = read_letter(each)
        if isinstance(found, Letter):
            row = {"body": found.body, "subject": found.subject, "sent": found.sent, "encoding": found.encoding}
            pl.DataFrame([row], schema={"body": pl.String, "subject": pl.String, "sent": pl.Datetime("us", "UTC"),
                                        "encoding": pl.String})  # fmt: skip
        else:
            assert found.reason in ("empty", "binary", "unreadable")
            assert found.detail.encode()
