"""Targets: who may sign what, in which order roles are asked, and what is downloaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.conformance.tuf_site import SIGNED, TufSite, versions

if TYPE_CHECKING:
    from tests.conformance.conftest import Client


@dataclass(frozen=True)
class Edge:
    """One delegation."""

    delegator: str
    name: str
    paths: list[str] = field(default_factory=lambda: ["*"])
    terminating: bool = False


GRAPHS = {
    "one": ([Edge("targets", "A")], "A"),
    "two side by side": ([Edge("targets", "A"), Edge("targets", "B")], "AB"),
    "two levels": ([Edge("targets", "A"), Edge("targets", "B"), Edge("B", "C")], "ABC"),
    "depth first": (
        [Edge("targets", "A"), Edge("targets", "B"), Edge("A", "C"), Edge("A", "D")],
        "ACDB",
    ),
    "three levels": ([Edge("targets", "A"), Edge("targets", "B"), Edge("A", "C"), Edge("C", "D")], "ACDB"),
    "terminating": (
        [Edge("targets", "A"), Edge("targets", "B"), Edge("A", "C", terminating=True), Edge("A", "D")],
        "AC",
    ),
    "terminating, with a descendant": (
        [Edge("targets", "A"), Edge("targets", "B"), Edge("A", "C", terminating=True), Edge("C", "D")],
        "ACD",
    ),
    "other paths": ([Edge("targets", "A", ["*.py"]), Edge("targets", "B"), Edge("A", "C")], "B"),
    "other paths below": (
        [Edge("targets", "A"), Edge("targets", "B"), Edge("A", "C", ["*.py"]), Edge("C", "D")],
        "AB",
    ),
    "a circle": (
        [
            Edge("targets", "A"),
            Edge("targets", "B"),
            Edge("B", "C"),
            Edge("C", "D"),
            Edge("D", "B"),
        ],
        "ABCD",
    ),
    "two parents": (
        [Edge("targets", "A"), Edge("targets", "B"), Edge("B", "C"), Edge("A", "C")],
        "ACB",
    ),
    "two parents of other paths": (
        [Edge("targets", "A"), Edge("targets", "B"), Edge("B", "C"), Edge("A", "C", ["*.py"])],
        "ABC",
    ),
}
TREE = [
    Edge("targets", "A", ["*.doc", "*.md", "foo-?.tgz"]),
    Edge("targets", "B", ["releases/*/*"]),
    Edge("B", "C", ["releases/x/*"]),
    Edge("B", "D", ["releases/y/*.zip"]),
]
FILES = {
    "targetfile": "targets",
    "README.md": "A",
    "releases/README.md": "A",
    "foo-1.tgz": "A",
    "foo-alpha.tgz": "A",
    "releases/x/x_v1": "C",
    "releases/y/y_v1.zip": "D",
    "releases/z/z_v1.zip": "D",
}


def lay(site: TufSite, edges: list[Edge]) -> None:
    for edge in edges:
        site.delegate(edge.delegator, edge.name, edge.paths, terminating=edge.terminating)
    site.publish(*sorted({edge.name for edge in edges}), *SIGNED)


@pytest.mark.parametrize(("edges", "order"), GRAPHS.values(), ids=GRAPHS)
def test_roles_are_asked_in_order(client: Client, site: TufSite, edges: list[Edge], order: str) -> None:
    lay(site, edges)
    assert client.download("missing") == 1
    assert versions(site.asked[4:]) == [f"1.{name}" for name in order]


@pytest.mark.parametrize(
    ("path", "found", "order"),
    [
        ("targetfile", True, ""),
        ("README.md", True, "A"),
        ("foo-1.tgz", True, "A"),
        ("releases/x/x_v1", True, "BC"),
        ("releases/y/y_v1.zip", True, "BD"),
        ("releases/z/z_v1.zip", False, "B"),
        ("releases/README.md", False, ""),
        ("foo-alpha.tgz", False, ""),
        ("README.MD", False, ""),
    ],
)
def test_a_target_is_found_where_it_may_be_signed(
    client: Client, site: TufSite, path: str, found: bool, order: str
) -> None:
    for edge in TREE:
        site.delegate(edge.delegator, edge.name, edge.paths)
    for name, role in FILES.items():
        site.add_file(role, name, f"{name} by {role}".encode())
    site.publish("A", "B", "C", "D", *SIGNED)
    assert client.download(path) == (0 if found else 1)
    assert client.downloaded() == ([site.files[path]] if found else [])
    assert versions(site.asked[4:]) == [f"1.{name}" for name in order]


def test_a_role_that_was_right_by_one_parent_is_not_so_by_another(client: Client, site: TufSite) -> None:
    """Promiscuous delegations: what A's key signed is not B's because it was seen before."""
    for parent, paths in (("parent-a", ["team-a/*"]), ("parent-b", ["team-b/*"])):
        site.delegate("targets", parent, paths)
    site.delegate("parent-a", "shared", ["team-a/*"])
    of_b = site.delegate("parent-b", "shared", ["team-b/*"])
    del site.signers["shared"][of_b.public_key.keyid]
    site.add_file("shared", "team-a/file", b"good")
    site.add_file("shared", "team-b/file", b"evil")
    site.publish("shared", "parent-a", "parent-b", *SIGNED)
    assert client.download("team-a/file", "team-b/file") == 1
    assert client.downloaded() == [b"good"]
    assert client.download("team-b/file") == 1
    assert client.downloaded() == [b"good"]


def test_a_role_that_the_snapshot_lacks_is_not_used(client: Client, site: TufSite) -> None:
    site.delegate("targets", "delegated", ["delegated/*"])
    site.publish("delegated", "targets")
    del site.snapshot.meta["delegated.json"]
    site.publish("snapshot", "timestamp")
    assert client.refresh() == 0
    site.asked.clear()
    assert client.download("delegated/file") == 1
    assert client.version("delegated") is None
    assert versions(site.asked) == ["2.root", "timestamp"]


def test_an_unsigned_delegated_role_is_not_used(client: Client, site: TufSite) -> None:
    site.delegate("targets", "delegated", ["delegated/*"])
    site.add_file("delegated", "delegated/file", b"data")
    site.signers["delegated"].clear()
    site.publish("delegated", *SIGNED)
    assert client.download("delegated/file") == 1
    assert client.downloaded() == []
    assert client.version("delegated") is None


@pytest.mark.parametrize("role", ["?", "#", "/delegatedrole", "../delegatedrole", "a b%2F", "ü"])
def test_names_of_roles_are_quoted(client: Client, site: TufSite, role: str) -> None:
    site.delegate("targets", role, ["*"])
    site.publish(role, *SIGNED)
    assert client.download("nonexistent target") == 1
    assert (quote(role, ""), 1) in site.asked
    assert len(client.trusted()) == 5
    outside = {path.name for path in client.metadata.parent.iterdir()}
    assert outside == {"metadata", "targets", "initial_root.json"}


class TestDelegatedExpiry:
    def test_expired_when_first_seen(self, client: Client, site: TufSite) -> None:
        site.delegate("targets", "delegated", ["delegated/*"], expires=site.now - timedelta(days=1))
        site.add_file("delegated", "delegated/file", b"content")
        site.publish("delegated", *SIGNED)
        assert client.refresh() == 0
        assert client.download("delegated/file") == 1
        assert client.downloaded() == []
        assert client.trusted() == {"root": 1, "snapshot": 2, "targets": 2, "timestamp": 2}

    def test_expired_since(self, client: Client, site: TufSite) -> None:
        site.delegate("targets", "delegated", ["delegated/*"], expires=site.now + timedelta(days=7))
        site.add_file("delegated", "delegated/first", b"first")
        site.add_file("delegated", "delegated/second", b"second")
        site.publish("delegated", *SIGNED)
        assert client.download("delegated/first") == 0
        assert client.download("delegated/second", at=site.now + timedelta(days=18)) == 1
        assert client.downloaded() == [b"first"]
        site.targets("delegated").expires = site.now + timedelta(days=21)
        site.publish("delegated", "snapshot", "timestamp")
        assert client.download("delegated/second", at=site.now + timedelta(days=18)) == 0
        assert client.downloaded() == [b"first", b"second"]


class TestDownloads:
    @pytest.mark.parametrize("path", ["target_file.txt", "path/to/a/target_file.txt", "with space+plus"])
    def test_the_file_that_was_signed(self, client: Client, site: TufSite, path: str) -> None:
        site.add_file("targets", path, b"target file contents")
        site.publish(*SIGNED)
        assert client.refresh() == 0
        assert client.downloaded() == []
        assert client.download(path) == 0
        assert client.downloaded() == [b"target file contents"]

    def test_it_is_fetched_once(self, client: Client, site: TufSite) -> None:
        site.add_file("targets", "file", b"content")
        site.publish(*SIGNED)
        assert client.download("file") == 0
        assert client.download("file") == 0
        assert len(site.downloads) == 1

    @pytest.mark.parametrize("evil", [b"malicious", b"content and more", b"conten", b""])
    def test_other_bytes_are_not_kept(self, client: Client, site: TufSite, evil: bytes) -> None:
        site.add_file("targets", "file", b"content")
        site.add_file("targets", "other", b"content of another")
        site.publish(*SIGNED)
        assert client.download("file") == 0
        site.files = dict.fromkeys(site.files, evil)
        client.download("file")
        assert client.downloaded() == [b"content"]
        assert client.download("other") == 1
        assert client.downloaded() == [b"content"]

    def test_many_changes(self, client: Client, site: TufSite) -> None:
        kept: list[bytes] = []
        for number in range(11):
            new = f"contents {number}".encode()
            site.add_file("targets", "file", new)
            site.add_file("targets", f"new-{number}", b"new %d" % number)
            site.publish(*SIGNED)
            if number % 5:
                continue
            assert client.download("file") == 0
            assert client.download(f"new-{number}") == 0
            kept = [data for data in kept if not data.startswith(b"contents")]
            kept += [new, b"new %d" % number]
            assert client.downloaded() == kept
            site.files["file"] = b"malicious %d" % number
            client.download("file")
            assert client.downloaded() == kept

    @pytest.mark.parametrize("hashes", [("sha256",), ("sha512",), ("sha256", "sha512")], ids="+".join)
    def test_hash_algorithms(self, client: Client, site: TufSite, hashes: tuple[str, ...]) -> None:
        site.add_file("targets", "file", b"content", *hashes)
        site.publish(*SIGNED)
        assert client.download("file") == 0
        assert client.downloaded() == [b"content"]
        assert len(site.downloads) == 1

    def test_an_unknown_hash_algorithm(self, client: Client, site: TufSite) -> None:
        site.add_file("targets", "file", b"content", "sha512")
        signed = site.targets().targets["file"]
        signed.hashes["unknown-hash"] = signed.hashes.pop("sha512")
        site.publish(*SIGNED)
        assert client.download("file") == 1
        assert client.downloaded() == []

    def test_the_same_site_without_hashes_in_names(self, client: Client, site: TufSite) -> None:
        site.root.consistent_snapshot = False
        site.add_file("targets", "file", b"content")
        site.publish("root", *SIGNED)
        site.answer = lambda path: _plain(site, path)  # type: ignore[method-assign]
        assert client.download("file") == 0
        assert client.downloaded() == [b"content"]


def _plain(site: TufSite, path: str) -> bytes | None:
    """Serve without versions and hashes in names, but for root."""
    folder, _, name = path.partition("/")
    if folder == "targets":
        return site.files.get(name)
    role = name.removesuffix(".json")
    number, _, root = role.partition(".")
    if root == "root":
        states = site.published["root"]
        return states[int(number) - 1] if int(number) <= len(states) else None
    states = site.published.get(role, [])
    return states[-1] if states else None
