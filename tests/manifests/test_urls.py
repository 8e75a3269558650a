"""Hosts that are this machine alone: what may travel in the clear hangs on it."""

from __future__ import annotations

import pytest

from manifests.urls import is_loopback


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.1", "::1"])
def test_this_machine_alone(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "0.0.0.0", "::", "10.0.0.1", "localhost.example", "127.0.0.1.example", "[::1]"]
)
def test_others_may_listen(host: str) -> None:
    assert not is_loopback(host)
