"""A real browser and a real page, for every test that looks at the page.

``dashboard`` runs the page as a process beside whatever agent is in a runtime directory;
``Window`` is one browser window that remembers every request and every complaint.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, sync_playwright

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
]
# Long, since the machine may be busy; nothing waits for it when all is well.
PATIENCE_MS = 45_000
DESKTOP = {"width": 1280, "height": 800}
TELEVISION = {"width": 1920, "height": 1080}
PHONE = {"width": 390, "height": 844}

_LAUNCH = """
import sys
from pathlib import Path
from edge_agent import dashboard
from edge_agent.config import read_settings
sys.exit(dashboard.run(read_settings(None, {"dashboard": {"listen": sys.argv[1]}}), Path(sys.argv[2])))
"""


@contextmanager
def browser(executable: str = CHROMIUM) -> Iterator[Browser]:
    """Start Chromium without a window."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        try:
            yield chromium
        finally:
            chromium.close()


@contextmanager
def process(*command: str, until: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a command; yield it and its first line that holds ``until``; end it with SIGTERM."""
    started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"})
    assert started.stdout is not None
    with started.stdout:
        line = next((line for line in started.stdout if until in line), None)
        assert line is not None, f"{command[-1]} ended with {started.wait()}"
        try:
            yield started, line
        finally:
            started.send_signal(signal.SIGTERM)
            # What it still says must not fill the pipe.
            started.stdout.read()
            started.wait(30)


@contextmanager
def dashboard(runtime_dir: Path, *, listen: str = "127.0.0.1:0") -> Iterator[str]:
    """Run the page beside the agent in ``runtime_dir``; yield its address."""
    with process(sys.executable, "-c", _LAUNCH, listen, str(runtime_dir), until="page_served") as (_, line):
        yield f"http://127.0.0.1:{json.loads(line)['port']}"


@contextmanager
def fake_agent(runtime_dir: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run the fake agent as a process of its own, with drawn parts on the line."""
    command = [sys.executable, "-m", "tests.fakes.agent_core", "--runtime-dir", str(runtime_dir), *arguments]
    with process(*command, until="serving in") as (started, _):
        yield started


class Window:
    """One browser window at one address.

    Args:
        page: playwright's page.
        address: where the dashboard is.
    """

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", self._asked)
        page.on("console", self._told)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def open(self, path: str = "/") -> None:
        """Go to a path of the dashboard."""
        # Not until the network is idle: the event stream never is.
        self.page.goto(self.address + path, wait_until="domcontentloaded")

    def find(self, testid: str) -> Locator:
        """Return what carries this data-testid."""
        return self.page.get_by_test_id(testid)

    def order_by_keyboard(self, testid: str, reason: str) -> None:
        """Reach a button without a mouse, press it, give a reason and confirm."""
        keyboard = self.page.keyboard
        for _ in range(30):
            keyboard.press("Tab")
            if self.page.evaluate("document.activeElement.dataset.testid") == testid:
                break
        keyboard.press("Enter")
        keyboard.type(reason)
        keyboard.press("Tab")
        keyboard.press("Tab")
        keyboard.press("Enter")

    def foreign_requests(self) -> list[str]:
        """Return the requests that left the host."""
        home = urlsplit(self.address).netloc
        return [url for url in self.requests if urlsplit(url).scheme != "data" and urlsplit(url).netloc != home]

    def until(self, condition: str, argument: Any = None) -> None:
        """Wait until a JavaScript expression, in which ``it`` is the argument, is true."""
        # A function: the page's policy forbids the eval that an expression would need.
        self.page.wait_for_function(f"it => ({condition})", arg=argument, timeout=PATIENCE_MS)

    def scrolls_sideways(self) -> bool:
        """Tell whether the page is wider than the window."""
        wider = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        return bool(self.page.evaluate(wider))

    def _asked(self, request: Request) -> None:
        self.requests.append(request.url)

    def _told(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)


@contextmanager
def window(chromium: Browser, address: str, **context: Any) -> Iterator[Window]:
    """Open a window; ``context`` is playwright's: viewport, color_scheme, locale …"""
    opened = chromium.new_context(**({"viewport": DESKTOP} | context))
    try:
        yield Window(opened.new_page(), address)
    finally:
        opened.close()
