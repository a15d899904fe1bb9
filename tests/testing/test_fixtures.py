"""The fixtures as a user's tests meet them, in a pytest of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

USERS_TESTS = """
import asyncio, os, socket
import pytest
from infergraph.models.model import Message, Model, Request
from infergraph.models.openai import OpenAIProvider

HELLO = Request(messages=(Message("user", "Hello"),))

def test_server(simulated_server):
    simulated_server.answer = lambda body: "hi there"
    model = Model("openai:m", base_url=simulated_server.openai_url, api_key=None)
    assert asyncio.run(OpenAIProvider(model).send(HELLO)).text == "hi there"
    assert len(simulated_server.requests) == 1

def test_no_keys(no_paid_requests):
    assert "OPENAI_API_KEY" not in os.environ

def test_no_way(no_paid_requests):
    asyncio.run(OpenAIProvider(Model("openai:gpt-5-mini", api_key="sk-given")).send(HELLO))

def test_switched_off_again():
    assert os.environ["OPENAI_API_KEY"] == "sk-of-the-user"
    assert "guarded" not in socket.getaddrinfo.__qualname__
"""


def test_pytest_finds_them_by_itself(tmp_path: Path) -> None:
    (tmp_path / "test_users.py").write_text(USERS_TESTS)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "OPENAI_API_KEY": "sk-of-the-user"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert "3 passed" in ran.stdout, ran.stdout + ran.stderr
    assert "1 failed" in ran.stdout
    assert "A test tried to reach api.openai.com" in ran.stdout
