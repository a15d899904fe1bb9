"""The embedded model's server process: llama.cpp behind a port of this machine, gone when nobody asks.

One runs for each model file, started by ``infergraph.models.local_process`` and shared by every process
of the user. It holds a lock for as long as it lives, so that a killed server is told from a living one
without guessing from process ids, and writes down where it listens. It ends by itself when no token was
computed for a while, when its folder disappears, or on SIGTERM.

Nothing of Infergraph is imported here: the process starts in the time that llama.cpp needs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType
from typing import IO, Any

POLL_S = 1.0
ANSWERS_S = 60.0
STUCK_S = 600.0
HTTP_THREADS = 64


class Held:
    """A lock on a file, held until released or until the process dies, however it dies.

    Args:
        path: The file; it is made when missing and never removed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def take(self, *, patience_s: float = 0) -> bool:
        """Take the lock if nobody holds it; whether it is now ours.

        Args:
            patience_s: Seconds to go on trying, 0 or more.
        """
        deadline = time.monotonic() + patience_s
        file = self._path.open("ab")
        while not _locked(file, shared=False):
            if time.monotonic() >= deadline:
                file.close()
                return False
            time.sleep(0.01)
        self._file = file
        return True

    def is_free(self) -> bool:
        """Whether nobody holds the lock; many may look at once without taking each other for the holder."""
        with self._path.open("ab") as file:
            return _locked(file, shared=True)

    def release(self) -> None:
        """Give the lock back; nothing happens where it is not held."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _locked(file: IO[bytes], *, shared: bool) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file.fileno(), (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def write_whole(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON file so that a reader sees all of it or none of it."""
    beside = path.with_suffix(f".{os.getpid()}.tmp")
    beside.write_text(json.dumps(value), encoding="utf-8")
    beside.replace(path)


def loading_problem() -> str | None:
    """Why llama.cpp cannot be loaded on this machine, with what to do; ``None``: it can."""
    try:
        import xllamacpp  # noqa: F401 - only whether it loads
    except ImportError as error:
        return f"llama.cpp cannot be loaded: {error}. If a libgomp is missing, install it: apt-get install libgomp1"
    return None


def server_parameters(model: Path, *, slots: int, slot_tokens: int, threads: int, alias: str) -> Any:
    """llama.cpp's parameters for one model file.

    Args:
        model: The GGUF file.
        slots: Requests worked on at once, 1 or more.
        slot_tokens: Context of each slot in tokens.
        threads: Threads that compute; 0: one for each core that this process may use.
        alias: The name that the server gives the model in its answers.

    Returns:
        An ``xllamacpp.CommonParams``.
    """
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.model_alias = {alias}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    # A connection that is kept open holds a thread for five seconds after its last request, and others wait.
    params.n_threads_http = HTTP_THREADS
    params.n_parallel = slots
    params.n_ctx = slots * slot_tokens
    # As much as is computed in one go anyway: between two batches the server says how far it is, and takes note of who
    # has left.
    params.n_batch = params.n_ubatch
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads or _cores()
    params.cache_ram_mib = 256
    params.endpoint_metrics = True
    params.endpoint_slots = False
    params.ui = False
    params.fit_params = False
    params.warmup = False
    params.verbosity = 1
    return params


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def work_done(url: str, timeout_s: float = ANSWERS_S) -> tuple[float, bool]:
    """Tokens that the server has computed so far, and whether it is at work just now."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=timeout_s) as answer:
        return work_in(answer.read().decode())


def work_in(metrics: str) -> tuple[float, bool]:
    """The same, out of what the server says under ``/metrics``."""
    counts = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if line and not line.startswith("#"))
    total = sum(
        float(counts.get(f"llamacpp:{name}", 0))
        for name in ("prompt_tokens_total", "prompt_tokens_cached_total", "tokens_predicted_total")
    )
    waiting = sum(float(counts.get(f"llamacpp:requests_{name}", 0)) for name in ("processing", "deferred"))
    return total, waiting > 0


def watch(
    url: str,
    state: Path,
    idle_s: float,
    stop: threading.Event,
    *,
    answers_s: float = ANSWERS_S,
    stuck_s: float = STUCK_S,
) -> str:
    """Wait until the server should end; says why.

    Args:
        url: Its address.
        state: The file that says so.
        idle_s: Seconds without a computed token after which it ends.
        stop: Set when it was told to end.
        answers_s: Seconds to wait for its word; it gives it between two batches.
        stuck_s: Seconds without its word after which it ends.
    """
    seen, last = -1.0, time.monotonic()
    while not stop.wait(min(POLL_S, idle_s / 4)):
        if not state.exists():
            return "its folder is gone"
        try:
            total, busy = work_done(url, answers_s)
        except TimeoutError:
            # A batch may take a minute where the machine has much else to do, and then somebody waits for it.
            if time.monotonic() - last > idle_s + stuck_s:
                return f"it has not answered for {stuck_s:g} s"
            continue
        except (urllib.error.URLError, OSError) as error:
            return f"it does not answer: {error}"
        if busy or total != seen:
            seen, last = total, time.monotonic()
        elif time.monotonic() - last > idle_s:
            return f"nothing was asked for {idle_s:g} s"
    return "it was told to"


def serve(base: Path, params: Any, idle_s: float, about: dict[str, Any]) -> int:
    """Run the server until it is idle, then end the process; returns only where it could not start.

    Args:
        base: Path whose suffixes name this server's files: ``.alive``, ``.json``.
        params: What ``server_parameters`` gave.
        idle_s: Seconds without a computed token after which it ends.
        about: What else the state file says.
    """
    import xllamacpp

    alive, state = Held(base.with_suffix(".alive")), base.with_suffix(".json")
    # Others look at the lock for an instant now and then, so one refusal says nothing yet.
    if not alive.take(patience_s=2):
        print("another server for this model runs already")  # noqa: T201 - goes to the server's log
        return 3
    stop = threading.Event()

    def told(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, told)
    server = xllamacpp.Server(params)
    url = str(server.listening_address)
    write_whole(state, {**about, "url": url, "pid": os.getpid(), "started": time.time()})
    why = watch(url, state, idle_s, stop)
    # The state goes first: who reads it from now on starts a new server instead of meeting a closing one.
    with contextlib.suppress(OSError):
        state.unlink()
    print(f"stopped: {why}", flush=True)  # noqa: T201 - goes to the server's log
    # Not by closing the server: that waits for ever for a request which came in after its queue was closed.
    os._exit(0)


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description="The embedded model's server; started by Infergraph itself.")
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--alias", required=True)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--slot-tokens", type=int, required=True)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--idle", type=float, required=True)
    given = parser.parse_args(arguments)
    if (problem := loading_problem()) is not None:
        print(problem)  # noqa: T201 - goes to the server's log
        return 4
    params = server_parameters(
        given.model, slots=given.slots, slot_tokens=given.slot_tokens, threads=given.threads, alias=given.alias
    )
    about = {"model": str(given.model), "slots": given.slots, "slot_tokens": given.slot_tokens}
    return serve(given.base, params, given.idle, about)


if __name__ == "__main__":
    raise SystemExit(main())
