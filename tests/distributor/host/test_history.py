"""The history of a destination, and its line in the system's journal."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from distributor.host.history import became_active, new_switch, tell_journal, user
from manifests.documents import Sha256
from manifests.receipt import Receipt, Switch

JOURNAL = Path("/dev/log")


@pytest.fixture
def journal() -> Iterator[socket.socket]:
    """Stand in for the host's journal where it has none."""
    if JOURNAL.exists() or JOURNAL.is_symlink() or os.geteuid() != 0:
        pytest.skip("there is a journal here already, or none can be made")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(JOURNAL))
        made.settimeout(10)
        try:
            yield made
        finally:
            JOURNAL.unlink()


def test_a_switch_is_one_line_in_the_journal(journal: socket.socket) -> None:
    switch = new_switch("install", "2.0.0", "0" * 64, before="1.0.0")
    tell_journal(Path("/openstack/venvs/100%s"), switch)
    line = journal.recv(4096).decode()
    said = f"install: release 2.0.0 is active in /openstack/venvs/100%s instead of 1.0.0, by {user()}"
    assert line.rstrip("\0").endswith(said)
    assert f"venvoy[{os.getpid()}]: " in line


def test_without_a_journal_nothing_fails() -> None:
    tell_journal(Path("/nowhere"), new_switch("install", "1.0.0", "0" * 64, before=None))


def receipt(*history: Switch) -> Receipt:
    none = Sha256("0" * 64)
    return Receipt(
        **dict.fromkeys(("service", "release", "version", "target", "python", "python_version"), "1"),
        **dict.fromkeys(("destination", "tool", "install_id"), "x"),
        **dict.fromkeys(("identity", "manifest_sha256", "indexes"), none),
        installed_at="2026-01-01T00:00:00+00:00",
        history=history,
    )


def test_a_switch_that_did_not_happen_orders_no_tree() -> None:
    first = Switch(when="2026-01-01", who="root", action="install", release="1", identity="0")
    second = replace(first, when="2026-01-02", release="2")
    third = replace(first, when="2026-01-03", release="3")
    killed = replace(first, when="2026-01-04", action="rollback")
    active = receipt(first, second, third)
    # Made ready to be the third's successor, and never shown: as old as it was.
    assert became_active(receipt(first, second, killed), active) == ("2026-01-02", 2)
    assert became_active(receipt(first, killed), active) == ("2026-01-01", 1)
    assert became_active(receipt(), active)[0] == "2026-01-01T00:00:00+00:00"
