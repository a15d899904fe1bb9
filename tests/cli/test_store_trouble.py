"""A store, disk or provider in trouble under `infergraph run`: one message, the exit code, the true number kept."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from infergraph.testing import Fault, SimulatedServer

ROWS = 1000
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
    return pl.read_parquet("SOURCE")

@ig.semantic_asset(key={"tickets": "id"})
def facts(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
    return tickets.semantic.extract("body", Fact)

price = PriceSettings(input=1, output=1)
model = ModelSettings(name="openai:m", base_url="SERVER", max_concurrency=32, max_output_tokens=100, price=price)
defs = dg.Definitions(
    assets=[tickets, facts],
    resources={
        "models": ModelsResource(models={"m": model}),
        "store": StoreResource(url="sqlite:///STORE/state.db?timeout=1"),
        "io_manager": PolarsStorage(base_url="FILES"),
    },
)
"""
KEPT = re.compile(r"([\d,]+) answers? of this run (?:is|are) kept: run again and only the rest is asked\.")
INTERRUPTIBLE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from infergraph.cli import main; main()"
)  # fmt: skip

pytestmark = [pytest.mark.timeout(120), pytest.mark.filterwarnings("ignore::ResourceWarning")]


@dataclass
class Ended:
    """What somebody sees who typed the command."""

    code: int
    err: str

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("Error: ")]

    @property
    def kept(self) -> int:
        """The number in the one message."""
        (error,) = self.errors
        (number,) = KEPT.findall(error)
        return int(number.replace(",", ""))


class Project:
    """A project whose store, published files and model server each can get into trouble."""

    def __init__(self, folder: Path, server: SimulatedServer) -> None:
        import polars as pl

        self.folder = folder
        self.server = server
        self.store = folder / "store"
        self.files = folder / "files"
        for made in (self.store, self.files):
            made.mkdir()
        dice = random.Random(7)
        bodies = [dice.randbytes(200).hex() for _ in range(ROWS)]  # nothing that a store could make smaller
        pl.DataFrame({"id": range(ROWS), "body": bodies}).write_parquet(folder / "source.parquet")
        places = {"SOURCE": folder / "source.parquet", "SERVER": f"{server.url}/v1", "STORE": self.store}
        code = CODE
        for word, place in {**places, "FILES": self.files}.items():
            code = code.replace(word, str(place))
        (folder / "definitions.py").write_text(code)
        (folder / "workspace.yaml").write_text("load_from:\n  - python_file: definitions.py\n")

    @property
    def state(self) -> Path:
        return self.store / "state.db"

    def answers(self) -> int:
        """Answers that the store holds, looked at from outside."""
        with contextlib.closing(sqlite3.connect(self.state, timeout=30)) as database:
            (count,) = database.execute("SELECT count(*) FROM answers").fetchone()
            return int(count)

    def start(self, *options: str, selection: str = "*facts") -> subprocess.Popen[str]:
        hidden = ("DAGSTER_HOME", "CI", "INFERGRAPH_DEBUG")
        environment = {name: value for name, value in os.environ.items() if name not in hidden}
        return subprocess.Popen(
            [sys.executable, "-c", INTERRUPTIBLE, "run", selection, "--yes", *options],
            cwd=self.folder, env=environment, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip

    def started(self, *options: str, answers: int = 200) -> subprocess.Popen[str]:
        """A run that has got so far."""
        process = self.start(*options)
        until = time.monotonic() + 60
        while len(self.server.requests) < answers:
            if process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"ended with {process.poll()}: {end(process)}")
            time.sleep(0.01)
        return process


def end(process: subprocess.Popen[str]) -> Ended:
    _, err = process.communicate(timeout=90)
    assert "Traceback" not in err, err
    return Ended(process.returncode, err)


@pytest.fixture
def server() -> Iterator[SimulatedServer]:
    with SimulatedServer(latency_s=0.03) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, server: SimulatedServer) -> Project:
    return Project(tmp_path, server)


@pytest.fixture
def small_disk() -> Iterator[Callable[[Path, str], None]]:
    """Makes a folder a disk of its own, of a stated size."""
    mounted: list[Path] = []

    def mount(folder: Path, size: str) -> None:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
        mounted.append(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def finishes(project: Project) -> None:
    """The same command, once the trouble is over: only the rest is asked, and every row is there."""
    import polars as pl

    kept = project.answers()
    asked = len(project.server.requests)
    again = end(project.start())
    assert (again.code, again.errors) == (0, [])
    assert len(project.server.requests) - asked == ROWS - kept
    (published,) = project.files.glob("facts/**/data.parquet")
    assert pl.read_parquet(published)["product"].null_count() == 0


def test_a_store_that_another_program_locks(project: Project) -> None:
    run = project.started()
    other = sqlite3.connect(project.state, isolation_level=None, timeout=30)
    other.execute("BEGIN EXCLUSIVE")
    locked = time.monotonic()
    said = end(run)
    assert time.monotonic() - locked < 8
    assert said.code == 3
    assert "state.db is locked by another program" in said.errors[0]
    other.execute("ROLLBACK")
    other.close()
    assert said.kept == project.answers() > 0
    finishes(project)


def test_a_store_whose_disk_is_full(project: Project, small_disk: Callable[[Path, str], None]) -> None:
    small_disk(project.store, "1m")
    said = end(project.start())
    assert said.code == 3
    assert "disk of the store" in said.errors[0]
    assert "is full. Make room" in said.errors[0]
    assert said.kept == project.answers() > 0
    subprocess.run(["mount", "-o", "remount,size=20m", str(project.store)], check=True)
    finishes(project)


def test_a_full_disk_under_all_of_the_project(project: Project, small_disk: Callable[[Path, str], None]) -> None:
    everything = project.folder / ".infergraph"
    everything.mkdir()
    small_disk(everything, "1500k")
    code = (project.folder / "definitions.py").read_text()
    for place in (project.store, project.files):
        code = code.replace(str(place), str(everything))
    (project.folder / "definitions.py").write_text(code)
    said = end(project.start())
    assert (said.code, len(said.errors)) == (3, 1)
    assert "Make room" in said.errors[0]
    project.store, project.files = everything, everything
    assert said.kept == project.answers() > 0
    subprocess.run(["mount", "-o", "remount,size=30m", str(everything)], check=True)
    finishes(project)


def test_a_full_disk_under_the_published_files(project: Project, small_disk: Callable[[Path, str], None]) -> None:
    small_disk(project.files, "360k")
    said = end(project.start())
    assert said.code == 3
    assert "No space left" in said.errors[0] or "is full" in said.errors[0]
    assert said.kept == project.answers() > 0
    subprocess.run(["mount", "-o", "remount,size=20m", str(project.files)], check=True)
    finishes(project)


def test_a_store_that_is_no_database(project: Project) -> None:
    project.state.write_bytes(b"no database at all " * 500)
    said = end(project.start())
    assert (said.code, len(said.errors)) == (3, 1)
    assert "state.db is not a store" in said.errors[0]
    assert not project.server.requests


def test_a_store_that_is_damaged_while_it_is_used(project: Project) -> None:
    run = project.started()
    run.send_signal(signal.SIGSTOP)
    held = project.answers()
    for part in project.store.glob("state.db*"):
        if not part.name.startswith("state.db-coordination"):
            with part.open("r+b") as file:
                file.write(b"\xa5" * part.stat().st_size)
    run.send_signal(signal.SIGCONT)
    said = end(run)
    assert said.code == 3
    assert len(said.errors) == 1
    assert "damaged" in said.errors[0] or "is not a store" in said.errors[0]
    (number,) = re.findall(r"This run had put ([\d,]+) answers into it\.", said.errors[0])
    assert held - 1 <= int(number.replace(",", "")) <= held + 300


def test_a_store_that_is_deleted_while_it_is_used(project: Project) -> None:
    run = project.started()
    for part in project.store.glob("state.db*"):
        part.unlink()
    said = end(run)
    assert (said.code, len(said.errors)) == (3, 1)
    assert "was deleted or replaced while in use" in said.errors[0]
    assert re.search(r"This run had put [\d,]+ answers into it\.", said.errors[0])


def test_a_folder_that_cannot_be_written(project: Project, small_disk: Callable[[Path, str], None]) -> None:
    if os.geteuid() == 0:  # whom rights do not stop, but a read-only disk does
        small_disk(project.store, "2m")
        subprocess.run(["mount", "-o", "remount,ro", str(project.store)], check=True)
    else:
        project.store.chmod(0o555)
    said = end(project.start())
    assert (said.code, len(said.errors)) == (3, 1)
    assert "cannot be" in said.errors[0]
    assert "Choose another place with store=" in said.errors[0]
    assert not project.server.requests


def test_a_provider_that_is_down(project: Project) -> None:
    run = project.started()
    project.server.faults = [Fault(429, retry_after_s=7200)]
    said = end(run)
    assert said.code == 4
    assert "asks to wait 7200 seconds" in said.errors[0]
    assert said.kept == project.answers() > 0
    project.server.faults = []
    again = end(project.start())
    assert (again.code, again.errors) == (0, [])


def test_a_key_that_is_taken_back(project: Project) -> None:
    run = project.started()
    project.server.api_key = "another"
    said = end(run)
    assert said.code == 4
    assert said.kept == project.answers() > 0


def test_a_budget_that_ends(project: Project) -> None:
    said = end(project.start("--max-cost-usd", "0.03"))
    assert said.code == 5
    (error,) = said.errors
    done = re.search(rf"(\d+) of {ROWS} rows are done", error)
    assert done
    assert int(done[1]) == project.answers() > 0
    assert "every answer is kept" in error


def test_ctrl_c(project: Project) -> None:
    run = project.started()
    run.send_signal(signal.SIGINT)
    stopped = time.monotonic()
    said = end(run)
    ended = time.monotonic()
    assert said.code == 130
    assert "Stopped. " in said.errors[0]
    assert said.kept == project.answers() > 0
    assert project.server.requests[-1].at - stopped < 1
    assert ended - stopped < 4  # a second on a machine that has nothing else to do
    finishes(project)
