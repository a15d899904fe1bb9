"""``python -m infergraph.testing``: a simulated model server in a process of its own, for benchmarks and by hand."""

from __future__ import annotations

import argparse
import signal
import sys
from typing import cast

from infergraph.testing.faults import Fault, FaultKind
from infergraph.testing.limits import Limits
from infergraph.testing.server import SimulatedServer


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m infergraph.testing",
        description="Serve a simulated model over the OpenAI and Anthropic protocols until interrupted.",
        epilog="Example: python -m infergraph.testing --port 8089 --latency 0.1 --fault 429=0.01 --fault reset=0.001. "
        "While it runs, GET /_stats tells what happened, and POST /_control takes "
        '{"slots": 4} and {"reset": true} (statistics).',
    )
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0: any free one")
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS", help="seconds before each answer")
    parser.add_argument("--slow", type=_slow, metavar="SHARE=SECONDS", help="a share of the requests takes so long")
    for limit in ("requests", "tokens", "input-tokens", "output-tokens"):
        parser.add_argument(f"--{limit}-per-minute", type=float, metavar="N")
    parser.add_argument("--burst", type=float, default=1.0, metavar="SECONDS", help="so much of a limit comes at once")
    parser.add_argument("--slots", type=int, metavar="N", help="requests worked on at once")
    parser.add_argument("--queue", action="store_true", help="requests beyond the slots wait; else they are told 429")
    parser.add_argument("--prefix-cache", action="store_true", help="remember long prefixes of prompts")
    parser.add_argument(
        "--fault", action="append", default=[], type=_fault, metavar="KIND=RATE", help="may be given several times"
    )
    return parser.parse_args()


def _fault(given: str) -> Fault:
    kind, _, rate = given.partition("=")
    share = _number(rate or "1")
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{given!r}: the rate is a number from 0 to 1, as in 429=0.01")
    try:
        # Fault itself says which kinds there are.
        return Fault(int(kind) if kind.isdigit() else cast(FaultKind, kind), rate=share)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _slow(given: str) -> Fault:
    rate, _, seconds = given.partition("=")
    if not (0 <= _number(rate) <= 1 and _number(seconds) >= 0):
        raise argparse.ArgumentTypeError(f"{given!r}: a share from 0 to 1 and seconds, as in 0.0001=60")
    return Fault("hang", rate=_number(rate), seconds=_number(seconds))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0


def main() -> None:
    """Serve until interrupted; the first line of output is the server's address."""
    given = _arguments()
    server = SimulatedServer(
        latency_s=given.latency,
        limits=Limits(
            requests_per_minute=given.requests_per_minute,
            tokens_per_minute=given.tokens_per_minute,
            input_tokens_per_minute=given.input_tokens_per_minute,
            output_tokens_per_minute=given.output_tokens_per_minute,
            slots=given.slots,
            queue=given.queue,
            burst_s=given.burst,
        ),
        faults=[*given.fault, *([given.slow] if given.slow else [])],
        prefix_cache=given.prefix_cache,
        keep_requests=False,
        port=given.port,
    )
    with server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main()
