"""Pytest fixtures for users of Infergraph; pytest finds them by itself once Infergraph is installed.

``simulated_server`` is a model server for one test. ``no_paid_requests`` takes the providers' keys out of the
environment and makes every connection to a provider's own host an error; switch it on for all tests with
``pytestmark = pytest.mark.usefixtures("no_paid_requests")``, or in ``conftest.py`` with an autouse fixture that
asks for it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from infergraph.testing.server import SimulatedServer

PAID_HOSTS = ("api.openai.com", "api.anthropic.com")
KEY_VARIABLES = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_ADMIN_KEY", "ANTHROPIC_AUTH_TOKEN")


class PaidRequest(RuntimeError):
    """A test tried to reach a provider that costs money."""


@pytest.fixture
def simulated_server() -> Iterator[SimulatedServer]:
    """A simulated model server without limits or faults; both can be set on it (``faults``, ``answer``...)."""
    from infergraph.testing.server import SimulatedServer

    with SimulatedServer() as server:
        yield server


@pytest.fixture
def no_paid_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key in the environment, and no way to the providers' own hosts."""
    for name in KEY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    look_up = socket.getaddrinfo

    def guarded(host: Any, *more: Any, **named: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else str(host)
        if any(name == paid or name.endswith("." + paid) for paid in PAID_HOSTS):
            raise PaidRequest(f"A test tried to reach {name}, which costs money. Use the simulated server.")
        return look_up(host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", guarded)
