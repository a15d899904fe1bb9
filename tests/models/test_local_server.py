"""The embedded model's server: one a machine, found by all, there when needed, gone when not."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from infergraph.errors import ConfigurationError, UnknownModel
from infergraph.models import local_process
from infergraph.models.local import LocalProvider, local_server_url
from infergraph.models.local_process import (
    DIR_VARIABLE,
    IDLE_VARIABLE,
    ServerPlan,
    running_url,
    server_url,
    stop_server,
)
from infergraph.models.local_server import Held, watch, work_done
from infergraph.models.model import AnswerSchema, CallFailed, Message, Model, Request, Response

MODEL = Model("local:smollm2-135m")
HELLO = Request(messages=(Message("user", "Say hello."),), max_output_tokens=4)
PRINT_URL = "from infergraph.models.local import local_server_url; print(local_server_url())"


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServerPlan]:
    """A machine of its own: an empty folder, and a server that ends soon if the test dies."""
    monkeypatch.setenv(DIR_VARIABLE, str(tmp_path / "servers"))
    monkeypatch.setenv(IDLE_VARIABLE, "30")
    plan = LocalProvider(MODEL).server_plan()
    yield plan
    stop_server(plan)


def pid_of(plan: ServerPlan) -> int:
    return int(json.loads(plan.base().with_suffix(".json").read_text())["pid"])


def send(provider: LocalProvider, *requests: Request) -> list[Response]:
    async def run() -> list[Response]:
        try:
            return [await provider.send(request) for request in requests]
        finally:
            await provider.close()

    return asyncio.run(run())


def wait_until_gone(plan: ServerPlan, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while running_url(plan) is not None or not Held(plan.base().with_suffix(".alive")).is_free():
        assert time.monotonic() < deadline, "the server is still there"
        time.sleep(0.05)


def test_two_processes_share_one_server_that_outlives_the_one_that_started_it(plan: ServerPlan) -> None:
    urls = [
        subprocess.run([sys.executable, "-c", PRINT_URL], capture_output=True, text=True, check=True, timeout=60).stdout
        for _ in range(2)
    ]
    assert urls[0] == urls[1]
    assert urls[0].strip() == running_url(plan) == local_server_url()
    with urllib.request.urlopen(f"{urls[0].strip()}/health", timeout=10) as answer:
        assert answer.status == 200


def test_processes_that_start_at_once_get_one_server(plan: ServerPlan) -> None:
    starting = [
        subprocess.Popen([sys.executable, "-c", PRINT_URL], stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    urls = {process.communicate(timeout=60)[0].strip() for process in starting}
    assert urls == {running_url(plan)}
    assert all(process.returncode == 0 for process in starting)
    assert "another server" not in plan.base().with_suffix(".log").read_text()


def test_only_this_machine_can_connect(plan: ServerPlan) -> None:
    host, port = server_url(plan).removeprefix("http://").split(":")
    assert host == "127.0.0.1"
    if sys.platform == "linux":  # any 127.x.y.z is this machine there: a server on all addresses would answer
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", int(port)), timeout=5)


def test_an_idle_server_ends_and_the_next_request_starts_another(
    plan: ServerPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(IDLE_VARIABLE, "0.6")
    provider = LocalProvider(MODEL)

    async def run() -> tuple[int, int]:
        await provider.send(HELLO)
        first = pid_of(plan)
        await asyncio.to_thread(wait_until_gone, plan, seconds=15)
        await provider.send(HELLO)
        await provider.close()
        return first, pid_of(plan)

    first, second = asyncio.run(run())
    assert first != second


def test_a_killed_server_is_replaced(plan: ServerPlan) -> None:
    provider = LocalProvider(MODEL)

    async def run() -> int:
        await provider.send(HELLO)
        killed = pid_of(plan)
        os.kill(killed, signal.SIGKILL)
        await asyncio.to_thread(wait_until_gone, plan, seconds=10)
        assert plan.base().with_suffix(".json").exists(), "a killed server leaves its state behind"
        await provider.send(HELLO)
        await provider.close()
        return killed

    assert asyncio.run(run()) != pid_of(plan)


def test_a_server_killed_while_it_answers_is_worth_another_try(plan: ServerPlan) -> None:
    provider = LocalProvider(MODEL)
    numbers = {"type": "array", "items": {"type": "integer"}, "minItems": 600}
    schema = AnswerSchema.of("count", {"type": "object", "properties": {"n": numbers}, "required": ["n"]})
    long = Request(messages=(Message("user", "Count."),), schema=schema, max_output_tokens=1500)

    async def run() -> None:
        await provider.send(HELLO)
        asking = asyncio.create_task(provider.send(long))
        while not (await asyncio.to_thread(work_done, server_url(plan)))[1]:
            await asyncio.sleep(0.01)
        os.kill(pid_of(plan), signal.SIGKILL)
        with pytest.raises(CallFailed) as failed:
            await asking
        assert failed.value.outcome == "transient"
        # Its connections end before its lock does: until then it would be taken for alive.
        await asyncio.to_thread(wait_until_gone, plan, seconds=60)
        assert (await provider.send(HELLO)).tokens.output > 0
        await provider.close()

    asyncio.run(run())


def test_a_server_ends_when_its_folder_is_gone(plan: ServerPlan) -> None:
    server_url(plan)
    pid = pid_of(plan)
    for file in plan.base().parent.iterdir():
        file.unlink()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and _state_of(pid) != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "Z"


def test_a_stale_state_with_a_port_that_others_use_is_not_believed(plan: ServerPlan) -> None:
    plan.base().parent.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        stale = {"url": f"http://127.0.0.1:{port}", "pid": os.getpid()}
        plan.base().with_suffix(".json").write_text(json.dumps(stale))
        assert running_url(plan) is None
        assert server_url(plan) != stale["url"]


def test_a_process_that_asked_can_exit_at_once(plan: ServerPlan) -> None:
    server_url(plan)
    code = (
        "import asyncio\n"
        "from infergraph.models.local import LocalProvider\n"
        "from infergraph.models.model import Message, Model, Request\n"
        "request = Request(messages=(Message('user', 'Hi'),), max_output_tokens=2)\n"
        "print(asyncio.run(LocalProvider(Model('local:smollm2-135m')).send(request)).finish)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "length")


def test_a_file_that_is_no_model_is_said_with_the_servers_own_words(plan: ServerPlan, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF, but not really")
    with pytest.raises(ConfigurationError, match=r"(?s)did not start.*exit code.*log") as caught:
        local_server_url(f"local:{broken}")
    assert "gguf" in str(caught.value).splitlines()[1]
    assert "local_server.py" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="GGUF"):
        LocalProvider(Model(f"local:{broken}")).count_tokens("hello")
    with pytest.raises(UnknownModel, match="there is no file"):
        LocalProvider(Model(f"local:{tmp_path}/missing.gguf")).check_configuration()


def test_any_gguf_file_works(plan: ServerPlan, tmp_path: Path) -> None:
    copy = tmp_path / "mine.gguf"
    copy.symlink_to(plan.model)
    provider = LocalProvider(Model(f"local:{copy}"))
    assert not provider.capabilities.scores_choices
    (response,) = send(provider, HELLO)
    assert response.model_id == "mine"
    assert stop_server(provider.server_plan())


@pytest.mark.parametrize("given", ["soon", "0", "-1", "inf"])
def test_an_idle_time_that_is_none_is_refused(plan: ServerPlan, given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(IDLE_VARIABLE, given)
    with pytest.raises(ConfigurationError, match=f"{IDLE_VARIABLE}='{given}'"):
        server_url(plan)


def test_what_a_log_says_is_what_llama_cpp_said_first() -> None:
    said = "0.00.004.059 E gguf_init_from_reader: invalid magic characters\n0.00.004.153 E llama_model_load: error\n"
    trace = (
        "Traceback (most recent call last):\n  File 'local_server.py', line 1\nRuntimeError: Failed to init server\n"
    )
    started = "0.00.001.000 I starting\n"
    more = "0.00.005.000 E srv: exiting\n"
    assert local_process._gist(started + said + more + trace) == (
        "gguf_init_from_reader: invalid magic characters\nllama_model_load: error"
    )
    assert local_process._gist(trace).endswith("RuntimeError: Failed to init server")
    assert local_process._gist("\n".join(map(str, range(20)))) == "\n".join(map(str, range(12, 20)))


def test_a_server_too_busy_to_say_so_is_not_ended_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        why = watch(url, tmp_path, 0.05, threading.Event(), answers_s=0.02, stuck_s=0.2)
    assert why == "it has not answered for 0.2 s"
