"""What happens on a real terminal: bars, the question before money is spent, and Ctrl-C."""

from __future__ import annotations

import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

CODE = """
import dagster as dg
import polars as pl
from pydantic import BaseModel
import infergraph as ig
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, StoreResource
from infergraph.dagster.resources import PriceSettings

class Fact(BaseModel):
    product: str

@dg.asset
def tickets() -> pl.DataFrame:
    return pl.DataFrame({"body": ["the lamp hums", "the kettle leaks"]})

@ig.semantic_asset(model="priced")
def facts(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
    return tickets.semantic.extract("body", Fact)

@ig.semantic_asset(model="silent")
def stuck(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
    return tickets.semantic.extract("body", Fact)

PRICE = PriceSettings(input=1, output=2)

defs = dg.Definitions(
    assets=[tickets, facts, stuck],
    resources={
        "models": ModelsResource(
            models={
                "priced": ModelSettings(name="scripted:any", price=PRICE),
                "silent": ModelSettings(name="openai:any", base_url="BASE_URL", price=PRICE),
            },
            default_model="priced",
        ),
        "store": StoreResource(),
        "io_manager": PolarsStorage(),
    },
)
"""


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._screen, inner = pty.openpty()
        environment = {name: value for name, value in os.environ.items() if name not in ("DAGSTER_HOME", "CI")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
             "from infergraph.cli import main; main()", *arguments],
            cwd=folder, env={**environment, "TERM": "xterm", "COLUMNS": "200"}, stdin=inner, stdout=inner, stderr=inner,
            start_new_session=True,
        )  # fmt: skip
        os.close(inner)
        self.said = ""

    def type(self, text: str) -> None:
        os.write(self._screen, text.encode())

    def wait_for(self, text: str, timeout_s: float = 60.0) -> None:
        until = time.monotonic() + timeout_s
        while text not in self.said:
            assert time.monotonic() < until, self.said
            assert self._read(), f"ended without {text!r}: {self.said}"

    def end(self, timeout_s: float = 60.0) -> int:
        until = time.monotonic() + timeout_s
        while self._read():
            assert time.monotonic() < until, self.said
        return self.process.wait(timeout=timeout_s)

    def hang_up(self) -> None:
        """Close the window, as its kernel would report it to the process in the foreground."""
        os.close(self._screen)
        self._screen = -1
        self.process.send_signal(signal.SIGHUP)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(timeout=10)
        if self._screen >= 0:
            os.close(self._screen)

    def _read(self) -> bool:
        """Take in what is there; False when the command has closed its end."""
        if not select.select([self._screen], [], [], 0.5)[0]:
            return True
        try:
            part = os.read(self._screen, 65536)
        except OSError:
            return False
        self.said += part.decode(errors="replace")
        return bool(part)


@pytest.fixture
def folder(tmp_path: Path, simulated_url: str) -> Path:
    (tmp_path / "definitions.py").write_text(CODE.replace("BASE_URL", simulated_url))
    return tmp_path


@pytest.fixture
def simulated_url(unused_port: int) -> str:
    """An address where nobody answers: a model that is out of reach is waited for."""
    return f"http://127.0.0.1:{unused_port}/v1"


@pytest.fixture
def unused_port() -> Iterator[int]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen(64)  # connections are taken and never answered
        yield bound.getsockname()[1]


@pytest.fixture
def terminal(folder: Path) -> Iterator[Callable[..., Terminal]]:
    first = Terminal(folder, "run", "tickets")
    assert first.end() == 0, first.said
    first.close()
    opened: list[Terminal] = []

    def closing(*arguments: str) -> Terminal:
        opened.append(Terminal(folder, *arguments))
        return opened[-1]

    yield closing
    for each in opened:
        each.close()


@pytest.mark.timeout(240)
def test_money_is_asked_about_and_free_work_is_not(terminal: Callable[..., Terminal]) -> None:
    refused = terminal("run", "facts", "--ask-above", "0")
    refused.wait_for("Go on?")
    refused.type("n\n")
    assert refused.end() == 130
    assert "may cost up to $0.0" in refused.said
    assert "nothing was spent" in refused.said

    agreed = terminal("run", "facts", "--ask-above", "0")
    agreed.wait_for("Go on?")
    agreed.type("y\n")
    assert agreed.end() == 0
    assert "facts extract" in agreed.said
    assert "━" in agreed.said, "a bar on a terminal"

    again = terminal("run", "facts", "--ask-above", "0")
    assert again.end() == 0, "what is in the store costs nothing, so nothing is asked"
    assert "Go on?" not in again.said


@pytest.mark.timeout(240)
def test_ctrl_c_stops_a_waiting_run_soon_and_says_what_is_kept(terminal: Callable[..., Terminal]) -> None:
    waiting = terminal("run", "stuck", "--yes")
    waiting.wait_for("stuck: started")
    time.sleep(2)
    begun = time.monotonic()
    waiting.process.send_signal(signal.SIGINT)
    assert waiting.end() == 130
    assert time.monotonic() - begun < 20
    assert "Every answer that came back is kept" in waiting.said
    assert "Traceback" not in waiting.said


@pytest.mark.timeout(240)
def test_a_terminal_that_is_closed_leaves_no_run_behind(terminal: Callable[..., Terminal], folder: Path) -> None:
    waiting = terminal("run", "stuck", "--yes")
    waiting.wait_for("stuck: started")
    time.sleep(1)
    waiting.hang_up()
    assert waiting.process.wait(timeout=60) == 130
    with dg.DagsterInstance.from_config(str(folder / ".infergraph" / "dagster")) as instance:
        (latest,) = instance.get_runs(limit=1)
        assert latest.status is dg.DagsterRunStatus.FAILURE


@pytest.mark.timeout(240)
def test_a_part_in_place_of_the_whole_is_asked_about(terminal: Callable[..., Terminal]) -> None:
    assert terminal("run", "facts", "--yes").end() == 0
    refused = terminal("run", "facts", "--limit", "1")
    refused.wait_for("Go on?")
    refused.type("n\n")
    assert refused.end() == 130
    assert "--limit 1 replaces 2 rows of facts" in refused.said
    assert "nothing was replaced" in refused.said
