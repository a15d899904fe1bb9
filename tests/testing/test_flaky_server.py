"""The benchmarks' flaky server, whose starter may be killed before it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

FLAKY = Path(__file__).parents[2] / "benchmarks" / "flaky.py"


def test_it_ends_quietly_when_nobody_reads_what_it_counted() -> None:
    process = subprocess.Popen([sys.executable, str(FLAKY)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    url = process.stdout.readline().strip()
    with urllib.request.urlopen(f"{url}/_stats", timeout=30) as answer:
        assert answer.status == 200
    process.stdout.close()
    process.send_signal(signal.SIGTERM)
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 0
