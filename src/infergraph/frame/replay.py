"""What a plan gives with the answers that the store has now: no model is asked.

The rows are those that a run would publish whose every missing answer is null; so it can be seen beforehand whether a
run would change anything but the rows that it asks for.
"""

from __future__ import annotations

from pathlib import Path

from infergraph.frame.estimate import Survey
from infergraph.frame.frame import SemanticFrame
from infergraph.frame.parts import ROW_GROUP_ROWS
from infergraph.frame.run import RunOptions

_JOIN_S = 10.0


def replay(frame: SemanticFrame, path: Path, options: RunOptions) -> int:
    """Write what the plan gives now into a Parquet file, ``_row_id`` last; images behind URLs are fetched.

    Args:
        frame: The plan.
        path: The file.
        options: As for a run; which answers of the store count, and how many rows are read.

    Returns:
        How many different requests a run with these options would make for these rows; those that follow from an answer
        that is missing are not known and not counted.
    """
    walk = Survey(frame, options).exact()
    walk.fetches_images = True
    try:
        walk.frame(frame.node).sink_parquet(path, row_group_size=ROW_GROUP_ROWS)
    finally:
        walk.activity.stop()
        walk.activity.join(_JOIN_S)
    return len(walk.asked)
