"""Four processes on one store, for minutes: do limits, faults, kills and budgets leave anything wrong?

Each process works through the same rounds of rows, so that all four want the same answers at about the same time. The
simulated server states and enforces a limit of requests a minute, and every tenth row fails once or twice. Every few
seconds one process is killed with `kill -9` and started again. The first try of every third round has a budget that
ends too early, and the next try goes on from there.

Bar: every row in every process's output and the same in all, every finished run accounted for, a sound database,
requests for one row bounded, under 1 % of answers 429, nothing left leased or claimed.

    python benchmarks/soak.py                             # ten minutes
    python benchmarks/soak.py --minutes 1
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import polars as pl
from flaky import PASSING, flaky_server
from measuring import scratch_folder, show
from pydantic import BaseModel

import infergraph as ig

PROCESSES = 4
AT_ONCE = 32
ROUND = 400
TIMEOUT_S = 5.0
SHARE = 0.1
KILL_EVERY_S = (5.0, 20.0)
MOST_FAULTS = 2
WAITING_FOR_A_COMMIT = 256
LASTING = {"joins", "quotas"}
"""Tables of the coordination that are not about somebody who is there: a counter, and how far limits are used."""


class Ticket(BaseModel):
    """What is extracted."""

    product: str
    severity: Literal["low", "medium", "high"]


# -- one of the four processes ---------------------------------------------------------------------------------


def work(url: str, folder: Path, name: str, until: float, per_minute: float) -> None:
    """Make one round after the other until the time is over; those made before it was killed are there."""
    model = ig.Model(
        "openai:m",
        base_url=f"{url}/v1",
        api_key=None,
        requests_per_minute=int(per_minute),
        max_concurrency=AT_ONCE,
        max_output_tokens=200,
        timeout_s=TIMEOUT_S,
        price=ig.Price(input=1, output=1),
    )
    number = 0
    with ig.Session({"m": model}, store="sqlite:///state.db", root=folder, progress=False) as session:
        while time.time() < until:
            out = folder / f"round-{number:05}-{name}.parquet"
            if not out.exists():
                make_round(session, number, out, folder / f"accounts-{name}.jsonl")
            number += 1


def make_round(session: ig.Session, number: int, out: Path, accounts: Path) -> None:
    """Run one round until nothing is pending, and publish its rows by a rename."""
    rows = range(number * ROUND, (number + 1) * ROUND)
    tickets = pl.DataFrame({"id": rows, "body": [f"ticket {row} of many" for row in rows]})
    frame = session.frame(tickets, name="tickets", key="id").semantic.extract("body", Ticket)
    budget = 0.03 if number % 3 == 0 else None
    while True:
        result = frame.run() if budget is None else frame.run(max_cost_usd=budget)
        (usage,) = result.usage.by_operator.to_dicts()
        with accounts.open("a") as lines:
            why = result.rejects.select("id", "reason", "message").to_dicts()
            lines.write(json.dumps({**usage, "why": why}, default=str) + "\n")
        if not usage["pending"]:
            break
        budget = None
    part = out.with_suffix(".part")
    result.frame.write_parquet(part)
    part.replace(out)


# -- all of them -----------------------------------------------------------------------------------------------


@dataclass
class Crowd:
    """The processes, which are killed and started again."""

    url: str
    folder: Path
    until: float
    per_minute: float
    kills: int = 0
    failures: list[str] = field(default_factory=list)
    running: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """Start one of them."""
        given = [self.url, str(self.folder), name, str(self.until), str(self.per_minute)]
        command = [sys.executable, __file__, "--work", *given]
        self.running[name] = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def kill(self, name: str) -> None:
        """Kill one and start it again; one that had ended by itself before its time has failed."""
        process = self.running[name]
        if process.poll() is None:
            process.kill()
            process.communicate()
            self.kills += 1
        else:
            self.end(name)
        self.start(name)

    def end(self, name: str) -> None:
        """Wait for one to finish."""
        process = self.running[name]
        _, said = process.communicate(timeout=300)
        if process.returncode:
            self.failures.append(said.strip().splitlines()[-1] if said.strip() else f"exit {process.returncode}")


def disturb(crowd: Crowd, dice: random.Random) -> None:
    """Kill one every few seconds until the time is over, then let all of them finish."""
    names = [f"p{number}" for number in range(PROCESSES)]
    for name in names:
        crowd.start(name)
    while time.time() < crowd.until:
        time.sleep(min(dice.uniform(*KILL_EVERY_S), max(0.0, crowd.until - time.time())))
        if time.time() < crowd.until:
            crowd.kill(dice.choice(names))
    for name in names:
        crowd.end(name)


def left_behind(path: Path) -> dict[str, int]:
    """Tables of the processes' coordination in which somebody is still written down, with how many."""
    if not path.exists():
        return {}
    with closing(sqlite3.connect(path)) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        counts = {name: database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names}
    return {name: count for name, count in counts.items() if count and name not in LASTING}


def is_sound(path: Path) -> bool:
    """Whether SQLite finds nothing wrong."""
    with closing(sqlite3.connect(path)) as database:
        found: list[tuple[str]] = database.execute("PRAGMA integrity_check").fetchall()
    return found == [("ok",)]


def rounds(folder: Path) -> Iterator[tuple[int, list[pl.DataFrame]]]:
    """Each round's number and what the processes that came so far made of it."""
    numbers = sorted({int(path.name.split("-")[1]) for path in folder.glob("round-*.parquet")})
    for number in numbers:
        yield number, [pl.read_parquet(path) for path in sorted(folder.glob(f"round-{number:05}-*.parquet"))]


def is_whole(number: int, outputs: list[pl.DataFrame]) -> bool:
    """Whether all rows of a round were delivered to everybody."""
    rows = list(range(number * ROUND, (number + 1) * ROUND))
    return all(output["id"].to_list() == rows and not output["product"].null_count() for output in outputs)


def is_accounted(line: dict[str, Any]) -> bool:
    """Whether every row of a run has one ending."""
    parts = ("calls", "store_hits", "shared", "rejected_before", "nulls", "pending")
    return bool(line["rows"] == ROUND == sum(line[part] for part in parts))


def measure(minutes: float, per_minute: float, dice: random.Random) -> dict[str, Any]:
    """The whole soak."""
    options = ["--requests-per-minute", str(per_minute), "--share", str(SHARE), "--kinds", *PASSING]
    with scratch_folder() as folder:
        with flaky_server(*options) as (url, counted):
            crowd = Crowd(url, folder, time.time() + minutes * 60, per_minute)
            disturb(crowd, dice)
        made = list(rounds(folder))
        runs = [json.loads(line) for path in folder.glob("accounts-*") for line in path.read_text().splitlines()]
        with closing(sqlite3.connect(folder / "state.db")) as database:
            answers, attempts = (
                database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("answers", "attempts")
            )
        sound = is_sound(folder / "state.db")
        left = left_behind(folder / "state.db-coordination")
    for failure in crowd.failures:
        print(f"failed: {failure}")
    for run in runs:
        for reject in run["why"]:
            print(f"rejected: {reject}")
    told = sum(counted.statuses.values())
    slow_down = counted.statuses.get("429", 0)
    checks = {
        "rows delivered": all(is_whole(number, outputs) for number, outputs in made),
        "same rows for all": all(outputs[0].equals(each) for _, outputs in made for each in outputs),
        "accounted": all(map(is_accounted, runs)),
        "store sound": sound,
        "nobody failed": not crowd.failures,
        "nothing left": not left,
        "requests a row bounded": counted.most <= 1 + MOST_FAULTS + crowd.kills + PROCESSES - 1,
    }
    return {
        "minutes": minutes,
        "rows": answers,
        "outputs": sum(len(outputs) for _, outputs in made),
        "runs": len(runs),
        "kills": crowd.kills,
        "requests": counted.requests,
        "requests a row": counted.requests / max(1, counted.rows),
        "most for one row": counted.most,
        "attempts in the store": attempts,
        "told 429": f"{slow_down / max(1, told):.2%}",
        "of the limit": f"{(counted.requests + slow_down) / (per_minute * minutes):.0%}",
        "left": left or "nothing",
        **checks,
        "held": all(checks.values()),
    }


def main() -> None:
    """Soak and judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--requests-per-minute", type=float, default=6_000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--work", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        url, folder, name, until, per_minute = given.work
        work(url, Path(folder), name, float(until), float(per_minute))
        return
    print(f"seed {given.seed}")
    line = measure(given.minutes, given.requests_per_minute, random.Random(given.seed))
    title = f"{PROCESSES} processes on one store, {given.requests_per_minute:g} requests a minute"
    show("soak", title, [{"what": what, "found": found} for what, found in line.items()])


if __name__ == "__main__":
    main()
