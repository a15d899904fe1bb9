"""What does `kill -9` at random moments cost, and does anything break?

The same plan is run again and again on one store, and its process is killed at a random moment after it began; the
last run is left alone. Asked twice may be only what was in flight: sent, and not committed yet.

Bar: no more rows asked twice than kills x (requests at once + 256 answers that wait for a commit at most), a sound
database after every kill, and the output of an undisturbed run.

    python benchmarks/kill.py                             # 10,000 and 100,000 rows, 50 kills
    python benchmarks/kill.py --rows 5000 --kills 10
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import IO, Any, Literal, cast
from urllib.request import urlopen

from flaky import flaky_server
from measuring import scratch_folder, show
from pydantic import BaseModel

AT_ONCE = 128
WAITING_FOR_A_COMMIT = 256


class Ticket(BaseModel):
    """What is extracted."""

    product: str
    severity: Literal["low", "medium", "high"]


def one_life(url: str, folder: str, rows: int) -> None:
    """What is killed: begins when a line comes in."""
    import polars as pl

    import infergraph as ig

    model = ig.Model(
        "openai:m", base_url=f"{url}/v1", api_key=None, max_concurrency=AT_ONCE, price=ig.Price(input=0, output=0)
    )
    warm_up()
    print("ready", flush=True)
    sys.stdin.readline()
    tickets = pl.DataFrame({"id": range(rows), "body": [f"ticket {number}" for number in range(rows)]})
    with ig.Session({"m": model}, store="sqlite:///state.db", root=folder, progress=False) as session:
        frame = session.frame(tickets, name="tickets", key="id").semantic.extract("body", Ticket)
        frame.sink_parquet(Path(folder) / "out.parquet")


def warm_up() -> None:
    """Have everything imported: a kill is to meet the run, not the imports."""
    importlib.import_module("openai")
    import polars as pl

    import infergraph as ig

    with ig.Session({"m": ig.Model("scripted:warm")}, store="sqlite://", progress=False) as session:
        session.frame(pl.DataFrame({"body": ["ticket"]})).semantic.extract("body", Ticket).run()


class Life:
    """One process, warmed up: it begins when told to."""

    def __init__(self, url: str, folder: Path, rows: int) -> None:
        command = [sys.executable, __file__, "--life", url, str(folder), "--rows", str(rows)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def begin(self) -> None:
        """Let it run."""
        cast(IO[str], self.process.stdout).readline()
        given = cast(IO[str], self.process.stdin)
        given.write("go\n")
        given.flush()

    def kill(self) -> bool:
        """Kill it; false when it had finished before."""
        alive = self.process.poll() is None
        self.process.kill()
        self.process.communicate()
        return alive


def answered(url: str) -> int:
    """Requests that the server has answered so far."""
    with urlopen(f"{url}/_stats") as reply:
        return int(json.load(reply)["requests"])


def wait_for_more(url: str, before: int) -> None:
    """Until the server answers again, or for some seconds where nothing is left to ask."""
    give_up = time.monotonic() + 10
    while answered(url) == before and time.monotonic() < give_up:
        time.sleep(0.01)


def is_sound(folder: Path) -> bool:
    """Whether SQLite finds nothing wrong with the store, looked at in a copy: its next user has to recover it."""
    with scratch_folder() as scratch:
        for name in ("state.db", "state.db-wal"):
            if (folder / name).exists():
                shutil.copy(folder / name, scratch / name)
        with closing(sqlite3.connect(scratch / "state.db")) as copy:
            return cast(list[tuple[str]], copy.execute("PRAGMA integrity_check").fetchall()) == [("ok",)]


def undisturbed(rows: int, out: Path) -> float:
    """One run that nobody kills; its output and its seconds."""
    with scratch_folder() as folder, flaky_server() as (url, _):
        life = Life(url, folder, rows)
        started = time.perf_counter()
        life.begin()
        life.process.communicate()
        shutil.copy(folder / "out.parquet", out)
        return time.perf_counter() - started


def measure(rows: int, kills: int, dice: random.Random) -> dict[str, Any]:
    """Kill so often, then finish."""
    import polars as pl

    with scratch_folder() as folder:
        calm_s = undisturbed(rows, folder / "expected.parquet")
        killed, sound = 0, True
        with flaky_server() as (url, counted):
            lives = [Life(url, folder, rows), Life(url, folder, rows)]
            for number in range(kills):
                life, before = lives.pop(0), answered(url)
                lives.append(Life(url, folder, rows))
                life.begin()
                if number % 4:  # every fourth may be killed while it opens its store
                    wait_for_more(url, before)
                time.sleep(dice.random() * 2 * calm_s / kills)
                killed += life.kill()
                sound = sound and is_sound(folder)
            lives[0].begin()
            lives[0].process.communicate()
            lives[1].kill()
        twice, allowed = counted.requests - counted.rows, killed * (AT_ONCE + WAITING_FOR_A_COMMIT)
        same = pl.read_parquet(folder / "out.parquet").equals(pl.read_parquet(folder / "expected.parquet"))
    return {
        "rows": rows,
        "kills while it ran": killed,
        "asked twice": twice,
        "a kill": twice / max(1, killed),
        "allowed": allowed,
        "share asked twice": f"{twice / rows:.2%}",
        "store sound": sound,
        "equal output": same,
        "held": sound and same and twice <= allowed and counted.rows == rows,
    }


def main() -> None:
    """Measure every size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--life", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.life:
        url, folder = given.life
        one_life(url, folder, given.rows[0])
        return
    print(f"seed {given.seed}")
    dice = random.Random(given.seed)
    lines = [measure(rows, given.kills, dice) for rows in given.rows]
    show("kill", f"Runs that are killed at random moments, {AT_ONCE} requests at once", lines)


if __name__ == "__main__":
    main()
