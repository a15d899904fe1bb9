"""The engine beside fork, Ctrl-C and the end of the interpreter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import asyncio, os, sys
from pathlib import Path
from infergraph.calls import Ask, CancelToken, Engine, Scope
from infergraph.models.model import Message, Model, Request
from infergraph.models.scripted import script
from infergraph.models.verdict import Accepted
from infergraph.store import Store, request_hash

store = Store.open("sqlite:///state.db", root=Path(sys.argv[1]))
model = Model("scripted:m")
engine = Engine({"m": model}, store)

def submit(*texts, **how):
    requests = [Request(messages=(Message("user", text),)) for text in texts]
    asks = [Ask(request_hash(model, each), each, lambda response: Accepted(response.text)) for each in requests]
    return engine.submit(asks, model="m", scope=Scope(run_id="r", operator="o"), **how)

async def hang(request):
    if request.messages[0].content != "quick":
        await asyncio.sleep(60)
    return "1"
"""


def _start(folder: Path, code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", PROGRAM + textwrap.dedent(code), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_program_that_just_ends_does_not_hang_and_loses_nothing(tmp_path: Path) -> None:
    code = """
    with script("m", hang):
        submit("quick", "slow")
        assert submit("quick").result(10)[0].value == "1"
        submit("slower")
    """
    start = time.monotonic()
    process = _start(tmp_path, code)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert time.monotonic() - start < 15
    again = _start(tmp_path, "print(submit('quick').result(10)[0].source)")
    assert again.communicate(timeout=30)[0] == "store\n"


def test_ctrl_c_while_waiting_can_cancel(tmp_path: Path) -> None:
    code = """
    token = CancelToken()
    with script("m", hang):
        future = submit("quick", "slow", cancel=token)
        print("waiting", flush=True)
        try:
            future.result()
        except KeyboardInterrupt:
            token.cancel()
            print(type(future.exception(5)).__name__, flush=True)
    """
    process = _start(tmp_path, code)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (out, err, process.returncode) == ("RunCancelled\n", "", 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_gets_a_loop_of_its_own(world: Any, numbers: Any) -> None:
    assert world.run("a")[0].value == 1
    child = os.fork()
    if child == 0:
        status = 1
        try:
            outcomes = world.run("a", "bb", timeout=20)
            if [(outcome.value, outcome.source) for outcome in outcomes] == [(1, "store"), (2, "call")]:
                status = 0
        finally:
            os._exit(status)
    assert world.run("ccc")[0].value == 3
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert world.run("bb")[0].source == "store"


def test_it_works_where_a_loop_runs_already(world: Any, numbers: Any) -> None:
    import asyncio

    async def cell() -> Any:
        return world.run("a")[0].value

    assert asyncio.run(cell()) == 1
