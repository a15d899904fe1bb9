"""``infergraph dev``: the Dagster web server and daemon on the state that the command line uses.

Dagster's own ``dagster dev`` does the work, in a process group of its own: when this process is
stopped, it is asked to stop, and what is left of the group after that is ended.
"""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn, TextIO

from infergraph.cli import screen
from infergraph.cli.guard import debugging
from infergraph.cli.project import DEFINITIONS, WORKSPACE, Project, dagster_home, find_root, open_instance, open_project
from infergraph.errors import ConfigurationError

START_WITHIN_S = 120.0
STOP_WITHIN_S = 20.0
NOT_FOR_US = ("SupersessionWarning", "Found a dagster instance configuration value")
"""Advice to use another command (a warning and its source line), and that a root ``dagster.yaml``, which is for
plain ``dagster dev``, is passed over here."""


def dev(*, port: int, host: str) -> int:
    """Serve the UI and run sensors and schedules until Ctrl-C.

    Args:
        port: The web server's port.
        host: The address that it listens on.

    Returns:
        0 after Ctrl-C.

    Raises:
        ConfigurationError: There is no project here, the port is taken, or Dagster does not start.
    """
    root = find_root()
    check_port(host, port)
    home = dagster_home(root)
    console = screen.out()
    console.print(f"Starting Dagster on {root} (its state: {home}) ...", soft_wrap=True)
    with open_instance(root):
        pass  # opening it frees the places of runs that died
    code = 0
    with _stopped_by_signals():
        try:
            with _services(root, host, port) as process:
                _announce(process, root, host, port)
                code = process.wait()
        except KeyboardInterrupt:
            console.print("Stopped.")
            return 0
    raise ConfigurationError(f"Dagster stopped by itself with exit code {code}. {_how_to_look()}")


def _announce(process: subprocess.Popen[str], root: Path, host: str, port: int) -> None:
    console = screen.out()
    everywhere, loopback = _kind_of_address(host)
    url = f"http://{'127.0.0.1' if everywhere else f'[{host}]' if ':' in host else host}:{port}"
    _wait_until_up(process, url)
    console.print(f"The UI is at {url}", soft_wrap=True)
    if not loopback:
        console.print("It has no login of its own: everyone who reaches this address can start runs.")
    _say_drop_folders(root)
    console.print("Ctrl-C stops the web server and the daemon.")


def _kind_of_address(host: str) -> tuple[bool, bool]:
    """Whether a host means every address of this machine, and whether only this machine reaches it."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False, host == "localhost"
    return address.is_unspecified, address.is_loopback


def check_port(host: str, port: int) -> None:
    """Refuse a port that something else listens on, and name one that is free.

    Raises:
        ConfigurationError: The port is taken, or the address is not one of this machine.
    """
    try:
        _bind(host, port)
    except PermissionError as error:
        raise ConfigurationError(
            f"Port {port} needs more rights than this user has: infergraph dev --port 3000"
        ) from error
    except OSError as error:
        free = next((other for other in range(port + 1, min(port + 50, 65536)) if _is_free(host, other)), 0)
        if not free:
            raise ConfigurationError(f"Cannot listen on {host} port {port}: {error.strerror or error}.") from error
        raise ConfigurationError(
            f"Port {port} on {host} is taken, perhaps by another `infergraph dev`. "
            f"Stop that one, or type: infergraph dev --port {free}"
        ) from error


def _is_free(host: str, port: int) -> bool:
    try:
        _bind(host, port)
    except OSError:
        return False
    return True


def _bind(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the web server does: a port in TIME_WAIT after a restart is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Make SIGTERM and SIGHUP end this process the way Ctrl-C does, so that nothing survives it.

    A shell that starts us in the background has SIGINT ignored, and so would Dagster: a handler undoes that.
    """

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), stop) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


@contextmanager
def _services(root: Path, host: str, port: int) -> Iterator[subprocess.Popen[str]]:
    target = ["-w", str(root / WORKSPACE)] if (root / WORKSPACE).is_file() else ["-f", str(root / DEFINITIONS)]
    level = "info" if debugging() else "warning"
    command = [sys.executable, "-m", "dagster", "dev", *target, "-h", host, "-p", str(port), "--log-level", level]
    process = subprocess.Popen(
        command,
        cwd=root,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},  # what user code prints comes at once, as on a terminal
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        preexec_fn=_interrupted_with_parent if sys.platform == "linux" else None,
    )
    for stream, ours in ((process.stdout, sys.stdout), (process.stderr, sys.stderr)):
        threading.Thread(target=_pass_on, args=(stream, ours), daemon=True).start()
    try:
        yield process
    finally:
        _stop(process)


def _interrupted_with_parent() -> None:
    """In the child, on Linux: get Ctrl-C when the parent dies, even by `kill -9`, which it cannot catch."""
    import ctypes

    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGINT)


def _pass_on(stream: IO[str] | None, ours: TextIO) -> None:
    """Dagster's log goes to ours, without what does not concern the user of this command."""
    advice = False
    for line in stream or ():
        source_line = advice and line.startswith("  ")
        advice = any(part in line for part in NOT_FOR_US)
        if not advice and not source_line:
            ours.write(line)
            ours.flush()


def _stop(process: subprocess.Popen[str]) -> None:
    """Ask, then insist: first Dagster's own shutdown, then whatever is left of the group."""
    group = process.pid
    try:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=STOP_WITHIN_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        pass
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not _signal_group(group, number):
            return
        _wait_for_group(group, 5.0)


def _signal_group(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _wait_for_group(group: int, timeout_s: float) -> None:
    until = time.monotonic() + timeout_s
    while time.monotonic() < until and _signal_group(group, 0):
        time.sleep(0.05)


def _wait_until_up(process: subprocess.Popen[str], url: str) -> None:
    until = time.monotonic() + START_WITHIN_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise ConfigurationError(f"Dagster did not start (exit code {process.returncode}). {_how_to_look()}")
        try:
            with urllib.request.urlopen(f"{url}/server_info", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise ConfigurationError(f"Dagster did not answer at {url} within {START_WITHIN_S:.0f} s. {_how_to_look()}")


def _how_to_look() -> str:
    return "Its log above says why; infergraph dev --debug shows more of it."


def drop_folders(project: Project) -> dict[str, Path]:
    """Where files are picked up: sensor name -> folder.

    A sensor's resource that has a ``path`` is taken for the folder that it watches.
    """
    import dagster as dg

    found: dict[str, Path] = {}
    resources = project.definitions.resources or {}
    for sensor in project.definitions.sensors or ():
        for name in sorted(sensor.required_resource_keys):
            resource = resources.get(name)
            if not isinstance(resource, dg.ConfigurableResource):
                continue
            try:
                folder = getattr(resource.process_config_and_initialize(), "path", None)
            except dg.DagsterError:
                continue  # a variable of the environment is missing: the sensor's first tick says which
            if isinstance(folder, Path):
                found[sensor.name] = folder
    return found


def _say_drop_folders(root: Path) -> None:
    console = screen.out()
    try:
        folders = drop_folders(open_project(root))
    except (ConfigurationError, ImportError, SyntaxError, AttributeError, NameError, TypeError, ValueError) as error:
        # The UI shows the location's error in full; the server goes on, so that a correction can be reloaded.
        console.print(f"The code location does not load: {type(error).__name__}: {error}", soft_wrap=True)
        return
    for sensor, folder in folders.items():
        console.print(f"Drop files into {folder} (sensor {sensor})", soft_wrap=True)
