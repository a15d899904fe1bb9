"""The command line: thin commands that drive the Dagster room and show what the other rooms report.

Nothing is computed here that a notebook or the Dagster UI could not compute as well; each command
finds the project, hands the work to the room that does it, and writes the result as a table for a
person or as JSON for a program.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command that was typed, and leave with its exit code."""
    from infergraph.cli.app import run_command

    sys.exit(run_command(sys.argv[1:]))
