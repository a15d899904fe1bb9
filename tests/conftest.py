"""For all tests: signals as a terminal would give them."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    # A test run that was started in the background ignores Ctrl-C and the closing of its terminal, and so would every
    # program that the tests start and then stop in these ways.
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)
