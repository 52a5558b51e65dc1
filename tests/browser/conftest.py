"""A real Chromium against a live server on the test database, whose rows are really committed and taken away again."""

from datetime import date

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright
from pytest_django.live_server_helper import LiveServer

from tenants.calendar import brand_today
from tests.browser.chromium import DESK, FLAGS, PROGRAM
from tests.committed import committed, emptied  # noqa: F401 - fixtures
from tests.conftest import PASSWORD

PATIENCE_MS = 15_000


@pytest.fixture
def today(brand) -> date:
    return brand_today()


@pytest.fixture(scope="package")
def live_server():
    """The same as pytest-django's, at an address that needs no resolver."""
    server = LiveServer("127.0.0.1")
    yield server
    server.stop()


@pytest.fixture(scope="package")
def playwright(committed):  # noqa: F811 - the fixture above
    """Ends with this package: its event loop would make every later test look asynchronous to Django."""
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="package")
def chromium(playwright: Playwright) -> Browser:
    if PROGRAM is None:
        pytest.skip("no Chromium on this machine: make browser")
    browser = playwright.chromium.launch(executable_path=PROGRAM, args=FLAGS)
    yield browser
    browser.close()


class Visitor:
    """A person at a browser: signs in with the form, and remembers everything the browser complained about."""

    def __init__(self, context: BrowserContext, host: str, port: int):
        self.address = f"http://{host}:{port}"
        self.complaints: list[str] = []
        context.set_default_timeout(PATIENCE_MS)
        self.page: Page = context.new_page()
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(f"{self.page.url}: {error}"))

    def _hear(self, message) -> None:
        # What the server refuses and what violates the policy arrive here as errors as well.
        if message.type == "error":
            self.complaints.append(f"{self.page.url}: {message.text}")

    def open(self, path: str) -> Page:
        self.page.goto(self.address + path)
        return self.page

    def sign_in(self, email: str, path: str = "/") -> Page:
        """Ask for a page, be sent to the form, and come back."""
        page = self.open(path)
        page.fill("[name=username]", email)
        page.fill("[name=password]", PASSWORD)
        page.click("[type=submit]")
        page.wait_for_url(self.address + path + "**")
        return page


@pytest.fixture
def visitor(chromium: Browser, live_server):
    """`visitor(viewport, host)`: somebody at a browser of this size; at the end nothing has gone wrong in any page."""
    contexts, visitors = [], []

    def come(viewport=DESK, host="acme.localhost") -> Visitor:
        contexts.append(chromium.new_context(viewport=viewport, locale="en-GB", accept_downloads=True))
        visitors.append(Visitor(contexts[-1], host, live_server.thread.port))
        return visitors[-1]

    yield come
    for context in contexts:
        context.close()
    complaints = [complaint for one in visitors for complaint in one.complaints]
    assert not complaints, "\n".join(complaints)
