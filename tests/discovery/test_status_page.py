"""The status page in a real browser, without a window: what it shows, on a desktop and on a phone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hpcops_discovery.settings import Settings
from playwright.sync_api import Browser, Error, Page, sync_playwright
from support import ADMIN, Client, host, service

PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("SKIPPED: no chromium is installed here")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """What a browser shows does not depend on the database."""
    return sqlite_url


@pytest.fixture(params=[PHONE, DESKTOP], ids=["phone", "desktop"])
def page(request: pytest.FixtureRequest, browser: Browser, site: Client) -> Iterator[Page]:
    evil = '<img src=x onerror="document.title=1">'
    long = "a-node-with-a-name-that-is-much-longer-than-a-telephone-is-wide-and-has-no-place-to-break-it-anywhere"
    site.ok("POST", "/v1/hosts", json={"hosts": [host(long, labels={"evil": evil})]})
    services = [service("exporter", "a1"), service("database", "a2", check={"type": "tcp"}), service("exporter", long)]
    site.ok("POST", "/v1/services", json={"services": services})
    context = browser.new_context(viewport=request.param, http_credentials={"username": "me", "password": ADMIN})
    page = context.new_page()
    page.goto(str(site.base_url))
    yield page
    context.close()


def test_page_shows_clusters_partitions_services_and_changes(page: Page) -> None:
    assert page.locator("h1").inner_text() == "5 hosts in 2 clusters"
    tables = page.locator("table").all_inner_texts()
    assert [line.split() for line in tables[0].splitlines()] == [
        ["Cluster", "planned", "ready", "active", "maintenance", "retired"],
        ["alpha", "2", "1", "1"],
        ["beta", "1"],
    ]
    assert "alpha / gpu" in tables[1]
    assert page.locator(".status.unknown").first.inner_text() == "1 unknown"
    # The worst first.
    assert "database" in page.locator("table").nth(2).locator("tr").nth(1).inner_text()
    assert "admin" in tables[3]


def test_page_is_no_wider_than_the_screen(page: Page) -> None:
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= (page.viewport_size or PHONE)["width"]
    assert page.locator("h1").bounding_box() is not None


def test_page_needs_no_script_and_runs_none(page: Page, tmp_path: Path) -> None:
    assert page.locator("script").count() == 0
    assert page.title().startswith("5 hosts")
    page.screenshot(path=tmp_path / "status.png", full_page=True)


def test_page_is_shown_to_nobody_without_a_token(browser: Browser, settings: Settings, site: Client) -> None:
    assert settings.status_public is False
    context = browser.new_context()
    with pytest.raises(Error, match="ERR_INVALID_AUTH_CREDENTIALS"):
        context.new_page().goto(str(site.base_url))
    context.close()
