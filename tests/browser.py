"""A real browser for tests of pages: Debian's Chromium, driven by Playwright, with axe-core in it."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium")
_OPTIONS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}


def why_not() -> str | None:
    """Say what lacks for tests in a browser, or None."""
    if CHROMIUM is None:
        return "chromium is not installed"
    for name in ("playwright", "axe_playwright_python"):
        if importlib.util.find_spec(name) is None:
            return f"{name} is not installed"
    return None


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Start the browser, which ends with the block; skips the test where there is none."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=_OPTIONS)
        try:
            yield started
        finally:
            started.close()


@contextlib.contextmanager
def page_of(
    started: Browser, *, scheme: str = "light", width: str = "desktop", scripts: bool = True
) -> Iterator[tuple[Page, list[str]]]:
    """Open a page, and collect what goes wrong on it: errors of scripts, refusals, requests elsewhere."""
    columns, rows = WIDTHS[width]
    context = started.new_context(
        viewport={"width": columns, "height": rows},
        color_scheme="dark" if scheme == "dark" else "light",
        java_script_enabled=scripts,
    )
    problems: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: problems.append(f"error: {error}"))
    page.on(
        "console",
        lambda message: problems.append(message.text) if message.type in ("error", "warning") else None,
    )
    page.on("requestfailed", lambda request: problems.extend(_failed(request.url, request.failure)))
    try:
        yield page, problems
    finally:
        context.close()


def _failed(url: str, why: str | None) -> list[str]:
    """Return what to say of a request that failed; one that leaving the page cut short did not."""
    return [] if why == "net::ERR_ABORTED" else [f"failed: {url}: {why}"]


def axe_findings(page: Page) -> list[str]:
    """Return what axe-core finds serious or critical on *page*, one line each."""
    import axe_playwright_python

    source = Path(axe_playwright_python.__file__).with_name("axe.min.js")
    page.evaluate(source.read_text(encoding="utf-8"))
    result: dict[str, Any] = page.evaluate("axe.run(document, {preload: false, resultTypes: ['violations']})")
    return [
        f"{item['impact']}: {item['id']}: {node['html'][:200]}"
        for item in result["violations"]
        if item["impact"] in ("serious", "critical")
        for node in item["nodes"]
    ]
