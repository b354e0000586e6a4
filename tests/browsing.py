"""A real browser for the tests of HTML pages. A warning in its console fails the test."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn

from pipeline.pages.local import LocalPage

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
TIMEOUT_MS = 20_000  # to wait for one element; the machine may be busy
PHONE: dict[str, Any] = {"viewport": {"width": 375, "height": 667}, "has_touch": True}


@contextmanager
def served(page: LocalPage) -> Iterator[str]:
    """Serve a page on a free port; give its address, without a slash at the end."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # so that a request made before the server has started waits for it
        server = uvicorn.Server(uvicorn.Config(page.asgi, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def chromium_path() -> str | None:
    """Return the path of the system's Chromium; None if it is not installed."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for path in map(shutil.which, names) if path), None)


class Tabs:
    """Opens browser tabs and collects their errors in `errors`.

    A test that provokes an error on purpose checks the list and clears it.
    """

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.errors: list[str] = []

    def open(self, url: str, *, beside: Page | None = None, **options: Any) -> Page:
        """Open a page in a new window, or in a second tab `beside` another page.

        `options` are those of a Playwright context: viewport, color_scheme, has_touch.
        """
        context = self.browser.new_context(**options) if beside is None else beside.context
        page = context.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.on("console", self._collect)
        page.on("pageerror", lambda error: self.errors.append(f"{page.url}: {error}"))
        origin = "/".join(url.split("/")[:3])

        def check(request: Request) -> None:
            if not request.url.startswith((f"{origin}/", f"blob:{origin}/", "data:")):
                self.errors.append(f"{page.url} sent a request to another host: {request.url}")

        page.on("request", check)
        page.goto(url)
        return page

    def _collect(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.location.get('url')}: {message.text}")


@pytest.fixture(scope="module")  # while it lives, no other event loop can run in this thread
def browser() -> Iterator[Browser]:
    """Give the system's Chromium, headless; skip the test if it is not installed."""
    chromium = chromium_path()
    if chromium is None:
        pytest.skip("Chromium is not installed; run: apt install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def tabs(browser: Browser) -> Iterator[Tabs]:
    """Give a Tabs to open pages with; at the end, they must have no errors."""
    opened = Tabs(browser)
    yield opened
    for context in browser.contexts:
        context.close()
    assert not opened.errors, opened.errors


RUN_AXE = """(rules) => axe.run(document, {
    resultTypes: ["violations"], ...(rules.length && { runOnly: rules }),
}).then((results) => results.violations)"""


def faults(page: Page, *rules: str) -> list[str]:
    """Return what axe-core finds serious or critical about a page as it is now shown.

    If `rules` are given, axe-core checks only these.
    """
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python"
    )
    if page.evaluate("typeof axe") == "undefined":
        page.evaluate(axe.Axe().axe_script)
    return [
        f"{each['id']}: {each['help']}: {node['target']} {node.get('failureSummary', '')}"
        for each in page.evaluate(RUN_AXE, list(rules))
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]
