"""A real browser for tests of the local pages: what its console complains of is a failure."""

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
TIMEOUT_MS = 20_000  # for one thing to appear; the machine may be busy
PHONE: dict[str, Any] = {"viewport": {"width": 375, "height": 667}, "has_touch": True}


@contextmanager
def served(page: LocalPage) -> Iterator[str]:
    """Serve a page on a port of its own; give its address, without a slash at the end."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(page.asgi, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def chromium_path() -> str | None:
    """Return where the system's Chromium is; None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for path in map(shutil.which, names) if path), None)


class Tabs:
    """Opens tabs, and keeps what goes wrong in them in `errors`.

    A test that means to provoke an error clears the list after looking at it.
    """

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.errors: list[str] = []

    def open(self, url: str, *, beside: Page | None = None, **options: Any) -> Page:
        """Open a page in a window of its own, or in a second tab `beside` one.

        `options` are Playwright's of a context: viewport, color_scheme, has_touch.
        """
        context = self.browser.new_context(**options) if beside is None else beside.context
        page = context.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.errors.append(f"{page.url}: {error}"))
        origin = "/".join(url.split("/")[:3])

        def asked(request: Request) -> None:
            if not request.url.startswith((f"{origin}/", f"blob:{origin}/", "data:")):
                self.errors.append(f"{page.url} asked elsewhere: {request.url}")

        page.on("request", asked)
        page.goto(url)
        return page

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.location.get('url')}: {message.text}")


@pytest.fixture(scope="module")  # of a module: while it lives, its thread can run no other loop
def browser() -> Iterator[Browser]:
    """Give a headless Chromium, the system's; skip where there is none."""
    chromium = chromium_path()
    if chromium is None:
        pytest.skip("no chromium: apt install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def tabs(browser: Browser) -> Iterator[Tabs]:
    """Give a place to open tabs; at the end, they must have had nothing to complain of."""
    opened = Tabs(browser)
    yield opened
    for context in browser.contexts:
        context.close()
    assert not opened.errors, opened.errors


def faults(page: Page) -> list[str]:
    """Return what axe-core finds serious or critical about a page as it is now shown."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python"
    )
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {each['help']}: {node['target']} {node.get('failureSummary', '')}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]
