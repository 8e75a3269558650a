"""``venvoy site``: every page, every link, names of strangers, and what a second run does."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from distributor.site.names import href, page_name
from distributor.site.packages import all_packages
from distributor.stores.directory import DirectoryStore
from tests.generated_store import GeneratedStore
from tests.small_site import SmallSite, venvoy
from tests.wheel_factory import make_wheel


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> GeneratedStore:
    folder = tmp_path_factory.mktemp("pages")
    made = GeneratedStore(directory=folder, releases=6, services=4, targets=2, packages=12).make()
    done = venvoy("site", *made.options, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["written"] == len(files(made.store / "site")) - 1
    return made


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Links(HTMLParser):
    """What a page refers to, and what can be referred to in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[tuple[str, str]] = []
        self.ids: list[str] = []
        self.headings: list[int] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value is not None:
                self.links.append((tag, value))
            if name == "id" and value is not None:
                self.ids.append(value)
            assert not name.startswith("on"), f"a script in an attribute: {name}"
            assert name != "style", "a style that the policy forbids"
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))


def pages(site: Path) -> dict[str, Links]:
    return {path: Links(data.decode("utf-8")) for path, data in files(site).items() if path.endswith(".html")}


def test_every_link_leads_somewhere_and_nowhere_else(generated: GeneratedStore) -> None:
    site = generated.store / "site"
    found = pages(site)
    seen = set()
    for path, page in found.items():
        assert len(set(page.ids)) == len(page.ids), path
        for tag, link in page.links:
            parts = urlsplit(link)
            assert not parts.scheme, f"{path} refers to another host: {link}"
            assert not parts.netloc, f"{path} refers to another host: {link}"
            target = (site / path).parent / unquote(parts.path) if parts.path else site / path
            if not target.resolve().is_relative_to(site):
                assert tag == "a"
                assert target.resolve().is_relative_to(generated.store)
                if ".tar." not in link:  # this store has no tarballs
                    assert target.is_file(), f"{path}: {link}"
                continue
            assert target.is_file(), f"{path}: {link}"
            name = str(target.resolve().relative_to(site.resolve()))
            seen.add(name)
            if parts.fragment and name.endswith(".html") and name != "compare.html":
                assert unquote(parts.fragment) in found[name].ids, f"{path}: {link}"
    assert set(found) <= seen, "pages that nothing leads to"


def test_headings_are_in_order(generated: GeneratedStore) -> None:
    for path, page in pages(generated.store / "site").items():
        assert page.headings[0] == 1, path
        assert page.headings.count(1) == 1, path
        for before, after in zip(page.headings, page.headings[1:], strict=False):
            assert after <= before + 1, path


def test_an_artifacts_page_says_what_it_is_made_of(generated: GeneratedStore) -> None:
    site = generated.store / "site"
    page = sorted((site / "artifacts/nova").iterdir())[0]
    text = page.read_text(encoding="utf-8")
    for needed in ("glibc 2.3", "Python", "Bill of materials", "Provenance", "https://builder.example/3"):
        assert needed in text
    assert re.search(r"venvoy install nova --release 2026\.1\.\d+", text)
    assert text.count('<svg class="bar') == 13
    assert re.search(r"Apache-2\.0|MIT|BSD-3-Clause|MPL-2\.0|ISC", text)


def test_the_overview_shows_channels_and_what_changed(generated: GeneratedStore) -> None:
    text = (generated.store / "site/index.html").read_text(encoding="utf-8")
    assert "stable" in text
    assert "candidate" in text
    assert "Passed the gate of" in text
    assert text.count('<tr><th scope="row">') == 4
    assert '<div class="group changed">' in text
    history = (generated.store / "site/channels/stable.html").read_text(encoding="utf-8")
    assert "Ada Lovelace" in history


def test_a_second_run_writes_nothing(generated: GeneratedStore) -> None:
    before = files(generated.store / "site")
    done = json.loads(venvoy("site", *generated.options, "--json").stdout)
    assert (done["written"], done["removed"]) == (0, 0)
    assert done["unchanged"] == len(before) - 1
    assert files(generated.store / "site") == before


def test_it_can_be_written_elsewhere_and_then_links_to_itself_alone(
    generated: GeneratedStore, tmp_path: Path
) -> None:
    done = venvoy(
        "site", *generated.options, "--output", tmp_path / "public", "--url", "https://repo.example/v"
    )
    assert done.returncode == 0, done.stderr
    for path, page in pages(tmp_path / "public").items():
        for _, link in page.links:
            target = (tmp_path / "public" / path).parent / unquote(urlsplit(link).path)
            assert target.resolve().is_relative_to(tmp_path / "public"), link
    text = (tmp_path / "public/releases/2026.1.5.html").read_text(encoding="utf-8")
    assert "--store https://repo.example/v" in text


def test_pages_of_what_is_no_more_are_removed_and_nothing_outside(
    generated: GeneratedStore, tmp_path: Path
) -> None:
    output = tmp_path / "public"
    venvoy("site", *generated.options, "--output", output)
    index = json.loads((output / "pages.json").read_bytes())
    index["pages"]["releases/0.9.html"] = ["0" * 64, "1" * 64]
    (output / "pages.json").write_text(json.dumps(index))
    (output / "releases/0.9.html").write_text("old")
    done = json.loads(venvoy("site", *generated.options, "--output", output, "--json").stdout)
    assert done["removed"] == 1
    assert not (output / "releases/0.9.html").exists()
    outside = tmp_path / "victim"
    outside.write_text("mine")
    index["pages"]["../victim"] = ["0" * 64, "1" * 64]
    (output / "pages.json").write_text(json.dumps(index))
    done = venvoy("site", *generated.options, "--output", output, "--json")
    assert done.returncode == 0, done.stderr
    assert outside.read_text() == "mine"


HOSTILE = "<script>alert(1)</script>"


def test_what_wheels_say_of_themselves_stays_text(tmp_path: Path) -> None:
    site = SmallSite(tmp_path, described=True)
    metadata = f"Metadata-Version: 2.4\nName: demo\nVersion: 1.0\nSummary: {HOSTILE}\nLicense: {HOSTILE}\n"
    wheel = make_wheel(tmp_path, "demo", "1.0", metadata=metadata.encode())
    built = site.build("1.0", "demo", [wheel])
    site.publish(built)
    site.pin("1.0", built)
    promote = venvoy(
        *("promote", "1.0", "stable", "--why", f"because {HOSTILE}", "--who", '"><img src=x>', "--site"),
        *("--store", site.store, "--keys", site.keys),
        env={"VENVOY_SITE_STORE_URL": "https://repo.example/';<b>"},
    )
    assert promote.returncode == 0, promote.stderr
    found = files(site.store / "site")
    assert any(b"because &lt;script&gt;" in data for data in found.values())
    assert not [path for path, data in found.items() if HOSTILE.encode() in data]
    assert not [path for path, data in found.items() if b"<img" in data or b"<b>" in data]
    assert len(pages(site.store / "site")) > 5


@pytest.mark.parametrize("name", ["..", "../x", "a/b", ".hidden", "a?b#c", 'q"uote', "ünï", "a%2Fb"])
def test_names_stay_in_their_folder(name: str) -> None:
    made = page_name(name)
    assert "/" not in made
    assert not made.startswith(".")
    assert unquote(href(made)) == made
    assert not set('"?#<>&') & set(href(made))


def test_pin_and_promote_bring_the_pages_up_to_date_when_asked(tmp_path: Path) -> None:
    site = SmallSite(tmp_path)
    keys = ("--store", site.store, "--keys", site.keys)
    built = site.release("1.0", publish=False)
    folder = site.directory / "build/1.0"
    assert venvoy("publish", folder, *keys).returncode == 0
    assert not (site.store / "site").exists()
    done = venvoy("pin", "1.0", folder, "--site", "--json", *keys)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["site"]["written"] > 5
    assert (site.store / f"site/artifacts/demo/{built.artifact.stem}.html").is_file()
    dry = venvoy("promote", "1.0", "stable", "--why", "x", "--dry-run", "--site", "--json", *keys)
    assert "site" not in json.loads(dry.stdout)
    done = venvoy("promote", "1.0", "stable", "--why", "it works", "--site", "--json", *keys)
    assert json.loads(done.stdout)["site"]["written"] >= 2
    assert "it works" in (site.store / "site/index.html").read_text(encoding="utf-8")
    done = venvoy("publish", folder, "--site", "--json", *keys)
    assert json.loads(done.stdout)["site"]["written"] == 0


def test_an_empty_store_has_pages_too(tmp_path: Path) -> None:
    site = SmallSite(tmp_path)
    done = venvoy("site", "--store", site.store, "--root", site.root, "--state", site.state)
    assert done.returncode == 0, done.stderr
    assert "Nothing is pinned yet" in (site.store / "site/index.html").read_text(encoding="utf-8")


def test_a_tampered_store_gets_no_pages(generated: GeneratedStore, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(generated.store, store, ignore=shutil.ignore_patterns("site"))
    victim = sorted((store / "sbom/nova").iterdir())[0]
    victim.write_bytes(victim.read_bytes().replace(b"nova", b"nove", 1))
    root = generated.directory / "keys/root.json"
    done = venvoy("site", "--store", store, "--root", root, "--state", tmp_path / "state")
    assert done.returncode == 3
    assert not (store / "site/index.html").exists()


def test_packages_know_the_runs_of_releases_that_hold_them(generated: GeneratedStore) -> None:
    from distributor.site.gathering import gather
    from distributor.trust.trust import Trust

    store = DirectoryStore(generated.store)
    trust = Trust(store, generated.directory / "state", (generated.directory / "keys/root.json").read_bytes())
    trust.refresh()
    model = gather(store, trust, shown_store="store")
    names = [release.name for release in model.releases]
    held: dict[tuple[str, str, str], set[str]] = {}
    for release in model.releases:
        for (service, _), artifact in release.artifacts.items():
            for package, version in artifact.contents.packages:
                held.setdefault((package, version, service), set()).add(release.name)
    shown = {
        (package.name, version.version, use.service): {
            name
            for first, last, count in use.spans
            for name in names[names.index(first) : names.index(last) + 1]
            if count
        }
        for package in all_packages(model)
        for version in package.versions
        for use in version.uses
    }
    assert shown == held
