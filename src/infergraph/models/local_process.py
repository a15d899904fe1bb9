"""Finds the embedded model's server, or starts it: one for each model file, user and machine.

Processes agree through three files in one folder of the user: ``.lock`` (who holds it may start a
server), ``.alive`` (held by the server itself as long as it lives) and ``.json`` (where it listens). The
folder is the user's cache folder, or what ``INFERGRAPH_LOCAL_DIR`` says; the server's log lies there too.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infergraph.errors import ConfigurationError
from infergraph.models import local_server
from infergraph.models.local_server import Held

DIR_VARIABLE = "INFERGRAPH_LOCAL_DIR"
IDLE_VARIABLE = "INFERGRAPH_LOCAL_IDLE_S"
IDLE_S = 120.0
START_TIMEOUT_S = 120.0
_ERROR_LINE = re.compile(r"[\d.]+ E (.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPlan:
    """Which server is wanted: two equal plans share one.

    Args:
        model: The GGUF file.
        alias: The model's name in answers.
        slots: Requests worked on at once.
        slot_tokens: Context of one request in tokens, prompt and answer together.
    """

    model: Path
    alias: str
    slots: int
    slot_tokens: int

    def base(self) -> Path:
        """The path whose suffixes name the server's files; other settings or versions have another."""
        file = self.model.stat()
        parts = (
            socket.gethostname(),
            str(self.model.resolve()),
            str(file.st_size),
            str(file.st_mtime_ns),
            str(self.slots),
            str(self.slot_tokens),
            importlib.metadata.version("xllamacpp"),
        )
        key = hashlib.blake2b("\0".join(parts).encode(), digest_size=6).hexdigest()
        return local_dir() / f"{self.alias}-{key}"


def local_dir() -> Path:
    """The folder of the servers' files, made on the first use."""
    given = os.environ.get(DIR_VARIABLE)
    if given:
        return _made(Path(given).expanduser())
    try:
        return _made(_cache_dir() / "infergraph" / "local")
    except (OSError, RuntimeError):
        user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
        return _made(Path(tempfile.gettempdir()) / f"infergraph-{user}")


def _cache_dir() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} cannot be written")
    # In a shared temporary folder somebody else could have made it first, and would answer our requests.
    if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else")
    return folder


def running_url(plan: ServerPlan) -> str | None:
    """The address of the plan's server where one runs, else ``None``."""
    base = plan.base()
    try:
        state: dict[str, Any] = json.loads(base.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if Held(base.with_suffix(".alive")).is_free():
        return None
    return str(state["url"])


def server_url(plan: ServerPlan) -> str:
    """The address of the plan's server, which is started where none runs.

    Args:
        plan: Which server.

    Returns:
        A URL without a path, on 127.0.0.1.

    Raises:
        ConfigurationError: The server could not be started; the message says what its log does.
    """
    url = running_url(plan)
    if url is not None:
        return url
    lock = Held(plan.base().with_suffix(".lock"))
    deadline = time.monotonic() + START_TIMEOUT_S
    while not lock.take():
        if time.monotonic() > deadline:
            raise _not_started(plan, f"another process has been starting it for {START_TIMEOUT_S:g} s")
        time.sleep(0.05)
        url = running_url(plan)
        if url is not None:
            return url
    try:
        return running_url(plan) or _start(plan, deadline)
    finally:
        lock.release()


def stop_server(plan: ServerPlan, *, timeout_s: float = 10) -> bool:
    """End the plan's server for every process that shares it; whether one ran."""
    if running_url(plan) is None:
        return False
    state = json.loads(plan.base().with_suffix(".json").read_text(encoding="utf-8"))
    os.kill(int(state["pid"]), signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while running_url(plan) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    return True


def _start(plan: ServerPlan, deadline: float) -> str:
    base = plan.base()
    _wait_until_free(base, deadline)
    base.with_suffix(".json").unlink(missing_ok=True)
    with base.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(
            _command(plan, base),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=base.parent,
            # Threads that wait actively for each other stand still when another program wants their core: ten
            # times slower was measured on two busy cores, and nothing is lost on idle ones.
            env={"OMP_WAIT_POLICY": "passive", **os.environ},
            start_new_session=True,
        )
    # Somebody has to take note of its end, or it stays a zombie for as long as this process lives.
    threading.Thread(target=process.wait, name="infergraph-local-server", daemon=True).start()
    while time.monotonic() < deadline:
        url = running_url(plan)
        if url is not None:
            return url
        if process.returncode is not None:
            raise _not_started(plan, f"it ended with exit code {process.returncode}")
        time.sleep(0.02)
    process.terminate()
    raise _not_started(plan, f"it did not answer within {START_TIMEOUT_S:g} s")


def _wait_until_free(base: Path, deadline: float) -> None:
    # A server that is just ending has removed its state and still holds its lock for a moment.
    alive = Held(base.with_suffix(".alive"))
    while not alive.is_free() and time.monotonic() < deadline:
        time.sleep(0.02)


def _command(plan: ServerPlan, base: Path) -> list[str]:
    idle = _idle_s()
    # -P: the file's own folder holds modules named like installed packages (openai, anthropic).
    return [
        *(sys.executable, "-P", local_server.__file__),
        *("--base", str(base), "--model", str(plan.model), "--alias", plan.alias),
        *("--slots", str(plan.slots), "--slot-tokens", str(plan.slot_tokens), "--idle", str(idle)),
    ]


def _idle_s() -> float:
    given = os.environ.get(IDLE_VARIABLE)
    if not given:
        return IDLE_S
    try:
        idle = float(given)
    except ValueError:
        idle = 0
    if not 0 < idle < float("inf"):
        raise ConfigurationError(f"{IDLE_VARIABLE}={given!r}: give a number of seconds, more than 0.")
    return idle


def _not_started(plan: ServerPlan, why: str) -> ConfigurationError:
    log = plan.base().with_suffix(".log")
    try:
        said = _gist(log.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        said = ""
    return ConfigurationError(
        f"The embedded model's server for {plan.model.name!r} did not start: {why}.\n{said}\n(The whole log: {log})"
    )


def _gist(log: str) -> str:
    """What a log says went wrong: llama.cpp's first errors, of which the later ones are echoes; else its last lines."""
    lines = log.partition("Traceback (most recent call last):")[0].splitlines() or log.splitlines()
    errors = [found.group(1) for line in lines if (found := _ERROR_LINE.match(line))]
    return "\n".join(errors[:2] or lines[-8:])
