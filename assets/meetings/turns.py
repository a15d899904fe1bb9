"""The meetings as rows: one turn each. No model is asked here."""

from pathlib import Path

import dagster as dg
import polars as pl

import infergraph as ig

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
        ``TURNS``, one row a turn, meetings by name, turns in order from 1; ``speaker`` is empty where the transcript
        names nobody. What stands before the first time (a title) is no turn; a turn without a time has that of the one
        before it.

    Raises:
        ValueError: A file cannot be read, or has no turn.
    """
    files = ig.read_documents(folder, pattern="*.*").filter(pl.col("name").str.contains(r"\.(vtt|srt|txt)$"))
    parsed = files.select(
        "name",
        "error",
        meeting=pl.col("name").str.replace(r"\.\w+$", ""),
        turn=ig.text.transcripts.parse("text"),
    ).collect()
    for name, error in parsed.filter(pl.col("error").is_not_null()).select("name", "error").iter_rows():
        raise ValueError(f"{name}: {error}")
    turns = (
        parsed.explode("turn", empty_as_null=True, keep_nulls=True)
        .select("name", "meeting", pl.col("turn").struct.unnest())
        .with_columns(pl.col("start").forward_fill().over("name"))
        .filter(pl.col("start").is_not_null())
        .with_columns(pl.col("speaker").fill_null(""), pl.col("text").str.replace_all("\n", " ", literal=True))
        .with_columns(turn=pl.int_range(1, pl.len() + 1).over("name"))
    )
    for name in parsed.filter(~pl.col("name").is_in(turns["name"].to_list()))["name"]:
        raise ValueError(f"{name}: no turn was found; assets/meetings/README.md says which forms are read.")
    return turns.sort("meeting", maintain_order=True).select(TURNS.names()).cast(TURNS)
