"""Runs of the command line whose process died: Dagster would count them as running for good.

A run that the command line starts lives in the process that was typed. When that process is killed, nobody
is left to tell Dagster, and the run keeps one of the few places that runs may have at once. So every such run
carries the process it lives in, and every command first reports the runs of dead processes as failed.
"""

from __future__ import annotations

import os
import platform
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, TextIO

from infergraph.cli import screen

if TYPE_CHECKING:
    import dagster as dg

HOST, PROCESS, STARTED, RUN = (f"infergraph/{name}" for name in ("host", "process", "process_started", "cli_run"))
_GONE = ("Z", "X")
"""States of a Linux process that has ended, though its parent has not taken note of it."""


def tags_of_this_process(run_id: str) -> dict[str, str]:
    """What a run in this process is tagged with.

    Args:
        run_id: The run's own id: Dagster copies tags to runs that the UI starts anew, and these are no longer ours.
    """
    started = started_mark(os.getpid()) or ""
    return {HOST: socket.gethostname(), PROCESS: str(os.getpid()), STARTED: started, RUN: run_id}


def started_mark(process: int) -> str | None:
    """When a process of this machine was started, in a form that only another start could share.

    Args:
        process: Its id.

    Returns:
        A mark; empty where this system does not tell; ``None``: there is no such process.

    Example:
        >>> started_mark(os.getpid()) == started_mark(os.getpid())
        True
    """
    if platform.system() == "Linux":
        return _linux_mark(process)
    if os.name != "posix":
        return ""
    found = subprocess.run(["ps", "-o", "lstart=", "-p", str(process)], capture_output=True, text=True, check=False)
    return " ".join(found.stdout.split()) or None


def _linux_mark(process: int) -> str | None:
    try:
        # The program's name, in parentheses, may hold anything: what follows the last one is plain.
        fields = Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in _GONE else f"{boot} {fields[19]}"


def report_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Report the unfinished runs of dead processes of this machine as failed, and say so on stderr.

    Args:
        instance: Where the runs are recorded.

    Returns:
        Their ids.
    """
    import dagster as dg
    from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

    ours = dg.RunsFilter(statuses=NOT_FINISHED_STATUSES, tags={HOST: socket.gethostname()})
    dead = [run for run in instance.get_runs(ours) if run.tags.get(RUN) == run.run_id and not _is_alive(run.tags)]
    for run in dead:
        instance.report_run_failed(
            run, f"Its process {run.tags[PROCESS]} on {run.tags[HOST]} is gone: it was killed, or the machine stopped."
        )
        screen.err().print(
            f"Run {run.run_id[:8]} was left over from a process that died; it now counts as failed. "
            "Its answers are kept.",
            soft_wrap=True,
        )
    return [run.run_id for run in dead]


def _is_alive(tags: Mapping[str, str]) -> bool:
    process, started = tags.get(PROCESS, ""), tags.get(STARTED, "")
    if not (process.isdecimal() and started):
        return True  # nothing is known of it, so it is left alone
    return started_mark(int(process)) in (started, "")


@contextmanager
def hangup_stops() -> Iterator[None]:
    """Inside the block a terminal that is closed stops the run as SIGTERM does: Dagster hears of it.

    Under ``nohup``, where SIGHUP is ignored, it stays ignored.
    """
    number = getattr(signal, "SIGHUP", None)
    if number is None or signal.getsignal(number) is not signal.SIG_DFL:
        yield
        return

    terminals = [name for name in ("stdout", "stderr") if getattr(sys, name).isatty()]
    hung_up = False
    with Path(os.devnull).open("w") as nowhere:

        def stop(_number: int, _frame: FrameType | None) -> None:
            nonlocal hung_up
            hung_up = True
            for name in terminals:
                setattr(sys, name, nowhere)
            signal.raise_signal(signal.SIGTERM)

        signal.signal(number, stop)
        try:
            yield
        finally:
            signal.signal(number, signal.SIG_DFL)
            if hung_up:
                _silence(terminals, nowhere)


def _silence(terminals: Sequence[str], nowhere: TextIO) -> None:
    """Whatever still wants to say something must not fail because the terminal is gone.

    Not before the run has ended: while a step runs, Dagster has these two lead elsewhere, and puts them back.
    """
    for name in terminals:
        original = getattr(sys, f"__{name}__")
        os.dup2(nowhere.fileno(), original.fileno())
        setattr(sys, name, original)
