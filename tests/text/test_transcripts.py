"""Transcripts of every form, as they really come, read into turns and written as text again."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import infergraph as ig
from infergraph.errors import PlanError
from infergraph.text.transcript_forms import READERS
from infergraph.text.transcripts import TURNS

transcripts = ig.text.transcripts
ANN_BO = [("Ann Lee", 1.0, 4.0, "Hello.\nHow are you?"), ("Bo", 4.5, 6.25, "Fine!")]
OPEN_END = [("Ann Lee", 1.0, 4.0, "Hello.\nHow are you?"), ("Bo", 4.0, None, "Fine!")]
NO_TIMES = [("Ann Lee", None, None, "Hello.\nHow are you?"), ("Bo", None, None, "Fine!")]

FORMS: dict[str, tuple[str, str, list[Any]]] = {
    "WebVTT with voices": (
        "webvtt",
        "WEBVTT - a title\nKind: captions\n\nNOTE a\nnote\n\nSTYLE\n::cue { color: red }\n\nid-1\n"
        "00:00:01.000 --> 00:00:04.000 align:start\n<v.loud Ann Lee>Hello.\nHow <i>are</i> you?</v>\n\n"
        "00:04.500 --> 00:06.250\n<v Bo>Fine!</v>\n",
        ANN_BO,
    ),
    "WebVTT of Zoom": (
        "webvtt",
        "WEBVTT\n\n1\n00:00:01.000 --> 00:00:04.000\nAnn Lee: Hello.\nHow are you?\n\n"
        "2\n00:00:04.500 --> 00:00:06.250\nBo: Fine!",
        ANN_BO,
    ),
    "SRT": (
        "srt",
        "1\n00:00:01,000 --> 00:00:04,000\nAnn Lee: Hello.\nHow are you?\n\n\n"
        "2\n00:00:04,500 --> 00:00:06,250\nBo: Fine!\n",
        ANN_BO,
    ),
    "SRT without empty lines": (
        "srt",
        "1\n00:00:01,000 --> 00:00:04,000\nAnn Lee: Hello.\nHow are you?\n2\n00:00:04,500 --> 00:00:06,250\nBo: Fine!",
        ANN_BO,
    ),
    "SRT with a missing end": (
        "srt",
        "1\n00:00:01,000 -->\nAnn Lee: Hello.\nHow are you?\n\n2\n00:00:04,000 -->\nBo: Fine!",
        OPEN_END,
    ),
    "Zoom's saved captions": ("zoom", "[Ann Lee] 0:00:01\nHello.\nHow are you?\n\n[Bo] 0:00:04\nFine!\n", OPEN_END),
    "Teams' cues": (
        "teams",
        "0:0:1.0 --> 0:0:4.0\nAnn Lee\nHello.\nHow are you?\n0:0:4.5 --> 0:0:6.25\nBo\nFine!\n",
        ANN_BO,
    ),
    "Teams' document": ("teams", "Ann Lee   0:01\nHello.\nHow are you?\n\nBo   0:04\nFine!", OPEN_END),
    "Meet": (
        "meet",
        "Weekly - Transcript\n\n00:00:01\n\nAnn Lee: Hello.\nHow are you?\n\n00:00:04\nBo: Fine!\n",
        [(None, None, None, "Weekly - Transcript"), *OPEN_END],
    ),
    "Whisper": (
        "whisper",
        json.dumps(
            {
                "text": "all",
                "segments": [
                    {"id": 0, "start": 1, "end": 4.0, "text": " Hello.\nHow are you?", "speaker": "Ann Lee"},
                    {"id": 1, "start": 4.5, "end": 6.25, "text": " Fine!", "speaker": "Bo"},
                ],
            }
        ),
        ANN_BO,
    ),
    "name, time in round brackets": ("generic", "Ann Lee (0:01): Hello.\nHow are you?\nBo (00:00:04): Fine!", OPEN_END),
    "name, time in square brackets": ("generic", "Ann Lee [0:01]: Hello.\nHow are you?\nBo [0:04]: Fine!", OPEN_END),
    "time in brackets, name": ("generic", "[00:00:01] Ann Lee: Hello.\nHow are you?\n\n[00:00:04] Bo: Fine!", OPEN_END),
    "time, name": ("generic", "00:01 Ann Lee: Hello.\nHow are you?\n00:04 - Bo: Fine!", OPEN_END),
    "name and time above": ("generic", "Ann Lee (00:01)\nHello.\nHow are you?\n\nBo (00:04)\nFine!", OPEN_END),
    "names alone": ("generic", "Ann Lee: Hello.\nHow are you?\nBo: Fine!", NO_TIMES),
}


def computed(expr: pl.Expr, *texts: str | None) -> list[Any]:
    return pl.DataFrame({"t": pl.Series(texts, dtype=pl.String)}).select(expr).to_series().to_list()


def turns(text: str, **options: Any) -> list[tuple[Any, ...]]:
    found = computed(transcripts.parse("t", **options), text)[0]
    assert [turn["index"] for turn in found] == list(range(len(found)))
    return [(turn["speaker"], turn["start"], turn["end"], turn["text"]) for turn in found]


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_every_form_is_recognised_and_read(name: str, ending: str, mark: str) -> None:
    form, text, expected = FORMS[name]
    text = mark + text.replace("\n", ending)
    assert computed(transcripts.detect("t"), text) == [form]
    assert turns(text) == expected
    assert turns(text, format=form) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[00:00:01] Hello there\n(00:03) and so on",
            [(None, 1.0, 3.0, "Hello there"), (None, 3.0, None, "and so on")],
        ),
        (
            "[00:00:01.000 --> 00:00:02.000]  Hello\n[00:02.500 --> 00:03.000]  there",
            [(None, 1.0, 2.0, "Hello"), (None, 2.5, 3.0, "there")],
        ),
        ("[0:01 - 0:05] Ann: x\n[0:06 \u2013 0:07] Bo: y", [("Ann", 1.0, 5.0, "x"), ("Bo", 6.0, 7.0, "y")]),
        ("Ann:\nwords\nBo:\nmore", [("Ann", None, None, "words"), ("Bo", None, None, "more")]),
        ("**Ann:** x\n**Bo** (0:02): y", [("Ann", None, None, "x"), ("Bo", 2.0, None, "y")]),
        ("[SPEAKER_00]: x\n[SPEAKER_01]: y", [("SPEAKER_00", None, None, "x"), ("SPEAKER_01", None, None, "y")]),
        ("Ann 00:01:02\nx", [("Ann", 62.0, None, "x")]),
        ("10:03:14 From Ann Lee to Everyone: hi", [("Ann Lee", 36194.0, None, "hi")]),
        ("Ann (1:02 PM): x\nBo (12:05 a.m.): y", [("Ann", 46920.0, 46920.0, "x"), ("Bo", 300.0, None, "y")]),
        ("Ann\uff1ahello\nBo\uff1ayes", [("Ann", None, None, "hello"), ("Bo", None, None, "yes")]),
        (
            "Ann 0 minutes 9 seconds\nhello\nBo 1 hour 2 minutes 3 seconds\nyes",
            [("Ann", 9.0, 3723.0, "hello"), ("Bo", 3723.0, None, "yes")],
        ),
    ],
)
def test_usual_variants_of_the_generic_form(text: str, expected: list[Any]) -> None:
    assert computed(transcripts.detect("t"), text) == ["generic"]
    assert turns(text) == expected


NOBODY = (None, None, None)


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        (
            "meet",
            "Weekly (2024-07-18 16:06 GMT-7) - Transcript\nAttendees\nAnn Lee, Bo\n\n00:00:01\n\nAnn Lee: Hello.\n\n"
            "00:05:00\n\nand so on\nBo: Bye.\nMeeting ended after 00:05:10 \U0001f44b\n\n"
            "This editable transcript was computer generated and might contain errors.",
            [
                (*NOBODY, "Weekly (2024-07-18 16:06 GMT-7) - Transcript\nAttendees\nAnn Lee, Bo"),
                ("Ann Lee", 1.0, 300.0, "Hello."),
                (None, 300.0, 300.0, "and so on"),
                ("Bo", 300.0, None, "Bye."),
                (
                    *NOBODY,
                    "Meeting ended after 00:05:10 \U0001f44b\n"
                    "This editable transcript was computer generated and might contain errors.",
                ),
            ],
        ),
        (
            "meet",
            "## Weekly - Transcript\n### 00:00:01\n\n**Ann Lee:** Hello.  \n\n### 00:05:00\n\n**Bo:** Bye.\n\n"
            "### **Transcription ended after 00:05:10**\n\n*This editable transcript was computer generated.*",
            [
                (*NOBODY, "## Weekly - Transcript"),
                ("Ann Lee", 1.0, 300.0, "Hello."),
                ("Bo", 300.0, None, "Bye."),
                (
                    *NOBODY,
                    "### **Transcription ended after 00:05:10**\n*This editable transcript was computer generated.*",
                ),
            ],
        ),
        (
            "teams",
            "Weekly\nJuly 18, 2024, 3:00PM\n45m 10s\n\nAnn Lee started transcription\n\nAnn Lee   0:03\n"
            "We stopped transcription\n\nBo   0:04\nFine!\n\nAnn Lee stopped transcription\n",
            [
                (*NOBODY, "Weekly\nJuly 18, 2024, 3:00PM\n45m 10s\nAnn Lee started transcription"),
                ("Ann Lee", 3.0, 4.0, "We stopped transcription"),
                ("Bo", 4.0, None, "Fine!"),
                (*NOBODY, "Ann Lee stopped transcription"),
            ],
        ),
        (
            "generic",
            "Weekly\n  Ann: Hello.\n  Bo: Bye.\nTranscription ended after 00:30:30",
            [
                (*NOBODY, "Weekly"),
                ("Ann", None, None, "Hello.\nBo: Bye."),
                (*NOBODY, "Transcription ended after 00:30:30"),
            ],
        ),
        (
            "srt",
            "Weekly\n\n1\n00:00:01,000 --> 00:00:02,000\nHello.\n\nHow are you?\n\n2\n"
            "00:00:03,000 --> 00:00:04,000\n42\n\n3\n",
            [(*NOBODY, "Weekly"), (None, 1.0, 2.0, "Hello.\nHow are you?"), (None, 3.0, 4.0, "42")],
        ),
        (
            "webvtt",
            "WEBVTT title\nKind: captions\n\nNOTE a\nnote\n\nintro-1\n00:01.000 --> 00:02.000\nHello.\n\n"
            "How are you?\n\nSTYLE\n::cue {}\n\nid 2\n00:03.000 --> 00:04.000\nNOTE that",
            [(None, 1.0, 2.0, "Hello.\nHow are you?"), (None, 3.0, 4.0, "NOTE that")],
        ),
    ],
    ids=["Meet", "Meet as Markdown", "Teams", "generic", "SRT", "WebVTT"],
)
def test_what_nobody_said_is_kept_apart(form: str, text: str, expected: list[Any]) -> None:
    assert computed(transcripts.detect("t"), text) == [form]
    assert turns(text) == expected
    again = computed(transcripts.to_text(transcripts.parse("t")), text)[0]
    assert [(speaker, start, words) for speaker, start, _, words in turns(again, format="generic")] == [
        (speaker, start, words) for speaker, start, _, words in expected
    ]


def test_words_alone_are_no_transcript_also_where_a_form_is_given() -> None:
    for form in READERS:
        assert turns("Dear Ann,\nthank you.\n\nTranscription ended after 00:30:30", format=form) == []
    assert computed(transcripts.detect("t"), "Transcription ended after 00:30:30") == [None]


def test_one_line_with_a_colon_is_no_transcript() -> None:
    assert computed(transcripts.detect("t"), "Agenda:\n- budget") == [None]


def test_whisper_cpp_counts_milliseconds_and_names_nobody() -> None:
    text = json.dumps({"transcription": [{"offsets": {"from": 250, "to": 4000}, "text": " Hi"}, {"text": ""}]})
    assert turns(text) == [(None, 0.25, 4.0, "Hi")]


def test_overlapping_cues_keep_their_times_and_order() -> None:
    text = "WEBVTT\n\n00:01.000 --> 00:09.000\n<v A>one\n\n00:02.000 --> 00:03.000\n<v B>two"
    assert turns(text) == [("A", 1.0, 9.0, "one"), ("B", 2.0, 3.0, "two")]


@pytest.mark.parametrize("text", ["", "   \n", "Dear Ann,\nthank you.", "{}", '{"segments": 3}', "[1, 2]", "12:30"])
def test_what_is_no_transcript_has_no_turns(text: str) -> None:
    assert computed(transcripts.detect("t"), text) == [None]
    assert turns(text) == []


def test_null_stays_null_and_the_types_hold() -> None:
    frame = pl.DataFrame({"t": pl.Series([None], dtype=pl.String)})
    parsed = frame.lazy().select(t=transcripts.parse("t"))
    assert parsed.collect_schema() == {"t": TURNS}
    for made in (transcripts.to_text("t"), transcripts.merge_speakers("t")):
        assert parsed.select(made).collect().to_series().to_list() == [None]
    assert frame.select(transcripts.detect("t")).to_series().to_list() == [None]


def test_turns_of_one_speaker_are_merged() -> None:
    merged = transcripts.merge_speakers(transcripts.parse("t"))
    text = "[0:01] A: one\n[0:02] A: two\n[0:03] B: three\n[0:04] A: four\n[0:05] -: five\n[0:06] -: six"
    found = computed(merged, text)[0]
    assert [(one["index"], one["speaker"], one["start"], one["end"], one["text"]) for one in found] == [
        (0, "A", 1, 3, "one two"), (1, "B", 3, 4, "three"), (2, "A", 4, 5, "four"), (3, None, 5, 6, "five"),
        (4, None, 6, None, "six"),
    ]  # fmt: skip


@given(st.text(max_size=400), st.sampled_from([None, *READERS]))
@settings(max_examples=200, deadline=None)
def test_nothing_raises_on_any_text(text: str, form: Any) -> None:
    for turn in computed(transcripts.parse("t", format=form), text)[0]:
        assert turn["text"]
        assert turn["start"] is None or turn["start"] >= 0


BITS = (
    "WEBVTT", "\n", "\n\n", "00:01.000 --> ", "00:02,000", "<v Ann>", "Ann", ": ", "(0:01)", "[", "]", " ", "0:03", "7",
    "words", "</v>", "-->", "{", '"segments"',
)  # fmt: skip
PIECES = st.lists(st.sampled_from(BITS), max_size=40).map("".join)


@given(PIECES, st.sampled_from([None, *READERS]))
@settings(max_examples=200, deadline=None)
def test_nothing_raises_on_half_broken_transcripts(text: str, form: Any) -> None:
    computed(transcripts.parse("t", format=form), text)
    computed(transcripts.detect("t"), text)


NAMES = st.from_regex(r"[A-Za-zÀ-ž][A-Za-zÀ-ž.' ]{0,20}[A-Za-z]", fullmatch=True)
LINES = (
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=30)
    .map(str.strip)
    .filter(bool)
)
SAID = st.builds(
    lambda speaker, start, words: {"speaker": speaker, "start": start, "words": words},
    NAMES | st.none(),
    st.integers(0, 359_999).map(lambda tenths: tenths / 10) | st.none(),
    st.lists(LINES, min_size=1, max_size=3),
)


@given(st.lists(SAID, max_size=6))
@settings(max_examples=200, deadline=None)
def test_what_is_written_is_read_again(said: list[dict[str, Any]]) -> None:
    given_turns = [
        {"index": n, "speaker": one["speaker"], "start": one["start"], "end": None, "text": "\n".join(one["words"])}
        for n, one in enumerate(said)
    ]
    frame = pl.DataFrame({"turns": pl.Series([given_turns], dtype=TURNS)})
    text = frame.select(transcripts.to_text("turns")).item()
    again = computed(transcripts.parse("t", format="generic"), text)[0]
    assert [{**turn, "end": None} for turn in again] == given_turns


def test_a_line_of_ten_megabytes_is_read() -> None:
    words = "word " * 2_000_000
    assert turns(f"[0:01] Ann: {words}\n[0:02] Bo: yes") == [
        ("Ann", 1.0, 2.0, words.strip()), ("Bo", 2.0, None, "yes"),
    ]  # fmt: skip
    assert turns(words) == []


def test_a_wrong_format_and_a_wrong_column_are_named() -> None:
    wrong: Any = "vtt"
    with pytest.raises(PlanError, match=r"no format 'vtt'.*webvtt"):
        transcripts.parse("t", format=wrong)
    with pytest.raises((PlanError, pl.exceptions.ComputeError), match="not a list of turns"):
        pl.DataFrame({"t": ["x"]}).select(transcripts.to_text("t"))


def test_two_voices_in_a_cue_are_two_turns() -> None:
    text = "WEBVTT\n\n00:01.000 --> 00:04.000\n<v Ann>Hi &amp; <i>hello</i> &lt;3</v>\n<v Bo Li>Hey</v>\n"
    assert turns(text) == [("Ann", 1.0, 4.0, "Hi & hello <3"), ("Bo Li", 1.0, 4.0, "Hey")]


@pytest.mark.parametrize(
    "text",
    [
        "Ann   0:03\nHello.\n\nBo Li (Guest)   1:05\nHi.\n",
        "[00:00:03] Ann: Hello.\n[00:01:05] Bo Li (Guest): Hi.\n",
        "Ann (0:03): Hello.\nBo Li (Guest) (1:05): Hi.\n",
        "Ann [0:03]\nHello.\nBo Li (Guest) [1:05]\nHi.\n",
        "WEBVTT\n\n0:03.000 --> 01:05.000\nAnn: Hello.\n\n01:05.000 -->\nBo Li (Guest): Hi.\n",
    ],
)
def test_what_stands_in_brackets_behind_a_name_belongs_to_it(text: str) -> None:
    assert turns(text) == [("Ann", 3.0, 65.0, "Hello."), ("Bo Li (Guest)", 65.0, None, "Hi.")]


def test_times_that_no_recording_has_are_none() -> None:
    text = '{"segments": [{"start": 1e400, "end": -1e300, "text": "a"}, {"start": 1, "end": %s, "text": "b"}]}' % (
        "9" * 400
    )
    assert turns(text) == [(None, None, None, "a"), (None, 1.0, None, "b")]
    assert computed(transcripts.to_text(transcripts.parse("t")), text) == ["-: a\n- (0:00:01): b"]
