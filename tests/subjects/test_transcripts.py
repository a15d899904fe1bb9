"""From a folder of transcripts to turns."""

import json
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.meetings.turns import TRANSCRIPTS, TURNS, read_folder

LABELS = [json.loads(line) for line in (TRANSCRIPTS.parent / "labels.jsonl").read_text(encoding="utf-8").splitlines()]
EXPECTED = [("m", 1, "Ann", 62.5, "Hello there"), ("m", 2, "Bo", 3723.0, "Hi. How are you?")]
FORMS = {
    "WebVTT": "WEBVTT\n\nNOTE a note\n\n1\n00:01:02.500 --> 00:01:05.000\n<v Ann>Hello there</v>\n\n"
    "01:02:03.000 --> 01:02:09.000 align:start\n<v Bo>Hi. How\nare you?\n",
    "SRT": "1\n00:01:02,500 --> 00:01:05,000\nAnn: Hello there\n\n"
    "2\n01:02:03,000 --> 01:02:09,000\nBo: Hi. How\nare you?",
    "time last": "A title\n\nAnn (01:02.5): Hello there\nBo (01:02:03): Hi. How\nare you?\n",
    "time first": "[01:02.5] Ann: Hello there\n[01:02:03] Bo: Hi. How\n\nare you?\n",
}


def read(content: str) -> list[tuple[object, ...]]:
    """The turns of one transcript."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "m.txt").write_text(content, encoding="utf-8", newline="")
        return read_folder(Path(folder)).rows()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_every_form_gives_the_same_turns(form: str, ending: str) -> None:
    assert read("\ufeff" + FORMS[form].replace("\n", ending)) == EXPECTED


def test_a_cue_without_a_name_has_no_speaker() -> None:
    assert read("WEBVTT\n\n00:01.000 --> 00:02.000\nno name here") == [("m", 1, "", 1.0, "no name here")]


def test_a_title_is_no_turn_and_a_turn_without_a_time_is_not_lost() -> None:
    assert read("Stand-up: Monday\nAnn (00:01:02): I will send it.\nTomorrow.\nBo: Thanks.") == [
        ("m", 1, "Ann", 62.0, "I will send it. Tomorrow."),
        ("m", 2, "Bo", 62.0, "Thanks."),
    ]


WORDS = st.from_regex(r"[a-z]+( [a-z]+)*", fullmatch=True)
SAID = st.lists(
    st.tuples(st.sampled_from(["Ann", "Bo Li", "Zoë"]), st.integers(0, 9_000), WORDS), min_size=1, max_size=8
)


@given(SAID)
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_read_again(said: list[tuple[str, int, str]]) -> None:
    lines = [f"[{at // 3600:02}:{at // 60 % 60:02}:{at % 60:02}] {name}: {words}" for name, at, words in said]
    expected = [("m", number, name, at, words) for number, (name, at, words) in enumerate(said, 1)]
    assert read("\n".join(lines)) == expected


def test_the_folder_gives_one_row_a_turn() -> None:
    turns = read_folder(TRANSCRIPTS)
    assert turns.schema == TURNS
    assert turns["meeting"].n_unique() == len(LABELS) == 5
    assert turns.select(pl.struct("meeting", "turn").is_unique().all()).item()
    assert not turns.filter((pl.col("speaker") == "") | (pl.col("text") == "")).height


def test_the_labels_name_turns_that_are_there() -> None:
    speakers = {(row[0], str(row[1])): row[2] for row in read_folder(TRANSCRIPTS).iter_rows()}
    for label in LABELS:
        for turn, speaker in label["promises"].items():
            assert speakers[label["meeting"], turn] == speaker


def test_a_file_without_turns_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.vtt").write_text("WEBVTT\n")
    with pytest.raises(ValueError, match=r"empty\.vtt: no turn"):
        read_folder(tmp_path)
    (tmp_path / "broken.txt").write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(ValueError, match=r"broken\.txt: "):
        read_folder(tmp_path)
