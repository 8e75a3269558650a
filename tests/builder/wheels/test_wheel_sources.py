from __future__ import annotations

import gzip
import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.wheels.download import Downloads
from builder.wheels.sources import (
    DirectorySource,
    FindLinksSource,
    IndexSource,
    LockSource,
    WheelSource,
    open_source,
)
from manifests.errors import InvalidInput, NotFound, StoreUnavailable, VerificationFailed
from manifests.lock import LockedFile, LockedPackage
from manifests.target import Target
from tests.http_server import Reply, WebServer
from tests.wheel_factory import make_wheel, sha256

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGET = Target.parse("cp311-linux_x86_64-glibc2.36")
JSON = "application/vnd.pypi.simple.v1+json"
WHEEL = "demo-1.0-py3-none-any.whl"


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server


@pytest.fixture
def downloads() -> Iterator[Downloads]:
    with Downloads(backoff=0.01) as opened:
        yield opened


def locked(name: str, url: str = "https://example.org/x", size: int | None = None) -> LockedFile:
    return LockedFile(name=name, url=url, size=size, sha256="ab" * 32)  # type: ignore[arg-type]


def pinned(name: str = WHEEL, **facts: object) -> LockedPackage:
    return LockedPackage(name="demo", version="1.0", wheels=(locked(name, **facts),))  # type: ignore[arg-type]


UNPINNED = LockedPackage(name="demo", version="1.0", sdist=locked("demo-1.0.tar.gz"))


def fetch(source: WheelSource, package: LockedPackage) -> bytes:
    candidate = source.find(package, TARGET)
    assert candidate is not None

    def take(content: object) -> bytes:
        return content.read_bytes() if isinstance(content, Path) else b"".join(content)  # type: ignore[call-overload]

    return source.fetch(candidate, take)


def names_found(source: WheelSource) -> str | None:
    candidate = source.find(UNPINNED, TARGET)
    assert candidate is None or not candidate.pinned
    return candidate and candidate.name


# Folders


def test_a_folder_is_listed_flat_and_one_level_deep(tmp_path: Path) -> None:
    flat = make_wheel(tmp_path, "demo", "1.0")
    make_wheel(tmp_path / "nested", "demo", "1.0", {"other.py": b""})
    nested = make_wheel(tmp_path / "nested", "other", "2.0")
    make_wheel(tmp_path / "a/b", "deep", "1.0")
    for odd in ("README", "x.whl.tmp", ".hidden.whl", "demo.whl", "pip.conf"):
        (tmp_path / odd).write_bytes(b"odd")
    (tmp_path / "folder.whl").mkdir()
    (tmp_path / "dangling-1.0-py3-none-any.whl").symlink_to("nowhere")
    source = open_source(str(tmp_path))
    assert fetch(source, pinned()) == flat.read_bytes()
    other = LockedPackage(name="other", version="2.0", wheels=(locked(nested.name),))
    assert fetch(source, other) == nested.read_bytes()
    assert source.find(pinned("deep-1.0-py3-none-any.whl"), TARGET) is None
    assert source.find(pinned("dangling-1.0-py3-none-any.whl"), TARGET) is None
    assert not source.needs_network
    assert source.label == str(tmp_path)


def test_a_candidate_carries_the_locks_digest_and_size(tmp_path: Path) -> None:
    make_wheel(tmp_path, "demo", "1.0")
    candidate = DirectorySource(tmp_path).find(pinned(size=77), TARGET)
    assert candidate is not None
    assert (candidate.sha256, candidate.limit, candidate.pinned) == ("ab" * 32, 77, True)


def test_only_the_best_wheel_of_the_lock_counts(tmp_path: Path) -> None:
    make_wheel(tmp_path, "demo", "1.0")
    best = locked("demo-1.0-cp311-cp311-manylinux_2_17_x86_64.whl")
    package = LockedPackage(name="demo", version="1.0", wheels=(best, locked(WHEEL)))
    assert DirectorySource(tmp_path).find(package, TARGET) is None


def test_an_unpinned_package_gets_the_wheel_that_fits_best(tmp_path: Path) -> None:
    source_of = lambda: names_found(DirectorySource(tmp_path))  # noqa: E731
    for name, version, tag in (
        ("demo", "1.1", "py3-none-any"),
        ("demo-more", "1.0", "py3-none-any"),
        ("demo", "1.0", "cp312-cp312-manylinux_2_17_x86_64"),
        ("demo", "1.0", "cp311-cp311-manylinux_2_17_aarch64"),
        ("demo", "1.0", "cp311-cp311-manylinux_2_39_x86_64"),
        ("demo", "1.0", "cp311-cp311-win_amd64"),
    ):
        make_wheel(tmp_path, name, version, tag=tag)
    (tmp_path / "demo-nonsense-py3-none-any.whl").write_bytes(b"")
    (tmp_path / "demo-1.0-x.whl").write_bytes(b"")
    assert source_of() is None
    for options in (
        {"tag": "py3-none-any"},
        {"tag": "py3-none-any", "build": "2"},
        {"tag": "py3-none-any", "build": "10a"},
        {"tag": "cp311-cp311-linux_x86_64"},
        {"tag": "cp311-abi3-manylinux_2_28_x86_64"},
        {"tag": "cp311-cp311-manylinux_2_17_x86_64"},
        {"tag": "cp311-cp311-manylinux_2_28_x86_64"},
    ):
        path = make_wheel(tmp_path, "demo", "1.0", **options)  # type: ignore[arg-type]
        expected = path.name if "abi3" not in path.name else "demo-1.0-cp311-cp311-linux_x86_64.whl"
        assert source_of() == expected


def test_a_package_of_unknown_version_is_not_guessed(tmp_path: Path) -> None:
    make_wheel(tmp_path, "demo", "1.0")
    package = LockedPackage(name="demo", version=None, archive=locked("main.tar.gz"))
    assert DirectorySource(tmp_path).find(package, TARGET) is None


def test_an_archive_that_is_a_wheel_is_pinned(tmp_path: Path) -> None:
    make_wheel(tmp_path, "demo", "1.0")
    package = LockedPackage(name="demo", version="1.0", archive=locked(WHEEL))
    candidate = DirectorySource(tmp_path).find(package, TARGET)
    assert candidate is not None
    assert candidate.pinned
    assert DirectorySource(tmp_path).find_sdist(package) is None


def test_sdists_are_found_by_the_locks_name(tmp_path: Path) -> None:
    (tmp_path / "demo-1.0.tar.gz").write_bytes(b"sdist")
    source = DirectorySource(tmp_path)
    candidate = source.find_sdist(UNPINNED)
    assert candidate is not None
    assert candidate.location == str(tmp_path / "demo-1.0.tar.gz")
    assert candidate.pinned
    assert source.find_sdist(LockedPackage(name="x", version="1", sdist=locked("x-1.tar.gz"))) is None


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such directory of wheels"):
        open_source(str(tmp_path / "absent"))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreUnavailable, match="cannot be listed: Not a directory"):
        open_source(str(tmp_path / "file"))


# Locations


@pytest.mark.parametrize(
    ("location", "kind"),
    [
        ("https://pypi.example.org/simple", IndexSource),
        ("https://pypi.example.org/simple/", IndexSource),
        ("https://pypi.example.org/root/prod/+simple/", FindLinksSource),
        ("index+https://pypi.example.org/root/prod/+f", IndexSource),
        ("https://repo.example.org/wheels/", FindLinksSource),
        ("https://repo.example.org/wheels.html?arch=x86_64", FindLinksSource),
        ("find-links+http://repo.example.org/simple/", FindLinksSource),
    ],
)
def test_locations_of_the_web(location: str, kind: type) -> None:
    source = open_source(location)
    assert type(source) is kind
    assert source.needs_network
    assert source.label == location.removeprefix("index+").removeprefix("find-links+").partition("?")[0]


def test_file_urls_are_folders(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    make_wheel(folder, "demo", "1.0")
    source = open_source(folder.as_uri())
    assert isinstance(source, DirectorySource)
    assert source.find(pinned(), TARGET) is not None
    for bad in ("file://host/x", "file:x"):
        with pytest.raises(InvalidInput, match="a file: URL names an absolute path"):
            open_source(bad)


@pytest.mark.parametrize("location", ["s3://bucket/x", "ftp://h/x", "index+file:///x", "ssh://user:pw@h/x"])
def test_other_schemes_are_refused(location: str) -> None:
    with pytest.raises(InvalidInput, match="is not a source of wheels") as caught:
        open_source(location)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    "location", ["https://me:pw@h/simple", "index+https://me:pw@h/", "https://me:pw@h/x"]
)
def test_credentials_in_a_location_are_refused_and_not_shown(location: str) -> None:
    with pytest.raises(InvalidInput, match="holds credentials") as caught:
        open_source(location)
    assert "pw" not in str(caught.value)


# Pages of links


PAGE = """<!doctype html><html><head><base href="/files/"></head><body>
<a href="demo-1.0-py3-none-any.whl#sha256=0000">one</a>
<A HREF='../other/demo%2D1.1-py3-none-any.whl'>two &amp; more</A>
<a href="file:///etc/evil-1.0-py3-none-any.whl">file</a>
<a href="javascript:alert(1)//js-1.0-py3-none-any.whl">js</a>
<a href="https://me:pw@example.org/cred-1.0-py3-none-any.whl">credentials</a>
<a href="https://[broken/x-1.0-py3-none-any.whl">broken</a>
<a href="up%2F..%2Fslash-1.0-py3-none-any.whl">slash</a>
<a name="nothing">no link</a><a href="notes.txt">text</a><a href
<p>unfinished"""


def test_a_page_of_links_is_read_once(web: WebServer, downloads: Downloads) -> None:
    web.replies["/page"] = Reply(body=PAGE.encode(), headers={"Content-Type": "text/html; charset=utf-8"})
    web.replies[f"/files/{WHEEL}"] = Reply(body=b"wheel")
    web.replies["/other/demo-1.1-py3-none-any.whl"] = Reply(body=b"newer")
    source = open_source(f"{web.url}/page", downloads)
    assert fetch(source, pinned()) == b"wheel"
    newer = LockedPackage(name="demo", version="1.1", wheels=(locked("demo-1.1-py3-none-any.whl"),))
    assert fetch(source, newer) == b"newer"
    for name in ("evil", "js", "cred", "x", "slash"):
        assert source.find(pinned(f"{name}-1.0-py3-none-any.whl"), TARGET) is None
    assert web.paths().count("/page") == 1
    assert web.requests[-1].headers["Accept-Encoding"] == "identity"


def test_a_missing_page_of_links_is_said_and_asked_for_once(web: WebServer, downloads: Downloads) -> None:
    source = open_source(f"{web.url}/page?token=secret", downloads)
    for _ in range(3):
        with pytest.raises(NotFound, match=r"/page: no such page of links") as caught:
            source.find(pinned(), TARGET)
        assert "secret" not in str(caught.value)
    assert len(web.requests) == 1


def test_a_failing_page_of_links_is_asked_for_once(web: WebServer, downloads: Downloads) -> None:
    web.replies["/page"] = Reply(status=503)
    source = open_source(f"{web.url}/page", downloads)
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match=r"HTTP status 503 \(3 attempts\)"):
            source.find(pinned(), TARGET)
    assert len(web.requests) == 3


# Indexes


def index_json(*files: dict[str, object]) -> Reply:
    return Reply(body=json.dumps({"files": files}).encode(), headers={"Content-Type": JSON})


def test_a_json_index_is_read(web: WebServer, downloads: Downloads) -> None:
    web.replies["/simple/demo/"] = index_json(
        {"filename": WHEEL, "url": f"../../files/{WHEEL}#sha256=0", "hashes": {"sha256": "0"}, "size": 5},
        {"filename": "demo-1.0.tar.gz", "url": "/files/demo-1.0.tar.gz", "yanked": False},
    )
    web.replies[f"/files/{WHEEL}"] = Reply(body=b"wheel")
    source = open_source(f"{web.url}/simple/", downloads)
    assert fetch(source, pinned()) == b"wheel"
    assert source.find_sdist(UNPINNED) is not None
    accept = web.requests[0].headers["Accept"]
    assert accept.startswith(JSON)
    assert "text/html" in accept
    missing = LockedPackage(name="absent", version="1.0", wheels=(locked("absent-1.0-py3-none-any.whl"),))
    assert source.find(missing, TARGET) is None


def test_an_html_index_is_read(web: WebServer, downloads: Downloads) -> None:
    page = f'<a href="{web.url}/files/{WHEEL}#sha256=00" data-requires-python="&gt;=3">x</a>'
    web.replies["/simple/demo/"] = Reply(body=page.encode(), headers={"Content-Type": "text/html"})
    web.replies[f"/files/{WHEEL}"] = Reply(body=b"wheel")
    assert fetch(open_source(f"{web.url}/simple", downloads), pinned()) == b"wheel"


def test_a_page_compressed_in_transit_is_read(web: WebServer, downloads: Downloads) -> None:
    plain = index_json({"filename": WHEEL, "url": "/x.whl"})
    web.replies["/simple/demo/"] = Reply(
        body=gzip.compress(plain.body), headers=plain.headers | {"Content-Encoding": "gzip"}
    )
    assert open_source(f"{web.url}/simple", downloads).find(pinned(), TARGET) is not None


def test_yanked_files_serve_the_lock_but_not_a_choice(web: WebServer, downloads: Downloads) -> None:
    web.replies["/simple/demo/"] = index_json({"filename": WHEEL, "url": "/x", "yanked": "broken"})
    source = open_source(f"{web.url}/simple", downloads)
    assert source.find(pinned(), TARGET) is not None
    assert source.find(UNPINNED, TARGET) is None
    web.replies["/simple/demo/"] = Reply(
        body=f'<a href="/{WHEEL}" data-yanked>x</a>'.encode(), headers={"Content-Type": "text/html"}
    )
    assert source.find(pinned(), TARGET) is not None
    assert source.find(UNPINNED, TARGET) is None


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"files": {}}x', b'{"files": [1]}', b'{"files": [{}]}']
)
def test_an_index_that_is_none_is_an_error(web: WebServer, downloads: Downloads, body: bytes) -> None:
    web.replies["/simple/demo/"] = Reply(body=body, headers={"Content-Type": JSON})
    with pytest.raises(StoreUnavailable, match="is not a valid index page"):
        open_source(f"{web.url}/simple", downloads).find(pinned(), TARGET)


# Downloads


def at_its_url(web: WebServer, size: int | None = None) -> LockedPackage:
    return pinned(url=f"{web.url}/{WHEEL}", size=size)


def test_the_locks_own_url_is_fetched(web: WebServer, downloads: Downloads) -> None:
    web.replies[f"/{WHEEL}"] = Reply(body=b"wheel")
    source = LockSource(downloads)
    assert fetch(source, at_its_url(web, 5)) == b"wheel"
    assert source.find(UNPINNED, TARGET) is None
    assert source.find_sdist(UNPINNED) is not None


@pytest.mark.parametrize(
    "fault",
    [
        Reply(status=503),
        Reply(status=429, headers={"Retry-After": "0"}),
        Reply(body=b"wheel", cut=2),
        Reply(body=b"whe", headers={"Content-Length": "5"}, cut=3),
    ],
)
def test_a_passing_fault_is_tried_again_from_the_start(
    web: WebServer, downloads: Downloads, fault: Reply
) -> None:
    web.replies[f"/{WHEEL}"] = [fault, fault, Reply(body=b"wheel")]
    assert fetch(LockSource(downloads), at_its_url(web)) == b"wheel"
    assert len(web.requests) == 3


def test_a_lasting_fault_ends_after_three_attempts(web: WebServer, downloads: Downloads) -> None:
    web.replies[f"/{WHEEL}"] = Reply(body=b"wheel", cut=2)
    with pytest.raises(StoreUnavailable, match=r"the connection broke after \d bytes .* \(3 attempts\)"):
        fetch(LockSource(downloads), at_its_url(web))
    assert len(web.requests) == 3


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (404, NotFound, "HTTP status 404"),
        (403, StoreUnavailable, r"HTTP status 403; credentials belong into ~/\.netrc"),
        (400, StoreUnavailable, "HTTP status 400"),
        (204, StoreUnavailable, "HTTP status 204"),
    ],
)
def test_a_plain_refusal_is_not_tried_again(
    web: WebServer, downloads: Downloads, status: int, error: type[Exception], message: str
) -> None:
    web.replies[f"/{WHEEL}"] = Reply(status=status)
    with pytest.raises(error, match=message):
        fetch(LockSource(downloads), at_its_url(web))
    assert len(web.requests) == 1


def test_more_bytes_than_the_lock_says_are_not_read(web: WebServer, downloads: Downloads) -> None:
    web.replies[f"/{WHEEL}"] = Reply(body=bytes(1_000_000))
    with pytest.raises(VerificationFailed, match="more than 999999 bytes; nothing was used"):
        fetch(LockSource(downloads), at_its_url(web, 999_999))


def test_a_tarball_that_the_server_calls_gzip_encoded_arrives_packed(
    web: WebServer, downloads: Downloads
) -> None:
    packed = gzip.compress(b"tar")
    web.replies[f"/{WHEEL}"] = Reply(body=packed, headers={"Content-Encoding": "gzip"})
    assert fetch(LockSource(downloads), at_its_url(web)) == packed


def test_credentials_come_from_netrc(
    web: WebServer, downloads: Downloads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password pw\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    web.replies[f"/{WHEEL}"] = Reply(body=b"wheel")
    fetch(LockSource(downloads), at_its_url(web))
    assert web.requests[0].headers["Authorization"].startswith("Basic ")


def test_a_redirect_is_followed_but_not_to_a_file(
    web: WebServer, downloads: Downloads, tmp_path: Path
) -> None:
    web.replies["/real"] = Reply(body=b"wheel")
    web.replies[f"/{WHEEL}"] = Reply(status=302, headers={"Location": "/real"})
    assert fetch(LockSource(downloads), at_its_url(web)) == b"wheel"
    secret = make_wheel(tmp_path, "demo", "1.0")
    web.replies[f"/{WHEEL}"] = Reply(status=302, headers={"Location": secret.as_uri()})
    with pytest.raises(StoreUnavailable, match="InvalidSchema"):
        fetch(LockSource(downloads), at_its_url(web))
    assert sha256(secret)


def test_a_dead_host_is_tried_for_one_file_only(
    downloads: Downloads, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    sleeps: list[float] = []
    monkeypatch.setattr("builder.wheels.download.time.sleep", sleeps.append)
    for _ in range(5):
        with pytest.raises(StoreUnavailable, match=r"Connection refused \(3 attempts\)"):
            fetch(LockSource(downloads), pinned(url=f"{url}/{WHEEL}?token=secret"))
    assert sleeps == [0.01, 0.02]
