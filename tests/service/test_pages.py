"""The pages, in a real Chromium: builds and logs as they come, for everybody, with scripts and without."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from distributor.publishing.proposing import open_proposing
from distributor.stores.directory import DirectoryStore
from tests.browser import axe_findings
from tests.browser import browser as started_browser
from tests.service_site import ServiceSite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceSite]:
    site = ServiceSite(tmp_path_factory.mktemp("service"), options=("--site",))
    with site.running():
        yield site


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with started_browser() as browser:
        yield browser


@pytest.fixture
def open_page(site: ServiceSite, browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open a page of the site as a person would; nothing may go wrong in it."""
    contexts, problems = [], []

    def open_page(path: str, **options: object) -> Page:
        credentials = {"username": "me", "password": site.token("read")}
        context = browser.new_context(http_credentials=credentials, base_url=site.url, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("response", lambda answer: problems.append(answer.url) if answer.status >= 400 else None)
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def test_a_build_is_seen_at_work_until_it_is_done(site: ServiceSite, open_page: Callable[..., Page]) -> None:
    build = site.submit(site.request("1.0.0", ("demo", "other")), publish=True)
    worker = site.frozen_worker()
    page, listing = open_page("/"), open_page("/")
    row = page.get_by_role("row", name="1.0.0")
    assert "building" in row.inner_text()
    assert axe_findings(page) == []
    row.get_by_role("link", name="1.0.0").click()
    assert page.get_by_role("status").inner_text() == "building"
    assert axe_findings(page) == []
    assert "building release 1.0.0" in page.locator("#log").inner_text()
    os.kill(worker, signal.SIGCONT)
    # The script reloads the page at the end: what was built is there without anybody asking.
    page.get_by_role("heading", name="Artifacts").wait_for(timeout=30_000)
    assert page.get_by_role("status").inner_text() == "published"
    assert "published artifacts/demo/demo-1.0.0-" in page.locator("#log").inner_text()
    assert page.get_by_role("row", name="other 1.0.0").count() == 1
    listing.evaluate("refresh()")  # what its script does every few seconds
    assert "published" in listing.get_by_role("row", name="1.0.0").inner_text()
    tarball = page.get_by_role("link", name="demo").get_attribute("href")
    got = page.request.get(tarball)
    assert len(got.body()) == site.build(build["id"])["artifacts"][0]["length"]


@pytest.mark.slow
def test_the_pages_of_the_store_are_beside(site: ServiceSite, open_page: Callable[..., Page]) -> None:
    build = site.wait(site.submit(site.request("1.3.0"), publish=True)["id"])
    repository, proposal = open_proposing(DirectoryStore(site.site.store), site.site.keys)
    repository.pin("1.3.0", repository.pins_for([Path(build["artifacts"][0]["manifest"]).stem]))
    signed = proposal()
    assert signed is not None
    assert site.call("POST", "/api/v1/pins", json=json.loads(signed.to_json())).status_code == 200
    page = open_page("/")
    page.get_by_role("link", name="Store").click()
    assert page.url.endswith("/store/site/index.html")
    assert page.get_by_role("heading", level=1).count() == 1
    page.get_by_role("link", name="demo").first.click()
    assert build["artifacts"][0]["identity"][:12] in page.content()


def test_errors_are_pages_for_people_and_json_for_programs(site: ServiceSite) -> None:
    missing = f"/builds/{'0' * 32}"
    page = site.call("GET", missing, headers={"Accept": "text/html,*/*;q=0.8"})
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "<h1>Not found</h1>" in page.text
    assert "there is no build" in page.text
    stranger = site.call("GET", "/", token="", headers={"Accept": "text/html"})
    assert stranger.status_code == 401
    assert stranger.headers["www-authenticate"].startswith("Basic ")
    assert "<h1>" in stranger.text
    evil = site.call("GET", "/?state=%3Cimg%3E", headers={"Accept": "text/html"})
    assert evil.status_code == 422
    assert "<img>" not in evil.text
    for path in (missing, f"/api/v1{missing}"):
        answer = site.call("GET", path, headers={"Accept": "text/html" if "api" in path else "*/*"})
        assert answer.status_code == 404
        assert set(answer.json()) == {"error", "exit_code"}


def test_hostile_names_stay_text(site: ServiceSite, open_page: Callable[..., Page]) -> None:
    evil = "demo/<img src=x onerror=document.title=1>.py"
    body = site.request(
        "1.1.0", files={evil: b""}, edit_record=lambda rows: [r for r in rows if r[0] != evil]
    )
    build = site.wait(site.submit(body)["id"])
    assert build["state"] == "failed"
    page = open_page(f"/builds/{build['id']}")
    assert evil in page.locator("#error").inner_text()
    assert evil in page.locator("#log").inner_text()
    assert page.locator("img").count() == 0
    assert page.title() == "Release 1.1.0 \N{EN DASH} Venvoy"


@pytest.mark.parametrize(
    ("scheme", "scripts"),
    [("light", True), pytest.param("dark", True, marks=pytest.mark.slow), ("light", False)],
)
def test_pages_are_for_everybody(
    site: ServiceSite, open_page: Callable[..., Page], scheme: str, scripts: bool
) -> None:
    build = site.submit(site.request("1.2.0"))
    site.wait(build["id"])
    page = open_page(
        "/", color_scheme=scheme, java_script_enabled=scripts, viewport={"width": 360, "height": 700}
    )
    for path in ("/", f"/builds/{build['id']}", "/releases"):
        page.goto(path)
        if scripts:  # what looks for faults is a script itself
            assert axe_findings(page) == [], path
            width = page.locator("body").evaluate("body => body.scrollWidth")
            assert width <= 360, path
        assert page.get_by_role("heading", level=1).count() == 1
