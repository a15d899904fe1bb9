"""What a user sees in the browser: ``infergraph dev`` after a small run, in headless Chromium."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.timeout(300),
    # In CI a missing browser is an error: the test must not vanish there.
    pytest.mark.skipif(
        CHROMIUM is None and not os.environ.get("CI"), reason="chromium is not installed: apt-get install chromium"
    ),
]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]

CODE = '''
import dagster as dg
import polars as pl
from pydantic import BaseModel
import infergraph as ig
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, StoreResource, model_usage_asset
from infergraph.dagster.resources import PriceSettings

class Fact(BaseModel):
    product: str

@dg.asset
def tickets() -> pl.DataFrame:
    return pl.DataFrame({"id": [1, 2, 3], "body": ["the lamp hums", "the kettle leaks", "where is my order"]})

@ig.semantic_asset(key={"tickets": "id"})
def ticket_facts(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
    """What each ticket is about."""
    return tickets.semantic.extract("body", Fact)

MODEL = ModelSettings(name="scripted:any", price=PriceSettings(input=1, output=2))

defs = dg.Definitions(
    assets=[tickets, ticket_facts, model_usage_asset(deps=[ticket_facts])],
    resources={
        "models": ModelsResource(models={"m": MODEL}),
        "store": StoreResource(),
        "io_manager": PolarsStorage(),
    },
    executor=dg.in_process_executor,
)
'''


def infergraph(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "infergraph.cli", *arguments]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    (root / "definitions.py").write_text(CODE)
    (root / "workspace.yaml").write_text("load_from:\n  - python_file: definitions.py\n")
    ran = subprocess.run(
        infergraph("run", "tickets+", "model_usage"),
        cwd=root,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return root


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"} | {"PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="module")
def url(project: Path) -> Iterator[str]:
    """The address of a running ``infergraph dev``."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        infergraph("dev", "--port", str(port)), cwd=project, env=environment(), stdout=subprocess.PIPE, text=True
    )
    try:
        said = ""
        assert process.stdout is not None
        while "Ctrl-C" not in said:
            line = process.stdout.readline()
            assert line, f"infergraph dev ended: {said}"
            said += line
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)


def test_the_asset_page_shows_cost_rows_and_checks(url: str, tmp_path: Path) -> None:
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            page = browser.new_page(viewport={"width": 1400, "height": 1100})
            elsewhere: list[str] = []
            page.on("request", lambda request: elsewhere.append(request.url) if not request.url.startswith(
                (url, "data:", "blob:", url.replace("http", "ws"))) else None)  # fmt: skip
            page.goto(f"{url}/assets/ticket_facts", wait_until="domcontentloaded")
            text = page.locator("body")
            expect(text).to_contain_text("infergraph/cost_usd", timeout=60_000)
            expect(text).to_contain_text(re.compile(r"Row count\s*3|row_count\s*3", re.IGNORECASE))
            expect(text).to_contain_text("What each ticket is about.")
            expect(text).not_to_contain_text("Join the Dagster community")
            page.screenshot(path=tmp_path / "asset.png")
            page.goto(f"{url}/assets/ticket_facts?view=checks", wait_until="domcontentloaded")
            for check in ("schema", "row_count", "reject_rate", "budget"):
                expect(text).to_contain_text(check, timeout=30_000)
            page.screenshot(path=tmp_path / "checks.png")
        finally:
            browser.close()
    assert (tmp_path / "asset.png").stat().st_size > 10_000
    assert elsewhere == [], "the UI asks nobody but our own server"


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_the_picture_of_spending_is_drawn_and_brings_its_own_ground(url: str, tmp_path: Path, theme: str) -> None:
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            page = browser.new_page(viewport={"width": 1400, "height": 1100})
            page.add_init_script(f"localStorage.setItem('dagster-theme', JSON.stringify('{theme}'))")
            page.goto(f"{url}/assets/model_usage", wait_until="domcontentloaded")
            entry = page.locator("tr", has_text="infergraph/spending").get_by_text("Show Markdown")
            entry.click(timeout=60_000)
            picture = page.get_by_alt_text("Spending by asset and day, USD")
            expect(picture).to_be_visible(timeout=30_000)
            width, height, ink = picture.evaluate(_DRAWN)
            page.screenshot(path=tmp_path / f"spending-{theme}.png")
        finally:
            browser.close()
    assert width >= 400
    assert 0.3 < height / width < 0.6
    assert ink["255,255,255"] > 0.5, "a light ground in either theme"
    assert ink["0,114,178"] > 0.01, "and a bar on it"


_DRAWN = """image => {
    const canvas = document.createElement('canvas');
    canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
    const context = canvas.getContext('2d'); context.drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data, ink = {};
    for (let i = 0; i < pixels.length; i += 4) {
        const colour = [pixels[i], pixels[i + 1], pixels[i + 2]].join(',');
        ink[colour] = (ink[colour] || 0) + 4 / pixels.length;
    }
    return [image.clientWidth, image.clientHeight, ink];
}"""
