"""All pages but those of artifacts: one function for each kind, which yields paths and their bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from distributor.site.changes import ReleaseStep
from distributor.site.overview import columns, rows
from distributor.site.packages import all_packages
from distributor.site.plot import Plot, Series, plot, sparkline

if TYPE_CHECKING:
    from distributor.site.model import Key, Release, SiteModel
    from distributor.site.rendering import Renderer

Pages = Iterator[tuple[str, bytes]]
_WIDE = (1080, 340)
_NARROW = (380, 280)
_SMALL = (520, 240)


def all_pages(renderer: Renderer) -> Pages:
    """Yield every page but those of artifacts; the overview, which leads to all of them, comes last."""
    model = renderer.model
    yield from renderer.static().items()
    yield from release_pages(renderer)
    yield from service_pages(renderer)
    yield from package_pages(renderer)
    yield from compare_pages(renderer)
    yield "sizes.html", _sizes(renderer)
    for channel in model.channels:
        path = f"channels/{channel.name}.html"
        yield path, renderer.render("channel.html", path, channel=channel)
    shown = columns(model)
    drawing = plot(_names(model), _by_target(model), width=_SMALL[0], height=_SMALL[1])
    yield (
        "index.html",
        renderer.render("overview.html", "index.html", shown=shown, rows=rows(model, shown), drawing=drawing),
    )


def release_pages(renderer: Renderer) -> Pages:
    """Yield a page for each release, and the list of all."""
    releases = list(renderer.model.releases)
    steps: list[tuple[Release, ReleaseStep | None]] = []
    for index, release in enumerate(releases):
        step = ReleaseStep(old=releases[index - 1], new=release) if index else None
        steps.append((release, step))
        artifacts = sorted(release.artifacts.values(), key=lambda item: (item.service, item.target))
        yield (
            release.page,
            renderer.render(
                "release.html",
                release.page,
                release=release,
                step=step,
                after=releases[index + 1] if index + 1 < len(releases) else None,
                services=[
                    (name, list(items)) for name, items in groupby(artifacts, key=lambda item: item.service)
                ],
                packages=len({name for item in artifacts for name, _ in item.contents.packages}),
                largest=max((item.contents.length for item in artifacts), default=0),
            ),
        )
    largest = max((release.length for release in releases), default=0)
    path = "releases/index.html"
    yield path, renderer.render("releases.html", path, steps=steps[::-1], largest=largest)


def service_pages(renderer: Renderer) -> Pages:
    """Yield a page for each service: its history."""
    model = renderer.model
    artifacts = {service: list(items) for service, items in groupby(model.artifacts, lambda a: a.service)}
    for service in model.services:
        targets = sorted({item.target for item in artifacts[service]})
        history = []
        before: Release | None = None
        for release in model.releases:
            cells = []
            for target in targets:
                item = release.artifacts.get((service, target))
                old = before.artifacts.get((service, target)) if before else item
                cells.append((item, item is not old))
            if any(item for item, _ in cells):
                history.append((release, cells))
            before = release
        series = [_series(model, (service, target)) for target in targets]
        wide, narrow = _drawings(model, series)
        path = f"services/{service}.html"
        yield (
            path,
            renderer.render(
                "service.html",
                path,
                service=service,
                targets=targets,
                history=history[::-1],
                count=len(artifacts[service]),
                wide=wide,
                narrow=narrow,
            ),
        )


def package_pages(renderer: Renderer) -> Pages:
    """Yield a page for each package, and the list of all, which can be searched."""
    packages = all_packages(renderer.model)
    for package in packages:
        yield package.page, renderer.render("package.html", package.page, package=package)
    current = sum(any(version.current for version in package.versions) for package in packages)
    path = "packages/index.html"
    yield path, renderer.render("packages.html", path, packages=packages, current=current)


def compare_pages(renderer: Renderer) -> Pages:
    """Yield the page that compares any two releases, and what each holds as a script.

    Scripts, since a page that was opened from a file may load those alone.
    """
    for number, release in enumerate(renderer.model.releases):
        packages = sorted({pair for item in release.artifacts.values() for pair in item.contents.packages})
        numbers = {pair: index for index, pair in enumerate(packages)}
        value = {
            "packages": packages,
            "artifacts": [
                [
                    item.service,
                    item.target,
                    item.version,
                    item.contents.length,
                    item.manifest_sha256[:16],
                    [numbers[pair] for pair in item.contents.packages],
                ]
                for item in release.artifacts.values()
            ],
        }
        text = json.dumps(value, separators=(",", ":"), sort_keys=True)
        yield f"data/{number}.js", f"venvoyRelease({number},{text});\n".encode()
    yield "compare.html", renderer.render("compare.html", "compare.html")


def _sizes(renderer: Renderer) -> bytes:
    model = renderer.model
    wide, narrow = _drawings(model, _by_target(model))
    newest = list(model.releases[-1].artifacts.items()) if model.releases else []
    found = []
    for key, artifact in newest:
        values = _series(model, key).values
        first = next(value for value in values if value is not None)
        found.append((artifact, sparkline(values), artifact.contents.length - first))
    found.sort(key=lambda row: -row[0].contents.length)
    largest = found[0][0].contents.length if found else 0
    return renderer.render("sizes.html", "sizes.html", rows=found, wide=wide, narrow=narrow, largest=largest)


def _names(model: SiteModel) -> list[str]:
    return [release.name for release in model.releases]


def _drawings(model: SiteModel, series: Sequence[Series]) -> tuple[Plot, Plot]:
    """Return the plot for wide screens, and for narrow ones: text keeps its size in both."""
    names = _names(model)
    wide, narrow = (plot(names, series, width=width, height=height) for width, height in (_WIDE, _NARROW))
    return wide, narrow


def _series(model: SiteModel, key: Key) -> Series:
    items = [release.artifacts.get(key) for release in model.releases]
    return Series(name=key[1], values=[item.contents.length if item else None for item in items])


def _by_target(model: SiteModel) -> list[Series]:
    found = []
    for target in model.targets:
        values = []
        for release in model.releases:
            mine = [item.contents.length for key, item in release.artifacts.items() if key[1] == target]
            values.append(sum(mine) if mine else None)
        found.append(Series(name=target, values=values))
    return found
