"""The outer edge of the command line: whatever went wrong becomes one message and one exit code."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from infergraph.errors import InfergraphError, InternalError, RunCancelled

DEBUG_FLAG = "--debug"
DEBUG_VARIABLE = "INFERGRAPH_DEBUG"


def stopped(notes: str) -> str:
    """What to say after Ctrl-C.

    Args:
        notes: What the run said of its answers; empty when it said nothing.
    """
    return f"Stopped. {notes or 'Every answer that came back is kept: the same command goes on from here.'}"


def guarded(command: Callable[[], int]) -> int:
    """Run a command; errors become a message on stderr.

    Args:
        command: Does the work and returns an exit code.

    Returns:
        The command's exit code, or the error's: 2 a wrong plan or command line, 3 configuration, 4 the
        provider, 5 the budget, 130 stopped by the user, 70 a bug, 1 anything else.
    """
    try:
        return command()
    except InfergraphError as error:
        return _say(str(error), error.exit_code)
    except KeyboardInterrupt as stop:
        return _say(stopped("\n".join(getattr(stop, "__notes__", []))), RunCancelled.exit_code)
    except BrokenPipeError:
        # The reader (`head`, a pager) has seen enough; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # the outermost frame: nobody is to be left with a bare traceback
        where = "" if debugging() else f" To see where, add {DEBUG_FLAG}."
        return _say(f"{type(error).__name__}: {error}{where}", InternalError.exit_code)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Inside the block our own warnings are one plain line on stderr, without a place in the source."""
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if category.__module__.partition(".")[0] == "infergraph" and not debugging():
                _warn(str(message))
            else:
                usual(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield


def _warn(message: str) -> None:
    from rich.text import Text

    from infergraph.cli.screen import err

    err().print(Text.assemble(("Warning: ", "yellow"), message), soft_wrap=True)


def debugging() -> bool:
    """Whether tracebacks and Dagster's log were asked for."""
    return os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")


def _say(message: str, exit_code: int) -> int:
    from rich.text import Text

    from infergraph.cli.screen import err

    if debugging():
        traceback.print_exc()
    err().print(Text.assemble(("Error: ", "bold red"), message), soft_wrap=True)
    return exit_code
