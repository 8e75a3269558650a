"""The pages in a real browser: readable by everybody, on every screen, from files and over HTTP."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

import pytest

from distributor.stores.server import StoreServer
from tests.browser import axe_findings, browser, page_of
from tests.generated_store import GeneratedStore
from tests.small_site import venvoy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

KINDS = ("index.html", "releases/index.html", "releases/2026.1.5.html", "artifact", "services/nova.html")
MORE_KINDS = ("packages/index.html", "package", "sizes.html", "compare.html", "channels/stable.html")


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> GeneratedStore:
    folder = tmp_path_factory.mktemp("browser")
    made = GeneratedStore(directory=folder, releases=6, services=4, targets=2, packages=12).make()
    done = venvoy("site", *made.options)
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


def address(generated: GeneratedStore, kind: str) -> str:
    site = generated.store / "site"
    if kind == "artifact":
        return sorted((site / "artifacts/nova").iterdir())[-1].as_uri()
    if kind == "package":
        return next(path for path in sorted((site / "packages").iterdir()) if path.stem != "index").as_uri()
    return (site / kind).as_uri()


def check(started: Browser, url: str, scheme: str, width: str) -> None:
    with page_of(started, scheme=scheme, width=width) as (page, problems):
        page.goto(url)
        page.wait_for_timeout(50)
        assert axe_findings(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
        assert problems == []


@pytest.mark.parametrize("kind", [*KINDS, *MORE_KINDS])
def test_no_page_has_a_serious_finding_nor_scrolls_sideways(
    generated: GeneratedStore, chromium: Browser, kind: str
) -> None:
    scheme, width = (("light", "desktop"), ("dark", "phone"))[KINDS.count(kind)]
    check(chromium, address(generated, kind), scheme, width)


@pytest.mark.slow
@pytest.mark.parametrize("width", ["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", [*KINDS, *MORE_KINDS])
def test_no_page_has_a_serious_finding_anywhere(
    generated: GeneratedStore, chromium: Browser, kind: str, scheme: str, width: str
) -> None:
    check(chromium, address(generated, kind), scheme, width)


def test_packages_are_found_by_name_and_by_version(generated: GeneratedStore, chromium: Browser) -> None:
    with page_of(chromium) as (page, problems):
        page.goto(address(generated, "packages/index.html"))
        rows = page.locator("#packages tbody tr:visible")
        everything = rows.count()
        several = page.locator("#packages tbody tr", has=page.locator("span.ver:nth-of-type(2)")).first
        name = several.get_attribute("data-name") or ""
        versions = several.locator("span.ver").all_inner_texts()
        page.fill("#search", name.upper())
        assert 1 <= rows.count() < everything
        page.fill("#search", f"{name}<{versions[0]}")
        assert rows.count() == 1
        assert page.locator("#packages span.ver.hit").all_inner_texts() == versions[1:]
        assert f"{len(versions) - 1} version" in page.inner_text("#found")
        page.fill("#search", f"{name}=={versions[0]}")
        assert page.locator("#packages span.ver.hit").all_inner_texts() == versions[:1]
        page.reload()
        assert rows.count() == 1, "the search is part of the address"
        page.fill("#search", "nothing-of-the-kind")
        assert rows.count() == 0
        page.fill("#search", "")
        assert rows.count() == everything
        assert problems == []


def test_any_two_releases_are_compared(generated: GeneratedStore, chromium: Browser) -> None:
    with page_of(chromium) as (page, problems):
        page.goto(address(generated, "compare.html") + "#2026.1.0...2026.1.5")
        page.wait_for_selector("#result table")
        assert page.input_value("#from") == "0"
        summary = page.inner_text("#summary")
        expected = venvoy("diff", "2026.1.0", "2026.1.5", *generated.options).stdout.splitlines()[0]
        found = re.match(r"(\d+) artifacts differ, (\d+) are the same", summary)
        assert found is not None
        assert f"{found[1]} changed, {found[2]} unchanged" in expected
        assert "venvoy diff 2026.1.0 2026.1.5 --store" in page.inner_text(".command code")
        page.click("#result h2:text('Packages') + .scroll a >> nth=0")
        assert page.locator("h1").count() == 1
        page.go_back()
        page.select_option("#to", "0")
        page.wait_for_function("document.getElementById('summary').textContent.startsWith('0 artifacts')")
        page.click("#swap")
        assert problems == []


def test_pages_are_whole_without_scripts(generated: GeneratedStore, chromium: Browser) -> None:
    with page_of(chromium, scripts=False) as (page, _):
        page.goto(address(generated, "packages/index.html"))
        assert not page.is_visible("#search"), "a search that cannot work is not offered"
        assert page.locator("#packages tbody tr").count() > 10
        page.goto(address(generated, "compare.html"))
        assert "venvoy diff A B" in page.inner_text("noscript")


def test_from_a_web_server_nothing_is_asked_of_anybody_else(
    generated: GeneratedStore, chromium: Browser
) -> None:
    server = StoreServer(generated.store, ("127.0.0.1", 0), log=False)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with page_of(chromium) as (page, problems):
            asked: list[str] = []
            page.on("request", lambda request: asked.append(request.url))
            page.goto(f"{server.url}site/index.html")
            page.click(".matrix tbody a >> nth=1")
            page.goto(f"{server.url}site/compare.html")
            page.wait_for_selector("#result table")
            colour = page.evaluate("getComputedStyle(document.querySelector('.top')).position")
            assert colour == "sticky", "the style sheet was not taken: its media type?"
            assert asked
            assert not [url for url in asked if not url.startswith(server.url)]
            assert problems == []
    finally:
        server.stop()
        thread.join()


def test_everything_is_reached_by_keyboard(generated: GeneratedStore, chromium: Browser) -> None:
    with page_of(chromium) as (page, _):
        page.goto(address(generated, "index.html"))
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "content"
        seen = set()
        for _ in range(60):
            page.keyboard.press("Tab")
            seen.add(
                page.evaluate("document.activeElement.closest('section')?.getAttribute('aria-labelledby')")
            )
        assert {"channels", "matrix"} <= seen
