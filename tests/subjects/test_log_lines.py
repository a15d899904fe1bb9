"""From log files to errors and their templates."""

import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from assets.logs import reading
from assets.logs.incidents import EXAMPLES
from assets.logs.reading import LINES, read_logs, template_of

LABELS = {
    label["incident"]: label["lines"]
    for label in map(
        json.loads, (Path(reading.__file__).parent / "labels.jsonl").read_text(encoding="utf-8").splitlines()
    )
}


@pytest.mark.parametrize(
    ("message", "template"),
    [
        ("took 12.5 s for user 3312", "took # s for user #"),
        ("request 9f3a01bc failed", "request # failed"),
        ("lookup x on 10.0.0.2:53", "lookup x on #"),
        ("the facade is made of beads", "the facade is made of beads"),
    ],
)
def test_what_varies_is_taken_out(message: str, template: str) -> None:
    assert template_of(message) == template
    assert template_of(template) == template


def test_a_stack_trace_belongs_to_its_error(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(
        "a torn line\n"
        "2026-11-03T09:12:01.250Z ERROR billing [req-1] it broke 7 times\nTraceback:\n  line 3\n"
        "2026-11-03T09:12:02.000Z INFO billing fine\n  not an error's\n"
        "2026-11-03T09:12:03.000Z CRITICAL billing no request here\n"
    )
    errors = read_logs(tmp_path)
    assert errors.schema == LINES
    assert errors.select("line", "level", "message", "trace", "template").rows() == [
        (2, "ERROR", "it broke 7 times", "Traceback:\n  line 3", "it broke # times"),
        (7, "CRITICAL", "no request here", None, "no request here"),
    ]
    assert errors["time"][0] == datetime(2026, 11, 3, 9, 12, 1, 250_000, tzinfo=UTC)


def test_every_error_of_the_examples_has_its_label() -> None:
    labelled = {(file, line) for where in LABELS.values() for file, lines in where.items() for line in lines}
    found = set(read_logs(EXAMPLES).select("file", "line").iter_rows())
    assert found == labelled
    assert read_logs(EXAMPLES).filter(pl.col("trace").is_not_null()).height > 5


def test_a_folder_without_logs_has_no_rows(tmp_path: Path) -> None:
    assert read_logs(tmp_path).is_empty()
