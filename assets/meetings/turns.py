"""The meetings as rows: one turn each. No model is asked here."""

from pathlib import Path

import dagster as dg
import polars as pl

from assets.meetings.transcripts import read_transcript

TRANSCRIPTS = Path(__file__).parent / "transcripts"
TURNS = pl.Schema(
    {
        "meeting": pl.String(),
        "turn": pl.Int64(),
        "speaker": pl.String(),
        "start": pl.Float64(),
        "text": pl.String(),
    }
)


@dg.asset(group_name="meetings")
def meeting_turns(context: dg.AssetExecutionContext) -> pl.DataFrame:
    """One row a turn of every transcript: meeting, turn, speaker, start (seconds) and text."""
    turns = read_folder(TRANSCRIPTS)
    context.add_output_metadata({"meetings": turns["meeting"].n_unique(), "turns": turns.height})
    return turns


def read_folder(folder: Path) -> pl.DataFrame:
    """The turns of all transcripts in a folder.

    Args:
        folder: Holds ``.vtt``, ``.srt`` and ``.txt`` files; a meeting is called as its file.

    Returns:
        ``TURNS``, one row a turn, meetings by name, turns in order from 1.

    Raises:
        ValueError: A file has no turn that could be read.
    """
    rows = []
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".vtt", ".srt", ".txt")):
        turns = read_transcript(path.read_text(encoding="utf-8"))
        if not turns:
            raise ValueError(f"{path.name}: no turn was found; assets/meetings/README.md says which forms are read.")
        for number, turn in enumerate(turns, 1):
            rows.append((path.stem, number, turn.speaker, turn.start, turn.text))
    return pl.DataFrame(rows, schema=TURNS, orient="row")
