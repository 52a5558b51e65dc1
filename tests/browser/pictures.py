"""Take the pictures of the documentation from a served demonstration: `python -m tests.browser.pictures [PORT]`.

`manage.py demo` plays the demonstration and serves it at port 8000.
"""

import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.chromium import DESK, FLAGS, PROGRAM, TABLET

IMAGES = Path(__file__).parents[2] / "docs" / "images"
PASSWORD = "demo-demo-demo"


def signed_in(browser: Browser, viewport: dict, address: str, email: str) -> Page:
    """The first page of whoever signs in, in English."""
    page = browser.new_context(viewport=viewport, locale="en-GB").new_page()
    page.goto(address)
    page.fill("[name=username]", email)
    page.fill("[name=password]", PASSWORD)
    page.click("[type=submit]")
    page.wait_for_load_state()
    return page


def main(port: str = "8000") -> None:
    site = f"http://acme.localhost:{port}"
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=FLAGS)
        page = signed_in(browser, DESK, site, "analyst@acme.example")
        page.goto(f"{site}/profiles/profile/?q=bourdon")
        page.locator("#result_list tbody a", has_text="Bernard Bourdon").first.click()
        page.wait_for_load_state("networkidle")
        page.screenshot(path=IMAGES / "customer.png")

        page = signed_in(browser, TABLET, f"{site}/store/", "store@acme.example")
        page.locator(".account summary").click()
        page.get_by_role("button", name="English").click()
        page.wait_for_load_state("networkidle")
        page.screenshot(path=IMAGES / "store.png")
        page.locator(".account summary").click()
        page.get_by_role("button", name="Français").click()  # as the demonstration left it
        page.wait_for_load_state("networkidle")
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
