from __future__ import annotations

import functools
import http.server
import json
import subprocess
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from builder.commands.lock import command
from builder.jobs import chosen_jobs, lock_path
from builder.resolving import constraint_files
from builder.resolving.constraint_files import gather_constraints
from builder.resolving.locking import (
    Change,
    LockOptions,
    LockResult,
    lock_release,
    lock_service,
)
from builder.resolving.uv_compile import failure, uv_platform
from manifests.documents import sha256_file
from manifests.errors import InvalidInput, NotFound, StoreUnavailable
from manifests.lock import read_lock
from manifests.release_spec import ReleaseSpec, read_release_spec
from manifests.target import Target
from tests.wheel_factory import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEBIAN = Target.parse("cp311-linux_x86_64-glibc2.36")
UBUNTU = Target.parse("cp311-linux_x86_64-glibc2.39")


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class Site:
    """A web server over a folder: ``simple/`` is a package index, anything else is files."""

    def __init__(self, root: Path, port: int) -> None:
        self.root = root
        self.url = f"http://127.0.0.1:{port}"
        self.index = f"{self.url}/simple"

    def wheel(
        self, name: str, version: str, *, tag: str = "py3-none-any", requires: tuple[str, ...] = ()
    ) -> str:
        """Offer a wheel and return its file name."""
        folder = self.root / "simple" / name
        folder.mkdir(parents=True, exist_ok=True)
        made = make_wheel(folder, name, version, tag=tag, requires=requires)
        digests = [(path.name, sha256_file(path)) for path in sorted(folder.glob("*.whl"))]
        links = [f'<a href="{file}#sha256={digest}">{file}</a>' for file, digest in digests]
        (folder / "index.html").write_text("<!DOCTYPE html>\n" + "\n".join(links))
        return made.name


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    root = tmp_path / "www"
    root.mkdir()
    handler = functools.partial(QuietHandler, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Site(root, server.server_address[1])
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def uv_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_OVERRIDE", "/nonexistent/overrides.txt")
    monkeypatch.setenv("UV_RESOLUTION", "lowest")
    for name in (
        "UV_INDEX",
        "UV_INDEX_URL",
        "UV_EXTRA_INDEX_URL",
        "UV_FIND_LINKS",
        "UV_OFFLINE",
        "UV_DEFAULT_INDEX",
    ):
        monkeypatch.delenv(name, raising=False)


def write_spec(tmp_path: Path, services: str, top: str = "") -> ReleaseSpec:
    path = tmp_path / "repo" / "release.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'release = "1"\ntargets = ["{DEBIAN}"]\n{top}\n{services}')
    return read_release_spec(path)


def lock_one(spec: ReleaseSpec, site: Site, **options: object) -> LockResult:
    chosen = replace(LockOptions(default_index=site.index), **options)  # type: ignore[arg-type]
    return lock_service(spec.services[0], spec, DEBIAN, chosen)


def make_repository(site: Site, name: str, version: str) -> Path:
    work = site.root.parent / "work" / name
    work.mkdir(parents=True)
    git(work, "init", "-q", "-b", "main")
    commit(work, name, version)
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(site.root / f"{name}.git")], check=True)
    publish(site, name)
    return work


def commit(work: Path, name: str, version: str) -> str:
    (work / "pyproject.toml").write_text(f'[project]\nname = "{name}"\nversion = "{version}"\n')
    git(work, "add", "-A")
    git(work, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", version)
    return git(work, "rev-parse", "HEAD")


def publish(site: Site, name: str) -> None:
    bare = site.root / f"{name}.git"
    git(bare, "fetch", "-q", str(site.root.parent / "work" / name), "+main:main")
    git(bare, "update-server-info")


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


APP = '[services.app]\nrequirements = ["app"]\n'


def test_locks_what_fits_the_target_and_changes_nothing_the_second_time(tmp_path: Path, site: Site) -> None:
    site.wheel("app", "1.0", requires=("lib>=1",))
    site.wheel("lib", "1.0", tag="cp311-cp311-manylinux_2_36_x86_64")
    site.wheel("lib", "2.0", tag="cp311-cp311-manylinux_2_37_x86_64")
    spec = write_spec(tmp_path, APP)
    first = lock_one(spec, site)
    path = tmp_path / "repo" / "locks" / "pylock.app-cp311-linux_x86_64-glibc2_36.toml"
    assert first == LockResult(
        service="app",
        target=DEBIAN,
        path=path,
        written=True,
        packages=2,
        changes=(Change(name="app", old=None, new="1.0"), Change(name="lib", old=None, new="1.0")),
    )
    text = path.read_text()
    assert text.startswith('lock-version = "1.0"\ncreated-by = "uv"\nrequires-python = ">=3.11"\n')
    assert str(tmp_path) not in text
    assert [item.name for item in path.parent.iterdir()] == [path.name]

    site.wheel("lib", "1.5")
    before = path.stat()
    again = lock_one(spec, site)
    assert again == replace(first, written=False, changes=())
    assert path.stat() == before


def test_upgrade_takes_newer_versions_and_dry_run_writes_none(tmp_path: Path, site: Site) -> None:
    site.wheel("app", "1.0", requires=("lib",))
    site.wheel("lib", "1.0")
    spec = write_spec(tmp_path, APP)
    path = lock_one(spec, site).path
    before = path.read_bytes()
    site.wheel("app", "1.1", requires=("other",))
    site.wheel("other", "3.0")
    tried = lock_one(spec, site, upgrade=True, dry_run=True)
    assert path.read_bytes() == before
    done = lock_one(spec, site, upgrade=True)
    assert tried == done
    assert [str(change) for change in done.changes] == ["app 1.0 -> 1.1", "-lib 1.0", "+other 3.0"]
    assert [item.name for item in read_lock(path, DEBIAN).packages] == ["app", "other"]


def test_constraints_from_files_and_urls_hold(tmp_path: Path, site: Site) -> None:
    for version in ("1.0", "2.0", "3.0"):
        site.wheel("app", version, requires=("lib",))
        site.wheel("lib", version)
    (site.root / "upper.txt").write_text("lib<3\n")
    (tmp_path / "own.txt").write_text("app===1.0\n")
    spec = write_spec(
        tmp_path, APP + 'constraints = ["../own.txt"]\n', f'constraints = ["{site.url}/upper.txt"]'
    )
    assert [str(change) for change in lock_one(spec, site).changes] == ["+app 1.0", "+lib 2.0"]


def test_an_index_with_a_password_leaves_no_trace(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.wheel("app", "1.0")
    monkeypatch.setenv("UV_DEFAULT_INDEX", site.index.replace("//", "//me:secret@"))
    spec = write_spec(tmp_path, APP)
    result = lock_service(spec.services[0], spec, DEBIAN, LockOptions())
    assert "secret" not in result.path.read_text()


def test_a_branch_is_locked_to_its_commit_until_upgraded(tmp_path: Path, site: Site) -> None:
    work = make_repository(site, "app", "1.0")
    first = git(work, "rev-parse", "HEAD")
    spec = write_spec(tmp_path, f'[services.app]\nrequirements = ["app @ git+{site.url}/app.git@main"]\n')
    result = lock_one(spec, site)
    found = read_lock(result.path, DEBIAN).packages[0]
    assert found.vcs is not None
    assert (found.vcs.url, found.vcs.commit) == (f"{site.url}/app.git", first)
    second = commit(work, "app", "1.1")
    publish(site, "app")
    assert not lock_one(spec, site).written
    upgraded = lock_one(spec, site, upgrade=True)
    assert [str(change) for change in upgraded.changes] == [f"app 1.0@{first[:12]} -> 1.1@{second[:12]}"]


def test_an_archive_is_locked_by_its_digest(tmp_path: Path, site: Site) -> None:
    file = site.wheel("app", "1.0")
    url = f"{site.index}/app/{file}"
    spec = write_spec(tmp_path, f'[services.app]\nrequirements = ["app @ {url}"]\n')
    found = read_lock(lock_one(spec, site).path, DEBIAN).packages[0]
    assert found.archive is not None
    assert (found.version, found.archive.url) == ("1.0", url)


def test_many_locks_are_made_at_once_and_told(tmp_path: Path, site: Site) -> None:
    site.wheel("app", "1.0")
    site.wheel("other", "2.0")
    spec = write_spec(tmp_path, APP + '[services.other]\nrequirements = ["other"]\n')
    told: list[str] = []
    jobs = chosen_jobs(spec, targets=[DEBIAN, UBUNTU])
    results = lock_release(spec, LockOptions(default_index=site.index), jobs, told.append)
    assert [(result.service, result.target) for result in results] == [
        ("app", DEBIAN),
        ("app", UBUNTU),
        ("other", DEBIAN),
        ("other", UBUNTU),
    ]
    assert sorted(told) == sorted(
        line
        for service in ("app", "other")
        for target in (DEBIAN, UBUNTU)
        for line in (f"{service} for {target}: resolving", f"{service} for {target}: 1 packages, changed")
    )


def test_what_cannot_be_resolved_says_why_and_leaves_the_lock(tmp_path: Path, site: Site) -> None:
    site.wheel("app", "1.0")
    spec = write_spec(tmp_path, APP)
    path = lock_one(spec, site).path
    before = path.read_bytes()
    spec = write_spec(tmp_path, '[services.app]\nrequirements = ["app==9"]\n')
    with pytest.raises(InvalidInput) as caught:
        lock_one(spec, site)
    message = str(caught.value)
    assert message.startswith(
        f"{spec.path}: app for {DEBIAN}: No solution found when resolving dependencies: Because "
    )
    assert "there is no version of app==9" in message
    assert message.endswith("Correct the requirements or the constraints.")
    assert path.read_bytes() == before


def test_the_errors_of_all_services_come_together(tmp_path: Path, site: Site) -> None:
    spec = write_spec(tmp_path, APP + '[services.other]\nrequirements = ["other"]\n')
    (site.root / "simple").mkdir()
    with pytest.raises(InvalidInput) as caught:
        lock_release(spec, LockOptions(default_index=site.index))
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[1] for line in lines] == [f"app for {DEBIAN}", f"other for {DEBIAN}"]


def test_a_musl_target_gets_its_own_wheels(tmp_path: Path, site: Site) -> None:
    site.wheel("app", "1.0", tag="cp311-cp311-musllinux_1_2_x86_64")
    site.wheel("app", "2.0", tag="cp311-cp311-manylinux_2_17_x86_64")
    musl = Target.parse("cp311-linux_x86_64-musl1.2")
    spec = write_spec(tmp_path, APP)
    options = LockOptions(default_index=site.index)
    assert lock_service(spec.services[0], spec, musl, options).changes == (
        Change(name="app", old=None, new="1.0"),
    )
    assert lock_service(spec.services[0], spec, DEBIAN, options).changes == (
        Change(name="app", old=None, new="2.0"),
    )


def test_local_find_links_are_refused_by_name(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = site.wheel("app", "1.0")
    folder = tmp_path / "links"
    folder.mkdir()
    (site.root / "simple" / "app" / file).rename(folder / file)
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    spec = write_spec(tmp_path, APP)
    with pytest.raises(InvalidInput) as caught:
        lock_one(spec, site)
    path = lock_path(spec, "app", DEBIAN)
    assert str(caught.value).startswith(f"{path}: app 1.0: wheels[0] is the local path ")
    assert not path.exists()


def test_a_broken_lock_asks_to_be_made_anew(tmp_path: Path, site: Site) -> None:
    site.wheel("app", "1.0")
    spec = write_spec(tmp_path, APP)
    path = lock_path(spec, "app", DEBIAN)
    path.parent.mkdir()
    path.write_text("<<<<<<< HEAD\n")
    with pytest.raises(InvalidInput) as caught:
        lock_one(spec, site)
    assert str(caught.value) == (
        f"{path}: not valid TOML: Invalid statement (at line 1, column 1); "
        "delete it, or make it anew with --upgrade"
    )
    assert lock_one(spec, site, upgrade=True).written


def test_an_index_that_is_down_is_not_the_specs_fault(tmp_path: Path, site: Site) -> None:
    spec = write_spec(tmp_path, APP)
    with pytest.raises(StoreUnavailable) as caught:
        lock_one(spec, site, default_index="http://me:secret@127.0.0.1:9/simple")
    message = str(caught.value)
    assert message.startswith(f"{spec.path}: app for {DEBIAN}: ")
    assert "Connection refused" in message
    assert message.endswith("; check the network and the index, then try again")
    assert "secret" not in message


def test_offline_uses_the_cache_alone(tmp_path: Path, site: Site) -> None:
    site.wheel("app", "1.0")
    spec = write_spec(tmp_path, APP)
    with pytest.raises(StoreUnavailable) as caught:
        lock_one(spec, site, offline=True)
    assert str(caught.value).startswith(
        f"{spec.path}: app for {DEBIAN}: not everything is in uv's cache, and the network is off: "
    )
    lock_one(spec, site)
    assert not lock_one(spec, site, offline=True).written


def test_a_missing_revision_is_the_specs_fault(tmp_path: Path, site: Site) -> None:
    make_repository(site, "app", "1.0")
    spec = write_spec(tmp_path, f'[services.app]\nrequirements = ["app @ git+{site.url}/app.git@gone"]\n')
    with pytest.raises(InvalidInput) as caught:
        lock_one(spec, site)
    assert "gone" in str(caught.value)


def test_constraints_are_fetched_once_and_named_when_they_fail(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site.root / "c.txt").write_text("a<2\n")
    (site.root / "binary.txt").write_bytes(b"\xff\xfe")
    local = tmp_path / "local.txt"
    local.write_text("")
    url = f"{site.url}/c.txt"
    files = gather_constraints([url, local, url], tmp_path)
    assert list(files) == [url, local]
    assert files[url].read_text() == "a<2\n"

    def message(source: Path | str, kind: type[Exception], **options: bool) -> str:
        with pytest.raises(kind) as caught:
            gather_constraints([source], tmp_path, **options)
        return str(caught.value)

    assert message(tmp_path / "gone.txt", NotFound) == (
        f"{tmp_path}/gone.txt: no such constraints file; paths are relative to the release spec"
    )
    assert message(f"{site.url}/gone.txt", NotFound) == (
        f"{site.url}/gone.txt: no such constraints (HTTP 404); correct the release spec"
    )
    assert message(f"{site.url}/binary.txt", InvalidInput) == (
        f"{site.url}/binary.txt: constraints are not UTF-8 text; is this the right URL?"
    )
    assert message("http://127.0.0.1:9/c.txt", StoreUnavailable) == (
        "http://127.0.0.1:9/c.txt: cannot fetch constraints: [Errno 111] Connection refused; try again later"
    )
    assert message(url, StoreUnavailable, offline=True) == (
        f"{url}: constraints at a URL cannot be fetched offline; keep a copy beside the spec"
    )
    monkeypatch.setattr(constraint_files, "MAX_BYTES", 3)
    assert message(url, InvalidInput) == f"{url}: constraints of more than 3 bytes; is this the right URL?"


def test_a_mistake_in_fetched_constraints_names_their_url(tmp_path: Path, site: Site) -> None:
    site.wheel("app", "1.0")
    (site.root / "c.txt").write_text("<html>\n")
    spec = write_spec(tmp_path, APP, f'constraints = ["{site.url}/c.txt"]')
    with pytest.raises(InvalidInput) as caught:
        lock_one(spec, site)
    message = str(caught.value)
    assert message.startswith(f"{spec.path}: app for {DEBIAN}: ")
    assert f"{site.url}/c.txt" in message
    assert "venvoy-lock-" not in message


@pytest.mark.parametrize(
    ("target", "platform"),
    [
        ("cp311-linux_x86_64-glibc2.17", "x86_64-manylinux_2_17"),
        ("cp311-linux_x86_64-glibc2.27", "x86_64-manylinux_2_17"),
        ("cp311-linux_x86_64-glibc2.30", "x86_64-manylinux_2_28"),
        ("cp311-linux_aarch64-glibc2.36", "aarch64-manylinux_2_36"),
        ("cp314-linux_x86_64-glibc2.43", "x86_64-manylinux_2_40"),
        ("cp312-linux_x86_64-musl1.2", "x86_64-unknown-linux-musl"),
    ],
)
def test_uv_is_given_the_greatest_floor_that_the_target_includes(target: str, platform: str) -> None:
    assert uv_platform(Target.parse(target)) == platform


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            "cp311-linux_s390x-glibc2.36",
            "uv cannot lock for the machine 's390x', only for x86_64 and aarch64",
        ),
        ("cp311-linux_x86_64-glibc2.12", "uv cannot lock for a glibc older than 2.17"),
        ("cp311-linux_x86_64-musl1.1", "uv cannot lock for a musl older than 1.2"),
        ("cp313t-linux_x86_64-glibc2.36", "uv cannot lock for free-threaded Python; drop the 't'"),
    ],
)
def test_targets_that_uv_cannot_lock_for_are_named(target: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        uv_platform(Target.parse(target))
    assert str(caught.value) == f"{target}: {message}"


def test_the_words_of_older_uv_are_understood() -> None:
    stderr = (
        "warning: nothing\n  \u00d7 No solution found when resolving dependencies:\n"
        "  ╰─▶ Because there is no version of a==9\n      we can conclude that it is unsatisfiable.\n"
    )
    error = failure("spec: a", stderr, 1)
    assert isinstance(error, InvalidInput)
    assert str(error) == (
        "spec: a: No solution found when resolving dependencies: Because there is no version of a==9: "
        "we can conclude that it is unsatisfiable. Correct the requirements or the constraints."
    )
    assert str(failure("spec: a", "", 9)) == "spec: a: uv ended with status 9 and said nothing"


def test_the_command_prints_a_line_or_one_document(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        site.wheel(f"p{number}", "1.0")
    site.wheel("app", "1.0", requires=tuple(f"p{number}" for number in range(6)))
    monkeypatch.setenv("UV_DEFAULT_INDEX", site.index)
    spec = write_spec(tmp_path, APP + '[services.other]\nrequirements = ["p1"]\n')
    arguments = [str(spec.path), "-s", "app", "--lock-dir", str(tmp_path / "out")]
    path = tmp_path / "out" / "pylock.app-cp311-linux_x86_64-glibc2_36.toml"

    tried = CliRunner().invoke(command, [*arguments, "--dry-run"], catch_exceptions=False)
    changes = "+app 1.0, +p0 1.0, +p1 1.0, +p2 1.0, +p3 1.0, and 2 more"
    assert tried.stdout == f"{path}: would be written, 7 packages: {changes}\n"
    assert sorted(tried.stderr.splitlines()) == [
        f"app for {DEBIAN}: 7 packages, changed",
        f"app for {DEBIAN}: resolving",
    ]
    assert not path.parent.exists()

    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert done.stdout == f"{path}: written, 7 packages: {changes}\n"

    again = CliRunner().invoke(command, [*arguments, "--json", "-t", str(DEBIAN)], catch_exceptions=False)
    assert json.loads(again.stdout) == {
        "release": "1",
        "locks": [
            {
                "service": "app",
                "target": str(DEBIAN),
                "path": str(path),
                "status": "unchanged",
                "packages": 7,
                "changes": [],
            }
        ],
    }


def test_the_command_leaves_errors_to_the_front_door(tmp_path: Path) -> None:
    spec = write_spec(tmp_path, APP)
    with pytest.raises(NotFound) as caught:
        CliRunner().invoke(command, [str(spec.path), "-s", "nova"], catch_exceptions=False)
    assert str(caught.value) == f"{spec.path}: no service 'nova'; it has: app"
